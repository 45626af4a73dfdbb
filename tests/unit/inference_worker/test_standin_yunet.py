"""The stand-in YuNet: a network of YuNet's shape whose faces are squares."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from inference_worker.models.yunet import OUTPUTS
from inference_worker.standins import yunet as standin


def test_it_is_the_same_file_every_time(tmp_path: Path) -> None:
    """Two builds give the same bytes, a few kilobytes."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        standin.build(tmp_path / name)
    one, two = ((tmp_path / name / standin.FILE).read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) < 10_000


def test_it_has_the_outputs_of_yunet_for_any_size_and_number_of_pictures(tmp_path: Path) -> None:
    """Each stride of 8, 16 and 32 gives class, object, box and landmark maps, one row a cell, for each picture."""
    standin.build(tmp_path)
    network = cv2.dnn.readNetFromONNX(str(tmp_path / standin.FILE))
    network.setInput(np.zeros((2, 3, 64, 96), np.float32))
    names = sorted(OUTPUTS)
    shapes = {name: maps.shape for name, maps in zip(names, network.forward(names), strict=True)}
    for stride in standin.STRIDES:
        cells = (64 // stride) * (96 // stride)
        for kind, numbers in standin.CHANNELS.items():
            assert np.prod(shapes[f"{kind}_{stride}"]) == 2 * cells * numbers


def test_its_input_is_named_as_opencv_expects(tmp_path: Path) -> None:
    """The input is called "input" and takes any batch, height and width of three channels."""
    standin.build(tmp_path)
    (given,) = onnx.load(str(tmp_path / standin.FILE)).graph.input
    dimensions = [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim]
    assert (given.name, dimensions) == ("input", ["batch", 3, "height", "width"])


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 200, 180)])
def test_a_picture_of_squares_is_dark_with_bright_squares(colour: tuple[int, int, int]) -> None:
    """Width and height are as asked, RGB; a square begins at x, y and is as large as asked."""
    picture = standin.squares_picture((100, 60), [(8, 16, 40)], colour=colour)
    assert (picture.dtype, picture.shape) == (np.dtype(np.uint8), (60, 100, 3))
    rows, columns = np.nonzero(picture[:, :, 0] == colour[0])
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (8, 16, 47, 55)
    assert tuple(picture[16, 8]) == colour
    assert picture[0, 0].max() < 50
