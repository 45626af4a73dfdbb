"""The kinds of transformer that sentence encoders are served from, and how each is loaded and how much it reads."""

import inspect
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, PreTrainedModel

from inference_worker.models import pretrained

WHOLE = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "eurobert",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neo",
        "llama",
        "megatron-bert",
        "mistral",
        "modernbert",
        "mpnet",
        "nomic_bert",
        "qwen2",
        "qwen3",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roformer",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)
"""Kinds (`model_type`) whose token vectors are the last hidden states of `AutoModel`, the same in company as alone.
ConvBERT and MobileBERT mix padding into the vectors of the last tokens, so they are not among them."""

HALVES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Kinds of which the encoder half is used -> its class."""

OF_PICTURES = ("altclip", "chinese_clip", "clip", "metaclip_2", "siglip2")
"""Kinds that see pictures too, and are served by none of the families."""

COUNT_FROM_PADDING = frozenset(
    ("camembert", "data2vec-text", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl")
)
"""Kinds whose first token has the position after that of padding, as fairseq counts."""

UNLIMITED_TOKENS = 8192
"""Most tokens read of a text where neither the weights nor their publisher set a limit."""


def read_config(directory: Path) -> Any:
    """Return the configuration of a transformer; raise `ValueError` naming its kind if that is not served."""
    pretrained.require(directory, "config.json")
    kind = pretrained.read_json(directory / "config.json").get("model_type")
    if kind not in WHOLE and kind not in HALVES:
        raise ValueError(_refusal(directory, kind))
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"{directory / 'config.json'} cannot be read: {error}") from error


def _refusal(directory: Path, kind: Any) -> str:
    if kind == "siglip":
        return f"{directory} is a model of kind siglip: it is served as siglip={directory}, not as a sentence encoder"
    if kind in OF_PICTURES:
        return f"{directory} is a model of kind {kind}: texts and pictures of that kind are not served yet"
    return (
        f"{directory} is a model of kind {kind}, which is not served; served are {', '.join(sorted(WHOLE | {*HALVES}))}"
    )


def load_transformer(directory: Path, config: Any, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Return the transformer of a directory on its device; see `pretrained.load` for the errors."""
    half = HALVES.get(config.model_type)
    loader = AutoModel if half is None else getattr(transformers, half)
    built: Any = AutoModel._model_mapping[type(config)] if half is None else loader  # noqa: SLF001
    # a pooling head is never used, and a directory that has no weights for it is whole all the same
    switches = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(built).parameters else {}
    if hasattr(config, "use_cache"):
        config.use_cache = False
    return pretrained.load(loader, directory, dtype=dtype, device=device, config=config, **switches)


def max_positions(config: Any) -> int | None:
    """Return the number of tokens a transformer has positions for, or None if it has no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:
        return None
    if config.model_type in COUNT_FROM_PADDING:
        # Transformers' MPNet has this number in its code, whatever its configuration says
        padding = 1 if config.model_type == "mpnet" else int(config.pad_token_id)
        return int(positions) - padding - 1
    return int(positions)
