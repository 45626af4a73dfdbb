"""Settings of a worker: where they come from, and what is refused."""

import pytest

from inference_worker.settings import ENVIRONMENT, WorkerSettings
from rpc.settings import SettingError

MODELS = {"PENSTOCK_MODELS": "echo"}

OTHER_THAN_DEFAULT = {
    "models": ("echo,minilm", ("echo", "minilm")),
    "device": ("cuda:1", "cuda:1"),
    "torch_threads": ("2", 2),
    "prepare_threads": ("3", 3),
    "batch_size": ("7", 7),
    "units_held": ("9", 9),
    "batch_cost": ("11", 11),
    "linger_ms": ("1.5", 1.5),
    "bulk_every": ("4", 4),
    "lease_s": ("2.5", 2.5),
    "max_deliveries": ("5", 5),
    "max_jobs": ("6", 6),
    "drain_grace_s": ("0", 0.0),
    "max_text_chars": ("12", 12),
    "health_host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104 (a value of a setting; nothing is bound)
    "health_port": ("0", 0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}

VARIABLES = [(variable, field) for field, variables in ENVIRONMENT.items() for variable in variables]


def test_every_field_can_be_set_in_the_environment() -> None:
    """No setting can be given in Python alone."""
    assert set(ENVIRONMENT) == set(WorkerSettings.model_fields) == set(OTHER_THAN_DEFAULT)


@pytest.mark.parametrize(("variable", "field"), VARIABLES)
def test_a_variable_sets_its_field(variable: str, field: str) -> None:
    """Each variable, of this project and of the system it replaces, sets the field it is documented for."""
    text, value = OTHER_THAN_DEFAULT[field]

    settings = WorkerSettings.from_env({**MODELS, variable: text})

    assert value == getattr(settings, field)


def test_the_names_of_the_system_it_replaces_are_accepted() -> None:
    """A deployment keeps `BATCH_SIZE` and `BATCH_TIMEOUT_MS` as they are; our own names go first."""
    old = {**MODELS, "BATCH_SIZE": "16", "BATCH_TIMEOUT_MS": "50"}

    settings = [WorkerSettings.from_env(old), WorkerSettings.from_env({**old, "PENSTOCK_BATCH_SIZE": "8"})]

    assert [(each.batch_size, each.linger_ms) for each in settings] == [(16, 50.0), (8, 50.0)]


def test_the_command_line_goes_before_the_environment() -> None:
    """What is given on the command line overrides a variable; what is not given there does not."""
    settings = WorkerSettings.from_env({**MODELS, "PENSTOCK_LEASE_S": "9"}, lease_s="3", models=None)

    assert (settings.lease_s, settings.models) == (3.0, ("echo",))


def test_models_are_separated_by_commas_and_blanks_do_not_matter() -> None:
    """A list copied from a sentence works."""
    assert WorkerSettings.from_env({"PENSTOCK_MODELS": " echo, minilm ,,"}).models == ("echo", "minilm")


def test_without_models_the_refusal_says_what_to_do() -> None:
    """A worker with nothing to serve does not start."""
    with pytest.raises(SettingError, match=r"--models \(or PENSTOCK_MODELS\) is not set: name at least one"):
        WorkerSettings.from_env({})


def test_a_list_of_no_models_is_refused() -> None:
    """Commas alone are no model."""
    with pytest.raises(SettingError, match="PENSTOCK_MODELS"):
        WorkerSettings.from_env({"PENSTOCK_MODELS": ","})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PENSTOCK_DEVICE", "tpu"),
        ("PENSTOCK_TORCH_THREADS", "-1"),
        ("PENSTOCK_PREPARE_THREADS", "0"),
        ("PENSTOCK_BATCH_SIZE", "0"),
        ("BATCH_SIZE", "many"),
        ("PENSTOCK_UNITS_HELD", "0"),
        ("PENSTOCK_BATCH_COST", "-1"),
        ("PENSTOCK_LINGER_MS", "-0.1"),
        ("BATCH_TIMEOUT_MS", "soon"),
        ("PENSTOCK_BULK_EVERY", "1"),
        ("PENSTOCK_LEASE_S", "0.1"),
        ("PENSTOCK_MAX_DELIVERIES", "0"),
        ("PENSTOCK_MAX_JOBS", "0"),
        ("PENSTOCK_DRAIN_GRACE_S", "-1"),
        ("PENSTOCK_MAX_TEXT_CHARS", "0"),
        ("PENSTOCK_HEALTH_PORT", "65536"),
        ("PENSTOCK_LOG_LEVEL", "loud"),
        ("PENSTOCK_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_value(variable: str, value: str) -> None:
    """Whoever set a variable wrongly reads its name and what it was set to."""
    with pytest.raises(SettingError) as refused:
        WorkerSettings.from_env({**MODELS, variable: value})

    assert str(refused.value).startswith(f"{variable}={value!r}: ")


def test_what_the_scripts_read_is_published_in_milliseconds() -> None:
    """Bound, lease and deliveries of the settings are what all workers and callers of the model obey."""
    limits = WorkerSettings.from_env(MODELS, lease_s="2.5", max_jobs="7", max_deliveries="2").limits

    assert (limits.max_jobs, limits.lease_ms, limits.max_deliveries) == (7, 2500, 2)
