"""The main story, clicked by one person with a real browser against the stack as `make run` starts it."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, WAIT_SECONDS, pay_and_close
from tests.e2e.conftest import Stack

OpenWindow = Callable[..., Any]
TokenOf = Callable[[str], str]
OUTLINES = "['', '::after'].map((part) => getComputedStyle(document.activeElement, part || null).outlineStyle)"
DONE = re.compile(r"\d+ tokens")


@pytest.fixture
def user_id() -> str:
    return f"alice-{uuid.uuid4().hex[:8]}"


def choose(page: Page, name: str = "code-reviewer") -> None:
    page.get_by_label("What do you want to do?").fill(name)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def run(page: Page, text: str, *, label: str = "Your text") -> None:
    page.get_by_role("textbox", name=label, exact=True).fill(text)
    page.get_by_role("button", name="Run", exact=True).click()


def wait_for_height(page: Page, pixels: int) -> None:
    """Until the document is that high. The content security policy forbids Playwright's wait_for_function."""
    deadline = time.monotonic() + WAIT_SECONDS
    while page.evaluate("document.documentElement.scrollHeight") < pixels:
        assert time.monotonic() < deadline, "it does not grow"
        page.wait_for_timeout(50)


def buy_the_small_pack(page: Page) -> None:
    page.get_by_role("button", name="Buy 100 credits for $5.00").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the payment page").click()
    pay_and_close(opened.value)
    expect(page.get_by_role("status").filter(has_text="100 credits have been added")).to_be_visible()


def test_the_token_is_taken_out_of_the_address_and_kept_for_this_tab_only(
    open_window: OpenWindow, token_of: TokenOf, user_id: str
) -> None:
    window = open_window()
    page = window.open("/", token_of(user_id))
    expect(page.get_by_text("5 credits")).to_be_visible()
    assert "token" not in page.url
    assert page.evaluate("history.length") <= 2
    page.reload()
    expect(page.get_by_text("5 credits")).to_be_visible()

    other = open_window(context=window.context).open("/")
    expect(other.get_by_role("heading", name="Try a package")).to_be_visible()
    expect(other.get_by_text("5 credits")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("5 credits")).to_have_count(0)
    assert page.evaluate("Object.values({...sessionStorage, ...localStorage}).join().includes('eyJ')") is False


def test_a_link_with_somebody_elses_token_asks_before_it_is_taken(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    window = open_window(viewport=PHONE)
    page = window.open("/", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your text").fill("Mine")
    expect(page.get_by_role("banner")).to_contain_text(user_id)

    other = f"{user_id}-other"
    page.evaluate("(token) => { location.hash = `token=${token}` }", token_of(other))
    asked = page.get_by_role("dialog", name="Change the account?")
    expect(asked).to_contain_text(f"signs you in as {other}. This tab is of {user_id}.")
    assert "token" not in page.url
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)
    expect(page.get_by_role("textbox", name="Your text")).to_have_value("Mine")
    expect(page.get_by_role("banner")).not_to_contain_text(other)

    window.open("/playground/credits", token_of(other))
    asked.get_by_role("button", name=f"Sign in as {other}").click()
    expect(page.get_by_role("banner")).to_contain_text(other)
    expect(page.get_by_role("region", name="Buy credits")).to_contain_text(f"added to the account of {other}.")
    assert page.evaluate("JSON.stringify({...sessionStorage}).includes('Mine')") is False


def test_a_package_is_picked_priced_run_and_continued(open_window: OpenWindow, token_of: TokenOf, user_id: str) -> None:
    page = open_window().open("/", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your text").fill("Review: return a - b [[claude: output_tokens=150 slow=60]]")
    expect(page.get_by_text(re.compile(r"1 credit, at most 2; you have 5"))).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()

    expect(page.get_by_text("Claude is writing…")).to_be_visible()
    expect(page.get_by_role("article")).to_contain_text("This answer is based on")  # while it is written
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("article").get_by_text(DONE)).to_be_visible()
    expect(page.get_by_text("4 credits")).to_be_visible()

    run(page, "And what about sub?", label="Continue")
    expect(page.get_by_role("article", name="Turn 2").get_by_text(DONE)).to_be_visible()
    expect(page.get_by_text("3 credits")).to_be_visible()


def test_a_prompt_of_ones_own_is_priced_run_and_continued(
    open_window: OpenWindow, token_of: Callable[..., str], user_id: str, stack: Stack
) -> None:
    page = open_window().open("/", token_of(user_id))
    page.get_by_role("link", name="write your own prompt").click()
    prompt = page.get_by_role("textbox", name="Your prompt")
    prompt.fill("Short")
    run(page, "What is a lien? [[claude: output_tokens=60]]")
    expect(page.get_by_role("alert").filter(has_text="Write a prompt of at least 10 characters.")).to_be_visible()
    expect(prompt).to_be_focused()
    prompt.fill("You are a pirate lawyer. Answer in one sentence.")
    expect(page.get_by_text("48 of 50,000 characters")).to_be_visible()
    expect(page.get_by_text("Your account cannot run prompts of its own.")).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("alert").get_by_role("link", name="See PRPM+").click()
    expect(page.get_by_text("200 credits every month")).to_be_visible()

    page.goto(f"{stack.url}/?prompt=own#token={token_of(user_id, verified_author=True)}")
    page.reload()
    expect(prompt).to_have_value("You are a pirate lawyer. Answer in one sentence.")
    expect(page.get_by_text("2 credits; you have 5")).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("article", name="Turn 1").get_by_text(DONE)).to_be_visible()
    run(page, "And then?", label="Continue")
    expect(page.get_by_role("article", name="Turn 2").get_by_text(DONE)).to_be_visible()
    assert stack.client(user_id).get("/playground/credits").body["balance"] == 1
    [session] = stack.client(user_id).get("/playground/sessions").body["sessions"]
    kept = stack.client(user_id).get(f"/playground/sessions/{session['session_id']}").body
    assert (kept["custom_prompt"], kept["turns"]) == ("You are a pirate lawyer. Answer in one sentence.", 2)
    page.get_by_role("link", name="New conversation").click()
    expect(prompt).to_have_value("You are a pirate lawyer. Answer in one sentence.")


def test_a_package_is_tried_without_an_account_once_a_day(open_window: OpenWindow) -> None:
    page = open_window().open("/")
    choose(page)
    main = page.get_by_role("main")
    page.get_by_role("button", name="Try it").click()
    expect(main.get_by_role("alert").filter(has_text="Write something first.")).to_be_visible()
    page.get_by_role("textbox", name="Your text").fill("Review: return a - b [[claude: output_tokens=60]]")
    page.get_by_role("button", name="Try it").click()
    tried = page.get_by_role("article", name="A try without an account")
    expect(tried).to_contain_text("This answer is based on")
    expect(tried).to_contain_text("This was today's try without an account")
    expect(tried).to_be_focused()
    expect(page.get_by_role("button", name="Try it")).to_have_count(0)
    expect(main.get_by_text("./playground token alice")).to_be_visible()

    again = open_window().open("/?package=%40playground%2Fcode-reviewer")
    again.get_by_role("textbox", name="Your text").fill("Another one")
    again.get_by_role("button", name="Try it").click()
    refused = again.get_by_role("alert").filter(has_text="You have had today's try without an account")
    expect(refused.get_by_role("textbox", name="Token")).to_be_visible()
    again.get_by_role("banner").locator("summary").click()
    expect(again.get_by_role("banner").get_by_text("make run")).to_be_visible()


def test_a_run_that_is_stopped_keeps_what_was_written(open_window: OpenWindow, token_of: TokenOf, user_id: str) -> None:
    """Stop is in view wherever one reads; the end of the answer only for who was there."""
    page = open_window(viewport=PHONE).open("/", token_of(user_id))
    choose(page)
    run(page, "Explain it at length [[claude: output_tokens=3000 slow=100]]")
    stop, end = page.get_by_role("button", name="Stop"), page.get_by_text("Claude is writing…")
    expect(page.get_by_role("article")).to_contain_text("This answer is based on")
    wait_for_height(page, 2000)
    expect(end).to_be_in_viewport(ratio=1)
    expect(stop).to_be_in_viewport(ratio=1)
    page.evaluate("scrollBy(0, -600)")
    height, place = page.evaluate("[document.documentElement.scrollHeight, scrollY]")
    wait_for_height(page, height + 200)
    assert page.evaluate("scrollY") == place
    expect(stop).to_be_in_viewport(ratio=1)
    stop.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_text("You stopped it. What was written by then is kept and paid for.")).to_be_visible()
    expect(page.get_by_role("textbox", name="Continue", exact=True)).to_be_focused()
    expect(page.get_by_text("4 credits")).to_be_visible()


def test_a_sentence_finds_a_package_and_its_conversation_says_later_what_it_came_to(
    open_window: OpenWindow, token_of: TokenOf, user_id: str
) -> None:
    page = open_window().open("/", token_of(user_id))
    page.get_by_label("What do you want to do?").fill("something that reviews my python code")
    expect(page.get_by_role("main").get_by_role("listitem").first).to_contain_text("code-reviewer")
    page.get_by_role("link", name="code-reviewer", exact=True).click()
    run(page, "Explain it at length [[claude: output_tokens=3000 slow=100]]")
    expect(page.get_by_role("article")).to_contain_text("This answer is based on")
    page.get_by_role("button", name="Stop").click()
    page.locator("label", has_text="2 stars").click()
    expect(page.get_by_text("Saved. Thank you.")).to_be_visible()

    page.goto(page.url.partition("?")[0] + "conversations")
    page.get_by_role("link", name=re.compile("^Explain it at length")).click()
    turn = page.get_by_role("article", name="Turn 1")
    expect(turn.get_by_text("You stopped it. What was written by then is kept and paid for.")).to_be_visible()
    expect(turn.get_by_text("1 credit")).to_be_visible()
    expect(turn.get_by_role("radio", name="2 stars")).to_be_checked()


def test_a_stream_that_breaks_mends_itself_and_is_charged_once(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, proxy: Any, stack: Stack
) -> None:
    page = open_window(base=proxy.url).open("/", token_of(user_id))
    choose(page)
    proxy.cut("POST /api/v1/playground/run/stream", after_bytes=2500)
    run(page, "Review: return a - b [[claude: output_tokens=200 slow=30]]")

    expect(page.get_by_role("article").get_by_text(DONE)).to_be_visible()
    assert proxy.cut_count == 1
    client = stack.client(user_id)
    assert client.get("/playground/credits").body["balance"] == 4
    [entry] = client.get("/playground/credits/history?type=spend").body["transactions"]
    stored = client.get(f"/playground/runs/{entry['run_id']}").body["response"]
    shown = page.get_by_role("article").locator(".answer").inner_text()
    assert words(stored)[:-1] == [word for word in words(shown) if word in words(stored)][: len(words(stored)) - 1]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]{4,}", text)


def test_without_credits_buying_leads_back_to_the_same_input(
    open_window: OpenWindow, token_of: TokenOf, user_id: str, stack: Stack
) -> None:
    client = stack.client(user_id)
    for _ in range(5):
        body = {"package_id": "@playground/code-reviewer", "input": "x [[claude: output_tokens=20]]"}
        assert client.post("/playground/run", body).status == 200
    page = open_window().open("/", token_of(user_id))
    choose(page)
    text = "The input that must not be lost"
    run(page, text)
    page.get_by_role("alert").get_by_role("link", name="Buy credits").click()
    buy_the_small_pack(page)
    page.get_by_role("link", name="Back to what you were doing").click()

    expect(page.get_by_role("textbox", name="Your text")).to_have_value(text)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("article").get_by_text(DONE)).to_be_visible()
    expect(page.get_by_text("99 credits")).to_be_visible()


def test_two_windows_of_one_user_see_the_same_account(open_window: OpenWindow, token_of: TokenOf, user_id: str) -> None:
    """One conversation, continued in both at once: both turns are stored in order, or one window is told why not."""
    one = open_window().open("/", token_of(user_id))
    choose(one)
    run(one, "The first turn")
    expect(one.get_by_role("article", name="Turn 1").get_by_text(DONE)).to_be_visible()
    expect(one).to_have_url(re.compile(r"session=ses_"))
    two = open_window().open(one.url.partition("/?")[1] + one.url.partition("/?")[2], token_of(user_id))
    expect(two.get_by_role("article", name="Turn 1")).to_be_visible()

    for page in (one, two):
        page.get_by_role("textbox", name="Continue", exact=True).fill("Go on [[claude: output_tokens=60 delay=1]]")
    for page in (one, two):
        page.get_by_role("button", name="Run", exact=True).click()
    for page in (one, two):
        ended = (
            page.get_by_role("article", name="Turn 2")
            .get_by_text(DONE)
            .or_(page.get_by_role("article", name="Turn 3").get_by_text(DONE))
            .or_(page.get_by_text("This conversation has changed"))
        )
        expect(ended.first).to_be_visible()


def test_the_keyboard_alone_is_enough(open_window: OpenWindow, token_of: TokenOf, user_id: str) -> None:
    page = open_window(viewport=PHONE).open("/", token_of(user_id))
    expect(page.get_by_role("link", name="code-reviewer", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("What do you want to do?"))
    page.keyboard.type("code-rev")
    expect(page.get_by_role("link", name="api-designer")).to_have_count(0)
    tab_to(page, page.get_by_role("link", name="code-reviewer", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="code-reviewer")).to_be_visible()
    tab_to(page, page.get_by_role("textbox", name="Your text"))
    page.keyboard.type("Review: return a - b")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("article").get_by_text(DONE)).to_be_visible()
    tab_to(page, page.get_by_role("textbox", name="Continue", exact=True))


def tab_to(page: Page, wanted: Any, most: int = 60) -> None:
    for _ in range(most):
        if wanted.count() == 1 and wanted.evaluate("(element) => element === document.activeElement"):
            assert page.evaluate(OUTLINES) != ["none", "none"], "the focus cannot be seen"
            return
        page.keyboard.press("Tab")
    raise AssertionError("it is not reached by the Tab key")
