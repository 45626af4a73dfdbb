"""How the gateway listens and what it lets in. Read from the environment, checked once, secret-free in repr."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from rpc.settings import SettingError, complaint, read_environment

ENVIRONMENT = {
    "host": ("PENSTOCK_GATEWAY_HOST",),
    "port": ("PENSTOCK_GATEWAY_PORT",),
    "api_keys": ("PENSTOCK_API_KEYS",),
    "cors_origins": ("PENSTOCK_CORS_ORIGINS",),
    "allowed_hosts": ("PENSTOCK_ALLOWED_HOSTS",),
    "root_path": ("PENSTOCK_ROOT_PATH",),
    "model_aliases": ("PENSTOCK_MODEL_ALIASES",),
    "max_body_bytes": ("PENSTOCK_MAX_BODY_BYTES",),
    "max_bodies_bytes": ("PENSTOCK_MAX_BODIES_BYTES",),
    "body_timeout_s": ("PENSTOCK_BODY_TIMEOUT_S",),
    "max_answers_bytes": ("PENSTOCK_MAX_ANSWERS_BYTES",),
    "answer_timeout_s": ("PENSTOCK_ANSWER_TIMEOUT_S",),
    "stalled_s": ("PENSTOCK_STALLED_S",),
    "scale_from_zero": ("PENSTOCK_SCALE_FROM_ZERO",),
}
"""Field -> the environment variables it is read from."""

KEYS_FILE = "PENSTOCK_API_KEYS_FILE"

MEGABYTE = 1024 * 1024

_KEY = re.compile(r"[\x21-\x7e]{8,}")
_ALIAS = re.compile(r"[^\s=,]{1,128}=[A-Za-z0-9_.-]{1,128}")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@,]+", re.IGNORECASE)
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
_MODEL = re.compile(r"\*|[A-Za-z0-9_.-]{1,128}")
_PATH = re.compile(r"(/[A-Za-z0-9_.~%:@!$&'()*+;=-]+)+")

OWN_PATHS = frozenset({"v1", "asr", "embed", "face", "health", "metrics", "docs", "openapi.json"})
"""Where the gateway's own paths begin: a root path that did as well could not be told from them."""


def _words(given: Any) -> Any:
    return [word for word in re.split(r"[,\s]+", given) if word] if isinstance(given, str) else given


def _keys(given: Any) -> Any:
    words = _words(given)
    if isinstance(given, str) and given and not words:
        # without a key everybody may call, which is not what somebody means who writes something here
        raise ValueError("there is no key in it")
    for word in words:
        if not _KEY.fullmatch(word):
            raise ValueError("a key has at least 8 characters, all of them printable ASCII")
    return words


def _aliases(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    models: dict[str, str] = {}
    for word in _words(given):
        if not _ALIAS.fullmatch(word):
            raise ValueError(f"{word!r} is no alias=model")
        alias, model = word.split("=")
        if models.setdefault(alias, model) != model:
            raise ValueError(f"{alias!r} must stand for one model, got {models[alias]} and {model}")
    return models


def _origins(value: Any) -> Any:
    origins = _words(value)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"an origin must be * or scheme://host[:port], as https://app.example, got {origin!r}")
    return origins


def _hosts(value: Any) -> Any:
    names = _words(value)
    for name in names:
        if not _HOST.fullmatch(name):
            raise ValueError(f"a host must be a name without scheme and port, *.name, or *, got {name!r}")
    return names


_SWITCH = {"1": "*", "true": "*", "yes": "*", "on": "*", "0": "", "false": "", "no": "", "off": ""}
"""Words for all models and for none."""


def _models(value: Any) -> Any:
    names = _words(_SWITCH.get(value.strip().lower(), value) if isinstance(value, str) else value)
    for name in names:
        if not _MODEL.fullmatch(name) or name.lower() in _SWITCH:
            raise ValueError(f"must be names of models, or * for every model that was ever served, got {name!r}")
    return names


def _root_path(value: Any) -> Any:
    path = value.rstrip("/") if isinstance(value, str) else value
    if path and not _PATH.fullmatch(path):
        raise ValueError(f"a root path must begin with / and have no blanks, ? or #, got {value!r}")
    if path and path.split("/")[1] in OWN_PATHS:
        raise ValueError(f"a root path must not begin as the gateway's own paths do, got {value!r}")
    return path


class GatewaySettings(BaseModel):
    """What a gateway is told when it starts.

    Attributes:
        host: the address it listens on.
        port: the port it listens on; 0 takes a free one.
        api_keys: whoever names one of them may call; nobody is asked for one if there is none.
        cors_origins: pages of these origins may call from a browser; none unless given.
        allowed_hosts: names callers may reach the gateway under besides addresses and local names, where no key is set.
        root_path: the path under which a proxy in front publishes the gateway, "" for none.
        model_aliases: names callers may use -> the models meant.
        max_body_bytes: the largest body of a request.
        max_bodies_bytes: the most bytes of bodies held at a time, of all requests together.
        body_timeout_s: how long a body may stand still, in seconds.
        max_answers_bytes: the most bytes of answers that wait to be read at a time, of all requests together.
        answer_timeout_s: how long a caller may take no byte of its answer, in seconds.
        stalled_s: how long work may wait while none is done before the gateway calls itself unhealthy, in seconds.
        scale_from_zero: models whose requests are queued although no worker serves them; "*" is every known one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8001, ge=0, le=65535)
    api_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_keys)] = ()
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_origins)] = ()
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()
    root_path: Annotated[str, BeforeValidator(_root_path)] = ""
    model_aliases: Annotated[Mapping[str, str], BeforeValidator(_aliases)] = {"whisper-1": "whisper"}
    max_body_bytes: int = Field(384 * MEGABYTE, ge=1024)
    max_bodies_bytes: int = Field(1024 * MEGABYTE, ge=1024)
    body_timeout_s: float = Field(30.0, gt=0, allow_inf_nan=False)
    max_answers_bytes: int = Field(256 * MEGABYTE, ge=1024)
    answer_timeout_s: float = Field(30.0, gt=0, allow_inf_nan=False)
    stalled_s: float = Field(60.0, gt=0, allow_inf_nan=False)
    scale_from_zero: Annotated[tuple[str, ...], BeforeValidator(_models)] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Self:
        """Return the settings of the environment, overridden by those given; raise `SettingError` by name."""
        values, origin = read_environment(ENVIRONMENT, environ)
        if environ.get(KEYS_FILE):
            values["api_keys"], origin["api_keys"] = _read_keys(environ[KEYS_FILE]), KEYS_FILE
        chosen = {**values, **{name: value for name, value in given.items() if value is not None}}
        try:
            return cls.model_validate(chosen)
        except ValidationError as error:
            first = error.errors()[0]
            if first["loc"][:1] == ("api_keys",):
                # the value is a secret
                raise SettingError(f"{origin['api_keys']}: {first['msg'].removeprefix('Value error, ')}") from None
            raise complaint(error, origin) from None


def _read_keys(name: str) -> str:
    try:
        keys = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{KEYS_FILE}={name!r}: {error}") from None
    if not keys:
        # an empty text would open the gateway to everybody
        raise SettingError(f"{KEYS_FILE}={name!r}: there is no key in it")
    return keys
