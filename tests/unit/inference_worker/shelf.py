"""Where parts of jobs are kept in unit tests: the consumer's two verbs for it, without a server."""

from collections.abc import Iterable, Mapping
from typing import Any

from rpc.consumer import Consumer


class Shelf(Consumer):
    """Notes what is kept, by job; what is there already is given, and an error there is raised."""

    def __init__(self, there: Mapping[int, Any] | Exception | None = None) -> None:
        self._there = there or {}
        self.names: dict[str, list[str]] = {}

    def keep(self, job_id: str, fields: Iterable[tuple[str, bytes]], *, life_ms: int = 0) -> bool:
        """Note the names of the fields."""
        del life_ms
        self.names.setdefault(job_id, []).extend(name for name, _ in fields)
        return True

    def kept(self, job_id: str, given: int) -> Mapping[int, Any]:
        """Return what is there, of every input of every job."""
        del job_id, given
        if isinstance(self._there, Exception):
            raise self._there
        return self._there
