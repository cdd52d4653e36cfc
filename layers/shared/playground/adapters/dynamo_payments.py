"""Purchases, customers, subscriptions and events of the payment provider on DynamoDB.

A user's records are under the user's key, beside the account. The provider's names of payments and customers lead to
them through pointers: `PAYMENT#<id>` and `CUSTOMER#<id>`. Events have a key of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.expressions.operand import Path
from pynamodb.models import Model

from playground.adapters.dynamo_items import ERASING, AccountItem, account_of, undamaged
from playground.adapters.dynamo_keys import (
    account_key,
    customer_key,
    customer_pointer,
    event_key,
    invoice_key,
    payment_pointer,
    purchase_key,
    subscription_key,
    user_pk,
)
from playground.adapters.dynamo_mapping import ItemMapping
from playground.adapters.dynamo_rates import counted
from playground.adapters.dynamo_store import Check, DynamoStore, Key, RawItem, Save, TransactionRefused, Update
from playground.domain.account import Account
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.paid_months import PaidMonth
from playground.domain.purchases import Customer, PaymentEvent, Purchase
from playground.domain.rates import RateLimit
from playground.domain.subscriptions import Subscription
from playground.ports import Begun, BegunBefore, PurchaseOutcome, Record, ReportUnreadable, TooManyPurchases

PURCHASES_PAGE = 200  # items


class DynamoPurchaseRecords:
    """`ports.PurchaseRecords`."""

    def __init__(self, store: DynamoStore, table: str, *, report: ReportUnreadable = lambda error: None) -> None:
        self._store = store
        self._table = table
        self._report = report

    def purchase(self, user_id: str, purchase_id: str) -> Purchase | None:
        raw = self._store.get(purchase_key(self._table, user_id, purchase_id))
        return purchase_of(user_id, raw) if raw is not None else None

    def begin(self, purchase: Purchase, account: Account, *, limit: RateLimit, now: datetime) -> PurchaseOutcome:
        writes = record_writes(self._table, purchase)
        # Where `save` only checks the account, it is updated: as many items and write units.
        update = Update(
            account_key(self._table, purchase.user_id),
            actions=[],
            condition=Path(ERASING).does_not_exist() & AccountItem.version.exists(),
        )
        stamp = account.purchases_at
        for _ in self._store.backoff:
            try:
                self._store.transact(*writes, counted(update, AccountItem.purchases_at, limit, stamp, now))
            except TransactionRefused as refusal:
                if 0 in refusal.refused:  # there is one of this id
                    there = purchase_of(purchase.user_id, refusal.refused[0] or {})
                    ours = replace(purchase, revision=there.revision) == there  # the reply to our own write was lost
                    return Begun(there, limit.after(stamp, now)) if ours else BegunBefore(there)
                if len(writes) in refusal.refused:
                    raw = refusal.refused[len(writes)]
                    if raw is None:
                        raise CorruptLedgerError(f"{purchase.user_id} has no account") from None
                    stamp = account_of(purchase.user_id, raw).purchases_at
                    if stamp is not None and not (refusal.in_the_way or limit.admits(stamp, now)):
                        return TooManyPurchases(stamp)
            else:
                return Begun(replace(purchase, revision=purchase.revision + 1), limit.after(stamp, now))
        raise StoreUnavailableError

    def purchases(self, user_id: str) -> Sequence[Purchase]:
        found: list[Purchase] = []
        arguments: dict[str, Any] = {}
        # Ids that follow from an Idempotency-Key do not sort by time, so all of them are read; a user has few.
        while True:
            page, stopped = self._store.query(
                self._table,
                user_pk(user_id),
                first="PURCHASE#",
                last="PURCHASE$",  # "$" comes right after "#"
                limit=PURCHASES_PAGE,
                condition=arguments,
            )
            for raw in page:
                try:
                    found.append(purchase_of(user_id, raw))
                except CorruptLedgerError as error:
                    self._report(error)
            if stopped is None:
                return sorted(found, key=lambda each: (each.created_at, each.purchase_id), reverse=True)
            arguments["ExclusiveStartKey"] = Key(self._table, user_pk(user_id), stopped).raw

    def purchase_of(self, payment_id: str) -> tuple[str, str] | None:
        raw = self._store.get(payment_pointer(self._table, payment_id))
        return (raw["user_id"]["S"], raw["purchase_id"]["S"]) if raw is not None else None

    def month(self, user_id: str, invoice_id: str) -> PaidMonth | None:
        raw = self._store.get(invoice_key(self._table, user_id, invoice_id))
        return month_of(user_id, raw) if raw is not None else None

    def subscription(self, user_id: str) -> Subscription:
        raw = self._store.get(subscription_key(self._table, user_id))
        return subscription_of(user_id, raw) if raw is not None else Subscription(user_id=user_id)

    def customer(self, user_id: str, *, live: bool) -> Customer | None:
        raw = self._store.get(customer_key(self._table, user_id, live=live))
        return customer_of(user_id, raw) if raw is not None else None

    def user_of(self, customer_id: str) -> str | None:
        raw = self._store.get(customer_pointer(self._table, customer_id))
        return str(raw["user_id"]["S"]) if raw is not None else None

    def event(self, event_id: str) -> PaymentEvent | None:
        raw = self._store.get(event_key(self._table, event_id))
        return event_of(event_id, raw) if raw is not None else None

    def all(self, *, after: str | None) -> tuple[Sequence[Purchase | PaidMonth | PaymentEvent], str | None]:
        page, following = self._store.scan(
            self._table,
            after=after,
            condition={
                "FilterExpression": "begins_with(sk, :purchase) OR begins_with(sk, :invoice) "
                "OR (sk = :event AND attribute_exists(quarantined))",
                "ExpressionAttributeValues": {
                    ":purchase": {"S": "PURCHASE#"},
                    ":invoice": {"S": "INVOICE#"},
                    ":event": {"S": "EVENT"},
                },
            },
        )
        found: list[Purchase | PaidMonth | PaymentEvent] = []
        for raw in page:
            try:
                found.append(_found(raw))
            except CorruptLedgerError as error:
                self._report(error)
        return found, following

    def save(self, *records: Record) -> bool:
        writes = [write for record in records for write in record_writes(self._table, record)]
        # No new record may be written for a user whose records are being moved.
        users = {record.user_id for record in records if record.user_id is not None}
        checks = [Check(account_key(self._table, user_id), Path(ERASING).does_not_exist()) for user_id in sorted(users)]
        for _ in self._store.backoff:
            try:
                self._store.transact(*writes, *checks)
            except TransactionRefused as refusal:
                if any(place >= len(writes) for place in refusal.refused):
                    raise StoreUnavailableError(retry_after=60) from None
                return self._are_there(writes)
            else:
                return True
        raise StoreUnavailableError

    def _are_there(self, writes: Sequence[Save]) -> bool:
        """Whether all of it is stored already: then the reply to our own write was lost."""
        return all(self._store.get(write.key) == {**write.item, **write.key.raw} for write in writes)


def record_writes(table: str, record: Record) -> Sequence[Save]:
    """The writes of a record: its item, and the pointers that lead to it."""
    match record:
        case Purchase():
            key = purchase_key(table, record.user_id, record.purchase_id)
            writes = [Save(key, _PURCHASE.write(record, revision=record.revision + 1), record.revision)]
            if record.payment_id is not None:
                item = {"user_id": {"S": record.user_id}, "purchase_id": {"S": record.purchase_id}}
                writes.append(Save(payment_pointer(table, record.payment_id), item, None, same="purchase_id"))
            return writes
        case PaidMonth():
            key = invoice_key(table, record.user_id, record.invoice_id)
            return [Save(key, _MONTH.write(record, revision=record.revision + 1), record.revision)]
        case Customer():
            key = customer_key(table, record.user_id, live=record.live)
            pointer = customer_pointer(table, record.customer_id)
            return [
                Save(key, _CUSTOMER.write(record, revision=record.revision + 1), record.revision),
                Save(pointer, {"user_id": {"S": record.user_id}}, None, same="user_id"),
            ]
        case Subscription():
            key = subscription_key(table, record.user_id)
            return [Save(key, _SUBSCRIPTION.write(record, revision=record.revision + 1), record.revision)]
        case PaymentEvent():
            # Events are overwritten: what must happen only once is guarded by the purchase and the account, never by
            # the event.
            return [Save(event_key(table, record.event_id), _EVENT.write(record), None)]


def _found(raw: RawItem) -> Purchase | PaidMonth | PaymentEvent:
    owner = raw["pk"]["S"].partition("#")[2]
    if raw["sk"]["S"].startswith("INVOICE#"):
        return month_of(owner, raw)
    return event_of(owner, raw) if raw["sk"]["S"] == "EVENT" else purchase_of(owner, raw)


# --- Purchase ---------------------------------------------------------------------------------------------------------


class PurchaseItem(Model):
    """`refunds` and `disputes`: id → amount in cents (`a`) and stage (`s`)."""

    purchase_id = UnicodeAttribute()
    pack = UnicodeAttribute()
    credits = NumberAttribute()
    amount = NumberAttribute()
    currency = UnicodeAttribute()
    live = BooleanAttribute()
    price_version = UnicodeAttribute()
    created_at = UnicodeAttribute()
    state = UnicodeAttribute()
    payment_id = UnicodeAttribute(null=True)
    paid_at = UnicodeAttribute(null=True)
    granted = BooleanAttribute()
    refunded = NumberAttribute()
    refunds: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    disputes: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    taken_refund = NumberAttribute()
    taken_dispute = NumberAttribute()
    moves = NumberAttribute()
    revision = NumberAttribute()


_PURCHASE = ItemMapping(of=Purchase, schema=PurchaseItem, not_stored=frozenset({"user_id"}))


def purchase_of(user_id: str, raw: RawItem) -> Purchase:
    """The purchase in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"a purchase of {user_id}"):
        return _PURCHASE.read(raw, user_id=user_id)


# --- PaidMonth --------------------------------------------------------------------------------------------------------


class PaidMonthItem(Model):
    """`refunds` and `disputes` as those of a purchase; `refunded`: payment → cents."""

    invoice_id = UnicodeAttribute()
    subscription_id = UnicodeAttribute()
    started_at = UnicodeAttribute()
    period_start = UnicodeAttribute()
    amount = NumberAttribute()
    currency = UnicodeAttribute()
    live = BooleanAttribute()
    credited = NumberAttribute()
    credits = NumberAttribute()
    granted = BooleanAttribute()
    beside = BooleanAttribute()
    grant_key = UnicodeAttribute(null=True)
    refunded: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    refunds: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    disputes: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    taken_refund = NumberAttribute()
    taken_dispute = NumberAttribute()
    owed = NumberAttribute()
    moves = NumberAttribute()
    revision = NumberAttribute()


_MONTH = ItemMapping(of=PaidMonth, schema=PaidMonthItem, not_stored=frozenset({"user_id"}))


def month_of(user_id: str, raw: RawItem) -> PaidMonth:
    """The month in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"a paid month of {user_id}"):
        return _MONTH.read(raw, user_id=user_id)


# --- Customer ---------------------------------------------------------------------------------------------------------


class CustomerItem(Model):
    """`gone`, `number` and `former` are not there in items of a customer that was never replaced."""

    customer_id = UnicodeAttribute()
    live = BooleanAttribute()
    created_at = UnicodeAttribute()
    gone = BooleanAttribute(null=True)
    number = NumberAttribute(null=True)
    former: ListAttribute[Any] = ListAttribute(null=True)
    revision = NumberAttribute()


_CUSTOMER = ItemMapping(of=Customer, schema=CustomerItem, not_stored=frozenset({"user_id"}))


def customer_of(user_id: str, raw: RawItem) -> Customer:
    with undamaged(f"the customer of {user_id}"):
        return _CUSTOMER.read(raw, user_id=user_id)


# --- Subscription -----------------------------------------------------------------------------------------------------


class SubscriptionItem(Model):
    """The first attributes are those of its description; `ended` has the times by the ids of subscriptions, `prices`
    cents (`a`), currency (`c`) and the provider's name of the price (`p`) by them, `offers` the same in a list. Both
    are absent from what earlier versions wrote."""

    subscription_id = UnicodeAttribute(null=True)
    status = UnicodeAttribute(null=True)
    cancel_at_period_end = BooleanAttribute(null=True)
    current_period_end = UnicodeAttribute(null=True)
    started_at = UnicodeAttribute(null=True)
    ended_at = UnicodeAttribute(null=True)
    occurred_at = UnicodeAttribute(null=True)
    event_id = UnicodeAttribute(null=True)
    live = BooleanAttribute()
    ended: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    checkout_id = UnicodeAttribute(null=True)
    checkout_url = UnicodeAttribute(null=True)
    checkout_expires_at = UnicodeAttribute(null=True)
    checkouts = NumberAttribute()
    prices: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    offers: ListAttribute[Any] = ListAttribute(null=True)
    revision = NumberAttribute()


_SUBSCRIPTION = ItemMapping(
    of=Subscription,
    schema=SubscriptionItem,
    inline={"described": ("subscription_id",)},
    not_stored=frozenset({"user_id"}),
)


def subscription_of(user_id: str, raw: RawItem) -> Subscription:
    """The subscription in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"the subscription of {user_id}"):
        return _SUBSCRIPTION.read(raw, user_id=user_id)


# --- Event ------------------------------------------------------------------------------------------------------------


class EventItem(Model):
    type = UnicodeAttribute()
    user_id = UnicodeAttribute(null=True)
    subject = UnicodeAttribute(null=True)
    occurred_at = UnicodeAttribute()
    received_at = UnicodeAttribute()
    quarantined = UnicodeAttribute(null=True)
    resolved_at = UnicodeAttribute(null=True)


_EVENT = ItemMapping(of=PaymentEvent, schema=EventItem, not_stored=frozenset({"event_id", "revision"}))


def event_of(event_id: str, raw: RawItem) -> PaymentEvent:
    """The event in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"event {event_id}"):
        return _EVENT.read(raw, event_id=event_id)
