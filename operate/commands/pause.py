"""`playground pause alice --ref abuse-7`: have an account refuse new runs."""

from datetime import UTC, datetime

import click

from operate.change_account import OperatorRequest
from operate.commands.grant import order_of
from operate.commands.take import report
from operate.correct_account import PauseAccount
from operate.helptext import more_help
from operate.options import USER, by_an_operator, dry_run, note, on_a_stack, show, working_on
from operate.orders import Orders
from operate.pause_runs import PauseRuns, RunsControl
from operate.stack import Stack
from playground.domain.calendar import iso


@click.command(
    "pause",
    epilog=more_help(
        {
            "What it means": "A paused account is refused new runs and estimates (403 account_paused). Open runs end "
            "as ever, conversations can be read, credits can be bought and granted, months go by.",
            "All runs": "With --all-runs new runs and estimates of all accounts are refused (503 runs_paused, with "
            "Retry-After). Every instance obeys within 5 seconds. Open runs end as ever.",
            "Once": "A reference is used once: the same one does nothing again. Without --ref a new one is made and "
            "printed.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "paused, now or before"},
        examples=[
            './playground pause alice --ref abuse-7 --reason "..."',
            "./playground pause alice --dry-run",
            "./playground pause --all-runs --ref incident-7 --stack playground-prod",
        ],
    ),
)
@click.argument("user", type=USER, required=False)
@click.option("--all-runs", is_flag=True, help="The runs of all accounts.")
@by_an_operator("By an operator")
@dry_run
@on_a_stack
def command(
    user: str | None,
    all_runs: bool,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Have the account USER refuse new runs, or with --all-runs all accounts.

    The ledger of USER gets an entry of type admin with the reason, which the user can read."""
    if (user is None) is not all_runs:
        raise click.UsageError("give USER or --all-runs")
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        if user is None:
            all_runs_paused(stack, order, paused=True, dry_run=dry_run, as_json=as_json)
        else:
            orders = Orders(stack, new=False, dry_run=dry_run)
            with orders.existing(user, {}):
                done = PauseAccount(orders.ledger)(user, order, paused=True, now=datetime.now(UTC))
            report(user, order.reference, done, dry_run=dry_run, as_json=as_json)
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is done twice")


def all_runs_paused(stack: Stack, order: OperatorRequest, *, paused: bool, dry_run: bool, as_json: bool) -> None:
    """Pause all runs, or end that pause, and say what is true then."""
    now = datetime.now(UTC)
    if dry_run:
        control = RunsControl(
            paused_at=now if paused else None, reason=order.reason, operator=order.operator, is_new=True
        )
    else:
        control = PauseRuns(stack.store, stack.ledger_table)(order, paused=paused, now=now)
    document = {
        "reference": order.reference,
        "paused_at": control.paused_at,
        "reason": control.reason,
        "operator": control.operator,
        "done": "now" if control.is_new else "before",
    }
    when = ("would be " if dry_run else "") if control.is_new else "done before: "
    state = f"paused since {iso(control.paused_at)}" if control.paused_at is not None else "not paused"
    show(document, f"all runs: {when}{state}", as_json=as_json)
