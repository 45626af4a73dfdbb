"""The routes of the service the gateway replaces: its fields, and errors told apart."""

import base64
import io

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ON_VALKEY
from tests.families import DIMENSION, Families, text_vector, vector_of

pytestmark = [pytest.mark.server, ON_VALKEY]


def png(pixels: np.ndarray) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def base64_of(content: bytes) -> str:
    """Return what `base64 -w 0` prints."""
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(("given", "model"), [({}, "siglip"), ({"model": "bge-m3"}, "bge-m3")])
def test_a_text_is_embedded(http: httpx2.Client, given: dict[str, str], model: str) -> None:
    """By SigLIP unless told otherwise, with the fields the old service gave."""
    told = http.post("/embed/text", json={"text": "search query", **given}).json()

    assert set(told) == {"embedding", "dimension", "model", "latency_ms"}
    assert np.allclose(told["embedding"], text_vector("search query"))
    assert (told["dimension"], told["model"], told["latency_ms"] > 0) == (DIMENSION, model, True)


@pytest.mark.parametrize("text", ["", "x" * 10_001])
def test_a_text_is_neither_empty_nor_too_long(http: httpx2.Client, text: str) -> None:
    """The bounds are the old service's, and so is the status."""
    assert http.post("/embed/text", json={"text": text}).status_code == 422


def test_a_picture_is_embedded(http: httpx2.Client) -> None:
    """Given in base64; there is no model among the fields."""
    pixels = np.random.default_rng(2).integers(0, 255, (50, 40, 3), np.uint8)
    told = http.post("/embed/vision", json={"image_base64": base64_of(png(pixels))}).json()

    assert set(told) == {"embedding", "dimension", "latency_ms"}
    assert np.allclose(told["embedding"], vector_of(pixels, normalize=True), atol=1e-6)


@pytest.mark.parametrize("language", [None, "ko"])
def test_a_recording_is_transcribed(http: httpx2.Client, played: Families, language: str | None) -> None:
    """With whisper's own fields in the segments; the language goes along where one is given."""
    told = http.post("/asr/transcribe", json={"audio_base64": base64_of(b"good day"), "language": language}).json()

    assert set(told) == {"text", "segments", "language", "latency_ms"}
    assert (told["text"], told["language"]) == (" good day", language or "en")
    keys = {"id", "seek", "start", "end", "text", "tokens", "temperature"}
    assert set(told["segments"][0]) == keys | {"avg_logprob", "compression_ratio", "no_speech_prob"}
    assert played.inputs == [b"good day"]


def test_a_large_recording_arrives_whole(http: httpx2.Client, played: Families) -> None:
    """However it was cut on its way, and although it is decoded piece by piece."""
    audio = b"x" + np.random.default_rng(3).bytes(3_000_000).hex().encode()
    told = http.post("/asr/transcribe", json={"language": "en", "audio_base64": base64_of(audio)}).json()

    assert told["text"] == f" {audio.decode()}"
    assert played.inputs == [audio]


def test_faces_are_found(http: httpx2.Client) -> None:
    """In a file of a form; each as a map with the old keys."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:30, 20:50] = 255
    told = http.post("/face/detect", files={"file": ("beach.png", png(pixels))}).json()

    assert (set(told), told["count"]) == ({"faces", "count", "latency_ms"}, 1)
    (face,) = told["faces"]
    assert (set(face), face["bbox"], len(face["landmarks"])) == (
        {"bbox", "confidence", "landmarks"},
        [20, 10, 30, 20],
        5,
    )


def test_the_old_service_says_500_where_this_says_what_is_wrong(http: httpx2.Client) -> None:
    """A picture that is none is the caller's fault, named in `detail`, where the old callers look for it."""
    told = http.post("/embed/vision", json={"image_base64": base64_of(b"no picture")})

    assert (told.status_code, told.headers["content-type"]) == (422, "application/problem+json")
    assert told.json()["error"]["code"] == "invalid_input"
    assert told.json()["detail"] == told.json()["error"]["message"] != ""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"audio_base64": "', 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"audio_base64": ""}', 422),
        (b'{"audio_base64": "*not base64*"}', 422),
        (b'{"audio_base64": "QUJ"}', 422),
        (b'{"audio_base64": 7}', 422),
        (b'{"audio_base64": "QUJD", "audio_base64": "QUJE"}', 422),
        (b'{"inner": {"audio_base64": "QUJD"}}', 422),
        (b'{"audio_base64": "QUJD", "language": 7}', 422),
        (b'{"audio_base64": "QUJD", "padding": "' + b"x" * 70_000 + b'"}', 422),
    ],
)
def test_a_body_that_is_no_recording_is_refused(http: httpx2.Client, body: bytes, status: int) -> None:
    """With the status of a caller's fault, whatever it is."""
    told = http.post("/asr/transcribe", content=body, headers={"content-type": "application/json"})

    assert (told.status_code, told.json()["status"]) == (status, status)


FORM = "multipart/form-data; boundary=m"
TEXT_PART = b'--m\r\ncontent-disposition: form-data; name="file"\r\n\r\nABC\r\n--m--\r\n'
FAULTS: list[tuple[str, bytes, str, str, str]] = [
    ("/embed/text", b"{}", "application/json", "text", "missing"),
    ("/embed/text", b'{"text": ""}', "application/json", "text", "string_too_short"),
    ("/embed/text", b'{"text": 7}', "application/json", "text", "string_type"),
    ("/embed/text", b'{"text": "x", "model": []}', "application/json", "model", "string_type"),
    ("/embed/vision", b"{}", "application/json", "image_base64", "value_error"),
    ("/asr/transcribe", b'{"audio_base64": 7}', "application/json", "audio_base64", "value_error"),
    ("/asr/transcribe", b'{"audio_base64": "QUJD", "language": 7}', "application/json", "language", "value_error"),
    ("/face/detect", b"--m--\r\n", FORM, "file", "missing"),
    ("/face/detect", TEXT_PART, FORM, "file", "value_error"),
]


def test_a_field_at_fault_is_listed_as_fastapi_does(http: httpx2.Client) -> None:
    """The old callers look for a list in `detail`, and for the field in its `loc`."""
    for path, body, kind, name, fault in FAULTS:
        answer = http.post(path, content=body, headers={"content-type": kind})
        (told,) = answer.json()["detail"]

        assert (answer.status_code, told["loc"], told["type"]) == (422, ["body", name], fault)
        assert answer.json()["error"]["param"] == name
        assert told["msg"] in answer.json()["error"]["message"]


def test_a_file_part_without_filename_is_named(http: httpx2.Client) -> None:
    """And what to send instead."""
    for path in ("/face/detect", "/v1/audio/transcriptions"):
        answer = http.post(path, content=TEXT_PART, headers={"content-type": FORM})
        assert "filename" in answer.json()["error"]["message"]


@pytest.mark.parametrize("model", ["clip", "whisper", "yunet", "no such/model"])
def test_an_unknown_model_is_400_as_it_was(http: httpx2.Client, model: str) -> None:
    """And so is one that embeds no texts."""
    answer = http.post("/embed/text", json={"text": "x", "model": model})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_not_found")
    assert isinstance(answer.json()["detail"], str)


def test_health_has_the_old_fields(http: httpx2.Client) -> None:
    """Of what live workers tell."""
    told = http.get("/health")

    assert set(told.json()) == {"status", "models_loaded", "device", "memory_used_gb", "uptime_seconds"}
    assert (told.status_code, told.json()["status"]) == (200, "healthy")
    assert told.json()["models_loaded"] == ["bge-m3", "echo", "siglip", "whisper", "yunet"]
    assert (told.json()["device"], told.json()["memory_used_gb"]) == ("cpu", 5.0)


def test_metrics_have_the_old_names(http: httpx2.Client) -> None:
    """All four, counted by model and by how a call ended."""
    http.post("/embed/text", json={"text": "one"})
    http.post("/embed/text", json={"text": "bad"})
    page = http.get("/metrics").text

    assert 'model_service_requests_total{model="siglip",status="success"} 1.0' in page
    assert 'model_service_requests_total{model="siglip",status="error"} 1.0' in page
    assert 'model_service_latency_seconds_bucket{le="600.0",model="siglip"} 2.0' in page
    assert 'model_service_memory_bytes{model="siglip"} 1.073741824e+09' in page
    assert "# TYPE model_service_batch_size histogram" in page
