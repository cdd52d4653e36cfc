"""Checkout sessions and billing portal sessions: what a customer does on a page of Stripe's."""

from typing import Final

from doubles.stripe.cards import CARDS, Decline
from doubles.stripe.catalog import Catalog
from doubles.stripe.customers import NO_ADDRESS, Customers
from doubles.stripe.payments import Payments
from doubles.stripe.subscriptions import Subscriptions
from doubles.stripe.wire import Obj, Params, dollars, invalid, refused
from doubles.stripe.world import World, listing, plain

MIN_SESSION_SECONDS: Final = 1_800
MAX_SESSION_SECONDS: Final = 86_400
PRICE_DATA: Final = ("currency", "unit_amount", "recurring", "product", "product_data")
CREATE: Final = (
    "mode",
    "line_items",
    "success_url",
    "cancel_url",
    "customer",
    "customer_email",
    "customer_creation",
    "client_reference_id",
    "metadata",
    "expires_at",
    "payment_intent_data",
    "subscription_data",
    "ui_mode",
    "payment_method_types",
    # accepted, without effect
    "allow_promotion_codes",
    "billing_address_collection",
    "locale",
    "payment_method_collection",
    "submit_type",
)
PORTAL: Final = ("customer", "return_url", "locale")


class Checkout:
    def __init__(
        self,
        world: World,
        customers: Customers,
        payments: Payments,
        catalog: Catalog,
        subscriptions: Subscriptions,
    ) -> None:
        self.world = world
        self.customers = customers
        self.payments = payments
        self.catalog = catalog
        self.subscriptions = subscriptions
        payments.listeners.append(self._payment_changed)
        world.steps["session_expires"] = self.expire

    # ------------------------------------------------------------ calls

    def create(self, params: Params) -> Obj:
        world = self.world
        mode = params.choice("mode", ("payment", "subscription"))
        if mode is None:
            raise params.missing("mode")
        params.choice("ui_mode", ("hosted_page",))
        success_url, cancel_url = params.needed("success_url"), params.text("cancel_url")
        for name, url in (("success_url", success_url), ("cancel_url", cancel_url)):
            if url is not None and not url.startswith(("http://", "https://")):
                raise invalid("Not a valid URL", name, "url_invalid")
        if "customer" in params and "customer_email" in params:
            raise invalid("You may only specify one of these parameters: customer, customer_email.", "customer")
        customer = self.customers.usable(params.needed("customer")) if "customer" in params else None
        other = "payment_intent_data" if mode == "subscription" else "subscription_data"
        if other in params:
            raise invalid(f"You can not pass `{other}` in `{mode}` mode.", other)
        data = params.nested(
            "subscription_data" if mode == "subscription" else "payment_intent_data",
            ("metadata", "description", *(("setup_future_usage",) if mode == "payment" else ())),
        )
        expires_at = params.integer("expires_at") or world.now + MAX_SESSION_SECONDS
        if not world.now + MIN_SESSION_SECONDS <= expires_at <= world.now + MAX_SESSION_SECONDS:
            raise invalid(
                "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from Checkout Session "
                "creation.",
                "expires_at",
            )
        metadata, data_metadata = params.metadata(), data.metadata()
        lines = self._lines(params, mode)
        total = sum(line["amount_total"] for line in lines)
        identifier = world.new_id("cs_live_a1" if world.livemode else "cs_test_a1", 56)
        session = world.add(
            {
                "id": identifier,
                "object": "checkout.session",
                "adaptive_pricing": None,
                "after_expiration": None,
                "allow_promotion_codes": None,
                "amount_subtotal": total,
                "amount_total": total,
                "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
                "billing_address_collection": None,
                "cancel_url": cancel_url,
                "client_reference_id": params.text("client_reference_id"),
                "client_secret": None,  # a field without a value # nosec B105
                "collected_information": None,
                "consent": None,
                "consent_collection": None,
                "created": world.now,
                "currency": lines[0]["currency"],
                "currency_conversion": None,
                "custom_fields": [],
                "custom_text": dict.fromkeys(
                    ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
                ),
                "customer": customer["id"] if customer else None,
                "customer_account": None,
                "customer_creation": None if customer else "always" if mode == "subscription" else "if_required",
                "customer_details": _details(customer) if customer else None,
                "customer_email": params.text("customer_email"),
                "discounts": [],
                "expires_at": expires_at,
                "invoice": None,
                "invoice_creation": None,
                "livemode": world.livemode,
                "locale": None,
                "metadata": metadata,
                "mode": mode,
                "origin_context": None,
                "payment_intent": None,
                "payment_link": None,
                "payment_method_collection": "always" if mode == "subscription" else "if_required",
                "payment_method_configuration_details": None,
                "payment_method_options": {},
                "payment_method_types": params.words("payment_method_types") or ["card"],
                "payment_status": "unpaid",
                "permissions": None,
                "phone_number_collection": {"enabled": False},
                "recovered_from": None,
                "saved_payment_method_options": None,
                "setup_intent": None,
                "shipping_address_collection": None,
                "shipping_cost": None,
                "shipping_options": [],
                "status": "open",
                "submit_type": None,
                "subscription": None,
                "success_url": success_url,
                "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
                "ui_mode": "hosted_page",
                "url": f"{world.url}/c/pay/{identifier}",
                "wallet_options": None,
                "_lines": lines,
                "_data": {
                    "metadata": data_metadata,
                    "description": data.text("description"),
                    "setup_future_usage": data.text("setup_future_usage") if mode == "payment" else None,
                },
            }
        )
        world.schedule(session, "session_expires", expires_at)
        return session

    def update(self, identifier: str, params: Params) -> Obj:
        session = self.world.get("checkout.session", identifier)
        self.world.update(session, metadata=params.metadata(session["metadata"]))
        return session

    def expire_now(self, identifier: str, _params: Params) -> Obj:
        session = self.world.get("checkout.session", identifier)
        if session["status"] != "open":
            raise refused(
                f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status '
                f"of `{session['status']}`."
            )
        self.expire(session)
        return session

    def line_items(self, identifier: str, _params: Params) -> Obj:
        return self.lines_of(self.world.get("checkout.session", identifier))

    def portal(self, params: Params) -> Obj:
        customer = self.customers.usable(params.needed("customer"))
        configuration = self.world.find("billing_portal.configuration", self._portal_id)
        if configuration is None:
            mode = "live" if self.world.livemode else "test"
            raise invalid(
                f"No configuration provided and your {mode} mode default configuration has not been created. Provide a "
                f"configuration or create your default by saving your customer portal settings in {mode} mode."
            )
        identifier = self.world.new_id("bps")
        return self.world.add(
            {
                "id": identifier,
                "object": "billing_portal.session",
                "configuration": configuration["id"],
                "created": self.world.now,
                "customer": customer["id"],
                "customer_account": None,
                "flow": None,
                "livemode": self.world.livemode,
                "locale": None,
                "on_behalf_of": None,
                "return_url": params.text("return_url"),
                "url": f"{self.world.url}/p/session/{identifier}",
            }
        )

    @property
    def _portal_id(self) -> str:
        return "bpc_default_live" if self.world.livemode else "bpc_default_test"

    def save_portal(self, *, saved: bool) -> Obj:
        """Save or remove the settings of the customer portal, as in the dashboard; a new account has none."""
        world, identifier = self.world, self._portal_id
        there = world.find("billing_portal.configuration", identifier)
        if not saved:
            if there is not None:
                world.remove(there)
            return {"saved": False}
        return there or world.add(
            {
                "id": identifier,
                "object": "billing_portal.configuration",
                "active": True,
                "application": None,
                "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
                "created": world.now,
                "default_return_url": None,
                "features": {
                    "customer_update": {"allowed_updates": [], "enabled": False},
                    "invoice_history": {"enabled": True},
                    "payment_method_update": {"enabled": True, "payment_method_configuration": None},
                    "subscription_cancel": {
                        "cancellation_reason": {"enabled": False, "options": []},
                        "enabled": True,
                        "mode": "at_period_end",
                        "proration_behavior": "none",
                    },
                    "subscription_pause": {
                        "duration": {"interval_options": [], "type": "indefinite"},
                        "enabled": False,
                    },
                    "subscription_update": {
                        "default_allowed_updates": [],
                        "enabled": False,
                        "proration_behavior": "none",
                        "schedule_at_period_end": {"conditions": []},
                        "trial_update_behavior": "end_trial",
                    },
                },
                "is_default": True,
                "livemode": world.livemode,
                "login_page": {"enabled": False, "url": None},
                "metadata": {},
                "name": None,
                "updated": world.now,
            }
        )

    # ------------------------------------------------------------ the customer at the page

    def pay(self, session: Obj, card: str, email: str | None = None) -> Decline | None:
        """Pay with a test card. After a decline the session is open as before, and another card may be tried."""
        if session["status"] != "open":
            raise refused(f"This Checkout Session is {session['status']}.")
        if session["customer"] is not None:
            self.customers.usable(session["customer"])
        world = self.world
        customer = self._customer(session, email)
        method = self.customers.new_method(card)
        decline = CARDS[card].decline
        if session["mode"] == "payment" or (decline is not None and not CARDS[card].bank_debit):
            return self._pay_once(session, customer, method)
        assert customer is not None
        data, line = session["_data"], session["_lines"][0]
        price = world.objects[line["price"]["id"]]
        subscription = self.subscriptions.begin(
            customer,
            price,
            line["quantity"],
            method=method,
            metadata=dict(data["metadata"]),
            description=data["description"],
        )
        invoices = self.subscriptions.invoices
        invoice = invoices.finalize(world.objects[subscription["latest_invoice"]])
        if invoice["_intent"] is None:
            invoices.charge(invoice)
        else:  # the customer is here and confirms what their bank asks
            self.payments.attempt(world.objects[invoice["_intent"]], method, authenticated=True)
        world.update(session, subscription=subscription["id"], invoice=invoice["id"])
        self._complete(session, customer, paid=invoice["status"] == "paid")
        return None

    def expire(self, session: Obj) -> None:
        self.world.unschedule(session)
        self.world.update(session, status="expired", url=None)
        self.world.emit("checkout.session.expired", session)

    def _pay_once(self, session: Obj, customer: Obj | None, method: Obj) -> Decline | None:
        world, data = self.world, session["_data"]
        intent = world.find("payment_intent", session.get("_attempt"))
        if intent is None or intent["status"] != "requires_payment_method":
            intent = self.payments.new(
                session["amount_total"],
                session["currency"],
                customer,
                metadata=dict(data["metadata"]) if session["mode"] == "payment" else {},
                description=data["description"],
                setup_future_usage=data["setup_future_usage"],
            )
            world.update(session, _attempt=intent["id"])
        decline = self.payments.attempt(intent, method, authenticated=True)
        if decline is None:
            world.update(session, payment_intent=intent["id"])
            world.update(intent, _session=session["id"])
            self._complete(session, customer, paid=intent["status"] == "succeeded")
        return decline

    def _complete(self, session: Obj, customer: Obj | None, *, paid: bool) -> None:
        self.world.unschedule(session)
        details = _details(customer) if customer else session["customer_details"]
        self.world.update(
            session,
            status="complete",
            payment_status="paid" if paid else "unpaid",
            customer=customer["id"] if customer else None,
            customer_details=details,
            url=None,
        )
        self.world.emit("checkout.session.completed", session)

    def _payment_changed(self, intent: Obj) -> None:
        """The bank has decided about a debit that was pending when the session was completed."""
        session = self.world.find("checkout.session", intent.get("_session"))
        if session is None or session["payment_status"] == "paid":
            return
        if intent["status"] == "succeeded":
            self.world.update(session, payment_status="paid")
            self.world.emit("checkout.session.async_payment_succeeded", session)
        else:
            self.world.emit("checkout.session.async_payment_failed", session)

    def _customer(self, session: Obj, email: str | None) -> Obj | None:
        """The customer who pays. A subscription needs one and makes one; a single payment does not."""
        known = session["customer"] or session.get("_customer")
        if known:
            return self.world.objects[known]
        if session["mode"] == "payment":
            address = email or session["customer_email"]
            self.world.update(session, customer_details=_details({"email": address, "name": None}))
            return None
        given = {"email": email or session["customer_email"] or "customer@example.com"}
        customer = self.customers.create(Params(given, ("email",)))
        self.world.update(session, _customer=customer["id"])
        return customer

    def _lines(self, params: Params, mode: str) -> list[Obj]:
        items = params.several("line_items", ("price", "price_data", "quantity"))
        if not items:
            raise params.missing("line_items")
        if mode == "subscription" and len(items) != 1:
            raise invalid("The Stripe double has subscriptions to one price.", "line_items")
        lines = [self._line(item, mode) for item in items]
        if len({line["currency"] for line in lines}) != 1:
            raise invalid("All prices of a Checkout Session must have the same currency.", "line_items")
        return lines

    def _line(self, item: Params, mode: str) -> Obj:
        quantity = item.integer("quantity", lowest=1)
        if quantity is None:
            raise invalid("Quantity is required. Add `quantity` to `line_items`.", item.path("quantity"))
        if "price" in item:
            price = self.world.get("price", item.needed("price"), item.path("price"))
        elif "price_data" in item:
            price = self.catalog.inline(item.nested("price_data", PRICE_DATA))
        else:
            raise item.missing("price")
        if mode == "subscription" and price["recurring"] is None:
            message = "You must provide at least one recurring price in `subscription` mode when using prices."
            raise invalid(message, item.path("price"))
        if mode == "payment" and price["recurring"] is not None:
            raise invalid(
                "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or "
                "use only one-time prices.",
                item.path("price"),
            )
        product = self.world.find("product", price["product"])
        amount = price["unit_amount"] * quantity
        return {
            "id": self.world.new_id("li"),
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": amount,
            "amount_tax": 0,
            "amount_total": amount,
            "currency": price["currency"],
            "description": product["name"] if product else None,
            "metadata": {},
            "price": plain(price),
            "quantity": quantity,
        }

    def lines_of(self, session: Obj) -> Obj:
        """The line items, which are in an answer only if it is asked to expand them."""
        lines = self.world.objects[session["id"]]["_lines"]
        return listing(f"/v1/checkout/sessions/{session['id']}/line_items", plain(lines))


def summary(session: Obj) -> str:
    """What is bought, for a person."""
    lines = [f"{line['quantity']} × {line['description']}" for line in session["_lines"]]
    return f"{', '.join(lines)}: {dollars(session['amount_total'], session['currency'])}"


def _details(customer: Obj) -> Obj:
    return {
        "address": dict(NO_ADDRESS),
        "business_name": None,
        "email": customer["email"],
        "individual_name": None,
        "name": customer["name"],
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
