"""`playground books`: what a month comes to, in credits and in money, and whether it ties."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import click

from operate.books import LINES, Books, Count, Margin, Period, Sum, keep_books
from operate.books_at_stripe import Compared, compare
from operate.commands.reconcile import stripe_of
from operate.dynamo_books import DynamoBooks
from operate.errors import CannotDoError
from operate.helptext import more_help
from operate.options import counted, note, on_a_stack, show, with_progress, working_on
from operate.valuation import BUCKETS
from playground.adapters.clock import utc_now
from playground.domain.calendar import iso
from playground.domain.errors import PaymentsRejectedError
from playground.domain.pricing import NANO, NANO_PER_CENT
from playground.domain.spreadsheet import csv_of


class Month(click.ParamType[Period]):
    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Period:
        if isinstance(value, Period):
            return value
        try:
            if not re.fullmatch(r"\d{4}-\d{2}", str(value), re.ASCII):
                raise ValueError
            return Period.of(str(value))
        except ValueError:
            self.fail(f"must be a month such as 2026-11; got {value!r}", param, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the report. Money is in nano-dollars ($1 = 1,000,000,000): `nano` what the line is about, `cost_nano`
    and `margin_nano` beside a revenue. Credits are also given by bucket, where they are."""

    section: str
    line: str
    count: int | None = None
    credits: int | None = None
    monthly: int | None = None
    rollover: int | None = None
    purchased: int | None = None
    nano: int | None = None
    cost_nano: int | None = None
    margin_nano: int | None = None


@click.command(
    "books",
    epilog=more_help(
        {
            "What a month is": "From its first moment to that of the next month, in UTC, by the time of each entry. "
            "docs/books.md explains every line.",
            "What it costs": "A scan of the whole table for its accounts, and then all entries, receipts and "
            "purchases of each; at Stripe lists of what was made in the month and 35 days before.",
        },
        rights=[
            "dynamodb:GetItem, Query and Scan on the ledger's table",
            "secretsmanager:GetSecretValue on the secret for Stripe",
        ],
        statuses={
            0: "it all ties",
            1: "it does not: an account is damaged, or Stripe says something else",
            2: "it could not be done: no stack, no answer, no key for Stripe",
            4: None,
        },
        examples=[
            "./playground books --month 2026-11",
            "./playground books --month 2026-11 --csv --stack playground-prod > books.csv",
            "./playground books --month 2026-11 --json --no-stripe",
        ],
    ),
)
@click.option("--month", "period", type=Month(), required=True, metavar="YYYY-MM", help="Which month, in UTC.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table with commas instead of text.")
@click.option("--no-stripe", is_flag=True, help="Do not ask Stripe; count sales of live and test mode.")
@on_a_stack
def command(period: Period, as_csv: bool, no_stripe: bool, stack_name: str | None, as_json: bool) -> int:
    """Say what was sold in a month, what credits were granted, spent and lost, what is owed to customers at its end,
    what the provider of the models cost, and whether all of it ties, here and with Stripe. Reads only."""
    if as_csv and as_json:
        raise click.UsageError("give either --csv or --json")
    now = utc_now()
    if period.start > now:
        raise CannotDoError(f"{period.start:%Y-%m} has not begun: there are books of it from {iso(period.start)} on")
    with working_on(stack_name) as stack:
        stripe = None if no_stripe else stripe_of(stack)
        archive = DynamoBooks(stack.store, ledger_table=stack.ledger_table)
        books, sales = keep_books(
            archive,
            period,
            now=now,
            live=stripe[1] if stripe is not None else None,
            each=lambda users: with_progress(users, "accounts"),
        )
        try:
            compared = compare(stripe[0], sales, period) if stripe is not None else None
        except PaymentsRejectedError as error:
            raise CannotDoError(f"Stripe refuses what it is asked: {error.what}") from None
    return report(books, compared, now=now, as_csv=as_csv, as_json=as_json)


def report(books: Books, compared: Compared | None, *, now: datetime, as_csv: bool, as_json: bool) -> int:
    found = list(rows(books, compared))
    differences = compared.differences if compared is not None else []
    fine = books.complete and not differences
    if as_json:
        document = {
            "month": f"{books.period.start:%Y-%m}",
            "over": now >= books.period.end,
            "accounts": books.accounts,
            "ties": books.ties,
            "complete": books.complete,
            "damaged": books.damaged,
            "stripe": None if compared is None else {"agrees": not differences, "differences": differences},
            "rows": [asdict(row) for row in found],
        }
        show(document, "", as_json=True)
    else:
        click.echo(table_with_commas(found) if as_csv else text(books, found), nl=not as_csv)
    for user_id, reason in books.damaged.items():
        note(f"{user_id} is not in the books: {reason}")
    for difference in differences:
        note(difference)
    if now < books.period.end:
        note(f"the month is not over: these are its books up to {iso(now)}")
    if not books.ties:
        note("opening and changes do not come to closing")
    if books.undated.count:
        note(f"{books.undated.count} refunds and disputes without a date are in no month ({books.undated.cents} cents)")
    asked = "Stripe was not asked" if compared is None else "Stripe agrees" if not differences else "Stripe differs"
    note(f"{counted({'accounts': books.accounts})}, {'complete' if books.complete else 'INCOMPLETE'}, {asked}")
    return 0 if fine else 1


def rows(books: Books, compared: Compared | None) -> Iterator[Row]:
    for name, count in sorted(books.sold.items()):
        yield _money("sold", name, count)
    yield _money("sold", "total", _total(books.sold))
    yield _money("refunds", "made", books.refunds)
    yield _money("disputes", "opened", _total(books.disputes))
    for name, count in books.disputes.items():
        yield _money("disputes", f"of these {name} now", count)
    yield _credits("opening", books.opening)
    for name, label in LINES.items():
        yield _credits(label, books.changes[name])
    yield _credits("closing", books.closing)
    for place, name in enumerate(BUCKETS):
        yield Row(
            section="outstanding", line=name, credits=books.closing.credits[place], nano=books.closing.nano[place]
        )
    yield Row(section="outstanding", line="total", credits=sum(books.closing.credits), nano=sum(books.closing.nano))
    yield Row(section="debt", line="opening", credits=books.debt_opening)
    yield Row(section="debt", line="closing", credits=books.debt_closing)
    yield Row(section="provider", line="paid", count=books.total.runs, nano=books.total.cost_nano)
    yield Row(section="provider", line="unpaid", count=books.unpaid.count, nano=books.unpaid.cents)
    for section, margins in (("model", books.by_model), ("package", books.by_package)):
        for name, margin in sorted(margins.items()):
            yield _margin(section, name, margin)
    yield _margin("margin", "total", books.total)
    if compared is not None:
        for kind in ("payments", "invoices", "refunds", "disputes"):
            yield _money("stripe", f"{kind} here", compared.here.get(kind, Count()))
            yield _money("stripe", f"{kind} at Stripe", compared.there.get(kind, Count()))


def _money(section: str, line: str, count: Count) -> Row:
    return Row(section=section, line=line, count=count.count, nano=count.cents * NANO_PER_CENT)


def _total(counts: Mapping[str, Count]) -> Count:
    return Count(sum(each.count for each in counts.values()), sum(each.cents for each in counts.values()))


def _credits(line: str, of: Sum) -> Row:
    by_bucket = dict(zip(BUCKETS, of.credits, strict=True))
    return Row(section="credits", line=line, credits=sum(of.credits), nano=sum(of.nano), **by_bucket)


def _margin(section: str, line: str, margin: Margin) -> Row:
    return Row(
        section=section,
        line=line,
        count=margin.runs,
        credits=margin.credits,
        nano=margin.revenue_nano,
        cost_nano=margin.cost_nano,
        margin_nano=margin.margin_nano,
    )


def table_with_commas(found: list[Row]) -> str:
    return csv_of(Row.__dataclass_fields__, (asdict(row).values() for row in found))


def text(books: Books, found: list[Row]) -> str:
    lines = [f"{f'books of {books.period.start:%Y-%m} (UTC)':<42} {'count':>7} {'credits':>9} {'money':>18}"]
    section = ""
    for row in found:
        if row.section != section:
            section = row.section
            lines += ["", section]
        lines.append(_line(row.line, row.count, row.credits, row.nano))
        if row.cost_nano is not None:
            lines += [_line("  cost", nano=row.cost_nano), _line("  margin", nano=row.margin_nano)]
    return "\n".join(lines)


def _line(label: str, count: int | None = None, credited: int | None = None, nano: int | None = None) -> str:
    """At most 80 columns. A label that is longer than its column has a line of its own."""
    numbers = [f"{number:,}" if number is not None else "" for number in (count, credited)]
    money = dollars(nano) if nano is not None else ""
    long = f"  {label}\n" if len(label) > 40 else ""
    return f"{long}  {'' if long else label:<40} {numbers[0]:>7} {numbers[1]:>9} {money:>18}".rstrip()


def dollars(nano: int) -> str:
    """All nine digits: nothing is rounded that is added up."""
    return f"{'-' if nano < 0 else ''}${abs(nano) // NANO:,}.{abs(nano) % NANO:09d}"
