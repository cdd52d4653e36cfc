"""Invoices of subscriptions: draft, open, paid; retried after a decline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from doubles.stripe.customers import Customers
from doubles.stripe.payments import Payments
from doubles.stripe.wire import ApiError, Obj, Params, dollars, refused
from doubles.stripe.world import World, listing, plain

DAY: Final = 86_400
AFTER_RETRIES: Final = ("cancel", "unpaid", "past_due")


@dataclass(slots=True)
class BillingRules:
    """What the account's settings say.

    draft_seconds   how long a renewal's invoice stays a draft; Stripe waits about an hour
    retry_seconds   the pauses after a failed attempt, one for each further attempt
    after_retries   what becomes of a subscription whose invoice nobody paid
    """

    draft_seconds: int = 3_600
    retry_seconds: tuple[int, ...] = (3 * DAY, 5 * DAY, 7 * DAY)
    after_retries: str = "cancel"


class Invoices:
    """`on_paid` and `on_failed` are called with an invoice; the second also with whether it will be retried."""

    def __init__(self, world: World, customers: Customers, payments: Payments, rules: BillingRules) -> None:
        self.world = world
        self.customers = customers
        self.payments = payments
        self.rules = rules
        self.on_paid: Callable[[Obj], None] = lambda _invoice: None
        self.on_failed: Callable[[Obj, bool], None] = lambda _invoice, _again: None
        payments.listeners.append(self._payment_changed)
        world.steps["finalize_invoice"] = self._finalize_and_charge
        world.steps["retry_invoice"] = self.charge

    def create(self, subscription: Obj, reason: str, period: tuple[int, int], *, auto_advance: bool = True) -> Obj:
        """A draft for one period of a subscription. `period` is what is paid for: the one that begins."""
        world, identifier = self.world, self.world.new_id("in")
        item = subscription["items"]["data"][0]
        price, start, end = item["price"], *period
        amount = price["unit_amount"] * item["quantity"]
        discount = amount * subscription.get("_percent_off", 0) // 100
        tax = (amount - discount) * subscription.get("_tax_percent", 0) // 100
        total = amount - discount + tax
        customer = world.objects[subscription["customer"]]
        # The invoice's own period is the one that has just passed; that of a first invoice is only a moment.
        before = start if reason == "subscription_create" else subscription["_previous_start"]
        line = self._line(subscription, item, identifier, amount, start, end)
        if discount:
            line["discount_amounts"] = [{"amount": discount, "discount": "di_of_the_double"}]
        invoice = world.add(
            {
                "id": identifier,
                "object": "invoice",
                "account_country": "US",
                "account_name": "Playground",
                "account_tax_ids": None,
                "amount_due": total,
                "amount_overpaid": 0,
                "amount_paid": 0,
                "amount_remaining": total,
                "amount_shipping": 0,
                "application": None,
                "attempt_count": 0,
                "attempted": False,
                "auto_advance": auto_advance,
                "automatic_tax": {
                    "disabled_reason": None,
                    "enabled": False,
                    "liability": None,
                    "provider": None,
                    "status": None,
                },
                "automatically_finalizes_at": None,
                "billing_reason": reason,
                "collection_method": "charge_automatically",
                "created": world.now,
                "currency": price["currency"],
                "custom_fields": None,
                "customer": subscription["customer"],
                "customer_account": None,
                "customer_address": None,
                "customer_email": customer["email"],
                "customer_name": customer["name"],
                "customer_phone": None,
                "customer_shipping": None,
                "customer_tax_exempt": "none",
                "customer_tax_ids": [],
                "default_payment_method": None,
                "default_source": None,
                "default_tax_rates": [],
                "description": None,
                "discounts": [],
                "due_date": None,
                "effective_at": None,
                "ending_balance": None,
                "footer": None,
                "from_invoice": None,
                "hosted_invoice_url": None,
                "invoice_pdf": None,
                "issuer": {"type": "self"},
                "last_finalization_error": None,
                "latest_revision": None,
                "lines": {**listing(f"/v1/invoices/{identifier}/lines", [line]), "total_count": 1},
                "livemode": subscription["livemode"],
                "metadata": {},
                "next_payment_attempt": None,
                "number": None,
                "on_behalf_of": None,
                "parent": {
                    "quote_details": None,
                    "subscription_details": {
                        "metadata": dict(subscription["metadata"]),
                        "subscription": subscription["id"],
                    },
                    "type": "subscription_details",
                },
                "payment_settings": {
                    "default_mandate": None,
                    "payment_method_options": None,
                    "payment_method_types": None,
                },
                "period_end": start,
                "period_start": before,
                "post_payment_credit_notes_amount": 0,
                "pre_payment_credit_notes_amount": 0,
                "receipt_number": None,
                "rendering": None,
                "shipping_cost": None,
                "shipping_details": None,
                "starting_balance": 0,
                "statement_descriptor": None,
                "status": "draft",
                "status_transitions": dict.fromkeys(
                    ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
                ),
                "subtotal": amount,
                "subtotal_excluding_tax": amount,
                "test_clock": None,
                "total": total,
                "total_discount_amounts": [{"amount": discount, "discount": "di_of_the_double"}] if discount else [],
                "total_excluding_tax": amount - discount,
                "total_pretax_credit_amounts": [],
                "total_taxes": [_tax(tax, amount - discount)] if tax else [],
                "webhooks_delivered_at": world.now,
                "_intent": None,
            }
        )
        world.emit("invoice.created", invoice)
        return invoice

    def finalize_later(self, invoice: Obj) -> None:
        moment = self.world.now + self.rules.draft_seconds
        self.world.update(invoice, automatically_finalizes_at=moment, next_payment_attempt=moment)
        self.world.schedule(invoice, "finalize_invoice", moment)

    def finalize(self, invoice: Obj) -> Obj:
        """Make a draft open, with a PaymentIntent to pay it."""
        if invoice["status"] != "draft":
            raise refused("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
        world = self.world
        customer = world.objects[invoice["customer"]]
        number = f"{customer.get('invoice_prefix', 'X')}-{customer.get('next_invoice_sequence', 1):04}"
        if "next_invoice_sequence" in customer:
            world.update(customer, next_invoice_sequence=customer["next_invoice_sequence"] + 1)
        page = f"{world.url}/i/{invoice['id']}"
        # What the customer's balance has (it is negative then) is used first; what is owed there is asked for, too.
        balance = customer.get("balance", 0)
        due = max(invoice["total"] + balance, 0)
        after = invoice["total"] + balance - due
        world.update(invoice, starting_balance=balance, amount_due=due, amount_remaining=due)
        if after != balance:
            world.update(customer, balance=after)
        world.update(
            invoice,
            status="open",
            number=number,
            effective_at=world.now,
            ending_balance=after,
            hosted_invoice_url=page,
            invoice_pdf=f"{page}/pdf",
            automatically_finalizes_at=None,
            status_transitions={**invoice["status_transitions"], "finalized_at": world.now},
        )
        if due:
            intent = self.payments.new(
                due,
                invoice["currency"],
                customer,
                description="Subscription creation"
                if invoice["billing_reason"] == "subscription_create"
                else "Subscription update",
                setup_future_usage="off_session",
                _invoice=invoice["id"],
            )
            world.update(invoice, _intent=intent["id"])
            self._invoice_payment(invoice, intent)
        world.emit("invoice.finalized", invoice)
        return invoice

    def charge(self, invoice: Obj) -> None:
        """Try to collect an open invoice with the stored payment method."""
        if invoice["status"] != "open":
            return
        method = self._method(invoice)
        if invoice["_intent"] is None:
            self._paid(invoice)
        elif method is None:
            self._failed(invoice)
        else:
            self.payments.attempt(self.world.objects[invoice["_intent"]], method, off_session=True)

    def pay(self, identifier: str, params: Params) -> Obj:
        """Raises ApiError 402 for a decline."""
        invoice = self.world.get("invoice", identifier)
        if invoice["status"] == "draft":
            self.world.unschedule(invoice)
            self.finalize(invoice)
        if invoice["status"] not in ("open", "uncollectible"):
            ended = {"paid": "Invoice is already paid", "void": "Invoice is void"}
            code = "invoice_already_paid" if invoice["status"] == "paid" else None
            raise refused(ended.get(invoice["status"], f"Invoice is {invoice['status']}"), code)
        token = params.text("payment_method")
        customer = self.world.objects[invoice["customer"]]
        method = self.customers.method_of(customer, token) if token else self._method(invoice)
        if invoice["_intent"] is None:
            self._paid(invoice)
            return invoice
        if method is None:
            raise no_default(customer)
        intent = self.world.objects[invoice["_intent"]]
        decline = self.payments.attempt(intent, method, off_session=params.flag("off_session", default=True))
        if decline is not None:
            raise self.payments.card_error(intent, decline)
        return invoice

    def settle_without_payment(self, invoice: Obj) -> None:
        """Nothing is due any more: mark it as paid."""
        intent = self.world.find("payment_intent", invoice["_intent"])
        if intent is not None and intent["status"] not in ("succeeded", "canceled"):
            self.payments.end(intent, "automatic")
        self._paid(invoice)

    def give_up(self, identifier: str, _params: Params) -> Obj:
        """Mark it uncollectible. It can still be paid."""
        invoice = self.world.get("invoice", identifier)
        if invoice["status"] != "open":
            raise refused(f"You can only mark open invoices as uncollectible; this one is {invoice['status']}.")
        self.stop(invoice)
        transitions = {**invoice["status_transitions"], "marked_uncollectible_at": self.world.now}
        self.world.update(invoice, status="uncollectible", status_transitions=transitions)
        self.world.emit("invoice.marked_uncollectible", invoice)
        return invoice

    def void(self, identifier: str, _params: Params) -> Obj:
        invoice = self.world.get("invoice", identifier)
        if invoice["status"] not in ("open", "uncollectible"):
            raise refused(f"You can only void open or uncollectible invoices; this one is {invoice['status']}.")
        return self.discard(invoice)

    def discard(self, invoice: Obj) -> Obj:
        """Void it, for good."""
        self.stop(invoice)
        transitions = {**invoice["status_transitions"], "voided_at": self.world.now}
        self.world.update(invoice, status="void", amount_remaining=0, status_transitions=transitions)
        intent = self.world.find("payment_intent", invoice["_intent"])
        if intent is not None and intent["status"] not in ("succeeded", "canceled"):
            self.payments.end(intent, "void_invoice")
        self.world.emit("invoice.voided", invoice)
        return invoice

    def stop(self, invoice: Obj) -> None:
        """End the automatic attempts."""
        self.world.unschedule(invoice)
        self.world.update(invoice, auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)

    def of(self, subscription: Obj) -> list[Obj]:
        """Oldest first."""
        found = self.world.all("invoice")
        return [each for each in found if subscription_of(each) == subscription["id"]]

    def lines(self, identifier: str, _params: Params) -> Obj:
        lines: Obj = self.world.get("invoice", identifier)["lines"]
        return lines

    def _finalize_and_charge(self, invoice: Obj) -> None:
        self.finalize(invoice)
        self.charge(invoice)

    def _method(self, invoice: Obj) -> Obj | None:
        subscription = self.world.objects[subscription_of(invoice)]
        customer = self.world.objects[invoice["customer"]]
        default = customer.get("invoice_settings", {}).get("default_payment_method")
        return self.world.find("payment_method", subscription["default_payment_method"] or default)

    def _payment_changed(self, intent: Obj) -> None:
        invoice = self.world.find("invoice", intent.get("_invoice"))
        if invoice is None:
            return
        if intent["status"] == "succeeded":
            self._paid(invoice)
        else:
            self._failed(invoice)

    def _paid(self, invoice: Obj) -> None:
        world = self.world
        world.unschedule(invoice)
        world.update(
            invoice,
            status="paid",
            amount_paid=invoice["amount_due"],
            amount_remaining=0,
            attempted=True,
            attempt_count=invoice["attempt_count"] + 1,
            auto_advance=False,
            next_payment_attempt=None,
            status_transitions={**invoice["status_transitions"], "paid_at": world.now},
        )
        for payment in world.all("invoice_payment"):
            if payment["invoice"] == invoice["id"]:
                transitions = {"canceled_at": None, "paid_at": world.now}
                world.update(
                    payment, status="paid", amount_paid=payment["amount_requested"], status_transitions=transitions
                )
                world.emit("invoice_payment.paid", payment)
        self.on_paid(invoice)
        world.emit("invoice.paid", invoice)
        world.emit("invoice.payment_succeeded", invoice)

    def _failed(self, invoice: Obj) -> None:
        world, attempts = self.world, invoice["attempt_count"] + 1
        retries = self.rules.retry_seconds if invoice["billing_reason"] != "subscription_create" else ()
        again = attempts <= len(retries)
        moment = world.now + retries[attempts - 1] if again else None
        world.update(invoice, attempted=True, attempt_count=attempts, next_payment_attempt=moment)
        if moment is not None:
            world.schedule(invoice, "retry_invoice", moment)
        intent = world.find("payment_intent", invoice["_intent"])
        if intent is not None and (intent["last_payment_error"] or {}).get("code") == "authentication_required":
            world.emit("invoice.payment_action_required", invoice)
        world.emit("invoice.payment_failed", invoice)
        self.on_failed(invoice, again)

    def _line(self, subscription: Obj, item: Obj, invoice: str, amount: int, start: int, end: int) -> Obj:
        price = item["price"]
        product = self.world.find("product", price["product"])
        name, interval = product["name"] if product else "Subscription", price["recurring"]["interval"]
        each = dollars(price["unit_amount"], price["currency"])
        return {
            "id": self.world.new_id("il"),
            "object": "line_item",
            "amount": amount,
            "currency": price["currency"],
            "description": f"{item['quantity']} × {name} (at {each} / {interval})",
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "invoice": invoice,
            "livemode": subscription["livemode"],
            "metadata": dict(subscription["metadata"]),
            "parent": {
                "invoice_item_details": None,
                "subscription_item_details": {
                    "invoice_item": None,
                    "proration": False,
                    "proration_details": {"credited_items": None},
                    "subscription": subscription["id"],
                    "subscription_item": item["id"],
                },
                "type": "subscription_item_details",
            },
            "period": {"end": end, "start": start},
            "pretax_credit_amounts": [],
            "pricing": {
                "price_details": {"price": price["id"], "product": price["product"]},
                "type": "price_details",
                "unit_amount_decimal": price["unit_amount_decimal"],
            },
            "quantity": item["quantity"],
            "subtotal": amount,
            "taxes": [],
        }

    def _invoice_payment(self, invoice: Obj, intent: Obj) -> None:
        self.world.add(
            {
                "id": self.world.new_id("inpay"),
                "object": "invoice_payment",
                "amount_paid": None,
                "amount_requested": invoice["amount_due"],
                "created": self.world.now,
                "currency": invoice["currency"],
                "invoice": invoice["id"],
                "is_default": True,
                "livemode": invoice["livemode"],
                "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
                "status": "open",
                "status_transitions": {"canceled_at": None, "paid_at": None},
            }
        )

    def payments_of(self, invoice: Obj) -> Obj:
        """Its payments, which are in an answer only if they are expanded."""
        found = [each for each in self.world.all("invoice_payment") if each["invoice"] == invoice["id"]]
        return listing("/v1/invoice_payments", [plain(each) for each in found])

    def secret_of(self, invoice: Obj) -> Any:
        """Its `confirmation_secret`, with which a browser pays it."""
        intent = self.world.find("payment_intent", self.world.objects[invoice["id"]]["_intent"])
        return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None


def _tax(amount: int, of: int) -> Obj:
    return {
        "amount": amount,
        "tax_behavior": "exclusive",
        "tax_rate_details": {"tax_rate": "txr_of_the_double"},
        "taxability_reason": "standard_rated",
        "taxable_amount": of,
        "type": "tax_rate_details",
    }


def subscription_of(invoice: Obj) -> str:
    """The id of the subscription that an invoice is for."""
    return str(invoice["parent"]["subscription_details"]["subscription"])


def no_default(customer: Obj) -> ApiError:
    return refused(
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit "
        "https://stripe.com/docs/billing/subscriptions/payment-methods-setting.",
        "resource_missing",
        customer=customer["id"],
    )
