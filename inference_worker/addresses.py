"""Where files lie that a job names in place of its inputs: how such a URL is read, and what admits it. Opens nothing.

What is refused here is told without the URL: whoever opens it names it.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, unquote_to_bytes

from rpc.errors import InvalidInput

FILE = "file"

WEB = frozenset({"http", "https"})

INDIRECT = frozenset({FILE, "local", "reference", "generic", "data"})
"""Schemes no prefix may have: of files of this machine, and of what opens other places than its URL says."""

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?")

_DOTS = frozenset({".", ".."})
_NO_NAMES = _DOTS | {""}


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine; `path` is absolute or relative to whatever root there is."""

    path: str


@dataclass(frozen=True, slots=True)
class Address:
    """A file of a store.

    Attributes:
        scheme: in lower case.
        host: host or bucket; in lower case where that makes no difference.
        path: begins with a slash, as it was given.
        query: with its question mark, or "".
    """

    scheme: str
    host: str
    path: str
    query: str = ""

    @property
    def url(self) -> str:
        """The URL, put together from what was looked at."""
        return f"{self.scheme}://{self.host}{self.path}{self.query}"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What addresses must begin with to be opened; `path` begins and ends with a slash."""

    scheme: str
    host: str
    path: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a prefix; raise `ValueError` saying what is wrong with it."""
        if _indirect(text):
            raise ValueError(f"{text!r} must be no file: URL, and nothing that leads to another place")
        try:
            found = _address(text.rstrip("/") + "/_")
        except InvalidInput as error:
            raise ValueError(f"{text!r}: {error}") from None
        if found.query:
            raise ValueError(f"{text!r}: a prefix has no query")
        return cls(found.scheme, found.host, found.path.removesuffix("_"))

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.scheme}://{self.host}{self.path}"

    def admits(self, address: Address) -> bool:
        """Return whether an address lies under this prefix."""
        same = (self.scheme, self.host) == (address.scheme, address.host)
        return same and address.path.startswith(self.path)


def read(url: str) -> LocalFile | Address:
    """Return where a URL says that a file lies; raise `InvalidInput` if it could be read in two ways, or in none."""
    return _local_file(url) if url[:5].lower() == f"{FILE}:" else _address(url)


def _indirect(text: str) -> bool:
    return "::" in text or text.partition(":")[0].lower() in INDIRECT


def _parts(url: str) -> tuple[str, str | None, str, str, str]:
    _check_characters(url)
    found = _PARTS.fullmatch(url)
    if found is None:
        raise InvalidInput("it is no URL such as s3://bucket/name or file:name")
    scheme, host, path, query, fragment = found.groups()
    return scheme.lower(), host, path, query or "", fragment or ""


def _local_file(url: str) -> LocalFile:
    _, host, path, query, fragment = _parts(url)
    if query or fragment:
        raise InvalidInput("a file: URL has neither query nor fragment; %3F and %23 are the characters")
    if host and host.lower() != "localhost":
        raise InvalidInput("a file: URL names no other host; it is file:name or file:///name")
    # once: what is still encoded then is the name of a file
    name = os.fsdecode(unquote_to_bytes(path))
    _check_characters(name.replace("\\", ""))
    if not name.strip("/") or ".." in name.split("/"):
        raise InvalidInput("its path is empty or has '..' in it")
    return LocalFile(name)


def _address(url: str) -> Address:
    scheme, host, path, query, fragment = _parts(url)
    if "::" in url:
        raise InvalidInput("'::' would chain filesystems")
    if not host or not _HOST.fullmatch(host):
        raise InvalidInput("it needs a host or bucket by its plain name, without user or password")
    if fragment or (query and scheme not in WEB):
        raise InvalidInput("it must have no fragment, and a query only with http or https")
    _check_segments(path, parameters=scheme in WEB)
    return Address(scheme, host.lower() if scheme in WEB else host, path, query)


def _check_segments(path: str, *, parameters: bool) -> None:
    """Refuse a path that could lead elsewhere once somebody decodes it, however often.

    With `parameters`, what follows a semicolon in a segment may be none of its name.
    """
    before = None
    while path != before:
        _check_characters(path)
        segments = path[1:].split("/")
        # some web servers drop parameters before they resolve dots
        bare = [segment.partition(";")[0] for segment in segments] if parameters else []
        if not _NO_NAMES.isdisjoint(segments) or not _DOTS.isdisjoint(bare):
            raise InvalidInput("its path has an empty segment, '.' or '..'")
        before = path
        try:
            path = unquote(path, errors="strict")
        except UnicodeDecodeError:
            raise InvalidInput("its path is not UTF-8 behind its percent signs") from None


def _check_characters(text: str) -> None:
    if "\\" in text or any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidInput("it has a backslash or a control character")
