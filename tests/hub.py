"""A hub on this machine: as much of the hub's protocol as its client needs, and the ways it can fail."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

LFS = (".bin", ".onnx", ".safetensors", ".pt", ".model")
"""How the names of files end that are stored by git-lfs."""

PIECE = 1 << 16

POLL_S = 0.01
"""How soon it notices that it is to stop."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: method, path without its query, and the first byte wanted."""

    method: str
    path: str
    start: int = 0


@dataclass(slots=True)
class Trouble:
    """How a file is served wrongly.

    Attributes:
        cut_at: the connection is cut after so many bytes, once; 0 is never.
        stop_at: no more than so many bytes come until `go_on` is set; 0 is never.
        content: what comes in place of the file, or None.
        go_on: lets a stopped answer go on.
    """

    cut_at: int = 0
    stop_at: int = 0
    content: bytes | None = None
    go_on: threading.Event = field(default_factory=threading.Event)


class Hub:
    """Serves repositories of files until it is left.

    Attributes:
        repositories: hub id -> name -> content.
        troubles: name of a file -> how it is served wrongly.
        requests: what was asked so far, in order.
    """

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.troubles: dict[str, Trouble] = {}
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop; what is stopped in the middle of an answer is let go."""
        for trouble in self.troubles.values():
            trouble.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked_for(self, name: str) -> list[Request]:
        """Return the requests for the content of a file."""
        return [each for each in self.requests if each.method == "GET" and each.path.endswith(f"/{name}")]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(_Handler):
            served = hub

        return Handler


def commit(files: Mapping[str, bytes]) -> str:
    """Return the commit of a repository: another one for other files."""
    whole = hashlib.sha1(usedforsecurity=False)
    for name, content in sorted(files.items()):
        whole.update(f"{name} {blob(content)}".encode())
    return whole.hexdigest()


def blob(content: bytes) -> str:
    """Return the name git has for a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sibling(name: str, content: bytes) -> dict[str, Any]:
    """Return what the hub tells of a file in the description of a repository."""
    about: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob(content)}
    if name.endswith(LFS):
        about["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return about


def leaf(name: str, content: bytes) -> dict[str, Any]:
    """Return what the hub tells of a file in the tree of a repository."""
    about: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob(content)}
    if name.endswith(LFS):
        digest = hashlib.sha256(content).hexdigest()
        about["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        # the hub has large files in its newer storage too, where they go by other names
        about["xetHash"] = digest[::-1]
    return about


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.served.requests.append(Request(self.command, path, start))
        parts = path.strip("/").split("/")
        described = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if described else parts[:2])
        files = self.served.repositories.get(repository)
        if files is None:
            self._refuse("RepoNotFound")
        elif described:
            self._json(self._tree(files) if parts[4:5] == ["tree"] else self._description(repository, files))
        elif (name := "/".join(parts[4:])) in files:
            self._file(name, files, start)
        else:
            self._refuse("EntryNotFound")

    def _description(self, repository: str, files: Mapping[str, bytes]) -> Any:
        siblings = [sibling(name, content) for name, content in files.items()]
        return {"id": repository, "modelId": repository, "sha": commit(files), "siblings": siblings}

    def _tree(self, files: Mapping[str, bytes]) -> Any:
        return [leaf(name, content) for name, content in files.items()]

    def _refuse(self, code: str) -> None:
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name: str, files: Mapping[str, bytes], start: int) -> None:
        about = sibling(name, files[name])
        trouble = self.served.troubles.get(name, Trouble())
        content = files[name] if trouble.content is None else trouble.content
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("X-Repo-Commit", commit(files))
        self.send_header("ETag", f'"{about["lfs"]["sha256"] if "lfs" in about else about["blobId"]}"')
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            self._send(content, start, trouble)

    def _send(self, content: bytes, start: int, trouble: Trouble) -> None:
        for at in range(start, len(content), PIECE):
            if trouble.cut_at and at >= trouble.cut_at:
                trouble.cut_at = 0
                self.close_connection = True
                return
            if trouble.stop_at and at >= trouble.stop_at and not trouble.go_on.is_set():
                self.wfile.flush()
                trouble.go_on.wait()
                self.close_connection = True
                return
            self.wfile.write(content[at : at + PIECE])
