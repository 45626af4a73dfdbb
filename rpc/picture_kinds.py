"""The kind of a file that cannot be opened as a picture, by its first bytes: for error messages."""

_BOX_KINDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "Canon CR3",
    b"jxl ": "JPEG XL",
}
"""Brand of an ISO media file -> the kind of picture in it; any other brand is a film."""

_FIRST_BYTES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "ICO",
    b"icns": "ICNS",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"FUJIFILMCCD-RAW": "Fuji RAW",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "ZIP",
    b"ID3": "MP3",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
}

_TEXT_MARKS = {b"<svg": "SVG", b"<!doctype html": "HTML", b"<html": "HTML"}

LOOKED_AT = 1000
"""Bytes in which a mark of a text is looked for: an XML declaration and comments may stand before it."""


def kind_of(data: bytes) -> str:
    """Return the name of the kind, or "" if it is not known."""
    if data[4:8] == b"ftyp":
        return _BOX_KINDS.get(data[8:12], "MP4 or QuickTime")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for mark, kind in _FIRST_BYTES.items():
        if data.startswith(mark):
            return kind
    begin = data[:LOOKED_AT].lower()
    return next((kind for mark, kind in _TEXT_MARKS.items() if mark in begin), "")
