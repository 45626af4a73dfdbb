"""What a client remembers of how much its models see."""

import pytest

from rpc.inspection import ModelState
from rpc.sights import REMEMBERED_S, Sights


def state(*told: str | None, model: str = "m") -> ModelState:
    """Return the state of a model whose live workers tell these."""
    about = [{} if sees is None else {"sees": sees} for sees in told]
    return ModelState(model, (), 0, {f"w{number}": each for number, each in enumerate(about)})


@pytest.mark.parametrize("sees", ["384x384", "<=1280", "224x336"])
def test_what_the_workers_tell_is_remembered_for_a_while(sees: str) -> None:
    """Asked once, a model is not asked again for a minute, and then it is."""
    sights = Sights()

    learned = sights.learn(state(sees, sees), now=10.0)

    assert (learned, sights.get("m", now=10.0 + REMEMBERED_S - 1)) == (sees, sees)
    assert (sights.get("m", now=10.0 + REMEMBERED_S), sights.get("other", now=10.0)) == (None, None)


@pytest.mark.parametrize(
    "told",
    [
        (None,),
        ("384x384", "<=1280"),
        ("384x384", None),
        ("",),
        ("384",),
        ("0x4",),
        ("<=0",),
        ("<=",),
        ("4x4\n",),
        ("-1x4",),
    ],
    ids=repr,
)
def test_what_cannot_be_gone_by_is_nothing(told: tuple[str | None, ...]) -> None:
    """Workers that differ, as while they are being replaced, or that say what nobody understands: nothing is shrunk."""
    sights = Sights()

    assert sights.learn(state(*told), now=0.0) == ""
    assert sights.get("m", now=1.0) == ""


def test_a_model_without_workers_is_asked_again() -> None:
    """Whoever comes next is heard at once."""
    sights = Sights()

    assert (sights.learn(state(), now=0.0), sights.get("m", now=0.0)) == ("", None)
