"""A SigLIP of two layers that knows colours: "a red square" is near red pictures, by weights made by hand.

The numbers of a vector: red, green and blue of -1..1 and a constant, the same four negated, so that layer norms keep
their direction; then 20 that tell words apart; then two pairs that mark tokens for the attention and are not let out.
Texts are the mean of their words, colours counting most; pictures the mean of their patches' colours.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import SiglipConfig, SiglipModel

from inference_worker.standins import noise

FORMAT: Any = sentencepiece_model_pb2
"""The messages of spiece.model, which protobuf makes at run time."""

VERSION = 1

SEED = 7
DIMENSION = 32
HEADS = 2
SIDE = 56
"""Width and height of a picture, in pixels."""

PATCH = 14
POSITIONS = 64

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 200, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 140, 0),
    "purple": (128, 0, 160),
    "pink": (255, 150, 190),
    "brown": (120, 70, 20),
    "turquoise": (0, 220, 220),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
}
"""The words that fit a picture, and its colour."""

WORDS = """
a an the of in on at and with to is are two three one photo picture image painting square circle triangle rectangle
stripe wall sky sea sun sunset grass tree leaf flower rose apple banana lemon car bus bird cat dog fish house boat snow
night day water fire stone sand mountain forest field street city person people woman man girl girls child astronaut
small large big old new bright dark
"""
"""What else has a piece of its own."""

UNKNOWN, END = 2, 1
CONSTANT = 0.5
COLOUR, REST, MARK = slice(0, 8), slice(8, 28), slice(28, 30)
LETTER_SCORE = -8.0
LIFT = 1.2
"""How strongly the mark draws attention: a colour then counts about ten times as much as another word."""


def build(directory: Path) -> None:
    """Write the directory that `SiglipModel`, `SiglipTokenizer` and the image processor load."""
    pieces = _pieces()
    config = SiglipConfig(text_config=_text_config(len(pieces.pieces)), vision_config=_vision_config())
    model: Any = SiglipModel(config)
    noise.fill(model, seed=SEED)
    with torch.no_grad():
        _make_text_tower(model.text_model, [piece.piece for piece in pieces.pieces])
        _make_vision_tower(model.vision_model)
    model.save_pretrained(directory)
    (directory / "spiece.model").write_bytes(pieces.SerializeToString(deterministic=True))
    _write(directory / "tokenizer_config.json", TOKENIZER)
    _write(directory / "special_tokens_map.json", SPECIAL)
    _write(directory / "preprocessor_config.json", PICTURES)


SPECIAL = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}

TOKENIZER = {
    **SPECIAL,
    "do_lower_case": True,
    "model_input_names": ["input_ids"],
    "model_max_length": POSITIONS,
    "tokenizer_class": "SiglipTokenizer",
}

PICTURES = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "SiglipProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": SIDE, "width": SIDE},
}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _text_config(words: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": DIMENSION,
        "projection_size": DIMENSION,
        "intermediate_size": 2 * DIMENSION,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": END,
        "eos_token_id": END,
        "bos_token_id": None,
    }


def _vision_config() -> dict[str, Any]:
    return {
        "hidden_size": DIMENSION,
        "intermediate_size": 2 * DIMENSION,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
    }


def _pieces() -> Any:
    """Return a sentencepiece model that has whole words, and spells out what else it is given."""
    model = FORMAT.ModelProto()
    kinds = FORMAT.ModelProto.SentencePiece
    for piece, kind in (("<pad>", kinds.CONTROL), ("</s>", kinds.CONTROL), ("<unk>", kinds.UNKNOWN)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for word in dict.fromkeys((*COLOURS, *WORDS.split())):
        model.pieces.add(piece=f"▁{word}", score=-1.0)
    # the tokenizer measures texts against "<unk>" spelt out, so these signs have to be there
    for letter in ["▁", *map(chr, range(ord("!"), ord("~") + 1))]:
        model.pieces.add(piece=letter, score=LETTER_SCORE)
    model.trainer_spec.model_type = FORMAT.TrainerSpec.UNIGRAM
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, END, UNKNOWN
    model.trainer_spec.bos_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    return model


def _paired(values: torch.Tensor) -> torch.Tensor:
    """Return values followed by the same negated: their mean is 0, and a layer norm keeps their direction."""
    return torch.cat((values, -values))


def _make_text_tower(tower: Any, pieces: list[str]) -> None:
    words = tower.embeddings.token_embedding.weight
    words.copy_(_word_vectors(pieces))
    _gather(tower.encoder.layers[0].self_attn)
    tower.head.weight.copy_(_without_marks())
    tower.head.bias.zero_()


def _word_vectors(pieces: list[str]) -> torch.Tensor:
    chance = torch.Generator().manual_seed(SEED)
    vectors = torch.zeros(len(pieces), DIMENSION)
    half = (REST.stop - REST.start) // 2
    for row, piece in enumerate(pieces):
        colour = COLOURS.get(piece.removeprefix("▁"))
        if colour is not None:
            vectors[row, COLOUR] = _paired(torch.tensor([*(value / 127.5 - 1 for value in colour), CONSTANT]))
            vectors[row, MARK] = _paired(torch.ones(1))
        else:
            vectors[row, REST] = _paired(torch.randn(half, generator=chance) * 0.7)
    # the end pads the text, and is to be overlooked
    vectors[END] = 0.0
    vectors[END, MARK] = _paired(-torch.ones(1))
    return vectors


def _without_marks() -> torch.Tensor:
    kept = torch.eye(DIMENSION)
    kept[MARK.start :] = 0.0
    return kept


def _gather(attention: Any) -> None:
    """Let each place see the mean of all tokens, weighted by the marks."""
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        part.weight.zero_()
        part.bias.zero_()
    width = DIMENSION // HEADS
    for head in range(HEADS):
        attention.q_proj.bias[head * width] = LIFT * width**0.5
        attention.k_proj.weight[head * width, MARK] = torch.tensor([0.5, -0.5])
    attention.v_proj.weight.copy_(_without_marks())
    attention.out_proj.weight.copy_(torch.eye(DIMENSION))


def _make_vision_tower(tower: Any) -> None:
    patches = tower.embeddings.patch_embedding
    patches.weight.mul_(1 / PATCH)
    patches.weight[COLOUR] = 0.0
    patches.bias[COLOUR] = _paired(torch.tensor([0.0, 0.0, 0.0, CONSTANT]))
    for channel in range(3):
        patches.weight[channel, channel] = 1 / PATCH**2
        patches.weight[channel + 4, channel] = -1 / PATCH**2
    attention = tower.head.attention
    # queries and keys of 0: the mean of all patches
    attention.in_proj_weight.zero_()
    attention.in_proj_bias.zero_()
    attention.in_proj_weight[2 * DIMENSION :] = torch.eye(DIMENSION)
    attention.out_proj.weight.copy_(torch.eye(DIMENSION))
    attention.out_proj.bias.zero_()
