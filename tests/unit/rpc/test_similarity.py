"""How alike vectors are, and how vectors are cut to fewer numbers."""

from typing import Any

import numpy as np
import pytest

from rpc.errors import InvalidInput
from rpc.results import check_dimensions, shortened
from rpc.similarity import Similarity, check_similarity, pairwise_similarity, similarity

ROWS = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], np.float32)
OTHERS = np.array([[3.0, 4.0], [-4.0, 3.0]], np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [[1.0, 0.0], [0.8, 0.6], [0.0, 0.0]]),
        ("dot", [[25.0, 0.0], [8.0, 6.0], [0.0, 0.0]]),
        ("euclidean", [[0.0, -(50**0.5)], [-(13**0.5), -(17**0.5)], [-5.0, -5.0]]),
        ("manhattan", [[0.0, -8.0], [-5.0, -5.0], [-7.0, -7.0]]),
    ],
)
def test_similarity_is_that_of_sentence_transformers(name: Similarity, expected: list[list[float]]) -> None:
    """Each row with each other row; the pairs are the diagonal; one vector is one row."""
    made = similarity(name, ROWS, OTHERS)

    assert np.allclose(made, expected, atol=1e-6)
    assert np.allclose(pairwise_similarity(name, ROWS[:2], OTHERS), np.diag(np.array(expected)[:2]), atol=1e-6)
    assert np.allclose(similarity(name, ROWS[0].tolist(), list(OTHERS)), expected[:1], atol=1e-6)
    assert made.dtype == np.float32
    assert similarity(name, ROWS[:0], OTHERS).shape == (0, 2)


@pytest.mark.parametrize("name", ["", "cos", None, "Dot"])
def test_unknown_similarity_is_refused(name: Any) -> None:
    """By name."""
    with pytest.raises(InvalidInput, match="similarity_fn_name must be one of cosine, dot, euclidean, manhattan"):
        check_similarity(name)


def test_vectors_of_other_shapes_are_refused() -> None:
    """As they have no similarity."""
    with pytest.raises(InvalidInput, match="got 2 and 3 numbers"):
        similarity("cosine", ROWS, np.ones((2, 3)))
    with pytest.raises(InvalidInput, match="got 3 and 2"):
        pairwise_similarity("dot", ROWS, OTHERS)
    with pytest.raises(InvalidInput, match="shape"):
        similarity("dot", np.ones((1, 2, 2)), OTHERS)


def test_shortened_vectors_are_the_first_numbers() -> None:
    """At length 1 if they had it; a zero vector and a row of NaN stay what they are."""
    rows = np.array([[3.0, 4.0, 9.0], [0.0, 0.0, 1.0], [np.nan] * 3], np.float32)

    assert np.allclose(shortened(rows, 2, normalize=True), [[0.6, 0.8], [0.0, 0.0], [np.nan, np.nan]], equal_nan=True)
    assert np.allclose(shortened(rows, 2, normalize=False), rows[:, :2], equal_nan=True)
    assert np.allclose(shortened(rows[0], 2, normalize=True), [0.6, 0.8])
    assert shortened(rows, None, normalize=True) is rows
    assert shortened(rows, 3, normalize=True) is rows
    assert shortened(rows[:, :0], 2, normalize=True).shape == (3, 0)
    with pytest.raises(InvalidInput, match="dimensions must be between 1 and 3, got 4"):
        shortened(rows, 4, normalize=True)


@pytest.mark.parametrize("dimensions", [0, -1, 1.5, "8", True])
def test_dimensions_are_a_whole_number_above_zero(dimensions: Any) -> None:
    """Or None."""
    check_dimensions(None)
    check_dimensions(1)
    with pytest.raises(InvalidInput, match="dimensions must be a whole number above 0, got"):
        check_dimensions(dimensions)
