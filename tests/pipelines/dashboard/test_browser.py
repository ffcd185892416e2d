"""Report and dashboard in Debian's Chromium: no error, no request elsewhere, usable by keyboard."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request

from tests.components.report_run.test_report import KINDS, page_of
from tests.pipelines.dashboard.conftest import Site
from tests.pipelines.dashboard.many_runs import HOSTILE_NAME

Scheme = Literal["light", "dark"]
PHONE, DESK = 390, 1280
PATHS = ["/", "/models/hotel-reviews"]
MORE_PATHS = [
    f"/models/{quote(HOSTILE_NAME, safe='')}?page=2",
    "/models/film-reviews/history",
]


@contextmanager
def looked_at(browser: Browser, width: int = DESK, scheme: Scheme = "light") -> Iterator[Page]:
    """A page that may say nothing on the console and ask nothing of another host."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    asked: list[Request] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: asked.append(request))
    yield page
    context.close()
    assert complaints == []
    hosts = {urlsplit(each.url).hostname for each in asked}
    assert hosts <= {"127.0.0.1", None}


def faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_page_fits_its_window_and_is_accessible(
    site: Site, browser: Browser, width: int, scheme: Scheme
) -> None:
    once = (width == DESK) == (scheme == "light")
    for path in PATHS + MORE_PATHS * once:
        with looked_at(browser, width, scheme) as page:
            page.goto(site.url + path)
            assert not too_wide(page), path
            assert faults(page) == [], path
            assert page.title().endswith("finegate")


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [(KINDS[0], width, scheme) for width in (PHONE, DESK) for scheme in ("light", "dark")]
    + [(kind, *view) for kind in KINDS[1:] for view in ((PHONE, "dark"), (DESK, "light"))],
)
def test_every_report_fits_its_window_and_is_accessible(
    browser: Browser, tmp_path: Path, kind: str, width: int, scheme: Scheme
) -> None:
    (tmp_path / "report.html").write_text(page_of(kind), encoding="utf-8")
    with looked_at(browser, width, scheme) as page:
        page.goto(f"file://{tmp_path}/report.html")
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert not too_wide(page)
        assert faults(page) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_charts_follow_dark_and_light(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page_of(), encoding="utf-8")
    colours = set()
    for scheme in ("light", "dark"):
        with looked_at(browser, DESK, scheme) as page:  # type: ignore[arg-type]  # from a tuple
            page.goto(f"file://{tmp_path}/report.html")
            colours.add(page.evaluate("getComputedStyle(document.querySelector('svg text')).fill"))
            family = page.evaluate(
                "getComputedStyle(document.querySelector('svg text')).fontFamily"
            )
            assert "Noto Sans CJK" in family
    assert len(colours) == 2


def test_a_report_prints_on_paper(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page_of(), encoding="utf-8")
    with looked_at(browser) as page:
        page.goto(f"file://{tmp_path}/report.html")
        paper = page.pdf(format="A4", print_background=True)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 680, "height": 900})  # A4 within its margins
        assert not too_wide(page)
    assert paper.startswith(b"%PDF")
    assert 2 <= paper.count(b"/Type /Page\n") <= 12


def test_the_first_page_comes_within_a_second_once_warm(site: Site, browser: Browser) -> None:
    with looked_at(browser) as page:
        page.goto(site.url)
        taken = []
        for _ in range(3):
            began = time.monotonic()
            page.goto(site.url)
            taken.append(time.monotonic() - began)
    assert min(taken) < 1  # the issue asks for it; measured 0.05 s on 2 cores


def test_a_new_promotion_appears_without_a_restart(site: Site, browser: Browser) -> None:
    with looked_at(browser) as page:
        page.goto(f"{site.url}/models/hotel-reviews")
        page.get_by_role("link", name="All").click()
        newest = page.locator(".timeline li").first
        before = int(newest.locator("p").nth(1).inner_text().split("#")[1].split(" ")[0])
        site.promote(before + 1, "abcdefabcdef", "promoted <b>just</b> now")
        deadline = time.monotonic() + 20
        while "promoted <b>just</b> now" not in newest.inner_text():
            assert time.monotonic() < deadline, newest.inner_text()
            page.wait_for_timeout(300)
            page.reload()
        page.goto(site.url)
        assert "abcdefabcdef" in page.inner_text("main")


def press_until(page: Page, condition: str) -> None:
    """Press Tab until the focused element `e` fulfils a JavaScript condition."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(f"(e => {condition})(document.activeElement)"):
            outline = page.evaluate(
                "e => [e, ...(e.closest('.model') ? [e.closest('.model')] : [])]"
                ".map(each => getComputedStyle(each).outlineStyle)",
                page.evaluate_handle("document.activeElement"),
            )
            assert set(outline) - {"none"}, "the focus cannot be seen"
            return
    raise AssertionError(f"Tab never reaches {condition}")


def test_the_keyboard_alone_reaches_and_does_everything(site: Site, browser: Browser) -> None:
    with looked_at(browser) as page:
        page.goto(site.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        press_until(page, "e.textContent === 'hotel-reviews'")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models/hotel-reviews")
        press_until(page, "e.tagName === 'SUMMARY'")
        page.keyboard.press("Enter")
        assert page.locator("details").first.get_attribute("open") is not None
        press_until(page, "e.classList.contains('scroll')")
        press_until(page, "e.tagName === 'TEXTAREA'")
        page.keyboard.type("the room was clean <i>and quiet</i>")
        press_until(page, "e.tagName === 'BUTTON'")
        page.keyboard.press("Enter")
        page.wait_for_url("**/try#answer")
        assert page.locator(".scores li").count() == 3
        assert page.locator("textarea").input_value() == "the room was clean <i>and quiet</i>"
        press_until(page, "e.textContent === 'older →'")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models/hotel-reviews?page=2")
        press_until(page, "e.textContent === 'report' && e.href.endsWith('/report')")


def test_a_report_from_the_store_can_do_nothing(site: Site, browser: Browser) -> None:
    """The store's reports here carry a script and an image with a handler."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{site.url}/models/hotel-reviews")
    page.locator(".runs a").first.click()
    page.wait_for_url("**/report")
    assert page.title() != "taken"
    assert not [url for url in asked if url.endswith("/x")]
    assert page.evaluate("origin") == "null"
    context.close()
