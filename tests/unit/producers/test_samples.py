"""What the demo makes up, held to what the stand-ins know: the two may not import each other."""

import numpy as np

from inference_worker.standins import whisper, yunet
from producers.demo import samples


def test_the_demo_speaks_the_stand_ins_tones() -> None:
    """Pitches and recording are those the tone Whisper is built for."""
    assert dict(zip(whisper.WORDS, whisper.FREQUENCIES, strict=True)) == samples.PITCHES
    ours, theirs = (
        np.frombuffer(wav[44:], "<i2").astype(int)
        for wav in (samples.recording(), whisper.wav(whisper.tone_speech(samples.SPOKEN)))
    )
    assert np.abs(ours - theirs).max() <= 1


def test_the_demos_squares_are_faces() -> None:
    """Each is of a size the square-finding YuNet looks for, on its grid."""
    sides = {yunet.CELLS * stride for stride in yunet.STRIDES}

    assert all(side in sides and not x % (side // 5) and not y % (side // 5) for x, y, side in samples.SQUARES)
    assert np.array_equal(
        samples.picture() == 255, yunet.squares_picture((samples.WIDTH, samples.HEIGHT), samples.SQUARES) == 255
    )
