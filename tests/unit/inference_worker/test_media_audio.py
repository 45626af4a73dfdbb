"""Recordings whose containers say wrong things of them, or other things half way."""

import errno
import io
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from inference_worker.media import audio, boxes
from inference_worker.media.recording import RATE, SAMPLE, NoSpace, Recording
from inference_worker.models.base import OutOfMemory
from inference_worker.outcome import blame
from inference_worker.standins.whisper import tone_speech, wav
from rpc.errors import InvalidInput
from tests import crafted, hazards

LONGEST_S = 3600.0


def decode(data: bytes, longest_s: float = LONGEST_S) -> Recording:
    """Return a recording as it is decoded."""
    return audio.decode(data, longest_s=longest_s)


def encoded(form: str, codec: str, *, rate: int, layout: str, title: str = "", **options: str) -> bytes:
    """Return five seconds of tones."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as container:
        container.metadata["title"] = title
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = layout
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(stream.format, layout, rate, size)
        sound = np.ascontiguousarray(hazards.stereo(seconds=5.0).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="stereo")
        frame.sample_rate = 44_100
        for made in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(("form", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("flac", "flac")])
@pytest.mark.parametrize(("rate", "layout"), [(22_050, "mono"), (44_100, "mono"), (22_050, "stereo")])
def test_a_recording_may_change_its_rate_and_channels(form: str, codec: str, rate: int, layout: str) -> None:
    """Both parts are heard, as where something has been put into a broadcast."""
    data = encoded(form, codec, rate=44_100, layout="stereo") + encoded(form, codec, rate=rate, layout=layout)

    samples = decode(data).samples

    # FLAC's own parser takes the second header for a bit of sound
    assert len(samples) / RATE == pytest.approx(10.0, abs=1.0)
    for start in (1, len(samples) // RATE - 2):
        loudest = np.abs(np.fft.rfft(samples[start * RATE :][:RATE].astype(float)))
        assert sorted(np.argsort(loudest)[-2:].tolist()) == [440, 660]


def test_a_recording_may_not_change_all_the_time() -> None:
    """Each change costs a filter: the recording ends at the hundredth, and says so."""
    short = [encoded("mp3", "libmp3lame", rate=44_100, layout=layout)[:8000] for layout in ("stereo", "mono")]

    recording = decode(b"".join(short) * 60)

    assert recording.truncated
    assert 10 < recording.duration_s < decode(b"".join(short) * 49).duration_s * 1.1


def test_a_guessed_length_is_not_told() -> None:
    """Where FFmpeg goes by the first frames, AAC and MP3 that do not say, nobody is called cut off, or too long."""
    told = encoded("mp3", "libmp3lame", rate=44_100, layout="stereo")
    untold = encoded("mp3", "libmp3lame", rate=44_100, layout="stereo", write_xing="0")

    assert decode(told).declared_s == pytest.approx(5.0, abs=0.1)
    assert decode(untold).declared_s is None
    assert decode(encoded("adts", "aac", rate=44_100, layout="stereo")).declared_s is None


def test_what_follows_a_quiet_beginning_does_not_make_it_too_long() -> None:
    """An MP3 of variable bit rate without a length lasts as long as it lasts."""
    quiet = np.zeros((44_100 * 4, 2), np.int16)
    loud = np.random.default_rng(1).normal(0, 8000, quiet.shape).astype(np.int16)
    data = _mp3(quiet, 32_000) + _mp3(loud, 320_000)

    assert decode(data, longest_s=9.0).duration_s == pytest.approx(8.0, abs=0.2)


def _mp3(sound: np.ndarray, bit_rate: int) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream: Any = container.add_stream("libmp3lame", rate=44_100)
        stream.bit_rate = bit_rate
        resampler = av.AudioResampler(stream.format, "stereo", 44_100, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.reshape(1, -1)), format="s16", layout="stereo")
        frame.sample_rate = 44_100
        for made in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("name", ["mp4, aac", "aac", "flac", "mp3"])
def test_damage_in_the_middle_costs_only_itself(name: str) -> None:
    """Whatever the decoder calls it, the beginning and the end are heard."""
    data = hazards.RECORDINGS_GOOD[name]()
    for broken in _broken(data):
        assert decode(broken).duration_s > 1.2


def _broken(data: bytes) -> Iterator[bytes]:
    chance = np.random.default_rng(5)
    for length in (1, 50, 500) * 10:
        start = int(chance.integers(len(data) // 3, 2 * len(data) // 3))
        yield data[:start] + chance.bytes(length) + data[start + length :]


def test_titles_are_no_tables() -> None:
    """Words in which the names of tables stand cost nobody a recording."""
    title = "Postscript: dunkelste trunk, Westcoast stsz elst " * 9

    for form in ("mp4", "mov", "ipod"):
        assert decode(encoded(form, "aac", rate=44_100, layout="stereo", title=title)).duration_s > 4.9


def test_many_samples_of_pcm_are_no_bomb() -> None:
    """Three minutes of QuickTime PCM have more samples than tables of AAC may, and all are there."""
    sound = np.tile(hazards.stereo(seconds=1.0), (180, 1))

    recording = decode(hazards.audio("mov", "pcm_s16le", sound))

    assert len(sound) > boxes.MOST_SAMPLES
    assert recording.duration_s == pytest.approx(180.0, abs=0.01)


def test_the_limit_on_tables_is_where_it_is_said_to_be() -> None:
    """Samples times edits, whichever there are more of."""
    boxes.check(crafted.mp4(samples=1_000, edits=5_000))
    boxes.check(crafted.mp4(samples=1000, fragment=boxes.MOST_SAMPLES - 1000))
    for one_more in (
        crafted.mp4(samples=1_001, edits=5_000),
        crafted.mp4(samples=1000, fragment=boxes.MOST_SAMPLES - 999),
    ):
        with pytest.raises(InvalidInput, match="samples in its tables"):
            boxes.check(one_more)


def test_tables_are_found_wherever_ffmpeg_finds_them() -> None:
    """In a box that is called free, in a description of samples, behind a size of 64 bits, or of no size."""
    bomb = crafted.box(b"stsz", bytes(4), b"\0\0\0\1", b"\x7f\0\0\0")
    head = crafted.box(b"mvhd", bytes(8))
    for hidden in (
        crafted.box(b"free", head, bomb),
        crafted.box(b"moov", crafted.box(b"stsd", bytes(30), bomb)),
        b"\0\0\0\1moov" + (16 + len(bomb)).to_bytes(8, "big") + bomb,
        b"\0\0\0\0moov" + bomb,
        b"\x7f\0\0\0moov" + bomb,
        crafted.box(b"mdat", bytes(9)) + crafted.box(b"moov", crafted.box(b"udta", crafted.box(b"trak", bomb))),
    ):
        with pytest.raises(InvalidInput, match="samples in its tables"):
            boxes.check(hidden)


def test_what_is_no_box_is_not_looked_into() -> None:
    """Samples, and other formats' bytes, are nobody's tables."""
    bomb = crafted.box(b"stsz", bytes(4), b"\0\0\0\1", b"\x7f\0\0\0")

    for harmless in (crafted.box(b"mdat", bomb), b"RIFF" + bomb + b"WAVE" + bomb, bomb[:3], b"", bytes(9)):
        boxes.check(harmless)


def test_a_minute_at_once_is_no_bomb() -> None:
    """A block of PCM may be long, if not as long as a recording."""
    assert decode(crafted.matroska(8000.0, b"\x80" * 8000 * 60)).duration_s == pytest.approx(60.0)
    with pytest.raises(InvalidInput, match="61 s in one piece"):
        decode(crafted.matroska(8000.0, b"\x80" * 8000 * 61))


def test_samples_are_the_files() -> None:
    """What is 16,000 samples a second already is not touched, and recordings share no memory."""
    speech = tone_speech(["one", "two"])
    first, second = decode(wav(speech)), decode(wav(speech))

    assert np.abs(first.samples - np.round(speech * 32767)).max() <= 1
    assert not np.shares_memory(first.samples, second.samples)


def test_longer_files_are_longer() -> None:
    """Seconds are counted as they are, on both sides of the limit."""
    lengths = [decode(wav(tone_speech(["one"] * count))).duration_s for count in (1, 2, 3)]

    assert [after - before for before, after in pairwise(lengths)] == pytest.approx([1.0, 1.0], abs=0.01)
    with pytest.raises(InvalidInput, match="over the limit of 2 s"):
        decode(wav(tone_speech(["one"] * 3)), longest_s=2.0)


def test_sound_of_pcm_beside_pictures_is_no_bomb() -> None:
    """A camera's film: what its pictures are counted by says nothing of its sound."""
    film = hazards.film_with_pcm(seconds=120)

    assert audio.decode(film, longest_s=3600.0).duration_s == pytest.approx(120.0, abs=0.1)


@pytest.mark.parametrize("order", ["RIFF", "RIFX"])
def test_texts_longer_than_their_file_are_refused(order: str) -> None:
    """FFmpeg would make room for them first, whichever way round they say so; a file cut off in them may be heard."""
    good = wav(tone_speech(["one"]))
    length = 2**31 - 1 if order == "RIFF" else int.from_bytes((2**31 - 1).to_bytes(4, "little"))
    bad = order.encode() + crafted.wav_of_texts(good, length)[4:]

    with pytest.raises(InvalidInput, match="the recording has texts of"):
        decode(bad)
    assert decode(good + b"LIST" + (900_000).to_bytes(4, "little") + b"INFO").duration_s == 1.0


class Full(io.BytesIO):
    """A file on a file system that is full."""

    def write(self, _: object) -> int:
        """Raise as the system does."""
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have recordings of more than a second lie in files."""
    monkeypatch.setattr("inference_worker.media.recording.IN_MEMORY", RATE * SAMPLE)


@pytest.mark.usefixtures("short")
def test_samples_in_a_file_are_the_same() -> None:
    """As a whole and in parts; the file goes with the last who looks at it."""
    speech = tone_speech(["one", "two", "six"])
    files = list(Path("/proc/self/fd").iterdir())

    recording = decode(wav(speech))
    part = recording.part(20_000, 40_000)

    assert recording.file is not None
    assert np.abs(recording.samples - np.round(speech * 32767)).max() <= 1
    assert np.array_equal(part, recording.samples[20_000:40_000])
    assert recording.duration_s == 3.0
    del recording
    assert part.any()
    assert len(list(Path("/proc/self/fd").iterdir())) == len(files)


@pytest.mark.usefixtures("short")
def test_without_a_place_for_files_samples_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that may write nowhere hears long recordings all the same."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: Full().write(b""))

    recording = decode(wav(tone_speech(["one", "two", "six"])))

    assert (recording.file, recording.duration_s) == (None, 3.0)


@pytest.mark.usefixtures("short")
def test_a_full_file_system_is_nobodys_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is tried again, as where memory is short."""
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)

    with pytest.raises(NoSpace, match="No space left on device") as full:
        decode(wav(tone_speech(["one", "two", "six"])))

    assert isinstance(blame(full.value), OutOfMemory)
