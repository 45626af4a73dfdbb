"""Recordings from outside, as samples."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from rpc.errors import InvalidInput

RATE = 16_000
"""Samples a second of what `decode` returns: what Whisper hears."""

FORMATS = "wav,w64,aiff,caf,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,asf"
"""The containers that are opened. Playlists, session descriptions and the like are none of them: those make FFmpeg
open other files and sockets."""

SPARSEST, UNSUSPECTED_S = 400, 1800.0
"""Fewer bytes a second than any codec makes of speech (AMR at 4.75 kbit/s makes 600): a file that has brought no more
after half an hour of sound is a bomb of packed silence."""

MOST_BROKEN = 1000
"""After so many broken packets in a row a recording is given up."""

# its complaints about damaged files are told to the caller, not to the worker's log
av.logging.set_level(None)


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording.

    Attributes:
        samples: int16, mono, `RATE` a second.
        declared_s: how long the container says it is, if it says so.
    """

    samples: NDArray[np.int16]
    declared_s: float | None = None

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return len(self.samples) / RATE


def decode(given: Any, *, longest_s: float) -> Recording:
    """Return the first audio track of an encoded recording; of a damaged one, the part that can be decoded.

    Raises:
        InvalidInput: no bytes, no recording of a known format, without an audio track, empty, or longer than
            `longest_s` seconds, whatever it says of itself.
    """
    if not isinstance(given, bytes):
        raise InvalidInput(f"the input is of type {type(given).__name__}, not the bytes of a recording")
    if not given:
        raise InvalidInput("the recording is empty")
    try:
        with av.open(io.BytesIO(given), metadata_errors="ignore", options={"format_whitelist": FORMATS}) as container:
            return _decoded(container, longest_s)
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"not a recording of a known format: {type(error).__name__}") from error


def _decoded(container: Any, longest_s: float) -> Recording:
    if not container.streams.audio:
        raise InvalidInput(f"the {container.format.name} file has no audio track")
    declared_s = container.duration / av.time_base if container.duration else None
    if declared_s is not None and declared_s > longest_s:
        raise _too_long(declared_s, longest_s)
    track = _Track(container)
    parts, count = [], 0
    for part in track.parts():
        parts.append(part)
        count += len(part)
        _check(count / RATE, track.read_bytes, longest_s)
    if not count:
        raise InvalidInput("the recording has no samples")
    return Recording(np.concatenate(parts), declared_s)


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

    def parts(self) -> Iterator[NDArray[np.int16]]:
        """Yield samples as they are decoded, resampled."""
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in self._frames():
            # gaps in the timestamps would be filled or cut
            frame.pts = None
            yield from map(_samples, resampler.resample(frame))
        yield from map(_samples, resampler.resample(None))

    def _frames(self) -> Iterator[Any]:
        """Yield the frames, without those whose packets are broken."""
        broken = 0
        for packet in self._container.demux(self._container.streams.audio[0]):
            self.read_bytes += packet.size
            try:
                yield from packet.decode()
                broken = 0
            except av.error.InvalidDataError:
                broken += 1
                if broken == MOST_BROKEN:
                    return


def _samples(frame: Any) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = frame.to_ndarray().reshape(-1)
    return samples
