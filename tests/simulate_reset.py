"""The monthly boundary of a million accounts, on the ledger in memory, with a clock of its own: `make simulate-reset`.

    PYTHONPATH=layers/shared python -m tests.simulate_reset [--accounts 1000000] [--spread 3600] [--seed N]

All accounts have their boundary within `--spread` seconds of each other; the hourly schedule that follows finds them.
Walks, visits and the ledger are the real code (`FanOut`, `VisitAccount`, `InMemoryLedger`); index, queues and Lambda
are imitated as template.yaml has them. Messages come twice, workers die in the middle of a batch, some accounts are
damaged. At the end every account must have crossed its boundaries exactly once.

An account is in memory only while a worker has it, otherwise it is one byte. The time is computed from assumptions
(docs/operations.md): it is that of AWS, not of this machine. Prints both. Exit status: 0 if all adds up, 1 if not.
"""

import argparse
import heapq
import random
import resource
import sys
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from bench.units import Index, written
from local.process import ROOT
from local.template import Description, read_template
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import SHARDS, account_key, entry_key, shard_name
from playground.domain.account import Account, open_account, start_plus
from playground.domain.calendar import boundary, iso
from playground.domain.cursors import index_cursor, index_place_of
from playground.domain.entries import Entry
from playground.domain.errors import CorruptLedgerError
from playground.domain.work import AccountTask, ShardTask, Task, work_of
from playground.usecases.visit_accounts import FanOut, VisitAccount
from tests.fakes import InMemoryLedger

ANCHOR = datetime(2026, 10, 15, 12, 0, tzinfo=UTC)
HOUR = 3600.0
ALLOWANCE = 200
CALL_SECONDS = 0.01  # of a query, or of ten messages to a queue
READ_SECONDS = 0.01  # of a visit that finds nothing to do
ADVANCE_SECONDS = 0.03
WALK_SECONDS = 110.0  # that a walk has
TWICE = 0.001  # of the messages come a second time
DIES = 0.0005  # of the batches' workers
DAMAGED_EVERY = 100_003  # accounts
PARTITION_UNITS = 1_000  # a second
NEW_TABLE_UNITS = 4_000
MAX_HOURS = 24 * 14


@dataclass(frozen=True, slots=True)
class Pace:
    """What the template says about the queues."""

    walks: int
    workers: int
    batch: int
    most_receives: int
    again_seconds: float
    piece: int


@cache
def pace_of_the_template() -> Pace:
    return pace_of(read_template(ROOT / "template.yaml"))


def pace_of(description: Description) -> Pace:
    sources = {source.queue: source for source in description.queue_sources}
    queue = description.queues["AccountWork"]
    assert queue.redrive is not None
    return Pace(
        walks=sources["ShardWork"].concurrency,
        workers=sources["AccountWork"].concurrency,
        batch=sources["AccountWork"].batch_size,
        most_receives=queue.redrive[1],
        again_seconds=queue.visibility_timeout,
        piece=int(description.functions["ResetFunction"].environment["MAX_ACCOUNTS"]),
    )


class WrongError(Exception):
    """An account is not as it must be after its boundary."""


class Accounts:
    """Of each only whether it has crossed its boundaries; it is made when it is needed. Every tenth is a month behind,
    the plan of another tenth ends with the month."""

    def __init__(self, number: int, spread: float) -> None:
        self.number, self.spread = number, spread
        self.advanced = bytearray(number)
        opened, _ = open_account("-", ANCHOR)
        self._entitled = start_plus(opened, allowance=ALLOWANCE, entitled_until=None, now=ANCHOR)[0]

    def is_damaged(self, number: int) -> bool:
        return number % DAMAGED_EVERY == DAMAGED_EVERY - 1

    def is_behind(self, number: int) -> bool:
        return number % 10 == 0

    def ends(self, number: int) -> bool:
        return number % 10 == 1

    def anchor(self, number: int) -> datetime:
        """To the second. Of accounts that are behind it is a month earlier."""
        start = datetime(2026, 9, 15, 12, 0, tzinfo=UTC) if self.is_behind(number) else ANCHOR
        return start + timedelta(seconds=int(number * self.spread / self.number))

    def before(self, number: int) -> Account:
        anchor = self.anchor(number)
        due_at = boundary(anchor, 1)
        return replace(
            self._entitled,
            user_id=name_of(number),
            created_at=anchor,
            anchor=anchor,
            due_at=due_at,
            entitled_until=due_at if self.ends(number) else None,
        )

    def check(self, number: int, before: Account, after: Account, entries: Sequence[Entry]) -> None:
        """Raises WrongError unless exactly the boundaries that have passed were crossed."""
        crossed = 2 if self.is_behind(number) else 1
        monthly = 0 if self.ends(number) else ALLOWANCE
        buckets = (after.buckets.monthly, after.buckets.rollover, after.buckets.purchased)
        due_at = boundary(self.anchor(number), crossed + 1)
        granted = [entry.amount for entry in entries if entry.type.value == "monthly"]
        if (
            buckets != (monthly, ALLOWANCE, before.buckets.purchased)
            or after.due_at != due_at
            or granted != [ALLOWANCE] * (crossed if monthly else 0)
            or before.balance + sum(entry.amount for entry in entries) != after.balance
            or [entry.seq for entry in entries] != list(range(before.version + 1, after.version + 1))
        ):
            raise WrongError(f"{after.user_id}: {buckets}, due {after.due_at}, {len(entries)} entries")


def name_of(number: int) -> str:
    return f"user-{number:010}"


def number_of(user_id: str) -> int:
    return int(user_id.removeprefix("user-"))


@dataclass(order=True, slots=True)
class Chunk:
    """Messages of the queue of accounts, from `at` on. `receives`: how often each was received before."""

    at: float
    order: int
    numbers: "array[int]" = field(compare=False)
    receives: int = field(compare=False)
    links: int = field(compare=False)


class Night:
    """From the schedule on until everything is done. Times are seconds since the first schedule."""

    def __init__(self, accounts: Accounts, pace: Pace, seed: int) -> None:
        self.accounts, self.pace = accounts, pace
        self.chance = random.Random(seed)
        self.ledger = InMemoryLedger()
        self.visit = VisitAccount(ledger=self.ledger, outbox=_NoNotices())
        self.fan_out = FanOut(boundaries=self, walks=_Queue(self._put_walks), visits=_Queue(self._put), cursors=self)
        self.begun_at = boundary(ANCHOR, 1) + timedelta(seconds=-(-accounts.spread // HOUR) * HOUR)
        self.invocations: Counter[str] = Counter()
        self.visits = self.repeats = self.advanced = self.most_waiting = self.most_links = 0
        self.dead_letters: list[int] = []
        self.last_at = 0.0
        self.finished: Counter[int] = Counter()  # accounts, by minute
        self.units: Counter[int] = Counter()  # written, by second
        self.shard_units: Counter[tuple[int, int]] = Counter()  # of the index, by second and shard
        self._queue: list[Chunk] = []
        self._walks: list[tuple[float, int, ShardTask, int]] = []
        self._waiting = self._order = self._links = 0
        self._clock = 0.0
        self._cursors: dict[int, tuple[datetime, str | None]] = {}
        self._costs: dict[int, int] = {}
        # By shard, in the order of the index: those that are behind come first.
        self._index = [(array("I"), array("I")) for _ in range(SHARDS)]
        shards = {shard_name(shard): shard for shard in range(SHARDS)}
        self._shard = array("B", bytes(accounts.number))
        for number in range(accounts.number):
            shard = shards[items.shard_of(name_of(number))]
            self._shard[number] = shard
            self._index[shard][0 if accounts.is_behind(number) else 1].append(number)

    # --- index, cursors and queues, as FanOut sees them ---------------------------------------------------------------

    shards = SHARDS

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        self._clock += CALL_SECONDS
        accounts, segment, place = self.accounts, 0, 0
        if after is not None:
            number = number_of(index_place_of(after)[1])
            segment = 0 if accounts.is_behind(number) else 1
            place = bisect_right(self._index[shard][segment], number)
        found: list[str] = []
        for numbers in self._index[shard][segment:]:
            for at in range(place, len(numbers)):
                number = numbers[at]
                if accounts.advanced[number]:
                    continue
                found.append(name_of(number))
                if len(found) == limit:
                    return found, index_cursor(iso(boundary(accounts.anchor(number), 1)), found[-1])
            place = 0
        return found, None

    def cursor(self, walk: ShardTask) -> str | None:
        self._clock += CALL_SECONDS
        at, after = self._cursors.get(walk.shard, (None, None))
        return after if at == walk.at else None

    def save(self, walk: ShardTask, after: str | None) -> None:
        self._clock += CALL_SECONDS
        self._cursors[walk.shard] = walk.at, after

    def _put_walks(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            walk = work_of(message)
            assert isinstance(walk, ShardTask)
            self._order += 1
            heapq.heappush(self._walks, (self._clock, self._order, walk, self._links))

    def _put(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self._clock += CALL_SECONDS * -(-len(messages) // 10)
        numbers = array("I", [number_of(message["user_id"]) for message in messages])
        self._push(self._clock, numbers, 0, self._links)

    def _push(self, at: float, numbers: "array[int]", receives: int, links: int) -> None:
        self._order += 1
        heapq.heappush(self._queue, Chunk(at, self._order, numbers, receives, links))
        self._waiting += len(numbers)
        self.most_waiting = max(self.most_waiting, self._waiting)

    # --- schedule and Lambda ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises WrongError."""
        workers = [0.0] * self.pace.workers
        schedule = 0.0
        while schedule < MAX_HOURS * HOUR:
            next_walk = self._walks[0][0] if self._walks else None
            next_visit = max(self._queue[0].at, workers[0]) if self._queue else None
            waiting = [at for at in (next_walk, next_visit) if at is not None]
            if waiting and min(waiting) < schedule:
                if next_walk is not None and next_walk == min(waiting):
                    self._walk()
                else:
                    heapq.heapreplace(workers, self._batch(max(self._queue[0].at, workers[0])))
                continue
            if not waiting and schedule > 0 and not self._is_due():
                return
            self._clock, self._links = schedule, 2
            self.invocations["schedule"] += 1
            self.fan_out.begin(Task.ADVANCE, at=self.begun_at + timedelta(seconds=schedule))
            schedule += HOUR

    def _is_due(self) -> bool:
        """Whether an account is left that could still be advanced."""
        return self.advanced < self.accounts.number - self.accounts.number // DAMAGED_EVERY

    def _walk(self) -> None:
        """All of them have a worker at once: there are no more shards than that."""
        at, _, walk, links = heapq.heappop(self._walks)
        self.invocations["walks"] += 1
        self._clock, self._links = at, links + 1
        self.most_links = max(self.most_links, links)
        done = self.fan_out.walk(walk, piece=self.pace.piece, time_is_up=lambda: self._clock - at > WALK_SECONDS)
        if not done.finished:
            heapq.heappush(self._walks, (at + self.pace.again_seconds, self._order, walk, links))

    def _batch(self, at: float) -> float:
        """One invocation for accounts, from `at` on; its end."""
        self.invocations["batches"] += 1
        clock, room = at, self.pace.batch
        dies_after = self.chance.randrange(self.pace.batch) if self.chance.random() < DIES else None
        taken: list[Chunk] = []
        while room and self._queue and self._queue[0].at <= at:
            chunk = heapq.heappop(self._queue)
            rest = chunk.numbers[room:]
            if rest:
                heapq.heappush(self._queue, replace(chunk, numbers=rest))
            chunk.numbers = chunk.numbers[:room]
            taken.append(chunk)
            room -= len(chunk.numbers)
        done, is_dead = 0, False
        failed: list[tuple[Chunk, array[int]]] = []
        for chunk in taken:
            self._waiting -= len(chunk.numbers)
            self.most_links = max(self.most_links, chunk.links)
            again = array("I")
            for number in chunk.numbers:
                is_dead = dies_after is not None and done >= dies_after
                if is_dead:
                    break
                done += 1
                if self.chance.random() < TWICE:
                    self._push(clock + 1, array("I", [number]), 0, chunk.links)
                spent = self._visit(number, clock)
                clock += spent if spent is not None else READ_SECONDS
                if spent is None:
                    again.append(number)
            failed.append((chunk, again))
        for chunk, again in failed:
            # Of a dead worker all messages come again, also those that were dealt with.
            returned = chunk.numbers if is_dead else again
            if returned and chunk.receives + 1 == self.pace.most_receives:
                self.dead_letters += returned
            elif returned:
                self._push(at + self.pace.again_seconds, returned, chunk.receives + 1, chunk.links)
        return clock

    def _visit(self, number: int, clock: float) -> float | None:
        """Process one account; its seconds, or None if it failed."""
        accounts = self.accounts
        self.visits += 1
        if accounts.is_damaged(number):
            return self._failed(number)
        task = AccountTask(task=Task.ADVANCE, at=self.begun_at + timedelta(seconds=int(clock)), user_id=name_of(number))
        before = accounts.before(number)
        found = self._process(before, task)
        if accounts.advanced[number]:  # a repeat must find it as it was left, and leave it so
            left, _ = found
            self.repeats += 1
            if self._process(left, task) != (left, []):
                raise WrongError(f"{left.user_id} was changed by a repeat")
            return READ_SECONDS
        after, entries = found
        accounts.check(number, before, after, entries)
        accounts.advanced[number] = 1
        self.advanced += 1
        self.last_at = max(self.last_at, clock + ADVANCE_SECONDS)
        second = int(clock + ADVANCE_SECONDS)
        self.finished[second // 60] += 1
        self.units[second] += self._cost(number, before, after, entries)
        self.shard_units[second, self._shard[number]] += 2
        return ADVANCE_SECONDS * (2 if accounts.is_behind(number) else 1)

    def _failed(self, number: int) -> None:
        """What a damaged account does to its visit."""
        try:
            raise CorruptLedgerError(f"{name_of(number)} is damaged")
        except CorruptLedgerError:
            return

    def _process(self, account: Account, task: AccountTask) -> tuple[Account, list[Entry]]:
        """The account after a visit, with its new entries. Nothing stays in memory."""
        ledger, user_id = self.ledger, account.user_id
        ledger._accounts[user_id] = account
        try:
            self.visit(task)
            return ledger._accounts[user_id], ledger._entries.get(user_id, [])
        finally:
            del ledger._accounts[user_id]
            ledger._entries.pop(user_id, None)

    def _cost(self, number: int, before: Account, after: Account, entries: Sequence[Entry]) -> int:
        """Write units, by DynamoDB's rules; computed once for each kind of account."""
        kind = number % 10 if number % 10 < 2 else 2
        if kind not in self._costs:
            key = account_key("", before.user_id).raw
            costs = written(
                "account",
                "update",
                {**items.account_item(before), **key},
                {**items.account_item(after), **key},
                in_transaction=True,
                indexes=[Index("by_due", ("due_shard", "due_at"))],
            )
            for entry in entries:
                item = {**items.entry_item(entry), **entry_key("", before.user_id, entry.seq).raw}
                costs += written("entry", "put", None, item, in_transaction=True)
            self._costs[kind] = sum(cost.units for cost in costs)
        return self._costs[kind]


class _NoNotices:
    def put(self, notice: object) -> bool:
        raise AssertionError("advancing records no notices")


@dataclass(frozen=True, slots=True)
class _Queue:
    put: Any


def simulate(accounts: int, spread: float, seed: int) -> Night:
    """Raises WrongError if an account is not as it must be."""
    night = Night(Accounts(accounts, spread), pace_of_the_template(), seed)
    night.run()
    damaged = accounts // DAMAGED_EVERY
    if night.advanced != accounts - damaged or not set(night.dead_letters) >= {
        number for number in range(accounts) if night.accounts.is_damaged(number)
    }:
        raise WrongError(f"{night.advanced} of {accounts} were advanced, {len(night.dead_letters)} messages are dead")
    return night


def report(night: Night, seconds: float) -> list[str]:
    """At most 80 columns wide."""
    accounts, pace = night.accounts, night.pace
    most, done, minutes = 0.99 * night.advanced, 0, 0
    for minute, number in sorted(night.finished.items()):
        done, minutes = done + number, minute + 1
        if done >= most:
            break
    peak = max(night.units.values(), default=0)
    shard = max(night.shard_units.values(), default=0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    invocations = night.invocations
    rows = [
        ("accounts", f"{accounts.number:,}, boundaries within {accounts.spread:g} s"),
        ("advanced, each exactly once", f"{night.advanced:,}"),
        ("visits", f"{night.visits:,}, {night.repeats:,} of them repeats that changed nothing"),
        ("dead letters", f"{len(night.dead_letters):,} messages of damaged accounts"),
        (
            "invocations",
            f"{invocations['schedule']} schedule, {invocations['walks']} walks, {invocations['batches']:,} batches",
        ),
        ("longest chain", f"{night.most_links} of the 16 at which Lambda stops one"),
        ("most messages waiting", f"{night.most_waiting:,}"),
        ("time at AWS, computed", f"99 % in {minutes} min, {done / minutes / 60:,.0f}/s by {pace.workers} workers"),
        ("the last one, computed", f"after {night.last_at / 60:.0f} min: what fails comes again after 12"),
        ("most write units in a second", f"{peak:,} (a new table takes {NEW_TABLE_UNITS:,})"),
        ("most in one key of the index", f"{shard:,} (a partition takes {PARTITION_UNITS:,})"),
        ("time here", f"{seconds:.0f} s, {night.visits / max(seconds, 0.001):,.0f} visits/s, {memory:.0f} MB at most"),
    ]
    return [f"{name:<30}{value}" for name, value in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate_reset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accounts", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--spread", type=float, default=3600, help="seconds from the first boundary to the last (3600)")
    parser.add_argument("--seed", type=int, default=1, help="for what comes twice and who dies (1)")
    options = parser.parse_args(arguments)
    if options.accounts < 1 or not 0 <= options.spread <= 24 * HOUR:
        parser.error("--accounts must be at least 1, --spread 0 to 86400")
    begun = time.monotonic()
    try:
        night = simulate(options.accounts, options.spread, options.seed)
    except WrongError as error:
        print(error, file=sys.stderr)
        return 1
    print(*report(night, time.monotonic() - begun), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
