"""Who takes completions in a run: several relays side by side, which write down all that is handed over to them."""

import threading
from collections.abc import Sequence
from typing import Any, Self

from rpc import Client, RedisSettings
from rpc.messages import Failure, Reply
from rpc.sinks import Completion
from tests.chaos.cargo import shorten
from tests.chaos.history import History
from tests.chaos.ledger import MODELS
from tests.waiting import LONG_S

SINK = "stored"
LEASE_S = 2.0


def told(reply: Reply) -> dict[str, Any]:
    """Return what the history keeps of a reply."""
    if isinstance(reply, Failure):
        return {"code": reply.code}
    return {"code": "ok", "outputs": shorten((reply.result or {}).get("outputs")), "attempts": reply.meta.attempts}


class Relays:
    """A relay in a thread for each way to the server."""

    def __init__(self, history: History, ways: Sequence[RedisSettings]) -> None:
        self._history = history
        self._stopping = threading.Event()
        self._clients = [Client(settings=way) for way in ways]
        self._threads = [threading.Thread(target=self._run, args=(client,), daemon=True) for client in self._clients]

    def __enter__(self) -> Self:
        """Let them begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(LONG_S)
        for client in self._clients:
            client.close()

    def _run(self, client: Client) -> None:
        client.consume(SINK, self._take, models=MODELS, stop=self._stopping, lease_s=LEASE_S)

    def _take(self, completion: Completion) -> None:
        self._history.tell("delivered", job=completion.job_id, **told(completion.reply))
