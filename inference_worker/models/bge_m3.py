"""BGE-M3: a text as one vector, as weighted words and as a vector for each token, from one forward pass.

The three heads are as FlagEmbedding (commit 7ed43d67) defines them: dense is the hidden state of the first token; a
token's sparse weight is relu(sparse_linear(h)), the largest counts for one that occurs twice; ColBERT's rows are
colbert_linear(h) of all tokens but the first, at unit norm.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel, XLMRobertaConfig, XLMRobertaModel

from inference_worker.models import pretrained, tokens
from inference_worker.models.base import Outcome, Unit, failed_inputs
from inference_worker.models.bge_m3_heads import SparseWeights, load_head, sparse_weights
from inference_worker.models.torch_device import weight_bytes
from inference_worker.models.torch_model import TorchModel
from inference_worker.models.vectors import (
    check_told_apart,
    checked_finite,
    checked_flag,
    checked_outputs,
    checked_text,
    refuse_unknown,
    stacked,
)
from inference_worker.weights import PUBLISHED
from rpc.errors import RpcError

WEIGHTS = PUBLISHED["bge-m3"]

OUTPUTS = ("dense", "sparse", "colbert")

MAX_TOKENS = 8192

POSITIONS = 8194
"""What 8192 tokens need: positions are counted from the one after padding, which is 1."""

BUDGET_TOKENS = {"cpu": 512, "cuda": 32_768}
"""On one CPU core a token takes 7 ms, from 8 texts of 32 tokens on: a fuller pass only keeps others waiting longer.
For GPUs both are estimates: at 50,000 tokens a second and more this is half a second."""

OVERHEAD_TOKENS = {"cpu": 32, "cuda": 128}
"""On one CPU core a pass takes 0.17 s besides its tokens, as long as 24 of them (XLM-RoBERTa large, float32), and with
more cores more of them; on a GPU it starts some 400 kernels, 2 or 3 ms. A larger number would fill passes further, but
with more than 1.3 times the tokens."""


class Text(NamedTuple):
    """A text as token ids, and what is wanted of it."""

    ids: list[int]
    outputs: frozenset[str]
    normalize: bool
    truncated: bool


class Embedding(NamedTuple):
    """What a text gave: None for each output not asked; ColBERT's rows are float16 (tokens - 1, d)."""

    dense: NDArray[np.float32] | None
    sparse: SparseWeights | None
    colbert: NDArray[np.float16] | None
    truncated: bool
    tokens: int


class BgeM3(TorchModel):
    """op `embed_text`: texts -> what option `outputs` names; option `normalize`: false leaves dense ones unscaled."""

    name = "bge-m3"
    ops = ("embed_text",)
    partial = True
    published = WEIGHTS.source
    files = WEIGHTS.files
    budgets = BUDGET_TOKENS
    overheads = OVERHEAD_TOKENS

    def needs(self) -> int:
        """Return the memory of the weights, the heads' included, in the number type they will have."""
        pretrained.require(self.directory, *WEIGHTS.required)
        width = int(pretrained.read_json(self.directory / "config.json")["hidden_size"])
        # (width, width), (1, width) and their biases
        return super().needs() + (width + 1) ** 2 * self.dtype.itemsize

    def load(self) -> None:
        """Read tokenizer, weights and heads; raise if they do not belong together."""
        pretrained.require(self.directory, *WEIGHTS.required)
        config = self._config()
        self.dimension = int(config.hidden_size)
        self._pad = int(config.pad_token_id)
        self._tokenizer = self._checked_tokenizer(config)
        self._dropped = np.array(self._unweighted(config), np.int32)
        self._model: PreTrainedModel = pretrained.load(
            XLMRobertaModel, self.directory, dtype=self.dtype, device=self.device, add_pooling_layer=False
        )
        self._sparse = self._head("sparse_linear.pt", rows=1)
        self._colbert = self._head("colbert_linear.pt", rows=self.dimension)

    def _head(self, file: str, *, rows: int) -> torch.nn.Linear:
        layer = load_head(self.directory / file, rows=rows, columns=self.dimension)
        return layer.to(self.device, self.dtype)

    def _config(self) -> Any:
        kind = pretrained.read_json(self.directory / "config.json").get("model_type")
        if kind != "xlm-roberta":
            raise ValueError(f"{self.directory} is a model of type {kind}, not xlm-roberta")
        config = XLMRobertaConfig.from_pretrained(self.directory, local_files_only=True)
        positions = config.max_position_embeddings
        if positions < POSITIONS:
            raise ValueError(
                f"{self.directory}: the model has {positions} positions, BGE-M3 {POSITIONS}: texts would be cut short"
            )
        return config

    def _checked_tokenizer(self, config: Any) -> Tokenizer:
        file = self.directory / "tokenizer.json"
        try:
            tokenizer = tokens.plain(Tokenizer.from_file(str(file)))
        except Exception as error:
            raise ValueError(f"{file} is no tokenizer: {error}") from error
        if tokenizer.get_vocab_size() != config.vocab_size:
            raise ValueError(f"{file} has {tokenizer.get_vocab_size()} words, the model {config.vocab_size}")
        ids = tokenizer.encode("a").ids
        if ids[0] != config.bos_token_id or ids[-1] != config.eos_token_id:
            raise ValueError(f"{file} does not put a text between {config.bos_token_id} and {config.eos_token_id}")
        return tokenizer

    def _unweighted(self, config: Any) -> list[int]:
        """Return the ids that have no place in sparse weights: beginning, end, padding, and what is no word."""
        unknown = self._tokenizer.token_to_id("<unk>")
        return [config.bos_token_id, config.eos_token_id, config.pad_token_id, *([] if unknown is None else [unknown])]

    def warm_up(self) -> None:
        """Run two texts through all heads and check what they give."""
        texts = ("two birds on a roof", "der Zug fährt ab")
        units = [unit for text in texts for unit in self.prepare("embed_text", text, {"outputs": list(OUTPUTS)})]
        dense = [cast("NDArray[np.float32]", embedding.dense) for embedding in self.infer(units)]
        check_told_apart(dense, self.dimension, self.directory)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the text as token ids, cut to 8192; the cost is their number."""
        del op
        refuse_unknown(options, ("outputs", "normalize"))
        outputs = checked_outputs(options, OUTPUTS)
        normalize = checked_flag(options, "normalize", default=True)
        text = checked_text(given, max_chars=self.runtime.max_text_chars)
        ids, truncated = tokens.read(self._tokenizer, text, most=MAX_TOKENS)
        return [Unit(Text(ids, outputs, normalize, truncated), cost=len(ids))]

    @torch.inference_mode()
    def infer(self, units: Sequence[Unit]) -> Sequence[Embedding]:
        """Return what each text asks for, from one forward pass."""
        texts: list[Text] = [unit.data for unit in units]
        hidden = self._hidden(texts)
        dense = self._dense_of(texts, hidden)
        sparse = self._sparse_of(texts, hidden)
        colbert = self._colbert_of(texts, hidden)
        return [
            Embedding(dense.get(row), sparse.get(row), colbert.get(row), text.truncated, len(text.ids))
            for row, text in enumerate(texts)
        ]

    def _hidden(self, texts: Sequence[Text]) -> torch.Tensor:
        ids, mask = tokens.padded([text.ids for text in texts], self._pad, self.device)
        hidden: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden

    def _dense_of(self, texts: Sequence[Text], hidden: torch.Tensor) -> dict[int, NDArray[np.float32]]:
        first = hidden[:, 0].float()
        raw = checked_finite(first.cpu().numpy())
        scaled = torch.nn.functional.normalize(first, dim=1).cpu().numpy()
        return {row: (scaled if texts[row].normalize else raw)[row].copy() for row in _asking(texts, "dense")}

    def _sparse_of(self, texts: Sequence[Text], hidden: torch.Tensor) -> dict[int, SparseWeights]:
        rows = _asking(texts, "sparse")
        if not rows:
            return {}
        weights = checked_finite(torch.relu(self._sparse(hidden[rows])).squeeze(-1).float().cpu().numpy())
        return {
            row: sparse_weights(np.array(texts[row].ids, np.int32), values[: len(texts[row].ids)], self._dropped)
            for row, values in zip(rows, weights, strict=True)
        }

    def _colbert_of(self, texts: Sequence[Text], hidden: torch.Tensor) -> dict[int, NDArray[np.float16]]:
        # text by text: no padding is computed, and no more than one text's rows are held twice
        return {row: self._rows_of(hidden[row, 1 : len(texts[row].ids)]) for row in _asking(texts, "colbert")}

    def _rows_of(self, hidden: torch.Tensor) -> NDArray[np.float16]:
        rows = torch.nn.functional.normalize(self._colbert(hidden).float(), dim=1)
        found: NDArray[np.float16] = rows.half().cpu().numpy()
        return found

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return "truncated", "tokens", "failed", and what was asked of "vectors" (n, d), "sparse" and "colbert".

        A row of sparse is a map of `SparseWeights`; rows of failed inputs are None, in vectors NaN. If all inputs
        failed there are vectors alone.
        """
        del op
        rows = [None if isinstance(outcome, RpcError) else outcome[0] for outcome in outcomes]
        done = [row for row in rows if row is not None]
        result: dict[str, Any] = {
            "truncated": [row is not None and row.truncated for row in rows],
            "tokens": [0 if row is None else row.tokens for row in rows],
            "failed": failed_inputs(outcomes),
        }
        if not done or done[0].dense is not None:
            result["vectors"] = stacked([row and row.dense for row in rows], self.dimension)
        if done and done[0].sparse is not None:
            result["sparse"] = [row and row.sparse._asdict() for row in rows]
        if done and done[0].colbert is not None:
            result["colbert"] = [row and row.colbert for row in rows]
        return result

    def about(self) -> Mapping[str, str]:
        """Return dimension, device, number type, memory of the weights, tokens read of a text, and the outputs."""
        return {
            **super().about(),
            "dimension": str(self.dimension),
            "bytes": str(weight_bytes(self._model, self._sparse, self._colbert)),
            "max_tokens": str(MAX_TOKENS),
            "outputs": ",".join(OUTPUTS),
        }


def _asking(texts: Sequence[Text], output: str) -> list[int]:
    return [row for row, text in enumerate(texts) if output in text.outputs]
