"""A client in a process that forks, as web servers do before they serve."""

import subprocess
import sys

import pytest

from rpc import RedisSettings
from tests.answering import Answering
from tests.conftest import MakeConsumer
from tests.workers import ROOT, environment

pytestmark = pytest.mark.server

SCRIPT = """
import os
from rpc import Client

client = Client()
assert client.call("m", "op", ["before"], timeout_s=10) == {"outputs": ["before"]}
child = os.fork()
names = [f"{'child' if child == 0 else 'parent'}{number}" for number in range(20)]
answers = [client.call("m", "op", [name], timeout_s=10) for name in names]
assert answers == [{"outputs": [name]} for name in names], answers
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
client.close()
"""


def test_parent_and_child_each_get_their_own_answers(
    redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """A client made and used before a fork works in both processes, told of its own replies and of no other's."""
    never_swept = environment(redis_settings, {"PENSTOCK_SWEEP_S": "600"})

    with Answering(make_consumer()):
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env=never_swept,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (ended.stderr, ended.returncode) == ("", 0)
