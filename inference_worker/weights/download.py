"""One file from the hub: begun where the last attempt ended, and checked against its checksum."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # exported lazily


class DamagedError(Exception):
    """What came is not what the hub says the file is."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a hub repository.

    Attributes:
        name: its path in the repository.
        url: where it is.
        size: in bytes.
        digest: SHA-256 of the content if it is stored by git-lfs, else the SHA-1 git knows it by.
        lfs: whether it is stored by git-lfs.
    """

    name: str
    url: str
    size: int
    digest: str
    lfs: bool

    def digest_of(self, file: Path) -> str:
        """Return the checksum of a file, of the kind this one has."""
        with file.open("rb") as content:
            if self.lfs:
                return hashlib.file_digest(content, "sha256").hexdigest()
            return hashlib.file_digest(content, self._git_hash).hexdigest()

    def _git_hash(self) -> "hashlib._Hash":
        """Return the hash of a git object up to its content: git's name of a file begins with kind and size."""
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


def download(remote: Remote, target: Path) -> None:
    """Write a file to `target`, which appears whole or not at all; what has come of it is kept for the next attempt.

    Raises:
        DamagedError: its checksum is another; what came is deleted.
        Exception: what the hub's client raises when the hub cannot be reached, or refuses.
    """
    partial = target.with_name(f"{target.name}.incomplete")
    done = partial.stat().st_size if partial.exists() else 0
    if done > remote.size:
        partial.unlink()
        done = 0
    with partial.open("ab") as out:
        # a packed answer could not be resumed: ranges would count packed bytes
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        http_get(
            remote.url,
            out,
            resume_size=done,
            headers=headers,
            expected_size=remote.size,
            displayed_filename=remote.name,
        )
    found = remote.digest_of(partial)
    if found != remote.digest:
        partial.unlink()
        raise DamagedError(f"{remote.name} came with the checksum {found}, not {remote.digest}")
    partial.replace(target)
