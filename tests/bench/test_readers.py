"""What other entries of a plan read out of a stego, and see where nothing is hidden."""

import pytest

from privmed.bench.covers import Photographs
from privmed.bench.engine import run_plan
from privmed.bench.plan import make_plan
from privmed.bench.readers import read_dataset
from privmed.bench.suites.hiding import secret_of
from privmed.errors import SettingsError
from privmed.metrics import psnr


def reading(toys, *entries, **more):
    plan = {"suite": "hiding", "data": "scans", "entries": list(entries), "grid": {"cover": ["photos"]}}
    plan = make_plan({**plan, "settings": {"size": 64, "covers": 2, "readers": True}})
    records = run_plan(plan, toys, toys / "out", **more).records.measurements
    fields = ("metric", "method", "pair", "reader")
    return {tuple(m.fields.get(k, "") for k in fields): m.value for m in records}


def test_others_read_a_stego_as_far_as_outlines_go(toys):
    """One sends the scan itself; the other reads its negative, in which the scan is seen as well, and noise in a bare photograph."""
    found = reading(toys, *({"label": name, "method": name} for name in ("open", "negative")))
    assert found["outlines", "open", "secret-read", "negative"] == pytest.approx(1, abs=1e-4)
    assert found["ssim", "open", "secret-read", "negative"] < 0.5
    assert found["ssim", "negative", "secret-read", "open"] == pytest.approx(1, abs=1e-4)
    assert found["outlines", "open", "secret-nothing hidden", "negative"] < 0.2
    for metric in ("ssim", "psnr", "outlines"):
        own = {k: v for k, v in found.items() if k[0] == metric and k[1:3] == ("open", "secret-read")}
        assert set(own) == {(metric, "open", "secret-read", reader) for reader in ("negative", "any other")}
        assert len(set(own.values())) == 1


def test_the_other_that_reads_most_is_the_figure_that_counts(toys):
    entries = [{"label": name, "method": name} for name in ("open", "negative")]
    found = reading(toys, *entries, {"label": "again", "method": "open"})
    read = {k[3]: v for k, v in found.items() if k[:3] == ("ssim", "open", "secret-read")}
    assert read["any other"] == read["again"] > read["negative"]


def test_what_a_reader_sees_in_photographs_is_its_own(toys):
    """One sees the photographs, the other their negatives, each held against the scans."""
    found = reading(toys, *({"label": name, "method": name} for name in ("open", "negative")))
    scans, photographs = (read_dataset(toys / name) for name in ("scans", "photos"))
    covers = Photographs(photographs, 64, 2)
    wanted = {"open": [], "negative": []}
    for n, sample in enumerate(scans.part("test")):
        cover = covers.of(n)
        scan = secret_of(sample, 64).expand_as(cover)
        for reader, seen in (("open", cover), ("negative", 1 - cover)):
            wanted[reader].append(float(psnr(seen, scan).mean()))
    for method, reader in (("open", "negative"), ("negative", "open")):
        mean = sum(wanted[reader]) / 3
        assert found["psnr", method, "secret-nothing hidden", reader] == pytest.approx(mean, abs=1e-3)


def test_readers_are_part_of_what_was_measured(toys, tmp_path):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    found = [
        reading(
            toys,
            {"label": "open", "method": "open"},
            {"label": "other", "method": "lightih", "settings": {"alpha": alpha}},
            only=["open"],
        )["outlines", "open", "secret-read", "other"]
        for alpha in (2.0, 3.0)
    ]
    assert found[0] != found[1]


def test_where_nobody_else_is_nobody_reads(toys):
    with pytest.raises(SettingsError, match="there is no other entry that could read"):
        reading(toys, {"label": "open", "method": "open"})


def test_no_other_hider_reads_a_file(toys):
    pytest.importorskip("cryptography", reason="needs privmed[keys]")
    entries = [{"label": name, "method": name} for name in ("pocket", "open")]
    plan = {"suite": "hiding", "data": "scans", "entries": entries, "grid": {"cover": ["photos"]}}
    plan = make_plan({**plan, "settings": {"size": 64, "room": 96, "readers": True}})
    with pytest.raises(SettingsError, match=r"entry 'pocket': carries files, which no other hider reads"):
        run_plan(plan, toys, toys / "out")
