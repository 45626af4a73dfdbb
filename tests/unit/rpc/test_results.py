"""What the named calls return, read from the maps of the wire."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc import results
from rpc.errors import Cancelled, InvalidInput, ModelError
from rpc.results import Embeddings, Face, Segment, Transcript, Word

SEGMENT = {"id": 0, "seek": 300, "start": 3.0, "end": 4.5, "text": " yes", "tokens": [1, 2], "temperature": 0.2}
SEGMENT |= {"avg_logprob": -0.5, "compression_ratio": 0.75, "no_speech_prob": 0.125}
WORD = {"start": 3.0, "end": 4.0, "word": " yes", "probability": 0.5}
TOLD = {"text": " yes", "language": "ko", "language_probability": 0.75, "duration": 4.5, "truncated": True}

FACE: dict[str, Any] = {
    "bbox": [10.0, 20.0, 30.0, 40.0],
    "confidence": 0.875,
    "landmarks": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]],
}


def test_a_transcript_is_read_from_its_map() -> None:
    """Every field of the wire has its place; words where there are some."""
    transcript = results.transcript({**TOLD, "segments": [SEGMENT, {**SEGMENT, "words": [WORD]}]})

    fields = (0, 300, 3.0, 4.5, " yes", [1, 2], 0.2, -0.5, 0.75, 0.125)
    words = [Word(3.0, 4.0, " yes", 0.5)]
    assert transcript == Transcript(
        " yes", "ko", 4.5, [Segment(*fields), Segment(*fields, words)], 0.75, truncated=True
    )


def test_a_transcript_becomes_the_map_again() -> None:
    """`as_dict` gives the keys of openai-whisper, as plain values that JSON knows."""
    told = {**TOLD, "segments": [SEGMENT, {**SEGMENT, "words": [WORD]}]}

    plain = results.transcript(told).as_dict()

    assert plain == told
    assert json.loads(json.dumps(plain)) == told


def test_what_a_newer_worker_tells_besides_is_passed_over() -> None:
    """A field this reader does not know disturbs nothing."""
    newer = {**SEGMENT, "speaker": "B", "words": [{**WORD, "speaker": "B"}]}

    transcript = results.transcript({**TOLD, "segments": [newer], "model": "turbo"})

    assert transcript.segments[0].words == [Word(3.0, 4.0, " yes", 0.5)]


def test_silence_is_a_transcript_without_segments() -> None:
    """Nothing heard is an empty text and no error."""
    assert results.transcript({**TOLD, "text": "", "segments": []}).segments == []


def test_values_cannot_be_changed() -> None:
    """Results may be shared and kept."""
    transcript = results.transcript({**TOLD, "segments": []})
    with pytest.raises(AttributeError):
        transcript.text = "no"  # type: ignore[misc]


def test_faces_of_a_picture_sent_whole_are_as_told() -> None:
    """Boxes, how sure the model is, and five points, as tuples."""
    (face,) = results.faces({"faces": [FACE], "width": 100, "height": 50}, None)

    assert face == Face((10, 20, 30, 40), 0.875, ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10)))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1280), st.integers(1, 1280))
def test_faces_are_scaled_to_the_picture_each_way(width: int, height: int, across: int, down: int) -> None:
    """What fills the shrunk picture fills the original, whatever rounding did to its sides."""
    whole = {"bbox": [0.0, 0.0, float(across), float(down)], "confidence": 1.0, "landmarks": [[across, down]] * 5}

    (face,) = results.faces({"faces": [whole], "width": across, "height": down}, (width, height))

    assert face.bbox == pytest.approx((0, 0, width, height))
    assert [*face.landmarks] == [pytest.approx((width, height))] * 5


def test_the_error_of_an_only_input_is_raised() -> None:
    """A model that lists its one failed input among the failed ones says the same as one that fails the job."""
    told = {"images": [None], "failed": [{"index": 0, "code": "cancelled", "message": "gone"}]}
    with pytest.raises(Cancelled, match="gone"):
        results.one_of(told, "images")


@pytest.mark.parametrize("told", [{}, {"images": []}, {"images": None}], ids=repr)
def test_a_result_without_what_was_asked_is_the_models_fault(told: dict[str, Any]) -> None:
    """A worker that answers something else is told of by name, not by a KeyError."""
    with pytest.raises(ModelError, match="images"):
        results.one_of(told, "images")


def dense(*rows: float) -> dict[str, Any]:
    """Return what a job tells of dense vectors."""
    return {"vectors": np.array([[row] * 2 for row in rows], np.float32), "truncated": [False] * len(rows)}


def sparse(*ids: list[int]) -> dict[str, Any]:
    """Return what a job tells of weights: each token's is half its id."""
    pairs = [{"ids": np.array(each, np.int32), "weights": np.array(each, np.float32) / 2} for each in ids]
    return {"sparse": pairs, "truncated": [True] * len(ids)}


def test_embeddings_of_several_jobs_are_one() -> None:
    """In the order of the jobs, and only of the kinds that were told."""
    found = results.embeddings([dense(1, 2), dense(3)], [2, 1], {}, outputs=["dense"])

    assert found.dense is not None
    assert (found.dense[:, 0].tolist(), found.sparse, found.colbert) == ([1, 2, 3], None, None)
    assert found.truncated == [False] * 3


def test_weights_are_plain_maps() -> None:
    """Token ids and weights are Python numbers, ready for any index or JSON."""
    found = results.embeddings([sparse([4, 6]), sparse([2])], [1, 1], {}, outputs=["sparse"])

    assert found == Embeddings(None, [{4: 2.0, 6: 3.0}, {2: 1.0}], None, [True, True])
    assert found.sparse is not None
    assert {type(part) for pair in found.sparse[0].items() for part in pair} == {int, float}


def test_rows_are_float32() -> None:
    """ColBERT's rows travel as float16 and are given as what numpy computes with."""
    told = {"colbert": [np.ones((3, 4), np.float16)], "truncated": [False]}

    found = results.embeddings([told], [1], {}, outputs=["colbert"])

    assert found.colbert is not None
    assert (str(found.colbert[0].dtype), found.colbert[0].tolist()) == ("float32", [[1] * 4] * 3)


def test_a_failed_job_leaves_its_places_empty() -> None:
    """Texts around one that failed keep their places."""
    error = InvalidInput("empty")
    whole = {**dense(1), **sparse([2]), "colbert": [np.ones((1, 2), np.float16)]}

    found = results.embeddings([whole, {}, whole], [1, 1, 1], {1: error}, outputs=["dense", "sparse", "colbert"])

    assert found.dense is not None
    assert found.sparse is not None
    assert found.colbert is not None
    assert np.isnan(found.dense).any(axis=1).tolist() == [False, True, False]
    assert (found.sparse[1], found.truncated[1], len(found.colbert[1])) == ({}, False, 0)
    assert found.failed == {1: error}


def test_what_was_asked_for_is_there_also_where_every_text_failed() -> None:
    """The kinds are those of the question: a worker whose texts all failed tells rows of NaN and nothing else."""
    nans = {"vectors": np.full((1, 2), np.nan, np.float32), "truncated": [False]}
    error = InvalidInput("empty")

    found = results.embeddings([nans, {}], [1, 1], {0: error, 1: error}, outputs=["sparse"])

    assert found == Embeddings(None, [{}, {}], None, [False, False], {0: error, 1: error})


def test_vectors_are_the_callers_own() -> None:
    """Dense vectors may be written to: they are no view of a reply."""
    told = dense(1)
    told["vectors"].setflags(write=False)

    found = results.embeddings([told], [1], {}, outputs=["dense"])

    assert found.dense is not None
    found.dense[:] += 1
    assert found.dense.tolist() == [[2, 2]]
