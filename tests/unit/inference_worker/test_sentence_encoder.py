"""Any encoder from a directory: here BGE-M3's stand-in, read as a plain XLM-RoBERTa whose mean is the vector."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from inference_worker.models.base import Runtime
from inference_worker.models.sentence_encoder import SentenceEncoder
from inference_worker.standins import bge_m3 as standin

TEXTS = ["the cat sleeps", "a", "Die Katze schläft auf dem Dach. " * 20]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stand-in's directory."""
    directory = tmp_path_factory.mktemp("encoder")
    standin.build(directory)
    return directory


def loaded(directory: Path) -> SentenceEncoder:
    """Return the model of a directory, warm."""
    model = SentenceEncoder(Runtime(source=str(directory)))
    model.load()
    model.warm_up()
    return model


def mean(directory: Path, text: str) -> NDArray[np.float32]:
    """Return the unit mean of a text's token vectors, as Transformers gives them."""
    tokens = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt")
    model: Any = AutoModel.from_pretrained(directory, add_pooling_layer=False)
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state[0].mean(0)
    vector: NDArray[np.float32] = torch.nn.functional.normalize(hidden, dim=0).numpy()
    return vector


def test_an_encoder_gives_the_mean_of_its_tokens(directory: Path) -> None:
    """Together in one pass, each text's vector is that of a direct call."""
    model = loaded(directory)

    together = model.infer([model.prepare("embed_text", text, {})[0] for text in TEXTS])

    for text, embedded in zip(TEXTS, together, strict=True):
        assert embedded.vector @ mean(directory, text) >= 0.9999


def test_it_reads_as_many_tokens_as_it_has_positions_for(directory: Path) -> None:
    """RoBERTa counts positions from padding on, so two of them hold no token; a longer text is cut, not an error."""
    model = loaded(directory)
    (unit,) = model.prepare("embed_text", "cat " * 9000, {})
    (embedded,) = model.infer([unit])

    assert (model.max_tokens, unit.cost, embedded.truncated) == (8192, 8192, True)
    assert model.about()["max_tokens"] == "8192"


def test_its_publishers_limit_counts(directory: Path, tmp_path: Path) -> None:
    """What it was trained on is less than what it has positions for."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))

    assert loaded(copy).max_tokens == 128


def test_an_encoder_that_tells_nothing_apart_is_refused(directory: Path, tmp_path: Path) -> None:
    """Weights of which nothing is left but zeros give every text one vector, and no worker serves them."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    weights = torch.load(copy / "pytorch_model.bin", weights_only=True)
    torch.save({name: torch.zeros_like(weight) for name, weight in weights.items()}, copy / "pytorch_model.bin")

    with pytest.raises(ValueError, match="two different texts give the same vector"):
        loaded(copy)


def test_a_tokenizer_that_does_not_fit_is_refused(directory: Path, tmp_path: Path) -> None:
    """Without its file Transformers makes one of five words, and says nothing."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()

    with pytest.raises(ValueError, match="the tokenizer has 5 words, the model"):
        loaded(copy)


def test_weights_that_are_not_all_there_are_refused(directory: Path, tmp_path: Path) -> None:
    """Transformers would fill in random numbers."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    tensors = torch.load(copy / "pytorch_model.bin", weights_only=True)
    del tensors["encoder.layer.0.output.dense.weight"]
    torch.save(tensors, copy / "pytorch_model.bin")

    with pytest.raises(ValueError, match=r"lacks 1 weights of the model, the first encoder\.layer\.0\.output\.dense"):
        loaded(copy)
