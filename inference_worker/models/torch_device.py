"""Which device PyTorch is to use, and what lies on it."""

import torch


def resolve(wanted: str) -> torch.device:
    """Return the device; of "auto" the first GPU if there is one. Raise `ValueError` if it is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {wanted} is not there; PyTorch sees {torch.cuda.device_count()} GPUs")
    return device


def weight_bytes(module: torch.nn.Module) -> int:
    """Return the memory that a module's parameters and buffers really take."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
