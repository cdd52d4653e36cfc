"""The books of a month: the example of docs/books.md, what is damaged, what Stripe says otherwise."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

import click
import pytest

from doubles.stripe import StripeDouble
from operate.books import AccountRecords, Books, DamagedAccountError, Margin, Period, Sales, keep_books
from operate.books_at_stripe import Compared, compare
from operate.commands.books import Month, report, rows, table_with_commas, text
from operate.grant_bonus import GrantBonus
from operate.operator_request import OperatorRequest
from operate.take_credits import TakeCredits
from operate.undo_grant import UndoGrant
from playground.domain.credits import Deltas
from playground.domain.runs import UnpaidCost
from tests.conftest import ROOT
from tests.fakes import InMemoryLedger
from tests.kit.billing import Billing, stripe_in_process
from tests.kit.payment_lives import spend
from tests.property.test_books import OneUser

FEBRUARY = Period.of("2027-02")
START = 1_802_736_000  # 16 February 2027, 00:00 UTC


@pytest.fixture
def billing() -> Billing:
    double, ledger = StripeDouble(base=lambda: START, seed=1), InMemoryLedger()
    return Billing(ledger, ledger.records, double, stripe_in_process(double), "alice")


def play(billing: Billing) -> None:
    """What docs/books.md tells of alice in February and March."""
    small = billing.pay(billing.buy())
    billing.deliver()
    spend(billing, 30, "run_1")
    billing.wait(days=1)
    billing.double.control("refund", payment_intent=small, amount=250)
    billing.deliver()
    billing.wait(days=1)
    billing.subscribe()
    billing.deliver()
    spend(billing, 20, "run_2")


def kept(billing: Billing, period: Period = FEBRUARY) -> tuple[Books, Sales, Compared]:
    books, sales = keep_books(OneUser(billing), period, now=billing.clock())
    return books, sales, compare(billing.payments, sales, period)


def shown(billing: Billing, period: Period = FEBRUARY) -> str:
    books, _, compared = kept(billing, period)
    assert books.complete
    assert compared.differences == []
    return text(books, list(rows(books, compared)))


def test_the_example_of_the_documentation_is_what_the_report_says(billing: Billing) -> None:
    play(billing)
    billing.wait(days=25)
    billing.deliver()

    page = (ROOT / "docs/books.md").read_text(encoding="utf-8")
    assert shown(billing) in page.replace("\n    ", "\n")


def test_lines_have_at_most_80_columns(billing: Billing) -> None:
    play(billing)
    books, _, compared = kept(billing)
    margin = Margin(runs=999_999, credits=9_999_999, revenue_nano=10**15 - 1, cost_nano=1)
    package = f"@scope/{'long-' * 12}name"
    books.by_package[package] = margin

    lines = text(books, list(rows(books, compared))).splitlines()
    assert max(map(len, lines)) <= 80
    place = lines.index(f"  {package}")
    assert [line.split() for line in lines[place + 1 : place + 4]] == [
        ["999,999", "9,999,999", "$999,999.999999999"],
        ["cost", "$0.000000001"],
        ["margin", "$999,999.999999998"],
    ]


def test_the_table_with_commas_has_the_same_numbers(billing: Billing) -> None:
    play(billing)
    books, _, compared = kept(billing)
    found = list(rows(books, compared))
    read = list(csv.DictReader(io.StringIO(table_with_commas(found))))
    assert [(row["section"], row["line"], row["credits"]) for row in read] == [
        (row.section, row.line, "" if row.credits is None else str(row.credits)) for row in found
    ]


class Damaged(OneUser):
    """One entry is not what it was."""

    def read(self, user_id: str) -> AccountRecords:
        records = super().read(user_id)

        def entries() -> Iterator[object]:
            for entry in records.entries:
                yield replace(entry, deltas=Deltas(purchased=101)) if entry.seq == 2 else entry

        return replace(records, entries=entries())


def test_a_damaged_account_is_named_and_the_books_are_incomplete(
    billing: Billing, capsys: pytest.CaptureFixture[str]
) -> None:
    play(billing)
    books, _ = keep_books(Damaged(billing), FEBRUARY, now=billing.clock())
    assert (books.accounts, list(books.damaged), books.complete) == (0, ["alice"], False)
    assert report(books, None, now=billing.clock(), as_csv=False, as_json=True) == 1
    assert "alice is not in the books: entry 2" in capsys.readouterr().err


class Lossy(OneUser):
    """Each answer is that of a second attempt."""

    def read(self, user_id: str) -> AccountRecords:
        records = super().read(user_id)
        lost = UnpaidCost(cost_nano=7, estimated=True)
        return replace(records, runs=[replace(run, unpaid=lost) for run in records.runs])


def test_what_attempts_before_an_answer_may_have_cost_is_unpaid(billing: Billing) -> None:
    play(billing)
    plain, _ = keep_books(OneUser(billing), FEBRUARY, now=billing.clock())
    books, _ = keep_books(Lossy(billing), FEBRUARY, now=billing.clock())
    assert books.total == plain.total
    assert (books.unpaid.count, books.unpaid.cents) == (books.total.runs, 7 * books.total.runs)
    assert books.total.runs > 0


def test_what_stripe_has_and_we_do_not_is_listed(billing: Billing, capsys: pytest.CaptureFixture[str]) -> None:
    """A payment whose event was lost, and a refund whose event was lost."""
    first = billing.pay(billing.buy())
    billing.deliver()
    second = billing.pay(billing.buy("medium"))
    billing.double.control("refund", payment_intent=first, amount=100)
    books, _, compared = kept(billing)
    assert [difference.partition(" ")[2] for difference in compared.differences] == [
        "(payments): nothing here, 1000 cents at Stripe",
        "(refunds): nothing here, 100 cents at Stripe",
    ]
    assert compared.differences[0].startswith(second)
    assert report(books, compared, now=billing.clock(), as_csv=True, as_json=False) == 1
    assert "Stripe differs" in capsys.readouterr().err

    billing.deliver()
    books, _, compared = kept(billing)
    assert compared.differences == []
    assert report(books, compared, now=billing.clock(), as_csv=True, as_json=False) == 0
    assert capsys.readouterr().err.endswith("1 account, complete, Stripe agrees\n")


def test_what_is_being_erased_is_named(billing: Billing) -> None:
    class Erasing(OneUser):
        def read(self, user_id: str) -> AccountRecords:
            raise DamagedAccountError(user_id, "it is being erased")

    books, _ = keep_books(Erasing(billing), FEBRUARY, now=billing.clock())
    assert (books.damaged, books.ties) == ({"alice": "it is being erased"}, True)


def test_the_undo_of_a_grant_takes_that_grant_and_no_credit_that_was_paid_for(billing: Billing) -> None:
    order = OperatorRequest(reference="t-1", reason="Sorry", operator="anna")
    billing.pay(billing.buy())
    billing.deliver()
    GrantBonus(billing.ledger)("alice", 50, order, now=billing.clock())
    UndoGrant(billing.ledger)("alice", order, now=billing.clock())
    assert sum(kept(billing)[0].closing.nano) == 5_000_000_000
    TakeCredits(billing.ledger)("alice", 200, replace(order, reference="t-2"), now=billing.clock())

    books, _, _ = kept(billing)
    lines = {name: (sum(change.credits), sum(change.nano)) for name, change in books.changes.items()}
    assert books.complete
    assert lines["taken"] == (-250, -5_000_000_000)
    assert (lines["debt_incurred"], books.debt_closing) == ((95, 0), 95)
    assert (sum(books.closing.credits), sum(books.closing.nano)) == (0, 0)


@pytest.mark.parametrize("month", ["2026-13", "2026", "26-01", "2026-1x", "9999-12", "0001-01", "0000-01", "1999-12"])
def test_what_is_no_month_is_refused(month: str) -> None:
    """Also one of which nothing can be known, or that has no next one."""
    with pytest.raises(ValueError, match=r"month|time data|unconverted|year"):
        Period.of(month)
    with pytest.raises(click.UsageError, match="must be a month such as 2026-11"):
        Month().convert(month, None, None)


def test_december_ends_with_the_year() -> None:
    december = Period.of("2026-12")
    assert december.end == Period.of("2027-01").start
    assert december.end not in december
