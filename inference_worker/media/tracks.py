"""The audio tracks of a container: which there are, and the frames of one."""

from collections.abc import Iterator
from typing import Any

import av
from av.stream import Discard

from rpc.errors import InvalidInput

RATES = range(2000, 768_001)
"""Samples a second that a recording may have: far less would become thousands of samples each, far more takes filters
larger than any memory."""

LONGEST_FRAME_S = 60.0
"""More is no frame: it would be resampled at one go, however long the recording may be."""

MAX_CHANNELS = 64

MAX_BROKEN = 1000
"""After so many broken packets in a row a recording is given up."""

MAX_LISTED = 20
"""Tracks that a message lists."""


def choose(container: Any, number: int) -> Any:
    """Return the audio track of that number, counted from 1; raise `InvalidInput` with the list of those there are."""
    tracks = container.streams.audio
    if not tracks:
        raise InvalidInput(f"the {container.format.name} file has no audio track")
    if number > len(tracks):
        listed = ", ".join(f"{index} ({_described(track)})" for index, track in enumerate(tracks[:MAX_LISTED], start=1))
        plural = "s" if len(tracks) > 1 else ""
        raise InvalidInput(
            f"track {number} does not exist: the recording has {len(tracks)} audio track{plural}: {listed}"
        )
    for stream in container.streams:
        if stream.index != tracks[number - 1].index:
            # packets of other tracks are not unpacked
            stream.discard = Discard.all
    return tracks[number - 1]


def _described(track: Any) -> str:
    words = (track.metadata.get("language", ""), track.metadata.get("title", "")[:40], track.codec_context.name)
    return ", ".join([*filter(None, words), f"{track.channels} channel{'s' if track.channels > 1 else ''}"])


class Frames:
    """The frames of a track, without those that cannot be decoded or that no recording has.

    Attributes:
        read_bytes: the size of the packets so far.
        ended_early: whether the container or the decoder gave up before the end of the file.
        refusal: why the first frame that no recording has was left out.
    """

    def __init__(self, container: Any, track: Any) -> None:
        self.read_bytes = 0
        self.ended_early = False
        self.refusal: InvalidInput | None = None
        self._packets = container.demux(track)

    def __iter__(self) -> Iterator[Any]:
        """Yield the frames that can be decoded."""
        broken = 0
        for packet in self._readable():
            self.read_bytes += packet.size
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:
                # invalid data mostly; the decoder of AAC has other words for it
                frames = None
            is_whole = frames is not None
            for frame in frames or ():
                if refusal := _refusal(frame):
                    self.refusal = self.refusal or InvalidInput(refusal)
                    is_whole = False
                else:
                    yield frame
            broken = 0 if is_whole else broken + 1
            if broken == MAX_BROKEN:
                self.ended_early = True
                return

    def _readable(self) -> Iterator[Any]:
        """Yield the packets up to the first error of the container."""
        while True:
            try:
                packet = next(self._packets)
            except StopIteration:
                return
            except av.error.MemoryError:
                raise
            except (av.error.FFmpegError, ValueError):
                self.ended_early = True
                return
            yield packet


def _refusal(frame: Any) -> str | None:
    """Return why no recording has such a frame, or None."""
    rate, channels = frame.sample_rate, frame.layout.nb_channels
    if rate not in RATES:
        return f"the recording has {rate} samples a second"
    if not 1 <= channels <= MAX_CHANNELS:
        return f"the recording has {channels} channels, over the limit of {MAX_CHANNELS}"
    if frame.samples > LONGEST_FRAME_S * rate:
        return f"the recording has {frame.samples / rate:.0f} s in one piece"
    return None


def starts_at_s(frame: Any) -> float | None:
    """Return the timestamp of a frame in seconds of the container's time, if it has one."""
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
