"""Prompts and hotwords as tokens: which of them count, and which a caller cannot write."""

import pytest

from inference_worker.models.whisper.context import MAX_TOKENS, context_of

CONTROL = 1000


def encode(text: str) -> list[int]:
    """Return a token for each word: its number."""
    return [int(word) for word in text.split()]


def numbers(start: int, stop: int) -> str:
    """Return numbers as text."""
    return " ".join(map(str, range(start, stop)))


@pytest.mark.parametrize(
    ("prompt", "hotwords", "tokens"),
    [
        (None, None, []),
        ("  ", "", []),
        ("7 8", None, [7, 8]),
        (None, "7 8", [7, 8]),
        ("1 2", "7 8", [7, 8, 1, 2]),
        # of a long prompt the end counts, of hotwords the beginning
        (numbers(0, 300), None, list(range(300 - MAX_TOKENS, 300))),
        (None, numbers(0, 300), list(range(MAX_TOKENS))),
        (numbers(0, 300), numbers(500, 503), [500, 501, 502, *range(300 - MAX_TOKENS + 3, 300)]),
        (numbers(0, 300), numbers(500, 800), [*range(500, 500 + MAX_TOKENS // 2), *range(300 - 112, 300)]),
        # the model's commands are no text
        ("1 1000 2 5000", "1001", [1, 2]),
    ],
)
def test_which_tokens_count(prompt: str | None, hotwords: str | None, tokens: list[int]) -> None:
    """At most 223, hotwords in front of the prompt, no control tokens."""
    found = context_of(prompt, hotwords, encode, control=CONTROL)

    assert list(found) == tokens
    assert len(found) <= MAX_TOKENS
