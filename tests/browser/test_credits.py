"""The view of credits, clicked: packs, PRPM+, history and receipts, with the stand-in's pages of Stripe."""

import csv
import re
import uuid
from collections.abc import Callable

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import expect

from tests.browser.conftest import pay_and_close


@pytest.fixture
def user_id() -> str:
    return f"buyer-{uuid.uuid4().hex[:8]}"


def test_a_pack_is_paid_in_another_tab_and_this_one_notices(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/playground/credits", token_of(user_id))
    balance = page.get_by_role("region", name="Your balance")
    expect(balance).to_contain_text("5 credits to spend")
    page.get_by_role("button", name="Buy 100 credits for $5.00").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the payment page").click()
    pay_and_close(opened.value)

    expect(page.get_by_role("status").filter(has_text="100 credits have been added")).to_be_visible()
    expect(balance).to_contain_text("105 credits to spend")
    expect(page.get_by_role("row", name="Purchase")).to_contain_text("+100")


def test_a_declined_card_is_said_and_another_one_pays(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/playground/credits", token_of(user_id))
    page.get_by_role("button", name="Buy 100 credits for $5.00").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the payment page").click()
    pay = opened.value
    pay.get_by_role("combobox", name="Test card").select_option("Visa 0002: is declined")
    pay.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The card was declined. Nothing was charged")

    pay.get_by_role("combobox", name="Test card").select_option("Visa 4242: succeeds")
    pay.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="100 credits have been added")).to_be_visible()


def test_prpm_plus_is_subscribed_to_canceled_and_kept(
    open_window: Callable, token_of: Callable[[str], str], user_id: str
) -> None:
    page = open_window().open("/playground/credits", token_of(user_id))
    page.get_by_role("button", name="Subscribe for $20.00 a month").click()
    page.get_by_role("button", name="Pay", exact=True).click()  # of the stand-in's page

    plan = page.get_by_role("region", name="PRPM+")
    expect(page.get_by_role("region", name="Your balance")).to_contain_text("205 credits to spend")
    expect(plan).to_contain_text("Active, renews")
    expect(page.get_by_text("Thank you. PRPM+ is active.", exact=True)).to_be_visible()
    assert page.url.endswith("/playground/subscription"), "what Stripe's page leads back with is taken out"
    plan.get_by_role("button", name="Cancel PRPM+").click()
    asked = page.get_by_role("dialog", name="Cancel PRPM+?")
    expect(asked).to_contain_text(re.compile(r"It lasts until \d+ \w+ \d{4}"))
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)
    expect(plan.get_by_role("button", name="Cancel PRPM+")).to_be_focused()
    plan.get_by_role("button", name="Cancel PRPM+").click()
    asked.get_by_role("button", name="Cancel PRPM+").click()
    expect(plan).to_contain_text("until then nothing changes")
    expect(plan.get_by_role("status")).to_be_focused()
    plan.get_by_role("button", name="Keep PRPM+").click()
    expect(plan).to_contain_text("Active, renews")


def test_a_receipt_says_why_a_run_cost_what_it_did(
    open_window: Callable, token_of: Callable[[str], str], user_id: str, stack
) -> None:
    run = {"package_id": "@playground/code-reviewer", "input": "Review this: return a - b"}
    assert stack.client(user_id).post("/playground/run", run).status == 200
    page = open_window().open("/playground/credits", token_of(user_id))
    table = page.get_by_role("region", name="Lines of the history").get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(3)  # with its head

    page.get_by_role("button", name="Why? −1").click()
    expect(table).to_contain_text("A run of that size costs 1 credit.")
    expect(table).to_contain_text("Paid from: 1 of those that never expire.")

    page.get_by_role("combobox", name="Show").select_option("Welcome credits")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(table).to_contain_text("+5")


def test_usage_is_added_up_and_the_history_is_a_file(
    open_window: Callable, token_of: Callable[[str], str], user_id: str, stack
) -> None:
    run = {"package_id": "@playground/code-reviewer", "input": "Review this: return a - b"}
    assert stack.client(user_id).post("/playground/run", run).status == 200
    page = open_window().open("/playground/credits", token_of(user_id))
    usage = page.get_by_role("region", name="Usage", exact=True)
    usage.get_by_role("combobox", name="Of the last").select_option("7 days")
    expect(usage).to_contain_text(re.compile(r"1 run, 1 credit, [\d,]+ tokens"))
    kinds = usage.get_by_role("region", name="Usage by model and package")
    expect(kinds.get_by_role("row", name="Sonnet, @playground/code-reviewer 1 1")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert re.fullmatch(r"credits-\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
    lines = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    assert [(line["type"], line["amount"]) for line in lines] == [("spend", "-1"), ("signup", "5")]
    expect(page.get_by_text("2 lines in the file.").first).to_be_visible()
