"""Engines that load their models on one device, at once and one after the other."""

from inference_worker.memory_demand import LOAD, MEASURE_AGAIN, Demand, ModelDemand
from inference_worker.supervisor.admission import Admission


def demand(name: str, required: int, *, device: str = "cuda:0", free: int | None = 100) -> Demand:
    """Return what an engine of one model says."""
    return Demand.from_json(Demand([ModelDemand(name, device, required)], {device: free}).as_json())


def started(*engines: str) -> Admission:
    """Return the admission of engines that were started together."""
    admission = Admission()
    for engine in engines:
        admission.start(engine)
    return admission


def test_engines_of_one_device_are_admitted_together_if_all_fit() -> None:
    """None loads before each has said what it takes; then all load at once."""
    admission = started("a", "b")
    admission.ask("a", demand("whisper", 60))
    assert admission.answers() == {}
    admission.ask("b", demand("siglip", 40))

    assert admission.answers() == {"a": LOAD, "b": LOAD}
    assert admission.answers() == {}


def test_engines_that_do_not_fit_together_are_refused_together() -> None:
    """Each would fit alone; nothing is loaded, and both are named."""
    admission = started("a", "b")
    admission.ask("a", demand("whisper", 60_000_000_000, free=100_000_000_000))
    admission.ask("b", demand("siglip", 60_000_000_000, free=99_000_000_000))

    answers = admission.answers()

    assert answers["a"] == answers["b"]
    assert answers["a"].startswith("the models (whisper 60.0, siglip 60.0) need 120.0 GB on cuda:0, 99.0 GB are free")


def test_each_device_is_counted_for_itself() -> None:
    """What lies on another device, or on one that does not tell, is in nobody's way."""
    admission = started("a", "b", "c")
    admission.ask("a", demand("whisper", 60))
    admission.ask("b", demand("siglip", 60, device="cuda:1"))
    admission.ask("c", demand("yunet", 10**12, device="cpu", free=None))

    assert set(admission.answers().values()) == {LOAD}


def test_an_engine_that_comes_later_waits_for_one_that_loads() -> None:
    """What is free is measured when nobody fills it: an engine is replaced without being refused for another's half."""
    admission = started("a", "b")
    for engine in ("a", "b"):
        admission.ask(engine, demand(engine, 40))
    assert admission.answers() == {"a": LOAD, "b": LOAD}
    admission.finish("a")
    admission.start("c")
    admission.ask("c", demand("a", 40, free=30))
    assert admission.answers() == {}

    admission.finish("b")

    assert admission.answers() == {"c": MEASURE_AGAIN}
    admission.ask("c", demand("a", 40, free=60))
    assert admission.answers() == {"c": LOAD}


def test_an_engine_that_no_longer_fits_is_refused_alone() -> None:
    """Others serve on; the one that was replaced says why it is not there."""
    admission = started("a")
    admission.ask("a", demand("a", 40))
    admission.answers()
    admission.finish("a")
    admission.start("b")
    admission.ask("b", demand("a", 40, free=30))

    assert admission.answers()["b"].startswith("the models (a 0.0) need")


def test_an_engine_that_ends_before_it_asks_holds_up_no_other() -> None:
    """One that crashes while it starts is not waited for."""
    admission = started("a", "b")
    admission.ask("a", demand("a", 40))
    admission.finish("b")

    assert admission.answers() == {"a": LOAD}
