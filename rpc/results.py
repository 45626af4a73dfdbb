"""What the named calls return, as values, read from the result maps of the wire. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpc.errors import InvalidInput, ModelError, RpcError, from_code

Vector = NDArray[np.float32]
Point = tuple[float, float]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a transcript: from `start` to `end` in seconds of the recording."""

    start: float
    end: float
    word: str
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a transcript, with the fields openai-whisper gives.

    Attributes:
        id: its number in the transcript.
        seek: where the window it was heard in begins, in hundredths of a second of the recording.
        start: in seconds of the recording.
        end: in seconds of the recording.
        text: what was heard, as the model spells it, a blank in front.
        tokens: the model's tokens.
        temperature: at which it was decoded.
        avg_logprob: mean log probability of the tokens.
        compression_ratio: of the text; high where it repeats itself.
        no_speech_prob: how likely nobody speaks in the window.
        words: the words with their times, if they were asked for.
        channel: the number of the channel it was heard in, if channels were split.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording.

    Attributes:
        text: all of it.
        language: the code of the language, given or detected.
        duration: of the recording, in seconds.
        segments: stretches of it, in order.
        language_probability: of the language detected; 1 if it was given.
        truncated: whether the recording ends earlier than its file says, or could be decoded no further.
        channels: a transcript of each channel, if channels were split; `segments` are then those of all channels by
            time, and `language` is that of the channel in which most is said.
    """

    text: str
    language: str
    duration: float
    segments: list[Segment]
    language_probability: float = 1.0
    truncated: bool = False
    channels: list["Channel"] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain maps and lists, with openai-whisper's keys; optional ones only if they were asked for."""
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "channels"}
        told["segments"] = [_without_none(asdict(segment)) for segment in self.segments]
        if self.channels is not None:
            told["channels"] = [
                {"channel": each.number, "name": each.name, **each.transcript.as_dict()} for each in self.channels
            ]
        return told


@dataclass(frozen=True, slots=True)
class Channel:
    """What was said in one channel of a recording.

    Attributes:
        number: of the channel, counted from 1.
        name: "left" or "right" of two, else "channel 3".
        transcript: its transcript.
    """

    number: int
    name: str
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture, in pixels of the upright picture as it was given.

    Attributes:
        bbox: x and y of the upper left corner, width and height.
        confidence: from 0 to 1.
        landmarks: right eye, left eye, tip of the nose, right and left corner of the mouth, as (x, y).
    """

    bbox: tuple[float, float, float, float]
    confidence: float
    landmarks: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What BGE-M3 makes of texts, in their order; None what was not asked for.

    Attributes:
        dense: float32 (n, d), of unit norm; the row of a text that failed is NaN.
        sparse: for each text, token id -> weight above 0; empty for one that failed.
        colbert: for each text, float32 (tokens, d), rows of unit norm; no rows for one that failed.
        truncated: for each text, whether it was cut.
        failed: the place of each text that failed -> its error; there are none unless `on_error="nan"` let them pass.
    """

    dense: Vector | None
    sparse: list[dict[int, float]] | None
    colbert: list[Vector] | None
    truncated: list[bool]
    failed: Mapping[int, RpcError] = field(default_factory=dict)


def one_of(result: Mapping[str, Any], name: str) -> Any:
    """Return what a job with one input is told under `name`; raise its error if the input failed."""
    for failure in result.get("failed", ()):
        raise from_code(failure["code"], failure["message"])
    try:
        return result[name][0]
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(f"the result has no {name}") from error


def transcript(told: Mapping[str, Any]) -> Transcript:
    """Return a transcript from its map."""
    channels = told.get("channels")
    split = (
        None if channels is None else [Channel(each["channel"], each["name"], transcript(each)) for each in channels]
    )
    segments = [_segment(segment) for segment in told["segments"]]
    return Transcript(**_known(Transcript, {**told, "segments": segments, "channels": split}))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _segment(told: Mapping[str, Any]) -> Segment:
    words = told.get("words")
    heard = None if words is None else [Word(**_known(Word, word)) for word in words]
    return Segment(**_known(Segment, {**told, "words": heard}))


def _known(kind: type[Transcript | Segment | Word], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields a class has: what a newer worker tells besides is not for this reader."""
    return {field.name: told[field.name] for field in fields(kind) if field.name in told}


def faces(told: Mapping[str, Any], size: Size | None) -> list[Face]:
    """Return the faces of a picture; `size` is its own width and height if it was shrunk before it was sent."""
    across, down = (1.0, 1.0) if size is None else (size[0] / told["width"], size[1] / told["height"])
    return [_face(face, across, down) for face in told["faces"]]


def _face(told: Mapping[str, Any], across: float, down: float) -> Face:
    x, y, width, height = told["bbox"]
    points = tuple((px * across, py * down) for px, py in told["landmarks"])
    return Face((x * across, y * down, width * across, height * down), told["confidence"], points)


def stacked(lengths: Sequence[int], parts: Sequence[Vector | None]) -> Vector:
    """Return the vectors of several jobs of these many inputs as one array; those of a job without any are NaN."""
    width = next((part.shape[1] for part in parts if part is not None), 0)
    blank = [np.full((length, width), np.nan, np.float32) for length in lengths]
    filled = [empty if part is None else part for part, empty in zip(parts, blank, strict=True)]
    return np.concatenate(filled) if filled else np.zeros((0, 0), np.float32)


def embeddings(
    told: Sequence[Mapping[str, Any]],
    lengths: Sequence[int],
    failed: Mapping[int, RpcError],
    *,
    outputs: Collection[str],
) -> Embeddings:
    """Return what several jobs of these many texts made of them as one; the map of a job that failed is empty.

    `outputs` are those that were asked for: a job all of whose texts failed does not tell.
    """
    return Embeddings(
        dense=stacked(lengths, [result.get("vectors") for result in told]) if "dense" in outputs else None,
        sparse=[_weights(item) for item in _listed(told, lengths, "sparse")] if "sparse" in outputs else None,
        colbert=[_rows(item) for item in _listed(told, lengths, "colbert")] if "colbert" in outputs else None,
        truncated=[bool(item) for item in _listed(told, lengths, "truncated")],
        failed=failed,
    )


def _listed(told: Sequence[Mapping[str, Any]], lengths: Sequence[int], name: str) -> list[Any]:
    """Return what is told of each text under a name, None where nothing is."""
    return [item for result, length in zip(told, lengths, strict=True) for item in result.get(name, [None] * length)]


def _weights(told: Mapping[str, Any] | None) -> dict[int, float]:
    return {} if told is None else dict(zip(told["ids"].tolist(), told["weights"].tolist(), strict=True))


def _rows(told: NDArray[Any] | None) -> Vector:
    return no_rows() if told is None else told.astype(np.float32)


def no_rows() -> Vector:
    """Return the token vectors of a text that failed."""
    return np.zeros((0, 0), np.float32)


def check_dimensions(dimensions: Any) -> None:
    """Raise `InvalidInput` unless `dimensions` is None or a whole number above 0."""
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 1):
        raise InvalidInput(f"dimensions must be a whole number above 0, got {dimensions!r:.100}")


def shortened(vectors: Vector, dimensions: int | None, *, normalize: bool) -> Vector:
    """Return the first `dimensions` numbers of vectors, float32 (..., dimensions), all of them if it is None.

    With `normalize` they are scaled to length 1, as OpenAI defines its `dimensions`; without, they are cut and no more.
    Raises `InvalidInput` if the vectors have fewer. Vectors of no numbers, where all inputs failed, stay as they are.
    """
    width = vectors.shape[-1]
    if dimensions is None or width in {0, dimensions}:
        return vectors
    if dimensions > width:
        raise InvalidInput(f"dimensions must be between 1 and {width}, got {dimensions}")
    cut: Vector = vectors[..., :dimensions]
    if not normalize:
        return cut.copy()
    lengths = np.linalg.norm(cut, axis=-1, keepdims=True)
    scaled: Vector = (cut / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
