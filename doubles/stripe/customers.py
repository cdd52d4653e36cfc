"""Customers and their payment methods."""

from collections.abc import Callable
from typing import Final

from doubles.stripe.cards import CARDS, bank_details, card_details, full_name
from doubles.stripe.wire import Obj, Params, invalid, no_such, refused
from doubles.stripe.world import World

FIELDS: Final = ("name", "email", "description", "phone", "metadata", "payment_method", "invoice_settings")
NO_ADDRESS: Final = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def billing_details(customer: Obj | None = None) -> Obj:
    email, name = (customer["email"], customer["name"]) if customer else (None, None)
    return {"address": dict(NO_ADDRESS), "email": email, "name": name, "phone": None, "tax_id": None}


class Customers:
    def __init__(self, world: World) -> None:
        self.world = world
        self.on_delete: Callable[[str], None] = lambda _customer: None

    def create(self, params: Params) -> Obj:
        world = self.world
        email = params.text("email")
        _check_email(email)
        metadata = params.metadata()
        settings = params.nested("invoice_settings", ("default_payment_method",))
        identifier = world.new_id("cus")
        customer: Obj = {
            "id": identifier,
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": world.now,
            "currency": None,
            "customer_account": None,
            "default_source": None,
            "delinquent": False,
            "description": params.text("description"),
            "discount": None,
            "email": email,
            "invoice_prefix": world.new_id("x", 8)[2:].upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": world.livemode,
            "metadata": metadata,
            "name": params.text("name"),
            "next_invoice_sequence": 1,
            "phone": params.text("phone"),
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        }
        token, default = params.text("payment_method"), settings.text("default_payment_method")
        method = self.method(token, "payment_method") if token else None
        if default and (method is None or default != token):
            raise no_such("PaymentMethod", default, "invoice_settings[default_payment_method]")
        world.add(customer)
        world.emit("customer.created", customer)
        if method is not None:
            self._attach(method, customer)
            if default:
                self._set_default(customer, method["id"])
        return customer

    def update(self, identifier: str, params: Params) -> Obj:
        customer = self.usable(identifier, "id")
        changes: Obj = {"metadata": params.metadata(customer["metadata"])}
        for name in ("name", "email", "description", "phone"):
            if name in params:
                changes[name] = params.text(name)
        _check_email(changes.get("email"))
        default = params.nested("invoice_settings", ("default_payment_method",)).text("default_payment_method")
        if default:
            method = self.method_of(customer, default, "invoice_settings[default_payment_method]")
            changes["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": method["id"]}
        if previous := self.world.update(customer, **changes):
            self.world.emit("customer.updated", customer, previous)
        return customer

    def get(self, identifier: str, param: str = "id") -> Obj:
        """Raises ApiError; a deleted customer is found by its own address only."""
        return self.world.get("customer", identifier, param)

    def usable(self, identifier: str, param: str = "customer") -> Obj:
        customer = self.get(identifier, param)
        if customer.get("deleted"):
            raise no_such("customer", identifier, param)
        return customer

    def delete(self, identifier: str) -> Obj:
        customer = self.usable(identifier, "id")
        self.on_delete(identifier)
        self.world.emit("customer.deleted", customer)
        stump = {"id": identifier, "object": "customer", "deleted": True}
        livemode = customer["livemode"]
        customer.clear()
        customer.update(stump, _livemode=livemode)  # GET still finds this; lists do not
        self.world.update(customer)
        return stump

    # ------------------------------------------------------------ payment methods

    def method(self, name: str, param: str = "payment_method") -> Obj:
        """A payment method by its id, or a new one for a test card. Raises ApiError."""
        known = full_name(name)
        if known is None:
            return self.world.get("payment_method", name, param)
        if self.world.livemode:
            raise invalid(f"No such PaymentMethod: '{name}'; test cards do not exist in live mode.", param)
        return self.new_method(known)

    def new_method(self, known: str) -> Obj:
        """A payment method as a customer enters it in the browser, in live mode too; `known` is a name in CARDS."""
        card = CARDS[known]
        details = bank_details(card) if card.bank_debit else card_details(card)
        return self.world.add(
            {
                "id": self.world.new_id("pm"),
                "object": "payment_method",
                "allow_redisplay": "unspecified",
                "billing_details": billing_details(),
                card.type: details,
                "created": self.world.now,
                "customer": None,
                "customer_account": None,
                "livemode": self.world.livemode,
                "metadata": {},
                "type": card.type,
                "_card": known,
            }
        )

    def method_of(self, customer: Obj | None, name: str, param: str = "payment_method") -> Obj:
        """The same for a customer; refuses another customer's payment method."""
        method = self.method(name, param)
        owner = method["customer"]
        if owner is not None and (customer is None or owner != customer["id"]):
            raise invalid(
                f"The customer does not have a payment method with the ID {method['id']}. "
                "The payment method must be attached to the customer.",
                param,
                "resource_missing",
            )
        return method

    def create_method(self, params: Params) -> Obj:
        kind = params.choice("type", ("card",))
        if kind is None:
            raise params.missing("type")
        token = params.nested("card", ("token",)).needed("token")
        if full_name(token) is None:
            raise no_such("token", token, "card[token]")
        method = self.method(token, "card[token]")
        self.world.update(method, metadata=params.metadata())
        return method

    def attach(self, name: str, params: Params) -> Obj:
        customer = self.usable(params.needed("customer"))
        method = self.method(name, "id")
        if method["customer"] not in (None, customer["id"]):
            raise refused("The payment method you provided has already been attached to a customer.")
        self._attach(method, customer)
        return method

    def detach(self, identifier: str, _params: Params) -> Obj:
        method = self.world.get("payment_method", identifier)
        if method["customer"] is None:
            raise refused("The payment method you provided is not attached to a customer so detachment is impossible.")
        previous = self.world.update(method, customer=None)
        self.world.emit("payment_method.detached", method, previous)
        return method

    def keep(self, method: Obj, customer: Obj) -> None:
        """Attach a payment method that a payment was made with, unless it is already."""
        if method["customer"] is None:
            self._attach(method, customer)

    def _attach(self, method: Obj, customer: Obj) -> None:
        if method["customer"] != customer["id"]:
            self.world.update(method, customer=customer["id"], billing_details=billing_details(customer))
            self.world.emit("payment_method.attached", method)

    def _set_default(self, customer: Obj, method: str) -> None:
        settings = {**customer["invoice_settings"], "default_payment_method": method}
        previous = self.world.update(customer, invoice_settings=settings)
        self.world.emit("customer.updated", customer, previous)


def _check_email(email: str | None) -> None:
    if email and ("@" not in email.strip("@") or any(letter.isspace() for letter in email)):
        raise invalid(f"Invalid email address: {email}", "email", "email_invalid")
