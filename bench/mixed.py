"""Does a worker stay as it was? All four families at once under mixed load, good and bad input, for as long as told.

Exits with 1 if an answer was wrong, or if memory, threads or file descriptors of the worker grew. Linux only: it
reads /proc.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference_worker.standins.whisper import WORDS, tone_speech, wav
from inference_worker.standins.yunet import squares_picture
from producers.embedded import EmbeddedServer
from producers.signals import ended_in_order
from producers.tables import print_table
from producers.texts import mixed_texts
from producers.worker_process import WorkerProcess
from rpc import Client, InvalidInput, RedisSettings

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("whisper", "siglip", "bge-m3", "yunet")
SAMPLE_S = 5.0
NEAR_PX = 0.5
TEXTS = 8
MOST_GROWTH, MOST_MORE = 0.05, 2
MEGABYTE = 1e6

Call = Callable[[Client, np.random.Generator], bool]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the worker took at one moment: resident bytes, threads, open file descriptors."""

    resident: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> "Sample":
        """Return what the process takes now."""
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return cls(
            int(told["VmRSS"].split()[0]) * 1024,
            int(told["Threads"]),
            sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        )


def transcribed(client: Client, chance: np.random.Generator) -> bool:
    """Return whether a clip of 1 to 80 s is heard as it was spoken."""
    words = [WORDS[index] for index in chance.integers(0, len(WORDS), int(chance.choice([1, 3, 5, 12, 80])))]
    heard = client.transcribe(wav(tone_speech(words)), timeout_s=300.0)
    return heard.text.split() == words


def found(client: Client, chance: np.random.Generator) -> bool:
    """Return whether the one square of a picture is found where it is."""
    x, y = (int(8 * chance.integers(8, 40)) for _ in range(2))
    faces = client.detect_faces(squares_picture((640, 480), [(x, y, 40)]), timeout_s=120.0)
    return len(faces) == 1 and float(np.abs(np.subtract(faces[0].bbox, (x, y, 40, 40))).max()) <= NEAR_PX


def pictured(client: Client, chance: np.random.Generator) -> bool:
    """Return whether pictures of many sizes become unit vectors."""
    sizes = chance.integers(16, 1200, (int(chance.integers(1, 5)), 2))
    pictures = [chance.integers(0, 255, (int(h), int(w), 3), np.uint8) for h, w in sizes]
    return _unit(client.embed_images(pictures, timeout_s=120.0))


def told(client: Client, chance: np.random.Generator) -> bool:
    """Return whether texts become unit vectors of SigLIP."""
    return _unit(client.embed_texts(_texts(chance, 16), timeout_s=120.0))


def understood(client: Client, chance: np.random.Generator) -> bool:
    """Return whether texts of many lengths become all that BGE-M3 makes of them."""
    texts = [" ".join(_texts(chance, int(chance.integers(1, 20)))) for _ in range(TEXTS)]
    made = client.embed_texts(texts, model="bge-m3", outputs=("dense", "sparse", "colbert"), timeout_s=120.0)
    return made.dense is not None and _unit(made.dense) and len(made.sparse or ()) == len(made.colbert or ()) == TEXTS


def refused(client: Client, chance: np.random.Generator) -> bool:
    """Return whether rubbish is refused as what it is."""
    rubbish = chance.bytes(int(chance.integers(0, 5000)))
    try:
        if chance.random() < 1 / 2:
            client.transcribe(rubbish, timeout_s=120.0)
        else:
            client.detect_faces(rubbish, timeout_s=120.0)
    except InvalidInput:
        return True
    return False


KINDS: Mapping[str, Call] = {
    "transcribe": transcribed,
    "detect_faces": found,
    "embed_images": pictured,
    "embed_texts, siglip": told,
    "embed_texts, bge-m3": understood,
    "rubbish": refused,
}


def _texts(chance: np.random.Generator, count: int) -> list[str]:
    texts = mixed_texts(64)
    return [texts[index] for index in chance.integers(0, len(texts), count)]


def _unit(vectors: np.ndarray) -> bool:
    return bool(np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3))


class Load:
    """Callers of every kind, each sending one call after another until told to stop."""

    def __init__(self, settings: RedisSettings) -> None:
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._settings = settings

    def run(self, kind: str, seed: int) -> None:
        """Send calls of one kind."""
        chance = np.random.default_rng(seed)
        with Client(settings=self._settings) as client:
            while not self.stopping.is_set():
                (self.right if KINDS[kind](client, chance) else self.wrong)[kind] += 1


def samples(pid: int, seconds: float) -> Iterator[Sample]:
    """Yield what the worker takes, every few seconds."""
    pause = threading.Event()
    end = time.monotonic() + seconds
    for number in itertools.count(1):
        pause.wait(min(SAMPLE_S, max(0.0, end - time.monotonic())))
        yield Sample.of(pid)
        if time.monotonic() >= end:
            return
        if number % 12 == 0:
            sys.stderr.write(f"{seconds - (end - time.monotonic()):.0f} s\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load and return the exit status."""
    line = argparse.ArgumentParser(description=__doc__)
    line.add_argument("--seconds", type=float, default=1200.0)
    line.add_argument("--callers", type=int, default=2, help="callers of each kind")
    given = line.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        directory = Path(name)
        with ended_in_order(), EmbeddedServer(directory / "valkey") as server:
            settings = RedisSettings.from_env({}, url=server.url)
            environment = {
                "PYTHONPATH": str(ROOT),
                "PENSTOCK_STANDINS": "all",
                "PENSTOCK_CACHE_DIR": str(directory / "cache"),
                "PENSTOCK_LOG_LEVEL": "error",
                "HF_HUB_OFFLINE": "1",
                "TMPDIR": str(directory),
            }
            worker = WorkerProcess(MODELS, settings, directory / "worker.log", environment)
            try:
                with Client(settings=settings) as client:
                    engines = {worker.wait_until_ready(client, model).engine for model in MODELS}
                load, seen = _under_load(settings, engines.pop(), given.seconds, given.callers)
            finally:
                worker.close()
    return _conclude(load, seen, given.seconds)


def _under_load(settings: RedisSettings, pid: int, seconds: float, callers: int) -> tuple[Load, list[Sample]]:
    load = Load(settings)
    kinds = list(KINDS) * callers
    with ThreadPoolExecutor(len(kinds)) as threads:
        running = [threads.submit(load.run, kind, seed) for seed, kind in enumerate(kinds)]
        try:
            seen = list(samples(pid, seconds))
        finally:
            load.stopping.set()
        for each in running:
            each.result()
    return load, seen


def _conclude(load: Load, seen: Sequence[Sample], seconds: float) -> int:
    rows = [(kind, load.right[kind], load.wrong[kind]) for kind in KINDS]
    print_table(f"answers in {seconds:.0f} s", ("call", "right#", "wrong#"), rows)
    # the first quarter is for caches and arenas to fill
    second, last = seen[len(seen) // 4 : len(seen) // 2], seen[3 * len(seen) // 4 :]
    before, after = (statistics.median(sample.resident for sample in part) for part in (second, last))
    threads = [max(sample.threads for sample in part) for part in (second, last)]
    descriptors = [max(sample.descriptors for sample in part) for part in (second, last)]
    flat = after <= before * (1 + MOST_GROWTH)
    steady = threads[1] <= threads[0] + MOST_MORE and descriptors[1] <= descriptors[0] + MOST_MORE
    figures = [
        ("resident, MB, median", f"{before / MEGABYTE:.0f}", f"{after / MEGABYTE:.0f}", "held" if flat else "MISSED"),
        ("threads, most", *threads, "held" if steady else "MISSED"),
        ("file descriptors, most", *descriptors, "held" if steady else "MISSED"),
    ]
    print_table("the worker", ("figure", "second quarter#", "last quarter#", ""), figures)
    return 0 if flat and steady and not sum(load.wrong.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
