"""An engine as its supervisor sees it."""

import threading

import pytest

from inference_worker.engine_plan import EngineSpec
from inference_worker.supervisor.engine_process import EngineProcess
from tests.waiting import LONG_S

pytestmark = pytest.mark.process


def test_the_end_of_an_engine_is_told() -> None:
    """A supervisor need not look for it, and finds that it has ended when it is told."""
    changed = threading.Event()
    engine = EngineProcess(EngineSpec("cpu", ()), {"name": "e1"}, stages=1, changed=changed.set)
    engine.kill("the test says so")

    assert changed.wait(LONG_S)

    assert (engine.ended(), engine.ready, engine.how_it_ended()) == (-9, False, "the test says so")
    engine.close()
