"""What the embedding models share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from inference_worker.models.vectors import (
    Embedded,
    check_told_apart,
    checked_finite,
    checked_flag,
    checked_outputs,
    checked_text,
    embedding_result,
    refuse_unknown,
)
from rpc.errors import InvalidInput


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        ([[1.0, 0.0], [1.0, 1e-9]], "weights: two different texts give the same vector"),
        ([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0, 0.0]], r"weights: a vector of \(3,\), not of 2"),
    ],
    ids=["alike", "size"],
)
def test_weights_that_tell_nothing_apart_are_refused(vectors: Sequence[Sequence[float]], complaint: str) -> None:
    """A model that gives every text one vector, or one of another size, was not loaded as it should be."""
    with pytest.raises(ValueError, match=complaint):
        check_told_apart([np.array(vector, np.float32) for vector in vectors], 2, Path("weights"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (b"bytes", "the input is of type bytes, not a text"),
        (None, "the input is of type NoneType, not a text"),
        (3, "the input is of type int, not a text"),
        (["a"], "the input is of type list, not a text"),
        ("", "the text is empty"),
        (" \n\t", "the text is empty"),
        ("ab\ud800", "the text has half a character at 2, a lone surrogate"),
        ("abcdef", "the text has 6 characters, over the limit of 5"),
    ],
)
def test_what_is_no_text_is_refused_by_what_is_wrong(given: object, complaint: str) -> None:
    """A wrong type, nothing and too much are three different answers."""
    with pytest.raises(InvalidInput) as refused:
        checked_text(given, max_chars=5)

    assert str(refused.value) == complaint


def test_a_text_of_the_longest_length_is_taken_as_it_is() -> None:
    """The limit itself is allowed, and nothing is stripped."""
    assert checked_text(" abc ", max_chars=5) == " abc "


def test_a_flag_is_true_or_false() -> None:
    """A number or a word is not taken for yes or no; None is the default."""
    assert [checked_flag({"x": None}, "x", default=default) for default in (True, False)] == [True, False]
    assert [checked_flag({"x": False}, "x", default=True), checked_flag({}, "x", default=True)] == [False, True]
    with pytest.raises(InvalidInput, match="option x is 1, neither true nor false"):
        checked_flag({"x": 1}, "x", default=True)


def test_outputs_of_none_are_dense() -> None:
    """As if the option were missing."""
    assert checked_outputs({"outputs": None}, ("dense", "sparse")) == checked_outputs({}, ("dense",)) == {"dense"}


def test_an_option_the_op_has_not_is_refused() -> None:
    """A misspelt option does not silently do nothing."""
    with pytest.raises(InvalidInput, match="unknown option 'normalise'; expected one of normalize"):
        refuse_unknown({"normalise": True}, ("normalize",))


def test_an_option_is_told_back_in_a_few_words() -> None:
    """Each of a thousand inputs is told of it: a megabyte of option must not become a gigabyte of reply."""
    with pytest.raises(InvalidInput) as value:
        checked_flag({"normalize": "x" * 9000}, "normalize", default=True)
    with pytest.raises(InvalidInput) as name:
        refuse_unknown({"x" * 9000: True}, ("normalize",))

    assert max(len(str(refused.value)) for refused in (value, name)) < 200


def test_the_row_of_a_failed_input_is_nan_and_told() -> None:
    """Every input has its row, in order, as float32; a failed one has its error beside."""
    vector = np.array([1, 2], np.float32)

    result = embedding_result([[Embedded(vector, truncated=True, tokens=3)], InvalidInput("empty")], 2)

    assert (result["vectors"].dtype, result["vectors"].shape) == (np.float32, (2, 2))
    assert (result["vectors"][0].tolist(), np.isnan(result["vectors"][1]).all()) == ([1, 2], True)
    assert (result["truncated"], result["tokens"]) == ([True, False], [3, 0])
    assert result["failed"] == [{"index": 1, "code": "invalid_input", "message": "empty"}]


def test_what_is_not_finite_is_the_models_failure() -> None:
    """NaN in a result means that an input failed, so a model must not give it for one that did not."""
    with pytest.raises(FloatingPointError, match="not finite"):
        checked_finite(np.array([[1, np.inf]], np.float32))
