"""Real speech through the queue, on Whisper base: words, their times, languages and silence."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_worker.media import audio
from inference_worker.standins.whisper import wav
from rpc import Client, RedisSettings, Transcript
from tests import real, speech
from tests.conftest import ON_VALKEY, settings_for
from tests.servers import Server
from tests.speech import Recording
from tests.waiting import LONG_S
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, pytest.mark.real, pytest.mark.timeout(900), ON_VALKEY]

MAX_ERRORS, MAX_ERRORS_WITHOUT_TIMESTAMPS, MAX_GAP = 0.005, 0.004, 4

ROUNDING_S = 0.002

LONGEST_WORD_S = 3.0

RECORDINGS_S = 800.0

LANGUAGES = {
    "de": "Guten Morgen, heute ist das Wetter sehr schön und wir gehen zusammen in den Wald.",
    "es": "Buenos días, mañana vamos a la playa con nuestros amigos y comemos pescado.",
    "it": "Buongiorno, oggi andiamo al mercato e compriamo il pane e la frutta per la cena.",
    "pl": "Dzień dobry, dzisiaj idziemy razem do sklepu i kupujemy chleb oraz masło.",
    "en-us": "Good morning, the weather is very nice today and we are going to the forest.",
}
"""Voice of espeak-ng -> a sentence; those whose language Whisper base knows by its synthetic voices."""


@pytest.fixture(scope="module")
def settings(server: Server) -> RedisSettings:
    """Return where this module's worker is."""
    return settings_for(server)


@pytest.fixture(scope="module")
def client(settings: RedisSettings) -> Iterator[Client]:
    """Yield a client of a worker that serves the real weights."""
    env = {"PENSTOCK_TORCH_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    source = real.weights(real.WHISPER)
    with WorkerProcess([f"whisper={source}"], settings, env) as worker, Client(settings=settings) as client:
        worker.wait_until_ready()
        yield client


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Return 25 recordings of 13 to 29 s and one of three minutes, 1,958 words together."""
    return [*speech.clips(25), speech.long_recording()]


def encoded(samples: NDArray[np.int16]) -> bytes:
    """Return a WAV file."""
    return wav((samples / 32767).astype(np.float32))


def transcribed(client: Client, recordings: Sequence[Recording], **options: Any) -> list[Transcript]:
    """Return the transcripts of recordings that wait together."""
    with ThreadPoolExecutor(len(recordings)) as callers:
        futures = [
            callers.submit(client.transcribe, encoded(each.samples), "en", timeout_s=RECORDINGS_S, **options)
            for each in recordings
        ]
        return [future.result(RECORDINGS_S) for future in futures]


@pytest.fixture(scope="module")
def transcripts(client: Client, recordings: list[Recording]) -> list[Transcript]:
    """Return the transcripts of all recordings, with the times of words."""
    return transcribed(client, recordings, word_timestamps=True)


def check_words(recordings: Sequence[Recording], transcripts: Sequence[Transcript], *, most: float) -> None:
    """Fail if more than a part of the words is wrong, or words in a row are missing."""
    found = [
        speech.word_errors(recording.words, speech.words_of(transcript.text))
        for recording, transcript in zip(recordings, transcripts, strict=True)
    ]
    wrong, total = sum(each.errors for each in found), sum(each.words for each in found)

    assert total > 1500
    assert wrong / total <= most, f"{wrong} of {total} words"
    assert max(each.longest_gap for each in found) <= MAX_GAP


def test_no_words_of_real_speech_are_lost(recordings: list[Recording], transcripts: list[Transcript]) -> None:
    """At most 0.5 % of the words are wrong, and nowhere are five in a row missing."""
    check_words(recordings, transcripts, most=MAX_ERRORS)


def test_no_words_are_lost_without_timestamps(client: Client, recordings: list[Recording]) -> None:
    """At most 0.4 % of the words are wrong, and nowhere are five in a row missing."""
    check_words(recordings, transcribed(client, recordings, timestamps=False), most=MAX_ERRORS_WITHOUT_TIMESTAMPS)


def test_words_of_real_speech_lie_within_their_segments(transcripts: list[Transcript]) -> None:
    """They are in order, none holds a pause, and segments are in order and end with their words."""
    for transcript in transcripts:
        words = [word for segment in transcript.segments for word in segment.words or ()]
        for segment in transcript.segments:
            assert segment.words
            assert segment.start - ROUNDING_S <= segment.words[0].start
            assert segment.words[-1].end <= segment.end + ROUNDING_S
        assert all(word.start <= word.end <= word.start + LONGEST_WORD_S for word in words)
        assert all(first.end <= second.start + ROUNDING_S for first, second in pairwise(words))


def spoken(directory: Path, voice: str) -> NDArray[np.int16]:
    """Return the sentence of a voice of espeak-ng, at 16 kHz; skip the test if the program is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("espeak-ng is not installed; apt-get install espeak-ng brings it")
    file = directory / f"{voice}.wav"
    subprocess.run([program, "-v", voice, "-s", "140", "-w", str(file), LANGUAGES[voice]], check=True)
    return audio.decode(file.read_bytes(), longest_s=LONG_S).samples


def test_languages_are_told_apart(client: Client, tmp_path: Path) -> None:
    """A synthetic voice in each is heard as its language, also behind 40 s of silence."""
    voices = {voice: spoken(tmp_path, voice) for voice in LANGUAGES}
    silence = np.zeros(40 * speech.RATE, np.int16)
    with ThreadPoolExecutor(len(voices) + 1) as callers:
        heard = {voice: callers.submit(client.transcribe, encoded(each)) for voice, each in voices.items()}
        behind = callers.submit(client.transcribe, encoded(np.concatenate([silence, voices["de"]])))

    assert {voice: each.result().language for voice, each in heard.items()} == {
        voice: voice.partition("-")[0] for voice in voices
    }
    assert behind.result().language == "de"
    assert behind.result().segments[0].start >= 30.0


@pytest.mark.parametrize("vad", [False, True])
def test_silence_is_no_text(client: Client, *, vad: bool) -> None:
    """Neither in silence nor in the noise of a room does Whisper hear words, and neither costs more than speech."""
    noise = np.random.default_rng(1).normal(0, 100, 30 * speech.RATE).astype(np.int16)

    for samples in (np.zeros(30 * speech.RATE, np.int16), noise):
        transcript = client.transcribe(encoded(samples), vad=vad)
        assert (transcript.text, list(transcript.segments), transcript.duration) == ("", [], 30.0)
