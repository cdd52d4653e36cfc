"""Compares what Stripe has with what we have: `make reconcile`, or `make reconcile ALL=1` for all there ever was."""

import os
import sys
from collections.abc import Sequence
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError

from local.command import command, given, number
from local.where import LEDGER, STRIPE, Found, NowhereError, add_places, cause, find, where
from playground import wiring
from playground.adapters.dynamo_payments import DynamoPayments
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.stripe_payments import StripePayments
from playground.domain.errors import CorruptLedgerError, PaymentsRejectedError, PlaygroundError
from playground.http import utc_now
from playground.usecases.apply_payment import ApplyPayment
from playground.usecases.reconcile import WINDOW, Difference, Reconcile, Reconciled

DESCRIPTION = """\
List payments, refunds, disputes and invoices at Stripe, apply what we were not told of them, and say what cannot be
explained. It can be done again at any time, while the stack is at work.
"""
EPILOG = f"""\
what is compared:
  What Stripe made in the last 35 days; with ALL=1 whatever it made, and all purchases and quarantined events of ours
  besides. The latter begins with a scan of the whole table, which on AWS costs as much as reading all of it.

{where(LEDGER, STRIPE)}\
  Without --stripe-secret the key for Stripe of a deployed stack is in the variable STRIPE_SECRET_KEY. Needed are
  dynamodb:GetItem, Query, PutItem, UpdateItem, ConditionCheckItem, Scan (for ALL=1), and secretsmanager:GetSecretValue.

closing:
  CLOSE=ID says that a person has dealt with a quarantined event (evt_...) or an object of Stripe (pi_..., in_...): it
  is not told again.

output:
  A line for each fact that was made up for, one for each difference, and a sum.

exit status:
  0  nothing is left over
  1  something is
  2  it could not be done, or not to the end: no stack, no answer, wrong command line

examples:
  make reconcile ALL=1
  make reconcile ARGS="--ledger-table playground-LedgerTable-1A2B --stripe-secret StripeSecret-7g8h"
"""


class CannotReconcileError(Exception):
    """It cannot be said whether both sides agree."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("reconcile", "[ALL=1] [CLOSE=...]", DESCRIPTION, EPILOG)
    parser.add_argument("--all", action="store_true", help="everything there ever was, on both sides")
    parser.add_argument("--days", type=number, default=WINDOW.days, help="how far back Stripe is asked (%(default)s)")
    parser.add_argument("--close", type=given, metavar="ID", help="note that this is dealt with")
    add_places(parser, LEDGER, STRIPE)
    options = parser.parse_args(arguments)
    if options.days < 1:
        parser.error(f"--days must be 1 at least, not {options.days}")
    try:
        with find(parser, options) as found:
            reconcile = sides(found)
            if options.close:
                return close(reconcile, options.close)
            window = None if options.all else timedelta(days=options.days)
            return tell(reconcile(window=window, everything=options.all))
    except (CannotReconcileError, NowhereError) as error:
        print(error, file=sys.stderr)
    except PaymentsRejectedError as error:
        print(f"Stripe refuses what it is asked: {error.what}", file=sys.stderr)
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
    except (ClientError, BotoCoreError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 2


def close(reconcile: Reconcile, subject: str) -> int:
    if not reconcile.close(subject):
        raise CannotReconcileError(f"there is no quarantined event {subject}")
    print(f"{subject}: closed")
    return 0


def tell(reconciled: Reconciled) -> int:
    for object_id in reconciled.repaired:
        print(f"{object_id}: made up for")
    for difference in reconciled.differences:
        print(line(difference))
    if reconciled.found > len(reconciled.differences):
        print(f"and {reconciled.found - len(reconciled.differences)} more")
    print(
        f"{reconciled.looked_at} looked at, {len(reconciled.repaired)} made up for, {reconciled.found} left over, "
        f"{reconciled.foreign} not ours",
        file=sys.stderr,
    )
    if reconciled.after is not None:
        raise CannotReconcileError(f"it was not looked at to the end: {reconciled.after} would be next")
    return 1 if reconciled.found else 0


def _cannot_read(error: CorruptLedgerError) -> None:
    print(f"cannot be read: {error.what}", file=sys.stderr)


def line(difference: Difference) -> str:
    about = (("user", difference.user_id), ("purchase", difference.purchase_id), ("", difference.detail))
    more = " ".join(f"{name} {value}".strip() for name, value in about if value is not None)
    return f"{difference.subject}: {difference.cause.value} {more}".rstrip()


def sides(found: Found) -> Reconcile:
    """Ours, and the Stripe that belongs to it. Raises CannotReconcileError."""
    environment = {} if found.state is None else found.state["functions"]["WebhookFunction"]["environment"]
    api_key = key_for_stripe(found, environment.get("STRIPE_SECRET_ARN"))
    store = found.store()
    records = DynamoPayments(store, found.ledger_table, report=_cannot_read)
    payments = StripePayments(api_key=api_key, base_url=environment.get("STRIPE_BASE_URL"))
    live = wiring.is_live(api_key)
    return Reconcile(
        payments=payments,
        records=records,
        apply_payment=ApplyPayment(
            ledger=found.ledger(store),
            records=records,
            payments=payments,
            prices=load_prices(),
            live=live,
            clock=utc_now,
        ),
        clock=utc_now,
        live=live,
    )


def key_for_stripe(found: Found, of_the_stack: str | None) -> str:
    secret = found.names.get(STRIPE.name) or of_the_stack
    if secret is not None:
        return str(read_secret(found.client("secretsmanager"), secret, "api_key")["api_key"])
    api_key = os.environ.get("STRIPE_SECRET_KEY", "")
    if not api_key:
        raise CannotReconcileError("no key for Stripe: name its secret with --stripe-secret, or set STRIPE_SECRET_KEY")
    return api_key


if __name__ == "__main__":
    sys.exit(main())
