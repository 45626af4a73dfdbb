"""What the model alone can do, with no queue: every text by itself, and all of them sorted by length, 32 a pass.

Prints JSON. The second over the first is what batching gains with these texts on this machine.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence

import torch

from inference_worker.models.base import Runtime, Unit
from inference_worker.models.sentence_encoder import MiniLM
from producers.texts import mixed_texts

PASS = 32
ROUNDS = 3


def main(count: int) -> None:
    """Measure with so many texts."""
    torch.set_num_threads(1)
    model = MiniLM(Runtime())
    model.load()
    model.warm_up()
    texts = mixed_texts(count)
    single, batched = [], []
    for _ in range(ROUNDS):
        single.append(count / _seconds(model, texts, 1))
        batched.append(count / _seconds(model, texts, PASS))
    found = {"single": statistics.median(single), "batched": statistics.median(batched), "pass": PASS}
    json.dump(found, sys.stdout)


def _seconds(model: MiniLM, texts: Sequence[str], size: int) -> float:
    started = time.perf_counter()
    units: list[Unit] = [unit for text in texts for unit in model.prepare("embed_text", text, {})]
    if size > 1:
        units.sort(key=lambda unit: unit.cost)
    for start in range(0, len(units), size):
        model.infer(units[start : start + size])
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]))
