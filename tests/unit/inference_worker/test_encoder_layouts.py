"""Directories of sentence encoders, against sentence-transformers on the same directory, or refused by name."""

import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference_worker.models.base import InvalidInput, Runtime
from inference_worker.models.encoder_kinds import HALVES, WHOLE
from inference_worker.models.sentence_encoder import SentenceEncoder
from tests.unit.inference_worker.encoder_directories import (
    DECODERS,
    HIDDEN,
    modules,
    new_pooling,
    pooling,
    transformer,
    weights,
)

pytestmark = pytest.mark.filterwarnings("default")

TEXTS = (
    "the cat sleeps",
    "a",
    "the train leaves , two birds on a roof , der zug fährt ab " * 9,
    "der zug fährt ab",
)
"""The third has more tokens than any encoder here reads."""

OUT = 12

DENSE: Mapping[str, Any] = {"in_features": HIDDEN, "out_features": OUT, "bias": True}

TANH, RELU = "torch.nn.modules.activation.Tanh", "torch.nn.modules.activation.ReLU"

IDENTITY = "torch.nn.modules.linear.Identity"

LINEAR = {"linear.weight": (OUT, HIDDEN), "linear.bias": (OUT,)}

NORMALIZE: tuple[str, Mapping[str, Any]] = ("Normalize", {})

PROMPTS = {"query": "query : ", "passage": "passage : "}

Build = Callable[[Path], object]


def write(path: Path, content: Any) -> None:
    """Write a file of JSON."""
    path.write_text(json.dumps(content))


def plain(*listed: tuple[str, Mapping[str, Any]]) -> Build:
    """Return a builder of a directory with modules that have no weights."""
    return lambda place: modules(place, *listed)


def dense(settings: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], *, pickled: bool = False) -> Build:
    """Return a builder of a directory with one Dense module."""

    def build(place: Path) -> None:
        modules(place, pooling("mean_tokens"), ("Dense", {**DENSE, **settings}), NORMALIZE)
        weights(place / "2_Dense", shapes, pickled=pickled)

    return build


def beside(file: str, content: Mapping[str, Any], mode: str = "mean") -> Build:
    """Return a builder of a directory with one more file of settings."""

    def build(place: Path) -> None:
        modules(place, new_pooling(mode))
        write(place / file, content)

    return build


def without_prompt(mode: str) -> Build:
    """Return a builder of a directory whose pooling leaves the prompt out."""

    def build(place: Path) -> None:
        modules(place, new_pooling(mode, include_prompt=False))
        write(place / "config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": "passage"})

    return build


def chain(place: Path) -> None:
    """Build a directory with every module that may follow the pooling, Normalize in the middle."""
    inner = {"in_features": OUT, "out_features": 5, "bias": False, "activation_function": TANH}
    listed = [("Dense", {**DENSE, "activation_function": IDENTITY}), NORMALIZE, ("LayerNorm", {"dimension": OUT})]
    modules(place, new_pooling("mean"), *listed, ("Dropout", {"dropout": 0.2}), ("Dense", inner))
    weights(place / "2_Dense", LINEAR)
    weights(place / "4_LayerNorm", {"norm.weight": (OUT,), "norm.bias": (OUT,)})
    weights(place / "6_Dense", {"linear.weight": (5, OUT)})


def subfolder(place: Path) -> None:
    """Build a directory whose transformer lies in a folder of its own, as the first versions saved it."""
    modules(place, pooling("cls_token"))
    listed = json.loads((place / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    write(place / "modules.json", listed)
    (place / "0_Transformer").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (place / file).rename(place / "0_Transformer" / file)
    write(place / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 9, "do_lower_case": False})


def saved_by_the_library(place: Path) -> None:
    """Build a directory as the installed sentence-transformers saves it."""
    modules(place, pooling("cls_token", "max_tokens"), NORMALIZE)
    copy = place / "copy"
    library().SentenceTransformer(str(place), device="cpu").save(str(copy))
    for file in list(place.iterdir()):
        if file.is_file():
            file.unlink()
    shutil.rmtree(place / "1_Pooling")
    shutil.rmtree(place / "2_Normalize")
    shutil.copytree(copy, place, dirs_exist_ok=True)
    shutil.rmtree(copy)


LEGACY = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")

NEW = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

LAYOUTS: Mapping[str, Build] = {
    **{f"flag {mode}": plain(pooling(mode), NORMALIZE) for mode in LEGACY},
    **{f"mode {mode}": plain(new_pooling(mode)) for mode in NEW},
    "several flags": plain(pooling("mean_tokens", "cls_token", "lasttoken")),
    "several modes in their own order": plain(new_pooling(["mean", "cls"])),
    "no flag": plain(pooling()),
    "dense, activation not named": dense({}, LINEAR),
    "dense, tanh, pickled": dense({"activation_function": TANH}, LINEAR, pickled=True),
    "dense, relu": dense({"activation_function": RELU}, LINEAR),
    "dense, no bias": dense({"bias": False, "activation_function": IDENTITY}, {"linear.weight": (OUT, HIDDEN)}),
    "dense with a residual layer": dense({"use_residual": True}, {**LINEAR, "residual.weight": (OUT, HIDDEN)}),
    "dense with the input added": dense(
        {"out_features": HIDDEN, "use_residual": True},
        {"linear.weight": (HIDDEN, HIDDEN), "linear.bias": (HIDDEN,)},
    ),
    "all modules": chain,
    "transformer in a subfolder": subfolder,
    "saved by the library": saved_by_the_library,
    "length": beside("sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False}),
    "length, last token": beside("sentence_bert_config.json", {"max_seq_length": 12}, mode="lasttoken"),
    "length null": beside("sentence_bert_config.json", {"max_seq_length": None}),
    "length of the tokenizer": beside("sentence_bert_config.json", {"tokenizer_args": {"model_max_length": 7}}),
    "lower case": beside("sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True}),
    "default prompt": beside("config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": "query"}),
    **{f"prompt left out of {mode}": without_prompt(mode) for mode in NEW},
}


def library() -> Any:
    """Return sentence-transformers, whose import takes seconds: only for the tests that compare with it."""
    return importlib.import_module("sentence_transformers")


def loaded(directory: Path) -> SentenceEncoder:
    """Return the model of a directory, warm."""
    model = SentenceEncoder(Runtime(source=str(directory)))
    model.needs()
    model.load()
    model.warm_up()
    return model


def vectors(model: SentenceEncoder, texts: Sequence[str], options: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the vectors of texts from one pass."""
    units = [model.prepare("embed_text", text, options)[0] for text in texts]
    return np.stack([embedded.vector for embedded in model.infer(units)])


def check(directory: Path, options: Mapping[str, Any], **arguments: Any) -> None:
    """Check that vectors are the library's, alone and in company, and that the texts are told apart by them."""
    model = loaded(directory)
    reference = library().SentenceTransformer(str(directory), device="cpu")
    expected = np.stack([reference.encode(text, **arguments) for text in (*TEXTS, TEXTS[0].upper())])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    company = vectors(model, (*TEXTS, TEXTS[0].upper()), options)
    alone = np.stack([vectors(model, [text], options)[0] for text in (*TEXTS, TEXTS[0].upper())])

    assert (company * expected).sum(1).min() >= 0.99999
    assert (alone * expected).sum(1).min() >= 0.99999
    assert np.triu(expected[:4] @ expected[:4].T, 1).max() < 0.999


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute these tiny models in one thread: handing work to more takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a transformer without modules, to be copied."""
    return transformer(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def place(bert: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(bert, tmp_path / "place"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_encoder_follows_the_modules_of_its_directory(name: str, place: Path) -> None:
    """Pooling, heads, limits and prompts of a directory give the vectors that sentence-transformers gives."""
    LAYOUTS[name](place)

    check(place, {})


@pytest.mark.parametrize("kind", sorted(WHOLE | {*HALVES}))
def test_an_encoder_of_each_kind_gives_the_librarys_vectors(kind: str, tmp_path: Path) -> None:
    """Each kind that is served gives the vectors of sentence-transformers, whatever else is in the pass."""
    modules(transformer(tmp_path / "place", kind), new_pooling("lasttoken" if kind in DECODERS else "mean"))

    check(tmp_path / "place", {})


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["qwen3", "bert", "gpt2"])
def test_the_last_token_is_the_texts_own(kind: str, side: str, tmp_path: Path) -> None:
    """Padding and cutting on either side leave the last token the one that the library takes."""
    place = transformer(tmp_path / "place", kind, padding_side=side, truncation_side=side)
    modules(place, pooling("lasttoken"))

    check(place, {})


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"prompt_name": "passage"}, {"prompt_name": "passage"}),
        ({"prompt_name": "document"}, {"prompt_name": "document"}),
        ({"prompt": "search : "}, {"prompt": "search : "}),
        ({"prompt": ""}, {"prompt": ""}),
        ({"prompt": None, "prompt_name": None}, {}),
    ],
)
def test_a_prompt_is_the_one_that_is_chosen(
    options: Mapping[str, Any], arguments: Mapping[str, Any], place: Path
) -> None:
    """The options `prompt` and `prompt_name` are those of `encode`, and an empty prompt turns the default off."""
    LAYOUTS["default prompt"](place)

    check(place, options, **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_name": "answer"}, "prompt_name must be one of query, document, passage, got 'answer'"),
        ({"prompt_name": 3}, "prompt_name must be one of query"),
        ({"prompt_name": "query", "prompt": "a"}, "exclude each other"),
        ({"prompt": 7}, "prompt must be a text, got a int"),
        ({"prompt": "\ud83d"}, "lone surrogate"),
        ({"prompt": "the cat " * 40}, "the prompt has 81 tokens and leaves no room"),
        ({"prompt": "a" * 100_001}, "at most 100000 characters"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(options: Mapping[str, Any], message: str, place: Path) -> None:
    """A prompt that is unknown, of a wrong type or too long is the caller's error."""
    LAYOUTS["default prompt"](place)
    model = loaded(place)

    with pytest.raises(InvalidInput, match=message):
        model.prepare("embed_text", "the cat", options)


def test_an_encoder_tells_its_pooling_and_its_prompts(place: Path) -> None:
    """Callers see how a vector is made, before they store any."""
    LAYOUTS["default prompt"](place)

    about = loaded(place).about()

    assert about["pooling"] == "mean"
    assert about["prompts"] == "query,document,passage"
    assert about["default_prompt"] == "query"
    assert about["max_tokens"] == "64"


def test_a_dense_module_decides_the_dimension(place: Path) -> None:
    """Vectors have as many numbers as the last module makes, as they are or at length 1."""
    chain(place)
    model = loaded(place)

    raw = vectors(model, TEXTS, {"normalize": False})

    assert (model.dimension, raw.shape) == (5, (4, 5))
    assert vectors(model, TEXTS, {}) == pytest.approx(raw / np.linalg.norm(raw, axis=1, keepdims=True), abs=1e-6)


def test_a_directory_without_modules_is_the_mean_and_says_so(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights alone say nothing of pooling: it is the mean, as the library assumes, with a warning."""
    check(place, {})

    assert "does not say how token vectors are pooled" in caplog.text


def test_a_pooling_counts_without_a_list_of_modules(place: Path) -> None:
    """A pooling configuration is read where only it was copied beside the weights."""
    (place / "1_Pooling").mkdir()
    write(place / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})

    assert loaded(place).about()["pooling"] == "cls"


def change(file: str, **settings: Any) -> Build:
    """Return a builder that changes settings in a file of JSON of a served directory."""

    def build(place: Path) -> None:
        path = place / file
        write(path, {**(json.loads(path.read_text()) if path.is_file() else {}), **settings})

    return build


def bare(**settings: Any) -> Build:
    """Return a builder of a directory without modules, with settings changed in its `config.json`."""

    def build(place: Path) -> None:
        (place / "modules.json").unlink()
        change("config.json", **settings)(place)

    return build


def listing(kind: str, package: str = "sentence_transformers.models", **settings: Any) -> Build:
    """Return a builder that adds a module to the list."""

    def build(place: Path) -> None:
        entries = json.loads((place / "modules.json").read_text())
        entries.append({"idx": 9, "name": "9", "path": "9_it", "type": f"{package}.{kind}", **settings})
        (place / "9_it").mkdir(exist_ok=True)
        write(place / "modules.json", entries)

    return build


def other_format(name: str) -> Build:
    """Return a builder that replaces the weights by a file of another format."""

    def build(place: Path) -> None:
        (place / "model.safetensors").unlink()
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"0")

    return build


SPARSE = "sentence_transformers.sparse_encoder.modules"

REFUSED: Mapping[str, tuple[Build, str]] = {
    "a reranker": (bare(architectures=["BertForSequenceClassification"]), "reranker.*not served yet"),
    "a masked model": (bare(architectures=["BertForMaskedLM"]), "masked language model or SPLADE"),
    "a language model": (bare(architectures=["Qwen3ForCausalLM"]), "language model, not a sentence encoder"),
    "a tagger": (bare(architectures=["BertForTokenClassification"]), "BertForTokenClassification"),
    "a saved cross-encoder": (change("config_sentence_transformers.json", model_type="CrossEncoder"), "reranker"),
    "a saved sparse encoder": (change("config_sentence_transformers.json", model_type="SparseEncoder"), "SPLADE"),
    "a saved ColBERT": (change("config_sentence_transformers.json", model_type="MultiVectorEncoder"), "ColBERT"),
    "SPLADE pooling": (listing("SpladePooling", SPARSE), r"SpladePooling are not served"),
    "static embeddings": (listing("StaticEmbedding"), "StaticEmbedding are not served"),
    "a convolution": (listing("CNN"), "CNN are not served"),
    "weighted layers": (listing("WeightedLayerPooling"), "WeightedLayerPooling are not served"),
    "somebody's own module": (listing("Dense", "pylate.models"), r"pylate\.models\.Dense are not served"),
    "code of the directory": (listing("Custom", "custom_st"), r"custom_st\.Custom are not served"),
    "a second pooling": (listing("Pooling"), "module 2 must be Dense or LayerNorm"),
    "arguments of modules": (listing("Normalize", kwargs=["task"]), "arguments of modules"),
    "a path outside": (listing("Normalize", path="../9_it"), "leads outside"),
    "modules without types": (lambda place: write(place / "modules.json", [3]), "a map with a type, got 3"),
    "modules in no list": (lambda place: write(place / "modules.json", {}), "must hold a list"),
    "no modules": (lambda place: write(place / "modules.json", []), "expected a Transformer"),
    "no pooling": (
        lambda place: write(place / "modules.json", json.loads((place / "modules.json").read_text())[:1]),
        "expected a Transformer and a Pooling",
    ),
    "an unknown mode": (change("1_Pooling/config.json", pooling_mode="attention"), "pooling_mode must be one or some"),
    "an unknown flag": (change("1_Pooling/config.json", pooling_mode_median=True), "pooling_mode_median is not served"),
    "include_prompt of a wrong type": (change("1_Pooling/config.json", include_prompt="no"), "must be true or false"),
    "a length of 0": (change("sentence_bert_config.json", max_seq_length=0), "max_seq_length must be a whole number"),
    "a length in words": (change("sentence_bert_config.json", max_seq_length="long"), "got 'long'"),
    "an unknown setting": (change("sentence_bert_config.json", stride=4), "setting stride is not served"),
    "another task": (change("sentence_bert_config.json", transformer_task="fill-mask"), "got 'fill-mask'"),
    "messages": (
        change("sentence_bert_config.json", modality_config={"message": {"method": "forward"}}),
        "modality_config must be",
    ),
    "arguments of the model": (
        change("sentence_bert_config.json", model_args={"num_labels": 3}),
        "num_labels is not served",
    ),
    "prompts that are no texts": (change("config_sentence_transformers.json", prompts={"query": 3}), "a map of texts"),
    "a default that does not exist": (
        change("config_sentence_transformers.json", default_prompt_name="q"),
        "default_prompt_name must be one of query, document, got 'q'",
    ),
    "an adapter": (change("adapter_config.json", peft_type="LORA"), "is an adapter"),
    "CLIP": (change("config.json", model_type="clip"), "kind clip: texts and pictures of that kind are not served yet"),
    "SigLIP 2": (change("config.json", model_type="siglip2"), "kind siglip2: texts and pictures"),
    "SigLIP": (change("config.json", model_type="siglip"), "served as siglip="),
    "a kind of Whisper's": (change("config.json", model_type="whisper"), "kind whisper, which is not served; served"),
    "a kind nobody knows": (change("config.json", model_type=None), "kind None, which is not served"),
    "ONNX alone": (other_format("onnx/model.onnx"), r"ONNX's format \(onnx/model\.onnx\) are not served yet"),
    "TensorFlow alone": (other_format("tf_model.h5"), "TensorFlow's format"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_directory_that_is_something_else_is_refused_by_name(name: str, place: Path) -> None:
    """A directory is refused before it is loaded, with the setting or the kind that is not served."""
    build, message = REFUSED[name]
    modules(place, pooling("mean_tokens"))
    build(place)

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SentenceEncoder(Runtime(source=str(place))).needs()


HEADS_REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "an activation of its own": ({"activation_function": "my.Swish"}, r"activation_function must be one of torch\.nn"),
    "an activation with weights": ({"activation_function": "torch.nn.PReLU"}, "activation_function must be"),
    "a function that is no module": ({"activation_function": "torch.nn.functional.relu"}, "activation_function must"),
    "no activation": ({"activation_function": None}, "got None"),
    "another input": ({"module_input_name": "token_embeddings"}, "module_input_name must be sentence_embedding"),
    "another size": ({"in_features": 31}, "in_features must be 32, the size of the vectors before it, got 31"),
    "no size": ({"out_features": "12"}, "out_features must be a whole number"),
    "an unknown setting": ({"dropout": 0.5}, r"setting dropout is not served"),
    "weights of another size": ({"out_features": 13}, r"model\.safetensors cannot be loaded"),
    "a bias that is missing": ({"use_residual": True}, "cannot be loaded"),
}


@pytest.mark.parametrize("name", HEADS_REFUSED)
def test_a_dense_module_that_cannot_be_computed_is_refused(name: str, place: Path) -> None:
    """A Dense module ends the start of a worker rather than being dropped."""
    settings, message = HEADS_REFUSED[name]
    dense(settings, LINEAR)(place)

    with pytest.raises(ValueError, match=message):
        loaded(place)


def test_a_dense_module_without_weights_is_refused(place: Path) -> None:
    """Its file is named, in both formats."""
    dense({}, LINEAR)(place)
    (place / "2_Dense" / "model.safetensors").unlink()

    with pytest.raises(FileNotFoundError, match=r"2_Dense has no weights: neither model\.safetensors nor pytorch"):
        loaded(place)


def test_a_mark_that_the_model_has_no_vector_for_is_the_callers_error(place: Path) -> None:
    """Gemma's tokenizers have one mark more than the model: on a GPU it would end the engine."""
    modules(place, pooling("mean_tokens"))
    words = json.loads((place / "tokenizer.json").read_text())
    size = json.loads((place / "config.json").read_text())["vocab_size"]
    words["added_tokens"].append(
        {"id": size, "content": "<image>", "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
    )
    write(place / "tokenizer.json", words)
    model = loaded(place)

    with pytest.raises(InvalidInput, match="no vector for"):
        model.prepare("embed_text", "the <image> cat", {})
    assert model.prepare("embed_text", "the cat", {})[0].cost == 4
