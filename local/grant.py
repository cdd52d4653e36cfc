"""Gives credits: `make grant USER=alice CREDITS=50 REASON="Sorry for the outage" REF=ticket-123`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from local.orders import Ordering, add_order, carry_out
from local.where import WHERE
from playground.usecases.operate import GrantBonus

DESCRIPTION = """\
Give credits to a user. They are added to the purchased ones and never expire. The ledger gets an entry of type bonus
that says who gave them and why; the user can read it.
"""
EPILOG = f"""\
once:
  What was given under a reference is never given again, however often the command is repeated. The same reference with
  another amount is refused.

{WHERE}  Needed are dynamodb:GetItem, Query, PutItem and UpdateItem on the ledger's table.

exit status:
  0  done, now or before
  1  refused
  2  it could not be done: no stack, no such account, no answer from the store, wrong command line

examples:
  make grant USER=alice CREDITS=50 REASON="Sorry for the outage" REF=ticket-123
  python -m local.grant alice --credits 50 --reason "Won the contest" --ref contest-7 --by anna
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.grant",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--credits", required=True, type=int, help="how many")
    add_order(parser, reason="Bonus")
    options = parser.parse_args(arguments)

    def grant(ordering: Ordering) -> str:
        now = datetime.now(UTC)
        done = GrantBonus(ordering.ledger)(options.user, options.credits, ordering.order, now=now)
        before = "" if done.anew else "done before: "
        return f"{options.user}: {before}entry {done.entry.seq}, {done.entry.amount:+d}, balance {done.account.balance}"

    return carry_out(parser, options, grant)


if __name__ == "__main__":
    sys.exit(main())
