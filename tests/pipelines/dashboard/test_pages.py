"""The dashboard over HTTP, with credentials that may only read."""

import re
import time
from html.parser import HTMLParser
from urllib.parse import quote

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from components import storage
from pipelines import object_store
from tests.pipelines.dashboard.conftest import ADDRESS, RUNS, Site
from tests.pipelines.dashboard.many_runs import HOSTILE, HOSTILE_NAME, MODELS

OWN = {"content-type": "application/x-www-form-urlencoded"}


class Text(HTMLParser):
    """What a page says, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        self.said += data


def of(site: Site, path: str) -> Text:
    response = httpx.get(site.url + path, timeout=30)
    assert response.status_code == 200, response.text
    return Text(response.text)


def test_the_overview_shows_each_model_with_champion_last_verdict_and_endpoint(site: Site) -> None:
    page = of(site, "/")
    for model in MODELS:
        assert model in page.said
    assert f"{RUNS // 3 + 1} runs" in page.said
    assert {"down", "no endpoint"} <= set(re.findall(r"down|no endpoint", page.said))


@pytest.mark.parametrize("model", MODELS)
def test_markup_from_the_store_stays_text(site: Site, model: str) -> None:
    path = f"/models/{quote(model, safe='')}"
    for page in (of(site, "/"), of(site, path), of(site, f"{path}/history")):
        assert not {"script", "img", "iframe"} & page.tags
    assert HOSTILE in of(site, path).said


def test_candidates_are_paged_newest_first(site: Site) -> None:
    path, seen = "/models/hotel-reviews", []
    for number in (1, 2, 3):
        page = of(site, f"{path}?page={number}").said
        assert f"page {number} of 3" in page
        table = page[page.index("Candidates") :]
        seen += re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", table)
    assert len(seen) == RUNS // 3 + 1
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("page", ["0", "-1", "99999999", "x", "7"])
def test_a_page_number_out_of_range_shows_the_nearest_page(site: Site, page: str) -> None:
    assert "Candidates" in of(site, f"/models/hotel-reviews?page={page}").said


def test_every_answer_has_the_strict_policy(site: Site) -> None:
    for path in ("/", "/models/hotel-reviews", "/style.css", "/nowhere", "/models/none"):
        headers = httpx.get(site.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_a_report_is_served_in_a_sandbox_of_its_own(site: Site) -> None:
    page = httpx.get(f"{site.url}/models/hotel-reviews").text
    link = re.search(r'href="(/runs/[^"]+/report)"', page)
    assert link is not None
    report = httpx.get(site.url + link[1])
    assert report.status_code == 200
    assert HOSTILE in report.text  # it is the store's own document, so the policy must hold it
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'")
    assert "script-src" not in policy
    assert "allow-scripts" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/models/none",
        "/models/none/history",
        "/runs/none/report",
        "/runs/%2e%2e/report",
        "/runs/..%2f..%2fa/report",
        "/models/%2e%2e",
        "/models/..%2fx",
        "/x",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(site: Site, path: str) -> None:
    response = httpx.get(site.url + path)
    assert response.status_code == 404
    assert "<h1>Nothing here</h1>" in response.text


def test_the_credentials_of_the_dashboard_may_not_write(site: Site) -> None:
    client = storage.connect(site.reader, Config())
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=object_store.BUCKET, Key="x", Body=b"")
    assert ADDRESS in of(site, "/").said


def ask(site: Site, text: str, **headers: str) -> httpx.Response:
    body = httpx.QueryParams({"text": text})
    return httpx.post(
        f"{site.url}/models/hotel-reviews/try",
        content=str(body),
        headers={**OWN, "origin": site.url, **headers},
        timeout=60,
    )


def test_a_sentence_is_answered_by_the_endpoint_with_every_label(site: Site) -> None:
    said = Text(ask(site, f"the room was clean {HOSTILE} 房间").text).said
    answer = said[said.index("Classify") : said.index("History")]
    found = re.findall(r"(praise|blame|neutral)([01]\.\d{4})", answer)
    assert len({label for label, _ in found}) == 3
    shares = [float(score) for _, score in found]
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert shares == sorted(shares, reverse=True)
    assert f"{HOSTILE} 房间" in said


def test_an_endpoint_that_is_down_says_so(site: Site) -> None:
    response = httpx.post(
        f"{site.url}/models/film-reviews/try",
        content="text=x",
        headers={**OWN, "origin": site.url},
        timeout=60,
    )
    assert "Nothing listens there." in response.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_a_form_of_another_page_is_refused(
    site: Site, headers: dict[str, str], status: int
) -> None:
    assert ask(site, "x", **headers).status_code == status


def test_a_form_that_is_too_long_is_refused(site: Site) -> None:
    assert ask(site, "x" * 70_000).status_code == 413
    assert "Write a text first." in ask(site, "  ").text


def test_a_name_that_resolves_to_this_machine_is_not_answered(site: Site) -> None:
    response = httpx.get(site.url, headers={"host": "rebound.example"})
    assert response.status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
def test_nothing_else_can_be_asked(site: Site, method: str) -> None:
    assert httpx.request(method, f"{site.url}/models/hotel-reviews").status_code == 405


def test_prometheus_reads_the_store_from_the_same_process(site: Site) -> None:
    told = httpx.get(f"{site.url}/metrics", timeout=60).text
    assert "finegate_store_up 1.0" in told
    assert re.search(r'finegate_champion_info\{.*model="hotel-reviews"', told)


def test_no_text_is_logged(site: Site) -> None:
    ask(site, "a very private sentence")
    assert "private" not in site.log.read_text()


def test_a_store_that_is_away_is_told_and_comes_back_by_itself(site: Site) -> None:
    site.stop_store()
    try:
        deadline = time.monotonic() + 30
        while (response := httpx.get(site.url, timeout=60)).status_code == 200:
            assert time.monotonic() < deadline, "the listing outlived the store"
            time.sleep(0.2)
        assert response.status_code == 503
        assert "The store does not answer" in response.text
        assert response.headers["retry-after"] == "5"
        assert "content-security-policy" in response.headers
    finally:
        site.start_store()
    deadline = time.monotonic() + 30
    while (response := httpx.get(site.url, timeout=60)).status_code != 200:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.2)
    assert HOSTILE_NAME in Text(response.text).said
