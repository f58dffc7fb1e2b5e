"""A real uvicorn on this machine: who is answered, how many at once, and how it ends."""

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from privmed.imaging.raster import encode_png
from privmed.imaging.wire import decode_wire, to_bytes

from ..serving import photo, post, status

TOKEN = "correct-horse-battery"


def half(stego):
    return stego / 2


class Held:
    """An analyzer that waits until it is let go."""

    def __init__(self):
        self.go, self.busy = threading.Event(), threading.Event()

    def __call__(self, stego):
        self.busy.set()
        assert self.go.wait(20)
        return stego

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go.set()


def send(url, png, wait=20, **headers):
    """Status, headers and body of the answer to a photograph."""
    request = urllib.request.Request(f"{url}/v1/photos", png, {"Content-Type": "image/png", **headers})
    try:
        with urllib.request.urlopen(request, timeout=wait) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def get(url, path, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_photo_comes_back_developed(serve):
    server = serve(half, version="abc")
    png = photo()
    code, headers, body = send(server.url, png)
    assert (code, headers["Content-Type"], headers["X-Model-Version"]) == (200, "image/png", "abc")
    wanted = to_bytes(decode_wire(png, "sent") / 2)
    assert np.array_equal(to_bytes(decode_wire(body, "got")), wanted)


def test_many_clients_get_their_own_answers(serve):
    batches = []

    def analyze(stego):
        batches.append(len(stego))
        return 1 - stego

    server = serve(analyze, wait=50)
    photos = [photo(n, 32 + 8 * (n % 2), 40) for n in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda png: send(server.url, png), photos))
    for png, (code, _, body) in zip(photos, answers):
        assert code == 200
        assert np.array_equal(to_bytes(decode_wire(body, "got")), 255 - to_bytes(decode_wire(png, "sent")))
    assert sum(batches) == 24
    assert max(batches) > 1


def test_a_full_queue_says_when_to_come_back(serve):
    held = Held()
    server = serve(held, queue=2, batch=1)
    with ThreadPoolExecutor(2) as pool, held:
        taken = [pool.submit(send, server.url, photo(n)) for n in range(2)]
        while "privmed_requests_at_work 2" not in get(server.url, "/metrics")[1]:
            time.sleep(0.01)
        code, headers, body = send(server.url, photo(9), wait=3)
        assert code == 429
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert "too many" in json.loads(body)["detail"]
        held.go.set()
        assert [t.result()[0] for t in taken] == [200, 200]
    assert send(server.url, photo(9))[0] == 200


def test_only_tokens_open(serve):
    server = serve(half, allowed=[TOKEN])
    code, headers, _ = send(server.url, photo())
    assert (code, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert send(server.url, photo(), Authorization=f"Bearer {TOKEN}x")[0] == 401
    assert send(server.url, photo(), Authorization=f"Bearer {TOKEN}")[0] == 200
    assert get(server.url, "/metrics")[0] == 401
    assert get(server.url, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert [get(server.url, path)[0] for path in ("/healthz", "/readyz", "/docs", "/openapi.json")] == [200] * 4
    assert TOKEN not in "".join(server.log)


def test_a_refused_body_is_not_read(serve):
    """A client that waits for leave (Expect: 100-continue) is told no before it sends anything."""
    server = serve(half, allowed=[TOKEN])
    assert server.ask(post(b"", "Expect: 100-continue", length=3000)) == 401
    assert server.ask(post(b"", "Expect: 100-continue", f"Authorization: Bearer {TOKEN}", length=3000)) == 100
    assert "status=401 in=0" in server.log[0]


def test_what_is_described_is_what_there_is(serve):
    server = serve(half)
    schema = json.loads(get(server.url, "/openapi.json")[1])
    assert set(schema["paths"]) == {"/v1/photos", "/healthz", "/readyz", "/metrics"}
    photos = schema["paths"]["/v1/photos"]["post"]
    assert set(photos["requestBody"]["content"]) == set(photos["responses"]["200"]["content"]) == {"image/png"}
    page = get(server.url, "/docs")[1]
    assert all(path in page for path in schema["paths"])
    assert "http" not in page  # it asks nobody for scripts
    assert not any(word in json.dumps(schema).lower() + page.lower() for word in ("privmed", "stego", "scan", "hidden"))


def test_the_log_holds_sizes_and_times(serve):
    server = serve(half)
    send(server.url, photo(), Cookie="secret=1")
    get(server.url, "/v1/photos?name=patient")
    time.sleep(0.05)
    first, second = server.log
    fields = dict(word.split("=") for word in first.split()[1:])
    assert set(fields) == {"status", "in", "out", "pixels", "waited", "computed", "batch", "seconds"}
    assert (fields["status"], fields["in"], fields["pixels"]) == ("200", str(len(photo())), "1920")
    assert "patient" not in second
    assert second.split()[1] == "status=405"


def test_an_error_that_nobody_thought_of_is_not_told(serve, capfd):
    def analyze(stego):
        raise RuntimeError("patient 17")

    server = serve(analyze)
    code, _, body = send(server.url, photo())
    assert (code, json.loads(body)) == (500, {"detail": "Something went wrong."})
    assert send(server.url, photo())[0] == 500
    server.stop()
    assert "error=RuntimeError" in server.log[0]
    said = "".join(capfd.readouterr()) + "".join(server.log)
    assert "patient" not in said
    assert "Traceback" not in said


def test_no_answer_waits_for_an_acknowledgement():
    """Head and body are sent one after the other; with Nagle's algorithm a body waits for the client's TCP, some 40 ms."""
    from privmed.server.run import listen

    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        taken, _ = listening.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_slow_clients_are_let_go(serve):
    server = serve(half, patience=0.2)
    whole = post(photo())
    assert server.ask(whole[:30]) == 408  # its headers never end
    assert server.ask(whole[:600]) == 408  # its body does not
    assert server.ask(b"") == 408  # it says nothing at all
    assert server.ask(post(photo(), "Authorization: Bearer x", path="/none", length=10**9), b"x" * 1000) == 404
    assert server.ask(*[whole[n : n + 9] for n in range(0, 900, 9)], pause=0.01) == 408  # one drop after another
    assert server.ask(whole) == 200
    assert not server.server.server_state.connections - _open(server)


def test_a_client_that_does_not_take_its_answer_is_let_go(serve):
    noise = torch.rand(1, 3, 1000, 1000)
    server = serve(lambda stego: noise, patience=0.3)
    plain = encode_png(np.zeros((1000, 1000, 3), np.uint8))  # quick to send, but its answer is large
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(5 * post(plain).replace(b"Connection: close\r\n", b""))  # more than the system's buffers hold
        deadline = time.monotonic() + 20
        while not server.log or server.server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _open(server):
    """Connections that close just now."""
    time.sleep(0.1)
    return {c for c in server.server.server_state.connections if c.transport.is_closing()}


def test_too_many_connections_are_refused(serve):
    server = serve(half, connections=4, patience=1)
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
    time.sleep(0.1)
    lines[-1].sendall(post(photo()))
    assert status(lines[-1]) == 503
    for line in lines:
        line.close()
    time.sleep(0.1)
    assert server.ask(post(photo())) == 200


def test_a_stop_finishes_what_was_taken(serve):
    held = Held()
    server = serve(held)
    with ThreadPoolExecutor(1) as pool, held:
        taken = pool.submit(send, server.url, photo())
        assert held.busy.wait(10)
        server.server.should_exit = True
        time.sleep(0.3)
        with pytest.raises(urllib.error.URLError, match=r"refused|reset"):
            send(server.url, photo())
        held.go.set()
        assert taken.result()[0] == 200
    server.thread.join()


def test_nothing_is_left_behind(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = serve(half)
    send(server.url, photo())
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for n in range(20):
        send(server.url, photo(n))
        server.ask(post(photo())[:300], hang_up=True)
    time.sleep(0.1)
    if handles is not None:
        assert len(os.listdir("/proc/self/fd")) <= handles
    assert list(tmp_path.iterdir()) == []
