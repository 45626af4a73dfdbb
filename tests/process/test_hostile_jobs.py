"""Jobs that are wrong, and models that fail: each is told so, and nobody else notices."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import pytest
from redis import Redis

from rpc import Client, InvalidInput, ModelError, RedisSettings, RpcError, UnknownModel, inspection
from rpc.codec import decode_reply
from rpc.keys import Keys
from rpc.messages import Failure
from tests.conftest import Gates, settings_for
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process]

MODELS = ("Upper", "Raises", "WrongLength", "BadPrepare", "BadFinish", "WideGate")

LIMIT = 100_000
"""The most bytes of a payload in these tests."""


@dataclass
class Serving:
    """A worker of all hostile models, a caller of it, and redis-py."""

    settings: RedisSettings
    worker: WorkerProcess
    client: Client
    redis: Any

    def add(self, model: str, fields: dict[Any, Any]) -> str:
        """Queue an entry as it is and return its id."""
        entry: bytes = self.redis.xadd(Keys(self.settings.prefix, model).stream("interactive"), fields)
        return entry.decode()

    def answer(self, model: str, job_id: str) -> Any:
        """Return the stored reply, once there is one."""
        key = Keys(self.settings.prefix, model).result(job_id)
        return decode_reply(eventually(lambda: self.redis.get(key), what=lambda: f"{key}; {self.worker.log}"))

    def in_lanes(self, model: str) -> int:
        """Return how many jobs of a model wait or run."""
        state = self.client.ask(inspection.model_state(self.settings.prefix, model))
        return sum(lane.waiting + lane.running for lane in state.lanes)

    def call(self, model: str, op: str, *inputs: Any, **options: Any) -> Any:
        """Return the result of a job."""
        return self.client.call(model, op, list(inputs), options, timeout_s=LONG_S)


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Serving]:
    """Yield a worker that all tests of this module share, hostile as they are."""
    settings = settings_for(server)
    models = ["echo", *(f"tests.models:{name}" for name in MODELS)]
    redis = Redis.from_url(server.url, protocol=2)
    with (
        WorkerProcess(models, settings, {"PENSTOCK_MAX_PAYLOAD_BYTES": str(LIMIT)}) as worker,
        Client(settings=settings) as client,
        redis,
    ):
        yield Serving(settings, worker, client, redis)


@pytest.fixture
def serving(shared: Serving) -> Iterator[Serving]:
    """Yield the shared worker, which has to be well before the test and after it, with nothing left in its lanes."""
    yield shared
    assert shared.worker.running, shared.worker.log
    assert shared.call("echo", "echo", "still there") == {"outputs": ["still there"]}
    prefix = shared.settings.prefix
    models = shared.client.ask(inspection.known_models(prefix))
    eventually(lambda: sum(shared.in_lanes(model) for model in models) == 0, what="every lane empty")


PAYLOAD = msgpack.packb({"inputs": ["a"]})


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"id": "v", "v": "2", "op": "echo", "payload": PAYLOAD}, "invalid_input", "wire version 2"),
        ({"id": "ttl", "op": "echo", "ttl_ms": "soon", "payload": PAYLOAD}, "invalid_input", "ttl_ms"),
        ({"id": "keep", "op": "echo", "keep_ms": "-1", "payload": PAYLOAD}, "invalid_input", "keep_ms"),
        ({"id": "noop", "payload": PAYLOAD}, "invalid_input", "op is missing"),
        ({"id": "op", "op": "sing", "payload": PAYLOAD}, "unknown_model", "no op 'sing'; it offers echo"),
        ({"id": "utf8", "op": b"\xff", "payload": PAYLOAD}, "invalid_input", "op is not UTF-8"),
        ({"id": "none", "op": "echo"}, "invalid_input", "neither payload nor json"),
        ({"id": "junk", "op": "echo", "payload": b"\xc1"}, "invalid_input", "not msgpack"),
        ({"id": "list", "op": "echo", "payload": msgpack.packb([1])}, "invalid_input", "no map"),
        ({"id": "empty", "op": "echo", "payload": msgpack.packb({"inputs": []})}, "invalid_input", "no list"),
        ({"id": "json", "op": "echo", "json": "{"}, "invalid_input", "json cannot be read"),
        ({"id": "big", "op": "echo", "payload": b"x" * (LIMIT + 1)}, "invalid_input", "over the limit"),
        ({"id": "bigjson", "op": "echo", "json": "x" * (LIMIT + 1)}, "invalid_input", "over the limit"),
        (
            {"id": "base64", "op": "echo", "json": '{"inputs": [{"base64": 5}]}'},
            "invalid_input",
            "json",
        ),
        (
            {
                "id": "dtype",
                "op": "echo",
                "payload": msgpack.packb({"inputs": [{"dtype": [], "shape": [], "data": b""}]}),
            },
            "invalid_input",
            "dtype",
        ),
        (
            {
                "id": "dims",
                "op": "echo",
                "payload": msgpack.packb({"inputs": [{"dtype": "<f4", "shape": [0, 2**63], "data": b""}]}),
            },
            "invalid_input",
            "payload",
        ),
    ],
    ids=lambda value: value.get("id") if isinstance(value, dict) else "",
)
def test_an_entry_that_says_whom_to_answer_is_answered(
    serving: Serving, fields: dict[str, Any], code: str, words: str
) -> None:
    """A malformed job with an id is told at once what is wrong with it, by code and in words."""
    serving.add("echo", fields)

    reply = serving.answer("echo", fields["id"])

    assert isinstance(reply, Failure)
    assert (reply.code, words in reply.message) == (code, True), reply


@pytest.mark.parametrize(
    "text",
    [r'{"inputs": ["\ud800"]}', '{"inputs": [' + "[" * 400 + "]" * 400 + "]}", r'{"inputs": [{"\udfff": 1}]}'],
    ids=["half a character", "deep", "half a name"],
)
def test_json_that_can_be_read_and_hardly_answered_is_answered(serving: Serving, text: str) -> None:
    """What JSON can spell and the reply cannot is told as an error, and ends no worker."""
    entry = serving.add("echo", {"op": "echo", "json": text})

    assert serving.answer("echo", entry) is not None


@pytest.mark.parametrize(
    "fields",
    [{"junk": "1"}, {"op": "echo"}, {b"\xff": b"\xfe"}, {"id": "a b", "op": "echo", "payload": PAYLOAD}],
    ids=["junk", "op alone", "bytes", "bad id"],
)
def test_an_entry_that_is_no_job_goes_to_the_dead_letter(serving: Serving, fields: dict[Any, Any]) -> None:
    """Garbage nobody can be told of is kept for the operator with the reason, and its neighbour is answered."""
    prefix = serving.settings.prefix
    before = len(serving.client.ask(inspection.dead_jobs(prefix, "echo")))

    serving.add("echo", fields)
    neighbour = serving.call("echo", "echo", "beside")
    eventually(lambda: len(serving.client.ask(inspection.dead_jobs(prefix, "echo"))) > before)

    newest, *_ = serving.client.ask(inspection.dead_jobs(prefix, "echo"))
    assert (newest.code, neighbour) == ("invalid_input", {"outputs": ["beside"]})


def test_garbage_is_counted(serving: Serving) -> None:
    """Dead letters show in the metrics."""
    before = serving.worker.metric("penstock_dead_letters_total", model="echo")
    serving.add("echo", {"junk": "1"})

    eventually(lambda: serving.worker.metric("penstock_dead_letters_total", model="echo") == before + 1)


def test_a_wrong_type_fails_its_input_alone(serving: Serving) -> None:
    """A model that can tell its inputs apart answers those that are right."""
    assert serving.call("upper", "upper", "a", 3, None, b"b", "c") == {
        "texts": ["A", None, None, None, "C"],
        "failed": ["invalid_input"] * 3,
    }


def test_a_job_of_one_wrong_input_is_told_its_error(serving: Serving) -> None:
    """The error of the only input is the error of the job."""
    with pytest.raises(InvalidInput, match="the input is of type int, not a text"):
        serving.call("upper", "upper", 3)


def test_what_cannot_be_sent_is_refused_where_it_is_sent(serving: Serving) -> None:
    """An object without a form on the wire never reaches a worker."""
    with pytest.raises(InvalidInput, match="object has no form on the wire"):
        serving.call("echo", "echo", object())
    with pytest.raises(InvalidInput, match="float64"):
        serving.call("echo", "echo", np.zeros(2))


def test_an_op_the_model_has_not_is_unknown(serving: Serving) -> None:
    """An op that live workers refuse is `UnknownModel`, with those they offer."""
    with pytest.raises(UnknownModel, match="upper has no op 'lower'; it offers upper"):
        serving.call("upper", "lower", "a")


def test_a_prepare_that_refuses_and_one_that_fails_are_told_apart(serving: Serving) -> None:
    """Whether it was the caller's fault or the model's shows in the error."""
    with pytest.raises(InvalidInput, match=r"^refused$"):
        serving.call("bad-prepare", "prepare", "refuse")
    with pytest.raises(ModelError, match=r"^input 1: RuntimeError: tripped$"):
        serving.call("bad-prepare", "prepare", "fine", "trip")


def test_a_finish_that_fails_is_told(serving: Serving) -> None:
    """A model that fails to put its result together fails the job, and that one alone."""
    with pytest.raises(ModelError, match=r"^RuntimeError: tripped$"):
        serving.call("bad-finish", "finish", "trip")
    with pytest.raises(ModelError, match="cannot be sent"):
        serving.call("bad-finish", "finish", "unsendable")


def test_a_pass_of_the_wrong_length_mixes_up_nobody(serving: Serving) -> None:
    """A model that returns too few outputs fails the job that made it so; its neighbours get their own."""
    with ThreadPoolExecutor(3) as threads:
        good = [threads.submit(serving.call, "wrong-length", "count", name) for name in ("a", "b")]
        bad = threads.submit(serving.call, "wrong-length", "count", "short")

        assert [call.result(LONG_S) for call in good] == [{"outputs": ["a"]}, {"outputs": ["b"]}]
        assert isinstance(bad.exception(LONG_S), ModelError)


def test_a_model_that_raises_on_one_unit_of_a_batch_answers_the_others(serving: Serving, gates: Gates) -> None:
    """In a pass of many jobs only the one that made it fail is told an error; all shared that pass."""
    blocked = serving.client.submit("wide-gate", "pass", [gates.path("hold")])
    eventually(gates.entered("hold"))
    names = [f"good{number}" for number in range(7)]
    ids = [serving.client.submit("wide-gate", "pass", [gates.path(name)]) for name in names]
    culprit = serving.client.submit("wide-gate", "pass", [3])
    eventually(lambda: serving.worker.metric("penstock_jobs_in_hand", model="wide-gate") == len(names) + 2)

    gates.open("hold", *names)

    assert serving.client.result("wide-gate", blocked, timeout_s=LONG_S) == {"outputs": [gates.path("hold")]}
    for name, job_id in zip(names, ids, strict=True):
        assert serving.client.result("wide-gate", job_id, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    with pytest.raises(ModelError, match="TypeError"):
        serving.client.result("wide-gate", culprit, timeout_s=LONG_S)


def test_neighbours_of_a_bad_unit_in_the_same_job_fail_with_it_by_number(serving: Serving) -> None:
    """A model that cannot tell inputs apart fails the whole job, and names the input."""
    with pytest.raises(ModelError, match=r"^input 1: ValueError: bad unit$"):
        serving.call("raises", "check", "a", "bad", "c")
    assert serving.call("raises", "check", "a", "b", "c") == {"outputs": ["a", "b", "c"]}


def test_failures_are_counted_by_code(serving: Serving) -> None:
    """How jobs ended shows in the metrics, under both names."""
    worker, labels = serving.worker, {"model": "raises", "op": "check", "status": "model_error"}
    before = worker.metric("penstock_jobs_total", **labels)
    with pytest.raises(RpcError):
        serving.call("raises", "check", "bad")

    eventually(lambda: worker.metric("penstock_jobs_total", **labels) == before + 1)
    assert worker.metric("model_service_requests_total", model="raises", status="error") >= before + 1


def test_a_payload_over_the_callers_limit_is_never_sent(serving: Serving) -> None:
    """The client keeps the limit it was given."""
    small = serving.settings.model_copy(update={"max_payload_bytes": 1024})
    with Client(settings=small) as client, pytest.raises(InvalidInput, match="over the limit of 1024"):
        client.call("echo", "echo", ["x" * 2000])
