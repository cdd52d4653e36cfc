"""`playground history alice`: every change of a user's credits, and for a run its model, package and tokens."""

from collections.abc import Sequence
from typing import Any

import click

from operate.errors import no_account
from operate.helptext import more_help
from operate.options import USER, on_a_stack, reason_of, report_unreadable, show, working_on
from operate.stack import Stack
from playground.adapters.dynamo_keys import account_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.calendar import iso
from playground.domain.entries import Entry, EntryType
from playground.domain.runs import Run
from playground.domain.spreadsheet import csv_of
from playground.usecases.browse_runs import read_history

MAX_LINES = 10_000
PAGE = 100

FIELDS = (
    *("seq", "created_at", "type", "amount", "balance_after", "reason", "operator"),
    *("monthly", "rollover", "purchased"),
    *("run_id", "session_id", "purchase_id", "model", "package", "package_version"),
    *("input_tokens", "output_tokens", "tokens_used", "business_key", "debt_origin"),
)

Line = tuple[Entry, Run | None]
"""An entry, and the run that it is about."""


@click.command(
    "history",
    epilog=more_help(
        {
            "What is shown": "Entries as they are stored, newest first. A month that has begun since the account was "
            "last used has no entries yet; `playground user` shows the balance as of now. A run without a charge has "
            "no entry; `playground user` lists it. Entries and receipts that cannot be read are named on stderr.",
            "Columns": "Number, time (UTC), type, change, balance after it, and what it was for: of a run its model, "
            "package, tokens and id; of an operator's change the reason, who did it and its reference. In CSV a text "
            "that a spreadsheet would take for a formula has an apostrophe before it.",
        },
        rights=["dynamodb:GetItem, BatchGetItem and Query on the table of money; there is no scan"],
        statuses={
            0: "shown",
            1: None,
            2: "it could not be done: no stack, no answer",
        },
        examples=[
            "./playground history alice",
            "./playground history alice --type spend --limit 500 --csv > alice.csv",
            "./playground history alice --stack playground-prod --json",
        ],
    ),
)
@click.argument("user", type=USER)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LINES),
    default=50,
    show_default=True,
    help="How many entries, the newest ones.",
)
@click.option(
    "--type",
    "type_",
    type=click.Choice([kind.value for kind in EntryType]),
    metavar="TYPE",
    help=f"Only entries of this type: {', '.join(EntryType)}.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line instead of text.")
@on_a_stack
def command(user: str, limit: int, type_: str | None, as_csv: bool, stack_name: str | None, as_json: bool) -> None:
    """Show where the credits of USER came from and went, without prompts and answers. Reads only."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined")
    with working_on(stack_name) as stack:
        if stack.store.get(account_key(stack.ledger_table, user)) is None:
            raise no_account(user, stack.described)
        lines = last_lines(stack, user, limit, EntryType(type_) if type_ is not None else None)
    documents = [document_of(*line) for line in lines]
    table = csv_of(FIELDS, ([document[name] for name in FIELDS] for document in documents)).removesuffix("\n")
    text = table if as_csv else "\n".join(text_of(*line) for line in lines)
    show({"user": user, "entries": documents}, text, as_json=as_json)


def last_lines(stack: Stack, user_id: str, limit: int, type_: EntryType | None = None) -> Sequence[Line]:
    """At most `limit`, newest first."""
    ledger = DynamoLedger(
        stack.store, ledger_table=stack.ledger_table, sessions_table=stack.sessions_table, report=report_unreadable
    )
    found: list[Line] = []
    before: int | None = None
    while len(found) < limit:
        page = read_history(ledger, user_id, before=before, limit=min(limit - len(found), PAGE), type_=type_)
        found += [(entry, page.runs.get(entry.run_id or "")) for entry in page.entries]
        before = page.following
        if before is None:
            break
    return found


def document_of(entry: Entry, run: Run | None) -> dict[str, Any]:
    usage = run.usage if run else None
    return {
        "seq": entry.seq,
        "created_at": iso(entry.created_at),
        "type": entry.type.value,
        "amount": entry.amount,
        "balance_after": entry.balance_after,
        "reason": entry.reason,
        "debt_origin": entry.debt_origin,
        "operator": entry.operator,
        "monthly": entry.deltas.monthly,
        "rollover": entry.deltas.rollover,
        "purchased": entry.deltas.purchased,
        "run_id": entry.run_id,
        "session_id": entry.session_id,
        "purchase_id": entry.purchase_id,
        "model": run.model if run else None,
        "package": run.package if run else None,
        "package_version": run.package_version if run else None,
        "input_tokens": usage.prompt_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "tokens_used": usage.billed_tokens if usage else None,
        "business_key": entry.business_key,
    }


def text_of(entry: Entry, run: Run | None) -> str:
    what = reason_of(entry)
    if run is not None:
        package = f"{run.package}@{run.package_version}" if run.package else "no package"
        tokens = f", {run.usage.billed_tokens:,} tokens" if run.usage else ""
        what = f"{run.model}, {package}{tokens}  {run.run_id}"
    return (
        f"{entry.seq:>5}  {iso(entry.created_at)[:16]}  {entry.type.value:<8} {entry.amount:+6d} "
        f"{entry.balance_after:>6}  {what}"
    )
