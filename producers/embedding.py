"""What `embed-text` and `embed-image` do: texts or pictures in, vectors out, a chunk at a time."""

import itertools
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producers.files import answered, code_of, reason_of
from producers.tables import print_json, print_lines, progress, shortened
from rpc import Client, Embeddings, PartialFailure
from rpc.errors import RpcError
from rpc.requests import CallOptions
from rpc.results import Vector

CHUNK = 64
"""Texts sent together: enough to fill forward passes, few enough that the bar moves."""

PICTURES_AT_A_TIME = 16

NUMBERS_SHOWN, TEXT_SHOWN = 5, 60

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one text, or of one file: its vector, or its error; and what else was asked for, for `--json`."""

    given: str
    vector: Vector | None
    error: RpcError | OSError | None = None
    kind: str = "text"
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        if self.error is not None:
            return {self.kind: self.given, "error": {"code": code_of(self.error), "message": reason_of(self.error)}}
        vector = {} if self.vector is None else {"vector": self.vector}
        return {self.kind: self.given, **vector, **self.more}


def lines_of(path: str) -> list[str]:
    """Return the lines of a file, or of standard input for `-`; bytes that are not UTF-8 are lone surrogates.

    Raises `ValueError` if it holds zero bytes, as a text in UTF-16 does: none of its lines would be right.
    """
    content = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    if b"\0" in content:
        raise ValueError("expected a text in UTF-8, got one with zero bytes")
    return content.decode("utf-8-sig", "surrogateescape").splitlines()


def printable(text: str) -> str:
    r"""Return a text that can be written anywhere: half a character is written as `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def answers(
    client: Client, model: str, texts: Sequence[str], *, normalize: bool, call: CallOptions
) -> Generator[list[Answer]]:
    """Yield the answers chunk by chunk, in the order of the texts; raise what is not the fault of single texts."""
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        failed: dict[int, RpcError] = {}
        try:
            vectors = client.embed_texts(chunk, model=model, normalize=normalize, **call)
        except PartialFailure as partial:
            vectors, failed = partial.vectors, partial.failed
        yield [
            Answer(printable(text), None if index in failed else vectors[index], failed.get(index))
            for index, text in enumerate(chunk)
        ]


def all_outputs(
    client: Client, model: str, texts: Sequence[str], outputs: Sequence[str], *, normalize: bool, call: CallOptions
) -> Generator[list[Answer]]:
    """Yield the same with all that is asked for of BGE-M3."""
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        failed: dict[int, RpcError] = {}
        try:
            made = client.embed_texts(chunk, model=model, outputs=outputs, normalize=normalize, **call)
        except PartialFailure as partial:
            made, failed = partial.embeddings, partial.failed
        yield [_answer_of(made, index, text, failed.get(index)) for index, text in enumerate(chunk)]


def _answer_of(made: Embeddings, index: int, text: str, error: RpcError | None) -> Answer:
    if error is not None:
        return Answer(printable(text), None, error)
    more: dict[str, Any] = {"truncated": made.truncated[index]}
    if made.sparse is not None:
        more["sparse"] = {str(token): weight for token, weight in made.sparse[index].items()}
    if made.colbert is not None:
        more["colbert"] = made.colbert[index]
    return Answer(text, None if made.dense is None else made.dense[index], more=more)


def of_pictures(
    client: Client, model: str, files: Sequence[Path], *, normalize: bool, shrink: bool, call: CallOptions
) -> Generator[list[Answer]]:
    """Yield the answers for files of pictures, several under way at a time, in their order."""

    def ask(file: Path, job_id: str) -> Vector:
        named: CallOptions = {**call, "job_id": job_id}
        return client.embed_image(file, model=model, normalize=normalize, shrink=shrink, **named)

    with closing(answered(client, model, files, ask, at_a_time=PICTURES_AT_A_TIME)) as outcomes:
        for outcome in outcomes:
            yield [Answer(str(outcome.file), outcome.answer, outcome.error, "file")]


def show_answers(found: Generator[list[Answer]], total: int, title: str, *, as_json: bool) -> int:
    """Print answers as they come; return how many are errors."""
    failures = 0
    numbers = itertools.count(1)
    with closing(found), progress() as bar:
        task = bar.add_task(title, total=total)
        for chunk in found:
            bar.stop()
            for answer in chunk:
                failures += answer.error is not None
                _show(answer, next(numbers), as_json=as_json)
            bar.start()
            bar.advance(task, len(chunk))
    return failures


def _show(answer: Answer, number: int, *, as_json: bool) -> None:
    if answer.error is not None:
        which = f"text {number}" if answer.kind == "text" else answer.given
        print_lines([f"penstock: {code_of(answer.error)}: {which}: {reason_of(answer.error)}"], stderr=True)
    if as_json:
        print_json(answer.as_json())
    elif answer.error is None:
        print_lines([f"{', '.join(_made(answer))}  {shortened(answer.given, TEXT_SHOWN)}"])


def _made(answer: Answer) -> Iterator[str]:
    """Yield what was made of a text, each as a few words."""
    if answer.vector is not None:
        first = "".join(f"{number:7.4f}, " for number in answer.vector[:NUMBERS_SHOWN])
        yield f"{len(answer.vector)} numbers  [{first}…]"
    if "sparse" in answer.more:
        yield f"{len(answer.more['sparse'])} weights"
    if "colbert" in answer.more:
        yield f"{len(answer.more['colbert'])} token vectors"
