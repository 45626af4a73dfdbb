"""From names to models."""

import re
from pathlib import Path

import pytest

from inference_worker.memory_demand import misfit
from inference_worker.models.base import Runtime
from inference_worker.models.echo import Echo
from inference_worker.registry import MODELS, RegistryError, build, build_all, check_named, demand, load
from tests.models import CannotLoad, CannotWarmUp, Upper

RUNTIME = Runtime(max_text_chars=77)


def test_a_name_of_the_project_is_its_model() -> None:
    """`echo` needs no path."""
    model = build("echo", RUNTIME)

    assert (type(model), model.name, model.ops) == (Echo, "echo", ("echo",))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_served_under_the_name_it_is_asked_for_by(name: str) -> None:
    """`--models minilm` serves the stream of `minilm`, and loads nothing yet."""
    assert build(name, RUNTIME).name == name


def test_a_users_own_model_is_served_by_module_and_class() -> None:
    """`module:Class` needs no registration, and is told how it is to run."""
    model = build("tests.models:Upper", RUNTIME)

    assert (type(model).__name__, model.name, model.runtime) == (Upper.__name__, "upper", RUNTIME)


def test_a_users_own_model_takes_a_name_and_a_source() -> None:
    """`name=module:Class@source` serves one class twice, each under its name and from its source."""
    models = build_all(
        ["first=tests.models:Upper@/weights/a=b:c@d", "whisper=tests.models:Upper", "tests.models:Upper@x"], RUNTIME
    )

    assert [(type(model).__name__, model.name, model.runtime.source) for model in models] == [
        ("Upper", "first", "/weights/a=b:c@d"),
        ("Upper", "whisper", ""),
        ("Upper", "upper", "x"),
    ]
    with pytest.raises(RegistryError, match="upper is named twice; name=… gives one another name"):
        build_all(["tests.models:Upper", "tests.models:Upper@x"], RUNTIME)


def test_a_directory_with_a_colon_in_its_name_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that exists is a source, though a class could be written so."""
    (tmp_path / "weights:v1").mkdir()
    monkeypatch.chdir(tmp_path)

    model = build("mine=weights:v1", RUNTIME)

    assert (type(model).__name__, model.runtime.source) == ("SentenceEncoder", "weights:v1")


@pytest.mark.parametrize("spec", ["mine=tests.models:Nothing", "mine=nowhere:Upper@x", "mine=json:loads"])
def test_a_class_that_is_not_there_is_refused_by_its_entry(spec: str) -> None:
    """The message has the whole entry as it was given."""
    with pytest.raises(RegistryError, match=re.escape(f"--models {spec}: ")):
        build(spec, RUNTIME)


def test_a_source_with_a_name_is_an_encoder_of_that_name() -> None:
    """`name=directory` serves any sentence encoder under a name of one's own, beside others."""
    first, second = build_all(["mine=/weights/a", "yours=/weights/b"], RUNTIME)

    assert [(model.name, model.runtime.source, model.runtime.max_text_chars) for model in (first, second)] == [
        ("mine", "/weights/a", 77),
        ("yours", "/weights/b", 77),
    ]


def test_a_family_takes_other_weights_and_another_name() -> None:
    """`echo=source` stays the family; `mine=echo:source` serves it under a name of one's own, `mine=echo` as it is."""
    models = build_all(["echo=/weights/a", "mine=echo:/weights/b", "yours=echo"], RUNTIME)

    assert [(type(model), model.name, model.runtime.source) for model in models] == [
        (Echo, "echo", "/weights/a"),
        (Echo, "mine", "/weights/b"),
        (Echo, "yours", ""),
    ]


class Large(Echo):
    """A model that says what it needs."""

    name = "large"

    def needs(self) -> int:
        """Return ten gigabytes."""
        return 10_000_000_000

    def free(self) -> int:
        """Return fifteen."""
        return 15_000_000_000


class Elsewhere(Large):
    """The same on another device."""

    name = "elsewhere"

    def where(self) -> str:
        """Return a device of its own."""
        return "cuda:1"


def test_what_models_take_is_told_by_device() -> None:
    """Each device is counted for itself, and says what is free."""
    told = demand([Large(RUNTIME), Elsewhere(RUNTIME)])

    assert [(model.name, model.device, model.required) for model in told.models] == [
        ("large", "cpu", 10_000_000_000),
        ("elsewhere", "cuda:1", 10_000_000_000),
    ]
    assert told.free == {"cpu": 15_000_000_000, "cuda:1": 15_000_000_000}
    assert misfit([told]) == ""


def test_more_than_fits_is_refused_with_what_each_needs() -> None:
    """Whoever asks for too much reads how much, where, and what to do, before anything is loaded."""
    told = misfit([demand([Large(RUNTIME), Elsewhere(RUNTIME), Large(RUNTIME)])])

    expected = "the models (large 10.0, large 10.0) need 20.0 GB on cpu, 15.0 GB are free; serve fewer"
    assert told.startswith(expected)


def test_a_budget_for_a_model_that_is_not_served_is_refused() -> None:
    """A misspelt name in `PENSTOCK_BATCH_COST` would do nothing."""
    check_named(["*", "large"], [Large(RUNTIME)])
    with pytest.raises(RegistryError, match="PENSTOCK_BATCH_COST: whispr is none of the models served: large"):
        check_named(["whispr"], [Large(RUNTIME)])


def test_a_budget_may_be_for_a_model_of_another_engine() -> None:
    """An engine knows the names the others serve, but for those of classes it does not import."""
    check_named(["asr", "siglip"], [Large(RUNTIME)], ["asr=whisper:small", "siglip"])
    check_named(["mine"], [Large(RUNTIME)], ["my.package:Mine"])
    with pytest.raises(RegistryError, match="whispr is none of the models served: large, asr"):
        check_named(["whispr"], [Large(RUNTIME)], ["asr=whisper:small"])


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nothing", r"expected one of echo, minilm, .*, name=source, module:Class"),
        ("no.such.module:Model", r"No module named 'no'"),
        ("tests.models:Missing", r"has no attribute 'Missing'"),
        ("tests.models:GATE_S", r"no subclass of inference_worker.models.base.Model"),
        ("rpc.keys:Keys", r"no subclass of inference_worker.models.base.Model"),
        ("a b=/weights", r"model name 'a b' is not"),
        ("inference_worker.models.base:Model", r"Model"),
        (":", r"expected one of"),
        (":Model", r"--models :Model"),
        ("tests.models:", r"--models tests.models:"),
    ],
)
def test_what_is_no_model_is_refused_by_what_was_written(spec: str, complaint: str) -> None:
    """Whoever mistypes a model reads what they typed and what is wrong with it."""
    with pytest.raises(RegistryError, match=complaint) as refused:
        build(spec, RUNTIME)

    assert str(refused.value).startswith(f"--models {spec}: ")


def test_a_device_that_is_not_there_is_refused_by_what_was_written() -> None:
    """Whoever asks for a GPU this machine has not reads so, and no traceback."""
    with pytest.raises(RegistryError, match=r"--models minilm: .*cuda:99"):
        build("minilm", Runtime(device="cuda:99"))


def test_a_model_is_not_served_twice_by_one_worker() -> None:
    """Two models of one name would read one stream."""
    with pytest.raises(RegistryError, match="upper is named twice"):
        build_all(["echo", "tests.models:Upper", "tests.models:Upper"], RUNTIME)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (CannotLoad, "model cannot-load cannot be loaded: FileNotFoundError: no weights here"),
        (CannotWarmUp, "model cannot-warm-up cannot be loaded: ValueError: a test input gave no answer"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(kind: type[CannotLoad | CannotWarmUp], complaint: str) -> None:
    """Neither a failed load nor a failed warm-up is passed over."""
    with pytest.raises(RegistryError) as refused:
        load(kind(RUNTIME))

    assert str(refused.value) == complaint
