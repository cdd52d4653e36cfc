"""Rate limits through the functions: the refusal, its headers, and what does not count."""

from collections.abc import Iterator
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.template import Description
from operate.change_plan import ChangePlan
from operate.operator_request import OperatorRequest
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.account import Plan
from playground.http import utc_now
from tests.handlers import Answer, Handlers, loaded
from tests.kit.prices import LIMITED
from tests.support import all_entries, check_invariants

POLICY = '"runs";q=5;w=60'
FAILING = {"package_id": "@playground/code-reviewer", "input": "Hi [[claude: status=500]]"}
RUN = {"package_id": "@playground/code-reviewer", "input": "Hi [[claude: output_tokens=20]]"}


@pytest.fixture(scope="module")
def limited(
    engine: Engine, claude: ClaudeDouble, stripe_double: StripeDouble, description: Description
) -> Iterator[Handlers]:
    with loaded(description, engine, claude, stripe_double, LIMITED) as handlers:
        yield handlers


def run(handlers: Handlers, user: str, body: dict[str, Any] | None = None, key: str | None = None) -> Answer:
    return handlers.call("POST", "/playground/run", RUN if body is None else body, user=user, key=key)


def standing(answer: Answer) -> tuple[int, int]:
    """Remaining requests, and the seconds until one more. Raises AssertionError without the headers."""
    assert answer.headers["RateLimit-Policy"].partition(";")[0] == answer.headers["RateLimit"].partition(";")[0]
    _, remaining, *reset = answer.headers["RateLimit"].split(";")
    assert remaining.startswith("r=")
    assert all(each.startswith("t=") for each in reset)
    return int(remaining[2:]), int(reset[0][2:]) if reset else 0


def test_the_sixth_run_of_a_minute_is_refused_and_says_when_to_come_back(
    limited: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    answers = [run(limited, user_id, FAILING) for _ in range(8)]

    assert [answer.status for answer in answers] == [502] * 5 + [429] * 3
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {POLICY}
    assert [standing(answer)[0] for answer in answers] == [4, 3, 2, 1, 0, 0, 0, 0]
    for answer in answers[5:]:
        assert answer.body["error"] == "rate_limited"
        assert answer.body["limit"] == 5
        assert 1 <= answer.body["retry_after"] <= 12
        assert answer.headers["Retry-After"] == str(answer.body["retry_after"])
        assert abs(standing(answer)[1] - answer.body["retry_after"]) <= 1
        assert answer.headers["Cache-Control"] == "no-store"
    account = ledger.account(user_id, utc_now())
    check_invariants(account, all_entries(ledger, user_id))
    assert (account.balance, account.held) == (5, 0)


def test_answers_of_a_run_say_where_one_stands_and_repeats_do_not_count(limited: Handlers, user_id: str) -> None:
    first = run(limited, user_id, key="k")
    assert (first.status, first.headers["RateLimit-Policy"], standing(first)[0]) == (200, POLICY, 4)
    again = run(limited, user_id, key="k")
    assert (again.status, again.body["run_id"], standing(again)[0]) == (200, first.body["run_id"], 4)
    other = run(limited, user_id, {**RUN, "input": "another"}, key="k")
    assert (other.status, standing(other)[0]) == (422, 4)
    assert standing(run(limited, user_id))[0] == 3


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"package_id": "@playground/nothing"}, 404),
        ({"session_id": "ses_00000000000000000000000000"}, 404),
        ({"model": "opus", "input": "All of this, please. " * 450}, 402),
    ],
)
def test_refusals_for_something_else_have_the_headers_and_do_not_count(
    limited: Handlers, user_id: str, changes: dict[str, Any], status: int
) -> None:
    for _ in range(6):
        answer = run(limited, user_id, RUN | changes)
        assert (answer.status, answer.headers.get("RateLimit")) == (status, '"runs";r=5'), answer.body


def test_what_is_refused_before_the_account_is_read_has_no_such_headers(limited: Handlers, user_id: str) -> None:
    for answer in (run(limited, user_id, RUN | {"input": ""}), limited.call("POST", "/playground/run", RUN)):
        assert answer.status in (400, 401)
        assert not {"RateLimit", "RateLimit-Policy"} & answer.headers.keys()
    assert "RateLimit" not in limited.call("GET", "/playground/credits", user=user_id).headers


def test_a_verified_organisation_has_its_own_limit(limited: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """It is one while a plan runs that an operator set for it."""
    order = OperatorRequest(reference="contract-7", reason="A verified organisation", operator="anna")
    change_plan = ChangePlan(ledger, allowance=200)
    change_plan(user_id, Plan.PLUS, order, until=None, now=utc_now())

    assert run(limited, user_id).headers["RateLimit-Policy"] == '"runs";q=100;w=60'

    ended = OperatorRequest(reference="contract-7-ended", reason="It ended", operator="anna")
    change_plan(user_id, Plan.FREE, ended, until=None, now=utc_now())
    assert run(limited, user_id).headers["RateLimit-Policy"] == POLICY


def test_the_fourth_purchase_of_a_minute_is_refused(limited: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    def buy(key: str | None = None, pack: str = "small") -> Answer:
        return limited.call("POST", "/playground/credits/purchase", {"package": pack}, user=user_id, key=key)

    first = buy("k")
    assert (first.status, first.headers["RateLimit-Policy"]) == (200, '"purchases";q=3;w=60')
    for _ in range(4):
        again = buy("k")
        assert (again.status, again.body["purchase_id"], standing(again)[0]) == (200, first.body["purchase_id"], 2)
    assert [buy().status for _ in range(4)] == [200, 200, 429, 429]
    refused = buy()
    assert (refused.body["error"], refused.body["limit"], standing(refused)[0]) == ("rate_limited", 3, 0)
    assert refused.headers["Retry-After"] == str(refused.body["retry_after"])
    assert 1 <= refused.body["retry_after"] <= 20
    assert buy("k").body["purchase_id"] == first.body["purchase_id"], "repeats are answered all the same"
    assert buy("k", "large").status == 422
    assert len(limited.call("GET", "/playground/credits/purchases", user=user_id).body["purchases"]) == 3
    assert run(limited, user_id).headers["RateLimit"].startswith('"runs";r=4'), "another limit"


def test_a_streamed_run_is_limited_and_says_so_like_any_other(limited: Handlers, user_id: str) -> None:
    """Both routes share one limit, and the headers come before the first event."""

    def stream(body: dict[str, Any], key: str | None = None) -> Answer:
        return limited.call("POST", "/playground/run/stream", body, user=user_id, key=key)

    first = stream(RUN, "k")
    assert (first.status, first.headers["RateLimit-Policy"], standing(first)[0]) == (200, POLICY, 4)
    assert standing(stream(RUN, "k"))[0] == 4
    assert standing(run(limited, user_id))[0] == 3
    for _ in range(3):
        stream(FAILING)
    for refused in (stream(RUN), run(limited, user_id)):
        assert (refused.status, refused.body["error"], standing(refused)[0]) == (429, "rate_limited", 0)
        assert refused.headers["Retry-After"] == str(refused.body["retry_after"])
