"""Jobs over HTTP: queued now, asked for later, followed while they run, and cancelled."""

import base64
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from redis import Redis

from producers.gateway import events
from rpc import RedisSettings
from rpc.consumer import Consumer
from rpc.errors import ModelError
from rpc.messages import Failure
from rpc.parts import Part, part_field, total_field
from tests.answering import echo, given, job_of, read_one, reply_with, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import OPS
from tests.gateways import GatewayThread
from tests.servers import Server
from tests.waiting import LONG_S

pytestmark = [pytest.mark.server, ON_VALKEY]

ECHO = {"model": "echo", "op": "echo", "inputs": ["hello"]}


@pytest.fixture
def worker(make_consumer: MakeConsumer) -> Consumer:
    """Return a live worker of echo that answers when the test says so."""
    consumer = make_consumer(model="echo")
    consumer.announce({"ops": OPS["echo"], "started": "0"})
    show_life(consumer)
    return consumer


@pytest.fixture
def http(redis_settings: RedisSettings, worker: Consumer) -> Iterator[httpx2.Client]:
    """Yield a client of a gateway in front of that worker."""
    del worker
    with (
        GatewayThread(redis_settings) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        yield client


def test_a_job_is_queued_and_its_result_asked_for_later(http: httpx2.Client, worker: Consumer) -> None:
    """Where to ask is told at once."""
    queued = http.post("/v1/jobs", json=ECHO)
    place = queued.headers["location"]

    assert (queued.status_code, queued.json()["state"]) == (202, "waiting")
    assert (place, http.get(place).json()["state"]) == (f"/v1/jobs/{queued.json()['id']}", "waiting")

    delivery = read_one(worker)
    assert http.get(place).json()["state"] == "running"

    worker.settle([echo(delivery)])
    told = http.get(place).json()
    assert (told["state"], told["result"]) == ("succeeded", {"outputs": ["hello"]})
    assert told["meta"]["worker"] == "in-process"


@pytest.mark.parametrize(
    ("prefer", "ttl_ms"), [("", 3_600_000), ("wait=0", 3_600_000), ("wait", 60_000)], ids=["queued", "a while", "wait"]
)
def test_a_job_may_wait_for_as_long_as_somebody_may_ask_for_it(
    http: httpx2.Client, worker: Consumer, prefer: str, ttl_ms: int
) -> None:
    """An hour to be started, unless its caller waits for it to the end."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(http.post, "/v1/jobs", json=ECHO, headers={"prefer": prefer} if prefer else {})
        delivery = read_one(worker)
        worker.settle([echo(delivery)])
        asked.result(LONG_S)

    assert job_of(delivery).ttl_ms == ttl_ms


def test_a_job_that_failed_says_why(http: httpx2.Client, worker: Consumer) -> None:
    """The job is there, so asking for it is no error."""
    place = http.post("/v1/jobs", json=ECHO).headers["location"]
    worker.settle([reply_with(read_one(worker), Failure.of(ModelError("no memory")))])
    told = http.get(place)

    assert (told.status_code, told.json()["state"]) == (200, "failed")
    assert told.json()["error"] == {"code": "model_error", "message": "no memory", "retryable": False}


def test_files_travel_in_base64_and_arrays_come_as_lists(http: httpx2.Client, worker: Consumer) -> None:
    """JSON knows neither."""
    picture = {"base64": base64.b64encode(b"\x00\xff").decode()}
    place = http.post("/v1/jobs", json={**ECHO, "inputs": [picture]}).headers["location"]
    delivery = read_one(worker)
    worker.settle([reply_with(delivery, {"vectors": np.eye(2, dtype=np.float32), "raw": b"\x01"})])

    assert job_of(delivery).inputs == [b"\x00\xff"]
    assert http.get(place).json()["result"] == {"vectors": [[1.0, 0.0], [0.0, 1.0]], "raw": {"base64": "AQ=="}}


def test_large_files_arrive_whole_wherever_they_stand(http: httpx2.Client, worker: Consumer) -> None:
    """Beside texts and small files, and in what is no file itself."""
    large, small = np.random.default_rng(1).bytes(3_000_000), b"\x00\xff"
    files = [{"base64": base64.b64encode(content).decode()} for content in (large, small, large[:90_000])]
    http.post("/v1/jobs", json={**ECHO, "inputs": [files[0], "text", files[1], {"inside": [files[2]]}]})
    delivery = read_one(worker)

    assert given(worker, delivery) == [large, "text", small, {"inside": [large[:90_000]]}]


def test_a_large_file_counts_in_what_a_key_stands_for(http: httpx2.Client) -> None:
    """Although it is not kept as it came."""
    key = {"idempotency-key": "order-1"}
    contents = [np.random.default_rng(seed).bytes(100_000) for seed in (1, 1, 2)]
    bodies = [{**ECHO, "inputs": [{"base64": base64.b64encode(content).decode()}]} for content in contents]

    assert [http.post("/v1/jobs", json=body, headers=key).status_code for body in bodies] == [202, 202, 422]


def test_files_that_are_no_inputs_have_a_limit_of_their_own(http: httpx2.Client) -> None:
    """They would travel inside the job."""
    inside = {"base64": base64.b64encode(bytes(9_000_000)).decode()}
    told = http.post("/v1/jobs", json={**ECHO, "inputs": [{"inside": inside}]})

    assert (told.status_code, told.json()["error"]["code"]) == (422, "invalid_input")
    assert "may be larger" in told.json()["detail"]


def test_what_the_caller_says_of_the_job_reaches_it(http: httpx2.Client, worker: Consumer) -> None:
    """Its id, lane, times and options."""
    said: dict[str, Any] = {"job_id": "mine:1", "lane": "bulk", "timeout_s": 7, "keep_s": 90.5, "options": {"a": 1}}
    told = http.post("/v1/jobs", json={**ECHO, **said}).json()
    job = job_of(read_one(worker, ["bulk"]))

    assert (told["id"], job.id, job.lane, job.ttl_ms, job.keep_ms) == ("echo:mine:1", "mine:1", "bulk", 7000, 90_500)
    assert job.options == {"a": 1}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": None}, "model and op"),
        ({"model": "a b"}, "model name"),
        ({"inputs": []}, "inputs"),
        ({"inputs": "hello"}, "inputs"),
        ({"options": [1]}, "options"),
        ({"lane": "fast"}, "lane"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"keep_s": "long"}, "keep_s"),
        ({"job_id": "a/b"}, "job id"),
        ({"job_id": 7}, "job_id"),
        ({"inputs": [{"blob": 3}]}, "blob"),
        ({"inputs": [{"base64": "*"}]}, "base64"),
        ({"inputs": [{"base64": 7}]}, "base64"),
        ({"sense": 1}, "no field 'sense'"),
    ],
)
def test_what_cannot_be_a_job_is_refused_by_name(http: httpx2.Client, change: dict[str, Any], named: str) -> None:
    """With a status that blames the caller."""
    told = http.post("/v1/jobs", json={**ECHO, **change})

    assert told.status_code in {404, 422}
    assert named in told.json()["detail"]


def test_who_waits_is_answered_with_the_result(http: httpx2.Client, worker: Consumer) -> None:
    """If it is there in time; else where to ask for it, and the job goes on."""
    early = http.post("/v1/jobs", json=ECHO, headers={"prefer": "wait=0"})

    assert (early.status_code, early.headers["location"].startswith("/v1/jobs/echo:")) == (202, True)
    delivery = read_one(worker)
    worker.settle([echo(delivery)])
    assert http.get(early.headers["location"]).json()["state"] == "succeeded"


def test_a_job_is_cancelled_once(http: httpx2.Client, worker: Consumer) -> None:
    """What is answered stays answered."""
    place = http.post("/v1/jobs", json=ECHO).headers["location"]

    assert http.delete(place).json()["state"] == "cancelled"
    assert http.delete(place).json()["state"] == "finished"
    assert (http.get(place).json()["state"], http.get(place).json()["error"]["code"]) == ("cancelled", "cancelled")
    assert worker.answered([read_one(worker)])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("job", ["echo:nobody", "echo", "echo:", "never-served:1"])
def test_a_job_nobody_queued_is_not_found(http: httpx2.Client, method: str, job: str) -> None:
    """Whatever is wrong with its name."""
    assert http.request(method, f"/v1/jobs/{job}").status_code in {404, 422}


def test_a_job_is_followed_to_its_end(http: httpx2.Client, worker: Consumer) -> None:
    """Each change is told once, the result last."""
    place = http.post("/v1/jobs", json=ECHO).headers["location"]
    with http.stream("GET", f"{place}/events") as stream:
        lines = (line for line in stream.iter_lines() if line)
        waiting = _next(lines)
        delivery = read_one(worker)
        worker.keep(job_of(delivery).id, [total_field(0, 4), part_field(Part(0, 0, "x"))])
        running = _next(lines)
        worker.settle([echo(delivery)])
        seen = [waiting, running]
        while seen[-1][0] != "done":
            seen.append(_next(lines))
        rest = list(lines)

    told = [stream.headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")]
    assert told == ["text/event-stream; charset=utf-8", "no-cache", "no"]
    assert [name for name, _ in seen[:-1]] == ["progress"] * (len(seen) - 1)
    assert (waiting[1]["state"], seen[-1][1]["state"], rest) == ("waiting", "succeeded", [])
    assert seen[-1][1]["result"] == {"outputs": ["hello"]}


def _next(lines: Iterator[str]) -> tuple[str, dict[str, Any]]:
    """Return name and content of the next event."""
    return next(lines).removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))


def test_a_job_is_followed_while_redis_is_away(
    own_server: Server, make_consumer: MakeConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With signs of life meanwhile, and to its end when Redis is back."""
    del make_consumer
    monkeypatch.setattr(events, "SIGN_S", 0.1)
    settings = RedisSettings.from_env({}, url=own_server.url, socket_timeout_s=1.0)
    with GatewayThread(settings) as running, httpx2.Client(base_url=running.url, timeout=LONG_S) as http:
        place = http.post("/v1/jobs", json=ECHO).headers["location"]
        with http.stream("GET", f"{place}/events") as stream:
            lines = (line for line in itertools.islice(stream.iter_lines(), MANY) if line)
            waiting = _next(lines)
            own_server.kill()
            signs = [next(lines) for _ in range(3)]
            own_server.start()
            assert http.delete(place).json()["state"] == "cancelled"
            ended = _next(line for line in lines if line not in signs)

    assert (waiting[1]["state"], signs) == ("waiting", [": still here"] * 3)
    assert (ended[0], ended[1]["state"]) == ("done", "cancelled")


MANY = 1000
"""Lines that are read before a stream is taken for one without an end."""


def test_a_job_that_is_lost_while_it_is_followed_is_an_error(
    http: httpx2.Client, worker: Consumer, raw: "Redis"
) -> None:
    """Told as every error is."""
    place = http.post("/v1/jobs", json=ECHO).headers["location"]
    with http.stream("GET", f"{place}/events") as stream:
        lines = (line for line in itertools.islice(stream.iter_lines(), MANY) if line)
        _next(lines)
        raw.delete(*raw.keys(f"{worker.keys.prefix}:*"))
        name, told = _next(lines)

    assert (name, told["type"], told["status"]) == ("error", "urn:penstock:error:job_not_found", 404)
    assert told["detail"] == told["error"]["message"]
