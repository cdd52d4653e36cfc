"""Failures that cost us, through the functions: receipts say it, it is counted, and it does not go on for ever."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.account import Change, note_payment
from tests.conftest import NOW
from tests.handlers import Answer, Handlers
from tests.kit.prices import EXAMPLE
from tests.support import all_entries, check_invariants, claude_calls

SONNET = EXAMPLE.models["sonnet"]
FREE_NANO = EXAMPLE.failure_limits.unpaid_cents_per_day * 10_000_000


def run(handlers: Handlers, user: str, directive: str, *, seconds_left: float = 29, **changes: Any) -> Answer:
    body = {"package_id": "@playground/code-reviewer", "input": f"Hi [[claude: {directive}]]", **changes}
    return handlers.call("POST", "/playground/run", body, user=user, seconds_left=seconds_left)


def receipt(handlers: Handlers, user: str, answer: Answer) -> Any:
    return handlers.call("GET", f"/playground/runs/{answer.body['run_id']}", user=user).body


def test_thinking_without_an_answer_uses_up_the_allowance(
    handlers: Handlers, ledger: DynamoLedger, claude: ClaudeDouble, user_id: str
) -> None:
    """Forty of them cost $1.82 and nobody noticed."""
    answers = [run(handlers, user_id, "thinking_only", effort="max", max_tokens=4096) for _ in range(40)]

    failed = [answer for answer in answers if answer.status == 502]
    refused = answers[len(failed) :]
    costs = [receipt(handlers, user_id, answer)["unpaid"]["cost_nano_dollars"] for answer in failed]
    assert FREE_NANO * 4 // 5 < sum(costs) <= FREE_NANO
    assert {(answer.status, answer.body["error"]) for answer in refused} == {(429, "too_many_failures")}
    for answer in refused:
        assert answer.headers["Retry-After"] == str(answer.body["retry_after"])
        assert 0 < answer.body["retry_after"] < 24 * 3600
    account = ledger.account(user_id, NOW)
    assert (account.balance, account.held) == (5, 0)
    check_invariants(account, all_entries(ledger, user_id))
    asked = claude_calls(claude.url)["messages"]
    before = account.unpaid_at
    assert run(handlers, user_id, "thinking_only").status == 429
    assert claude_calls(claude.url)["messages"] == asked, "a refused run asks nobody"
    assert ledger.account(user_id, NOW).unpaid_at == before, "and uses nothing up"


@pytest.mark.parametrize(
    ("directive", "source"),
    [
        ("thinking_only", "reported"),
        ("empty", "reported"),
        ("stop_reason=refusal", "reported"),
        ("cut_after=10", "estimated"),
        ("error_in_stream=api_error", "estimated"),
        ("error_in_stream=overloaded_error", "estimated"),
    ],
)
def test_a_run_that_cost_us_says_so(
    handlers: Handlers, ledger: DynamoLedger, user_id: str, directive: str, source: str
) -> None:
    answer = run(handlers, user_id, directive, max_tokens=600)

    told = receipt(handlers, user_id, answer)

    usage, unpaid = told["usage"], told["unpaid"]
    assert (told["status"], told["credits_spent"], unpaid["usage_source"]) == ("released", 0, source)
    prompt = usage["input_tokens"] + usage["cache_write_tokens"] + usage["cache_read_tokens"]
    assert prompt >= told["prompt_tokens"] - 1
    assert 0 < usage["output_tokens"] <= 600 or directive == "stop_reason=refusal"
    cost = (
        usage["input_tokens"] * SONNET.input_nano
        + usage["output_tokens"] * SONNET.output_nano
        + usage["cache_write_tokens"] * SONNET.cache_write_nano
        + usage["cache_read_tokens"] * SONNET.cache_read_nano
    )
    assert unpaid["cost_nano_dollars"] == cost > 0
    (listed,) = handlers.call("GET", "/playground/runs", user=user_id).body["runs"]
    counts = (listed["input_tokens"], listed["output_tokens"], listed["tokens_used"])
    expected = (prompt, usage["output_tokens"], prompt + usage["output_tokens"])
    assert counts == (expected if source == "reported" else (None, None, None)), "a list shows no estimates"
    account = ledger.account(user_id, NOW)
    assert account.failures_at is not None
    assert account.unpaid_at is not None


def test_a_run_that_timed_out_is_counted_upward(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """Nothing of the answer was seen: it may have been all that was allowed."""
    answer = run(handlers, user_id, "delay=20", max_tokens=700, seconds_left=8.5)
    assert answer.status == 504

    told = receipt(handlers, user_id, answer)

    assert told["unpaid"]["usage_source"] == "estimated"
    assert told["usage"]["output_tokens"] == 700
    assert ledger.account(user_id, NOW).unpaid_at is not None


@pytest.mark.parametrize("directive", ["status=429", "status=529", "status=500", "status=503", "status=400"])
def test_what_is_surely_not_billed_does_not_count(
    handlers: Handlers, ledger: DynamoLedger, user_id: str, directive: str
) -> None:
    answer = run(handlers, user_id, directive)

    told = receipt(handlers, user_id, answer)

    assert (told["usage"], told["unpaid"]) == (None, None)
    account = ledger.account(user_id, NOW)
    assert (account.failures_at, account.unpaid_at) == (None, None)


def test_a_payment_resets_the_allowance(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    while (answer := run(handlers, user_id, "thinking_only", max_tokens=4096)).status == 502:
        pass
    assert answer.body["error"] == "too_many_failures"

    def pay(account: Any) -> Change | None:
        return note_payment(account), ()

    ledger.change(user_id, pay, business_key="paid", now=NOW)

    assert run(handlers, user_id, "output_tokens=20").status == 200


def test_unpaid_cost_is_counted(
    handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str], flushed: Callable[[str], list[Any]]
) -> None:
    answer = run(handlers, user_id, "thinking_only", max_tokens=600)

    told = receipt(handlers, user_id, answer)["unpaid"]["cost_nano_dollars"]
    assert flushed("UnpaidCost") == [told]


@pytest.fixture
def flushed(capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[Any]]:
    def values(metric: str) -> list[Any]:
        found = []
        for line in capsys.readouterr().out.splitlines():
            if f'"{metric}"' in line and "_aws" in line:
                value = json.loads(line)[metric]
                found += value if isinstance(value, list) else [value]
        return found

    return values
