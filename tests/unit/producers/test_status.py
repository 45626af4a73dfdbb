"""What `status` says of workers."""

import pytest

from producers.status import worker_rows
from rpc.inspection import ModelState

TOLD = {"device": "cuda:0", "free_bytes": "79456894976", "weights": "stand-in", "started": "1000", "ops": "transcribe"}


@pytest.mark.parametrize(
    ("count", "told"),
    [
        ("0", "0.0 MB of weights"),
        ("337920", "0.3 MB of weights"),
        ("90000000", "90 MB of weights"),
        ("2271064064", "2,271 MB of weights"),
        ("unknown", "bytes unknown"),
    ],
)
def test_bytes_are_told_as_people_say_them(count: str, told: str) -> None:
    """In MB, those of small weights with a tenth; what is no number stays as it is, and so does all else."""
    state = ModelState("whisper", (), 0, {"w1": {**TOLD, "bytes": count}})
    ((model, worker, says),) = worker_rows([state], now=1060.0)
    assert (model, worker) == ("whisper", "w1")
    assert says == f"device cuda:0, 79,457 MB free, weights stand-in, up 60 s, ops transcribe, {told}"
