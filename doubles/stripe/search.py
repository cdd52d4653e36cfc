"""The search language, as far as one needs it to find something by an e-mail address or by metadata."""

import re
from collections.abc import Callable
from typing import Final

from doubles.stripe.wire import Obj, Params, invalid
from doubles.stripe.world import World, mode_of, plain

CLAUSE: Final = re.compile(
    r"""\s*(?:(?P<field>[a-z_]+)|metadata\[(?P<quote>["'])(?P<key>[^"']+)(?P=quote)\])"""
    r"""(?P<operator>[:<>]=?|[<>])(?P<mark>["']?)(?P<value>[^"']*)(?P=mark)\s*"""
)
FIELDS: Final = ("amount", "created", "currency", "customer", "email", "name", "payment_intent", "status")


def search(world: World, kind: str, url: str, params: Params) -> Obj:
    """A page of what matches. Stripe's own index lags by up to a minute; this one does not."""
    matches = parse(params.needed("query"))
    limit = params.integer("limit", lowest=1, highest=100) or 10
    start = params.integer("page", lowest=0) or 0
    found = [
        obj
        for obj in reversed(world.all(kind))
        if mode_of(obj) == world.livemode and not obj.get("deleted") and matches(obj)
    ]
    more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": [plain(obj) for obj in found[start : start + limit]],
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "url": f"{url}/search",
    }


def parse(query: str) -> Callable[[Obj], bool]:
    """Clauses of `field:value`, `field>number` and `metadata["key"]:value`, joined by AND. Raises ApiError."""
    clauses = [_clause(text) for text in re.split(r"\s+AND\s+", query)]
    return lambda obj: all(clause(obj) for clause in clauses)


def _clause(text: str) -> Callable[[Obj], bool]:
    found = CLAUSE.fullmatch(text)
    if found is None or (found["field"] is not None and found["field"] not in FIELDS):
        raise invalid(f"We were unable to parse your search query: {text}", "query")
    operator, wanted = found["operator"], found["value"]

    def value(obj: Obj) -> object:
        return obj.get("metadata", {}).get(found["key"]) if found["key"] else obj.get(found["field"])

    if operator == ":":
        return lambda obj: value(obj) is not None and str(value(obj)) == wanted
    if not re.fullmatch(r"[0-9]{1,15}", wanted) or operator == ":=":
        raise invalid(f"We were unable to parse your search query: {text}", "query")
    limit = int(wanted)

    def compare(obj: Obj) -> bool:
        number = value(obj)
        if not isinstance(number, int):
            return False
        return {
            ">": number > limit,
            "<": number < limit,
            ">=": number >= limit,
            "<=": number <= limit,
        }[operator]

    return compare
