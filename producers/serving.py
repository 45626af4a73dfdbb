"""Whether anybody serves a model that a command is about to call."""

import threading
import time
from collections.abc import Sequence

from rpc import Client
from rpc.deadlines import Deadline
from rpc.errors import RpcError
from rpc.served import MAX_NAMES, service

NOT_SERVED = 3
"""The exit status of a command whose model nobody serves."""

PATIENCE_S = 0.8
"""The time a model has to appear: an engine that was replaced is announced again by then."""

PAUSE_S = 0.1


def unserved(client: Client, model: str, *, patience_s: float = PATIENCE_S) -> str | None:
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
                return refusal(model, state.served)
            pause.wait(PAUSE_S)
    except RpcError:
        return None


def refusal(model: str, served: Sequence[str]) -> str:
    """Return what a command says of a model that nobody serves."""
    more = ", …" if len(served) > MAX_NAMES else ""
    others = f"served are {', '.join(served[:MAX_NAMES])}{more}" if served else "no model is served"
    return f"no live worker serves {model}; {others}; --wait waits for one, penstock worker --models {model} starts one"
