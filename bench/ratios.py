"""Two ways of doing the same, measured in turns: what is compared, what is promised, and whether it held."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from producers.tables import print_table


@dataclass(slots=True)
class Ratio:
    """One figure of ours over the same of the other way, round by round.

    Attributes:
        figure: what it is, with its unit.
        at_least: the least median ratio promised, if any.
        at_most: the largest one promised, if any.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    others: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def add(self, other: float, our: float) -> None:
        """Note one round."""
        self.others.append(other)
        self.ours.append(our)

    @property
    def ratios(self) -> list[float]:
        """Ours over the other, of each round."""
        return [our / other for our, other in zip(self.ours, self.others, strict=True)]

    @property
    def held(self) -> bool:
        """Whether the median is as promised."""
        median = statistics.median(self.ratios)
        return (self.at_least is None or median >= self.at_least) and (self.at_most is None or median <= self.at_most)

    def row(self) -> Sequence[object]:
        """Return what the table shows: medians, the ratio with its range, the bound and the verdict."""
        ratios = self.ratios
        return (
            self.figure,
            f"{statistics.median(self.others):,.0f}",
            f"{statistics.median(self.ours):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            *self._verdict(),
        )

    def _verdict(self) -> tuple[str, str]:
        if self.at_least is None and self.at_most is None:
            return "", ""
        bound = f"at least {self.at_least:g}" if self.at_most is None else f"at most {self.at_most:g}"
        return bound, "held" if self.held else "MISSED"


def conclude(title: str, names: tuple[str, str], ratios: Sequence[Ratio]) -> int:
    """Print the table; return the exit status: 0 if every bound held, else 1."""
    columns = ("figure", *(f"{name}#" for name in names), "ratio#", "range#", "bound", "")
    print_table(title, columns, [ratio.row() for ratio in ratios])
    missed = [ratio.figure for ratio in ratios if not ratio.held]
    if missed:
        sys.stderr.write(f"missed: {', '.join(missed)}\n")
    return 1 if missed else 0
