"""How much of a picture each model sees, as its workers told, remembered for a while."""

import re

from rpc.inspection import ModelState

SPELLED = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}|<=[1-9]\d{0,4}")
"""Width and height in pixels that every picture becomes, or the most that either has."""

REMEMBERED_S = 60.0


class Sights:
    """What a client knows; `now` is passed in, in seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    def get(self, model: str, *, now: float) -> str | None:
        """Return what a model sees ("384x384", "<=1280", "" if it does not say), or None if it must be asked."""
        until, sees = self._known.get(model, (now, ""))
        return sees if now < until else None

    def learn(self, state: ModelState, *, now: float) -> str:
        """Note what the live workers of a model tell, and return it; "" if there are none or they differ."""
        told = {about.get("sees", "") for about in state.workers.values()}
        sees = told.pop() if len(told) == 1 else ""
        # what is spelled otherwise is a newer worker's, or of a model of the users' own
        sees = sees if SPELLED.fullmatch(sees) else ""
        if state.workers:
            self._known[state.model] = (now + REMEMBERED_S, sees)
        return sees
