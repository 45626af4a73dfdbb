"""The entrance: whether the server is fit to keep jobs, looked at once, as soon as it can be told."""

import logging
import threading
from collections.abc import Callable

from rpc import fitness
from rpc.connection import BlockingConnection
from rpc.errors import RpcError
from rpc.fitness import Finding
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0


class Entrance:
    """Looks at a server, tells what of it weakens the promises, and who asked if it is unfit."""

    def __init__(self, redis: RedisSettings, unfit: Callable[[Finding], None]) -> None:
        self._prefix = redis.prefix
        self._connection = BlockingConnection(redis)
        self._unfit = unfit
        self._over = threading.Event()

    def run(self) -> None:
        """Look until that can be told, or until stopped."""
        said = False
        while not self._over.is_set():
            try:
                self.examine()
            except RpcError as error:
                if not said:
                    log.warning("server not examined yet: %s", error)
                said = True
                self._over.wait(LOOK_AGAIN_S)

    def examine(self) -> None:
        """Look once; raise `RpcError` if nothing can be told."""
        findings = fitness.judged(self._connection.run(fitness.examine(self._prefix)))
        self._over.set()
        self._connection.close()
        for finding in findings:
            if finding.level != "ok":
                log.warning("server: %s: %s; %s", finding.what, finding.says, finding.advice)
        unfit = fitness.refusal(findings)
        if unfit is not None:
            self._unfit(unfit)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
