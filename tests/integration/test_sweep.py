"""The sweeper, on an engine of its own: it walks the index over all accounts."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from local.engine import Engine
from local.resources import create_resources
from local.template import Description
from playground.adapters.dynamo_index import DynamoLeases
from playground.adapters.dynamo_keys import account_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.account import Account, Hold
from playground.domain.allowance import NOTHING_USED, AllowanceUse
from playground.domain.errors import CorruptLedgerError
from playground.domain.runs import Run, RunStatus
from playground.ports import Ended, Held
from playground.usecases.expire_holds import ExpireHolds
from playground.usecases.sweep_holds import SweepHolds, Swept
from tests.conftest import NOW
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, all_entries, check_invariants, new_ledger, new_store

LEASE = timedelta(minutes=22)
SOON = NOW + LEASE


@pytest.fixture(scope="module")
def own_engine() -> Iterator[Engine]:
    with Engine() as own:
        yield own


@pytest.fixture
def own_store(own_engine: Engine, description: Description) -> Iterator[DynamoStore]:
    """Empty tables."""
    tables = {name: table for name, table in description.tables.items() if table.name in (LEDGER_TABLE, SESSIONS_TABLE)}
    create_resources(replace(description, tables=tables, buckets={}, secrets={}, queues={}), own_engine.endpoint_url)
    store = new_store(own_engine)
    yield store
    for table in tables.values():
        store.client.delete_table(TableName=table.name)
    store.client.close()


class Sweeper:
    """The use case over `store`, with what it reported."""

    def __init__(self, store: DynamoStore) -> None:
        self.failures: list[tuple[str, Exception]] = []
        self.ledger = new_ledger(store)
        self.leases = DynamoLeases(store, LEDGER_TABLE)
        self.sweep = SweepHolds(
            ledger=self.ledger, leases=self.leases, report_failure=lambda *failure: self.failures.append(failure)
        )

    def indexed(self, now: datetime) -> set[str]:
        """Users that the index names by `now`."""
        return {
            user
            for shard in range(self.leases.shards)
            for user in self.leases.due(shard, now=now, after=None, limit=1000)[0]
        }


def hold(ledger: DynamoLedger, user_id: str, number: int = 1, *, lease_at: datetime = SOON) -> Hold:
    hold = Hold(
        run_id=f"run_{number:026d}",
        nonce=f"try_{number}",
        ceiling=1,
        lease_at=lease_at,
        request_hash="0" * 32,
        session_id="ses_1",
        model="sonnet",
        placed_at=NOW,
    )
    assert isinstance(ledger.place_hold(user_id, hold, limit=20, now=NOW), Held)
    return hold


def test_early_does_nothing_on_time_expires_and_again_does_nothing(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    placed = hold(sweeper.ledger, "alice")
    early = sweeper.sweep(now=SOON - timedelta(milliseconds=1), limit=100)
    assert (early.expired, sweeper.ledger.account("alice", NOW).held) == (0, 1)

    assert sweeper.sweep(now=SOON, limit=100) == Swept(accounts=1, expired=1)
    account = sweeper.ledger.account("alice", NOW)
    assert (account.held, account.available, account.balance) == (0, 5, 5)
    run = sweeper.ledger.run("alice", placed.run_id)
    assert run is not None
    assert run.status is RunStatus.EXPIRED
    check_invariants(account, all_entries(sweeper.ledger, "alice"))

    assert sweeper.sweep(now=SOON + timedelta(days=400), limit=100) == Swept()
    assert sweeper.indexed(SOON + timedelta(days=400)) == set()


def test_living_holds_stay_and_are_found_again(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    hold(sweeper.ledger, "alice", 1)
    hold(sweeper.ledger, "alice", 2, lease_at=SOON + LEASE)
    assert sweeper.sweep(now=SOON, limit=100).expired == 1
    assert set(sweeper.ledger.account("alice", NOW).holds) == {f"run_{2:026d}"}
    assert sweeper.indexed(SOON) == set()
    assert sweeper.indexed(SOON + LEASE) == {"alice"}
    assert sweeper.sweep(now=SOON + LEASE, limit=100).expired == 1
    assert sweeper.ledger.account("alice", NOW).held == 0


def test_many_accounts_are_swept_in_bounded_steps(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    users = {f"user-{number}" for number in range(70)}
    for user in users:
        hold(sweeper.ledger, user)
    sweeps = [sweeper.sweep(now=SOON, limit=30) for _ in range(3)]
    assert [(swept.accounts, swept.finished) for swept in sweeps] == [(30, False), (30, False), (10, True)]
    assert sum(swept.expired for swept in sweeps) == 70
    assert all(sweeper.ledger.account(user, NOW).held == 0 for user in users)


def test_sweep_stops_when_its_time_is_up_and_the_next_one_goes_on(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    hold(sweeper.ledger, "alice")
    assert sweeper.sweep(now=SOON, limit=100, time_is_up=lambda: True) == Swept(finished=False)
    assert sweeper.sweep(now=SOON, limit=100) == Swept(accounts=1, expired=1)


def test_damaged_account_does_not_block_others(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    users = [f"user-{number}" for number in range(12)]
    for user in users:
        hold(sweeper.ledger, user)
    broken = users[5]
    own_store.client.update_item(
        TableName=LEDGER_TABLE,
        Key=account_key(LEDGER_TABLE, broken).raw,
        UpdateExpression="SET available = :many",
        ExpressionAttributeValues={":many": {"N": "1000"}},
    )
    assert sweeper.sweep(now=SOON, limit=100) == Swept(accounts=12, expired=11, failed=1)
    assert [(user, type(error)) for user, error in sweeper.failures] == [(broken, CorruptLedgerError)]


def test_an_unexpected_error_does_not_block_other_accounts(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    users = [f"user-{number}" for number in range(6)]
    for user in users:
        hold(sweeper.ledger, user)

    class Odd(DynamoLedger):
        def release(
            self, user_id: str, run: Run, use: AllowanceUse = NOTHING_USED, *, seen: Account | None = None
        ) -> Ended:
            return (
                super().release(user_id, run, use, seen=seen) if user_id != users[2] else ended_by(ZeroDivisionError())
            )

    odd = Odd(own_store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
    sweep = SweepHolds(ledger=odd, leases=sweeper.leases, report_failure=lambda *told: sweeper.failures.append(told))

    assert sweep(now=SOON, limit=100) == Swept(accounts=6, expired=5, failed=1)
    assert [(user, type(error)) for user, error in sweeper.failures] == [(users[2], ZeroDivisionError)]


def ended_by(error: Exception) -> Ended:
    raise error


def test_hold_placed_while_the_index_is_corrected_is_not_lost(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    first = hold(sweeper.ledger, "alice", 1)
    seen = sweeper.ledger.account("alice", NOW)
    ExpireHolds(sweeper.ledger).one("alice", first, now=SOON)
    emptied = replace(seen, held=0, holds={})
    hold(sweeper.ledger, "alice", 2, lease_at=SOON + LEASE)
    assert sweeper.ledger.correct_lease(emptied) is False
    assert sweeper.indexed(SOON + LEASE) == {"alice"}


def test_accounts_without_holds_are_not_in_the_index(own_store: DynamoStore) -> None:
    sweeper = Sweeper(own_store)
    sweeper.ledger.account("alice", NOW)
    assert sweeper.indexed(NOW + timedelta(days=10_000)) == set()
