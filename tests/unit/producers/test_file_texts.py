"""Texts that are files in disguise."""

import base64

import pytest

from producers.gateway.file_texts import disguise
from tests import hazards


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (base64.b64encode(hazards.jpeg()).decode(), "a picture in base64"),
        (base64.b64encode(hazards.see_through()).decode(), "a picture in base64"),
        (base64.b64encode(hazards.animated("GIF")).decode(), "a picture in base64"),
        (base64.b64encode(hazards.animated("WEBP")).decode(), "a picture in base64"),
        (base64.b64encode(hazards.of_colour("RGB", (1, 2, 3), "AVIF")).decode(), "a picture in base64"),
        ("data:;base64,iVBORw0KGgo=", "a data URI"),
        ("data:application/octet-stream;base64,AAAA", "a data URI"),
        ("DATA:image/png;base64,AAAA", "a data URI"),
        ("https://example.org/cat.png", "an address"),
        (" s3://pictures/cat.png\n", "an address"),
        ("two cats on a roof", ""),
        ("data: a short history, by us", ""),
        ("see https://example.org/cat.png", ""),
        ("iVBORw0KGgo is how a PNG begins", ""),
        ("", ""),
    ],
)
def test_a_text_that_is_a_file_is_told_from_words(text: str, kind: str) -> None:
    """Base64 of pictures, data URIs and addresses alone are files; sentences that mention them are texts."""
    assert disguise(text) == kind
