"""Inputs by reference through a real worker: files, an S3 server, and what must never be opened."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from inference_worker.standins.whisper import tone_speech, wav
from inference_worker.standins.yunet import squares_picture
from rpc import Client, InvalidInput, PartialFailure, RedisSettings, Reference, Unavailable
from rpc.keys import Keys
from tests import hazards
from tests.callers import Callers
from tests.conftest import ON_VALKEY, StartWorker
from tests.stores import S3, Web
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

FACE = (80, 80, 40)

MOST = 5_000_000


def picture() -> bytes:
    """Return a picture with a face."""
    pixels = squares_picture((640, 480), [FACE])
    return hazards.encoded(Image.fromarray(pixels), "PNG")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """Yield an S3 server."""
    with S3() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root, beside a file that must never be read."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def told(root: Path, s3: S3 | None = None, **more: str) -> dict[str, str]:
    """Return the environment of a worker that opens files under a root, and objects of a bucket."""
    stores = {"PENSTOCK_MEDIA_PREFIXES": f"s3://{S3.BUCKET}", **s3.environment} if s3 else {}
    return {"PENSTOCK_MEDIA_ROOT": str(root), **stores, **more}


def refused(client: Client, url: str, match: str = "") -> str:
    """Return what is said of a reference that is refused, in a job of its own."""
    with pytest.raises(InvalidInput, match=match) as raised:
        client.call("upper", "upper", [Reference(url)], timeout_s=LONG_S)
    return str(raised.value)


@pytest.mark.parametrize("model", ["echo", "tests.models:Gives"])
def test_a_file_reaches_the_model(callers: Callers, start_worker: StartWorker, root: Path, model: str) -> None:
    """As its bytes, whether the model is quick or not, among inputs that travel themselves."""
    (root / "talks").mkdir()
    (root / "talks" / "a b.wav").write_bytes(b"a talk")
    start_worker(model, env=told(root))
    name, op = ("echo", "echo") if model == "echo" else ("gives", "give")

    given = ["before", Reference("file:talks/a%20b.wav"), Reference(f"file://{root}/talks/a%20b.wav"), "after"]
    result = callers.make().call(name, op, given, timeout_s=LONG_S)

    assert result == {"outputs": ["before", b"a talk", b"a talk", "after"]}


def test_a_reference_written_by_hand_is_opened(
    raw: "Redis", redis_settings: RedisSettings, start_worker: StartWorker, root: Path
) -> None:
    """With redis-cli it is a map of `ref`; one that is no URL is refused as a whole."""
    (root / "a").write_bytes(b"a file")
    start_worker("echo", env=told(root))
    keys = Keys(redis_settings.prefix, "echo")

    def say(job_id: str, given: object) -> str:
        raw.xadd(keys.stream("interactive"), {"id": job_id, "op": "echo", "json": json.dumps({"inputs": [given]})})
        return str(eventually(lambda: raw.get(keys.result(job_id))))

    assert '{"outputs": [{"base64": "YSBmaWxl"}]}' in say("by-hand", {"ref": "file:a"})
    assert '"code": "invalid_input"' in say("no-url", {"ref": 5})
    assert '"code": "invalid_input"' in say("long", {"ref": "file:" + "a" * 2000})


BESIDE = [
    *("file:../secret", "file:%2e%2e/secret", "file:link", "file:///etc/passwd", "file://other/secret", "file:pipe"),
    *("file:", "file:nothing", "file:large", "http://169.254.169.254/latest/meta-data", "http://localhost/x"),
    *("s3://videos/a", "s3://other/../videos/a", "gs://bucket/a", "simplecache::file:///etc/passwd", "/etc/passwd"),
]


def test_what_is_refused_harms_no_neighbour(client: Client, start_worker: StartWorker, root: Path) -> None:
    """Each is `invalid_input` by its name; good inputs of the same job are answered, and nothing secret is read."""
    (root / "good").write_text("good")
    (root / "link").symlink_to("../secret")
    os.mkfifo(root / "pipe")
    with (root / "large").open("wb") as file:
        file.truncate(MOST + 1)
    worker = start_worker("tests.models:Text", env=told(root, PENSTOCK_MAX_INPUT_BYTES=str(MOST)))

    result = client.call("text", "text", [Reference("file:good"), *map(Reference, BESIDE), "good"], timeout_s=LONG_S)

    assert result["texts"] == ["GOOD", *[None] * len(BESIDE), "GOOD"]
    assert [failure["code"] for failure in result["failed"]] == ["invalid_input"] * len(BESIDE)
    for failure, url in zip(result["failed"], BESIDE, strict=True):
        assert f"reference {url!r}: " in failure["message"]
        assert str(root) not in failure["message"]
    assert worker.running


@pytest.fixture
def families(start_worker: StartWorker, s3: S3, root: Path, tmp_path_factory: pytest.TempPathFactory) -> WorkerProcess:
    """Return a worker with stand-ins of three families that reads from the S3 server."""
    cache = tmp_path_factory.getbasetemp() / "standins"
    more = {"PENSTOCK_STANDINS": "1", "PENSTOCK_CACHE_DIR": str(cache), "HF_HUB_OFFLINE": "1"}
    return start_worker("whisper", "siglip", "yunet", env=told(root, s3, **more))


@pytest.mark.usefixtures("families")
def test_pictures_and_recordings_are_read_from_a_store(callers: Callers, s3: S3) -> None:
    """Each named call gives what it gives of the bytes; a list tells which of its pictures failed."""
    face = Reference(s3.put("pictures/a face.png", picture()))
    talk = Reference(s3.put("talks/a.wav", wav(tone_speech(["two", "five"]))))
    private = Reference(s3.put("a.png", picture(), bucket="videos-private"))
    there, gone = callers.make(), Reference(f"s3://{S3.BUCKET}/gone.png")

    assert there.transcribe(talk, timeout_s=LONG_S).text.split() == ["two", "five"]
    assert there.detect_faces(face, timeout_s=LONG_S)[0].bbox == pytest.approx((*FACE, 40), abs=0.5)
    vector = there.embed_image(picture(), timeout_s=LONG_S, shrink=False)
    assert np.allclose(there.embed_image(face, timeout_s=LONG_S), vector, atol=1e-4)
    with pytest.raises(PartialFailure) as raised:
        there.embed_images([face, gone, private, picture()], timeout_s=LONG_S)
    assert np.allclose(raised.value.vectors[[0, 3]], vector, atol=1e-4)
    assert {place: type(error) for place, error in raised.value.failed.items()} == {1: InvalidInput, 2: InvalidInput}
    assert "gone.png': it is not there" in str(raised.value.failed[1])
    assert "no prefix" in str(raised.value.failed[2])


def test_objects_of_every_size(client: Client, start_worker: StartWorker, s3: S3, root: Path) -> None:
    """An empty one, one as large as allowed; one byte more is refused by its size, a folder is no file."""
    start_worker("echo", env=told(root, s3, PENSTOCK_MAX_INPUT_BYTES=str(MOST)))
    full = b"0123456789" * (MOST // 10)
    urls = [s3.put("empty", b""), s3.put("some/full", full), s3.put("large", full + b"x")]

    def echoed(url: str) -> object:
        return client.call("echo", "echo", [Reference(url)], timeout_s=LONG_S)["outputs"][0]

    assert echoed(urls[0]) == b""
    assert echoed(urls[1]) == full
    with pytest.raises(InvalidInput, match=f"{MOST + 1} bytes or more, over the limit of {MOST}"):
        echoed(urls[2])
    with pytest.raises(InvalidInput, match="no file"):
        echoed(f"s3://{S3.BUCKET}/some")


QUICKLY = {"FSSPEC_S3_CONFIG_KWARGS": '{"retries": {"max_attempts": 0}}', "PENSTOCK_MEDIA_TIMEOUT_S": "2"}


def test_a_store_that_comes_back_is_asked_again(callers: Callers, start_worker: StartWorker, root: Path) -> None:
    """While it is away its jobs are put off, others are answered; when it is back they are answered too."""
    with S3() as own:
        url = own.put("a", b"an object")
        worker = start_worker("echo", env=told(root, own, PENSTOCK_MAX_DELIVERIES="20", **QUICKLY))
        there = callers.make()
        own.stop()

        job_id = there.submit("echo", "echo", [Reference(url)], timeout_s=3 * LONG_S)
        eventually(lambda: worker.metric("penstock_retries_total") >= 1)
        assert there.call("echo", "echo", ["other"], timeout_s=LONG_S) == {"outputs": ["other"]}
        own.start()

        assert there.result("echo", job_id, timeout_s=2 * LONG_S) == {"outputs": [b"an object"]}


def test_a_store_that_stays_away_is_told(client: Client, start_worker: StartWorker, root: Path) -> None:
    """After the last delivery the caller has an error that says that it may pass."""
    with S3() as own:
        url = own.put("a", b"an object")
        worker = start_worker("echo", env=told(root, own, PENSTOCK_MAX_DELIVERIES="2", **QUICKLY))
    with pytest.raises(Unavailable, match=f"reference '{url}': the store") as raised:
        client.call("echo", "echo", [Reference(url)], timeout_s=2 * LONG_S)

    assert raised.value.retryable
    assert worker.metric("penstock_retries_total") == 1


def test_silence_of_a_store_is_no_hang(client: Client, start_worker: StartWorker, root: Path) -> None:
    """While all that fetch wait for it, for longer than an engine may hang, others are answered and none is killed."""
    with Web({}) as web:
        allowed = {"PENSTOCK_MEDIA_PREFIXES": f"{web.url}/open", "PENSTOCK_MEDIA_TIMEOUT_S": "3"}
        more = {"PENSTOCK_HANG_AFTER_S": "1", "PENSTOCK_PREPARE_THREADS": "1", "PENSTOCK_MAX_DELIVERIES": "1"}
        worker = start_worker("tests.models:Gives", env=told(root, None, **allowed, **more))
        engine = worker.engine_pid
        job_id = client.submit("gives", "give", [Reference(f"{web.url}/open/silence")], timeout_s=LONG_S)
        eventually(lambda: web.asked)

        assert client.call("gives", "give", ["other"], timeout_s=LONG_S) == {"outputs": ["other"]}
        with pytest.raises(Unavailable, match="did not give it within 3 s"):
            client.result("gives", job_id, timeout_s=LONG_S)
        assert engine == worker.engine_pid


def test_a_redirection_is_not_followed(client: Client, start_worker: StartWorker, root: Path) -> None:
    """A server under an allowed prefix cannot send the worker elsewhere."""
    with Web({"/open/a": b"a file", "/secret": b"secret"}) as web:
        start_worker("echo", env=told(root, None, PENSTOCK_MEDIA_PREFIXES=f"{web.url}/open"))

        assert client.call("echo", "echo", [Reference(f"{web.url}/open/a")], timeout_s=LONG_S)["outputs"] == [b"a file"]
        with pytest.raises(InvalidInput, match="answers 302, which is not followed"):
            client.call("echo", "echo", [Reference(f"{web.url}/open/to/secret")], timeout_s=LONG_S)
        assert "/secret" not in web.asked


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PENSTOCK_MEDIA_ROOT", "/nowhere/at/all"),
        ("PENSTOCK_MEDIA_ROOT", "/"),
        ("PENSTOCK_MEDIA_PREFIXES", "file:///srv"),
        ("PENSTOCK_MEDIA_PREFIXES", "sftp://host/srv/"),
    ],
)
def test_a_wrong_setting_ends_the_worker(start_worker: StartWorker, variable: str, value: str) -> None:
    """With status 2, naming the variable and the value."""
    worker = start_worker("echo", env={variable: value}, ready=False)

    assert worker.wait() == 2
    assert f"{variable}=" in worker.log
    assert value in worker.log
