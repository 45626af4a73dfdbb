"""How transcripts are written."""

import pytest

from producers.subtitles import clock, srt, text, vtt
from rpc import Segment, Transcript


def segment(number: int, start: float, end: float, said: str) -> Segment:
    """Return a segment of which only times and text matter."""
    return Segment(number, 0, start, end, said, [], 0.0, -0.1, 1.0, 0.0)


SPOKEN = Transcript(
    " Hello there. <b>Fish</b> & chips",
    "en",
    7.5,
    [segment(0, 0.0, 2.5, " Hello\nthere."), segment(1, 3600.0, 3661.0625, " <b>Fish</b> & chips")],
)

NOTHING = Transcript("", "en", 3.0, [])


def test_subrip_numbers_its_blocks() -> None:
    """Number, times with a comma, text on one line as it is, an empty line between blocks."""
    assert srt(SPOKEN) == (
        "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n2\n01:00:00,000 --> 01:01:01,062\n<b>Fish</b> & chips\n"
    )


def test_webvtt_escapes_what_would_be_markup() -> None:
    """A header, times with a point, and no tag that nobody spoke."""
    assert vtt(SPOKEN) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello there.\n\n"
        "01:00:00.000 --> 01:01:01.062\n&lt;b&gt;Fish&lt;/b&gt; &amp; chips\n"
    )


def test_silence_is_a_valid_file() -> None:
    """Nothing said is nothing written, but for the header WebVTT has to have."""
    assert (text(NOTHING), srt(NOTHING), vtt(NOTHING)) == ("\n", "", "WEBVTT\n")


def test_segments_without_words_are_left_out() -> None:
    """A block without text is none, and the others are numbered without a gap."""
    heard = Transcript(
        " a b", "en", 3.0, [segment(0, 0, 1, " a"), segment(1, 1, 2, " \n"), segment(2, 2, 3, " b --> c")]
    )
    assert srt(heard) == "1\n00:00:00,000 --> 00:00:01,000\na\n\n2\n00:00:02,000 --> 00:00:03,000\nb -> c\n"
    assert vtt(heard).endswith("a\n\n00:00:02.000 --> 00:00:03.000\nb --&gt; c\n")


def test_text_is_what_was_said() -> None:
    """One line, without the blank in front."""
    assert text(SPOKEN) == "Hello there. <b>Fish</b> & chips\n"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (3599.999, "00:59:59.999"), (360_000.5, "100:00:00.500")],
)
def test_a_time_carries_over(seconds: float, told: str) -> None:
    """Rounding never gives 60 seconds, and long recordings have as many hours as they need."""
    assert clock(seconds, ".") == told
