"""Real MiniLM weights through the queue: right vectors, real batches, typed errors."""

import asyncio
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from redis import Redis
from transformers import AutoModel, AutoTokenizer

from inference_worker.models.sentence_encoder import MINILM_PACKAGE
from rpc import AsyncClient, Client, InvalidInput, ModelError, PartialFailure, RedisSettings, inspection
from rpc.keys import Keys
from tests.conftest import ON_VALKEY, StartWorker, settings_for
from tests.servers import Server
from tests.waiting import LOAD_S, LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, pytest.mark.minilm, ON_VALKEY]

Vectors = NDArray[np.float32]

DIMENSION = 384
MAX_CHARS = 3000
SAME = 0.9999
"""The cosine above which the issue calls two vectors equal."""

SENTENCE = "the quick brown fox jumps over a lazy dog while two girls read poems aloud beside the penstock "

TEXTS = [(SENTENCE[start:] + 5 * SENTENCE)[: 3 + 28 * start] for start in range(16)]
"""Texts of one word to eighty, none like another."""

ODD = [
    "Grüße aus Köln!",
    "日本語のテキスト",
    "👩‍👩‍👧",
    "a",
    "\x00\x01 control",
    "tab\tand\nnewline",
    "https://x.y/z?q=1",
]


@pytest.fixture(scope="module")
def settings(server: Server) -> RedisSettings:
    """Return where the worker of this module is."""
    return settings_for(server)


@pytest.fixture(scope="module")
def worker(settings: RedisSettings) -> Iterator[WorkerProcess]:
    """Yield a worker of MiniLM."""
    env = {"PENSTOCK_MAX_TEXT_CHARS": str(MAX_CHARS), "PENSTOCK_TORCH_THREADS": "1"}
    worker = WorkerProcess(["minilm"], settings, env)
    try:
        yield worker.wait_until_ready(within_s=120.0)
    finally:
        worker.close()


@pytest.fixture
def client(worker: WorkerProcess, settings: RedisSettings) -> Iterator[Client]:
    """Yield a client of the running worker."""
    assert worker.running
    with Client(settings=settings) as client:
        yield client
    assert worker.running, worker.log


def weights() -> str:
    """Return the directory of the weights that the demo extra brings."""
    package = importlib.util.find_spec(MINILM_PACKAGE)
    assert package is not None
    assert package.submodule_search_locations
    return str(Path(package.submodule_search_locations[0]) / "model")


class Reference:
    """MiniLM as its publisher describes it, one text at a time: the mean of the token vectors, scaled to unit norm."""

    def __init__(self) -> None:
        source = weights()
        self._tokenizer = AutoTokenizer.from_pretrained(source)
        self._model = AutoModel.from_pretrained(source).eval()

    def mean(self, text: str) -> Vectors:
        """Return the mean of the token vectors of a text."""
        tokens = self._tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state[0]
        mean: Vectors = hidden.mean(0).numpy()
        return mean

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the unit vectors of texts."""
        means = np.stack([self.mean(text) for text in texts])
        scaled: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return scaled


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Return the model itself."""
    return Reference()


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Return the cosine of each pair of unit vectors."""
    products: Vectors = (left * right).sum(axis=1)
    return products


@pytest.mark.bound
def test_vectors_through_the_queue_are_those_of_the_model(client: Client, reference: Reference) -> None:
    """Issue 2: alone, batched and odd, every vector has cosine >= 0.9999 with the direct model call."""
    texts = TEXTS + ODD
    expected = reference.vectors(texts)

    batched = client.embed_texts(texts, model="minilm", timeout_s=LONG_S)
    alone = np.stack([client.embed_text(text, model="minilm", timeout_s=LONG_S) for text in texts])

    assert (batched.shape, batched.dtype.name) == ((len(texts), DIMENSION), "float32")
    assert cosines(expected, batched).min() >= SAME
    assert cosines(expected, alone).min() >= SAME
    assert np.linalg.norm(batched, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_without_normalize_the_mean_comes_as_it_is(client: Client, reference: Reference) -> None:
    """`normalize=False` gives the raw vector, also beside normalised ones."""
    raw = client.embed_text(TEXTS[3], model="minilm", normalize=False, timeout_s=LONG_S)

    assert reference.mean(TEXTS[3]) == pytest.approx(raw, abs=1e-4)


def test_a_text_longer_than_the_model_reads_is_cut_and_told(client: Client, reference: Reference) -> None:
    """A text of too many tokens is embedded as far as the model reads, and its reply says so."""
    long = "penstock " * 300

    result = client.call("minilm", "embed_text", ["short", long], timeout_s=LONG_S)

    assert result["truncated"] == [False, True]
    assert cosines(reference.vectors(["short", long]), result["vectors"]).min() >= SAME


@pytest.mark.bound
def test_callers_who_come_together_share_passes(
    worker: WorkerProcess, settings: RedisSettings, reference: Reference
) -> None:
    """Issue 2: 64 concurrent `embed_text` callers of mixed length form batches of 8 in the mean, by the metrics."""
    texts = [[f"{number} {TEXTS[(number + 5 * turn) % len(TEXTS)]}" for turn in range(4)] for number in range(64)]

    async def ask_all() -> list[list[Vectors]]:
        async with AsyncClient(settings=settings) as client:

            async def ask(own: Sequence[str]) -> list[Vectors]:
                return [await client.embed_text(text, model="minilm", timeout_s=LONG_S) for text in own]

            return await asyncio.gather(*map(ask, texts))

    before = [worker.metric(f"penstock_batch_units_{part}", model="minilm") for part in ("sum", "count")]
    vectors = np.stack([vector for own in asyncio.run(ask_all()) for vector in own])
    after = [worker.metric(f"penstock_batch_units_{part}", model="minilm") for part in ("sum", "count")]

    expected = reference.vectors([text for own in texts for text in own][::16])
    assert cosines(expected, vectors[::16]).min() >= SAME
    assert after[0] - before[0] == 256
    assert 256 / (after[1] - before[1]) >= 8


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (3, "the input is of type int, not a text"),
        (b"bytes", "the input is of type bytes, not a text"),
        (None, "the input is of type NoneType, not a text"),
        (["a"], "the input is of type list, not a text"),
        (np.zeros(3, np.float32), "the input is of type ndarray, not a text"),
        ("", "the text is empty"),
        (" \t\n", "the text is empty"),
        ("x" * (MAX_CHARS + 1), f"the text has {MAX_CHARS + 1} characters, over the limit of {MAX_CHARS}"),
    ],
    ids=["int", "bytes", "none", "list", "array", "empty", "blank", "long"],
)
def test_what_is_no_text_is_refused_and_its_neighbours_are_answered(
    client: Client, reference: Reference, given: Any, complaint: str
) -> None:
    """Alone it is the job's typed error; among others it is one failed row, and they have their vectors."""
    with pytest.raises(InvalidInput, match=complaint):
        client.call("minilm", "embed_text", [given], timeout_s=LONG_S)

    result = client.call("minilm", "embed_text", ["before", given, "behind"], timeout_s=LONG_S)

    assert result["failed"] == [{"index": 1, "code": "invalid_input", "message": complaint}]
    assert np.isnan(result["vectors"][1]).all()
    assert cosines(reference.vectors(["before", "behind"]), result["vectors"][[0, 2]]).min() >= SAME


def test_a_list_call_tells_which_texts_failed(client: Client, reference: Reference) -> None:
    """`PartialFailure` has the others' vectors; `on_error="nan"` leaves the rows of the failed."""
    texts = ["fine", "", "also fine"]
    with pytest.raises(PartialFailure, match="1 of 3 inputs failed, the first at 1: the text is empty") as partial:
        client.embed_texts(texts, model="minilm", timeout_s=LONG_S)

    rows = client.embed_texts(texts, model="minilm", on_error="nan", timeout_s=LONG_S)

    assert isinstance(partial.value.failed[1], InvalidInput)
    for vectors in (partial.value.vectors, rows):
        assert np.isnan(vectors).any(axis=1).tolist() == [False, True, False]
        assert cosines(reference.vectors(["fine", "also fine"]), vectors[[0, 2]]).min() >= SAME


@pytest.mark.parametrize("options", [{"normalise": True}, {"normalize": 1}], ids=str)
def test_wrong_options_are_refused(client: Client, options: dict[str, Any]) -> None:
    """An option that is misspelt or of the wrong type does not silently do nothing."""
    with pytest.raises(InvalidInput, match="option"):
        client.call("minilm", "embed_text", ["a"], options, timeout_s=LONG_S)


def test_a_long_list_of_texts_comes_back_in_order(client: Client, reference: Reference) -> None:
    """More texts than one job holds are one matrix, each row its text's."""
    texts = [f"text number {number}" for number in range(300)]

    vectors = client.embed_texts(texts, model="minilm", lane="bulk", timeout_s=LONG_S)

    sampled = [0, 1, 255, 256, 299]
    assert cosines(reference.vectors([texts[row] for row in sampled]), vectors[sampled]).min() >= SAME


def test_vectors_of_a_typed_job_are_lists_of_numbers(
    client: Client, settings: RedisSettings, reference: Reference
) -> None:
    """Whoever types a job with redis-cli reads its vectors as JSON numbers, null where one failed."""
    keys = Keys(settings.prefix, "minilm")
    with Redis.from_url(settings.url.get_secret_value(), protocol=2) as redis:
        entry: Any = redis.xadd(keys.stream("bulk"), {"op": "embed_text", "json": '{"inputs": ["two girls", ""]}'})
        text: Any = eventually(lambda: redis.get(keys.result(entry.decode())))

    result = json.loads(text, parse_constant=pytest.fail)["result"]

    vector = np.array(result["vectors"][0], np.float32)[None]
    assert cosines(reference.vectors(["two girls"]), vector).min() >= SAME
    assert result["vectors"][1] == [None] * DIMENSION
    assert client.ask(inspection.dead_jobs(settings.prefix, "minilm")) == []


def test_what_the_model_is_can_be_asked(client: Client, worker: WorkerProcess, settings: RedisSettings) -> None:
    """Dimension, device and bytes of the weights are told to callers and in the metrics."""
    state = eventually(lambda: client.ask(inspection.model_state(settings.prefix, "minilm")).workers)

    about = state[worker.name]

    assert (about["ops"], about["dimension"], about["device"]) == ("embed_text", str(DIMENSION), "cpu")
    assert worker.metric("model_service_memory_bytes", model="minilm") == float(about["bytes"]) > 80e6


def test_a_text_that_cannot_travel_is_refused_where_it_is(client: Client) -> None:
    """Half a character is the caller's error, not the model's."""
    with pytest.raises((InvalidInput, ModelError)) as refused:
        client.embed_text("\ud800", model="minilm", timeout_s=LONG_S)

    assert isinstance(refused.value, InvalidInput)


def test_an_encoder_of_ones_own_is_served_under_its_own_name(
    start_worker: StartWorker, redis_settings: RedisSettings, reference: Reference
) -> None:
    """`--models mine=directory` serves the encoder that lies there, as what it is called."""
    start_worker(f"mine={weights()}")

    with Client(settings=redis_settings) as own:
        vectors = own.embed_texts(TEXTS[:4], model="mine", timeout_s=LONG_S)

    assert cosines(reference.vectors(TEXTS[:4]), vectors).min() >= SAME


def test_weights_that_are_not_there_end_the_worker(start_worker: StartWorker, tmp_path: Path) -> None:
    """A directory without a model is named, with status 1."""
    worker = start_worker(f"mine={tmp_path}", ready=False)

    assert worker.wait(within_s=LOAD_S) == 1
    assert "model mine cannot be loaded" in worker.log
    assert "Traceback" not in worker.log
