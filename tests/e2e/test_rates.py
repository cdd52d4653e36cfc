"""Rate limits of the running stack, with the price table that ships: real HTTP, real processes, the real engine."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

from local.demo import Answer
from playground.adapters.prices import load_prices
from playground.domain.account import Account, Change, start_plus
from playground.domain.calendar import boundary, instant
from playground.domain.entries import EntryType
from tests.e2e.conftest import Stack
from tests.kit.extent import HANG_SECONDS
from tests.support import all_entries, check_invariants, claude_calls

REVIEW = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b", "max_tokens": 600}
THREADS = 30


def at_once(request: Callable[[], Answer]) -> tuple[list[Answer], float]:
    """The answers to thirty requests that begin together, and the seconds that they took."""
    barrier = Barrier(THREADS)

    def ask(_: int) -> Answer:
        barrier.wait(HANG_SECONDS)
        return request()

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, range(THREADS)))
    return answers, time.monotonic() - started


def test_of_thirty_parallel_runs_of_a_free_account_five_are_admitted(stack: Stack, user_id: str) -> None:
    """It has credits enough: those of a plan that has ended, for an account of the free plan."""
    ledger, client, now = stack.ledger, stack.client(user_id), instant(datetime.now(UTC))
    begun = now - timedelta(days=40)
    limit = load_prices().run_limit(ledger.account(user_id, begun))

    def start(account: Account) -> Change:
        return start_plus(account, allowance=200, entitled_until=boundary(begun, 1), now=begun)

    ledger.change(user_id, start, business_key="plan", now=begun)
    before = ledger.account(user_id, now)
    assert (before.plan, before.is_paying, before.available) == ("free", False, 205)
    calls = claude_calls(stack.claude_url)["messages"]

    answers, seconds = at_once(lambda: client.post("/playground/run", REVIEW))

    admitted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    recovered = int(seconds / limit.interval.total_seconds())  # 0, unless this machine is very busy
    assert limit.per_minute <= len(admitted) <= limit.per_minute + recovered
    assert {(answer.status, answer.body["error"]) for answer in refused} == {(429, "rate_limited")}
    assert all(1 <= answer.body["retry_after"] <= 12 for answer in refused)
    assert claude_calls(stack.claude_url)["messages"] - calls == len(admitted)
    account = ledger.account(user_id, now)
    check_invariants(account, entries := all_entries(ledger, user_id))
    assert (account.held, len(account.holds)) == (0, 0)
    assert sum(entry.type is EntryType.SPEND for entry in entries) == len(admitted)
    assert 205 - account.balance == sum(answer.body["credits_spent"] for answer in admitted)


def test_of_thirty_parallel_purchases_three_are_begun(stack: Stack, user_id: str) -> None:
    client, limit = stack.client(user_id), load_prices().purchase_limit

    answers, seconds = at_once(lambda: client.post("/playground/credits/purchase", {"package": "small"}))

    statuses = Counter(answer.status for answer in answers)
    begun = statuses[200]
    assert limit.per_minute <= begun <= limit.per_minute + int(seconds / limit.interval.total_seconds())
    assert statuses == {200: begun, 429: THREADS - begun}
    assert len(client.get("/playground/credits/purchases?limit=100").body["purchases"]) == begun
