"""Which jobs may have ended an engine, by what its stages were at when it ended. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_worker.stamps import Work
from rpc.deliveries import Place


@dataclass(frozen=True, slots=True)
class Blame:
    """The evidence against the jobs of an engine that ended.

    Attributes:
        works: the works one of which may have ended it; None if nobody knows.
        alone: whether they are the work of a single job, which is then counted against it.
    """

    works: Sequence[Work] | None
    alone: bool = False

    def entries(self, model: str) -> frozenset[Place] | None:
        """Return the entries of a model that may have ended the engine; None if nobody knows."""
        if self.works is None:
            return None
        lists = [work.entries for work in self.works if work.model == model]
        return None if None in lists else frozenset().union(*(entries for entries in lists if entries))


NOBODY = Blame(())


def blame(works: Sequence[Work], *, stuck_before: float | None = None) -> Blame:
    """Return the blame for the end of an engine whose stages were at this.

    `stuck_before` is given of an engine that was killed because it hung: what had begun by then is to blame, if
    anything had. Else a suspect that worked alone is; else whatever was at work, or waited for a store, as what is
    fetched takes memory. Only a job that was at work while nothing else was, not even a fetch, is alone.
    """
    at_work = [work for work in works if not work.fetching]
    stuck = [work for work in at_work if stuck_before is not None and work.since <= stuck_before]
    possible = stuck or [work for work in at_work if work.alone] or works
    if not possible:
        return Blame(None)
    jobs = {(work.model, place) for work in possible for place in work.entries or ()}
    known = all(work.entries is not None for work in possible)
    return Blame(possible, alone=known and len(jobs) == 1 and bool(set(map(id, possible)) & set(map(id, at_work))))
