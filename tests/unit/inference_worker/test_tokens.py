"""Texts as token ids."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from inference_worker.models import tokens

WORDS = {"[PAD]": 0, "[END]": 1, "a": 2, "b": 3}


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Return one of two words that marks the end of a text, cuts at two tokens and pads to eight."""
    made = Tokenizer(models.WordLevel(WORDS))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
    made.enable_truncation(2)
    made.enable_padding(length=8)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ([2, 1], False)), ("a b a", ([2, 3, 2, 1], False)), ("a b a b", ([2, 3, 2, 1], True))],
)
def test_a_text_is_cut_to_what_is_read_and_keeps_its_end(
    tokenizer: Tokenizer, text: str, expected: tuple[list[int], bool]
) -> None:
    """As many tokens as the model reads, the last of which marks the end; the tokenizer's own limits do not count."""
    assert expected == tokens.read(tokens.plain(tokenizer), text, most=4)


def test_texts_of_a_pass_are_as_long_as_the_longest() -> None:
    """What fills a row up is padding, and masked."""
    ids, mask = tokens.padded([[2, 3, 1], [2]], 7, torch.device("cpu"))

    assert ids.tolist() == [[2, 3, 1], [2, 7, 7]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
