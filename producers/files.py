"""Calls for many files: several under way at a time, answered in the order the files were named."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from producers.tables import print_lines
from rpc import Client, InvalidInput
from rpc.errors import RpcError
from rpc.messages import new_job_id

WATCH_S = 0.5
"""How often is told what is under way."""

T = TypeVar("T")
Answer_co = TypeVar("Answer_co", covariant=True)


class Ask(Protocol[Answer_co]):
    """What is to be asked about a file, as the job of that id."""

    def __call__(self, file: Path, job_id: str) -> Answer_co:
        """Return the answer; raise `RpcError` or `OSError`."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one file: the answer, or the error."""

    file: Path
    answer: T | None
    error: RpcError | OSError | None = None

    def complaint(self) -> str:
        """Return the line that tells the error."""
        return f"penstock: {code_of(self.error)}: {self.file}: {reason_of(self.error)}"

    def error_as_json(self) -> dict[str, Any]:
        """Return what `--json` prints in place of the answer."""
        return {"file": str(self.file), "error": {"code": code_of(self.error), "message": reason_of(self.error)}}


def code_of(error: RpcError | OSError | None) -> str:
    """Return the code of an error; a file that cannot be read or written is no valid input."""
    return error.code if isinstance(error, RpcError) else InvalidInput.code


def reason_of(error: RpcError | OSError | None) -> str:
    """Return what an error says, without the name of the file."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    file: Path
    job_id: str
    outcome: Future[Outcome[T]]

    def carry_out(self, ask: Ask[T]) -> None:
        try:
            self.outcome.set_result(Outcome(self.file, ask(self.file, self.job_id)))
        except (RpcError, OSError) as error:
            self.outcome.set_result(Outcome(self.file, None, error))
        except BaseException as error:  # noqa: BLE001 (it is raised where the outcome is waited for)
            self.outcome.set_exception(error)


Watch = Callable[[Sequence[tuple[Path, str]]], None]
"""Told again and again, while an answer is waited for, which files are under way as which jobs."""


def answered(
    client: Client, model: str, files: Sequence[Path], ask: Ask[T], *, at_a_time: int, watch: Watch | None = None
) -> Generator[Outcome[T]]:
    """Yield what becomes of the files, in their order.

    If this is left early, by closing it or by ctrl-C, no further call begins and the jobs of those under way are
    cancelled; nobody waits for them.
    """
    waiting = iter(files)
    calls = deque(_begun(file, ask) for file in itertools.islice(waiting, at_a_time))
    try:
        while calls:
            while watch and not wait([calls[0].outcome], WATCH_S).done:
                watch([(call.file, call.job_id) for call in calls if not call.outcome.done()])
            outcome = calls[0].outcome.result()
            calls.popleft()
            calls.extend(_begun(file, ask) for file in itertools.islice(waiting, 1))
            yield outcome
    finally:
        _cancel(client, model, calls)


def _begun(file: Path, ask: Ask[T]) -> _Call[T]:
    call: _Call[T] = _Call(file, new_job_id(), Future())
    # a call may wait for an hour, which must not keep the program from ending
    threading.Thread(target=call.carry_out, args=(ask,), daemon=True).start()
    return call


def _cancel(client: Client, model: str, calls: Iterable[_Call[T]]) -> None:
    # without Redis there is nobody to tell
    with suppress(RpcError):
        for call in calls:
            if not call.outcome.done():
                client.cancel(model, call.job_id)


def print_complaint(outcome: Outcome[Any]) -> None:
    """Print the line that tells an error, on standard error."""
    print_lines([outcome.complaint()], stderr=True)
