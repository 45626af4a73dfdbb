"""What the lookout decides without a server."""

import pytest

from inference_worker.lookout import announce_every_s


@pytest.mark.parametrize(("lease_s", "expected"), [(0.2, 0.05), (10, 2.5), (30, 5), (3600, 5)])
def test_a_worker_announces_itself_often(lease_s: float, expected: float) -> None:
    """However long its leases are: whoever looks sees that work gets done."""
    assert expected == announce_every_s(lease_s)
