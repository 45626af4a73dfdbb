"""How ignored fields are named in a response header: bounded, escaped, each once."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.gateway import ignored_fields
from producers.gateway.ignored_fields import MAX_NAMES, header_value, undeclared_query, unknown_fields

VALUE = re.compile(r"(?:[A-Za-z0-9_.~:\[\]-]|%[0-9A-F]{2})*")
"""What a name may look like in the header."""

EMPTY = '""'
"""How a field without a name is written."""


@given(st.lists(st.text(max_size=60), max_size=40))
def test_header_value_holds_no_character_that_could_end_it(names: list[str]) -> None:
    """Any text is escaped to visible ASCII without separators, and the whole stays under 8 KiB."""
    value = header_value(names)
    *written, last = value.split(", ")
    counted = [] if last.startswith("+") else [last]

    assert all(VALUE.fullmatch(name) or name == EMPTY for name in [*written, *counted])
    assert len(value) < 8192


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ([], ""),
        (["user"], "user"),
        (["user", "truncate", "user"], "user, truncate"),
        (["languages[]", "a.b"], "languages[], a.b"),
        (["x\r\nset-cookie: a=1"], "x%0D%0Aset-cookie:%20a%3D1"),
        (["a, b", "+2 more"], "a%2C%20b, %2B2%20more"),
        (["ü", "\ud83d", ""], '%C3%BC, %3F, ""'),
        (["n" * 100], "n" * 40),
        ([f"f{number}" for number in range(23)], ", ".join(f"f{number}" for number in range(MAX_NAMES)) + ", +3 more"),
    ],
)
def test_header_value_names_each_field_once(names: list[str], value: str) -> None:
    """In their order, cut and counted where there are many."""
    assert header_value(names) == value


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"model": "m", "user": "u"}, ["user"]),
        ({"user": None, "task": ""}, []),
        ({"user": 0, "task": False, "prompt": []}, ["user", "task", "prompt"]),
    ],
)
def test_unknown_fields_are_those_with_a_value(fields: dict[str, Any], unknown: list[str]) -> None:
    """Null and the empty text of a form are not given; false, 0 and [] are."""
    assert unknown_fields(fields, {"model"}) == unknown


@pytest.mark.parametrize(
    ("query", "names"),
    [(b"", []), (b"a=1&b=&a=2", ["a", "b", "a"]), (b"%0d%0ax=1", ["\r\nx"]), (b"a&" * 5000, ["query"])],
)
def test_undeclared_query_is_named(query: bytes, names: list[str]) -> None:
    """Also where a parameter has no value; so many that nobody means them are named as one."""
    assert undeclared_query({"query_string": query}) == names


def test_null_fields_are_not_given() -> None:
    """And nothing else is dropped."""
    fields: dict[str, Any] = {"a": None, "b": 0, "c": "", "d": False, "e": []}

    assert ignored_fields.given_fields(fields) == {"b": 0, "c": "", "d": False, "e": []}
