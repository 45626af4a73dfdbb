"""What the gateway decides of a request before its route: host names, compressed bodies, prefixes, its settings."""

import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.gateway import hosts
from producers.gateway.answers import Pace
from producers.gateway.content_encoding import Decompressor
from producers.gateway.problems import Refused
from producers.gateway.room import SMALL, AnswerRoom
from producers.gateway.root_path import route_path
from producers.gateway.settings import GatewaySettings
from rpc.settings import SettingError


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8001", True),
        ("[::1]", True),
        ("[fe80::1]:8001", True),
        ("localhost.", True),
        ("penstock-gateway:8001", True),
        ("", True),
        ("ai.example", True),
        ("AI.Example.:443", True),
        ("deep.api.example", True),
        ("api.example", False),
        ("xapi.example", False),
        ("ai.example.attacker.net", False),
        ("attacker.net:127", False),
        ("127.0.0.1.nip.io", False),
        ("user@127.0.0.1", False),
        ("attacker.net/127.0.0.1", False),
        ("127.0.0.1 attacker.net", False),
        ("attacker.localhost.net", False),
    ],
)
def test_hosts_are_addresses_local_names_or_those_named(host: str, admitted: bool) -> None:  # noqa: FBT001 (a table)
    """Everything else could be a name that somebody has registered."""
    assert hosts.admits(["ai.example", "*.api.example"], host) is admitted


@given(st.binary(max_size=5000), st.lists(st.integers(0, 6000), max_size=5), st.integers(1, 700), st.data())
def test_a_compressed_stream_is_read_wherever_it_is_cut(
    content: bytes, cuts: list[int], most: int, data: st.DataObject
) -> None:
    """In portions no larger than asked for."""
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(content[:100]) + gzip.compress(content[100:]),
        "deflate": data.draw(st.sampled_from([zlib.compress(content), raw.compress(content) + raw.flush()])),
    }
    coding = data.draw(st.sampled_from(sorted(packed)))
    stream, read = Decompressor(coding), b""
    places = [0, *sorted(cut % (len(packed[coding]) + 1) for cut in cuts), len(packed[coding])]
    for start, end in itertools.pairwise(places):
        stream.feed(packed[coding][start:end])
        while portion := stream.read(most):
            assert len(portion) <= most
            read += portion
    stream.end()

    assert read == content


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_read_or_refused(content: bytes, coding: str) -> None:
    """Nothing but a refusal is raised."""
    stream = Decompressor(coding)
    stream.feed(content)
    with contextlib.suppress(Refused):
        while len(stream.read(1000)) in range(1, 1001):
            pass
        stream.end()


def test_a_path_is_told_from_its_prefix() -> None:
    """Also where the path has the prefix twice, or there is none."""
    scopes = [{"path": "/v1/models"}, {"path": "/ai/v1", "root_path": "/ai"}, {"path": "/ai/ai", "root_path": "/ai"}]

    assert [route_path(scope) for scope in scopes] == ["/v1/models", "/v1", "/ai"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_CORS_ORIGINS", "app.example"),
        ("PENSTOCK_CORS_ORIGINS", "https://app.example/page"),
        ("PENSTOCK_CORS_ORIGINS", "https://one.example, two"),
        ("PENSTOCK_ALLOWED_HOSTS", "https://ai.example"),
        ("PENSTOCK_ALLOWED_HOSTS", "ai.example:8001"),
        ("PENSTOCK_ALLOWED_HOSTS", "ai.*.example"),
        ("PENSTOCK_ROOT_PATH", "ai"),
        ("PENSTOCK_ROOT_PATH", "/a b"),
        ("PENSTOCK_ROOT_PATH", "/ai?x=1"),
        ("PENSTOCK_ROOT_PATH", "//ai"),
        ("PENSTOCK_ROOT_PATH", "/v1"),
        ("PENSTOCK_ROOT_PATH", "/health/penstock"),
        ("PENSTOCK_MODEL_ALIASES", "a=b,a=c"),
        ("PENSTOCK_MODEL_ALIASES", "a"),
        ("PENSTOCK_GATEWAY_PORT", "65536"),
        ("PENSTOCK_GATEWAY_PORT", "http"),
        ("PENSTOCK_BODY_TIMEOUT_S", "inf"),
        ("PENSTOCK_BODY_TIMEOUT_S", "nan"),
        ("PENSTOCK_BODY_TIMEOUT_S", "0"),
        ("PENSTOCK_ANSWER_TIMEOUT_S", "-1"),
        ("PENSTOCK_MAX_ANSWERS_BYTES", "0"),
        ("PENSTOCK_STALLED_S", "inf"),
        ("PENSTOCK_SCALE_FROM_ZERO", "BAAI/bge-m3"),
        ("PENSTOCK_SCALE_FROM_ZERO", "bge-m3 true"),
        ("PENSTOCK_MAX_BODY_BYTES", "12"),
        ("PENSTOCK_MAX_BODIES_BYTES", "1e9"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_and_value(name: str, value: str) -> None:
    """When the gateway starts."""
    with pytest.raises(SettingError, match=name) as refused:
        GatewaySettings.from_env({name: value})

    assert value in str(refused.value)


def test_settings_of_names_and_prefixes_are_read() -> None:
    """Lists are separated by commas or blanks; a slash at the end of a prefix is none of it."""
    environ = {
        "PENSTOCK_ALLOWED_HOSTS": "ai.example *.api.example,[::1]",
        "PENSTOCK_CORS_ORIGINS": "https://app.example, http://localhost:3000, *",
        "PENSTOCK_ROOT_PATH": "/team/ai/",
    }
    settings = GatewaySettings.from_env(environ)

    assert settings.allowed_hosts == ("ai.example", "*.api.example", "[::1]")
    assert settings.cors_origins == ("https://app.example", "http://localhost:3000", "*")
    assert (settings.root_path, GatewaySettings.from_env({"PENSTOCK_ROOT_PATH": "/"}).root_path) == ("/team/ai", "")


@pytest.mark.parametrize(
    ("notes", "too_slow"),
    [
        ([(0, 9.9)], False),
        ([(0, 5.0), (0, 5.0)], True),
        ([(0, 9.0), (1, 9.0), (2, 0.5)], True),
        ([(0, 9.0), (900_000, 9.0), (900_000, 9.0)], False),
        ([(0, 9.0), (900_000, 9.0), (900_000, 10.0)], True),
        ([(20_000 * second, 1.0) for second in range(1, 1000)], False),
        ([(10_000 * second, 1.0) for second in range(1, 1000)], True),
    ],
)
def test_an_answer_is_too_slow_if_it_stands_still_or_trickles(
    notes: list[tuple[int, float]],
    too_slow: bool,  # noqa: FBT001 (a table)
) -> None:
    """For 10 s, or below 16 KiB a second for longer than that."""
    pace = Pace(timeout_s=10.0)
    for taken, waited_s in notes:
        pace.note(taken, waited_s)

    assert pace.too_slow is too_slow


def test_room_is_shared_and_one_larger_than_all_of_it_has_it_alone() -> None:
    """Small ones are never refused."""
    room = AnswerRoom(1_000_000)
    alone = room.fits(5_000_000)
    room.take(600_000)
    fits = [room.fits(size) for size in (400_000, 400_001, SMALL)]
    room.give_back(600_000)

    assert (alone, fits, room.fits(5_000_000)) == (True, [True, False, True], True)


@pytest.mark.parametrize(
    ("value", "models"),
    [("", ()), ("false", ()), ("0", ()), ("TRUE", ("*",)), ("*", ("*",)), ("a, b", ("a", "b")), ("a *", ("a", "*"))],
)
def test_models_that_may_have_no_worker_are_named_all_or_none(value: str, models: tuple[str, ...]) -> None:
    """Words of a switch are no names."""
    assert GatewaySettings.from_env({"PENSTOCK_SCALE_FROM_ZERO": value}).scale_from_zero == models
