"""The models and their workers, as Redis last told, and the models whose work waits and is not done."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from producers.gateway.scaling import ScaleFromZero
from rpc import AsyncClient
from rpc.errors import RpcError, Unavailable
from rpc.inspection import ModelState, known_models, model_state

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks."""

FRESH_S = 0.2
"""A look younger than this is not worth another."""


@dataclass(slots=True)
class Progress:
    """What was seen of one model's work.

    Attributes:
        done: how many jobs were done.
        passes: how many passes each worker had run.
        still_since: since when neither became more although jobs waited.
    """

    done: int
    passes: Mapping[str, int]
    still_since: float | None = None


@dataclass(slots=True)
class Watch:
    """Whether work that waits gets done, from look to look. Pure: `now` is passed in, in seconds."""

    stalled_s: float
    scaling: ScaleFromZero = field(default_factory=ScaleFromZero)
    _seen: dict[str, Progress] = field(default_factory=dict)

    def look(self, states: Mapping[str, ModelState], now: float) -> None:
        """Note what is to be seen of all models now; those nobody ever served while it was watched do not count."""
        for name, state in states.items():
            if name in self._seen or state.workers:
                self._note(name, state, now)

    def _note(self, name: str, state: ModelState, now: float) -> None:
        done, waiting = sum(lane.done for lane in state.lanes), sum(lane.waiting for lane in state.lanes)
        passes = {worker: passes_of(about) for worker, about in state.workers.items()}
        seen = self._seen.setdefault(name, Progress(done, passes))
        # a long job is work as well; a worker that begins anew has done nothing yet
        passed = any(count > seen.passes.get(worker, 0) for worker, count in passes.items())
        # work of a model that may have no worker waits for one to be started
        starting = not state.workers and self.scaling.covers(name, known=True)
        if not waiting or done != seen.done or passed or starting:
            seen.still_since = None
        elif seen.still_since is None:
            seen.still_since = now
        seen.done, seen.passes = done, passes

    def stalled(self, now: float) -> list[str]:
        """Return the models whose work has waited for too long while none was done."""
        times = ((name, seen.still_since) for name, seen in self._seen.items())
        return sorted(name for name, since in times if since is not None and now - since >= self.stalled_s)


def passes_of(about: Mapping[str, str]) -> int:
    """Return how many passes a worker has run, as it tells; 0 if it does not."""
    told = about.get("passes", "")
    return int(told) if told.isascii() and told.isdigit() else 0


class Directory:
    """Looks every second; a question that needs it sooner looks again."""

    def __init__(self, client: AsyncClient, prefix: str, *, stalled_s: float, scaling: ScaleFromZero) -> None:
        self._client = client
        self._prefix = prefix
        self._watch = Watch(stalled_s, scaling)
        self._states: dict[str, ModelState] = {}
        self._looked_at = float("-inf")
        self._failed = ""
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at < FRESH_S:
                return
            try:
                names = await self._client.ask(known_models(self._prefix))
                asked = [self._client.ask(model_state(self._prefix, name)) for name in names]
                states = dict(zip(names, await asyncio.gather(*asked), strict=True))
            except RpcError as error:
                if not self._failed:
                    log.warning("nothing is known of the workers: %s", error)
                # without the address: health is told to everybody
                self._failed = "Redis does not answer, so nothing is known of the workers"
            except Exception:
                # the next look may understand what this one did not
                self._failed = "what Redis tells of the workers cannot be read"
                log.exception("the look at the workers failed")
            else:
                # a server that lost its data hears of its workers' models again soon
                gone = {name: replace(state, workers={}) for name, state in self._states.items() if name not in states}
                self._states, self._failed = states | gone, ""
                self._watch.look(states, time.monotonic())
            self._looked_at = time.monotonic()

    def states(self) -> list[ModelState]:
        """Return what is known of all models; raise `Unavailable` if the last look failed."""
        if self._failed:
            raise Unavailable(self._failed)
        return list(self._states.values())

    @property
    def known(self) -> bool:
        """Whether any model was ever served, as Redis last told."""
        return bool(self._states)

    def stalled(self) -> list[str]:
        """Return the models whose work waits and is not done."""
        return self._watch.stalled(time.monotonic())

    async def find(self, model: str) -> ModelState | None:
        """Return what is known of a model that is served now, looked at again if it seems not to be; None if it is not.

        Raises `Unavailable` if that cannot be known.
        """
        state = self._states.get(model)
        if state is None or not state.workers or self._failed:
            await self._look()
            self.states()
            state = self._states.get(model)
        return state
