"""How Redis is reached: the only room that knows redis-py."""

from rpc.connection.awaiting import AwaitingConnection, AwaitingSubscription
from rpc.connection.blocking import BlockingConnection, BlockingSubscription
from rpc.connection.faults import NoGroup

__all__ = [
    "AwaitingConnection",
    "AwaitingSubscription",
    "BlockingConnection",
    "BlockingSubscription",
    "NoGroup",
]
