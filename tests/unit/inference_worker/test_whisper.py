"""Whisper on the stand-in that hears tones: windows, languages, words, and what is refused."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor

from inference_worker.media import audio
from inference_worker.media.recording import RATE
from inference_worker.memory import resident_bytes
from inference_worker.models.base import FollowUp, InvalidInput, Runtime, Unit
from inference_worker.models.whisper import Whisper
from inference_worker.models.whisper.asked import RESTS_FRAMES
from inference_worker.models.whisper.decoding import BEST_OF, MOST_COMPRESSION, TEMPERATURES, Decoded, Decoder
from inference_worker.standins import whisper as standin
from inference_worker.standins.whisper import WORDS, tone_speech, wav
from inference_worker.weights import PUBLISHED
from tests import crafted, hazards
from tests.films import Kind, film

NEAR_S = 0.1
"""How near a word's time is to the second it was said in."""

LANGUAGE_RULE = "option language must be auto, a code such as de, a tag such as pt-BR or an English name, got"
TEXT_RULE = "option prompt must be a text without lone surrogates, got"
TRACK_RULE = "option track must be a whole number from 1 on, got"
BEAM_RULE = "option beam_size must be a whole number from 1 to 10, got"

CHANCE = np.random.default_rng(3)


def words(count: int) -> list[str]:
    """Return so many words by chance."""
    return [WORDS[index] for index in CHANCE.integers(0, len(WORDS), count)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stand-in's directory."""
    place = tmp_path_factory.mktemp("whisper")
    standin.build(place)
    return place


@pytest.fixture(scope="module", params=["int8", "float32"])
def model(directory: Path, request: pytest.FixtureRequest) -> Whisper:
    """Return a loaded model, in both kinds of number a CPU has."""
    loaded = Whisper(Runtime(source=str(directory), whisper_compute=request.param, threads=1))
    loaded.load()
    loaded.warm_up()
    return loaded


def units(model: Whisper, spoken: Sequence[str | None], **options: Any) -> list[Unit]:
    """Return the windows of a recording of these words."""
    return model.prepare("transcribe", wav(tone_speech(spoken)), options)


def heard(model: Whisper, outputs: Sequence[Any]) -> dict[str, Any]:
    """Return the transcript of one recording."""
    (transcript,) = model.finish("transcribe", [outputs])["transcripts"]
    return dict(transcript)


def transcribed(model: Whisper, spoken: Sequence[str | None], **options: Any) -> dict[str, Any]:
    """Return the transcript of a recording that has the model to itself, window by window."""
    return heard(model, [complete(model, unit) for unit in units(model, spoken, **options)])


def complete(model: Whisper, unit: Unit) -> Any:
    """Return the output of a unit after as many passes as it needs."""
    output = model.infer([unit])[0]
    while isinstance(output, FollowUp):
        output = model.infer([output.unit])[0]
    return output


@pytest.mark.parametrize("count", [1, 5, 30, 31, 75])
@pytest.mark.parametrize("timestamps", [True, False])
def test_what_is_said_is_heard(model: Whisper, count: int, *, timestamps: bool) -> None:
    """Every word, in order, in one window or in several, with and without timestamps."""
    spoken = words(count)

    transcript = transcribed(model, spoken, timestamps=timestamps)

    assert transcript["text"].split() == spoken
    assert (transcript["duration"], transcript["truncated"], transcript["language"]) == (count, False, "en")


def test_five_windows_of_five_jobs_in_one_pass_give_what_one_by_one_gives(model: Whisper) -> None:
    """Four languages, both tasks and words' times side by side: every field is the same as alone."""
    asked: list[dict[str, Any]] = [
        {"language": "fr", "task": "translate"},
        {"language": "de", "word_timestamps": True},
        {"language": "ja"},
        {"language": "en", "task": "translate", "word_timestamps": True},
        {},
    ]
    spoken = [words(count) for count in (3, 12, 30, 1, 7)]
    alone = [transcribed(model, said, **options) for said, options in zip(spoken, asked, strict=True)]

    together = model.infer([units(model, said, **options)[0] for said, options in zip(spoken, asked, strict=True)])
    transcripts = [heard(model, [output]) for output in together]

    assert [transcript["text"].split() for transcript in transcripts] == spoken
    for one, other in zip(alone, transcripts, strict=True):
        assert _rounded(one) == _rounded(other)
    assert [transcript["language"] for transcript in transcripts] == ["fr", "de", "ja", "en", "en"]


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    """Return a model that writes ten words of a window, a pair of timestamps, and then ends."""
    place = tmp_path_factory.mktemp("early")
    standin.build(place, stop_after=10)
    loaded = Whisper(Runtime(source=str(place), threads=1))
    loaded.load()
    return loaded


@pytest.mark.parametrize("word_timestamps", [False, True])
@pytest.mark.parametrize("count", [5, 10, 11, 19, 25, 30, 45])
def test_text_behind_the_last_timestamp_is_heard(early: Whisper, count: int, *, word_timestamps: bool) -> None:
    """A window whose tokens end with a pair of timestamps is decoded again from there, until all of it is heard."""
    spoken = words(count)

    transcript = transcribed(early, spoken, word_timestamps=word_timestamps)

    segments = transcript["segments"]
    assert transcript["text"].split() == spoken
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    times = [(segment["start"], segment["end"]) for segment in segments]
    # with words a segment ends with its last word
    expected = [(start, min(start + 10, count)) for start in range(0, count, 10)]
    assert times == [pytest.approx(pair, abs=NEAR_S if word_timestamps else 0.0) for pair in expected]


def test_rests_of_several_jobs_share_a_pass(early: Whisper) -> None:
    """Together they give what each gives alone, and rests of up to 9 s are not padded to 30 s."""
    spoken = [words(count) for count in (13, 15, 19)]
    alone = [transcribed(early, said) for said in spoken]

    first = early.infer([units(early, said)[0] for said in spoken])
    rests = [output.unit for output in first if isinstance(output, FollowUp)]
    second = early.infer(rests)

    assert [_rounded(heard(early, [output])) for output in second] == [_rounded(transcript) for transcript in alone]
    assert {rest.data.frames for rest in rests} == {RESTS_FRAMES}


def test_a_window_heard_in_several_passes_is_kept_whole(early: Whisper) -> None:
    """A worker that takes the job over resumes the window with the segments of all its passes."""
    spoken = words(25)
    (unit,) = units(early, spoken)
    follow_up = early.infer([unit])[0]
    output = early.infer([early.infer([follow_up.unit])[0].unit])[0]

    (again,) = units(early, spoken)
    resumed = early.resume(again, early.keep(follow_up.unit, output))

    assert resumed is not None
    assert heard(early, [resumed])["text"].split() == spoken


def _rounded(value: Any) -> Any:
    """Return a transcript without the last digits of its probabilities."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def test_segments_have_the_fields_of_the_origin(model: Whisper) -> None:
    """Names, types, numbering and times in the recording are those openai-whisper gives."""
    segments = transcribed(model, words(75))["segments"]

    assert [list(segment) for segment in segments] == [
        [
            *("id", "seek", "start", "end", "text", "tokens", "temperature"),
            *("avg_logprob", "compression_ratio", "no_speech_prob"),
        ]
    ] * len(segments)
    assert [(each["id"], each["seek"], each["start"], each["end"]) for each in segments] == [
        (0, 0, 0.0, 30.0),
        (1, 3000, 30.0, 60.0),
        (2, 6000, 60.0, 75.0),
    ]
    # what a result may hold on the wire is plain
    assert json.loads(json.dumps(segments)) == segments


@pytest.mark.parametrize("count", [5, 40])
def test_each_word_has_its_second(model: Whisper, count: int) -> None:
    """Times of words are of the recording, not of the window."""
    spoken = words(count)

    segments = transcribed(model, spoken, word_timestamps=True)["segments"]
    found = [word for segment in segments for word in segment["words"]]

    assert [word["word"].strip() for word in found] == spoken
    assert max(abs(word["start"] - second) for second, word in enumerate(found)) <= NEAR_S
    assert all(type(value) in {float, str} for word in found for value in word.values())


def test_the_language_of_the_first_window_is_that_of_all(model: Whisper) -> None:
    """It is detected once a recording, whatever shares the pass, and then given to every window."""
    first, second = units(model, words(40))
    other = units(model, words(3), language="ko")

    one = model.infer([*other, first])[1]
    model.infer([second])

    assert (one[0].language, second.data.heard.language, other[0].data.heard.language) == ("en", "en", "ko")
    assert 0 < one[0].language_probability < 1
    assert other[0].data.heard.language_probability == 1.0


def test_silence_is_no_text(model: Whisper) -> None:
    """A recording in which nobody speaks has no segments, but a length and a language."""
    transcript = transcribed(model, [None, None])

    assert (transcript["text"], transcript["segments"], transcript["duration"]) == ("", [], 2.0)
    assert transcript["language"] == "en"


@pytest.mark.parametrize("options", [{}, {"vad": True}, {"vad": True, "language": "en"}])
def test_silence_is_not_decoded(model: Whisper, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Its language comes from the encoder alone, which is not run either where the language is given."""
    encoded: list[int] = []
    encode = Decoder.encode

    def count(decoder: Decoder, pieces: Sequence[Any]) -> Any:
        encoded.append(len(pieces))
        return encode(decoder, pieces)

    monkeypatch.setattr(Decoder, "decode", lambda *_: pytest.fail("silence was decoded"))
    monkeypatch.setattr(Decoder, "encode", count)

    transcript = transcribed(model, [None] * 45, **options)

    assert (transcript["text"], transcript["segments"], transcript["language"]) == ("", [], "en")
    assert transcript["duration"] == 45.0
    assert encoded == ([] if "language" in options else [1])


def test_windows_of_silence_are_left_out(model: Whisper) -> None:
    """What is said before and behind them has its time, and the first window with sound decides the language."""
    spoken = [None] * 30 + words(30) + [None] * 30 + words(5)

    parts = units(model, spoken)
    transcript = transcribed(model, spoken)

    assert [part.data.window.start // RATE for part in parts] == [30, 90]
    assert {part.data.heard.language_window for part in parts} == {parts[0].data.window}
    assert transcript["text"].split() == [word for word in spoken if word]
    assert [segment["start"] for segment in transcript["segments"]] == [30.0, 90.0]


def test_a_rest_of_silence_is_not_decoded(early: Whisper) -> None:
    """Behind the last timestamp nothing was said."""
    (unit,) = units(early, [*words(10), *[None] * 10])

    assert not isinstance(early.infer([unit])[0], FollowUp)


def test_a_language_window_in_no_pass_yet_is_encoded_for_itself(model: Whisper) -> None:
    """Windows of a recording may come in any order; the language is that of the window with the first speech."""
    first, second = units(model, words(40))
    first.data.heard.language_window = first.data.window

    model.infer([second, units(model, words(3))[0]])

    assert (second.data.heard.language, second.data.heard.language_probability > 0.9) == ("en", True)


def test_tones_are_no_speech(model: Whisper) -> None:
    """With `vad` what is no speech is left out, which all of this is; length and language are still told."""
    transcript = transcribed(model, words(3), vad=True)

    assert (transcript["text"], transcript["duration"], transcript["language"]) == ("", 3.0, "en")


def test_only_windows_asked_for_alike_share_a_pass(model: Whisper) -> None:
    """Beam size and timestamps are the same for a whole pass; language, task and words are each window's own."""
    alike = [units(model, ["one"], **options)[0].group for options in ({}, {"language": "de", "task": "translate"})]
    unlike = [units(model, ["one"], **options)[0].group for options in ({"beam_size": 1}, {"timestamps": False})]

    assert alike[0] == alike[1]
    assert len({alike[0], *unlike}) == 3


def test_a_recording_is_not_copied(model: Whisper) -> None:
    """Two minutes are four windows, each a view of the recording: no more than 2 bytes a sample are held."""
    windows = units(model, ["one"] * 120, language="en")

    assert len(windows) == 4
    bases = {id(window.data.samples.base) for window in windows}
    assert len(bases) == 1
    assert windows[0].data.samples.dtype == np.int16


@pytest.mark.bound
def test_long_recordings_that_wait_hold_no_memory(model: Whisper) -> None:
    """Ten of twenty minutes, all windows waiting: their samples are read when it is their turn, and are the same."""
    recording = wav(tone_speech(["one", "two", "six", None] * 300))
    whole = audio.decode(recording, longest_s=3600.0).samples
    before = resident_bytes()

    waiting = [model.prepare("transcribe", recording, {"language": "en"}) for _ in range(10)]
    held = resident_bytes() - before

    assert held < whole.nbytes
    for windows in (waiting[0], waiting[-1]):
        lengths = [len(window.data.samples) for window in windows]
        ends = list(itertools.accumulate(lengths))
        assert ends[-1] == len(whole)
        # one after another: all of them at once would be the memory this is about
        for window, end, length in zip(windows, ends, lengths, strict=True):
            assert np.array_equal(window.data.samples, whole[end - length : end])
    assert resident_bytes() - before < 2 * whole.nbytes


class Generating:
    """The engine of a Whisper, which notes how it is asked to generate: rows, attempts of each, and temperature."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.passes: list[tuple[int, int, float]] = []

    def __getattr__(self, name: str) -> Any:
        """Return what else the engine has."""
        return getattr(self._engine, name)

    def generate(self, encoded: Any, prompts: Sequence[Any], **search: Any) -> Any:
        """Note the pass and return what comes out of it."""
        asked = (len(prompts), search.get("num_hypotheses", 1), search.get("sampling_temperature", 0.0))
        self.passes.append(asked)
        return self._engine.generate(encoded, prompts, **search)


def test_what_repeats_itself_alone_is_decoded_again_at_every_temperature(model: Whisper, directory: Path) -> None:
    """Its neighbour in the pass is not; and if every attempt repeats itself, a word said thirty times is heard."""
    engine = WhisperModel(str(directory), device="cpu", compute_type="int8")
    generating = engine.model = Generating(engine.model)
    decoder = Decoder(engine, 1)
    pieces = [unit.data for said in (["one", "two"], ["six"] * 30) for unit in units(model, said, language="en")]

    gone_on: list[int] = []

    plain, repeated = decoder.decode(pieces, decoder.encode(pieces), lambda: gone_on.append(len(generating.passes)))

    # each temperature is progress of its own
    assert gone_on == [1, 2, 3, 4, 5]
    assert generating.passes == [(2, 1, 0.0), *((1, BEST_OF, temperature) for temperature in TEMPERATURES)]
    assert (plain.text.split(), plain.temperature) == (["one", "two"], 0.0)
    assert repeated.text.split() == ["six"] * 30
    assert repeated.compression_ratio > MOST_COMPRESSION


def test_a_pass_says_that_it_goes_on(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    """When windows are encoded, before each further temperature, and before words get their times."""
    gone_on: list[str] = []
    monkeypatch.setattr(model, "going_on", lambda: gone_on.append("on"))

    transcribed(model, ["one", "two"], language="en")
    transcribed(model, ["six"] * 30, language="en")

    assert len(gone_on) == 2 + 2 + len(TEMPERATURES)


@pytest.mark.parametrize(
    ("logprob", "no_speech", "text", "silent", "doubtful"),
    [
        (-0.2, 0.1, "good and proper text", False, False),
        (-1.2, 0.1, "a guess", False, True),
        (-1.2, 0.9, "a guess at silence", True, False),
        (-0.2, 0.9, "sure in spite of noise", False, False),
        (-0.2, 0.1, "again " * 40, False, True),
    ],
)
def test_what_is_doubtful_and_what_is_silence(
    logprob: float, no_speech: float, text: str, *, silent: bool, doubtful: bool
) -> None:
    """The thresholds are openai-whisper's."""
    decoded = Decoded([1], text, logprob, no_speech)

    assert (decoded.silent, decoded.doubtful) == (silent, doubtful)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"langauge": "en"}, "the name of an option must be one of language, task"),
        ({"language": "klingon"}, f"{LANGUAGE_RULE} 'klingon'; the model knows af, am,"),
        ({"language": "xx-DE"}, f"{LANGUAGE_RULE} 'xx-DE'"),
        ({"language": "cantonese"}, f"{LANGUAGE_RULE} 'cantonese'"),
        ({"language": 3}, f"{LANGUAGE_RULE} 3"),
        ({"language": ["en"]}, f"{LANGUAGE_RULE} ['en']"),
        ({"language": np.zeros(2)}, f"{LANGUAGE_RULE} array([0., 0.])"),
        ({"prompt": 3}, f"{TEXT_RULE} 3"),
        ({"hotwords": ["one"]}, "option hotwords must be a text without lone surrogates, got ['one']"),
        ({"prompt": "a\ud800"}, f"{TEXT_RULE} 'a\\ud800'"),
        ({"initial_prompt": "\udfff"}, f"{TEXT_RULE} '\\udfff'"),
        ({"hotwords": "\udc80, b"}, "option hotwords must be a text without lone surrogates, got '\\udc80, b'"),
        ({"prompt": "a", "initial_prompt": "b"}, "options prompt and initial_prompt are the same"),
        ({"channels": "left"}, "option channels must be mix or split, got 'left'"),
        ({"track": 0}, f"{TRACK_RULE} 0"),
        ({"track": "1"}, f"{TRACK_RULE} '1'"),
        ({"track": True}, f"{TRACK_RULE} True"),
        ({"track": 2}, "track 2 does not exist: the recording has 1 audio track: 1 (pcm_s16le, 1 channel)"),
        ({"task": np.zeros(2)}, "option task must be transcribe or translate, got array([0., 0.])"),
        ({"task": "summarise"}, "option task must be transcribe or translate, got 'summarise'"),
        ({"word_timestamps": "yes"}, "option word_timestamps must be true or false, got 'yes'"),
        ({"vad": 1}, "option vad must be true or false, got 1"),
        ({"timestamps": 0}, "option timestamps must be true or false, got 0"),
        ({"beam_size": 0}, f"{BEAM_RULE} 0"),
        ({"beam_size": 11}, f"{BEAM_RULE} 11"),
        ({"beam_size": True}, f"{BEAM_RULE} True"),
        ({"beam_size": [5]}, f"{BEAM_RULE} [5]"),
    ],
)
def test_a_wrong_option_is_refused_by_name_and_value(model: Whisper, options: dict[str, Any], complaint: str) -> None:
    """A misspelt option would silently do nothing, and a wrong value end in the library."""
    with pytest.raises(InvalidInput) as refused:
        units(model, ["one"], **options)

    assert str(refused.value).startswith(complaint)


def test_a_language_the_model_has_no_token_for_is_refused(model: Whisper) -> None:
    """Cantonese came with the third version; another one would be told nothing, and hear anything."""
    with pytest.raises(InvalidInput, match=f"{LANGUAGE_RULE} 'yue'; the model knows af, am,"):
        units(model, ["one"], language="yue")

    assert model.about()["languages"] == "99"
    assert [transcribed(model, ["one"], language=code)["text"] for code in ("su", "zh")] == [" one", " one"]


@pytest.mark.parametrize(
    ("given", "code"), [("ko", "ko"), ("KO", "ko"), ("Korean", "ko"), ("korean", "ko"), ("Haitian Creole", "ht")]
)
def test_a_language_may_be_named_as_openai_whisper_takes_it(model: Whisper, given: str, code: str) -> None:
    """By code or by its English name, in whichever case; told is the code."""
    transcript = transcribed(model, ["one"], language=given)

    assert (transcript["text"], transcript["language"], transcript["language_probability"]) == (" one", code, 1.0)


@pytest.mark.parametrize("language", ["auto", "", None, "und"])
def test_a_language_may_be_left_to_the_model(model: Whisper, language: str | None) -> None:
    """Words for no language in particular have it detected."""
    assert transcribed(model, ["one"], language=language)["language"] == "en"


@pytest.mark.parametrize("name", ["prompt", "initial_prompt", "hotwords"])
def test_a_prompt_reaches_the_decoder(model: Whisper, name: str) -> None:
    """The stand-in knows seconds by positions: a mark, a blank and a letter hide the first three."""
    spoken = words(6)

    assert transcribed(model, spoken, **{name: "a"})["text"].split() == spoken[3:]
    assert transcribed(model, spoken, **{name: " "})["text"].split() == spoken


def test_windows_share_a_pass_only_with_prompts_of_equal_length(model: Whisper) -> None:
    """CTranslate2 takes prompts of one length a call; those of equal length keep their own."""
    prompts: list[dict[str, Any]] = [
        {"prompt": "two"},
        {"prompt": "six"},
        {"hotwords": "two"},
        {},
        {"prompt": "two six"},
    ]
    all_units = [units(model, words(6), **options)[0] for options in prompts]
    spoken = [words(6), words(6)]

    groups = [unit.group for unit in all_units]
    together = model.infer([units(model, said, prompt=each)[0] for said, each in zip(spoken, "ab", strict=True)])

    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3
    assert [heard(model, [output])["text"].split() for output in together] == [said[3:] for said in spoken]


def test_each_channel_has_a_transcript(model: Whisper) -> None:
    """Two speakers, each on a channel: one transcript each, by name, and all segments in the order of time."""
    left, right = (tone_speech(said) for said in (["one", "two", None], [None, None, "six"]))
    data = crafted.wav((np.stack([left, right], axis=1) * 32767).astype("<i2").tobytes(), rate=RATE, channels=2)

    split = model.prepare("transcribe", data, {"channels": "split", "language": "en"})
    transcript = heard(model, model.infer(split))

    assert [(each["channel"], each["name"], each["text"]) for each in transcript["channels"]] == [
        (1, "left", " one two"),
        (2, "right", transcript["channels"][1]["text"]),
    ]
    assert [segment["channel"] for segment in transcript["segments"]][:1] == [1]
    assert transcript["text"].startswith(" one two")
    assert (transcript["duration"], transcript["language"]) == (3.0, "en")


def test_a_track_may_be_chosen(model: Whisper) -> None:
    """Counted from one; the first is heard unless another one is asked for."""
    data = film(Kind("matroska", "flac"), [(0, 1)], tracks=2)

    lengths = [model.prepare("transcribe", data, {"track": number})[0].data.duration_s for number in (1, 2)]

    assert lengths == pytest.approx([1.0, 1.0], abs=0.1)


def test_what_is_no_recording_is_refused(model: Whisper) -> None:
    """Neither rubbish nor a text reaches the model."""
    for given in (b"rubbish", "talk.wav", 3):
        with pytest.raises(InvalidInput):
            model.prepare("transcribe", given, {})


def test_one_failed_recording_of_several_fails_alone(model: Whisper) -> None:
    """The others have their transcripts, in their places."""
    outputs = model.infer(units(model, ["two"]))

    result = model.finish("transcribe", [InvalidInput("rubbish"), outputs])

    assert result["transcripts"][0] is None
    assert result["transcripts"][1]["text"] == " two"
    assert result["failed"] == [{"index": 0, "code": "invalid_input", "message": "rubbish"}]


def test_a_recording_cut_off_says_so(model: Whisper) -> None:
    """What its file promises and it does not hold is told as `truncated`."""
    sound = (tone_speech(["one", "two", "six", "two"], rate=44_100) * 32_767).astype(np.int16)
    whole = hazards.audio("flac", "flac", np.stack([sound, sound], axis=1))

    transcripts = [
        heard(model, model.infer(model.prepare("transcribe", data, {}))) for data in (whole, whole[: len(whole) // 2])
    ]

    assert [transcript["truncated"] for transcript in transcripts] == [False, True]
    assert transcripts[0]["text"].startswith(transcripts[1]["text"])
    assert transcripts[1]["text"].startswith(" one")


def test_it_tells_what_it_takes(model: Whisper, directory: Path) -> None:
    """The memory is told before loading and measured after it."""
    told = model.about()

    assert model.needs() >= (directory / "model.bin").stat().st_size
    assert int(told["bytes"]) > 0
    assert (told["device"], model.where()) == ("cpu", "cpu")
    assert model.budget == 4


@pytest.fixture
def broken(directory: Path, tmp_path: Path) -> Path:
    """Return a copy of the stand-in, to be broken."""
    return Path(shutil.copytree(directory, tmp_path / "broken"))


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
def test_a_missing_file_is_named(broken: Path, name: str) -> None:
    """Without some of them the libraries would load something else, or from somewhere else, and say nothing."""
    (broken / name).unlink()

    with pytest.raises(FileNotFoundError, match=name.partition(".")[0]):
        Whisper(Runtime(source=str(broken))).load()


def test_the_extractors_settings_may_be_missing(broken: Path) -> None:
    """Some repositories have none: the 80 mel bands the library then makes are those of most models."""
    (broken / "preprocessor_config.json").unlink()
    model = Whisper(Runtime(source=str(broken)))
    model.load()

    assert transcribed(model, ["two", "six"])["text"].split() == ["two", "six"]


def test_mel_bands_that_differ_are_refused(broken: Path) -> None:
    """Otherwise every recording would fail, or be heard wrongly."""
    file = broken / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "feature_size": 128}), "utf-8")

    with pytest.raises(ValueError, match=r"hears 80 mel bands, preprocessor_config.json makes 128"):
        Whisper(Runtime(source=str(broken))).load()


def test_a_tokenizer_of_another_model_is_refused(broken: Path) -> None:
    """Without Whisper's control tokens prompts would be nonsense."""
    file = broken / "tokenizer.json"
    told = json.loads(file.read_text("utf-8"))
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] != "<|notimestamps|>"]
    file.write_text(json.dumps(told), "utf-8")

    with pytest.raises(ValueError, match=r"lacks <\|notimestamps\|>: it is no tokenizer of Whisper"):
        Whisper(Runtime(source=str(broken))).load()


def _without(tokenizer: Path, language: str) -> None:
    """Take a language out of a tokenizer, so that what stood behind it moves up, as between versions of Whisper."""
    told = json.loads(tokenizer.read_text("utf-8"))
    (gone,) = (token["id"] for token in told["added_tokens"] if token["content"] == language)
    kept = [token for token in told["added_tokens"] if token["id"] != gone]
    told["added_tokens"] = [{**token, "id": token["id"] - (token["id"] > gone)} for token in kept]
    tokenizer.write_text(json.dumps(told), "utf-8")


def _as_lines(directory: Path) -> None:
    """Write the vocabulary as older conversions have it, a token a line."""
    file = directory / "vocabulary.json"
    (directory / "vocabulary.txt").write_text("\n".join(json.loads(file.read_text("utf-8"))) + "\n", "utf-8")
    file.unlink()


@pytest.mark.parametrize("lines", [False, True])
def test_a_tokenizer_of_another_version_is_refused(broken: Path, *, lines: bool) -> None:
    """One token less moves those behind it: prompts would ask for something else, and words become others."""
    if lines:
        _as_lines(broken)
    _without(broken / "tokenizer.json", "<|su|>")

    with pytest.raises(ValueError, match=r"tokenizer.json has <\|.*\|> at \d+, .*/vocabulary\.(json|txt) does not"):
        Whisper(Runtime(source=str(broken))).load()


def test_a_tokenizer_of_more_than_the_vocabulary_is_refused(broken: Path) -> None:
    """What stands behind the model's last token is none of its tokens."""
    file = broken / "vocabulary.json"
    words = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(words[: words.index("<|transcribe|>")]), "utf-8")

    with pytest.raises(ValueError, match=r"has <\|transcribe\|> at \d+, .*vocabulary.json does not"):
        Whisper(Runtime(source=str(broken))).load()


def test_a_vocabulary_may_be_a_token_a_line(broken: Path) -> None:
    """As in the conversions most models were published in."""
    _as_lines(broken)
    model = Whisper(Runtime(source=str(broken)))
    model.load()

    assert transcribed(model, ["two", "six"])["text"].split() == ["two", "six"]


def test_weights_of_another_library_are_refused(tmp_path: Path) -> None:
    """Whoever gives the published checkpoint reads how it is converted."""
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{}", "utf-8")

    with pytest.raises(ValueError, match="convert them with ct2-transformers-converter"):
        Whisper(Runtime(source=str(tmp_path))).load()


def test_a_model_cut_off_is_refused(broken: Path) -> None:
    """A download that broke is no model."""
    file = broken / "model.bin"
    file.write_bytes(file.read_bytes()[:100_000])

    with pytest.raises(RuntimeError):
        Whisper(Runtime(source=str(broken))).load()


def test_a_file_in_place_of_a_directory_is_refused(broken: Path) -> None:
    """The model is a directory."""
    with pytest.raises(ValueError, match="is no directory"):
        Whisper(Runtime(source=str(broken / "model.bin"))).load()


def test_what_another_version_kept_is_not_resumed(model: Whisper) -> None:
    """Parts that lack something do not fit: their windows are heard again, and nothing else of them is believed."""
    first, _ = units(model, ["one"] * 31)
    (output,) = model.infer([first])
    kept = model.keep(first, output)
    again, _ = units(model, ["one"] * 31)
    lacking = [{name: kept[name] for name in kept if name != missing} for missing in kept]

    assert [model.resume(again, part) for part in [*lacking, {**kept, "window": [0, 1]}, "text", None]] == [None] * 7
    assert again.data.heard.language is None
    assert model.resume(again, {**kept, "more": 1}) == (again.data.heard, kept["segments"])


def test_numbers_the_device_does_not_have_are_refused(directory: Path) -> None:
    """float16 on a CPU is told by the setting's name, with what there is."""
    with pytest.raises(ValueError, match=r"PENSTOCK_WHISPER_COMPUTE=float16: on cpu there are .*float32"):
        Whisper(Runtime(source=str(directory), whisper_compute="float16"))


def test_every_size_of_the_origin_has_its_repository() -> None:
    """What `ASR_MODEL` may have been set to is found on the hub for CTranslate2."""
    sizes = {"tiny", "base", "small", "medium", "large", "large-v1", "large-v2", "large-v3", "turbo"}

    assert sizes <= set(PUBLISHED["whisper"].sizes)


def band_frequencies() -> list[float]:
    """Return the middle of each of the stand-in's bands in Hz, from the filters of the feature extractor itself."""
    filters = FeatureExtractor.get_mel_filters(standin.RATE, 400, n_mels=standin.MELS)
    hertz = np.fft.rfftfreq(400, 1 / standin.RATE)
    return [float((filters[band] * hertz).sum() / filters[band].sum()) for band in standin.BANDS]


def test_the_stand_in_is_the_same_every_time(directory: Path, tmp_path: Path) -> None:
    """Whoever builds it gets the same bytes; its tones are where the features have their bands."""
    standin.build(tmp_path)

    for file in directory.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    assert [round(frequency) for frequency in band_frequencies()] == list(standin.FREQUENCIES)
    assert len(tone_speech(["one", None])) == 2 * RATE
