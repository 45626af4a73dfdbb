"""Points in time by which callers want answers."""

from rpc.deadlines import Deadline


def test_what_is_left_shrinks_to_zero_and_no_further() -> None:
    """A deadline counts down and is never overdrawn."""
    deadline = Deadline.after(2.0, now=10.0)

    assert [deadline.remaining_s(now) for now in (10.0, 11.5, 12.0, 99.0)] == [2.0, 0.5, 0.0, 0.0]


def test_the_moment_itself_is_too_late() -> None:
    """A deadline has passed from its moment on."""
    deadline = Deadline.after(2.0, now=10.0)

    assert [deadline.passed(now) for now in (10.0, 11.9, 12.0, 13.0)] == [False, False, True, True]
