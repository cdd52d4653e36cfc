"""Scheduled work. Each task uses the time in its event, so that a late, early or repeated one does the same."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_leases import DynamoLeases
from playground.adapters.prices import load_prices
from playground.domain.calendar import scheduled_time
from playground.observability import Metric, count, flush_metrics, logger, report_failure
from playground.settings import ResetSettings
from playground.usecases.audit_account import AuditAccount, AuditAccounts, AuditPage
from playground.usecases.sweep_holds import SweepHolds

RESERVE_MS = 10_000  # kept for the account that is being dealt with

settings = ResetSettings.load()
store = wiring.store(settings)
sweep_holds = SweepHolds(
    ledger=wiring.ledger(settings, store),
    leases=DynamoLeases(store, settings.ledger_table),
    report_failure=report_failure,
)
archive = DynamoAudit(store, ledger_table=settings.ledger_table, sessions_table=settings.sessions_table)
audit_account = AuditAccount(archive, load_prices())
audit_accounts = AuditAccounts(archive, audit_account, report_failure)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"task": "expire_holds", "at": time}`: expire the holds whose leases have ended by then.

    For an operator, never on a schedule: `{"task": "audit", "user_id": user}` says what does not add up in one account,
    `{"task": "audit", "after": null}` in as many as there is time for; `after` of the answer leads to the others.
    """
    task = event.get("task")
    if task == "audit":
        return _audit(event, context)
    if task != "expire_holds":
        raise ValueError(f"task must be expire_holds or audit, not {task!r}")
    try:
        swept = sweep_holds(
            now=scheduled_time(event.get("at")),
            limit=settings.most_accounts,
            time_is_up=lambda: context.get_remaining_time_in_millis() < RESERVE_MS,
        )
        count(Metric.HOLDS_EXPIRED, swept.expired)
        count(Metric.SWEEP_FAILED, swept.failed)
        outcome = asdict(swept)
        logger.info("holds swept", outcome=outcome)
        return outcome
    finally:
        flush_metrics()


def _audit(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    user_id = event.get("user_id")
    if user_id is not None:
        if not isinstance(user_id, str) or not user_id:
            raise ValueError("user_id must be text")
        one = audit_account(user_id)
        page = AuditPage(accounts=int(one.exists), damaged=() if one.fine else (one,), failed=(), after=None)
    else:
        page = audit_accounts(
            after=event.get("after"),
            limit=settings.most_accounts,
            time_is_up=lambda: context.get_remaining_time_in_millis() < RESERVE_MS,
        )
    for damaged in page.damaged:
        codes = sorted({finding.code.value for finding in damaged.findings})
        logger.error("account does not add up", user_id=damaged.user_id, findings=len(damaged.findings), codes=codes)
    return asdict(page)
