"""Frames of any rate, format and number of channels become 16,000 samples a second of one channel each."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from inference_worker.media.recording import RATE

Samples = NDArray[np.int16]

TOGETHER = RATE
"""Samples that go through the resampler at a time: a few hundred would cost about as much."""

MIXED = 8
"""Channels up to which FFmpeg knows how to mix an unnamed layout. Of more, the mean is heard."""

FULL_SCALES = {"u8": 128.0, "s16": 32768.0, "s32": 2.0**31, "s64": 2.0**63}


class Kind(NamedTuple):
    """The properties that are equal in frames of one resampler."""

    form: str
    layout: str
    rate: int


def kind_of(frame: Any) -> Kind:
    """Return the kind of a frame."""
    return Kind(frame.format.name, frame.layout.name, frame.sample_rate)


def split(frame: Any, channels: int) -> Sequence[Any]:
    """Return a frame for each of so many channels; of a frame that has more or fewer, the mean for each."""
    waves = _waves(frame)
    if len(waves) != channels:
        waves = np.repeat(waves.mean(axis=0, keepdims=True), channels, axis=0)
    return [_mono(wave, frame) for wave in waves]


def _waves(frame: Any) -> NDArray[np.float32]:
    """Return the samples of a frame as floats of full scale 1, (channels, samples)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    name = frame.format.name.removesuffix("p")
    middle = FULL_SCALES["u8"] if name == "u8" else 0.0
    waves: NDArray[np.float32] = ((samples - middle) / FULL_SCALES.get(name, 1.0)).astype(np.float32)
    return waves


def _mono(wave: NDArray[np.float32], frame: Any) -> Any:
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave)[None], format="flt", layout="mono")
    made.sample_rate = frame.sample_rate
    return made


class Resampler:
    """Sound of one kind on its way to `RATE` and one channel."""

    def __init__(self, first: Any) -> None:
        """Make ready for frames of the kind of the first one."""
        self._is_mixed_here = first.layout.nb_channels > MIXED
        self._waiting = av.AudioFifo()
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def add(self, frame: Any) -> Iterator[Samples]:
        """Take a frame; yield the samples that are done."""
        if self._is_mixed_here:
            frame = _mono(_waves(frame).mean(axis=0), frame)
        # timestamps are read elsewhere: the resampler would fill or cut by them
        frame.pts = None
        self._waiting.write(frame)
        while self._waiting.samples >= TOGETHER:
            yield from self._resampled(self._waiting.read(TOGETHER))

    def rest(self) -> Iterator[Samples]:
        """Yield the samples that are left at the end."""
        if self._waiting.samples:
            yield from self._resampled(self._waiting.read())
        yield from self._resampled(None)

    def _resampled(self, frame: Any) -> Iterator[Samples]:
        if frame is not None:
            frame.pts = None
        return map(_flat, self._resampler.resample(frame))


def _flat(frame: Any) -> Samples:
    samples: Samples = frame.to_ndarray().reshape(-1)
    return samples
