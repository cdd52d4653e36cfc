"""Time passes in the running stack: a schedule's event, the queue, the workers."""

import json
import time
from datetime import UTC, datetime

from local.invoke import call
from local.state_file import read_state
from playground.domain.account import Account, Change, start_plus
from playground.domain.calendar import boundary, iso
from tests.e2e.conftest import Stack
from tests.handlers import EVENTS
from tests.kit.extent import HANG_SECONDS
from tests.support import all_entries, check_invariants


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
