"""Stand-ins on disk: each is built once, by the first worker that asks for it."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path

BUILDERS = {
    "whisper": "inference_worker.standins.whisper",
    "siglip": "inference_worker.standins.siglip",
    "bge-m3": "inference_worker.standins.bge_m3",
    "yunet": "inference_worker.standins.yunet",
}
"""Family -> the module that builds its stand-in, with `VERSION` and `build(directory)`."""


def built(family: str, directory: Path) -> Path:
    """Return the directory of a family's stand-in under `directory`, built if it is not there yet.

    Safe to ask from several processes at once: a stand-in appears whole or not at all.
    """
    builder = importlib.import_module(BUILDERS[family])
    place = directory / "standins" / f"{family}-{builder.VERSION}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{family}-", dir=place.parent))
    try:
        builder.build(unfinished)
        unfinished.chmod(0o755)
        _put_in_place(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _put_in_place(unfinished: Path, place: Path) -> None:
    try:
        os.rename(unfinished, place)  # noqa: PTH104 (Path.rename may replace a directory; this fails on one that is there)
    except OSError:
        # another process was quicker, and what it built is the same
        if not place.is_dir():
            raise
