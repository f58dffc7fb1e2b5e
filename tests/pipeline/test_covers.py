"""One scan in several photographs: the average, what they disagree about, and the choice of photographs."""

import pytest
import torch

import privmed
from privmed.errors import InputError, SettingsError
from privmed.pipeline import Pipeline, average, best_covers
from privmed.testing import sample_images

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


def test_an_average_by_hand():
    """Two pixels: 0.2 and 0.9, 0.6 and 0.9, 0.1 and 0.9. The mean marks the second alone; the outputs differ about the first."""
    found = [torch.tensor([p, 0.9]).view(1, 1, 1, 2) for p in (0.2, 0.6, 0.1)]
    together = average(found)
    torch.testing.assert_close(together.prediction.flatten(), torch.tensor([0.3, 0.9]))
    expected = torch.tensor([0.2, 0.6, 0.1]).std(unbiased=False)
    torch.testing.assert_close(
        together.uncertainty.flatten(), torch.stack([expected, torch.tensor(0.0)]), atol=1e-6, rtol=0
    )
    dices = [2 / 3, 1, 2 / 3]  # one pixel of one and two, of one and one, of two and one
    assert float(together.disagreement) == pytest.approx(1 - sum(dices) / 3)


def test_an_average_of_classes_and_of_maps_of_classes():
    found = [torch.tensor([[0.7, 0.3]]), torch.tensor([[0.2, 0.8]])]
    together = average(found)
    torch.testing.assert_close(together.prediction, torch.tensor([[0.45, 0.55]]))
    assert float(together.disagreement) == pytest.approx(0.5)
    maps = [torch.rand(2, 4, 6, 5, generator=torch.Generator().manual_seed(k)).softmax(1) for k in range(3)]
    together = average(maps)
    assert together.prediction.shape == (2, 4, 6, 5)
    assert together.uncertainty.shape == (2, 1, 6, 5)
    torch.testing.assert_close(together.prediction.sum(1), torch.ones(2, 6, 5))
    assert average([maps[0], maps[0]]).disagreement.tolist() == [0, 0]


@pytest.mark.parametrize("found", [[torch.zeros(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2), torch.zeros(1, 2)], []])
def test_what_cannot_be_averaged_is_told(found):
    with pytest.raises(InputError, match="at least two predictions of one shape"):
        average(found)


def test_a_pipeline_averages_over_photographs_of_any_size():
    analyzer = privmed.analyzer("hidemia", weights="busi")
    secret, _ = sample_images(1, size=(64, 64))
    covers = [sample_images(1, size=size, seed=k)[1] for k, size in enumerate([(64, 64), (80, 100), (96, 64)])]
    mask = (secret.mean(1, keepdim=True) > 0.5).float()
    several = Pipeline.covert(analyzer=analyzer, covers=3)(secret, covers, mask=mask)
    one = Pipeline.covert(analyzer=analyzer)
    alone = [one(secret, cover, seed=k).prediction for k, cover in enumerate(covers)]
    torch.testing.assert_close(several.prediction, torch.stack(alone).mean(0))
    assert {"stego_psnr", "response_psnr", "dice", "disagreement"} <= several.metrics.keys()
    refined = Pipeline.covert(analyzer=analyzer, refine=2)(secret, covers[0], mask=mask)
    assert (refined.refined, one(secret, covers[0]).refined) == (2, 0)
    with pytest.raises(InputError, match="expected 3 photographs, got 2"):
        Pipeline.covert(analyzer=analyzer, covers=3)(secret, covers[:2])
    with pytest.raises(SettingsError, match="covers must be at least 1"):
        Pipeline.covert(analyzer=analyzer, covers=0)


def test_the_photographs_that_hide_best_are_chosen():
    """A flat white photograph has no room above it, so the scan comes back worst from it."""
    hider = privmed.hider("lightih")
    secret, cover = sample_images(1, size=(64, 64))
    photographs = [
        ("white", torch.ones(1, 3, 64, 64)),
        ("soft", 0.2 + 0.6 * cover),
        ("grey", torch.full((1, 3, 64, 64), 0.5)),
    ]
    tried = []
    best = best_covers(hider, secret, photographs, 2, progress=tried.append)
    assert tried == ["white", "soft", "grey"]
    assert {name for name, _ in best} == {"soft", "grey"}
    again = best_covers(hider, secret, reversed(photographs), 1)
    assert again[0][0] == best[0][0]
    with pytest.raises(InputError, match="expected at least 4 photographs, got 3"):
        best_covers(hider, secret, photographs, 4)
