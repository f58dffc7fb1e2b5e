"""A server that runs in a thread of a test, and requests as bytes."""

from __future__ import annotations

import re
import socket
import threading
import time

import numpy as np

from privmed.imaging.raster import encode_png


class Running:
    """A server that answers, and what it logged."""

    def __init__(self, analyze, allowed=(), version="", **settings):
        from privmed.server.run import listen, make_server
        from privmed.server.settings import ServerSettings

        self.log: list[str] = []
        self.server = make_server(analyze, ServerSettings(**settings), list(allowed), self.log.append, version)
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def ask(self, *parts: bytes, pause: float = 0.0, hang_up: bool = False) -> int:
        """Send raw bytes, and return the status; 0 when the connection ends without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            try:
                for part in parts:
                    line.sendall(part)
                    time.sleep(pause)
                if hang_up:
                    line.shutdown(socket.SHUT_WR)
            except OSError:  # the server has answered and closed already
                pass
            return status(line)


def status(line: socket.socket) -> int:
    """The status of the answer that comes on a connection."""
    head = b""
    try:
        while b"\r\n" not in head and (more := line.recv(4096)):
            head += more
    except ConnectionError:
        pass
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    return int(found[1]) if found else 0


def post(
    body: bytes, *headers: str, path: str = "/v1/photos", kind: str = "image/png", length: int | None = None
) -> bytes:
    """The bytes of a request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, f"Content-Type: {kind}", *headers, "", ""]).encode() + body


def photo(seed: int = 0, height: int = 40, width: int = 48) -> bytes:
    """A PNG of noise."""
    return encode_png(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
