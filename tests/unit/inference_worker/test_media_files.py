"""Files below a root: real files, links, pipes and directories, and links that are moved about."""

import contextlib
import errno
import os
import socket
import tempfile
from pathlib import Path

import psutil
import pytest

from inference_worker.media import files
from rpc.errors import InvalidInput, RpcError, Unavailable

MOST = 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a file in a directory, beside a secret that must never be read."""
    (tmp_path / "media" / "talks").mkdir(parents=True)
    (tmp_path / "media" / "talks" / "a.wav").write_bytes(b"a talk")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media-private").mkdir()
    (tmp_path / "media-private" / "a").write_bytes(b"secret")
    return tmp_path / "media"


def read(root: Path, path: str) -> bytes:
    """Return what a worker reads there."""
    return files.read(str(root), path, most_bytes=MOST)


def test_a_file_is_read_by_its_name_and_by_its_path(root: Path) -> None:
    """Relative to the root, or absolute below it."""
    assert read(root, "talks/a.wav") == b"a talk"
    assert read(root, str(root / "talks" / "a.wav")) == b"a talk"


def test_an_empty_file_is_empty(root: Path) -> None:
    """What is to be said of it is for the model."""
    (root / "empty").touch()

    assert read(root, "empty") == b""


def test_a_link_inside_the_root_is_followed(root: Path) -> None:
    """To a file, to a directory, relative and absolute."""
    (root / "latest").symlink_to("talks")
    (root / "b.wav").symlink_to(root / "talks" / "a.wav")

    assert read(root, "latest/a.wav") == b"a talk"
    assert read(root, "b.wav") == b"a talk"


def test_a_root_that_is_a_link_is_a_root(root: Path, tmp_path: Path) -> None:
    """Absolute paths may name it either way."""
    link = tmp_path / "link"
    link.symlink_to(root)

    assert read(link, "talks/a.wav") == b"a talk"
    assert read(link, str(link / "talks" / "a.wav")) == b"a talk"
    assert read(link, str(root / "talks" / "a.wav")) == b"a talk"


@pytest.mark.parametrize(
    "target", ["../secret", "../media-private/a", "../nothing", "/etc/passwd", "../talks/../secret"]
)
def test_a_link_out_of_the_root_is_refused(root: Path, target: str) -> None:
    """Whether or not anything is there."""
    (root / "link").symlink_to(target)

    with pytest.raises(InvalidInput, match="does not lie under the directory"):
        read(root, "link")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/nothing", "../secret", "../media-private/a", "/", ".", "talks/../../secret"]
)
def test_what_lies_outside_is_refused(root: Path, path: str) -> None:
    """In the same words whether or not it exists."""
    with pytest.raises(InvalidInput, match="does not lie under the directory"):
        read(root, path)


def test_what_is_not_there_is_told(root: Path) -> None:
    """Nor can a file be passed through."""
    for path in ("nothing", "nothing/a", "talks/a.wav/b", "x" * 5000):
        with pytest.raises(InvalidInput, match="not there"):
            read(root, path)


def test_what_is_no_regular_file_is_refused_at_once(root: Path) -> None:
    """A pipe nobody writes to, a directory, a socket, a link to itself: none is waited for."""
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{short}/socket")
        Path(f"{short}/socket").rename(root / "socket")

        for path in ("pipe", "talks", "socket", "loop"):
            with pytest.raises(InvalidInput, match="no regular file"):
                read(root, path)


def test_a_device_is_not_opened() -> None:
    """Not even where it lies under the root."""
    with pytest.raises(InvalidInput, match="no regular file"):
        files.read("/dev", "zero", most_bytes=MOST)


def test_a_file_over_the_limit_is_not_read(root: Path) -> None:
    """A terabyte of nothing is refused by its size; what has exactly as many bytes as allowed is read."""
    with (root / "large").open("wb") as file:
        file.truncate(10**12)
    (root / "full").write_bytes(b"x" * MOST)

    with pytest.raises(InvalidInput, match="1000000000000 bytes, over the limit of 1000"):
        read(root, "large")
    assert len(read(root, "full")) == MOST


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [(errno.EACCES, InvalidInput, "no permission"), (errno.EIO, Unavailable, "cannot be read now")],
)
def test_what_the_system_refuses_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[RpcError], told: str
) -> None:
    """By what is wrong, a broken disk as what may pass, and without the path of the root."""

    def refuse(name: str, *_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(kind, match=told) as raised:
        read(root, "talks/a.wav")
    assert str(root) not in str(raised.value)


@pytest.mark.parametrize("swapped", ["talks", "talks/a.wav"])
def test_a_link_swapped_in_after_the_look_is_not_followed(root: Path, tmp_path: Path, swapped: str) -> None:
    """Between the deciding and the opening a name becomes a link that leads out: nothing is read through it."""
    (tmp_path / "a.wav").write_bytes(b"secret")
    top = os.path.realpath(root)
    names = files.resolved(top, "talks/a.wav")
    (root / swapped).rename(tmp_path / "moved")
    (root / swapped).symlink_to(tmp_path / "a.wav" if swapped.endswith(".wav") else tmp_path)

    with pytest.raises((InvalidInput, OSError)):
        os.close(files.opened(top, names))


def test_no_descriptor_is_left_open(root: Path) -> None:
    """However it ends."""
    os.mkfifo(root / "pipe")
    before = psutil.Process().num_fds()
    for path in ("talks/a.wav", "talks", "pipe", "nothing/a", "talks/b"):
        with contextlib.suppress(InvalidInput):
            read(root, path)

    assert before == psutil.Process().num_fds()
