"""Stripe's stand-in and our use cases in one process and on one clock, without a socket: for lives of many months.

The real `stripe` package speaks to the stand-in through a client that calls it, so the adapter is the real one.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import stripe

from doubles.stripe import StripeDouble
from playground.adapters.ids import id_maker
from playground.adapters.stripe_events import read_event
from playground.adapters.stripe_payments import StripePayments
from playground.domain.account import Account
from playground.domain.entries import EntryType
from playground.domain.paid_months import PaidMonth
from playground.domain.pricing import PriceTable
from playground.domain.purchases import PaymentEvent, Purchase
from playground.ports import Ledger, PurchaseRecords
from playground.usecases.apply_payment import Applied, ApplyPayment
from playground.usecases.buy_credits import BuyCredits, ManageSubscription, Offer
from tests.kit.prices import EXAMPLE
from tests.kit.transport import StripeReply, Wire
from tests.support import all_entries, check_invariants

FRONTEND = "https://playground.test"
VISA = "pm_card_visa"
DECLINED_LATER = "pm_card_chargeCustomerFail"  # can be saved, and is declined when it is charged


class InProcess(stripe.HTTPClient):
    """The transport of the stripe package, straight into a stand-in."""

    name = "in process"

    def __init__(self, double: StripeDouble, wire: Wire | None = None) -> None:
        super().__init__()
        self._double = double
        self._wire = wire

    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        body = post_data.encode() if isinstance(post_data, str) else post_data or b""

        def send() -> StripeReply:
            reply = self._double.reply(method.upper(), target, headers or {}, body)
            if reply.status is None:
                raise stripe.APIConnectionError("the reply was lost")
            return reply.body.decode(), reply.status, reply.headers

        route = re.sub(r"/(pi|in|sub)_\w+$", "/{id}", parts.path)  # ids differ from life to life
        return self._wire.stripe_request(route, send) if self._wire is not None else send()


def stripe_in_process(double: StripeDouble, api_key: str = "sk_test_1", wire: Wire | None = None) -> StripePayments:
    """The real adapter over a stand-in that need not be listening; through `wire`, if something may go wrong."""
    payments = StripePayments(api_key=api_key)
    payments.client = stripe.StripeClient(api_key, http_client=InProcess(double, wire), max_network_retries=0)
    return payments


class OwnRecords:
    """`PurchaseRecords` of a store that others use, too: of `all` only those of one user, and these events. What others
    leave there is nothing to the test, and comparing it with its Stripe takes time."""

    def __init__(self, records: PurchaseRecords, user_id: str, *event_ids: str) -> None:
        self._records = records
        self._user_id = user_id
        self._event_ids = event_ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def all(self, *, after: str | None) -> tuple[Sequence[Purchase | PaidMonth | PaymentEvent], str | None]:
        found, following = self._records.all(after=after)
        return [record for record in found if self._is_own(record)], following

    def _is_own(self, record: Purchase | PaidMonth | PaymentEvent) -> bool:
        if record.user_id is None:
            return isinstance(record, PaymentEvent) and record.event_id in self._event_ids
        return record.user_id == self._user_id


class Billing:
    """One user with a purse, and Stripe. The clock is the stand-in's, unless `at` says when it is for us."""

    def __init__(
        self, ledger: Ledger, records: PurchaseRecords, double: StripeDouble, payments: StripePayments, user_id: str
    ) -> None:
        self.ledger = ledger
        self.records = records
        self.double = double
        self.payments = payments
        self.user_id = user_id
        self.at: datetime | None = None
        self._seen = {event["id"] for event in double.events()}
        self.sell(EXAMPLE)

    def sell(self, prices: PriceTable) -> None:
        """From now on things cost what `prices` says, as after a deployment."""
        self.prices = prices
        self._buys = BuyCredits(
            ledger=self.ledger,
            records=self.records,
            payments=self.payments,
            prices=prices,
            live=False,
            clock=self.clock,
            new_id=id_maker(self.clock),
        )
        self.subscriptions = ManageSubscription(
            ledger=self.ledger,
            records=self.records,
            payments=lambda: self.payments,
            prices=prices,
            live=False,
            clock=self.clock,
            frontend_url=FRONTEND,
            subscription_page="/plus",
        )
        self.apply_payment = ApplyPayment(
            ledger=self.ledger,
            records=self.records,
            payments=self.payments,
            prices=prices,
            live=False,
            clock=self.clock,
        )

    def clock(self) -> datetime:
        return self.at or datetime.fromtimestamp(self.double.account.world.now, UTC)

    # --- what the user does -------------------------------------------------------------------------------------------

    def buy(self, pack: str = "small", key: str | None = None) -> Offer:
        return self._buys(self.user_id, pack, idempotency_key=key)

    def buy_with_receipt(self, key: str, email: str | None) -> Offer:
        return self._buys(self.user_id, "small", idempotency_key=key, receipt_email=email)

    def pay(self, offer: Offer, card: str = VISA) -> str:
        payment = payment_of(offer)
        self.double.control("pay", payment_intent=payment, card=card)
        return payment

    def subscribe(self, card: str = VISA) -> str:
        """The id of a subscription that was begun on Stripe's page."""
        self.subscriptions.subscribe(self.user_id)
        return self.subscribe_now(card)

    def subscribe_now(self, card: str = VISA) -> str:
        """The same, on a page that was opened before."""
        checkout = self.records.subscription(self.user_id).checkout_id
        paid = self.double.control("checkout", session=checkout, card=card)
        return str(paid["subscription"])

    def wait(self, *, days: int = 0, seconds: int = 0) -> None:
        self.double.control("advance", seconds=days * 86_400 + seconds)

    # --- what happens at Stripe ---------------------------------------------------------------------------------------

    def invoices(self, subscription_id: str) -> list[dict[str, Any]]:
        """Of a subscription, oldest first."""
        found = self.double.account.world.all("invoice")
        return [each for each in found if each["parent"]["subscription_details"]["subscription"] == subscription_id]

    def refund_month(self, invoice: Mapping[str, Any], cents: int) -> str:
        refund = self.double.control("refund", payment_intent=invoice["_intent"], amount=cents)
        return str(refund["id"])

    def dispute_month(self, invoice: Mapping[str, Any], cents: int | None = None) -> str:
        amount = {"amount": cents} if cents is not None else {}
        return str(self.double.control("dispute", payment_intent=invoice["_intent"], **amount)["id"])

    def subscribe_at_stripe(self, *, like: str, pointer: bool = True) -> str:
        """A further subscription of the same customer to the same price, which was not ordered through us."""
        there = self.double.account.world.objects[like]
        params: Any = {
            "customer": there["customer"],
            "items": [{"price": there["items"]["data"][0]["price"]["id"]}],
            "default_payment_method": there["default_payment_method"],
            "metadata": {"user_id": self.user_id} if pointer else {},
        }
        return str(self.payments.client.v1.subscriptions.create(params).id)

    # --- what Stripe tells --------------------------------------------------------------------------------------------

    def new_events(self) -> list[dict[str, Any]]:
        """Events about this user that have not been delivered yet; oldest first."""
        events = [event for event in self.double.events() if event["id"] not in self._seen]
        self._seen |= {event["id"] for event in events}
        return events

    def send(self, event: Mapping[str, Any]) -> Applied:
        return self.apply_payment(read_event(json.loads(json.dumps(event))))

    def deliver(self) -> None:
        for event in self.new_events():
            self.send(event)

    # --- what came of it ----------------------------------------------------------------------------------------------

    @property
    def account(self) -> Account:
        account = self.ledger.account(self.user_id, self.clock())
        check_invariants(account, all_entries(self.ledger, self.user_id))
        return account

    @property
    def buckets(self) -> tuple[int, int, int]:
        buckets = self.account.buckets
        return buckets.monthly, buckets.rollover, buckets.purchased

    def grants(self) -> list[int]:
        """What was granted by paid periods, in order."""
        entries = all_entries(self.ledger, self.user_id)
        return [entry.amount for entry in entries if entry.type is EntryType.MONTHLY]


def payment_of(offer: Offer) -> str:
    return offer.client_secret.partition("_secret_")[0]
