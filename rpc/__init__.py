"""The wire of Penstock: what is said over Redis, and the clients that say it."""

from rpc.aio import AsyncClient
from rpc.client import Client
from rpc.errors import (
    Cancelled,
    DeadLettered,
    Expired,
    InvalidInput,
    JobLost,
    ModelError,
    PartialFailure,
    QueueFull,
    RpcError,
    Timeout,
    Unavailable,
    UnknownModel,
)
from rpc.settings import RedisSettings

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Client",
    "DeadLettered",
    "Expired",
    "InvalidInput",
    "JobLost",
    "ModelError",
    "PartialFailure",
    "QueueFull",
    "RedisSettings",
    "RpcError",
    "Timeout",
    "Unavailable",
    "UnknownModel",
]
