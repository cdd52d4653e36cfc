"""`playground grant alice 50 --ref ticket-123`: give credits."""

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from operate.errors import CannotDoError, NotThereError, RefusedError
from operate.grant_bonus import GrantBonus
from operate.helptext import more_help
from operate.operator_request import MAX_CREDITS, OperatorRequest
from operate.options import USER, by_an_operator, counted, dry_run, note, on_a_stack, show, with_progress, working_on
from operate.orders import Orders, wrong_value
from playground.domain.errors import InvalidRequestError, PlaygroundError

COLUMNS = ("user", "credits", "reference")
MAX_ROWS = 100_000
SHOWN_LINES = 10  # of those that are wrong


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file of grants."""

    line: int
    user_id: str
    credits: int
    order: OperatorRequest


@click.command(
    "grant",
    epilog=more_help(
        {
            "Once": "What was given to an account under a reference is never given to it again, however often the "
            "command is repeated. The same reference with another amount is refused. Without --ref a new reference is "
            "made and printed.",
            "Many users": "--from FILE reads a CSV file with a heading: user, credits, reference and, if "
            "wanted, reason. "
            "The whole file is checked before anything is given. A repeat gives nothing twice.\n"
            "    user,credits,reference,reason\n"
            "    alice,50,outage-7/alice,Sorry for the outage",
        },
        rights=["dynamodb:GetItem, Query, PutItem, UpdateItem on the ledger's table"],
        statuses={0: "given, now or before", 1: "refused; with --from, at least one line was"},
        examples=[
            './playground grant alice 50 --ref ticket-123 --reason "Sorry"',
            "./playground grant alice 50 --ref ticket-123 --dry-run",
            "./playground grant --from outage.csv --stack playground-prod",
        ],
    ),
)
@click.argument("user", type=USER, required=False)
@click.argument("amount", metavar="[CREDITS]", type=int, required=False)
@click.option("--from", "file", type=click.Path(dir_okay=False, path_type=Path), help="Many grants, from a CSV file.")
@click.option("--new", is_flag=True, help="Open the account if there is none.")
@by_an_operator("Bonus")
@dry_run
@on_a_stack
def command(
    user: str | None,
    amount: int | None,
    file: Path | None,
    new: bool,
    reference: str | None,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> int:
    """Give CREDITS to USER. They are added to the purchased ones and never expire. They repay debt first.

    The ledger gets an entry of type bonus that says why, which the user can read, and who gave them, which
    the user is not shown.
    """
    if file is not None:
        if user is not None or reference is not None:
            raise click.UsageError("--from takes users and references from the file: give no USER and no --ref")
        rows = read_rows(file, reason, operator)
    elif user is None or amount is None:
        raise click.UsageError("give USER and CREDITS, or --from FILE")
    else:
        rows = [Row(0, user, amount, order_of(reference, reason, operator))]
    with working_on(stack_name) as stack:
        orders = Orders(stack, new=new, dry_run=dry_run)
        if file is None:
            values = {"credits": amount, "reference": reference, "reason": reason, "operator": operator}
            with orders.order(rows[0].user_id, values):
                document = grant_one(orders, rows[0])
            if reference is None:
                note(f"reference {rows[0].order.reference}: repeat it with --ref, and nothing is given twice")
            show(document, line(document, dry_run), as_json=as_json)
            return 0
        return grant_many(orders, rows, file, as_json=as_json)


def order_of(reference: str | None, reason: str, operator: str) -> OperatorRequest:
    made = f"once-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    used = made if reference is None else reference
    try:
        return OperatorRequest(reference=used, reason=reason, operator=operator)
    except InvalidRequestError as error:
        raise wrong_value(error, {"reference": used, "reason": reason, "operator": operator}) from None


def grant_one(orders: Orders, row: Row) -> dict[str, Any]:
    done = GrantBonus(orders.ledger)(row.user_id, row.credits, row.order, now=datetime.now(UTC))
    return {
        "user": row.user_id,
        "reference": row.order.reference,
        "credits": done.entry.amount,
        "entry": done.entry.seq,
        "balance": done.account.balance,
        "debt": done.account.debt,
        "done": "now" if done.is_new else "before",
    }


def line(document: dict[str, Any], dry_run: bool) -> str:
    when = "done before: " if document["done"] == "before" else "would be " if dry_run else ""
    debt = f", debt {document['debt']}" if document["debt"] else ""
    return (
        f"{document['user']}: {when}entry {document['entry']}, {document['credits']:+d}, "
        f"balance {document['balance']}{debt}"
    )


def grant_many(orders: Orders, rows: Sequence[Row], file: Path, *, as_json: bool) -> int:
    """All lines, each by itself: one that is refused does not keep the others back."""
    unknown = sorted({row.user_id for row in rows if not orders.has_account(row.user_id)})
    if unknown and not orders.new:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise NotThereError(f"{file}: no account: {shown}. Give --new to open them; nothing was done")
    documents, failed = [], []
    for row in with_progress(rows, "granting", length=len(rows)):
        try:
            documents.append(grant_one(orders, row))
        except PlaygroundError as error:
            failed.append({"line": row.line, "user": row.user_id, "error": error.message})
            note(f"{file}:{row.line}: {row.user_id}: {error.message}")
    given = [document for document in documents if document["done"] == "now"]
    summary = {
        "given": len(given),
        "credits": sum(document["credits"] for document in given),
        "before": len(documents) - len(given),
        "failed": failed,
        "grants": documents,
    }
    would = "would be given" if orders.dry_run else "given"
    credits_ = counted({"credits": summary["credits"]})
    text = f"{len(given)} {would} ({credits_}), {summary['before']} before, {len(failed)} failed"
    show(summary, text, as_json=as_json)
    return 1 if failed else 0


def read_rows(file: Path, reason: str, operator: str) -> list[Row]:
    """The lines of the file, all of them checked. Raises CannotDoError with each line that is wrong."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CannotDoError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CannotDoError(f"{file} is not UTF-8: byte {error.start}") from None
    if not text.strip():
        raise CannotDoError(f"{file} is empty")
    reader = csv.DictReader(io.StringIO(text))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise CannotDoError(
            f"{file}: the first line must name the columns {', '.join(COLUMNS)}; got {text.splitlines()[0][:80]!r}. "
            "They are separated by commas"
        )
    rows: list[Row] = []
    wrong: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for record in reader:
        number = reader.line_num
        if len(rows) + len(wrong) >= MAX_ROWS:
            raise CannotDoError(f"{file} has more than {MAX_ROWS} lines; split it")
        try:
            row = read_row(number, record, reason, operator)
            if (before := seen.setdefault((row.user_id, row.order.reference), number)) != number:
                raise RefusedError(f"{row.user_id} has the reference {row.order.reference} in line {before}, too")
            rows.append(row)
        except RefusedError as error:
            wrong.append(f"{file}:{number}: {error}")
    if wrong:
        more = f"and {len(wrong) - SHOWN_LINES} more; " if len(wrong) > SHOWN_LINES else ""
        raise CannotDoError("\n".join([*wrong[:SHOWN_LINES], f"{more}nothing was given"]))
    if not rows:
        raise CannotDoError(f"{file} has no lines below its heading")
    return rows


def read_row(number: int, record: Mapping[str, str | None], reason: str, operator: str) -> Row:
    """One line. Raises RefusedError with what is wrong with it."""
    try:
        user_id = USER.convert(record["user"] or "", None, None)
        order = OperatorRequest(
            reference=record["reference"] or "", reason=record.get("reason") or reason, operator=operator
        )
        amount = int(record["credits"] or "")
    except click.BadParameter as error:
        raise RefusedError(error.message) from None
    except InvalidRequestError as error:
        raise RefusedError(f"{error.facts['field']}: {error.facts['expected']}") from None
    except ValueError:
        raise RefusedError(f"credits must be a whole number; got {record['credits']!r}") from None
    if not 1 <= amount <= MAX_CREDITS:
        raise RefusedError(f"credits: 1 to {MAX_CREDITS}; got {amount}")
    return Row(number, user_id, amount, order)
