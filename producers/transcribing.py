"""What `transcribe` does: recordings in, transcripts out, on standard output or in files of their own."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from producers.files import Outcome, answered, print_complaint
from producers.subtitles import FORMS, SUFFIXES, UNLIMITED, Form, Widths
from producers.tables import print_json, print_text, progress
from rpc import Client, RpcError, Transcript
from rpc import Progress as Far
from rpc.codec import to_json
from rpc.plans import TranscribeOptions

AT_A_TIME = 8
"""Recordings under way together: enough to fill passes, few enough that not all of them are read at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of each recording, and how its transcript is to be written.

    Attributes:
        directory: where each transcript becomes a file; None for standard output.
        force: whether files that are there are written over.
        widths: how much a cue of subtitles may hold.
    """

    form: Form
    model: str
    language: str | None
    words: bool
    options: TranscribeOptions
    directory: Path | None = None
    force: bool = False
    widths: Widths = UNLIMITED

    def place_of(self, file: Path) -> Path | None:
        """Return the file a transcript is to be written to; None for standard output."""
        return None if self.directory is None else self.directory / (file.stem + SUFFIXES[self.form])


def refusal(files: Sequence[Path], wanted: Wanted) -> str | None:
    """Return why the transcripts could not be written as wanted, or None; looks at the disk, writes nothing."""
    if wanted.widths.are_limited and wanted.form not in {"srt", "vtt"}:
        return f"--max-line-width and the like are for --format srt and vtt, not {wanted.form}"
    if wanted.directory is None:
        several = len(files) > 1 and wanted.form in {"srt", "vtt"}
        return f"--format {wanted.form}: several recordings need --output, a file each" if several else None
    taken: dict[Path | None, Path] = {}
    for file in files:
        place = wanted.place_of(file)
        if place in taken:
            return f"--output: {taken[place]} and {file} would both become {place}"
        if place and place.exists() and not wanted.force:
            return f"--output: {place} is there; --force writes over it"
        taken[place] = file
    return None


def show_transcripts(client: Client, files: Sequence[Path], wanted: Wanted) -> int:
    """Write the transcripts of recordings as they come; return how many recordings failed."""

    def ask(file: Path, job_id: str) -> Transcript:
        named: TranscribeOptions = {**wanted.options, "job_id": job_id}
        return client.transcribe(
            file,
            wanted.language,
            word_timestamps=wanted.words or wanted.widths.are_limited,
            model=wanted.model,
            **named,
        )

    failures = 0
    with progress() as bar:
        task = bar.add_task(f"transcribing with {wanted.model}", total=len(files))
        # nobody is asked how far a job is where nobody watches
        watch = None if bar.disable else Bars(client, wanted.model, bar).show
        calls = answered(client, wanted.model, files, ask, at_a_time=AT_A_TIME, watch=watch)
        with closing(calls) as outcomes:
            for outcome in outcomes:
                bar.stop()
                failures += not _write(outcome, wanted, several=len(files) > 1)
                bar.start()
                bar.advance(task)
    return failures


class Bars:
    """A bar for each recording under way, as long as it is: of its windows, how many are transcribed."""

    def __init__(self, client: Client, model: str, bars: Progress) -> None:
        self._client = client
        self._model = model
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, under_way: Sequence[tuple[Path, str]]) -> None:
        """Show how far these jobs are; those of other jobs go."""
        for job_id in self._tasks.keys() - {job_id for _, job_id in under_way}:
            self._bars.remove_task(self._tasks.pop(job_id))
        for file, job_id in under_way:
            # a bar is no reason to fail
            with suppress(RpcError):
                far = self._client.progress(self._model, job_id)
                if far.units:
                    self._show(job_id, file, far)

    def _show(self, job_id: str, file: Path, far: Far) -> None:
        if job_id not in self._tasks:
            self._tasks[job_id] = self._bars.add_task(f"  {file.name}", total=far.units)
        self._bars.update(self._tasks[job_id], completed=far.done, total=far.units)


def _write(outcome: Outcome[Transcript], wanted: Wanted, *, several: bool) -> bool:
    """Write a transcript, or tell why there is none; return whether it is written."""
    place = wanted.place_of(outcome.file)
    if outcome.answer is None:
        print_complaint(outcome)
        if wanted.form == "json" and place is None:
            print_json(outcome.error_as_json())
        return False
    written = _written(outcome.file, outcome.answer, wanted)
    if place is None:
        heading = f"==> {outcome.file} <==\n" if several and wanted.form == "text" else ""
        print_text(heading + written)
        return True
    try:
        place.write_text(written, "utf-8")
    except OSError as error:
        print_complaint(Outcome(place, None, error))
        return False
    print_text(f"{place}\n")
    return True


def _written(file: Path, transcript: Transcript, wanted: Wanted) -> str:
    if wanted.form == "json":
        told: dict[str, Any] = {"file": str(file), **transcript.as_dict()}
        return to_json(told) + "\n"
    return FORMS[wanted.form](transcript, wanted.widths)
