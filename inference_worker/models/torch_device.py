"""Which device PyTorch is to use and in what numbers, what is free there, and what lies on it."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve(wanted: str) -> torch.device:
    """Return the device; of "auto" the first GPU if there is one. Raise `ValueError` if it is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {wanted} is not there; PyTorch sees {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def numbers(wanted: str, device: torch.device) -> torch.dtype:
    """Return what to compute in; of "auto" float32 on the CPU, on a GPU bfloat16 if it has that, else float16.

    Raise `ValueError` on float16 on a CPU, which has no arithmetic for it and is several times slower than float32.
    """
    if wanted == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if wanted == "float16" and device.type == "cpu":
        raise ValueError("dtype float16 is for GPUs: on a CPU take float32 or bfloat16")
    return DTYPES[wanted]


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a GPU."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def weight_bytes(*modules: torch.nn.Module) -> int:
    """Return the memory that the parameters and buffers of modules really take."""
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
