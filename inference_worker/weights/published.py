"""What each family loads unless it is told otherwise: where it is published, which files, under which licence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

SAFETENSORS, PICKLED = "model*.safetensors*", "pytorch_model*.bin*"

YUNET_FILE = "face_detection_yunet_2023mar.onnx"

WHISPER_SIZES = {
    **{
        size: f"Systran/faster-whisper-{size}"
        for size in (
            *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
            *("large-v1", "large-v2", "large-v3"),
        )
    },
    "large": "Systran/faster-whisper-large-v3",
    **{
        f"distil-{size}": f"Systran/faster-distil-whisper-{size}"
        for size in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""Size -> the hub repository that has it for CTranslate2, as faster-whisper names them."""


@dataclass(frozen=True, slots=True)
class Published:
    """The weights of a family.

    Attributes:
        ops: what the family offers.
        source: what it loads where nothing else is named: a hub id, or one of `sizes`.
        files: patterns of the files it reads besides the weights.
        weights: patterns of the weights, one for each format they may be in; the first that is there is taken.
        required: patterns of which each has to match a file; the weights are required anyway.
        licence: of what `source` names.
        sizes: short name -> hub id.
        single: the one file that is all of it, or "": it may lie in the models directory itself.
        sha256: file -> checksum, where it is known whatever the hub says.
    """

    ops: tuple[str, ...]
    source: str
    files: tuple[str, ...]
    weights: tuple[str, ...]
    required: tuple[str, ...]
    licence: str
    sizes: Mapping[str, str] = field(default_factory=dict)
    single: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)

    def repository(self, source: str) -> str:
        """Return the directory, file or hub id that `source` stands for; the family's own if it is ""."""
        wanted = source or self.source
        return self.sizes.get(wanted, wanted)

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Return what is missing among the names of the files of a directory, so that it could not be loaded."""
        there = list(names)
        lacking = [pattern for pattern in self.required if not matching(there, [pattern])]
        return lacking if matching(there, self.weights) else [*lacking, " or ".join(self.weights)]

    def missing(self, place: Path) -> list[str]:
        """Return the same of a directory; a file lacks nothing."""
        return [] if place.is_file() else self.lacks(file.name for file in place.iterdir())


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that match any of the patterns."""
    wanted = list(patterns)
    return [name for name in names if any(fnmatch(name, pattern) for pattern in wanted)]


PUBLISHED = {
    "whisper": Published(
        ops=("transcribe",),
        source="medium",
        files=("config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*"),
        weights=("model.bin",),
        required=("config.json", "tokenizer.json", "vocabulary.*"),
        licence="MIT",
        sizes=WHISPER_SIZES,
    ),
    "siglip": Published(
        ops=("embed_text", "embed_image"),
        source="google/siglip-so400m-patch14-384",
        files=(
            *("config.json", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json"),
            *("spiece.model", "tokenizer_config.json"),
        ),
        weights=(SAFETENSORS, PICKLED),
        required=("config.json", "spiece.model"),
        licence="Apache-2.0",
    ),
    "bge-m3": Published(
        ops=("embed_text",),
        source="BAAI/bge-m3",
        files=("config.json", "tokenizer.json", "sparse_linear.pt", "colbert_linear.pt"),
        weights=(SAFETENSORS, PICKLED),
        required=("config.json", "tokenizer.json", "sparse_linear.pt", "colbert_linear.pt"),
        licence="MIT",
    ),
    "yunet": Published(
        ops=("detect_faces",),
        source="opencv/face_detection_yunet",
        files=(),
        weights=(YUNET_FILE, "*.onnx"),
        required=(),
        licence="MIT",
        single=YUNET_FILE,
        # as the pointer in OpenCV's zoo of models has it (commit 966be4cb)
        sha256={YUNET_FILE: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"},
    ),
}
"""Family -> its weights."""
