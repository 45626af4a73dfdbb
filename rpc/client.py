"""The blocking client: callers wait on an event, one background thread listens for all of them."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from rpc import calls, plans, requests
from rpc.connection import BlockingConnection
from rpc.deadlines import Deadline
from rpc.errors import Timeout, Unavailable
from rpc.forks import forks
from rpc.inputs import has_pillow
from rpc.inspection import model_state
from rpc.keys import check_job_id, check_model, reply_channel
from rpc.listener import Listener, Slot
from rpc.messages import Job, Reply
from rpc.parts import Progress, progress
from rpc.plans import EmbedOptions, ListOptions, Plan, TranscribeOptions
from rpc.relay import relay
from rpc.requests import Asked, CallOptions, OnError
from rpc.results import Embeddings, Face, Transcript, Vector
from rpc.settings import RedisSettings
from rpc.sights import Sights
from rpc.sinks import DEFAULT_LEASE_S, Completion
from rpc.waits import missing

T = TypeVar("T")

SLICE_S = 0.5
"""The longest a caller sleeps in one piece, so that a time limit raised in its thread is noticed."""


class Client:
    """Calls models over Redis. Safe to share between threads, and to use again in a forked process.

    Holds two connections however many calls are waiting.
    """

    def __init__(self, url: str | None = None, *, settings: RedisSettings | None = None) -> None:
        self._settings = settings or RedisSettings.from_env(url=url)
        self._prefix = self._settings.prefix
        self._channel = reply_channel(self._prefix, uuid.uuid4().hex)
        self._starting = threading.Lock()
        self._listener: Listener | None = None
        self._connection = BlockingConnection(self._settings)
        self._forks = forks()
        self._sights = Sights()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close both connections; calls that still wait fail with `Unavailable`."""
        self._after_fork()
        with self._starting:
            if self._listener is not None:
                self._listener.stop()
                self._listener = None
        self._connection.close()

    @property
    def prefix(self) -> str:
        """The first part of every key this client uses."""
        return self._prefix

    @property
    def channel(self) -> str:
        """Where this client hears of finished jobs: what its plans say."""
        return self._channel

    @property
    def waiting(self) -> int:
        """How many jobs are waited for here now."""
        return 0 if self._listener is None else len(self._listener.waits)

    def ask(self, call: calls.Call[T], *, until: Deadline | None = None) -> T:
        """Carry out one of the conversations of `rpc.calls`, by a deadline if there is one."""
        self._after_fork()
        return self._connection.run(call, until=until)

    def asked(self, model: str, op: str, options: Mapping[str, Any] | None = None) -> Asked:
        """Return what a plan of `rpc.plans` begins with: what is asked, to be answered on this client's channel."""
        self._after_fork()
        settings = self._settings
        return Asked(model, op, options or {}, self._channel, settings.inline_bytes, settings.max_input_bytes)

    def _after_fork(self) -> None:
        if self._forks != forks():
            # the parent goes on using the sockets, and its thread does not exist here
            self._forks, self._listener, self._starting = forks(), None, threading.Lock()
            self._connection = BlockingConnection(self._settings)
            self._channel = reply_channel(self._prefix, uuid.uuid4().hex)

    def submit(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Queue a job and return its id; raise `QueueFull` if the lane has no room."""
        job = requests.job(Asked(model, op, options or {}), inputs, call)
        self._submit([job], requests.deadline(call))
        return job.id

    def result(self, model: str, job_id: str, *, timeout_s: float = requests.DEFAULT_TIMEOUT_S) -> Mapping[str, Any]:
        """Wait for the result of a job that anybody submitted; raise its error, `JobLost` or `Timeout`."""
        name = (check_model(model), check_job_id(job_id))
        slot = Slot()
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        listener = self._listening(deadline)
        listener.waits.add(name, slot, now=time.monotonic())
        try:
            for pause_s in requests.looks():
                # the job may have been submitted by somebody else, whose channel is told
                with contextlib.suppress(Unavailable):
                    listener.look_at([name], until=deadline)
                if slot.wait(min(pause_s, deadline.remaining_s(time.monotonic()))) or deadline.passed(time.monotonic()):
                    break
            return requests.result_of(self._await(name, slot, deadline))
        finally:
            listener.waits.remove(name, slot)

    def cancel(self, model: str, job_id: str) -> calls.CancelOutcome:
        """Answer a job with `Cancelled` if it is not answered yet; say what came of it."""
        return self.ask(calls.cancel(self._prefix, model, job_id))

    def progress(self, model: str, job_id: str) -> Progress:
        """Return how far a job is, whoever submitted it."""
        return self.ask(progress(self._prefix, model, job_id))

    def consume(
        self,
        sink: str,
        handler: Callable[[Completion], object],
        *,
        models: Sequence[str] | None = None,
        stop: threading.Event | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        """Hand the replies that were sent on to a sink to `handler`, at least once each, until `stop` is set.

        Those of all models unless some are named. One that `handler` raises on comes again after `lease_s`. It has a
        connection of its own.
        """
        relay(self._settings, sink, handler, models=models, stop=stop, lease_s=lease_s)

    def call(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> Mapping[str, Any]:
        """Queue a job, wait, and return its result; raise its error."""
        return self.carry_out(plans.any_op(self.asked(model, op, options), inputs, call))

    @overload
    def embed_text(self, text: str, *, outputs: None = None, **rest: Unpack[EmbedOptions]) -> Vector: ...

    @overload
    def embed_text(self, text: str, *, outputs: Sequence[str], **rest: Unpack[EmbedOptions]) -> Embeddings: ...

    def embed_text(
        self,
        text: str,
        *,
        model: str = "siglip",
        normalize: bool = True,
        outputs: Sequence[str] | None = None,
        **call: Unpack[CallOptions],
    ) -> Vector | Embeddings:
        """Return the vector of a text, float32 (d,), of unit norm unless `normalize` is off.

        With `outputs` ("dense", "sparse", "colbert"; bge-m3 has them), the embeddings of one text.
        """
        asked = self.asked(model, "embed_text", plans.text_options(outputs, normalize=normalize))
        return self.carry_out(plans.embed_text(asked, text, call))

    @overload
    def embed_texts(self, texts: Sequence[str], *, outputs: None = None, **rest: Unpack[ListOptions]) -> Vector: ...

    @overload
    def embed_texts(
        self, texts: Sequence[str], *, outputs: Sequence[str], **rest: Unpack[ListOptions]
    ) -> Embeddings: ...

    def embed_texts(
        self,
        texts: Sequence[str],
        *,
        model: str = "siglip",
        normalize: bool = True,
        outputs: Sequence[str] | None = None,
        on_error: OnError = "raise",
        **call: Unpack[CallOptions],
    ) -> Vector | Embeddings:
        """Return the vectors of texts, float32 (n, d), in their order; with `outputs`, their embeddings.

        If some texts failed, raises `PartialFailure`, or with `on_error="nan"` leaves NaN rows.
        """
        asked = self.asked(model, "embed_text", plans.text_options(outputs, normalize=normalize))
        return self.carry_out(plans.embed_texts(asked, texts, call, on_error=on_error))

    def embed_image(
        self,
        image: Any,
        *,
        model: str = "siglip",
        normalize: bool = True,
        shrink: bool = True,
        **call: Unpack[CallOptions],
    ) -> Vector:
        """Return the vector of a picture, float32 (d,), of unit norm unless `normalize` is off.

        `image` is bytes of a file, a path, a PIL image, pixels: uint8 (h, w, 3), RGB, or a `Reference`, which the
        worker opens. A picture larger than the model sees is shrunk here if that loses nothing, unless `shrink` is
        off. A file that cannot be read is an `OSError`.
        """
        asked = self.asked(model, "embed_image", {"normalize": normalize})
        return self.carry_out(plans.embed_image(asked, image, call, sees=self._sees(model, asked=shrink)))

    def embed_images(
        self,
        images: Sequence[Any],
        *,
        model: str = "siglip",
        normalize: bool = True,
        shrink: bool = True,
        on_error: OnError = "raise",
        **call: Unpack[CallOptions],
    ) -> Vector:
        """Return the vectors of pictures, float32 (n, d), in their order; see `embed_image` and `embed_texts`."""
        asked = self.asked(model, "embed_image", {"normalize": normalize})
        sees = self._sees(model, asked=shrink)
        return self.carry_out(plans.embed_images(asked, images, call, sees=sees, on_error=on_error))

    def detect_faces(
        self,
        image: Any,
        *,
        model: str = "yunet",
        score_threshold: float = 0.6,
        shrink: bool = True,
        **call: Unpack[CallOptions],
    ) -> list[Face]:
        """Return the faces in a picture, the surest first, in pixels of the upright picture as it was given."""
        asked = self.asked(model, "detect_faces", {"score_threshold": score_threshold})
        return self.carry_out(plans.detect_faces(asked, image, call, sees=self._sees(model, asked=shrink)))

    def transcribe(
        self,
        audio: Any,
        language: str | None = None,
        *,
        word_timestamps: bool = False,
        model: str = "whisper",
        **options: Unpack[TranscribeOptions],
    ) -> Transcript:
        """Return what is said in a recording, given as bytes, a path or a `Reference`.

        Waits an hour unless `timeout_s` is given. `language` is "ko" or "korean"; it is detected unless given.
        With `word_timestamps` each word gets its time.
        """
        spoken = {"language": language, "word_timestamps": word_timestamps}
        chosen, call = plans.split(spoken, options)
        return self.carry_out(plans.transcribe(self.asked(model, "transcribe", chosen), audio, call))

    def _sees(self, model: str, *, asked: bool) -> str:
        """Return how much of a picture a model sees, as its live workers last told; "" if it is not to be shrunk."""
        if not asked or not has_pillow():
            return ""
        known = self._sights.get(model, now=time.monotonic())
        if known is not None:
            return known
        try:
            state = self.ask(model_state(self._prefix, model))
        except Unavailable:
            # the call itself is tried again until its time is up
            return ""
        return self._sights.learn(state, now=time.monotonic())

    def carry_out(self, plan: Plan[T]) -> T:
        """Queue the jobs of a plan, wait for their replies, and return what it makes of them."""
        deadline = requests.deadline(plan.call)
        try:
            return plan.answer(self._replies(plan.jobs, deadline))
        except (Timeout, KeyboardInterrupt, SystemExit):
            if plan.call.get("cancel_abandoned"):
                self._abandon(plan.jobs)
            raise

    def _abandon(self, jobs: Sequence[Job]) -> None:
        # without Redis there is nobody to tell; a job that is done already stays so
        at_once = Deadline.after(0.0, now=time.monotonic())
        with contextlib.suppress(Unavailable):
            for job in jobs:
                self.ask(calls.cancel(self._prefix, job.model, job.id), until=at_once)

    def _replies(self, jobs: Sequence[Job], deadline: Deadline) -> list[Reply]:
        """Return the replies to jobs; those that Redis loses are submitted again, under their ids."""
        replies = self._replies_once(jobs, deadline)
        while lost := missing(replies, deadline, now=time.monotonic()):
            again = self._replies_once([jobs[place] for place in lost], deadline)
            for place, reply in zip(lost, again, strict=True):
                replies[place] = reply
        return replies

    def _replies_once(self, jobs: Sequence[Job], deadline: Deadline) -> list[Reply]:
        listener = self._listening(deadline)
        slots = [Slot() for _ in jobs]
        names = [(job.model, job.id) for job in jobs]
        for name, slot in zip(names, slots, strict=True):
            listener.waits.add(name, slot, now=time.monotonic())
        try:
            there = self._submit(jobs, deadline)
            # what is not found now is found by the sweep
            with contextlib.suppress(Unavailable):
                listener.look_at([name for name, done in zip(names, there, strict=True) if done], until=deadline)
            return [self._await(name, slot, deadline) for name, slot in zip(names, slots, strict=True)]
        finally:
            for name, slot in zip(names, slots, strict=True):
                listener.waits.remove(name, slot)

    def _submit(self, jobs: Sequence[Job], deadline: Deadline) -> list[bool]:
        for attempt in retrying(deadline.remaining_s(time.monotonic())):
            with attempt:
                return self.ask(calls.submit(self._settings, jobs), until=deadline)
        raise AssertionError("unreachable")

    def _await(self, name: tuple[str, str], slot: Slot, deadline: Deadline) -> Reply:
        while not slot.wait(min(SLICE_S, deadline.remaining_s(time.monotonic()))):
            if deadline.passed(time.monotonic()):
                raise Timeout(f"no reply to job {name[1]} of {name[0]} in time; it goes on", job_id=name[1])
        if slot.reply is None:
            raise AssertionError("unreachable")
        return slot.reply

    def _listening(self, deadline: Deadline) -> Listener:
        self._after_fork()
        with self._starting:
            if self._listener is None:
                self._listener = Listener(self._settings, self._connection, self._channel)
            listener = self._listener
        listener.ready(deadline)
        return listener


def retrying(budget_s: float) -> Retrying:
    """Return attempts at something idempotent, repeated while Redis is away and the budget lasts."""
    return Retrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        stop=stop_after_delay(budget_s),
        reraise=True,
    )
