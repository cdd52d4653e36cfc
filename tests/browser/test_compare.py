"""Comparisons, clicked: columns that are written at the same time, each with an end of its own."""

import uuid
from collections.abc import Callable

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

WITH, WITHOUT = "@playground/code-reviewer, Sonnet", "Without a package, Sonnet"


@pytest.fixture
def user_id() -> str:
    return f"comparer-{uuid.uuid4().hex[:8]}"


def choose(page) -> None:
    choice = page.get_by_role("combobox", name="Package of column 1")
    choice.fill("code-reviewer")
    page.get_by_role("option", name="@playground/code-reviewer").click()
    expect(choice).to_have_value("@playground/code-reviewer")


def test_with_and_without_a_package_is_what_it_begins_with(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/compare", token_of(user_id))
    button = page.get_by_role("button", name="Compare", exact=True)
    expect(button).to_be_disabled()
    choose(page)
    page.get_by_role("textbox", name="Your input").fill("Review: return a - b [[claude: output_tokens=200 slow=20]]")
    expect(page.get_by_text("All columns together: 2 credits, at most 4; you have 5.")).to_be_visible()
    button.click()

    first, second = page.get_by_role("article", name=WITH), page.get_by_role("article", name=WITHOUT)
    for column in (first, second):  # both are written before one of them is done
        expect(column).to_contain_text("This answer is based on")
    expect(page.get_by_role("status").filter(has_text="All answers are there. Together: 2 credits.")).to_be_visible()
    expect(first).to_contain_text("Code reviewer")
    expect(second).not_to_contain_text("Code reviewer")
    for column in (first, second):
        expect(column).to_contain_text("1 credit")
        expect(column.get_by_role("link", name="Continue this one")).to_be_visible()

    page.get_by_role("link", name="Conversations").click()
    together = page.get_by_role("group", name="Comparison: Review: return a - b")
    expect(together.get_by_role("heading", level=3)).to_have_text([WITH, WITHOUT])
    together.get_by_role("link", name=WITHOUT, exact=True).click()
    expect(page.get_by_text("From a comparison")).to_be_visible()
    expect(page.get_by_role("link", name="@playground/code-reviewer")).to_have_count(0)


def test_a_column_that_fails_says_so_and_the_other_one_answers(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/compare", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your input").fill(f"{user_id} [[claude: status=400 times=1]]")
    page.get_by_role("button", name="Compare", exact=True).click()

    expect(page.get_by_role("status").filter(has_text="1 column has no answer. Together: 1 credit.")).to_be_visible()
    expect(page.get_by_role("article").get_by_role("alert")).to_have_count(1)
    expect(page.get_by_role("article").filter(has_text="1 credit")).to_have_count(1)


def test_columns_are_read_on_when_the_connection_breaks(
    open_window: Callable, token_of: Callable[[str], str], user_id: str, proxy
) -> None:
    page = open_window(base=proxy.url).open("/compare", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your input").fill("Review it [[claude: output_tokens=300 slow=30]]")
    proxy.cut("POST /api/v1/playground/compare/stream", after_bytes=3000)
    page.get_by_role("button", name="Compare", exact=True).click()

    expect(page.get_by_role("status").filter(has_text="All answers are there. Together: 2 credits.")).to_be_visible()
    assert proxy.cut_count == 1
    expect(page.get_by_role("article").get_by_role("alert")).to_have_count(0)


def test_columns_that_cannot_be_paid_lead_to_buying(
    open_window: Callable, token_of: Callable[[str], str], user_id: str, stack
) -> None:
    client = stack.client(user_id)
    run = {"package_id": "@playground/code-reviewer", "input": "x [[claude: output_tokens=20]]"}
    for _ in range(5):
        assert client.post("/playground/run", run).status == 200
    page = open_window().open("/compare", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your input").fill("Review: return a - b")
    page.get_by_role("button", name="Compare", exact=True).click()

    page.get_by_role("alert").get_by_role("link", name="Buy credits").click()
    expect(page.get_by_role("heading", name="Buy credits")).to_be_visible()


def test_columns_have_variables_settings_and_a_prompt_of_ones_own(
    open_window: Callable, stack, token_of: Callable[..., str], user_id: str
) -> None:
    """The total price follows what is written, and is asked for again once it is paid; so does who may run a prompt."""
    page = open_window().open("/compare", token_of(user_id))
    first, second = page.get_by_role("group", name="Column 1"), page.get_by_role("group", name="Column 2")
    choice = page.get_by_role("combobox", name="Package of column 1")
    choice.fill("plain-english")
    page.get_by_role("option", name="@playground/plain-english").click()
    page.get_by_role("textbox", name="Your input").fill("Explain a lien [[claude: output_tokens=60]]")
    first.get_by_role("textbox", name="audience").fill("tenants of a flat")
    expect(page.get_by_text("All columns together: 2 credits, at most 4; you have 5.")).to_be_visible()

    second.get_by_role("combobox", name="Prompt").select_option("Your own prompt")
    prompt = page.get_by_role("textbox", name="Prompt of column 2")
    prompt.fill("You are")
    expect(page.get_by_text("Column 2: Write a prompt of at least 10 characters.")).to_be_visible()
    prompt.fill("You are a pirate lawyer. Answer in one sentence.")
    refused = page.get_by_role("alert").filter(has_text="Column 2: Your account cannot run prompts of its own")
    refused.get_by_role("link", name="See PRPM+").click()
    expect(page.get_by_text("200 credits every month")).to_be_visible()

    page.goto(f"{stack.url}/compare#token={token_of(user_id, verified_author=True)}")
    page.reload()
    expect(prompt).to_have_value("You are a pirate lawyer. Answer in one sentence.")
    expect(page.get_by_text("All columns together: 3 credits, at most 4; you have 5.")).to_be_visible()
    first.get_by_text("More settings").click()
    first.get_by_label("Maximum of tokens").fill("200")
    expect(page.get_by_text("All columns together: 3 credits; you have 5.")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()

    expect(page.get_by_role("status").filter(has_text="All answers are there. Together: 3 credits.")).to_be_visible()
    expect(page.get_by_text("All columns together: 3 credits; you have 2.")).to_be_visible()
    newest = stack.client(user_id).get("/playground/sessions").body["sessions"][:2]
    sessions = [stack.client(user_id).get(f"/playground/sessions/{each['session_id']}").body for each in newest]
    kept = {each["package"]: (each["custom_prompt"], each["variables"]) for each in sessions}
    assert kept["@playground/plain-english"] == (None, {"audience": "tenants of a flat"})
    assert kept[None] == ("You are a pirate lawyer. Answer in one sentence.", None)


def test_the_same_column_twice_is_not_asked(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/compare", token_of(user_id))
    choose(page)
    page.get_by_role("textbox", name="Your input").fill("x")
    page.get_by_role("button", name="Add a column").click()
    third = page.get_by_role("group", name="Column 3")
    third.get_by_role("combobox", name="Model").select_option("sonnet")
    expect(third.get_by_role("alert")).to_have_text("This column would be the same as another one.")
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Remove column 3").click()
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_enabled()
