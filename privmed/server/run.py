"""A server from its socket to its end."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from torch import Tensor

from privmed.errors import SettingsError
from privmed.server.app import Service, make_app
from privmed.server.protocol import Impatient
from privmed.server.settings import ServerSettings
from privmed.tokens import Gate

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 128


class Server(uvicorn.Server):
    """uvicorn, of which a signal makes an orderly end and not a killed process; a second Ctrl-C does not wait."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is any free one.

    Raises:
        SettingsError: when the address is none of this machine, or taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(
            f"cannot listen on {host}, port {port} ({reason}). Choose another --host or --port."
        ) from error
    # Connections inherit it. asyncio sets it for those sockets alone that were made for TCP by number; without it, the body of a small
    # answer waits for the client to acknowledge its head, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def make_server(
    analyze: Callable[[Tensor], Tensor],
    settings: ServerSettings,
    allowed: list[str],
    log: Callable[[str], None],
    version: str = "",
) -> Server:
    """A server that waits to be run, with ``server.run(sockets=[listen(host, port)])``; arguments as of :class:`Service`.

    Args:
        allowed: tokens; anybody is answered where there are none.
    """
    service = Service(analyze, settings, Gate(allowed), log, version)
    config = uvicorn.Config(
        make_app(service),
        http=type("Patient", (Impatient,), {"patience": settings.patience}),
        ws="none",
        log_config=None,  # requests are logged by the application, without paths and addresses
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.connections,
        timeout_graceful_shutdown=settings.stop,
    )
    return Server(config)
