"""Cancelling a coroutine in one chosen await, so that a test can go through all of them."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class CancelledIn(Awaitable[T]):
    """A coroutine whose task is cancelled in its await number `place`, unless it has fewer.

    It is cancelled as soon as it awaits, or `late`: when what it awaits is done, and before it hears of it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], place: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._place = place
        self._late = late

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the coroutine, passing on what it awaits and what it hears."""
        inner = self._coroutine.__await__()
        try:
            awaited = next(inner)
            while True:
                self._cancel_if_there(awaited)
                try:
                    heard = yield awaited
                except BaseException as error:  # noqa: BLE001 (it is the coroutine's, whatever it is)
                    awaited = inner.throw(error)
                else:
                    awaited = inner.send(heard)
        except StopIteration as done:
            answer: T = done.value
            return answer

    def _cancel_if_there(self, awaited: object) -> None:
        task = asyncio.current_task()
        if self._place == 0 and task is not None:
            if self._late and isinstance(awaited, asyncio.Future):
                awaited.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        self._place -= 1
