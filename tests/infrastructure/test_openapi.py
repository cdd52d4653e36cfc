"""The committed description of the API is the one that the code has."""

import json

from local.openapi import TARGET, document
from playground.http import STATUS
from tests.handlers import Handlers


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
        "/playground/credits/packages",
        "/playground/shared/{token}",
        "/webhooks/stripe/credits",
    }


def test_every_error_has_a_route_that_lists_it(handlers: Handlers) -> None:
    paths = json.loads(document(handlers.apps))["paths"]
    listed = {
        int(status) for methods in paths.values() for operation in methods.values() for status in operation["responses"]
    }
    assert set(STATUS.values()) <= listed
