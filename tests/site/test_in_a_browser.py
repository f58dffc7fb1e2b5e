"""The built site and the demo's report in Chromium: wide and phone-sized, light and dark. Screenshots go to build/screenshots."""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser

from privmed.cli import run

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]
PAGES = [
    "index",
    "start",
    "first-result",
    "your-benchmark",
    "results",
    "formats",
    "generated/tutorials/index",
    "generated/tutorials/3_protect_and_learn",
    "generated/tutorials/5_private_fork",
    "generated/methods/analyzer-hidemia",
    "generated/plugin-directory",
    "generated/benchmarks/hiding",
    "generated/reference/commands",
    "generated/reference/recipes",
    "generated/reference/api/privmed.interfaces.hider",
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

# Text whose contrast with its background is below that of WCAG AA (4.5, or 3 for large text).
FAINT = """
(() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const linear = (x) => (x /= 255, x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const under = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
      if (colour[3] > 0 || at.matches(".tag, nav.bd-links *")) return null;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
  };
  const out = new Set();
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement, style = getComputedStyle(node), back = under(node);
    if (!walk.currentNode.data.trim() || !back || !node.getClientRects().length || style.visibility !== "visible") continue;
    const [a, b] = [light(parse(style.color)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) out.add(`${style.color} on ${back}: ${walk.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...out];
})()
"""


@pytest.fixture(scope="module")
def site():
    pytest.importorskip("sphinx")
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "-q", ROOT / "docs", ROOT / "build/docs"]
    subprocess.run(build, check=True)
    return ROOT / "build/docs"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    assert run(["demo", "-o", str(out), "-q"]) == 0
    return out / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


def looked_at(browser, path, name):
    for width, dark in LOOKS:
        page = browser.open(path, width=width, dark=dark)
        page.screenshot(SHOTS / f"{name.replace('/', '-')}-{width}-{'dark' if dark else 'light'}.png")
        yield f"{name}, {width} wide, {'dark' if dark else 'light'}", page
        page.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_the_site(browser, site, name):
    for where, page in looked_at(browser, site / f"{name}.html", name):
        assert page.messages == [], where
        assert page.overflow <= 0, where
        assert page.evaluate(FAINT) == [], where


def test_search_works_from_the_file_system(browser, site):
    page = browser.open(site / "search.html")
    page.evaluate("Search.performSearch('medlocker')")
    page.evaluate("new Promise((done) => setTimeout(done, 2000))")
    found = page.evaluate("[...document.querySelectorAll('#search-results a')].map((a) => a.textContent)")
    assert any("medlocker" in title.lower() for title in found)
    assert page.messages == []


def test_a_leaderboard_sorts_and_filters(browser, site):
    page = browser.open(site / "generated/benchmarks/hiding.html")
    column = "[...document.querySelectorAll('.board th')].findIndex((h) => h.textContent === 'measured')"
    values = f"[...document.querySelectorAll('.board tbody tr')].map((r) => Number(r.cells[{column}].dataset.sort))"
    click = f"document.querySelectorAll('.board th')[{column}].firstChild.click()"
    for descending in (False, True):
        page.evaluate(click)
        assert page.evaluate(values) == sorted(page.evaluate(values), reverse=descending)
    page.evaluate(
        "{ const i = document.querySelector('.board input'); i.value = 'hinet busi'; i.dispatchEvent(new Event('input')); }"
    )
    shown = page.evaluate("[...document.querySelectorAll('.board tbody tr:not([hidden])')].map((r) => r.textContent)")
    assert shown
    assert all("hinet" in text and "busi" in text for text in shown)


def test_the_report_of_the_demo(browser, report):
    for where, page in looked_at(browser, report, "demo"):
        assert page.messages == [], where
        assert page.overflow <= 0, where
        assert page.evaluate(FAINT) == [], where
        assert page.evaluate("[...document.images].slice(0, -1).every((i) => i.naturalWidth)"), where


def test_pictures_of_the_report_open_to_their_pixels(browser, report):
    page = browser.open(report)
    page.evaluate("{ const r = document.querySelector('input'); r.value = 20; r.dispatchEvent(new Event('input')); }")
    assert page.evaluate("getComputedStyle(document.querySelector('.over')).clipPath") == "inset(0px 80% 0px 0px)"
    page.evaluate("document.querySelector('.picture').click()")
    width = "document.querySelector('dialog img').getBoundingClientRect().width / document.querySelector('dialog img').naturalWidth"
    before = page.evaluate(width)
    page.evaluate("document.querySelector('[data-do=in]').click()")
    assert page.evaluate(width) == before + 1 == round(before) + 1
    title = "document.querySelector('dialog output').textContent"
    assert page.evaluate(title).startswith("stego,")
    page.evaluate("document.querySelector('[data-do=other]').click()")
    assert page.evaluate(title).startswith("photograph,")
    page.evaluate("document.querySelector('[data-do=close]').click()")
    assert page.evaluate("document.querySelector('dialog').open") is False
