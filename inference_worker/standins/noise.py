"""Small seeded numbers under hand-made weights: what is not made by hand still counts, and is the same everywhere."""

import torch

STD = 0.03


def fill(module: torch.nn.Module, *, seed: int) -> None:
    """Set all weights of a module to small noise, except those of its layer norms, which change nothing then."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, STD, generator=chance)
        for part in module.modules():
            if isinstance(part, torch.nn.LayerNorm):
                part.weight.fill_(1.0)
                part.bias.zero_()
