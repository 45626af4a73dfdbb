"""Thousands of damaged files and of entries that nearly are jobs, to one running worker.

`PENSTOCK_FUZZ_SEED` and `PENSTOCK_FUZZ_COUNT` change the seed and how many there are of each of the three kinds.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psutil
import pytest
from redis import Redis

from inference_worker.standins.yunet import squares_picture
from rpc import Client, RedisSettings, inspection
from rpc.codec import decode_reply
from rpc.keys import LANES, Keys
from rpc.messages import MOST_TOLD, Failure, Reply, Success
from tests.conftest import ON_VALKEY, settings_for
from tests.fuzzing import corpus
from tests.fuzzing.entries import OPS, Entry, entry, packed
from tests.fuzzing.values import SPEECH
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

SEED = os.environ.get("PENSTOCK_FUZZ_SEED", "1")

COUNT = int(os.environ.get("PENSTOCK_FUZZ_COUNT", "700"))

WITHIN_S = LONG_S + COUNT / 10
"""How long all inputs of a kind may take together."""

THEIR_FAULT = {"invalid_input", "unknown_model", "expired", "job_lost"}
"""What a caller may be told of an input by chance: none of these is a fault of the model or of the worker."""

Alive = Mapping[str, Any]
"""Who serves, and since when."""


@dataclass
class Fuzzed:
    """A worker of the four families and `echo`, on stand-ins, a caller of it, and redis-py."""

    settings: RedisSettings
    worker: WorkerProcess
    client: Client
    redis: Any

    def keys(self, model: str) -> Keys:
        """Return where a model's jobs are."""
        return Keys(self.settings.prefix, model)

    def add(self, entries: Sequence[Entry]) -> list[str]:
        """Queue entries as they are, all at once, and return their ids."""
        pipeline = self.redis.pipeline(transaction=False)
        for each in entries:
            flat = [part for pair in each.fields for part in pair]
            pipeline.execute_command("XADD", self.keys(each.model).stream("interactive"), "*", *flat)
        return [entry_id.decode() for entry_id in pipeline.execute()]

    def waiting(self) -> int:
        """Return how many entries are in the lanes."""
        return sum(self.redis.xlen(self.keys(model).stream(lane)) for model in OPS for lane in LANES)

    def dead(self) -> int:
        """Return how many entries are in the dead letter."""
        return sum(self.redis.xlen(self.keys(model).dead) for model in OPS)

    def alive(self) -> Alive:
        """Return the processes that serve, and the names under which they do."""
        process = psutil.Process(self.worker.pid)
        there = {str(each.pid): each.create_time() for each in (process, *process.children(recursive=True))}
        named = {f"{model} {name}": about["started"] for model in OPS for name, about in self.serving(model).items()}
        return {**there, **named}

    def serving(self, model: str) -> Mapping[str, Mapping[str, str]]:
        """Return what the workers of a model say of themselves, once there is one that has."""

        def told() -> Mapping[str, Mapping[str, str]]:
            workers = self.client.ask(inspection.model_state(self.settings.prefix, model)).workers
            return workers if all("started" in about for about in workers.values()) else {}

        return eventually(told, what=f"workers of {model}")

    def replies(self, job_ids: Sequence[tuple[str, str]]) -> list[Reply | None]:
        """Return the stored replies of jobs, each told by model and id."""
        found = self.redis.mget([self.keys(model).result(job_id) for model, job_id in job_ids])
        return [None if data is None else decode_reply(data) for data in found]

    def call(self, model: str, op: str, given: Any) -> Any:
        """Return the result of a job of one input."""
        return self.client.call(model, op, [given], timeout_s=LONG_S)


@pytest.fixture(scope="module")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """Yield the worker that all of it is sent to."""
    settings = settings_for(server)
    place = tmp_path_factory.mktemp("cache")
    told = {"PENSTOCK_STANDINS": "1", "PENSTOCK_CACHE_DIR": str(place), "HF_HUB_OFFLINE": "1"}
    with (
        WorkerProcess(tuple(OPS), settings, told) as worker,
        Client(settings=settings) as client,
        Redis.from_url(server.url, protocol=2) as redis,
    ):
        yield Fuzzed(settings, worker, client, redis)


@pytest.fixture
def fuzzed(shared: Fuzzed) -> Iterator[Fuzzed]:
    """Yield the worker; afterwards it has to be the same one, with empty lanes, and right in what it answers."""
    before = shared.alive()
    yield shared
    assert shared.worker.running, shared.worker.log
    assert shared.alive() == before
    assert shared.waiting() == 0
    assert shared.call("echo", "echo", "still there") == {"outputs": ["still there"]}
    assert shared.call("whisper", "transcribe", SPEECH)["transcripts"][0]["text"] == " one"
    assert shared.call("siglip", "embed_text", "a bird")["failed"] == []
    assert shared.call("bge-m3", "embed_text", "a bird")["failed"] == []
    picture = squares_picture((120, 120), [(40, 40, 40)])
    assert len(shared.call("yunet", "detect_faces", picture)["images"][0]["faces"]) == 1


def codes(reply: Reply | None) -> list[str]:
    """Return what went wrong with a job or with its inputs, by code; nothing where all went well."""
    if reply is None:
        return ["no answer"]
    failures = [(reply.code, reply.message)] if isinstance(reply, Failure) else _failed(reply)
    return [code if len(message) <= MOST_TOLD else "too many words" for code, message in failures]


def _failed(reply: Success) -> list[tuple[str, str]]:
    return [(failed["code"], failed["message"]) for failed in (reply.result or {}).get("failed", ())]


def outcomes(fuzzed: Fuzzed, entries: Sequence[Entry]) -> Counter[str]:
    """Send entries and return how they ended, counted; fail if one ended as none may."""
    buried = fuzzed.dead()
    added = fuzzed.add(entries)
    eventually(lambda: fuzzed.waiting() == 0, within_s=WITHIN_S, what=lambda: f"every lane empty; {fuzzed.worker.log}")
    named = [(each, each.job_id(entry_id)) for each, entry_id in zip(entries, added, strict=True)]
    told = [(each, job_id) for each, job_id in named if job_id is not None]
    assert fuzzed.dead() - buried == len(named) - len(told)
    replies = fuzzed.replies([(each.model, job_id) for each, job_id in told])
    found = [codes(reply) for reply in replies]
    wrong = [
        (job_id, str(reply)[:300], each.model, str(each.fields)[:1000])
        for (each, job_id), reply, there in zip(told, replies, found, strict=True)
        if not set(there) <= THEIR_FAULT
    ]
    assert wrong == []
    return Counter([*(there[0] if there else "done" for there in found), *["buried"] * (len(named) - len(told))])


def files(made: Sequence[bytes], asked: Sequence[tuple[str, str]], form: str) -> list[Entry]:
    """Return jobs of damaged files, for each of the models in turn."""
    entries = []
    for number in range(COUNT):
        chance = Random(f"{SEED} {form} {number}")
        model, op = asked[number % len(asked)]
        payload = packed({"inputs": [corpus.damaged(made, chance)]})
        entries.append(
            Entry(model, ((b"id", f"{form}-{number}".encode()), (b"op", op.encode()), (b"payload", payload)))
        )
    return entries


def test_damaged_pictures_are_answered(fuzzed: Fuzzed) -> None:
    """Whatever is left of a picture is looked at or refused as the caller's mistake, and no worker ends of it."""
    ended = outcomes(
        fuzzed, files(corpus.pictures(), [("yunet", "detect_faces"), ("siglip", "embed_image")], "picture")
    )

    assert ended.keys() == {"done", "invalid_input"}, ended


def test_damaged_recordings_are_answered(fuzzed: Fuzzed) -> None:
    """Whatever is left of a recording is heard or refused as the caller's mistake, and no worker ends of it."""
    ended = outcomes(fuzzed, files(corpus.recordings(), [("whisper", "transcribe")], "recording"))

    assert ended.keys() == {"done", "invalid_input"}, ended


def test_entries_that_nearly_are_jobs_are_answered(fuzzed: Fuzzed) -> None:
    """Who can be told is told what was wrong, what says of nobody is in the dead letter, and no worker ends of it."""
    ended = outcomes(fuzzed, [entry(number, Random(f"{SEED} entry {number}")) for number in range(COUNT)])

    assert ended.keys() >= {"buried", "done", "invalid_input"}, ended
