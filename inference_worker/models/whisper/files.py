"""The files of a Whisper for CTranslate2: where they are, and whether they are all there."""

import json
from pathlib import Path

from inference_worker.weights import locate

SIZE = "medium"

PATTERNS = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*")

SYSTRAN = (
    *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
    *("large-v1", "large-v2", "large-v3"),
)

REPOSITORIES = {
    **{size: f"Systran/faster-whisper-{size}" for size in SYSTRAN},
    "large": "Systran/faster-whisper-large-v3",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""Size -> the hub repository that has it for CTranslate2, as faster-whisper names them."""

CONTROL = ("<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|transcribe|>", "<|startofprev|>")


def locate_weights(source: str, models_dir: str) -> Path:
    """Return the directory of a size, a directory or a hub id; raise `FileNotFoundError` if nothing has it."""
    wanted = source or SIZE
    return locate(REPOSITORIES.get(wanted, wanted), models_dir=models_dir, patterns=PATTERNS)


def check(directory: Path) -> None:
    """Raise by name if a file is missing without which the libraries load something else, or from somewhere else."""
    if not directory.is_dir():
        raise ValueError(f"{directory} is no directory")
    if not (directory / "model.bin").is_file() and any(directory.glob("*.safetensors")):
        raise ValueError(
            f"{directory} holds weights for transformers: convert them with ct2-transformers-converter --copy_files"
            " tokenizer.json preprocessor_config.json"
        )
    # preprocessor_config.json is not with all of them; without it 80 mel bands are made, which the model is held to
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory} has no {name}")
    if not any(directory.glob("vocabulary.*")):
        raise FileNotFoundError(f"{directory} has neither vocabulary.json nor vocabulary.txt")
    _check_tokens(directory / "tokenizer.json")


def _check_tokens(file: Path) -> None:
    added = {token["content"] for token in json.loads(file.read_text("utf-8")).get("added_tokens", ())}
    missing = [token for token in CONTROL if token not in added]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}: it is no tokenizer of Whisper")
