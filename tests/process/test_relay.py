"""`penstock relay` as an operator starts and stops it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rpc import Client, RedisSettings
from rpc.errors import ModelError
from rpc.messages import Failure
from tests.answering import echo, read_one, reply_with
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

RELAY = (sys.executable, "-m", "producers", "relay")


def test_a_function_gets_every_completion_until_sigterm(
    client: Client, redis_settings: RedisSettings, make_consumer: MakeConsumer, tmp_path: Path
) -> None:
    """Results and errors; told to stop, it ends with 0."""
    consumer = make_consumer()
    for job_id in ("j1", "j2"):
        client.submit("m", "op", [job_id], job_id=job_id, sink="stored")
    consumer.settle([echo(read_one(consumer))])
    consumer.settle([reply_with(read_one(consumer), Failure.of(ModelError("no")))])
    notes = tmp_path / "notes"
    relay = subprocess.Popen(
        [*RELAY, "stored", "--handler", "tests.handlers:note", "--models", "m"],
        cwd=ROOT,
        env=environment(redis_settings, {"NOTES": str(notes)}),
    )
    try:
        eventually(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2, what="both are handed over")
        os.kill(relay.pid, signal.SIGTERM)
        assert relay.wait(LONG_S) == 0
    finally:
        relay.kill()
        relay.wait()

    assert notes.read_text().splitlines() == ["j1 ['j1']", "j2 model_error"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["stored"], 2, "--actor --handler is required"),
        (["stored", "--actor", "a:b", "--handler", "c:d"], 2, "not allowed with argument --actor"),
        (["stored", "--handler", "nowhere:note"], 1, "nowhere:note"),
        (["stored", "--handler", "tests.handlers:absent"], 1, "absent"),
        (["stored", "--actor", "tests.handlers:note"], 1, "no Dramatiq actor"),
        (["a b", "--handler", "tests.handlers:note"], 1, "sink"),
    ],
)
def test_what_cannot_be_handed_over_to_is_refused_by_name(
    redis_settings: RedisSettings, arguments: list[str], status: int, said: str
) -> None:
    """Before anything is taken."""
    ended = subprocess.run(
        [*RELAY, *arguments],
        cwd=ROOT,
        env=environment(redis_settings, {"NOTES": "unused"}),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )

    assert (ended.returncode, said in ended.stderr) == (status, True), ended.stderr
