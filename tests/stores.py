"""Stores to read from, started by the tests on this machine: an S3 server, and a web server that misbehaves."""

import contextlib
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

KEY = "testing"


class S3:
    """An S3 server with one bucket, which can be stopped and started again where it was, with all it holds."""

    BUCKET = "videos"

    def __init__(self) -> None:
        self._port = 0
        self._server: ThreadedMotoServer | None = None

    def __enter__(self) -> Self:
        self.start()
        client = self._client()
        client.create_bucket(Bucket=self.BUCKET)
        client.create_bucket(Bucket=f"{self.BUCKET}-private")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, from the second time on at the same address."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def put(self, key: str, data: bytes, *, bucket: str = BUCKET) -> str:
        """Store an object; return its URL."""
        self._client().put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told that is to use this server."""
        return {
            "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "FSSPEC_S3_KEY": KEY,
            "FSSPEC_S3_SECRET": KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
        )


class Web:
    """A web server: `files` are given as they are; other paths misbehave as they are called; it notes what is asked."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.over = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            """Answers for the server around it."""

            def do_GET(self) -> None:
                """Answer, or do not."""
                web.asked.append(self.path)
                with contextlib.suppress(ConnectionError):
                    web.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Give a file, a status `/status/...`, a redirection `/to/...`, silence, or bytes without end."""
        name = to.path.partition("?")[0]
        kind, _, rest = name.removeprefix("/open/").partition("/")
        if name in self.files:
            self._send(to, 200, self.files[name])
        elif kind == "status":
            self._send(to, int(rest), b"body")
        elif kind == "to":
            self._send(to, 302, b"body", location=f"/{rest}")
        elif kind == "silence":
            self.over.wait()
        elif kind == "endless":
            to.send_response(200)
            to.end_headers()
            while not self.over.is_set():
                to.wfile.write(b"x" * 65_536)
        else:
            self._send(to, 404, b"")

    def _send(self, to: BaseHTTPRequestHandler, status: int, body: bytes, *, location: str = "") -> None:
        to.send_response(status)
        if location:
            to.send_header("Location", location)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)
