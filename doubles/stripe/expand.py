"""`expand[]`: ids in an answer that are replaced by what they name. What may be asked for is checked beforehand, so
that a call with a wrong path does nothing at all."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from doubles.stripe.wire import ApiError, Obj, invalid
from doubles.stripe.world import World, plain

MAX_LEVELS: Final = 4

# Kind of object: the path to an id in it, and the kind that the id is of. `[]` marks a list that is only there if it
# is asked for, and "" what has nothing to expand in itself.
EXPANDABLE: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "balance_transaction": {"source": ""},
        "charge": {
            "balance_transaction": "balance_transaction",
            "customer": "customer",
            "payment_intent": "payment_intent",
            "refunds": "refund[]",
        },
        "checkout.session": {
            "customer": "customer",
            "invoice": "invoice",
            "line_items": "item[]",
            "payment_intent": "payment_intent",
            "subscription": "subscription",
        },
        "credit_note": {"customer": "customer", "invoice": "invoice"},
        "customer": {"invoice_settings.default_payment_method": "payment_method"},
        "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
        "invoice": {
            "confirmation_secret": "",  # a path to an object # nosec B105
            "customer": "customer",
            "default_payment_method": "payment_method",
            "parent.subscription_details.subscription": "subscription",
            "payments": "invoice_payment[]",
        },
        "invoice_payment": {"invoice": "invoice", "payment.payment_intent": "payment_intent"},
        "item": {"price.product": "product"},
        "payment_intent": {
            "customer": "customer",
            "latest_charge": "charge",
            "payment_method": "payment_method",
        },
        "payment_method": {"customer": "customer"},
        "price": {"product": "product"},
        "product": {"default_price": "price"},
        "refund": {
            "balance_transaction": "balance_transaction",
            "charge": "charge",
            "failure_balance_transaction": "balance_transaction",
            "payment_intent": "payment_intent",
            "payment_method": "payment_method",
        },
        "subscription": {
            "customer": "customer",
            "default_payment_method": "payment_method",
            "items.data.price.product": "product",
            "latest_invoice": "invoice",
        },
    }
)


class Expander:
    """`includable` makes the parts that are in an answer only if they are expanded, by kind and name."""

    def __init__(self, world: World, includable: Mapping[tuple[str, str], Callable[[Obj], Any]]) -> None:
        self.world = world
        self.includable = includable

    def check(self, kind: str, paths: list[str], *, listed: bool) -> None:
        """Raises ApiError for a path that this kind of object, or a list of it, does not have."""
        for path in paths:
            rest = path
            if listed:
                first, _, rest = path.partition(".")
                if first != "data" or not rest:
                    raise _impossible(path)
            self._check(kind, rest, path, MAX_LEVELS)

    def _check(self, kind: str, rest: str, path: str, levels: int) -> None:
        if levels == 0:
            raise invalid(f"You cannot expand more than {MAX_LEVELS} levels of a property. Property: {path}", "expand")
        for name, target in EXPANDABLE.get(kind, {}).items():
            if rest == name:
                return
            following = f"{name}.data." if target.endswith("[]") else f"{name}."
            if target and rest.startswith(following):
                self._check(target.removesuffix("[]"), rest.removeprefix(following), path, levels - 1)
                return
        raise _impossible(path)

    def expand(self, answer: Obj, paths: list[str]) -> Obj:
        """The answer with these paths expanded. `check` has accepted them."""
        for path in paths:
            self._expand(answer, path.split("."))
        return answer

    def _expand(self, node: Any, steps: list[str]) -> None:
        if isinstance(node, list):
            for item in node:
                self._expand(item, steps)
        elif isinstance(node, dict):
            name, *rest = steps
            include = self.includable.get((node.get("object", ""), name))
            if include is not None and not isinstance(node.get(name), dict):
                node[name] = include(node)
            value = node.get(name)
            if isinstance(value, str) and value in self.world.objects:
                value = node[name] = plain(self.world.objects[value])
            if rest:
                self._expand(value, rest)


def _impossible(path: str) -> ApiError:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
