"""Where Redis is, read from a URL: the one parser, and the one form that people see, without secrets.

No message of this module repeats a part of the URL. A password that is not percent-encoded may have ended up in any
part of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import quote, unquote

Scheme = Literal["redis", "rediss", "unix"]

DEFAULT_PORT = 6379
MAX_PORT = 65_535
MAX_DB = 99_999

MIN_REDACTED = 4
"""A shorter secret is not searched for in other texts: it would be found in ordinary words."""

MAX_KEY_PASSWORD = 1024
"""OpenSSL takes no longer password of a key file, in bytes."""

PLAIN_OPTIONS = ("username", "password", "db", "client_name")

TLS_OPTIONS = (
    *("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_check_hostname"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password"),
)

SECRET_OPTIONS = frozenset({"password", "ssl_password"})

SET_ELSEWHERE: Mapping[str, str] = {
    "socket_timeout": "PENSTOCK_SOCKET_TIMEOUT_S sets it",
    "timeout": "PENSTOCK_SOCKET_TIMEOUT_S sets it",
    "socket_connect_timeout": "PENSTOCK_CONNECT_TIMEOUT_S sets it",
    "protocol": "Penstock always speaks RESP2",
    "decode_responses": "replies are always read as bytes",
}
"""Options of redis-py that would break what Penstock relies on, and the reason."""

CERT_REQS: Mapping[str, str] = {
    spelling: name for name in ("none", "optional", "required") for spelling in (name, f"cert_{name}")
}

TRUTH: Mapping[str, bool] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_OPTION = re.compile(r"[a-z][a-z_]{0,39}")
_NUMBER = re.compile(r"[0-9]{1,5}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")

ENCODED = "percent-encode / ? # @ and : in user names and passwords, such as %2F for /"


class RedisUrlError(ValueError):
    """A URL from which no address of a Redis can be read; the message holds no part of it."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The address of a Redis, and how to log in there.

    Attributes:
        scheme: how it is reached: TCP, TLS or a unix socket.
        host: host name or IP address; "" of a unix socket.
        port: as the URL has it; None where it has none.
        path: of the unix socket; else "".
        db: number of the database; None where the URL has none.
        username: "" for the default user.
        password: None where the URL has none.
        options: the other options of the URL, decoded.
        secrets: what may not be shown, decoded and as it was written.
    """

    scheme: Scheme
    host: str = ""
    port: int | None = None
    path: str = ""
    db: int | None = None
    username: str = ""
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        """Return the URL for people: secrets are stars."""
        # a user name alone is often a password that lacks its colon
        user = quote(self.username, safe="") if self.password is not None else "***" if self.username else ""
        login = f"{user}:***@" if self.password is not None else f"{user}@" if user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        db = "" if self.db is None else f"?db={self.db}" if self.scheme == "unix" else f"/{self.db}"
        return f"{self.scheme}://{login}{host}{port}{quote(self.path, safe='/@:+,=')}{db}"

    def __repr__(self) -> str:
        """Return what `str` does."""
        return f"<RedisUrl {self}>"

    def redacted(self, text: str) -> str:
        """Return a text with stars in place of the secrets: a server may repeat what it was sent."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def parse_redis_url(text: str) -> RedisUrl:
    """Return the address in a URL, or raise `RedisUrlError`."""
    text = text.strip()
    scheme = _scheme(text)
    if _CONTROL.search(text) or not _encodable(text):
        raise RedisUrlError(f"must be UTF-8 without blanks and control characters; {ENCODED}")
    authority, path, query = _parts(text[len(scheme) + 3 :], scheme)
    login, at, address = authority.rpartition("@")
    if at and "@" in login.partition(":")[0]:
        raise RedisUrlError(f"has an @ in its user name; {ENCODED}")
    raw_username, colon, raw_password = login.partition(":")
    options = _options(query, scheme)
    _check_once(options, "username", raw_username)
    _check_once(options, "password", raw_password)
    username = unquote(raw_username) or options.get("username", ("", ""))[1]
    password = (unquote(raw_password) if colon and raw_password else None) or options.get("password", ("", ""))[1]
    host, port = ("", None) if scheme == "unix" else _host_and_port(address)
    written = {raw_password, unquote(raw_password)}
    written |= {value for name in SECRET_OPTIONS for value in options.get(name, ())}
    written |= {raw_username, username} if username and not password else set()
    return RedisUrl(
        scheme,
        host=host,
        port=port,
        path=unquote(path) if scheme == "unix" else "",
        db=_db(path, options, scheme),
        username=username,
        password=password or None,
        options={name: value for name, (_, value) in options.items() if name not in {"username", "password", "db"}},
        secrets=frozenset(secret for secret in written if len(secret) >= MIN_REDACTED),
    )


def _scheme(text: str) -> Scheme:
    for scheme in get_args(Scheme):
        if text.startswith(f"{scheme}://"):
            known: Scheme = scheme
            return known
    raise RedisUrlError("must start with redis://, rediss:// or unix://")


def _encodable(text: str) -> bool:
    try:
        unquote(text, errors="strict").encode()
    except UnicodeError:
        return False
    return True


def _parts(rest: str, scheme: Scheme) -> tuple[str, str, str]:
    """Return authority, path and query of what follows the scheme; none of them has a stray part of a password."""
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, rest = rest[:end], rest[end:]
    if scheme == "unix" and authority and not authority.endswith("@"):
        raise RedisUrlError(f"must have the path of a socket after unix:// or the @; {ENCODED}")
    # the socket of a service instance may have an @ in its name
    if "#" in rest or ("@" in rest and (scheme != "unix" or authority)):
        raise RedisUrlError(f"has an @ or # after its host; {ENCODED}")
    path, _, query = rest.partition("?")
    if scheme == "unix" and path in {"", "/"}:
        raise RedisUrlError("must have the path of a socket after unix://")
    return authority, path, query


def _options(query: str, scheme: Scheme) -> dict[str, tuple[str, str]]:
    """Return the options of a query, each as it was written and decoded."""
    options: dict[str, tuple[str, str]] = {}
    parts = [part.partition("=") for part in query.split("&")] if query else []
    # a password that is not encoded may go on in what looks like the next option
    shown = SECRET_OPTIONS.isdisjoint(name for name, _, _ in parts)
    for name, equals, raw in parts:
        _check_option(name, scheme, shown=shown)
        if name in options:
            raise RedisUrlError(f"has the option {name} twice")
        if not equals or not raw:
            raise RedisUrlError(f"has the option {name} without a value")
        options[name] = (raw, unquote(raw))
    _check_tls({name: value for name, (_, value) in options.items()})
    return options


def _check_option(name: str, scheme: Scheme, *, shown: bool) -> None:
    known = (*PLAIN_OPTIONS, *(TLS_OPTIONS if scheme == "rediss" else ()))
    if name in known:
        return
    if name in SET_ELSEWHERE:
        raise RedisUrlError(f"must not have the option {name}: {SET_ELSEWHERE[name]}")
    if name in TLS_OPTIONS:
        raise RedisUrlError(f"has the option {name}, which needs rediss://")
    which = f"the unknown option {name}" if shown and _OPTION.fullmatch(name) else "an unknown option"
    raise RedisUrlError(f"has {which}; expected some of {', '.join(known)}")


def _check_tls(options: Mapping[str, str]) -> None:
    if options.get("ssl_cert_reqs", "none").lower() not in CERT_REQS:
        raise RedisUrlError("has the option ssl_cert_reqs with a value other than none, optional or required")
    if options.get("ssl_check_hostname", "true").lower() not in TRUTH:
        raise RedisUrlError("has the option ssl_check_hostname with a value other than true or false")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise RedisUrlError("has the option ssl_keyfile without ssl_certfile")
    if len(options.get("ssl_password", "").encode()) > MAX_KEY_PASSWORD:
        raise RedisUrlError(f"has the option ssl_password of more than {MAX_KEY_PASSWORD} bytes")


def _check_once(options: Mapping[str, object], name: str, written: str) -> None:
    if written and name in options:
        raise RedisUrlError(f"has a {name} before the @ and in the option {name}")


def _host_and_port(address: str) -> tuple[str, int | None]:
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or not _IPV6.fullmatch(host) or (rest and not rest.startswith(":")):
            raise RedisUrlError(f"must have an IPv6 address in brackets as its host; {ENCODED}")
        return host, _port(rest.removeprefix(":")) if rest else None
    host, colon, port = address.partition(":")
    if not host:
        return "localhost", _port(port) if colon else None
    try:
        host.encode("idna")
    except UnicodeError:
        raise RedisUrlError("must have the name or IP address of a host after the @, or after the //") from None
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= MAX_PORT:
        raise RedisUrlError(f"must have a port between 1 and {MAX_PORT} after its host; {ENCODED}")
    return int(text)


def _db(path: str, options: Mapping[str, tuple[str, str]], scheme: Scheme) -> int | None:
    in_path = "" if scheme == "unix" else path.removeprefix("/")
    if in_path and "db" in options:
        raise RedisUrlError("has a database in its path and in the option db")
    text = in_path or options.get("db", ("", ""))[1]
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise RedisUrlError(f"must have the number of a database, 0 to {MAX_DB}, after its host; {ENCODED}")
    return int(text)
