"""BGE-M3 on its stand-in: as a direct call of Transformers, alone and in company; what would mislead is refused."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from inference_worker.batching import Policy, Ticket, UnitPool
from inference_worker.models.base import Runtime, Unit
from inference_worker.models.bge_m3 import BUDGET_TOKENS, MAX_TOKENS, OVERHEAD_TOKENS, BgeM3, Embedding
from inference_worker.standins import bge_m3 as standin
from rpc.errors import InvalidInput

SAME = 0.9999
"""The cosine above which the issue calls two vectors equal."""

ALL = ["dense", "sparse", "colbert"]

TEXTS = [
    "the cat sleeps on the roof",
    "Die Katze schläft auf dem Dach.",
    "猫は屋根で寝る",
    "a",
    "cat cat dog cat",
    "  leading blanks and\ttabs\n",
    "👩‍👩‍👧 </s> <unk> \x00",
    "der Zug fährt " * 40,
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stand-in's directory."""
    directory = tmp_path_factory.mktemp("bge-m3")
    standin.build(directory)
    return directory


def loaded(directory: Path, **runtime: Any) -> BgeM3:
    """Return the model of a directory, warm."""
    model = BgeM3(Runtime(source=str(directory), max_text_chars=200_000, **runtime))
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def model(directory: Path) -> BgeM3:
    """Return the stand-in, warm."""
    return loaded(directory)


def embed(model: BgeM3, texts: Sequence[str], **options: Any) -> list[Any]:
    """Return what texts give in one forward pass."""
    return list(model.infer([model.prepare("embed_text", text, options)[0] for text in texts]))


def infer(model: BgeM3, unit: Unit) -> Any:
    """Return what a unit gives alone."""
    return model.infer([unit])[0]


def dense(embeddings: Iterable[Any]) -> NDArray[np.float32]:
    """Return the dense vectors as a matrix."""
    return np.stack([embedding.dense for embedding in embeddings])


def lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the norm of each row."""
    norms: NDArray[np.float32] = np.linalg.norm(rows, axis=-1)
    return norms


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of rows."""
    products: NDArray[np.float32] = (left * right).sum(-1) / lengths(left) / lengths(right)
    return products


class Direct:
    """BGE-M3 as its publisher describes it, one text and one token at a time."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory)
        self._model: Any = AutoModel.from_pretrained(directory, add_pooling_layer=False)
        self._heads = {
            name: torch.load(directory / f"{name}_linear.pt", weights_only=True) for name in ("sparse", "colbert")
        }

    @torch.inference_mode()
    def hidden(self, text: str) -> tuple[list[int], torch.Tensor]:
        """Return the token ids and the last hidden states, (tokens, d)."""
        tokens = self._tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        return tokens["input_ids"][0].tolist(), self._model(**tokens).last_hidden_state[0]

    def _head(self, name: str, row: torch.Tensor) -> torch.Tensor:
        weighted: torch.Tensor = self._heads[name]["weight"] @ row + self._heads[name]["bias"]
        return weighted

    def sparse(self, text: str) -> dict[int, float]:
        """Return the weights of the words, by id."""
        words: dict[int, float] = {}
        special = set(self._tokenizer.all_special_ids) - {self._tokenizer.mask_token_id}
        for token, row in zip(*self.hidden(text), strict=True):
            weight = max(0.0, float(self._head("sparse", row)))
            if token not in special and weight > 0:
                words[token] = max(weight, words.get(token, 0.0))
        return words

    def colbert(self, text: str) -> NDArray[np.float32]:
        """Return the rows of all tokens but the first."""
        rows = [self._head("colbert", row) for row in self.hidden(text)[1][1:]]
        stacked: NDArray[np.float32] = torch.stack([row / row.norm() for row in rows]).numpy()
        return stacked


@pytest.fixture(scope="module")
def direct(directory: Path) -> Direct:
    """Return the model itself."""
    return Direct(directory)


def test_dense_vectors_are_those_of_a_direct_call_alone_and_together(model: BgeM3, direct: Direct) -> None:
    """Whatever the text holds and whoever shares its pass, its vector is the model's, at unit norm."""
    expected = np.stack([direct.hidden(text)[1][0].numpy() for text in TEXTS])

    together = dense(embed(model, TEXTS))
    alone = dense(embed(model, [text])[0] for text in TEXTS)

    assert together.dtype == np.float32
    assert cosines(together, expected).min() >= SAME
    assert cosines(alone, expected).min() >= SAME
    assert lengths(together) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_without_normalize_the_first_hidden_state_comes_as_it_is(model: BgeM3, direct: Direct) -> None:
    """`normalize=False` gives the raw vector."""
    (raw,) = embed(model, TEXTS[:1], normalize=False)

    assert raw.dense == pytest.approx(direct.hidden(TEXTS[0])[1][0].numpy(), abs=1e-5)


def test_sparse_weights_are_the_largest_of_each_word(model: BgeM3, direct: Direct) -> None:
    """Ascending ids, each once, none special, none of weight 0: as one token after another gives them."""
    for text, embedding in zip(TEXTS, embed(model, TEXTS, outputs=ALL), strict=True):
        ids, weights = embedding.sparse
        expected = direct.sparse(text)

        assert (ids.dtype, weights.dtype) == (np.int32, np.float32)
        assert ids.tolist() == sorted(expected)
        assert weights == pytest.approx([expected[number] for number in ids.tolist()], abs=1e-5)


def test_colbert_has_a_row_for_each_token_but_the_first(model: BgeM3, direct: Direct) -> None:
    """float16, at unit norm, the end's row too, whatever the padding."""
    for text, embedding in zip(TEXTS, embed(model, TEXTS, outputs=ALL), strict=True):
        expected = direct.colbert(text)

        assert (embedding.colbert.dtype, embedding.colbert.shape) == (np.float16, expected.shape)
        assert cosines(embedding.colbert.astype(np.float32), expected).min() >= SAME


def test_each_text_gets_what_it_asks_and_no_more(model: BgeM3) -> None:
    """Texts of one pass may ask for different outputs."""
    asked = [["dense"], ["sparse"], ["colbert", "dense"], ALL]
    units = [model.prepare("embed_text", TEXTS[0], {"outputs": outputs})[0] for outputs in asked]

    given = model.infer(units)

    assert [[name for name in ALL if getattr(embedding, name) is not None] for embedding in given] == [
        sorted(outputs, key=ALL.index) for outputs in asked
    ]


def test_a_result_holds_what_was_asked(model: BgeM3) -> None:
    """A row for each input in order, None or NaN and the reason for the one that failed."""
    first, last = embed(model, TEXTS[:2], outputs=ALL)

    result = model.finish("embed_text", [[first], InvalidInput("bad"), [last]])

    assert np.array_equal(result["vectors"][[0, 2]], dense([first, last]))
    assert np.isnan(result["vectors"][1]).all()
    assert [row and sorted(row) for row in result["sparse"]] == [["ids", "weights"], None, ["ids", "weights"]]
    assert np.array_equal(result["sparse"][2]["ids"], last.sparse.ids)
    assert result["colbert"][1] is None
    assert np.array_equal(result["colbert"][2], last.colbert)
    assert result["truncated"] == [False, False, False]
    assert [failed["index"] for failed in result["failed"]] == [1]


@pytest.mark.parametrize(
    ("outputs", "keys"),
    [(["dense"], {"vectors"}), (["sparse"], {"sparse"}), (["colbert", "sparse"], {"colbert", "sparse"})],
)
def test_what_was_not_asked_is_left_out(model: BgeM3, outputs: list[str], keys: set[str]) -> None:
    """Vectors too."""
    (given,) = embed(model, ["a cat"], outputs=outputs)

    assert set(model.finish("embed_text", [[given]])) - {"truncated", "tokens", "failed"} == keys


def test_if_every_input_failed_the_rows_are_nan(model: BgeM3) -> None:
    """What was asked is not known then; the vectors' rows say which failed."""
    result = model.finish("embed_text", [InvalidInput("bad")])

    assert set(result) == {"vectors", "truncated", "tokens", "failed"}
    assert np.isnan(result["vectors"]).all()


def test_a_text_of_8192_tokens_fits_and_one_more_is_cut_and_told(model: BgeM3, direct: Direct) -> None:
    """What follows the cut changes nothing, and the end of the text is still marked."""
    fits, over = "cat " * (MAX_TOKENS - 2), "cat " * (MAX_TOKENS - 2) + "dog " * 9

    units = [model.prepare("embed_text", text, {"outputs": ALL})[0] for text in (fits, over)]
    whole, cut = (infer(model, unit) for unit in units)

    assert [unit.cost for unit in units] == [MAX_TOKENS, MAX_TOKENS]
    assert [one.truncated for one in (whole, cut)] == [False, True]
    assert np.allclose(whole.dense, cut.dense, atol=1e-6)
    assert cosines(cut.dense, direct.hidden(over)[1][0].numpy()) >= SAME
    assert cut.colbert.shape == (MAX_TOKENS - 1, standin.DIMENSION)


@pytest.mark.parametrize("text", ["x" * 100_000, "cat " * 25_000, "日本" * 50_000, "!" * 100_000], ids=lambda t: t[:4])
def test_a_very_long_text_is_prepared_quickly(model: BgeM3, text: str) -> None:
    """A hundred thousand letters, even without a blank, hold no thread up for seconds."""
    started = time.monotonic()

    (unit,) = model.prepare("embed_text", text, {})

    assert time.monotonic() - started < 2
    assert unit.cost == MAX_TOKENS


def test_texts_are_prepared_right_by_many_threads_at_once(model: BgeM3) -> None:
    """The tokenizer, which is shared, gives each thread its own text's tokens."""
    texts = [f"{'cat ' * (number % 70)} dog {number}" for number in range(400)]
    expected = [model.prepare("embed_text", text, {})[0].data for text in texts]
    start = threading.Barrier(8)

    def prepared(part: Sequence[str]) -> list[Any]:
        start.wait()
        return [model.prepare("embed_text", text, {})[0].data for text in part]

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(prepared, [texts[first : first + 50] for first in range(0, 400, 50)]))

    assert [data for part in parts for data in part] == expected


@pytest.mark.parametrize(
    ("given", "options", "complaint"),
    [
        (" \n ", {}, "the text is empty"),
        (b"bytes", {}, "the input is of type bytes, not a text"),
        ("x" * 200_001, {}, "over the limit of 200000"),
        ("half \ud800", {}, "half a character at 5"),
        ("a", {"normalise": True}, "unknown option 'normalise'; expected one of outputs, normalize"),
        ("a", {"normalize": "yes"}, "option normalize is 'yes'"),
        ("a", {"outputs": "dense"}, "option outputs is 'dense', not a list"),
        ("a", {"outputs": []}, "option outputs is .*, not a list"),
        ("a", {"outputs": [1]}, "option outputs is .*, not a list"),
        ("a", {"outputs": {"dense": 1}}, "option outputs is .*, not a list"),
        ("a", {"outputs": ["dense", "spares"]}, "option outputs: 'spares' is none of dense, sparse, colbert"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_what_is_wrong(
    model: BgeM3, given: Any, options: Mapping[str, Any], complaint: str
) -> None:
    """Inputs and options of the wrong kind are the caller's error."""
    with pytest.raises(InvalidInput, match=complaint):
        model.prepare("embed_text", given, options)


def test_the_model_tells_what_it_is(model: BgeM3, directory: Path) -> None:
    """Dimension, limits, and the memory: known from the files before, and allocated after."""
    about = dict(model.about())
    allocated = int(about.pop("bytes"))

    assert about == {
        "dimension": "64",
        "device": "cpu",
        "dtype": "float32",
        "max_tokens": "8192",
        "outputs": "dense,sparse,colbert",
    }
    assert BgeM3(Runtime(source=str(directory))).needs() == pytest.approx(allocated, rel=0.1)


def test_bfloat16_halves_the_memory_and_hardly_moves_the_vectors(model: BgeM3, directory: Path) -> None:
    """Vectors still come as float32, weights of words too."""
    small = loaded(directory, dtype="bfloat16")

    given = embed(small, TEXTS, outputs=ALL)

    assert (given[0].dense.dtype, given[0].sparse.weights.dtype) == (np.float32, np.float32)
    assert cosines(dense(given), dense(embed(model, TEXTS))).min() > 0.99
    assert int(small.about()["bytes"]) < 0.6 * int(model.about()["bytes"])


def test_numbers_that_are_not_finite_fail_the_pass(directory: Path) -> None:
    """A model that overflows says so instead of giving rows that look like failed inputs."""
    broken = loaded(directory)
    words: Any = broken._model.get_input_embeddings()
    with torch.no_grad():
        words.weight.fill_(torch.inf)

    with pytest.raises(FloatingPointError, match="not finite"):
        embed(broken, TEXTS)


LENGTHS: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "lognormal": lambda chance: chance.lognormal(4.2, 1.1, 256),
    "uniform": lambda chance: chance.uniform(4, 2000, 256),
    "log-uniform": lambda chance: np.exp(chance.uniform(np.log(4), np.log(2000), 256)),
}


@pytest.mark.bound
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("device", BUDGET_TOKENS)
def test_padding_stays_small_at_256_waiting_texts(device: str, kind: str, seed: int) -> None:
    """Issue 3: with lengths of 4 to 2,000 tokens at most 1.3 tokens are computed for each token of a text."""
    costs = LENGTHS[kind](np.random.default_rng(seed)).clip(4, 2000).astype(int).tolist()
    pool: UnitPool[object] = UnitPool(Policy(BUDGET_TOKENS[device], OVERHEAD_TOKENS[device]))
    for cost in costs:
        pool.add([Ticket(object(), 0, 0, Unit(None, cost))], "interactive", suspect=False, now=0.0)

    batches = []
    while (batch := pool.take(0.0)) is not None:
        batches.append(batch)

    assert sum(batch.real for batch in batches) == sum(costs)
    assert sum(batch.padded for batch in batches) <= 1.3 * sum(costs)
    assert all(len(batch.tickets) == 1 or batch.padded <= BUDGET_TOKENS[device] for batch in batches)


Change = Callable[[Path], object]


def without(name: str) -> Change:
    """Return what removes a file."""
    return lambda directory: (directory / name).unlink()


def garbage(name: str) -> Change:
    """Return what overwrites a file."""
    return lambda directory: (directory / name).write_bytes(b"garbage")


def with_config(**values: Any) -> Change:
    """Return what changes values of config.json."""

    def change(directory: Path) -> None:
        whole = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(whole | values))

    return change


def with_head(name: str, **tensors: Any) -> Change:
    """Return what writes other tensors into the file of a head."""
    return lambda directory: torch.save(tensors, directory / name)


def without_weight(name: str) -> Change:
    """Return what takes a tensor out of the weights."""

    def change(directory: Path) -> None:
        tensors = torch.load(directory / "pytorch_model.bin", weights_only=True)
        del tensors[name]
        torch.save(tensors, directory / "pytorch_model.bin")

    return change


def without_ends(directory: Path) -> None:
    """Take away what puts a text between its beginning and its end."""
    whole = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    (directory / "tokenizer.json").write_text(json.dumps(whole | {"post_processor": None}), "utf-8")


class Code:
    """An object whose unpickling makes a directory."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self._made),))


SPARSE, COLBERT, WIDTH = "sparse_linear.pt", "colbert_linear.pt", standin.DIMENSION


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("config.json"), r"has no config\.json"),
        (without("tokenizer.json"), r"has no tokenizer\.json"),
        (without(SPARSE), r"has no sparse_linear\.pt"),
        (without(COLBERT), r"has no colbert_linear\.pt"),
        (without("pytorch_model.bin"), "has no weights: neither"),
        (garbage("config.json"), r"config\.json holds no map"),
        (garbage("tokenizer.json"), r"tokenizer\.json is no tokenizer"),
        (garbage("pytorch_model.bin"), "cannot be loaded"),
        (garbage(SPARSE), r"sparse_linear\.pt is no file of tensors"),
        (with_head(SPARSE, weight=torch.zeros(1, WIDTH)), r"sparse_linear\.pt holds .*, not weight \(1, 64\) and bias"),
        (with_head(COLBERT, weight=torch.zeros(WIDTH, 32), bias=torch.zeros(WIDTH)), r"colbert_linear\.pt holds .*32"),
        (
            with_head(COLBERT, kernel=torch.zeros(WIDTH, WIDTH), bias=torch.zeros(WIDTH)),
            r"colbert_linear\.pt holds .*kernel",
        ),
        (with_head(SPARSE, weight=1, bias=2), r"sparse_linear\.pt holds"),
        (with_config(model_type="bert"), "is a model of type bert, not xlm-roberta"),
        (with_config(vocab_size=250_002), r"tokenizer\.json has \d+ words, the model 250002"),
        (with_config(max_position_embeddings=514), "has 514 positions, BGE-M3 8194"),
        (with_config(bos_token_id=5), r"tokenizer\.json does not put a text between 5 and 2"),
        (with_config(hidden_size=32), "cannot be loaded"),
        (without_ends, r"tokenizer\.json does not put a text between 0 and 2"),
        (
            without_weight("encoder.layer.1.output.dense.bias"),
            r"lacks 1 weights of the model, the first encoder\.layer\.1\.output\.dense\.bias",
        ),
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


def test_code_in_the_file_of_a_head_is_not_run(directory: Path, tmp_path: Path) -> None:
    """A head is tensors; what else a file would do when opened is refused."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    torch.save(Code(tmp_path / "made"), copy / SPARSE)

    with pytest.raises(ValueError, match=r"sparse_linear\.pt is no file of tensors"):
        loaded(copy)

    assert not (tmp_path / "made").exists()


def test_safetensors_are_read_as_well(directory: Path, tmp_path: Path, model: BgeM3) -> None:
    """Where both formats may be published, either will do."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    tensors = torch.load(copy / "pytorch_model.bin", weights_only=True)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    (copy / "pytorch_model.bin").unlink()

    given = embed(loaded(copy), TEXTS)

    assert isinstance(given[0], Embedding)
    assert np.array_equal(dense(given), dense(embed(model, TEXTS)))
