"""The routes of Stripe's API that the stand-in has, with their parameters."""

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from doubles.stripe import catalog, checkout, credit_notes, payments, refunds, subscriptions
from doubles.stripe.account import Account
from doubles.stripe.customers import FIELDS
from doubles.stripe.invoices import subscription_of
from doubles.stripe.wire import LIST_PARAMETERS, ApiError, Obj, Params, invalid
from doubles.stripe.world import plain

Call = Callable[[Account, str, Params], Obj]

NOTHING: Final[tuple[str, ...]] = ()
# Nouns in paths: the kind of object that each is.
KINDS: Final = {
    "balance_transactions": "balance_transaction",
    "charges": "charge",
    "credit_notes": "credit_note",
    "customers": "customer",
    "disputes": "dispute",
    "invoice_payments": "invoice_payment",
    "invoices": "invoice",
    "line_items": "item",
    "lines": "line_item",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "prices": "price",
    "products": "product",
    "refunds": "refund",
    "sessions": "checkout.session",
    "subscriptions": "subscription",
}


METHOD: Final = ("type", "card", "metadata")
VISIBLE: Final = (
    "id",
    "object",
    "amount",
    "amount_details",
    "automatic_payment_methods",
    "canceled_at",
    "cancellation_reason",
    "capture_method",
    "client_secret",
    "confirmation_method",
    "created",
    "currency",
    "description",
    "last_payment_error",
    "livemode",
    "next_action",
    "payment_method",
    "payment_method_configuration_details",
    "payment_method_types",
    "processing",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "source",
    "status",
)
"""What a customer's browser sees of a PaymentIntent: not its metadata, its customer or its charges."""


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    pattern: re.Pattern[str]
    allowed: tuple[str, ...]
    call: Call

    @property
    def kind(self) -> str:
        """The kind of the object, or of the objects in the list, that it answers with: by the last noun of the path."""
        nouns = [part for part in self.path.split("/") if part in KINDS and "billing_portal" not in self.path]
        return KINDS[nouns[-1]] if nouns else ""

    @property
    def listed(self) -> bool:
        return self.method == "GET" and not self.path.endswith("/{id}")


def _route(method: str, path: str, allowed: Iterable[str], call: Call) -> Route:
    pattern = re.compile("/v1/" + path.replace("{id}", r"(?P<id>[^/]+)"))
    return Route(method, f"/v1/{path}", pattern, tuple(allowed), call)


def _list(kind: str, path: str, *filters: str) -> Route:
    """A list that can be filtered by fields of its objects."""

    def call(account: Account, _id: str, params: Params) -> Obj:
        wanted = {name: params.text(name) for name in filters if name in params}
        _known_customer(account, params)
        return account.world.page(
            kind,
            f"/v1/{path}",
            params,
            lambda obj: all(obj.get(name) == value for name, value in wanted.items()),
        )

    return _route("GET", path, (*LIST_PARAMETERS, *filters), call)


def _known_customer(account: Account, params: Params) -> None:
    """Raises ApiError if the list is to be filtered by a customer who never existed; deleted ones are accepted."""
    if customer := params.text("customer"):
        account.customers.get(customer, "customer")


def _one(kind: str, path: str, param: str = "id") -> Route:
    return _route(
        "GET",
        f"{path}/{{id}}",
        NOTHING if kind != "payment_intent" else ("client_secret",),
        lambda account, identifier, _: account.world.get(kind, identifier, param),
    )


def _events(account: Account, _id: str, params: Params) -> Obj:
    types = params.words("types") or ([params.needed("type")] if "type" in params else [])

    def wanted(event: Obj) -> bool:
        kind = event["type"]
        return not types or any(kind == name or (name.endswith("*") and kind.startswith(name[:-1])) for name in types)

    return account.world.page("event", "/v1/events", params, wanted)


def _refunds_of_charge(account: Account, identifier: str, params: Params) -> Obj:
    charge = account.world.get("charge", identifier)
    url = f"/v1/charges/{identifier}/refunds"
    return account.world.page("refund", url, params, lambda refund: bool(refund["charge"] == charge["id"]))


def _customer_methods(account: Account, identifier: str, params: Params) -> Obj:
    account.customers.usable(identifier, "id")
    url = f"/v1/customers/{identifier}/payment_methods"
    kind = params.text("type")
    return account.world.page(
        "payment_method",
        url,
        params,
        lambda method: method["customer"] == identifier and kind in (None, method["type"]),
    )


def _subscriptions(account: Account, _id: str, params: Params) -> Obj:
    """Without a status: all that have not ended."""
    _known_customer(account, params)
    status, customer, price = (params.text(name) for name in ("status", "customer", "price"))

    def wanted(subscription: Obj) -> bool:
        state = subscription["status"]
        matching = (
            status == "all"
            or (status is None and state != "canceled")
            or (status == "ended" and state in subscriptions.ENDED)
            or status == state
        )
        prices = [item["price"]["id"] for item in subscription["items"]["data"]]
        return matching and customer in (None, subscription["customer"]) and price in (None, *prices)

    return account.world.page("subscription", "/v1/subscriptions", params, wanted)


def _invoices(account: Account, _id: str, params: Params) -> Obj:
    _known_customer(account, params)
    customer, status, subscription = (params.text(name) for name in ("customer", "status", "subscription"))

    def wanted(invoice: Obj) -> bool:
        return (
            customer in (None, invoice["customer"])
            and status in (None, invoice["status"])
            and subscription in (None, subscription_of(invoice))
        )

    return account.world.page("invoice", "/v1/invoices", params, wanted)


def _invoice_payments(account: Account, _id: str, params: Params) -> Obj:
    invoice, status = params.text("invoice"), params.text("status")
    intent = params.nested("payment", ("type", "payment_intent")).text("payment_intent")

    def wanted(payment: Obj) -> bool:
        return (
            invoice in (None, payment["invoice"])
            and status in (None, payment["status"])
            and intent in (None, payment["payment"]["payment_intent"])
        )

    return account.world.page("invoice_payment", "/v1/invoice_payments", params, wanted)


def _portal_configurations(account: Account, _id: str, params: Params) -> Obj:
    """The settings of the portal that were saved in the dashboard: one, or none."""
    wanted = {name: params.flag(name) for name in ("active", "is_default") if name in params}
    return account.world.page(
        "billing_portal.configuration",
        "/v1/billing_portal/configurations",
        params,
        lambda obj: all(obj[name] is value for name, value in wanted.items()),
    )


def _prices(account: Account, _id: str, params: Params) -> Obj:
    keys, product, kind = params.words("lookup_keys"), params.text("product"), params.text("type")
    active = params.flag("active") if "active" in params else None

    def wanted(price: Obj) -> bool:
        return (
            (not keys or price["lookup_key"] in keys)
            and product in (None, price["product"])
            and kind in (None, price["type"])
            and active in (None, price["active"])
        )

    return account.world.page("price", "/v1/prices", params, wanted)


ROUTES: Final[list[Route]] = [
    # customers
    _route("POST", "customers", FIELDS, lambda account, _, params: account.customers.create(params)),
    _list("customer", "customers", "email"),
    _one("customer", "customers"),
    _route("POST", "customers/{id}", FIELDS[:-2] + FIELDS[-1:], lambda a, i, p: a.customers.update(i, p)),
    _route("DELETE", "customers/{id}", NOTHING, lambda account, i, _: account.customers.delete(i)),
    _route("GET", "customers/{id}/payment_methods", (*LIST_PARAMETERS, "type"), _customer_methods),
    # payment methods
    _route("POST", "payment_methods", METHOD, lambda a, _, p: a.customers.create_method(p)),
    _list("payment_method", "payment_methods", "customer", "type"),
    _one("payment_method", "payment_methods"),
    _route("POST", "payment_methods/{id}/attach", ("customer",), lambda a, i, p: a.customers.attach(i, p)),
    _route("POST", "payment_methods/{id}/detach", NOTHING, lambda a, i, p: a.customers.detach(i, p)),
    # payments
    _route("POST", "payment_intents", payments.CREATE, lambda a, _, p: a.payments.create(p)),
    _list("payment_intent", "payment_intents", "customer"),
    _one("payment_intent", "payment_intents", "intent"),
    _route("POST", "payment_intents/{id}", payments.UPDATE, lambda a, i, p: a.payments.update(i, p)),
    _route("POST", "payment_intents/{id}/confirm", payments.CONFIRM, lambda a, i, p: a.payments.confirm(i, p)),
    _route("POST", "payment_intents/{id}/cancel", ("cancellation_reason",), lambda a, i, p: a.payments.cancel(i, p)),
    _list("charge", "charges", "customer", "payment_intent"),
    _one("charge", "charges"),
    _route("GET", "charges/{id}/refunds", LIST_PARAMETERS, _refunds_of_charge),
    # refunds and disputes
    _route("POST", "refunds", refunds.CREATE, lambda a, _, p: a.refunds.create(p)),
    _list("refund", "refunds", "charge", "payment_intent"),
    _one("refund", "refunds"),
    _route("POST", "refunds/{id}", ("metadata",), lambda a, i, p: a.refunds.update(i, p)),
    _list("dispute", "disputes", "charge", "payment_intent"),
    _one("dispute", "disputes"),
    _route("POST", "disputes/{id}", ("evidence", "metadata", "submit"), lambda a, i, p: a.disputes.update(i, p)),
    _route("POST", "disputes/{id}/close", NOTHING, lambda a, i, p: a.disputes.close(i, p)),
    _list("balance_transaction", "balance_transactions", "source", "type"),
    _one("balance_transaction", "balance_transactions"),
    # products and prices
    _route("POST", "products", catalog.PRODUCT, lambda a, _, p: a.catalog.create_product(p)),
    _list("product", "products"),
    _one("product", "products"),
    _route("POST", "products/{id}", catalog.PRODUCT_UPDATE, lambda a, i, p: a.catalog.update_product(i, p)),
    _route("POST", "prices", catalog.PRICE, lambda a, _, p: a.catalog.create_price(p)),
    _route("GET", "prices", (*LIST_PARAMETERS, "active", "lookup_keys", "product", "type"), _prices),
    _one("price", "prices"),
    _route("POST", "prices/{id}", catalog.PRICE_UPDATE, lambda a, i, p: a.catalog.update_price(i, p)),
    # subscriptions
    _route("POST", "subscriptions", subscriptions.CREATE, lambda a, _, p: a.subscriptions.create(p)),
    _route("GET", "subscriptions", (*LIST_PARAMETERS, "customer", "price", "status"), _subscriptions),
    _one("subscription", "subscriptions"),
    _route("POST", "subscriptions/{id}", subscriptions.UPDATE, lambda a, i, p: a.subscriptions.update(i, p)),
    _route("DELETE", "subscriptions/{id}", subscriptions.CANCEL, lambda a, i, p: a.subscriptions.cancel(i, p)),
    _route("GET", "invoices", (*LIST_PARAMETERS, "customer", "status", "subscription"), _invoices),
    _one("invoice", "invoices"),
    _route("GET", "invoices/{id}/lines", LIST_PARAMETERS, lambda a, i, p: a.invoices.lines(i, p)),
    _route("POST", "invoices/{id}/pay", ("payment_method", "off_session"), lambda a, i, p: a.invoices.pay(i, p)),
    _route("POST", "invoices/{id}/void", NOTHING, lambda a, i, p: a.invoices.void(i, p)),
    _route("POST", "invoices/{id}/mark_uncollectible", NOTHING, lambda a, i, p: a.invoices.give_up(i, p)),
    _route("POST", "credit_notes", credit_notes.CREATE, lambda a, _, p: a.credit_notes.create(p)),
    _list("credit_note", "credit_notes", "customer", "invoice"),
    _one("credit_note", "credit_notes"),
    _route("POST", "credit_notes/{id}/void", NOTHING, lambda a, i, p: a.credit_notes.void(i, p)),
    _route("GET", "invoice_payments", (*LIST_PARAMETERS, "invoice", "status", "payment"), _invoice_payments),
    _one("invoice_payment", "invoice_payments"),
    # Checkout and the billing portal
    _route("POST", "checkout/sessions", checkout.CREATE, lambda a, _, p: a.checkout.create(p)),
    _list("checkout.session", "checkout/sessions", "customer", "payment_intent", "status", "subscription"),
    _one("checkout.session", "checkout/sessions"),
    _route("POST", "checkout/sessions/{id}", ("metadata",), lambda a, i, p: a.checkout.update(i, p)),
    _route("POST", "checkout/sessions/{id}/expire", NOTHING, lambda a, i, p: a.checkout.expire_now(i, p)),
    _route("GET", "checkout/sessions/{id}/line_items", LIST_PARAMETERS, lambda a, i, p: a.checkout.line_items(i, p)),
    _route("GET", "billing_portal/configurations", (*LIST_PARAMETERS, "active", "is_default"), _portal_configurations),
    _route("POST", "billing_portal/sessions", checkout.PORTAL, lambda a, _, p: a.checkout.portal(p)),
    # events
    _route("GET", "events", (*LIST_PARAMETERS, "type", "types"), _events),
    _one("event", "events"),
    _list("webhook_endpoint", "webhook_endpoints"),
    _one("webhook_endpoint", "webhook_endpoints"),
]


def _of_secret(account: Account, identifier: str, params: Params) -> Obj:
    """The PaymentIntent that a browser knows the client secret of."""
    intent = account.payments.get(identifier)
    if not hmac.compare_digest(intent["client_secret"].encode(), params.needed("client_secret").encode()):
        raise invalid(
            "The client_secret provided does not match the client_secret associated with the PaymentIntent.",
            "client_secret",
            "payment_intent_invalid_parameter",
        )
    return intent


def _visible(intent: Obj) -> Obj:
    return {name: value for name, value in intent.items() if name in VISIBLE}


def _retrieve_in_browser(account: Account, identifier: str, params: Params) -> Obj:
    return _visible(_of_secret(account, identifier, params))


def _confirm_in_browser(account: Account, identifier: str, params: Params) -> Obj:
    _of_secret(account, identifier, params)
    given = {name: params.raw(name) for name in payments.CONFIRM if name in params}
    if "payment_method_data" in params:
        if "payment_method" in params:
            raise invalid(
                "You may only specify one of these parameters: payment_method, payment_method_data.", "payment_method"
            )
        data = params.nested("payment_method_data", METHOD)
        given["payment_method"] = account.customers.create_method(data)["id"]
    handles_redirects = params.flag("use_stripe_sdk")
    return _visible(
        account.payments.confirm(identifier, Params(given, payments.CONFIRM), from_browser=handles_redirects)
    )


BROWSER_ROUTES: Final[list[Route]] = [
    _route("GET", "payment_intents/{id}", ("client_secret",), _retrieve_in_browser),
    _route(
        "POST",
        "payment_intents/{id}/confirm",
        tuple({*payments.CONFIRM, "client_secret", "payment_method_data"} - {"off_session"}),
        _confirm_in_browser,
    ),
    _route("POST", "payment_methods", METHOD, lambda a, _, p: a.customers.create_method(p)),
]
"""Those that take a publishable key."""


def name_of(method: str, path: str) -> str:
    """The name of the route that a call takes, for the counters."""
    route = _route_of(ROUTES, method, path)
    return f"{method} {route.path if route is not None else '(no such route)'}"


def answer(account: Account, method: str, path: str, values: dict[str, Any]) -> Obj:
    """What the API says to a call with a secret key. Raises ApiError."""
    return _answer(ROUTES, account, method, path, values)


def answer_browser(account: Account, method: str, path: str, values: dict[str, Any]) -> Obj:
    """What the API says to a call with a publishable key. It sees of a PaymentIntent, whose client secret it must know,
    only what a customer may see. Raises ApiError."""
    if _route_of(ROUTES, method, path) is not None and _route_of(BROWSER_ROUTES, method, path) is None:
        raise ApiError(
            403,
            "invalid_request_error",
            "This API call cannot be made with a publishable API key. Please use a secret API key.",
            code="secret_key_required",
        )
    if "expand" in values:
        raise invalid("The Stripe double expands nothing for a publishable API key.", "expand")
    try:
        return _answer(BROWSER_ROUTES, account, method, path, values)
    except ApiError as error:
        if "payment_intent" in error.facts:
            error.facts["payment_intent"] = _visible(error.facts["payment_intent"])
        raise


def _route_of(routes: Iterable[Route], method: str, path: str) -> Route | None:
    return next((route for route in routes if route.method == method and route.pattern.fullmatch(path)), None)


def _answer(routes: Iterable[Route], account: Account, method: str, path: str, values: dict[str, Any]) -> Obj:
    for route in routes:
        found = route.pattern.fullmatch(path)
        if found is not None and route.method == method:
            params = Params(values, route.allowed)
            paths = params.words("expand")
            account.expander.check(route.kind, paths, listed=route.listed)
            result: Obj = plain(route.call(account, found.groupdict().get("id", ""), params))
            return account.expander.expand(result, paths)
    raise ApiError(
        404,
        "invalid_request_error",
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/. (The Stripe double has no such route.)",
    )
