"""The wire of Penstock: what is said over Redis, and the clients that say it."""

from rpc.aio import AsyncClient
from rpc.client import Client
from rpc.encoder import Encoder
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
from rpc.messages import Reference
from rpc.model_service import AsyncModelServiceClient, ModelServiceClient
from rpc.parts import Progress
from rpc.results import Channel, Embeddings, Face, Segment, Transcript, Word
from rpc.settings import RedisSettings

__all__ = [
    "AsyncClient",
    "AsyncModelServiceClient",
    "Cancelled",
    "Channel",
    "Client",
    "DeadLettered",
    "Embeddings",
    "Encoder",
    "Expired",
    "Face",
    "InvalidInput",
    "JobLost",
    "ModelError",
    "ModelServiceClient",
    "PartialFailure",
    "Progress",
    "QueueFull",
    "RedisSettings",
    "Reference",
    "RpcError",
    "Segment",
    "Timeout",
    "Transcript",
    "Unavailable",
    "UnknownModel",
    "Word",
]
