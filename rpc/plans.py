"""The named calls, each as a plan: the jobs to send, and how their replies become what the caller gets.

Shared by both clients, which differ only in how they wait. No I/O but the files that callers name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rpc import inputs, requests, results
from rpc.errors import InvalidInput, ModelError, PartialFailure
from rpc.inputs import Sent
from rpc.messages import MOST_TOLD, Job, Reply
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
    """

    model: str
    normalize: bool


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
    """

    task: Literal["transcribe", "translate"]
    vad: bool
    beam_size: int | None
    timestamps: bool


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
    return Plan([requests.job(asked, given, call)], call, lambda replies: requests.result_of(replies[0]))


def embed_text(asked: Asked, text: str, call: CallOptions) -> Plan[Vector | Embeddings]:
    """Plan the vector of a text; with outputs, the embeddings of one text."""
    requests.check_texts([text])
    job = requests.job(asked, [text], call)
    if "outputs" in asked.options:
        return Plan([job], call, lambda replies: _embedding(job, replies[0]))
    return Plan([job], call, lambda replies: requests.vector_of(replies[0]))


def embed_texts(
    asked: Asked, texts: Sequence[str], call: CallOptions, *, on_error: OnError
) -> Plan[Vector | Embeddings]:
    """Plan the vectors of texts, or with outputs their embeddings."""
    requests.check_texts(texts)
    outputs = asked.options.get("outputs", ())
    most = COLBERT_PER_JOB if "colbert" in outputs else requests.INPUTS_PER_JOB
    jobs = requests.list_jobs(asked, texts, call, most=most)
    if outputs:
        return Plan(jobs, call, lambda replies: _embeddings(jobs, replies, on_error=on_error))
    return Plan(jobs, call, lambda replies: requests.vectors_of(jobs, replies, on_error=on_error))


def text_options(outputs: Sequence[str] | None, *, normalize: bool) -> dict[str, Any]:
    """Return the options of `embed_text`; raise `InvalidInput` if outputs is no list of names."""
    if outputs is None:
        return {"normalize": normalize}
    if isinstance(outputs, str) or not outputs:
        raise InvalidInput(f"outputs is {outputs!r}, no list of names such as ('dense', 'sparse')")
    return {"normalize": normalize, "outputs": list(outputs)}


def _embedding(job: Job, reply: Reply) -> Embeddings:
    told = requests.result_of(reply)
    requests.check_complete(job, told)
    return results.embeddings([told], [1], {}, outputs=job.options["outputs"])


def _embeddings(jobs: Sequence[Job], replies: Sequence[Reply], *, on_error: OnError) -> Embeddings:
    told, failed = requests.gathered(jobs, replies)
    lengths = [len(job.inputs) for job in jobs]
    found = results.embeddings(told, lengths, failed, outputs=jobs[0].options["outputs"])
    if failed and on_error == "raise":
        text = requests.summary(failed, sum(lengths))
        raise PartialFailure(text, vectors=found.dense, failed=failed, embeddings=found)
    return found


def embed_image(asked: Asked, image: Any, call: CallOptions, *, sees: str) -> Plan[Vector]:
    """Plan the vector of a picture."""
    job = requests.job(asked, [_picture(asked, image, sees).given], call)
    return Plan([job], call, lambda replies: requests.vector_of(replies[0]))


def embed_images(
    asked: Asked, images: Sequence[Any], call: CallOptions, *, sees: str, on_error: OnError
) -> Plan[Vector]:
    """Plan the vectors of pictures."""
    if isinstance(images, str | bytes) or not isinstance(images, Sequence):
        raise InvalidInput(f"images is a {type(images).__name__}, not a list of pictures")
    given = [_picture(asked, image, sees).given for image in images]
    jobs = requests.list_jobs(asked, given, call, most=PICTURES_PER_JOB)
    return Plan(jobs, call, lambda replies: requests.vectors_of(jobs, replies, on_error=on_error))


def _picture(asked: Asked, image: Any, sees: str) -> Sent:
    return inputs.picture(image, sees, most_bytes=asked.max_input_bytes)


def detect_faces(asked: Asked, image: Any, call: CallOptions, *, sees: str) -> Plan[list[Face]]:
    """Plan the faces of a picture, in its own upright pixels."""
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
