"""Conversations that are shared, read without an account, copied, judged, withdrawn and deleted; text that attacks."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import expect

from tests.browser.conftest import WAIT_SECONDS
from tests.browser.hostile import END, REMAINS, TEXT
from tests.e2e.conftest import Stack

OpenWindow = Callable[..., Any]
TokenOf = Callable[[str], str]
PACKAGE = "@playground/code-reviewer"


@pytest.fixture
def user_id() -> str:
    return f"sharer-{uuid.uuid4().hex[:8]}"


def conversation(stack: Stack, user_id: str, text: str = "Review this: return a - b") -> str:
    answer = stack.client(user_id).post("/playground/run", {"package_id": PACKAGE, "input": text})
    assert answer.status == 200, answer
    return str(answer.body["session_id"])


def wait_until_gone(stack: Stack, user_id: str, session_id: str) -> None:
    client = stack.client(user_id)
    deadline = time.monotonic() + WAIT_SECONDS
    while client.get(f"/playground/sessions/{session_id}").status != 404:
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.1)


def test_a_conversation_is_shared_read_by_a_stranger_copied_and_withdrawn(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    session_id = conversation(stack, user_id)
    page = open_window().open("/conversations", token_of(user_id))
    page.get_by_role("link", name="Review this: return a - b", exact=True).click()
    page.get_by_role("button", name="Share by a link").click()
    link = page.get_by_role("link", name=f"{stack.url}/playground/shared/")
    address = link.get_attribute("href")
    assert address is not None
    assert address.startswith(f"{stack.url}/playground/shared/")

    stranger = open_window()
    answer = stranger.page.goto(address)
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert answer.headers["referrer-policy"] == "no-referrer"
    shared = stranger.page
    expect(shared.get_by_role("article", name="Turn 1")).to_contain_text("return a - b")
    assert session_id not in shared.content()
    assert user_id not in shared.content()
    shared.get_by_role("button", name="Helpful", exact=True).click()  # without a login
    expect(shared.get_by_text("Your vote is counted.").first).to_be_visible()
    expect(shared.get_by_label("Token")).to_have_count(0)
    shared.get_by_role("button", name="Continue in a copy of your own").click()
    shared.get_by_label("Token").fill(token_of(f"{user_id}-friend"))
    shared.get_by_role("main").get_by_role("button", name="Sign in").click()
    box = shared.get_by_role("textbox", name="Continue", exact=True)
    expect(box).to_be_focused()  # the button was pressed already, and one goes on at the end
    expect(box).to_be_in_viewport()
    shared.go_back()
    shared.get_by_role("button", name="Not helpful", exact=True).click()
    expect(shared.get_by_text("Your vote is counted.").first).to_be_visible()
    shared.go_forward()
    expect(box).to_be_focused()
    expect(box).to_be_in_viewport()
    box.fill("And sub?")
    shared.get_by_role("button", name="Run", exact=True).click()
    expect(shared.get_by_role("article", name="Turn 2")).to_contain_text("tokens")

    page.get_by_role("button", name="End the link").click()
    expect(page.get_by_role("button", name="Share by a link")).to_be_visible()
    again = open_window()
    again.page.goto(address)
    expect(again.page.get_by_role("alert")).to_contain_text("There is nothing at this link")


def test_a_secret_is_shown_at_its_place_before_it_is_shared(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    session_id = conversation(stack, user_id, f"Review this:\naws_access_key_id = {key}")
    page = open_window().open(f"/conversations/{session_id}", token_of(user_id))
    page.get_by_role("button", name="Share by a link").click()

    expect(page.get_by_role("group", name="What may be a secret")).to_be_visible()
    expect(page.locator("mark").first).to_contain_text(key[:8])
    page.get_by_role("button", name="Do not share").click()
    expect(page.locator("mark")).to_have_count(0)


def test_a_conversation_can_be_had_back_for_a_while_after_deleting_it(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    session_id = conversation(stack, user_id)
    client = stack.client(user_id)
    page = open_window().open("/conversations", token_of(user_id))
    title = page.get_by_role("link", name="Review this: return a - b", exact=True)
    page.get_by_role("button", name="Delete").click()
    expect(title).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(title).to_be_focused()
    assert client.get(f"/playground/sessions/{session_id}").status == 200

    with page.expect_request_finished(lambda request: request.method == "DELETE"):  # when the time for undoing is over
        page.get_by_role("button", name="Delete").click()
        expect(title).to_have_count(0)
    assert client.get(f"/playground/sessions/{session_id}").status == 404


def test_leaving_the_page_deletes_what_was_to_be_deleted(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    session_id = conversation(stack, user_id)
    window = open_window()
    page = window.open("/conversations", token_of(user_id))
    page.get_by_role("button", name="Delete").click()
    page.goto("about:blank")
    wait_until_gone(stack, user_id, session_id)  # what is sent on leaving is waited for by nobody
    page.goto(f"{stack.url}/conversations/{session_id}")
    expect(page.get_by_role("alert")).to_contain_text("This conversation is gone")


def test_text_that_attacks_is_only_shown(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    """In the owner's view and on the shared page: nothing runs, nothing is loaded, nothing covers the page."""
    session_id = conversation(stack, user_id, TEXT)
    client = stack.client(user_id)
    share = client.post(f"/playground/sessions/{session_id}/share", {"acknowledge_findings": True})
    assert share.status == 200, share
    answered = client.get(f"/playground/sessions/{session_id}").body["conversation"][1]["content"]
    assert "<script>" in answered  # the stand-in for Claude restates what it was asked

    for path, token in (
        (f"/playground/shared/{share.body['share_token']}", None),
        (f"/conversations/{session_id}", token_of(user_id)),
        (f"/?session={session_id}", token_of(user_id)),
    ):
        window = open_window()
        asked: list[str] = []
        dialogs: list[str] = []
        window.page.on("request", lambda request, asked=asked: asked.append(request.url))
        window.page.on("dialog", lambda dialog, dialogs=dialogs: dialogs.append(dialog.message))
        page = window.open(path, token)
        expect(page.get_by_role("article", name="Turn 1")).to_contain_text(END)
        expect(page.locator(".markdown .block").first).to_be_visible()  # as Markdown, not as it was written
        page.wait_for_load_state("networkidle")
        assert page.get_by_role("main").evaluate(REMAINS) == []
        assert [url for url in asked if not url.startswith((stack.url, "data:"))] == []
        assert dialogs == []
        assert page.url.startswith(stack.url)


def test_attacks_would_be_seen(open_window: OpenWindow, stack: Stack) -> None:
    """The same text, put into the page as HTML: what the test above looks for is found, and the policy still holds."""
    window = open_window()
    page = window.open("/")
    expect(page.get_by_role("heading", name="Try a package")).to_be_visible()
    script = f"(main, text) => {{ main.innerHTML = text; return ({REMAINS})(main); }}"
    found = page.get_by_role("main").evaluate(script, TEXT)

    assert {"iframe", "object", "img[onerror]", "a form that is sent somewhere", "an id that hides a global"} <= set(
        found
    )
    assert {"something ran", "overlay"}.isdisjoint(found)  # inline scripts and styles are refused even so
    page.close()  # nothing more is heard of it then; to go elsewhere would compete with attacks that do
    assert window.complaints != []  # of the content security policy
    window.complaints.clear()
