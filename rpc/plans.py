"""The named calls, each as a plan: the jobs to send, and how their replies become what the caller gets.

Shared by both clients, which differ only in how they wait. No I/O but the files that callers name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from rpc import inputs, requests, results
from rpc.errors import InvalidInput, ModelError, PartialFailure, RpcError
from rpc.inputs import Sent
from rpc.messages import MOST_TOLD, Job, Reply
from rpc.rejects import Rejects, text_rejects
from rpc.requests import Asked, CallOptions, OnError
from rpc.results import Embeddings, Face, Transcript, Vector

T = TypeVar("T")

TRANSCRIBE_TIMEOUT_S = 3600.0

PICTURES_PER_JOB, COLBERT_PER_JOB = 16, 8
"""Most inputs of a job whose inputs, or whose replies, are large.

So few pictures that an entry holds them however small they are: a list must be cut in the same places when it is sent
again with its id, whether or not its pictures were shrunk this time.
"""


class EmbedOptions(CallOptions, total=False):
    """What `embed_text` takes besides.

    Attributes:
        model: "siglip" or "bge-m3".
        normalize: whether vectors have unit norm.
        dimensions: how many of their first numbers vectors keep; they are scaled to unit norm again if `normalize`.
        prompt: a text that the model puts in front; "" switches its default prompt off.
        prompt_name: which of the model's own prompts it puts in front.
    """

    model: str
    normalize: bool
    dimensions: int | None
    prompt: str | None
    prompt_name: str | None


class ListOptions(EmbedOptions, total=False):
    """What `embed_texts` takes besides.

    Attributes:
        on_error: whether failed inputs raise `PartialFailure`, or leave NaN.
    """

    on_error: OnError


class TranscribeOptions(CallOptions, total=False):
    """What `transcribe` takes besides.

    Attributes:
        task: "transcribe", or "translate" into English.
        vad: whether stretches without speech are left out first.
        beam_size: how many hypotheses are followed, 1 to 10; None leaves it to the worker.
        timestamps: whether segments are cut where the model hears them end; if not, one for each window.
        prompt: text that the model takes for what was said before each window: names, spelling, style. The last 223
            tokens of it count.
        initial_prompt: the same, as faster-whisper calls it.
        hotwords: words that are likely to be said, in front of the prompt.
        channels: "mix", or "split" for a transcript of each channel.
        track: which audio track of the file, counted from 1.
    """

    task: Literal["transcribe", "translate"]
    vad: bool
    beam_size: int | None
    timestamps: bool
    prompt: str | None
    initial_prompt: str | None
    hotwords: str | None
    channels: Literal["mix", "split"]
    track: int


def split(spoken: Mapping[str, Any], options: TranscribeOptions) -> tuple[dict[str, Any], CallOptions]:
    """Return the options of the op `transcribe`, without those left to the worker, and the options of the call."""
    requests.check_names(options, TranscribeOptions)
    given: dict[str, Any] = {**spoken, **options}
    call: Any = {name: given.pop(name) for name in CallOptions.__annotations__ if name in given}
    return {name: value for name, value in given.items() if value is not None}, call


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """Jobs, how long to wait for them, and what becomes of their replies; `answer` raises what they say went wrong."""

    jobs: Sequence[Job]
    call: CallOptions
    answer: Callable[[Sequence[Reply]], T]

    def conclude(self, replies: Sequence[Reply]) -> T:
        """Return the answer; raise the error of the replies, or `ModelError` if a result has not the form of its op."""
        try:
            return self.answer(replies)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            text = f"the result of job {self.jobs[0].id} has not the form that its op promises: {error!r}"
            raise ModelError(text[:MOST_TOLD]) from error


def any_op(asked: Asked, given: Sequence[Any], call: CallOptions) -> Plan[Mapping[str, Any]]:
    """Plan one job of any op; the answer is its result."""
    job = requests.job(asked, inputs.sendable(given), call)
    return Plan([job], call, lambda replies: requests.result_of(replies[0]))


def embed_text(asked: Asked, text: str, call: CallOptions, dimensions: int | None = None) -> Plan[Vector | Embeddings]:
    """Plan the vector of a text; with outputs, the embeddings of one text."""
    _check_dimensions(asked, dimensions)
    for error in text_rejects([text]).errors.values():
        raise error
    job = requests.job(asked, [text], call)
    if "outputs" in asked.options:
        return Plan([job], call, lambda replies: _embedding(job, replies[0], dimensions))
    return _one_vector(job, call, dimensions)


def _one_vector(job: Job, call: CallOptions, dimensions: int | None) -> Plan[Any]:
    normalize = requests.normalizes([job])
    return Plan([job], call, lambda replies: requests.vector_of(replies[0], dimensions, normalize=normalize))


def embed_texts(
    asked: Asked, texts: Sequence[str], call: CallOptions, *, on_error: OnError, dimensions: int | None = None
) -> Plan[Vector | Embeddings]:
    """Plan the vectors of texts, or with outputs their embeddings; a text that cannot be sent fails alone."""
    requests.check_texts(texts)
    requests.check_on_error(on_error)
    _check_dimensions(asked, dimensions)
    outputs = asked.options.get("outputs", ())
    most = COLBERT_PER_JOB if "colbert" in outputs else requests.INPUTS_PER_JOB
    rejects = text_rejects(texts)
    jobs = requests.list_jobs(asked, rejects.sent(texts), call, most=most)
    if outputs:
        made = _Made(jobs, outputs, rejects, dimensions)
        return Plan(jobs, call, lambda replies: made.embeddings(replies, on_error=on_error))
    return _vectors(jobs, call, on_error, rejects, dimensions)


def _vectors(
    jobs: Sequence[Job], call: CallOptions, on_error: OnError, rejects: Rejects, dimensions: int | None
) -> Plan[Any]:
    def answer(replies: Sequence[Reply]) -> Vector:
        return requests.vectors_of(jobs, replies, on_error=on_error, rejects=rejects, dimensions=dimensions)

    return Plan(jobs, call, answer)


def _check_dimensions(asked: Asked, dimensions: int | None) -> None:
    results.check_dimensions(dimensions)
    if dimensions is not None and "dense" not in asked.options.get("outputs", ("dense",)):
        raise InvalidInput("dimensions needs the output dense: other outputs are not cut")


def text_options(
    outputs: Sequence[str] | None, *, normalize: bool, prompt: str | None = None, prompt_name: str | None = None
) -> dict[str, Any]:
    """Return the options of `embed_text`, without those that are None; raise `InvalidInput` on wrong outputs."""
    if outputs is not None and (isinstance(outputs, str) or not outputs):
        raise InvalidInput(f"outputs is {outputs!r}, no list of names such as ('dense', 'sparse')")
    optional = {"outputs": outputs and list(outputs), "prompt": prompt, "prompt_name": prompt_name}
    return {"normalize": normalize, **{name: value for name, value in optional.items() if value is not None}}


def _embedding(job: Job, reply: Reply, dimensions: int | None) -> Embeddings:
    told = requests.result_of(reply)
    requests.check_complete(job, told)
    return _Made([job], job.options["outputs"], Rejects(1, {}), dimensions).together([told], {})


@dataclass(frozen=True, slots=True)
class _Made:
    """How the replies of a list call with outputs become its embeddings."""

    jobs: Sequence[Job]
    outputs: Sequence[str]
    rejects: Rejects
    dimensions: int | None

    def embeddings(self, replies: Sequence[Reply], *, on_error: OnError) -> Embeddings:
        """Return them; raise `PartialFailure` if inputs failed, unless told otherwise."""
        found = self.together(*requests.gathered(self.jobs, replies))
        if found.failed and on_error == "raise":
            text = requests.summary(found.failed, len(found.truncated))
            raise PartialFailure(text, vectors=found.dense, failed=found.failed, embeddings=found)
        return found

    def together(self, told: Sequence[Mapping[str, Any]], failed: Mapping[int, RpcError]) -> Embeddings:
        """Return the embeddings of all inputs from the results of their jobs."""
        lengths = [len(job.inputs) for job in self.jobs]
        sent = results.embeddings(told, lengths, failed, outputs=self.outputs)
        if sent.dense is not None:
            normalize = requests.normalizes(self.jobs)
            sent = replace(sent, dense=results.shortened(sent.dense, self.dimensions, normalize=normalize))
        return self.rejects.embeddings(sent)


def embed_image(
    asked: Asked, image: Any, call: CallOptions, *, sees: str, dimensions: int | None = None
) -> Plan[Vector]:
    """Plan the vector of a picture."""
    results.check_dimensions(dimensions)
    return _one_vector(requests.job(asked, [_picture(asked, image, sees).given], call), call, dimensions)


def embed_images(
    asked: Asked,
    images: Sequence[Any],
    call: CallOptions,
    *,
    sees: str,
    on_error: OnError,
    dimensions: int | None = None,
) -> Plan[Vector]:
    """Plan the vectors of pictures; one that is no picture fails alone. Raises `OSError` if a file cannot be read."""
    if isinstance(images, str | bytes) or not isinstance(images, Sequence):
        raise InvalidInput(f"images is a {type(images).__name__}, not a list of pictures")
    requests.check_on_error(on_error)
    results.check_dimensions(dimensions)
    sent, errors = [], {}
    for index, image in enumerate(images):
        try:
            sent.append(_picture(asked, image, sees).given)
        except InvalidInput as error:
            errors[index] = error
    jobs = requests.list_jobs(asked, sent, call, most=PICTURES_PER_JOB)
    return _vectors(jobs, call, on_error, Rejects(len(images), errors), dimensions)


def _picture(asked: Asked, image: Any, sees: str) -> Sent:
    return inputs.picture(image, sees, most_bytes=asked.max_input_bytes)


def face_options(
    score_threshold: float | None, nms_threshold: float | None, max_side: int | None = None
) -> dict[str, Any]:
    """Return the options of `detect_faces`, without those left to the worker."""
    options = {"score_threshold": score_threshold, "nms_threshold": nms_threshold, "max_side": max_side}
    return {name: value for name, value in options.items() if value is not None}


def detect_faces(asked: Asked, image: Any, call: CallOptions, *, sees: str) -> Plan[list[Face]]:
    """Plan the faces of a picture, in its own upright pixels."""
    max_side = asked.options.get("max_side")
    if sees and isinstance(max_side, int) and max_side > 0:
        sees = f"<={max_side}"
    sent = _picture(asked, image, sees)
    job = requests.job(asked, [sent.given], call)

    def answer(replies: Sequence[Reply]) -> list[Face]:
        return results.faces(results.one_of(requests.result_of(replies[0]), "images"), sent.size)

    return Plan([job], call, answer)


def transcribe(asked: Asked, audio: Any, call: CallOptions) -> Plan[Transcript]:
    """Plan the transcript of a recording; it may take an hour unless the call says otherwise."""
    timed = CallOptions(**{"timeout_s": TRANSCRIBE_TIMEOUT_S, **call})
    job = requests.job(asked, [inputs.recording(audio, most_bytes=asked.max_input_bytes)], timed)

    def answer(replies: Sequence[Reply]) -> Transcript:
        return results.transcript(results.one_of(requests.result_of(replies[0]), "transcripts"))

    return Plan([job], timed, answer)
