"""YuNet: boxes exact on squares alone, in company and shrunk; real faces where the real file is; mis-loads refused."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from inference_worker.catalog import entry_of
from inference_worker.models.base import Runtime
from inference_worker.models.yunet import FILE, LONG_SIDE, YuNet
from inference_worker.standins import yunet as standin
from inference_worker.standins.yunet import squares_picture
from rpc.errors import InvalidInput, ModelError
from rpc.pictures import cap, of_pixels, png

NEAR = 0.5
"""How far, in pixels, a box may be from where it is."""

REAL = os.environ.get("PENSTOCK_TEST_YUNET", "")

real_file = pytest.mark.skipif(not REAL, reason="PENSTOCK_TEST_YUNET names no file of the real YuNet")

WRONG_OPTIONS = [
    ({"score_treshold": 0.5}, "score_treshold"),
    ({"score_threshold": 1.5}, "score_threshold"),
    ({"score_threshold": "0.5"}, "score_threshold"),
    ({"score_threshold": True}, "score_threshold"),
    ({"nms_threshold": -0.1}, "nms_threshold"),
    ({"nms_threshold": float("nan")}, "nms_threshold"),
    ({"max_side": 31}, "max_side must be a whole number from 32 to 4096, got 31"),
    ({"max_side": 4097}, "max_side"),
    ({"max_side": 1280.0}, "max_side"),
    ({"max_side": True}, "max_side"),
]

MISTAKEN = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:8f23\nsize 232589\n", "git-lfs pointer"),
    (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
    (b"\x00\x01garbage" * 200, "no ONNX network"),
    (b"", "no ONNX network"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a stand-in."""
    directory = tmp_path_factory.mktemp("yunet")
    standin.build(directory)
    return directory


def loaded(source: Path | str, **given: Any) -> YuNet:
    """Return a YuNet that is loaded and warm."""
    model = YuNet(Runtime(source=str(source), **given))
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def model(weights: Path) -> YuNet:
    """Return a loaded YuNet of squares, on four threads."""
    return loaded(weights, threads=4)


@pytest.fixture(scope="module")
def real() -> YuNet:
    """Return the real YuNet."""
    return loaded(REAL)


def detected(model: YuNet, *given: Any, **options: Any) -> list[dict[str, Any]]:
    """Return what one pass over these pictures finds in each."""
    units = [unit for each in given for unit in model.prepare("detect_faces", each, options)]
    result = model.finish("detect_faces", [[output] for output in model.infer(units)])
    assert result["failed"] == []
    return list(result["images"])


def boxes(found: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the boxes x, y, w, h from left to right, (n, 4)."""
    return np.array(sorted(face["bbox"] for face in found["faces"])).reshape(-1, 4)


@pytest.mark.parametrize(("x", "y", "side"), [(16, 24, 40), (48, 80, 80), (64, 96, 160)])
def test_a_square_has_an_exact_box_and_landmarks(model: YuNet, x: int, y: int, side: int) -> None:
    """A square of each of the three sizes is one face, its box within half a pixel, the nose in its middle."""
    (found,) = detected(model, squares_picture((320, 320), [(x, y, side)]))
    (face,) = found["faces"]
    assert np.abs(np.array(face["bbox"]) - (x, y, side, side)).max() <= NEAR
    assert face["confidence"] > 0.9
    cell = side / 5
    middle = np.array([x + side / 2, y + side / 2])
    wanted = [middle + np.array(point) * cell for point in standin.LANDMARKS]
    assert np.abs(np.array(face["landmarks"]) - wanted).max() <= NEAR
    assert (found["width"], found["height"]) == (320, 320)


def test_pictures_of_several_sizes_in_one_pass_are_as_alone(model: YuNet) -> None:
    """What a pass gives for a picture does not depend on its neighbours."""
    pictures = [
        squares_picture((320, 320), [(16, 24, 40), (160, 160, 80)]),
        squares_picture((640, 480), [(320, 160, 160)]),
        squares_picture((320, 200), []),
        squares_picture((1000, 130), [(80, 40, 40), (400, 32, 80)]),
        squares_picture((77, 51), [(8, 8, 40)]),
    ]
    together = detected(model, *pictures)
    alone = [found for picture in pictures for found in detected(model, picture)]
    assert together == alone
    assert [len(found["faces"]) for found in together] == [2, 1, 0, 2, 1]


@pytest.mark.parametrize("scale", [2, 4])
def test_a_large_picture_is_shrunk_and_its_boxes_are_not(model: YuNet, scale: int) -> None:
    """Beyond the longest side YuNet sees, boxes are still in pixels of the picture as given."""
    width, height = LONG_SIDE * scale, 640 * scale
    squares = [(x * scale, y * scale, side * scale) for x, y, side in [(160, 80, 40), (480, 160, 160)]]
    (found,) = detected(model, squares_picture((width, height), squares))
    assert (found["width"], found["height"]) == (width, height)
    wanted = [(x, y, side, side) for x, y, side in squares]
    assert np.abs(boxes(found) - wanted).max() <= NEAR


def test_width_and_height_are_scaled_each_for_itself(model: YuNet) -> None:
    """A side that does not shrink to a whole number of pixels bends no box: 2600 x 1001 can be seen as 1280 x 493."""
    width, height = 2600, 1001
    picture = squares_picture((width, height), [(650, 325, 162)])
    (unit,) = model.prepare("detect_faces", picture, {"max_side": 1280})
    assert unit.data.pixels.shape == (493, 1280, 3)
    ((x, y, w, h),) = boxes(detected(model, picture, max_side=1280)[0])
    # what is seen lies between the cells, so the box is that of the nearest ones
    assert (w, h) == (pytest.approx(80 * width / 1280, abs=0.01), pytest.approx(80 * height / 493, abs=0.01))
    columns, rows = x / (16 * width / 1280), y / (16 * height / 493)
    assert (columns, rows) == (pytest.approx(round(columns), abs=0.01), pytest.approx(round(rows), abs=0.01))
    assert max(abs(x - 650), abs(y - 325)) < 16 * 2


def test_a_picture_shrunk_by_the_caller_is_what_the_worker_makes_of_it(model: YuNet) -> None:
    """The same code at both ends: pixels that were capped before go in as they are."""
    large = np.random.default_rng(3).integers(0, 256, (700, 2600, 3), np.uint8)
    (here,) = model.prepare("detect_faces", large, {})
    (there,) = model.prepare("detect_faces", png(cap(of_pixels(large), LONG_SIDE)), {})
    assert np.array_equal(here.data.pixels, there.data.pixels)


def test_the_network_sees_blue_first(model: YuNet) -> None:
    """RGB comes in, BGR goes to the network, whose training had it so."""
    (unit,) = model.prepare("detect_faces", np.full((8, 8, 3), (10, 20, 30), np.uint8), {})
    assert unit.data.pixels[0, 0].tolist() == [30, 20, 10]


def test_a_face_at_the_border_is_clipped_to_the_picture(model: YuNet) -> None:
    """Boxes and landmarks never leave the picture, whatever the network says."""
    picture = np.full((100, 100, 3), standin.BLACK, np.uint8)
    picture[0:32, 0:32] = 255
    picture[70:100, 70:100] = 255
    (found,) = detected(model, picture, score_threshold=0.05)
    assert found["faces"]
    for face in found["faces"]:
        x, y, w, h = face["bbox"]
        assert min(x, y, w, h) >= 0
        assert max(x + w, y + h) <= 100
        points = np.array(face["landmarks"])
        assert points.min() >= 0
        assert points.max() <= 100
    raw = {(face["bbox"][0] == 0.0 or sum(face["bbox"][::2]) == 100.0) for face in found["faces"]}
    assert True in raw


def test_boxes_are_those_of_the_upright_picture(model: YuNet) -> None:
    """A JPEG that is stored on its side is turned first; width and height are those a person sees."""
    upright = squares_picture((480, 320), [(80, 160, 80)])
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = BytesIO()
    lying.save(stored, "JPEG", quality=95, exif=exif)
    (found,) = detected(model, stored.getvalue())
    assert (found["width"], found["height"]) == (480, 320)
    assert np.abs(boxes(found) - (80, 160, 80, 80)).max() <= NEAR


def test_the_surest_face_comes_first(model: YuNet) -> None:
    """Faces are in the order of their confidence."""
    picture = squares_picture((640, 320), [(40, 40, 40)], colour=(180, 180, 180))
    picture[80:160, 160:240] = 255
    picture[40:80, 400:440] = 150
    (found,) = detected(model, picture, score_threshold=0.2)
    scores = [face["confidence"] for face in found["faces"]]
    assert len(scores) >= 3
    assert scores == sorted(scores, reverse=True)
    assert found["faces"][0]["bbox"][0] == pytest.approx(160, abs=NEAR)


def test_every_picture_has_its_own_thresholds(model: YuNet) -> None:
    """Two calls that ask differently share a pass, and each gets what it asked for."""
    dim = squares_picture((320, 320), [(80, 80, 80)], colour=(110, 110, 110))
    (low,) = model.prepare("detect_faces", dim, {"score_threshold": 0.2})
    (high,) = model.prepare("detect_faces", dim, {"score_threshold": 0.9, "nms_threshold": None})
    found = model.infer([low, high, low, high])
    assert [len(each["faces"]) for each in found] == [1, 0, 1, 0]


def test_a_higher_overlap_keeps_more_boxes(model: YuNet) -> None:
    """The overlap threshold decides how alike two boxes may be."""
    picture = squares_picture((320, 320), [(80, 80, 80)])
    picture[80:160, 160:192] = 255
    counts = [
        len(detected(model, picture, score_threshold=0.05, nms_threshold=overlap)[0]["faces"])
        for overlap in (0.0, 0.3, 1.0)
    ]
    assert counts[0] <= counts[1] < counts[2]


@pytest.mark.parametrize(("options", "named"), WRONG_OPTIONS)
def test_a_wrong_option_is_refused_by_name(model: YuNet, options: dict[str, Any], named: str) -> None:
    """Options that are unknown, no number or out of range are the caller's mistake."""
    with pytest.raises(InvalidInput, match=named):
        model.prepare("detect_faces", squares_picture((32, 32), []), options)


@pytest.mark.parametrize("given", ["a path", b"", b"no picture", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None])
def test_what_is_no_picture_is_refused(model: YuNet, given: Any) -> None:
    """Anything but bytes of a picture and RGB pixels is the caller's mistake."""
    with pytest.raises(InvalidInput):
        model.prepare("detect_faces", given, {})


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (33, 17)])
def test_any_shape_of_picture_is_answered(model: YuNet, size: tuple[int, int]) -> None:
    """A picture may be one pixel, or a line of them."""
    (found,) = detected(model, squares_picture(size, []))
    assert found == {"faces": [], "width": size[0], "height": size[1]}


def test_many_threads_and_passes_give_what_one_gives(weights: Path) -> None:
    """No detector is shared by threads: a hundred mixed pictures prepared and run at once are all right."""
    model = loaded(weights, threads=4)
    squares = [[(8 * (i % 20), 8 * (i % 7), 40)] for i in range(96)]
    pictures = [squares_picture((240 + 16 * (i % 5), 120), each) for i, each in enumerate(squares)]
    with ThreadPoolExecutor(8) as pool:
        units = list(pool.map(lambda picture: model.prepare("detect_faces", picture, {})[0], pictures))
    for start in range(0, len(units), 24):
        found = model.infer(units[start : start + 24])
        for [(x, y, side)], each in zip(squares[start : start + 24], found, strict=True):
            assert np.abs(boxes(each) - (x, y, side, side)).max() <= NEAR


def test_failed_pictures_are_named_and_the_others_answered(model: YuNet) -> None:
    """A picture that failed is None in its place, with its index, code and reason."""
    (unit,) = model.prepare("detect_faces", squares_picture((64, 64), [(8, 8, 40)]), {})
    (output,) = model.infer([unit])
    failure, strange = InvalidInput("the picture is damaged"), ModelError("out of memory")
    result = model.finish("detect_faces", [failure, [output], strange])
    assert result["images"] == [None, output, None]
    assert result["failed"] == [
        {"index": 0, "code": failure.code, "message": "the picture is damaged"},
        {"index": 2, "code": strange.code, "message": "out of memory"},
    ]


def test_answers_are_plain_numbers(model: YuNet) -> None:
    """What goes on the wire are floats and ints of Python."""
    (found,) = detected(model, squares_picture((2 * LONG_SIDE, 640), [(80, 80, 80)]))
    (face,) = found["faces"]
    numbers = [*face["bbox"], face["confidence"], *(value for point in face["landmarks"] for value in point)]
    assert {type(number) for number in numbers} == {float}
    assert {type(found["width"]), type(found["height"])} == {int}


def test_it_tells_what_it_takes_and_sees(model: YuNet, weights: Path) -> None:
    """It is on the CPU whatever the worker's device, takes at least its file, and says how large a picture it sees."""
    size = (weights / standin.FILE).stat().st_size
    assert model.needs() == size
    about = model.about()
    assert about["device"] == "cpu"
    assert about["sees"] == "<=1792"
    assert int(about["bytes"]) >= size


@pytest.mark.parametrize(("content", "named"), MISTAKEN)
def test_what_is_not_the_network_is_refused_by_what_it_is(tmp_path: Path, content: bytes, named: str) -> None:
    """A saved web page, a git-lfs pointer or garbage is named as such, with the file."""
    file = tmp_path / "faces.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=named) as refused:
        loaded(file)
    assert str(file) in str(refused.value)


def test_another_network_is_refused_by_its_outputs(tmp_path: Path) -> None:
    """An ONNX network that is no YuNet is told by the names of its outputs."""
    shape = [1, 3, 32, 32]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["logits"])],
        "other",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    file = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), str(file))
    with pytest.raises(ValueError, match=r"other\.onnx is not YuNet: its outputs are logits"):
        loaded(file)


def test_a_network_that_sees_faces_in_the_dark_is_refused(tmp_path: Path, weights: Path) -> None:
    """A network of the right shape with wrong weights is told at the first black picture."""
    network = onnx.load(str(weights / standin.FILE))
    grey = next(each for each in network.graph.initializer if each.name == "square")
    network.graph.node.append(helper.make_node("Add", ["raw_16", "one"], ["lit_16"]))
    network.graph.initializer.append(helper.make_tensor("one", grey.data_type, [1], [1.0]))
    for node in network.graph.node:
        if node.op_type == "Relu" and node.input[0] == "raw_16":
            node.input[0] = "lit_16"
    nodes = list(network.graph.node)
    nodes.insert(next(i for i, node in enumerate(nodes) if node.output[0] == "raw_16") + 1, nodes.pop())
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    file = tmp_path / "lit.onnx"
    onnx.save(network, str(file))
    with pytest.raises(ValueError, match=r"lit\.onnx sees \d+ faces on a black picture"):
        loaded(file)


def test_a_file_of_the_published_name_must_be_the_published_one(tmp_path: Path, weights: Path) -> None:
    """Under the name of the published file only its content is loaded."""
    (tmp_path / FILE).write_bytes((weights / standin.FILE).read_bytes())
    with pytest.raises(ValueError, match="its sha256 is"):
        loaded(tmp_path / FILE)


def test_the_network_is_found_by_file_directory_or_models_directory(tmp_path: Path, weights: Path) -> None:
    """A file, a directory with one network, or the published name in the models directory."""
    file = weights / standin.FILE
    for source in (file, weights):
        assert YuNet(Runtime(source=str(source))).needs() == file.stat().st_size
    (tmp_path / FILE).write_bytes(b"here")
    assert YuNet(Runtime(models_dir=str(tmp_path))).needs() == len(b"here")


def test_the_worker_finds_what_the_catalogue_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A models directory that begins with ~ is this user's, for the worker as for `penstock models list`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / FILE).write_bytes(b"here")

    assert entry_of("yunet", "", "~/models").bytes == YuNet(Runtime(models_dir="~/models")).needs() == len(b"here")


def test_a_directory_without_one_network_is_refused(tmp_path: Path) -> None:
    """None is missing; of several nobody can tell which."""
    with pytest.raises(FileNotFoundError, match=r"has no \.onnx file"):
        loaded(tmp_path)
    for name in ("one.onnx", "two.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"has 2 \.onnx files"):
        loaded(tmp_path)


def test_small_faces_of_a_large_picture_are_found_in_tiles(model: YuNet) -> None:
    """With a larger `max_side` each face is found once, also where tiles meet; the default misses small ones."""
    squares = [(x, y, 40) for x in range(80, 3900, 328) for y in range(80, 2200, 328)]
    picture = squares_picture((4000, 2400), squares)

    (found,) = detected(model, picture, max_side=4000)

    assert sorted(np.round(boxes(found)).tolist()) == sorted([x, y, side, side] for x, y, side in squares)
    assert len(detected(model, picture)[0]["faces"]) < len(squares)


def test_a_face_too_large_for_a_tile_is_found_in_the_overview(model: YuNet) -> None:
    """A face as wide as the picture's half is found, once, in pixels of the picture."""
    (found,) = detected(model, squares_picture((1280, 1280), [(384, 256, 640)]))

    assert np.abs(boxes(found) - (384, 256, 640, 640)).max() <= NEAR


@real_file
def test_the_real_one_finds_faces_of_every_size(real: YuNet) -> None:
    """A face that fills its picture is found at any size, and so are a hundred small ones at 4000 x 3000."""
    pytest.importorskip("skimage")
    portrait = Image.open(BytesIO((resources.files("skimage") / "data" / "astronaut.png").read_bytes())).convert("RGB")
    head = portrait.crop((140, 20, 320, 220))
    for width in (300, 1280, 3000):
        (found,) = detected(real, np.asarray(head.resize((width, width * 200 // 180))))
        (face,) = found["faces"]
        assert face["confidence"] > 0.9
        assert face["bbox"][2] == pytest.approx(width / 2, rel=0.1)
    crowd, small = Image.new("RGB", (4000, 3000), (120, 130, 125)), head.resize((54, 60))
    for index in range(100):
        crowd.paste(small, (40 + 400 * (index % 10), 30 + 300 * (index // 10)))
    assert len(detected(real, np.asarray(crowd), max_side=4000)[0]["faces"]) == 100


@real_file
def test_the_real_one_finds_the_face_of_the_astronaut(real: YuNet) -> None:
    """One face, at more than 0.9, its box where OpenCV finds it, alone and among others."""
    pytest.importorskip("skimage")
    encoded = (resources.files("skimage") / "data" / "astronaut.png").read_bytes()
    pixels = np.asarray(Image.open(BytesIO(encoded)).convert("RGB"))
    alone, first, nobody, last = (*detected(real, encoded), *detected(real, pixels, np.zeros_like(pixels), encoded))
    assert nobody["faces"] == []
    for found in (alone, first, last):
        (face,) = found["faces"]
        assert face["confidence"] > 0.9
        assert np.abs(np.array(face["bbox"]) - (178.2, 62.9, 89.9, 113.3)).max() <= NEAR


@real_file
@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_real_one_finds_none_on_a_blank_picture(real: YuNet, level: int) -> None:
    """A picture of one grey has no faces."""
    assert detected(real, np.full((512, 512, 3), level, np.uint8))[0]["faces"] == []
