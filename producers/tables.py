"""How listings look: a table for people, JSON for programs, and both the same everywhere."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rpc.codec import to_json
from rpc.log_lines import printable, printable_json

PIPE_COLUMNS = 240
"""The width of a table that goes into a file or a pipe, where nobody's window ends."""

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000


def console(*, stderr: bool = False) -> Console:
    """Return the console of standard output or error; it honours NO_COLOR, and writes plain text into a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    columns = None if stream.isatty() else PIPE_COLUMNS
    return Console(stderr=stderr, width=columns, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print_text(printable_json(to_json(value)) + "\n")


def print_text(text: str) -> None:
    """Print text as it is, at once: whoever reads it from a pipe may be waiting."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_lines(lines: Iterable[str], *, stderr: bool = False) -> None:
    """Print each text on a line of its own: what comes off the wire is no markup, and is escaped."""
    screen = console(stderr=stderr)
    for line in lines:
        screen.print(printable(line), markup=False, soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column names; a name that ends in `#` is of a column of numbers. Cells are escaped."""
    table = Table(
        title=Text(printable(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        table.add_column(name.rstrip("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console().print(table)


def progress() -> Progress:
    """Return progress bars on standard error that go away when done; there are none where nobody watches.

    Nothing may be printed while they are shown: a terminal shows both streams, and the cursor is the bars'.
    """
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # what is printed elsewhere must never be redirected to where the bars are: it may be on its way to a file
    return Progress(
        *columns,
        console=screen,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not screen.is_terminal,
    )


def duration(milliseconds: float) -> str:
    """Return a span of time as people say it, in its largest unit."""
    for unit, size in (("d", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS), ("s", SECOND_MS)):
        if milliseconds >= 2 * size or (unit == "s" and milliseconds >= size):
            return f"{milliseconds / size:.0f} {unit}"
    return f"{milliseconds:.0f} ms"


def shortened(text: str, most: int) -> str:
    """Return the text on one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
