"""The few pages that a customer sees: the pay page of Checkout, the bank's page, the billing portal."""

from html import escape
from typing import Final

from local.stripe_double.account import Account

CONTENT_TYPE: Final = "text/html; charset=utf-8"


def page(account: Account, method: str, path: str, form: str) -> tuple[int, str | None, str]:
    """Status, where to go instead, and the page."""
    return 404, None, f"<p>There is no page {escape(path)}.</p>"
