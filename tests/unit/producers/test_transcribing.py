"""The bars of `penstock transcribe`, on a terminal that writes down what it shows."""

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from producers import transcribing
from producers.transcribing import Bars, Wanted, show_transcripts
from rpc import Client, Transcript, Unavailable
from rpc import Progress as Far
from tests.waiting import LONG_S


class Screen:
    """A terminal.

    Attributes:
        bars: what is shown on it.
    """

    def __init__(self) -> None:
        console = Console(file=io.StringIO(), force_terminal=True, width=60)
        self.bars = Progress(
            TextColumn("{task.description}"), MofNCompleteColumn(), console=console, auto_refresh=False, transient=True
        )

    def lines(self) -> list[str]:
        """Return the bars as they stand now."""
        paper = Console(file=io.StringIO(), width=60)
        with paper.capture() as shown:
            paper.print(self.bars.get_renderable())
        return [" ".join(line.split()) for line in shown.get().splitlines() if line.strip()]


class Caller:
    """Stands for the client: knows how far jobs are, and answers once it was asked that.

    Attributes:
        far: how far each job is; one that is not there is nobody's to tell.
    """

    def __init__(self, far: Mapping[str, Far]) -> None:
        self.far = far
        self.watched = threading.Event()

    def progress(self, model: str, job_id: str) -> Far:
        """Return how far a job is."""
        assert model == "whisper"
        self.watched.set()
        if job_id not in self.far:
            raise Unavailable("Redis is away")
        return self.far[job_id]

    def transcribe(self, file: Path, _: str | None, **options: Any) -> Transcript:
        """Return a transcript once somebody has asked how far it is."""
        self.far = {**self.far, options["job_id"]: Far("running", 2, 7)}
        assert self.watched.wait(LONG_S)
        return Transcript(text=f"of {file.name}", language="en", duration=1.0, segments=[])


def bars(caller: Caller, screen: Screen) -> Bars:
    """Return the bars of the jobs a caller knows."""
    return Bars(cast("Client", caller), "whisper", screen.bars)


def test_each_recording_under_way_has_a_bar_of_its_windows() -> None:
    """From when it is known how many there are until it is done; how many are done moves on."""
    caller, screen = Caller({"a": Far("running", 0, 0), "b": Far("running", 1, 4)}), Screen()
    shown = bars(caller, screen)
    talk, song = (Path("x/talk.wav"), "a"), (Path("x/song.mp3"), "b")

    shown.show([talk, song])
    first = screen.lines()
    caller.far = {"a": Far("running", 3, 9), "b": Far("running", 4, 4)}
    shown.show([talk, song])
    second = screen.lines()
    shown.show([talk])

    assert first == ["song.mp3 1/4"]
    assert second == ["song.mp3 4/4", "talk.wav 3/9"]
    assert screen.lines() == ["talk.wav 3/9"]
    shown.show([])
    assert screen.lines() == []


def test_a_job_nobody_can_tell_of_keeps_the_bar_it_has() -> None:
    """That Redis is away is no reason to fail, nor to forget."""
    caller, screen = Caller({"a": Far("running", 3, 9)}), Screen()
    shown = bars(caller, screen)
    shown.show([(Path("talk.wav"), "a")])
    caller.far = {}

    shown.show([(Path("talk.wav"), "a"), (Path("song.mp3"), "b")])

    assert screen.lines() == ["talk.wav 3/9"]


def test_bars_are_shown_while_transcripts_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where somebody watches only; what is written is the transcripts."""
    caller, screen = Caller({}), Screen()
    seen: list[list[str]] = []
    show = Bars.show

    def showing(self: Bars, under_way: Any) -> None:
        show(self, under_way)
        seen.append(screen.lines())

    monkeypatch.setattr(Bars, "show", showing)
    monkeypatch.setattr(transcribing, "progress", lambda: screen.bars)
    wanted = Wanted("text", "whisper", None, words=False, options={})

    failures = show_transcripts(cast("Client", caller), [Path("talk.wav")], wanted)

    assert failures == 0
    assert seen[0] == ["transcribing with whisper 0/1", "talk.wav 2/7"]
    assert capsys.readouterr().out.strip() == "of talk.wav"
