"""Stand-ins on disk: each is built once, by the first worker that asks for it."""

import importlib
from pathlib import Path

from inference_worker.weights.staging import place_once

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
    return place_once(directory / "standins" / f"{family}-{builder.VERSION}", builder.build)
