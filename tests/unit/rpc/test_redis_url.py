"""The URL of a Redis: what is read from it, what is refused, and that no secret of it is ever shown."""

import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from rpc.connection.faults import translate, translated
from rpc.errors import Unavailable
from rpc.redis_url import RedisUrlError, parse_redis_url
from rpc.settings import RedisSettings, SettingError


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("redis://db", {"host": "db", "port": None, "db": None, "username": "", "password": None}),
        ("redis://", {"host": "localhost"}),
        ("redis:///3", {"host": "localhost", "db": 3}),
        ("redis://db:7000/2", {"port": 7000, "db": 2}),
        ("redis://db:7000?db=2", {"port": 7000, "db": 2}),
        ("redis://[::1]:7000/2", {"host": "::1", "port": 7000}),
        ("redis://[fe80::1%eth0]", {"host": "fe80::1%eth0", "port": None}),
        (" redis://db\n", {"host": "db"}),
        ("redis://:pass@db", {"username": "", "password": "pass"}),
        ("redis://user:pass@db", {"username": "user", "password": "pass"}),
        ("redis://us%40er:pa%2Fss@db", {"username": "us@er", "password": "pa/ss"}),
        ("redis://:pa@ss:word%@db", {"password": "pa@ss:word%"}),
        ("redis://db?password=pa%23ss+1", {"password": "pa#ss+1"}),
        ("redis://user@db?password=pass", {"username": "user", "password": "pass"}),
        ("redis://db?username=user&password=pass&client_name=me", {"options": {"client_name": "me"}}),
        ("redis://:@db", {"password": None}),
        ("unix:///run/redis@1.sock?db=1", {"path": "/run/redis@1.sock", "db": 1, "host": "", "port": None}),
        ("unix://user:pass@/run/redis.sock", {"path": "/run/redis.sock", "username": "user", "password": "pass"}),
        ("unix:///run/redis.sock?password=pass", {"path": "/run/redis.sock", "password": "pass"}),
        ("rediss://db?ssl_cert_reqs=CERT_NONE", {"scheme": "rediss", "options": {"ssl_cert_reqs": "CERT_NONE"}}),
    ],
)  # fmt: skip
def test_a_url_is_read(url: str, fields: dict[str, object]) -> None:
    """Each part of a URL becomes the field that it is documented for."""
    server = parse_redis_url(url)

    assert {name: getattr(server, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("db:6379", "must start with redis://"),
        ("http://db", "must start with redis://"),
        ("redis:db", "must start with redis://"),
        ("redis+cluster://db", "must start with redis://"),
        ("redis://:pa/QZX@db", "has an @ or # after its host"),
        ("redis://:pa?QZX@db", "has an @ or # after its host"),
        ("redis://:pa#QZX@db", "has an @ or # after its host"),
        ("redis://db#QZX", "has an @ or # after its host"),
        ("redis://:pa QZX@db", "must be UTF-8 without blanks"),
        ("redis://:pa\nQZX@db", "must be UTF-8 without blanks"),
        ("redis://:pa%ffQZX@db", "must be UTF-8 without blanks"),
        ("redis://:pa\udcffQZX@db", "must be UTF-8 without blanks"),
        ("redis://QZX@QZX@db", "has an @ in its user name"),
        ("redis://db:QZX", "must have a port between 1 and 65535"),
        ("redis://db:70000", "must have a port between 1 and 65535"),
        ("redis://db:", "must have a port between 1 and 65535"),
        ("redis://[::1", "must have an IPv6 address in brackets"),
        ("redis://[QZX]", "must have an IPv6 address in brackets"),
        ("redis://a..b", "must have the name or IP address of a host"),
        ("redis://db/QZX", "must have the number of a database"),
        ("redis://db/1?db=1", "has a database in its path and in the option db"),
        ("redis://:QZX@db?password=QZX", "has a password before the @ and in the option"),
        ("redis://QZX:QZX@db?username=QZX", "has a username before the @ and in the option"),
        ("redis://db?db=1&db=2", "has the option db twice"),
        ("redis://db?db=", "has the option db without a value"),
        ("redis://db?protocol=3", "must not have the option protocol"),
        ("redis://db?decode_responses=true", "must not have the option decode_responses"),
        ("redis://db?socket_timeout=1", "PENSTOCK_SOCKET_TIMEOUT_S sets it"),
        ("redis://db?retries=1", "has the unknown option retries"),
        ("redis://db?QZX", "has an unknown option;"),
        ("redis://db?password=QZX&qzx=1", "has an unknown option;"),
        ("redis://db?ssl_password=QZX", "has the option ssl_password, which needs rediss://"),
        ("rediss://db?ssl_cert_reqs=QZX", "has the option ssl_cert_reqs with a value other than"),
        ("rediss://db?ssl_check_hostname=QZX", "has the option ssl_check_hostname with a value other than"),
        ("rediss://db?ssl_keyfile=key", "has the option ssl_keyfile without ssl_certfile"),
        ("unix://run/redis.sock", "must have the path of a socket"),
        ("unix://", "must have the path of a socket"),
        ("unix://QZX:pa/QZX@/run/redis.sock", "must have the path of a socket"),
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_without_its_text(url: str, complaint: str) -> None:
    """The variable is named, the reason given, and nothing of the URL repeated but the name of an option."""
    with pytest.raises(SettingError) as refused:
        RedisSettings.from_env({"REDIS_URL": url})

    message = str(refused.value)
    assert message.startswith(f"REDIS_URL: {complaint}") or complaint in message
    assert "QZX" not in message.upper()


def _as_option(secret: str) -> str:
    return f"redis://db:6379/0?password={secret}"


FORMS: list[Callable[[str], str]] = [
    lambda secret: f"redis://:{secret}@db:6379/0",
    lambda secret: f"redis://user:{secret}@db:6379/0",
    lambda secret: f"rediss://{secret}@db",
    lambda secret: f"redis://:{secret}@[::1]:6379",
    _as_option,
    lambda secret: f"redis://user@db?password={secret}&db=1",
    lambda secret: f"redis://db?db=1&username=user&password={secret}",
    lambda secret: f"unix://:{secret}@/run/redis.sock",
    lambda secret: f"unix:///run/redis.sock?password={secret}",
    lambda secret: f"rediss://db?ssl_certfile=c&ssl_keyfile=k&ssl_password={secret}",
    lambda secret: f"{_as_option(secret)}&decode_responses=1",
    lambda secret: f"{_as_option(secret)}&nonsense",
    lambda secret: f"redis://:{secret}@db:port",
    lambda secret: f"redis://:{secret}@db/base",
    lambda secret: f"redis://:{secret}@a..b",
    lambda secret: f"http://:{secret}@db",
    lambda secret: f":{secret}@db:6379",
]

PIECES = st.text("QXZJqxzj", min_size=4, max_size=8)

SECRETS = st.lists(PIECES, min_size=2, max_size=4).flatmap(
    lambda pieces: st.sampled_from("/?#@:%+&=[]{}'\"\\ é\n").map(lambda mark: mark.join(pieces))
)


@given(SECRETS, st.sampled_from(FORMS), st.sampled_from([str, lambda secret: quote(secret, safe="")]))
def test_no_password_in_any_form_occurs_in_any_output(
    secret: str, form: Callable[[str], str], encode: Callable[[str], str]
) -> None:
    """Neither text, repr, error, translated server error nor traceback holds a piece of a password."""
    url = form(encode(secret))

    shown = "\n".join(outputs(url, secret))

    pieces = [piece for piece in "".join(char if char.isalpha() else " " for char in secret).split() if len(piece) > 3]
    assert [piece for piece in pieces if piece in shown] == []


def outputs(url: str, secret: str) -> list[str]:
    """Return all that is shown of a URL, and of what a server may say of its password."""
    shown = []
    try:
        RedisSettings.model_validate({"url": url})
    except ValueError as error:
        # of a direct validation, as a service's own settings class may make
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    try:
        settings = RedisSettings.from_env({"REDIS_URL": url})
    except SettingError as error:
        return [*shown, str(error), repr(error), "".join(traceback.format_exception(error))]
    server = settings.server
    shown += [str(settings), repr(settings), settings.address, str(server), repr(server), f"{settings.model_dump()}"]
    echoed = ResponseError(f"unknown command 'AUTH', with args beginning with: '{secret}'")
    shown += [str(translate(echoed, server))]
    with pytest.raises(Unavailable) as raised, translated(server):
        raise echoed
    shown += [str(raised.value), "".join(traceback.format_exception(raised.value))]
    return shown


def test_the_address_is_read_again_as_the_same_server() -> None:
    """The form that people see differs from the URL by its secrets alone."""
    url = "redis://us%40er:secret@[::1]:7000/2"

    assert str(parse_redis_url(url)) == "redis://us%40er:***@[::1]:7000/2"
    assert str(parse_redis_url("redis://secret@db")) == "redis://***@db"
    with pytest.raises(RedisUrlError):
        parse_redis_url("***")
