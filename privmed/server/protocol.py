"""HTTP without endless patience: whoever takes too long to ask, or to take the answer, is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Impatient(H11Protocol):
    """uvicorn's protocol, in which a connection may be without a request, and an answer be left lying, for so many seconds.

    A request that is at work has no limit in here: its body is timed where it is read, and its analysis takes as long as it takes.
    """

    patience = 10.0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._asking = _off(self._asking)
        self._taking = _off(self._taking)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self._taking or self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking = _off(self._taking)

    def _watch(self) -> None:
        """Time a connection on which no request is at work: one of which nothing, or only a part, has come, and rests of a refused body."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._asking = _off(self._asking)
        elif self._asking is None:
            self._asking = self.loop.call_later(self.patience, self._let_go)

    def _let_go(self) -> None:
        if self.transport.is_closing():  # and has not closed yet: what is left of an answer is not taken
            self.transport.abort()
            return
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self.transport.write(LATE)
        self.transport.close()
        self._asking = self.loop.call_later(self.patience, self.transport.abort)


def _off(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
