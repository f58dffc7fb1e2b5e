"""What may be decoded: a photograph is read with a cap on bytes and time, and its header believed only within the limits."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from privmed.errors import InputError
from privmed.imaging.wire import decode_wire, encode_wire, to_bytes
from privmed.server.settings import SIDE, ServerSettings

TYPE = "image/png"
MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD = 33  # bytes up to the end of the header
COLOURS = (0, 2, 4, 6)  # grey and RGB, with alpha or without
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Refused(Exception):
    """A request that is not answered with a photograph: status, a sentence, and headers."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers


async def read_photo(headers: Mapping[str, str], receive: Receive, settings: ServerSettings) -> bytes:
    """Read the body of a request.

    Raises:
        Refused: as soon as it is clear that the body is too large, too slow, cut off, or no PNG that is taken.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise Refused(415, f"Expected a body of type {TYPE}.", {"Accept-Post": TYPE})
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.max_bytes:
        raise _too_large(settings)
    try:
        async with asyncio.timeout(settings.patience):
            return await _body(receive, settings)
    except TimeoutError as error:
        raise Refused(408, "The request took too long to arrive.", {"Connection": "close"}) from error


async def _body(receive: Receive, settings: ServerSettings) -> bytes:
    data, checked = bytearray(), False
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "The request was cut off.")
        data += message.get("body", b"")
        if len(data) > settings.max_bytes:
            raise _too_large(settings)
        if len(data) >= HEAD and not checked:
            check_head(bytes(data[:HEAD]), settings)
            checked = True
        if not message.get("more_body", False):
            check_head(bytes(data[:HEAD]), settings)
            return bytes(data)


def check_head(head: bytes, settings: ServerSettings) -> None:
    """Refuse by its first bytes what shall not be decoded.

    Raises:
        Refused: for anything but a PNG of 8 bits, grey or RGB, whose sides and pixels are within the limits.
    """
    if not head.startswith(MAGIC):
        raise Refused(415, "The body is no PNG.")
    if len(head) < HEAD or head[12:16] != b"IHDR":
        raise Refused(422, "The PNG is damaged: it has no header.")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    if width * height > settings.max_pixels:
        raise Refused(413, f"The photo has more than {settings.max_pixels} pixels.")
    if min(width, height) < SIDE:
        raise Refused(422, f"The sides of a photo must have at least {SIDE} pixels.")
    if depth != 8 or colour not in COLOURS:
        raise Refused(422, "Expected 8 bits a channel, grey or RGB.")


def decode(data: bytes) -> np.ndarray:
    """The pixels of a PNG whose header was checked, (H, W, 3) uint8.

    Raises:
        Refused: when it is damaged, has transparent pixels or several pictures.
    """
    try:
        return to_bytes(decode_wire(data, "The photo"))
    except InputError as error:
        raise Refused(422, str(error).replace("The photo: ", "The photo cannot be read: ")) from error


def encode(pixels: np.ndarray) -> bytes:
    """A PNG of pixels and nothing else."""
    return encode_wire(pixels, "response")


def _too_large(settings: ServerSettings) -> Refused:
    return Refused(413, f"The body has more than {settings.max_bytes} bytes.")
