"""How a worker starts, refuses to start, tells how it is, and ends."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import psutil
import pytest

from rpc import Client, DeadLettered, RedisSettings
from tests.conftest import ON_VALKEY, Gates, StartWorker, settings_for
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, WorkerProcess, environment

pytestmark = [pytest.mark.server, pytest.mark.process]

UPPER = "tests.models:Upper"
GATE = "tests.models:Gate"

OBSERVED_S = 10.0

ANYWHERE = RedisSettings.from_env({})
"""For workers that end before they look for a Redis."""


@pytest.fixture(scope="module")
def idle(server: Server) -> Iterator[WorkerProcess]:
    """Yield a worker that has nothing to do."""
    with WorkerProcess(["echo", UPPER], settings_for(server)) as worker:
        yield worker


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"PENSTOCK_LEASE_S": "0"}, "PENSTOCK_LEASE_S='0'"),
        ({"BATCH_SIZE": "many"}, "BATCH_SIZE='many'"),
        ({"PENSTOCK_DEVICE": "tpu"}, "PENSTOCK_DEVICE='tpu'"),
        ({"PENSTOCK_LOG_FORMAT": "xml"}, "PENSTOCK_LOG_FORMAT='xml'"),
        ({"PENSTOCK_PREFIX": "a b"}, "PENSTOCK_PREFIX='a b'"),
        ({"REDIS_URL": "http://user:secret@db"}, "REDIS_URL"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_refused_at_once_by_name_and_value(
    start_worker_on: StartWorker, env: dict[str, str], complaint: str
) -> None:
    """A worker told nonsense ends with status 2 and one line that says what to put right, without a password."""
    worker = start_worker_on("echo", env=env, settings=ANYWHERE, ready=False)

    assert worker.wait() == 2
    (line,) = worker.log.splitlines()
    assert line.startswith(f"penstock worker: {complaint}: ")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        (["nothing"], "--models nothing: expected one of echo, minilm"),
        (["tests.models:Missing"], "--models tests.models:Missing: module 'tests.models' has no attribute"),
        (["echo", "echo"], "--models: echo is named twice"),
    ],
)
def test_models_that_are_none_are_refused_at_once(
    start_worker_on: StartWorker, models: list[str], complaint: str
) -> None:
    """A mistyped model ends the worker with status 2 before anything is loaded."""
    worker = start_worker_on(*models, settings=ANYWHERE, ready=False)

    assert worker.wait() == 2
    assert f"penstock worker: {complaint}" in worker.log
    assert "Traceback" not in worker.log


@ON_VALKEY
@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("CannotLoad", "model cannot-load cannot be loaded: FileNotFoundError: no weights here"),
        ("CannotWarmUp", "model cannot-warm-up cannot be loaded: ValueError: a test input gave no answer"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_worker(
    redis_settings: RedisSettings, start_worker: StartWorker, model: str, complaint: str
) -> None:
    """No worker is ready without its models: it ends with status 1, naming the model and the reason."""
    worker = start_worker("echo", f"tests.models:{model}", ready=False)

    assert worker.wait() == 1
    assert complaint in worker.log
    assert "ready:" not in worker.log
    with Client(settings=redis_settings) as client:
        assert client.submit("echo", "echo", ["nobody took it"])


def test_a_port_that_is_taken_is_refused(start_worker_on: StartWorker) -> None:
    """A worker whose health could not be seen does not start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        worker = start_worker_on("echo", settings=ANYWHERE, arguments=["--health-port", str(port)], ready=False)

        assert worker.wait() == 2
    assert f"PENSTOCK_HEALTH_HOST=127.0.0.1, PENSTOCK_HEALTH_PORT={port}: " in worker.log


def test_an_address_that_is_elsewhere_is_refused(start_worker_on: StartWorker) -> None:
    """Who gave a host that is none of this machine's reads which, and is not sent to look at the port alone."""
    elsewhere = {"PENSTOCK_HEALTH_HOST": "203.0.113.7"}
    worker = start_worker_on("echo", settings=ANYWHERE, env=elsewhere, ready=False)

    assert worker.wait() == 2
    assert "PENSTOCK_HEALTH_HOST=203.0.113.7, PENSTOCK_HEALTH_PORT=0: " in worker.log


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(own_server: Server, start_worker_on: StartWorker) -> None:
    """Started before its Redis, a worker serves as soon as there is one."""
    settings = settings_for(own_server)
    own_server.kill()
    start_worker_on("echo", settings=settings)

    own_server.start()

    with Client(settings=settings) as client:
        assert client.call("echo", "echo", ["a"], timeout_s=LONG_S) == {"outputs": ["a"]}


@ON_VALKEY
@pytest.mark.parametrize(
    ("served", "model", "op", "stage"),
    [
        ("Panics", "panics", "panic", "infer-panics"),
        ("PanicsPreparing", "panics-preparing", "give", "prepare-panics-preparing"),
    ],
)
def test_an_engine_of_which_a_stage_dies_is_replaced_and_loses_no_job(
    client: Client, start_worker: StartWorker, served: str, model: str, op: str, stage: str
) -> None:
    """An engine that misses a stage would hold its jobs for ever: it ends, says which stage, and another one serves."""
    worker = start_worker(f"tests.models:{served}", "echo")
    client.submit(model, op, ["a"], job_id="j1")

    with pytest.raises(DeadLettered, match="the last engine that had it ended: exit status 1"):
        client.result(model, "j1", timeout_s=LONG_S)
    assert client.call("echo", "echo", ["a"], timeout_s=LONG_S) == {"outputs": ["a"]}
    assert worker.log.count(f"stage {stage} died") == 3
    assert worker.metric("penstock_engine_restarts_total", device="auto") == 3


@ON_VALKEY
def test_a_healthy_worker_says_so(idle: WorkerProcess) -> None:
    """Both probes are 200, with a body a person can read."""
    eventually(lambda: idle.get("/readyz")[0] == 200)
    state = json.loads(idle.get("/readyz")[1])

    assert (idle.get("/livez")[0], state["state"], state["models"]) == (200, "ready", ["echo", "upper"])
    assert state["worker"] == idle.name


@ON_VALKEY
def test_other_pages_are_not_there(idle: WorkerProcess) -> None:
    """Whoever looks elsewhere is told where to look."""
    assert idle.get("/") == (404, "expected /livez, /readyz or /metrics\n")


@ON_VALKEY
def test_metrics_are_there_before_the_first_job(idle: WorkerProcess) -> None:
    """Queue gauges of every lane and the old names can be scraped from the start."""
    samples = {name for name, _ in idle.metrics()}

    assert idle.metric("penstock_worker_ready") == 1
    assert samples >= {"penstock_jobs_waiting", "penstock_jobs_running", "penstock_oldest_job_seconds"}
    assert samples >= {"model_service_memory_bytes", "penstock_dead_letter_jobs", "penstock_redeliveries_total"}


@ON_VALKEY
@pytest.mark.bound
def test_an_idle_worker_leaves_the_processor_alone(idle: WorkerProcess) -> None:
    """Issue 2: the worker is idle at less than 1 % of a core."""
    processes = [psutil.Process(idle.pid), psutil.Process(idle.engine_pid)]
    eventually(lambda: idle.get("/readyz")[0] == 200)

    before = [process.cpu_times() for process in processes]
    with pytest.raises(psutil.TimeoutExpired):
        processes[0].wait(OBSERVED_S)
    after = [process.cpu_times() for process in processes]

    used_s = sum(new.user + new.system - old.user - old.system for old, new in zip(before, after, strict=True))
    assert used_s / OBSERVED_S < 0.01


def test_a_worker_that_cannot_reach_redis_is_alive_and_not_ready(
    own_server: Server, start_worker_on: StartWorker
) -> None:
    """An absence of Redis takes a worker out of service and does not restart it."""
    worker = start_worker_on("echo", env={"PENSTOCK_LEASE_S": "0.4"}, settings=settings_for(own_server))
    eventually(lambda: worker.get("/readyz")[0] == 200)

    own_server.kill()
    eventually(lambda: worker.get("/readyz")[0] == 503)
    live = worker.get("/livez")[0]
    own_server.start()

    assert live == 200
    eventually(lambda: worker.get("/readyz")[0] == 200)


@ON_VALKEY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_an_idle_worker_told_to_stop_ends_well_and_leaves_nothing(
    client: Client, start_worker: StartWorker, number: signal.Signals
) -> None:
    """A stop is status 0, and the worker is no longer told of."""
    worker = start_worker("echo")
    assert client.call("echo", "echo", ["a"]) == {"outputs": ["a"]}

    worker.signal(number)

    assert (worker.wait(), "drained" in worker.log) == (0, True)


@ON_VALKEY
def test_a_draining_worker_is_not_ready_and_alive(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """While running jobs finish, no new caller is sent its way and nobody restarts it."""
    worker = start_worker(GATE)
    client.submit("gate", "pass", [gates.path("a")], job_id="j1")
    eventually(gates.entered("a"))
    assert worker.get("/readyz")[0] == 200

    worker.terminate()
    eventually(lambda: worker.get("/readyz")[0] == 503)
    live = worker.get("/livez")[0]
    gates.open("a")

    assert (live, worker.wait()) == (200, 0)
    assert client.result("gate", "j1", timeout_s=5.0) == {"outputs": [gates.path("a")]}


@ON_VALKEY
def test_a_second_signal_ends_a_worker_at_once(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """Whoever asks twice does not wait for the grace to end."""
    worker = start_worker(GATE)
    client.submit("gate", "pass", [gates.path("a")])
    eventually(gates.entered("a"))

    worker.terminate()
    eventually(lambda: worker.get("/readyz")[0] == 503)
    worker.terminate()

    assert worker.wait() == 128 + signal.SIGTERM


@ON_VALKEY
def test_a_stop_is_heard_however_busy_the_health_port_is(start_worker: StartWorker) -> None:
    """Probes and scrapes without pause, each in a thread of its own, do not swallow the signal that ends a worker."""
    started = [start_worker("echo") for _ in range(6)]

    def probe(worker: WorkerProcess) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while worker.running:
                worker.get("/livez")

    with ThreadPoolExecutor(6) as threads:
        probing = [threads.submit(probe, worker) for worker in started]
        for worker in started:
            assert worker.get("/livez")[0] == 200
            worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            for worker in started:
                worker.wait(within_s=10.0)
        ended = [worker.running for worker in started]
        for worker in started:
            worker.close()
        wait(probing, LONG_S)

    assert ended == [False] * 6


@ON_VALKEY
def test_logs_can_be_json(start_worker: StartWorker) -> None:
    """With `PENSTOCK_LOG_FORMAT=json` every line of the log is an object."""
    worker = start_worker("echo", env={"PENSTOCK_LOG_FORMAT": "json"})
    worker.terminate()
    worker.wait()

    lines = [json.loads(line) for line in worker.log.splitlines()]

    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_help_is_told_without_a_redis(start_worker_on: StartWorker) -> None:
    """`--help` is answered and ends with status 0."""
    worker = start_worker_on("echo", settings=ANYWHERE, arguments=["--help"], ready=False)

    assert worker.wait() == 0


def test_a_worker_told_of_no_model_says_so() -> None:
    """A list of models that names none ends the worker with status 2, by the name of what was given."""
    line = [sys.executable, "-m", "inference_worker", "--models", ","]
    ended = subprocess.run(
        line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LONG_S, check=False
    )

    assert (ended.returncode, "PENSTOCK_MODELS=',': names no model" in ended.stderr) == (2, True)


@pytest.mark.parametrize("engines", ["shared", "per-model"])
def test_models_that_do_not_fit_into_memory_are_refused_before_any_is_loaded(
    start_worker: StartWorker, engines: str
) -> None:
    """The worker ends with status 1 and says what is needed and what there is; it can be told not to look."""
    worker = start_worker("echo", "tests.models:Huge", arguments=["--engines", engines], ready=False)

    assert worker.wait() == 1
    assert "echo loaded" not in worker.log
    assert "the models (echo 0.0, huge 1000000.0) need 1000000.0 GB on cpu" in worker.log
    assert "loaded although it does not fit" not in worker.log


def test_a_worker_can_be_told_not_to_look_at_its_memory(start_worker: StartWorker) -> None:
    """Models that do not fit are loaded all the same where the check is switched off."""
    careless = start_worker("tests.models:Huge", env={"PENSTOCK_MEMORY_CHECK": "false"}, ready=False)

    assert careless.wait() == 1
    assert "loaded although it does not fit" in careless.log


@ON_VALKEY
def test_two_engines_that_serve_one_name_end_the_worker(start_worker: StartWorker) -> None:
    """The name of a class is known when its engine is ready: then a worker whose engines would share it ends with 2."""
    models = ["tests.models:Upper", "upper=echo"]
    worker = start_worker(*models, arguments=["--engines", "per-model"], ready=False)

    assert worker.wait() == 2
    assert "--models: upper is named twice" in worker.log
