"""The line between a supervisor and its engine."""

import threading
from collections.abc import Iterator

import pytest

from inference_worker.link import Gone, Link

Ends = tuple[Link, Link]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Yield both ends of a line."""
    near, far = Link.pair()
    yield near, far
    near.close()
    far.close()


def test_what_one_end_says_the_other_hears(ends: Ends) -> None:
    """Texts arrive whole and in order, however they are cut on their way."""
    near, far = ends
    near.say("ready", ["a", "b"])
    near.say("metrics", "x" * 100_000 + "ü\n")

    assert [far.hear(), far.hear(1.0)] == [("ready", ["a", "b"]), ("metrics", "x" * 100_000 + "ü\n")]


def test_silence_is_nothing(ends: Ends) -> None:
    """Who waits for so long and hears nothing is told nothing."""
    assert ends[1].hear(0.0) is None


def test_an_end_that_is_gone_is_noticed(ends: Ends) -> None:
    """Both who listens and who speaks learn that nobody is there."""
    near, far = ends
    far.close()

    with pytest.raises(Gone):
        near.hear()
    with pytest.raises(Gone):
        near.say("metrics")


def test_texts_of_several_threads_do_not_mix(ends: Ends) -> None:
    """Each text is one line."""
    near, far = ends
    texts = {letter: letter * 50_000 for letter in "abcd"}
    threads = [threading.Thread(target=near.say, args=(letter, text)) for letter, text in texts.items()]
    for thread in threads:
        thread.start()

    heard = [far.hear(5.0) for _ in threads]

    for thread in threads:
        thread.join()
    assert dict(filter(None, heard)) == texts
