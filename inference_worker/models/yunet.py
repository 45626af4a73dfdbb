"""YuNet: faces in pictures, through OpenCV. Always on the CPU: OpenCV's wheels have no other device."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inference_worker.media import images
from inference_worker.memory import resident_bytes
from inference_worker.models import face_tiles
from inference_worker.models.base import InvalidInput, Model, Outcome, Runtime, Unit, failed_inputs
from inference_worker.weights import PUBLISHED, locate, loose
from rpc import pictures
from rpc.errors import RpcError

WEIGHTS = PUBLISHED["yunet"]

FILE = WEIGHTS.single

LONG_SIDE = face_tiles.TILE_SIDE
"""A larger picture is shrunk to this unless the option `max_side` says otherwise."""

SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
"""Range of `max_side`: above it, pictures that wait would take gigabytes."""

SCORE, OVERLAP = 0.6, 0.3
"""Thresholds of score and of overlap unless a caller gives others; the origin's."""

MOST_FACES = 5000

OUTPUTS = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
"""What OpenCV's decoder reads of the network, at each of its strides."""

WARM_SIZE = (320, 320)
LOAD_S = 30.0

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture as YuNet is to see it, BGR, and what is asked of it; the picture as given had `size`, (w, h)."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    score: float
    overlap: float


class YuNet(Model):
    """op `detect_faces`: pictures -> boxes, scores and landmarks of the faces, in pixels of the upright picture."""

    name = "yunet"
    ops = ("detect_faces",)
    partial = True
    # a pass is pictures of any sizes side by side, one a thread: nothing is padded, nothing gained by waiting
    overhead = 0
    held = 16

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._threads = runtime.threads or min(4, os.cpu_count() or 1)
        self.budget = 2 * self._threads
        self._pool = ThreadPoolExecutor(self._threads, "yunet")
        # one detector shared by threads gives wrong boxes
        self._mine = threading.local()
        self._bytes = 0

    def needs(self) -> int:
        """Return the size of the file."""
        return self._file().stat().st_size

    def load(self) -> None:
        """Read the network, and check that it is one whose answers OpenCV can read as YuNet's."""
        # the pool's threads are all there is to gain: OpenCV's own would only compete with them
        cv2.setNumThreads(1)
        file = self._file()
        content = file.read_bytes()
        _refuse_mistaken(file, content)
        self._network = np.frombuffer(content, np.uint8)
        _check_outputs(file, self._network)
        before = resident_bytes()
        everybody = threading.Barrier(self._threads)
        list(self._pool.map(lambda _: (everybody.wait(LOAD_S), self._detector()), range(self._threads)))
        self._bytes = max(len(content), resident_bytes() - before)

    def _file(self) -> Path:
        source, models_dir = self.runtime.source, self.runtime.models_dir
        if not source and (file := loose(FILE, models_dir=models_dir)):
            return file
        return _in(locate(WEIGHTS.repository(source), models_dir=models_dir, patterns=[FILE]))

    def warm_up(self) -> None:
        """Look for faces on a black picture; raise if there are some."""
        black = np.zeros((*WARM_SIZE, 3), np.uint8)
        try:
            (found,) = self.infer(self.prepare("detect_faces", black, {}))
        except cv2.error as error:
            raise ValueError(f"{self._file()} does not answer as YuNet does: {error.err}") from error
        if found["faces"]:
            raise ValueError(f"{self._file()} sees {len(found['faces'])} faces on a black picture: it is not YuNet")

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the picture, shrunk if it is larger than YuNet sees; each costs one of the pass."""
        del op
        score, overlap, max_side = _checked_options(options)
        cap = partial(pictures.cap, long_side=max_side)
        pixels, size = images.shrunk(given, cap, most_pixels=self.runtime.max_image_pixels)
        bgr = np.ascontiguousarray(pixels[:, :, ::-1])
        cost = len(face_tiles.tiles(pixels.shape[1], pixels.shape[0]))
        return [Unit(Asked(bgr, size, score, overlap), cost=cost)]

    def infer(self, units: Sequence[Unit]) -> Sequence[Mapping[str, Any]]:
        """Return the faces of each picture, the surest first."""
        return list(self._pool.map(self._detect, (unit.data for unit in units)))

    def _detect(self, asked: Asked) -> Mapping[str, Any]:
        height, width = asked.pixels.shape[:2]
        groups = [
            face_tiles.own_faces(self._rows(asked.pixels[_part(tile)], asked), tile)
            for tile in face_tiles.tiles(width, height)
        ]
        too_large, large = self._large_faces(asked)
        rows = face_tiles.merged([too_large, *groups, large], asked.overlap, MOST_FACES)
        scale = np.array([asked.size[0] / width, asked.size[1] / height])
        faces = [_face(row, scale, asked.size) for row in rows]
        return {"faces": faces, "width": asked.size[0], "height": asked.size[1]}

    def _large_faces(self, asked: Asked) -> tuple[face_tiles.Rows, face_tiles.Rows]:
        """Return the faces of the whole picture at a small size; see `face_tiles.by_size`."""
        height, width = asked.pixels.shape[:2]
        size = face_tiles.overview_size(width, height)
        if size is None:
            return np.zeros((0, 15)), np.zeros((0, 15))
        small: Any = cv2.resize(asked.pixels, size, interpolation=cv2.INTER_AREA)
        rows = face_tiles.scaled(self._rows(small, asked), width / size[0], height / size[1])
        return face_tiles.by_size(rows, width, height)

    def _rows(self, pixels: NDArray[np.uint8], asked: Asked) -> face_tiles.Rows:
        """Return the faces that the network finds in a picture of the size it is given in, (n, 15)."""
        detector = self._detector()
        detector.setInputSize((pixels.shape[1], pixels.shape[0]))
        detector.setScoreThreshold(asked.score)
        detector.setNMSThreshold(asked.overlap)
        rows: Any = detector.detect(np.ascontiguousarray(pixels))[1]
        # OpenCV returns None where it finds none
        return np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)

    def _detector(self) -> cv2.FaceDetectorYN:
        detector: cv2.FaceDetectorYN | None = getattr(self._mine, "detector", None)
        if detector is None:
            nothing = np.zeros(0, np.uint8)
            detector = cv2.FaceDetectorYN.create("onnx", self._network, nothing, WARM_SIZE, SCORE, OVERLAP, MOST_FACES)
            self._mine.detector = detector
        return detector

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"images": [{"faces", "width", "height"} or None], "failed"}`."""
        del op
        pictured = [None if isinstance(outcome, RpcError) else outcome[0] for outcome in outcomes]
        return {"images": pictured, "failed": failed_inputs(outcomes)}

    def about(self) -> Mapping[str, str]:
        """Return the memory the detectors take, and how large a picture it sees."""
        return {"device": "cpu", "bytes": str(self._bytes), "sees": f"<={LONG_SIDE}"}


def _part(tile: face_tiles.Tile) -> tuple[slice, slice]:
    left, top, right, bottom = tile.seen
    return slice(top, bottom), slice(left, right)


def _checked_options(options: Mapping[str, Any]) -> tuple[float, float, int]:
    """Return the thresholds of score and overlap and the longest side; raise `InvalidInput` naming a wrong one."""
    known = {"score_threshold": SCORE, "nms_threshold": OVERLAP, "max_side": LONG_SIDE}
    options = {name: value for name, value in options.items() if value is not None}
    for name, value in options.items():
        if name not in known:
            raise InvalidInput(f"option {name!r:.100} is none of {', '.join(known)}")
        if name != "max_side" and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1
        ):
            raise InvalidInput(f"option {name} is {value!r:.100}, not a number from 0 to 1")
    score, overlap, max_side = ({**known, **options}[name] for name in known)
    if isinstance(max_side, bool) or not isinstance(max_side, int) or not SMALLEST_SIDE <= max_side <= LARGEST_SIDE:
        raise InvalidInput(
            f"option max_side must be a whole number from {SMALLEST_SIDE} to {LARGEST_SIDE}, got {max_side!r:.100}"
        )
    return float(score), float(overlap), max_side


def _face(row: NDArray[np.float64], scale: NDArray[np.float64], size: tuple[int, int]) -> Mapping[str, Any]:
    """Return a face in pixels of the picture as given, clipped to it, from a row of OpenCV's answer.

    The row is x, y, w, h, then x and y of right eye, left eye, nose, right and left corner of the mouth, then score.
    """
    near = np.clip(row[0:2] * scale, 0, size)
    far = np.clip((row[0:2] + row[2:4]) * scale, 0, size)
    points = np.clip(row[4:14].reshape(5, 2) * scale, 0, size)
    return {
        "bbox": [*near.tolist(), *(far - near).tolist()],
        "confidence": float(row[14]),
        "landmarks": points.tolist(),
    }


def _in(place: Path) -> Path:
    """Return the network: the file itself, or the only one in a directory."""
    if place.is_file():
        return place
    found = sorted(place.glob("*.onnx"))
    named = [file for file in found if file.name == FILE]
    if not found:
        raise FileNotFoundError(f"{place} has no .onnx file")
    if len(found) > 1 and not named:
        raise ValueError(f"{place} has {len(found)} .onnx files, none of them {FILE}: name the file")
    return (named or found)[0]


def _refuse_mistaken(file: Path, content: bytes) -> None:
    """Raise `ValueError` on what people save in place of the network, saying what it is."""
    if content.startswith(b"version https://git-lfs"):
        raise ValueError(f"{file} is a git-lfs pointer, not the network it points to: fetch it with git lfs pull")
    if content.lstrip()[:1] == b"<":
        raise ValueError(f"{file} is a web page, not a network: fetch it with penstock models pull yunet")
    found = hashlib.sha256(content).hexdigest()
    if (wanted := WEIGHTS.sha256.get(file.name, found)) != found:
        raise ValueError(f"{file} is damaged or not what its name says: its sha256 is {found}, not {wanted}")


def _check_outputs(file: Path, content: NDArray[np.uint8]) -> None:
    """Raise `ValueError` if the file is no network, or one of another kind."""
    try:
        found = set(cv2.dnn.readNetFromONNX(content).getUnconnectedOutLayersNames())
    except cv2.error as error:
        raise ValueError(f"{file} is no ONNX network that OpenCV can read") from error
    if found != OUTPUTS:
        shown = ", ".join(sorted(found)[: len(OUTPUTS)])
        raise ValueError(f"{file} is not YuNet: its outputs are {shown}, not {', '.join(sorted(OUTPUTS))}")
