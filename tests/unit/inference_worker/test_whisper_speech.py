"""Where somebody speaks, and where nobody can."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper import speech
from inference_worker.models.whisper.windows import Window
from tests.speech import sentences

Samples = NDArray[np.int16]

CHANCE = np.random.default_rng(1)


def noise(seconds: float, loudness: float) -> Samples:
    """Return noise of a loudness, as root mean square."""
    return CHANCE.normal(0, loudness, round(seconds * RATE)).astype(np.int16)


@pytest.mark.parametrize("scale", [1.0, 0.02, 0.005])
def test_speech_may_be_in_speech_however_quiet(scale: float) -> None:
    """Whisper hears it at any loudness."""
    spoken = sentences()["0880"].samples

    assert speech.may_be_in((spoken * scale).astype(np.int16))


@pytest.mark.parametrize("word_at_s", [0.0, 15.0, 29.0])
def test_one_word_in_half_a_minute_of_silence_may_be_speech(word_at_s: float) -> None:
    """It counts wherever it lies."""
    samples = np.zeros(30 * RATE, np.int16)
    word = sentences()["0930"].samples[: RATE // 2]
    samples[round(word_at_s * RATE) :][: len(word)] = word

    assert speech.may_be_in(samples)


@pytest.mark.parametrize("loudness", [0.0, 1.0, 30.0, 300.0])
def test_no_speech_is_in_silence_and_in_the_noise_of_a_room(loudness: float) -> None:
    """Whisper would write words all the same."""
    assert not speech.may_be_in(noise(30.0, loudness))


def test_no_word_is_in_a_few_milliseconds() -> None:
    """Also where they are loud."""
    assert not speech.may_be_in(noise(0.1, 5000))


def test_what_is_loud_is_not_judged() -> None:
    """Tones, music and loud noise are decoded, as they were."""
    assert speech.may_be_in(noise(5.0, 5000))


def test_the_first_window_with_speech_is_found() -> None:
    """Noise in front of it is passed over; without speech anywhere it is the first window."""
    samples = np.concatenate([noise(20.0, 3000), sentences()["0870"].samples])
    loud, spoken = Window(0, 20 * RATE), Window(20 * RATE, len(samples))

    assert speech.first(samples, [loud, spoken]) == spoken
    assert speech.first(samples, [loud, Window(0, RATE)]) == loud
    assert speech.first(samples, [loud]) == loud
    assert speech.first(samples, []) is None
