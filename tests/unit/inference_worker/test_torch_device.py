"""Device, number type, and weights on disk: what is wrong is refused by name before anything is loaded."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from inference_worker.models.base import Runtime
from inference_worker.models.pretrained import find, read_json, require, stored_bytes
from inference_worker.models.sentence_encoder import SentenceEncoder
from inference_worker.models.torch_device import resolve, resolve_dtype, weight_bytes

CPU = torch.device("cpu")
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="here is no GPU")


def test_the_cpu_is_a_device() -> None:
    """`cpu` is what it says."""
    assert resolve("cpu") == CPU


@NO_GPU
def test_auto_is_the_cpu_where_no_gpu_is() -> None:
    """A worker without `--device` runs anywhere."""
    assert resolve("auto") == CPU


@GPU
def test_a_gpu_has_its_number() -> None:
    """`cuda`, `cuda:0` and `auto` are one device, so that memory is counted once."""
    assert {resolve("auto"), resolve("cuda"), resolve("cuda:0")} == {torch.device("cuda", 0)}
    assert resolve_dtype("auto", resolve("cuda")) in {torch.bfloat16, torch.float16}


@pytest.mark.parametrize("wanted", ["cuda:99", "mps", "cuda:one", "cuda:", "cpu:1", "", "banana"])
def test_a_device_that_is_not_there_is_named(wanted: str) -> None:
    """What PyTorch would say later, or in its own words, is said at once."""
    with pytest.raises(ValueError, match=f"device {wanted} is"):
        resolve(wanted)


@pytest.mark.parametrize(
    ("wanted", "dtype"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_cpu_computes_in_float32_unless_told(wanted: str, dtype: torch.dtype) -> None:
    """bfloat16 is for those who ask."""
    assert resolve_dtype(wanted, CPU) == dtype


@pytest.mark.parametrize("wanted", ["float16", "int8", "half"])
def test_a_number_type_that_is_no_good_is_named(wanted: str) -> None:
    """float16 on a CPU is slow; the others are none."""
    with pytest.raises(ValueError, match=f"dtype {wanted} is"):
        SentenceEncoder(Runtime(dtype=wanted))


def test_bytes_are_those_of_parameters_and_buffers() -> None:
    """A layer of 3 x 2 weights, 2 biases and a batch norm's five arrays, in the type they have."""
    layer, norm = torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)

    assert weight_bytes(layer) == 8 * 4
    assert weight_bytes(layer.bfloat16(), norm) == 8 * 2 + 4 * 2 * 4 + 8


def safetensors(file: Path, tensors: Mapping[str, tuple[str, Sequence[int], int]]) -> None:
    """Write a safetensors file of zeros: name -> type, shape and bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def test_weights_are_measured_in_the_type_they_will_have(tmp_path: Path) -> None:
    """float16 on disk is twice that in float32; whole numbers stay as they are."""
    safetensors(tmp_path / "model.safetensors", {"a": ("F16", (10, 3), 60), "b": ("I64", (2,), 16)})

    assert stored_bytes(tmp_path, torch.float32) == 30 * 4 + 16
    assert stored_bytes(tmp_path, torch.bfloat16) == 30 * 2 + 16


def test_parts_are_added_and_another_format_beside_them_is_not(tmp_path: Path) -> None:
    """Only what Transformers would read counts."""
    for part in ("model-00001-of-00002", "model-00002-of-00002"):
        safetensors(tmp_path / f"{part}.safetensors", {"a": ("BF16", (8,), 16)})
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(1000))

    assert stored_bytes(tmp_path, torch.float32) == 2 * 8 * 4


def test_pickled_weights_are_taken_for_float32(tmp_path: Path) -> None:
    """Their size is what is known without unpickling."""
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(1000))

    assert [stored_bytes(tmp_path, dtype) for dtype in (torch.float32, torch.bfloat16)] == [1000, 500]


def test_what_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    """A pointer of Git LFS in its place is found before loading."""
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")

    with pytest.raises(ValueError, match=r"model\.safetensors is no safetensors file"):
        stored_bytes(tmp_path, torch.float32)


def test_a_directory_without_weights_is_named(tmp_path: Path) -> None:
    """It is not there, so that a stand-in may take its place."""
    with pytest.raises(FileNotFoundError, match="has no weights"):
        stored_bytes(tmp_path, torch.float32)


def test_a_file_is_no_directory_of_weights(tmp_path: Path) -> None:
    """A path to the weights themselves is refused by name."""
    file = tmp_path / "model.safetensors"
    safetensors(file, {"a": ("F32", (1,), 4)})

    with pytest.raises(ValueError, match="is a file, not a directory"):
        find(str(file), models_dir="", files=())


def test_a_model_lies_in_the_models_directory_by_its_last_name(tmp_path: Path) -> None:
    """`--models-dir` holds directories as the hub calls them."""
    place = tmp_path / "bge-m3"
    place.mkdir()
    safetensors(place / "model.safetensors", {"a": ("F32", (1,), 4)})

    assert find("BAAI/bge-m3", models_dir=str(tmp_path), files=()) == place


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    """The first file that lacks, and a file that is no map."""
    (tmp_path / "config.json").write_text("[1]")

    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json"):
        require(tmp_path, "config.json", "tokenizer.json")
    with pytest.raises(ValueError, match=r"config\.json holds no map"):
        read_json(tmp_path / "config.json")


def test_an_encoder_without_a_source_says_how_to_give_one() -> None:
    """`--models sentence-encoder` alone means nothing."""
    with pytest.raises(ValueError, match="use --models name=source"):
        SentenceEncoder(Runtime()).needs()
