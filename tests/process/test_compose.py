"""What the services of compose.yaml run, run as processes of this machine: commands, environments, health checks."""

import contextlib
import http
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference_worker.settings import FAMILIES
from inference_worker.standins import whisper
from inference_worker.weights import PUBLISHED
from rpc import Client
from tests.containers import ROOT
from tests.hub import Hub
from tests.stack import Place, Stack
from tests.waiting import LOAD_S, eventually

pytestmark = [pytest.mark.process, pytest.mark.server]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a machine of the test's own."""
    return Place(tmp_path)


@pytest.fixture
def stack(place: Place) -> Iterator[Stack]:
    """Yield what starts containers; all of them are ended afterwards."""
    with contextlib.ExitStack() as running:
        yield Stack(place, running)


def test_the_queue_is_healthy_while_it_answers(stack: Stack) -> None:
    """Valkey's command is one it accepts, and its health check tells whether it answers."""
    queue = stack.container("valkey")
    assert not queue.probe()

    queue.start().healthy()

    assert queue.stop() == 0
    assert not queue.probe()


def test_one_worker_serves_the_four_families(stack: Stack, place: Place) -> None:
    """With stand-ins the CPU profile needs no weights and no network, writes nothing to the volume, and answers."""
    stack.queue()
    worker = stack.container("worker", PENSTOCK_STANDINS="1").start().healthy()

    with Client(settings=place.settings) as client:
        vector = client.embed_text("two girls", model="siglip")
        assert abs(float(np.linalg.norm(vector)) - 1.0) < 1e-5
    assert [name for name in FAMILIES if f"{name} loaded and warm" not in worker.log] == []

    assert worker.stop() == 0
    assert list(place.volume.iterdir()) == []


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_a_worker_is_healthy_when_it_takes_jobs(stack: Stack, name: str) -> None:
    """The health check fails where nothing runs, while the process runs but cannot serve, and after the stop."""
    worker = stack.container(name, PENSTOCK_MODELS="echo", PENSTOCK_DEVICE="cpu")
    assert not worker.probe()

    # without its queue it lives and is not ready
    worker.start()
    eventually(lambda: worker.ask("/livez") == http.HTTPStatus.OK, what="the process lives")
    assert not worker.probe()

    stack.queue()
    worker.healthy()

    assert worker.stop() == 0
    assert not worker.probe()


def test_three_workers_share_the_queue(stack: Stack, place: Place) -> None:
    """`--scale worker=3`: containers of one service differ in nothing they are told, and all serve."""
    stack.queue()
    workers = [stack.container("worker", PENSTOCK_MODELS="echo").start() for _ in range(3)]
    for worker in workers:
        worker.healthy()

    (state,) = json.loads(workers[0].run("penstock", "status", "--json").stdout)
    assert (state["model"], len(state["workers"])) == ("echo", 3)
    with Client(settings=place.settings) as client:
        assert client.call("echo", "echo", ["hello"]) == {"outputs": ["hello"]}

    assert [worker.stop() for worker in workers] == [0, 0, 0]


def test_the_gpu_worker_ends_where_there_is_no_gpu(stack: Stack) -> None:
    """A reservation that did not bring a GPU is an error that is told, not a worker that is slow."""
    worker = stack.container("worker-gpu", PENSTOCK_MODELS="siglip", PENSTOCK_STANDINS="1").start()

    assert worker.wait(within_s=LOAD_S) == 2
    assert "device cuda is not there" in worker.log


def test_weights_that_are_missing_are_named(stack: Stack) -> None:
    """A worker whose volume is empty ends at once, says what it wants and how to get it, and asks no hub."""
    worker = stack.container("worker", PENSTOCK_MODELS="yunet").start()

    assert worker.wait(within_s=LOAD_S) == 1
    assert PUBLISHED["yunet"].source in worker.log
    assert "penstock models pull" in worker.log


def test_what_is_fetched_is_served(stack: Stack, place: Place, tmp_path: Path) -> None:
    """`docker compose run --rm models pull whisper` fills the volume from which a worker, offline, then serves."""
    weights = tmp_path / "weights"
    weights.mkdir()
    whisper.build(weights)
    files = {file.name: file.read_bytes() for file in weights.iterdir()}
    models = stack.container("models", ASR_MODEL="acme/whisper")
    with Hub({"acme/whisper": files}) as hub:
        ended = models.run(*models.service.line, "whisper", more={"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"})
    assert ended.returncode == 0, ended.stderr
    assert sorted(files) == sorted(file.name for file in (place.volume / "whisper").iterdir())

    stack.queue()
    worker = stack.container("worker", PENSTOCK_MODELS="whisper", ASR_MODEL="acme/whisper").start().healthy()

    assert "whisper loaded and warm" in worker.log
    assert worker.stop() == 0


def test_what_the_build_sees_makes_the_wheel(tmp_path: Path) -> None:
    """The files that .dockerignore lets into the build are enough for the wheel the images are made of."""
    context, wheels = tmp_path / "context", tmp_path / "wheels"
    context.mkdir()
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line.startswith("!"):
            origin = ROOT / line.removeprefix("!")
            copy = shutil.copytree if origin.is_dir() else shutil.copy2
            copy(origin, context / origin.name)

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, context],
        capture_output=True,
        timeout=LOAD_S,
        check=True,
    )

    assert [wheel.name.split("-")[0] for wheel in wheels.iterdir()] == ["penstock"]
