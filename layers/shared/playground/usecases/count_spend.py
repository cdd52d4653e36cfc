"""CountSpend: receipts are counted once each, and the daily ceiling is compared with what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from playground.domain.errors import CorruptLedgerError, PlaygroundError, StoreUnavailableError
from playground.domain.guard import Guard, GuardSettings, percent_of
from playground.domain.outcomes import CreditFlow
from playground.domain.runs import Run
from playground.domain.spend import Counters
from playground.ports import Clock, GuardSwitch, ReportUnreadable, SpendCounters

MAX_TRIES = 10  # of saving the guard, against an operator or another shard of the stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt that was written. `number` is its position in the stream; `run` reads it, and raises CorruptLedgerError
    if it is damaged."""

    number: str
    run: Callable[[], Run]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedSpend:
    """`runs`, `cost_nano` with its part `unpaid_nano`, and `flow` were counted by this call. `percent` of the ceiling
    is what today has cost so far; None if nothing could be compared. `trace_ids`: of the runs, each once. `failed` is
    the number of the first receipt that is not dealt with."""

    runs: int = 0
    cost_nano: int = 0
    unpaid_nano: int = 0
    flow: CreditFlow = field(default_factory=CreditFlow)
    trace_ids: Sequence[str] = ()
    percent: int | None = None
    paused: bool = False
    failed: str | None = None
    error: PlaygroundError | None = None


class CountSpend:
    def __init__(
        self,
        *,
        spend: SpendCounters,
        guard: GuardSwitch,
        settings: GuardSettings,
        clock: Clock,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._spend = spend
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._report = report

    def __call__(self, receipts: Sequence[Receipt]) -> CountedSpend:
        """Count `receipts`, each once however often it comes, and pause or resume free runs. Damaged ones are reported
        and left out: trying them again would not help. What fails is to be repeated from `failed` on."""
        read = [(receipt.number, run) for receipt in receipts if (run := self._readable(receipt)) is not None]
        runs = [run for _, run in read]
        done, counted, total, flow = 0, 0, Counters(), CreditFlow()
        trace_ids: dict[str, None] = {}
        try:
            while done < len(runs):
                taken, new = self._spend.count(runs[done:])
                done, counted = done + taken, counted + len(new)
                total = sum(map(Counters.of, new), total)
                for run in new:
                    flow = flow.plus(run)
                    if run.trace_id is not None:
                        trace_ids[run.trace_id] = None
            guard, percent = self._compare(self._clock())
        except StoreUnavailableError as error:
            failed = read[done][0] if done < len(read) else receipts[0].number
            return CountedSpend(
                runs=counted,
                cost_nano=total.cost_nano,
                unpaid_nano=total.unpaid_nano,
                flow=flow,
                trace_ids=tuple(trace_ids),
                failed=failed,
                error=error,
            )
        return CountedSpend(
            runs=counted,
            cost_nano=total.cost_nano,
            unpaid_nano=total.unpaid_nano,
            flow=flow,
            trace_ids=tuple(trace_ids),
            percent=percent,
            paused=guard.paused_until is not None,
        )

    def _readable(self, receipt: Receipt) -> Run | None:
        try:
            return receipt.run()
        except CorruptLedgerError as damage:
            self._report(damage)
            return None

    def _compare(self, now: datetime) -> tuple[Guard, int]:
        """Bring the guard up to date. It is written only if something changes."""
        for _ in range(MAX_TRIES):
            guard = self._guard.read()
            cost_nano = self._spend.cost_of(now.date())
            after = guard.at(cost_nano, self._settings, now)
            if after == guard or self._guard.save(after):
                return after, percent_of(cost_nano, after.ceiling(self._settings))
        raise StoreUnavailableError
