"""Gives credits: `make grant USER=alice CREDITS=50 REASON="Sorry for the outage" REF=ticket-123`."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from operate.change_account import GrantBonus
from operate.command import command, number
from operate.orders import PLACES, Ordering, add_order, carry_out
from operate.where import where

DESCRIPTION = """\
Give credits to a user. They are added to the purchased ones and never expire. The ledger gets an entry of type bonus
that says who gave them and why; the user can read it.
"""
EPILOG = f"""\
once:
  What was given to an account under a reference is never given to it again, however often the command is repeated. The
  same reference with another amount is refused. Without a reference each command is an order of its own.

{where(*PLACES)}\
  Needed are dynamodb:GetItem, Query, PutItem and UpdateItem on the ledger's table.

exit status:
  0  done, now or before; an account that was not there yet is opened
  1  refused
  2  it could not be done: no stack, no answer from the store, wrong command line

examples:
  make grant USER=alice CREDITS=50 REASON="Sorry for the outage" REF=ticket-123
  make grant USER=alice CREDITS=50 REASON="Won the contest" REF=contest-7 BY=anna
  make grant USER=alice CREDITS=50 REF=ticket-123 ARGS="--ledger-table L-1A2B --sessions-table S-3C4D"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("grant", 'USER=... CREDITS=... [REF=...] [REASON="..."] [BY=...]', DESCRIPTION, EPILOG)
    parser.add_argument("--credits", required=True, type=number, help="how many, such as CREDITS=50")
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
