"""Each route of the description is sent what the description forbids: the answer names the field, in our words. And it
is sent what the description allows, up to each bound: it is refused for the reasons in tools/refusals.py only."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tests.handlers import Handlers
from tests.kit.described import described, mistakes, resolved
from tools.refusals import REFUSED, explained

PYDANTIC = re.compile(
    r"Input should|Field required|should have|should match|Value error|valid (integer|string|number|boolean|list|dict)|"
    r"unable to parse|pydantic|permitted|type=|instance of"
)

VALID: Mapping[str, Any] = {
    "package_id": "@playground/code-reviewer",
    "input": "What is this?",
    "custom_prompt": "You are a very kind reviewer.",
    "variants": [
        {"package_id": "@playground/code-reviewer"},
        {"package_id": "@playground/code-reviewer", "model": "haiku"},
    ],
    "package": "small",
    "reason": "spam",
    "is_helpful": True,
    "session_id": "ses_none",
    "is_effective": True,
}
VALUES: tuple[Any, ...] = (None, True, 5, -1, 10**9, 1.5, "", " ", "x y", "x\0", [], ["x"], {}, {"x y": 1})


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] != "receiveStripeEvent":  # its bodies are Stripe's
                yield method.upper(), path, operation


def body_of(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    content = resolved(operation.get("requestBody", {})).get("content", {})
    return resolved(content["application/json"]["schema"]) if content else {}


def bounds(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for each in schema.get("anyOf", ()):
        yield from bounds(resolved(each))


def faults(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values that the schema of a field forbids, at least one for each of its bounds."""
    values = list(VALUES)
    for each in bounds(schema):
        values += ["x" * (each["maxLength"] + 1)] if "maxLength" in each else []
        values += [each["maximum"] + 1] if "maximum" in each else []
        values += [each["minimum"] - 1] if "minimum" in each else []
        values += [["x"] * (each["maxItems"] + 1)] if "maxItems" in each else []
    yield from (value for value in values if mistakes(schema, value))


def bad_bodies(schema: Mapping[str, Any], valid: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The field, and a body of which only that is wrong."""
    fields = schema.get("properties", {})
    base = {name: valid[name] for name in fields if name in valid and name in schema.get("required", ())}
    if not base and "package_id" in fields:
        base = {"package_id": valid["package_id"]}
    for name in schema.get("required", ()):
        yield name, {field: value for field, value in base.items() if field != name}
    yield "no_such_field", {**base, "no_such_field": 1}
    for name, field in fields.items():
        for value in faults(resolved(field)):
            yield name, {**base, name: value}
        if name == "variants":
            for inner, variant in bad_bodies(resolved(field["items"]), valid):
                yield f"{name}.0.{inner}", {**base, name: [variant, valid[name][1]]}


def bad_queries(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in map(resolved, operation.get("parameters", ())):
        if parameter["in"] != "query":
            continue
        schema = resolved(parameter["schema"])
        whole = any(each.get("type") == "integer" for each in bounds(schema))
        for value in faults(schema):
            if isinstance(value, str) or (whole and type(value) is int):
                yield parameter["name"], f"{parameter['name']}={quote(str(value))}"
        if whole:
            yield parameter["name"], f"{parameter['name']}=x"
    yield "no_such", "no_such=1"


def check(answer: Any, field: str, sent: object) -> None:
    assert answer.status == 400, f"{answer.status} for {sent}"
    assert answer.body["error"] == "validation_error", sent
    message, named = answer.body["message"], answer.body["field"]
    assert not PYDANTIC.search(message + answer.body["expected"]), f"{message} for {sent}"
    assert named == field or named.startswith((f"{field}.", f"{field.partition('.')[0]}.")), f"{message} for {sent}"
    assert named in message, f"{message} for {sent}"
    assert len(message) < 500


@pytest.mark.parametrize(
    ("method", "path", "operation"), [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in operations()]
)
def test_what_the_description_forbids_is_refused_in_our_words(
    method: str, path: str, operation: Mapping[str, Any], handlers: Handlers, user_id: str
) -> None:
    filled = re.sub(r"\{(\w+)\}", lambda name: "%40a" if name[1] == "scope" else "x", path)
    for field, query in bad_queries(operation):
        body = {} if method == "POST" else None
        if operation["operationId"] != "followRun" or field != "no_such":
            check(handlers.call(method, f"{filled}?{query}", body, user=user_id), field, query)
    for field, bad in bad_bodies(body_of(operation), VALID) if method == "POST" else ():
        check(handlers.call(method, filled, bad, user=user_id), field, bad)


TYPICAL: Mapping[str, Sequence[Any]] = {
    "integer": [0, 1, 2, 5, 7, 30, 600, 1024, 4096],
    "number": [0, 0.5, 1],
    "string": ["x", "x y", "ünï", "\U0001f600", "1.0.0", "2027-01-31", "@acme/tidy", "@playground/code-reviewer"],
    "boolean": [True, False],
    "null": [None],
    "object": [{}, {"name": "value"}],
}


def allowed(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values that the schema of a field allows: those at its bounds, all of an enum, and typical ones."""
    values: list[Any] = []
    for each in bounds(schema):
        values += [*each.get("enum", ()), *each.get("examples", ()), *TYPICAL.get(each.get("type", ""), ())]
        values += [each[name] for name in ("const", "minimum", "maximum") if name in each]
        values += ["x" * each[name] for name in ("minLength", "maxLength") if name in each]
        values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    seen = []
    for value in values:
        if value not in seen and not mistakes(schema, value):
            seen.append(value)
    yield from seen


def good_bodies(schema: Mapping[str, Any], valid: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    fields = schema.get("properties", {})
    base = {name: valid[name] for name in fields if name in valid and name in schema.get("required", ())}
    base |= {"package_id": valid["package_id"]} if "package_id" in fields else {}
    yield base
    for name, field in fields.items():
        if name == "variants":
            for variant in good_bodies(resolved(field["items"]), valid):
                yield {**base, name: [variant, valid[name][1]]}
            yield {**base, name: [{**valid[name][0], "max_tokens": 600 + number} for number in range(4)]}
        else:
            for value in allowed(resolved(field)):
                yield {**base, name: value}


def good_queries(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in map(resolved, operation.get("parameters", ())):
        if parameter["in"] == "query":
            for value in allowed(resolved(parameter["schema"])):
                if isinstance(value, str | int) and not isinstance(value, bool):
                    yield f"{parameter['name']}={quote(str(value))}"


@pytest.mark.parametrize(
    ("method", "path", "operation"), [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in operations()]
)
def test_what_the_description_allows_is_not_refused_without_a_known_reason(
    method: str, path: str, operation: Mapping[str, Any], handlers: Handlers, user_id: str
) -> None:
    filled = re.sub(r"\{(\w+)\}", lambda name: "%40a" if name[1] == "scope" else "x", path)
    queries = [f"{filled}?{query}" for query in good_queries(operation)] if method == "GET" else []
    bodies = good_bodies(body_of(operation), VALID) if method == "POST" else ()
    for address, body in [*((query, None) for query in queries), *((filled, body) for body in bodies)]:
        answer = handlers.call(method, address, body, user=user_id)
        if answer.status in REFUSED:
            assert explained(operation["operationId"], answer.body), f"{answer.body} for {address} {str(body)[:300]}"
