"""The client's part: the same result as with the analyzer beside it, and nothing believed that a server says."""

import http.server
import socket
import threading
from contextlib import contextmanager

import pytest
import torch

from privmed.client import PhotoService, RemoteAnalyzer, ServerError
from privmed.errors import SettingsError, WeightsError
from privmed.imaging.raster import encode_png
from privmed.imaging.wire import to_bytes
from privmed.pipeline import Pipeline

STEGO = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
PNG = encode_png(to_bytes(STEGO))


@contextmanager
def answering(*answers):
    """A server that gives these answers, (status, headers, body), one after another; yields its address and what it was asked."""
    asked, left = [], list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, dict(self.headers), body))
            code, headers, content = left.pop(0)
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def remote(url, analyzer, **options):
    return RemoteAnalyzer(url, analyzer, **options)


def test_what_is_sent_is_a_photograph_and_a_token(toy_analyzer):
    with answering((200, {}, PNG)) as (url, asked):
        response = remote(f"{url}/prefix/", toy_analyzer, token="correct-horse-battery").analyze(STEGO)
    (path, headers, body), *_ = asked
    assert path == "/prefix/v1/photos"
    assert headers["Authorization"] == "Bearer correct-horse-battery"
    assert body == PNG
    assert "privmed" not in str(headers).lower()
    assert torch.equal(to_bytes_tensor(response), to_bytes_tensor(STEGO))


def to_bytes_tensor(image):
    return torch.from_numpy(to_bytes(image))


def test_a_pipeline_gives_the_same_with_a_server(serve, toy_hider, toy_analyzer):
    secret, cover = (torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    here = Pipeline.covert(toy_hider, toy_analyzer)(secret, cover)
    server = serve(toy_analyzer.analyze)
    there = Pipeline.covert(toy_hider, remote(server.url, toy_analyzer))(secret, cover)
    assert torch.equal(here.response, there.response)
    assert torch.equal(here.prediction, there.prediction)


def test_settings_card_and_name_are_those_of_the_method(toy_analyzer):
    toy_analyzer.card = {"sha256": "0" * 64, "hider": {"name": "toy"}}
    there = remote("https://photos.example.org", toy_analyzer)
    assert (there.name, there.config, there.card) == (toy_analyzer.name, toy_analyzer.config, toy_analyzer.card)
    assert there.service.url == "https://photos.example.org/v1/photos"


def test_other_weights_are_noticed(toy_analyzer):
    toy_analyzer.card = {"sha256": "a" * 64}
    with answering((200, {"X-Model-Version": "b" * 12}, PNG), (200, {"X-Model-Version": "a" * 12}, PNG)) as (url, _):
        with pytest.raises(WeightsError, match="other weights"):
            remote(url, toy_analyzer).analyze(STEGO)
        remote(url, toy_analyzer).analyze(STEGO)


def test_a_busy_server_is_waited_for(toy_analyzer):
    busy = (429, {"Retry-After": "0"}, b"")
    with answering(busy, (503, {"Retry-After": "0"}, b""), (200, {}, PNG)) as (url, asked):
        remote(url, toy_analyzer).analyze(STEGO)
    assert len(asked) == 3
    with answering((429, {"Retry-After": "3600"}, b"")) as (url, _), pytest.raises(ServerError, match="busy"):
        remote(url, toy_analyzer).analyze(STEGO)


BAD = {
    "token": (401, {}, b"", "refuses the token"),
    "redirect": (302, {"Location": "http://127.0.0.1:1/elsewhere"}, b"", "elsewhere"),
    "refusal": (422, {}, b"", "does not take the photo"),
    "large": (200, {}, b"x" * (4 * 40 * 48 + 65_537), "more than"),
    "no png": (200, {}, b"<html>", "neither PNG"),
    "cut": (200, {}, PNG[:900], "cut off"),
    "shape": (200, {}, encode_png(to_bytes(torch.zeros(1, 3, 40, 40))), "40 x 40 pixels to one of 48 x 40"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_is_none(toy_analyzer, case):
    code, headers, body, words = BAD[case]
    with answering((code, headers, body)) as (url, asked), pytest.raises(ServerError, match=words) as caught:
        remote(url, toy_analyzer).analyze(STEGO)
    assert url in str(caught.value)
    assert len(asked) == 1


def test_a_server_that_is_not_there(toy_analyzer):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match="cannot be reached"):
        remote(f"http://127.0.0.1:{port}", toy_analyzer).analyze(STEGO)


@pytest.mark.parametrize(
    "url",
    [
        "photos.example.org",
        "ftp://x",
        "https://",
        "https://x:port",
        "https://user:pass@x",
        "https://x/?q=1",
        "file:///etc/passwd",
        "",
    ],
)
def test_addresses_that_are_none(url):
    with pytest.raises(SettingsError, match="no address"):
        PhotoService(url)


def test_nothing_travels_unencrypted_unless_allowed():
    with pytest.raises(SettingsError, match="unencrypted"):
        PhotoService("http://photos.example.org")
    assert PhotoService("http://photos.example.org", insecure=True).url == "http://photos.example.org/v1/photos"
    assert PhotoService("http://[::1]:8000").url == "http://[::1]:8000/v1/photos"
    assert PhotoService("http://localhost:1/v1/photos").url == "http://localhost:1/v1/photos"
