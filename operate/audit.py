"""Says whether accounts add up: `make audit USER=alice`, or `make audit ALL=1` for everybody."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from operate.command import command, user_id
from operate.where import LEDGER, SESSIONS, NowhereError, add_places, cause, find, where
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.prices import load_prices
from playground.domain.audit import Audited
from playground.domain.errors import PlaygroundError
from playground.usecases.audit_account import AuditAccount

WORKERS = 8
PROGRESS_EVERY = 500  # accounts

PLACES = (LEDGER, SESSIONS)

DESCRIPTION = """\
Work everything that is stored of an account out again, from its first entry, and say what does not add up: entries,
their hashes and their chain, balances, holds, receipts, charges, turns, sessions. Reads only; the account can be used
meanwhile.
"""
EPILOG = f"""\
which accounts:
  USER audits one, --all audits every account there is. That begins with a scan of the whole table, which on AWS costs
  as much as reading all of it: nothing that is done for each request.

{where(*PLACES)}\
  Needed are dynamodb:GetItem, BatchGetItem, Query and, for --all, Scan.

output:
  One line for an account that is fine:    alice: 12 entries, balance 43, held 0, chain holds
  For another one, everything that is not: bob: 2 findings
                                             account: held is 3, should be 2
  Progress and what failed go to stderr.

exit status:
  0  everything adds up
  1  something does not
  2  it could not be done, or not for all: no stack, no such account, no answer from the store, wrong command line

examples:
  make audit USER=alice
  make audit ALL=1
  make audit USER=alice ARGS="--ledger-table playground-LedgerTable-1A2B --sessions-table playground-SessionsTable-3C4D"
"""


class CannotAuditError(Exception):
    """It cannot be said whether the accounts add up."""


@dataclass(slots=True)
class Tally:
    accounts: int = 0
    damaged: int = 0
    failed: int = 0

    @property
    def exit_status(self) -> int:
        """What was found outweighs what could not be looked at."""
        return 1 if self.damaged else 2 if self.failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("audit", "USER=... | ALL=1", DESCRIPTION, EPILOG)
    parser.add_argument("user", metavar="USER", type=user_id, nargs="?", help="whose account")
    parser.add_argument("--all", action="store_true", help="every account")
    add_places(parser, *PLACES)
    options = parser.parse_args(arguments)
    if (options.user is not None) == options.all:
        parser.error("which account? Either one (USER=alice) or all (ALL=1)")
    try:
        with find(parser, options) as found:
            stored = DynamoAudit(found.store(), ledger_table=found.ledger_table, sessions_table=found.sessions_table)
            audit_account = AuditAccount(stored, load_prices())
            return everybody(stored, audit_account) if options.all else one(audit_account, options.user)
    except (CannotAuditError, NowhereError) as error:
        print(error, file=sys.stderr)
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
    return 2


def one(audit_account: AuditAccount, user_id: str) -> int:
    audited = audit_account(user_id)
    if not audited.exists:
        raise CannotAuditError(f"there is no account {user_id}")
    print(report(audited))
    return 0 if audited.fine else 1


def everybody(archive: DynamoAudit, audit_account: AuditAccount) -> int:
    """Audit all accounts, several at a time, and print them in the order in which they were found."""
    tally = Tally()
    waiting: deque[tuple[str, Future[Audited]]] = deque()

    def print_next() -> None:
        user_id, future = waiting.popleft()
        tally.accounts += 1
        try:
            audited = future.result()
        except PlaygroundError as error:
            tally.failed += 1
            print(f"{user_id}: could not be read: {error.message}{cause(error)}", file=sys.stderr)
        else:
            tally.damaged += not audited.fine
            print(report(audited))
        if tally.accounts % PROGRESS_EVERY == 0:
            print(f"{tally.accounts} accounts so far, {tally.damaged} with findings", file=sys.stderr)

    with ThreadPoolExecutor(WORKERS) as pool:
        for user_id in users(archive):
            waiting.append((user_id, pool.submit(audit_account, user_id)))
            if len(waiting) > WORKERS * 4:  # no more in memory than that
                print_next()
        while waiting:
            print_next()
    unread = f", {tally.failed} could not be read" if tally.failed else ""
    print(f"{tally.accounts} accounts, {tally.damaged} with findings{unread}", file=sys.stderr)
    return tally.exit_status


def users(archive: DynamoAudit) -> Iterator[str]:
    after: str | None = None
    while True:
        page, after = archive.users(after=after)
        yield from page
        if after is None:
            return


def report(audited: Audited) -> str:
    if audited.fine:
        return (
            f"{audited.user_id}: {audited.entries} {'entry' if audited.entries == 1 else 'entries'}, "
            f"balance {audited.balance}, held {audited.held}, chain holds"
        )
    count = len(audited.findings) + audited.omitted
    lines = [f"{audited.user_id}: {count} finding{'s' if count > 1 else ''}"]
    lines += [f"  {finding}" for finding in audited.findings]
    if audited.omitted:
        lines.append(f"  and {audited.omitted} more")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
