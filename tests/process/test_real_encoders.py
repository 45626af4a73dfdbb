"""The real bge-small-en-v1.5 through the queue, against the library that brings it and runs it as int8 ONNX."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rpc import Client
from tests.conftest import ON_VALKEY, StartWorker
from tests.real_encoders import PACKAGE, bge_small

pytestmark = [pytest.mark.server, pytest.mark.process, pytest.mark.real, ON_VALKEY]

PASSAGES = (
    "The cat sleeps on the warm roof all afternoon.",
    "A train to Berlin leaves platform four at noon.",
    "Penguins cannot fly but swim very well.",
    "To bake bread, mix flour, water, salt and yeast.",
    "The stock market fell sharply after the announcement.",
    "Photosynthesis turns sunlight into chemical energy.",
    "He repaired the leaking pipe under the kitchen sink.",
    "The orchestra played a symphony by Beethoven.",
    "Redis keeps its data in memory and can persist it to disk.",
    "Vaccines train the immune system to recognise a virus.",
)

QUESTIONS = (
    "Where is the cat napping?",
    "When does the train depart?",
    "Which birds can't fly?",
    "How do I make a loaf?",
    "Why did shares lose value?",
    "How do plants get energy?",
    "plumbing in the kitchen",
    "classical music concert",
    "in-memory database",
    "How does immunisation work?",
)
"""Each is answered by the passage of its position."""

INT8_COSINE = 0.995
"""The least cosine between a vector and the one from int8 activations: 0.9965 measured; mean pooling gives 0.961."""

INT8_SCORE = 0.03
"""How far a score moves with int8 activations: 0.0203 measured."""


def reference(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of the package's own library."""
    embedder: Any = importlib.import_module(f"{PACKAGE}.models").DenseEmbedder(model="bge-small")
    return np.asarray(embedder.embed(list(texts)), np.float32)


def test_bge_small_ranks_as_its_own_library_does(start_worker: StartWorker, client: Client) -> None:
    """Vectors are the library's within int8's tolerance, and so is the order of all passages that lie further apart."""
    start_worker(f"bge-small={bge_small()}")

    passages, questions = (client.embed_texts(texts, model="bge-small") for texts in (PASSAGES, QUESTIONS))

    expected = reference(PASSAGES), reference(QUESTIONS)
    assert (passages * expected[0]).sum(1).min() >= INT8_COSINE
    assert (questions * expected[1]).sum(1).min() >= INT8_COSINE
    scores, expected_scores = questions @ passages.T, expected[1] @ expected[0].T
    assert scores.argmax(1).tolist() == list(range(len(QUESTIONS)))
    gaps = expected_scores[:, :, None] - expected_scores[:, None, :]
    clear = gaps > INT8_SCORE
    assert (scores[:, :, None] - scores[:, None, :])[clear].min() > 0
    assert clear.sum() > len(QUESTIONS) * len(PASSAGES)
