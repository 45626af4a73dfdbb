"""Scene: a bad input is told apart from its neighbours."""

import numpy as np

from producers.demo.narration import Narrator, expect
from producers.demo.stage import MODEL, Stage
from rpc import PartialFailure

WITH_EMPTY = ("a red kite", "", "a blue kite")
WITH_NUMBER = ("seven", 7, "eight")


def play(stage: Stage, narrator: Narrator) -> None:
    """Send lists with one bad input each; its error is typed, and the others are answered."""
    narrator.step("One bad input", "Whoever sends it is told what is wrong; the rest of the list is answered.")
    narrator.say(f"embed_texts({list(WITH_EMPTY)})", style="bold")
    _empty(stage, narrator)
    narrator.say(f"call({MODEL!r}, 'embed_text', {list(WITH_NUMBER)})", style="bold")
    _number(stage, narrator)


def _empty(stage: Stage, narrator: Narrator) -> None:
    try:
        stage.client.embed_texts(WITH_EMPTY, model=MODEL)
    except PartialFailure as failure:
        answered = [not np.isnan(row).any() for row in failure.vectors]
        for index, error in failure.failed.items():
            narrator.show(f"{type(failure).__name__}: input {index} is {error.code}: {error}", style="yellow")
        narrator.show(f"{sum(answered)} vectors of {failure.vectors.shape[1]} numbers came with it", style="green")
        right = answered == [True, False, True] and [error.code for error in failure.failed.values()]
        expect(
            holds=right == ["invalid_input"],
            otherwise="the empty text, and it alone, should have been answered with invalid_input",
        )
    else:
        expect(holds=False, otherwise="an empty text should have been refused")


def _number(stage: Stage, narrator: Narrator) -> None:
    result = stage.client.call(MODEL, "embed_text", WITH_NUMBER)
    for failed in result["failed"]:
        narrator.show(f"failed: input {failed['index']} is {failed['code']}: {failed['message']}", style="yellow")
    answered = [not np.isnan(row).any() for row in result["vectors"]]
    narrator.show(f"{sum(answered)} vectors of {result['vectors'].shape[1]} numbers in the same reply", style="green")
    found = [(failed["index"], failed["code"]) for failed in result["failed"]]
    expect(
        holds=answered == [True, False, True] and found == [(1, "invalid_input")],
        otherwise="the number, and it alone, should have been answered with invalid_input",
    )
