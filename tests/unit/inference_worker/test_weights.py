"""Where weights are looked for, what the families load by themselves, and files that come from the hub."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from inference_worker.models.bge_m3 import BgeM3
from inference_worker.models.siglip import Siglip
from inference_worker.models.whisper import Whisper
from inference_worker.models.yunet import YuNet
from inference_worker.settings import FAMILIES
from inference_worker.weights import PUBLISHED, find, locate
from inference_worker.weights.download import DamagedError, Remote, download
from tests.hub import Hub, Trouble, blob

COMMIT = "0123456789abcdef0123456789abcdef01234567"

CONTENT = bytes(range(256)) * 1000

SAFE_OR_PICKLED = "model*.safetensors* or pytorch_model*.bin*"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's cache be empty, and the hub out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_every_family_is_published_with_the_ops_its_model_has() -> None:
    """What the command lists before anything is loaded is what the loaded model offers."""
    assert tuple(PUBLISHED) == FAMILIES
    for family, model in {"whisper": Whisper, "siglip": Siglip, "bge-m3": BgeM3, "yunet": YuNet}.items():
        assert PUBLISHED[family].ops == model.ops


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_source_and_a_licence(family: str) -> None:
    """A family's own source is a hub id, whether or not it has sizes."""
    published = PUBLISHED[family]
    owner, _, name = published.repository("").partition("/")
    assert owner
    assert name
    assert published.licence
    assert published.repository("mine/own") == "mine/own"


def test_what_a_directory_lacks_is_told_by_pattern(tmp_path: Path) -> None:
    """One format of the weights is enough; a file by itself lacks nothing."""
    siglip = PUBLISHED["siglip"]
    assert siglip.lacks([]) == ["config.json", "spiece.model", SAFE_OR_PICKLED]
    assert siglip.lacks(["config.json", "spiece.model", "model-00001-of-00002.safetensors"]) == []
    assert siglip.lacks(["config.json", "spiece.model", "pytorch_model.bin"]) == []
    (tmp_path / "config.json").touch()
    assert siglip.missing(tmp_path) == ["spiece.model", SAFE_OR_PICKLED]
    assert siglip.missing(tmp_path / "config.json") == []


def test_a_path_comes_before_the_models_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at are the path, then its whole name and its last part in the models directory."""
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    assert find("acme/net", models_dir=str(models)) is None
    for place in (models / "net", models / "acme" / "net", tmp_path / "acme" / "net"):
        place.mkdir(parents=True)
        found = find("acme/net", models_dir=str(models))
        assert found is not None
        assert found.resolve() == place
        assert locate("acme/net", models_dir=str(models)) == found


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the user's directory, in the source and in the models directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net").mkdir()
    assert find("~/net") == tmp_path / "net"
    assert find("acme/net", models_dir="~") == tmp_path / "net"


def test_weights_that_are_nowhere_are_named_with_the_places(tmp_path: Path) -> None:
    """The message says where was looked, why the hub gave nothing, and what to do."""
    with pytest.raises(FileNotFoundError, match=r"no weights of acme/net: .*HF_HUB_OFFLINE.*models pull") as told:
        locate("acme/net", models_dir=str(tmp_path))
    assert str(tmp_path / "net") in str(told.value)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "a b", "../up", "acme/net/deeper"])
def test_what_is_no_hub_id_is_not_found(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that does not exist is told as that, whatever it looks like."""
    monkeypatch.chdir(tmp_path)
    assert find(source) is None
    with pytest.raises(FileNotFoundError, match="no weights of"):
        locate(source)


def test_a_part_of_a_repository_is_not_all_of_it_but_better_than_nothing(tmp_path: Path) -> None:
    """What other programs left in the cache is found only where the hub cannot be asked for the rest."""
    repository = tmp_path / "cache" / "models--acme--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "config.json").write_text("{}")
    assert find("acme/net", patterns=["config.json"]) is None
    assert locate("acme/net", patterns=["config.json"]) == repository / "snapshots" / COMMIT


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Yield a hub with one file of each kind, within reach."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub({"acme/net": {"model.bin": CONTENT, "config.json": CONTENT}}) as served:
        yield served


def remote(hub: Hub, name: str) -> Remote:
    """Return a file of the hub as its description tells of it."""
    lfs = name == "model.bin"
    digest = hashlib.sha256(CONTENT).hexdigest() if lfs else blob(CONTENT)
    return Remote(name, f"{hub.url}/acme/net/resolve/main/{name}", len(CONTENT), digest, lfs=lfs)


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
@pytest.mark.parametrize("done", [0, 1, 100_000, len(CONTENT)])
def test_a_download_goes_on_after_what_is_there(hub: Hub, tmp_path: Path, name: str, done: int) -> None:
    """Only the rest is asked for; nothing at all where all has come."""
    (tmp_path / f"{name}.incomplete").write_bytes(CONTENT[:done])
    download(remote(hub, name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == CONTENT
    assert [request.start for request in hub.asked_for(name)] == ([done] if done < len(CONTENT) else [])
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [name]


def test_a_download_begins_again_after_more_than_there_is(hub: Hub, tmp_path: Path) -> None:
    """What is longer than the file cannot be its beginning."""
    (tmp_path / "model.bin.incomplete").write_bytes(CONTENT + b"more")
    download(remote(hub, "model.bin"), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_what_is_damaged_is_deleted_and_named(hub: Hub, tmp_path: Path, name: str) -> None:
    """A byte that is another is found, in files of both kinds, and nothing of them is left."""
    hub.troubles[name] = Trouble(content=CONTENT[:-1] + b"?")
    with pytest.raises(DamagedError, match=f"{name} came with the checksum"):
        download(remote(hub, name), tmp_path / name)
    assert [file for file in tmp_path.iterdir() if file.is_file()] == []


def test_a_beginning_of_another_file_is_found_out(hub: Hub, tmp_path: Path) -> None:
    """A beginning that is not the file's is deleted, so that the next attempt begins again."""
    (tmp_path / "model.bin.incomplete").write_bytes(b"other" * 100)
    with pytest.raises(DamagedError):
        download(remote(hub, "model.bin"), tmp_path / "model.bin")
    download(remote(hub, "model.bin"), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
