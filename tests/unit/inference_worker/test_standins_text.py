"""The stand-ins of SigLIP and BGE-M3: built offline, always the same, and with a meaning a test can rely on."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference_worker.models.base import Model, Runtime
from inference_worker.models.bge_m3 import BgeM3
from inference_worker.models.siglip import Siglip
from inference_worker.standins import bge_m3, siglip

BUILD_S = 3.0
"""What the issue's "seconds" is taken for."""

FILES = {
    siglip: [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer_config.json",
    ],
    bge_m3: [
        "colbert_linear.pt",
        "config.json",
        "pytorch_model.bin",
        "sparse_linear.pt",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
}

STANDINS = pytest.mark.parametrize("standin", FILES, ids=lambda module: module.__name__.rpartition(".")[2])


def built(standin: ModuleType, place: Path) -> Path:
    """Return a directory the stand-in was built in."""
    place.mkdir()
    standin.build(place)
    return place


@STANDINS
def test_a_standin_is_built_at_once_in_the_published_layout(standin: ModuleType, tmp_path: Path) -> None:
    """The files a hub repository of the family has, within a few megabytes."""
    started = time.monotonic()

    directory = built(standin, tmp_path / "built")

    assert time.monotonic() - started < BUILD_S
    assert sorted(file.name for file in directory.iterdir()) == FILES[standin]
    assert sum(file.stat().st_size for file in directory.iterdir()) < 5e6


@STANDINS
def test_a_standin_is_always_the_same(standin: ModuleType, tmp_path: Path) -> None:
    """Whatever was drawn before, its files are equal byte for byte, so a cache of any age is right."""
    torch.manual_seed(1)
    first = built(standin, tmp_path / "first")
    torch.manual_seed(2)
    second = built(standin, tmp_path / "second")

    for name in FILES[standin]:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def served(model: Model) -> Any:
    """Return the model, loaded and warm."""
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Siglip:
    """Return the stand-in SigLIP."""
    directory = built(siglip, tmp_path_factory.mktemp("siglip") / "built")
    model: Siglip = served(Siglip(Runtime(source=str(directory))))
    return model


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> BgeM3:
    """Return the stand-in BGE-M3."""
    directory = built(bge_m3, tmp_path_factory.mktemp("bge") / "built")
    model: BgeM3 = served(BgeM3(Runtime(source=str(directory))))
    return model


def embedded(model: Model, op: str, inputs: Sequence[Any], **options: Any) -> list[Any]:
    """Return what inputs give in one forward pass."""
    return list(model.infer([model.prepare(op, given, options)[0] for given in inputs]))


def plain(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a picture of one colour."""
    return np.full((40, 70, 3), colour, np.uint8)


def test_a_colours_name_is_nearest_to_its_picture(seeing: Siglip) -> None:
    """Of all pictures of one colour, "a ... square" is nearest to its own, whatever the word's case."""
    names = [name for name in siglip.COLOURS if name != "gray"]
    pictures = np.stack([e.vector for e in embedded(seeing, "embed_image", [plain(siglip.COLOURS[n]) for n in names])])
    texts = np.stack([e.vector for e in embedded(seeing, "embed_text", [f"A {n.title()} square!" for n in names])])

    cosines = texts @ pictures.T

    assert [names[row] for row in cosines.argmax(axis=1)] == names
    assert cosines.diagonal().min() > 0.7


def test_most_of_a_picture_decides(seeing: Siglip) -> None:
    """A picture three quarters red is nearer to red than to the blue of its rest, and nearer to blue than plain red."""
    mixed = plain(siglip.COLOURS["red"])
    mixed[:, 52:] = siglip.COLOURS["blue"]
    seen = np.stack([e.vector for e in embedded(seeing, "embed_image", [mixed, plain(siglip.COLOURS["red"])])])
    red, blue = (e.vector for e in embedded(seeing, "embed_text", ["red", "blue"]))

    assert seen[0] @ red > seen[0] @ blue > seen[1] @ blue


GROUPS = [
    ["the cat sleeps on the roof", "die Katze schläft auf dem Dach", "le chat dort sur le toit", "猫は屋根で寝る"],
    ["Paris is the capital of France", "Paris est la capitale de la France", "Париж столица Франция"],
    ["a girl reads a big book", "ein Mädchen liest ein großes Buch", "una niña lee un libro grande"],
]
"""Sentences of one meaning."""


def test_sentences_of_one_meaning_are_near_in_any_language(reading: BgeM3) -> None:
    """The nearest other sentence always means the same."""
    texts = [(group, text) for group, texts in enumerate(GROUPS) for text in texts]
    vectors = np.stack([e.dense for e in embedded(reading, "embed_text", [text for _, text in texts])])

    cosines = vectors @ vectors.T - 2 * np.eye(len(texts))

    groups = [group for group, _ in texts]
    assert [groups[row] for row in cosines.argmax(axis=1)] == groups


def test_words_that_matter_weigh_most(reading: BgeM3) -> None:
    """Sparse weights tell "cat" from "the"."""
    (given,) = embedded(reading, "embed_text", ["the cat sleeps on the roof"], outputs=["sparse"])

    heaviest = given.sparse.ids[np.argsort(given.sparse.weights)[-3:]]

    assert {reading._tokenizer.id_to_token(number) for number in heaviest.tolist()} == {"▁cat", "▁roof", "▁sleeps"}


def test_order_counts_a_little(reading: BgeM3) -> None:
    """Positions are not ignored: a test can tell that they are right."""
    first, second = (e.dense for e in embedded(reading, "embed_text", ["cat dog bird", "bird dog cat"]))

    assert 0.9 < first @ second < 0.999999
