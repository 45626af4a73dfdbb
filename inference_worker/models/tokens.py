"""Texts as token ids: cut to what a model reads, and side by side in a pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, normalizers


class Read(NamedTuple):
    """The token ids a model reads of a text, and whether the text had more."""

    ids: list[int]
    truncated: bool


class Frame(NamedTuple):
    """How many marks a tokenizer puts before and behind a text, and whether a long text loses its beginning."""

    opening: int = 0
    closing: int = 1
    keeps_end: bool = False

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, keeps_end: bool = False) -> "Frame":
        """Return the frame a tokenizer puts around a text."""
        bare = tokenizer.encode(PROBE, add_special_tokens=False).ids
        framed = tokenizer.encode(PROBE).ids
        marks = len(framed) - len(bare)
        opening = next((start for start in range(marks + 1) if framed[start : start + len(bare)] == bare), 0)
        return cls(opening, marks - opening, keeps_end)


PROBE = "a"

ONE_END_MARK = Frame()


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer without its own cutting and padding: with them it is not safe between threads."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def lower_cased(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with texts lower-cased before anything else is done to them."""
    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])
    return tokenizer


def read(tokenizer: Tokenizer, text: str, *, most: int, frame: Frame = ONE_END_MARK) -> Read:
    """Return as many ids of a text as a model reads: its marks, and the beginning of the rest."""
    ids = tokenizer.encode(text).ids
    if len(ids) <= most:
        return Read(ids, truncated=False)
    stop = len(ids) - frame.closing
    room = most - frame.opening - frame.closing
    start = stop - room if frame.keeps_end else frame.opening
    return Read([*ids[: frame.opening], *ids[start : start + room], *ids[stop:]], truncated=True)


def padded(texts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids of texts, padded to the longest, and 1 where they are and 0 where the padding is: (n, longest)."""
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids.to(device), mask.to(device)
