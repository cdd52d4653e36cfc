"""The functions, called with the event files of `playground invoke`, over the real engine and the Claude double."""

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from operate.operator_request import OperatorRequest
from operate.pause_account import PauseAccount
from playground.adapters.clock import utc_now
from playground.adapters.dynamo_keys import account_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.prices import load_prices, parse_prices, published_prices
from playground.domain.account import start_plus
from playground.domain.calendar import boundary, iso
from playground.domain.entries import EntryType
from playground.domain.pricing import Usage
from playground.domain.runs import RunStatus
from playground.ports import Held
from tests.conftest import NOW, ROOT
from tests.fakes import a_hold, charging, conversation
from tests.handlers import EVENTS, Answer, Context, Handlers
from tests.kit.intercept import Request, intercepted
from tests.kit.prices import EXAMPLE
from tests.kit.shop import Shop
from tests.support import LEDGER_TABLE, all_entries, check_invariants, claude_calls

HOUR = timedelta(hours=1)

PUBLISHED = json.loads((ROOT / "layers/shared/playground/data/prices/2026-11-01.json").read_text(encoding="utf-8"))
OUTCOMES: dict[str, tuple[int, dict[str, Any]]] = {
    "run/ok": (
        200,
        {"credits_spent": 1, "credits_remaining": 4, "stop_reason": "end_turn", "max_tokens_reduced": False},
    ),
    "run/camel_case": (200, {"credits_spent": 1, "max_tokens": 600}),
    "run/idempotent": (200, {"credits_spent": 1}),
    "run/pinned_version": (200, {"credits_spent": 1, "model": "claude-haiku-5-5"}),
    "run/no_token": (401, {"error": "unauthorized"}),
    "run/bad_token": (401, {"error": "unauthorized"}),
    "run/blank_input": (400, {"error": "validation_error", "field": "input"}),
    "run/unknown_model": (400, {"error": "validation_error", "field": "model"}),
    "run/not_json": (400, {"error": "validation_error", "field": "body"}),
    "run/wrong_content_type": (400, {"error": "validation_error", "field": "content-type"}),
    "run/unknown_field": (400, {"error": "validation_error", "field": "max_token", "expected": "max_tokens"}),
    "run/unknown_package": (404, {"error": "package_not_found"}),
    "run/unknown_version": (404, {"error": "package_not_found"}),
    "run/foreign_session": (404, {"error": "session_not_found"}),
    "run/temperature": (422, {"error": "unsupported_parameter", "parameter": "temperature"}),
    "run/overloaded": (503, {"error": "model_overloaded", "reason": "overloaded", "retry_after": 30}),
    "run/refused": (502, {"error": "model_failed", "reason": "refused"}),
    "run/too_expensive": (402, {"error": "insufficient_credits", "available_credits": 5}),
    "run/custom_prompt": (403, {"error": "verified_author_required"}),
    "run/custom_prompt_info": (200, {"available": True}),
    "anonymous/off": (403, {"error": "not_entitled", "login_required": True}),
    "anonymous/unknown_field": (400, {"error": "validation_error", "field": "model"}),
    "estimate/ok": (200, {"can_afford": True, "current_balance": 5}),
    "estimate/opus": (200, {"can_afford": True, "model": "claude-opus-5-5"}),
    "credits/balance": (200, {"balance": 5, "available": 5, "held": 0, "debt": 0, "plan": "free"}),
    "credits/history": (200, {"transactions": [], "next_cursor": None}),
    "credits/purchases": (200, {"purchases": [], "receipts_available": True, "next_cursor": None}),
    "credits/usage": (200, {"days": [], "next_cursor": None}),
    "credits/usage_bad_days": (400, {"error": "validation_error", "field": "days"}),
    "credits/history_bad_limit": (400, {"error": "validation_error", "field": "limit"}),
    "credits/runs": (200, {"open": [], "runs": [], "next_cursor": None, "unreadable": []}),
    "credits/runs_bad_day": (400, {"error": "validation_error", "field": "day"}),
    "credits/packs": (200, {}),
    "credits/pricing": (200, {"price": 2000, "currency": "USD", "interval": "month", "credits": 200}),
    "credits/models": (200, {"price_version": EXAMPLE.version}),
    "credits/prices": (200, PUBLISHED),
    "credits/history_offset": (400, {"error": "validation_error", "field": "offset"}),
    "credits/unknown_run": (404, {"error": "run_not_found"}),
    "sessions/list": (200, {"sessions": [], "next_cursor": None}),
    "sessions/list_no_token": (401, {"error": "unauthorized"}),
    "sessions/list_bad_limit": (400, {"error": "validation_error", "field": "limit"}),
    "sessions/list_bad_cursor": (400, {"error": "validation_error", "field": "cursor"}),
    "sessions/unknown": (404, {"error": "session_not_found"}),
    "sessions/delete_unknown": (404, {"error": "session_not_found"}),
    "sessions/share_unknown": (404, {"error": "session_not_found"}),
    "sessions/share_bad_expiry": (400, {"error": "validation_error", "field": "expires_in_days"}),
    "sessions/unshare_unknown": (404, {"error": "session_not_found"}),
    "sessions/shared_unknown": (404, {"error": "share_not_found"}),
    "sessions/shared_malformed": (404, {"error": "share_not_found"}),
    "sessions/fork_unknown": (404, {"error": "share_not_found"}),
    "sessions/fork_no_token": (401, {"error": "unauthorized"}),
    "sessions/vote_unknown": (404, {"error": "share_not_found"}),
    "sessions/vote_without_opinion": (400, {"error": "validation_error", "field": "is_helpful"}),
    "sessions/report_unknown": (404, {"error": "share_not_found"}),
    "sessions/report_blank": (400, {"error": "validation_error", "field": "reason"}),
    "sessions/rate_unknown_run": (404, {"error": "run_not_found"}),
    "sessions/rate_nothing": (400, {"error": "validation_error"}),
    "catalog/by_runs": (200, {}),
    "catalog/bad_sort": (400, {"error": "validation_error", "field": "sort"}),
    "catalog/usage": (200, {"name": "@playground/code-reviewer"}),
    "catalog/list": (200, {"next_cursor": None}),
    "catalog/by_name": (200, {"name": "@playground/code-reviewer", "format": "claude"}),
    "catalog/by_encoded_name": (200, {"name": "@playground/code-reviewer", "format": "claude"}),
    "catalog/unknown": (404, {"error": "package_not_found"}),
    "catalog/openapi": (200, {"openapi": "3.1.0"}),
}

SCHEDULED = {"reset/expire_holds", "reset/daily", "reset/warn"}
NO_JSON = {"credits/history_csv"}  # test_history_csv.py
ON_DEMAND = {"audit/one_account", "audit/all_accounts"}


def test_every_event_file_has_an_outcome() -> None:
    assert {str(path.relative_to(EVENTS).with_suffix("")) for path in EVENTS.rglob("*.json")} == {
        *OUTCOMES,
        *SCHEDULED,
        *ON_DEMAND,
        *NO_JSON,
    }


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(name: str, handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    status, fields = OUTCOMES[name]
    answer = handlers.file(name, user_id=user_id)
    assert (answer.status, {key: answer.body.get(key) for key in fields}) == (status, fields)
    account = ledger.account(user_id, NOW)
    check_invariants(account, all_entries(ledger, user_id))
    charged = answer.body.get("credits_spent", 0) if status == 200 and name.startswith("run/") else 0
    assert (account.balance, account.held) == (5 - charged, 0)


def error_of(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.body["error"], answer.body.get("field")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("package_id", 7),
        ("package_id", "code-reviewer"),
        ("package_id", "@playground/code-reviewer\0"),
        ("package_id", "@playground/" + "x" * 200),
        ("package_version", ""),
        ("package_version", "../../etc"),
        ("input", ""),
        ("input", "\n \t\u2003"),
        ("input", "x" * 10_001),
        ("input", "nul \0 byte"),
        ("input", ["list"]),
        ("session_id", "a/b"),
        ("session_id", "x" * 65),
        ("model", "claude-sonnet-5-5"),
        ("model", None),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 32_001),
        ("max_tokens", "100"),
        ("max_tokens", 10.5),
        ("max_tokens", True),
        ("effort", "extreme"),
        ("temperature", 2),
        ("temperature", "hot"),
        ("use_no_prompt", "yes"),
    ],
)
def test_field_out_of_bounds_is_named(
    handlers: Handlers, ledger: DynamoLedger, user_id: str, field: str, value: Any
) -> None:
    answer = handlers.file("run/ok", user_id=user_id, changes={field: value})
    assert error_of(answer) == (400, "validation_error", field)
    assert len(all_entries(ledger, user_id)) == 0  # nothing was touched


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"packageId": "@playground/code-reviewer", "userInput": ""}, "userInput"),
        ({"packageId": "code-reviewer", "userInput": "Hi"}, "packageId"),
        ({"packageId": "@playground/code-reviewer"}, "input"),
        ({"packageId": "@playground/code-reviewer", "input": "Hi", "userInput": "Hi"}, "userInput"),  # twice
    ],
)
def test_a_field_is_called_what_the_request_called_it(
    handlers: Handlers, user_id: str, body: dict[str, Any], field: str
) -> None:
    """The names of older clients are theirs to find again; what is missing has that of the contract."""
    answer = handlers.event("run", a_run_of(handlers, user_id, json.dumps(body)))
    assert error_of(answer) == (400, "validation_error", field)
    assert answer.body["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ({"max_token": 600, "temprature": 0.2, "stream": True}, "max_tokens"),
        ({"temprature": 0.2}, "temperature"),
        ({"stream": True}, None),
        ({"maxToken": 600}, "max_tokens"),
        ({"": 1}, None),
        ({"x" * 100_000: 1}, None),
    ],
)
def test_a_field_that_a_run_does_not_have_is_refused_and_costs_nothing(
    handlers: Handlers, claude: ClaudeDouble, ledger: DynamoLedger, user_id: str, unknown: dict[str, Any], nearest: str
) -> None:
    """Ignored, it would be another run than was asked for, and charged. The key of the attempt stays free."""
    asked = claude_calls(claude.url)
    refused = handlers.file("run/idempotent", user_id=user_id, changes=unknown)
    field = next(iter(unknown))[:64]
    assert error_of(refused) == (400, "validation_error", field)
    assert refused.body["message"].startswith(f"`{field}` is not a field of this request; ")
    if nearest is not None:
        assert refused.body["message"].endswith(f"did you mean `{nearest}`?")
    assert claude_calls(claude.url) == asked
    assert len(all_entries(ledger, user_id)) == 0
    assert handlers.file("run/idempotent", user_id=user_id).status == 200


def test_an_estimate_takes_the_fields_of_a_run(handlers: Handlers, user_id: str) -> None:
    """So that a front end sends the same body to both; and says the same about what the model does not take."""
    for changes, outcome in (({"effort": "low", "max_tokens": 600}, 200), ({"temperature": 0.5}, 422)):
        for name in ("estimate/ok", "run/ok"):
            assert handlers.file(name, user_id=user_id, changes=changes).status == outcome, name


def test_every_route_refuses_what_it_does_not_declare(handlers: Handlers, user_id: str) -> None:
    """Neither a query parameter, nor one twice, nor a field of a body. Stripe's deliveries are as Stripe makes them."""
    for route in (route for api in handlers.description.apis for route in api.routes):
        if route.path.endswith("/webhooks/stripe/credits") or route.method == "OPTIONS":
            continue
        path = re.sub(r"{\w+}", "x", route.path.removeprefix("/v1"))
        body: dict[str, Any] | None = {} if route.method == "POST" else None
        asked = handlers.call(route.method, f"{path}?nonsense=1", body, user=user_id)
        assert error_of(asked) == (400, "validation_error", "nonsense"), route
        if body is not None:
            sent = handlers.call(route.method, path, {"nonsense": 1}, user=user_id)
            assert error_of(sent) == (400, "validation_error", "nonsense"), route


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("limit=5_0", "limit", "digits"),
        ("limit=%205", "limit", "digits"),
        ("limit=%2B5", "limit", "digits"),
        ("limit=5.0", "limit", "digits"),
        ("limit=%EF%BC%95", "limit", "digits"),  # a 5 that is twice as wide
        ("limit=%D9%A5", "limit", "digits"),  # an Arabic 5
        ("limit=", "limit", "digits"),
        ("limit=-5", "limit", 'at least 1; got "-5"'),
        ("limit=" + "5" * 5000, "limit", "digits"),
        ("limit=5&limit=5", "limit", "once"),
        ("limit=5&offset=20", "offset", "`cursor`"),
        ("limt=5", "limt", "`limit`"),
        ("Limit=5", "Limit", "`limit`"),
        ("from=2026-11-01&format=csv", "from", "limit, cursor"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/playground/credits/history", "/playground/runs", "/playground/sessions", "/packages"]
)
def test_query_parameters_of_lists_are_checked(
    handlers: Handlers, user_id: str, path: str, query: str, field: str, said: str
) -> None:
    answer = handlers.call("GET", f"{path}?{query}", user=user_id)
    assert error_of(answer) == (400, "validation_error", field)
    assert said in answer.body["message"]


def test_bodies_of_published_clients_are_accepted(handlers: Handlers, user_id: str) -> None:
    """docs/api.md lists their names. 404, not 400: this user has not paid, and the link does not exist."""
    run = {"packageId": "@playground/code-reviewer", "userInput": "Hi", "useNoPrompt": True, "model": "haiku"}
    assert handlers.call("POST", "/playground/run", run, user=user_id).status == 200
    assert handlers.call("POST", "/playground/estimate", run, user=user_id).status == 200
    portal = handlers.call("POST", "/playground/subscription/portal", {"returnUrl": "https://prpm.dev/x"}, user=user_id)
    assert error_of(portal) == (404, "subscription_not_found", None)
    vote = {"is_helpful": True, "feedback_text": "Thanks"}
    assert error_of(handlers.call("POST", f"/playground/shared/{'A' * 43}/feedback", vote, user=user_id)) == (
        404,
        "share_not_found",
        None,
    )


def test_pricing_is_public(handlers: Handlers) -> None:
    assert handlers.call("GET", "/playground/pricing").body["credits"] == 200


def test_a_published_table_is_public_and_may_be_cached_for_ever(handlers: Handlers) -> None:
    for version in (EXAMPLE.version, load_prices().version):
        answer = handlers.call("GET", f"/playground/prices/{version}")
        assert answer.status == 200
        assert parse_prices(answer.body) == published_prices(version)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Vary"] == "Origin"
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("version", ["2001-01-01", "2026-11-01.json", "..", "SHA256SUMS", "%2e%2e%2fprices", "x" * 32])
def test_a_table_that_was_never_published_is_not_found(handlers: Handlers, version: str) -> None:
    """It may be published later: the answer is not kept."""
    answer = handlers.call("GET", f"/playground/prices/{version}")
    assert error_of(answer) == (404, "price_table_not_found", None)
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_version_of_a_receipt_leads_to_its_table(handlers: Handlers, user_id: str) -> None:
    run = handlers.file("run/ok", user_id=user_id).body
    receipt = handlers.call("GET", f"/playground/runs/{run['run_id']}", user=user_id).body
    table = parse_prices(handlers.call("GET", f"/playground/prices/{receipt['price_version']}").body)
    price = table.price(table.models[receipt["model"]], Usage(**receipt["usage"]))
    assert price.credits == receipt["credits_spent"] == receipt["price"]["credits"]
    assert receipt["ceiling"] == table.ceiling(
        table.models[receipt["model"]], receipt["prompt_tokens"], receipt["max_tokens"]
    )


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("", "input"),
        ("{}", "input"),
        ('{"input": "a", "input": "b"}', "body"),
        ("null", "body"),
        ("[]", "body"),
        ('"text"', "body"),
        ("[" * 200_000, "body"),
        ('{"package_id": ' + "1" * 5000 + "}", "body"),
        ('{"package_id": "@playground/code-reviewer", "input": "half of \\ud83d"}', "input"),
        ('{"package_id": "@playground/code-reviewer", "input": "half of \ud83d"}', "input"),
    ],
)
def test_broken_body_is_a_400(handlers: Handlers, user_id: str, raw: str, field: str) -> None:
    event = a_run_of(handlers, user_id, raw)
    assert error_of(handlers.event("run", event)) == (400, "validation_error", field)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[", b'{"package_id": "\xe4"}'])
def test_packed_body_that_is_no_text_is_a_400(handlers: Handlers, user_id: str, content: bytes) -> None:
    event = {**a_run_of(handlers, user_id, base64.b64encode(content).decode()), "isBase64Encoded": True}
    assert error_of(handlers.event("run", event)) == (400, "validation_error", "body")


def a_run_of(handlers: Handlers, user_id: str, body: str) -> dict[str, Any]:
    """The event of a request for a run with this body."""
    event: dict[str, Any] = json.loads((EVENTS / "run/ok.json").read_text(encoding="utf-8"))
    token = handlers.tokens.token(user_id, HOUR)
    event["headers"]["Authorization"] = f"Bearer {token}"
    return {**event, "body": body}


@pytest.mark.parametrize(
    "content_type", ["Application/JSON", "application/json; charset=utf-8", " APPLICATION/JSON ;x"]
)
def test_a_type_of_content_is_read_in_any_case(handlers: Handlers, user_id: str, content_type: str) -> None:
    answer = handlers.file("estimate/ok", user_id=user_id, changes={"header:Content-Type": content_type})
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("key", ["", "x" * 256, " ", "tab\tinside", "ümlaut"])
def test_idempotency_key_out_of_bounds_is_named(handlers: Handlers, user_id: str, key: str) -> None:
    answer = handlers.file("run/ok", user_id=user_id, changes={"header:Idempotency-Key": key})
    assert (answer.status, answer.body["field"]) == (400, "idempotency-key")


def test_10_000_characters_of_any_script_are_answered(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    text = ("naïve 日本語 🙂 \u202e ﷽ " * 700)[:10_000]
    answer = handlers.file("run/ok", user_id=user_id, changes={"input": text})
    assert answer.status == 200
    assert answer.body["conversation"][0]["content"] == text


@pytest.mark.parametrize(
    ("directive", "status", "code", "reason"),
    [
        ("status=429 retry_after=40", 503, "model_overloaded", "rate_limited"),
        ("status=529 retry_after=40", 503, "model_overloaded", "overloaded"),
        ("status=500", 502, "model_failed", "provider_error"),
        ("status=400", 502, "model_failed", "rejected"),
        ("status=401", 502, "model_failed", "rejected"),
        ("cut_after=10", 502, "model_failed", "cut_off"),
        ("error_in_stream=api_error", 502, "model_failed", "provider_error"),
        ("error_in_stream=overloaded_error", 503, "model_overloaded", "overloaded"),
        ("empty", 502, "model_failed", "empty"),
        ("thinking_only", 502, "model_failed", "no_text"),
        ("stop_reason=refusal", 502, "model_failed", "refused"),
    ],
)
def test_failing_model_costs_nothing_and_is_remembered(
    handlers: Handlers,
    ledger: DynamoLedger,
    claude: ClaudeDouble,
    user_id: str,
    directive: str,
    status: int,
    code: str,
    reason: str,
) -> None:
    changes = {"input": f"Hello {user_id} [[claude: {directive}]]", "header:Idempotency-Key": "one"}
    answer = handlers.file("run/ok", user_id=user_id, changes=changes)
    assert (answer.status, answer.body["error"], answer.body["reason"]) == (status, code, reason)
    account = ledger.account(user_id, NOW)
    assert (account.balance, account.held, len(account.holds)) == (5, 0, 0)
    check_invariants(account, all_entries(ledger, user_id))

    before = claude_calls(claude.url)["messages"]
    again = handlers.file("run/ok", user_id=user_id, changes=changes)
    assert {**again.body, "request_id": None} == {**answer.body, "request_id": None}
    assert claude_calls(claude.url)["messages"] == before  # the outcome is on record, nobody asks again


def test_model_that_takes_too_long_costs_nothing(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    event = json.loads((EVENTS / "run/ok.json").read_text(encoding="utf-8"))
    token = handlers.tokens.token(user_id, HOUR)
    event["headers"]["Authorization"] = f"Bearer {token}"
    event["body"] = json.dumps({"package_id": "@playground/code-reviewer", "input": "Hi [[claude: delay=20]]"})
    answer = handlers.event("run", event, seconds_left=8.5)  # of which 7 s are kept for the ledger
    assert (answer.status, answer.body["error"]) == (504, "model_timed_out")
    account = ledger.account(user_id, NOW)
    assert (account.balance, account.held) == (5, 0)


def late(handlers: Handlers, user_id: str, seconds: float, **body: Any) -> Answer:
    """A run whose request the gateway took so long ago; the function has its whole time."""
    event = json.loads((EVENTS / "run/ok.json").read_text(encoding="utf-8"))
    event["headers"]["Authorization"] = f"Bearer {handlers.tokens.token(user_id, HOUR)}"
    event["body"] = json.dumps({"package_id": "@playground/code-reviewer", "input": "Hi", **body})
    event["requestContext"]["requestTimeEpoch"] = int((time.time() - seconds) * 1000)
    return handlers.event("run", event)


def test_a_request_that_waited_too_long_for_its_function_is_not_run(
    handlers: Handlers, claude: ClaudeDouble, ledger: DynamoLedger, user_id: str
) -> None:
    """The gateway ends an answer of which nothing comes for 5 min after it has taken a request, whenever the function
    began: a run that is paid for after that would be a broken connection to whoever has paid."""
    before = claude_calls(claude.url)["messages"]

    refused = late(handlers, user_id, 296)
    released = late(handlers, user_id, 291.5, input="Hi [[claude: delay=5]]")  # 1.5 s for the model, 7 s for the ledger

    assert (refused.status, refused.body["error"]) == (503, "store_unavailable")
    assert (released.status, released.body["error"]) == (504, "model_timed_out")
    assert claude_calls(claude.url)["messages"] == before + 1
    account = ledger.account(user_id, NOW)
    assert (account.balance, account.held) == (5, 0)
    assert late(handlers, user_id, 10).body["credits_spent"] == 1


def test_an_event_that_is_older_than_any_request_has_the_functions_time(handlers: Handlers, user_id: str) -> None:
    """As one from a file has."""
    for seconds in (3600, -3600):
        assert late(handlers, user_id, seconds).status == 200


INVISIBLE = (
    "\u200b",
    "\u2060",
    "\u3164",
    "\ufeff\u00ad",
    "\u115f\u1160",
    "\u180e",
    "\ufe0f",
    "\U000e0041\U000e007f",
    "\u0301",
    " \u2800",
)


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_nothing_visible_is_blank_wherever_something_must_be_said(
    handlers: Handlers, ledger: DynamoLedger, user_id: str, text: str
) -> None:
    package = {"package_id": "@playground/code-reviewer", "input": text}
    for path, body, field in (
        ("/playground/run", package, "input"),
        ("/playground/estimate", package, "input"),
        ("/playground/shared/unknown/report", {"reason": text}, "reason"),
    ):
        answer = handlers.call("POST", path, body, user=user_id)
        assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", field)
    assert ledger.account(user_id, NOW).balance == 5


@pytest.mark.parametrize("text", ["a\ud83d", "\ude00", "\ud83d \ude00"], ids=ascii)
def test_half_of_a_character_is_no_text(handlers: Handlers, user_id: str, text: str) -> None:
    """JSON can say it; it could be neither stored nor sent."""
    package = {"package_id": "@playground/code-reviewer", "input": text}
    for path, body in (
        ("/playground/run", package),
        ("/playground/estimate", package),
        ("/playground/shared/unknown/report", {"reason": text}),
        ("/playground/shared/unknown/feedback", {"is_helpful": True, "comment": text}),
    ):
        answer = handlers.call("POST", path, body, user=user_id)
        assert (answer.status, answer.body["error"]) == (400, "validation_error")


def test_a_character_in_two_escapes_is_one(handlers: Handlers, user_id: str) -> None:
    body = {"package_id": "@playground/code-reviewer", "input": "\ud83d\ude00 [[claude: emoji=split output_tokens=9]]"}
    answer = handlers.call("POST", "/playground/run", body, user=user_id)
    assert answer.status == 200
    assert answer.body["response"].endswith("😀")
    path = f"/playground/sessions/{answer.body['session_id']}"
    asked, answered = handlers.call("GET", path, user=user_id).body["conversation"]
    assert (asked["content"][0], answered["content"]) == ("😀", answer.body["response"])


NOWHERE = "0b8f4f6e-1c1d-4b57-9a3b-2b1d7a3c9e10"


@pytest.mark.parametrize("named", ["@nope/nope", NOWHERE, NOWHERE.upper()])
def test_a_package_that_is_not_there_is_called_what_the_request_called_it(
    handlers: Handlers, user_id: str, named: str
) -> None:
    for path in ("/playground/run", "/playground/estimate"):
        answer = handlers.call("POST", path, {"package_id": named, "input": "Hi"}, user=user_id)
        assert (answer.status, answer.body["message"]) == (404, f"There is no package {named}.")
    pinned = {"packageId": named, "input": "Hi", "package_version": "9.9.9"}
    answer = handlers.call("POST", "/playground/run", pinned, user=user_id)
    assert answer.body["message"] == f"There is no package {named} in version 9.9.9."
    assert handlers.call("GET", f"/packages/{named}").body["message"] == f"There is no package {named}."


def test_a_package_by_name_and_by_id_is_one_request(handlers: Handlers, user_id: str) -> None:
    """What a message calls it is not part of what a key names."""
    by_name = handlers.call(
        "POST", "/playground/run", {"package_id": "@playground/code-reviewer", "input": "Hi"}, user=user_id, key="k"
    )
    uuid = handlers.call("GET", "/packages/@playground/code-reviewer").body["id"]
    by_id = handlers.call("POST", "/playground/run", {"package_id": uuid, "input": "Hi"}, user=user_id, key="k")
    assert by_name.status == by_id.status == 200
    assert by_name.body["run_id"] == by_id.body["run_id"]


def test_without_a_count_an_estimate_is_approximate_and_a_run_is_run(handlers: Handlers, user_id: str) -> None:
    body = {"package_id": "@playground/code-reviewer", "input": "Hi [[claude: count_status=429]]"}
    guessed = handlers.call("POST", "/playground/estimate", body, user=user_id)
    counted = handlers.call("POST", "/playground/estimate", {**body, "input": "Hi"}, user=user_id)
    assert (guessed.body["approximate"], counted.body["approximate"]) == (True, False)
    assert handlers.call("POST", "/playground/run", body, user=user_id).body["credits_spent"] == 1


def test_answer_longer_than_affordable_is_shortened_and_says_so(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    ask = {"input": "A long answer, please. [[claude: output_tokens=4000]]", "model": "opus"}
    answer = handlers.file("run/ok", user_id=user_id, changes=ask)
    assert answer.status == 200
    assert answer.body["max_tokens_reduced"] is True
    assert 512 <= answer.body["max_tokens"] < 4096
    assert answer.body["stop_reason"] == "max_tokens"
    assert answer.body["output_tokens"] == answer.body["max_tokens"]
    assert answer.body["credits_spent"] <= 5


def test_provider_that_bills_more_than_the_ceiling_is_not_the_users_problem(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    ask = {"input": "Hi [[claude: output_tokens=600 input_factor=2.5]]" + " word" * 1800, "max_tokens": 600}
    answer = handlers.file("run/ok", user_id=user_id, changes=ask)
    assert answer.status == 200
    run = ledger.run(user_id, answer.body["run_id"])
    assert run is not None
    assert (run.status, run.charged, run.ceiling) == (RunStatus.SETTLED, 2, 2)
    assert run.overrun > 0
    check_invariants(ledger.account(user_id, NOW), all_entries(ledger, user_id))


def test_second_run_reads_the_cached_prompt_and_says_so_in_the_receipt(handlers: Handlers, user_id: str) -> None:
    first = handlers.file("run/ok", user_id=user_id)
    second = handlers.file("run/ok", user_id=user_id)
    receipt = _get(handlers, user_id, "credits/unknown_run", second.body["run_id"])
    assert first.body["input_tokens"] == second.body["input_tokens"]
    assert receipt.body["usage"]["cache_read_tokens"] > 1000
    assert sum(receipt.body["usage"].values()) == second.body["tokens_used"]


def test_receipt_and_history_name_the_run(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    run = handlers.file("run/ok", user_id=user_id)
    receipt = _get(handlers, user_id, "credits/unknown_run", run.body["run_id"])
    assert (receipt.body["status"], receipt.body["credits_spent"]) == ("settled", 1)
    assert receipt.body["response"] == run.body["response"]
    history = handlers.file("credits/history", user_id=user_id)
    assert [line["run_id"] for line in history.body["transactions"]] == [run.body["run_id"]]
    spend = next(entry for entry in all_entries(ledger, user_id) if entry.type is EntryType.SPEND)
    assert (receipt.body["entry_seq"], receipt.body["entry_hash"]) == (spend.seq, spend.hash)


def test_packs_are_public_with_a_slash_behind_them_too(handlers: Handlers) -> None:
    assert handlers.call("GET", "/playground/credits/packages/").body == handlers.file("credits/packs", user_id="").body


def test_models_are_public_and_as_the_price_table_has_them(handlers: Handlers) -> None:
    answer = handlers.file("credits/models", user_id="")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=300")
    opus = next(model for model in answer.body["models"] if model["name"] == "opus")
    assert (opus["model_id"], opus["factor"], opus["default"]) == ("claude-opus-5-5", 3, False)
    assert [step["credits"] for step in opus["tiers"]["steps"]] == [3, 6, 9]
    assert (opus["takes_temperature"], opus["retired"]) == (False, False)
    assert opus["max_tokens"] == {"default": 4096, "most": 32000}
    assert [model["name"] for model in answer.body["models"] if model["default"]] == ["sonnet"]


def test_sessions_carry_the_names_that_published_clients_read(handlers: Handlers, user_id: str) -> None:
    handlers.file("run/ok", user_id=user_id)
    (session,) = handlers.file("sessions/list", user_id=user_id).body["sessions"]
    names = {
        "id": "session_id",
        "package_name": "package",
        "run_count": "turns",
        "last_run_at": "updated_at",
        "total_tokens": "tokens_used",
        "total_duration_ms": "duration_ms",
        "is_public": "shared",
    }
    assert {name: session[name] for name in names} == {name: session[ours] for name, ours in names.items()}


def test_a_foreign_receipt_looks_like_none(handlers: Handlers, user_id: str) -> None:
    run = handlers.file("run/ok", user_id=user_id)
    foreign = _get(handlers, f"{user_id}-other", "credits/unknown_run", run.body["run_id"])
    missing = _get(handlers, f"{user_id}-other", "credits/unknown_run", "run_00000000000000000000000000")
    assert (foreign.status, {**foreign.body, "request_id": 0}) == (404, {**missing.body, "request_id": 0})


def test_a_foreign_session_looks_like_none(handlers: Handlers, claude: ClaudeDouble, user_id: str) -> None:
    run = handlers.file("run/ok", user_id=user_id)
    before = claude_calls(claude.url)["messages"]
    foreign = handlers.file("run/ok", user_id=f"{user_id}-other", changes={"session_id": run.body["session_id"]})
    assert error_of(foreign) == (404, "session_not_found", None)
    assert claude_calls(claude.url)["messages"] == before


def test_conversation_goes_on_in_its_session(handlers: Handlers, claude: ClaudeDouble, user_id: str) -> None:
    first = handlers.file("run/ok", user_id=user_id)
    second = handlers.file("run/ok", user_id=user_id, changes={"session_id": first.body["session_id"], "input": "And?"})
    assert (second.status, second.body["session_id"]) == (200, first.body["session_id"])
    sent = claude_calls(claude.url)["last_request"]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]


def test_history_pages_from_newest_to_oldest(handlers: Handlers, user_id: str) -> None:
    for _ in range(3):
        assert handlers.file("run/ok", user_id=user_id).status == 200
    event = json.loads((EVENTS / "credits/history.json").read_text(encoding="utf-8"))
    token = handlers.tokens.token(user_id, HOUR)
    event["headers"]["Authorization"] = f"Bearer {token}"
    numbers, query = [], {"limit": "3"}
    for _ in range(5):
        event["queryStringParameters"] = query
        event["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        page = handlers.event("credits", event).body
        numbers += [line["seq"] for line in page["transactions"]]
        if page["next_cursor"] is None:
            break
        query = {"limit": "3", "cursor": page["next_cursor"]}
    assert numbers == [4, 3, 2, 1]


def test_private_answers_are_not_cached_and_the_front_end_may_read_them(handlers: Handlers, user_id: str) -> None:
    changes = {"header:Origin": "https://prpm.dev"}
    for name in ("credits/balance", "run/no_token", "credits/history_bad_limit"):
        answer = handlers.file(name, user_id=user_id, changes=changes)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "https://prpm.dev"
        exposed = "link,retry-after,ratelimit,ratelimit-policy,x-amzn-requestid"
        assert answer.headers["Access-Control-Expose-Headers"] == exposed


def _get(handlers: Handlers, user_id: str, name: str, run_id: str) -> Answer:
    event = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    token = handlers.tokens.token(user_id, HOUR)
    event["headers"]["Authorization"] = f"Bearer {token}"
    event["pathParameters"]["run_id"] = run_id
    event["path"] = f"/v1/playground/runs/{run_id}"
    return handlers.event("credits", event)


# --- time passes ------------------------------------------------------------------------------------------------------


def a_message(user_id: str, at: datetime, number: int) -> dict[str, Any]:
    """As Lambda hands one of the queue of work over."""
    body = {"task": "advance", "at": iso(at), "user_id": user_id}
    return {"messageId": f"message-{number}", "body": json.dumps(body), "eventSource": "aws:sqs"}


def test_fourteen_months_with_and_without_the_job_are_the_same(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    """Two users with the same life. For one the job comes at every boundary, twice; for the other never."""
    visited, forgotten = f"{user_id}-visited", f"{user_id}-forgotten"
    now = datetime.now(UTC)
    year, month = divmod(now.year * 12 + now.month - 1 - 14, 12)
    anchor = datetime(year, month + 1, min(now.day, 28), tzinfo=UTC)
    for user in (visited, forgotten):
        ledger.change(
            user,
            lambda account: start_plus(account, allowance=200, entitled_until=None, now=anchor),
            business_key="p",
            now=anchor,
        )
    months = [boundary(anchor, number) for number in range(1, 15)]
    for number, at in enumerate(month for month in months if month <= now):
        event = {"Records": [a_message(visited, at, 2 * number), a_message(visited, at, 2 * number + 1)]}
        answer = handlers.apps["reset"].handler(event, Context(60))
        assert answer == {"batchItemFailures": []}
        for user in (visited, forgotten):
            if number % 2:
                hold = a_hold(f"run_{user_id[-6:]}{number}{user[-1]}".ljust(30, "0"), 40, at)
                ledger.place_hold(user, hold, limit=20, now=at)
                ledger.settle(ledger.account(user, at), hold, charging(hold, 30, at), conversation(user, hold, at))

    balances = [handlers.file("credits/balance", user_id=user).body for user in (visited, forgotten)]
    assert balances[0] == balances[1]
    assert balances[0]["monthly"]["allocated"] == 200
    assert balances[0]["purchased"] == 5
    lines = [
        [(entry.type, entry.deltas, entry.balance_after, entry.created_at) for entry in all_entries(ledger, user)]
        for user in (visited, forgotten)
    ]
    assert lines[0] == lines[1]
    assert handlers.file("run/ok", user_id=visited).status == handlers.file("run/ok", user_id=forgotten).status == 200
    spent = [handlers.file("credits/balance", user_id=user).body["monthly"]["used"] for user in (visited, forgotten)]
    assert spent[0] == spent[1]


def test_a_message_that_fails_is_named_and_the_others_are_done(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    ledger.account(user_id, NOW)
    broken = {"messageId": "broken", "body": "{", "eventSource": "aws:sqs"}
    answer = handlers.apps["reset"].handler({"Records": [broken, a_message(user_id, NOW, 1)]}, Context(60))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "broken"}]}


def test_messages_for_which_there_is_no_time_come_again(handlers: Handlers, user_id: str) -> None:
    answer = handlers.apps["reset"].handler({"Records": [a_message(user_id, NOW, 1)]}, Context(5))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}


@pytest.mark.parametrize("event", [{"task": "advance"}, {"task": "warn", "at": "tomorrow"}, {"task": "dance"}])
def test_scheduled_work_without_a_proper_task_and_time_is_refused(handlers: Handlers, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"time such as|task must be|Invalid isoformat"):
        handlers.apps["reset"].handler(event, Context(60))


def test_a_dead_hold_is_given_back_by_the_next_read(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    dead = a_hold(f"run_{user_id[-8:]}".ljust(30, "0"), 5, long_ago)
    assert isinstance(ledger.place_hold(user_id, dead, limit=20, now=long_ago), Held)

    estimate = handlers.file("estimate/ok", user_id=user_id).body
    balance = handlers.file("credits/balance", user_id=user_id).body

    assert (estimate["can_afford"], estimate["current_balance"]) == (True, 5)
    assert (balance["balance"], balance["held"], balance["available"]) == (5, 0, 5)
    ended = ledger.run(user_id, dead.run_id)
    assert ended is not None
    assert ended.status is RunStatus.EXPIRED


# --- no store ---------------------------------------------------------------------------------------------------------


@contextmanager
def no_store(handlers: Handlers) -> Iterator[None]:
    """While it lasts, nothing that a function sends to DynamoDB gets there."""

    def refuse(request: Request) -> None:
        raise request.unreachable()

    clients = [client for client in handlers.clients if client.meta.service_model.service_name == "dynamodb"]
    with ExitStack() as interceptions:
        for client in clients:
            interceptions.enter_context(intercepted(client, refuse))
        yield


RUN = {"package_id": "@playground/code-reviewer", "input": "Is this right?"}
# Per function one route that reads and one that writes, as far as it has them.
ROUTES: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "run": ("POST", "/playground/run", RUN),
    "estimate": ("POST", "/playground/estimate", RUN),
    "balance": ("GET", "/playground/credits", None),
    "history": ("GET", "/playground/credits/history", None),
    "runs": ("GET", "/playground/runs", None),
    "receipt": ("GET", "/playground/runs/run_0", None),
    "purchase": ("POST", "/playground/credits/purchase", {"package": "small"}),
    "subscribe": ("POST", "/playground/subscribe", {}),
    "sessions": ("GET", "/playground/sessions", None),
    "session": ("GET", "/playground/sessions/ses_0", None),
    "deletion": ("DELETE", "/playground/sessions/ses_0", None),
    "shared": ("GET", "/playground/shared/" + "a" * 43, None),
    "packages": ("GET", "/packages", None),
}


@pytest.mark.parametrize("name", ROUTES)
def test_without_a_store_it_says_so_and_nothing_has_happened(
    name: str, handlers: Handlers, ledger: DynamoLedger, user_id: str, claude: ClaudeDouble
) -> None:
    handlers.file("credits/balance", user_id=user_id)
    asked = claude_calls(claude.url)["messages"]
    with no_store(handlers):
        answer = handlers.call(*ROUTES[name], user=user_id)
    assert (answer.status, answer.body["error"]) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert set(answer.body) == {"error", "message", "request_id", "retry_after"}
    assert claude_calls(claude.url)["messages"] == asked
    assert [entry.type for entry in all_entries(ledger, user_id)] == [EntryType.SIGNUP]
    assert ledger.account(user_id, NOW).held == 0


def test_without_a_store_stripe_is_asked_to_come_again(shop: Shop) -> None:
    shop.pay(shop.buy())
    events = shop.new_events()
    with no_store(shop.handlers):
        answers = {event["type"]: shop.send(event) for event in events}
    assert {answer.status for answer in answers.values()} == {200, 503}  # some events are not about us
    assert answers["payment_intent.succeeded"].body["error"] == "store_unavailable"
    assert shop.history() == [("signup", 5)]

    assert {shop.send(event).status for event in events} == {200}
    assert shop.history() == [("signup", 5), ("purchase", 100)]


def test_a_function_does_what_the_template_lets_it_and_nothing_else(handlers: Handlers) -> None:
    """Whatever the functions do in these tests is looked up there."""
    store = handlers.apps["webhook"].store
    key = account_key(LEDGER_TABLE, "nobody")
    with handlers.rights.of("webhook"):
        assert store.get(key) is None
        with pytest.raises(PermissionError, match=r"does not let webhook do dynamodb:BatchWriteItem LedgerTable$"):
            store.delete_all([key])
    with handlers.rights.of("catalog"), pytest.raises(PermissionError, match="dynamodb:GetItem LedgerTable"):
        store.get(key)


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        "@playground/code-reviewer",
        "%40playground/code-reviewer",
        "%40playground%2Fcode-reviewer",
        "@playground%2fcode-reviewer",
        "%40playground/code%2Dreviewer",
    ],
)
def test_a_package_is_found_however_its_name_is_encoded(handlers: Handlers, spelling: str) -> None:
    """A REST API hands paths over as they were sent, so it is for the function to decode them."""
    answer = handlers.call("GET", f"/packages/{spelling}")
    assert (answer.status, answer.body.get("name")) == (200, "@playground/code-reviewer")


@pytest.mark.parametrize(
    "spelling",
    ["%2540playground/code-reviewer", "%2540playground%252Fcode-reviewer", "%40playground%252Fcode-reviewer"],
)
def test_what_is_encoded_twice_is_decoded_once(handlers: Handlers, spelling: str) -> None:
    answer = handlers.call("GET", f"/packages/{spelling}")
    assert error_of(answer) == (404, "package_not_found", None)


@pytest.mark.parametrize("spelling", ["%ff", "%zz", "a%", "%C0%AF", "%ED%A0%80", "@playground/%e9"])
def test_what_is_no_text_is_named(handlers: Handlers, spelling: str) -> None:
    answer = handlers.call("GET", f"/packages/{spelling}")
    assert error_of(answer) == (400, "validation_error", "path")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/playground/runs/{}"),
        ("POST", "/playground/runs/{}/feedback"),
        ("GET", "/playground/sessions/{}"),
        ("GET", "/playground/shared/{}"),
    ],
)
def test_ids_are_decoded_once_everywhere(handlers: Handlers, user_id: str, method: str, path: str) -> None:
    ran = handlers.call(
        "POST", "/playground/run", {"package_id": "@playground/code-reviewer", "input": "x"}, user=user_id
    ).body
    shared = handlers.call("POST", f"/playground/sessions/{ran['session_id']}/share", {}, user=user_id).body
    value = {"runs": ran["run_id"], "sessions": ran["session_id"], "shared": shared["share_token"]}[path.split("/")[2]]
    body = {"rating": 5} if method == "POST" else None
    encoded = "".join(f"%{byte:02X}" for byte in value.encode())
    answers = [handlers.call(method, path.format(each), body, user=user_id) for each in (value, encoded)]
    assert [answer.status for answer in answers] == [200, 200]
    assert handlers.call(method, path.format(encoded.replace("%", "%25")), body, user=user_id).status in (400, 404)


def test_a_paused_account_runs_nothing_and_is_not_shown_who_paused_it(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    body = {"package_id": "@playground/code-reviewer", "input": "x = 1"}
    order = OperatorRequest(reference="abuse-7", reason="Scripts", operator="anna")
    PauseAccount(ledger)(user_id, order, paused=True, now=utc_now())

    for path in ("run", "estimate"):
        answer = handlers.call("POST", f"/playground/{path}", body, user=user_id)
        assert (answer.status, answer.body["error"]) == (403, "account_paused")
    history = handlers.call("GET", "/playground/credits/history", user=user_id).body["transactions"]
    assert history[0]["description"] == "Paused: Scripts"
    assert "anna" not in json.dumps(history)

    PauseAccount(ledger)(user_id, order, paused=False, now=utc_now())
    assert handlers.call("POST", "/playground/run", body, user=user_id).status == 200
