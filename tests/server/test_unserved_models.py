"""Calls of models that nobody serves: what they say, and how long they take."""

import time
from typing import Any

import pytest
from redis import Redis

from rpc import RedisSettings, Timeout, Unavailable, UnknownModel
from tests.answering import Answering, show_life
from tests.callers import Callers
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S

pytestmark = [pytest.mark.server, ON_VALKEY]

BOUND_S = 5.0
"""The time limit of such a call and what the error may cost besides, on a busy machine."""


def serve(make_consumer: MakeConsumer, *models: str) -> None:
    """Have a live worker for each model."""
    for model in models:
        consumer = make_consumer(model=model)
        consumer.announce({"ops": "op"})
        show_life(consumer)


@pytest.mark.parametrize("way", ["call", "result"])
def test_a_timeout_names_the_models_that_are_served(callers: Callers, make_consumer: MakeConsumer, way: str) -> None:
    """A caller of a misspelt model learns that nobody ever served it, and which names there are."""
    serve(make_consumer, "siglip", "bge-m3")
    caller = callers.make()
    arguments = ["op", ["a"]] if way == "call" else [caller.submit("siglop", "op", ["a"])]

    with pytest.raises(Timeout, match=r"siglop, which none ever did; served now: bge-m3, siglip$"):
        getattr(caller, way)("siglop", *arguments, timeout_s=0.2)


def test_a_timeout_of_a_served_model_says_nothing_of_others(callers: Callers, make_consumer: MakeConsumer) -> None:
    """A slow worker is no reason to look for another name."""
    serve(make_consumer, "siglip", "bge-m3")

    with pytest.raises(Timeout, match=r"the job goes on$"):
        callers.make().call("siglip", "op", ["a"], timeout_s=0.2)


def test_a_model_whose_workers_are_gone_is_named_as_such(
    callers: Callers, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """A model that was served before is known, and not served now."""
    serve(make_consumer, "siglip")
    raw.delete(make_consumer(model="siglip").keys.workers)
    caller = callers.make()

    with pytest.raises(Timeout, match=r"siglip, which none does now; no model is served now$"):
        caller.call("siglip", "op", ["a"], timeout_s=0.2)
    with pytest.raises(Unavailable, match="no worker serves the model 'siglip' now"):
        caller.call("siglip", "op", ["a"], require_worker=True, timeout_s=LONG_S)


@pytest.mark.parametrize("way", ["call", "submit", "embed_text"])
def test_a_required_worker_that_never_was_fails_the_call_at_once(
    callers: Callers, make_consumer: MakeConsumer, raw: "Redis", way: str
) -> None:
    """With `require_worker` a misspelt name is `UnknownModel` before anything is queued."""
    serve(make_consumer, "siglip")
    caller = callers.make()
    arguments: list[Any] = ["a"] if way == "embed_text" else ["siglop", "op", ["a"]]
    named = {"model": "siglop"} if way == "embed_text" else {}
    began = time.monotonic()

    with pytest.raises(UnknownModel, match="no worker has ever served the model 'siglop'; served now: siglip"):
        getattr(caller, way)(*arguments, **named, require_worker=True, timeout_s=LONG_S)

    assert time.monotonic() - began < BOUND_S
    assert list(raw.scan_iter(match=f"{callers.settings.prefix}:{{siglop}}:*")) == []


def test_a_required_worker_that_is_there_answers(callers: Callers, make_consumer: MakeConsumer) -> None:
    """With a live worker the call is like any other."""
    serve(make_consumer, "m")
    with Answering(make_consumer()):
        assert callers.make().call("m", "op", ["a"], require_worker=True, timeout_s=LONG_S) == {"outputs": ["a"]}


def test_a_timeout_does_not_wait_for_a_server_that_is_silent(
    callers: Callers, server: Server, redis_settings: RedisSettings
) -> None:
    """A server that says nothing after the time is up costs the caller a moment, and the text names no model."""
    with Proxy(server) as proxy:
        settings = redis_settings.from_env({}, url=proxy.url, prefix=redis_settings.prefix)
        caller = callers.make(settings)
        job_id = caller.submit("m", "op", ["a"])
        with proxy.silent():
            began = time.monotonic()
            with pytest.raises((Timeout, Unavailable)):
                caller.result("m", job_id, timeout_s=0.5)
            assert time.monotonic() - began < BOUND_S
