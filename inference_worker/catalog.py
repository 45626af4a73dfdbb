"""`penstock models`: which weights the families would load, whether they are here, and fetching them."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inference_worker import exits
from inference_worker.settings import WorkerSettings
from inference_worker.weights import PUBLISHED, FetchError, Published, fetch, find, loose
from rpc.settings import SettingError

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Entry:
    """The weights of one family as this machine has them.

    Attributes:
        model: the family.
        ops: what it offers.
        source: a path, or the hub id its weights have.
        licence: theirs, or "" where they are not those the family loads by itself.
        place: where they lie, or None.
        lacks: files that are missing there.
        bytes: what they take on the disk.
    """

    model: str
    ops: tuple[str, ...]
    source: str
    licence: str
    place: str | None
    lacks: tuple[str, ...]
    bytes: int

    @property
    def here(self) -> bool:
        """Whether they are there and complete."""
        return self.place is not None and not self.lacks

    @property
    def where(self) -> str:
        """Where they lie, for people."""
        if self.place is None:
            return "not here"
        return f"{self.place} lacks {', '.join(self.lacks)}" if self.lacks else self.place


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser("penstock models", description="The weights of the four families.")
    commands = line.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="show which weights would be loaded, and whether they are here")
    listing.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    pulling = commands.add_parser("pull", help="fetch weights from the hub; what is here is not fetched again")
    pulling.add_argument(
        "names", nargs="*", metavar="NAME", help="families, or family=source; unless named, those a worker serves"
    )
    for command in (listing, pulling):
        command.add_argument("--models-dir", help="where weights lie, else the hub's cache; MODELS_DIR")
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 if weights could not be fetched, or 2 on a wrong argument or setting."""
    given = parser().parse_args(arguments)
    try:
        # stand-ins would hide which weights the variables name
        settings = WorkerSettings.from_env(models_dir=given.models_dir, standins="no")
        sources = _sources(settings, _served(settings, given.names) if given.command == "pull" else ())
    except SettingError as error:
        _complain(str(error))
        return exits.WRONG_SETTING
    if given.command == "list":
        _show(
            [entry_of(model, source, settings.models_dir) for model, source in sources.items()], as_json=given.as_json
        )
        return 0
    # all are tried, so that one that fails holds up no other
    pulled = [pull(model, source, settings.models_dir) for model, source in sources.items()]
    return 0 if all(pulled) else exits.FAILED


def _served(settings: WorkerSettings, names: Sequence[str]) -> Sequence[str]:
    """Return the names given, or the families a worker of these settings serves: nobody waits for what is not used."""
    return names or [family for family in PUBLISHED if family in {_split(name)[0] for name in settings.serving}]


def _sources(settings: WorkerSettings, names: Sequence[str]) -> dict[str, str]:
    """Return family -> source, "" for its own: all families, or those named."""
    served = dict(_split(name) for name in settings.serving)
    named = [_split(name) for name in names] or [(family, "") for family in PUBLISHED]
    for family, _ in named:
        if family not in PUBLISHED:
            raise SettingError(f"{family!r} is none of {', '.join(PUBLISHED)}")
    return {family: source or served.get(family, "") for family, source in named}


def _split(name: str) -> tuple[str, str]:
    """Return family and source of `family`, `family=source` or `family=family:source`."""
    family, _, source = name.partition("=")
    return family, source.removeprefix(f"{family}:")


def entry_of(model: str, source: str, models_dir: str) -> Entry:
    """Return what this machine has of a family's weights; nothing is fetched."""
    published = PUBLISHED[model]
    repository = published.repository(source)
    place = _place(published, source, models_dir)
    files = [] if place is None else [place] if place.is_file() else _files(published, place)
    return Entry(
        model=model,
        ops=published.ops,
        source=repository,
        licence=published.licence if repository in {published.repository(""), *published.sizes.values()} else "",
        place=None if place is None else str(place),
        lacks=() if place is None else tuple(published.missing(place)),
        bytes=sum(file.stat().st_size for file in files),
    )


def _place(published: Published, source: str, models_dir: str) -> Path | None:
    if not source and (single := loose(published.single, models_dir=models_dir)):
        return single
    for weights in published.weights:
        patterns = [*published.files, weights]
        if place := find(published.repository(source), models_dir=models_dir, patterns=patterns):
            return place
    return None


def _files(published: Published, place: Path) -> list[Path]:
    """Return the files of a directory that are read of it."""
    return list({file for pattern in (*published.files, *published.weights) for file in place.glob(pattern)})


def pull(model: str, source: str, models_dir: str) -> bool:
    """Fetch the weights of a family unless they are here; return whether they are now. Prints what happens."""
    published, entry = PUBLISHED[model], entry_of(model, source, models_dir)
    if entry.here:
        _say(f"{model}: already here: {entry.where} ({_size(entry.bytes)})")
        return True
    if Path(entry.source).expanduser().exists():
        _complain(f"{model}: {entry.where}")
        return False
    _say(f"{model}: fetching {entry.source}")
    try:
        place = fetch(
            entry.source,
            published.files,
            either=published.weights,
            into=Path(models_dir).expanduser() / entry.source.rpartition("/")[2] if models_dir else None,
            known=published.sha256,
            tell=lambda line: _say(f"{model}: {line}"),
        )
    except FetchError as error:
        _complain(f"{model}: {error}")
        return False
    lacks = published.missing(place)
    _say(f"{model}: {'in' if lacks else 'here:'} {place}")
    if lacks:
        _complain(f"{model}: {entry.source} has no {', no '.join(lacks)}")
    return not lacks


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"penstock models: {line}\n")


def _size(count: int) -> str:
    return f"{count / MEGABYTE:.1f} MB"


def _show(entries: Sequence[Entry], *, as_json: bool) -> None:
    if as_json:
        _say(json.dumps([{**asdict(entry), "here": entry.here} for entry in entries]))
        return
    rows = [("model", "ops", "source", "size", "licence", "where")]
    for entry in entries:
        size = _size(entry.bytes) if entry.place else ""
        rows.append((entry.model, ", ".join(entry.ops), entry.source, size, entry.licence, entry.where))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
