"""The committed description of the API is the one that the code has."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from playground.http import STATUS
from tests.handlers import Handlers
from tools.openapi import TARGET, document


def test_openapi_document_is_up_to_date(handlers: Handlers) -> None:
    assert TARGET.read_text(encoding="utf-8") == document(handlers.apps), "run `make openapi`"


def test_every_route_that_needs_a_token_says_so(handlers: Handlers) -> None:
    paths = json.loads(document(handlers.apps))["paths"]
    public = {path for path, methods in paths.items() for operation in methods.values() if "security" not in operation}
    assert public == {
        "/openapi.json",
        "/packages",
        "/packages/{package_id}",
        "/packages/{package_id}/{name}",
        "/playground/analytics/packages/{package_id}",
        "/playground/analytics/packages/{package_id}/{name}",
        "/packages/by-id/{package_id}",
        "/playground/anonymous-run",
        "/playground/credits/packages",
        "/playground/models",
        "/playground/pricing",
        "/playground/prices/{version}",
        "/playground/shared/{token}",
        "/playground/shared/{token}/feedback",
        "/search",
        "/webhooks/stripe/credits",
    }


def test_every_error_has_a_route_that_lists_it(handlers: Handlers) -> None:
    paths = json.loads(document(handlers.apps))["paths"]
    listed = {
        int(status) for methods in paths.values() for operation in methods.values() for status in operation["responses"]
    }
    assert set(STATUS.values()) <= listed


def operations(handlers: Handlers) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, methods in json.loads(document(handlers.apps))["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def is_bounded(parameter: Mapping[str, Any]) -> bool:
    """Whether there are texts that it cannot be."""
    schemas = [parameter["schema"], *parameter["schema"].get("anyOf", ())]
    says_nothing = {"title", "description", "default", "examples", "anyOf"}
    return any(schema.keys() - says_nothing - {"type"} or schema.get("type") == "integer" for schema in schemas)


def test_every_route_that_can_be_asked_wrongly_says_so(handlers: Handlers) -> None:
    """A parameter may be out of its bounds, and the body of every POST may be none that is JSON."""
    silent = [
        name
        for name, operation in operations(handlers)
        if "400" not in operation["responses"]
        and (name.startswith("POST ") or any(map(is_bounded, operation.get("parameters", ()))))
    ]
    assert silent == []


def test_every_route_that_needs_a_token_says_what_becomes_of_a_bad_one(handlers: Handlers) -> None:
    """401; and 503 while the key set that it is verified with cannot be read."""
    silent = [
        name
        for name, operation in operations(handlers)
        if "security" in operation and not {"401", "503"} <= operation["responses"].keys()
    ]
    assert silent == []
