"""Directories of weights that appear whole or not at all, also when several processes make them at once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def place_once(place: Path, build: Callable[[Path], None]) -> Path:
    """Return `place`; if it does not exist, `build` fills a temporary directory, which is then renamed to it."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        build(unfinished)
        unfinished.chmod(0o755)
        _rename(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _rename(unfinished: Path, place: Path) -> None:
    try:
        os.rename(unfinished, place)  # noqa: PTH104 (Path.rename may replace a directory; os.rename fails on a full one)
    except OSError:
        # another process was quicker, and its content is the same
        if not place.is_dir():
            raise
