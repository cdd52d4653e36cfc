"""Events as API Gateway's console, custom domains, binary types and other proxies make them: nulls where there is
nothing, one spelling or several of a header. Each gets a documented answer; a handler raises nothing."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.handlers import Context, Handlers

Event = dict[str, Any]
ROUTES = (
    ("catalog", "GET", "/packages", None),
    ("catalog", "GET", "/packages/%40playground%2Fcode-reviewer", None),
    ("catalog", "GET", "/openapi.json", None),
    ("credits", "GET", "/playground/credits", None),
    ("credits", "GET", "/playground/credits/history", None),
    ("credits", "GET", "/playground/runs", None),
    ("credits", "GET", "/playground/runs/run_1", None),
    ("credits", "POST", "/playground/credits/purchase", {"package": "none"}),
    ("estimate", "POST", "/playground/estimate", {"package_id": "@playground/code-reviewer", "input": "Hi"}),
    ("run", "POST", "/playground/run", {"package_id": "@playground/code-reviewer", "input": " "}),
    ("sessions", "GET", "/playground/sessions", None),
    ("sessions", "GET", "/playground/shared/none", None),
    ("sessions", "POST", "/playground/shared/none/report", {"reason": "spam"}),
    ("sessions", "DELETE", "/playground/sessions/ses_1", None),
    ("webhook", "POST", "/webhooks/stripe/credits", {}),
)
PARTS = (
    *("headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "pathParameters"),
    *("stageVariables", "body", "isBase64Encoded", "resource", "path"),
)
NEVER_ABSENT = ("requestContext", "httpMethod")


def changed(**parts: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, **parts}


def without(name: str) -> Callable[[Event], Event]:
    return lambda event: {part: value for part, value in event.items() if part != name}


def context(**parts: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, "requestContext": {**event["requestContext"], **parts}}


def packed(event: Event) -> Event:
    body = base64.b64encode((event["body"] or "").encode()).decode()
    return {**event, "body": body, "isBase64Encoded": True}


def header(name: str, value: object) -> Callable[[Event], Event]:
    def change(event: Event) -> Event:
        headers = {**event["headers"], name: value}
        return {**event, "headers": headers, "multiValueHeaders": {each: [it] for each, it in headers.items()}}

    return change


def console(event: Event) -> Event:
    """What the console's test button sends, where nothing is filled in."""
    nothing = dict.fromkeys(("headers", "multiValueHeaders", "queryStringParameters"))
    identity = {"sourceIp": "test-invoke-source-ip", "userAgent": "aws-internal/3", "apiKey": "test-invoke-api-key"}
    return {**event, **nothing, "requestContext": {**event["requestContext"], "identity": identity}}


CHANGES: Mapping[str, Callable[[Event], Event]] = {
    **{f"{name} null": changed(**{name: None}) for name in PARTS},
    **{f"{name} absent": without(name) for name in PARTS},
    "console": console,
    "packed": packed,
    "not base64": changed(body="%%%", isBase64Encoded=True),
    "base64 of no text": changed(body="/w==", isBase64Encoded=True),
    "body of halves": changed(body='{"input": "\ud83d"}'),
    "body of NUL": changed(body="\0"),
    "no address": context(identity={"sourceIp": None}),
    "no request id": context(requestId=None),
    "time is text": context(requestTimeEpoch="soon"),
    "time without end": context(requestTimeEpoch=10**30),
    "header null": header("Idempotency-Key", None),
    "origin null": header("Origin", None),
    "type null": header("Content-Type", None),
    "authorization null": header("Authorization", None),
    "header of halves": header("Idempotency-Key", "\ud83d"),
    "signature of halves": header("Stripe-Signature", "t=1,v1=\ud83d"),
    "query of halves": changed(
        queryStringParameters={"q": "\ud83d", "cursor": "\ud83d", "limit": "\ud83d"},
        multiValueQueryStringParameters={"q": ["\ud83d"], "cursor": ["\ud83d"], "limit": ["\ud83d"]},
    ),
    "query of nothing": changed(queryStringParameters={"limit": ""}, multiValueQueryStringParameters={"limit": []}),
    "path of halves": changed(path="/v1/packages/\ud83d"),
}


def sent(handlers: Handlers, method: str, path: str, body: Mapping[str, Any] | None) -> Event:
    token = handlers.tokens.token("odd-events", timedelta(hours=1))
    headers = {"Host": "test", "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return {
        "resource": f"/v1{path}",
        "path": f"/v1{path}",
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"requestId": "odd", "stage": "api", "identity": {"sourceIp": "203.0.113.7"}},
        "body": json.dumps(body) if body is not None else None,
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("name", NEVER_ABSENT)
def test_an_event_that_cannot_be_is_an_error_of_ours_with_an_answer(handlers: Handlers, name: str) -> None:
    """A handler that raises is the gateway's 502, and nobody could tell whether something was charged."""
    for function, method, path, body in ROUTES:
        for change in (changed(**{name: None}), without(name)):
            answer = handlers.apps[function].handler(change(sent(handlers, method, path, body)), Context())
            assert answer["statusCode"] in (200, 400, 401, 404, 500)
            assert answer["statusCode"] == 200 or "message" in json.loads(answer["body"])


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_an_event_lacks_the_answer_is_a_documented_one(handlers: Handlers, change: str) -> None:
    for function, method, path, body in ROUTES:
        event = CHANGES[change](sent(handlers, method, path, body))
        answer = handlers.apps[function].handler(event, Context())

        status = answer["statusCode"]
        assert status in (200, 400, 401, 404), (function, path, answer)
        assert json.dumps(answer)
        if status != 200:
            assert {"error", "message", "request_id"} <= json.loads(answer["body"]).keys(), (function, path)
