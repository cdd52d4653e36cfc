"""Stripe's events as types of ours. Payloads are read as plain JSON: missing values stay missing, nothing is guessed.

Shapes: https://docs.stripe.com/api of version 2026-10-28. Since 2025 the end of a period is on the subscription's item,
and an invoice names its subscription under `parent`; older shapes are read, too.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from playground.domain.errors import InvalidDeliveryError
from playground.domain.payment_events import (
    CreditNoteMoved,
    CustomerDeleted,
    CustomersSubscription,
    DisputeMoved,
    InvoiceLine,
    InvoicePaid,
    ObjectKind,
    Payment,
    PaymentMoved,
    ProviderChange,
    ProviderEvent,
    ProviderObject,
    RefundMoved,
    RefundSum,
    SubscriptionMoved,
    Unreadable,
)
from playground.domain.purchases import Claim, PurchaseState, Stage
from playground.domain.subscriptions import AgreedPrice, SubscriptionSnapshot
from playground.domain.users import is_user_id

TOLERANCE = 300  # s that a delivery's time may be off, in both directions
LARGEST = 1_000_000  # bytes; Stripe's largest events are far below
MAX_AMOUNT = 10**12  # in the smallest unit of a currency; Stripe's own limit is far below
MAX_TIME = 4_102_444_800  # s; the year 2100: calendars can still add months to it
OVER = frozenset({"canceled", "incomplete_expired"})
FAILED_REFUNDS = frozenset({"failed", "canceled"})


class EventReader:
    """Checks deliveries against the signing secrets: any of them will do, so that one can be replaced."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or not all(isinstance(secret, str) and len(secret) >= 16 for secret in secrets):
            raise ValueError("signing secrets of at least 16 characters are needed: an empty one could be forged")
        self._secrets = tuple(secrets)

    def __call__(self, body: bytes, signature: str | None, now: datetime) -> ProviderEvent:
        """The event in a delivery. Raises InvalidDeliveryError if it is not to be believed."""
        if len(body) > LARGEST:
            raise InvalidDeliveryError("too large")
        if not signature or len(signature) > 4096:
            raise InvalidDeliveryError("no signature")
        try:
            text = body.decode()
        except ValueError:
            raise InvalidDeliveryError("malformed") from None
        stamps = [part[2:] for part in signature.split(",") if part.startswith("t=")]
        # Strings that are not ASCII cannot be compared in constant time, and longer numbers are no times.
        if not signature.isascii() or len(stamps) != 1 or not re.fullmatch("[0-9]{1,12}", stamps[0]):
            raise InvalidDeliveryError("malformed")
        stamp = int(stamps[0])
        if abs(now.timestamp() - stamp) > TOLERANCE:
            raise InvalidDeliveryError("stale or from the future")
        if not any(self._signed(text, signature, secret) for secret in self._secrets):
            raise InvalidDeliveryError("wrong signature")
        try:
            return read_event(json.loads(text))
        except (ValueError, RecursionError):
            raise InvalidDeliveryError("no JSON event") from None

    def _signed(self, text: str, signature: str, secret: str) -> bool:
        try:
            stripe.WebhookSignature.verify_header(text, signature, secret, None)
        except (stripe.SignatureVerificationError, ValueError, IndexError):
            return False
        return True


def read_event(value: Any) -> ProviderEvent:
    """The event in a payload. One of a type that moves something, in a shape that its type does not have, says
    `Unreadable`: it must have no effect and must not be lost. Raises ValueError if it is no event at all."""
    if not isinstance(value, dict) or value.get("object") != "event":
        raise ValueError("no event")
    event_id, kind = _text(value.get("id")), _text(value.get("type"))
    reader = READERS.get(kind)
    change: ProviderChange | None
    try:
        live, occurred_at, content = value["livemode"], _at(value["created"]), value["data"]["object"]
        if not isinstance(live, bool) or not isinstance(content, Mapping):
            raise TypeError("not an event of an object")
        if reader is not None and content["object"] != reader.of:
            raise ValueError("another object")
        change = reader(content, occurred_at, event_id) if reader is not None else None
    except UNREADABLE:
        live, occurred_at = value.get("livemode") is True, datetime.fromtimestamp(0, UTC)
        with suppress(*UNREADABLE):
            occurred_at = _at(value["created"])
        change = Unreadable(subject=_subject(value)) if reader is not None else None
    return ProviderEvent(event_id=event_id, type=kind, live=live, occurred_at=occurred_at, change=change)


UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, IndexError)
"""What reading an object of another shape comes to."""


def _subject(value: Mapping[str, Any]) -> str | None:
    try:
        return _id(value["data"]["object"])
    except UNREADABLE:
        return None


# --- payments ---------------------------------------------------------------------------------------------------------


def payment_of(content: Mapping[str, Any]) -> Payment:
    """Of a PaymentIntent."""
    return Payment(
        payment_id=_text(content["id"]),
        amount=_whole(content["amount"]),
        currency=_text(content["currency"]),
        customer_id=_id(content.get("customer")),
        purchase_id=_pointer(content, "purchase_id"),
        user_id=_pointer(content, "user_id"),
    )


def _succeeded(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange:
    received = _whole(content["amount_received"])
    return PaymentMoved(payment=payment_of(content), state=PurchaseState.PAID, received=received)


def _payment_failed(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange:
    return PaymentMoved(payment=payment_of(content), state=PurchaseState.FAILED)


def _canceled(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange:
    return PaymentMoved(payment=payment_of(content), state=PurchaseState.CANCELED)


def _charge_refunded(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange | None:
    payment_id = _id(content.get("payment_intent"))
    if payment_id is None:
        return None
    payment = Payment(
        payment_id=payment_id,
        amount=_whole(content["amount"]),
        currency=_text(content["currency"]),
        customer_id=_id(content.get("customer")),
        purchase_id=_pointer(content, "purchase_id"),
        user_id=_pointer(content, "user_id"),
    )
    return RefundSum(payment=payment, refunded=_whole(content["amount_refunded"]))


def _refund(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange | None:
    payment = _other_payment(content)
    if payment is None:
        return None
    stage = Stage.GIVEN_BACK if content.get("status") in FAILED_REFUNDS else Stage.OPEN
    claim = Claim(_whole(content["amount"]), stage, _made_at(content))
    return RefundMoved(payment=payment, refund_id=_text(content["id"]), claim=claim)


def _dispute(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange | None:
    payment = _other_payment(content)
    if payment is None:
        return None
    status = _text(content["status"])
    claim: Claim | None
    if status.startswith("warning"):  # an inquiry: no money has moved
        claim = None
    elif status in ("won", "prevented"):
        claim = Claim(_whole(content["amount"]), Stage.GIVEN_BACK, _made_at(content))
    else:
        stage = Stage.KEPT if status == "lost" else Stage.OPEN
        claim = Claim(_whole(content["amount"]), stage, _made_at(content))
    return DisputeMoved(payment=payment, dispute_id=_text(content["id"]), claim=claim)


def _other_payment(content: Mapping[str, Any]) -> Payment | None:
    """Of a refund or a dispute, whose amount is its own."""
    payment_id = _id(content.get("payment_intent"))
    if payment_id is None:
        return None
    return Payment(payment_id=payment_id, amount=None, currency=_text(content["currency"]), customer_id=None)


# --- subscriptions ----------------------------------------------------------------------------------------------------


def described_of(content: Mapping[str, Any], *, occurred_at: datetime, event_id: str) -> SubscriptionSnapshot:
    status = _text(content["status"])
    items = (content.get("items") or {}).get("data") or [{}]
    end = content.get("current_period_end") or items[0].get("current_period_end")
    ended = content.get("ended_at") or (content.get("canceled_at") if status in OVER else None)
    ended_at = _at(ended) if ended is not None else None
    cancel_at = content.get("cancel_at")
    return SubscriptionSnapshot(
        subscription_id=_text(content["id"]),
        status=status,
        cancel_at_period_end=status not in OVER
        and (bool(content.get("cancel_at_period_end")) or cancel_at is not None),
        current_period_end=_at(end) if end is not None else None,
        started_at=_at(content.get("start_date") or content["created"]),
        ended_at=(ended_at or occurred_at) if status in OVER else None,
        occurred_at=occurred_at,
        event_id=event_id,
    )


def customers_subscription_of(content: Mapping[str, Any], *, occurred_at: datetime) -> CustomersSubscription:
    items = (content.get("items") or {}).get("data") or []
    price: AgreedPrice | None = None
    if len(items) == 1 and isinstance(items[0].get("price"), Mapping):
        its = items[0]["price"]
        amount = (its.get("unit_amount") or 0) * (items[0].get("quantity") or 1)
        price = AgreedPrice(amount=amount, currency=str(its.get("currency", "")).lower(), price_id=_id(its))
    return CustomersSubscription(
        described=described_of(content, occurred_at=occurred_at, event_id=""),
        price=price,
        user_id=_pointer(content, "user_id"),
    )


def _subscription(content: Mapping[str, Any], at: datetime, event: str) -> ProviderChange | None:
    customer_id = _text(_id(content["customer"]))
    return SubscriptionMoved(customer_id=customer_id, described=described_of(content, occurred_at=at, event_id=event))


def _invoice_paid(content: Mapping[str, Any], _at_: datetime, _event: str) -> ProviderChange | None:
    parent = content.get("parent") or {}
    details = parent.get("subscription_details") or {}
    subscription_id = _id(details.get("subscription")) or _id(content.get("subscription"))
    customer_id = _id(content.get("customer"))
    if subscription_id is None or customer_id is None or content.get("status", "paid") != "paid":
        return None
    lines = [_line(line, subscription_id) for line in (content.get("lines") or {}).get("data") or []]
    whole = [line for line in lines if line is not None]
    latest = max(whole, key=lambda line: line.start) if whole else None
    reason = content.get("billing_reason")
    total = content.get("total")
    return InvoicePaid(
        customer_id=customer_id,
        subscription_id=subscription_id,
        invoice_id=_text(content["id"]),
        total=_whole(content["amount_paid"] if total is None else max(total, 0)),
        credited=_whole(content.get("pre_payment_credit_notes_amount") or 0),
        currency=_text(content["currency"]).lower(),
        line=latest,
        prorated=latest is None and reason not in ("subscription_create", "subscription_cycle"),
        user_id=_pointer(details, "user_id") or _pointer(content, "user_id"),
        started_at=latest.start if latest is not None and reason == "subscription_create" else None,
    )


def _line(line: Mapping[str, Any], subscription_id: str) -> InvoiceLine | None:
    """None for what is no whole period of the subscription: prorations, further items."""
    parent = line.get("parent") or {}
    item = parent.get("subscription_item_details") or {}
    of_item = bool(item) or line.get("type") == "subscription"
    of = _id(item.get("subscription")) or _id(line.get("subscription"))
    if not of_item or of not in (None, subscription_id) or item.get("proration") or line.get("proration"):
        return None
    pricing = line.get("pricing") or {}
    price = _id((pricing.get("price_details") or {}).get("price")) or _id(line.get("price"))
    start, end = (_at(line["period"][name]) for name in ("start", "end"))
    return InvoiceLine(
        price_id=price,
        amount=_whole(max(line["amount"], 0)),
        currency=_text(line["currency"]).lower(),
        start=start,
        end=end,
    )


def _credit_note(content: Mapping[str, Any], _at_: datetime, _event: str) -> ProviderChange | None:
    """Its refunds come as events of their own; what it waived before the payment is in the invoice."""
    invoice_id, customer_id = _id(content.get("invoice")), _id(content.get("customer"))
    if invoice_id is None or customer_id is None:
        return None
    after = _whole(content.get("post_payment_amount") or 0)
    refunds = sum(_whole(each.get("amount_refunded") or 0) for each in content.get("refunds") or [])
    stage = Stage.GIVEN_BACK if content.get("status") == "void" else Stage.OPEN
    return CreditNoteMoved(
        customer_id=customer_id,
        invoice_id=invoice_id,
        note_id=_text(content["id"]),
        claim=Claim(max(after - refunds, 0), stage, _made_at(content)),
    )


def _customer_deleted(content: Mapping[str, Any], _at: datetime, _event: str) -> ProviderChange:
    return CustomerDeleted(customer_id=_text(content["id"]))


@dataclass(frozen=True, slots=True)
class Reader:
    """How the object in an event of a type is read, and what kind of object it is (`of`)."""

    of: str
    read: Callable[[Mapping[str, Any], datetime, str], ProviderChange | None]

    def __call__(self, content: Mapping[str, Any], occurred_at: datetime, event_id: str) -> ProviderChange | None:
        return self.read(content, occurred_at, event_id)


READERS = {
    "payment_intent.succeeded": Reader("payment_intent", _succeeded),
    "payment_intent.payment_failed": Reader("payment_intent", _payment_failed),
    "payment_intent.canceled": Reader("payment_intent", _canceled),
    "charge.refunded": Reader("charge", _charge_refunded),
    "refund.created": Reader("refund", _refund),
    "refund.updated": Reader("refund", _refund),
    "refund.failed": Reader("refund", _refund),
    "charge.refund.updated": Reader("refund", _refund),
    "charge.dispute.created": Reader("dispute", _dispute),
    "charge.dispute.updated": Reader("dispute", _dispute),
    "charge.dispute.closed": Reader("dispute", _dispute),
    "customer.deleted": Reader("customer", _customer_deleted),
    "customer.subscription.created": Reader("subscription", _subscription),
    "customer.subscription.updated": Reader("subscription", _subscription),
    "customer.subscription.deleted": Reader("subscription", _subscription),
    "invoice.paid": Reader("invoice", _invoice_paid),
    "credit_note.created": Reader("credit_note", _credit_note),
    "credit_note.updated": Reader("credit_note", _credit_note),
    "credit_note.voided": Reader("credit_note", _credit_note),
}
"""Event types that move something here. `checkout.session.completed` and `invoice.payment_failed` move nothing: what
follows from them comes as events of the subscription and its invoices."""


# --- objects, as lists have them --------------------------------------------------------------------------------------

STATUS_TYPES = {
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
    "requires_payment_method": "payment_intent.payment_failed",
}
LISTED_TYPES = {
    ObjectKind.REFUNDS: "refund.updated",
    ObjectKind.DISPUTES: "charge.dispute.updated",
    ObjectKind.INVOICES: "invoice.paid",
    ObjectKind.CREDIT_NOTES: "credit_note.updated",
    None: "customer.subscription.updated",
}


def stated_of(kind: ObjectKind | None, content: Mapping[str, Any]) -> ProviderObject:
    """An object of a list, or a subscription (None), as an event would tell of it."""
    type_ = LISTED_TYPES.get(kind, "")
    if kind is ObjectKind.PAYMENTS:
        failed = content.get("status") != "requires_payment_method" or content.get("last_payment_error") is not None
        type_ = STATUS_TYPES.get(str(content.get("status")), "") if failed else ""
    elif kind is ObjectKind.INVOICES and content.get("status") != "paid":
        type_ = ""
    parent: Mapping[str, Any] = {}
    with suppress(*UNREADABLE):
        parent = (content["parent"]["subscription_details"] or {}) if kind is ObjectKind.INVOICES else {}
    object_id = _text(content["id"])
    value = {
        "id": f"reconcile:{object_id}",
        "object": "event",
        "type": type_ or "nothing",
        "livemode": False,  # not all objects say it; the mode of the key is known
        "created": content.get("created"),
        "data": {"object": content},
    }
    return ProviderObject(
        object_id=object_id,
        event=read_event(value),
        ours=any(_read(_pointer, each, name) is not None for each in (content, parent) for name in POINTERS),
        payment_id=object_id if kind is ObjectKind.PAYMENTS else _read(_named, content, "payment_intent"),
        customer_id=_read(_named, content, "customer"),
        subscription_id=object_id if kind is None else _read(_named, parent, "subscription"),
        invoice_id=object_id if kind is ObjectKind.INVOICES else _read(_named, content, "invoice"),
    )


def _named(content: Mapping[str, Any], name: str) -> str | None:
    return _id(content.get(name))


def _read(reader: Callable[[Mapping[str, Any], str], str | None], content: Any, name: str) -> str | None:
    """None, too, for what cannot be read: the object's event says so."""
    try:
        return reader(content, name)
    except UNREADABLE:
        return None


def _made_at(content: Mapping[str, Any]) -> datetime | None:
    """When Stripe made the object; None if it does not say. It is the same in every event about it, so their order does
    not matter."""
    with suppress(*UNREADABLE):
        return _at(content["created"])
    return None


def _at(seconds: Any) -> datetime:
    return datetime.fromtimestamp(_whole(seconds, MAX_TIME), UTC)


def _whole(value: Any, most: int = MAX_AMOUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("a whole number is needed")
    return value


def _text(value: Any) -> str:
    """Ids and words of Stripe's, which become parts of keys: short, visible ASCII."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,255}", value):
        raise ValueError("text is needed")
    return value


def _id(value: Any) -> str | None:
    """An id, or that of an object in its place; None if there is none. Raises ValueError for anything else."""
    if isinstance(value, Mapping):
        value = value["id"]
    return _text(value) if value is not None else None


def _pointer(content: Mapping[str, Any], name: str) -> str | None:
    """What we wrote into the metadata of an object; None for what cannot be ours: others use the same names. Raises
    ValueError for what Stripe's metadata cannot be."""
    metadata = content.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError("metadata are a mapping")
    value = (metadata or {}).get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError("metadata are text")
    return value if value is not None and POINTERS[name](value) else None


POINTERS: Mapping[str, Callable[[str], bool]] = {
    "user_id": is_user_id,
    "purchase_id": lambda value: re.fullmatch(r"pur_\w{1,64}", value, re.ASCII) is not None,
}
