"""OpenAI's own client, and LangChain's, against the gateway: nothing written by those who use them."""

import base64
import contextlib
import io
import json
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from openai import OpenAI
from PIL import Image
from pydantic import SecretStr

from producers.gateway import events
from rpc import RedisSettings
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Limits
from rpc.errors import ModelError
from rpc.messages import Failure
from rpc.parts import Part, part_field, total_field
from tests.answering import Answering, carry_out, job_of, read_one, reply_with, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import DIMENSION, OPS, STARTED, Families, text_vector, vector_of, whisper
from tests.gateways import GatewayThread
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, ON_VALKEY]


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "base64"}, {"encoding_format": "float"}])
def test_embeddings_are_the_models_numbers(sdk: OpenAI, encoding: Mapping[str, Any]) -> None:
    """Whichever way they travel, base64 unless the caller says otherwise, in the order of the call."""
    reply = sdk.embeddings.create(model="bge-m3", input=["one", "two"], **encoding)

    assert [item.index for item in reply.data] == [0, 1]
    assert np.allclose([numbers(item.embedding) for item in reply.data], [text_vector("one"), text_vector("two")])
    assert (reply.model, reply.object, reply.data[0].object) == ("bge-m3", "list", "embedding")


def numbers(embedding: Any) -> Any:
    """Return a vector; a caller who names base64 decodes it."""
    return np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding


def test_one_text_needs_no_list(sdk: OpenAI) -> None:
    """And its answer is a list of one."""
    (only,) = sdk.embeddings.create(model="siglip", input="a cat").data

    assert np.allclose(only.embedding, text_vector("a cat"))


def test_usage_counts_the_tokens_the_model_read(sdk: OpenAI) -> None:
    """As its worker tells, of all texts together."""
    usage = sdk.embeddings.create(model="bge-m3", input=["four", "nine!"]).usage

    assert (usage.prompt_tokens, usage.total_tokens) == (9, 9)


def test_a_long_list_comes_back_in_order(sdk: OpenAI, played: Families) -> None:
    """Although it travels as several jobs."""
    texts = [f"text {number}" for number in range(600)]
    reply = sdk.embeddings.create(model="bge-m3", input=texts)

    assert np.allclose([item.embedding for item in reply.data], [text_vector(text) for text in texts])
    assert len(played.jobs) > 1


def test_fewer_dimensions_are_the_first_ones_at_length_one(sdk: OpenAI) -> None:
    """As OpenAI defines the parameter."""
    (found,) = sdk.embeddings.create(model="bge-m3", input="one", dimensions=8).data
    cut = text_vector("one")[:8]

    assert np.allclose(found.embedding, cut / np.linalg.norm(cut))


def test_more_dimensions_than_there_are_are_refused(sdk: OpenAI) -> None:
    """By name."""
    with pytest.raises(openai.UnprocessableEntityError, match=f"dimensions must be between 1 and {DIMENSION}, got 64"):
        sdk.embeddings.create(model="bge-m3", input="one", dimensions=64)


def picture_uri(pixels: np.ndarray) -> str:
    """Return a picture as a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_a_data_uri_is_a_picture(sdk: OpenAI) -> None:
    """And has the vector that its pixels have."""
    pixels = np.random.default_rng(1).integers(0, 255, (40, 30, 3), np.uint8)
    (found,) = sdk.embeddings.create(model="siglip", input=picture_uri(pixels)).data

    assert np.allclose(found.embedding, vector_of(pixels, normalize=True), atol=1e-6)


def test_a_large_picture_arrives_whole(sdk: OpenAI) -> None:
    """Although it is decoded piece by piece, and whatever the case of its head."""
    pixels = np.random.default_rng(2).integers(0, 255, (300, 200, 3), np.uint8)
    uri = picture_uri(pixels)
    upper = uri.replace("data:image/png;base64", "DATA:Image/PNG;BASE64")
    found = sdk.embeddings.create(model="siglip", input=[uri, upper]).data

    assert [np.allclose(item.embedding, vector_of(pixels, normalize=True), atol=1e-6) for item in found] == [True] * 2


def test_a_large_file_that_is_no_picture_is_refused(sdk: OpenAI) -> None:
    """It would be a very strange text."""
    with pytest.raises(openai.UnprocessableEntityError, match="input 0 is a data URI"):
        sdk.embeddings.create(model="siglip", input="data:audio/wav;base64," + "QUJD" * 30_000)


def test_token_ids_are_refused_with_what_to_do(sdk: OpenAI) -> None:
    """They are of a vocabulary the models here do not have."""
    for tokens in ([1, 2, 3], [[1, 2], [3]]):
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as refused:
            sdk.embeddings.create(model="bge-m3", input=tokens)
        assert refused.value.code == "token_input"


def test_a_bad_text_is_named(sdk: OpenAI) -> None:
    """By its place, with the code of the error, and not as a fault of the server."""
    with pytest.raises(openai.UnprocessableEntityError, match="1 of 3 inputs failed, the first at 1") as refused:
        sdk.embeddings.create(model="bge-m3", input=["good", "bad", "fine"])

    assert (refused.value.code, refused.value.param, refused.value.type) == (
        "invalid_input",
        "input[1]",
        "invalid_request_error",
    )


def test_an_unknown_model_is_not_found(sdk: OpenAI) -> None:
    """With OpenAI's own code for it."""
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.embeddings.create(model="text-embedding-3-small", input="one")

    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_langchain_embeds_through_the_gateway(gateway: GatewayThread) -> None:
    """With its OpenAI class and the one flag that makes it send texts."""
    embeddings = OpenAIEmbeddings(
        base_url=f"{gateway.url}/v1", api_key=SecretStr("unused"), model="bge-m3", check_embedding_ctx_length=False
    )

    assert np.allclose(embeddings.embed_documents(["one", "two"]), [text_vector("one"), text_vector("two")])
    assert np.allclose(embeddings.embed_query("one"), text_vector("one"))


SAID = b"hello <there>"
"""What the played Whisper hears in a recording of these bytes."""


def test_a_transcription_is_its_text(sdk: OpenAI) -> None:
    """With how long the recording is."""
    reply = sdk.audio.transcriptions.create(model="whisper-1", file=("talk.wav", SAID))

    assert reply.text == "hello <there>"
    assert json.loads(reply.to_json())["usage"] == {"type": "duration", "seconds": 2}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", "hello <there>\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\nhello <there>\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nhello &lt;there&gt;\n"),
    ],
)
def test_a_transcription_is_written_as_asked(sdk: OpenAI, form: Any, expected: str) -> None:
    """As plain text, which the client hands through."""
    found: Any = sdk.audio.transcriptions.create(model="whisper", file=("talk.wav", SAID), response_format=form)

    assert found == expected


@pytest.mark.parametrize(
    ("granularities", "has"),
    [
        ({}, (True, False)),
        ({"timestamp_granularities": ["segment"]}, (True, False)),
        ({"timestamp_granularities": ["word"]}, (False, True)),
        ({"timestamp_granularities": ["word", "segment"]}, (True, True)),
    ],
)
def test_a_verbose_transcription_has_the_times_that_were_asked_for(
    sdk: OpenAI, granularities: Mapping[str, Any], has: tuple[bool, bool]
) -> None:
    """Segments unless words are, both if both are; language and duration always."""
    reply = sdk.audio.transcriptions.create(
        model="whisper", file=("talk.wav", SAID), response_format="verbose_json", language="ko", **granularities
    )

    assert (reply.text, reply.language, reply.duration) == ("hello <there>", "korean", 1.5)
    assert (reply.segments is not None, reply.words is not None) == has
    for segment in reply.segments or ():
        assert (segment.start, segment.end, segment.text, segment.tokens) == (0.0, 1.5, " hello <there>", [50364, 1])
    for word in reply.words or ():
        assert (word.start, word.end, word.word) == (0.5, 1.5, "hello <there>")


def test_a_short_recording_streams_its_segments_and_an_end(sdk: OpenAI) -> None:
    """The deltas together are the text."""
    stream = sdk.audio.transcriptions.create(model="whisper", file=("talk.wav", SAID), stream=True)
    events: list[Any] = list(stream)

    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text == "hello <there>"


class LongTalk:
    """A recording of three windows, of which each is finished when the test says so."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.delivery: Delivery | None = None

    def take(self) -> None:
        """Take the job, and say how many windows it has."""
        self.delivery = read_one(self._consumer)
        self._consumer.keep(job_of(self.delivery).id, [total_field(0, 3)])

    def segments(self, window: int) -> list[dict[str, Any]]:
        """Return what is said in a window."""
        (transcript,) = whisper(job_of(self._taken()), [f"window {window}".encode()])["transcripts"]
        return [{**segment, "start": 30.0 * window, "end": 30.0 * window + 1.5} for segment in transcript["segments"]]

    def _taken(self) -> Delivery:
        assert self.delivery is not None
        return self.delivery

    def finish_window(self, window: int) -> None:
        """Keep what is said in a window beside the job."""
        content = {"window": [0, 1], "segments": self.segments(window), "language": "en", "probability": 1.0}
        self._consumer.keep(job_of(self._taken()).id, [part_field(Part(0, window, content))])

    def begin(self) -> None:
        """Take the job and finish its first window."""
        self.take()
        self.finish_window(0)

    def fail(self) -> None:
        """Answer the job with an error."""
        self._consumer.settle([reply_with(self._taken(), Failure.of(ModelError("no memory")))])

    def is_cancelled(self) -> bool:
        """Return whether the job was answered by somebody else."""
        return bool(self._consumer.answered([self._taken()]))

    def end(self) -> None:
        """Answer the job."""
        segments = [segment for window in range(3) for segment in self.segments(window)]
        told = {"text": "".join(each["text"] for each in segments), "segments": segments, "language": "en"}
        transcript = {**told, "language_probability": 1.0, "duration": 90.0, "truncated": False}
        self._consumer.settle([reply_with(self._taken(), {"transcripts": [transcript], "failed": []})])


@pytest.fixture
def talk(make_consumer: MakeConsumer) -> LongTalk:
    """Return a long recording in the hands of a live worker."""
    consumer = make_consumer(model="whisper")
    consumer.announce({"ops": OPS["whisper"], "device": "cpu", "started": "0"})
    show_life(consumer)
    return LongTalk(consumer)


@pytest.fixture
def patient(redis_settings: RedisSettings, talk: LongTalk) -> Iterator[OpenAI]:
    """Yield OpenAI's client of a gateway in front of that worker alone."""
    del talk
    with (
        GatewayThread(redis_settings) as running,
        OpenAI(base_url=f"{running.url}/v1", api_key="unused", timeout=LONG_S) as client,
    ):
        yield client


def test_segments_stream_while_later_windows_are_still_heard(patient: OpenAI, talk: LongTalk) -> None:
    """Each window's as soon as it and all before it are done, and none twice."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asking = threading.Thread(target=lambda: list(map(events.put, _chunks(patient))))
    asking.start()
    talk.take()

    # the second window is done first, and waits for the one before it
    talk.finish_window(1)
    talk.finish_window(0)
    first = [events.get(timeout=LONG_S).delta for _ in range(2)]
    talk.end()
    rest = [events.get(timeout=LONG_S) for _ in range(2)]
    asking.join(LONG_S)

    assert first == ["window 0", " window 1"]
    assert [event.type for event in rest] == ["transcript.text.delta", "transcript.text.done"]
    assert (rest[0].delta, rest[1].text) == (" window 2", "window 0 window 1 window 2")


def _chunks(client: OpenAI) -> Iterator[Any]:
    """Yield the events of a streamed transcription."""
    yield from client.audio.transcriptions.create(model="whisper", file=("long.wav", b"long"), stream=True)


def test_what_fails_before_the_first_segment_has_its_status(patient: OpenAI, talk: LongTalk) -> None:
    """Not that of a stream that begins well."""
    failed: list[Exception] = []

    def ask() -> None:
        try:
            list(_chunks(patient.with_options(max_retries=0)))
        except openai.APIStatusError as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    talk.take()
    talk.fail()
    asking.join(LONG_S)

    assert [(error.status_code, error.code) for error in failed if isinstance(error, openai.APIStatusError)] == [
        (500, "model_error")
    ]


@pytest.fixture
def lines(patient: OpenAI) -> Iterator[Generator[str]]:
    """Yield what is said of a long recording, line by line; the connection ends with the generator."""

    def said() -> Generator[str]:
        form = {"model": "whisper", "stream": "true"}
        with (
            httpx2.Client(base_url=str(patient.base_url), timeout=LONG_S) as http,
            http.stream("POST", "audio/transcriptions", data=form, files={"file": ("a.wav", b"long")}) as stream,
        ):
            yield f"{stream.status_code} {stream.headers['cache-control']} {stream.headers['x-accel-buffering']}"
            yield from (line for line in stream.iter_lines() if line)

    with contextlib.closing(said()) as saying:
        yield saying


def test_what_fails_among_the_segments_is_an_event(patient: OpenAI, talk: LongTalk) -> None:
    """Named `error`, with what every error says; OpenAI's client raises it."""
    chunks = _chunks(patient)
    first = _while(lambda: next(chunks).delta, talk.begin)
    talk.fail()

    assert first == "window 0"
    with pytest.raises(openai.APIError, match="no memory") as failed:
        list(chunks)
    assert failed.value.code == "model_error"


def _while(ask: Callable[[], Any], act: Callable[[], Any]) -> Any:
    """Return what is answered to a question that is asked while something is done."""
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(ask)
        act()
        return asking.result(LONG_S)


def test_who_leaves_among_the_segments_has_the_job_cancelled(lines: Generator[str], talk: LongTalk) -> None:
    """The rest of the recording need not be heard."""
    begun = _while(lambda: (next(lines), next(lines)), talk.begin)
    lines.close()

    assert (begun[0], "window 0" in begun[1]) == ("200 no-cache no", True)
    eventually(talk.is_cancelled, what="the job is cancelled")


def test_a_long_silence_has_signs_of_life(
    lines: Iterator[str], talk: LongTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first segment as well, and from then on what goes wrong is an event."""
    monkeypatch.setattr(events, "SIGN_S", 0.1)
    begun = _while(lambda: [next(lines) for _ in range(3)], lambda: None)
    talk.take()
    talk.fail()
    rest = [line for line in lines if line != begun[1]]

    assert begun == ["200 no-cache no", ": still here", ": still here"]
    assert (rest[0], json.loads(rest[1].removeprefix("data: "))["error"]["code"]) == ("event: error", "model_error")


def test_models_are_those_that_are_served(sdk: OpenAI) -> None:
    """Each with what it can do."""
    models = {model.id: model for model in sdk.models.list()}

    assert set(models) == set(OPS)
    assert models["siglip"].model_dump()["ops"] == ["embed_text", "embed_image"]
    assert sdk.models.retrieve("whisper-1").id == "whisper"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-5")


def test_a_model_is_as_old_as_its_workers_say(sdk: OpenAI, make_consumer: MakeConsumer) -> None:
    """One that is alive and has not said so yet makes it no older."""
    show_life(make_consumer("silent", model="echo"))

    told = eventually(lambda: (found := sdk.models.retrieve("echo").model_dump())["workers"] == 2 and found)

    assert (told["created"], told["ops"]) == (STARTED, ["echo"])


def test_the_client_comes_back_when_the_lane_has_room_again(
    redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """A full lane is a 429 that says when; the client waits for so long, and is answered."""
    consumer = make_consumer(model="bge-m3", limits=Limits(max_jobs=1))
    consumer.announce({"ops": "embed_text", "started": "0"})
    show_life(consumer)
    asked: list[int] = []

    def note(response: Any) -> None:
        asked.append(response.status_code)
        if response.status_code == openai.RateLimitError.status_code:
            assert response.headers["retry-after"] == "1"
            answering.__enter__()

    answering = Answering(consumer, lambda *_: {"vectors": np.ones((1, 4), np.float32), "failed": []})
    with GatewayThread(redis_settings) as running, openai.DefaultHttpxClient() as plain:
        plain.event_hooks["response"].append(note)
        client = OpenAI(base_url=f"{running.url}/v1", api_key="unused", http_client=plain, max_retries=2)
        first = threading.Thread(target=client.with_options(max_retries=0).embeddings.create, kwargs=TEXT)
        first.start()
        eventually(lambda: carry_out(consumer, _length(consumer)) == 1, what="the lane is full")
        reply = client.embeddings.create(**TEXT)
        first.join(LONG_S)
    answering.__exit__()

    assert sorted(asked) == [200, 200, 429]
    assert len(reply.data[0].embedding) == 4


TEXT: dict[str, Any] = {"model": "bge-m3", "input": "one"}


def _length(consumer: Consumer) -> Any:
    (length,) = yield [("XLEN", consumer.keys.stream("interactive"))]
    return length
