"""From the vectors of a text's tokens to one vector, in the modes that sentence-transformers defines."""

from collections.abc import Callable, Mapping, Sequence

import torch

Mode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def pool(hidden: torch.Tensor, mask: torch.Tensor, modes: Sequence[str], skip: torch.Tensor) -> torch.Tensor:
    """Return one vector a text: the modes, concatenated, (n, d * modes).

    Args:
        hidden: the vectors of the tokens, (n, tokens, d), padded on the right.
        mask: 1 where a token is, 0 where the padding is, (n, tokens).
        modes: keys of `MODES`.
        skip: of each text, how many tokens at its beginning are left out, (n,).
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    kept = mask * (positions >= skip.unsqueeze(1))
    return torch.cat([MODES[mode](hidden, kept) for mode in modes], dim=1)


def _first(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return _at(hidden, kept.argmax(1))


def _last(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(kept.shape[1], device=kept.device)
    return _at(hidden, (kept * positions).argmax(1))


def _at(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), positions]


def _largest(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(kept.unsqueeze(2) == 0, float("-inf")).amax(1)


def _mean(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return _weighted(hidden, kept, kept.sum(1))


def _mean_by_root(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return _weighted(hidden, kept, kept.sum(1).sqrt())


def _mean_by_position(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return the mean in which the token at position i, counted from 1 and with those left out, weighs i."""
    weights = kept * torch.arange(1, kept.shape[1] + 1, device=kept.device)
    return _weighted(hidden, weights, weights.sum(1))


def _weighted(hidden: torch.Tensor, weights: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    return (hidden * weights.unsqueeze(2).to(hidden.dtype)).sum(1) / divisor.unsqueeze(1)


MODES: Mapping[str, Mode] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _mean_by_position,
    "lasttoken": _last,
}
"""Mode -> its function of the token vectors and of the tokens that take part."""
