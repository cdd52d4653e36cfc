"""`ports.PaymentProvider` with Stripe. Its errors stop here.

The client retries failed requests by itself, always with the same idempotency key, and gives up in time for the caller.
The text of Stripe's errors is never shown; our log has their code and parameter.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import stripe
from stripe import StripeClient

from playground.adapters.stripe_events import customers_subscription_of, described_of, payment_of, stated_of
from playground.adapters.stripe_http import Urllib3Client
from playground.domain.errors import InvalidRequestError, PaymentsRejectedError, PaymentsUnavailableError
from playground.domain.payment_events import (
    CustomersSubscription,
    InvoicePaid,
    InvoiceStatement,
    ObjectKind,
    Payment,
    ProviderObject,
    Statement,
)
from playground.domain.pricing import PlanPrice
from playground.domain.subscriptions import SubscriptionSnapshot
from playground.ports import CheckoutPage, CheckoutStarted, CustomerGoneError, PaymentStarted

CONNECT_SECONDS, READ_SECONDS = 2.0, 3.0  # of each piece of an answer; tried twice, within the 10 s of a function
RETRIES = 1
PAGE = 100  # objects of a list at a time
MAX_INVOICES = 600  # of one subscription: fifty years
MAX_LISTED = 300  # payments of one customer that are looked through

NONSENSE_SECONDS = 60  # after which it is asked again
MAX_URL = 4_000  # characters of an address of a page; those of Checkout have some hundreds
MAX_KEY = 255  # characters of an idempotency key
PASSING = (409, 424)  # of 4xx: two requests at once; a part of Stripe's that failed
RETURN_URLS = ("success_url", "cancel_url", "return_url")  # parameters that a caller chose

NONSENSE = (AttributeError, IndexError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError)
"""Errors from reading an answer of another shape."""

T = TypeVar("T")
P = ParamSpec("P")
C = TypeVar("C")


def _strict(cls: type[C]) -> type[C]:
    """Every public method raises PaymentsRejectedError for an answer that makes no sense: a proxy's, or another
    version's. Such an answer says nothing about the object; an operator has to look at it."""
    for name, method in list(vars(cls).items()):
        if not name.startswith("_") and callable(method):
            setattr(cls, name, _checked(method))
    return cls


def _checked(method: Callable[P, T]) -> Callable[P, T]:
    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except NONSENSE as error:
            raise PaymentsRejectedError(f"nonsense {type(error).__name__}", retry_after=NONSENSE_SECONDS) from error

    return call


@_strict
class StripePayments:
    """Calls Stripe at `base_url` with `api_key`."""

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        if not api_key:
            raise ValueError("the API key for Stripe is empty")
        self.client = StripeClient(
            api_key,
            base_addresses={"api": base_url} if base_url else None,
            max_network_retries=RETRIES,
            http_client=Urllib3Client(
                url=base_url or stripe.DEFAULT_API_BASE, connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS
            ),
        )

    def create_customer(self, *, user_id: str, key: str) -> str:
        made = _call(lambda: self.client.v1.customers.create({"metadata": {"user_id": user_id}}, _keyed(key)))
        return _text(made.id)

    def create_payment(
        self, *, amount: int, currency: str, customer_id: str, user_id: str, purchase_id: str, key: str
    ) -> PaymentStarted:
        made = _call(
            lambda: self.client.v1.payment_intents.create(
                {
                    "amount": amount,
                    "currency": currency,
                    "customer": customer_id,
                    "automatic_payment_methods": {"enabled": True},
                    "metadata": {"purchase_id": purchase_id, "user_id": user_id},
                },
                _keyed(key),
            )
        )
        return _started(made)

    def describe_payment(self, payment_id: str, *, description: str, receipt_email: str | None) -> None:
        params: Any = {"description": description}
        if receipt_email is not None:
            params["receipt_email"] = receipt_email
        _text(_call(lambda: self.client.v1.payment_intents.update(payment_id, params)).id)

    def receipts(self, *, customer_id: str, since: datetime) -> Mapping[str, str]:
        def look() -> dict[str, str]:
            found: dict[str, str] = {}
            wanted: Any = {"customer": customer_id, "limit": PAGE, "created": {"gte": int(since.timestamp())}}
            for number, charge in enumerate(self.client.v1.charges.list(wanted).auto_paging_iter()):
                if number >= MAX_LISTED:
                    break
                if charge.paid and charge.payment_intent is not None and charge.receipt_url is not None:
                    intent = charge.payment_intent
                    payment_id = intent if isinstance(intent, str) else intent.id
                    found.setdefault(_text(payment_id), _text(charge.receipt_url, MAX_URL))
            return found

        return _call(look)

    def payment_started(self, payment_id: str) -> PaymentStarted | None:
        found = _find(lambda: self.client.v1.payment_intents.retrieve(payment_id))
        return _started(found) if found is not None else None

    def payment_for(self, *, customer_id: str, purchase_id: str) -> PaymentStarted | None:
        def look() -> stripe.PaymentIntent | None:
            listed = self.client.v1.payment_intents.list({"customer": customer_id, "limit": 100})
            for number, payment in enumerate(listed.auto_paging_iter()):
                if number >= MAX_LISTED:
                    return None
                if payment.metadata is not None and payment.metadata.to_dict().get("purchase_id") == purchase_id:
                    return payment
            return None

        found = _call(look)
        return _started(found) if found is not None else None

    def payment(self, payment_id: str) -> Payment | None:
        found = _find(lambda: self.client.v1.payment_intents.retrieve(payment_id))
        return payment_of(_plain(found)) if found is not None else None

    def create_checkout(
        self,
        *,
        customer_id: str,
        user_id: str,
        plan: PlanPrice,
        currency: str,
        success_url: str,
        cancel_url: str,
        key: str,
    ) -> CheckoutStarted:
        made = _call(
            lambda: self.client.v1.checkout.sessions.create(
                {
                    "mode": "subscription",
                    "customer": customer_id,
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": currency,
                                "unit_amount": plan.price_cents,
                                "recurring": {"interval": "month"},
                                "product_data": {"name": plan.name},
                            },
                        }
                    ],
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                    "metadata": {"user_id": user_id},
                    "subscription_data": {"metadata": {"user_id": user_id}},
                },
                _keyed(key),
            )
        )
        return CheckoutStarted(
            checkout_id=_text(made.id),
            url=_text(made.url, MAX_URL),
            expires_at=datetime.fromtimestamp(made.expires_at, UTC),
        )

    def checkout_page(self, checkout_id: str, *, customer_id: str) -> CheckoutPage | None:
        found = _find(lambda: self.client.v1.checkout.sessions.retrieve(checkout_id, {"expand": ["customer"]}))
        if found is None or found.status == "expired" or not isinstance(found.customer, stripe.Customer):
            return None
        if found.customer.id != customer_id or _plain(found.customer).get("deleted", False):
            return None
        return CheckoutPage(
            checkout_id=checkout_id,
            is_complete=found.status == "complete",
            success_url=found.success_url,
            cancel_url=found.cancel_url,
        )

    def close_checkout(self, checkout_id: str) -> bool:
        try:
            closed = _find(lambda: self.client.v1.checkout.sessions.expire(checkout_id))
        except PaymentsRejectedError as error:
            # Stripe says in words only why it does not: it is paid, is being paid, or was closed before.
            if not isinstance(error.__cause__, stripe.InvalidRequestError):
                raise
            closed = _find(lambda: self.client.v1.checkout.sessions.retrieve(checkout_id))
        return closed is None or closed.status == "expired"

    def subscription(self, subscription_id: str) -> SubscriptionSnapshot | None:
        found = _find(lambda: self.client.v1.subscriptions.retrieve(subscription_id))
        return _described(found) if found is not None else None

    def set_cancel_at_period_end(self, subscription_id: str, *, cancel: bool) -> SubscriptionSnapshot | None:
        def change() -> stripe.Subscription:
            return self.client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": cancel})

        try:
            changed = _find(change)
        except PaymentsRejectedError:
            there = self.subscription(subscription_id)
            if there is not None and there.ended_at is None:
                raise
            return None  # an ended subscription cannot be changed
        return _described(changed) if changed is not None else None

    # --- what Stripe has, for who compares ----------------------------------------------------------------------------

    def listed(
        self, kind: ObjectKind, *, since: datetime | None, after: str | None
    ) -> tuple[Sequence[ProviderObject], str | None]:
        params: dict[str, Any] = {"limit": PAGE}
        if since is not None:
            params["created"] = {"gte": int(since.timestamp())}
        if after is not None:
            params["starting_after"] = after
        lists: Mapping[ObjectKind, Callable[[Any], Any]] = {
            ObjectKind.PAYMENTS: self.client.v1.payment_intents.list,
            ObjectKind.REFUNDS: self.client.v1.refunds.list,
            ObjectKind.DISPUTES: self.client.v1.disputes.list,
            ObjectKind.INVOICES: self.client.v1.invoices.list,
            ObjectKind.CREDIT_NOTES: self.client.v1.credit_notes.list,
        }
        page = _call(lambda: lists[kind](params))
        found = [stated_of(kind, _plain(each)) for each in page.data]
        return found, found[-1].object_id if page.has_more and found else None

    def stated_subscription(self, subscription_id: str) -> ProviderObject | None:
        found = _find(lambda: self.client.v1.subscriptions.retrieve(subscription_id))
        return stated_of(None, _plain(found)) if found is not None else None

    def statement(self, payment_id: str) -> Statement | None:
        payment = _find(lambda: self.client.v1.payment_intents.retrieve(payment_id))
        if payment is None:
            return None

        return Statement(
            received=payment.amount_received if payment.status == "succeeded" else 0,
            payment=stated_of(ObjectKind.PAYMENTS, _plain(payment)),
            claims=self._claims(payment_id),
        )

    def _claims(self, payment_id: str) -> list[ProviderObject]:
        return [
            *self._all(ObjectKind.REFUNDS, self.client.v1.refunds.list, payment_intent=payment_id),
            *self._all(ObjectKind.DISPUTES, self.client.v1.disputes.list, payment_intent=payment_id),
        ]

    def _all(self, kind: ObjectKind, listed: Callable[[Any], Any], **wanted: str) -> list[ProviderObject]:
        page = _call(lambda: listed({**wanted, "limit": PAGE}))
        if page.has_more:  # more than a hundred parts of one payment: nothing of ours
            raise PaymentsRejectedError(f"more than {PAGE} parts of one payment")
        return [stated_of(kind, _plain(each)) for each in page.data]

    def invoice_statement(self, invoice_id: str) -> InvoiceStatement:
        wanted: Any = {"invoice": invoice_id, "status": "paid", "limit": PAGE}
        claims: list[ProviderObject] = []
        for each in _call(lambda: self.client.v1.invoice_payments.list(wanted)).data:
            intent = (_plain(each).get("payment") or {}).get("payment_intent")
            payment_id = intent.get("id") if isinstance(intent, Mapping) else intent
            if isinstance(payment_id, str):
                claims += self._claims(payment_id)
        claims += self._all(ObjectKind.CREDIT_NOTES, self.client.v1.credit_notes.list, invoice=invoice_id)
        return InvoiceStatement(claims=claims)

    def invoice_paid(self, invoice_id: str) -> InvoicePaid | None:
        found = _find(lambda: self.client.v1.invoices.retrieve(invoice_id))
        change = stated_of(ObjectKind.INVOICES, _plain(found)).event.change if found is not None else None
        return change if isinstance(change, InvoicePaid) else None

    def invoice_of(self, payment_id: str) -> InvoicePaid | None:
        wanted: Any = {"payment": {"type": "payment_intent", "payment_intent": payment_id}, "limit": 1}
        for each in _call(lambda: self.client.v1.invoice_payments.list(wanted)).data:
            invoice = each.invoice
            return self.invoice_paid(invoice if isinstance(invoice, str) else invoice.id)
        return None

    def invoices_of(self, subscription_id: str) -> Sequence[ProviderObject]:
        def look() -> list[ProviderObject]:
            listed = self.client.v1.invoices.list({"subscription": subscription_id, "limit": PAGE})
            found: list[ProviderObject] = []
            for each in listed.auto_paging_iter():
                if len(found) >= MAX_INVOICES:
                    raise PaymentsRejectedError(f"more than {MAX_INVOICES} invoices of one subscription")
                found.append(stated_of(ObjectKind.INVOICES, _plain(each)))
            return found[::-1]

        return _call(look)

    def subscriptions_of(self, customer_id: str) -> Sequence[CustomersSubscription]:
        now = datetime.now(UTC).replace(microsecond=0)
        wanted: Any = {"customer": customer_id, "status": "all", "limit": PAGE}
        page = _call(lambda: self.client.v1.subscriptions.list(wanted))
        return [customers_subscription_of(_plain(each), occurred_at=now) for each in page.data]

    def is_of_invoice(self, payment_id: str) -> bool:
        wanted: Any = {"payment": {"type": "payment_intent", "payment_intent": payment_id}, "limit": 1}
        return any(_text(each.id) for each in _call(lambda: self.client.v1.invoice_payments.list(wanted)).data)

    def create_portal(self, *, customer_id: str, return_url: str) -> str:
        made = _call(
            lambda: self.client.v1.billing_portal.sessions.create({"customer": customer_id, "return_url": return_url})
        )
        return _text(made.url, MAX_URL)


def _started(payment: stripe.PaymentIntent) -> PaymentStarted:
    return PaymentStarted(payment_id=_text(payment.id), client_secret=_text(payment.client_secret))


def _described(subscription: stripe.Subscription) -> SubscriptionSnapshot:
    """As an answer shows it. Its time is now, by our clock to the second, as in events."""
    now = datetime.now(UTC).replace(microsecond=0)
    return described_of(_plain(subscription), occurred_at=now, event_id="")


def _plain(found: stripe.StripeObject) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = found.to_dict()
    return plain


def _keyed(key: str) -> Any:
    """The options of a call with an idempotency key. Keys travel in a header, and Stripe limits their length: a key
    that is not short, visible ASCII is sent as its hash. Others are sent unchanged, so that a key means the same to
    every release."""
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", key) or len(key) > MAX_KEY:
        key = "sha256:" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
    return {"idempotency_key": key}


def _find(call: Callable[[], T]) -> T | None:
    """The object with this id; None if Stripe says that it does not have it. Raises ValueError for an answer that is
    not such an object."""
    try:
        found = _call(call)
    except PaymentsRejectedError as error:
        cause = error.__cause__
        if isinstance(cause, stripe.InvalidRequestError) and cause.code == "resource_missing":
            return None
        raise
    if not isinstance(found, stripe.StripeObject):
        raise ValueError("an object is needed")
    _text(found["id"])
    return found


def _text(value: object, most: int = 255) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value) or len(value) > most:
        raise ValueError("text is needed")
    return value


def _call(call: Callable[[], T]) -> T:
    """Stripe's answer. Transient failures are PaymentsUnavailableError: no connection, 5xx, a conflict, a rate limit.
    Other errors are PaymentsRejectedError (a bad request, or missing permissions), unless they are about the customer,
    or an address that the caller chose. A key that was used for another request is such an error, too: it stays refused
    until Stripe has forgotten it."""
    try:
        return call()
    except stripe.RateLimitError as error:
        raise PaymentsUnavailableError(retry_after=30) from error
    except stripe.APIConnectionError as error:
        raise PaymentsUnavailableError from error
    except stripe.APIError as error:
        if error.http_status is not None and 400 <= error.http_status < 500 and error.http_status not in PASSING:
            raise _rejected(error) from error
        raise PaymentsUnavailableError from error
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing" and error.param == "customer":
            raise CustomerGoneError from error
        if error.param in RETURN_URLS:
            raise InvalidRequestError(error.param, "must be an address that the payment provider takes") from error
        raise _rejected(error) from error
    except stripe.StripeError as error:
        raise _rejected(error) from error


def _rejected(error: stripe.StripeError) -> PaymentsRejectedError:
    """Without the message of the error: it may quote what was sent."""
    facts = (getattr(error, "code", None), getattr(error, "param", None), error.request_id)
    return PaymentsRejectedError(" ".join([type(error).__name__, *(_word(fact) for fact in facts)]))


def _word(fact: object) -> str:
    return fact if isinstance(fact, str) and re.fullmatch(r"[\w\[\].-]{1,100}", fact, re.ASCII) else "-"
