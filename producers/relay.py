"""`penstock relay`: completions of a sink handed to a function, or sent on to a Dramatiq actor, until told to stop."""

import argparse
import importlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rpc import Client, InvalidInput
from rpc.codec import to_json
from rpc.log_lines import text_handler
from rpc.messages import Failure
from rpc.settings import RedisSettings
from rpc.sinks import DEFAULT_LEASE_S, Completion

Handler = Callable[[Completion], object]


def parser() -> argparse.ArgumentParser:
    """Return the command line, which needs no extra."""
    line = argparse.ArgumentParser(
        "penstock relay",
        description="Hand replies of a sink to whoever stores them, at least once, until told to stop.",
    )
    line.add_argument("sink", metavar="SINK", help="the sink whose completions are handed over")
    target = line.add_mutually_exclusive_group(required=True)
    target.add_argument("--actor", help="send each to this Dramatiq actor: module:actor")
    target.add_argument("--handler", help="call this function with each: module:function")
    line.add_argument("--models", help="of these models, separated by commas, not of all")
    line.add_argument(
        "--lease", type=float, default=DEFAULT_LEASE_S, help="seconds until one that was not taken comes again"
    )
    line.add_argument("--redis-url", help="REDIS_URL")
    line.add_argument("--prefix", help="PENSTOCK_PREFIX")
    return line


def main(arguments: Sequence[str], *, url: str | None = None, prefix: str | None = None) -> int:
    """Run a relay until SIGTERM or ctrl-C; return the exit status."""
    options = parser().parse_args(arguments)
    settings = RedisSettings.from_env(url=options.redis_url or url, prefix=options.prefix or prefix)
    logging.basicConfig(handlers=[text_handler(sys.stderr, "%(asctime)s %(levelname)s %(name)s: %(message)s")])
    handler = to_actor(options.actor) if options.actor else to_function(options.handler)
    models = [name.strip() for name in options.models.split(",")] if options.models else None
    with Client(settings=settings) as client:
        hand_over(client, options.sink, handler, models, lease_s=options.lease)
    return 0


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
