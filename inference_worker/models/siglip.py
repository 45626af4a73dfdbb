"""SigLIP: texts and pictures as vectors of one space, whose cosine says how well they fit.

The vectors are the poolings of the two towers, scaled to unit norm, as `SiglipModel.forward` of Transformers scales
them. Texts are padded to the full length without a mask: so the model was trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SiglipConfig, SiglipModel, SiglipTokenizer

from inference_worker.media import images
from inference_worker.models import pretrained
from inference_worker.models.base import Outcome, Unit
from inference_worker.models.siglip_pixels import CHANNELS, PixelRules
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
from inference_worker.weights import PUBLISHED

WEIGHTS = PUBLISHED["siglip"]

BUDGET_POSITIONS = {"cpu": 1024, "cuda": 65_536}
"""A text costs the 64 positions it is padded to, a picture its patches, 729 at 384 x 384: both run through 27 layers
of one width. On a CPU one large picture or 16 texts, some 10 s of one core, for it gains little from company; on a GPU
(an estimate) about 90 pictures or 1024 texts."""

OVERHEAD_POSITIONS = {"cpu": 64, "cuda": 4096}
"""All units that may share a pass cost the same, so there is no padding to weigh; it says that company is worth
waiting for."""

SPARE_PIECES = 100
"""T5's vocabularies end in so many marks that no text contains; some models have no embeddings for them."""


class _Text(NamedTuple):
    ids: list[int]
    truncated: bool
    tokens: int
    normalize: bool


class _Picture(NamedTuple):
    pixels: NDArray[np.uint8]
    normalize: bool
    truncated: bool = False
    tokens: int = 0


class Siglip(TorchModel):
    """ops `embed_text` and `embed_image` -> vectors; option `normalize`: false gives the pooling as it is."""

    name = "siglip"
    ops = ("embed_text", "embed_image")
    partial = True
    published = WEIGHTS.source
    files = WEIGHTS.files
    budgets = BUDGET_POSITIONS
    overheads = OVERHEAD_POSITIONS

    def load(self) -> None:
        """Read tokenizer, image rules and both towers; raise if they do not belong together."""
        pretrained.require(self.directory, *WEIGHTS.required)
        config = self._config()
        self._tokenizer = self._checked_tokenizer(config.text_config)
        self._words = int(config.text_config.vocab_size)
        self._rules = PixelRules.read(self.directory, side=int(config.vision_config.image_size))
        self._model: Any = pretrained.load(SiglipModel, self.directory, dtype=self.dtype, device=self.device)
        self._levels = torch.from_numpy(self._rules.levels()).to(self.device)
        self._channels = torch.arange(CHANNELS, device=self.device)
        self.dimension = int(config.vision_config.hidden_size)
        self.max_tokens = int(config.text_config.max_position_embeddings)
        self.patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2

    def _config(self) -> Any:
        kind = pretrained.read_json(self.directory / "config.json").get("model_type")
        if kind != "siglip":
            raise ValueError(f"{self.directory} is a model of type {kind}, not siglip")
        config: Any = SiglipConfig.from_pretrained(self.directory, local_files_only=True)
        text, vision = config.text_config, config.vision_config
        if not vision.vision_use_head:
            raise ValueError(f"{self.directory}: the vision tower has no pooling head")
        if text.projection_size != vision.hidden_size:
            raise ValueError(
                f"{self.directory}: texts give {text.projection_size} numbers, pictures {vision.hidden_size}"
            )
        return config

    def _checked_tokenizer(self, config: Any) -> Any:
        file = self.directory / "spiece.model"
        try:
            tokenizer = SiglipTokenizer.from_pretrained(self.directory, local_files_only=True)
        except Exception as error:
            raise ValueError(f"{file} is no tokenizer: {error}") from error
        if not 0 <= tokenizer.vocab_size - config.vocab_size <= SPARE_PIECES:
            raise ValueError(f"{file} has {tokenizer.vocab_size} pieces, the model {config.vocab_size}")
        if not tokenizer.do_lower_case:
            raise ValueError(f"{self.directory}: the tokenizer keeps capitals, which the model has not seen")
        if tokenizer.pad_token_id != config.pad_token_id:
            raise ValueError(
                f"{self.directory}: the tokenizer pads with {tokenizer.pad_token_id}, the model with"
                f" {config.pad_token_id}"
            )
        return tokenizer

    def warm_up(self) -> None:
        """Run two texts and a picture, and check their vectors."""
        texts = [unit for text in ("a red square", "two blue birds") for unit in self.prepare("embed_text", text, {})]
        grey = np.full((*reversed(self._rules.size), CHANNELS), 127, np.uint8)
        first, second = self.infer(texts)
        (picture,) = self.infer(self.prepare("embed_image", grey, {}))
        check_told_apart([first.vector, second.vector, picture.vector], self.dimension, self.directory)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return a text as token ids, padded and cut to what the model reads, or a picture as pixels of its size."""
        refuse_unknown(options, ("normalize", "outputs"))
        checked_outputs(options, ("dense",))
        normalize = checked_flag(options, "normalize", default=True)
        if op == "embed_text":
            text = checked_text(given, max_chars=self.runtime.max_text_chars)
            return [Unit(_Text(*self._ids(text), normalize), cost=self.max_tokens, group="text")]
        pixels, _ = images.shrunk(given, self._rules.fit, most_pixels=self.runtime.max_image_pixels)
        return [Unit(_Picture(pixels, normalize), cost=self.patches, group="image")]

    def _ids(self, text: str) -> tuple[list[int], bool, int]:
        """Return `max_tokens` token ids, whether the text had more, and how many are not padding."""
        # leading blanks would become tokens of their own
        ids = self._tokenizer.convert_tokens_to_ids(self._tokenizer.tokenize(text.strip()))
        end, room = self._tokenizer.eos_token_id, self.max_tokens - 1
        kept = [number if number < self._words else self._tokenizer.unk_token_id for number in ids[:room]]
        if kept[-1:] != [end]:
            kept.append(end)
        padding = [self._tokenizer.pad_token_id] * (self.max_tokens - len(kept))
        return kept + padding, len(ids) > room, len(kept)

    @torch.inference_mode()
    def infer(self, units: Sequence[Unit]) -> Sequence[Embedded]:
        """Return each unit's vector, float32 (d,), and whether the input was cut."""
        given = [unit.data for unit in units]
        pooled = self._of_texts(given) if units[0].group == "text" else self._of_pictures(given)
        raw = checked_finite(pooled.cpu().numpy())
        scaled = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return [
            Embedded((scaled if one.normalize else raw)[row].copy(), one.truncated, one.tokens)
            for row, one in enumerate(given)
        ]

    def _of_texts(self, texts: Sequence[_Text]) -> torch.Tensor:
        ids = torch.tensor([text.ids for text in texts], device=self.device)
        pooled: torch.Tensor = self._model.text_model(input_ids=ids).pooler_output
        return pooled.float()

    def _of_pictures(self, given: Sequence[_Picture]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in given])).to(self.device)
        values = self._levels[self._channels, pixels.long()].permute(0, 3, 1, 2)
        pooled: torch.Tensor = self._model.vision_model(pixel_values=values.to(self.dtype)).pooler_output
        return pooled.float()

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"vectors": (n, d), "truncated", "tokens", "failed"}`; a picture has no tokens."""
        del op
        return embedding_result(outcomes, self.dimension)

    def about(self) -> Mapping[str, str]:
        """Return dimension, device, number type, memory of the weights, and what is seen of a picture and a text."""
        width, height = self._rules.size
        return {
            **super().about(),
            "dimension": str(self.dimension),
            "bytes": str(weight_bytes(self._model)),
            "sees": f"{width}x{height}",
            "max_tokens": str(self.max_tokens),
        }
