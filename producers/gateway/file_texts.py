"""Texts that are files in disguise: a picture in base64, a data URI or an address that was meant to be opened. Pure."""

import re

ADDRESS = re.compile(r"(?:https?|s3|gs|file)://\S+", re.IGNORECASE)

BASE64_PICTURE = re.compile(
    r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-9A-Za-z+/]|SUkq|TU0A|AAAA[A-Za-z0-9+/]{2}Z0eX)[A-Za-z0-9+/\r\n]{20,}={0,2}"
)
"""The first bytes of JPEG, PNG, GIF, WebP, BMP, TIFF and of AVIF or HEIC, in base64."""

LOOKED_AT = 4096
"""Characters of a text that are looked at."""


def disguise(text: str) -> str:
    """Return what a text is instead of words: "a data URI", "an address", "a picture in base64", or ""."""
    begin = text[:LOOKED_AT].strip()
    if begin[:5].lower() == "data:" and "," in begin and " " not in begin.partition(",")[0]:
        return "a data URI"
    if ADDRESS.fullmatch(begin):
        return "an address"
    return "a picture in base64" if BASE64_PICTURE.fullmatch(begin) else ""
