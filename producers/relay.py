"""`penstock relay`: completions of a sink handed to a function, or sent on to a Dramatiq actor, until told to stop."""

import importlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rpc import Client, InvalidInput
from rpc.codec import to_json
from rpc.messages import Failure
from rpc.sinks import Completion

Handler = Callable[[Completion], object]


def found(name: str) -> Any:
    """Return what `module:name` means, looked for in the working directory too; raise `InvalidInput` by name."""
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        # as dramatiq and celery do it
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"cannot import {name!r} (expected module:name): {error}") from error


def message(completion: Completion) -> dict[str, Any]:
    """Return a completion as what JSON can hold: vectors as lists of numbers, bytes as {"base64"}."""
    told: dict[str, Any] = {"model": completion.model, "job_id": completion.job_id, "op": completion.op}
    reply = completion.reply
    if isinstance(reply, Failure):
        return {**told, "ok": False, "error": reply.as_dict()}
    whole: dict[str, Any] = json.loads(to_json({**told, "ok": True, "result": reply.result}))
    return whole


def to_actor(name: str) -> Handler:
    """Return what sends a completion to an actor, as its one argument."""
    actor = found(name)
    if not callable(getattr(actor, "send", None)):
        raise InvalidInput(f"{name!r} is no Dramatiq actor: it has no send")
    return lambda completion: actor.send(message(completion))


def to_function(name: str) -> Handler:
    """Return a function that takes completions."""
    function = found(name)
    if not callable(function):
        raise InvalidInput(f"{name!r} cannot be called")
    handler: Handler = function
    return handler


def hand_over(client: Client, sink: str, handler: Handler, models: Sequence[str] | None, *, lease_s: float) -> None:
    """Hand completions over until SIGTERM or ctrl-C; what is in hand then is finished first."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    client.consume(sink, handler, models=models, stop=stop, lease_s=lease_s)
