"""What a caller reads about a model that nobody serves."""

import pytest

from rpc.errors import RpcError, Unavailable, UnknownModel
from rpc.served import MAX_NAMES, Service, check_served, timeout_text

NAME = ("misspelt", "j1")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (None, "the job goes on"),
        (Service("misspelt", ever=True, workers=2, served=("misspelt",)), "the job goes on"),
        (
            Service("misspelt", ever=False, workers=0, served=("bge-m3", "siglip")),
            "the job goes on once a worker serves misspelt, which none ever did; served now: bge-m3, siglip",
        ),
        (
            Service("misspelt", ever=False, workers=0, served=()),
            "the job goes on once a worker serves misspelt, which none ever did; no model is served now",
        ),
        (
            Service("misspelt", ever=True, workers=0, served=("siglip",)),
            "the job goes on once a worker serves misspelt, which none does now; served now: siglip",
        ),
    ],
    ids=["no answer", "served", "never served", "nothing served", "not now"],
)
def test_a_timeout_says_who_serves_the_model(service: Service | None, expected: str) -> None:
    """The text names the served models only where nobody serves the one that was called."""
    assert timeout_text(NAME, service) == f"no reply to job j1 of misspelt within the timeout; {expected}"


def test_a_long_list_of_models_is_cut() -> None:
    """A server with hundreds of models makes no error of kilobytes."""
    names = tuple(f"model-{number:03}" for number in range(300))

    text = timeout_text(NAME, Service("misspelt", ever=False, workers=0, served=names))

    assert text.count("model-") == MAX_NAMES
    assert text.endswith(", …")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (Service("m", ever=True, workers=1, served=("m",)), None),
        (Service("m", ever=False, workers=1, served=("m",)), None),
        (Service("m", ever=False, workers=0, served=("n",)), UnknownModel),
        (Service("m", ever=True, workers=0, served=()), Unavailable),
    ],
)
def test_a_required_worker_is_there_or_an_error_is(service: Service, expected: type[RpcError] | None) -> None:
    """A model that was never served is the caller's mistake, one whose workers are away is not."""
    if expected is None:
        check_served(service)
    else:
        with pytest.raises(expected, match="'m'"):
            check_served(service)
