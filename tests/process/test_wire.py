"""Programs that know the protocol and nothing of this project: redis-py, msgpack, and what a person types."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from redis import Redis

from rpc import RedisSettings
from tests.conftest import settings_for
from tests.servers import Server
from tests.waiting import eventually
from tests.workers import ROOT, WorkerProcess, environment

pytestmark = [pytest.mark.server, pytest.mark.process]

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def settings(server: Server) -> Iterator[RedisSettings]:
    """Yield where the worker of this module's tests is."""
    settings = settings_for(server)
    with WorkerProcess(["echo", "tests.models:Upper"], settings):
        yield settings


@pytest.fixture
def redis(settings: RedisSettings) -> Iterator[Any]:
    """Yield all that a foreign program has."""
    with Redis.from_url(settings.url.get_secret_value(), protocol=2) as redis:
        yield redis


class Foreign:
    """A caller written from section 5 of the design alone."""

    def __init__(self, redis: Any, prefix: str, model: str) -> None:
        self.redis = redis
        self.channel = f"{prefix}:reply:{uuid.uuid4().hex}"
        self._base = f"{prefix}:{{{model}}}"

    def add(self, fields: dict[str, Any], lane: str = "interactive") -> str:
        """Queue an entry and return its id."""
        entry: bytes = self.redis.xadd(f"{self._base}:{lane}", fields)
        return entry.decode()

    def submit(self, op: str, inputs: list[Any], **more: Any) -> str:
        """Queue a job with every field a client sends, and return its id."""
        job_id = uuid.uuid4().hex
        payload = msgpack.packb({"inputs": inputs, "options": {}})
        given = {"v": 1, "id": job_id, "op": op, "ttl_ms": 60_000, "keep_ms": HOUR_MS, "reply": self.channel}
        self.add({**given, **more, "payload": payload})
        return job_id

    def stored(self, job_id: str) -> bytes:
        """Return what lies under the result key, once it does."""
        value: bytes = eventually(lambda: self.redis.get(f"{self._base}:result:{job_id}"), what=job_id)
        return value

    def waiting(self) -> int:
        """Return how many jobs are in the lanes."""
        return sum(self.redis.xlen(f"{self._base}:{lane}") for lane in ("interactive", "bulk"))


@pytest.fixture
def foreign(redis: Any, settings: RedisSettings) -> Foreign:
    """Return a foreign caller of `echo`."""
    return Foreign(redis, settings.prefix, "echo")


def test_a_foreign_program_gets_right_answers(foreign: Foreign) -> None:
    """A program of redis-py and msgpack submits, is told on its channel, and reads the result."""
    with foreign.redis.pubsub() as subscription:
        subscription.subscribe(foreign.channel)
        eventually(lambda: subscription.get_message(timeout=1.0))
        job_id = foreign.submit("echo", ["text", b"\x00\xff", 3, {"a": [1.5]}])
        told = eventually(lambda: subscription.get_message(timeout=1.0))

    reply = msgpack.unpackb(foreign.stored(job_id))

    assert told["data"].split(b"\n")[0].decode() == job_id
    assert (reply["v"], reply["ok"]) == (1, True)
    assert reply["result"] == {"outputs": ["text", b"\x00\xff", 3, {"a": [1.5]}]}
    assert set(reply["meta"]) == {"worker", "attempts", "batch", "queued_ms", "prepare_ms", "infer_ms"}


def test_the_programs_of_the_protocol_page_do_what_it_says(settings: RedisSettings) -> None:
    """The producer from scratch has its answer, and the script it is shown next says that the job has its reply."""
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.stdout, ran.stderr) == ("['hello', 3]\n[b'done']\n", "")


def test_many_jobs_of_a_foreign_program_are_each_answered(foreign: Foreign) -> None:
    """A hundred jobs sent in one go have a hundred right results."""
    ids = [foreign.submit("echo", [number]) for number in range(100)]

    outputs = [msgpack.unpackb(foreign.stored(job_id))["result"]["outputs"] for job_id in ids]

    assert [[number] for number in range(100)] == outputs
    eventually(lambda: foreign.waiting() == 0)


def test_an_array_goes_both_ways_without_numpy(foreign: Foreign) -> None:
    """An array map comes back as the array map it was."""
    array = {"dtype": "<f4", "shape": [1, 2], "data": b"\x00\x00\x80?\x00\x00\x00@"}

    reply = msgpack.unpackb(foreign.stored(foreign.submit("echo", [array])))

    assert reply["result"]["outputs"] == [array]


def test_a_foreign_program_reads_errors_by_code(foreign: Foreign) -> None:
    """An error reply says what, in words for people and a code for programs, and whether to try again."""
    reply = msgpack.unpackb(foreign.stored(foreign.submit("sing", ["a"])))

    error = reply["error"]
    assert (reply["v"], reply["ok"], error["code"], error["retryable"]) == (1, False, "unknown_model", False)
    assert "'sing'" in error["message"]


@pytest.mark.parametrize("lane", ["interactive", "bulk"])
def test_a_job_typed_by_hand_is_answered_in_json_under_its_entry_id(foreign: Foreign, lane: str) -> None:
    """`XADD ... op echo json '{...}'` is all a person needs to type; `GET` shows JSON."""
    entry = foreign.add({"op": "echo", "json": '{"inputs": ["two girls", {"base64": "AP8="}, 1.5]}'}, lane)

    reply = json.loads(foreign.stored(entry))

    assert (reply["ok"], reply["result"]) == (True, {"outputs": ["two girls", {"base64": "AP8="}, 1.5]})
    assert reply["meta"]["attempts"] == 1


def test_numbers_json_has_not_are_null(foreign: Foreign) -> None:
    """NaN in is null out, in text that every JSON reader accepts."""
    entry = foreign.add({"op": "echo", "json": '{"inputs": [NaN, 1e999]}'})

    reply = json.loads(foreign.stored(entry), parse_constant=pytest.fail)

    assert reply["result"] == {"outputs": [None, None]}


def test_an_error_of_a_typed_job_is_json_too(foreign: Foreign) -> None:
    """A typing mistake is answered in what was typed."""
    entry = foreign.add({"op": "echo", "json": '{"inputs": ['})

    assert json.loads(foreign.stored(entry))["error"]["code"] == "invalid_input"


def test_a_job_of_a_users_model_needs_nothing_but_its_name(redis: Any, settings: RedisSettings) -> None:
    """Any model is called the same way."""
    caller = Foreign(redis, settings.prefix, "upper")

    reply = msgpack.unpackb(caller.stored(caller.submit("upper", ["a", "b"])))

    assert reply["result"] == {"texts": ["A", "B"], "failed": []}


def test_who_serves_is_told_where_the_protocol_says(redis: Any, settings: RedisSettings) -> None:
    """Models, workers and their descriptions can be read with redis-cli."""
    base = f"{settings.prefix}:{{echo}}"
    (worker,) = eventually(lambda: redis.zrange(f"{base}:workers", 0, -1))

    about = eventually(lambda: redis.hgetall(f"{base}:worker:{worker.decode()}"))

    assert redis.smembers(f"{settings.prefix}:models") == {b"echo", b"upper"}
    assert (about[b"ops"], about[b"state"]) == (b"echo", b"ready")
    assert {b"version", b"started", b"health"} <= set(about)
    assert redis.hget(f"{base}:config", "max_jobs") == b"100000"


def test_the_result_lives_as_long_as_asked(foreign: Foreign) -> None:
    """`keep_ms` is the life of the result key; 0 leaves a marker without the result, for the time to live."""
    kept = foreign.submit("echo", ["a"], keep_ms=50_000)
    dropped = foreign.submit("echo", ["a"], keep_ms=0)

    replies = [msgpack.unpackb(foreign.stored(job_id)) for job_id in (kept, dropped)]
    lives = [foreign.redis.pttl(f"{foreign._base}:result:{job_id}") for job_id in (kept, dropped)]

    assert [reply["result"] for reply in replies] == [{"outputs": ["a"]}, None]
    assert replies[1]["ok"] is True
    assert 20_000 < lives[0] <= 50_000
    assert 0 < lives[1] <= 60_000
