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
    "batch_cost": ("11", {"*": 11}),
    "asr_model": ("small", "small"),
    "vision_model": ("google/siglip-base-patch16-224", "google/siglip-base-patch16-224"),
    "load_bge_m3": ("false", False),
    "feature_face": ("0", False),
    "models_dir": ("/weights", "/weights"),
    "standins": ("missing", "missing"),
    "cache_dir": ("/somewhere", "/somewhere"),
    "dtype": ("bfloat16", "bfloat16"),
    "whisper_compute": ("int8_float32", "int8_float32"),
    "memory_check": ("false", False),
    "max_image_pixels": ("13", 13),
    "max_audio_s": ("14", 14.0),
    "media_root": ("/usr", "/usr"),
    "media_prefixes": (
        "s3://videos, GS://bucket/clips/  http://H/a",
        ("s3://videos/", "gs://bucket/clips/", "http://h/a/"),
    ),
    "media_timeout_s": ("7", 7.0),
    "linger_ms": ("1.5", 1.5),
    "bulk_every": ("4", 4),
    "lease_s": ("2.5", 2.5),
    "max_deliveries": ("5", 5),
    "devices": ("cuda:0, cuda:1", ("cuda:0", "cuda:1")),
    "engines": ("per-model", "per-model"),
    "hang_after_s": ("1.5", 1.5),
    "most_failures": ("7", 7),
    "server_check": ("warn", "warn"),
    "most_failed_jobs": ("0", 0),
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


@pytest.mark.parametrize(
    ("environ", "serving"),
    [
        ({}, ("whisper", "siglip", "bge-m3", "yunet")),
        ({"LOAD_BGE_M3": "false"}, ("whisper", "siglip", "yunet")),
        ({"LOAD_BGE_M3": "true", "FEATURE_FACE": "false"}, ("whisper", "siglip", "bge-m3")),
        ({"ASR_MODEL": "small", "VISION_MODEL_NAME": "/w/s"}, ("whisper=small", "siglip=/w/s", "bge-m3", "yunet")),
        ({"PENSTOCK_MODELS": "echo,whisper", "ASR_MODEL": "small"}, ("echo", "whisper=small")),
        ({"PENSTOCK_MODELS": "whisper=large-v3", "ASR_MODEL": "small"}, ("whisper=large-v3",)),
        ({"PENSTOCK_MODELS": "yunet", "FEATURE_FACE": "false"}, ("yunet",)),
        ({"ASR_MODEL": "small", "PENSTOCK_STANDINS": "1"}, ("whisper", "siglip", "bge-m3", "yunet")),
    ],
)
def test_the_flags_of_the_system_it_replaces_choose_what_is_served(
    environ: dict[str, str], serving: tuple[str, ...]
) -> None:
    """Without `--models` the four families are served, less what is switched off, from the sources named."""
    assert WorkerSettings.from_env(environ).serving == serving


@pytest.mark.parametrize(("text", "mode"), [("1", "all"), ("true", "all"), ("all", "all"), ("0", "no"), ("no", "no")])
def test_stand_ins_are_asked_for_like_a_switch(text: str, mode: str) -> None:
    """`PENSTOCK_STANDINS=1` says it as well as `all`."""
    assert WorkerSettings.from_env({"PENSTOCK_STANDINS": text}).standins == mode


def test_a_budget_may_be_given_for_each_model() -> None:
    """What is a fitting batch differs from model to model; one number holds for those not named."""
    settings = WorkerSettings.from_env({"PENSTOCK_BATCH_COST": "whisper=8, bge-m3=4096"})

    assert [settings.budget_of(name) for name in ("whisper", "bge-m3", "siglip")] == [8, 4096, None]
    assert WorkerSettings.from_env({"PENSTOCK_BATCH_COST": "9"}).budget_of("siglip") == 9
    assert WorkerSettings.from_env({"PENSTOCK_BATCH_COST": "0"}).budget_of("siglip") is None


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
        ("PENSTOCK_BATCH_COST", "whisper"),
        ("PENSTOCK_BATCH_COST", "whisper=many"),
        ("LOAD_BGE_M3", "perhaps"),
        ("PENSTOCK_STANDINS", "some"),
        ("PENSTOCK_DTYPE", "int8"),
        ("PENSTOCK_WHISPER_COMPUTE", "INT 8"),
        ("PENSTOCK_MEMORY_CHECK", "maybe"),
        ("PENSTOCK_MAX_IMAGE_PIXELS", "0"),
        ("PENSTOCK_MAX_AUDIO_S", "0"),
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


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PENSTOCK_MEDIA_ROOT", "/no/such/directory", "is no directory"),
        ("PENSTOCK_MEDIA_ROOT", "/etc/passwd", "is no directory"),
        ("PENSTOCK_MEDIA_ROOT", "/", "would open every file"),
        ("PENSTOCK_MEDIA_ROOT", "/usr/..", "would open every file"),
        ("PENSTOCK_MEDIA_PREFIXES", "videos", "is no URL"),
        ("PENSTOCK_MEDIA_PREFIXES", "s3://fine/,file:///srv", "'file:///srv' must be no file: URL"),
        ("PENSTOCK_MEDIA_PREFIXES", "s3://key:secret@videos", "without user or password"),
        ("PENSTOCK_MEDIA_TIMEOUT_S", "0", "greater than 0"),
    ],
)
def test_media_that_could_not_be_opened_or_mean_too_much_are_refused(variable: str, value: str, told: str) -> None:
    """By the variable's name and its value."""
    with pytest.raises(SettingError, match=f"{variable}='?{value}'?: .*{told}"):
        WorkerSettings.from_env({variable: value})


def test_engines_that_do_not_fit_the_models_are_refused_by_name() -> None:
    """A wrong group stops the worker before anything is started, with the variable and what is wrong."""
    with pytest.raises(SettingError, match=r"PENSTOCK_ENGINES='whisper;siglib': expected .*; got 'siglib'"):
        WorkerSettings.from_env({"PENSTOCK_ENGINES": "whisper;siglib"})


def test_engines_are_planned_of_what_is_served() -> None:
    """Sources that other variables give go with their model; every device has every group."""
    environ = {"PENSTOCK_ENGINES": "whisper; siglip,yunet,bge-m3", "ASR_MODEL": "small", "PENSTOCK_DEVICES": "cpu,cuda"}

    plan = WorkerSettings.from_env(environ).engine_plan

    groups = [("whisper=small",), ("siglip", "yunet", "bge-m3")]
    assert [(spec.device, spec.models) for spec in plan] == [
        (device, group) for device in ("cpu", "cuda") for group in groups
    ]
