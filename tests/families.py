"""The four families as callers meet them, played in the test's process by models that can be worked out by hand.

What a played model answers to a picture depends on the pixels the real one would see, and on nothing else.
"""

import contextlib
import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference_worker.media import images
from inference_worker.models.base import Outcome, failed_inputs
from inference_worker.models.vectors import Embedded, embedding_result
from rpc import pictures
from rpc.errors import InvalidInput, RpcError
from rpc.messages import Failure, Job, Reply
from tests.answering import Answer, Answering, show_life
from tests.conftest import MakeConsumer

SIGLIP_SEES, YUNET_SEES = (384, 384), 1280

SEES = {"siglip": f"{SIGLIP_SEES[0]}x{SIGLIP_SEES[1]}", "yunet": f"<={YUNET_SEES}"}

MOST_PIXELS = 50_000_000

DIMENSION = 32

BRIGHT = 128
"""What the played YuNet takes for a face: the one rectangle of at least this brightness."""

STARTED = 1_000_000


def vector_of(pixels: NDArray[np.uint8], *, normalize: bool) -> NDArray[np.float32]:
    """Return the vector of a picture: two that differ in one pixel of what SigLIP sees have different ones."""
    seen = pictures.fit(Image.fromarray(pixels), SIGLIP_SEES)
    return _scaled(hashlib.sha256(np.asarray(seen).tobytes()).digest(), normalize=normalize)


def text_vector(text: str, *, normalize: bool = True) -> NDArray[np.float32]:
    """Return the vector of a text."""
    return _scaled(hashlib.sha256(text.encode()).digest(), normalize=normalize)


def _scaled(digest: bytes, *, normalize: bool) -> NDArray[np.float32]:
    raw = np.frombuffer(digest, np.uint8).astype(np.float32)
    return raw / np.linalg.norm(raw) if normalize else raw


def siglip(job: Job, inputs: list[Any]) -> Mapping[str, Any] | Reply:
    """Answer as SigLIP does; a text "bad" and an empty one are refused."""
    normalize = bool(job.options.get("normalize", True))
    outcomes: list[Outcome] = []
    for item in inputs:
        try:
            outcomes.append([Embedded(_embedded(job.op, item, normalize=normalize), truncated=False)])
        except InvalidInput as error:
            outcomes.append(error)
    return _refused(outcomes) or embedding_result(outcomes, DIMENSION)


def _embedded(op: str, item: Any, *, normalize: bool) -> NDArray[np.float32]:
    if op == "embed_image":
        return vector_of(images.decode(item, most_pixels=MOST_PIXELS), normalize=normalize)
    if error := _text_error(item):
        raise error
    return text_vector(item, normalize=normalize)


def _text_error(text: str) -> InvalidInput | None:
    """Return why a text is refused, or None."""
    if text == "bad":
        return InvalidInput("the text is bad")
    return None if text.strip() else InvalidInput("the text is empty")


def bge_m3(job: Job, inputs: list[Any]) -> Mapping[str, Any] | Reply:
    """Answer as BGE-M3 does: each letter of a text is a token, whose id is its code.

    A text "bad" and an empty one are refused.
    """
    outcomes: list[Outcome] = [_text_error(text) or [text] for text in inputs]
    texts = [None if isinstance(outcome, RpcError) else outcome[0] for outcome in outcomes]
    asked = job.options.get("outputs", ["dense"])
    told: dict[str, Any] = {
        "truncated": [text is not None and len(text) > DIMENSION for text in texts],
        "failed": failed_inputs(outcomes),
    }
    told["tokens"] = [len(text) for text in inputs]
    if "dense" in asked:
        blank = np.full(DIMENSION, np.nan, np.float32)
        told["vectors"] = np.stack([blank if text is None else text_vector(text) for text in texts])
    if "sparse" in asked:
        told["sparse"] = [None if text is None else _sparse(text) for text in texts]
    if "colbert" in asked:
        told["colbert"] = [None if text is None else _colbert(text) for text in texts]
    return _refused(outcomes) or told


def _sparse(text: str) -> Mapping[str, Any]:
    ids = sorted(set(map(ord, text)))
    return {"ids": np.array(ids, np.int32), "weights": np.full(len(ids), 0.5, np.float32)}


def _colbert(text: str) -> NDArray[np.float16]:
    return np.eye(len(text), DIMENSION, dtype=np.float16)


def whisper(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
    """Answer as Whisper does: with the bytes of the recording as text, and how it was asked in place of the tokens."""
    asked = job.options
    text = f" {inputs[0].decode()}"
    segment: dict[str, Any] = {"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": text, "tokens": [50364, 1]}
    segment |= {"temperature": 0.0, "avg_logprob": -0.25, "compression_ratio": 0.75, "no_speech_prob": 0.125}
    if asked.get("word_timestamps"):
        segment["words"] = [{"start": 0.5, "end": 1.5, "word": text, "probability": 0.5}]
    told = {"text": text, "language": asked.get("language") or "en", "language_probability": 0.75, "duration": 1.5}
    transcript = {**told, "truncated": False, "segments": [segment]}
    if asked.get("channels") == "split":
        transcript["channels"] = [{"channel": 1, "name": "left", **transcript}]
    return {"transcripts": [transcript], "failed": []}


def yunet(job: Job, inputs: list[Any]) -> Mapping[str, Any] | Reply:
    """Answer as YuNet does, in pixels of the picture it was given, shrunk before it looks at it."""
    del job
    try:
        pixels = images.decode(inputs[0], most_pixels=MOST_PIXELS)
    except InvalidInput as error:
        return Failure.of(error)
    height, width = pixels.shape[:2]
    seen = np.asarray(pictures.cap(Image.fromarray(pixels), YUNET_SEES)).min(axis=2)
    scale = np.array([width / seen.shape[1], height / seen.shape[0]])
    faces = [_face(seen >= BRIGHT, scale)] if (seen >= BRIGHT).any() else []
    return {"images": [{"faces": faces, "width": width, "height": height}], "failed": []}


def _face(bright: NDArray[np.bool_], scale: NDArray[np.float64]) -> Mapping[str, Any]:
    rows, columns = np.nonzero(bright)
    first, last = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    corner, size = first * scale, (last - first) * scale
    landmarks = [(corner + size / 2).tolist()] * 5
    return {"bbox": corner.tolist() + size.tolist(), "confidence": 0.9, "landmarks": landmarks}


def _refused(outcomes: Sequence[Outcome]) -> Failure | None:
    """Return the reply to a job of one input that failed, as workers give it."""
    (first, *rest) = outcomes
    return Failure.of(first) if isinstance(first, RpcError) and not rest else None


def echo(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
    """Answer with the inputs."""
    del job
    return {"outputs": inputs}


PLAYED = {"siglip": siglip, "bge-m3": bge_m3, "whisper": whisper, "yunet": yunet, "echo": echo}

FOUR = ("siglip", "bge-m3", "whisper", "yunet")

OPS = {
    "siglip": "embed_text,embed_image",
    "bge-m3": "embed_text",
    "whisper": "transcribe",
    "yunet": "detect_faces",
    "echo": "echo",
}


class Families:
    """Plays live workers of the four families until left.

    Attributes:
        jobs: the inputs of each job answered, as the model got them, with the job.
    """

    def __init__(
        self,
        make_consumer: MakeConsumer,
        *,
        sees: Mapping[str, str] = SEES,
        live: bool = True,
        models: Sequence[str] = FOUR,
    ) -> None:
        self.jobs: list[tuple[Job, list[Any]]] = []
        self._lock = threading.Lock()
        self._running = contextlib.ExitStack()
        self._consumers = {name: make_consumer(model=name) for name in models}
        for name, consumer in self._consumers.items():
            if live:
                seen = {"sees": sees[name]} if name in sees else {}
                seen |= {"dimension": str(DIMENSION)} if name in {"siglip", "bge-m3"} else {}
                consumer.announce(
                    {"device": "cpu", "bytes": str(1024**3), "started": str(STARTED), "ops": OPS[name], **seen}
                )
                show_life(consumer)

    def __enter__(self) -> Self:
        """Begin."""
        answering = [Answering(consumer, self._noted(name)) for name, consumer in self._consumers.items()]
        for each in answering:
            self._running.enter_context(each)
        for each in answering:
            # all of them before any is waited for
            self._running.callback(each.stop)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._running.close()

    def _noted(self, name: str) -> Answer:
        def answer(job: Job, inputs: list[Any]) -> Mapping[str, Any] | Reply:
            with self._lock:
                self.jobs.append((job, inputs))
            return PLAYED[name](job, inputs)

        return answer

    @property
    def inputs(self) -> list[Any]:
        """All inputs of all jobs."""
        return [item for _, inputs in self.jobs for item in inputs]
