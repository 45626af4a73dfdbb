"""Inputs that cannot be sent fail alone: the others keep their order, and each row stays with its input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.entries import job_fields, spread
from rpc.errors import InvalidInput
from rpc.messages import Job
from rpc.rejects import Rejects, text_error, text_rejects
from rpc.results import Embeddings

HALF = "good \ud83d"

BROKEN = (None, 7, b"bytes", ["nested"], HALF, "\udfff", "\udc80")
"""What no entry can hold as a text."""


@pytest.mark.parametrize("text", BROKEN, ids=repr)
def test_broken_text_is_rejected_with_its_index(text: Any) -> None:
    """By type or by the half character in it."""
    assert str(text_error(text)).startswith(("the text is a ", "the text has half a character at "))
    assert list(text_rejects(["fine", text]).errors) == [1]


@pytest.mark.parametrize("text", ["", "  ", "one", "\u00e9", "\U0001f600", "\x00", "a" * 1000])
def test_text_that_can_travel_is_sent(text: str) -> None:
    """What it means is for the model to say."""
    assert text_error(text) is None


@given(st.lists(st.one_of(st.text(max_size=3), st.sampled_from(BROKEN)), max_size=12))
def test_rows_stay_with_their_inputs(texts: list[Any]) -> None:
    """Of those that were sent in order, NaN for the others."""
    rejects = text_rejects(texts)
    sent = rejects.sent(texts)
    rows = rejects.rows(np.array([[len(text)] for text in sent], np.float32).reshape(len(sent), 1))

    expected = [np.nan if index in rejects.errors else len(text) for index, text in enumerate(texts)]
    assert np.array_equal(rows[:, 0], np.array(expected, np.float32), equal_nan=True)


def test_errors_of_sent_inputs_are_renumbered() -> None:
    """To their places in the call, in order."""
    rejects = Rejects(4, {1: InvalidInput("half")})

    assert [(index, str(error)) for index, error in rejects.failed({2: InvalidInput("empty")}).items()] == [
        (1, "half"),
        (3, "empty"),
    ]


def test_embeddings_of_all_inputs_have_blanks_for_rejects() -> None:
    """Of each output that was asked for."""
    sent = Embeddings(np.ones((1, 2), np.float32), [{5: 0.5}], [np.ones((3, 2), np.float32)], [True], {})
    found = Rejects(2, {0: InvalidInput("half")}).embeddings(sent)

    assert found.dense is not None
    assert found.sparse is not None
    assert found.colbert is not None
    assert np.isnan(found.dense[0]).all()
    assert (found.sparse, [rows.shape for rows in found.colbert], found.truncated) == (
        [{}, {5: 0.5}],
        [(0, 0), (3, 2)],
        [False, True],
    )
    assert list(found.failed) == [0]


@pytest.mark.parametrize("item", [HALF, {"deep": [HALF]}, object(), 2**70], ids=["half", "inside", "object", "large"])
def test_input_without_a_form_on_the_wire_is_named(item: Any) -> None:
    """Of a job of any op, in its entry."""
    job = Job(model="echo", op="echo", inputs=["fine", item], options={}, id="j1")

    with pytest.raises(InvalidInput, match=r"^input 1 cannot be sent: "):
        job_fields(job)


def test_large_input_without_a_form_on_the_wire_is_named() -> None:
    """Where it would have travelled as a blob."""
    job = Job(model="echo", op="echo", inputs=["fine", "x" * 100 + HALF], options={}, id="j1")

    with pytest.raises(InvalidInput, match=r"^input 1 cannot be sent: "):
        spread(job, inline_bytes=50)
