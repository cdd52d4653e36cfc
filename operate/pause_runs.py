"""PauseRuns: an operator lets nobody begin a run, until runs are resumed.

The switch is one item of the ledger's table. `DynamoLookup` reads it with everything else that a run looks up, so every
instance obeys within `CONTROL_SECONDS` of its next run. Open runs end as ever.
"""

from dataclasses import dataclass
from datetime import datetime

from pynamodb.expressions.operand import Path

from operate.operator_request import OperatorRequest
from playground.adapters.dynamo_keys import control_change_key, runs_control_key
from playground.adapters.dynamo_store import DynamoStore, Put, TransactionRefused, Update
from playground.domain.calendar import from_iso, instant, iso

ANY = Path("pk").exists() | Path("pk").does_not_exist()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsControl:
    """`paused_at`: since when all runs are paused; None if they are not. `reason` and `operator`: of the last order;
    None if there was none. `is_new` is False if the order was done before."""

    paused_at: datetime | None
    reason: str | None
    operator: str | None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class PauseRuns:
    store: DynamoStore
    ledger_table: str

    def state(self) -> RunsControl:
        raw = self.store.get(runs_control_key(self.ledger_table)) or {}
        paused_at = raw.get("paused_at", {}).get("S")
        return RunsControl(
            paused_at=from_iso(paused_at) if paused_at is not None else None,
            reason=raw.get("reason", {}).get("S"),
            operator=raw.get("operator", {}).get("S"),
        )

    def __call__(self, order: OperatorRequest, *, paused: bool, now: datetime, dry_run: bool = False) -> RunsControl:
        """Pause all runs, or end that pause; accounts that are paused themselves stay paused. Repeating it with its
        reference changes nothing, also if the opposite was ordered since. `dry_run`: say it and write nothing."""
        verb, paused_at = ("pause", instant(now)) if paused else ("resume", None)
        about = {"reason": {"S": order.reason}, "operator": {"S": order.operator}}
        key = control_change_key(self.ledger_table, f"{verb}:{order.reference}")
        done = RunsControl(paused_at=paused_at, reason=order.reason, operator=order.operator, is_new=True)
        if dry_run:
            return done if self.store.get(key) is None else self.state()
        mark = Path("paused_at")
        write = Update(
            runs_control_key(self.ledger_table),
            actions=[
                mark.set(iso(paused_at)) if paused_at is not None else mark.remove(),
                Path("reason").set(order.reason),
                Path("operator").set(order.operator),
            ],
            condition=ANY,
        )
        try:
            self.store.transact(Put(key, {"created_at": {"S": iso(now)}, **about}), write)
        except TransactionRefused:
            return self.state()
        return done
