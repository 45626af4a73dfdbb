"""The names of keys, and what may not become part of one."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.errors import InvalidInput, UnknownModel
from rpc.keys import LANES, Keys, check_job_id, check_lane, check_model, models, reply_channel

KEYS = Keys("penstock", "bge-m3")


def test_every_key_is_spelled_as_the_protocol_says() -> None:
    """Programs that know only the wire find every key under the name the protocol gives it."""
    expected = {
        "penstock:{bge-m3}:interactive",
        "penstock:{bge-m3}:bulk",
        "penstock:{bge-m3}:result:42",
        "penstock:{bge-m3}:job:42",
        "penstock:{bge-m3}:workers",
        "penstock:{bge-m3}:worker:host:1:a",
        "penstock:{bge-m3}:config",
        "penstock:{bge-m3}:dead",
    }

    spelled = {*map(KEYS.stream, LANES), KEYS.result("42"), KEYS.job("42"), KEYS.worker("host:1:a")}

    assert expected == spelled | {KEYS.workers, KEYS.config, KEYS.dead}


def test_names_beside_the_models() -> None:
    """The set of models and the reply channels stand under the prefix alone."""
    assert (models("p"), reply_channel("p", "c1")) == ("p:models", "p:reply:c1")


@given(
    st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True), st.from_regex(r"[A-Za-z0-9_.:-]{1,128}", fullmatch=True)
)
def test_all_keys_of_a_model_share_its_hash_tag(model: str, job_id: str) -> None:
    """A cluster puts all keys of one model in one slot, whatever names are allowed."""
    keys = Keys("penstock", check_model(model))
    names = [keys.stream("bulk"), keys.result(check_job_id(job_id)), keys.job(job_id), keys.workers, keys.dead]

    tags = {match.group(1) for name in names if (match := re.search(r"\{(.*?)\}", name))}

    assert {model} == tags


@pytest.mark.parametrize("name", ["", "a b", "a{b}", "a:b", "ä", "a\n", "a" * 129, None, 3, b"a"])
def test_a_model_name_no_key_could_be_made_of_is_refused(name: Any) -> None:
    """A malformed model name is `UnknownModel`, whatever its type, and never becomes a key."""
    with pytest.raises(UnknownModel, match="model name"):
        check_model(name)


@pytest.mark.parametrize("job_id", ["", "a b", "{a}", "ä", "a\n", "a" * 129, None, 3, b"a"])
def test_a_job_id_no_key_could_be_made_of_is_refused(job_id: Any) -> None:
    """A malformed job id is `InvalidInput`, whatever its type."""
    with pytest.raises(InvalidInput, match="job id"):
        check_job_id(job_id)


def test_lanes_are_two_and_a_third_is_refused() -> None:
    """The lanes are interactive, which goes first, and bulk."""
    assert tuple(map(check_lane, LANES)) == ("interactive", "bulk")
    with pytest.raises(InvalidInput, match="unknown lane 'express'; expected one of interactive, bulk"):
        check_lane("express")
