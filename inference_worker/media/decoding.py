"""The samples of a recording as its containers are read one after another, held to the limits of length and size."""

from contextlib import ExitStack
from typing import Any, Self

import av

from inference_worker.media import resampling, sizes, tracks
from inference_worker.media.recording import RATE, SAMPLE, Hearing, Recording
from inference_worker.media.resampling import Resampler
from inference_worker.media.timeline import Timeline
from inference_worker.media.tracks import Frames
from rpc.errors import InvalidInput

SPARSEST, UNSUSPECTED_S = 400, 1800.0
"""Fewer bytes a second than any codec makes of speech (AMR at 4.75 kbit/s makes 600): a file that has brought no more
after half an hour of sound is a bomb of packed silence. Gaps in the timestamps have the same bound."""

MAX_KINDS = 100
"""How often the rate or the channels may change, as they do where advertisements have been put in. Each change costs a
filter."""

MAX_SPLIT = 8
"""Channels that are heard each by itself."""

SILENCE = bytes(30 * RATE * SAMPLE)
"""Silence that is written at a time."""


class TooMuch(InvalidInput):
    """The recording is longer than allowed, or a bomb: what was decoded of it does not count."""


class Decoding:
    """Samples of one channel, or of each channel by itself.

    Attributes:
        ended_early: whether something of the recording could not be decoded.
        size: bytes of samples so far, of one channel.
    """

    def __init__(self, *, file_bytes: int, longest_s: float, split: bool) -> None:
        self.ended_early = False
        self.size = 0
        self._file_bytes = file_bytes
        self._longest_s = longest_s
        self._split = split
        self._hearings: list[Hearing] = []
        self._files = ExitStack()
        self._kinds = 0
        self._silence_s = 0.0
        self._read_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def check_length(self, declared_s: float | None) -> None:
        """Raise `TooMuch` if a recording says that it is longer than allowed."""
        if declared_s is not None and declared_s > self._longest_s:
            raise self._too_long(declared_s)

    def read(self, container: Any, track: Any) -> None:
        """Decode a track to its end, or to where it can be decoded no further.

        Raises:
            InvalidInput: it has no frame that a recording has.
            TooMuch: it is longer than allowed, or a bomb.
        """
        before = self.size, self._read_bytes
        frames = Frames(container, track)
        timeline = Timeline((container.start_time or 0) / av.time_base)
        current, resamplers = None, list[Resampler]()
        for frame in frames:
            self._read_bytes = before[1] + frames.read_bytes
            kind = resampling.kind_of(frame)
            at_s, length_s = tracks.starts_at_s(frame), frame.samples / kind.rate
            silence_s = timeline.place(at_s, length_s, max_silence_s=self._max_silence_s)
            if silence_s or kind != current:
                self._finish(resamplers)
                if kind != current and not self._may_change():
                    break
                current, resamplers = kind, self._resamplers(frame)
                self._add_silence(silence_s)
            if self._add(resamplers, frame):
                self._check()
            if not resamplers:
                current = None
        self._finish(resamplers)
        self.ended_early |= frames.ended_early
        if self.size == before[0]:
            raise frames.refusal or InvalidInput("the recording has no samples")

    def recordings(self, declared_s: float | None, data: bytes) -> list[Recording]:
        """Return a recording for each channel that is heard, told by its file how long it should be."""
        part = sizes.flat_part(data)
        if part < 1:
            declared_s = self._seconds / part if part else self._longest_s
        elif declared_s is None:
            self.ended_early |= sizes.is_cut(data)
        return [hearing.recording(declared_s, ended_early=self.ended_early) for hearing in self._hearings]

    @property
    def _seconds(self) -> float:
        return self.size / SAMPLE / RATE

    def _max_silence_s(self) -> float:
        """Return the seconds of silence that may be added now."""
        most_s = max(UNSUSPECTED_S, min(self._read_bytes, self._file_bytes) / SPARSEST) - self._silence_s
        return min(most_s, self._longest_s - self._seconds)

    def _may_change(self) -> bool:
        """Count a change of rate or channels; return whether it is one of those allowed."""
        self._kinds += 1
        self.ended_early |= self._kinds > MAX_KINDS
        return self._kinds <= MAX_KINDS

    def _resamplers(self, frame: Any) -> list[Resampler]:
        if not self._hearings:
            channels = frame.layout.nb_channels if self._split else 1
            if channels > MAX_SPLIT:
                raise TooMuch(f"the recording has {channels} channels, of which at most {MAX_SPLIT} are heard apart")
            self._hearings = [self._files.enter_context(Hearing()) for _ in range(channels)]
        return [Resampler(frame) for _ in self._hearings]

    def _add(self, resamplers: list[Resampler], frame: Any) -> int:
        """Resample a frame; return the bytes that are done. Resamplers that fail are of no use any more."""
        before = self.size
        channels = resampling.split(frame, len(resamplers)) if self._split else [frame]
        try:
            for resampler, hearing, channel in zip(resamplers, self._hearings, channels, strict=True):
                for samples in resampler.add(channel):
                    hearing.add(samples.tobytes())
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            resamplers.clear()
            self.ended_early = True
        self._count()
        return self.size - before

    def _finish(self, resamplers: list[Resampler]) -> None:
        for resampler, hearing in zip(resamplers, self._hearings, strict=False):
            for samples in resampler.rest():
                hearing.add(samples.tobytes())
        resamplers.clear()
        self._count()

    def _add_silence(self, seconds: float) -> None:
        left = round(seconds * RATE) * SAMPLE
        self._silence_s += seconds
        while left:
            some = SILENCE[:left]
            for hearing in self._hearings:
                hearing.add(some)
            left -= len(some)
        self._count()

    def _count(self) -> None:
        """Note how much there is; of channels that a broken frame left uneven, the longest counts."""
        for hearing in self._hearings:
            self.size = max(self.size, hearing.size)

    def _check(self) -> None:
        """Raise `TooMuch` if there is too much already; containers may pack their packets."""
        if self._seconds > self._longest_s:
            raise self._too_long(self._seconds)
        sound_s, read = self._seconds - self._silence_s, min(self._read_bytes, self._file_bytes)
        if sound_s > UNSUSPECTED_S and read < SPARSEST * sound_s:
            raise TooMuch(f"the recording has {sound_s:.0f} s or more in {read} bytes, which no speech has")

    def _too_long(self, seconds: float) -> TooMuch:
        return TooMuch(f"the recording lasts {seconds:.0f} s or more, over the limit of {self._longest_s:g} s")
