"""Compares answers with the description of the API: what no route declares must not occur."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tools.openapi import TARGET, public_path


@cache
def described() -> Mapping[str, Any]:
    """The committed document."""
    document: Mapping[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
    return document


def operation_of(method: str, path: str) -> Mapping[str, Any] | None:
    """The operation of a route, whose path is without the base path; None if there is no such route."""
    operation: Mapping[str, Any] | None = described()["paths"].get(public_path(path), {}).get(method.lower())
    return operation


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference within the document names."""
    while "$ref" in node:
        found: Any = described()
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": described()["components"]})


def mistakes(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Where `value` does not fit a schema of the document."""
    errors = _validator(json.dumps(schema)).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


def _declared(operation: Mapping[str, Any]) -> Mapping[str, set[str]]:
    """The error codes of each status."""
    return {
        status: set(resolved(response)["content"]["application/json"]["examples"])
        for status, response in operation["responses"].items()
        if status != "200"
    }


def check_answer(method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Fails if the route at `path` (without the base path) does not declare this answer. For a stream, `body` has its
    events."""
    operation = operation_of(method, path)
    assert operation is not None, f"{method} {path} is not described: `make openapi`"
    name = f"{method} {path}"
    if isinstance(body, list):
        events = event_schemas(operation)
        for event in body:
            data = {field: value for field, value in event.items() if field != "event"}
            assert event["event"] != "error" or data["error"] in _event_errors(operation), _missing(name, data["error"])
            found = mistakes(events[event["event"]], data)
            assert found == [], f"the event {event['event']} of {name} is not as it is described: {found}"
        return
    response = operation["responses"].get(str(status))
    code = body.get("error") if status != 200 else None
    assert response is not None, _missing(name, f"{status} {code}")
    if status != 200:
        assert code in _declared(operation)[str(status)], _missing(name, f"{status} {code}")
        schema = described()["components"]["schemas"][_schema_name(resolved(response), code)]
        unknown = body.keys() - schema["properties"].keys()
        assert not unknown, f"tools/openapi_errors.py lacks the facts {sorted(unknown)} of {code} ({name})"
        assert ("Retry-After" not in headers) or "Retry-After" in resolved(response)["headers"], f"{path} {status}"
    content = resolved(response)["content"].get("application/json")
    if content is not None and not isinstance(body, str):
        found = mistakes(content["schema"], body)
        assert found == [], f"{name} {status} is not as it is described: {found}"


def event_schemas(operation: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The schema of the data of each event of a stream, by name."""
    events = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]["oneOf"]
    return {event["properties"]["event"]["const"]: event["properties"]["data"]["contentSchema"] for event in events}


def _event_errors(operation: Mapping[str, Any]) -> set[str]:
    return {code for codes in _declared(operation).values() for code in codes}


def _schema_name(response: Mapping[str, Any], code: str) -> str:
    schema = response["content"]["application/json"]["schema"]
    refs: Sequence[str] = [each["$ref"] for each in schema.get("oneOf", [schema])]
    names = [ref.rpartition("/")[2] for ref in refs]
    schemas = described()["components"]["schemas"]
    return next(name for name in names if schemas[name]["properties"]["error"]["const"] == code)


def _missing(name: str, what: str) -> str:
    return f"{name} answers {what}, and does not declare it: add the error to its `answers(…)`, and `make openapi`"
