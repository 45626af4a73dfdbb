"""Tags and headers that are packed: none is unpacked that could be a bomb, none is taken for one that is not."""

import time
import zlib

import numpy as np
import pytest

from inference_worker.media import audio, ebml, id3
from inference_worker.standins.whisper import tone_speech, wav
from rpc.errors import InvalidInput
from tests import crafted, hazards

LONGEST_S = 3600.0

SPEECH = wav(tone_speech(["one"]))

BOMB = crafted.id3_packed(b"TIT2", b"\0" + b"a" * 2_000_000)

EXTENSIONS = {3: (6).to_bytes(4, "big") + bytes(6), 4: (6).to_bytes(4, "big") + bytes(2)}
"""A second head of a tag; in ID3v2.4 its size counts itself."""


def refused(data: bytes) -> bool:
    """Return whether tags of a recording are too much; raise what is no such complaint."""
    complaint = ""
    try:
        id3.check(data)
    except InvalidInput as error:
        complaint = str(error)
    assert complaint == "" or complaint.startswith("the recording has tags ")
    return complaint != ""


@pytest.mark.parametrize(
    "tag",
    [
        crafted.id3_tag(BOMB),
        crafted.id3_tag(BOMB, flags=0x80),
        crafted.id3_tag(EXTENSIONS[4], BOMB, flags=0x40),
        crafted.id3_tag(EXTENSIONS[3], BOMB, version=3, flags=0x40),
        crafted.id3_tag(bytes(20), BOMB),
        crafted.id3_tag(bytes(200_003 // 10 * 10), BOMB),
        crafted.id3_tag(b"TALB" + (200).to_bytes(4, "big") + bytes(2 + 200), BOMB),
        crafted.id3_tag(crafted.id3_frame(b"TALB", bytes(200)), BOMB),
        crafted.id3_tag(crafted.id3_frame(b"TALB", bytes(200), version=3), BOMB, version=3),
        crafted.id3_tag(crafted.id3_frame(b"TALB", b""), BOMB),
        crafted.id3_tag(*[crafted.id3_packed(b"COMM", bytes(300_000))] * 9),
        crafted.id3_tag(crafted.id3_frame(b"USLT", bytes([127] * 4) + bytes(9), version=3, flags=0x80), version=3),
        crafted.id3_tag(crafted.id3_frame(b"\x54\x01\x02\x03", bytes([255] * 4) + bytes(9), flags=0x4B)),
        crafted.id3_tag() + crafted.id3_tag(BOMB),
        crafted.id3_tag(BOMB)[:60],
        b"rubbish of an odd length" + crafted.id3_tag(BOMB),
    ],
)
def test_a_packed_frame_is_found_wherever_ffmpeg_would_unpack_it(tag: bytes) -> None:
    """Behind a second head, padding, sizes of either kind, other frames and other tags, and in one cut off."""
    assert refused(tag + SPEECH)


@pytest.mark.parametrize("version", [3, 4])
def test_covers_and_texts_are_let_through(version: int) -> None:
    """A cover as large as they come, padding, and lyrics that are packed as some programs do."""
    cover = crafted.id3_frame(b"APIC", crafted.id3_picture(hazards.bomb() * 4), version=version)
    title = crafted.id3_frame(b"TIT2", b"\0The long and winding road", version=version)
    packed = [crafted.id3_packed(b"USLT", b"\0eng\0" + b"la la " * 20_000)] if version == 4 else []
    tag = crafted.id3_tag(title, cover, *packed, bytes(1_000_000), version=version)
    mp3 = hazards.RECORDINGS_GOOD["mp3"]()

    for data in (tag + mp3, tag + tag + mp3, crafted.chunked(SPEECH, tag)):
        assert audio.decode(data, longest_s=LONGEST_S).duration_s >= 1.0


def test_the_limit_on_what_is_unpacked_is_where_it_is_said_to_be() -> None:
    """A mebibyte as the standard writes it, all frames together."""
    half = crafted.id3_packed(b"GEOB", b"", told=id3.MOST_UNPACKED // 2)
    one = crafted.id3_packed(b"TXXX", b"", told=1)

    assert crafted.seven_bits(2**20) == id3.MOST_UNPACKED.to_bytes(4, "big")
    assert not refused(crafted.id3_tag(half, half))
    assert refused(crafted.id3_tag(half, half, one))
    assert refused(crafted.id3_tag(half, half) + crafted.id3_tag(one))


def test_what_is_not_unpacked_does_not_count() -> None:
    """Frames that are not compressed, those of other kinds, bytes behind a tag, and what only looks like one."""
    for harmless in (
        crafted.id3_tag(crafted.id3_frame(b"APIC", bytes(3_000_000))),
        crafted.id3_tag(crafted.id3_frame(b"WXXX", b"\xff" * 99, flags=0x09)),
        crafted.id3_tag() + BOMB,
        crafted.id3_tag(BOMB, version=2),
        b"ID3" + BOMB,
        crafted.id3_tag(BOMB).replace(b"ID3", b"ID4"),
    ):
        assert not refused(harmless + SPEECH)


def test_damaged_tags_do_no_harm() -> None:
    """A thousand mutations, cut off anywhere: nothing but the complaint is raised."""
    chance = np.random.default_rng(5)
    sound = crafted.id3_tag(EXTENSIONS[4], crafted.id3_frame(b"TIT2", b"\0a"), BOMB, bytes(30), flags=0x40)
    whole = sound + crafted.matroska(8000.0, b"\x80" * 80, scope=1, private=b"x" * 30)
    for _ in range(1000):
        broken = bytearray(whole)
        for _ in range(int(chance.integers(1, 9))):
            broken[int(chance.integers(0, len(broken)))] = int(chance.integers(0, 256))
        refused(bytes(broken[: int(chance.integers(0, len(broken)))]))
        try:
            ebml.check(bytes(broken[int(chance.integers(0, len(broken))) :]))
        except InvalidInput as error:
            assert str(error).startswith("the recording has ")  # noqa: PT017 (most do not raise)


FULL = b"ID3\x04\0\0" + b"\x7f" * 4

LIST = b"\x16\x54\xae\x6b\x01" + (1 << 40).to_bytes(7, "big")


@pytest.mark.bound
@pytest.mark.parametrize(
    ("check", "data"),
    [
        (id3.check, FULL * 1_000_000),
        (id3.check, FULL * 20_000 + bytes(50_000_000)),
        (id3.check, FULL + b"TIT2\0\0\0\0\0\0" * 1_000_000),
        (id3.check, FULL + (bytes(10) + b"TIT2\0\0\0\0\0\0") * 1_000_000),
        (ebml.check, LIST * 1_000_000),
        (ebml.check, LIST + b"\xae\xff" * 1_000_000),
        (ebml.check, (LIST + b"\xae\x81") * 500_000),
    ],
)
def test_tags_and_tracks_without_end_are_given_up(check: object, data: bytes) -> None:
    """Soon, however many there are, and however they lie in each other."""
    assert callable(check)
    started = time.monotonic()
    with pytest.raises(InvalidInput, match=r"the recording has (tags|tracks) of more than 100000"):
        check(data)

    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("scope", [2, 3])
def test_packed_headers_of_tracks_are_refused(scope: int) -> None:
    """Wherever the list of tracks stands, for FFmpeg finds it."""
    file = crafted.matroska(8000.0, zlib.compress(b"\x80" * 8000), scope=scope, private=zlib.compress(b"x"))
    place = file.index(bytes.fromhex("1654AE6B"))

    for data in (file, file[:place] + b"odd" + file[place:], file[place:]):
        with pytest.raises(InvalidInput, match="the recording has packed headers of its tracks"):
            ebml.check(data)


def test_packed_blocks_are_heard() -> None:
    """What is packed by the block is unpacked one after the other, and what each may be is bounded."""
    file = crafted.matroska(8000.0, zlib.compress(b"\x80" * 8000), scope=1)

    assert audio.decode(file, longest_s=LONGEST_S).duration_s == pytest.approx(1.0)


def test_packed_silence_is_a_bomb() -> None:
    """What counts is how many bytes the file has, not how many they become."""
    minute = zlib.compress(b"\x80" * 8000 * 60, 9)

    assert audio.decode(crafted.matroska(8000.0, minute, scope=1), longest_s=LONGEST_S).duration_s == pytest.approx(60)
    with pytest.raises(InvalidInput, match="which no speech has"):
        audio.decode(crafted.matroska(8000.0, minute, scope=1, blocks=32), longest_s=LONGEST_S)


def test_tracks_nobody_hears_are_not_unpacked() -> None:
    """Pictures beside the sound are passed over, packed or not, and the sound is as it is without them."""
    film = hazards.film_with_pcm(seconds=5)

    assert audio.decode(film, longest_s=LONGEST_S).duration_s == pytest.approx(5.0, abs=0.1)
