"""What the doctor says of models, by what lies under the prefix."""

import pytest

from producers.doctor import cared_for, hint, lasting, replies, served
from rpc.inspection import LaneState, ModelState
from rpc.kept_replies import KeptReplies
from rpc.soundness import LaneCare

WORKERS = {"w1": {"device": "cpu"}}


def state(*, jobs: int = 0, dead: int = 0, workers: dict[str, dict[str, str]] | None = None) -> ModelState:
    """Return the state of a model."""
    lanes = (LaneState("interactive", jobs, 0, 90_000), LaneState("bulk", 0, 0, 0))
    return ModelState("m", lanes, dead, workers or {})


def test_a_model_that_is_served_is_well() -> None:
    """Live workers are counted, and so are the jobs."""
    (finding,) = served(state(jobs=3, workers=WORKERS))

    assert (finding.level, finding.says) == ("ok", "1 live workers, 3 jobs")


def test_jobs_that_nobody_serves_are_a_fault() -> None:
    """How many, and since when; a model without jobs and workers is only warned of."""
    (waiting,) = served(state(jobs=3))
    (idle,) = served(state())

    assert (waiting.level, waiting.says) == ("fault", "3 jobs, the oldest 90 s old, and no live worker")
    assert idle.level == "warning"
    assert waiting.advice == idle.advice


def test_the_dead_letter_is_told_with_the_command_that_lists_it() -> None:
    """Jobs given up on wait for somebody to look at them."""
    _, finding = served(state(dead=2, workers=WORKERS))

    assert (finding.level, finding.says, finding.advice) == ("warning", "2 jobs given up on", "penstock dead list m")


@pytest.mark.parametrize(
    ("care", "level", "says"),
    [
        (LaneCare("bulk", stray=2), "fault", "2 jobs were handed out and nobody holds them"),
        (LaneCare("bulk", stale=2), "warning", "2 jobs of workers that are gone, not taken over"),
        (LaneCare("bulk", strangers=("a", "b")), "warning", "groups that are not ours: a, b"),
        (LaneCare("bulk", wrong="WRONGTYPE"), "fault", "WRONGTYPE"),
    ],
    ids=["stray", "stale", "strangers", "wrong"],
)
def test_jobs_out_of_care_are_told_with_what_to_do(care: LaneCare, level: str, says: str) -> None:
    """Each by its lane."""
    (finding,) = cared_for("p", "m", [LaneCare("interactive"), care], WORKERS)

    assert (finding.level, finding.what, finding.says) == (level, "model m, bulk", says)
    assert finding.advice


def test_jobs_of_lost_workers_are_no_second_fault_where_nobody_serves() -> None:
    """That no worker is alive has been said."""
    assert list(cared_for("p", "m", [LaneCare("bulk", stale=2)], {})) == []


def test_a_few_lasting_keys_stand_for_many() -> None:
    """A line holds their number and the first of them."""
    (finding,) = lasting([f"p:{number}" for number in range(5)])

    assert finding.says == "5 keys without a life: p:0, p:1, p:2, …"
    assert list(lasting([])) == []


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("rediss://h:1", "Timeout connecting to server", "does it speak TLS"),
        ("rediss://h:1", "[SSL: WRONG_VERSION_NUMBER] wrong version number", "does it speak TLS"),
        ("rediss://h:1", "certificate verify failed", ""),
        ("redis://h:1", "Connection reset by peer", "begins with rediss:"),
        ("redis://h:1", "Connection refused", ""),
        ("unix:///s", "Connection closed by server", ""),
    ],
)
def test_a_silent_failure_is_asked_about_tls(address: str, error: str, told: str) -> None:
    """Where one side may speak TLS and the other not, neither says so by itself."""
    assert bool(hint(address, error)) == bool(told)
    assert told in hint(address, error)


@pytest.mark.parametrize(
    ("kept", "maxmemory", "level", "says"),
    [
        (KeptReplies(0, 0), 100_000_000, "ok", "0 kept, about 0 bytes"),
        (KeptReplies(6_000, 25_000_000), 100_000_000, "ok", "6,000 kept, about 25,000,000 bytes"),
        (KeptReplies(6_001, 25_000_001), 100_000_000, "warning", "25,000,001 bytes of 100,000,000"),
        (KeptReplies(9_000_000, 10**12), 0, "ok", "9,000,000 kept"),
        (KeptReplies(100_000, 10**9, whole=False), 10**9, "warning", "at least 100,000 kept"),
    ],
)
def test_replies_that_take_a_large_share_of_the_memory_are_a_warning(
    kept: KeptReplies, maxmemory: int, level: str, says: str
) -> None:
    """The doctor reckons bytes, and says nothing against a server without a limit."""
    (finding,) = replies(kept, maxmemory)

    assert (finding.level, finding.what) == (level, "replies")
    assert says in finding.says
