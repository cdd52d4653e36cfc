"""GuardSpend: what an operator sees and sets of the spend guard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from operate.operator_request import OperatorRequest
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_keys import user_pk
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.calendar import iso
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.guard import Guard
from playground.domain.runs import Run
from playground.domain.spend import Counters, SpendRow
from playground.ports import ReportUnreadable

MAX_TRIES = 10  # of saving the guard while the function changes it
MAX_RECOUNT_DAYS = 30  # a receipt's mark is kept longer than that, so nothing is counted twice
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardView:
    """The guard at a time. `ceiling_nano` is the one in effect; None until a run has been counted. `today` and `month`
    are sums since midnight and since the first of the month, UTC; `models` are those of the month."""

    guard: Guard
    ceiling_nano: int | None
    today: Counters
    month: Counters
    models: tuple[SpendRow, ...]


@dataclass(frozen=True, slots=True)
class GuardSpend:
    guard: DynamoGuard
    spend: DynamoSpend

    def view(self, now: datetime) -> GuardView:
        guard, today = self.guard.read(), now.date()
        rows = self.spend.totals(today.replace(day=1), today)
        models: dict[str, Counters] = {}
        for row in rows:
            models[row.model] = models.get(row.model, Counters()) + row.counters
        return GuardView(
            guard=guard,
            ceiling_nano=guard.ceiling(guard.deployed) if guard.deployed is not None else guard.ceiling_nano,
            today=sum((row.counters for row in rows if row.day == today), Counters()),
            month=sum((row.counters for row in rows), Counters()),
            models=tuple(SpendRow(day=today, model=name, counters=models[name]) for name in sorted(models)),
        )

    def lift(self, order: OperatorRequest, *, now: datetime) -> bool:
        """Let free runs go on until midnight, whatever they cost. False if this order was carried out before."""
        return self._change("lift", order, lambda guard: guard.lifted(now, order.reason, order.operator), now)

    def set_ceiling(self, order: OperatorRequest, ceiling_nano: int | None, *, now: datetime) -> bool:
        """Another ceiling from now on; None: the deployed one. Free runs are paused, or go on, at once. False if this
        order was carried out before."""

        def change(guard: Guard) -> Guard:
            return guard.with_ceiling(ceiling_nano, self.spend.cost_of(now.date()), now)

        return self._change("ceiling", order, change, now)

    def _change(self, verb: str, order: OperatorRequest, change: Callable[[Guard], Guard], now: datetime) -> bool:
        key = f"guard-{verb}:{order.reference}"
        facts = {"created_at": iso(now), "reason": order.reason, "operator": order.operator}
        for _ in range(MAX_TRIES):
            guard = self.guard.read()
            if self.guard.is_done(key):
                return False
            after = replace(change(guard), reason=order.reason, operator=order.operator)
            if self.guard.save(after, business_key=key, facts=facts):
                return True
        raise StoreUnavailableError


def receipts_since(store: DynamoStore, ledger_table: str, since: date, report: ReportUnreadable) -> Iterator[Run]:
    """All receipts of runs that ended on `since` or later; damaged ones are reported and left out. A scan of the whole
    table: for an operator, never on a request's path."""
    condition = {
        "FilterExpression": "begins_with(sk, :run) AND ended_at >= :since",
        "ExpressionAttributeValues": {":run": {"S": "RUN#"}, ":since": {"S": since.isoformat()}},
    }
    for raw in store.scan_all(ledger_table, condition):
        try:
            yield items.run_of(raw["pk"]["S"].removeprefix(user_pk("")), raw)
        except CorruptLedgerError as damage:
            report(damage)


def recount(spend: DynamoSpend, runs: Iterator[Run]) -> tuple[int, Counters]:
    """Count those of `runs` that are not counted; how many they were, and what they add. Repeating it adds nothing."""
    found, added = 0, Counters()
    batch: list[Run] = []
    for run in runs:
        batch.append(run)
        if len(batch) >= BATCH:
            taken, new = spend.count(batch)
            batch = batch[taken:]
            found, added = found + len(new), sum(map(Counters.of, new), added)
    while batch:
        taken, new = spend.count(batch)
        batch = batch[taken:]
        found, added = found + len(new), sum(map(Counters.of, new), added)
    return found, added


def first_day(days: int, now: datetime) -> date:
    return now.date() - timedelta(days=days - 1)
