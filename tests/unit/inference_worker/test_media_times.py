"""Times of a recording are those a player shows, and its length is that of its sound, whatever the container says."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from inference_worker.media import audio
from inference_worker.media.decoding import SPARSEST, UNSUSPECTED_S
from inference_worker.media.recording import RATE, Recording
from inference_worker.media.timeline import GAP_S, Timeline
from tests import crafted
from tests.films import Kind, film, tone

LONGEST_S = 3600.0

TIMED: Mapping[str, Kind] = {
    "mp4": Kind("mp4", "aac", "mpeg4"),
    "mov": Kind("mov", "aac", "mpeg4"),
    "mkv": Kind("matroska", "aac", "mpeg4"),
    "webm": Kind("webm", "libopus", "libvpx"),
    "flv": Kind("flv", "aac", "flv1"),
    "mpeg-ts": Kind("mpegts", "mp2", "mpeg2video"),
    "mpeg-ps": Kind("vob", "mp2", "mpeg2video"),
    "asf": Kind("asf", "libmp3lame", "msmpeg4v3"),
}
"""Containers that give every packet a time."""

COUNTED: Mapping[str, Kind] = {
    "wav": Kind("wav", "pcm_s16le"),
    "w64": Kind("w64", "pcm_s16le"),
    "aiff": Kind("aiff", "pcm_s16be"),
    "caf": Kind("caf", "pcm_s16le"),
    "au": Kind("au", "pcm_s16be"),
    "flac": Kind("flac", "flac"),
    "mp3": Kind("mp3", "libmp3lame"),
    "avi": Kind("avi", "libmp3lame", "mpeg4"),
    "ogg": Kind("ogg", "libopus"),
    **{name: TIMED[name] for name in ("mkv", "webm", "flv", "asf")},
}
"""Containers that say how long they are, or how many bytes they have, in front of their sound."""


def decode(data: bytes, longest_s: float = LONGEST_S) -> Recording:
    """Return a recording as it is decoded."""
    return audio.decode(data, longest_s=longest_s)


def sounding(recording: Recording) -> list[bool]:
    """Return for each half second whether there is sound in it."""
    blocks = recording.samples[: len(recording.samples) // (RATE // 2) * (RATE // 2)].reshape(-1, RATE // 2)
    return [bool(np.abs(block[2000:-2000].astype(int)).max() > 1000) for block in blocks]


def spans(*runs: tuple[bool, int]) -> list[bool]:
    """Return runs of half seconds, one after the other."""
    return [sounds for sounds, count in runs for _ in range(count)]


@pytest.mark.parametrize("name", TIMED)
def test_sound_that_starts_late_has_silence_in_front(name: str) -> None:
    """Sound from the second second on is heard there, and a picture that goes on behind it cuts nobody off."""
    recording = decode(film(TIMED[name], [(2, 4.1)], picture_s=6.0))

    assert sounding(recording) == spans((False, 4), (True, 4))
    assert not recording.truncated


@pytest.mark.parametrize("name", [*TIMED, "ogg"])
def test_a_gap_in_the_timestamps_is_silence(name: str) -> None:
    """What follows three seconds without packets is heard three seconds later, as a player plays it."""
    recording = decode(film(TIMED.get(name) or COUNTED[name], [(0, 1), (4, 5.1)]))

    assert sounding(recording) == spans((True, 2), (False, 6), (True, 2))
    assert not recording.truncated


@pytest.mark.parametrize("name", [*TIMED, "ogg"])
def test_an_offset_of_all_timestamps_is_not_a_length(name: str) -> None:
    """Two seconds that begin at 20,000 s, as in a dump of a broadcast, are two seconds."""
    recording = decode(film(TIMED.get(name) or COUNTED[name], [(0, 2.1)], offset_s=20_000.0), longest_s=10.0)

    assert sounding(recording) == spans((True, 4))
    assert not recording.truncated


@pytest.mark.parametrize("name", COUNTED)
def test_a_file_cut_off_is_truncated_and_a_whole_one_is_not(name: str) -> None:
    """By the length of the audio track, or the bytes that the file says it has."""
    data = film(COUNTED[name], [(0, 4)], picture_s=5.0 if COUNTED[name].pictures else 0.0)

    whole, part = decode(data), decode(data[: len(data) * 6 // 10])

    assert not whole.truncated
    assert part.truncated
    assert 0.5 < part.duration_s < 3.5


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_size_that_was_never_filled_in_cuts_nothing_off(size: int) -> None:
    """Programs that write WAV into a pipe do not know how long it will be."""
    data = film(COUNTED["wav"], [(0, 1)])
    place = data.index(b"data") + 4

    recording = decode(data[:place] + size.to_bytes(4, "little") + data[place + 4 :])

    assert (recording.duration_s, recording.truncated) == (1.0, False)


def test_joined_recordings_are_whole() -> None:
    """The length that the first of two MP3 tells is not that of both, nor is an estimate by the bit rate."""
    first, second = (film(COUNTED["mp3"], [(0, seconds)]) for seconds in (2, 3))

    recording = decode(first + second)

    assert recording.duration_s == pytest.approx(5.0, abs=0.2)
    assert not recording.truncated


@pytest.mark.parametrize("codec", ["libopus", "flac"])
@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (24_000, 1)])
def test_a_chain_of_ogg_is_heard_to_its_end(codec: str, rate: int, channels: int) -> None:
    """Links of another rate or of other channels follow, as in a dump of a radio station."""
    kind = Kind("ogg", codec)
    links = [film(kind, [(0, 1.1)]), film(kind, [(0, 1.1)], rate=rate, channels=channels), film(kind, [(0, 1.1)])]

    recording = decode(b"".join(links))

    assert recording.duration_s == pytest.approx(3.3, abs=0.15)
    assert not recording.truncated


def test_links_of_other_codecs_and_a_damaged_one_cost_only_themselves() -> None:
    """What can be decoded in front of and behind the damage is heard, and the recording is said to lack something."""
    flac, opus = (film(Kind("ogg", codec), [(0, 1.1)]) for codec in ("flac", "libopus"))
    damaged = opus.replace(b"OpusHead", b"rubbish!")

    assert decode(flac + opus).duration_s == pytest.approx(2.2, abs=0.1)
    recording = decode(flac + damaged + opus)
    assert recording.duration_s == pytest.approx(2.2, abs=0.1)
    assert recording.truncated


def test_a_gap_is_not_larger_than_its_file_lets_expect() -> None:
    """A timestamp 50 minutes later is another clock's: the sound behind it follows at once."""
    near, far = (film(TIMED["mkv"], [(0, 1), (after_s, after_s + 1)]) for after_s in (60.0, UNSUSPECTED_S + 1200))

    assert decode(near).duration_s == pytest.approx(61.0, abs=0.1)
    assert decode(far).duration_s == pytest.approx(2.0, abs=0.1)
    assert len(far) < SPARSEST * UNSUSPECTED_S


def test_a_number_of_channels_that_nobody_can_mix_is_no_error() -> None:
    """Of 11 channels without names the mean is heard."""
    samples = np.repeat(tone(1.0), 11).astype("<i2").tobytes()

    recording = decode(crafted.wav(samples, rate=48_000, channels=11))

    assert recording.duration_s == 1.0
    assert 7000 < np.abs(recording.samples.astype(int)).max() < 9000


def test_each_channel_is_a_recording() -> None:
    """Left and right by themselves, of equal length; a recording of one channel is one."""
    left, right = tone(1.0), tone(1.0, pitch=880.0) // 2
    data = crafted.wav(np.stack([left, right], axis=1).astype("<i2").tobytes(), rate=48_000, channels=2)

    heard = audio.decode_channels(data, longest_s=LONGEST_S)

    assert [int(np.argmax(np.abs(np.fft.rfft(each.samples.astype(float))))) for each in heard] == [440, 880]
    assert [each.duration_s for each in heard] == [1.0, 1.0]
    assert len(audio.decode_channels(film(COUNTED["mp3"], [(0, 1)]), longest_s=LONGEST_S)) == 1


def _placed(frames: Sequence[tuple[float | None, float]], start_s: float = 0.0) -> list[float]:
    timeline = Timeline(start_s)
    return [round(timeline.place(at_s, length_s, max_silence_s=lambda: 100.0), 3) for at_s, length_s in frames]


@pytest.mark.parametrize(
    ("frames", "silences"),
    [
        ([(0.0, 1), (1.0, 1)], [0, 0]),
        ([(0.0, 1), (1.0 + GAP_S / 2, 1), (2.0 + GAP_S / 2, 1)], [0, 0, 0]),
        ([(3.0, 1), (4.0, 1), (9.0, 1)], [3, 0, 4]),
        ([(-0.02, 1), (1.0, 1)], [0, 0]),
        ([(None, 1), (None, 1), (2.5, 1)], [0, 0, 0.5]),
        # another clock begins
        ([(50.0, 1), (0.0, 1), (3.0, 1)], [50, 0, 2]),
        ([(0.0, 1), (1e9, 1), (1e9 + 2, 1)], [0, 0, 1]),
        # a slow drift is made up for by the next gap
        ([(0.0, 1), (0.95, 1), (1.90, 1), (2.85, 1), (4.0, 1)], [0, 0, 0, 0, 0]),
        ([(0.0, 1), (1.06, 1), (2.12, 1)], [0, 0, 0.12]),
    ],
)
def test_silence_is_where_a_timestamp_is_late(frames: list[tuple[float | None, float]], silences: list[float]) -> None:
    """Frames by time and length, and the silence in front of each."""
    assert _placed(frames) == pytest.approx(silences)
    assert _placed([(None if at is None else at + 70.0, length) for at, length in frames], 70.0) == pytest.approx(
        silences
    )
