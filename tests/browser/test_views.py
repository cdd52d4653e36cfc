"""Every view, on a phone and on a desktop, light and dark: axe finds nothing, nothing is wider than the screen, and
with SCREENSHOTS=folder a picture is kept (`make screenshots`)."""

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.conftest import ROOT
from tests.e2e.conftest import Stack
from tests.kit.extent import WHOLE

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RUN_AXE = "(tags) => axe.run(document, { runOnly: tags })"
SCREENS = {"phone": PHONE, "desktop": DESKTOP}


@pytest.fixture(scope="module")
def addresses(stack: Stack, token_of: Callable[[str], str]) -> Mapping[str, tuple[str, str | None, str]]:
    """By view: path, token, and text that is there once it is complete."""
    user_id = f"viewer-{uuid.uuid4().hex[:8]}"
    client = stack.client(user_id)
    run = {
        "package_id": "@playground/code-reviewer",
        "input": "Review this:\n\n```py\ndef add(a, b): return a - b\n```",
    }
    session_id = client.post("/playground/run", run).body["session_id"]
    client.post("/playground/run", {**run, "input": "And `sub(a, b)`?", "session_id": session_id})
    shared = client.post(f"/playground/sessions/{session_id}/share", {}).body["share_token"]
    token = token_of(user_id)
    return {
        "try": ("/", token, "Try a package"),
        "package": ("/?package=%40playground%2Fcode-reviewer", token, "code-reviewer"),
        "own": ("/?prompt=own", token, "Your own prompt"),
        "signed-out": ("/", None, "Try a package"),
        "visitor": ("/?package=%40playground%2Fcode-reviewer", None, "Try it without an account"),
        "compare": ("/compare?package=%40playground%2Fcode-reviewer", token, "Column 2"),
        "conversations": ("/conversations", token, "Review this"),
        "conversation": (f"/conversations/{session_id}", token, "sub(a, b)"),
        "credits": ("/playground/credits", token, "Welcome credits"),
        "subscription": ("/playground/subscription", token, "200 credits every month"),
        "shared": (f"/playground/shared/{shared}", None, "sub(a, b)"),
        "unknown": ("/nothing/here", token, "no such page"),
    }


VIEWS = (
    "try",
    "package",
    "own",
    "signed-out",
    "visitor",
    "compare",
    "conversations",
    "conversation",
    "credits",
    "subscription",
    "shared",
    "unknown",
)


# Outside of continuous integration each view with one look, the phone's and the desktop's by turns; all of them for
# `make screenshots`.
ALL = WHOLE or "SCREENSHOTS" in os.environ
LOOKS = [("phone", True), ("desktop", False), ("phone", False), ("desktop", True)]
PICTURES = [(view, *look) for number, view in enumerate(VIEWS) for look in (LOOKS if ALL else [LOOKS[number % 2]])]


@pytest.mark.parametrize(
    ("view", "screen", "dark"),
    PICTURES,
    ids=[f"{view}-{screen}-{'dark' if dark else 'light'}" for view, screen, dark in PICTURES],
)
def test_axe_finds_nothing_and_everything_fits(
    open_window: Callable[..., Any],
    addresses: Mapping[str, tuple[str, str | None, str]],
    axe: str,
    view: str,
    screen: str,
    dark: bool,
) -> None:
    path, token, text = addresses[view]
    window = open_window(viewport=SCREENS[screen], dark=dark)
    window.context.add_init_script(axe)  # the content security policy allows no other way
    page = window.open(path, token)
    expect(page.get_by_role("main")).to_contain_text(text)
    page.wait_for_load_state("networkidle")

    if os.environ.get("SCREENSHOTS"):
        folder = ROOT / Path(os.environ["SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{view}-{screen}-{'dark' if dark else 'light'}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["width"]
    found = page.evaluate(RUN_AXE, list(RULES))["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]], each["help"]) for each in found] == []


def test_nothing_is_cut_off_on_a_very_small_phone(
    open_window: Callable[..., Any], addresses: Mapping[str, tuple[str, str | None, str]], stack: Stack
) -> None:
    """At 320 px, as wide as a page of 1280 px at 400 %: the menus of the page's head, long names, and quotes in
    quotes in quotes."""
    window = open_window(viewport={"width": 320, "height": 640})
    page = window.page

    def fits(what: Any) -> None:
        expect(what).to_be_visible()
        box = what.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        assert page.evaluate("document.documentElement.scrollWidth") <= 320

    window.open("/")
    menu = page.get_by_role("banner").get_by_role("group").first
    menu.locator("summary").click()
    fits(page.get_by_role("banner").get_by_text("Open the link that"))
    fits(page.locator(".badge-parts"))
    path, token, _ = addresses["credits"]
    window.open(path, token)
    assert len({link.bounding_box()["y"] for link in page.get_by_role("navigation").get_by_role("link").all()}) == 1
    page.get_by_role("banner").locator("summary").click()
    fits(page.locator(".badge-parts"))
    fits(page.get_by_role("link", name="Receipts, packs and PRPM+"))

    window.open("/?package=%40playground%2Fplain-english", token)
    fits(page.get_by_role("textbox").first)
    names = page.locator(".facts span, .chip, .variables .field > span")
    names.evaluate_all("(all) => all.forEach((each) => { each.textContent = 'W'.repeat(100); })")
    fits(names.first)

    client = stack.client(f"nester-{uuid.uuid4().hex[:8]}")
    nested = "> " * 300 + "deep\n\n" + "\n".join("  " * level + "- item" for level in range(60))
    answer = client.post("/playground/run", {"package_id": "@playground/code-reviewer", "input": nested})
    session_id = answer.body["session_id"]
    shared = client.post(f"/playground/sessions/{session_id}/share", {"acknowledge_findings": True}).body
    window.open(f"/playground/shared/{shared['share_token']}")
    fits(page.get_by_role("article", name="Turn 1"))
    assert page.locator("blockquote blockquote blockquote").count() > 0
