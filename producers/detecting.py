"""What `detect-faces` does: pictures in, faces out, drawn into a picture if asked for."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw

from producers.tables import print_json, print_lines
from rpc import Client, Face, pictures
from rpc.errors import RpcError
from rpc.inputs import MOST_PIXELS
from rpc.requests import CallOptions

COLOUR = (255, 64, 64)


def drawn_by(path: Path) -> str | None:
    """Return what is wrong with a file to draw into, or None: its suffix has to name a format."""
    if path.suffix.lower() in Image.registered_extensions():
        return None
    return f"{path}: {path.suffix or 'no suffix'} names no format of pictures; take .jpg or .png"


def show_faces(client: Client, files: Sequence[Path], *, score: float, call: CallOptions, as_json: bool) -> int:
    """Print the faces in pictures; return how many pictures failed."""
    failures = 0
    for file in files:
        try:
            found = client.detect_faces(file, score_threshold=score, **call)
        except (RpcError, OSError) as error:
            failures += 1
            code = getattr(error, "code", "error")
            if as_json:
                print_json({"file": str(file), "error": {"code": code, "message": str(error)}})
            else:
                print_lines([f"penstock: {code}: {file}: {error}"], stderr=True)
            continue
        _show(file, found, as_json=as_json)
    return failures


def draw_faces(client: Client, file: Path, drawn: Path, *, score: float, call: CallOptions, as_json: bool) -> None:
    """Print the faces in a picture, and write the upright picture with boxes, landmarks and scores."""
    picture = pictures.read(file.read_bytes(), most_pixels=MOST_PIXELS)
    found = client.detect_faces(file, score_threshold=score, **call)
    _draw(picture, found)
    picture.save(drawn)
    _show(file, found, as_json=as_json)


def _draw(picture: Image.Image, found: Sequence[Face]) -> None:
    pen = ImageDraw.Draw(picture)
    thick = max(1, round(max(picture.size) / 400))
    for face in found:
        x, y, width, height = face.bbox
        pen.rectangle((x, y, x + width, y + height), outline=COLOUR, width=thick)
        for px, py in face.landmarks:
            pen.ellipse((px - thick, py - thick, px + thick, py + thick), fill=COLOUR)
        pen.text((x + thick, y + thick), f"{face.confidence:.2f}", fill=COLOUR)


def _show(file: Path, found: Sequence[Face], *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(file), "faces": [asdict(face) for face in found]})
        return
    if not found:
        print_lines([f"{file}: no face"])
    for face in found:
        x, y, width, height = face.bbox
        print_lines([f"{file}: {width:.0f} x {height:.0f} at {x:.0f}, {y:.0f}, score {face.confidence:.2f}"])
