"""The counters of `domain.spend` in DynamoDB, in a table of their own: `ports.SpendCounters`.

A receipt and everything that it adds to are one transaction, with a mark that there is only once for each run. So a
record of the stream that comes again adds nothing: repeated, split, out of order, from a parent shard or its child, or
from a queue of failures days later. The mark expires long after a record can come again.

Transactions of different shards of the stream meet in the totals, which are split over `TOTAL_SHARDS` partitions, and
in the two rows of a package, which are not: docs/capacity.md says for how many runs of one package that is enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import (
    TOTAL_SHARDS,
    counted_key,
    has_run_key,
    package_day_key,
    package_total_key,
    spender_key,
    total_key,
    total_pk,
    total_shard,
    user_day_key,
    user_pk,
)
from playground.adapters.dynamo_store import (
    MAX_TRANSACTION_ITEMS,
    Key,
    Put,
    TransactionRefused,
    Update,
    Write,
)
from playground.adapters.dynamo_usage import DynamoUsage, counters_of, row_of
from playground.domain.calendar import iso
from playground.domain.errors import StoreUnavailableError
from playground.domain.runs import Run
from playground.domain.spend import Counters, SpendRow, day_of
from playground.usecases.count_spend import Receipt

# A record can come again for 24 hours from the stream, and for 14 days from a queue of failures.
MARK_DAYS = 35
ROW_DAYS = 400  # for which the counters of users and packages are kept by day
FORGOTTEN_UNTIL = "forgotten_until"
"""Of a user's total: the user was erased, and runs that ended before this time are not counted for the user."""


@dataclass(slots=True)
class _Sums:
    """What a transaction adds, by the key of its row."""

    counters: dict[Key, Counters] = field(default_factory=dict)
    texts: dict[Key, Mapping[str, str]] = field(default_factory=dict)
    expires: dict[Key, int] = field(default_factory=dict)
    users: dict[Key, int] = field(default_factory=dict)
    firsts: dict[Key, datetime] = field(default_factory=dict)  # of users: when their first run here ended

    def add(self, key: Key, counters: Counters, *, ttl: int | None = None, **texts: str) -> None:
        self.counters[key] = self.counters.get(key, Counters()) + counters
        self.texts[key] = texts
        if ttl is not None:
            self.expires[key] = ttl


class DynamoSpend(DynamoUsage):
    # --- counting -----------------------------------------------------------------------------------------------------

    def count(self, runs: Sequence[Run]) -> tuple[int, Sequence[Run]]:
        """Count the first of `runs`, as many as one transaction takes. How many of them are dealt with now (one at
        least), and those that this call has counted; the others were counted before. All of it, or nothing. Raises
        StoreUnavailableError."""
        some = self._first(runs)
        for _ in self._store.backoff:
            new, writes = self._plan(some)
            if not writes:
                return len(some), ()
            try:
                self._store.transact(*writes)
            except TransactionRefused:
                continue  # some were counted meanwhile, or a user was erased: look again
            return len(some), new
        raise StoreUnavailableError

    def _first(self, runs: Sequence[Run]) -> Sequence[Run]:
        """The longest beginning of `runs` whose rows fit into one transaction, whatever is there already."""
        keys: set[Key] = set()
        for number, run in enumerate(runs):
            keys |= self._rows(run, total_shard(runs[0].run_id))
            if len(keys) > MAX_TRANSACTION_ITEMS:
                return runs[:number]
        return runs

    def _rows(self, run: Run, shard: int) -> set[Key]:
        """Every row that counting `run` may write."""
        day, table = day_of(run), self._table
        rows = {
            counted_key(table, run.run_id),
            total_key(table, shard, day),
            total_key(table, shard, day, run.model),
            spender_key(table, run.user_id),
            user_day_key(table, run.user_id, day, run.package, run.model),
        }
        if run.package is not None:
            rows |= {
                has_run_key(table, run.user_id, run.package),
                package_day_key(table, run.package, day, run.model),
                package_total_key(table, run.package),
            }
        return rows

    def _plan(self, runs: Sequence[Run]) -> tuple[Sequence[Run], Sequence[Write]]:
        """Which of `runs` are not counted yet, and what counts them."""
        table = self._table
        once = {run.run_id: run for run in runs}  # a batch may name a run twice
        marks = {run_id: counted_key(table, run_id) for run_id in once}
        spenders = {run.user_id: spender_key(table, run.user_id) for run in runs}
        met = {(run.user_id, run.package): has_run_key(table, run.user_id, run.package) for run in runs if run.package}
        there = self._store.get_all([*marks.values(), *spenders.values(), *met.values()], consistent=frozenset({table}))
        new = [run for run_id, run in once.items() if marks[run_id] not in there]
        sums, shard = _Sums(), total_shard(runs[0].run_id)
        writes: list[Write] = []
        for run in new:
            day, counters = day_of(run), Counters.of(run)
            writes.append(Put(marks[run.run_id], {"ttl": {"N": str(_expires(day, MARK_DAYS))}}))
            sums.add(total_key(table, shard, day), counters)
            sums.add(total_key(table, shard, day, run.model), counters, model=run.model)
            forgotten = there.get(spenders[run.user_id], {}).get(FORGOTTEN_UNTIL, {}).get("S", "")
            is_known = iso(run.ended_at) > forgotten
            if is_known:
                self._add_user(sums, run, day, counters)
            if run.package is not None:
                ttl = _expires(day, ROW_DAYS)
                sums.add(package_day_key(table, run.package, day, run.model), counters, ttl=ttl, model=run.model)
                total = package_total_key(table, run.package)
                sums.add(total, counters)
                mark = met[run.user_id, run.package]
                if is_known and mark not in there and not any(write.key == mark for write in writes):
                    writes.append(Put(mark, {}))
                    sums.users[total] = sums.users.get(total, 0) + 1
        return new, [*writes, *(self._update(sums, key) for key in sums.counters)]

    def _add_user(self, sums: _Sums, run: Run, day: date, counters: Counters) -> None:
        spender = spender_key(self._table, run.user_id)
        sums.add(spender, counters)
        sums.firsts[spender] = min(run.ended_at, sums.firsts.get(spender, run.ended_at))
        row = user_day_key(self._table, run.user_id, day, run.package, run.model)
        texts = {"model": run.model} | ({"package": run.package} if run.package is not None else {})
        sums.add(row, counters, ttl=_expires(day, ROW_DAYS), **texts)

    def _update(self, sums: _Sums, key: Key) -> Update:
        counters, path = sums.counters[key], Path
        amounts = {each.name: getattr(counters, each.name) for each in fields(Counters)}
        if key in sums.users:
            amounts["users"] = sums.users[key]
        actions: list[Action] = [path(name).add(amount) for name, amount in amounts.items() if amount or name == "runs"]
        actions += [path(name).set(text) for name, text in sums.texts[key].items()]
        if key in sums.expires:
            actions.append(path("ttl").set(sums.expires[key]))
        condition = None
        if key in sums.firsts:  # an erasure that has come meanwhile refuses it
            forgotten = path(FORGOTTEN_UNTIL)
            condition = forgotten.does_not_exist() | (forgotten < iso(sums.firsts[key]))
        return Update(key, actions=actions, condition=condition)

    # --- reading ------------------------------------------------------------------------------------------------------

    def cost_of(self, day: date) -> int:
        """What all runs of a day that were counted so far cost, in nano-dollars."""
        keys = [total_key(self._table, shard, day) for shard in range(TOTAL_SHARDS)]
        found = self._store.get_all(keys, consistent=frozenset({self._table}))
        return sum(counters_of(raw).cost_nano for raw in found.values())

    def totals(self, first: date, last: date) -> Sequence[SpendRow]:
        """Of all users from `first` to `last`, by day and model."""
        sums: dict[tuple[date, str], Counters] = {}
        for shard in range(TOTAL_SHARDS):
            for raw in self._days(total_pk(shard), first, last):
                if "model" in raw:
                    row = row_of(raw)
                    sums[row.day, row.model] = sums.get((row.day, row.model), Counters()) + row.counters
        return [SpendRow(day=day, model=model, counters=sums[day, model]) for day, model in sorted(sums)]

    def all_of_user(self, user_id: str) -> Counters:
        """All runs of a user, since there are counters or since an erasure."""
        return counters_of(self._store.get(spender_key(self._table, user_id)) or {})


def receipt_of(record: Mapping[str, Any]) -> Receipt:
    """A new receipt, from a record of the stream of the ledger's table."""
    change = record["dynamodb"]
    user_id = change["Keys"]["pk"]["S"].removeprefix(user_pk(""))
    return Receipt(number=change["SequenceNumber"], run=lambda: items.run_of(user_id, change["NewImage"]))


def _expires(day: date, days: int) -> int:
    """So many days after the end of `day`, in seconds since 1970."""
    return int((datetime.combine(day, time(), UTC) + timedelta(days=days + 1)).timestamp())
