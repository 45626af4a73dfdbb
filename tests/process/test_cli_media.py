"""The commands for pictures and recordings, run as users run them, against played models of the four families."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from producers.demo import samples
from rpc import Cancelled, Client, RedisSettings
from rpc.consumer import Consumer
from rpc.deliveries import Delivery
from rpc.inspection import peek
from rpc.keys import LANES
from tests.answering import given, job_of, reply_with
from tests.commands import RUN_S, penstock
from tests.conftest import ON_VALKEY, MakeConsumer, StartWorker
from tests.families import Families, whisper
from tests.waiting import eventually
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.process, pytest.mark.server, ON_VALKEY]


@pytest.fixture
def families(make_consumer: MakeConsumer) -> Iterator[Families]:
    """Yield live workers of the four families."""
    with Families(make_consumer) as played:
        yield played


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Return files whose bytes the played Whisper gives back as what was said."""
    files = [tmp_path / f"talk {number}.wav" for number in range(12)]
    for number, file in enumerate(files):
        file.write_text(f"<i>speech</i> & {number}")
    return files


def picture(file: Path, box: tuple[int, int, int, int] = (60, 20, 100, 50), **saved: Any) -> Path:
    """Write a dark picture of 200 x 100 pixels in which one box (left, upper, right, lower) is bright."""
    image = Image.new("RGB", (200, 100), (20, 0, 0))
    image.paste((255, 255, 255), box)
    image.save(file, **saved)
    return file


def lines(text: str) -> list[Any]:
    """Return what each line holds as JSON."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("families")
def test_embed_image(redis_settings: RedisSettings, client: Client, tmp_path: Path) -> None:
    """Pictures become the vectors the client gives, in their order, of the length that was asked for."""
    files = [picture(tmp_path / f"{number}.png", (number, 0, 100, 50)) for number in range(20)]
    expected = [client.embed_image(file) for file in files]
    ended = penstock("embed-image", "--json", *map(str, files), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = lines(ended.stdout)
    assert [item["file"] for item in found] == [str(file) for file in files]
    np.testing.assert_allclose([item["vector"] for item in found], expected, atol=1e-6)

    ended = penstock("embed-image", str(files[0]), settings=redis_settings)
    assert ended.stdout.startswith("32 numbers  [")
    ended = penstock("embed-image", "--json", "--no-normalize", str(files[0]), settings=redis_settings)
    assert np.linalg.norm(lines(ended.stdout)[0]["vector"]) > 1.5


def test_embed_image_shrinks_unless_told_not_to(
    families: Families, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """A picture larger than the model sees travels smaller; with `--no-shrink` it travels as it is."""
    noise = np.random.default_rng(1).integers(0, 100, (800, 900, 3), np.uint8)
    Image.fromarray(noise).save(file := tmp_path / "large.png")
    shrunk, whole = (
        penstock("embed-image", "--json", str(file), *more, settings=redis_settings).stdout
        for more in ([], ["--no-shrink"])
    )
    assert lines(shrunk) == lines(whole)
    smaller, same = families.inputs
    assert len(smaller) < len(same) == file.stat().st_size


@pytest.mark.usefixtures("families")
@pytest.mark.parametrize("command", ["embed-image", "detect-faces"])
def test_a_picture_that_fails_is_named(redis_settings: RedisSettings, tmp_path: Path, command: str) -> None:
    """What is no picture and what is no file are told by name, the others are answered, the exit status is 1."""
    (tmp_path / "text.png").write_text("no picture")
    good = str(picture(tmp_path / "good.png"))
    files = [good, str(tmp_path / "text.png"), str(tmp_path / "[missing].png"), good]

    ended = penstock(command, *files, settings=redis_settings)
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 2
    complaints = ended.stderr.splitlines()
    assert complaints[0].startswith(f"penstock: invalid_input: {files[1]}: ")
    assert complaints[1] == f"penstock: invalid_input: {files[2]}: No such file or directory"

    ended = penstock(command, "--json", *files, settings=redis_settings)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == complaints
    found = lines(ended.stdout)
    assert [item["file"] for item in found] == files
    assert [item.get("error", {}).get("code") for item in found] == [None, "invalid_input", "invalid_input", None]


@pytest.mark.usefixtures("families")
def test_a_name_that_is_no_text_is_printed(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is answered, and JSON tells its name so that it can be found again."""
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff :smile:.png")
    picture(Path(name))
    ended = penstock("detect-faces", "--json", name, settings=redis_settings)
    assert (ended.returncode, lines(ended.stdout)[0]["file"]) == (0, name)
    ended = penstock("detect-faces", name, settings=redis_settings)
    assert (ended.returncode, r"\udcff :smile:.png: 40 x 30" in ended.stdout) == (0, True)


@pytest.mark.usefixtures("families")
def test_embed_text_with_outputs(redis_settings: RedisSettings, client: Client) -> None:
    """JSON tells all that BGE-M3 gives; a person reads how much of it there is."""
    expected = client.embed_texts(["abca"], model="bge-m3", outputs=("colbert",)).colbert
    arguments = ("embed-text", "--model", "bge-m3", "--outputs", "dense,sparse, colbert")
    ended = penstock(*arguments, "--json", "abca", "bad", settings=redis_settings)
    assert ended.returncode == 1
    good, bad = lines(ended.stdout)
    assert (good["text"], len(good["vector"]), good["truncated"]) == ("abca", 32, False)
    assert good["sparse"] == {str(ord(letter)): 0.5 for letter in "abc"}
    np.testing.assert_array_equal([good["colbert"]], expected)
    assert bad["error"]["code"] == "invalid_input"

    ended = penstock(*arguments, "abca", settings=redis_settings)
    assert ended.stdout.startswith("32 numbers  [")
    assert "3 weights, 4 token vectors  abca" in ended.stdout
    ended = penstock("embed-text", "--model", "bge-m3", "--outputs", "sparse", "abca", settings=redis_settings)
    assert ended.stdout == "3 weights  abca\n"


@pytest.mark.usefixtures("families")
def test_detect_faces(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """Each face is a line, or an entry of the picture's JSON; a picture without one says so."""
    file, empty = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", (0, 0, 0, 0))
    ended = penstock("detect-faces", str(file), str(empty), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{file}: 40 x 30 at 60, 20, score 0.90", f"{empty}: no face"]

    found, none = lines(penstock("detect-faces", "--json", str(file), str(empty), settings=redis_settings).stdout)
    (face,) = found["faces"]
    assert (face["bbox"], face["confidence"]) == ([60, 20, 40, 30], 0.9)
    assert face["landmarks"] == [[80, 35]] * 5
    assert none == {"file": str(empty), "faces": []}


@pytest.mark.usefixtures("families")
@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".webp"])
def test_faces_are_drawn_upright(redis_settings: RedisSettings, tmp_path: Path, suffix: str) -> None:
    """`--draw` writes the picture as a person sees it, with the box where the face is; the original stays."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = picture(tmp_path / "turned.png", exif=exif)
    before = file.read_bytes()
    drawn = tmp_path / f"drawn{suffix}"
    ended = penstock("detect-faces", "--draw", str(drawn), str(file), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{file}: 30 x 40 at 50, 60, score 0.90\n"
    with Image.open(drawn) as shown:
        assert shown.size == (100, 200)
        red, green, _ = np.moveaxis(np.asarray(shown.convert("RGB"), np.int16), 2, 0)
    rows, columns = np.nonzero(red - green > 80)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((50, 60, 80, 100), abs=2)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--draw", "drawn.jpg", "a.png", "b.png"), "--draw takes one picture, not 2"),
        (("--draw", "drawn.txt", "a.png"), "the suffix is none of .jpg, .jpeg, .png, .webp"),
        (("--draw", "nowhere/drawn.jpg", "a.png"), "there is no such directory"),
        (("--draw", "a.png", "a.png"), "would write over the picture itself"),
    ],
)
def test_what_cannot_be_drawn_is_not_sent(
    redis_settings: RedisSettings, client: Client, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """A `--draw` that could not be written ends with 2 before anything is queued."""
    picture(tmp_path / "a.png")
    given = (item if item.startswith("--") else str(tmp_path / item) for item in arguments)
    # the complaint stands in a box as wide as the terminal
    ended = penstock("detect-faces", *given, settings=redis_settings, more={"COLUMNS": "400"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert client.ask(peek(redis_settings.prefix, "yunet", "interactive", 10)) == []


@pytest.mark.usefixtures("families")
def test_transcribe(redis_settings: RedisSettings, recordings: list[Path]) -> None:
    """One recording is its text; several are each headed by their name, in their order."""
    ended = penstock("transcribe", str(recordings[0]), settings=redis_settings)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "<i>speech</i> & 0\n", "")
    ended = penstock("transcribe", *map(str, recordings), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "".join(
        f"==> {file} <==\n<i>speech</i> & {number}\n" for number, file in enumerate(recordings)
    )


def test_transcribe_limits_its_cues(families: Families, redis_settings: RedisSettings, recordings: list[Path]) -> None:
    """By words, whose times are then asked for; limits without subtitles are refused."""
    limits = ("--max-line-width", "40", "--max-line-count", "1")
    ended = penstock("transcribe", "--format", "srt", *limits, str(recordings[0]), settings=redis_settings)
    assert (ended.returncode, ended.stdout) == (0, "1\n00:00:00,500 --> 00:00:01,500\n<i>speech</i> & 0\n")
    assert families.jobs[0][0].options["word_timestamps"]

    for wrong in (limits, ("--format", "vtt", *limits[2:])):
        ended = penstock("transcribe", *wrong, str(recordings[0]), settings=redis_settings)
        assert (ended.returncode, "max" in ended.stderr and "line" in ended.stderr) == (2, True)


def test_transcribe_asks_for_what_it_is_told(
    families: Families, redis_settings: RedisSettings, recordings: list[Path]
) -> None:
    """Every option of the command reaches the model, and JSON tells the transcript with all its fields."""
    context = ("--prompt", "Penstock", "--hotwords", "Valkey", "--split-channels", "--track", "2")
    options = ("--language", "ko", "--task", "translate", "--words", "--vad", "--lane", "bulk", *context)
    ended = penstock("transcribe", *options, "--format", "json", str(recordings[0]), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    (told,) = lines(ended.stdout)
    assert (told["file"], told["language"], told["duration"]) == (str(recordings[0]), "ko", 1.5)
    assert told["segments"][0]["words"][0]["word"] == " <i>speech</i> & 0"
    ((job, _),) = families.jobs
    assert (job.lane, job.ttl_ms) == ("bulk", 3_600_000)
    assert job.options == {
        "language": "ko",
        "task": "translate",
        "word_timestamps": True,
        "vad": True,
        "prompt": "Penstock",
        "hotwords": "Valkey",
        "channels": "split",
        "track": 2,
    }

    ended = penstock("transcribe", "--format", "json", str(recordings[0]), settings=redis_settings)
    assert "words" not in lines(ended.stdout)[0]["segments"][0]


@pytest.mark.usefixtures("families")
@pytest.mark.parametrize(
    ("form", "suffix", "written"),
    [
        ("text", ".txt", "<i>speech</i> & 3\n"),
        ("srt", ".srt", "1\n00:00:00,000 --> 00:00:01,500\n<i>speech</i> & 3\n"),
        ("vtt", ".vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n&lt;i&gt;speech&lt;/i&gt; &amp; 3\n"),
    ],
)
def test_transcripts_become_files(
    redis_settings: RedisSettings, recordings: list[Path], tmp_path: Path, form: str, suffix: str, written: str
) -> None:
    """`--output` makes the directory, writes a file for each recording and prints where; it writes over none."""
    directory = tmp_path / "new" / "directory"
    command = ("transcribe", "--format", form, "--output", str(directory), *map(str, recordings))
    ended = penstock(*command, settings=redis_settings)
    places = [directory / f"talk {number}{suffix}" for number in range(12)]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [str(place) for place in places]
    assert places[3].read_text("utf-8") == written

    places[3].write_text("corrected by hand")
    ended = penstock(*command, settings=redis_settings)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--force" in ended.stderr
    assert places[3].read_text("utf-8") == "corrected by hand"
    assert penstock(*command, "--force", settings=redis_settings).returncode == 0
    assert places[3].read_text("utf-8") == written


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--output", "out", "a.wav", "a.mp3"), "would both become"),
        (("--format", "srt", "a.wav", "b.wav"), "several recordings need --output"),
        (("--output", "a.wav", "a.wav"), "a.wav"),
        (("--task", "sing", "a.wav"), "sing"),
    ],
)
def test_what_cannot_be_written_is_not_sent(
    redis_settings: RedisSettings, client: Client, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Transcripts that would have no place, or the same one, end with 2 before anything is queued."""
    (tmp_path / "a.wav").write_text("speech")
    given = (str(tmp_path / item) if item == "out" or item.endswith((".wav", ".mp3")) else item for item in arguments)
    ended = penstock("transcribe", *given, settings=redis_settings, more={"COLUMNS": "400"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert client.ask(peek(redis_settings.prefix, "whisper", "interactive", 10)) == []


@pytest.mark.usefixtures("families")
def test_a_recording_that_fails_is_named(redis_settings: RedisSettings, recordings: list[Path], tmp_path: Path) -> None:
    """Others are transcribed, and the exit status is 1; a file that cannot be written is told too."""
    files = [str(recordings[0]), str(tmp_path / "missing.wav"), str(recordings[1])]
    ended = penstock("transcribe", *files, settings=redis_settings)
    assert ended.returncode == 1
    assert ended.stdout.count("speech") == 2
    assert ended.stderr == f"penstock: invalid_input: {files[1]}: No such file or directory\n"

    found = lines(penstock("transcribe", "--format", "json", *files, settings=redis_settings).stdout)
    assert [item["file"] for item in found] == files
    assert found[1]["error"]["code"] == "invalid_input"

    (tmp_path / "out" / "talk 0.txt").mkdir(parents=True)
    ended = penstock("transcribe", "--output", str(tmp_path / "out"), "--force", *files[::2], settings=redis_settings)
    assert ended.returncode == 1
    assert ended.stdout == f"{tmp_path / 'out' / 'talk 1.txt'}\n"
    assert ended.stderr == f"penstock: invalid_input: {tmp_path / 'out' / 'talk 0.txt'}: Is a directory\n"


def test_several_are_under_way_but_not_all(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, recordings: list[Path]
) -> None:
    """Eight recordings are with the workers together, whatever the number of files; all are answered in order."""
    with started("transcribe", "--wait", *map(str, recordings), settings=redis_settings) as process:
        assert len(waiting(redis_settings, 8)) == 8
        with Families(make_consumer):
            output, errors = process.communicate(timeout=RUN_S)
    assert (process.returncode, errors) == (0, "")
    assert [line for line in output.splitlines() if line.startswith("==>")] == [
        f"==> {file} <==" for file in recordings
    ]


@contextlib.contextmanager
def started(*arguments: str, settings: RedisSettings) -> Iterator["subprocess.Popen[str]"]:
    """Yield a command under way; it is ended with the block, if it still runs."""
    line = [sys.executable, "-m", "producers", *arguments]
    known = environment(settings)
    with subprocess.Popen(
        line, cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def waiting(settings: RedisSettings, count: int, model: str = "whisper") -> list[str]:
    """Return the ids of the jobs of a model, once so many are queued."""

    def queued() -> list[str]:
        return [job["id"] for job in client.ask(peek(settings.prefix, model, "interactive", 100))]

    with Client(settings=settings) as client:
        eventually(lambda: len(queued()) >= count, what=f"{count} jobs")
        return queued()


def assert_cancelled(client: Client, model: str, ids: list[str]) -> None:
    """Check that all these jobs are answered, each as cancelled: no worker will begin them."""
    for job_id in ids:
        with pytest.raises(Cancelled):
            client.result(model, job_id, timeout_s=5)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-C", "SIGTERM"])
@pytest.mark.parametrize(
    ("command", "model", "jobs"),
    [("transcribe", "whisper", 8), ("embed-image", "siglip", 12), ("detect-faces", "yunet", 12)],
)
def test_ended_early(
    redis_settings: RedisSettings,
    client: Client,
    recordings: list[Path],
    number: signal.Signals,
    status: int,
    command: str,
    model: str,
    jobs: int,
) -> None:
    """Who presses ctrl-C gets the prompt back at once, and what still waits is cancelled."""
    with started(command, "--wait", *map(str, recordings), settings=redis_settings) as process:
        ids = waiting(redis_settings, jobs, model)
        process.send_signal(number)
        output, errors = process.communicate(timeout=RUN_S)
    assert (process.returncode, output, errors) == (status, "", "")
    assert_cancelled(client, model, ids)


def job_for(consumer: Consumer, recording: Path) -> Delivery:
    """Read all jobs; return that of a recording: transcripts are shown in order, and queued in any."""
    deliveries = consumer.read(LANES, 100, block_ms=0)
    return next(each for each in deliveries if given(consumer, each) == [recording.read_bytes()])


def test_a_reader_that_leaves_ends_it(
    redis_settings: RedisSettings, client: Client, make_consumer: MakeConsumer, recordings: list[Path]
) -> None:
    """`penstock transcribe ... | head -1` ends without a traceback, and cancels what nobody will read."""
    with started("transcribe", "--wait", *map(str, recordings), settings=redis_settings) as process:
        ids = waiting(redis_settings, 8)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        consumer = make_consumer(model="whisper")
        first = job_for(consumer, recordings[0])
        consumer.settle([reply_with(first, whisper(job_of(first), given(consumer, first)))])
        assert (process.stderr.read(), process.wait(RUN_S)) == ("", 1)
    assert_cancelled(client, "whisper", [job_id for job_id in ids if job_id != job_of(first).id])


def test_all_of_it_with_a_real_worker(start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A worker on stand-ins takes what the commands send: tones become subtitles, squares become boxes."""
    start_worker("whisper", "siglip", "yunet", env={"PENSTOCK_STANDINS": "all", "PENSTOCK_CACHE_DIR": str(tmp_path)})
    talk, squares, faces = tmp_path / "talk.wav", tmp_path / "squares.png", tmp_path / "faces.png"
    talk.write_bytes(samples.recording())
    Image.fromarray(samples.picture()).save(squares)

    ended = penstock("transcribe", "--format", "srt", str(talk), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "1\n00:00:00,000 --> 00:00:05,000\nthree one four one five\n"

    ended = penstock("detect-faces", "--draw", str(faces), str(squares), settings=redis_settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.partition(", score")[0] for line in sorted(ended.stdout.splitlines())] == [
        f"{squares}: 40 x 40 at 80, 80",
        f"{squares}: 80 x 80 at 320, 160",
    ]
    with Image.open(faces) as drawn:
        assert drawn.size == (samples.WIDTH, samples.HEIGHT)

    ended = penstock("embed-image", "--json", str(squares), settings=redis_settings)
    assert np.linalg.norm(lines(ended.stdout)[0]["vector"]) == pytest.approx(1)
    assert " MB of weights" in penstock("status", settings=redis_settings).stdout
