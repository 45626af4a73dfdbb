"""The four families in one worker process, on stand-ins: what comes through the queue is what the model gives."""

import io
import json
import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from inference_worker.models.base import Model, Runtime
from inference_worker.models.bge_m3 import BgeM3
from inference_worker.models.siglip import Siglip
from inference_worker.models.whisper import Whisper
from inference_worker.models.yunet import YuNet
from inference_worker.standins import cache
from inference_worker.standins.whisper import WORDS, tone_speech, wav
from inference_worker.standins.yunet import squares_picture
from producers.texts import mixed_texts
from rpc import Client, InvalidInput, RedisSettings, UnknownModel
from rpc.inspection import model_state
from tests import hazards
from tests.conftest import ON_VALKEY, StartWorker, settings_for
from tests.heard import GATE, JOURNAL
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

FAMILIES: Mapping[str, type[Model]] = {"whisper": Whisper, "siglip": Siglip, "bge-m3": BgeM3, "yunet": YuNet}

SAME, NEAR_PX = 0.9999, 0.5

SOON_S, MOST_BYTES = 2.0, 200_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where this module's stand-ins are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def environ(place: Path) -> dict[str, str]:
    """Return what a worker on stand-ins is told."""
    return {"PENSTOCK_STANDINS": "1", "PENSTOCK_CACHE_DIR": str(place), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def settings(server: Server) -> RedisSettings:
    """Return where this module's worker is."""
    return settings_for(server)


@pytest.fixture(scope="module")
def worker(settings: RedisSettings, environ: dict[str, str]) -> Iterator[WorkerProcess]:
    """Yield a worker that was told nothing but to use stand-ins."""
    with WorkerProcess((), settings, environ) as running:
        yield running


@pytest.fixture
def client(worker: WorkerProcess, settings: RedisSettings) -> Iterator[Client]:
    """Yield a client; whatever a test did, the worker is still there afterwards."""
    with Client(settings=settings) as client:
        yield client
    assert worker.running, worker.log


@pytest.fixture(scope="module")
def direct(place: Path, worker: WorkerProcess) -> dict[str, Model]:
    """Return the same models, loaded here, to be called without a queue."""
    assert worker.running
    models = {name: kind(Runtime(source=str(cache.built(name, place)))) for name, kind in FAMILIES.items()}
    for model in models.values():
        model.load()
    return models


def called(model: Model, op: str, given: Any, **options: Any) -> Any:
    """Return the result of one input, each of its units in a pass of its own."""
    units = model.prepare(op, given, options)
    return model.finish(op, [[model.infer([unit])[0] for unit in units]])


def cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how alike the rows are, pair by pair."""
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    alike: NDArray[np.float32] = (some * others).sum(1) / norms
    return alike


PICTURES = [hazards.photo(60 + 40 * number, 80 + 20 * number, seed=number) for number in range(8)]

TEXTS = mixed_texts(12)


def spoken(count: int, seed: int) -> list[str]:
    """Return words by chance, the same for the same seed."""
    return [WORDS[index] for index in np.random.default_rng(seed).integers(0, len(WORDS), count)]


def test_a_worker_told_nothing_serves_the_four_families(client: Client, settings: RedisSettings) -> None:
    """Each is announced with its ops, its bytes, what is free, and that it is a stand-in."""

    def told(model: str) -> Mapping[str, str]:
        # its sign of life comes first, then what it says of itself
        return next(iter(client.ask(model_state(settings.prefix, model)).workers.values()), {})

    abouts = {name: eventually(partial(told, name)) for name in FAMILIES}
    assert {name: about["ops"] for name, about in abouts.items()} == {
        "whisper": "transcribe",
        "siglip": "embed_text,embed_image",
        "bge-m3": "embed_text",
        "yunet": "detect_faces",
    }
    assert {about["weights"] for about in abouts.values()} == {"stand-in"}
    assert all(int(about["bytes"]) > 0 and int(about["free_bytes"]) > 0 for about in abouts.values())


def test_metrics_tell_the_memory(worker: WorkerProcess) -> None:
    """Bytes of each model's weights, under our name and the origin's, and what is free on the device."""
    for name in FAMILIES:
        assert worker.metric("penstock_model_bytes", model=name) > 0
        assert worker.metric("model_service_memory_bytes", model=name) > 0
    assert worker.metric("penstock_device_free_bytes", device="cpu") > 0


def test_siglip_gives_what_it_gives_directly(client: Client, direct: dict[str, Model]) -> None:
    """Texts and pictures, alone and in a list."""
    model = direct["siglip"]
    texts = np.concatenate([called(model, "embed_text", text)["vectors"] for text in TEXTS])
    pictures = np.concatenate([called(model, "embed_image", picture)["vectors"] for picture in PICTURES])

    assert cosines(client.embed_texts(TEXTS), texts).min() >= SAME
    assert cosines(client.embed_images(PICTURES), pictures).min() >= SAME
    assert cosines(np.stack([client.embed_text(text) for text in TEXTS[:3]]), texts[:3]).min() >= SAME
    assert cosines(np.stack([client.embed_image(picture) for picture in PICTURES[:3]]), pictures[:3]).min() >= SAME
    raw = client.embed_text(TEXTS[0], normalize=False)
    assert cosines(raw[None], texts[:1]).min() >= SAME
    assert abs(np.linalg.norm(raw) - 1) > 0.01


def test_bge_m3_gives_what_it_gives_directly(client: Client, direct: dict[str, Model]) -> None:
    """All three outputs, alone and in a list."""
    outputs = ("dense", "sparse", "colbert")
    expected = [called(direct["bge-m3"], "embed_text", text, outputs=list(outputs)) for text in TEXTS]

    made = client.embed_texts(TEXTS, model="bge-m3", outputs=outputs)

    assert made.dense is not None
    assert made.sparse is not None
    assert made.colbert is not None
    assert cosines(made.dense, np.concatenate([one["vectors"] for one in expected])).min() >= SAME
    for sparse, colbert, one in zip(made.sparse, made.colbert, expected, strict=True):
        there = dict(zip(one["sparse"][0]["ids"].tolist(), one["sparse"][0]["weights"].tolist(), strict=True))
        assert sparse == pytest.approx(there, abs=1e-4)
        assert cosines(colbert, one["colbert"][0].astype(np.float32)).min() >= SAME
    alone = client.embed_text(TEXTS[0], model="bge-m3", outputs=outputs)
    assert alone.dense is not None
    assert cosines(alone.dense, made.dense[:1]).min() >= SAME


def test_yunet_gives_what_it_gives_directly(client: Client, direct: dict[str, Model]) -> None:
    """Alone and many at once, larger than it sees too: within half a pixel."""
    places = [(16 * number + 40, 8 * number + 80, 40) for number in range(12)]
    pictures = [squares_picture((640, 480), [place]) for place in places]
    pictures += [squares_picture((3584, 1792), [(640, 320, 160)])]
    expected = [called(direct["yunet"], "detect_faces", picture)["images"][0]["faces"] for picture in pictures]
    assert [len(faces) for faces in expected] == [1] * len(pictures)

    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(client.detect_faces, pictures))

    for faces, there in zip(found, expected, strict=True):
        assert np.allclose([face.bbox for face in faces], [face["bbox"] for face in there], atol=NEAR_PX)
        assert np.allclose([face.landmarks for face in faces], [face["landmarks"] for face in there], atol=NEAR_PX)
    assert found[0][0].bbox == pytest.approx((*places[0][:2], 40, 40), abs=NEAR_PX)


def test_whisper_gives_what_it_gives_directly(client: Client, direct: dict[str, Model]) -> None:
    """Five recordings, four languages and both tasks at once, each field as alone."""
    asked: list[dict[str, Any]] = [
        {"language": "fr", "task": "translate"},
        {"language": "de", "word_timestamps": True},
        {"language": "ja"},
        {"language": "en", "task": "translate"},
        {},
    ]
    recordings = [wav(tone_speech(spoken(count, count))) for count in (3, 12, 75, 1, 7)]
    expected = [
        called(direct["whisper"], "transcribe", recording, **options)["transcripts"][0]
        for recording, options in zip(recordings, asked, strict=True)
    ]

    with ThreadPoolExecutor(5) as callers:
        running = [
            callers.submit(client.transcribe, recording, **options)
            for recording, options in zip(recordings, asked, strict=True)
        ]
        found = [transcript.result().as_dict() for transcript in running]

    for transcript, there in zip(found, expected, strict=True):
        assert transcript["text"] == there["text"]
        assert transcript["language"] == there["language"]
        assert [segment["tokens"] for segment in transcript["segments"]] == [s["tokens"] for s in there["segments"]]
        assert json.loads(json.dumps(transcript)) == transcript


@pytest.mark.usefixtures("raw")
def test_a_clip_does_not_wait_for_a_long_recording(
    start_worker: StartWorker, place: Path, tmp_path: Path, redis_settings: RedisSettings
) -> None:
    """Five seconds behind twenty minutes are answered before a quarter of those is done, in a pass they share."""
    directory = tmp_path / "heard"
    directory.mkdir()
    told = {"HEARD_DIRECTORY": str(directory), "HEARD_SOURCE": str(cache.built("whisper", place))}
    own = start_worker("tests.heard:Whisper", env=told)
    with Client(settings=redis_settings) as caller, ThreadPoolExecutor(2) as callers:
        long: Future[Any] = callers.submit(caller.transcribe, wav(tone_speech(spoken(1200, 1))), "en")
        eventually(lambda: _passes(directory))
        clip = callers.submit(caller.transcribe, wav(tone_speech(spoken(5, 2))), "en")
        eventually(lambda: own.metric("penstock_prepare_seconds_count", model="whisper") == 2)
        (directory / GATE).touch()
        assert clip.result(LONG_S).text.split() == spoken(5, 2)
        assert long.result(4 * LONG_S).text.split() == spoken(1200, 1)

    passes = _passes(directory)
    shared = next(number for number, lengths in enumerate(passes) if "5" in lengths)
    assert set(passes[shared]) == {"5", "1200"}
    before = sum(lengths.count("1200") for lengths in passes[: shared + 1])
    assert before < 1200 / 30 / 4
    assert own.metric("penstock_batch_jobs_sum", model="whisper") > own.metric(
        "penstock_batch_jobs_count", model="whisper"
    )


def _passes(directory: Path) -> list[list[str]]:
    journal = directory / JOURNAL
    return [line.split() for line in journal.read_text("ascii").splitlines()] if journal.exists() else []


def test_texts_of_all_lengths_are_padded_little(worker: WorkerProcess, settings: RedisSettings) -> None:
    """256 waiting texts of 4 to 2,000 tokens: at most 1.3 tokens are computed for each real one."""
    lengths = np.exp(np.random.default_rng(4).uniform(np.log(4), np.log(2000), 256)).astype(int)
    texts = [" ".join(["cat"] * max(1, length - 2)) for length in lengths]
    before = _costs(worker)

    with ThreadPoolExecutor(256) as callers, Client(settings=settings) as other:
        vectors = list(callers.map(lambda text: other.embed_text(text, model="bge-m3", timeout_s=120.0), texts))

    padded, real = (now - then for now, then in zip(_costs(worker), before, strict=True))
    assert len(vectors) == 256
    assert real >= 0.9 * lengths.sum()
    assert padded <= 1.3 * real


def _costs(worker: WorkerProcess) -> tuple[float, float]:
    names = ("penstock_batch_padded_cost_total", "penstock_batch_cost_total")
    padded, real = (worker.metric(name, model="bge-m3") for name in names)
    return padded, real


MIXED = 24


def _mixed(client: Client, number: int) -> Any:
    """Return what one of the families says of one input, and raise if it is not right."""
    kind = number % 4
    if kind == 0:
        said = spoken(1 + number % 9, number)
        assert client.transcribe(wav(tone_speech(said)), "en", timeout_s=120.0).text.split() == said
    elif kind == 1:
        assert np.isfinite(client.embed_image(PICTURES[number % 8], timeout_s=120.0)).all()
    elif kind == 2:
        made = client.embed_text(TEXTS[number % 12], model="bge-m3", outputs=("dense", "sparse"), timeout_s=120.0)
        assert made.dense is not None
    else:
        faces = client.detect_faces(squares_picture((640, 480), [(80, 80, 40)]), timeout_s=120.0)
        assert faces[0].bbox == pytest.approx((80, 80, 40, 40), abs=NEAR_PX)
    return kind


def test_all_families_at_once(client: Client) -> None:
    """A mixed load from many callers: every answer is right."""
    with ThreadPoolExecutor(16) as callers:
        kinds = list(callers.map(lambda number: _mixed(client, number), range(4 * MIXED)))

    assert [kinds.count(kind) for kind in range(4)] == [MIXED] * 4


def test_a_killed_worker_loses_nothing(
    start_worker: StartWorker, redis_settings: RedisSettings, environ: dict[str, str]
) -> None:
    """SIGKILL amid a mixed load of all four families: another worker answers every call, and rightly."""
    hurried = {**environ, "PENSTOCK_LEASE_S": "1"}
    first = start_worker(env=hurried)
    with Client(settings=redis_settings) as caller, ThreadPoolExecutor(16) as callers:
        running = [callers.submit(_mixed, caller, number) for number in range(4 * MIXED)]
        eventually(lambda: sum(job.done() for job in running) >= 8)
        first.signal(signal.SIGKILL)
        undone = sum(not job.done() for job in running)
        start_worker(env=hurried)
        kinds = [job.result(4 * LONG_S) for job in running]

    assert undone > 0
    assert [kinds.count(kind) for kind in range(4)] == [MIXED] * 4


@pytest.fixture(scope="module")
def warm(worker: WorkerProcess, settings: RedisSettings) -> WorkerProcess:
    """Return the worker once every family has run, so that its memory is that of an idle one."""
    with Client(settings=settings) as client, ThreadPoolExecutor(16) as callers:
        list(callers.map(lambda number: _mixed(client, number), range(32)))
    return worker


HAZARDS = [
    *(("detect_faces", "yunet", name, build) for name, build in hazards.PICTURES_REFUSED.items()),
    *(("embed_image", "siglip", name, build) for name, build in hazards.PICTURES_REFUSED.items()),
    *(("transcribe", "whisper", name, build) for name, build in hazards.RECORDINGS_REFUSED.items()),
]


@pytest.mark.bound
@pytest.mark.parametrize(("op", "model", "name", "build"), HAZARDS, ids=[f"{h[1]}, {h[2]}" for h in HAZARDS])
def test_a_hazard_harms_nobody(
    client: Client, warm: WorkerProcess, op: str, model: str, name: str, build: hazards.Builder
) -> None:
    """A typed error within two seconds and 200 MB, nothing opened, and the neighbour in the same job is answered."""
    del name
    bad = build()
    good = wav(tone_speech(["one"])) if model == "whisper" else squares_picture((640, 480), [(80, 80, 40)])

    with watched(psutil.Process(warm.engine_pid)) as watch:
        started = time.monotonic()
        with pytest.raises(InvalidInput):
            client.call(model, op, [bad], timeout_s=LONG_S)
        took_s = time.monotonic() - started
        result = client.call(model, op, [bad, good], timeout_s=LONG_S)

    assert took_s < SOON_S
    assert watch.most < MOST_BYTES
    assert watch.opened == set()
    assert watch.looks > 1
    assert [failure["code"] for failure in result["failed"]] == ["invalid_input"]
    assert len(result.get("transcripts") or result.get("images") or result["vectors"]) == 2


@pytest.mark.usefixtures("server")
def test_the_watch_sees_what_does_not_last(tmp_path: Path) -> None:
    """Memory that is given back, and a file that is closed, before the call is over."""
    file = tmp_path / "secret"
    file.touch()
    with watched(psutil.Process()) as watch:
        with file.open("rb"), mmap.mmap(-1, 100_000_000) as held:
            np.frombuffer(held, np.uint8)[:] = 1
            eventually(lambda: watch.most >= 90_000_000 and str(file) in watch.opened)
        looks = watch.looks
        eventually(lambda: watch.looks > looks + 1)

    assert watch.opened == {str(file)}


@dataclass
class Watch:
    """What a thread sees of a process while it works.

    Attributes:
        most: how much more memory it had than before.
        opened: the files it had open, and the addresses it talked to, which it had not before.
        looks: how often it was looked at.
    """

    most: int = 0
    opened: set[str] = field(default_factory=set)
    looks: int = 0


@contextmanager
def watched(process: psutil.Process) -> Iterator[Watch]:
    """Look at a process all the time, once more at the end."""
    watch, stop = Watch(), threading.Event()
    idle, opened = process.memory_info().rss, _opened(process)

    def look() -> None:
        going = True
        while going:
            # short, so that a spike is seen; not none, or the looking would take what is looked at its time
            going = not stop.wait(0.005)
            watch.most = max(watch.most, process.memory_info().rss - idle)
            watch.opened |= _opened(process) - opened
            watch.looks += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def _opened(process: psutil.Process) -> set[str]:
    """Return the files a process has open, and the addresses it talks to."""
    addresses = {f"{link.raddr}" for link in process.net_connections() if link.status == psutil.CONN_ESTABLISHED}
    # what the kernel tells of itself is asked for all the time
    files = {file.path for file in process.open_files() if not file.path.startswith(("/proc/", "/sys/"))}
    return files | addresses


def test_what_a_family_does_not_offer_is_told(client: Client) -> None:
    """An op of another family is refused with what there is."""
    with pytest.raises(UnknownModel, match="whisper has no op 'embed_text'; it offers transcribe"):
        client.call("whisper", "embed_text", ["a"], timeout_s=LONG_S)


REAL_YUNET = os.environ.get("PENSTOCK_TEST_YUNET", "")


@pytest.mark.skipif(not Path(REAL_YUNET).is_file(), reason="PENSTOCK_TEST_YUNET names no file of the real YuNet")
@pytest.mark.usefixtures("raw")
def test_the_real_yunet_finds_the_face_of_the_astronaut(
    start_worker: StartWorker, redis_settings: RedisSettings
) -> None:
    """Through the queue: the one face at more than 0.9, as bytes and as pixels; none on a blank picture."""
    pytest.importorskip("skimage")
    astronaut = (resources.files("skimage") / "data" / "astronaut.png").read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(astronaut)).convert("RGB"))
    start_worker(f"yunet={REAL_YUNET}")
    with Client(settings=redis_settings) as caller:
        for picture in (astronaut, pixels):
            (face,) = caller.detect_faces(picture, timeout_s=LONG_S)
            assert face.confidence > 0.9
            assert face.bbox == pytest.approx((178.2, 62.9, 89.9, 113.3), abs=NEAR_PX)
        assert caller.detect_faces(np.full((512, 512, 3), 128, np.uint8), timeout_s=LONG_S) == []
