"""What becomes of the replies to a plan's jobs."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpc import plans
from rpc.errors import RpcError
from rpc.messages import Success
from rpc.plans import Plan
from rpc.requests import Asked

ARRAYS = st.sampled_from([np.zeros((1, 3), np.float32), np.zeros(3, np.int64), np.zeros((0, 2), np.uint8)])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | ARRAYS
FORMS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "code", "message", "bbox", "text", "segments", "ids"]), inner)
    ),
    max_leaves=8,
)
FIELDS = ("vectors", "truncated", "failed", "sparse", "colbert", "images", "transcripts", "outputs")
RESULTS = st.none() | st.dictionaries(st.sampled_from(FIELDS), FORMS)

TEXT = Asked("m", "embed_text", {"normalize": True})
ALL = Asked("m", "embed_text", {"normalize": True, "outputs": ["dense", "sparse", "colbert"]})
PIXELS = np.zeros((4, 4, 3), np.uint8)
PLANS: dict[str, Plan[Any]] = {
    "any op": plans.any_op(Asked("m", "op", {}), ["a"], {}),
    "a text": plans.embed_text(TEXT, "a", {}),
    "texts": plans.embed_texts(TEXT, ["a"], {}, on_error="raise"),
    "all outputs": plans.embed_texts(ALL, ["a"], {}, on_error="nan"),
    "all outputs of a text": plans.embed_text(ALL, "a", {}),
    "a picture": plans.embed_image(Asked("m", "embed_image", {}), PIXELS, {}, sees=""),
    "faces": plans.detect_faces(Asked("m", "detect_faces", {}), PIXELS, {}, sees=""),
    "a transcript": plans.transcribe(Asked("m", "transcribe", {}), b"bytes", {}),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@given(result=RESULTS)
@example(result={"vectors": np.zeros((1, 3), np.float32), "failed": [{"index": 0, "code": ["a"], "message": 5}]})
@example(result={"vectors": 5})
@example(result={"images": [5]})
@example(result={"transcripts": [{"text": 5, "segments": 3}]})
def test_a_result_of_another_form_is_an_error_of_this_project(plan: Plan[Any], result: Any) -> None:
    """Whatever a foreign worker stored as a result, its caller gets an answer or an `RpcError`, never a bare one."""
    with contextlib.suppress(RpcError):
        plan.conclude([Success(result)])
