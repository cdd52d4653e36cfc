"""Purchases, customers, subscriptions and events of the payment provider on DynamoDB.

A user's records are under the user's key, beside the account. The provider's names of payments and customers lead to
them through pointers: `PAYMENT#<id>` and `CUSTOMER#<id>`. Events have a key of their own.
"""

import json
from collections.abc import Mapping, Sequence
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

from playground.adapters.dynamo_items import ERASING, account_key, read_item, undamaged, user_pk, whole
from playground.adapters.dynamo_store import Check, DynamoStore, Key, RawItem, Save, TransactionRefused
from playground.domain.calendar import from_iso, iso
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.paid_months import PaidMonth
from playground.domain.payments import Claim, Customer, PaymentEvent, Purchase, PurchaseState, Stage
from playground.domain.subscriptions import AgreedPrice, Described, Subscription
from playground.ports import Record, ReportUnreadable


class DynamoPayments:
    """`ports.PaymentRecords`."""

    def __init__(self, store: DynamoStore, table: str, *, report: ReportUnreadable = lambda error: None) -> None:
        self._store = store
        self._table = table
        self._report = report

    def purchase(self, user_id: str, purchase_id: str) -> Purchase | None:
        raw = self._store.get(Key(self._table, user_pk(user_id), f"PURCHASE#{purchase_id}"))
        return purchase_of(user_id, raw) if raw is not None else None

    def purchase_of(self, payment_id: str) -> tuple[str, str] | None:
        raw = self._store.get(_pointer(self._table, "PAYMENT", payment_id))
        return (raw["user_id"]["S"], raw["purchase_id"]["S"]) if raw is not None else None

    def month(self, user_id: str, invoice_id: str) -> PaidMonth | None:
        raw = self._store.get(Key(self._table, user_pk(user_id), f"INVOICE#{invoice_id}"))
        return month_of(user_id, raw) if raw is not None else None

    def subscription(self, user_id: str) -> Subscription:
        raw = self._store.get(Key(self._table, user_pk(user_id), "SUBSCRIPTION"))
        return subscription_of(user_id, raw) if raw is not None else Subscription(user_id=user_id)

    def customer(self, user_id: str, *, live: bool) -> Customer | None:
        raw = self._store.get(Key(self._table, user_pk(user_id), _customer_sk(live)))
        return customer_of(user_id, raw) if raw is not None else None

    def user_of(self, customer_id: str) -> str | None:
        raw = self._store.get(_pointer(self._table, "CUSTOMER", customer_id))
        return str(raw["user_id"]["S"]) if raw is not None else None

    def event(self, event_id: str) -> PaymentEvent | None:
        raw = self._store.get(_pointer(self._table, "EVENT", event_id))
        return event_of(event_id, raw) if raw is not None else None

    def all(self, *, after: str | None) -> tuple[Sequence[Purchase | PaidMonth | PaymentEvent], str | None]:
        page, stopped = self._store.scan(
            self._table,
            after=Key(self._table, *json.loads(after)) if after is not None else None,
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
        return found, json.dumps([stopped.pk, stopped.sk]) if stopped is not None else None

    def keep(self, *records: Record) -> bool:
        writes = [write for record in records for write in record_writes(self._table, record)]
        # Nothing may begin under the name of a user whose records are just being moved.
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
        """Whether all of it is there already: the reply to our own write was lost."""
        return all(self._store.get(write.key) == {**write.item, **write.key.raw} for write in writes)


def record_writes(table: str, record: Record) -> Sequence[Save]:
    """What writing a record comes to: its item, and the pointers that lead to it."""
    match record:
        case Purchase():
            key = Key(table, user_pk(record.user_id), f"PURCHASE#{record.purchase_id}")
            writes = [Save(key, _purchase_item(record), record.revision)]
            if record.payment_id is not None:
                item = {"user_id": {"S": record.user_id}, "purchase_id": {"S": record.purchase_id}}
                writes.append(Save(_pointer(table, "PAYMENT", record.payment_id), item, None, same="purchase_id"))
            return writes
        case PaidMonth():
            key = Key(table, user_pk(record.user_id), f"INVOICE#{record.invoice_id}")
            return [Save(key, _month_item(record), record.revision)]
        case Customer():
            key = Key(table, user_pk(record.user_id), _customer_sk(record.live))
            pointer = _pointer(table, "CUSTOMER", record.customer_id)
            return [
                Save(key, _customer_item(record), record.revision),
                Save(pointer, {"user_id": {"S": record.user_id}}, None, same="user_id"),
            ]
        case Subscription():
            key = Key(table, user_pk(record.user_id), "SUBSCRIPTION")
            return [Save(key, _subscription_item(record), record.revision)]
        case PaymentEvent():
            # Written over: what may happen once only is in the purchase and the account, never in the event.
            return [Save(_pointer(table, "EVENT", record.event_id), _event_item(record), None)]


def _found(raw: RawItem) -> Purchase | PaidMonth | PaymentEvent:
    owner = raw["pk"]["S"].partition("#")[2]
    if raw["sk"]["S"].startswith("INVOICE#"):
        return month_of(owner, raw)
    return event_of(owner, raw) if raw["sk"]["S"] == "EVENT" else purchase_of(owner, raw)


def _pointer(table: str, kind: str, id_: str) -> Key:
    return Key(table, f"{kind}#{id_}", kind)


def _customer_sk(live: bool) -> str:
    return "CUSTOMER#live" if live else "CUSTOMER#test"


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


def _purchase_item(purchase: Purchase) -> RawItem:
    item: RawItem = PurchaseItem(
        purchase_id=purchase.purchase_id,
        pack=purchase.pack,
        credits=purchase.credits,
        amount=purchase.amount,
        currency=purchase.currency,
        live=purchase.live,
        price_version=purchase.price_version,
        created_at=iso(purchase.created_at),
        state=purchase.state.value,
        payment_id=purchase.payment_id,
        paid_at=_iso(purchase.paid_at),
        granted=purchase.granted,
        refunded=purchase.refunded,
        refunds=_claims(purchase.refunds),
        disputes=_claims(purchase.disputes),
        taken_refund=purchase.taken_refund,
        taken_dispute=purchase.taken_dispute,
        moves=purchase.moves,
        revision=purchase.revision + 1,
    ).serialize()
    return item


def purchase_of(user_id: str, raw: RawItem) -> Purchase:
    """The purchase in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"a purchase of {user_id}"):
        item = read_item(PurchaseItem, raw)
        return Purchase(
            purchase_id=item.purchase_id,
            user_id=user_id,
            pack=item.pack,
            credits=whole(item.credits),
            amount=whole(item.amount),
            currency=item.currency,
            live=item.live,
            price_version=item.price_version,
            created_at=from_iso(item.created_at),
            state=PurchaseState(item.state),
            payment_id=item.payment_id,
            paid_at=_time(item.paid_at),
            granted=item.granted,
            refunded=whole(item.refunded),
            refunds=_claims_of(item.refunds),
            disputes=_claims_of(item.disputes),
            taken_refund=whole(item.taken_refund),
            taken_dispute=whole(item.taken_dispute),
            moves=whole(item.moves),
            revision=whole(item.revision),
        )


def _claims(claims: Mapping[str, Claim]) -> dict[str, dict[str, int]]:
    return {id_: {"a": claim.amount, "s": int(claim.stage)} for id_, claim in claims.items()}


def _claims_of(values: Any) -> dict[str, Claim]:
    return {id_: Claim(whole(claim["a"]), Stage(whole(claim["s"]))) for id_, claim in values.attribute_values.items()}


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


def _month_item(month: PaidMonth) -> RawItem:
    item: RawItem = PaidMonthItem(
        invoice_id=month.invoice_id,
        subscription_id=month.subscription_id,
        started_at=iso(month.started_at),
        period_start=iso(month.period_start),
        amount=month.amount,
        currency=month.currency,
        live=month.live,
        credited=month.credited,
        credits=month.credits,
        granted=month.granted,
        beside=month.beside,
        grant_key=month.grant_key,
        refunded=dict(month.refunded),
        refunds=_claims(month.refunds),
        disputes=_claims(month.disputes),
        taken_refund=month.taken_refund,
        taken_dispute=month.taken_dispute,
        owed=month.owed,
        moves=month.moves,
        revision=month.revision + 1,
    ).serialize()
    return item


def month_of(user_id: str, raw: RawItem) -> PaidMonth:
    """The month in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"a paid month of {user_id}"):
        item = read_item(PaidMonthItem, raw)
        return PaidMonth(
            invoice_id=item.invoice_id,
            user_id=user_id,
            subscription_id=item.subscription_id,
            started_at=from_iso(item.started_at),
            period_start=from_iso(item.period_start),
            amount=whole(item.amount),
            currency=item.currency,
            live=item.live,
            credited=whole(item.credited),
            credits=whole(item.credits),
            granted=item.granted,
            beside=item.beside,
            grant_key=item.grant_key,
            refunded={id_: whole(cents) for id_, cents in item.refunded.attribute_values.items()},
            refunds=_claims_of(item.refunds),
            disputes=_claims_of(item.disputes),
            taken_refund=whole(item.taken_refund),
            taken_dispute=whole(item.taken_dispute),
            owed=whole(item.owed),
            moves=whole(item.moves),
            revision=whole(item.revision),
        )


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


def _customer_item(customer: Customer) -> RawItem:
    item: RawItem = CustomerItem(
        customer_id=customer.customer_id,
        live=customer.live,
        created_at=iso(customer.created_at),
        gone=customer.gone or None,
        number=customer.number or None,
        former=list(customer.former) or None,
        revision=customer.revision + 1,
    ).serialize()
    return {name: value for name, value in item.items() if value != {"NULL": True}}


def customer_of(user_id: str, raw: RawItem) -> Customer:
    with undamaged(f"the customer of {user_id}"):
        item = read_item(CustomerItem, raw)
        return Customer(
            user_id=user_id,
            customer_id=item.customer_id,
            live=item.live,
            created_at=from_iso(item.created_at),
            gone=bool(item.gone),
            number=whole(item.number) if item.number is not None else 0,
            former=tuple(item.former or ()),
            revision=whole(item.revision),
        )


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


def _subscription_item(subscription: Subscription) -> RawItem:
    told = subscription.described
    item: RawItem = SubscriptionItem(
        subscription_id=told.subscription_id if told else None,
        status=told.status if told else None,
        cancel_at_period_end=told.cancel_at_period_end if told else None,
        current_period_end=_iso(told.current_period_end) if told else None,
        started_at=_iso(told.started_at) if told else None,
        ended_at=_iso(told.ended_at) if told else None,
        occurred_at=_iso(told.occurred_at) if told else None,
        event_id=told.event_id if told else None,
        live=subscription.live,
        ended={id_: iso(at) for id_, at in subscription.ended.items()},
        checkout_id=subscription.checkout_id,
        checkout_url=subscription.checkout_url,
        checkout_expires_at=_iso(subscription.checkout_expires_at),
        checkouts=subscription.checkouts,
        prices={id_: _price_map(price) for id_, price in subscription.prices.items()} or None,
        offers=[_price_map(offer) for offer in subscription.offers] or None,
        revision=subscription.revision + 1,
    ).serialize()
    return item


def subscription_of(user_id: str, raw: RawItem) -> Subscription:
    """The subscription in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"the subscription of {user_id}"):
        item = read_item(SubscriptionItem, raw)
        described = None
        if item.subscription_id is not None:
            described = Described(
                subscription_id=item.subscription_id,
                status=item.status,
                cancel_at_period_end=item.cancel_at_period_end,
                current_period_end=_time(item.current_period_end),
                started_at=from_iso(item.started_at),
                ended_at=_time(item.ended_at),
                occurred_at=from_iso(item.occurred_at),
                event_id=item.event_id,
            )
        return Subscription(
            user_id=user_id,
            live=item.live,
            described=described,
            ended={id_: from_iso(at) for id_, at in item.ended.attribute_values.items()},
            checkout_id=item.checkout_id,
            checkout_url=item.checkout_url,
            checkout_expires_at=_time(item.checkout_expires_at),
            checkouts=whole(item.checkouts),
            prices={
                id_: _price_of(values) for id_, values in (item.prices.attribute_values if item.prices else {}).items()
            },
            offers=tuple(_price_of(values) for values in item.offers or ()),
            revision=whole(item.revision),
        )


def _price_map(price: AgreedPrice) -> dict[str, Any]:
    return {"a": price.amount, "c": price.currency, **({"p": price.price_id} if price.price_id is not None else {})}


def _price_of(values: Any) -> AgreedPrice:
    fields = values.attribute_values if isinstance(values, MapAttribute) else values
    return AgreedPrice(amount=whole(fields["a"]), currency=fields["c"], price_id=fields.get("p"))


# --- Event ------------------------------------------------------------------------------------------------------------


class EventItem(Model):
    type = UnicodeAttribute()
    user_id = UnicodeAttribute(null=True)
    subject = UnicodeAttribute(null=True)
    occurred_at = UnicodeAttribute()
    received_at = UnicodeAttribute()
    quarantined = UnicodeAttribute(null=True)
    resolved_at = UnicodeAttribute(null=True)


def _event_item(event: PaymentEvent) -> RawItem:
    item: RawItem = EventItem(
        type=event.type,
        user_id=event.user_id,
        subject=event.subject,
        occurred_at=iso(event.occurred_at),
        received_at=iso(event.received_at),
        quarantined=event.quarantined,
        resolved_at=_iso(event.resolved_at),
    ).serialize()
    return item


def event_of(event_id: str, raw: RawItem) -> PaymentEvent:
    """The event in an item. Raises CorruptLedgerError if it is damaged."""
    with undamaged(f"event {event_id}"):
        item = read_item(EventItem, raw)
        return PaymentEvent(
            event_id=event_id,
            type=item.type,
            user_id=item.user_id,
            subject=item.subject,
            occurred_at=from_iso(item.occurred_at),
            received_at=from_iso(item.received_at),
            quarantined=item.quarantined,
            resolved_at=_time(item.resolved_at),
        )


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment is not None else None


def _time(text: str | None) -> datetime | None:
    return from_iso(text) if text is not None else None
