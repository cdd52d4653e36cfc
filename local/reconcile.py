"""Compares what Stripe has with what we have: `make reconcile`, or `make reconcile ALL=1` for all there ever was."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.engine import CREDENTIALS
from local.settings import state_dir
from local.state_file import read_state
from playground import wiring
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_payments import DynamoPayments
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.prices import load_prices
from playground.adapters.stripe_payments import PaymentsError, StripePayments
from playground.domain.errors import PlaygroundError
from playground.http import utc_now
from playground.usecases.apply_payment import ApplyPayment
from playground.usecases.reconcile import WINDOW, Difference, Reconcile, Reconciled

DESCRIPTION = """\
List payments, refunds, disputes and invoices at Stripe, apply what we were not told of them, and say what cannot be
explained. It can be done again at any time, while the stack is at work.
"""
EPILOG = """\
what is compared:
  What Stripe made in the last 35 days; with --all whatever it made, and all purchases and quarantined events of ours
  besides. The latter begins with a scan of the whole table, which on AWS costs as much as reading all of it.

where:
  By default the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With --ledger-table a deployed one: its output LedgerTableName. The key for Stripe is in the secret --stripe-secret
  (the output StripeSecretArn), or in the variable STRIPE_SECRET_KEY. Credentials and region are found as by the AWS
  CLI.
  Needed are dynamodb:GetItem, PutItem, UpdateItem, ConditionCheckItem, Scan (for --all), and
  secretsmanager:GetSecretValue.

closing:
  --close ID says that a person has dealt with a quarantined event (evt_...) or an object of Stripe (pi_..., in_...): it
  is not told again.

output:
  A line for each fact that was made up for, one for each difference, and a sum.

exit status:
  0  nothing is left over
  1  something is
  2  it could not be done, or not to the end: no stack, no answer, wrong command line
"""


class CannotReconcileError(Exception):
    """It cannot be said whether both sides agree."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.reconcile",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="everything there ever was, on both sides")
    parser.add_argument("--days", type=int, default=WINDOW.days, help="how far back Stripe is asked (%(default)s)")
    parser.add_argument("--close", metavar="ID", help="note that this is dealt with")
    parser.add_argument("--ledger-table", help="name of the ledger's table in a deployed stack")
    parser.add_argument("--stripe-secret", help="name or ARN of the secret with Stripe's key in a deployed stack")
    options = parser.parse_args(arguments)
    if options.days < 1:
        parser.error("--days must be 1 at least")
    try:
        with sides(options.ledger_table, options.stripe_secret) as reconcile:
            if options.close:
                return close(reconcile, options.close)
            window = None if options.all else timedelta(days=options.days)
            return tell(reconcile(window=window, everything=options.all))
    except CannotReconcileError as error:
        print(error, file=sys.stderr)
    except PlaygroundError as error:
        print(error.message, file=sys.stderr)
    except (PaymentsError, ClientError, BotoCoreError, ValueError) as error:
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


def line(difference: Difference) -> str:
    about = (("user", difference.user_id), ("purchase", difference.purchase_id), ("", difference.detail))
    more = " ".join(f"{name} {value}".strip() for name, value in about if value is not None)
    return f"{difference.subject}: {difference.cause.value} {more}".rstrip()


@contextmanager
def sides(ledger_table: str | None, stripe_secret: str | None) -> Iterator[Reconcile]:
    """Ours on this machine, or, with a table, in a deployed stack; and the Stripe that belongs to it. Raises
    CannotReconcileError."""
    base_url: str | None = None
    if ledger_table is not None:
        connection = connect()
        secrets = boto3.client("secretsmanager") if stripe_secret is not None else None
    else:
        folder = state_dir()
        state = read_state(folder)
        if state is None:
            raise CannotReconcileError(
                f"no stack is running with its state in {folder}: start one with `make run`, or name the table of a "
                "deployed one with --ledger-table"
            )
        ledger_table = state["tables"]["LedgerTable"]
        environment = state["functions"]["WebhookFunction"]["environment"]
        stripe_secret, base_url = environment["STRIPE_SECRET_ARN"], environment["STRIPE_BASE_URL"]
        # Of the store on this machine, never the developer's own.
        ours = {
            "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            "region_name": CREDENTIALS["AWS_REGION"],
        }
        secrets = boto3.client("secretsmanager", endpoint_url=state["engine_url"], **ours)
        connection = connect(CREDENTIALS["AWS_REGION"], state["engine_url"])
        connection.session.set_credentials(ours["aws_access_key_id"], ours["aws_secret_access_key"])
    api_key = key_for_stripe(secrets, stripe_secret)
    store = DynamoStore(connection, [ledger_table])
    records = DynamoPayments(store, ledger_table)
    payments = StripePayments(api_key=api_key, base_url=base_url)
    live = wiring.is_live(api_key)
    client = connection.client  # made here: PynamoDB makes one for the thread that asks first
    try:
        yield Reconcile(
            payments=payments,
            records=records,
            apply_payment=ApplyPayment(
                ledger=DynamoLedger(store, ledger_table=ledger_table, sessions_table=""),
                records=records,
                payments=payments,
                prices=load_prices(),
                live=live,
                clock=utc_now,
            ),
            clock=utc_now,
            live=live,
        )
    finally:
        client.close()


def key_for_stripe(secrets: object, stripe_secret: str | None) -> str:
    if secrets is None or stripe_secret is None:
        api_key = os.environ.get("STRIPE_SECRET_KEY", "")
    else:
        answer = secrets.get_secret_value(SecretId=stripe_secret)  # type: ignore[attr-defined]
        api_key = str(json.loads(answer["SecretString"]).get("api_key") or "")
    if not api_key:
        raise CannotReconcileError("no key for Stripe: name its secret with --stripe-secret, or set STRIPE_SECRET_KEY")
    return api_key


if __name__ == "__main__":
    sys.exit(main())
