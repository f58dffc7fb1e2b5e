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
