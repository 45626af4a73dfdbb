"""Pictures, recordings and texts through both clients, to played models of the four families."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from rpc import Embeddings, InvalidInput, PartialFailure, RedisSettings, Segment, Timeout, Transcript, Word
from rpc.consumer import Consumer
from tests.answering import show_life
from tests.callers import Callers
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import Families, text_vector, vector_of
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, ON_VALKEY]


@pytest.fixture
def families(make_consumer: MakeConsumer) -> Iterator[Families]:
    """Yield live workers of the four families."""
    with Families(make_consumer) as played:
        yield played


def noise(width: int, height: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return pixels that no format packs well."""
    return np.random.default_rng(seed).integers(0, 100, (height, width, 3), np.uint8)


def file_of(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Return pixels as a file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


FORMS: dict[str, Callable[[NDArray[np.uint8], Path], Any]] = {
    "pixels": lambda pixels, _: pixels,
    "pil": lambda pixels, _: Image.fromarray(pixels),
    "bytes": lambda pixels, _: file_of(pixels),
    "path": lambda pixels, directory: written(file_of(pixels), directory / "picture.png"),
    "str": lambda pixels, directory: str(written(file_of(pixels), directory / "picture.png")),
}


def written(data: bytes, path: Path) -> Path:
    """Return the path, at which the data then lies."""
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "whole"])
@pytest.mark.parametrize("form", FORMS)
def test_a_picture_may_be_given_in_any_form(
    form: str, callers: Callers, families: Families, tmp_path: Path, *, shrink: bool
) -> None:
    """Its vector is that of its pixels, whichever way it came and whether or not it was shrunk on the way."""
    pixels = noise(600, 500)
    picture = FORMS[form](pixels, tmp_path)

    vector = callers.make().embed_image(picture, shrink=shrink, timeout_s=LONG_S)

    (sent,) = families.inputs
    small = len(sent) if isinstance(sent, bytes) else sent.nbytes
    assert vector.tolist() == vector_of(pixels, normalize=True).tolist()
    assert (small < 384 * 384 * 3 + 5_000) == shrink


def test_the_options_of_a_picture_reach_its_job(callers: Callers, families: Families) -> None:
    """Lane, time, id and the wish for the raw vector are told to the worker."""
    pixels = noise(20, 10)

    vector = callers.make().embed_image(pixels, normalize=False, lane="bulk", job_id="j1", timeout_s=7.0)

    ((job, _),) = families.jobs
    assert (job.op, job.options, job.lane, job.id, job.ttl_ms) == (
        "embed_image",
        {"normalize": False},
        "bulk",
        "j1",
        7000,
    )
    assert vector.tolist() == vector_of(pixels, normalize=False).tolist()


def test_what_a_model_sees_is_asked_once(callers: Callers, make_consumer: MakeConsumer) -> None:
    """A client goes by what it has learned: what is told later counts for clients made later."""
    pixels = noise(600, 500)
    early, late = callers.make(), callers.make()
    with Families(make_consumer) as families:
        early.embed_image(pixels, timeout_s=LONG_S)
        make_consumer(model="siglip").announce({"sees": "10x5"})
        early.embed_image(pixels, timeout_s=LONG_S)
        late.embed_image(pixels, timeout_s=LONG_S)

    assert [given.shape for given in families.inputs] == [(384, 384, 3), (384, 384, 3), (5, 10, 3)]


@pytest.mark.parametrize("told", [{}, {"siglip": "everything", "yunet": "<=lots"}], ids=["nothing", "nonsense"])
def test_a_model_that_does_not_say_what_it_sees_gets_all(
    told: dict[str, str], callers: Callers, make_consumer: MakeConsumer
) -> None:
    """A worker of a user's own model is sent what callers give."""
    with Families(make_consumer, sees=told) as families:
        callers.make().embed_image(noise(600, 500), timeout_s=LONG_S)

    assert families.inputs[0].shape == (500, 600, 3)


def test_without_a_live_worker_a_picture_waits_whole(callers: Callers, make_consumer: MakeConsumer) -> None:
    """Nobody to ask is no error: the job is queued, and served by whoever comes."""
    caller = callers.make()
    calls = [callers.start(caller.embed_image, noise(600, 500), timeout_s=LONG_S) for _ in range(2)]
    with Families(make_consumer, live=False) as families:
        vectors = [call.result(LONG_S).tolist() for call in calls]

    assert vectors == [vector_of(noise(600, 500), normalize=True).tolist()] * 2
    assert [given.shape for given in families.inputs] == [(500, 600, 3)] * 2


def test_a_question_that_is_lost_costs_no_call(
    callers: Callers, families: Families, server: Server, redis_settings: RedisSettings
) -> None:
    """A client that cannot learn what a model sees sends the whole picture, and asks again the next time."""
    with Proxy(server) as proxy:
        url = redis_settings.from_env({}, url=proxy.url).url
        caller = callers.make(redis_settings.model_copy(update={"url": url}))
        proxy.lose_reply_to(b"XINFO")
        for _ in range(2):
            caller.embed_image(noise(600, 500), timeout_s=LONG_S)
        assert proxy.to_lose == 0

    assert [given.shape for given in families.inputs] == [(500, 600, 3), (384, 384, 3)]


def test_pictures_come_back_in_the_order_of_the_call(callers: Callers, families: Families) -> None:
    """A list of several forms and jobs is one matrix, each row that of its picture."""
    pixels = [noise(8 + number % 3, 8, seed=number) for number in range(150)]
    pictures = [file_of(each) if number % 2 else each for number, each in enumerate(pixels)]

    vectors = callers.make().embed_images(pictures, timeout_s=LONG_S)

    assert vectors.tolist() == [vector_of(each, normalize=True).tolist() for each in pixels]
    assert sorted(len(inputs) for _, inputs in families.jobs) == [6, *[16] * 9]


def test_no_entry_carries_more_than_it_should(callers: Callers, families: Families) -> None:
    """Pictures just below the limit for blobs are cut into jobs by their bytes as well."""
    pictures = [noise(500, 500, seed=number) for number in range(16)]
    caller = callers.make(callers.settings.model_copy(update={"inline_bytes": 1024 * 1024}))

    caller.embed_images(pictures, shrink=False, timeout_s=LONG_S)

    assert sorted(len(inputs) for _, inputs in families.jobs) == [1, 5, 5, 5]


def test_a_list_sent_again_joins_its_jobs(callers: Callers, make_consumer: MakeConsumer) -> None:
    """With the id of the first time, although the pictures are shrunk only now that somebody serves them."""
    # too large for an entry as they are, small enough once they are shrunk
    pictures = [file_of(noise(400, 400, seed=number) % 8, "BMP") for number in range(40)]
    caller = callers.make()
    first = callers.start(caller.embed_images, pictures, job_id="j1", timeout_s=LONG_S)
    with Families(make_consumer, live=False) as families:
        before = first.result(LONG_S)
        _live(make_consumer(model="siglip"), sees="384x384")
        after = caller.embed_images(pictures, job_id="j1", timeout_s=LONG_S)

    assert before.tolist() == after.tolist()
    assert len(families.jobs) == 3


def _live(consumer: Consumer, **about: str) -> None:
    consumer.announce(about)
    show_life(consumer)


def test_an_id_of_another_list_is_told(callers: Callers, families: Families) -> None:
    """Whoever uses an id twice for different lists is told, and gets no vectors of other pictures."""
    caller = callers.make()
    caller.embed_images([noise(4, 4), noise(5, 5)], job_id="j1", timeout_s=LONG_S)

    with pytest.raises(InvalidInput, match="job j1 is one of 2 inputs, not of these 3"):
        caller.embed_images([noise(4, 4)] * 3, job_id="j1", timeout_s=LONG_S)
    assert len(families.jobs) == 1


def test_pictures_that_failed_are_told_or_left_as_nan(callers: Callers, families: Families) -> None:
    """Those that succeeded are there whichever way, and each failure is under its place."""
    pictures = [noise(9, 9), b"no picture", noise(8, 8)]
    caller = callers.make()

    with pytest.raises(PartialFailure, match="1 of 3 inputs failed, the first at 1") as raised:
        caller.embed_images(pictures, timeout_s=LONG_S)
    rows = caller.embed_images(pictures, on_error="nan", timeout_s=LONG_S)

    assert {index: type(error) for index, error in raised.value.failed.items()} == {1: InvalidInput}
    assert np.array_equal(rows, raised.value.vectors, equal_nan=True)
    assert np.isnan(rows).any(axis=1).tolist() == [False, True, False]
    assert len(families.jobs) == 2


def test_no_pictures_have_no_vectors(callers: Callers, families: Families) -> None:
    """Nothing asked for is nothing sent."""
    assert callers.make().embed_images([]).shape[0] == 0
    assert families.jobs == []


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "whole"])
def test_boxes_are_in_pixels_of_the_picture_given(callers: Callers, families: Families, *, shrink: bool) -> None:
    """However large a picture is, and however small it travelled: x with the width, y with the height."""
    pixels = noise(2560, 1001)
    pixels[300:500, 1000:1600] = 255

    (face,) = callers.make().detect_faces(pixels, shrink=shrink, timeout_s=LONG_S)

    assert families.inputs[0].shape[1] == (1280 if shrink else 2560)
    assert face.bbox == pytest.approx((1000, 300, 600, 200), abs=2)
    assert face.landmarks == (pytest.approx((1300, 400), abs=2),) * 5
    assert (face.confidence, type(face.bbox[0])) == (0.9, float)


def test_boxes_are_in_pixels_of_the_upright_picture(callers: Callers, families: Families, tmp_path: Path) -> None:
    """A photo taken on its side has its faces where one sees them."""
    pixels = noise(1000, 2000)
    pixels[100:300, 400:500] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = np.rot90(pixels).copy()
    photo = written(file_of(lying, "JPEG", quality=98, exif=exif), tmp_path / "photo.jpg")

    caller = callers.make()
    boxes = [face.bbox for shrink in (True, False) for face in caller.detect_faces(photo, shrink=shrink)]

    assert boxes == [pytest.approx((400, 100, 100, 200), abs=3)] * 2
    assert [len(sent) < photo.stat().st_size for sent in families.inputs] == [True, False]


def test_a_picture_without_faces_has_none(callers: Callers, families: Families) -> None:
    """No faces are an empty list; how sure the model is to be, and how far faces may overlap, reaches it."""
    assert callers.make().detect_faces(noise(50, 40), score_threshold=0.8) == []
    assert callers.make().detect_faces(noise(50, 40), score_threshold=None, nms_threshold=0.5) == []
    assert [job.options for job, _ in families.jobs] == [{"score_threshold": 0.8}, {"nms_threshold": 0.5}]


@pytest.mark.parametrize("call", ["embed_image", "detect_faces"])
def test_a_broken_picture_is_the_callers_error(call: str, callers: Callers, families: Families) -> None:
    """What the worker says of it is raised."""
    with pytest.raises(InvalidInput, match="not a picture"):
        getattr(callers.make(), call)(b"no picture", timeout_s=LONG_S)
    assert len(families.jobs) == 1


def test_a_transcript_is_typed(callers: Callers, families: Families, tmp_path: Path) -> None:
    """Text, language, duration, segments and words, from a path or bytes."""
    path = written(b"one two", tmp_path / "speech.wav")
    caller = callers.make()

    by_path = caller.transcribe(path, word_timestamps=True)
    plain = caller.transcribe(b"one two", "ko")

    word = Word(0.5, 1.5, " one two", 0.5)
    segment = Segment(0, 0, 0.0, 1.5, " one two", [50364, 1], 0.0, -0.25, 0.75, 0.125, [word])
    assert by_path == Transcript(" one two", "en", 1.5, [segment], 0.75, truncated=False)
    assert (plain.language, plain.segments[0].words) == ("ko", None)
    # a mixed recording has no channels to tell apart
    assert by_path.as_dict()["segments"] == [{n: value for n, value in asdict(segment).items() if n != "channel"}]
    assert "words" not in plain.as_dict()["segments"][0]
    assert len(families.jobs) == 2


def test_a_transcript_is_waited_for_as_long_as_it_may_take(callers: Callers, families: Families) -> None:
    """An hour unless told otherwise; the model hears only of what was asked."""
    caller = callers.make()
    caller.transcribe(b"a")
    caller.transcribe(b"a", "ko", task="translate", vad=True, beam_size=1, timestamps=False, timeout_s=5.0, lane="bulk")
    caller.transcribe(b"a", beam_size=None)
    caller.transcribe(b"a", "pt-BR", prompt="Penstock", hotwords="Valkey", channels="split", track=2)

    chosen = {"language": "ko", "word_timestamps": False, "task": "translate", "vad": True, "beam_size": 1}
    asked = [(job.ttl_ms, job.lane, job.options) for job, _ in families.jobs]
    assert asked == [
        (3_600_000, "interactive", {"word_timestamps": False}),
        (5_000, "bulk", {**chosen, "timestamps": False}),
        (3_600_000, "interactive", {"word_timestamps": False}),
        (3_600_000, "interactive", SPLIT),
    ]


SPLIT = {
    "language": "pt-BR",
    "word_timestamps": False,
    "prompt": "Penstock",
    "hotwords": "Valkey",
    "channels": "split",
    "track": 2,
}


def test_split_channels_are_typed(callers: Callers, families: Families) -> None:
    """A transcript of each channel, by name, also as maps."""
    transcript = callers.make().transcribe(b"one two", channels="split")

    assert transcript.channels is not None
    (channel,) = transcript.channels
    assert (channel.number, channel.name, channel.transcript.text) == (1, "left", " one two")
    assert channel.transcript.channels is None
    (mapped,) = transcript.as_dict()["channels"]
    assert (mapped["channel"], mapped["name"], mapped["text"]) == (1, "left", " one two")
    assert families.jobs


def test_all_that_bge_m3_makes_of_a_text(callers: Callers, families: Families) -> None:
    """With `outputs` a text has embeddings: of the kinds asked for, the others None."""
    caller = callers.make()

    everything = caller.embed_text("abba", model="bge-m3", outputs=("dense", "sparse", "colbert"))
    weights = caller.embed_text("abba", model="bge-m3", outputs=["sparse"])

    assert everything.dense.tolist() == [text_vector("abba").tolist()]
    assert everything.sparse == [{97: 0.5, 98: 0.5}]
    assert [(rows.dtype, rows.tolist()) for rows in everything.colbert] == [(np.float32, np.eye(4, 32).tolist())]
    assert (everything.truncated, everything.failed) == ([False], {})
    assert weights == Embeddings(None, [{97: 0.5, 98: 0.5}], None, [False])
    assert families.jobs[0][0].options == {"normalize": True, "outputs": ["dense", "sparse", "colbert"]}


def test_embeddings_of_many_texts_come_in_order(callers: Callers, families: Families) -> None:
    """Texts whose replies are large travel eight to a job, and are one answer all the same."""
    texts = ["x" * (number + 1) for number in range(40)]

    found = callers.make().embed_texts(texts, model="bge-m3", outputs=("dense", "colbert"), timeout_s=LONG_S)

    assert found.dense.tolist() == [text_vector(text).tolist() for text in texts]
    assert [len(rows) for rows in found.colbert] == list(range(1, 41))
    assert found.truncated == [len(text) > 32 for text in texts]
    assert (found.sparse, [len(inputs) for _, inputs in families.jobs]) == (None, [8] * 5)


@pytest.mark.parametrize("count", [1, 8], ids=["alone", "in company"])
def test_texts_that_failed_leave_nothing_in_their_place(count: int, callers: Callers, families: Families) -> None:
    """A NaN row, no weights, no rows, and the error; the same whether or not the text was the only one of its job."""
    texts = ["x"] * 8 + ["bad"] + ["y"] * (count - 1)
    outputs = ("dense", "sparse", "colbert")
    caller = callers.make()

    with pytest.raises(PartialFailure, match="the first at 8: the text is bad") as raised:
        caller.embed_texts(texts, model="bge-m3", outputs=outputs, timeout_s=LONG_S)
    found = caller.embed_texts(texts, model="bge-m3", outputs=outputs, on_error="nan", timeout_s=LONG_S)

    assert (list(raised.value.failed), list(raised.value.embeddings.failed), list(found.failed)) == ([8], [8], [8])
    assert np.array_equal(raised.value.vectors, found.dense, equal_nan=True)
    assert np.isnan(found.dense).any(axis=1).nonzero()[0].tolist() == [8]
    assert (found.sparse[8], found.colbert[8].shape[0], found.truncated[8]) == ({}, 0, False)
    assert (found.sparse[0], found.colbert[0].shape[0]) == ({120: 0.5}, 1)
    assert len(families.jobs) == 4


def test_a_single_text_that_failed_is_its_own_error(callers: Callers, families: Families) -> None:
    """One text is no list of which some failed."""
    with pytest.raises(InvalidInput, match="bad"):
        callers.make().embed_text("bad", model="bge-m3", outputs=["sparse"])
    assert len(families.jobs) == 1


@pytest.mark.parametrize("outputs", ["dense", [], ()], ids=repr)
def test_outputs_are_a_list_of_names(outputs: Any, callers: Callers) -> None:
    """One name given for a list of names is not taken for its letters."""
    with pytest.raises(InvalidInput, match="outputs"):
        callers.make().embed_texts(["a"], model="bge-m3", outputs=outputs)


@pytest.mark.parametrize(
    "call",
    [
        lambda caller: caller.embed_image(noise(4, 4), timeout=5),
        lambda caller: caller.embed_texts(["a"], job="j1"),
        lambda caller: caller.transcribe(b"a", beams=3),
        lambda caller: caller.submit("m", "op", ["a"], ttl_s=3),
    ],
    ids=["embed_image", "embed_texts", "transcribe", "submit"],
)
def test_a_misspelt_argument_is_told(call: Callable[[Any], Any], callers: Callers, families: Families) -> None:
    """What would silently do nothing is a `TypeError`, as for any function."""
    with pytest.raises(TypeError, match=r"unexpected keyword argument '(timeout|job|beams|ttl_s)'"):
        call(callers.make())
    assert families.jobs == []


@pytest.mark.parametrize("call", ["embed_image", "detect_faces", "transcribe"])
def test_a_file_that_is_not_there_is_told_at_once(call: str, callers: Callers, tmp_path: Path) -> None:
    """The error is the one that opening it gives."""
    with pytest.raises(FileNotFoundError):
        getattr(callers.make(), call)(tmp_path / "never")


@pytest.mark.parametrize("wrong", ["one.png", b"bytes", 3])
def test_what_is_no_list_of_pictures_is_refused_at_once(wrong: Any, callers: Callers) -> None:
    """One picture given for a list is not taken for its bytes."""
    with pytest.raises(InvalidInput, match="images is"):
        callers.make().embed_images(wrong)


@pytest.mark.parametrize("call", ["embed_image", "embed_images", "detect_faces", "transcribe"])
def test_a_slow_file_holds_up_nobody_else(call: str, callers: Callers, families: Families, tmp_path: Path) -> None:
    """While one call waits for a disk, others of the same client, and its loop, go on."""
    path = tmp_path / "slow"
    os.mkfifo(path)
    caller = callers.make()

    slow: Future[Any] = callers.start(getattr(caller, call), [path] if call == "embed_images" else path)
    quick = caller.embed_text("quick", timeout_s=LONG_S)
    # opening it this way tells whether somebody reads
    with eventually(lambda: _opened(path), what="the other end") as end:
        waits = not slow.done()
        end.write(file_of(noise(8, 8)) if call != "transcribe" else b"speech")
    slow.result(LONG_S)

    assert (quick.tolist(), waits) == (text_vector("quick").tolist(), True)
    assert len(families.jobs) == 2


def _opened(path: Path) -> Any:
    """Return the pipe, opened for writing, if somebody reads from it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "wb")
    return None


def test_a_picture_nobody_looks_at_times_out(callers: Callers) -> None:
    """The time of a call is what it says, with a picture as with a text."""
    with pytest.raises(Timeout):
        callers.make().embed_image(noise(10, 10), timeout_s=0.05)


EVERYTHING = """
import asyncio, json, sys
import rpc
from rpc import plans
from rpc.inspection import model_state

picture, speech = sys.argv[1:]
prefix = rpc.RedisSettings.from_env().prefix

def calls(c):
    return {
        "ask": lambda: c.ask(model_state(prefix, "siglip")),
        "submit": lambda: c.submit("siglip", "embed_text", ["a"], {"normalize": True}, job_id="j1"),
        "result": lambda: c.result("siglip", "j1"),
        "cancel": lambda: c.cancel("siglip", "j1"),
        "call": lambda: c.call("siglip", "embed_text", ["a"], {"normalize": True}),
        "embed_text": lambda: c.embed_text("a"),
        "embed_texts": lambda: c.embed_texts(["a"], model="bge-m3", outputs=["dense", "sparse", "colbert"]),
        "embed_image": lambda: c.embed_image(picture),
        "embed_images": lambda: c.embed_images([picture, open(picture, "rb").read()]),
        "detect_faces": lambda: c.detect_faces(picture),
        "transcribe": lambda: c.transcribe(speech, word_timestamps=True),
        "progress": lambda: c.progress("whisper", "nothing"),
        "carry_out": lambda: c.carry_out(plans.embed_text(c.asked("siglip", "embed_text"), "a", {})),
    }

def service_calls(c):
    return {
        "health_check": lambda: c.health_check(),
        "transcribe_audio": lambda: c.transcribe_audio(speech),
        "generate_text_embedding": lambda: c.generate_text_embedding("a"),
        "generate_vision_embedding": lambda: c.generate_vision_embedding(picture),
        "detect_faces": lambda: c.detect_faces(picture),
    }

def all_of(c, calls):
    public = {name for name in dir(c) if not name.startswith("_") and callable(getattr(c, name))}
    assert public - {"asked", "consume"} == {"close", *calls}, public ^ {"close", *calls}
    return calls.values()

async def awaited():
    for kind, of in ((rpc.AsyncClient, calls), (rpc.AsyncModelServiceClient, service_calls)):
        async with kind() as c:
            for call in all_of(c, of(c)):
                await call()

for kind, of in ((rpc.Client, calls), (rpc.ModelServiceClient, service_calls)):
    with kind() as c:
        for call in all_of(c, of(c)):
            call()
asyncio.run(awaited())
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""

HEAVY = {
    "torch",
    "transformers",
    "faster_whisper",
    "ctranslate2",
    "cv2",
    "av",
    "onnx",
    "tokenizers",
    "inference_worker",
}


def test_no_call_imports_what_models_need(redis_settings: RedisSettings, families: Families, tmp_path: Path) -> None:
    """Issue 3: a caller's process never imports torch, transformers, faster-whisper or cv2, whatever it calls."""
    seen = _run(EVERYTHING, redis_settings, tmp_path)

    assert "PIL" in seen
    assert HEAVY & set(json.loads(seen)) == set()
    assert len(families.jobs) > 0


def _run(script: str, settings: RedisSettings, directory: Path) -> str:
    picture = written(file_of(noise(500, 400)), directory / "picture.png")
    speech = written(b"speech", directory / "speech.wav")
    ended = subprocess.run(
        [sys.executable, "-c", script, picture, speech],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


WITHOUT_PILLOW = "import sys; sys.modules['PIL'] = None\n" + EVERYTHING


def test_without_pillow_pictures_are_sent_as_they_are(
    redis_settings: RedisSettings, families: Families, tmp_path: Path
) -> None:
    """The extra that shrinks pictures may be missing: every call works, and sends what it was given."""
    _run(WITHOUT_PILLOW, redis_settings, tmp_path)

    pictures = [inputs for job, inputs in families.jobs if job.op in {"embed_image", "detect_faces"}]
    assert {given for inputs in pictures for given in inputs} == {(tmp_path / "picture.png").read_bytes()}
