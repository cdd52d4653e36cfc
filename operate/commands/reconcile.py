"""`playground reconcile`: compare Stripe with the ledger."""

import os
import re
from datetime import timedelta
from typing import Any

import click

from operate.errors import CannotDoError, NotThereError
from operate.helptext import more_help
from operate.options import Text, note, on_a_stack, report_unreadable, show, working_on
from operate.stack import STRIPE, Stack
from playground import wiring
from playground.adapters.clock import utc_now
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.stripe_payments import StripePayments
from playground.domain.errors import PaymentsRejectedError
from playground.usecases.apply_payment import ApplyPayment
from playground.usecases.reconcile import WINDOW, Difference, Reconcile, Reconciled


class Subject(Text):
    """An id as `reconcile` prints it: whatever is noted under another text would never be looked up again."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx)
        if not re.fullmatch(r"[a-z]{2,12}_\w+", text, re.ASCII):
            self.fail(f"ID must be evt_... or an id of Stripe such as pi_...; got {text!r}", param, ctx)
        return text


SUBJECT = Subject()


@click.command(
    "reconcile",
    epilog=more_help(
        {
            "What is compared": "What Stripe made in the last 35 days; with --all whatever it made, and all purchases "
            "and quarantined events of ours besides. The latter begins with a scan of the whole table, which on AWS "
            "costs as much as reading all of it.",
            "Closing": "--close ID says that a person has dealt with a quarantined event (evt_...) or an object of "
            "Stripe (pi_..., in_...): it is not reported again.",
        },
        rights=[
            (
                "dynamodb:GetItem, Query, PutItem, UpdateItem, ConditionCheckItem and, for --all, Scan on the "
                "ledger's table"
            ),
            "secretsmanager:GetSecretValue on the secret for Stripe",
        ],
        statuses={
            0: "nothing is left over",
            1: "something is",
            2: "it could not be done, or not to the end: no stack, no answer",
        },
        examples=[
            "./playground reconcile",
            "./playground reconcile --all --stack playground-prod",
            "./playground reconcile --close evt_1Q...",
        ],
    ),
)
@click.option("--all", "everything", is_flag=True, help="Everything there ever was, on both sides.")
@click.option(
    "--days", type=click.IntRange(min=1), default=WINDOW.days, show_default=True, help="How far back Stripe is asked."
)
@click.option("--close", "closed", type=SUBJECT, metavar="ID", help="Note that this is dealt with.")
@on_a_stack
def command(everything: bool, days: int, closed: str | None, stack_name: str | None, as_json: bool) -> int:
    """List payments, refunds, disputes and invoices at Stripe, apply lost events, and report differences that remain.
    It can be done again at any time, while the stack is at work."""
    with working_on(stack_name) as stack:
        try:
            reconcile = sides(stack)
            if closed is not None:
                if not reconcile.close(closed):
                    raise NotThereError(f"there is no quarantined event {closed}")
                show({"closed": closed}, f"{closed}: closed", as_json=as_json)
                return 0
            reconciled = reconcile(window=None if everything else timedelta(days=days), everything=everything)
        except PaymentsRejectedError as error:
            raise CannotDoError(f"Stripe refuses what it is asked: {error.what}") from None
        except ValueError as error:
            raise CannotDoError(f"{type(error).__name__}: {error}") from None
    return report(reconciled, as_json=as_json)


def report(reconciled: Reconciled, *, as_json: bool) -> int:
    lines = [f"{object_id}: made up for" for object_id in reconciled.repaired]
    lines += [line(difference) for difference in reconciled.differences]
    if reconciled.found > len(reconciled.differences):
        lines.append(f"and {reconciled.found - len(reconciled.differences)} more")
    show(reconciled, "\n".join(lines), as_json=as_json)
    note(
        f"{reconciled.looked_at} looked at ({dollars(reconciled.looked_at_cents)}), "
        f"{len(reconciled.repaired)} made up for ({dollars(reconciled.repaired_cents)}), "
        f"{reconciled.found} left over ({dollars(reconciled.found_cents)}), {reconciled.foreign} not ours"
    )
    if reconciled.after is not None:
        raise CannotDoError(f"it was not looked at to the end: {reconciled.after} would be next")
    return 1 if reconciled.found else 0


def dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"


def line(difference: Difference) -> str:
    about = (("user", difference.user_id), ("purchase", difference.purchase_id), ("", difference.detail))
    more = " ".join(f"{name} {value}".strip() for name, value in about if value is not None)
    return f"{difference.subject}: {difference.cause.value} {more}".rstrip()


def sides(stack: Stack) -> Reconcile:
    """Ours, and the Stripe that belongs to it. Raises CannotDoError."""
    payments, live = stripe_of(stack)
    records = DynamoPurchaseRecords(stack.store, stack.ledger_table, report=report_unreadable)
    return Reconcile(
        payments=payments,
        records=records,
        apply_payment=ApplyPayment(
            ledger=stack.ledger,
            records=records,
            payments=payments,
            prices=load_prices(),
            live=live,
            clock=utc_now,
        ),
        clock=utc_now,
        live=live,
    )


def stripe_of(stack: Stack) -> tuple[StripePayments, bool]:
    """The Stripe that belongs to a stack, and whether its key is of live mode. Raises CannotDoError."""
    environment = {} if stack.state is None else stack.state["functions"]["WebhookFunction"]["environment"]
    api_key = key_for_stripe(stack, environment.get("STRIPE_SECRET_ARN"))
    return StripePayments(api_key=api_key, base_url=environment.get("STRIPE_BASE_URL")), wiring.is_live(api_key)


def key_for_stripe(stack: Stack, of_the_stack: str | None) -> str:
    secret = stack.names.get(STRIPE.output) or of_the_stack
    if secret is not None:
        return str(read_secret(stack.client("secretsmanager"), secret, "api_key")["api_key"])
    api_key = os.environ.get("STRIPE_SECRET_KEY", "")
    if not api_key:
        raise CannotDoError("no key for Stripe: the stack has no StripeSecretArn; set STRIPE_SECRET_KEY")
    return api_key
