"""What `detect-faces` does: pictures in, faces out."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from producers.files import Outcome, answered, print_complaint
from producers.tables import print_json, print_lines
from rpc import Client, Face
from rpc.errors import RpcError
from rpc.requests import CallOptions

MODEL = "yunet"

AT_A_TIME = 16

Draw = Callable[[Path, Sequence[Face]], None]
"""What else becomes of a picture and its faces; raises `RpcError` or `OSError`."""


DRAWN = (".jpg", ".jpeg", ".png", ".webp")
"""The suffixes of what is drawn into: formats that hold any picture."""


def refusal(files: Sequence[Path], into: Path) -> str | None:
    """Return why faces could not be drawn into a file, or None; looks at the disk, writes nothing."""
    if len(files) != 1:
        return f"--draw takes one picture, not {len(files)}"
    if into.suffix.lower() not in DRAWN:
        return f"--draw {into}: the suffix is none of {', '.join(DRAWN)}"
    if not into.absolute().parent.is_dir():
        return f"--draw {into}: there is no such directory"
    if into.exists() and files[0].exists() and into.samefile(files[0]):
        return f"--draw {into} would write over the picture itself"
    return None


def show_faces(
    client: Client,
    files: Sequence[Path],
    *,
    thresholds: tuple[float, float | None],
    call: CallOptions,
    as_json: bool,
    draw: Draw | None = None,
) -> int:
    """Print the faces in pictures, and draw them if asked to; return how many pictures failed.

    `thresholds` are the lowest score of a face, and how far two may overlap or None for the worker's own.
    """

    def ask(file: Path, job_id: str) -> list[Face]:
        named: CallOptions = {**call, "job_id": job_id}
        score, overlap = thresholds
        return client.detect_faces(file, model=MODEL, score_threshold=score, nms_threshold=overlap, **named)

    with closing(answered(client, MODEL, files, ask, at_a_time=AT_A_TIME)) as outcomes:
        return sum(not _shown(outcome, draw, as_json=as_json) for outcome in outcomes)


def _shown(outcome: Outcome[list[Face]], draw: Draw | None, *, as_json: bool) -> bool:
    """Print what became of a picture; return whether all went well."""
    found = outcome.answer
    if found is None:
        print_complaint(outcome)
        if as_json:
            print_json(outcome.error_as_json())
        return False
    if as_json:
        print_json({"file": str(outcome.file), "faces": [asdict(face) for face in found]})
    else:
        print_lines(_line(outcome.file, face) for face in found)
        if not found:
            print_lines([f"{outcome.file}: no face"])
    return draw is None or _drawn(draw, outcome.file, found)


def _line(file: Path, face: Face) -> str:
    x, y, width, height = face.bbox
    return f"{file}: {width:.0f} x {height:.0f} at {x:.0f}, {y:.0f}, score {face.confidence:.2f}"


def _drawn(draw: Draw, file: Path, found: Sequence[Face]) -> bool:
    try:
        draw(file, found)
    except (RpcError, OSError) as error:
        print_complaint(Outcome(file, None, error))
        return False
    return True
