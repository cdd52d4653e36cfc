"""POST /playground/anonymous-run, switched on: the function over the engine and the stand-in for Claude."""

import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_keys import budget_key
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.anonymous import day_of
from playground.domain.pricing import NANO_PER_CENT
from tests.handlers import Answer, Handlers, loaded
from tests.support import VISITORS_TABLE, claude_calls

PATH = "/playground/anonymous-run"
BODY = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b"}
BUDGET_CENTS = 5_000
NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)

_addresses = (f"198.18.{number // 256}.{number % 256}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def on(
    engine: Engine, claude: ClaudeDouble, stripe_double: StripeDouble, description: Description
) -> Iterator[Handlers]:
    parameters = {"AnonymousRuns": "true", "AnonymousBudgetCents": str(BUDGET_CENTS)}
    with loaded(description, engine, claude, stripe_double, parameters=parameters) as handlers:
        app: Any = handlers.apps["anonymous"]
        app.run_anonymously._clock = lambda: NOON
        yield handlers


@pytest.fixture
def address() -> str:
    """A visitor that no other test has."""
    return next(_addresses)


def used(store: DynamoStore) -> int:
    """Nano-dollars of the day's budget."""
    item = store.get(budget_key(VISITORS_TABLE, day_of(NOON)))
    return int(item["used_nano"]["N"]) if item is not None else 0


def run(on: Handlers, address: str, body: Mapping[str, Any] = BODY) -> Answer:
    return on.call("POST", PATH, body, address=address)


def said(directive: str) -> Mapping[str, Any]:
    return {**BODY, "input": f"Review this. [[claude: {directive}]]"}


def test_a_visitor_gets_one_answer(on: Handlers, address: str, store: DynamoStore) -> None:
    before = used(store)
    answer = run(on, address, said("output_tokens=200"))
    assert answer.status == 200
    assert set(answer.body) == {"response", "tokens_used", "duration_ms", "model", "login_required", "message"}
    assert answer.body["model"] == "claude-haiku-5-5"
    assert answer.body["login_required"] is True
    assert "5 credits" in answer.body["message"]
    assert answer.body["response"]
    assert answer.headers["Cache-Control"] == "no-store"
    tokens = answer.body["tokens_used"]
    assert 200 * 500 + (tokens - 200) * 10 <= used(store) - before <= 200 * 500 + (tokens - 200) * 125

    refused = run(on, address)
    assert (refused.status, refused.body["error"], refused.body["login_required"]) == (429, "rate_limited", True)
    assert (refused.headers["Retry-After"], refused.body["retry_after"]) == ("43200", 43_200)


def test_an_answer_has_512_tokens_at_most(on: Handlers, address: str, claude: ClaudeDouble) -> None:
    answer = run(on, address, said("output_tokens=4000"))
    assert answer.status == 200
    asked = claude_calls(claude.url)["last_request"]
    assert (asked["model"], asked["max_tokens"]) == ("claude-haiku-5-5", 512)


def test_a_header_does_not_make_another_visitor(on: Handlers, address: str) -> None:
    assert run(on, address).status == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"):
        event = {
            "resource": f"/v1{PATH}",
            "path": f"/v1{PATH}",
            "httpMethod": "POST",
            "headers": {"Content-Type": "application/json", name: "192.0.2.99"},
            "multiValueHeaders": {"Content-Type": ["application/json"], name: ["192.0.2.99"]},
            "requestContext": {"requestId": "r", "identity": {"sourceIp": address}},
            "body": '{"package_id": "@playground/code-reviewer", "input": "Again."}',
        }
        assert on.event("anonymous", event).status == 429


def test_a_token_makes_no_difference(on: Handlers, address: str) -> None:
    assert on.call("POST", PATH, BODY, user="alice", address=address).status == 200
    assert on.call("POST", PATH, BODY, user="bob", address=address).status == 429


def test_older_names_of_fields_are_read(on: Handlers, address: str) -> None:
    assert run(on, address, {"packageId": BODY["package_id"], "userInput": "Review this."}).status == 200


@pytest.mark.parametrize(
    ("changes", "status", "error", "field"),
    [
        ({"model": "opus"}, 400, "validation_error", "model"),
        ({"max_tokens": 4096}, 400, "validation_error", "max_tokens"),
        ({"session_id": "ses_1"}, 400, "validation_error", "session_id"),
        ({"package_version": "1.0.0"}, 400, "validation_error", "package_version"),
        ({"use_no_prompt": True}, 400, "validation_error", "use_no_prompt"),
        ({"input": " \n"}, 400, "validation_error", "input"),
        ({"input": "x" * 10_001}, 400, "validation_error", "input"),
        ({"input": "\0"}, 400, "validation_error", "input"),
        ({"input": 7}, 400, "validation_error", "input"),
        ({"package_id": "no package"}, 400, "validation_error", "package_id"),
        ({"package_id": "@playground/none"}, 404, "package_not_found", None),
        ({"input": "\ufdfa" * 10_000}, 413, "context_too_long", None),
    ],
)
def test_a_bad_request_counts_nothing(
    on: Handlers,
    address: str,
    claude: ClaudeDouble,
    store: DynamoStore,
    changes: Mapping[str, Any],
    status: int,
    error: str,
    field: str | None,
) -> None:
    before = used(store), claude_calls(claude.url)["messages"]
    answer = run(on, address, {**BODY, **changes})
    assert (answer.status, answer.body["error"], answer.body.get("field")) == (status, error, field)
    assert (used(store), claude_calls(claude.url)["messages"]) == before
    assert run(on, address).status == 200


def test_a_used_up_budget_refuses_until_midnight(on: Handlers, address: str, store: DynamoStore) -> None:
    before = used(store)
    spend(store, BUDGET_CENTS * NANO_PER_CENT - before)
    try:
        refused = run(on, address)
    finally:
        spend(store, before - BUDGET_CENTS * NANO_PER_CENT)
    assert (refused.status, refused.body["error"], refused.body["login_required"]) == (503, "paused", True)
    assert refused.headers["Retry-After"] == "43200"
    assert used(store) == before
    assert run(on, address).status == 200


def spend(store: DynamoStore, nano: int) -> None:
    store.client.update_item(
        TableName=VISITORS_TABLE,
        Key=budget_key(VISITORS_TABLE, day_of(NOON)).raw,
        UpdateExpression="ADD used_nano :nano",
        ExpressionAttributeValues={":nano": {"N": str(nano)}},
    )


@pytest.mark.parametrize(("directive", "status"), [("status=529 times=1", 503), ("status=500 times=1", 502)])
def test_a_run_that_is_not_billed_is_asked_once_and_may_be_repeated(
    on: Handlers, address: str, claude: ClaudeDouble, store: DynamoStore, directive: str, status: int
) -> None:
    before = used(store), claude_calls(claude.url)["messages"]
    body = {**BODY, "input": f"For {address}. [[claude: {directive}]]"}
    assert run(on, address, body).status == status
    assert (used(store), claude_calls(claude.url)["messages"]) == (before[0], before[1] + 1)
    assert run(on, address, body).status == 200


@pytest.mark.parametrize(
    ("directive", "reason"), [("cut_after=5", "cut_off"), ("empty", "empty"), ("reported_output=9000", "invalid_usage")]
)
def test_a_run_that_may_be_billed_counts(
    on: Handlers, address: str, store: DynamoStore, directive: str, reason: str
) -> None:
    before = used(store)
    failed = run(on, address, said(directive))
    assert (failed.status, failed.body["reason"]) == (502, reason)
    assert used(store) > before
    assert run(on, address).status == 429


def test_the_function_has_no_right_on_accounts_and_conversations(on: Handlers, store: DynamoStore) -> None:
    app: Any = on.apps["anonymous"]
    for table in ("playground-LedgerTable", "playground-SessionsTable"):
        with on.rights.of("anonymous"), pytest.raises(PermissionError, match="dynamodb:GetItem"):
            app.store.client.get_item(TableName=table, Key=budget_key("", "x").raw)
