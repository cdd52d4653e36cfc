"""`playground audit alice`, or `playground audit --all`: say whether accounts add up."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click

from operate.errors import cause, no_account
from operate.helptext import more_help
from operate.options import USER, counted, note, on_a_stack, plain, show, with_progress, working_on
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.prices import published_prices
from playground.domain.audit import Audited
from playground.domain.errors import PlaygroundError
from playground.usecases.audit_account import AuditAccount

WORKERS = 8


@click.command(
    "audit",
    epilog=more_help(
        {
            "Which accounts": "USER audits one, --all audits every account there is. That begins with a scan of "
            "the whole "
            "table, which on AWS costs as much as reading all of it.",
            "Output": "One line for an account that is fine, and for another one everything that is not. Progress and "
            "what failed go to stderr.\n"
            "    alice: 12 entries, balance 43, held 0, chain holds\n"
            "    bob: 2 findings\n"
            "      account: held is 3, should be 2",
        },
        rights=["dynamodb:GetItem, BatchGetItem, Query and, for --all, Scan on both tables"],
        statuses={
            0: "everything adds up",
            1: "something does not",
            2: "it could not be done, or not for all: no stack, no answer",
        },
        examples=[
            "./playground audit alice",
            "./playground audit --all --stack playground-prod --json > audit.json",
        ],
    ),
)
@click.argument("user", type=USER, required=False)
@click.option("--all", "everybody", is_flag=True, help="Every account.")
@on_a_stack
def command(user: str | None, everybody: bool, stack_name: str | None, as_json: bool) -> int:
    """Work out again, from the first entry on, everything that is stored of an account, and say what does not add up:
    entries, their hashes and their chain, balances, holds, receipts, charges, turns, sessions.

    Reads only. The account can be used meanwhile.
    """
    if (user is not None) == everybody:
        raise click.UsageError("give either USER or --all")
    with working_on(stack_name) as stack:
        stored = DynamoAudit(stack.store, ledger_table=stack.ledger_table, sessions_table=stack.sessions_table)
        audit_account = AuditAccount(stored, published_prices)
        if user is None:
            return all_accounts(stored, audit_account, as_json=as_json)
        audited = audit_account(user)
        if not audited.exists:
            raise no_account(user, stack.described)
        show(document_of(audited), report(audited), as_json=as_json)
        return 0 if audited.fine else 1


@dataclass(slots=True)
class Tally:
    accounts: int = 0
    damaged: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """What was found outweighs what could not be looked at."""
        return 1 if self.damaged else 2 if self.failed else 0


def all_accounts(archive: DynamoAudit, audit_account: AuditAccount, *, as_json: bool) -> int:
    """Audit all accounts, several at a time, and print them in the order in which they were found."""
    tally = Tally()
    for user_id, future in with_progress(_audits(archive, audit_account), "accounts"):
        tally.accounts += 1
        try:
            audited = future.result()
        except PlaygroundError as error:
            tally.failed.append(user_id)
            note(f"{user_id}: could not be read: {error.message}{cause(error)}")
            continue
        if not audited.fine:
            tally.damaged.append(document_of(audited))
        if not as_json:
            click.echo(report(audited))
    if as_json:
        show({"accounts": tally.accounts, "damaged": tally.damaged, "failed": tally.failed}, "", as_json=True)
    unread = f", {len(tally.failed)} could not be read" if tally.failed else ""
    note(f"{counted({'accounts': tally.accounts})}, {len(tally.damaged)} with findings{unread}")
    return tally.exit_status


def _audits(archive: DynamoAudit, audit_account: AuditAccount) -> Iterator[tuple[str, "Future[Audited]"]]:
    """Audits at work, in order; no more of them in memory than the workers need."""
    waiting: deque[tuple[str, Future[Audited]]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for user_id in users(archive):
            waiting.append((user_id, pool.submit(audit_account, user_id)))
            if len(waiting) > WORKERS * 4:
                yield waiting.popleft()
        yield from waiting


def document_of(audited: Audited) -> dict[str, Any]:
    return {
        "user": audited.user_id,
        "fine": audited.fine,
        "entries": audited.entries,
        "balance": audited.balance,
        "held": audited.held,
        "findings": [{**dict(vars_of(finding)), "text": str(finding)} for finding in audited.findings],
        "findings_omitted": audited.omitted,
    }


def vars_of(finding: object) -> dict[str, Any]:
    found = plain(finding)
    assert isinstance(found, dict)
    return found


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
