"""The files of a Whisper for CTranslate2: where they are, and whether they are all there."""

import json
import re
from pathlib import Path

from inference_worker.weights import PUBLISHED, locate

WEIGHTS = PUBLISHED["whisper"]

CONTROL = ("<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|transcribe|>", "<|startofprev|>")


_PROMPTING = re.compile("|".join((r"<\|[a-z]{2,3}\|>", r"<\|translate\|>", *map(re.escape, CONTROL))))
"""The control tokens, and those of languages and tasks. Others have had several names."""


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
    _check_tokens(directory / "tokenizer.json", _vocabulary(directory))


def _vocabulary(directory: Path) -> Path:
    """Return the file CTranslate2 reads the model's tokens from."""
    # .json is looked for first there too
    return min(directory.glob("vocabulary.*"), key=lambda file: (file.suffix != ".json", file.name))


def _check_tokens(tokenizer: Path, vocabulary: Path) -> None:
    """Raise `ValueError` if prompts made by the tokenizer would be others to the model."""
    added = {
        token["content"]: token["id"] for token in json.loads(tokenizer.read_text("utf-8")).get("added_tokens", ())
    }
    missing = [token for token in CONTROL if token not in added]
    if missing:
        raise ValueError(f"{tokenizer} lacks {', '.join(missing)}: it is no tokenizer of Whisper")
    words = _words(vocabulary)
    for token in filter(_PROMPTING.fullmatch, added):
        number = added[token]
        if words[number : number + 1] != [token]:
            raise ValueError(
                f"{tokenizer} has {token} at {number}, {vocabulary} does not: they are of different models"
            )


def _words(vocabulary: Path) -> list[str]:
    """Return the model's tokens in their order."""
    text = vocabulary.read_text("utf-8")
    # a token may hold what other readers take for the end of a line
    return list(json.loads(text)) if vocabulary.suffix == ".json" else text.split("\n")
