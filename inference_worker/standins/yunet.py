"""A hand-made YuNet that takes bright squares on a dark ground for faces.

It has YuNet's input, its twelve outputs and their layout, so that OpenCV's own decoder reads it. At each stride s of
8, 16 and 32 a square of 5 x 5 cells, that is of 5 s pixels, is a face: the score is what its inside is brighter than
twice the ring of cells around it, and its box is exact where the square lies on the grid of cells.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

VERSION = 1

FILE = "yunet.onnx"

STRIDES = (8, 16, 32)
CELLS = 5
"""Cells a side of a face."""

GAIN = 1.5
"""Score of a white square on black: above 1, which the decoder cuts off, so that noise takes nothing away."""

LANDMARKS = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-1.0, 1.0), (1.0, 1.0))
"""Right eye, left eye, nose and the corners of the mouth, from the middle of the face, in cells."""

CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Kind of output -> numbers for each cell."""

OPSET, IR = 11, 7

BLACK, WHITE = 16, 255


def build(directory: Path) -> None:
    """Write the network into a directory."""
    network = _Network()
    network.node("Conv", ["input", network.constant("to_grey", np.full((1, 3, 1, 1), 1 / 765, np.float32))], "grey")
    for stride in STRIDES:
        network.add_stride(stride)
    onnx.save(network.model(), str(directory / FILE))


def squares_picture(
    size: tuple[int, int], squares: Iterable[tuple[int, int, int]], *, colour: tuple[int, int, int] = (WHITE,) * 3
) -> NDArray[np.uint8]:
    """Return a dark picture of that width and height with squares (x, y, side), uint8 (h, w, 3), RGB.

    Squares of 40, 80 and 160 pixels are faces; boxes are exact where x and y are multiples of a fifth of the side.
    """
    width, height = size
    picture = np.full((height, width, 3), BLACK, np.uint8)
    for x, y, side in squares:
        picture[y : y + side, x : x + side] = colour
    return picture


class _Network:
    """Nodes and constants as they are put together."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        inside = CELLS * CELLS
        ring = (CELLS + 2) ** 2 - inside
        kernel = np.full((1, 1, CELLS + 2, CELLS + 2), -2 * GAIN / ring, np.float32)
        kernel[:, :, 1:-1, 1:-1] = GAIN / inside
        # a box starts half a cell off, as a cell's corner is what YuNet counts from
        box = [0.5, 0.5, math.log(CELLS), math.log(CELLS)]
        points = [0.5 + offset for point in LANDMARKS for offset in point]
        self.constant("square", kernel)
        for name, values in (("bbox", box), ("kps", points)):
            self.constant(f"{name}_weight", np.zeros((len(values), 1, 1, 1), np.float32))
            self.constant(f"{name}_bias", np.array(values, np.float32))
        for count in set(CHANNELS.values()):
            self.constant(f"rows_of_{count}", np.array([0, -1, count], np.int64))

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_node", **attributes))
        return output

    def add_stride(self, stride: int) -> None:
        """Add what finds squares of one size: a score, the same score again, a box and five points for each cell."""
        cells = self.node(
            "AveragePool", ["grey"], f"cells_{stride}", kernel_shape=[stride, stride], strides=[stride, stride]
        )
        edge = CELLS // 2 + 1
        raw = self.node("Conv", [cells, "square"], f"raw_{stride}", pads=[edge] * 4)
        score = self.node("Relu", [raw], f"score_{stride}")
        maps = {"cls": score, "obj": score}
        for name in ("bbox", "kps"):
            maps[name] = self.node("Conv", [cells, f"{name}_weight", f"{name}_bias"], f"{name}_map_{stride}")
        for name, there in maps.items():
            last = self.node("Transpose", [there], f"{name}_last_{stride}", perm=[0, 2, 3, 1])
            self.node("Reshape", [last, f"rows_of_{CHANNELS[name]}"], f"{name}_{stride}")

    def model(self) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])
        returned = [
            helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, ["batch", f"cells_{stride}", count])
            for name, count in CHANNELS.items()
            for stride in STRIDES
        ]
        graph = helper.make_graph(self._nodes, "squares", [given], returned, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="penstock")
        model.ir_version = IR
        onnx.checker.check_model(model, full_check=True)
        return model
