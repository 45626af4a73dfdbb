"""How much of a picture each model sees, as its workers told, remembered for a while."""

from rpc.inspection import ModelState

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
        if state.workers:
            self._known[state.model] = (now + REMEMBERED_S, sees)
        return sees
