"""Passwords on their way to a real server: what it is sent, and what is shown when it refuses them."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from rpc import RedisSettings, Unavailable
from tests.callers import Callers
from tests.conftest import installed
from tests.gateways import GatewayThread
from tests.servers import KINDS, Server, free_port

pytestmark = pytest.mark.server

PASSWORD = "sword/fish@#?:%41"  # noqa: S105 (a password of a test)
ENCODED = "sword%2Ffish%40%23%3F%3A%2541"


@pytest.fixture(name="locked", params=KINDS)
def _locked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Yield a server with a password and a socket, whose AUTH has another name after `hide_auth`."""
    kind = installed(request.param)
    options = {"unixsocket": [str(tmp_path / "s")]}
    with Server(kind, tmp_path / kind, options=options) as server, Redis.from_url(server.url, protocol=2) as raw:
        raw.config_set("requirepass", PASSWORD)
        raw.auth(PASSWORD)
        raw.execute_command("ACL", "SETUSER", "user", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        yield server


def ways(server: Server) -> list[str]:
    """Return all ways to give a password."""
    host, socket = f"127.0.0.1:{server.port}", f"{server.directory.parent}/s"
    return [
        f"redis://:{ENCODED}@{host}/0",
        f"redis://user:{ENCODED}@{host}",
        f"redis://{host}?password={ENCODED}",
        f"redis://{host}?username=user&password={ENCODED}",
        f"unix://:{ENCODED}@{socket}",
        f"unix://{socket}?username=user&password={ENCODED}&db=0",
    ]


def test_every_way_to_give_a_password_opens_the_server(locked: Server) -> None:
    """A password with every delimiter of a URL in it arrives as it is, by TCP and by socket, from both clients."""
    for kind in ("blocking", "asyncio"):
        callers = Callers(kind, RedisSettings.from_env({}, url=ways(locked)[0]))
        for url in ways(locked):
            job = callers.make(RedisSettings.from_env({}, url=url)).submit("m", "op", ["a"])
            assert job
        callers.close()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize("is_known", [True, False], ids=["wrong", "unknown-command"])
def test_a_refused_password_is_not_shown(tmp_path: Path, kind: str, is_known: bool) -> None:  # noqa: FBT001 (pytest's)
    """Neither a wrong password nor one that a server without AUTH repeats is in the error or its traceback."""
    options = {} if is_known else {"rename-command": ["AUTH", "UNGUESSED"]}
    with Server("valkey", tmp_path / "v", options=options) as server:
        callers = Callers(kind, RedisSettings.from_env({}, url=f"redis://user:swordfish@127.0.0.1:{server.port}"))
        with pytest.raises(Unavailable) as refused:
            callers.make().submit("m", "op", ["a"], timeout_s=0.1)
        callers.close()

    shown = "".join(traceback.format_exception(refused.value))
    assert f"Redis at redis://user:***@127.0.0.1:{server.port}: " in shown
    assert "swordfish" not in shown


def test_the_gateway_tells_its_callers_neither_host_nor_user() -> None:
    """Whoever may call the gateway learns that Redis does not answer, and nothing about its address."""
    port = free_port()
    settings = RedisSettings.from_env({}, url=f"redis://user:swordfish@127.0.0.1:{port}", connect_timeout_s=0.2)
    with GatewayThread(settings) as gateway, httpx.Client(base_url=gateway.url, timeout=30.0) as http:
        answers = [
            http.post("/v1/embeddings", json={"model": "m", "input": "a"}),
            http.post("/v1/jobs", json={"model": "m", "op": "op", "inputs": ["a"], "timeout_s": 0.2}),
            http.get("/v1/models"),
            http.get("/health"),
        ]

    assert [answer.status_code for answer in answers] == [503] * len(answers)
    told = "".join(answer.text for answer in answers)
    assert [word for word in ("user:", "swordfish", "127.0.0.1", str(port)) if word in told] == []
