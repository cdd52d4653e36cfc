"""Audits stored accounts, for an operator. Reads only. On no route and on no schedule."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.prices import published_prices
from playground.observability import Metric, count, flush_metrics, logger, report_failure
from playground.settings import AuditSettings
from playground.usecases.audit_account import AuditAccount, AuditAccounts, AuditPage

RESERVE_MS = 60_000  # kept for the account that is being read: a long one has thousands of entries

settings = AuditSettings.load()
store = wiring.store()
archive = DynamoAudit(store, ledger_table=settings.ledger_table, sessions_table=settings.sessions_table)
audit_account = AuditAccount(archive, published_prices)
audit_accounts = AuditAccounts(archive, audit_account, report_failure)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"task": "audit", "user_id": user}`: what does not add up in one account; `accounts` is 0 if there is none.

    `{"task": "audit", "after": null}`: the same of as many accounts as there is time for, `MAX_ACCOUNTS` at most. The
    next event takes `after` of this answer; null means that there are no more.

    A repeat changes nothing. Raises ValueError for any other event, and StoreUnavailableError if the accounts cannot be
    listed; an account that cannot be read is in `failed`, and the audit goes on.
    """
    if event.get("task") != "audit":
        raise ValueError(f"task must be audit, not {event.get('task')!r}")
    if event.get("user_id") is not None:
        page = _one(event["user_id"])
    else:
        page = audit_accounts(
            after=event.get("after"),
            limit=settings.max_accounts,
            time_is_up=lambda: context.get_remaining_time_in_millis() < RESERVE_MS,
        )
    count(Metric.AUDIT_DIFFERENCES, sum(len(damaged.findings) for damaged in page.damaged))
    for damaged in page.damaged:
        codes = sorted({finding.code.value for finding in damaged.findings})
        logger.error("account does not add up", user_id=damaged.user_id, findings=len(damaged.findings), codes=codes)
    flush_metrics()
    return asdict(page)


def _one(user_id: object) -> AuditPage:
    if not isinstance(user_id, str) or not user_id:
        raise ValueError("user_id must be text")
    audited = audit_account(user_id)
    damaged = () if audited.fine else (audited,)
    return AuditPage(accounts=int(audited.exists), damaged=damaged, failed=(), after=None)
