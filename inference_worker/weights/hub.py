"""The hub: what its cache holds, and fetching what it does not.

The hub's own client begins a file again when its process ended in the middle, and checks sizes only. So files are
fetched here, under the names its cache gives them, and the client then finds them there.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, get_cached_repo_tree, hf_hub_url, snapshot_download
from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import tqdm

from inference_worker.weights.download import DamagedError, Remote, download
from inference_worker.weights.published import matching

MEGABYTE = 1e6

NO_BAR: Any = partial(tqdm, disable=True)


class FetchError(Exception):
    """Weights could not be fetched; the message names them and says why."""


def cached(source: str, patterns: Sequence[str] = (), *, whole: bool = True) -> Path | None:
    """Return the directory of a repository in the hub's cache, without asking the hub.

    With `whole` only if it is known to hold every file of the repository that matches `patterns`.
    """
    try:
        if whole:
            get_cached_repo_tree(source)
        return Path(snapshot_download(source, allow_patterns=list(patterns) or None, local_files_only=True))
    except LocalEntryNotFoundError as error:
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial and not whole else None
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return None


def fetch(
    source: str,
    patterns: Sequence[str],
    *,
    either: Sequence[str] = (),
    into: Path | None = None,
    known: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Return the directory of a repository's files, fetched into the hub's cache or the directory `into`.

    What an earlier attempt has fetched is kept and gone on with; every file is checked against the hub's checksum.

    Args:
        source: the hub id.
        patterns: which files.
        either: more of them, of which only the first pattern that matches any counts.
        into: a directory of their own; it appears when all of them are there.
        known: name -> SHA-256 that a file must have whatever the hub says.
        tell: is told what is fetched, line by line.

    Raises:
        FetchError: the hub cannot be reached, has no such repository, or what came is damaged.
    """
    try:
        info = HfApi().model_info(source, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        wanted = _wanted(info, patterns, either)
        files = [_remote(source, info, name) for name in wanted]
        _check_known(files, known or {})
        if into is None:
            return _into_cache(source, str(info.sha), files, tell or _silent)
        return _into_directory(into, files, tell or _silent)
    except Exception as error:
        # the client raises what its http library raises, which is another one in every major version
        raise FetchError(f"{source}: {_reason(error)}") from error


def _silent(line: str) -> None:
    del line


def _reason(error: Exception) -> str:
    """Return what went wrong; of a message of the client, which may be long, its first two lines."""
    if isinstance(error, FetchError | DamagedError):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}" if lines else type(error).__name__


def _wanted(info: ModelInfo, patterns: Sequence[str], either: Sequence[str]) -> list[str]:
    names = [sibling.rfilename for sibling in info.siblings or ()]
    choices = ([pattern for pattern in either if matching(names, [pattern])] or list(either))[:1]
    chosen = matching(names, [*patterns, *choices]) if patterns or either else names
    if not chosen:
        raise FetchError(f"the repository has no {' and no '.join([*patterns, *either])}")
    strange = [name for name in chosen if ".." in PurePosixPath(name).parts or name.startswith("/")]
    if strange:
        raise FetchError(f"the repository names a file outside itself: {strange[0]}")
    return chosen


def _remote(source: str, info: ModelInfo, name: str) -> Remote:
    sibling = next(each for each in info.siblings or () if each.rfilename == name)
    url = hf_hub_url(source, name, revision=info.sha)
    if sibling.lfs:
        return Remote(name, url, sibling.lfs.size, sibling.lfs.sha256, lfs=True)
    return Remote(name, url, int(sibling.size or 0), str(sibling.blob_id), lfs=False)


def _check_known(files: Sequence[Remote], known: Mapping[str, str]) -> None:
    for file in files:
        if file.digest != known.get(file.name, file.digest):
            raise FetchError(f"the hub's {file.name} has the checksum {file.digest}, not {known[file.name]}")


def _into_cache(source: str, commit: str, files: Sequence[Remote], tell: Callable[[str], None]) -> Path:
    folder = "--".join(["models", *source.split("/")])
    cache = Path(constants.HF_HUB_CACHE)
    with _alone(cache / ".locks" / folder / "penstock.lock"):
        _fetch_all({cache / folder / "blobs" / file.digest: file for file in files}, tell)
    # all the client has left to do is to name what is there; its bar would count that as fetching
    names = [file.name for file in files]
    place = Path(snapshot_download(source, allow_patterns=names, tqdm_class=NO_BAR))
    if place.name != commit:
        raise FetchError("the repository changed meanwhile: try again")
    return place


def _into_directory(into: Path, files: Sequence[Remote], tell: Callable[[str], None]) -> Path:
    hidden = into.with_name(f".{into.name}.incomplete")
    with _alone(into.with_name(f".{into.name}.lock")):
        lacking = [file for file in files if not _has_size(into / file.name, file.size)]
        # by checksum too, for what is left of an attempt may be of another revision
        fetched = {hidden / file.digest / file.name: file for file in lacking}
        _fetch_all(fetched, tell)
        for target, file in fetched.items():
            place = into / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            target.replace(place)
        shutil.rmtree(hidden, ignore_errors=True)
    return into


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process fetches the same."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        # let go when the file is closed, at the latest by the end of the process
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _fetch_all(wanted: Mapping[Path, Remote], tell: Callable[[str], None]) -> None:
    lacking = {target: file for target, file in wanted.items() if not _has_size(target, file.size)}
    for target in lacking:
        target.parent.mkdir(parents=True, exist_ok=True)
    _check_space(lacking)
    for target, file in lacking.items():
        tell(f"{file.name}: {file.size / MEGABYTE:.1f} MB")
        download(file, target)


def _check_space(lacking: Mapping[Path, Remote]) -> None:
    if not lacking:
        return
    wanted = sum(file.size for file in lacking.values())
    free = shutil.disk_usage(next(iter(lacking)).parent).free
    if wanted > free:
        raise FetchError(f"{wanted / MEGABYTE:.0f} MB are to come, and {free / MEGABYTE:.0f} MB are free on the disk")
