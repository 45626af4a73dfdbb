"""The check for workers of a model that a command is about to call."""

import threading
import time
from collections.abc import Sequence

from rpc import Client
from rpc.deadlines import Deadline
from rpc.errors import RpcError
from rpc.served import served_text, service

NOT_SERVED = 3
"""The exit status of a command whose model nobody serves."""

PATIENCE_S = 0.8
"""The time a model has to appear: an engine that was replaced is announced again by then."""

PAUSE_S = 0.1


def unserved(client: Client, model: str, *, can_wait: bool, patience_s: float = PATIENCE_S) -> str | None:
    """Return which models are served if the model is not one of them; None if it is, or if that cannot be known.

    A server that does not answer is left to the call itself, which waits for it.
    """
    deadline = Deadline.after(patience_s, now=time.monotonic())
    pause = threading.Event()
    try:
        while True:
            state = client.ask(service(client.prefix, model), until=deadline)
            if state.workers:
                return None
            if deadline.remaining_s(time.monotonic()) < PAUSE_S:
                return refusal(model, state.served, can_wait=can_wait)
            pause.wait(PAUSE_S)
    except RpcError:
        return None


def refusal(model: str, served: Sequence[str], *, can_wait: bool) -> str:
    """Return the error of a command whose model nobody serves; `can_wait` if the command has the option `--wait`."""
    wait = "--wait waits for one, " if can_wait else ""
    start = f"penstock worker --models {model} starts one"
    return f"no live worker serves {model}; {served_text(served)}; {wait}{start}"
