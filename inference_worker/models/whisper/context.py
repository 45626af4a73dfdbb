"""Text that a window is conditioned on: a prompt, and words that are likely to be said. Pure."""

from collections.abc import Callable, Sequence

MAX_TOKENS = 223
"""Tokens of a prompt, openai-whisper's: half of the decoder's positions, less the mark in front."""

MAX_CHARACTERS = 20_000
"""Characters of a text that are turned into tokens: far more than become as many tokens as are used."""

Encode = Callable[[str], Sequence[int]]


def context_of(prompt: str | None, hotwords: str | None, encode: Encode, *, control: int) -> tuple[int, ...]:
    """Return the tokens of hotwords and prompt, at most `MAX_TOKENS`; none without either.

    Of a long prompt the last tokens count, as in openai-whisper, because they are next to what is said; of hotwords
    the first, and at most half of the room if there is a prompt too. Tokens from `control` on are left out: a caller
    cannot write the model's commands.
    """
    words = _tokens(hotwords, encode, control, last=False)[: MAX_TOKENS // 2 if prompt else MAX_TOKENS]
    before = _tokens(prompt, encode, control, last=True)
    return (*words, *before[max(0, len(before) - MAX_TOKENS + len(words)) :])


def _tokens(text: str | None, encode: Encode, control: int, *, last: bool) -> list[int]:
    stripped = (text or "").strip()
    if not stripped:
        return []
    part = stripped[-MAX_CHARACTERS:] if last else stripped[:MAX_CHARACTERS]
    return [token for token in encode(" " + part) if token < control]
