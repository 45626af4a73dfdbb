"""The files of a Whisper for CTranslate2: where they are, and whether they are all there."""

import json
from pathlib import Path

from inference_worker.weights import PUBLISHED, locate

WEIGHTS = PUBLISHED["whisper"]

CONTROL = ("<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|transcribe|>", "<|startofprev|>")


def locate_weights(source: str, models_dir: str) -> Path:
    """Return the directory of a size, a directory or a hub id; raise `FileNotFoundError` if nothing has it."""
    patterns = (*WEIGHTS.files, *WEIGHTS.weights)
    return locate(WEIGHTS.repository(source), models_dir=models_dir, patterns=patterns)


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
    if missing := WEIGHTS.missing(directory):
        raise FileNotFoundError(f"{directory} has no {missing[0]}")
    _check_tokens(directory / "tokenizer.json")


def _check_tokens(file: Path) -> None:
    added = {token["content"] for token in json.loads(file.read_text("utf-8")).get("added_tokens", ())}
    missing = [token for token in CONTROL if token not in added]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}: it is no tokenizer of Whisper")
