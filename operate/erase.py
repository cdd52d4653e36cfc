"""Erases a user: `make erase USER=alice`."""

import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from operate.command import command, user_id
from operate.erase_account import EraseAccount, NoAccountError
from operate.where import BUCKET, LEDGER, SESSIONS, NowhereError, add_places, cause, find, where
from playground.domain.erasure import pseudonym_of
from playground.domain.errors import PlaygroundError, StoreUnavailableError

PLACES = (LEDGER, SESSIONS, BUCKET)

DESCRIPTION = """\
Erase a user. Conversations, shares and everything that leads to the person are deleted. The books are kept under a
pseudonym that leads to nobody, so that money still adds up and a late refund finds its purchase. Open runs are ended
without a charge; a plan that an operator set is ended.

It cannot be undone. If it stops on the way, repeat it: it goes on where it was. Repeating it afterwards does no harm.
"""
EPILOG = f"""\
what stays under the user's own id:
  an account without credits, so that there are no welcome credits a second time, and the references of what was done
  once (KEY), so that it is not done again. docs/decisions.md says why.

what it does not reach:
  the payment provider (delete the customer there), logs (they end by themselves), and backups of the tables, which
  keep everything for 35 days.

{where(*PLACES)}\
  Needed are
    dynamodb:GetItem, Query, Scan, PutItem, UpdateItem, DeleteItem, ConditionCheckItem   on both tables
    dynamodb:Query                                        on index/by_owner of the table of sessions
    s3:ListBucketVersions                                 on the bucket, for the prefix sessions/
    s3:DeleteObject, s3:DeleteObjectVersion               on sessions/* of the bucket

exit status:
  0  erased
  1  refused: a subscription is on (end it at the payment provider first) or a page on which one can be begun is open,
     credits are owed, the account is in use, somebody else has finished the same erasure, not confirmed
  2  it could not be done: no stack, no such account, no answer from the store, wrong command line

examples:
  make erase USER=alice
  make erase USER=alice YES=1
  make erase USER=alice ARGS="--ledger-table L-1A2B --sessions-table S-3C4D --bucket b-5e6f"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("erase", "USER=... [YES=1]", DESCRIPTION, EPILOG)
    parser.add_argument("user", metavar="USER", type=user_id, help="who")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_places(parser, *PLACES)
    options = parser.parse_args(arguments)
    try:
        with find(parser, options) as found:
            store = found.store()
            eraser = found.person(store)
            if not eraser.exists(options.user):
                raise NoAccountError(options.user)
            if not options.yes and not confirmed(options.user):
                print("nothing was erased", file=sys.stderr)
                return 1
            erase = EraseAccount(
                ledger=found.ledger(store), eraser=eraser, new_pseudonym=lambda: pseudonym_of(secrets.randbits(130))
            )
            erased = erase(options.user, now=datetime.now(UTC))
    except (NowhereError, NoAccountError, StoreUnavailableError) as error:
        print(f"{error}{cause(error)}", file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{count} {name}" for name, count in asdict(erased).items())
    print(f"{options.user} is erased: {counts}")
    return 0


def confirmed(user_id: str) -> bool:
    """Whether whoever sits there types the name of the user once more."""
    print(
        f"This cannot be undone. Type {user_id} to erase everything of {user_id}: ", end="", file=sys.stderr, flush=True
    )
    return sys.stdin.readline().strip() == user_id


if __name__ == "__main__":
    sys.exit(main())
