"""The four outcomes that a client can read."""

import pytest
import torch

import privmed
from privmed.covert.domain import Domain, features
from privmed.covert.outcome import FINDING, NO_STEGO, NOTHING_FOUND, UNFAMILIAR, read_outcome
from privmed.pipeline import Run, decode
from privmed.testing import sample_images

pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


def read(analyzer, recovered):
    return read_outcome(analyzer, decode(analyzer)(Run(image=recovered, recovered=recovered)), "scan.png")


def grey(value, red=0.0):
    x = torch.full((1, 3, 64, 64), value)
    x[:, 0] += red
    return x


def test_an_analyzer_that_tells_decides_whether_it_was_a_stego():
    analyzer = privmed.analyzer("unet", weights=None, width=2, presence=True)
    lesion = grey(0.2)
    lesion[..., 16:32, 16:32] = 0.9
    found = read(analyzer, lesion)
    assert (found.kind, found.figures["foreground"]) == (FINDING, pytest.approx(1 / 16))
    assert found.words == "what was found covers 6.2% of the image"
    assert read(analyzer, grey(0.2)).kind == NOTHING_FOUND
    nothing = read(analyzer, nothing_of())
    assert nothing.kind == NO_STEGO
    assert "no stego of ours" in nothing.words
    assert "scan.png" in nothing.warnings[0]
    known = read_outcome(
        analyzer, decode(analyzer)(Run(image=nothing_of(), recovered=nothing_of())), "scan.png", hidden=True
    )
    assert known.kind == NO_STEGO
    assert known.words.startswith("the scan was not recognised")


def test_the_card_decides_for_others_and_knows_what_is_unfamiliar():
    analyzer = privmed.analyzer("unet", weights=None, width=2)
    assert read(analyzer, grey(0.9)).kind == FINDING
    scans, photographs = (torch.cat([features(one(k)) for k in range(12)]) for one in (of_a_scan, of_nothing))
    domain = {"answer": Domain.fit(scans).to_card(), "nothing": Domain.fit(photographs).to_card()}
    analyzer.card = {"domain": domain, "sha256": "0" * 64}
    assert read(analyzer, of_a_scan(20)).kind in (FINDING, NOTHING_FOUND)
    assert read(analyzer, of_nothing(20)).kind == NO_STEGO
    strange = of_a_scan(20).clone()
    strange[:, 0] += 1.5
    assert read(analyzer, strange).kind == UNFAMILIAR


def nothing_of():
    return grey(0.0, red=0.9)


def of_a_scan(seed):
    return sample_images(1, size=(64, 64), channels=1, seed=seed)[0].expand(-1, 3, -1, -1)


def of_nothing(seed):
    return 0.5 + 0.5 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
