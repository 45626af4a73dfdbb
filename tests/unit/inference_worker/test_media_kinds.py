"""Kinds of recordings: those that are opened are heard, the others are named, and so is what a file lacks."""

import numpy as np
import pytest

from inference_worker.media import audio
from inference_worker.media.kinds import OPEN
from rpc.errors import InvalidInput
from tests import hazards
from tests.films import Kind, film, tone

LONGEST_S = 3600.0


@pytest.mark.parametrize(
    "kind",
    [
        Kind("avi", "libmp3lame", "mpeg4"),
        Kind("avi", "pcm_s16le", "mpeg4"),
        Kind("flv", "aac", "flv1"),
        Kind("flv", "libmp3lame"),
        Kind("mpegts", "aac", "mpeg2video"),
        Kind("mpegts", "ac3"),
        Kind("mpeg", "mp2", "mpeg2video"),
        Kind("dvd", "ac3", "mpeg2video"),
        Kind("au", "pcm_s16be"),
        Kind("au", "pcm_mulaw"),
        Kind("ac3", "ac3"),
        Kind("eac3", "eac3"),
        Kind("mp2", "mp2"),
        Kind("3gp", "aac"),
        Kind("ogg", "flac"),
        Kind("caf", "pcm_alaw"),
        Kind("wav", "pcm_s24le"),
    ],
    ids=lambda kind: f"{kind.form} {kind.codec}",
)
def test_every_kind_that_is_listed_is_heard(kind: Kind) -> None:
    """The tone at its pitch, beside a picture if the container has one."""
    data = film(kind, [(0, 2)], picture_s=2.0 if kind.pictures else 0.0)

    recording = audio.decode(data, longest_s=LONGEST_S)

    assert recording.duration_s == pytest.approx(2.0, abs=0.1)
    assert int(np.argmax(np.abs(np.fft.rfft(recording.samples[4000:20_000].astype(float))))) == 440
    assert not recording.truncated


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"wvpk\x20\0\0\0\x10\x04", "WavPack"),
        (b"MAC \x96\x0f\0\0", "Monkey's Audio"),
        (b"TTA1\1\0\1\0", "True Audio"),
        (b"MPCKSH", "Musepack"),
        (b"tBaK\1\0", "TAK"),
        (b"DSD \x1c\0\0\0", "DSD"),
        (b".RMF\0\0\0\x12", "RealMedia"),
        (b"Creative Voice File\x1a", "VOC"),
        (b"NIST_1A\n   1024\n", "NIST SPHERE"),
        (b"\x02#!SILK_V3", "SILK"),
        (b"\x7f\xfe\x80\x01\xfc\x3c", "DTS"),
        (b"MThd\0\0\0\6", "MIDI"),
        (b"\xff\xd8\xff\xe0", "JPEG picture"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP archive"),
        (b"#EXTM3U\n#EXTINF:1,\na.mp3\n", "playlist"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"error": "not found"}', "JSON text"),
    ],
)
def test_what_is_not_opened_is_named(head: bytes, name: str) -> None:
    """With the kinds that are."""
    with pytest.raises(InvalidInput) as refused:
        audio.decode(head + bytes(2000), longest_s=LONGEST_S)

    assert str(refused.value).startswith(f"recordings of kind {name}")
    assert str(refused.value).endswith(f"are not opened; open are {OPEN}")


def test_samples_without_a_header_need_one() -> None:
    """Raw PCM could be of any rate and format."""
    with pytest.raises(InvalidInput, match=r"Raw PCM samples need a header .*, such as that of WAV"):
        audio.decode(tone(1.0).tobytes(), longest_s=LONGEST_S)


def test_an_mp4_that_was_not_finished_lacks_its_index() -> None:
    """The index is written last; what is there cannot be decoded without it."""
    data = film(Kind("ipod", "aac"), [(0, 2)])

    with pytest.raises(InvalidInput, match=r"without its index \(moov\).*send the whole file"):
        audio.decode(data[: data.index(b"moov") - 4], longest_s=LONGEST_S)


@pytest.mark.parametrize("name", ["wav", "flac", "ogg, opus", "webm, opus"])
def test_a_damaged_header_is_told_as_damage(name: str) -> None:
    """A file that begins as one of a known kind is not called unknown."""
    with pytest.raises(InvalidInput, match=r"the recording begins as .* damaged or cut off|no samples"):
        audio.decode(hazards.RECORDINGS_GOOD[name]()[:30], longest_s=LONGEST_S)


def test_tracks_are_counted_from_one() -> None:
    """The one that was chosen is heard; one that does not exist is refused with the list of the others."""
    data = film(Kind("matroska", "flac"), [(0, 2)], tracks=2)

    for number in (1, 2):
        samples = audio.decode(data, longest_s=LONGEST_S, track=number).samples[:16_000]
        assert int(np.argmax(np.abs(np.fft.rfft(samples.astype(float))))) == 440 * number
    listed = r"track 3 does not exist: the recording has 2 audio tracks: 1 \(flac, 1 channel\), 2 \(flac, 1 channel\)"
    with pytest.raises(InvalidInput, match=listed):
        audio.decode(data, longest_s=LONGEST_S, track=3)


def test_one_frame_of_another_kind_costs_nothing_around_it() -> None:
    """A packet of AAC that reads as other channels, between good ones: what is around it keeps its place."""
    good, odd = (
        film(Kind("adts", "aac"), [(0, seconds)], channels=channels) for seconds, channels in ((2, 1), (0.1, 2))
    )

    recording = audio.decode(good + odd + good, longest_s=LONGEST_S)

    assert recording.duration_s == pytest.approx(4.1, abs=0.15)
