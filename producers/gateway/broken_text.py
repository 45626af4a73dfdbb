"""Where a JSON body holds a text that is not Unicode: half an emoji, or bytes that are not UTF-8. Pure.

The gateway's JSON parser refuses the whole body of such a text. Callers have lists of texts, and need to know which.
"""

import json
import re
from typing import Any

HALF = re.compile("[\ud800-\udfff]")
"""Half of a character that UTF-16 writes as two."""

MAX_NAME_LENGTH = 40

Path = tuple[str | int, ...]


def path_in(content: bytes) -> Path | None:
    """Return the path of the first broken text of a JSON object: `("input", 3)`.

    Returns None if there is none, or if the body is not JSON for another reason.
    """
    try:
        # bytes that are not UTF-8 become lone surrogates, which JSON's escapes can spell as well
        value = json.loads(content.decode("utf-8", "surrogateescape"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return _first_broken(value) if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _first_broken(value: Any) -> Path | None:
    pending: list[tuple[Path, Any]] = [((), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, str) and HALF.search(item):
            return path
        if isinstance(item, dict):
            for name in item:
                if HALF.search(name):
                    return (*path, _plain(name))
            pending += [((*path, _plain(name)), inner) for name, inner in reversed(item.items())]
        elif isinstance(item, list):
            pending += [((*path, index), inner) for index, inner in reversed(list(enumerate(item)))]
    return None


def _plain(name: str) -> str:
    return name[:MAX_NAME_LENGTH].encode("utf-8", "backslashreplace").decode()
