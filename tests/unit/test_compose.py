"""compose.yaml, the Dockerfile and their page agree with each other and with the code, and are what they claim to be.

There is no engine here: a schema and a linter judge the form, these tests the rest. What the services run is run by
tests/process/test_compose.py.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from inference_worker import settings as worker_settings
from inference_worker.settings import FAMILIES, WorkerSettings
from producers.gateway import settings as gateway_settings
from rpc import settings as redis_settings
from rpc.settings import RedisSettings
from tests.containers import COMPOSE, DOCKERFILE, ROOT, VARIABLE, Service, filled, images, seconds, variables

TARGETS = ("client", "worker-cpu", "worker-cuda")
WORKERS = ("worker", "worker-gpu")
SERVICES = ("valkey", *WORKERS, "gateway", "models")

HUB = {"HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"}
"""What the hub's own library reads."""

KNOWN = HUB.union(
    *redis_settings.ENVIRONMENT.values(),
    *worker_settings.ENVIRONMENT.values(),
    *gateway_settings.ENVIRONMENT.values(),
)

OURS = {"models_dir", "device", "health_host"}
"""The settings of which a container wants other values than a process on a bare machine."""

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

LINT_S = 60.0


def lint(*line: object) -> "subprocess.CompletedProcess[str]":
    """Run a checker that is installed beside Python; return how it ended."""
    program, *arguments = map(str, line)
    return subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        capture_output=True,
        text=True,
        timeout=LINT_S,
        check=False,
    )


def test_compose_yaml_keeps_to_the_schema(tmp_path: Path) -> None:
    """The file has the form the Compose specification wants, and a slip in it would be seen."""
    check = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    slip = tmp_path / "compose.yaml"
    slip.write_text(COMPOSE.read_text("utf-8").replace("stop_grace_period", "stop_grace"), "utf-8")

    ended = lint(*check, COMPOSE)
    assert ended.returncode == 0, ended.stdout
    assert "stop_grace" in lint(*check, slip).stdout


def test_the_dockerfile_gives_no_cause_for_complaint(tmp_path: Path) -> None:
    """The linter finds nothing, nothing is hidden from it, and a slip would be seen."""
    slip = tmp_path / "Dockerfile"
    slip.write_text(DOCKERFILE.read_text("utf-8").replace("USER 10001:10001", "USER root"), "utf-8")

    ended = lint("hadolint", DOCKERFILE)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "root" in lint("hadolint", slip).stdout
    assert "hadolint ignore" not in DOCKERFILE.read_text("utf-8")


@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), ["valkey"]),
        (("cpu",), ["valkey", "worker"]),
        (("gpu",), ["valkey", "worker-gpu"]),
        (("cpu", "gpu"), ["valkey", "worker", "worker-gpu"]),
        (("pull",), ["valkey", "models"]),
        (("cpu", "gateway"), ["valkey", "worker", "gateway"]),
    ],
    ids=lambda value: "-".join(value) or "none" if isinstance(value, tuple) else "",
)
def test_a_profile_starts_what_the_page_says(profiles: tuple[str, ...], services: list[str]) -> None:
    """One profile, one kind of worker; weights are fetched by whoever asks for it only."""
    started = {
        name
        for name, service in Service.all().items()
        if "profiles" not in service.definition or set(service.definition["profiles"]) & set(profiles)
    }

    assert set(services) == started


@pytest.mark.parametrize("name", WORKERS)
def test_workers_can_be_many(name: str) -> None:
    """Nothing that only one container can have stands in the way of --scale."""
    assert not {"container_name", "hostname", "ports", "network_mode"} & set(Service.all()[name].definition)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_stopped_later_than_it_stops(name: str) -> None:
    """SIGTERM comes first, and SIGKILL after the worker's own grace, so that no job is run twice for an upgrade."""
    service = Service.all()[name]

    assert service.definition["stop_signal"] == "SIGTERM"
    assert seconds(service.definition["stop_grace_period"]) > float(service.given["PENSTOCK_DRAIN_GRACE_S"])


def test_only_the_gpu_worker_reserves_a_gpu() -> None:
    """The CPU profile runs where there is no NVIDIA driver."""
    reserving = {name: service for name, service in Service.all().items() if "deploy" in service.definition}

    assert list(reserving) == ["worker-gpu"]
    (device,) = reserving["worker-gpu"].definition["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


@pytest.mark.parametrize("name", SERVICES)
def test_the_environment_holds_settings_only(name: str) -> None:
    """A variable that nothing reads would be a promise not kept."""
    assert set(Service.all()[name].definition.get("environment", {})) - KNOWN == set()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_sets_no_setting_that_nothing_reads(target: str) -> None:
    """The same for the images."""
    beyond = {"PATH", "PYTHONUNBUFFERED", "LD_LIBRARY_PATH", "NVIDIA_DRIVER_CAPABILITIES"}

    assert set(images()[target].environment) - KNOWN - beyond == set()


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_told_the_defaults_of_the_code(name: str) -> None:
    """With nothing set, a worker in a container is the worker of the settings page: four families, its limits."""
    environment = Service.all()[name].environment
    settings = WorkerSettings.from_env(environment)
    redis = RedisSettings.from_env(environment)

    def rest(model: BaseModel) -> dict[str, object]:
        return model.model_dump(exclude=OURS | {"url"})

    assert rest(settings) == rest(WorkerSettings.from_env({}))
    assert rest(redis) == rest(RedisSettings.from_env({}))
    assert settings.serving == FAMILIES
    assert (settings.models_dir, settings.health_host) == ("/models", "0.0.0.0")  # noqa: S104 (its container's)
    assert settings.device == {"worker": "cpu", "worker-gpu": "cuda"}[name]
    assert redis.address == "redis://valkey:6379/0"


def test_who_fetches_weights_and_who_loads_them_agree() -> None:
    """The same variables name the weights to both; one may write and go online, the others neither."""
    services = Service.all({"ASR_MODEL": "small", "VISION_MODEL_NAME": "acme/siglip"})
    fetching = services["models"]

    assert fetching.volumes == ["models:/models"]
    for name in WORKERS:
        loading = services[name]
        assert set(fetching.given.items()) <= set(loading.given.items())
        assert loading.volumes == ["models:/models:ro"]
        assert loading.given["HF_HUB_OFFLINE"] == "1"
    assert {"ASR_MODEL": "small", "VISION_MODEL_NAME": "acme/siglip"}.items() <= fetching.given.items()
    assert "HF_HUB_OFFLINE" not in fetching.environment


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_waits_for_weights_only_if_they_are_fetched(name: str) -> None:
    """Without the profile that fetches them a worker starts with what it has, and nobody is forced online."""
    waits = Service.all()[name].definition["depends_on"]

    assert waits["models"] == {"condition": "service_completed_successfully", "required": False}
    assert waits["valkey"] == {"condition": "service_healthy"}


def test_the_queue_forgets_nothing() -> None:
    """Valkey writes its log every second into a volume, and drops no key when it is full."""
    service = Service.all()["valkey"]
    words = service.line
    options = dict(zip(words[1::2], words[2::2], strict=True))

    assert words[0] == "valkey-server"
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert service.volumes == ["valkey:/data"]


def test_only_this_machine_reaches_the_queue() -> None:
    """Neither Valkey nor the gateway asks for a password unless told: both are open on the loopback only."""
    ports = [port for service in Service.all().values() for port in service.definition.get("ports", [])]

    assert ports == ["127.0.0.1:6379:6379", "127.0.0.1:8001:8001"]


@pytest.mark.parametrize("name", [*WORKERS, "gateway", "models"])
def test_what_is_built_is_in_the_dockerfile(name: str) -> None:
    """Targets and build arguments that compose.yaml names exist."""
    build = Service.all()[name].definition["build"]

    assert build["context"] == "."
    assert build["target"] in images()
    assert set(build["args"]) <= set(images()["build"].all("ARG"))


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_the_command_as_nobody_in_particular(target: str) -> None:
    """Every image runs the console command itself, not by a shell, as a user by number, and heeds SIGTERM."""
    image = images()[target]

    assert image.entrypoint == ["penstock"]
    assert "penstock" in PROJECT["scripts"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.last("USER"))
    assert image.last("STOPSIGNAL") == "SIGTERM"
    assert image.last("CMD").startswith('["')


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_what_pip_installed_and_nothing_else(target: str) -> None:
    """No weights and no sources come into an image, and no build argument, which may be a secret, into its history."""
    image = images()[target]

    assert image.all("ADD") == []
    (copied,) = image.all("COPY")
    assert re.fullmatch(r"--from=[a-z]+-install /opt/penstock /opt/penstock", copied)
    assert image.all("ARG") == []
    assert not any("pip " in command for command in image.all("RUN"))


@pytest.mark.parametrize(
    ("stage", "extras"),
    [
        ("client-install", {"cli", "gateway", "hiredis", "images"}),
        ("worker-install", {"cli", "hiredis", "s3", "standins", "worker"}),
    ],
)
def test_an_image_has_the_extras_it_needs(stage: str, extras: set[str]) -> None:
    """The client comes without PyTorch; a worker can serve stand-ins, show what goes on and read from S3."""
    (installed,) = re.findall(r"\[([a-z0-9,]+)\]\"", images()[stage].last("RUN"))

    assert set(installed.split(",")) == extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_cublas_is_looked_for_where_this_python_has_it() -> None:
    """The path in the CUDA image follows the Python the images are made of."""
    image = images()["worker-cuda"]
    (version,) = re.findall(r"^python:(\d+\.\d+)-slim", image.all("FROM")[0])

    assert f"/lib/python{version}/site-packages/nvidia/" in image.environment["LD_LIBRARY_PATH"]
    assert images()["cuda-install"].all("FROM") == image.all("FROM")


@pytest.mark.parametrize("name", WORKERS)
def test_a_container_is_probed_alike_with_and_without_compose(name: str) -> None:
    """The image's own health check is the one of compose.yaml, and asks the port the image sets."""
    service = Service.all()[name]

    assert service.probe == images()[service.target].probe
    assert service.environment["PENSTOCK_HEALTH_PORT"] in images()[service.target].all("EXPOSE")


def test_the_build_sees_only_what_the_wheel_is_made_of() -> None:
    """Everything is shut out of the build but a list of names, each of which is there."""
    shut, *patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]

    assert shut == "*"
    let_in = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    assert [name for name in let_in if not (ROOT / name).exists()] == []


def test_no_index_is_named() -> None:
    """Where packages come from is said by whoever builds."""
    for path in (COMPOSE, DOCKERFILE):
        assert set(re.findall(r"(\w+)://", path.read_text("utf-8"))) <= {"redis"}, path
    assert images()["build"].all("ARG") == ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"]


def test_every_variable_is_on_the_page() -> None:
    """The page lists the variables compose.yaml takes, with their defaults, and no others."""
    section = PAGE.partition("\n## Variables\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)? *\|", section, re.MULTILINE))

    assert {name: {default} for name, default in told.items()} == variables()


@pytest.mark.parametrize("name", [*SERVICES, *TARGETS])
def test_every_service_and_image_is_on_the_page(name: str) -> None:
    """The page tells of each."""
    assert f"`{name}`" in PAGE or f"--target {name} " in PAGE


def test_a_variable_is_taken_in_one_form_only() -> None:
    """What these tests read as a default is what Compose reads as one."""
    assert filled({"a": ["x${B:-1}y", "${C:-}"]}, {"B": "2", "C": ""}) == {"a": ["x2y", ""]}
    for other in ("$B", "${B}", "${B-1}", "${B:?no}", "$$"):
        assert VARIABLE.fullmatch(other) is None
        with pytest.raises(ValueError, match="is not of the form"):
            filled(other, {})
