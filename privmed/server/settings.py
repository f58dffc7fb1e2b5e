"""What a server takes, and for how long it waits."""

from __future__ import annotations

from attrs import frozen

from privmed.settings import at_least, between, positive, setting

MEBIBYTE = 2**20
SIDE = 32  # the smallest that methods take


@frozen(kw_only=True)
class ServerSettings:
    """Limits of a server. Memory is bounded by them: ``queue`` photographs of ``max_bytes``, and one batch of ``max_pixels``."""

    batch: int = setting(8, "photographs of one size that are analysed at once", at_least(1))
    wait: float = setting(4.0, "milliseconds that a photograph waits for others of its size", between(0, 1000))
    queue: int = setting(64, "requests at work or waiting; further ones are told to come back", at_least(1))
    max_pixels: int = setting(MEBIBYTE, "of a photograph, and of all in a batch", at_least(SIDE * SIDE))
    max_bytes: int = setting(4 * MEBIBYTE + MEBIBYTE // 16, "of a request's body", at_least(1024))
    patience: float = setting(10.0, "seconds for a client to send its request, and to take its answer", positive())
    connections: int = setting(256, "open at once; further ones are refused", at_least(2))
    stop: int = setting(60, "seconds for finishing what was taken, when the server is stopped", at_least(1))
