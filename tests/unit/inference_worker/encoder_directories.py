"""Directories of sentence encoders with tiny random weights, in the layouts that sentence-transformers has saved."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from inference_worker.models.encoder_kinds import COUNT_FROM_PADDING, HALVES

WORDS = (
    *("the", "cat", "sleeps", "on", "roof", "a", "train", "leaves", "two", "birds", "der", "zug", "fährt", "ab"),
    *("query", "passage", ":", "search", ",", "you", "are"),
)

MARKS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")

HIDDEN = 32

POSITIONS = 64

SIZES: Mapping[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}

OWN_SIZES: Mapping[str, Mapping[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
    "gemma": {"head_dim": 8, "num_key_value_heads": 2},
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2},
    "gemma3_text": {"head_dim": 8, "num_key_value_heads": 2, "use_bidirectional_attention": True, "sliding_window": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4, "window_size": 4},
    "eurobert": {"num_key_value_heads": 2, "head_dim": 8},
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "head_dim": 8},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2},
    "mt5": {"d_ff": 48, "d_kv": 8, "d_model": HIDDEN, "num_heads": 4, "num_layers": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "rembert": {"input_embedding_size": 16},
    "t5": {"d_ff": 48, "d_kv": 8, "d_model": HIDDEN, "num_heads": 4, "num_layers": 2},
    "umt5": {"d_ff": 48, "d_kv": 8, "d_model": HIDDEN, "num_heads": 4, "num_layers": 2},
}

DECODERS = ("gpt2", "gpt_neo", "llama", "mistral", "qwen2")
"""Kinds whose tokenizers put no mark behind a text."""


def tokenizer(kind: str = "bert", **settings: Any) -> Any:
    """Return a tokenizer of whole words, of single bytes for Qwen2, with the marks that a kind puts around a text."""
    marks = dict(zip(("pad", "unk", "bos", "eos", "mask"), MARKS, strict=True))
    marks = {f"{name}_token": mark for name, mark in marks.items()}
    if kind == "qwen2":
        # Transformers reads its directories with this class, whatever they say
        letters = [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        return transformers.Qwen2Tokenizer({letter: number for number, letter in enumerate(letters)}, [], **marks)
    vocabulary = {word: number for number, word in enumerate([*MARKS, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    opening, closing = ("", "") if kind in DECODERS else ("", " </s>") if kind in HALVES else ("<s> ", " </s>")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{opening}$A{closing}", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    make: Any = transformers.PreTrainedTokenizerFast
    return make(tokenizer_object=backend, **marks, **settings)


def transformer(directory: Path, kind: str = "bert", **settings: Any) -> Path:
    """Write a transformer with random weights, and its tokenizer, into a directory; return it."""
    torch.manual_seed(len(kind))
    sizes = {**SIZES, **OWN_SIZES.get(kind, {})}
    if kind in COUNT_FROM_PADDING:
        sizes["max_position_embeddings"] = POSITIONS + (2 if kind == "mpnet" else 1)
    if kind in COUNT_FROM_PADDING:
        # the library itself reads more than such a model has positions for
        settings["model_max_length"] = POSITIONS
    words = tokenizer(kind, **settings)
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(words), **sizes)
    auto_model: Any = transformers.AutoModel
    model = auto_model.from_config(config)
    # large enough that different texts have clearly different vectors; layer norms and biases stay as they are
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.0 if "embed" in name else 0.3)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def modules(directory: Path, *listed: tuple[str, Mapping[str, Any]], package: str = "models") -> Path:
    """Write `modules.json` of a Transformer and the modules listed, each with its settings; return the directory."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": f"sentence_transformers.{package}.Transformer"}]
    for index, (kind, settings) in enumerate(listed, start=1):
        path = f"{index}_{kind}"
        entries.append({"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"})
        (directory / path).mkdir()
        if settings:
            (directory / path / "config.json").write_text(json.dumps(settings))
    (directory / "modules.json").write_text(json.dumps(entries))
    return directory


def pooling(*modes: str, **settings: Any) -> tuple[str, Mapping[str, Any]]:
    """Return a Pooling module in the older spelling: a flag for each mode."""
    flags = {f"pooling_mode_{mode}": mode in modes for mode in ("cls_token", "mean_tokens", "max_tokens", *modes)}
    return "Pooling", {"word_embedding_dimension": HIDDEN, **flags, **settings}


def new_pooling(modes: str | Sequence[str], **settings: Any) -> tuple[str, Mapping[str, Any]]:
    """Return a Pooling module in the newer spelling."""
    return "Pooling", {"embedding_dimension": HIDDEN, "pooling_mode": modes, "include_prompt": True, **settings}


def weights(directory: Path, shapes: Mapping[str, Sequence[int]], *, pickled: bool = False) -> None:
    """Write random weights of a module."""
    torch.manual_seed(7)
    tensors = {name: torch.randn(*shape) for name, shape in shapes.items()}
    if pickled:
        torch.save(tensors, directory / "pytorch_model.bin")
    else:
        save_file(tensors, directory / "model.safetensors")
