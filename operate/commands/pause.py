"""`playground pause alice --ref abuse-7`: have an account refuse new runs."""

from datetime import UTC, datetime

import click

from operate.commands.grant import order_of
from operate.commands.take import report
from operate.correct_account import PauseAccount
from operate.helptext import more_help
from operate.options import USER, by_an_operator, dry_run, note, on_a_stack, working_on
from operate.orders import Orders


@click.command(
    "pause",
    epilog=more_help(
        {
            "What it means": "A paused account is refused new runs and estimates (403 account_paused). Open runs end "
            "as ever, conversations can be read, credits can be bought and granted, months go by.",
            "Once": "A reference is used once: the same one does nothing again. Without --ref a new one is made and "
            "printed.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "paused, now or before"},
        examples=['./playground pause alice --ref abuse-7 --reason "..."', "./playground pause alice --dry-run"],
    ),
)
@click.argument("user", type=USER)
@by_an_operator("By an operator")
@dry_run
@on_a_stack
def command(
    user: str,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Have an account refuse new runs.

    The ledger gets an entry of type admin with the reason, which the user can read."""
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        orders = Orders(stack, new=False, dry_run=dry_run)
        with orders.existing(user, {}):
            done = PauseAccount(orders.ledger)(user, order, paused=True, now=datetime.now(UTC))
    report(user, order.reference, done, dry_run=dry_run, as_json=as_json)
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is done twice")
