"""Subscriptions: how they begin, renew, lapse and end."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from doubles.stripe.catalog import plan_of
from doubles.stripe.customers import Customers
from doubles.stripe.invoices import Invoices, no_default, subscription_of
from doubles.stripe.wire import Obj, Params, invalid, no_such, refused
from doubles.stripe.world import World, listing, plain

INCOMPLETE_SECONDS: Final = 23 * 3_600
ENDED: Final = ("canceled", "incomplete_expired")
BEHAVIORS: Final = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
FEEDBACK: Final = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
CREATE: Final = (
    "customer",
    "items",
    "default_payment_method",
    "metadata",
    "description",
    "payment_behavior",
    "cancel_at_period_end",
    "off_session",
)
UPDATE: Final = (
    "cancel_at_period_end",
    "cancel_at",
    "cancellation_details",
    "default_payment_method",
    "description",
    "metadata",
)
CANCEL: Final = ("cancellation_details", "invoice_now", "prorate")


def later(anchor: int, interval: str, count: int) -> int:
    """The boundary `count` intervals after the anchor; in a month that is too short, its last day."""
    moment = datetime.fromtimestamp(anchor, UTC)
    if interval in ("day", "week"):
        return int((moment + timedelta(days=count * (7 if interval == "week" else 1))).timestamp())
    months = moment.month - 1 + count * (12 if interval == "year" else 1)
    year, month = moment.year + months // 12, months % 12 + 1
    return int(moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1])).timestamp())


class Subscriptions:
    def __init__(self, world: World, customers: Customers, invoices: Invoices) -> None:
        self.world = world
        self.customers = customers
        self.invoices = invoices
        invoices.on_paid = self._invoice_paid
        invoices.on_failed = self._invoice_failed
        world.steps["period_ends"] = self._period_ends
        world.steps["incomplete"] = self._expire_incomplete

    # ------------------------------------------------------------ calls

    def create(self, params: Params) -> Obj:
        customer = self.customers.usable(params.needed("customer"))
        items = params.several("items", ("price", "quantity"))
        if len(items) != 1:
            message = "The Stripe double has subscriptions to one price."
            raise params.missing("items") if not items else invalid(message, "items")
        price = self.recurring_price(items[0])
        behavior = params.choice("payment_behavior", BEHAVIORS, "allow_incomplete")
        token = params.text("default_payment_method")
        method = self.customers.method_of(customer, token, "default_payment_method") if token else None
        if method is None and behavior != "default_incomplete" and price["unit_amount"]:
            default = customer["invoice_settings"]["default_payment_method"]
            if default is None:
                raise no_default(customer)
        subscription = self.begin(
            customer,
            price,
            items[0].integer("quantity", lowest=1) or 1,
            method=method,
            metadata=params.metadata(),
            description=params.text("description"),
        )
        if params.flag("cancel_at_period_end"):
            self._cancel_at_period_end(subscription, True)
        invoice = self.invoices.finalize(self.world.objects[subscription["latest_invoice"]])
        if behavior == "default_incomplete" and price["unit_amount"]:
            return subscription
        self.invoices.charge(invoice)
        if subscription["status"] == "incomplete" and behavior == "error_if_incomplete":
            intent = self.world.objects[invoice["_intent"]]
            error = intent["last_payment_error"] or {"message": "The payment needs the customer.", "code": None}
            self.end(subscription, None)
            raise refused(error["message"], error["code"])
        return subscription

    def update(self, identifier: str, params: Params) -> Obj:
        subscription = self.world.get("subscription", identifier)
        if subscription["status"] in ENDED and any(
            name in params for name in UPDATE if name not in ("cancellation_details", "metadata")
        ):
            raise refused("A canceled subscription can only update its cancellation_details and metadata.")
        if "cancel_at" in params and "cancel_at_period_end" in params:
            raise invalid("You may only specify one of these parameters: cancel_at, cancel_at_period_end.")
        changes: Obj = {"metadata": params.metadata(subscription["metadata"])}
        if "description" in params:
            changes["description"] = params.text("description")
        if "default_payment_method" in params:
            customer = self.world.objects[subscription["customer"]]
            method = self.customers.method_of(customer, params.needed("default_payment_method"))
            self.customers.keep(method, customer)
            changes["default_payment_method"] = method["id"]
        if "cancellation_details" in params:
            changes["cancellation_details"] = {**subscription["cancellation_details"], **self._details(params)}
        if "cancel_at_period_end" in params:
            changes |= self._cancellation(subscription, changes, params.flag("cancel_at_period_end"))
        if "cancel_at" in params:
            changes |= self._cancellation(subscription, changes, False)
            if (moment := params.integer("cancel_at", lowest=self.world.now)) is not None:
                changes |= self._cancellation(subscription, changes, True)
                changes |= {"cancel_at": moment, "cancel_at_period_end": False}
        return self._change(subscription, changes)

    def cancel(self, identifier: str, params: Params) -> Obj:
        """End the subscription now."""
        subscription = self.world.get("subscription", identifier)
        if subscription["status"] in ENDED:
            raise no_such("subscription", identifier)
        if params.flag("invoice_now") or params.flag("prorate"):
            raise invalid("The Stripe double has no prorations.", "prorate")
        self.world.update(
            subscription,
            cancellation_details={**subscription["cancellation_details"], **self._details(params)},
        )
        return self.end(subscription, "cancellation_requested")

    def recurring_price(self, item: Params) -> Obj:
        price = self.world.get("price", item.needed("price"), item.path("price"))
        if price["recurring"] is None:
            raise invalid(
                f"The price specified is set to `type=one_time` but this field only accepts prices with "
                f"`type=recurring`: {price['id']}",
                item.path("price"),
            )
        if not price["active"]:
            raise invalid("The price specified is inactive. This field only accepts active prices.", item.path("price"))
        return price

    # ------------------------------------------------------------ the machine

    def begin(
        self,
        customer: Obj,
        price: Obj,
        quantity: int,
        *,
        method: Obj | None,
        metadata: dict[str, str],
        description: str | None = None,
    ) -> Obj:
        """An incomplete subscription with the draft of its first invoice; paying that makes it active."""
        world, start = self.world, self.world.now
        identifier, item = world.new_id("sub"), world.new_id("si")
        recurring = price["recurring"]
        end = later(start, recurring["interval"], recurring["interval_count"])
        if method is not None:
            self.customers.keep(method, customer)
        data = {
            "id": item,
            "object": "subscription_item",
            "billing_thresholds": None,
            "created": start,
            "current_period_end": end,
            "current_period_start": start,
            "discounts": [],
            "metadata": {},
            "plan": plan_of(price),
            "price": plain(price),
            "quantity": quantity,
            "subscription": identifier,
            "tax_rates": [],
        }
        subscription = world.add(
            {
                "id": identifier,
                "object": "subscription",
                "application": None,
                "application_fee_percent": None,
                "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
                "billing_cycle_anchor": start,
                "billing_cycle_anchor_config": None,
                "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
                "billing_schedules": [],
                "billing_thresholds": None,
                "cancel_at": None,
                "cancel_at_period_end": False,
                "canceled_at": None,
                "cancellation_details": {"comment": None, "feedback": None, "reason": None},
                "collection_method": "charge_automatically",
                "created": start,
                "currency": price["currency"],
                "customer": customer["id"],
                "customer_account": None,
                "days_until_due": None,
                "default_payment_method": method["id"] if method else None,
                "default_source": None,
                "default_tax_rates": [],
                "description": description,
                "discounts": [],
                "ended_at": None,
                "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
                "items": {**listing(f"/v1/subscription_items?subscription={identifier}", [data]), "total_count": 1},
                "latest_invoice": None,
                "livemode": world.livemode,
                "metadata": metadata,
                "next_pending_invoice_item_invoice": None,
                "on_behalf_of": None,
                "pause_collection": None,
                "payment_settings": {
                    "payment_method_options": None,
                    "payment_method_types": None,
                    "save_default_payment_method": "off",
                },
                "pending_invoice_item_interval": None,
                "pending_setup_intent": None,
                "pending_update": None,
                "schedule": None,
                "start_date": start,
                "status": "incomplete",
                "test_clock": None,
                "transfer_data": None,
                "trial_end": None,
                "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
                "trial_start": None,
                "_periods": 1,
                "_previous_start": start,
            }
        )
        world.schedule(subscription, "incomplete", start + INCOMPLETE_SECONDS)
        invoice = self.invoices.create(subscription, "subscription_create", (start, end))
        world.update(subscription, latest_invoice=invoice["id"])
        world.emit("customer.subscription.created", subscription)
        return subscription

    def end(self, subscription: Obj, reason: str | None) -> Obj:
        """Cancel for good. Open invoices are not collected any more."""
        world, now = self.world, self.world.now
        world.unschedule(subscription)
        details = subscription["cancellation_details"]
        world.update(
            subscription,
            status="canceled",
            canceled_at=subscription["canceled_at"] or now,
            ended_at=now,
            cancel_at_period_end=False,
            cancellation_details={**details, "reason": details["reason"] or reason},
        )
        for invoice in self.invoices.of(subscription):
            if invoice["status"] in ("draft", "open"):
                self.invoices.stop(invoice)
        world.emit("customer.subscription.deleted", subscription)
        return subscription

    def end_all_of(self, customer: str) -> None:
        for subscription in self.world.all("subscription"):
            if subscription["customer"] == customer and subscription["status"] not in ENDED:
                self.end(subscription, None)

    def _change(self, subscription: Obj, changes: Obj) -> Obj:
        previous = self.world.update(subscription, **changes)
        if previous:
            self.world.emit("customer.subscription.updated", subscription, previous)
            if subscription["status"] not in (*ENDED, "incomplete"):
                self._plan_period(subscription)
        return subscription

    def _cancel_at_period_end(self, subscription: Obj, wanted: bool) -> None:
        self.world.update(subscription, **self._cancellation(subscription, {}, wanted))

    def _cancellation(self, subscription: Obj, changes: Obj, wanted: bool) -> Obj:
        details = changes.get("cancellation_details") or subscription["cancellation_details"]
        return {
            "cancel_at_period_end": wanted,
            "cancel_at": _item(subscription)["current_period_end"] if wanted else None,
            "canceled_at": self.world.now if wanted else None,
            "cancellation_details": {**details, "reason": "cancellation_requested" if wanted else None},
        }

    def _details(self, params: Params) -> dict[str, Any]:
        given = params.nested("cancellation_details", ("comment", "feedback"))
        found: dict[str, Any] = {}
        if "comment" in given:
            found["comment"] = given.text("comment")
        if "feedback" in given:
            found["feedback"] = given.choice("feedback", FEEDBACK)
        return found

    def _plan_period(self, subscription: Obj) -> None:
        end = _item(subscription)["current_period_end"]
        cancel_at = subscription["cancel_at"]
        self.world.schedule(subscription, "period_ends", min(end, cancel_at) if cancel_at else end)

    def _period_ends(self, subscription: Obj) -> None:
        world, item = self.world, _item(subscription)
        end, cancel_at = item["current_period_end"], subscription["cancel_at"]
        if cancel_at is not None and cancel_at <= world.now:
            self.end(subscription, "cancellation_requested")
            return
        recurring, periods = item["price"]["recurring"], subscription["_periods"] + 1
        anchor = subscription["billing_cycle_anchor"]
        following = later(anchor, recurring["interval"], recurring["interval_count"] * periods)
        renewed = {**item, "current_period_start": end, "current_period_end": following}
        previous = world.update(
            subscription,
            items={**subscription["items"], "data": [renewed]},
            _periods=periods,
            _previous_start=item["current_period_start"],
        )
        unpaid = subscription["status"] == "unpaid"
        invoice = self.invoices.create(subscription, "subscription_cycle", (end, following), auto_advance=not unpaid)
        previous |= world.update(subscription, latest_invoice=invoice["id"])
        world.emit("customer.subscription.updated", subscription, previous)
        if not unpaid:
            self.invoices.finalize_later(invoice)
        self._plan_period(subscription)

    def _expire_incomplete(self, subscription: Obj) -> None:
        invoice = self.world.objects[subscription["latest_invoice"]]
        if invoice["status"] == "open":
            self.invoices.discard(invoice)
        previous = self.world.update(subscription, status="incomplete_expired", ended_at=self.world.now)
        self.world.emit("customer.subscription.updated", subscription, previous)

    def _invoice_paid(self, invoice: Obj) -> None:
        subscription = self.world.objects[subscription_of(invoice)]
        if subscription["status"] not in ("incomplete", "past_due", "unpaid"):
            return
        others = [each for each in self.invoices.of(subscription) if each["status"] == "open" and each["attempted"]]
        if subscription["status"] == "incomplete" or not others:
            self._change(subscription, {"status": "active"})

    def _invoice_failed(self, invoice: Obj, again: bool) -> None:
        subscription = self.world.objects[subscription_of(invoice)]
        if subscription["status"] in ("incomplete", *ENDED):
            return
        rule = self.invoices.rules.after_retries
        if again or rule == "past_due":
            self._change(subscription, {"status": "past_due"})
        elif rule == "unpaid":
            self._change(subscription, {"status": "unpaid"})
        else:
            self.end(subscription, "payment_failed")


def _item(subscription: Obj) -> Obj:
    item: Obj = subscription["items"]["data"][0]
    return item
