"""The client's part of covert analysis: an analyzer that lives on a server.

    import privmed
    from privmed.client import RemoteAnalyzer
    from privmed.pipeline import Pipeline

    analyzer = RemoteAnalyzer("https://photos.example.org", privmed.analyzer("hidemia", weights="busi"), token=token)
    run = Pipeline.covert(analyzer=analyzer)(secret, cover)

What leaves this machine are stegos, as PNG of pixels and nothing else. Hiding, recovering and decoding stay here.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn
from urllib.parse import urlsplit

import torch
from torch import Tensor

from privmed.errors import InputError, PrivmedError, SettingsError, WeightsError
from privmed.imaging.wire import decode_wire, encode_wire, to_bytes
from privmed.interfaces import Analyzer, BareAnalyzer

PATH = "/v1/photos"
TYPE = "image/png"
AT_ONCE = 8  # requests of one batch
BUSY = (429, 503)
ROOM = 65_536  # bytes of a response beside its pixels


class ServerError(PrivmedError):
    """A server that cannot be reached, or does not answer as it should.

    Example:
        >>> from privmed.client import PhotoService, ServerError
        >>> try:
        ...     PhotoService("http://127.0.0.1:9", seconds=0.1).send(b"", largest=1000)
        ... except ServerError:
        ...     print("nobody listens there")
        nobody listens there
    """


class PhotoService:
    """A server at an address: send a PNG, get a PNG.

    Args:
        url: where it is; ``/v1/photos`` is added.
        token: what it asks for, if anything.
        seconds: how long to wait for an answer, and for a busy server all in all.
        insecure: allow ``http://`` to other machines, such as a proxy of one's own that adds TLS.

    Raises:
        SettingsError: for an address that is none, or would send photographs and the token unencrypted.

    Example:
        >>> from privmed.client import PhotoService
        >>> PhotoService("https://hospital.example/covert", token="secret").url
        'https://hospital.example/covert/v1/photos'
        >>> PhotoService("http://hospital.example")
        Traceback (most recent call last):
        privmed.errors.SettingsError: http://hospital.example: would send photographs and the token unencrypted. ...
    """

    def __init__(self, url: str, token: str | None = None, *, seconds: float = 120.0, insecure: bool = False) -> None:
        self.url, self.seconds = _checked(url, insecure), seconds
        self._headers = {"Content-Type": TYPE, "Accept": TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, png: bytes, largest: int) -> tuple[bytes, str]:
        """Send a photograph; returns the answer and the version of the model that gave it, or an empty string.

        Args:
            png: the photograph.
            largest: how many bytes an answer may have.

        Raises:
            ServerError: when the server cannot be reached, refuses, stays busy, or answers with something else.
        """
        until = time.monotonic() + self.seconds
        while True:
            request = urllib.request.Request(self.url, png, self._headers, method="POST")
            try:
                with self._opener.open(request, timeout=self.seconds) as response:
                    return self._read(response, largest), response.headers.get("X-Model-Version", "")
            except urllib.error.HTTPError as error:
                with error:
                    self._wait_or_fail(error, until)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                raise ServerError(f"{self.url}: cannot be reached ({reason or type(error).__name__}).") from error

    def _read(self, response: http.client.HTTPResponse, largest: int) -> bytes:
        data = response.read(largest + 1)
        if len(data) > largest:
            raise ServerError(
                f"{self.url}: answered with more than {largest:,} bytes, which no photo of this size has."
            )
        return data

    def _wait_or_fail(self, error: urllib.error.HTTPError, until: float) -> None:
        """Come back when a busy server says so; any other status is an error."""
        if error.code not in BUSY:
            self._fail(error)
        asked = error.headers.get("Retry-After", "")
        pause = float(asked) if asked.isdecimal() else 1.0
        if time.monotonic() + pause > until:
            raise ServerError(f"{self.url}: has been busy for {self.seconds:g} seconds. Try again later.") from error
        time.sleep(pause)

    def _fail(self, error: urllib.error.HTTPError) -> NoReturn:
        if error.code == 401:
            raise ServerError(f"{self.url}: refuses the token, or asks for one. Check --token-file or PRIVMED_TOKEN.")
        if 300 <= error.code < 400:
            raise ServerError(
                f"{self.url}: wants to send the photo elsewhere (status {error.code}). Check the address."
            )
        raise ServerError(f"{self.url}: does not take the photo (status {error.code} {error.reason}).") from error


class RemoteAnalyzer(Analyzer):
    """An analyzer whose ``analyze`` asks a server; ``decode`` is done here, by the same method with the same weights.

    Args:
        url: where the server is, see :class:`PhotoService`.
        local: the method that the server runs; decodes, and knows to which hider it was tuned.
        token, options: see :class:`PhotoService`.

    Example:
        >>> import privmed
        >>> from privmed.client import RemoteAnalyzer
        >>> from privmed.pipeline import Pipeline
        >>> remote = RemoteAnalyzer("https://hospital.example", privmed.analyzer("hidemia", weights="busi"))
        >>> Pipeline.covert(analyzer=remote)  # the photograph goes to the server when this is called
        hide(lightih) | png() | analyze(hidemia) | png() | recover(lightih) | decode(hidemia)
    """

    multiple = 1  # the server pads

    def __init__(self, url: str, local: Analyzer, token: str | None = None, **options: Any) -> None:
        if isinstance(local, BareAnalyzer):
            local.refuse()
        self.Config = type(local.config)  # type: ignore[misc]
        torch.nn.Module.__init__(self)
        self.service = PhotoService(url, token, **options)
        self.local = local
        self.name, self.config, self.card, self.source = local.name, local.config, local.card, local.source
        self.precision = local.precision

    def _analyze(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        with ThreadPoolExecutor(min(AT_ONCE, len(stego))) as pool:
            answers = list(pool.map(self._ask, stego.split(1)))
        return torch.cat(answers).to(stego.device)

    def _decode(self, recovered: Tensor) -> Tensor:
        return self.local._decode(recovered)

    def _presence(self, recovered: Tensor) -> Tensor | None:
        return self.local._presence(recovered)

    def _ask(self, stego: Tensor) -> Tensor:
        url, (height, width) = self.service.url, stego.shape[-2:]
        data, version = self.service.send(encode_wire(to_bytes(stego), "stego"), 4 * height * width + ROOM)
        mine = model_version(self.local)
        if version and mine and version != mine:
            raise WeightsError(
                f"{url}: answers with other weights ({version}) than those that would read the answer ({mine}). "
                "Name the server's weights with --weights."
            )
        try:
            answer = decode_wire(data, "answer")
        except InputError as error:
            reason = str(error).removeprefix("answer: ").rstrip(".")
            raise ServerError(f"{url}: answered with something else than a photo ({reason}).") from error
        if answer.shape[-2:] != stego.shape[-2:]:
            got = f"{answer.shape[-1]} x {answer.shape[-2]}"
            raise ServerError(f"{url}: answered with a photo of {got} pixels to one of {width} x {height}.")
        return answer


def model_version(analyzer: Analyzer) -> str:
    """What a server says of the weights it answers with; empty for weights without a card.

    Example:
        >>> import privmed
        >>> from privmed.client import model_version
        >>> analyzer = privmed.analyzer("hidemia", weights="busi")
        >>> analyzer.card["sha256"].startswith(model_version(analyzer))
        True
    """
    return str((analyzer.card or {}).get("sha256", ""))[:12]


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone.

    Example:
        >>> from privmed.client import is_loopback
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("hospital.example")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token and the photograph to wherever it points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _checked(url: str, insecure: bool) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{url!r} is no address of a server ({error}).") from error
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{url!r} is no address of a server. Write https://HOST or https://HOST:PORT/PREFIX.")
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise SettingsError(
            f"{url}: would send photographs and the token unencrypted. Use https://, or allow it with --insecure."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"
