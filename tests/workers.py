"""Worker processes for tests: started as users start them, waited for by what they say."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from rpc.settings import RedisSettings
from tests.waiting import LOAD_S, LONG_S, eventually

ROOT = Path(__file__).resolve().parent.parent

FOREIGN = (
    *("PENSTOCK_", "REDIS_URL", "BATCH_SIZE", "BATCH_TIMEOUT_MS", "MODELS_DIR"),
    *("ASR_MODEL", "VISION_MODEL_NAME", "LOAD_BGE_M3", "FEATURE_FACE"),
)
"""What the environment of whoever runs the tests must not tell a worker under test."""


def environment(settings: RedisSettings | None = None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process under test: ours, less what would steer it, plus what is given."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    ours["PYTHONPATH"] = str(ROOT)
    if settings is not None:
        ours |= {"REDIS_URL": settings.url.get_secret_value(), "PENSTOCK_PREFIX": settings.prefix}
    return {**ours, **(more or {})}


class WorkerProcess:
    """A `python -m inference_worker` of its own process, whose standard error is kept."""

    def __init__(
        self,
        models: Sequence[str],
        settings: RedisSettings,
        more: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.settings = settings
        self.models = tuple(models)
        self._lines: list[str] = []
        self._ended = False
        self._heard = threading.Condition()
        self._health: str | None = None
        named = ["--models", ",".join(models)] if models else []
        line = [sys.executable, "-m", "inference_worker", *named, "--health-port", "0"]
        self._process = subprocess.Popen(
            [*line, *arguments],
            cwd=ROOT,
            env=environment(settings, more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Wait until the worker takes jobs; one that does not is ended."""
        try:
            return self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        """End it at once, if it has not ended."""
        self.close()

    def _read(self) -> None:
        if self._process.stderr is None:
            raise AssertionError("unreachable")
        with self._process.stderr as stream:
            for line in stream:
                with self._heard:
                    self._lines.append(line)
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        with self._heard:
            return "".join(self._lines)

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_for(self, text: str, *, within_s: float = LONG_S) -> str:
        """Return the first line of its log that holds `text`; fail if the worker ends or is silent instead."""
        with self._heard:
            self._heard.wait_for(lambda: self._ended or any(text in line for line in self._lines), within_s)
            line = next((line for line in self._lines if text in line), None)
        if line is None:
            raise AssertionError(f"the worker {'ended' if self._ended else 'runs'} and never said {text!r}: {self.log}")
        return line

    def wait_until_ready(self, *, within_s: float = LOAD_S) -> Self:
        """Return once it takes jobs."""
        self.wait_for("ready:", within_s=within_s)
        return self

    @property
    def name(self) -> str:
        """The consumer's name, as its last ready line tells it: each engine has its own."""
        return self._last_ready[0]

    @property
    def _last_ready(self) -> tuple[str, str]:
        """Return the engine of the last ready line, and its first model."""
        self.wait_for("ready:")
        ready = [line for line in self.log.splitlines() if "ready: " in line]
        name, _, models = ready[-1].partition("ready: ")[2].partition(" serves ")
        return name, models.split(", ")[0]

    @property
    def engine_pid(self) -> int:
        """The process id of its engine."""
        name, model = self._last_ready
        key = f"{self.settings.prefix}:{{{model}}}:worker:{name}"
        with Redis.from_url(self.settings.url.get_secret_value(), protocol=2) as redis:
            return int(eventually(lambda: redis.hget(key, "pid"), what=key) or 0)

    @property
    def health(self) -> str:
        """Host and port of its health port, as it announces them."""
        if self._health is None:
            name, model = self._last_ready
            key = f"{self.settings.prefix}:{{{model}}}:worker:{name}"
            with Redis.from_url(self.settings.url.get_secret_value(), protocol=2) as redis:
                self._health = str(eventually(lambda: redis.hget(key, "health"), what=key), "ascii")
        return self._health

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page of its health port."""
        link = http.client.HTTPConnection(self.health, timeout=LONG_S)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return the samples of `/metrics`, by name and labels."""
        _, text = self.get("/metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name that have these labels."""
        return sum(
            value for (sample, has), value in self.metrics().items() if sample == name and has >= set(labels.items())
        )

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, as a crash would, and wait until it is gone."""
        self._process.kill()
        self.wait()

    def wait(self, *, within_s: float = LONG_S) -> int:
        """Wait until the process has ended and its log is complete; return its exit status."""
        end = time.monotonic() + within_s
        status = self._process.wait(within_s)
        self._reader.join(max(0.1, end - time.monotonic()))
        return status

    def close(self) -> None:
        """End it if it still runs; the pipe and the thread that reads it go with it."""
        if self.running:
            self._process.kill()
        self.wait()
