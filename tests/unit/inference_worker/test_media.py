"""What comes from outside, decoded: every hazard refused by name, everything sound decoded as it is meant."""

import io
import mmap
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio
from PIL import Image

from inference_worker.media import audio, images
from inference_worker.memory import resident_bytes
from inference_worker.standins.whisper import tone_speech, wav
from rpc import pictures
from rpc.errors import InvalidInput
from tests import hazards
from tests.waiting import eventually

MOST_PIXELS = 50_000_000
LONGEST_S = 3600.0

SOON_S, MOST_BYTES = 2.0, 200_000_000

DESCRIPTORS = "/proc/self/fd"


class Watch:
    """What a thread sees of this process while something is decoded."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.most = 0


@contextmanager
def watched() -> Iterator[Watch]:
    """Look all the time at which files and sockets are open, and at the memory."""
    watch, stop = Watch(), threading.Event()
    before = {name: _target(name) for name in os.listdir(DESCRIPTORS)}  # noqa: PTH208 (see below)
    resident = resident_bytes()

    def look() -> None:
        # a short pause and no paths made of names, or the looking would take half the time of what is looked at
        while not stop.wait(0.001):
            for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 (see above)
                target = _target(name)
                # long recordings lie in files of ours, which have no name
                ours = target.endswith(" (deleted)")
                if target != before.get(name) and "/proc/" not in target and not ours:
                    watch.opened.add(target)
            watch.most = max(watch.most, resident_bytes() - resident)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"{DESCRIPTORS}/{descriptor}")  # noqa: PTH115 (quicker, see above)
    except OSError:
        return "/proc/"


@pytest.mark.bound
@pytest.mark.parametrize("name", hazards.PICTURES_REFUSED)
def test_a_bad_picture_is_refused(name: str) -> None:
    """Soon, with little memory, without opening anything, and with a reason."""
    data = hazards.PICTURES_REFUSED[name]()
    with watched() as watch:
        started = time.monotonic()
        with pytest.raises(InvalidInput) as refused:
            images.decode(data, most_pixels=MOST_PIXELS)
        took_s = time.monotonic() - started

    assert took_s < SOON_S
    assert watch.most < MOST_BYTES
    assert watch.opened == set()
    assert "picture" in str(refused.value)


@pytest.mark.bound
@pytest.mark.parametrize("name", hazards.RECORDINGS_REFUSED)
def test_a_bad_recording_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, with little memory, without opening the files or addresses it names, and with a reason."""
    (tmp_path / hazards.PLANTED).write_bytes(wav(tone_speech(["one"])))
    monkeypatch.chdir(tmp_path)
    data = hazards.RECORDINGS_REFUSED[name]()
    with watched() as watch:
        started = time.monotonic()
        with pytest.raises(InvalidInput) as refused:
            audio.decode(data, longest_s=LONGEST_S)
        took_s = time.monotonic() - started

    assert took_s < SOON_S
    assert watch.most < MOST_BYTES
    assert watch.opened == set()
    assert "recording" in str(refused.value) or "no audio track" in str(refused.value)


def test_the_watch_sees_what_is_opened(tmp_path: Path) -> None:
    """A hazard that opened a file or a socket would be noticed."""
    file = tmp_path / "secret"
    file.touch()
    with watched() as watch:
        with file.open("rb"), socket.socket():
            eventually(lambda: len(watch.opened) >= 2)
        # nothing the allocator has kept for reuse
        with mmap.mmap(-1, 100_000_000) as held:
            np.frombuffer(held, np.uint8)[:] = 1
            eventually(lambda: watch.most >= 90_000_000)

    assert str(file) in watch.opened
    assert any(target.startswith("socket:") for target in watch.opened)


@pytest.mark.parametrize("name", hazards.PICTURES_GOOD)
def test_a_sound_picture_looks_as_a_person_sees_it(name: str) -> None:
    """Upright, RGB, of 16 bits the upper 8, hidden colours on white, of an animation the first picture."""
    build, (width, height), colour, off = hazards.PICTURES_GOOD[name]

    pixels = images.decode(build(), most_pixels=MOST_PIXELS)

    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[0, 0].astype(int) - colour).max() <= off


def test_what_is_transparent_is_white() -> None:
    """A colour nobody sees does not count."""
    pixels = images.decode(hazards.see_through(), most_pixels=MOST_PIXELS)

    assert pixels[10, 20].tolist() == [255, 255, 255]


@pytest.mark.bound
@pytest.mark.parametrize(("mode", "most"), [("RGB", 6), ("RGBA", 10)])
def test_a_large_picture_is_held_as_few_times_as_can_be(mode: str, most: int) -> None:
    """Once as it was decoded, once more on white; nothing of that size is made to shrink it."""
    data = hazards.of_colour(mode, (9, 8, 7, 6)[: len(mode)], "PNG", size=(5000, 4000), compress_level=1)
    with watched() as watch:
        pixels, size = images.shrunk(data, lambda picture: picture.resize((64, 64)), most_pixels=MOST_PIXELS)

    assert (pixels.shape, size) == ((64, 64, 3), (5000, 4000))
    assert 0 < watch.most < most * 5000 * 4000


def test_shrunk_pixels_are_those_of_what_is_shrunk() -> None:
    """Encoded or as pixels, upright, with the size before; and nobody else's."""
    given = hazards.photo()
    for picture, size in ((given, (320, 200)), (hazards.turned(), (40, 80))):
        whole = images.decode(picture, most_pixels=MOST_PIXELS)
        expected = np.asarray(Image.fromarray(whole).resize((20, 10)))

        pixels, before = images.shrunk(picture, lambda each: each.resize((20, 10)), most_pixels=MOST_PIXELS)

        assert np.array_equal(expected, pixels)
        assert size == before
    same, _ = images.shrunk(given, lambda each: each, most_pixels=MOST_PIXELS)
    assert not np.shares_memory(given, same)


class Decoding:
    """Stands for the decoder: says how many pixels are decoded at a time, and lasts until it is told to end."""

    def __init__(self) -> None:
        self.under_way: list[int] = []
        self.most = 0
        self.ends = threading.Event()
        self._lock = threading.Lock()

    def read(self, data: bytes, *, most_pixels: int) -> Image.Image:
        """Return some picture, after a while."""
        assert most_pixels
        pixels = int(np.prod(pictures.size_of(data)))
        with self._lock:
            self.under_way.append(pixels)
            self.most = max(self.most, sum(self.under_way))
        assert self.ends.wait(10)
        with self._lock:
            self.under_way.remove(pixels)
        return Image.new("RGB", (1, 1))


def test_only_so_many_pixels_are_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all models together; what is small waits for nobody, and what is larger than all is decoded alone."""
    decoding = Decoding()
    monkeypatch.setattr(pictures, "read", decoding.read)
    monkeypatch.setattr(images, "_room", images.Room(5_000_000))
    large, larger, small = (hazards.of_colour("1", 1, "PNG", size=(side, 1000)) for side in (2000, 6000, 1000))
    with ThreadPoolExecutor(9) as threads:
        decode = partial(images.decode, most_pixels=MOST_PIXELS)
        jobs = [threads.submit(decode, each) for each in [large] * 5 + [larger]]
        eventually(lambda: decoding.under_way == [2_000_000] * 2)
        jobs.append(threads.submit(decode, small))
        eventually(lambda: decoding.under_way == [2_000_000] * 2 + [1_000_000])
        decoding.ends.set()

    assert [job.exception() for job in jobs] == [None] * 7
    # the small one may still be there when the largest begins
    assert 6_000_000 <= decoding.most <= 7_000_000


def test_what_cannot_be_decoded_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged picture leaves the room to those behind it."""
    monkeypatch.setattr(images, "_room", images.Room(3_000_000))
    damaged = hazards.encoded(Image.effect_noise((1500, 1500), 9), "PNG")[:50_000]
    for _ in range(3):
        with pytest.raises(InvalidInput, match="damaged"):
            images.decode(damaged, most_pixels=MOST_PIXELS)

    assert images.decode(hazards.of_colour("L", 1, "PNG", size=(1500, 1500)), most_pixels=MOST_PIXELS).size


def test_pixels_are_taken_as_they_are() -> None:
    """An array of the right kind is not touched."""
    pixels = hazards.photo()

    assert np.array_equal(images.decode(pixels, most_pixels=MOST_PIXELS), pixels)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "photo.jpg",
        7,
        None,
        {"a": 1},
    ],
    ids=str,
)
def test_what_is_no_picture_at_all_is_refused(given: object) -> None:
    """Arrays of other kinds would be read as something they are not."""
    with pytest.raises(InvalidInput):
        images.decode(given, most_pixels=MOST_PIXELS)


def test_a_picture_over_the_limit_is_told_its_size() -> None:
    """Whoever sends it reads how large it is and how large it may be."""
    with pytest.raises(InvalidInput, match="320 x 200 pixels, over the limit of 63999"):
        images.decode(hazards.jpeg(), most_pixels=63_999)
    with pytest.raises(InvalidInput, match="over the limit"):
        images.decode(hazards.photo(), most_pixels=63_999)


@pytest.mark.parametrize("name", hazards.RECORDINGS_GOOD)
def test_a_sound_recording_is_heard(name: str) -> None:
    """Every known container: mono, 16,000 samples a second, both channels mixed, its length as it is."""
    recording = audio.decode(hazards.RECORDINGS_GOOD[name](), longest_s=LONGEST_S)

    assert recording.samples.dtype == np.int16
    assert recording.duration_s == pytest.approx(2.0, abs=0.15)
    loudest = np.abs(np.fft.rfft(recording.samples[4000:20_000].astype(float)))
    assert sorted(np.argsort(loudest)[-2:].tolist()) == [440, 660]


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_samples_are_those_faster_whisper_decodes(name: str) -> None:
    """Bit by bit: what is transcribed here is what is transcribed with the library alone."""
    data = hazards.RECORDINGS_GOOD[name]()

    samples = audio.decode(data, longest_s=LONGEST_S).samples

    assert np.array_equal(samples.astype(np.float32) / 32768, decode_audio(io.BytesIO(data)))


def test_the_part_that_can_be_decoded_is_heard() -> None:
    """Of a file cut off the beginning is kept, and what it says of its length tells that there was more."""
    data = hazards.RECORDINGS_GOOD["flac"]()

    recording = audio.decode(data[: len(data) // 2], longest_s=LONGEST_S)

    assert recording.declared_s == pytest.approx(2.0, abs=0.01)
    assert 0.5 < recording.duration_s < 1.5


def test_samples_that_are_no_numbers_do_no_harm() -> None:
    """NaN and what is louder than loud become samples like others."""
    sound = np.array([np.nan, np.inf, -np.inf, 5.0, 0.5] * 4000, np.float32)

    recording = audio.decode(hazards.float_wav(sound), longest_s=LONGEST_S)

    assert len(recording.samples) == 20_000


def test_garbage_in_the_middle_costs_only_itself() -> None:
    """What follows it is heard."""
    data = bytearray(hazards.audio("mp3", "libmp3lame", hazards.stereo(seconds=20.0)))
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(3).bytes(4000)

    assert audio.decode(bytes(data), longest_s=LONGEST_S).duration_s > 19.0


def test_a_recording_over_the_limit_says_how_long_it_may_be() -> None:
    """Told by its header or found while decoding."""
    with pytest.raises(InvalidInput, match="lasts 2 s or more, over the limit of 1 s"):
        audio.decode(hazards.RECORDINGS_GOOD["wav"](), longest_s=1.0)


def test_only_bytes_are_a_recording() -> None:
    """A name would make the library open a file or an address."""
    for given in ("http://127.0.0.1/a.mp3", Path("a.wav"), 7, None):
        with pytest.raises(InvalidInput, match="not the bytes of a recording"):
            audio.decode(given, longest_s=LONGEST_S)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "tiff"])
def test_whatever_is_broken_in_a_picture_is_bad_input(kind: str) -> None:
    """Two hundred mutations of a sound file: decoded, or refused as what it is; nothing else."""
    data = hazards.encoded(Image.fromarray(hazards.photo(80, 60)), kind.upper())
    for mutated in _mutations(data, 200):
        try:
            pixels = images.decode(mutated, most_pixels=1_000_000)
        except InvalidInput:
            continue
        assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", hazards.RECORDINGS_GOOD)
def test_whatever_is_broken_in_a_recording_is_bad_input(name: str) -> None:
    """Sixty mutations of a sound file: decoded, or refused as what it is; nothing else."""
    for mutated in _mutations(hazards.RECORDINGS_GOOD[name](), 60):
        try:
            recording = audio.decode(mutated, longest_s=60.0)
        except InvalidInput:
            continue
        assert recording.samples.dtype == np.int16


def _mutations(data: bytes, count: int) -> Iterator[bytes]:
    chance = np.random.default_rng(11)
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(int(chance.integers(1, 12))):
            # headers are where the trouble is
            place = int(chance.integers(0, min(len(broken), 400) if chance.random() < 0.5 else len(broken)))
            broken[place] = int(chance.integers(0, 256))
        cut = int(chance.integers(len(broken) // 2, len(broken))) if chance.random() < 0.3 else len(broken)
        yield bytes(broken[:cut])


def test_the_memory_the_watch_reads_is_the_kernels() -> None:
    """Resident memory is never more than the most this process ever had."""
    assert 0 < resident_bytes() <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.05
