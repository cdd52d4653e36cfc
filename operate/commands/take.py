"""`playground take alice 20 --ref ticket-124`: take credits back."""

from datetime import UTC, datetime

import click

from operate.commands.grant import order_of
from operate.helptext import more_help
from operate.operator_request import Outcome
from operate.options import USER, by_an_operator, dry_run, note, on_a_stack, show, working_on
from operate.orders import Orders
from operate.take_credits import TakeCredits


@click.command(
    "take",
    epilog=more_help(
        {
            "What is taken": "Purchased credits, never what is held by open runs. What is missing becomes debt, as "
            "after a refund: it is repaid from the next credits that come in. Credits of a month are not touched.",
            "Once": "What was taken from an account under a reference is never taken again. The same reference with "
            "another amount is refused. Without --ref a new reference is made and printed.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "taken, now or before"},
        examples=[
            './playground take alice 20 --ref ticket-124 --reason "Granted twice"',
            "./playground take alice 20 --ref ticket-124 --dry-run",
        ],
    ),
)
@click.argument("user", type=USER)
@click.argument("amount", metavar="CREDITS", type=int)
@by_an_operator("Correction")
@dry_run
@on_a_stack
def command(
    user: str,
    amount: int,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Take CREDITS back from USER. The ledger gets an entry of type admin with the reason, which the user can read, and
    the operator, which the user is not shown."""
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        orders = Orders(stack, new=False, dry_run=dry_run)
        with orders.existing(user, {"credits": amount}):
            done = TakeCredits(orders.ledger)(user, amount, order, now=datetime.now(UTC))
    report(user, order.reference, done, dry_run=dry_run, as_json=as_json)
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is taken twice")


def report(user: str, reference: str, done: Outcome, *, dry_run: bool, as_json: bool, state: str | None = None) -> None:
    """What a correction has done, in a line or as JSON. `state`: said in place of the change of credits."""
    account, entry = done.account, done.entry
    document = {
        "user": user,
        "reference": reference,
        "credits": entry.amount,
        "entry": entry.seq,
        "balance": account.balance,
        "debt": account.debt,
        "paused_at": account.paused_at,
        "done": "now" if done.is_new else "before",
    }
    when = ("would be " if dry_run else "") if done.is_new else "done before: "
    text = f"{user}: {when}entry {entry.seq}, {state or f'{entry.amount:+d}'}, balance {account.balance}"
    show(document, text + (f", debt {account.debt}" if account.debt else ""), as_json=as_json)
