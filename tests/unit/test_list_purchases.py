"""A user's purchases as a list, and what Stripe is told of them."""

import pytest

from doubles.stripe import StripeDouble
from playground.domain.errors import InvalidRequestError, PaymentsUnavailableError
from playground.ports import PaymentProvider
from playground.schemas.credits import PurchasesAnswer
from playground.usecases.list_purchases import ListPurchases, Purchases
from tests.fakes import InMemoryLedger
from tests.kit.billing import Billing, payment_of, stripe_in_process

START = 1_801_353_600  # 31 January 2027, 00:00 UTC


@pytest.fixture
def billing() -> Billing:
    double, ledger = StripeDouble(base=lambda: START, seed=1), InMemoryLedger()
    return Billing(ledger, ledger.records, double, stripe_in_process(double), "ann")


def listed(billing: Billing, *, limit: int = 20, cursor: str | None = None) -> Purchases:
    return ListPurchases(records=billing.records, payments=lambda: billing.payments, live=lambda: False)(
        "ann", limit=limit, cursor=cursor
    )


def test_all_states_are_there_the_newest_first(billing: Billing) -> None:
    """Also those with a key, whose ids do not sort by time."""
    paid = billing.pay(billing.buy(key="k3"))
    billing.wait(seconds=10)
    declined = billing.buy("medium", key="k1")
    with pytest.raises(Exception, match="declined"):
        billing.pay(declined, card="pm_card_chargeDeclined")
    billing.wait(seconds=10)
    canceled = payment_of(billing.buy("large", key="k2"))
    billing.payments.client.v1.payment_intents.cancel(canceled)
    billing.wait(seconds=10)
    billing.buy("small")
    billing.double.control("refund", payment_intent=paid, amount=100)
    billing.double.control("dispute", payment_intent=paid, amount=200)
    billing.deliver()

    answer = PurchasesAnswer.of(listed(billing))

    shown = [(each.package, each.state, each.refunded, each.disputed) for each in answer.purchases]
    assert shown == [
        ("small", "open", 0, 0),
        ("large", "canceled", 0, 0),
        ("medium", "declined", 0, 0),
        ("small", "paid", 100, 200),
    ]
    assert [each.receipt_url is not None for each in answer.purchases] == [False, False, False, True]
    assert "/receipts/ch_" in str(answer.purchases[3].receipt_url)


def test_pages_go_on_behind_each_other(billing: Billing) -> None:
    """Five of one second, in pages of two: each once."""
    bought = {billing.buy().purchase.purchase_id for _ in range(5)}
    seen: list[str] = []
    cursor: str | None = None
    for length in (2, 2, 1):
        page = listed(billing, limit=2, cursor=cursor)
        assert len(page.purchases) == length
        seen += [each.purchase_id for each in page.purchases]
        cursor = page.next_cursor
    assert (cursor, len(seen), set(seen)) == (None, 5, bought)
    with pytest.raises(InvalidRequestError):
        listed(billing, cursor="nonsense")


def test_the_list_is_there_while_stripe_is_down(billing: Billing) -> None:
    billing.pay(billing.buy())
    billing.deliver()

    def down() -> PaymentProvider:
        raise PaymentsUnavailableError

    page = ListPurchases(records=billing.records, payments=down, live=lambda: False)("ann", limit=20, cursor=None)

    answer = PurchasesAnswer.of(page)
    assert [(each.state, each.receipt_url) for each in answer.purchases] == [("paid", None)]
    assert answer.receipts_available is False


def test_the_payment_says_what_it_is_for_and_where_the_receipt_goes(billing: Billing) -> None:
    """A repeat whose token has another address is the same purchase, and Stripe does not refuse it."""
    for email in ("ann@example.com", "other@example.com", None):
        offer = billing.buy_with_receipt("key", email)
    payment = billing.double.account.world.objects[payment_of(offer)]
    assert payment["receipt_email"] == "ann@example.com"
    assert payment["description"] == f"100 playground credits (small), {offer.purchase.purchase_id}"
    assert len(billing.double.account.world.all("payment_intent")) == 1
    assert "example.com" not in repr(billing.records.purchases("ann"))
