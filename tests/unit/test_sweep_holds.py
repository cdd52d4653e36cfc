"""Sweeps of more accounts than one invocation takes. tests/integration/test_sweep.py has the rest, on an engine."""

from datetime import timedelta

import pytest

from playground.domain.work import ShardTask, SweepTask, Task, work_of
from playground.ports import Held
from playground.usecases.sweep_holds import PAGE_ACCOUNTS, SweepHolds, Swept
from tests.conftest import NOW
from tests.fakes import LEASE, InMemoryLeases, InMemoryLedger, a_hold

SOON = NOW + LEASE


class Messages(list[object]):
    def put(self, messages: object) -> None:
        self.extend(messages)  # type: ignore[call-overload]


def swept_ledger(users: int) -> tuple[InMemoryLedger, SweepHolds]:
    """Names of even length are in shard 0."""
    ledger = InMemoryLedger()
    for number in range(users):
        hold = a_hold(f"run_{number:026d}", 1, NOW)
        assert isinstance(ledger.place_hold(f"user-{number:05d}", hold, limit=20, now=NOW), Held)
    return ledger, SweepHolds(ledger=ledger, leases=InMemoryLeases(ledger), report_failure=lambda *_: None)


def test_a_shard_is_swept_to_its_end() -> None:
    users = 3 * PAGE_ACCOUNTS + 1
    ledger, sweep = swept_ledger(users)
    assert sweep.shard(1, now=SOON) == Swept()
    assert sweep.shard(0, now=SOON) == Swept(accounts=users, expired=users)
    assert ledger.leases == {}


def test_a_sweep_of_a_shard_stops_in_time_and_the_next_one_goes_on() -> None:
    _, sweep = swept_ledger(40)
    left = iter([False] * 12)
    first = sweep.shard(0, now=SOON, time_is_up=lambda: next(left, True))
    assert (first.accounts, first.finished) == (11, False)
    assert sweep.shard(0, now=SOON + timedelta(minutes=5)) == Swept(accounts=29, expired=29)


def test_every_shard_gets_a_message_that_is_read_as_it_was_meant() -> None:
    _, sweep = swept_ledger(0)
    queue = Messages()
    sweep.queue_shards(queue, at=SOON)
    assert [work_of(message) for message in queue] == [SweepTask(at=SOON, shard=0), SweepTask(at=SOON, shard=1)]
    walk = ShardTask(task=Task.ADVANCE, at=SOON, shard=0)
    assert work_of(walk.message()) == walk


@pytest.mark.parametrize("shard", ["1", None, 1.5])
def test_a_sweep_of_no_shard_is_no_task(shard: object) -> None:
    with pytest.raises(ValueError, match=r"not a task|is not"):
        work_of({"task": "expire_holds", "at": "2026-11-30T00:00:00Z", "shard": shard})
