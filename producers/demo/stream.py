"""Scene: the queue is plain Redis, to be read and written with redis-cli."""

import shlex
from typing import Any

from producers.demo.narration import Narrator, expect
from producers.demo.stage import MODEL, Stage
from producers.tables import shortened
from rpc.calls import Call
from rpc.keys import Keys

UNSERVED = "my-model"
"""A model no worker of the demo serves, so that its job waits to be looked at."""

TYPED = '{"inputs": ["typed by hand"]}'

JSON_SHOWN = 110


def play(stage: Stage, narrator: Narrator) -> None:
    """Show a waiting job as it lies in its stream, and one typed by hand with its answer."""
    narrator.step("The stream, as redis-cli sees it", f"A job for {UNSERVED}, which nobody serves yet, simply waits.")
    _waiting(stage, narrator)
    narrator.say(f"And a job for {MODEL} typed by hand is answered in JSON, under its entry id:", style="dim")
    _typed(stage, narrator)


def _waiting(stage: Stage, narrator: Narrator) -> None:
    job_id = stage.client.submit(UNSERVED, "embed_text", ["two girls on a beach"])
    stream = Keys(stage.settings.prefix, UNSERVED).stream("interactive")
    narrator.say(f"$ redis-cli -u {stage.settings.address} XRANGE {shlex.quote(stream)} - +", style="bold")
    ((entry_id, flat),) = _redis(stage, "XRANGE", stream, "-", "+")
    narrator.show(entry_id.decode())
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    for name, value in fields.items():
        shown = f"({len(value)} bytes of msgpack)" if name == b"payload" else value.decode()
        narrator.show(f"  {name.decode():<12}{shown}")
    expect(holds=fields[b"id"].decode() == job_id, otherwise="the stream should hold the job that was submitted")


def _typed(stage: Stage, narrator: Narrator) -> None:
    keys = Keys(stage.settings.prefix, MODEL)
    add = ("XADD", keys.stream("interactive"), "*", "op", "embed_text", "json", TYPED)
    narrator.say(f"$ redis-cli -u {stage.settings.address} {shlex.join(add)}", style="bold")
    entry_id = _redis(stage, *add).decode()
    narrator.show(entry_id)
    stage.client.result(MODEL, entry_id)
    get = ("GET", keys.result(entry_id))
    narrator.say(f"$ redis-cli -u {stage.settings.address} {shlex.join(get)}", style="bold")
    reply = _redis(stage, *get).decode()
    narrator.show(shortened(reply, JSON_SHOWN), style="green")
    expect(holds=reply.startswith('{"v": 1, "ok": true'), otherwise=f"a job typed by hand was answered with {reply}")


def _redis(stage: Stage, *command: Any) -> Any:
    def say() -> Call[Any]:
        (reply,) = yield [command]
        return reply

    return stage.client.ask(say())
