"""Large inputs through a real worker, and what becomes of them when it dies."""

import signal
from collections.abc import Callable

import numpy as np
import pytest
from redis import Redis

from rpc import Client, JobLost, RedisSettings
from rpc.keys import Keys
from tests.callers import Callers
from tests.conftest import Gates, StartWorker
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, pytest.mark.process]

MEGABYTES = 20


def left(raw: "Redis") -> Callable[[], bool]:
    """Return a look at whether no blob is left on the server."""
    return lambda: not list(raw.scan_iter(match="*:blob:*", count=1000))


@pytest.mark.parametrize(
    "large",
    [
        np.random.default_rng(1).bytes(MEGABYTES * 1_000_000),
        np.random.default_rng(2).integers(0, 255, (2000, 1000, 3), np.uint8),
        "sixteen letters " * 100_000,
    ],
    ids=["bytes", "pixels", "text"],
)
def test_a_large_input_reaches_the_model(
    large: object, callers: Callers, raw: "Redis", start_worker: StartWorker
) -> None:
    """Twenty megabytes go to the model and back as they are, and leave nothing behind."""
    start_worker("echo")

    (back,) = callers.make().call("echo", "echo", [large], timeout_s=LONG_S)["outputs"]

    assert np.array_equal(back, large) if isinstance(large, np.ndarray) else back == large
    assert left(raw)()


def test_a_blob_written_by_hand_is_found(
    raw: "Redis", redis_settings: RedisSettings, start_worker: StartWorker
) -> None:
    """With redis-cli a file goes under the blob's key, and its number into the job."""
    start_worker("echo")
    keys = Keys(redis_settings.prefix, "echo")
    raw.set(keys.blob("by-hand", 0), b"a file", px=60_000)

    raw.xadd(keys.stream("interactive"), {"id": "by-hand", "op": "echo", "json": '{"inputs": [{"blob": 0}]}'})

    reply = eventually(lambda: raw.get(keys.result("by-hand")))
    assert '{"outputs": [{"base64": "YSBmaWxl"}]}' in str(reply)
    assert left(raw)()


def test_a_blob_that_is_not_there_fails_its_input_alone(
    client: Client, raw: "Redis", redis_settings: RedisSettings, start_worker: StartWorker
) -> None:
    """The job is told what is missing; the worker goes on."""
    start_worker("echo")
    keys = Keys(redis_settings.prefix, "echo")
    raw.xadd(keys.stream("interactive"), {"id": "lost", "op": "echo", "json": '{"inputs": [{"blob": 3}]}'})

    with pytest.raises(JobLost, match="blob 3 of job lost is missing"):
        client.result("echo", "lost", timeout_s=LONG_S)
    assert client.call("echo", "echo", ["next"], timeout_s=LONG_S) == {"outputs": ["next"]}


def test_a_large_input_survives_the_worker_that_had_it(
    client: Client, raw: "Redis", gates: Gates, start_worker: StartWorker
) -> None:
    """Killed in the middle of the pass, the worker leaves the blob to the next one; after the reply it is gone."""
    padded = gates.path("large").ljust(300_000, "/")
    first = start_worker("tests.models:Gate", env={"PENSTOCK_LEASE_S": "1"})
    job_id = client.submit("gate", "pass", [padded], timeout_s=LONG_S)
    eventually(gates.entered("large"))

    first.signal(signal.SIGKILL)
    start_worker("tests.models:Gate", env={"PENSTOCK_LEASE_S": "1"})
    gates.open("large")

    assert client.result("gate", job_id, timeout_s=LONG_S)["outputs"] == [padded]
    assert left(raw)()
