"""What a run has left in Redis: looked at once every caller has its reply, and told to the history as it is."""

from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from rpc import RedisSettings
from rpc.codec import decode_reply
from rpc.keys import GROUP, LANES, RELAY, Keys
from tests.chaos.history import History
from tests.chaos.ledger import MODELS
from tests.chaos.relays import SINK, told

MEANT = ("}:interactive", "}:bulk", "}:dead", "}:config", "}:workers", ":models", f"}}:sink:{SINK}")
"""How the keys end that stay for ever."""

KINDS = ("result:", "worker:", "job:", "blob:", "upload:")
"""How keys of a model go on that do not stay for ever; an upload cut in its middle expires by itself."""


class Remains:
    """The keys of one run."""

    def __init__(self, redis: "Redis", settings: RedisSettings) -> None:
        self._redis = redis
        self._prefix = settings.prefix
        self._keys = [Keys(settings.prefix, model) for model in MODELS]

    def lanes(self) -> dict[str, dict[str, int]]:
        """Return the number of entries of each lane of each model, and of those that are pending."""
        streams = {f"{keys.model} {lane}": keys.stream(lane) for keys in self._keys for lane in LANES}
        return {name: self._counted(stream, GROUP) for name, stream in streams.items()}

    def sink(self) -> dict[str, int]:
        """Return the number of completions in the sinks of all models, and of those that are pending."""
        counted = [self._counted(keys.sink(SINK), RELAY) for keys in self._keys]
        return {name: sum(counts[name] for counts in counted) for name in ("length", "pending")}

    def _counted(self, stream: str, group: str) -> dict[str, int]:
        if not self._redis.exists(stream):
            return {"length": 0, "pending": 0}
        pending: Any = self._redis.xpending(stream, group)
        return {"length": int(self._redis.xlen(stream)), "pending": int(pending["pending"])}

    def empty(self) -> bool:
        """Return whether nothing is in any lane, nor in the sink."""
        return not any(count for stream in (*self.lanes().values(), self.sink()) for count in stream.values())

    def tell(self, history: History, *, strays: Sequence[int] = ()) -> None:
        """Write down every stored reply, and all that is left besides, processes among it."""
        for job, reply in self._replies():
            history.tell("stored", job=job, **reply)
        history.tell(
            "left",
            lanes=self.lanes(),
            sink=self.sink(),
            dead=self._dead(),
            lasting=self._lasting(),
            jobs=self._named("job:"),
            blobs=self._named("blob:"),
            others=self._others(),
            strays=list(strays),
            consumers={
                f"{keys.model} {lane}": len(self._consumers(keys.stream(lane))) for keys in self._keys for lane in LANES
            },
        )

    def _consumers(self, stream: str) -> list[Any]:
        found: list[Any] = self._redis.xinfo_consumers(stream, GROUP)
        return found

    def _names(self) -> Iterator[str]:
        for name in self._redis.scan_iter(match=f"{self._prefix}:*", count=1000):
            yield name.decode()

    def _named(self, kind: str) -> list[str]:
        beginnings = tuple(keys.job("").removesuffix("job:") + kind for keys in self._keys)
        return sorted(
            name.removeprefix(beginning)
            for name in self._names()
            for beginning in beginnings
            if name.startswith(beginning)
        )

    def _lasting(self) -> list[str]:
        return sorted(name for name in self._names() if not name.endswith(MEANT) and self._redis.pttl(name) == -1)

    def _others(self) -> list[str]:
        """Return the keys of no kind that is looked at otherwise, or that may be there."""
        kinds = tuple(keys.job("").removesuffix("job:") + kind for keys in self._keys for kind in KINDS)
        return sorted(name for name in self._names() if not name.endswith(MEANT) and not name.startswith(kinds))

    def _dead(self) -> list[dict[str, Any]]:
        streams: list[Any] = [self._redis.xrange(keys.dead) for keys in self._keys]
        entries = [entry for stream in streams for entry in stream]
        told = [{name.decode(): value for name, value in fields.items()} for _, fields in entries]
        return [
            {"job": entry["id"].decode(), "code": entry["code"].decode(), "deliveries": int(entry["deliveries"])}
            for entry in told
        ]

    def _replies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for keys in self._keys:
            beginning = keys.result("")
            for name in sorted(name for name in self._names() if name.startswith(beginning)):
                data: Any = self._redis.get(name)
                # a reply whose time is up just now is gone
                if data is not None:
                    yield name.removeprefix(beginning), told(decode_reply(data))
