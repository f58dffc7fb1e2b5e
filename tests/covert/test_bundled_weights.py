"""The bundled weights of HideMIA, for photographs of any kind."""

import pytest

import privmed
from privmed.data.samples import centre, photograph, ultrasound_phantom
from privmed.metrics import dice, silent
from privmed.pipeline import analyze, bare, decode, hide, png, recover, tuned_hider


@pytest.mark.parametrize("hidden", [True, False])
def test_the_weights_tell_where_nothing_is_hidden(hidden):
    """A phantom and a photograph that no training saw: the lesion is found; without a scan nothing is, and the client is told."""
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    pytest.importorskip("skimage", reason="needs privmed[demo]")
    analyzer = privmed.analyzer("hidemia", weights="busi")
    hider = tuned_hider(analyzer)
    (scan, mask), photo = ultrasound_phantom(0), centre(photograph("coffee"))
    send = hide(hider) if hidden else bare()
    run = (send | png() | analyze(analyzer) | png() | recover(hider) | decode(analyzer))(scan, photo)
    assert (float(run.presence) > 0.5) == hidden
    if hidden:
        assert float(dice(run.prediction, mask)) > 0.7
    else:
        assert bool(silent(run.prediction))


def test_the_weights_that_classify_name_their_classes_and_tell_where_nothing_is_hidden():
    """A phantom of no chest still is a scan; what its class is says nothing."""
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    pytest.importorskip("skimage", reason="needs privmed[demo]")
    analyzer = privmed.analyzer("hidemia", weights="cxr")
    hider = tuned_hider(analyzer)
    scan, photo = ultrasound_phantom(0)[0], centre(photograph("astronaut"))
    for send, low, high in ((hide(hider), 0.5, 1), (bare(), 0, 0.5)):
        run = (send | png() | analyze(analyzer) | png() | recover(hider) | decode(analyzer))(scan, photo)
        assert low < float(run.presence) < high
        assert run.prediction.shape == (1, 3)
        assert float(run.prediction.sum()) == pytest.approx(1, abs=1e-5)
    assert analyzer.card["classes"] == ["covid", "no_finding", "pneumonia"]
