"""Stand-ins on disk, and when models are served from them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference_worker.models.base import Runtime
from inference_worker.registry import STAND_IN, RegistryError, Standins, build
from inference_worker.settings import FAMILIES
from inference_worker.standins import cache, yunet


def test_every_family_has_a_stand_in() -> None:
    """None of what is served by default is missing."""
    assert set(cache.BUILDERS) == set(FAMILIES)


def test_a_stand_in_is_built_once(tmp_path: Path) -> None:
    """The second worker finds what the first has built."""
    first = cache.built("yunet", tmp_path)
    written = (first / yunet.FILE).stat().st_mtime_ns

    assert cache.built("yunet", tmp_path) == first
    assert (first / yunet.FILE).stat().st_mtime_ns == written
    assert first.name == f"yunet-{yunet.VERSION}"


def test_workers_that_start_together_do_not_disturb_each_other(tmp_path: Path) -> None:
    """All get the same whole stand-in, and nothing half-built stays behind."""
    together = threading.Barrier(8)

    def ask(_: int) -> Path:
        together.wait()
        return cache.built("yunet", tmp_path)

    with ThreadPoolExecutor(8) as workers:
        places = set(workers.map(ask, range(8)))

    (place,) = places
    assert list((tmp_path / "standins").iterdir()) == [place]
    assert (place / yunet.FILE).is_file()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker tries again."""

    def fails(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("no space left")

    monkeypatch.setattr(yunet, "build", fails)
    with pytest.raises(OSError, match="no space left"):
        cache.built("yunet", tmp_path)

    assert list((tmp_path / "standins").iterdir()) == []


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Return a directory that has weights of YuNet of its own."""
    place = tmp_path / "real"
    place.mkdir()
    yunet.build(place)
    return place


def test_all_means_every_family_without_a_source_of_its_own(tmp_path: Path, real: Path) -> None:
    """A source that is named is obeyed; what has none is a stand-in, and says so."""
    everything = Standins("all", tmp_path)

    named, unnamed = (build(spec, Runtime(), everything) for spec in (f"yunet={real}", "yunet"))

    assert (named.weights, named.runtime.source) == (str(real), str(real))
    assert (unnamed.weights, unnamed.name) == (STAND_IN, "yunet")
    assert unnamed.runtime.source == str(cache.built("yunet", tmp_path))


def test_missing_means_those_whose_weights_are_not_found(
    tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are there go before stand-ins."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    where_missing = Standins("missing", tmp_path)

    there, gone = (build(spec, Runtime(), where_missing) for spec in (f"yunet={real}", f"yunet={tmp_path / 'no'}"))

    assert (there.weights, gone.weights) == (str(real), STAND_IN)


def test_no_stand_in_is_served_unasked(tmp_path: Path) -> None:
    """Whoever forgot to fetch weights is told so at load, and not served something else."""
    assert build("yunet", Runtime(), Standins("no", tmp_path)).weights == ""
    assert not (tmp_path / "standins").exists()


def test_a_family_under_another_name_may_be_a_stand_in(tmp_path: Path) -> None:
    """`faces=yunet` is the family as much as `yunet`."""
    model = build("faces=yunet", Runtime(), Standins("all", tmp_path))

    assert (model.name, model.weights) == ("faces", STAND_IN)


def test_what_is_no_family_has_no_stand_in(tmp_path: Path) -> None:
    """A model of the user's own is never replaced."""
    assert build("echo", Runtime(), Standins("all", tmp_path)).weights == ""
    with pytest.raises(RegistryError, match="--models nothing"):
        build("nothing", Runtime(), Standins("all", tmp_path))
