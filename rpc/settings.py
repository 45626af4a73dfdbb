"""Where Redis is and how patiently it is spoken to. Read from the environment, checked once, secret-free in repr."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from rpc.redis_url import RedisUrl, parse_redis_url

ENVIRONMENT = {
    "url": ("REDIS_URL",),
    "prefix": ("PENSTOCK_PREFIX",),
    "connect_timeout_s": ("PENSTOCK_CONNECT_TIMEOUT_S",),
    "socket_timeout_s": ("PENSTOCK_SOCKET_TIMEOUT_S",),
    "sweep_s": ("PENSTOCK_SWEEP_S",),
    "max_payload_bytes": ("PENSTOCK_MAX_PAYLOAD_BYTES",),
    "inline_bytes": ("PENSTOCK_INLINE_BYTES",),
    "max_input_bytes": ("PENSTOCK_MAX_INPUT_BYTES",),
}
"""Field -> the environment variables it is read from, the first one set wins."""


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message names both."""


def read_environment(
    fields: Mapping[str, tuple[str, ...]], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values set in the environment, and for each field the variable it came from."""
    values, origin = {}, {}
    for name, variables in fields.items():
        origin[name] = variables[0]
        for variable in variables:
            if environ.get(variable, "") != "":
                values[name], origin[name] = environ[variable], variable
                break
    return values, origin


def complaint(error: ValidationError, origin: Mapping[str, str]) -> SettingError:
    """Return the first thing wrong, told by the variable's name and its value."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    value = first.get("input")
    shown = "" if name == "url" else f"={value!r}"
    return SettingError(f"{origin.get(name, name)}{shown}: {first['msg'].removeprefix('Value error, ')}")


def _redis_url(url: Any) -> Any:
    text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
    parse_redis_url(text)
    return SecretStr(text.strip())


class RedisSettings(BaseModel):
    """How this process reaches Redis.

    Attributes:
        url: redis://, rediss:// (TLS) or unix://; may hold user and password. See `rpc.redis_url`.
        prefix: the first part of every key and channel.
        connect_timeout_s: seconds one attempt to connect may take.
        socket_timeout_s: seconds a reply may take before the connection is given up.
        sweep_s: seconds between two looks at waits whose wake-up may have been lost.
        max_payload_bytes: the largest payload a job may carry in its stream entry.
        inline_bytes: an input larger than this travels under a key of its own, as a blob.
        max_input_bytes: the largest input a job may have at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[SecretStr, BeforeValidator(_redis_url)] = SecretStr("redis://127.0.0.1:6379/0")
    prefix: str = Field("penstock", pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    connect_timeout_s: float = Field(2.0, gt=0)
    socket_timeout_s: float = Field(5.0, gt=0)
    sweep_s: float = Field(2.0, gt=0)
    max_payload_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024)
    inline_bytes: int = Field(256 * 1024, ge=0)
    max_input_bytes: int = Field(256 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Self:
        """Return the settings of the environment, overridden by those given; raise `SettingError` by name."""
        values, origin = read_environment(ENVIRONMENT, environ)
        chosen = {**values, **{name: value for name, value in given.items() if value is not None}}
        try:
            return cls.model_validate(chosen)
        except ValidationError as error:
            raise complaint(error, origin) from None

    @property
    def server(self) -> RedisUrl:
        """The URL, read."""
        return parse_redis_url(self.url.get_secret_value())

    @property
    def address(self) -> str:
        """The URL without its secrets, for people."""
        return str(self.server)
