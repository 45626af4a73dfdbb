"""How the demo talks: rich in a terminal, plain lines anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress
from rich.rule import Rule
from rich.text import Text

from producers.tables import console, progress


class DemoFailed(Exception):
    """Something the demo promises did not happen; the message says what."""


def expect(*, holds: bool, otherwise: str) -> None:
    """Raise `DemoFailed` with the sentence unless what was promised holds."""
    if not holds:
        raise DemoFailed(otherwise)


class Narrator:
    """Tells what happens."""

    def __init__(self) -> None:
        self._console = console()
        self._steps = 0

    def step(self, title: str, sentence: str) -> None:
        """Begin a new step."""
        self._steps += 1
        self._console.print()
        if self._console.is_terminal:
            self._console.print(Rule(Text(f"{self._steps}. {title}", style="bold cyan"), align="left", style="cyan"))
        else:
            self.say(f"{self._steps}. {title}")
        self.say(sentence, style="dim")

    def say(self, text: str, *, style: str = "") -> None:
        """Say a line."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def show(self, text: str, *, style: str = "") -> None:
        """Show a line of what came back, set in."""
        self.say(f"   {text}", style=style)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes its time."""
        if not self._console.is_terminal:
            self.say(f"… {text}")
            yield
            return
        with self._console.status(Text(text)):
            yield

    @contextmanager
    def counting(self, text: str, total: int) -> Iterator["Counter"]:
        """Show a bar that fills as things get done."""
        with progress() as bar:
            yield Counter(bar, text, total)


class Counter:
    """A progress bar being filled."""

    def __init__(self, bar: Progress, text: str, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task(text, total=total)

    def one_done(self) -> None:
        """Count one more."""
        self._bar.advance(self._task)
