"""`books` of every month of generated lives, against a replay that knows each credit by itself."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from operate.books import LINES, AccountRecords, Books, Period, keep_books
from operate.books_at_stripe import compare
from playground.domain.entries import Entry
from playground.domain.paid_months import PaidMonth
from playground.domain.pricing import Price, Usage
from playground.domain.purchases import Purchase
from playground.domain.runs import Measured
from tests.fakes import InMemoryLedger
from tests.kit.billing import Billing
from tests.kit.extent import examples
from tests.kit.payment_lives import PACKS, Life
from tests.support import all_entries

LIVES = 160
CENT = 10_000_000  # nano-dollars
BUCKETS = ("monthly", "rollover", "purchased")
Credit = tuple[str, int]
"""One credit: what it is of, and what was paid for it, in nano-dollars."""


@dataclass(frozen=True)
class OneUser:
    """`books.Archive` with one user, whose account has not been advanced since it was last written."""

    billing: Billing

    def users(self) -> Iterator[str]:
        yield self.billing.user_id

    def read(self, user_id: str) -> AccountRecords:
        ledger = self.billing.ledger
        assert isinstance(ledger, InMemoryLedger)
        records, _ = self.billing.records.all(after=None)
        return AccountRecords(
            account=ledger._accounts[user_id],
            entries=all_entries(ledger, user_id),
            runs=[replace(run, measured=measured(run.charged)) for run in ledger._runs.values()],
            purchases=[each for each in records if isinstance(each, Purchase)],
            months=[each for each in records if isinstance(each, PaidMonth)],
        )


def measured(charged: int) -> Measured:
    """What a model would have reported of a run, which cost us a cent for each credit."""
    price = Price(credits=charged, tier=charged, factor=1, floor=1, cost_nano=charged * CENT)
    return Measured(usage=Usage(input_tokens=1, output_tokens=1), price=price, stop_reason="end_turn", duration_ms=1)


def parts(worth: int, count: int) -> list[int]:
    """`worth` over `count` credits, whole nano-dollars each."""
    return [worth * (number + 1) // count - worth * number // count for number in range(count)]


class Replay:
    """The buckets as lists of single credits, and what each line of the report comes to in each month."""

    def __init__(self, life: Life) -> None:
        self.buckets: dict[str, list[Credit]] = {name: [] for name in BUCKETS}
        self.returned: dict[str, list[Credit]] = defaultdict(list)
        self.lines: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        self.debt: dict[str, int] = defaultdict(int)
        self.packs = {each.purchase: PACKS[each.pack] for each in life.bought}
        self.invoices = {each["id"]: each["total"] for each in life.double.account.world.all("invoice")}

    def take(self, entry: Entry, granted: Mapping[str, str]) -> None:
        month, key = f"{entry.created_at:%Y-%m}", entry.business_key
        kind = entry.type.value
        of = key.split(":")[1] if kind in ("refund", "dispute") else ""
        gone: list[Credit] = []
        for name in BUCKETS:
            for _ in range(-getattr(entry.deltas, name)):
                credit = next((each for each in self.buckets[name] if each[0] == f"debt:{key}"), None)
                credit = credit or next((each for each in self.buckets[name] if of and each[0] == of), None)
                credit = credit or self.buckets[name][0]
                self.buckets[name].remove(credit)
                gone.append(credit)
        if of:
            self.returned[of] += gone
        come: list[Credit] = []
        for name in BUCKETS:
            number = max(getattr(entry.deltas, name), 0)
            if not number:
                continue
            if kind == "rollover":
                new = gone
            elif of:
                back, self.returned[of] = self.returned[of][:number], self.returned[of][number:]
                new = back + [(of, 0)] * (number - len(back))
            elif kind == "purchase" and entry.purchase_id is not None:
                credits_, cents = self.packs[entry.purchase_id]
                new = [(entry.purchase_id, each) for each in parts(cents * CENT, credits_)]
            elif key in granted:
                worth = self.invoices[granted[key]] * CENT * number // 200
                new = [(granted[key], each) for each in parts(worth, number)]
            else:
                new = [(key, 0)] * number
            self.buckets[name] += new
            come += new
        line = self.lines[month][_line(kind, entry.amount)]
        line[0] += len(come) - len(gone)
        line[1] += sum(each for _, each in come) - sum(each for _, each in gone)
        if kind == "debt":
            self.debt[month] += entry.amount

    @property
    def outstanding(self) -> list[tuple[int, int]]:
        return [(len(self.buckets[name]), sum(each for _, each in self.buckets[name])) for name in BUCKETS]


def _line(kind: str, amount: int) -> str:
    if kind in ("refund", "dispute"):
        return "given_back" if amount > 0 else {"refund": "refunded", "dispute": "disputed"}[kind]
    if kind == "debt":
        return "debt_incurred" if amount > 0 else "debt_repaid"
    return {"spend": "spent", "expire": "expired"}.get(kind, kind)


def test_the_books_of_every_month_are_what_a_replay_of_single_credits_comes_to() -> None:
    """Also if events come late and in disorder; the months chain; and Stripe says the same of each."""
    lines: set[str] = set()
    for number in range(examples(LIVES, minimum=40)):  # every kind of line has to happen
        life = Life(f"books-{number}")
        billing = life.in_memory()
        if number % 3:
            life.deliver(billing, life.events, at_the_end=False)
        else:
            life.deliver(billing, life.disorder(random.Random(number)), at_the_end=True)
        life.reconcile(billing)
        lines |= the_books_fit(life, billing)
    assert lines >= set(LINES) - {"bonus", "admin", "taken", "signup"}, "lives in which too little happens"


def the_books_fit(life: Life, billing: Billing) -> set[str]:
    archive, seen = OneUser(billing), set()
    before = all_entries(billing.ledger, billing.user_id)
    now = datetime.fromtimestamp(life.ends, UTC) + timedelta(days=80)
    began = datetime.fromtimestamp(min([each.at for each in life.events] or [life.ends]), UTC)
    periods = list(months(min(began, before[0].created_at), now))
    kept = [keep_books(archive, period, now=now) for period in periods]

    billing.at = now
    billing.ledger.account(billing.user_id, now)  # what the books have worked out is written now
    records, _ = billing.records.all(after=None)
    granted = {each.grant_key: each.invoice_id for each in records if isinstance(each, PaidMonth) and each.grant_key}
    replay = Replay(life)
    entries = all_entries(billing.ledger, billing.user_id)
    for entry in entries:
        replay.take(entry, granted)
    closing: tuple[object, int] = (([0, 0, 0], [0, 0, 0]), 0)
    for books, _ in kept:
        month = f"{books.period.start:%Y-%m}"
        assert books.complete, (life.user_id, month, books.damaged)
        for name, change in books.changes.items():
            came_to = [sum(change.credits), sum(change.nano)]
            assert came_to == replay.lines[month].get(name, [0, 0]), (life.user_id, month, name)
            seen |= {name} if came_to[0] or any(change.credits) else set()
        assert ((books.opening.credits, books.opening.nano), books.debt_opening) == closing, (life.user_id, month)
        assert books.debt_closing - books.debt_opening == replay.debt[month]
        closing = (books.closing.credits, books.closing.nano), books.debt_closing
    last, _ = kept[-1]
    assert list(zip(last.closing.credits, last.closing.nano, strict=True)) == replay.outstanding, life.user_id
    money_fits(life, [books for books, _ in kept])
    # What a second subscription is paid for is in quarantine, and so not here.
    second = {each["id"] for each in billing.invoices(life.second)} if life.second is not None else set()
    for books, sales in kept:
        compared = compare(life.payments, sales, books.period)
        left = [each for each in compared.differences if each.partition(" ")[0] not in second]
        assert left == [], (life.user_id, books.period)
        assert compared.here == compared.there or compared.differences
    return seen


def money_fits(life: Life, kept: Sequence[Books]) -> None:
    """All that came in and went back, over all months."""
    sold = sum(count.cents for books in kept for name, count in books.sold.items() if name.startswith("pack"))
    assert sold == sum(PACKS[each.pack][1] for each in life.bought if each.paid), life.user_id
    back = sum(cents for each in life.bought for cents, failed in each.refunds if not failed)
    back += sum(sum(month.refunds) for month in life.months.values())
    assert sum(books.refunds.cents for books in kept) == back, life.user_id
    disputed = [end for bought in life.bought for _, end in bought.disputes]
    disputed += [end for month in life.months.values() for _, end in month.disputes]
    for name in ("open", "won", "lost"):
        assert sum(books.disputes[name].count for books in kept) == disputed.count(name), (life.user_id, name)
    assert sum(books.total.credits for books in kept) == life.spent
    assert sum(books.total.cost_nano for books in kept) == life.spent * CENT
    for books in kept:
        for margins in (books.by_model, books.by_package):
            revenue = sum(margin.revenue_nano for margin in margins.values())
            assert revenue == books.total.revenue_nano == -sum(books.changes["spent"].nano)
    assert sum(books.undated.count for books in kept) == 0


def months(first: datetime, last: datetime) -> Iterator[Period]:
    period = Period.of(f"{first:%Y-%m}")
    while period.start <= last:
        yield period
        period = Period.of(f"{period.end:%Y-%m}")
