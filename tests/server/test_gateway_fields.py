"""Every field of every route of the gateway: null is not given, and a field that changes nothing is named."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from rpc.messages import Job
from tests.answering import Answering, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import Families, text_vector
from tests.waiting import eventually

pytestmark = [pytest.mark.server, ON_VALKEY]


def png() -> bytes:
    """Return a small picture as a file."""
    file = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), 200, np.uint8)).save(file, "PNG")
    return file.getvalue()


PNG = base64.b64encode(png()).decode()


@dataclass(frozen=True, eq=False)
class Route:
    """A route with a request that it serves.

    Attributes:
        fields: the required fields, of a JSON body unless there is a file.
        optional: the names of the optional fields.
        file: the file of a form, or None.
    """

    method: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    file: bytes | None = None

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"

    def send(self, http: httpx2.Client, more: Mapping[str, Any], query: Mapping[str, str] | None = None) -> Any:
        """Return the response to the request with more fields."""
        fields = {**self.fields, **more}
        path = self.path.format(model="siglip", job="echo:kept")
        if self.method != "POST":
            return http.request(self.method, path, params=query)
        if self.file is None:
            return http.post(path, json=fields, params=query)
        return http.post(path, data=fields, files={"file": ("a.bin", self.file)}, params=query)


TEXTS = ("language", "task", "prompt", "initial_prompt", "hotwords", "response_format", "chunking_strategy", "channels")
LISTS = ("languages", "keywords", "timestamp_granularities")
SWITCHES = ("stream", "vad", "vad_filter", "timestamps", "word_timestamps")
NUMBERS = ("temperature", "beam_size", "track", "max_line_width", "max_line_count", "max_words_per_line")

TRANSCRIPTION_FIELDS = frozenset({*TEXTS, *LISTS, *(f"{name}[]" for name in LISTS), *SWITCHES, *NUMBERS})

ROUTES = (
    Route(
        "POST",
        "/v1/embeddings",
        {"model": "bge-m3", "input": ["one"]},
        frozenset({"encoding_format", "dimensions", "modality", "prompt", "prompt_name", "user"}),
    ),
    Route(
        "POST",
        "/v1/jobs",
        {"model": "echo", "op": "echo", "inputs": ["one"], "job_id": "kept"},
        frozenset({"options", "job_id", "lane", "timeout_s", "keep_s"}),
    ),
    Route("POST", "/embed/text", {"text": "one"}, frozenset({"model"})),
    Route("POST", "/embed/vision", {"image_base64": PNG}),
    Route("POST", "/asr/transcribe", {"audio_base64": "Z29vZCBkYXk="}, frozenset({"language"})),
    Route("POST", "/face/detect", {}, frozenset({"score_threshold", "nms_threshold"}), file=png()),
    *(
        Route("POST", f"/v1/audio/{route}", {"model": "whisper"}, TRANSCRIPTION_FIELDS, file=b"good day")
        for route in ("transcriptions", "translations")
    ),
    Route("GET", "/v1/models"),
    Route("GET", "/v1/models/{model}"),
    Route("GET", "/v1/jobs/{job}"),
    Route("GET", "/v1/jobs/{job}/events"),
    Route("DELETE", "/v1/jobs/{job}"),
    Route("GET", "/"),
    Route("GET", "/health"),
    Route("GET", "/metrics"),
)

WITH_BODY = [route for route in ROUTES if route.method == "POST"]

HEADER = "x-penstock-ignored"


def test_table_holds_every_route_and_every_optional_field(http: httpx2.Client) -> None:
    """A new route or field that the table lacks fails here."""
    described = http.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    expected = set()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            (content,) = operation.get("requestBody", {"content": {"": {"schema": {}}}})["content"].values()
            schema = content["schema"]
            schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            optional = set(schema.get("properties", ())) - set(schema.get("required", ()))
            expected.add((method.upper(), path, frozenset(optional)))

    assert {(route.method, route.path, route.optional) for route in ROUTES} >= expected


def test_null_is_not_given(http: httpx2.Client) -> None:
    """In JSON null, in a form the empty text: the request is served as without the field, which is not named."""
    served = {route: route.send(http, {}).status_code for route in WITH_BODY}
    null = {
        (route, name): route.send(http, {name: None if route.file is None else ""})
        for route in WITH_BODY
        for name in sorted(route.optional)
    }

    assert set(served.values()) == {200, 202}
    assert [key for key, response in null.items() if response.status_code != served[key[0]]] == []
    assert [key for key, response in null.items() if HEADER in response.headers] == []


def test_null_of_unknown_field_is_not_named(http: httpx2.Client) -> None:
    """Of a client that writes its whole request object down, nulls included."""
    nulls = {"encoding_format": None, "dimensions": None, "modality": None, "user": None, "input_type": None}
    response = http.post("/v1/embeddings", json={"model": "bge-m3", "input": "one", **nulls})

    assert np.allclose(response.json()["data"][0]["embedding"], text_vector("one"))
    assert HEADER not in response.headers


def test_unknown_field_is_refused_or_named(http: httpx2.Client) -> None:
    """In the header `x-penstock-ignored`, or with 422 as `param`; its text cannot end the header."""
    for route in WITH_BODY:
        response = route.send(http, {"colour": "red", "evil\r\nx-a": "1"})
        if response.status_code == 422:
            assert response.json()["error"]["param"] == "colour"
        else:
            named = response.headers[HEADER].split(", ")
            assert (response.status_code // 100, named[0], named[1][:5], len(named)) == (2, "colour", "evil%", 2)


def test_form_field_given_twice_is_refused(http: httpx2.Client) -> None:
    """One of its values would be ignored; the fields of a list are many."""
    form = {"model": "whisper", "response_format": "verbose_json"}
    recording = {"file": ("a.wav", b"good day")}
    listed = http.post(
        "/v1/audio/transcriptions", data={**form, "timestamp_granularities[]": ["word", "segment"]}, files=recording
    )
    twice = http.post("/v1/audio/transcriptions", data={**form, "language": ["en", "de"]}, files=recording)
    faces = http.post("/face/detect", files=[("file", ("a.png", png())), ("file", ("b.png", png()))])

    assert (listed.status_code, "words" in listed.json(), "segments" in listed.json()) == (200, True, True)
    assert (twice.status_code, twice.json()["error"]["param"]) == (422, "language")
    assert (faces.status_code, faces.json()["error"]["param"]) == (422, "file")


def test_query_parameter_is_named(http: httpx2.Client) -> None:
    """No route declares one; the response may be an error."""
    named = {route: route.send(http, {}, {"colour": "red"}).headers.get(HEADER) for route in ROUTES}

    assert named == dict.fromkeys(ROUTES, "colour")


def test_option_of_another_embedding_service_is_named(http: httpx2.Client) -> None:
    """TEI, Cohere, Jina and others have fields that OpenAI's route lacks."""
    options = ("user", "truncate", "normalize", "input_type", "task", "embedding_types", "late_chunking")
    embed = ROUTES[0]
    named = {option: embed.send(http, {option: "x"}).headers.get(HEADER) for option in options}

    assert named == {option: option for option in options}


def test_prompt_reaches_a_model_that_has_prompts(http: httpx2.Client, make_consumer: MakeConsumer) -> None:
    """A model without any, one without that name, and two at once are refused by field."""
    consumer = make_consumer(model="prompted")
    consumer.announce({"ops": "embed_text", "prompts": "query,document", "started": "0"})
    show_life(consumer)
    options: list[Mapping[str, Any]] = []

    def answer(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
        options.append(job.options)
        return {"vectors": np.ones((len(inputs), 2), np.float32), "failed": []}

    def post(model: str, **fields: str) -> Any:
        return http.post("/v1/embeddings", json={"model": model, "input": "one", **fields})

    eventually(lambda: http.get("/v1/models/prompted").is_success, what="the gateway knows the model")
    with Answering(consumer, answer):
        served = [post("prompted", prompt_name="query"), post("prompted", prompt="task: "), post("prompted")]
    refused = [
        post("prompted", prompt_name="sts"),
        post("prompted", prompt_name="query", prompt="task: "),
        post("bge-m3", prompt="task: "),
    ]

    assert [response.status_code for response in served] == [200] * 3
    assert options == [{"prompt_name": "query"}, {"prompt": "task: "}, {}]
    assert [response.status_code for response in refused] == [422] * 3
    assert [response.json()["error"]["param"] for response in refused] == ["prompt_name", "prompt_name", "prompt"]


def test_error_names_ignored_fields_too(http: httpx2.Client) -> None:
    """A caller that has to correct its request learns all of it."""
    for route in WITH_BODY:
        response = Route(route.method, route.path, {"colour": 1}).send(http, {}, {"shade": "dark"})

        assert response.status_code == 422
        assert "shade" in response.headers[HEADER].split(", ")


def test_face_thresholds_are_checked(http: httpx2.Client, played: Families) -> None:
    """A number from 0 to 1 reaches the model; the name of a wrong one is `param`."""
    (route,) = (route for route in ROUTES if route.path == "/face/detect")
    fit = route.send(http, {"score_threshold": "0.95", "nms_threshold": "0.5"})
    wrong = [("score_threshold", text) for text in ("1.5", "nan", "high")] + [("nms_threshold", "-0.1")]
    refused = [route.send(http, {name: text}) for name, text in wrong]

    assert fit.status_code == 200
    assert played.jobs[0][0].options == {"score_threshold": 0.95, "nms_threshold": 0.5}
    assert [response.status_code for response in refused] == [422] * 4
    assert [response.json()["error"]["param"] for response in refused] == [name for name, _ in wrong]


def test_a_field_without_a_name_is_ignored_aloud(http: httpx2.Client) -> None:
    """The header stays one that HTTP allows."""
    answer = http.post("/embed/text", content='{"0": [], "": [], "text": "x"}')

    assert (answer.status_code, answer.headers["x-penstock-ignored"]) == (200, '0, ""')
