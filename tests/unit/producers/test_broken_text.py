"""Where a JSON body has a text with half a character, and which texts were cut, as a header."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.gateway import broken_text, truncation
from producers.gateway.json_bodies import json_object
from producers.gateway.problems import Refused

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (rb'{"input": ["one", "two", "\ud83d"]}', "input[2]"),
        (rb'{"input": ["\ud83d\ude00", "x\udc00y"]}', "input[1]"),
        (rb'{"input": "\ud83d"}', "input"),
        (rb'{"inputs": [{"a": ["\udfff"]}]}', "inputs[0].a[0]"),
        (rb'{"options": {"\ud800": 1}}', "options.\\ud800"),
        (b'{"input": ["one", "\xf0\x9f\x98"]}', "input[1]"),
        (b'{"input": ["\xed\xa0\xbd"]}', "input[0]"),
        (b'{"input": ["latin-1: \xe9"]}', "input[0]"),
        (b'\xff{"input": 1}', None),
        (rb'{"input": ["\ud83d"], "x": NaN}', None),
        (rb'["\ud83d"]', None),
        (rb'{"input": ["\ud83d"', None),
        (b'{"a": ' + b"[" * 5000 + b'"\xff"' + b"]" * 5000 + b"}", None),
    ],
)
def test_broken_text_is_named(body: bytes, param: str | None) -> None:
    """Half an emoji and bytes that are not UTF-8 by their place; what is no JSON besides stays what it is."""
    with pytest.raises(Refused) as refused:
        json_object(body)

    problem = refused.value.problem
    expected = (400, "invalid_json", None) if param is None else (422, "invalid_input", param)
    assert (problem.status, problem.code, problem.param) == expected


@given(st.dictionaries(st.text(max_size=3), PLAIN, max_size=4))
def test_whole_texts_are_not_broken(body: dict[str, Any]) -> None:
    """However they are escaped."""
    for ascii_only in (True, False):
        assert broken_text.path_in(json.dumps(body, ensure_ascii=ascii_only).encode()) is None


@pytest.mark.parametrize(
    ("indexes", "value"),
    [
        ([0], "0"),
        ([0, 1], "0-1"),
        ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10"),
        (range(0, 2048, 2), ", ".join(map(str, range(0, 200, 2))) + ", +924 more"),
        (range(2048), "0-2047"),
    ],
)
def test_truncated_indexes_are_ranges(indexes: list[int], value: str) -> None:
    """Few enough for a header."""
    assert truncation.headers(list(indexes)) == {"x-penstock-truncated": value}


def test_nothing_truncated_is_no_header() -> None:
    """Also where a result says it of a recording, or says something else."""
    results: list[dict[str, Any]] = [{}, {"truncated": []}, {"truncated": [False]}, {"truncated": True}]

    assert [truncation.headers(truncation.result_indexes(result)) for result in results] == [{}] * 4
