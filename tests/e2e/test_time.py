"""Time passes in the running stack: a schedule's event, the queue, the workers; and the users of `make load`."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest

from bench.life import Life, Places
from bench.load import Sample, Tally, audited, faults
from bench.operator import Operator, serving
from local.invoke import call
from local.state_file import read_state
from operate.stack import open_stack
from playground.adapters.dynamo_audit import DynamoAudit
from playground.domain.account import Account, Change, start_plus
from playground.domain.calendar import boundary, iso
from tests.e2e.conftest import Stack
from tests.handlers import EVENTS
from tests.kit.extent import HANG_SECONDS
from tests.support import all_entries, check_invariants

LIVES = (48, 4)  # seeds of what they choose


def test_a_month_passes_for_an_idle_user(stack: Stack) -> None:
    now = datetime.now(UTC)

    def start(account: Account) -> Change:
        return start_plus(account, allowance=200, entitled_until=None, now=now)

    anchor = stack.ledger.change("sleeper", start, business_key="plan:1", now=now).anchor
    assert anchor is not None
    state = read_state(stack.folder)
    assert state is not None
    event = json.loads((EVENTS / "reset/daily.json").read_text(encoding="utf-8"))

    status, error, _ = call(str(state["runtime_url"]), "reset", {**event, "at": iso(boundary(anchor, 1))})
    assert (status, error) == (200, None)

    deadline = time.monotonic() + HANG_SECONDS / 2
    while [entry.type.value for entry in all_entries(stack.ledger, "sleeper")].count("monthly") < 2:
        assert time.monotonic() < deadline, stack.log[-3000:]
        time.sleep(0.1)
    account = stack.ledger.account("sleeper", now)
    assert (account.buckets.monthly, account.buckets.rollover, account.buckets.purchased) == (200, 200, 5)
    check_invariants(account, all_entries(stack.ledger, "sleeper"))


def test_users_live_without_faults_and_their_accounts_add_up(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who buys, is refunded and erased; one who subscribes."""
    monkeypatch.setenv("STATE_DIR", str(stack.folder))
    samples: list[Sample] = []
    tally = Tally()
    with open_stack(None) as opened, serving(Operator(opened)) as operator:
        places = Places(stack.url, stack.stripe_url, operator)
        archive = DynamoAudit(opened.store, ledger_table=opened.ledger_table, sessions_table=opened.sessions_table)
        for seed in LIVES:
            user = f"load-{seed}"
            token = stack.client(user).token
            assert token is not None
            Life(places, user, token, Random(seed), lambda *step: samples.append(Sample(*step)), 0)()
            assert audited(archive, user, tally).fine
    assert faults(samples) == Counter()
    assert tally.receipts[2] > 0
    names = {sample.name for sample in samples if sample.code is None}
    assert names >= {
        "sign up",
        "run",
        "run, continued",
        "stream, first text",
        "stream, all of it",
        "buy",
        "paid, until credited",
        "compare",
        "refunded, until taken",
        "erase (operator)",
        "subscribed, until credited",
    }


def test_a_life_ends_with_its_first_fault(stack: Stack) -> None:
    samples: list[Sample] = []
    places = Places(stack.url, stack.stripe_url, "http://127.0.0.1:1")
    Life(places, "load-nobody", "no token", Random(1), lambda *step: samples.append(Sample(*step)))()
    assert [(sample.name, sample.code) for sample in samples] == [("sign up", "unauthorized")]
