"""Every field of a transcription's form does what it says, is refused by name, or is named as ignored."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.conftest import ON_VALKEY
from tests.families import Families

pytestmark = [pytest.mark.server, ON_VALKEY]

HEADER = "x-penstock-ignored"

SAID = b"good day"

DEFAULT = {"word_timestamps": False}
"""The options of a form without optional fields."""

Form = Mapping[str, str | Sequence[str]]


def post(http: httpx2.Client, form: Form, route: str = "transcriptions") -> httpx2.Response:
    """Return the response to a form with a recording."""
    fields = {"model": "whisper", **form}
    return http.post(f"/v1/audio/{route}", data=fields, files={"file": ("a.wav", SAID)})


VERBOSE = {"response_format": "verbose_json"}

OBEYED: Sequence[tuple[Form, Mapping[str, Any], str | None]] = (
    ({}, {}, None),
    ({"language": "pt-BR"}, {"language": "pt-BR"}, None),
    ({"languages[]": "de"}, {"language": "de"}, None),
    ({"languages": "de"}, {"language": "de"}, None),
    ({"languages[]": ["de", "fr"]}, {}, "languages[]"),
    ({"language": "de", "languages": "fr"}, {"language": "de"}, "languages"),
    ({"language": "de", "languages": "de"}, {"language": "de"}, None),
    ({"task": "translate"}, {"task": "translate"}, None),
    ({"task": "transcribe"}, {}, None),
    ({"prompt": "Penstock, Valkey"}, {"prompt": "Penstock, Valkey"}, None),
    ({"initial_prompt": "Penstock"}, {"prompt": "Penstock"}, None),
    ({"hotwords": "Valkey"}, {"hotwords": "Valkey"}, None),
    ({"keywords[]": ["Valkey", "Redis"]}, {"hotwords": "Valkey, Redis"}, None),
    ({"hotwords": "Penstock", "keywords": "Valkey"}, {"hotwords": "Penstock, Valkey"}, None),
    ({"temperature": "0.4"}, {}, "temperature"),
    ({"temperature": "0"}, {}, None),
    ({"vad": "true"}, {"vad": True}, None),
    ({"vad_filter": "true"}, {"vad": True}, None),
    ({"vad_filter": "false"}, {"vad": False}, None),
    ({"chunking_strategy": "auto"}, {"vad": True}, None),
    ({"chunking_strategy": "server_vad"}, {"vad": True}, None),
    ({"chunking_strategy": '{"type": "server_vad"}'}, {"vad": True}, None),
    ({"chunking_strategy": '{"type": "server_vad", "threshold": 0.6}'}, {"vad": True}, "chunking_strategy.threshold"),
    (
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.6"},
        {"vad": True},
        "chunking_strategy.threshold",
    ),
    ({"beam_size": "1"}, {"beam_size": 1}, None),
    ({"timestamps": "false"}, {"timestamps": False}, None),
    (
        {"timestamps": "false", "response_format": "srt", "max_line_width": "4"},
        {"timestamps": False, "word_timestamps": True},
        None,
    ),
    ({"track": "2"}, {"track": 2}, None),
    ({"channels": "split"}, {"channels": "split"}, None),
    ({**VERBOSE, "timestamp_granularities[]": "word"}, {"word_timestamps": True}, None),
    ({**VERBOSE, "timestamp_granularities": "word"}, {"word_timestamps": True}, None),
    ({**VERBOSE, "timestamp_granularities": ["word", "segment"]}, {"word_timestamps": True}, None),
    ({**VERBOSE, "timestamp_granularities": '["word"]'}, {"word_timestamps": True}, None),
    ({**VERBOSE, "timestamp_granularities": "word,segment"}, {"word_timestamps": True}, None),
    ({**VERBOSE, "word_timestamps": "true"}, {"word_timestamps": True}, None),
    ({"word_timestamps": "true"}, {}, "word_timestamps"),
    ({"response_format": "srt", "max_line_width": "4"}, {"word_timestamps": True}, None),
    ({"response_format": "vtt", "max_words_per_line": "1"}, {"word_timestamps": True}, None),
    ({"response_format": "text", "stream": "true"}, {}, "response_format"),
    ({**VERBOSE, "stream": "true", "timestamp_granularities[]": "word"}, {"word_timestamps": True}, None),
    # of other services, and of OpenAI's other models
    ({"include[]": "logprobs"}, {}, "include[]"),
    ({"known_speaker_names[]": "Ada"}, {}, "known_speaker_names[]"),
    ({"diarize": "true", "best_of": "3"}, {}, "diarize, best_of"),
)


def test_a_field_reaches_the_model_or_is_named(http: httpx2.Client, played: Families) -> None:
    """The options of the job, and the names in the header."""
    for form, options, ignored in OBEYED:
        response = post(http, form)

        assert response.status_code == 200, (form, response.text)
        assert (form, played.jobs[-1][0].options) == (form, {**DEFAULT, **options})
        assert (form, response.headers.get(HEADER)) == (form, ignored)


REFUSED: Sequence[tuple[Form, str, str]] = (
    ({"task": "summarise"}, "task", "must be one of transcribe, translate"),
    ({"response_format": "diarized_json"}, "response_format", "is none of json, text, srt"),
    ({"timestamp_granularities": "syllable", **VERBOSE}, "timestamp_granularities", "is none of word, segment"),
    ({"timestamp_granularities": "word"}, "timestamp_granularities", "need response_format verbose_json"),
    ({"stream": "true", "response_format": "srt"}, "stream", "got srt"),
    ({"stream": "true", "response_format": "vtt"}, "stream", "got vtt"),
    ({"stream": "true", "channels": "split"}, "stream", "needs channels mix"),
    ({"stream": "perhaps"}, "stream", "valid boolean"),
    ({"vad": "true", "vad_filter": "false"}, "vad_filter", "are the same and have different values"),
    ({"prompt": "a", "initial_prompt": "b"}, "initial_prompt", "are the same and have different values"),
    ({"vad": "false", "chunking_strategy": "auto"}, "chunking_strategy", "looks for speech"),
    ({"chunking_strategy": "fixed"}, "chunking_strategy", "must be auto or of type server_vad, got 'fixed'"),
    ({"chunking_strategy": "{type"}, "chunking_strategy", "must be auto or a JSON object"),
    ({"chunking_strategy": '{"threshold": 1}'}, "chunking_strategy", "got 'None'"),
    ({"beam_size": "many"}, "beam_size", "valid integer"),
    ({"max_line_width": "40"}, "max_line_width", "needs response_format srt or vtt, got json"),
    ({"max_line_count": "2", "response_format": "srt"}, "max_line_count", "needs max_line_width"),
    ({"max_line_width": "0", "response_format": "srt"}, "max_line_width", "must be a number from 1 on"),
    ({"timestamps": "false", "response_format": "srt"}, "timestamps", "must be true with response_format srt"),
    ({"timestamps": "false", "response_format": "vtt"}, "timestamps", "must be true with response_format vtt"),
    ({"language": ["de", "fr"]}, "language", "must be given once"),
)


def test_a_field_that_cannot_be_obeyed_is_refused(http: httpx2.Client) -> None:
    """With 422, its name as `param`, and the reason."""
    for form, param, text in REFUSED:
        error = post(http, form)

        assert (form, error.status_code, error.json()["error"]["param"]) == (form, 422, param)
        assert text in error.json()["detail"]


def test_a_translation_is_the_task_translate(sdk: OpenAI, http: httpx2.Client, played: Families) -> None:
    """OpenAI's client reads it; the language spoken may be told; another task is refused."""
    # OpenAI's client calls its own route deprecated
    with pytest.warns(DeprecationWarning, match="deprecated"):
        reply = sdk.audio.translations.create(model="whisper-1", file=("talk.wav", SAID), prompt="Penstock")
    verbose = post(http, {"language": "de", **VERBOSE}, "translations").json()
    refused = post(http, {"task": "transcribe"}, "translations")

    assert reply.text == "good day"
    assert [job.options for job, _ in played.jobs[-2:]] == [
        {**DEFAULT, "task": "translate", "prompt": "Penstock"},
        {**DEFAULT, "task": "translate", "language": "de"},
    ]
    assert (verbose["task"], verbose["language"]) == ("translate", "german")
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "task")


def test_openai_s_client_writes_objects_into_the_form(sdk: OpenAI, played: Families) -> None:
    """Its `chunking_strategy` is an object, whose parts become fields of their own."""
    sdk.audio.transcriptions.create(
        model="whisper", file=("a.wav", SAID), chunking_strategy={"type": "server_vad", "prefix_padding_ms": 100}
    )

    assert played.jobs[-1][0].options == {**DEFAULT, "vad": True}


def test_a_stream_of_a_verbose_transcription_has_the_words(http: httpx2.Client) -> None:
    """Each segment with all its fields."""
    response = post(http, {**VERBOSE, "stream": "true", "timestamp_granularities[]": "word"})

    assert '"words":[{"start":0.5,"end":1.5,"word":" good day","probability":0.5}]' in response.text
    assert '"avg_logprob":-0.25' in response.text


def test_split_channels_are_told_apart(http: httpx2.Client) -> None:
    """Each by name, with its text, and in verbose_json with its segments."""
    brief, verbose = (post(http, {"channels": "split", **more}).json() for more in ({}, VERBOSE))

    assert brief["channels"] == [{"channel": 1, "name": "left", "text": "good day"}]
    (channel,) = verbose["channels"]
    assert (channel["name"], channel["language"], len(channel["segments"])) == ("left", "english", 1)


def test_subtitles_are_as_wide_as_asked_for(http: httpx2.Client) -> None:
    """The one word of the played model is too long for a line, and is not cut."""
    response = post(http, {"response_format": "srt", "max_line_width": "4", "max_line_count": "1"})

    assert response.text == "1\n00:00:00,500 --> 00:00:01,500\ngood day\n"


def test_a_part_without_a_filename_is_told_what_it_lacks(http: httpx2.Client) -> None:
    """So is a form without a part, and a request that is no form."""
    text = http.post("/v1/audio/transcriptions", files={"model": (None, "whisper"), "file": (None, SAID)})
    absent = http.post("/v1/audio/transcriptions", files={"model": (None, "whisper")})
    other = http.post("/v1/audio/transcriptions", json={"model": "whisper"})

    assert [each.status_code for each in (text, absent, other)] == [422] * 3
    assert [each.json()["error"]["param"] for each in (text, absent, other)] == ["file"] * 3
    assert "the part has no filename" in text.json()["detail"]
    assert "must have a part named file" in absent.json()["detail"]
    assert "must be multipart/form-data with a part named file, got application/json" in other.json()["detail"]


def test_a_wrong_field_is_a_bad_request_to_openai_s_client(sdk: OpenAI) -> None:
    """Its exception has the name of the field."""
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        sdk.audio.transcriptions.create(model="whisper", file=("a.wav", SAID), extra_body={"task": "sing"})

    assert refused.value.param == "task"
