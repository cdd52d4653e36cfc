"""What `playground pause` and `playground resume` do."""

from datetime import UTC, datetime

import click

from operate.commands.grant import order_of
from operate.commands.take import report
from operate.operator_request import OperatorRequest
from operate.options import note, show, working_on
from operate.orders import Orders
from operate.pause_account import PauseAccount
from operate.pause_runs import PauseRuns
from operate.stack import Stack
from playground.domain.calendar import iso

RIGHTS = ["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"]
READERS = "The user can read it, except with --all-runs."
ONCE = "A reference is used once: the same one does nothing again. Without --ref a new one is made and printed."
PAUSED = (
    "A paused account is refused new runs and estimates (403 account_paused). Open runs end as ever, conversations can "
    "be read, credits can be bought and granted, months go by."
)


def order(
    user: str | None,
    all_runs: bool,
    *,
    paused: bool,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    if (user is None) is not all_runs:
        raise click.UsageError("give USER or --all-runs")
    request = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        if user is None:
            _all_runs(stack, request, paused=paused, dry_run=dry_run, as_json=as_json)
        else:
            orders = Orders(stack, new=False, dry_run=dry_run)
            with orders.existing(user, {}):
                done = PauseAccount(orders.ledger)(user, request, paused=paused, now=datetime.now(UTC))
            state = ("paused" if paused else "resumed") if done.is_new else state_now(done.account.paused_at)
            report(user, request.reference, done, dry_run=dry_run, as_json=as_json, state=state)
    if reference is None:
        note(f"reference {request.reference}: repeat it with --ref, and nothing is done twice")


def _all_runs(stack: Stack, request: OperatorRequest, *, paused: bool, dry_run: bool, as_json: bool) -> None:
    """Pause all runs, or end that pause, and say what is true then."""
    pause_runs = PauseRuns(stack.store, stack.ledger_table)
    control = pause_runs(request, paused=paused, now=datetime.now(UTC), dry_run=dry_run)
    document = {
        "reference": request.reference,
        "paused_at": control.paused_at,
        "reason": control.reason,
        "operator": control.operator,
        "done": "now" if control.is_new else "before",
    }
    state = state_now(control.paused_at)
    if control.is_new:
        state = ("would be " if dry_run else "") + ("resumed" if control.paused_at is None else state)
    else:
        state = f"done before: {state}"
    show(document, f"all runs: {state}", as_json=as_json)


def state_now(paused_at: datetime | None) -> str:
    return f"paused since {iso(paused_at)}" if paused_at is not None else "not paused"
