"""Every command, on small input, where the wheels are installed."""

import http.client
import json
import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from privmed.registry import OWN_COMMANDS

SEEN = set()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with scans, masks, classes and photographs."""
    root = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64] / 64
    for n in range(10):
        scan = (150 + 60 * np.sin(5 * x + n) * np.cos(4 * y)).astype(np.uint8)
        mask = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.04).astype(np.uint8) * 255
        photo = rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)
        for folder, plane in (
            ("set/images", scan),
            ("set/masks", mask),
            (f"classes/{'ab'[n % 2]}", scan),
            ("photos", photo),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(plane).save(root / folder / f"{n}.png")
    return root


@pytest.fixture
def privmed(everything, place):
    def run(*lines, **environment):
        commands = [line.split() for line in lines]
        SEEN.update(command[0] for command in commands)
        return everything.privmed(*commands, cwd=place, **environment)

    return run


def pixels(path):
    return np.array(Image.open(path)).astype(int)


def test_the_demo_shows_the_main_job(everything, tmp_path):
    SEEN.add("demo")
    everything.run("privmed", "demo", "-o", "demo", "-q", cwd=tmp_path)
    report = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    assert report.count("<img") > 6
    assert "<script" in report


def test_a_scan_is_hidden_analysed_and_read_back(privmed, place):
    told = privmed(
        "hide set/images/0.png photos/0.png -o stego.png --json --refine 0",
        "analyze stego.png -o response.png --weights busi -q",
        "recover response.png -o mask.png --as mask --analyzer-weights busi -q",
        "recover stego.png -o back.png -q",
        "covert set/images/0.png photos/0.png -o covert -q",
    )
    assert json.loads(told)
    back, scan = pixels(place / "back.png"), pixels(place / "set/images/0.png")
    assert abs((back if back.ndim == 2 else back[..., 0]) - scan).mean() < 16
    assert pixels(place / "mask.png").shape == (64, 64)
    assert (place / "covert/report.html").is_file()


def test_a_file_travels_under_a_key(privmed, place):
    secret = b"not for everybody" * 5
    (place / "note.txt").write_bytes(secret)
    privmed(
        "keygen --shared -o shared.key -q",
        "hide note.txt photos/1.png -o carrier.png --hider lsbm --key shared.key -q",
        "recover carrier.png -o note.back --hider lsbm --key shared.key -q",
    )
    assert (place / "note.back").read_bytes() == secret


def test_a_set_is_protected_and_marks_come_off(privmed, place):
    privmed(
        "protect set -o protected -q",
        "watermark classes -o marked --key set.key --watermarker plain -q",
        "verify marked --key set.key -q",
        "unlock marked -o lifted --key set.key -q",
        PRIVMED_PASSPHRASE="correct horse",
    )
    assert (pixels(place / "protected/images/0.png") != pixels(place / "set/images/0.png")).any()
    for name in ("a/0.png", "b/1.png"):
        assert (pixels(place / "marked" / name) != pixels(place / "classes" / name)).any()
        assert (pixels(place / "lifted" / name) == pixels(place / "classes" / name)).all()


def test_a_training_makes_weights_that_a_command_takes(privmed, place):
    recipe = {
        "name": "tiny",
        "task": "hiding",
        "method": "hider:lightih",
        "settings": {"blocks": 1},
        "data": {
            "root": ".",
            "covers": "photos",
            "secrets": [{"folder": "set"}],
            "size": 48,
            "crop": 32,
            "batch": 2,
            "validation": 0.4,
        },
        "schedule": {"steps": 2, "warmup": 1, "validate": 2},
    }
    (place / "recipe.json").write_text(json.dumps(recipe))
    privmed("train recipe.json -o run -q")
    (weights,) = (place / "run").glob("lightih-*.safetensors")
    privmed(f"recover photos/0.png -o untold.png --weights {weights} -q")
    assert pixels(place / "untold.png").shape[:2] == (64, 64)


def test_a_comparison_becomes_a_table(privmed, place):
    plan = {
        "suite": "hiding",
        "data": "set",
        "entries": [{"label": "lightih", "method": "lightih"}],
        "grid": {"cover": ["photos"]},
        "settings": {"size": 32},
    }
    (place / "plan.json").write_text(json.dumps(plan))
    told = privmed(
        "bench run plan.json --data . -o bench -q",
        "bench table bench",
        "bench table bench --page page.html",
        "bench merge bench/plan.jsonl bench/plan.jsonl -o merged.jsonl -q",
        "bench list",
    )
    assert "| lightih |" in told
    assert "lightih" in (place / "page.html").read_text(encoding="utf-8")
    assert (place / "merged.jsonl").stat().st_size > 0


def test_a_plugin_is_shown_and_checked(privmed):
    told = privmed("plugins show protector:tint", "plugins check tint", "plugins", "doctor")
    assert "epsilon" in told
    assert "passed" in told
    assert "failed" not in told


def test_the_server_answers(everything, place):
    SEEN.add("serve")
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PRIVMED_", "PYTHON"))}
    command = [everything.bin / "privmed", "serve", "--port", "0", "--weights", "busi", "--json"]
    served = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        port = int(json.loads(served.stdout.readline())["url"].rpartition(":")[2])
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        photo = (place / "photos/0.png").read_bytes()
        line.request("POST", "/v1/photos", photo, {"Content-Type": "image/png", "Accept": "image/png"})
        answer = line.getresponse()
        assert (answer.status, answer.read()[:4]) == (200, b"\x89PNG")
    finally:
        served.terminate()
        assert served.wait(60) is not None


def test_shards_and_workers_do_what_one_process_does(privmed, place):
    privmed(
        "protect set -o whole -q",
        "protect set -o parts --shard 1/2 -q",
        "protect set -o parts --shard 2/2 --workers 1 -q",
        "jobs status parts -q",
        "jobs merge parts -q",
    )
    for n in range(10):
        assert (place / f"whole/images/{n}.png").read_bytes() == (place / f"parts/images/{n}.png").read_bytes()


def test_no_command_was_left_out():
    assert OWN_COMMANDS <= SEEN
