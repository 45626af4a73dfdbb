"""SigLIP on its stand-in: as a direct call of Transformers, alone and in company; what would mislead is refused."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import SiglipImageProcessorPil, SiglipModel, SiglipTokenizer

from inference_worker.models.base import Runtime
from inference_worker.models.siglip import Siglip
from inference_worker.models.siglip_pixels import PixelRules
from inference_worker.models.vectors import Embedded
from inference_worker.standins import siglip as standin
from rpc.errors import InvalidInput
from rpc.pictures import fit, png

SAME = 0.9999
"""The cosine above which the issue calls two vectors equal."""

LONGEST = standin.POSITIONS

TEXTS = [
    "a red square",
    "  A Photo, of a CAT!! ",
    "two girls\nand\ta dog",
    "日本語のテキスト, Grüße & 👩‍👩‍👧",
    "!?",
    "red " * 63,
    "blue " * 64,
    "yellow " * 500,
    "a </s> in the middle and at the end </s>",
]


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return pixels of noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = [picture(80, 60), picture(56, 56, 1), picture(31, 200, 2), picture(3, 3, 3), picture(300, 57, 4)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stand-in's directory."""
    directory = tmp_path_factory.mktemp("siglip")
    standin.build(directory)
    return directory


def loaded(directory: Path, **runtime: Any) -> Siglip:
    """Return the model of a directory, warm."""
    model = Siglip(Runtime(source=str(directory), **runtime))
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def model(directory: Path) -> Siglip:
    """Return the stand-in, warm."""
    return loaded(directory)


def embed(model: Siglip, op: str, inputs: Sequence[Any], **options: Any) -> list[Embedded]:
    """Return what inputs give in one forward pass."""
    return list(model.infer([model.prepare(op, given, options)[0] for given in inputs]))


def vectors(embedded: Sequence[Embedded]) -> NDArray[np.float32]:
    """Return the vectors as a matrix."""
    return np.stack([one.vector for one in embedded])


def lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the norm of each row."""
    norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1)
    return norms


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of rows."""
    products: NDArray[np.float32] = (left * right).sum(1) / lengths(left) / lengths(right)
    return products


class Direct:
    """SigLIP as its publisher calls it through Transformers, one input at a time."""

    def __init__(self, directory: Path) -> None:
        self._model: Any = SiglipModel.from_pretrained(directory)
        self._tokenizer = SiglipTokenizer.from_pretrained(directory)
        self.processor: Any = SiglipImageProcessorPil.from_pretrained(directory)

    @torch.inference_mode()
    def text(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text as it comes from the tower."""
        ids = self._tokenizer(
            text.strip(), padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt"
        )["input_ids"]
        vector: NDArray[np.float32] = self._model.get_text_features(input_ids=ids).pooler_output[0].numpy()
        return vector

    @torch.inference_mode()
    def picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vector of a picture as it comes from the tower."""
        values = self.processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        vector: NDArray[np.float32] = self._model.get_image_features(pixel_values=values).pooler_output[0].numpy()
        return vector


@pytest.fixture(scope="module")
def direct(directory: Path) -> Direct:
    """Return the model itself."""
    return Direct(directory)


@pytest.mark.filterwarnings("ignore:This sequence already has")
def test_texts_are_those_of_a_direct_call_alone_and_together(model: Siglip, direct: Direct) -> None:
    """Whatever the text holds and whoever shares its pass, its vector is the model's, at unit norm."""
    expected = np.stack([direct.text(text) for text in TEXTS])

    together = vectors(embed(model, "embed_text", TEXTS))
    alone = np.concatenate([vectors(embed(model, "embed_text", [text])) for text in TEXTS])

    assert together.dtype == np.float32
    assert cosines(together, expected).min() >= SAME
    assert cosines(alone, expected).min() >= SAME
    assert lengths(together) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_pictures_are_those_of_a_direct_call_alone_and_together(model: Siglip, direct: Direct) -> None:
    """Pictures of all shapes share a pass."""
    expected = np.stack([direct.picture(pixels) for pixels in PICTURES])

    together = vectors(embed(model, "embed_image", PICTURES))
    alone = np.concatenate([vectors(embed(model, "embed_image", [pixels])) for pixels in PICTURES])

    assert cosines(together, expected).min() >= SAME
    assert cosines(alone, expected).min() >= SAME
    assert lengths(together) == pytest.approx(np.ones(len(PICTURES)), abs=1e-5)


def test_without_normalize_the_pooling_comes_as_it_is(model: Siglip, direct: Direct) -> None:
    """`normalize=False` gives the raw vector, of texts and of pictures."""
    (text,) = embed(model, "embed_text", ["a red square"], normalize=False)
    (seen,) = embed(model, "embed_image", [PICTURES[0]], normalize=False)

    assert text.vector == pytest.approx(direct.text("a red square"), abs=1e-5)
    assert seen.vector == pytest.approx(direct.picture(PICTURES[0]), abs=1e-5)


@pytest.mark.parametrize("pixels", PICTURES, ids=lambda pixels: f"{pixels.shape[1]}x{pixels.shape[0]}")
def test_pixels_are_exactly_those_of_the_image_processor(
    directory: Path, direct: Direct, pixels: NDArray[np.uint8]
) -> None:
    """Resizing, scaling and normalising give the same numbers to the last bit."""
    rules = PixelRules.read(directory, side=standin.SIDE)

    values = rules.levels()[np.arange(3), np.asarray(rules.fit(Image.fromarray(pixels)))].transpose(2, 0, 1)

    expected = direct.processor(images=Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    assert np.array_equal(values, expected)


def test_a_picture_shrunk_by_the_caller_gives_the_same_vector(model: Siglip) -> None:
    """Bytes, pixels, and what a caller made exactly as large as the model sees are one picture."""
    large = Image.fromarray(PICTURES[0])
    small = fit(large, (standin.SIDE, standin.SIDE))
    out = BytesIO()
    large.save(out, "BMP")

    rows = vectors(embed(model, "embed_image", [PICTURES[0], out.getvalue(), png(small), np.asarray(small)]))

    assert np.array_equal(model.prepare("embed_image", png(small), {})[0].data.pixels, np.asarray(small))
    assert np.ptp(rows, axis=0) == pytest.approx(np.zeros(model.dimension), abs=1e-6)


def test_a_text_longer_than_the_model_reads_is_cut_and_told(model: Siglip, direct: Direct) -> None:
    """63 tokens and the end fit; one more is told, and what follows changes nothing."""
    fits, over, far = embed(model, "embed_text", ["red " * 63, "red " * 64, "red " * 63 + "blue " * 300])

    assert [one.truncated for one in (fits, over, far)] == [False, True, True]
    assert np.allclose(fits.vector, far.vector, atol=1e-6)
    assert cosines(fits.vector[None], direct.text("red " * 63)[None])[0] >= SAME


def test_texts_and_pictures_share_no_pass_and_cost_what_they_are(model: Siglip) -> None:
    """A text is padded to all its places; a picture is its patches."""
    (text,) = model.prepare("embed_text", "red", {})
    (seen,) = model.prepare("embed_image", PICTURES[0], {})

    assert (text.cost, seen.cost) == (LONGEST, (standin.SIDE // standin.PATCH) ** 2)
    assert text.group != seen.group


def test_inputs_are_prepared_right_by_many_threads_at_once(model: Siglip) -> None:
    """The tokenizer, which is shared, gives each thread its own text's tokens."""
    texts = [f"{'red ' * (number % 70)} cat {number}" for number in range(400)]
    expected = [model.prepare("embed_text", text, {})[0].data for text in texts]
    start = threading.Barrier(8)

    def prepared(part: Sequence[str]) -> list[Any]:
        start.wait()
        return [model.prepare("embed_text", text, {})[0].data for text in part]

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(prepared, [texts[first : first + 50] for first in range(0, 400, 50)]))

    assert [data for part in parts for data in part] == expected


@pytest.mark.parametrize(
    ("op", "given", "options", "complaint"),
    [
        ("embed_text", " \n ", {}, "the text is empty"),
        ("embed_text", b"bytes", {}, "the input is of type bytes, not a text"),
        ("embed_text", "a", {"normalise": True}, "unknown option 'normalise'; expected one of normalize, outputs"),
        ("embed_text", "a", {"normalize": 1}, "option normalize is 1"),
        ("embed_text", "a", {"outputs": ["sparse"]}, "'sparse' is none of dense"),
        ("embed_image", "a text", {}, "the input is of type str"),
        ("embed_image", b"no picture", {}, "not a picture of a known format"),
        ("embed_image", np.zeros((4, 4), np.uint8), {}, "are not uint8"),
        ("embed_image", np.zeros((0, 4, 3), np.uint8), {}, "4 x 0 pixels"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_what_is_wrong(
    model: Siglip, op: str, given: Any, options: Mapping[str, Any], complaint: str
) -> None:
    """Inputs and options of the wrong kind are the caller's error."""
    with pytest.raises(InvalidInput, match=complaint):
        model.prepare(op, given, options)


def test_a_result_has_a_row_for_each_input(model: Siglip) -> None:
    """In order, with NaN and the reason for the one that failed."""
    first, last = embed(model, "embed_text", ["red", "blue " * 100])

    result = model.finish("embed_text", [[first], InvalidInput("bad"), [last]])

    assert np.array_equal(result["vectors"][[0, 2]], vectors([first, last]))
    assert np.isnan(result["vectors"][1]).all()
    assert result["truncated"] == [False, False, True]
    assert [failed["index"] for failed in result["failed"]] == [1]


def test_the_model_tells_what_it_is(model: Siglip, directory: Path) -> None:
    """Dimension, what is seen of an input, and the memory: known from the files before, and allocated after."""
    about = dict(model.about())
    allocated = int(about.pop("bytes"))

    assert about == {"dimension": "32", "device": "cpu", "dtype": "float32", "sees": "56x56", "max_tokens": "64"}
    assert Siglip(Runtime(source=str(directory))).needs() == pytest.approx(allocated, rel=0.01)


def test_bfloat16_halves_the_memory_and_hardly_moves_the_vectors(model: Siglip, directory: Path) -> None:
    """Vectors still come as float32."""
    small = loaded(directory, dtype="bfloat16")

    rows = vectors(embed(small, "embed_text", TEXTS[:5]))

    assert rows.dtype == np.float32
    assert cosines(rows, vectors(embed(model, "embed_text", TEXTS[:5]))).min() > 0.99
    assert int(small.about()["bytes"]) < 0.51 * int(model.about()["bytes"])


Change = Callable[[Path], object]


def without(name: str) -> Change:
    """Return what removes a file."""
    return lambda directory: (directory / name).unlink()


def garbage(name: str) -> Change:
    """Return what overwrites a file."""
    return lambda directory: (directory / name).write_bytes(b"garbage")


def with_json(name: str, part: str = "", **values: Any) -> Change:
    """Return what changes values of a JSON file, or of a part of it."""

    def change(directory: Path) -> None:
        whole = json.loads((directory / name).read_text())
        (whole[part] if part else whole).update(values)
        (directory / name).write_text(json.dumps(whole))

    return change


def without_weight(name: str) -> Change:
    """Return what takes a tensor out of the weights."""

    def change(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        del tensors[name]
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    return change


PIXELS, CONFIG = "preprocessor_config.json", "config.json"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("config.json"), r"has no config\.json"),
        (without("spiece.model"), r"has no spiece\.model"),
        (without("preprocessor_config.json"), r"has no preprocessor_config\.json"),
        (without("model.safetensors"), "has no weights: neither"),
        (garbage("config.json"), r"config\.json holds no map"),
        (garbage("spiece.model"), r"spiece\.model is no tokenizer"),
        (garbage("model.safetensors"), "cannot be loaded"),
        (without_weight("text_model.head.bias"), r"lacks 1 weights of the model, the first text_model\.head\.bias"),
        (with_json(CONFIG, model_type="siglip2"), "is a model of type siglip2, not siglip"),
        (with_json(CONFIG, "text_config", vocab_size=32_000), r"spiece\.model has \d+ pieces, the model 32000"),
        (with_json(CONFIG, "text_config", vocab_size=60), r"spiece\.model has \d+ pieces, the model 60"),
        (with_json(CONFIG, "text_config", projection_size=16), "texts give 16 numbers, pictures 32"),
        (with_json(CONFIG, "text_config", pad_token_id=0), "the tokenizer pads with 1, the model with 0"),
        (with_json(CONFIG, "text_config", max_position_embeddings=16), "cannot be loaded"),
        (with_json(CONFIG, "vision_config", vision_use_head=False), "has no pooling head"),
        (with_json(CONFIG, "vision_config", image_size=70), "but the model sees 70"),
        (with_json("tokenizer_config.json", do_lower_case=False), "keeps capitals"),
        (with_json(PIXELS, resample=2), "prepared with resample 2; only 3 is known"),
        (with_json(PIXELS, do_center_crop=True), "prepared with do_center_crop True"),
        (with_json(PIXELS, do_normalize=False), "prepared with do_normalize False"),
        (with_json(PIXELS, size={"shortest_edge": 56}), "are to be of size {'shortest_edge': 56}"),
        (with_json(PIXELS, size={"height": 384, "width": 384}), "but the model sees 56"),
        (with_json(PIXELS, image_std=[0.5, 0, 0.5]), "divided by image_std"),
        (with_json(PIXELS, image_mean=[0.5, 0.5]), "image_mean is"),
        (with_json(PIXELS, image_processor_type="ViTImageProcessor"), "by a ViTImageProcessor"),
    ],
)
def test_a_directory_that_would_answer_wrongly_is_refused(
    directory: Path, tmp_path: Path, change: Change, complaint: str
) -> None:
    """A missing, foreign or mismatched file is named when the model is loaded, not found in its answers."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    change(copy)

    with pytest.raises((FileNotFoundError, ValueError), match=complaint):
        loaded(copy)


def test_the_newer_layout_is_read_too(directory: Path, tmp_path: Path, model: Siglip) -> None:
    """Transformers 5 writes the rules for pictures into processor_config.json."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    rules = json.loads((copy / PIXELS).read_text())
    (copy / PIXELS).unlink()
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": rules}))

    rows = vectors(embed(loaded(copy), "embed_image", PICTURES))

    assert np.array_equal(rows, vectors(embed(model, "embed_image", PICTURES)))
