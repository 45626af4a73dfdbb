"""What `embed-text` does: texts in, vectors out, a chunk at a time."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.tables import print_json, print_lines, progress, shortened
from rpc import Client, PartialFailure
from rpc.errors import RpcError
from rpc.requests import CallOptions, Vector

CHUNK = 64
"""Texts sent together: enough to fill forward passes, few enough that the bar moves."""

NUMBERS_SHOWN, TEXT_SHOWN = 5, 60

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one text: its vector, or its error."""

    text: str
    vector: Vector | None
    error: RpcError | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        if self.error is not None:
            return {"text": self.text, "error": {"code": self.error.code, "message": str(self.error)}}
        return {"text": self.text, "vector": self.vector}


def lines_of(path: str) -> list[str]:
    """Return the lines of a file, or of standard input for `-`."""
    text = sys.stdin.read() if path == STANDARD_INPUT else Path(path).read_text("utf-8")
    return text.splitlines()


def answers(
    client: Client, model: str, texts: Sequence[str], *, normalize: bool, call: CallOptions
) -> Iterator[list[Answer]]:
    """Yield the answers chunk by chunk, in the order of the texts; raise what is not the fault of single texts."""
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        failed: dict[int, RpcError] = {}
        try:
            vectors = client.embed_texts(chunk, model=model, normalize=normalize, **call)
        except PartialFailure as partial:
            vectors, failed = partial.vectors, partial.failed
        yield [
            Answer(text, None if index in failed else vectors[index], failed.get(index))
            for index, text in enumerate(chunk)
        ]


def show_vectors(
    client: Client, model: str, texts: Sequence[str], *, normalize: bool, call: CallOptions, as_json: bool
) -> int:
    """Print the vectors of texts; return how many texts failed."""
    failures = 0
    numbers = itertools.count(1)
    with progress() as bar:
        task = bar.add_task(f"embedding with {model}", total=len(texts))
        for chunk in answers(client, model, texts, normalize=normalize, call=call):
            bar.stop()
            for answer in chunk:
                failures += answer.error is not None
                _show(answer, next(numbers), as_json=as_json)
            bar.start()
            bar.advance(task, len(chunk))
    return failures


def _show(answer: Answer, number: int, *, as_json: bool) -> None:
    if as_json:
        print_json(answer.as_json())
    elif answer.vector is not None:
        first = "".join(f"{number:7.4f}, " for number in answer.vector[:NUMBERS_SHOWN])
        line = f"{len(answer.vector)} numbers  [{first}…]  {shortened(answer.text, TEXT_SHOWN)}"
        print_lines([line])
    elif answer.error is not None:
        print_lines([f"penstock: {answer.error.code}: text {number}: {answer.error}"], stderr=True)
