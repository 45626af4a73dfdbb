"""Where weights lie: a path, the models directory, the hub's cache, or the hub itself."""

from collections.abc import Sequence
from pathlib import Path

from inference_worker.weights import hub


def find(source: str, *, models_dir: str = "", patterns: Sequence[str] = ()) -> Path | None:
    """Return where the weights of `source` lie on this machine, or None if they do not.

    Looked at in this order: `source` as a path; `models_dir/source`; `models_dir/` and the last part of `source`;
    the hub's cache, if it holds every file of the repository that matches `patterns`.
    """
    there = next((place for place in _places(source, models_dir) if place.exists()), None)
    return there or hub.cached(source, patterns)


def locate(source: str, *, models_dir: str = "", patterns: Sequence[str] = ()) -> Path:
    """Return where the weights of `source` lie, fetching them from the hub if nothing else has them.

    Looked at is what `find` looks at, then the hub, unless HF_HUB_OFFLINE is set; then what the cache has of the
    repository, though it may be a part. `patterns` are the files wanted of a hub repository.

    Raises:
        FileNotFoundError: nothing has them; the message says where was looked.
    """
    found = find(source, models_dir=models_dir, patterns=patterns)
    if found:
        return found
    try:
        return hub.fetch(source, patterns)
    except hub.FetchError as error:
        if partial := hub.cached(source, patterns, whole=False):
            return partial
        looked = ", ".join(map(str, _places(source, models_dir)))
        raise FileNotFoundError(
            f"no weights of {source}: neither {looked} nor the hub's cache has them, and fetching failed: {error};"
            f" penstock models pull fetches them"
        ) from error


def loose(file: str, *, models_dir: str) -> Path | None:
    """Return a file that lies in `models_dir` itself, in no directory of its own; None if there is none."""
    place = Path(models_dir).expanduser() / file
    return place if models_dir and file and place.is_file() else None


def _places(source: str, models_dir: str) -> list[Path]:
    places = [Path(source).expanduser()]
    if models_dir:
        directory = Path(models_dir).expanduser()
        places += [directory / source, directory / source.rpartition("/")[2]]
    return places
