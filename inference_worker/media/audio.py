"""Recordings from outside, as samples."""

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from inference_worker.media import boxes, ebml, id3, riff
from inference_worker.media.recording import RATE, SAMPLE, Hearing, NoSpace, Recording
from rpc.errors import InvalidInput

FORMATS = "wav,w64,aiff,caf,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,asf"
"""The containers that are opened. Playlists, session descriptions and the like are none of them: those make FFmpeg
open other files and sockets."""

TOGETHER = RATE
"""Samples that go through the resampler at a time: a few hundred would cost about as much."""

SPARSEST, UNSUSPECTED_S = 400, 1800.0
"""Fewer bytes a second than any codec makes of speech (AMR at 4.75 kbit/s makes 600): a file that has brought no more
after half an hour of sound is a bomb of packed silence."""

MOST_BROKEN = 1000
"""After so many broken packets in a row a recording is given up."""

RATES = range(2000, 768_001)
"""Samples a second that a recording may have: far less would become thousands of samples each, far more takes filters
larger than any memory."""

LONGEST_FRAME_S = 60.0
"""More is no frame: it would be resampled at one go, however long the recording may be."""

MOST_KINDS = 100
"""How often the rate or the channels may change, as they do where advertisements have been put in."""

TAGS = (b"Xing", b"Info", b"VBRI")
"""In the first frame of an MP3 that knows its length. Otherwise FFmpeg guesses it from the first frames' bit rate."""

# its complaints about damaged files are told to the caller, not to the worker's log
av.logging.set_level(None)


def decode(given: Any, *, longest_s: float) -> Recording:
    """Return the first audio track of an encoded recording; of a damaged one, the part that can be decoded.

    Raises:
        InvalidInput: no bytes, no recording of a known format, without an audio track, empty, or longer than
            `longest_s` seconds, whatever it says of itself.
        NoSpace: the file system is full where its samples are to lie.
    """
    if not isinstance(given, bytes):
        raise InvalidInput(f"the input is of type {type(given).__name__}, not the bytes of a recording")
    if not given:
        raise InvalidInput("the recording is empty")
    boxes.check(given)
    riff.check(given)
    id3.check(given)
    ebml.check(given)
    try:
        with av.open(io.BytesIO(given), metadata_errors="ignore", options={"format_whitelist": FORMATS}) as container:
            return _decoded(container, _declared_s(container, given), len(given), longest_s)
    except (InvalidInput, NoSpace):
        raise
    except Exception as error:
        raise InvalidInput(f"not a recording of a known format, or damaged: {type(error).__name__}") from error


def _declared_s(container: Any, data: bytes) -> float | None:
    """Return how long a recording says it is; None where FFmpeg guesses, which is often wrong by a factor of ten."""
    guessed = container.format.name == "aac" or (container.format.name == "mp3" and not _has_length(data))
    return container.duration / av.time_base if container.duration and not guessed else None


def _has_length(mp3: bytes) -> bool:
    start = 0
    if mp3.startswith(b"ID3"):
        # ID3v2, 3.1: a size of four times seven bits, without the ten bytes it stands in
        start = 10 + sum(byte << shift for byte, shift in zip(mp3[6:10], (21, 14, 7, 0), strict=False))
    return any(mp3.find(tag, start, start + 2048) >= 0 for tag in TAGS)


def _decoded(container: Any, declared_s: float | None, size: int, longest_s: float) -> Recording:
    if not container.streams.audio:
        raise InvalidInput(f"the {container.format.name} file has no audio track")
    if declared_s is not None and declared_s > longest_s:
        raise _too_long(declared_s, longest_s)
    track = _Track(container)
    with Hearing() as heard:
        for part in track.parts():
            heard.add(part.tobytes())
            # a container may pack its packets
            _check(heard.size / SAMPLE / RATE, min(track.read_bytes, size), longest_s)
        if not heard.size:
            raise InvalidInput("the recording has no samples")
        return heard.recording(declared_s)


def _check(seconds: float, read_bytes: int, longest_s: float) -> None:
    """Raise `InvalidInput` if what is decoded so far is too much."""
    if seconds > longest_s:
        raise _too_long(seconds, longest_s)
    if seconds > UNSUSPECTED_S and read_bytes < SPARSEST * seconds:
        raise InvalidInput(f"the recording has {seconds:.0f} s or more in {read_bytes} bytes, which no speech has")


def _too_long(seconds: float, longest_s: float) -> InvalidInput:
    return InvalidInput(f"the recording lasts {seconds:.0f} s or more, over the limit of {longest_s:g} s")


class _Track:
    """The first audio track of a container.

    Attributes:
        read_bytes: the size of the packets decoded so far.
    """

    def __init__(self, container: Any) -> None:
        self.read_bytes = 0
        self._container = container
        for stream in container.streams:
            # what nobody hears need not be unpacked
            if stream.index != container.streams.audio[0].index:
                stream.discard = Discard.all

    def parts(self) -> Iterator[NDArray[np.int16]]:
        """Yield samples as they are decoded, resampled."""
        kinds = 0
        sound: _Sound | None = None
        for frame in self._frames():
            _check_frame(frame)
            if sound is None or sound.kind != _kind(frame):
                if sound is not None:
                    yield from sound.rest()
                sound = _Sound(_kind(frame))
                kinds += 1
                if kinds > MOST_KINDS:
                    raise InvalidInput(f"the recording changes its rate or channels more than {MOST_KINDS} times")
            yield from sound.add(frame)
        if sound is not None:
            yield from sound.rest()

    def _frames(self) -> Iterator[Any]:
        """Yield the frames, without those whose packets are broken."""
        broken = 0
        for packet in self._container.demux(self._container.streams.audio[0]):
            self.read_bytes += packet.size
            try:
                yield from packet.decode()
                broken = 0
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:
                # invalid data mostly; the decoder of AAC has other words for it
                broken += 1
                if broken == MOST_BROKEN:
                    return


def _check_frame(frame: Any) -> None:
    if frame.sample_rate not in RATES:
        raise InvalidInput(f"the recording has {frame.sample_rate} samples a second")
    seconds = frame.samples / frame.sample_rate
    if seconds > LONGEST_FRAME_S:
        raise InvalidInput(f"the recording has {seconds:.0f} s in one piece")


def _kind(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


class _Sound:
    """Sound of one kind, on its way to `RATE` and one channel."""

    def __init__(self, kind: tuple[str, str, int]) -> None:
        self.kind = kind
        self._waiting = av.AudioFifo()
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def add(self, frame: Any) -> Iterator[NDArray[np.int16]]:
        """Go on with a frame; yield what is done."""
        # gaps in the timestamps would be filled or cut
        frame.pts = None
        self._waiting.write(frame)
        while self._waiting.samples >= TOGETHER:
            yield from self._resampled(self._waiting.read(TOGETHER))

    def rest(self) -> Iterator[NDArray[np.int16]]:
        """Yield what is left at the end."""
        if self._waiting.samples:
            yield from self._resampled(self._waiting.read())
        yield from self._resampled(None)

    def _resampled(self, frame: Any) -> Iterator[NDArray[np.int16]]:
        if frame is not None:
            frame.pts = None
        return map(_samples, self._resampler.resample(frame))


def _samples(frame: Any) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = frame.to_ndarray().reshape(-1)
    return samples
