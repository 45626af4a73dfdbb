"""`python -m inference_worker models`: run as users run it, against a hub on this machine."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inference_worker.weights.published import PUBLISHED, YUNET_FILE
from tests.hub import Hub, Trouble
from tests.waiting import eventually
from tests.workers import ROOT, environment

pytestmark = pytest.mark.process

RUN_S = 60.0

STEERED = (
    "MODELS_DIR",
    "ASR_MODEL",
    "VISION_MODEL_NAME",
    "LOAD_BGE_M3",
    "FEATURE_FACE",
    "HF_HUB_OFFLINE",
    "HF_HUB_CACHE",
)

MEGABYTE = 1 << 20

CHUNK = 10 * MEGABYTE
"""What the hub's client writes at once: an interrupted file goes on after the last of these."""

LARGE = random.Random(5).randbytes(24 * MEGABYTE)

TINY: dict[str, bytes] = {
    "README.md": b"not wanted",
    "config.json": b"{}",
    "tokenizer.json": b'{"added_tokens": []}',
    "vocabulary.txt": b"a\nb\n",
    "model.bin": b"weights" * 1000,
}

BGE: dict[str, bytes] = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "sparse_linear.pt": b"sparse",
    "colbert_linear.pt": b"colbert",
    "pytorch_model.bin": b"pickled",
}

REPOSITORIES = {
    "acme/whisper-tiny": TINY,
    "acme/whisper-large": {**TINY, "model.bin": LARGE},
    "acme/whisper-broken": {name: content for name, content in TINY.items() if name != "tokenizer.json"},
    "acme/strange": {"config.json": b"{}", "model/../../../x.safetensors": b"outside"},
    "Systran/faster-whisper-small": TINY,
    "BAAI/bge-m3": BGE,
    "acme/bge-both": {**BGE, "model.safetensors": b"safe"},
    "opencv/face_detection_yunet": {YUNET_FILE: b"not the network"},
}

NO_HUB = "http://127.0.0.1:9"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Yield a hub with a few repositories."""
    with Hub(REPOSITORIES) as served:
        yield served


class Machine:
    """A machine's cache, and the command run there."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home = home
        self._environment = {
            **{name: value for name, value in environment().items() if name not in STEERED},
            "HF_HOME": str(home),
            "HF_ENDPOINT": endpoint,
        }

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-m", "inference_worker", "models", *arguments],
            cwd=ROOT,
            env={**self._environment, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, more: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Run the command to its end; return exit status, standard output and standard error."""
        with self.start(*arguments, more=more) as process:
            out, err = process.communicate(timeout=RUN_S)
        return process.returncode, out, err

    def listed(self, *arguments: str, more: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Return what the list says, by family."""
        status, out, err = self.run("list", "--json", *arguments, more=more)
        assert (status, err) == (0, "")
        return {entry["model"]: entry for entry in json.loads(out)}

    def located(self, source: str, patterns: list[str], *, more: Mapping[str, str] | None = None) -> list[str]:
        """Return what `locate` answers in a process of its own: the place, or what it raises."""
        program = """
import sys
from inference_worker.weights import locate
try:
    print(locate(sys.argv[1], patterns=sys.argv[2:]))
except FileNotFoundError as error:
    print(error)
"""
        ended = subprocess.run(
            [sys.executable, "-c", program, source, *patterns],
            cwd=ROOT,
            env={**self._environment, **(more or {})},
            stdout=subprocess.PIPE,
            text=True,
            timeout=RUN_S,
            check=True,
        )
        return ended.stdout.splitlines()

    def held(self, pattern: str) -> list[Path]:
        """Return the files of the cache whose path matches."""
        return [file for file in self.home.rglob(pattern) if file.is_file()]

    def partial(self) -> list[int]:
        """Return the sizes of files that have come in part; one may become whole while it is looked at."""
        sizes = []
        for file in self.home.parent.rglob("*.incomplete"):
            with suppress(FileNotFoundError):
                sizes.append(file.stat().st_size)
        return sizes


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    """Return a machine with an empty cache that knows the hub."""
    return Machine(tmp_path / "home", hub.url)


def test_on_an_empty_machine_nothing_is_here(machine: Machine, hub: Hub) -> None:
    """All families are listed with their own source and licence, without a request to the hub."""
    status, out, err = machine.run("list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["model", "whisper", "siglip", "bge-m3", "yunet"]
    assert out.count("not here") == 4
    listed = machine.listed()
    assert listed["whisper"]["source"] == "Systran/faster-whisper-medium"
    assert listed["siglip"]["source"] == "google/siglip-so400m-patch14-384"
    assert listed["bge-m3"] == {
        "model": "bge-m3",
        "ops": ["embed_text"],
        "source": "BAAI/bge-m3",
        "licence": "MIT",
        "place": None,
        "lacks": [],
        "bytes": 0,
        "here": False,
    }
    assert hub.requests == []


def test_the_list_follows_the_environment(machine: Machine, tmp_path: Path) -> None:
    """Sizes, hub ids and directories named by the origin's variables are what would be loaded."""
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "config.json").write_text("{}")
    more = {"ASR_MODEL": "small", "VISION_MODEL_NAME": str(tmp_path / "siglip"), "PENSTOCK_STANDINS": "1"}
    listed = machine.listed(more=more)
    assert listed["whisper"]["source"] == "Systran/faster-whisper-small"
    assert listed["siglip"]["place"] == str(tmp_path / "siglip")
    assert listed["siglip"]["licence"] == ""
    assert listed["siglip"]["lacks"] == ["spiece.model", "model*.safetensors* or pytorch_model*.bin*"]
    assert not listed["siglip"]["here"]


def test_what_is_pulled_is_here_and_needs_the_hub_no_more(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    """Only the files the family reads come; then the hub is not asked again, nor needed."""
    status, out, err = machine.run("pull", "whisper=small", "bge-m3")
    assert (status, err) == (0, "")
    assert "whisper: model.bin: 0.0 MB" in out
    assert not machine.held("*README*")
    assert {file.name for file in machine.held("snapshots/*/*") if "whisper" in str(file)} == set(TINY) - {"README.md"}
    asked = len(hub.requests)
    more = {"ASR_MODEL": "small"}
    status, out, err = machine.run("pull", "whisper", "bge-m3", more=more)
    assert (status, err) == (0, "")
    assert out.count("already here") == 2
    assert len(hub.requests) == asked
    alone = Machine(tmp_path / "home", NO_HUB)
    for offline in ({}, {"HF_HUB_OFFLINE": "1"}):
        listed = alone.listed(more={**more, **offline})
        assert (listed["whisper"]["here"], listed["bge-m3"]["here"], listed["siglip"]["here"]) == (True, True, False)
        assert listed["whisper"]["bytes"] == sum(len(content) for content in TINY.values()) - len(TINY["README.md"])
        assert alone.run("pull", "whisper", "bge-m3", more={**more, **offline})[0] == 0


def test_a_file_goes_on_where_the_connection_was_cut(machine: Machine, hub: Hub) -> None:
    """A cut connection costs what was under way: the rest is asked for, not the whole."""
    hub.troubles["model.bin"] = Trouble(cut_at=CHUNK + MEGABYTE)
    status, _, _ = machine.run("pull", "whisper=acme/whisper-large")
    assert status == 0
    assert [request.start for request in hub.asked_for("model.bin")] == [0, CHUNK]
    (model,) = machine.held("snapshots/*/model.bin")
    assert model.read_bytes() == LARGE


@pytest.mark.parametrize("into_directory", [False, True])
def test_a_file_goes_on_where_a_killed_pull_ended(
    machine: Machine, hub: Hub, tmp_path: Path, *, into_directory: bool
) -> None:
    """What a killed pull has fetched is not fetched again by the next; until then nothing seems to be here."""
    directory = ["--models-dir", str(tmp_path / "models")] if into_directory else []
    hub.troubles["model.bin"] = Trouble(stop_at=CHUNK + MEGABYTE)
    with machine.start("pull", "whisper=acme/whisper-large", *directory) as killed:
        try:
            eventually(lambda: any(size >= CHUNK for size in machine.partial()))
        finally:
            killed.kill()
    hub.troubles.pop("model.bin").go_on.set()
    more = {"ASR_MODEL": "acme/whisper-large"}
    assert not machine.listed(*directory, more=more)["whisper"]["here"]
    status, _, err = machine.run("pull", "whisper=acme/whisper-large", *directory)
    assert (status, err) == (0, "")
    assert [request.start for request in hub.asked_for("model.bin")] == [0, CHUNK]
    assert len(hub.asked_for("tokenizer.json")) == 1
    listed = machine.listed(*directory, more=more)["whisper"]
    assert (Path(listed["place"]) / "model.bin").read_bytes() == LARGE
    assert not machine.partial()


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_file_of_another_checksum_is_refused_by_name(machine: Machine, hub: Hub, name: str) -> None:
    """What is of the right size and damaged is deleted; the next pull fetches it again."""
    content = TINY[name]
    hub.troubles[name] = Trouble(content=bytes([content[0] ^ 1]) + content[1:])
    status, _, err = machine.run("pull", "whisper=small")
    assert status == 1
    assert f"{name} came with the checksum" in err
    assert not machine.listed(more={"ASR_MODEL": "small"})["whisper"]["here"]
    del hub.troubles[name]
    assert machine.run("pull", "whisper=small")[0] == 0
    (file,) = machine.held(f"snapshots/*/{name}")
    assert file.read_bytes() == content


def test_the_known_checksum_counts_whatever_the_hub_says(machine: Machine, hub: Hub) -> None:
    """A hub that offers another network under YuNet's name is refused before it is fetched."""
    status, _, err = machine.run("pull", "yunet")
    assert status == 1
    assert f"{YUNET_FILE} has the checksum" in err
    assert PUBLISHED["yunet"].sha256[YUNET_FILE] in err
    assert hub.asked_for(YUNET_FILE) == []


@pytest.mark.skipif(not os.environ.get("PENSTOCK_TEST_YUNET"), reason="PENSTOCK_TEST_YUNET names no file")
def test_the_real_yunet_is_pulled(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    """The real file comes; and lying in the models directory by itself it is found."""
    content = Path(os.environ["PENSTOCK_TEST_YUNET"]).read_bytes()
    hub.repositories["opencv/face_detection_yunet"] = {YUNET_FILE: content}
    assert machine.run("pull", "yunet")[0] == 0
    assert machine.listed()["yunet"]["here"]
    (tmp_path / YUNET_FILE).write_bytes(content)
    assert machine.listed("--models-dir", str(tmp_path))["yunet"]["place"] == str(tmp_path / YUNET_FILE)


def test_two_pulls_at_once_fetch_once(machine: Machine, hub: Hub) -> None:
    """The second waits for the first and finds what it fetched."""
    both = [machine.start("pull", "whisper=acme/whisper-large") for _ in range(2)]
    for process in both:
        with process:
            process.communicate(timeout=RUN_S)
    assert [process.returncode for process in both] == [0, 0]
    assert len(hub.asked_for("model.bin")) == 1


def test_a_worker_fetches_what_it_lacks_and_then_needs_no_hub(machine: Machine) -> None:
    """`locate` fetches; asked again, without a hub, it says the same."""
    patterns = ["config.json", "pytorch_model*.bin*"]
    (first,) = machine.located("BAAI/bge-m3", patterns)
    assert {file.name for file in Path(first).iterdir()} == {"config.json", "pytorch_model.bin"}
    assert machine.located("BAAI/bge-m3", patterns, more={"HF_HUB_OFFLINE": "1"}) == [first]
    assert machine.located("BAAI/bge-m3", [*patterns, "tokenizer.json"], more={"HF_ENDPOINT": NO_HUB}) == [first]
    assert machine.located("BAAI/bge-m3", [*patterns, "tokenizer.json"]) == [first]
    assert (Path(first) / "tokenizer.json").is_file()


def test_weights_nobody_has_are_told_with_all_that_was_tried(machine: Machine) -> None:
    """The message names the paths, the reason of the hub, and the command that fetches."""
    (told,) = machine.located("acme/nobody", ["*"])
    assert "no weights of acme/nobody: neither acme/nobody nor the hub's cache has them" in told
    assert "RepositoryNotFoundError" in told
    assert "penstock models pull" in told


def test_a_models_directory_gets_what_is_missing(machine: Machine, tmp_path: Path) -> None:
    """Weights come into a directory named after the repository; files that are lost come again."""
    models = tmp_path / "models"
    assert machine.run("pull", "whisper=small", "--models-dir", str(models))[0] == 0
    place = models / "faster-whisper-small"
    assert {file.name for file in place.iterdir()} == set(TINY) - {"README.md"}
    assert machine.held("*model.bin*") == []
    more = {"ASR_MODEL": "small", "MODELS_DIR": str(models)}
    assert machine.listed(more=more)["whisper"]["place"] == str(place)
    (place / "tokenizer.json").unlink()
    assert machine.listed(more=more)["whisper"]["lacks"] == ["tokenizer.json"]
    assert machine.run("pull", "whisper", more=more)[0] == 0
    assert machine.listed(more=more)["whisper"]["here"]


def test_one_format_of_weights_is_enough(machine: Machine) -> None:
    """Safetensors are fetched where there are any, pickled weights only where there are none."""
    assert machine.run("pull", "bge-m3=acme/bge-both")[0] == 0
    assert machine.held("snapshots/*/model.safetensors")
    assert not machine.held("snapshots/*/pytorch_model.bin")
    assert machine.listed(more={"PENSTOCK_MODELS": "bge-m3=acme/bge-both"})["bge-m3"]["here"]
    assert machine.run("pull", "bge-m3")[0] == 0
    assert machine.held("snapshots/*/pytorch_model.bin")


def test_one_that_fails_holds_up_no_other(machine: Machine) -> None:
    """A repository nobody has is named, the others are fetched, and the exit status tells."""
    status, out, err = machine.run("pull", "whisper=acme/nobody", "bge-m3")
    assert status == 1
    assert "penstock models: whisper: acme/nobody: RepositoryNotFoundError" in err
    assert "bge-m3: here:" in out


def test_a_repository_that_lacks_a_file_is_told(machine: Machine) -> None:
    """What could not be loaded is not called here."""
    status, _, err = machine.run("pull", "whisper=acme/whisper-broken")
    assert status == 1
    assert "acme/whisper-broken has no tokenizer.json" in err


def test_a_file_outside_the_repository_is_refused(machine: Machine, tmp_path: Path) -> None:
    """Nothing is written anywhere but where it belongs."""
    status, _, err = machine.run("pull", "siglip=acme/strange", "--models-dir", str(tmp_path / "models"))
    assert status == 1
    assert "the repository names a file outside itself: model/../../../x.safetensors" in err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_offline_nothing_is_fetched(machine: Machine, hub: Hub) -> None:
    """HF_HUB_OFFLINE is obeyed, and named as the reason."""
    status, _, err = machine.run("pull", "whisper=small", more={"HF_HUB_OFFLINE": "1"})
    assert status == 1
    assert "HF_HUB_OFFLINE" in err
    assert hub.requests == []


def test_what_nobody_serves_is_not_fetched(machine: Machine, hub: Hub) -> None:
    """Without names the families a worker serves are fetched, less those switched off; all of them are listed."""
    off = {"LOAD_BGE_M3": "false", "FEATURE_FACE": "false", "HF_HUB_OFFLINE": "1"}
    status, out, _ = machine.run("pull", more=off)

    assert status == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["whisper", "siglip"]
    assert list(machine.listed(more=off)) == ["whisper", "siglip", "bge-m3", "yunet"]
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    """No hub is exit status 1 and one line, no traceback."""
    status, _, err = Machine(tmp_path, NO_HUB).run("pull", "whisper=small")
    assert status == 1
    assert err.startswith("penstock models: whisper: Systran/faster-whisper-small: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["pull", "nosuch"], "nosuch"),
        (["push"], "push"),
        ([], "command"),
        (["pull", "--models"], "--models"),
    ],
)
def test_a_wrong_argument_is_exit_status_2(machine: Machine, arguments: list[str], named: str) -> None:
    """What the command does not know is named."""
    status, _, err = machine.run(*arguments)
    assert status == 2
    assert named in err


def test_a_wrong_setting_is_exit_status_2(machine: Machine) -> None:
    """A variable with a value that cannot be used is named with it."""
    status, _, err = machine.run("list", more={"PENSTOCK_DTYPE": "float8"})
    assert status == 2
    assert "PENSTOCK_DTYPE='float8'" in err


def test_the_command_loads_no_model_library() -> None:
    """Listing is quick: none of the libraries that compute is imported."""
    program = "import sys, inference_worker.catalog; print(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in found.stdout.split()}
    assert not loaded & {"torch", "transformers", "faster_whisper", "ctranslate2", "cv2", "av", "PIL", "onnx"}
