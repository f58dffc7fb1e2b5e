"""What the report says of a case, beside its pictures."""

import pytest
import torch

from privmed.covert.case import CovertCase, CovertResult
from privmed.covert.outcome import FINDING, NO_STEGO, Outcome
from privmed.covert.report import NOT_ANALYSED, case_view, to_html

FIGURES = {
    "stego_psnr": 40.0,
    "stego_psnr_y": 41.0,
    "stego_ssim": 0.98,
    "recovered_psnr": 38.0,
    "recovered_worst_patch": 30.0,
    "recovered_worst_pixel": 6.0,
    "response_psnr": 39.0,
    "response_ssim": 0.97,
    "foreground": 0.129,
    "dice": 0.8,
}


def result(outcome=None, *, truth=True, warnings=()):
    """A case of 32 x 32 whose ground truth is a quarter of the image."""
    image = torch.zeros(1, 3, 32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16, :16] = 1
    names = ["secret", "cover", "stego", "difference", "recovered", "error"]
    images = dict.fromkeys([*names, *(["response", "output"] if outcome else [])], image)
    images |= {"mask": mask, "foreground": mask} if outcome else {}
    case = CovertCase("scan", "a scan", image, image, mask=mask if truth else None)
    return CovertResult(case, images, FIGURES, outcome, warnings=list(warnings))


def pictures(view):
    return {p["title"]: p for strip in view["strips"] for p in strip["pictures"]}


FOUND = Outcome(kind=FINDING, figures={"foreground": 0.129})


def test_what_was_found_stands_beside_the_truth():
    words = case_view(result(FOUND))["outcome"]
    assert words == (
        "Read out of the server's response: what was found covers 12.9% of the image; the ground truth 25.0%."
    )
    assert "truth" not in case_view(result(FOUND, truth=False))["outcome"]
    assert "truth" not in case_view(result(Outcome(kind=NO_STEGO, figures={"foreground": 0.1})))["outcome"]


def test_a_scan_that_was_not_analysed_says_so():
    view = case_view(result())
    assert view["outcome"] == NOT_ANALYSED
    assert "response" not in pictures(view)


def test_outlines_are_explained_where_they_are():
    shown = pictures(case_view(result(FOUND)))
    assert list(shown["result"]["colours"]) == ["found", "ground truth"]
    assert list(shown["its error, ×4"]["colours"]) == ["worst patch"]
    assert "worst pixel 6 levels" in shown["its error, ×4"]["figure"]
    assert list(pictures(case_view(result(FOUND, truth=False)))["result"]["colours"]) == ["found"]


@pytest.mark.parametrize(
    ("warning", "shown"), [("a scan: it is faint.", "It is faint."), ("other: it is faint.", "other: it is faint.")]
)
def test_a_warning_does_not_repeat_its_heading(warning, shown):
    assert case_view(result(warnings=[warning]))["warnings"] == [shown]


def test_the_page_has_the_key_of_each_picture_and_does_not_say_that_the_scan_is_safe():
    page = to_html("Report", [result(FOUND)], "weights")
    assert page.count('class="key"') == 3
    assert "never sent the scan" not in page
    assert "rgb(250, 191, 36)" in page
