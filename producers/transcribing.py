"""What `transcribe` does: recordings in, transcripts out, several under way at a time, in the order they were named."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.subtitles import FORMS, SUFFIXES, Form
from producers.tables import print_json, print_lines, progress
from rpc import Client, Transcript
from rpc.codec import to_json
from rpc.errors import RpcError
from rpc.plans import TranscribeOptions

AT_A_TIME = 8
"""Recordings under way together: enough to fill passes, few enough that not all of them are read at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of each recording, and how its transcript is to be written."""

    form: Form
    model: str
    language: str | None
    words: bool
    options: TranscribeOptions
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one recording: its transcript, or its error."""

    file: Path
    transcript: Transcript | None
    error: Exception | None = None


def place_of(file: Path, wanted: Wanted) -> Path | None:
    """Return where a transcript is to be written; None for standard output."""
    return None if wanted.directory is None else wanted.directory / (file.stem + SUFFIXES[wanted.form])


def answers(client: Client, files: Sequence[Path], wanted: Wanted) -> Iterator[Answer]:
    """Yield what became of the recordings, in their order."""
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        running: deque[Future[Answer]] = deque()
        for file in files:
            running.append(threads.submit(_answer, client, file, wanted))
            if len(running) >= AT_A_TIME:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _answer(client: Client, file: Path, wanted: Wanted) -> Answer:
    try:
        transcript = client.transcribe(
            file, wanted.language, word_timestamps=wanted.words, model=wanted.model, **wanted.options
        )
    except (RpcError, OSError) as error:
        return Answer(file, None, error)
    return Answer(file, transcript)


def show_transcripts(client: Client, files: Sequence[Path], wanted: Wanted) -> int:
    """Write the transcripts of recordings; return how many recordings failed."""
    failures = 0
    with progress() as bar:
        task = bar.add_task(f"transcribing with {wanted.model}", total=len(files))
        for answer in answers(client, files, wanted):
            bar.stop()
            failures += answer.error is not None
            _write(answer, wanted, several=len(files) > 1)
            bar.start()
            bar.advance(task)
    return failures


def _write(answer: Answer, wanted: Wanted, *, several: bool) -> None:
    if answer.transcript is None:
        code = getattr(answer.error, "code", "error")
        print_lines([f"penstock: {code}: {answer.file}: {answer.error}"], stderr=True)
        return
    place = place_of(answer.file, wanted)
    if wanted.form == "json":
        _write_json(answer.file, answer.transcript, place)
        return
    written = FORMS[wanted.form](answer.transcript)
    if place is not None:
        place.write_text(written, "utf-8")
        return
    if several:
        print_lines([f"==> {answer.file} <=="])
    print_lines([written.rstrip("\n")])


def _write_json(file: Path, transcript: Transcript, place: Path | None) -> None:
    told: dict[str, Any] = {"file": str(file), **transcript.as_dict()}
    if place is None:
        print_json(told)
    else:
        place.write_text(to_json(told) + "\n", "utf-8")
