"""What an engine says of itself in memory, as its supervisor reads it."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from inference_worker.stamps import LIST_BYTES, SINCE, Stamps, Work
from rpc.deliveries import Place
from rpc.keys import LANES
from tests.waiting import eventually

FIRST: Place = ("interactive", "1-1")
SECOND: Place = ("bulk", "1-1")


@pytest.fixture
def stamps() -> Iterator[Stamps]:
    """Yield memory for three stages."""
    made = Stamps.create(3)
    yield made
    made.close()


def test_both_ends_see_the_same(stamps: Stamps) -> None:
    """What is written through one descriptor is read through another."""
    engine = Stamps(stamps.descriptor)
    engine.stage("whisper").begin([FIRST, SECOND], 7.0)
    engine.serve(3)

    assert stamps.works() == [Work("whisper", 7.0, frozenset({FIRST, SECOND}))]
    assert stamps.served == 3


def test_a_stage_that_is_done_is_at_nothing(stamps: Stamps) -> None:
    """Only what is under way is told."""
    stage = stamps.stage("m")
    stage.begin([FIRST], 7.0)
    stage.end()

    assert stamps.works() == []


def test_stages_are_told_apart(stamps: Stamps) -> None:
    """Two models, and two stages of one, each say their own."""
    for model, place, now in (("a", FIRST, 1.0), ("a", SECOND, 2.0), ("b", FIRST, 3.0)):
        stamps.stage(model).begin([place], now)

    assert stamps.works() == [
        Work("a", 1.0, frozenset({FIRST})),
        Work("a", 2.0, frozenset({SECOND})),
        Work("b", 3.0, frozenset({FIRST})),
    ]


def test_there_is_room_for_the_stages_asked_for_and_no_more(stamps: Stamps) -> None:
    """A stage without a place would be one nobody watches."""
    for _ in range(3):
        stamps.stage("m")

    with pytest.raises(AssertionError, match="more stages"):
        stamps.stage("m")


def test_more_entries_than_there_is_room_for_are_unknown(stamps: Stamps) -> None:
    """Half a list is never told: what is not told is counted as worked on."""
    stamps.stage("m").begin([("bulk", f"{number}-0") for number in range(LIST_BYTES)], 7.0)

    assert stamps.works() == [Work("m", 7.0, None)]


def test_a_list_half_written_is_no_work(stamps: Stamps, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that dies while it writes its list has not begun the work yet."""
    stage = stamps.stage("m")
    stage.begin([FIRST], 6.0)
    stage.end()
    monkeypatch.setattr(
        "inference_worker.stamps.SINCE", SimpleNamespace(pack_into=lambda *_: None, unpack_from=SINCE.unpack_from)
    )
    stage.begin([SECOND], 7.0)

    assert stamps.works() == []


def test_an_engine_is_as_stuck_as_the_oldest_thing_it_is_at(stamps: Stamps) -> None:
    """A long pass shows although the engine ticks, a missing tick although nothing is under way."""
    assert stamps.stuck_since() is None
    stamps.tick(10.0)
    assert stamps.stuck_since() == 10.0

    stage = stamps.stage("m")
    stage.begin([FIRST], 11.0)
    stamps.tick(20.0)
    assert stamps.stuck_since() == 11.0
    stage.go_on(15.0)
    assert stamps.stuck_since() == 15.0
    stage.end()
    assert stamps.stuck_since() == 20.0


def test_a_tick_keeps_the_count(stamps: Stamps) -> None:
    """How many jobs were served survives every tick, and serving survives the tick's time."""
    stamps.tick(1.0)
    stamps.serve(2)
    stamps.tick(2.0)
    stamps.serve(1)

    assert (stamps.served, stamps.ticked_at) == (3, 2.0)


def test_a_stage_that_waits_for_a_store_is_not_stuck(stamps: Stamps) -> None:
    """Waiting for an input is told apart from work, and never counts as a hang."""
    stamps.tick(10.0)
    stamps.stage("m").fetch(FIRST)

    assert stamps.works() == [Work("m", 0.0, frozenset({FIRST}), fetching=True)]
    assert stamps.stuck_since() == 10.0


WRITER = """
import sys
from inference_worker.stamps import Stamps
stamps = Stamps(int(sys.argv[1]))
stage = stamps.stage("m")
places = [[("interactive" if n % 2 else "bulk", f"{n}{i}-{i}") for i in range(1 + 5 * n)] for n in range(1, 60)]
now = 1.0
while True:
    for each in places:
        now += 1.0
        stage.begin(each, now)
        stamps.tick(now)
        stage.go_on(now + 0.5)
        stage.end()
        stage.fetch(each[0])
        stage.begin(each, now)
"""
"""Writes lists that differ in length, lane and number as fast as it can: entry `i` of list `n` is `<n><i>-<i>`."""


def test_what_is_read_while_another_process_writes_is_whole(stamps: Stamps) -> None:
    """Every list read is one that was written, from its first entry to its last; nothing raises."""
    written = {
        frozenset((LANES[0] if n % 2 else LANES[1], f"{n}{i}-{i}") for i in range(count))
        for n in range(1, 60)
        for count in (1, 1 + 5 * n)
    }
    seen: set[frozenset[Place] | None] = set()

    def look() -> set[frozenset[Place] | None]:
        seen.update(work.entries for work in stamps.works())
        return seen

    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(stamps.descriptor)], pass_fds=[stamps.descriptor]
    ) as writer:
        try:
            eventually(lambda: stamps.ticked_at)
            for _ in range(2_000):
                look()
            eventually(lambda: len(look()) > 10)
            assert stamps.stuck_since() is not None
        finally:
            writer.kill()

    assert seen - {None} <= written
