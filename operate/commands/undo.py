"""`playground undo alice ticket-123`: take back what was granted under a reference."""

from datetime import UTC, datetime

import click

from operate.commands.grant import order_of
from operate.commands.take import report
from operate.helptext import more_help
from operate.options import USER, dry_run, on_a_stack, operator_option, reason_option, working_on
from operate.orders import Orders
from operate.undo_grant import UndoGrant


@click.command(
    "undo",
    epilog=more_help(
        {
            "What is taken": "Exactly what the grant gave, from purchased credits, never what is held. What was spent "
            "since becomes debt.",
            "Once": "A grant is undone once, for ever; a repeat changes nothing. A new grant needs a new reference.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={
            0: "undone, now or before",
            4: "there is no such account, or nothing was granted to it under that reference",
        },
        examples=["./playground undo alice ticket-123", "./playground undo alice ticket-123 --dry-run"],
    ),
)
@click.argument("user", type=USER)
@click.argument("reference", metavar="REF")
@reason_option("Grant taken back")
@operator_option
@dry_run
@on_a_stack
def command(
    user: str, reference: str, reason: str, operator: str, dry_run: bool, stack_name: str | None, as_json: bool
) -> None:
    """Undo the grant that USER got under the reference REF."""
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        orders = Orders(stack, new=False, dry_run=dry_run)
        with orders.existing(user, {"reference": reference}):
            done = UndoGrant(orders.ledger)(user, order, now=datetime.now(UTC))
    report(user, reference, done, dry_run=dry_run, as_json=as_json)
