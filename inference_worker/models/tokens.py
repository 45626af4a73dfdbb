"""Texts as token ids: cut to what a model reads, and side by side in a pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer


class Read(NamedTuple):
    """The token ids a model reads of a text, and whether the text had more."""

    ids: list[int]
    truncated: bool


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer without its own cutting and padding: with them it is not safe between threads."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read(tokenizer: Tokenizer, text: str, *, most: int) -> Read:
    """Return the first ids of a text, as many as a model reads; the last of all stays, for it marks the end."""
    ids = tokenizer.encode(text).ids
    return Read(ids, truncated=False) if len(ids) <= most else Read([*ids[: most - 1], ids[-1]], truncated=True)


def padded(texts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids of texts, padded to the longest, and 1 where they are and 0 where the padding is: (n, longest)."""
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids.to(device), mask.to(device)
