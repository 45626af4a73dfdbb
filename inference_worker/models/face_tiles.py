"""How a picture is cut for YuNet, and how what it finds in the parts is put together. Pure.

The network is trained on faces of about 10 to 300 pixels. A picture is seen in tiles, in which small faces are found,
and once more at a small size, in which those are found that are too large for a tile.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE_SIDE = 1792
"""Longest side of a tile."""

MARGIN = 160
"""Pixels that a tile shares with its neighbour on either side of their border: a face of up to twice as many, whose
centre is on one side, is whole in the tile of that side."""

STEP = 32
"""Borders of tiles are multiples of this, the network's largest stride: its cells lie as in the whole picture."""

OVERVIEW_SIDE = 320
"""Longer side of the whole picture for large faces: one that fills the picture then has the size it is trained on."""

TRAINED_SIDE = 2 * MARGIN
"""Pixels above which the boxes of faces are no longer right: those of the overview are better."""

LARGE = 0.15
"""A face of the overview counts if its longer side is more than this part of the picture's, or than `TRAINED_SIDE`."""

Rows = NDArray[np.float64]
"""Faces, (n, 15): x, y, width, height, five points, each x and y, and the score."""


class Tile(NamedTuple):
    """A part of a picture, and the part of that whose faces are its own: (left, top, right, bottom)."""

    seen: tuple[int, int, int, int]
    own: tuple[float, float, float, float]


def tiles(width: int, height: int) -> list[Tile]:
    """Return the tiles of a picture: one if no side is longer than a tile's, else their own parts cover it once."""
    columns, rows = _spans(width), _spans(height)
    return [
        Tile((left.seen[0], top.seen[0], left.seen[1], top.seen[1]), (left.own[0], top.own[0], left.own[1], top.own[1]))
        for top in rows
        for left in columns
    ]


class _Span(NamedTuple):
    seen: tuple[int, int]
    own: tuple[float, float]


def _spans(length: int) -> list[_Span]:
    if length <= TILE_SIDE:
        return [_Span((0, length), (-math.inf, math.inf))]
    count = math.ceil(length / (TILE_SIDE - 2 * MARGIN - STEP))
    edges = [*(round(length * part / count / STEP) * STEP for part in range(count)), length]
    return [
        _Span(
            (max(0, start - MARGIN), min(length, stop + MARGIN)),
            (start or -math.inf, stop if stop < length else math.inf),
        )
        for start, stop in pairwise(edges)
    ]


def overview_size(width: int, height: int) -> tuple[int, int] | None:
    """Return the size in which large faces are looked for, or None for a picture that is no larger."""
    longer = max(width, height)
    if longer <= OVERVIEW_SIDE:
        return None
    scale = OVERVIEW_SIDE / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(rows: Rows, horizontal: float, vertical: float) -> Rows:
    """Return faces in a picture of another size."""
    resized: Rows = rows * np.array([*(horizontal, vertical) * 7, 1.0])
    return resized


def own_faces(rows: Rows, tile: Tile) -> Rows:
    """Return the faces of a tile in pixels of the picture: those whose centre is in the tile's own part."""
    moved = rows + np.array([tile.seen[0], tile.seen[1], 0, 0, *tile.seen[:2] * 5, 0])
    centres = moved[:, :2] + moved[:, 2:4] / 2
    left, top, right, bottom = tile.own
    inside = (centres[:, 0] >= left) & (centres[:, 0] < right) & (centres[:, 1] >= top) & (centres[:, 1] < bottom)
    kept: Rows = moved[inside]
    return kept


def by_size(rows: Rows, width: int, height: int) -> tuple[Rows, Rows]:
    """Return the overview's faces that tiles see wrongly, and those that tiles may miss; small ones are neither."""
    sides = rows[:, 2:4].max(axis=1, initial=0)
    too_large = sides > TRAINED_SIDE
    return rows[too_large], rows[~too_large & (sides > LARGE * max(width, height))]


def merged(groups: Sequence[Rows], overlap: float, most: int) -> Rows:
    """Return the faces of all groups, the surest first, at most so many.

    A face that overlaps one of an earlier group, or a surer one of its own group, by more than `overlap` (intersection
    over union) is the same face and is left out.
    """
    kept = np.zeros((0, 15))
    for group in groups:
        for row in group[np.argsort(-group[:, -1], kind="stable")]:
            if not len(kept) or _overlaps(row, kept).max() <= overlap:
                kept = np.vstack([kept, row])
    return kept[np.argsort(-kept[:, -1], kind="stable")][:most]


def _overlaps(row: NDArray[np.float64], others: Rows) -> NDArray[np.float64]:
    near = np.maximum(row[:2], others[:, :2])
    far = np.minimum(row[:2] + row[2:4], others[:, :2] + others[:, 2:4])
    shared = np.clip(far - near, 0, None).prod(axis=1)
    union = row[2:4].prod() + others[:, 2:4].prod(axis=1) - shared
    overlaps: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)
    return overlaps
