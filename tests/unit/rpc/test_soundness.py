"""What is made of a server's answers about the lanes of a model."""

from typing import Any

import pytest

from rpc.calls import Call
from rpc.soundness import LaneCare, lane_care


def carried_out(call: Call[Any], *rounds: list[Any]) -> Any:
    """Return the answer of a conversation that gets these replies."""
    next(call)
    for replies in rounds[:-1]:
        call.send(replies)
    with pytest.raises(StopIteration) as done:
        call.send(rounds[-1])
    return done.value.value


GROUP_OF_6_2 = [b"name", b"workers", b"last-delivered-id", b"1-1", b"pel-count", 1, b"pending", [], b"consumers", []]


@pytest.mark.parametrize(
    ("stream", "stray"),
    [
        ([b"length", 3, b"groups", [GROUP_OF_6_2]], 0),
        ([b"length", 3, b"groups", [[*GROUP_OF_6_2, b"lag", 1]]], 1),
        ([b"length", 3, b"groups", [[*GROUP_OF_6_2, b"lag", None]]], 0),
        ([b"length", 3, b"groups", []], 0),
        ([b"length", 3], 0),
        ([], 0),
    ],
    ids=["redis-6.2", "redis-7", "lost-count", "no-group", "no-groups", "nothing"],
)
def test_what_a_server_does_not_tell_is_no_finding(stream: list[Any], stray: int) -> None:
    """Older servers leave fields of XINFO out; then the doctor knows of no stray jobs, and goes on."""
    lanes = carried_out(lane_care("p", "m", ()), [None], [stream, [], stream, []])

    assert lanes == [LaneCare("interactive", stray=stray), LaneCare("bulk", stray=stray)]
