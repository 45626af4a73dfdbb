"""The least an HTTP/1.1 caller needs: connections kept open, answers read by their length. So that it costs little."""

import asyncio


class HttpCaller:
    """Any number of calls at a time to one address, a connection for each that is under way."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def request(self, method: str, path: str, body: bytes, headers: str = "") -> bytes:
        """Return a request as it is sent."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        return head.encode() + body

    async def call(self, request: bytes) -> bytes:
        """Send a request and return the body of its answer; raise `RuntimeError` unless that is a 200."""
        link = reader, writer = await self._link()
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        self._idle.append(link)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{head.decode()}{body.decode()}")
        return body

    async def _link(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            link = self._idle.pop()
            # a server closes what was idle for long
            if not link[0].at_eof():
                return link
        return await asyncio.open_connection(self._host, self._port)

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])
