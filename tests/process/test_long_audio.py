"""A long recording outlives the engine and the worker that transcribe it, and tells how far it is."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from inference_worker.models.whisper.model import BUDGET_WINDOWS
from inference_worker.standins import cache
from inference_worker.standins.whisper import WORDS, tone_speech, wav
from rpc import Client, Progress, RedisSettings, Transcript
from rpc.keys import Keys
from tests.conftest import ON_VALKEY, StartWorker
from tests.heard import DONE, GATE, JOURNAL
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

SECONDS = 1200

WORDS_SAID = [WORDS[index] for index in np.random.default_rng(1).integers(0, len(WORDS), SECONDS)]

WHISPER = "tests.heard:Whisper"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stand-in's weights."""
    return cache.built("whisper", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def environ(source: Path, tmp_path: Path) -> dict[str, str]:
    """Return what workers are told whose passes are noted."""
    (tmp_path / GATE).touch()
    return {"HEARD_DIRECTORY": str(tmp_path), "HEARD_SOURCE": str(source), "PENSTOCK_LEASE_S": "1"}


def windows_begun(directory: Path) -> int:
    """Return how many windows have gone into a pass."""
    return len((directory / JOURNAL).read_text("ascii").split())


def windows_done(directory: Path) -> int:
    """Return how many windows have come out of one."""
    return sum(map(int, (directory / DONE).read_text("ascii").split()))


def kill_engine(worker: WorkerProcess) -> None:
    """End what runs the model, as a crash would; its supervisor stays."""
    os.kill(worker.engine_pid, signal.SIGKILL)


def kill_all(worker: WorkerProcess) -> None:
    """End the whole worker at once."""
    worker.kill()


@pytest.fixture(params=[kill_engine, kill_all], ids=["engine", "worker"])
def kill(request: pytest.FixtureRequest) -> Callable[[WorkerProcess], None]:
    """Return what goes wrong."""
    chosen: Callable[[WorkerProcess], None] = request.param
    return chosen


def test_twenty_minutes_go_on_where_they_stopped(
    client: Client,
    start_worker: StartWorker,
    environ: dict[str, str],
    tmp_path: Path,
    kill: Callable[[WorkerProcess], None],
) -> None:
    """Issue 4: a transcription killed half-way re-does less than 10 % of its windows, and its text is right."""
    worker = start_worker(WHISPER, env=environ)
    seen: list[Progress] = []

    def half_way() -> bool:
        seen.append(client.progress("whisper", "long"))
        return (seen[-1].fraction or 0.0) >= 0.5

    with ThreadPoolExecutor(1) as caller:
        transcript = caller.submit(client.transcribe, wav(tone_speech(WORDS_SAID)), "en", job_id="long")
        eventually(half_way, within_s=2 * LONG_S)
        kill(worker)
        if kill is kill_all:
            worker = start_worker(WHISPER, env=environ)
        heard: Transcript = transcript.result(4 * LONG_S)

    windows = seen[-1].units
    assert heard.text.split() == WORDS_SAID
    assert windows >= SECONDS / 30
    assert worker.metric("penstock_resumed_units_total", model="whisper") >= windows / 2
    assert windows_done(tmp_path) - windows < windows / 10
    # the pass that was under way is lost, and no more than that has to be begun again
    assert windows_begun(tmp_path) - windows <= 2 * BUDGET_WINDOWS["cpu"]
    assert [far.fraction for far in seen if far.units] == sorted(far.fraction or 0.0 for far in seen if far.units)
    assert client.progress("whisper", "long") == Progress("finished")


def test_what_is_kept_goes_with_the_job(
    client: Client, raw: "Redis", redis_settings: RedisSettings, start_worker: StartWorker, environ: dict[str, str]
) -> None:
    """Nothing of a long job is left in Redis but its reply."""
    start_worker(WHISPER, env=environ)

    client.transcribe(wav(tone_speech(WORDS_SAID[:150])), "en", job_id="five-windows")

    keys = Keys(redis_settings.prefix, "whisper")
    left = {key.decode() for key in raw.scan_iter(f"{redis_settings.prefix}:*five-windows*")}
    assert left == {keys.result("five-windows")}
