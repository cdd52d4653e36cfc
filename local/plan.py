"""Begins, prolongs or ends a plan: `make plan USER=acme PLAN=plus UNTIL=2027-12-31 REF=contract-7`."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from local.command import command, moment
from local.orders import PLACES, Ordering, add_order, carry_out
from local.where import where
from playground.adapters.prices import load_prices
from playground.domain.account import Plan
from playground.domain.calendar import iso
from playground.usecases.operate import ChangePlan

ALLOWANCE = load_prices().plan.credits

DESCRIPTION = """\
Set the plan of a user, for a verified organisation for example. The ledger gets an entry of type admin, of no credits,
that says who did it and why, beside what the change itself brings.
"""
EPILOG = f"""\
plans:
  plus  begins now, with its {ALLOWANCE} credits, and goes on every month until --until, or until it is ended. If it is
        on already, only its end changes, and nothing is granted. At --until, what is unused of the month is removed;
        rollover lives to its own expiry.
  free  ends it now: what is unused of this month is removed, rollover lives to its own expiry, purchased credits stay.
  A plan that belongs to a subscription at Stripe is changed there; here it is refused.

once:
  What was done to an account under a reference is never done to it again. The same reference with another plan or end
  is refused. Without a reference each command is an order of its own.

{where(*PLACES)}\
  Needed are dynamodb:GetItem, Query, PutItem and UpdateItem on the ledger's table.

exit status:
  0  done, now or before; an account that was not there yet is opened
  1  refused
  2  it could not be done: no stack, no answer from the store, wrong command line

examples:
  make plan USER=acme PLAN=plus UNTIL=2027-12-31 REF=contract-7
  make plan USER=acme PLAN=free REF=contract-7-ended REASON="The contract has ended" BY=anna
  make plan USER=acme PLAN=plus REF=contract-7 ARGS="--ledger-table L-1A2B --sessions-table S-3C4D"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    usage = 'USER=... PLAN=plus|free [UNTIL=...] [REF=...] [REASON="..."] [BY=...]'
    parser = command("plan", usage, DESCRIPTION, EPILOG)
    parser.add_argument("--plan", required=True, choices=[plan.value for plan in Plan])
    parser.add_argument("--until", type=moment, help="when it ends: 2027-12-31 (its first moment, in UTC), or a time")
    add_order(parser, reason="Set by an operator")
    options = parser.parse_args(arguments)

    def change(ordering: Ordering) -> str:
        now = datetime.now(UTC)
        plan = Plan(options.plan)
        done = ChangePlan(ordering.ledger, allowance=ALLOWANCE)(
            options.user, plan, ordering.order, until=options.until, now=now
        )
        account, before = done.account, "" if done.anew else "done before: "
        until = f" until {iso(account.entitled_until)}" if account.entitled_until and account.plan is Plan.PLUS else ""
        return f"{options.user}: {before}entry {done.entry.seq}, plan {account.plan}{until}, balance {account.balance}"

    return carry_out(parser, options, change)


if __name__ == "__main__":
    sys.exit(main())
