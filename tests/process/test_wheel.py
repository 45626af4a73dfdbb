"""What an API process installs and imports: the built wheel without extras, small, quick, and without torch."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rpc import RedisSettings
from tests.answering import Answering
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.workers import ROOT, environment

pytestmark = pytest.mark.process

INSTALL_S = 240.0

SUBMIT = """
import importlib.util, json, sys
import rpc
with rpc.Client() as client:
    client.submit("m", "op", ["submitted"], job_id="j1")
    answer = client.call("m", "op", ["from the wheel"], timeout_s=20)
heavy = [name for name in ("torch", "transformers", "typer", "prometheus_client") if importlib.util.find_spec(name)]
print(json.dumps([answer, heavy, rpc.__file__]))
"""

IMPORT = """
import json, sys, time
started = time.perf_counter()
import rpc
took_s = time.perf_counter() - started
modules = sorted({name.partition(".")[0] for name in sys.modules})
import psutil
print(json.dumps([took_s, psutil.Process().memory_info().rss, modules]))
"""


BUILD_ECHO = """
import sys
import inference_worker.cli
from inference_worker.models.base import Runtime
from inference_worker.registry import build_all
build_all(["echo"], Runtime())
print("torch" in sys.modules)
"""


def run(line: Sequence[object], *, cwd: Path = ROOT, **env: str) -> str:
    """Return what a program printed that ended well, run as nobody who measures coverage would."""
    plain = {name: value for name, value in environment().items() if not name.startswith(("COVERAGE_", "COV_"))}
    ended = subprocess.run(
        list(map(str, line)),
        cwd=cwd,
        env={**plain, **env},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT])
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment in which nothing but the wheel was asked for."""
    directory = tmp_path_factory.mktemp("fresh")
    venv.create(directory, with_pip=False, symlinks=os.name != "nt")
    interpreter = directory / "bin" / "python"
    constraints = ["--constraint", ROOT / "constraints.txt"]
    run([sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", *constraints, wheel])
    return interpreter


@pytest.mark.server
@ON_VALKEY
def test_the_wheel_alone_submits_jobs_and_brings_no_torch(
    python: Path, tmp_path: Path, redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """Installed without extras the clients work, scripts included, and nothing heavy comes along."""
    consumer = make_consumer()
    env = {
        "REDIS_URL": redis_settings.url.get_secret_value(),
        "PENSTOCK_PREFIX": redis_settings.prefix,
        "PYTHONPATH": "",
    }

    with Answering(consumer):
        answer, heavy, where = json.loads(run([python, "-c", SUBMIT], cwd=tmp_path, **env))

    assert (answer, heavy) == ({"outputs": ["from the wheel"]}, [])
    assert str(ROOT / "rpc") not in where


def test_the_wheel_holds_every_script(wheel: Path) -> None:
    """The Lua scripts and the mark of typed packages are package data."""
    names = set(run([sys.executable, "-m", "zipfile", "--list", wheel]).split())

    scripts = {f"rpc/scripts/{path.name}" for path in (ROOT / "rpc" / "scripts").glob("*.lua")}
    assert scripts | {"rpc/py.typed"} <= names
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


@pytest.mark.bound
def test_importing_the_clients_is_quick_and_small() -> None:
    """Issue 2: `import rpc` takes less than 0.6 s and less than 100 MB, at best of three, and never imports torch."""
    seen: list[Any] = [json.loads(run([sys.executable, "-c", IMPORT])) for _ in range(3)]

    assert min(took_s for took_s, _, _ in seen) < 0.6
    assert max(size for _, size, _ in seen) < 100e6
    assert {"torch", "transformers", "typer", "prometheus_client"} & set(seen[0][2]) == set()


def test_a_worker_of_light_models_imports_nothing_heavy() -> None:
    """Serving `echo` needs no torch: only what is asked for is imported."""
    assert run([sys.executable, "-c", BUILD_ECHO]).strip() == "False"
