"""Real speech with its text: sentences of Debian's `pocketsphinx-testdata`, joined to recordings of many lengths.

The sentences are five of LibriVox's reading of "Sense and Sensibility", 16 kHz, 7 to 17 words each. Recordings join
them in seeded orders with pauses of 0.2 to 1 s, so the same words lie at other times of a window in each.
"""

import random
import re
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 16_000

DIRECTORY = Path("/usr/share/pocketsphinx/test/data/librivox")

SENTENCES = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be prudently in his power to"
    " do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0920": "had he married a more amiable woman he might have been made still more respectable than he was",
    "0930": "he might even have been made amiable himself",
}
"""Number of a file -> its text; of 0920 as it is read, without the second article of the package's transcription."""

SPELLINGS = {"mr": "mister", "illdisposed": "ill disposed", "coldhearted": "cold hearted"}

SHORTEST_S, LONGEST_S, PAUSES_S = 13.0, 29.0, (0.2, 1.0)


@dataclass(frozen=True, slots=True)
class Recording:
    """Joined sentences: int16 samples at 16 kHz, and the words in order."""

    samples: NDArray[np.int16]
    words: Sequence[str]

    @property
    def duration_s(self) -> float:
        """Return the length in seconds."""
        return len(self.samples) / RATE


def sentences() -> dict[str, Recording]:
    """Return the five sentences; skip the test if the package with the recordings is not installed."""
    if not DIRECTORY.is_dir():
        pytest.skip("pocketsphinx-testdata is not installed; apt-get install pocketsphinx-testdata brings it")
    return {number: Recording(_samples(number), text.split()) for number, text in SENTENCES.items()}


def _samples(number: str) -> NDArray[np.int16]:
    with wave.open(str(DIRECTORY / f"sense_and_sensibility_01_austen_64kb-{number}.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def join(parts: Sequence[Recording], chance: random.Random) -> Recording:
    """Return recordings one behind the other, with a pause behind each."""
    samples: list[NDArray[np.int16]] = []
    for part in parts:
        samples += [part.samples, np.zeros(round(chance.uniform(*PAUSES_S) * RATE), np.int16)]
    return Recording(np.concatenate(samples), [word for part in parts for word in part.words])


def clips(count: int, seed: int = 1, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S) -> list[Recording]:
    """Return joined recordings of `shortest_s` to `longest_s`; none has a sentence twice, as no speaker would."""
    chance, spoken = random.Random(seed), list(sentences().values())
    made: list[Recording] = []
    while len(made) < count:
        joined = join(chance.sample(spoken, chance.randint(1, len(spoken))), chance)
        if shortest_s <= joined.duration_s <= longest_s:
            made.append(joined)
    return made


def long_recording(rounds: int = 7, seed: int = 2) -> Recording:
    """Return all sentences so many times, in another order each time: about 27 s a round."""
    chance, spoken = random.Random(seed), list(sentences().values())
    return join([part for _ in range(rounds) for part in chance.sample(spoken, len(spoken))], chance)


def words_of(text: str) -> list[str]:
    """Return the words of a transcript in the spelling of the references: lower case, no marks, no hyphens."""
    plain = re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split()
    return [word for each in plain for word in SPELLINGS.get(each.strip("'"), each).split()]


@dataclass(frozen=True, slots=True)
class WordErrors:
    """How a transcript differs from its reference.

    Attributes:
        words: of the reference.
        errors: substitutions, insertions and deletions of the shortest edit.
        deleted: deletions among them.
        longest_gap: the most reference words in a row that were deleted.
    """

    words: int
    errors: int
    deleted: int
    longest_gap: int


def word_errors(reference: Sequence[str], transcript: Sequence[str]) -> WordErrors:
    """Return the errors of the shortest edit from reference to transcript (Levenshtein, by words)."""
    costs = np.zeros((len(reference) + 1, len(transcript) + 1), int)
    costs[:, 0], costs[0, :] = range(len(reference) + 1), range(len(transcript) + 1)
    for row, expected in enumerate(reference, 1):
        for column, actual in enumerate(transcript, 1):
            change = costs[row - 1, column - 1] + (expected != actual)
            costs[row, column] = min(change, costs[row - 1, column] + 1, costs[row, column - 1] + 1)
    row, column, deleted, gap, longest = len(reference), len(transcript), 0, 0, 0
    while row or column:
        if (
            row
            and column
            and costs[row, column] == costs[row - 1, column - 1] + (reference[row - 1] != transcript[column - 1])
        ):
            row, column, gap = row - 1, column - 1, 0
        elif row and costs[row, column] == costs[row - 1, column] + 1:
            row, deleted, gap = row - 1, deleted + 1, gap + 1
            longest = max(longest, gap)
        else:
            column, gap = column - 1, 0
    return WordErrors(len(reference), int(costs[-1, -1]), deleted, longest)
