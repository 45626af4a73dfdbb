"""How a picture is cut for YuNet, and how faces of its parts are put together."""

import numpy as np
import pytest

from inference_worker.models import face_tiles
from inference_worker.models.face_tiles import MARGIN, TILE_SIDE, Rows


def rows(*faces: tuple[float, float, float, float, float]) -> Rows:
    """Return faces of x, y, width, height and score."""
    made = np.zeros((len(faces), 15))
    for row, (*box, score) in zip(made, faces, strict=True):
        row[:4], row[14] = box, score
    return made


@pytest.mark.parametrize(
    "size", [(1, 1), (TILE_SIDE, 40), (TILE_SIDE + 1, 40), (4096, 4096), (1472, 2945), (4096, 1), (3000, 2000)]
)
def test_every_pixel_is_one_tiles_own_and_lies_well_inside_it(size: tuple[int, int]) -> None:
    """Tiles cover a picture once; none is longer than allowed, and a face on a border is whole in one of them."""
    owners = np.zeros((size[1], size[0]), np.uint8)
    for tile in face_tiles.tiles(*size):
        left, top, right, bottom = tile.seen
        assert max(right - left, bottom - top) <= TILE_SIDE
        own = [int(max(0, min(edge, limit))) for edge, limit in zip(tile.own, size * 2, strict=True)]
        owners[own[1] : own[3], own[0] : own[2]] += 1
        for seen, mine, limit in zip(tile.seen, own, size * 2, strict=True):
            assert abs(seen - mine) == MARGIN or seen in (0, limit)

    assert owners.min() == owners.max() == 1


def test_a_face_belongs_to_the_tile_of_its_centre() -> None:
    """A face that two tiles see is kept by one of them, in pixels of the picture."""
    first, second = face_tiles.tiles(2000, 100)
    border = first.own[2]
    in_first, in_second = border - 30, border - 30 - second.seen[0]

    kept = [
        face_tiles.own_faces(rows((in_first, 10, 40, 40, 0.9)), first),
        face_tiles.own_faces(rows((in_second, 10, 40, 40, 0.9)), second),
    ]

    assert [len(one) for one in kept] == [1, 0]
    assert kept[0][0, :2].tolist() == [border - 30, 10]


def test_one_face_seen_twice_is_kept_once() -> None:
    """Of faces that overlap, that of the earlier group stays, or the surer of one group; the surest is first."""
    made = face_tiles.merged(
        [rows((0, 0, 100, 100, 0.7)), rows((5, 5, 100, 100, 0.99), (300, 0, 50, 50, 0.8), (302, 0, 50, 50, 0.9))],
        0.3,
        9,
    )

    assert made[:, [0, 14]].tolist() == [[302, 0.9], [0, 0.7]]
    assert len(face_tiles.merged([rows((0, 0, 9, 9, 0.5), (50, 0, 9, 9, 0.6))], 0.3, 1)) == 1
    assert len(face_tiles.merged([rows()], 0.3, 9)) == 0


def test_faces_of_the_overview_are_told_apart_by_size() -> None:
    """The largest replace what tiles see, large ones add to it, and small ones are the tiles' affair."""
    faces = rows((0, 0, 400, 300, 0.9), (0, 0, 300, 200, 0.8), (0, 0, 100, 90, 0.7))

    too_large, large = face_tiles.by_size(faces, 1792, 1000)

    assert (too_large[:, 2].tolist(), large[:, 2].tolist()) == ([400], [300])
    assert face_tiles.overview_size(320, 200) is None
    assert face_tiles.overview_size(1600, 5) == (320, 1)
