"""Connections of the gateway: how much of an answer they still hold, and how one is cut."""

import array
import asyncio
import fcntl
import socket
import struct
import termios

TRANSPORT = "penstock.transport"
"""The entry of a request's state that holds its connection; see `producers.gateway.server`."""

RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER, on and 0 s, that has a socket reset its connection when it is closed."""


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has not taken yet: of the buffer here, and on Linux of the system's."""
    size = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is not None:
        queued = array.array("i", [0])
        try:
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
        except OSError:
            return size
        size += queued[0]
    return size


def cut(transport: asyncio.Transport) -> None:
    """Drop a connection at once, with what its buffer and the system's hold."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()
