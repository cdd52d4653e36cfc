"""`playground plan acme plus --until 2027-12-31 --ref contract-7`: begin, prolong or end a plan."""

from datetime import UTC, datetime

import click

from operate.change_plan import ChangePlan
from operate.commands.grant import order_of
from operate.helptext import more_help
from operate.options import MOMENT, USER, by_an_operator, dry_run, note, on_a_stack, show, working_on
from operate.orders import Orders
from playground.adapters.prices import load_prices
from playground.domain.account import Plan
from playground.domain.calendar import iso

ALLOWANCE = load_prices().plan.credits


@click.command(
    "plan",
    epilog=more_help(
        {
            "Plans": f"plus begins now, with its {ALLOWANCE} credits of a month, and is renewed every month until "
            "--until, "
            "or until it "
            "is ended. If it is on already, only its end changes, and nothing is granted. At --until, what is "
            "unused of the "
            "month is removed; rollover lives to its own expiry.\n"
            "free ends it now: what is unused of this month is removed, rollover lives to its own expiry, purchased "
            "credits stay.\n"
            "An account whose plan was set here is a verified organisation: it may begin more runs per minute.\n"
            "A plan that belongs to a subscription at Stripe is changed there; here it is refused.",
            "Once": "What was done to an account under a reference is never done to it again. The same reference with "
            "another plan or end is refused. Without --ref a new reference is made and printed.",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "done, now or before"},
        examples=[
            "./playground plan acme plus --until 2027-12-31 --ref contract-7",
            "./playground plan acme free --ref contract-7-ended --by anna",
        ],
    ),
)
@click.argument("user", type=USER)
@click.argument("plan", type=click.Choice([plan.value for plan in Plan]))
@click.option("--until", type=MOMENT, help="When it ends: 2027-12-31 (its first moment, in UTC), or a time.")
@click.option("--new", is_flag=True, help="Open the account if there is none.")
@by_an_operator("Set by an operator")
@dry_run
@on_a_stack
def command(
    user: str,
    plan: str,
    until: datetime | None,
    new: bool,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Set the plan of USER, for a verified organisation for example.

    The ledger gets an entry of type admin, of no credits, that says why, which the user can read, and who did it,
    beside what the change brings.
    """
    if until is not None and plan == Plan.FREE:
        raise click.UsageError("--until is for the plan plus; free ends the plan at once")
    order = order_of(reference, reason, operator)
    with working_on(stack_name) as stack:
        orders = Orders(stack, new=new, dry_run=dry_run)
        with orders.order(user, {"until": until}):
            done = ChangePlan(orders.ledger, allowance=ALLOWANCE)(
                user, Plan(plan), order, until=until, now=datetime.now(UTC)
            )
    account = done.account
    ends = account.entitled_until if account.plan is Plan.PLUS else None
    document = {
        "user": user,
        "reference": order.reference,
        "plan": account.plan,
        "until": ends,
        "entry": done.entry.seq,
        "balance": account.balance,
        "done": "now" if done.is_new else "before",
    }
    when = "" if done.is_new else "done before: "
    when = "would be " if dry_run and done.is_new else when
    shown = f" until {iso(ends)}" if ends else ""
    text = f"{user}: {when}entry {done.entry.seq}, plan {account.plan}{shown}, balance {account.balance}"
    show(document, text, as_json=as_json)
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is done twice")
