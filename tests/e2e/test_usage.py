"""Usage and the history as CSV, through the gateway: as a browser and a script get them."""

import csv
import http.client
import io
import re
import time
from urllib.parse import urljoin, urlsplit

from local.metric_file import read_samples
from operate.watching import View, Window
from tests.e2e.conftest import Stack

REVIEW = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b"}


def test_a_run_is_counted_once_and_downloaded_page_by_page(stack: Stack, user_id: str) -> None:
    alice = stack.client(user_id)
    spent = [alice.post("/playground/run", REVIEW).body["credits_spent"] for _ in range(3)]
    usage = alice.get("/playground/analytics/usage?days=2")
    for _ in range(300):
        if usage.body["totals"]["runs"] == 3:
            break
        time.sleep(0.1)
        usage = alice.get("/playground/analytics/usage?days=2")
    assert (usage.body["totals"]["runs"], usage.body["totals"]["credits"]) == (3, sum(spent))

    lines: list[dict[str, str]] = []
    url = f"{stack.url}/api/v1/playground/credits/history?limit=3"
    for number in range(2):
        following, page = download(url, alice.token or "")
        lines += page
        assert (following is not None) is (number == 0)
        url = urljoin(url, following or "")
    assert [(line["type"], int(line["amount"])) for line in lines] == [
        *(("spend", -credits_) for credits_ in reversed(spent)),
        ("signup", 5),
    ]


def test_what_functions_count_is_there_to_watch(stack: Stack, user_id: str) -> None:
    """Of functions behind the Web Adapter at once, of the guard when it has read the stream."""
    earlier = watched(stack)
    alice = stack.client(user_id)
    charged = [alice.post("/playground/run", REVIEW).body["credits_spent"] for _ in range(2)]
    alice.post("/playground/run", {**REVIEW, "model": "none"})
    for _ in range(300):
        now = watched(stack)
        ended, refused = (now.total(metric) - earlier.total(metric) for metric in ("RunsEnded", "Refused"))
        if ended >= 2 and refused and now.total("CreditsHeld") == given_back(now):  # runs of other tests end, too
            break
        time.sleep(0.1)
    assert now.total("CreditsCharged") - earlier.total("CreditsCharged") >= sum(charged)
    assert now.total("TimedRuns") - earlier.total("TimedRuns") >= 2
    assert now.total("CreditsHeld") == given_back(now)
    assert sum(now.runs.values()) == now.total("RunsEnded")


def given_back(window: Window) -> float:
    return sum(window.total(metric) for metric in ("CreditsCharged", "CreditsReleased", "CreditsExpired"))


def watched(stack: Stack) -> Window:
    return View.of(read_samples(stack.folder), now=time.time(), minutes=24 * 60, credit_value_nano=1).long


def download(url: str, token: str) -> tuple[str | None, list[dict[str, str]]]:
    """The address of the next page, if any, and the lines of this one."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/csv"}
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
        following = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        lines = list(csv.DictReader(io.StringIO(response.read().decode())))
        return following[1] if following is not None else None, lines
    finally:
        connection.close()
