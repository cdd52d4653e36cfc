"""Every object and every event of the Stripe double has the shape that the stripe package says it has."""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import stripe
from stripe._object_classes import OBJECT_CLASSES, get_object_class

from doubles.stripe import StripeDouble
from doubles.stripe.cards import CARDS
from doubles.stripe.expand import EXPANDABLE
from doubles.stripe.wire import ApiError
from doubles.stripe.world import plain

OURS = ("delivery", "idempotency_key")  # never leave the double as objects of Stripe's


def fields_of(kind: type) -> dict[str, Any]:
    """The fields of a class of the package, with their types."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= inspect.get_annotations(base)
    return {
        name: annotation
        for name, annotation in found.items()
        if not name.startswith("_") and get_origin(annotation) is not typing.ClassVar
    }


def choices(annotation: Any) -> list[Any]:
    """The members of a union, also of nested ones."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for each in get_args(annotation) for part in choices(each)]
    return [annotation]


def problems(value: Any, annotation: Any, where: str) -> Iterator[str]:
    """What is wrong with a value. Forward references are objects or ids of objects."""
    allowed = choices(annotation)
    if value is None:
        if type(None) not in allowed:
            yield f"{where} is null"
        return
    literals = [name for part in allowed if get_origin(part) is Literal for name in get_args(part)]
    if isinstance(value, str) and literals:
        if value not in literals:
            yield f"{where} is {value!r}, which the package does not know"
    elif isinstance(value, bool):
        if bool not in allowed and value not in literals:
            yield f"{where} is a flag"
    elif isinstance(value, int):
        if int not in allowed and float not in allowed:
            yield f"{where} is a number"
    elif isinstance(value, list):
        (listed,) = [part for part in allowed if get_origin(part) in (list, typing.List)] or [None]  # noqa: UP006
        if listed is None:
            yield f"{where} is a list"
        else:
            for item in value:
                yield from problems(item, get_args(listed)[0], f"{where}[]")
    elif isinstance(value, dict):
        yield from inside(value, allowed, where)


def inside(value: dict[str, Any], allowed: list[Any], where: str) -> Iterator[str]:
    if value.get("object") == "list":
        for item in value["data"]:
            yield from shape(item, f"{where}[]")
    elif isinstance(value.get("object"), str):
        yield from shape(value, where)
    else:
        classes = [part for part in allowed if isinstance(part, type) and issubclass(part, stripe.StripeObject)]
        if not any(get_origin(part) is not None for part in allowed):
            assert classes, where
        for kind in classes:
            yield from against(value, kind, where)


def against(value: dict[str, Any], kind: type, where: str) -> Iterator[str]:
    fields = fields_of(kind)
    if not fields:
        return
    for name, part in value.items():
        if name in fields:
            yield from problems(part, fields[name], f"{where}.{name}")
        else:
            yield f"{where}.{name} is unknown"
    for name, annotation in fields.items():
        if name not in value and type(None) not in choices(annotation):
            yield f"{where}.{name} is missing"


def shape(obj: dict[str, Any], where: str = "") -> Iterator[str]:
    name = obj["object"]
    assert name in OBJECT_CLASSES, f"{where} is a {name}"
    yield from against(obj, get_object_class("V1", name), where or name)


@pytest.fixture(scope="module")
def double() -> Iterator[StripeDouble]:
    """A double in which every kind of event has occurred."""
    with StripeDouble(base=lambda: 1_790_000_000.0, seed=1) as running:
        live_through(running)
        yield running


def live_through(double: StripeDouble) -> None:
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": double.url}, max_network_retries=0)
    for _ in range(2):
        double.control("endpoint", url="http://127.0.0.1:9/", secret="whsec_1")
    customer = client.v1.customers.create({"email": "ann@example.com"}).id

    def intent(**more: Any) -> str:
        asked: Any = {"amount": 500, "currency": "usd", "customer": customer, **more}
        return client.v1.payment_intents.create(asked).id

    for name, card in CARDS.items():
        made = intent()
        with pytest.raises(ApiError) if card.decline and not card.bank_debit else contextlib.nullcontext():
            double.control("pay", payment_intent=made, card=name)
    double.control("advance", days=1)
    for paid in [each for each in client.v1.payment_intents.list({"limit": 100}) if each.status == "succeeded"]:
        with contextlib.suppress(stripe.InvalidRequestError):  # disputed ones
            client.v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    double.control("advance", days=1)
    for dispute, outcome in zip(client.v1.disputes.list(), ("won", "lost", "withdrawn"), strict=True):
        client.v1.disputes.update(dispute.id, {"metadata": {"seen": "yes"}})
        double.control("close_dispute", dispute=dispute.id, outcome=outcome)
    client.v1.payment_intents.cancel(intent())
    double.control("pay", payment_intent=(waiting := intent()), card="authentication", authenticate=False)
    double.control("authenticate", payment_intent=waiting, outcome="fail")
    client.v1.payment_intents.confirm(
        waiting, {"payment_method": "pm_card_authenticationRequired", "return_url": "http://127.0.0.1/"}
    )

    price = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "PRPM+"},
        }
    ).id
    pages: Any = {"success_url": "http://127.0.0.1/", "line_items": [{"price": price, "quantity": 1}]}
    ids = []
    for card_name in ("visa", "visa"):
        session = client.v1.checkout.sessions.create({"mode": "subscription", "customer": customer, **pages})
        double.control("checkout", session=session.id, action="decline")
        ids.append(double.control("checkout", session=session.id, card=card_name)["subscription"])
    client.v1.checkout.sessions.create({"mode": "subscription", **pages})
    pages["line_items"] = [
        {"price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "P"}}, "quantity": 1}
    ]
    for card_name in ("pm_usBankAccount_success", "pm_usBankAccount_insufficientFunds"):
        session = client.v1.checkout.sessions.create({"mode": "payment", **pages})
        double.control("checkout", session=session.id, card=card_name)
    incomplete: Any = {"customer": customer, "items": [{"price": price}], "payment_behavior": "default_incomplete"}
    client.v1.subscriptions.create(incomplete)
    double.control("advance", days=40)
    client.v1.subscriptions.update(ids[0], {"cancel_at_period_end": True})
    double.control("subscription_card", subscription=ids[1], card="declined")
    double.control("advance", days=70)
    double.control("portal")
    client.v1.billing_portal.sessions.create({"customer": customer})
    client.v1.products.update(client.v1.products.list().data[0].id, {"name": "New"})
    client.v1.prices.update(price, {"nickname": "plus"})
    (method, *_) = client.v1.payment_methods.list({"customer": customer})
    client.v1.payment_methods.detach(method.id)
    client.v1.customers.update(customer, {"name": "Ann"})
    client.v1.customers.delete(customer)


def test_every_object_is_one_that_the_package_knows(double: StripeDouble) -> None:
    found: set[str] = set()
    for obj in double.account.world.objects.values():
        if obj["object"] not in OURS and not obj.get("deleted"):
            found |= set(shape(plain(obj)))
    assert not found, "\n".join(sorted(found))


def test_every_event_is_read_by_the_package(double: StripeDouble) -> None:
    """And its object, in each of its states."""
    found: set[str] = set()
    known = choices(fields_of(stripe.Event)["type"])[0]
    for values in double.events():
        event = stripe.Event.construct_from(plain(values), "sk_test_1")
        assert event.type in get_args(known)
        content = event.data.object
        kind = get_object_class("V1", values["data"]["object"]["object"])
        assert isinstance(content, kind)
        found |= set(shape(values["data"]["object"]))
        assert event.type.startswith(EVENT_PREFIXES[content["object"]]), event.type
    assert not found, "\n".join(sorted(found))


def test_expandable_paths_exist_in_the_package() -> None:
    for kind, paths in EXPANDABLE.items():
        for path, target in paths.items():
            assert path.partition(".")[0] in fields_of(get_object_class("V1", kind)), (kind, path)
            assert target.removesuffix("[]") in {*OBJECT_CLASSES, ""}


EVENT_PREFIXES: dict[str, str | tuple[str, ...]] = {
    "charge": "charge.",
    "checkout.session": "checkout.session.",
    "customer": "customer.",
    "dispute": "charge.dispute.",
    "invoice": "invoice.",
    "invoice_payment": "invoice_payment.",
    "payment_intent": "payment_intent.",
    "payment_method": "payment_method.",
    "price": "price.",
    "product": "product.",
    "refund": ("refund.", "charge.refund."),
    "subscription": "customer.subscription.",
}


def test_every_event_type_of_an_application_occurs(double: StripeDouble) -> None:
    happened = {event["type"] for event in double.events()}
    assert happened >= {
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.refunded",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "checkout.session.expired",
        "customer.created",
        "customer.deleted",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.updated",
        "customer.updated",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice.payment_succeeded",
        "invoice.voided",
        "payment_intent.canceled",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "refund.created",
        "refund.failed",
        "refund.updated",
    }
