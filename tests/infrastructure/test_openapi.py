"""The description of the API is the one that the code has, and explains all of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aws_lambda_powertools.event_handler.api_gateway import Route
from jsonschema import Draft202012Validator

from playground.domain import errors
from playground.http import STATUS, Answers
from tests.handlers import Handlers
from tests.kit.described import check_answer, described, event_schemas, mistakes, resolved
from tests.kit.template import template_source
from tools.openapi import EXAMPLES, TARGET, Operation, document, operations_of
from tools.openapi_errors import CODES, GATEWAY, example_of, status_of

# Generated clients have these names: a published one is never changed, and goes with its route only.
PUBLISHED = {
    "cancelRun": "POST /playground/runs/{run_id}/cancel",
    "cancelSubscription": "POST /playground/subscription/cancel",
    "comparePackages": "POST /playground/compare",
    "deleteSession": "DELETE /playground/sessions/{session_id}",
    "estimateRun": "POST /playground/estimate",
    "followRun": "GET /playground/runs/{run_id}/stream",
    "forkShared": "POST /playground/shared/{token}/fork",
    "getCredits": "GET /playground/credits",
    "getOpenApi": "GET /openapi.json",
    "getPackage": "GET /packages/{package_id}",
    "getPackageByName": "GET /packages/{scope}/{name}",
    "getPriceTable": "GET /playground/prices/{version}",
    "getPackageUsage": "GET /playground/analytics/packages/{package_id}",
    "getPackageUsageByName": "GET /playground/analytics/packages/{scope}/{name}",
    "getPricing": "GET /playground/pricing",
    "getRun": "GET /playground/runs/{run_id}",
    "getSession": "GET /playground/sessions/{session_id}",
    "getShared": "GET /playground/shared/{token}",
    "getSubscription": "GET /playground/subscription",
    "getUsage": "GET /playground/analytics/usage",
    "listModels": "GET /playground/models",
    "listPackages": "GET /packages",
    "listPacks": "GET /playground/credits/packages",
    "listPurchases": "GET /playground/credits/purchases",
    "listRuns": "GET /playground/runs",
    "listSessions": "GET /playground/sessions",
    "listTransactions": "GET /playground/credits/history",
    "openPortal": "POST /playground/subscription/portal",
    "purchaseCredits": "POST /playground/credits/purchase",
    "rateRun": "POST /playground/runs/{run_id}/feedback",
    "receiveStripeEvent": "POST /webhooks/stripe/credits",
    "reportShared": "POST /playground/shared/{token}/report",
    "resumeSubscription": "POST /playground/subscription/resume",
    "runAnonymously": "POST /playground/anonymous-run",
    "runPackage": "POST /playground/run",
    "shareSession": "POST /playground/sessions/{session_id}/share",
    "streamComparison": "POST /playground/compare/stream",
    "streamRun": "POST /playground/run/stream",
    "subscribe": "POST /playground/subscribe",
    "unshareSession": "DELETE /playground/sessions/{session_id}/share",
    "voteOnShared": "POST /playground/shared/{token}/feedback",
}


def test_openapi_document_is_up_to_date(handlers: Handlers) -> None:
    assert TARGET.read_text(encoding="utf-8") == document(handlers.apps), "run `make openapi`"


def test_every_route_that_needs_a_token_says_so(handlers: Handlers) -> None:
    paths = json.loads(document(handlers.apps))["paths"]
    public = {
        path
        for path, methods in paths.items()
        for operation in methods.values()
        if {"token": []} not in operation["security"] or {} in operation["security"]
    }
    assert public == {
        "/custom-prompt/info",
        "/openapi.json",
        "/packages",
        "/packages/{package_id}",
        "/packages/{scope}/{name}",
        "/playground/analytics/packages/{package_id}",
        "/playground/analytics/packages/{scope}/{name}",
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
        if operation["security"] == [{"token": []}] and not {"401", "503"} <= operation["responses"].keys()
    ]
    assert silent == []


def test_published_ids_of_operations_stay() -> None:
    now = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    }
    assert {id_: route for id_, route in PUBLISHED.items() if now.get(id_) != route} == {}


def test_a_route_that_does_not_explain_itself_is_told_what_it_lacks(handlers: Handlers) -> None:
    def silent() -> None: ...

    known = operations_of(handlers.apps)[0]
    route = Route("GET", "/x", known.route.rule, silent, False, False)
    lacks = "\n".join(Operation("/x", route, known.api).problems())
    for what in ("operation_id=", "docstring", "tags=", "responses=answers("):
        assert what in lacks

    class UnheardOfError(errors.PlaygroundError):
        code = "unheard_of"

    route.responses = Answers({"description": "OK"}, UnheardOfError, 404)  # type: ignore[arg-type]
    lacks = "\n".join(Operation("/x", route, known.api).problems())
    assert "unheard_of, in CODES of tools/openapi_errors.py" in lacks
    assert "the types of its errors in answers(…), not 404" in lacks


def test_an_answer_that_is_not_declared_fails_the_test_that_meets_it() -> None:
    path = "/playground/shared/{token}/report"
    known = {"error": "own_share", "message": "No.", "request_id": "r"}
    check_answer("POST", path, 403, {}, known)
    check_answer("POST", path, 200, {}, {"reported": True})
    for status, headers, body, complaint in (
        (409, {}, {**known, "error": "share_blocked"}, "answers 409 share_blocked, and does not declare it"),
        (403, {}, {**known, "error": "account_paused"}, "answers 403 account_paused, and does not declare it"),
        (403, {}, {**known, "owner": "alice"}, r"lacks the facts \['owner'\]"),
        (403, {"Retry-After": "1"}, known, path),
        (200, {}, {"reported": "yes"}, "is not as it is described"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            check_answer("POST", path, status, headers, body)
    with pytest.raises(AssertionError, match="does not declare it"):
        check_answer("GET", "/playground/runs/{run_id}/stream", 200, {}, [{"event": "error", "error": "own_share"}])
    with pytest.raises(AssertionError, match="the event delta"):
        check_answer("GET", "/playground/runs/{run_id}/stream", 200, {}, [{"event": "delta", "text": 1}])


def test_every_operation_says_what_it_is(handlers: Handlers) -> None:
    tags = {tag["name"] for tag in described()["tags"]}
    for name, operation in operations(handlers):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name


def test_every_error_code_is_described_and_no_other() -> None:
    codes = {kind.code for kind in STATUS} | GATEWAY.keys() | {"internal_error"}
    assert codes == CODES.keys()


def test_every_error_has_the_facts_that_its_schema_has() -> None:
    for code, about in CODES.items():
        facts = about.example.facts.keys() if about.example is not None else set()
        assert facts <= about.known.keys(), code
        schema = next(its for its in described()["components"]["schemas"].values() if its_code(its) == code)
        assert mistakes(schema, example_of(code)) == [], code
        if about.example is not None:
            assert status_of(type(about.example)) in STATUS.values()


def its_code(schema: Mapping[str, Any]) -> str | None:
    error: Mapping[str, Any] = schema.get("properties", {}).get("error", {})
    return error.get("const")


def test_what_the_gateway_says_is_what_the_template_has() -> None:
    responses = template_source()["Resources"]["Api"]["Properties"]["GatewayResponses"]
    said = {}
    for name, response in responses.items():
        body = json.loads(response["ResponseTemplates"]["application/json"])
        if body["error"] != "route_not_found":  # no operation has it
            said[body["error"]] = (response.get("StatusCode", 400 if "4XX" in name else 500), body["message"])
    assert said == GATEWAY


def test_every_body_has_an_example_that_validates() -> None:
    for methods in described()["paths"].values():
        for operation in methods.values():
            id_ = operation["operationId"]
            bodies = [*operation.get("requestBody", {}).get("content", {}).items()]
            bodies += [*operation["responses"]["200"]["content"].items()]
            for media_type, media in bodies:
                if media_type not in ("application/json", "text/event-stream"):
                    continue
                examples = [media["example"]] if "example" in media else [*media.get("examples", {}).values()]
                assert examples or id_ == "getOpenApi", f"{id_} lacks an example in {EXAMPLES.name}"
                for example in examples:
                    assert mistakes(media["schema"], example.get("value", example)) == [], id_


def test_examples_are_of_operations() -> None:
    ids = {operation["operationId"] for methods in described()["paths"].values() for operation in methods.values()}
    assert json.loads(EXAMPLES.read_text(encoding="utf-8")).keys() <= ids


def test_every_event_has_an_example_whose_data_validates() -> None:
    streams = 0
    for methods in described()["paths"].values():
        for operation in methods.values():
            media = operation["responses"]["200"]["content"].get("text/event-stream")
            if media is None:
                continue
            streams += 1
            schemas = event_schemas(operation)
            assert schemas.keys() == media["examples"].keys()
            for name, example in media["examples"].items():
                assert mistakes(schemas[name], json.loads(example["value"]["data"])) == [], name
    assert streams >= 3


def test_an_answer_that_may_ask_to_wait_says_so_in_a_header() -> None:
    for methods in described()["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                headers = resolved(response)["headers"]
                assert "x-amzn-RequestId" in headers
                assert ("WWW-Authenticate" in headers) == (status == "401")
                assert "Retry-After" in headers or status not in ("429", "503")


def test_a_body_without_required_fields_may_be_left_out(handlers: Handlers) -> None:
    may = {
        name
        for name, operation in operations(handlers)
        if not operation.get("requestBody", {"required": 1})["required"]
    }
    assert {"POST /playground/sessions/{session_id}/share", "POST /playground/subscribe"} <= may
    assert "POST /playground/run" not in may


def nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def test_times_are_times_and_enums_are_where_they_belong() -> None:
    schemas = described()["components"]["schemas"]
    Draft202012Validator.check_schema(schemas)
    for node in nodes([schemas, described()["paths"]]):
        assert not ("enum" in node and "anyOf" in node), node
        assert not ("enum" in node and "maxLength" in node), node
    for name, schema in schemas.items():
        for field, its in schema.get("properties", {}).items():
            if field.endswith("_at"):
                branches = [branch for branch in its.get("anyOf", [its]) if branch.get("type") != "null"]
                assert [branch.get("format") for branch in branches] == ["date-time"], f"{name}.{field}"


def test_earlier_names_are_deprecated() -> None:
    session = described()["components"]["schemas"]["SessionListed"]["properties"]
    assert session["package_name"]["deprecated"] is True
    assert "deprecated" not in session["package"]
