"""`playground resume alice --ref abuse-7-settled`: let a paused account start runs again."""

from datetime import UTC, datetime

import click

from operate.commands.grant import order_of
from operate.commands.pause import all_runs_paused
from operate.commands.take import report
from operate.correct_account import PauseAccount
from operate.helptext import more_help
from operate.options import USER, by_an_operator, dry_run, note, on_a_stack, working_on
from operate.orders import Orders


@click.command(
    "resume",
    epilog=more_help(
        {
            "What it means": "A paused account is refused new runs and estimates (403 account_paused). Open runs end "
            "as ever, conversations can be read, credits can be bought and granted, months go by.",
            "All runs": "With --all-runs the pause of all runs ends, within 5 seconds. Accounts that are paused "
            "themselves stay paused.",
            "Once": "A reference is used once: the same one does nothing again. Without --ref a new one is made and "
            "printed.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "resumed, now or before"},
        examples=[
            './playground resume alice --ref abuse-7-settled --reason "..."',
            "./playground resume alice --dry-run",
            "./playground resume --all-runs --ref incident-7 --stack playground-prod",
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
    """Let the paused account USER start runs again, or with --all-runs all accounts.

    The ledger of USER gets an entry of type admin with the reason, which the user can read."""
    if (user is None) is not all_runs:
        raise click.UsageError("give USER or --all-runs")
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        if user is None:
            all_runs_paused(stack, order, paused=False, dry_run=dry_run, as_json=as_json)
        else:
            orders = Orders(stack, new=False, dry_run=dry_run)
            with orders.existing(user, {}):
                done = PauseAccount(orders.ledger)(user, order, paused=False, now=datetime.now(UTC))
            report(user, order.reference, done, dry_run=dry_run, as_json=as_json)
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is done twice")
