"""The routes of Stripe's API that the double has, and what each takes."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from local.stripe_double import payments as payments_module
from local.stripe_double import refunds as refunds_module
from local.stripe_double.account import Account
from local.stripe_double.customers import FIELDS
from local.stripe_double.search import search
from local.stripe_double.wire import LIST_PARAMETERS, ApiError, Obj, Params
from local.stripe_double.world import listing, plain

Call = Callable[[Account, str, Params], Obj]

NOTHING: Final[tuple[str, ...]] = ()
SEARCH: Final = ("query", "limit", "page")


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    allowed: tuple[str, ...]
    call: Call


def _route(method: str, path: str, allowed: Iterable[str], call: Call) -> Route:
    pattern = re.compile("/v1/" + path.replace("{id}", r"(?P<id>[^/]+)"))
    return Route(method, pattern, tuple(allowed), call)


def _list(kind: str, path: str, *filters: str) -> Route:
    """A list that can be filtered by fields of its objects."""

    def call(account: Account, _id: str, params: Params) -> Obj:
        wanted = {name: params.text(name) for name in filters if name in params}
        return account.world.page(
            kind,
            f"/v1/{path}",
            params,
            lambda obj: all(obj.get(name) == value for name, value in wanted.items()),
        )

    return _route("GET", path, (*LIST_PARAMETERS, *filters), call)


def _one(kind: str, path: str, param: str = "id") -> Route:
    return _route(
        "GET",
        f"{path}/{{id}}",
        NOTHING if kind != "payment_intent" else ("client_secret",),
        lambda account, identifier, _: account.world.get(kind, identifier, param),
    )


def _search(kind: str, path: str) -> Route:
    return _route(
        "GET", f"{path}/search", SEARCH, lambda account, _, params: search(account.world, kind, f"/v1/{path}", params)
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


def _balance(account: Account, _id: str, _params: Params) -> Obj:
    lines = [line for line in account.world.all("balance_transaction") if line["_livemode"] == account.world.livemode]
    pending = [{"amount": sum(line["net"] for line in lines), "currency": "usd", "source_types": {"card": 0}}]
    return {"object": "balance", "available": [], "livemode": account.world.livemode, "pending": pending}


ROUTES: Final[list[Route]] = [
    # customers
    _route("POST", "customers", FIELDS, lambda account, _, params: account.customers.create(params)),
    _search("customer", "customers"),
    _list("customer", "customers", "email"),
    _one("customer", "customers"),
    _route("POST", "customers/{id}", FIELDS[:-2] + FIELDS[-1:], lambda a, i, p: a.customers.update(i, p)),
    _route("DELETE", "customers/{id}", NOTHING, lambda account, i, _: account.customers.delete(i)),
    _route("GET", "customers/{id}/payment_methods", (*LIST_PARAMETERS, "type"), _customer_methods),
    # payment methods
    _route("POST", "payment_methods", ("type", "card", "metadata"), lambda a, _, p: a.customers.create_method(p)),
    _list("payment_method", "payment_methods", "customer", "type"),
    _one("payment_method", "payment_methods"),
    _route("POST", "payment_methods/{id}/attach", ("customer",), lambda a, i, p: a.customers.attach(i, p)),
    _route("POST", "payment_methods/{id}/detach", NOTHING, lambda a, i, p: a.customers.detach(i, p)),
    # payments
    _route("POST", "payment_intents", payments_module.CREATE, lambda a, _, p: a.payments.create(p)),
    _search("payment_intent", "payment_intents"),
    _list("payment_intent", "payment_intents", "customer"),
    _one("payment_intent", "payment_intents", "intent"),
    _route("POST", "payment_intents/{id}", payments_module.UPDATE, lambda a, i, p: a.payments.update(i, p)),
    _route("POST", "payment_intents/{id}/confirm", payments_module.CONFIRM, lambda a, i, p: a.payments.confirm(i, p)),
    _route("POST", "payment_intents/{id}/cancel", ("cancellation_reason",), lambda a, i, p: a.payments.cancel(i, p)),
    _search("charge", "charges"),
    _list("charge", "charges", "customer", "payment_intent"),
    _one("charge", "charges"),
    _route("GET", "charges/{id}/refunds", LIST_PARAMETERS, _refunds_of_charge),
    # money that goes back
    _route("POST", "refunds", refunds_module.CREATE, lambda a, _, p: a.refunds.create(p)),
    _list("refund", "refunds", "charge", "payment_intent"),
    _one("refund", "refunds"),
    _route("POST", "refunds/{id}", ("metadata",), lambda a, i, p: a.refunds.update(i, p)),
    _list("dispute", "disputes", "charge", "payment_intent"),
    _one("dispute", "disputes"),
    _route("POST", "disputes/{id}", ("evidence", "metadata", "submit"), lambda a, i, p: a.disputes.update(i, p)),
    _route("POST", "disputes/{id}/close", NOTHING, lambda a, i, p: a.disputes.close(i, p)),
    _list("balance_transaction", "balance_transactions", "source", "type"),
    _one("balance_transaction", "balance_transactions"),
    _route("GET", "balance", NOTHING, _balance),
    # events
    _route("GET", "events", (*LIST_PARAMETERS, "type", "types"), _events),
    _one("event", "events"),
    _route(
        "POST",
        "webhook_endpoints",
        ("url", "enabled_events", "metadata", "description"),
        lambda a, _, p: a.outbox.create_endpoint(p),
    ),
    _list("webhook_endpoint", "webhook_endpoints"),
    _one("webhook_endpoint", "webhook_endpoints"),
    _route(
        "POST",
        "webhook_endpoints/{id}",
        ("url", "enabled_events", "metadata", "disabled"),
        lambda a, i, p: a.outbox.update_endpoint(i, p),
    ),
    _route("DELETE", "webhook_endpoints/{id}", NOTHING, lambda a, i, _: a.outbox.delete_endpoint(i)),
]


def answer(account: Account, method: str, path: str, values: dict[str, Any]) -> Obj:
    """What the API says to a call. Raises ApiError."""
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is not None and route.method == method:
            params = Params(values, route.allowed)
            result = plain(route.call(account, found.groupdict().get("id", ""), params))
            assert isinstance(result, dict)
            return account.world.expanded(result, params.words("expand"))
    raise ApiError(
        404,
        "invalid_request_error",
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/. (The Stripe double has no such route.)",
    )


__all__ = ["ROUTES", "Route", "answer", "listing"]
