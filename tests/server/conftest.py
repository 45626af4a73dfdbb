"""What the tests of the gateway share: played models of every family, and a gateway in front of them."""

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from rpc import RedisSettings
from tests.conftest import MakeConsumer
from tests.families import FOUR, Families
from tests.gateways import GatewayThread
from tests.waiting import LONG_S


@pytest.fixture
def played(make_consumer: MakeConsumer) -> Iterator[Families]:
    """Yield live workers of the four families and of echo."""
    with Families(make_consumer, models=[*FOUR, "echo"]) as playing:
        yield playing


@pytest.fixture
def gateway(redis_settings: RedisSettings, played: Families) -> Iterator[GatewayThread]:
    """Yield a gateway in front of them."""
    del played
    with GatewayThread(redis_settings) as running:
        yield running


@pytest.fixture
def sdk(gateway: GatewayThread) -> Iterator[OpenAI]:
    """Yield OpenAI's client as its users make it."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="not-asked-for", timeout=LONG_S) as client:
        yield client


@pytest.fixture
def http(gateway: GatewayThread) -> Iterator[httpx2.Client]:
    """Yield an HTTP client of the gateway."""
    with httpx2.Client(base_url=gateway.url, timeout=LONG_S) as client:
        yield client
