"""Which device PyTorch is to use, what it computes in there, and what memory that takes."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve(wanted: str) -> torch.device:
    """Return the device, a GPU with its number; of "auto" the first GPU if there is one.

    Raises:
        ValueError: it is neither the CPU nor a CUDA GPU, or not there.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = wanted.partition(":")
    if wanted == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise ValueError(f"device {wanted} is none of auto, cpu, cuda and the like of cuda:1")
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise ValueError(f"device {wanted} is not there; PyTorch sees {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", index)


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return what to compute in: of "auto" float32 on the CPU, on a GPU bfloat16 where it has it, else float16.

    Raises:
        ValueError: no such type, or one the device is no good at.
    """
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else _half_of(device)
    if wanted not in DTYPES:
        raise ValueError(f"dtype {wanted} is none of auto, {', '.join(DTYPES)}")
    if device.type == "cpu" and wanted == "float16":
        raise ValueError("dtype float16 is several times slower than float32 on the CPU: use float32 or bfloat16")
    if device.type == "cuda" and wanted == "bfloat16" and _half_of(device) != torch.bfloat16:
        raise ValueError(f"dtype bfloat16 is not what {torch.cuda.get_device_name(device)} computes in: use float16")
    return DTYPES[wanted]


def _half_of(device: torch.device) -> torch.dtype:
    with torch.cuda.device(device):
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_it else torch.float16


def free_bytes(device: torch.device) -> int:
    """Return the memory of a GPU that no process has taken, in bytes."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def weight_bytes(*modules: torch.nn.Module) -> int:
    """Return the memory that the parameters and buffers of modules really take."""
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
