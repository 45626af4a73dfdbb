"""Settings of the connection: where they come from, what is refused, what is hidden."""

import pytest

from rpc.settings import ENVIRONMENT, RedisSettings, SettingError


def test_without_any_environment_the_local_server_is_used() -> None:
    """Nothing needs to be set on a machine with a Redis of its own."""
    settings = RedisSettings.from_env({})

    assert (settings.address, settings.prefix) == ("redis://127.0.0.1:6379/0", "penstock")


def test_every_field_can_be_set_in_the_environment() -> None:
    """No setting can be given in Python alone."""
    assert set(ENVIRONMENT) == set(RedisSettings.model_fields)


def test_the_environment_is_read_by_name() -> None:
    """Each variable sets the field it is documented for."""
    settings = RedisSettings.from_env(
        {
            "REDIS_URL": "redis://db:7000/2",
            "PENSTOCK_PREFIX": "team-a",
            "PENSTOCK_CONNECT_TIMEOUT_S": "0.5",
            "PENSTOCK_SOCKET_TIMEOUT_S": "7",
            "PENSTOCK_SWEEP_S": "1.5",
            "PENSTOCK_MAX_PAYLOAD_BYTES": "4096",
        }
    )

    expected = RedisSettings.from_env(
        {},
        url="redis://db:7000/2",
        prefix="team-a",
        connect_timeout_s=0.5,
        socket_timeout_s=7.0,
        sweep_s=1.5,
        max_payload_bytes=4096,
    )
    assert expected == settings


def test_what_is_given_goes_before_the_environment_and_none_counts_as_not_given() -> None:
    """An argument overrides a variable; an argument left out does not."""
    environ = {"PENSTOCK_PREFIX": "from-env"}

    assert RedisSettings.from_env(environ, prefix="given").prefix == "given"
    assert RedisSettings.from_env(environ, prefix=None).prefix == "from-env"


def test_an_empty_variable_counts_as_not_set() -> None:
    """A compose file that passes an empty variable gets the default."""
    assert RedisSettings.from_env({"PENSTOCK_PREFIX": ""}).prefix == "penstock"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PENSTOCK_PREFIX", "a b"),
        ("PENSTOCK_PREFIX", "{a}"),
        ("PENSTOCK_CONNECT_TIMEOUT_S", "0"),
        ("PENSTOCK_SOCKET_TIMEOUT_S", "-1"),
        ("PENSTOCK_SOCKET_TIMEOUT_S", "soon"),
        ("PENSTOCK_SWEEP_S", "0"),
        ("PENSTOCK_MAX_PAYLOAD_BYTES", "12"),
        ("PENSTOCK_MAX_PAYLOAD_BYTES", "1e12"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_value(variable: str, value: str) -> None:
    """Whoever set a variable wrongly reads its name and what it was set to."""
    with pytest.raises(SettingError) as refused:
        RedisSettings.from_env({variable: value})

    assert str(refused.value).startswith(f"{variable}={value!r}: ")


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://user:secret@db", "//user:secret@db", "secret"])
def test_a_wrong_url_is_refused_by_name_without_its_text(url: str) -> None:
    """A URL that is none is refused by the variable's name alone: it may hold a password."""
    with pytest.raises(SettingError, match=r"^REDIS_URL: ") as refused:
        RedisSettings.from_env({"REDIS_URL": url})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://db", "rediss://db:6380/1", "unix:///run/redis.sock"])
def test_the_three_ways_to_reach_redis(url: str) -> None:
    """Plain, TLS and unix sockets are all accepted."""
    assert RedisSettings.from_env({"REDIS_URL": url}).address == url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:secret@db:6379/0", "redis://:***@db:6379/0"),
        ("rediss://user:secret@db:6379/0", "rediss://user:***@db:6379/0"),
        ("redis://user:secr%40et@[::1]:6379", "redis://user:***@[::1]:6379"),
        ("unix://user:secret@/run/redis.sock", "unix://user:***@/run/redis.sock"),
    ],
)
def test_a_password_is_never_shown(url: str, address: str) -> None:
    """Neither repr, str nor the address people see holds the password."""
    settings = RedisSettings.from_env({"REDIS_URL": url})

    assert settings.address == address
    assert "secr" not in f"{settings!r} {settings} {settings.address}"


def test_settings_do_not_change() -> None:
    """Settings checked once stay what they were."""
    settings = RedisSettings.from_env({})

    with pytest.raises(ValueError, match="frozen"):
        settings.prefix = "other"
