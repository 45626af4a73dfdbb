"""Where parts of jobs are kept in unit tests: the consumer's two verbs for it, without a server."""

from collections.abc import Iterable, Mapping
from typing import Any

from rpc.consumer import Consumer


class Shelf(Consumer):
    """Notes what is kept, by job; what is there already is given, and an error there is raised."""

    def __init__(self, there: Mapping[int, Any] | Exception | None = None) -> None:
        self._there = there or {}
        self.names: dict[str, list[str]] = {}

    def keep(self, job_id: str, fields: Iterable[tuple[str, bytes]]) -> None:
        """Note the names of the fields."""
        self.names.setdefault(job_id, []).extend(name for name, _ in fields)

    def kept(self, job_id: str, given: int) -> Mapping[int, Any]:
        """Return what is there, of every input of every job."""
        del job_id, given
        if isinstance(self._there, Exception):
            raise self._there
        return self._there
