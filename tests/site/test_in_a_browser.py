"""The built site and the demo's report in Chromium: wide and phone-sized, light and dark.

Every look at every page leaves a picture in ``build/screenshots``, a folder for each look (``wide-light``, ``phone-dark``, ...).
"""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from privmed_site import modules

from privmed.cli import run

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]
# Pages of the site by folder. Pages of modules come from one template: one look at each is enough but for those that users import.
PARTS = {
    "texts": "*.html",
    "tutorials": "generated/tutorials/*.html",
    "methods": "generated/methods/*.html",
    "leaderboards": "generated/benchmarks/*.html",
    "plugins": "generated/*.html",
    "reference": "generated/reference/*.html",
    "faces": "generated/reference/api/*.html",
    "modules": "generated/reference/api/*.html",
}
FACES = ("index", *modules.FACE)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

# Blocks of code or text that scroll sideways on their own, with their first line.
SCROLLING = """
[...document.querySelectorAll("main div.highlight pre")].filter((p) => p.scrollWidth > p.clientWidth + 1)
  .map((p) => `${p.scrollWidth - p.clientWidth} pixels: ${p.textContent.slice(0, 60)}`)
"""
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
  const walk = document.createTreeWalker(document.querySelector("main") ?? document.body, NodeFilter.SHOW_TEXT);
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


def looked_at(browser, path, name, looks=LOOKS):
    """A page in several looks, each with a picture of all of it, from top to bottom."""
    for width, dark in looks:
        look = f"{'wide' if width > 600 else 'phone'}-{'dark' if dark else 'light'}"
        page = browser.open(path, width=width, dark=dark)
        page.screenshot(SHOTS / look / f"{name}.png", whole=True)
        yield f"{name}, {look}", page
        page.close()


def faults(where, page):
    """What is wrong with a page as it is shown: messages of the console, width, contrast."""
    found = [*page.messages, *page.evaluate(FAINT)]
    if page.overflow > 0:
        found.append(f"{page.overflow} pixels too wide")
    return [f"{where}: {fault}" for fault in found]


@pytest.mark.parametrize("part", PARTS)
def test_pages_of_the_site(browser, site, part):
    pages = {path.relative_to(site).with_suffix("").as_posix(): path for path in sorted(site.glob(PARTS[part]))}
    if part in ("faces", "modules"):
        pages = {n: p for n, p in pages.items() if (p.stem in FACES) == (part == "faces")}
    assert pages
    looks = LOOKS if part != "modules" else LOOKS[2:3]
    looked = (look for name, path in pages.items() for look in looked_at(browser, path, name, looks))
    assert [fault for where, page in looked for fault in faults(where, page)] == []


def test_code_of_tutorials_fits_a_wide_window(browser, site):
    pages = [
        site / f"{name}.html" for name in ("index", "first-result", "write-a-plugin", "your-benchmark", "pipelines")
    ]
    for path in [*pages, *sorted(site.glob("generated/tutorials/[0-9]*.html"))]:
        page = browser.open(path)
        assert page.evaluate(SCROLLING) == [], path.name
        page.close()


@pytest.mark.parametrize(("word", "title"), [("medlocker", "watermarker: medlocker"), ("nosuchword", None)])
def test_search_works_from_the_file_system(browser, site, word, title):
    page = browser.open(site / "search.html")
    browser.events.clear()
    page.evaluate(f"void (location.search = '?q={word}')")  # as its form does
    page.browser.wait_for("Page.loadEventFired", page.session)
    page.evaluate("new Promise((done) => setTimeout(done, 2000))")
    found = page.evaluate("[...document.querySelectorAll('#search-results a')].map((a) => a.textContent)")
    assert title in found if title else found == []
    assert page.messages == []


def test_a_leaderboard_sorts_and_filters(browser, site):
    page = browser.open(site / "generated/benchmarks/hiding.html")
    column = "[...document.querySelectorAll('.board th')].findIndex((h) => h.textContent === 'measured')"
    values = f"[...document.querySelectorAll('.board tbody tr')].map((r) => Number(r.cells[{column}].dataset.sort))"
    click = f"document.querySelectorAll('.board th')[{column}].firstChild.click()"
    for descending in (False, True):
        page.evaluate(click)
        assert page.evaluate(values) == sorted(page.evaluate(values), reverse=descending)
    values = "document.querySelectorAll('.board tbody tr:not([hidden])').length"
    everything = page.evaluate(values)
    page.evaluate(
        "{ const i = document.querySelector('.board input'); i.value = 'hinet busi'; i.dispatchEvent(new Event('input')); }"
    )
    shown = page.evaluate("[...document.querySelectorAll('.board tbody tr:not([hidden])')].map((r) => r.textContent)")
    assert 0 < len(shown) == page.evaluate(values) < everything
    assert page.evaluate("document.querySelector('.board output').textContent") == f"{len(shown)} of {everything}"
    assert all("hinet" in text and "busi" in text for text in shown)


def test_the_report_of_the_demo(browser, report):
    for where, page in looked_at(browser, report, "demo"):
        assert faults(where, page) == []
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
