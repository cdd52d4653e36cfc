"""Books: what a month of the playground comes to, in credits and in money. docs/books.md explains every line.

Credits are exact: closing = opening + the entries of the month, of each account and in total, and the entries of an
account come to its stored balance. Values follow from `operate.valuation`. An entry belongs to the month, in UTC, of
its `created_at`. Nothing is written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from operate.valuation import BUCKETS, Paid, Valuation, Valued
from playground.domain.account import MAX_BOUNDARIES, Account, cross_boundary
from playground.domain.entries import GENESIS, Entry, EntryType
from playground.domain.paid_months import PaidMonth
from playground.domain.pricing import NANO_PER_CENT
from playground.domain.purchases import Claim, Purchase, PurchaseState, Stage
from playground.domain.runs import Run, RunStatus

NO_PACKAGE = "(no package)"
MIN_YEAR, MAX_YEAR = 2000, 2999


class DamagedAccountError(Exception):
    """The account cannot be counted: something of it is damaged, or it is being erased."""

    def __init__(self, user_id: str, reason: str) -> None:
        super().__init__(f"{user_id}: {reason}")
        self.user_id = user_id
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecords:
    """What is stored of one account. `entries` in order, from the first; they are gone through once, then the runs."""

    account: Account
    entries: Iterable[Entry]
    runs: Iterable[Run]
    purchases: Sequence[Purchase]
    months: Sequence[PaidMonth]


class Archive(Protocol):
    def users(self) -> Iterator[str]:
        """All accounts, those of erased people under their pseudonyms."""
        ...

    def read(self, user_id: str) -> AccountRecords:
        """Raises DamagedAccountError, also while the result is gone through."""
        ...


@dataclass(frozen=True, slots=True)
class Period:
    """A month in UTC: `start` ≤ time < `end`."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, month: str) -> "Period":
        """Of `2026-11`. Raises ValueError for anything else, and for a month far from any that can have books."""
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        if not MIN_YEAR <= start.year <= MAX_YEAR:
            raise ValueError(f"a month of the years {MIN_YEAR} to {MAX_YEAR} is needed, not {month}")
        return cls(start, (start + timedelta(days=31)).replace(day=1))

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end


@dataclass(slots=True)
class Sum:
    """Credits and their value in nano-dollars, by bucket."""

    credits: list[int] = field(default_factory=lambda: [0, 0, 0])
    nano: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, credits_: Sequence[int], nano: Sequence[int]) -> None:
        self.credits = [here + more for here, more in zip(self.credits, credits_, strict=True)]
        self.nano = [here + more for here, more in zip(self.nano, nano, strict=True)]


@dataclass(slots=True)
class Count:
    count: int = 0
    cents: int = 0

    def add(self, cents: int) -> None:
        self.count += 1
        self.cents += cents


@dataclass(slots=True)
class Margin:
    """`revenue_nano`: the value of the credits that were spent; `cost_nano`: what the provider cost for these runs."""

    runs: int = 0
    credits: int = 0
    revenue_nano: int = 0
    cost_nano: int = 0

    @property
    def margin_nano(self) -> int:
        return self.revenue_nano - self.cost_nano


LINES: Mapping[str, str] = {
    "signup": "granted: welcome credits",
    "monthly": "granted: months of PRPM+",
    "purchase": "granted: bought",
    "bonus": "granted: bonus",
    "admin": "granted: by an operator, otherwise",
    "given_back": "given back: failed refunds, won disputes",
    "debt_incurred": "debt incurred",
    "rollover": "moved to rollover",
    "spent": "spent",
    "expired": "expired",
    "refunded": "taken back: refunds",
    "disputed": "taken back: disputes",
    "debt_repaid": "debt repaid",
    "taken": "taken by an operator",
}
"""The lines of credits, in order: opening + all of them = closing."""


def line_of(entry: Entry) -> str:
    """The line of the report that an entry is counted in. A debt entry and one of a refund change credits one way."""
    grows = entry.amount > 0
    match entry.type:
        case EntryType.DEBT:
            return "debt_incurred" if grows else "debt_repaid"
        case EntryType.SPEND:
            return "spent"
        case EntryType.EXPIRE:
            return "expired"
        case EntryType.ROLLOVER:
            return "rollover"
        case EntryType.REFUND:
            return "given_back" if grows else "refunded"
        case EntryType.DISPUTE:
            return "given_back" if grows else "disputed"
    return entry.type.value if grows else "taken"


@dataclass(slots=True)
class Books:
    """The books of `period`. Money is in cents where it came in or went out, in nano-dollars otherwise. `damaged`:
    accounts that are not in the books, and why."""

    period: Period
    accounts: int = 0
    opening: Sum = field(default_factory=Sum)
    changes: dict[str, Sum] = field(default_factory=lambda: {name: Sum() for name in LINES})
    closing: Sum = field(default_factory=Sum)
    debt_opening: int = 0
    debt_closing: int = 0
    sold: dict[str, Count] = field(default_factory=dict)
    refunds: Count = field(default_factory=Count)
    undated: Count = field(default_factory=Count)
    disputes: dict[str, Count] = field(default_factory=lambda: {name: Count() for name in ("open", "won", "lost")})
    unpaid: Count = field(default_factory=Count)  # runs, and nano-dollars
    by_model: dict[str, Margin] = field(default_factory=dict)
    by_package: dict[str, Margin] = field(default_factory=dict)
    total: Margin = field(default_factory=Margin)
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def ties(self) -> bool:
        """Whether opening + changes = closing, in every bucket, in credits and in value."""
        total = Sum()
        total.add(self.opening.credits, self.opening.nano)
        for change in self.changes.values():
            total.add(change.credits, change.nano)
        return total == self.closing

    @property
    def complete(self) -> bool:
        return self.ties and not self.damaged


@dataclass(slots=True)
class _OfAccount:
    """The part of one account, added to the books when all of it could be read."""

    opening: Sum = field(default_factory=Sum)
    closing: Sum = field(default_factory=Sum)
    changes: dict[str, Sum] = field(default_factory=lambda: {name: Sum() for name in LINES})
    debt: list[int] = field(default_factory=lambda: [0, 0])
    spends: dict[str, Valued] = field(default_factory=dict)
    at: dict[str, datetime] = field(default_factory=dict)  # of the entries that granted something that was paid for


@dataclass(slots=True)
class Sales:
    """What was sold, and went back, that Stripe knows of: cents by its ids. `known`: payments and invoices of ours of
    any time."""

    payments: dict[str, int] = field(default_factory=dict)
    invoices: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    refunds: dict[str, Claim] = field(default_factory=dict)
    disputes: dict[str, Claim] = field(default_factory=dict)


def keep_books(
    archive: Archive,
    period: Period,
    *,
    now: datetime,
    live: bool | None = None,
    each: Callable[[Iterator[str]], Iterable[str]] = lambda users: users,
) -> tuple[Books, Sales]:
    """The books of a month, and what Stripe should say of it. `now` ends a month that is not over. `live`: sales of
    that mode only, None for all. `each` sees the users go by, for progress."""
    books, sales = Books(period), Sales()
    for user_id in each(archive.users()):
        try:
            records = archive.read(user_id)
            part = _entries(records, period, now)
            runs = _runs(records, period, part)
        except DamagedAccountError as error:
            books.damaged[error.user_id] = error.reason
            continue
        books.accounts += 1
        _add_credits(books, part)
        for run in runs:
            _add_run(books, run, part.spends.get(run.run_id))
        _add_money(books, sales, records, part, live)
    return books, sales


def _entries(records: AccountRecords, period: Period, now: datetime) -> _OfAccount:
    """Replay an account. What a boundary of the month has not done yet, because nothing touched the account since, is
    worked out as the next request would do it."""
    account = records.account
    user_id = account.user_id
    part = _OfAccount()
    valuation = Valuation(_paid_for(records))
    balances, before, number, last_hash = [0, 0, 0], 0, 0, GENESIS
    entries = (entry for entry in records.entries if entry.seq <= account.version)
    for stored, entry in _with_due(entries, account, min(period.end, now)):
        number += 1
        if entry.seq != number or entry.balance_before != before or entry.previous_hash != last_hash:
            raise DamagedAccountError(user_id, f"entry {entry.seq} does not go on from the one before")
        before, last_hash = entry.balance_after, entry.hash
        try:
            valued = valuation.entry(entry)
        except ValueError as error:
            raise DamagedAccountError(user_id, str(error)) from error
        if stored:
            balances = [here + more for here, more in zip(balances, valued.credits, strict=True)]
        _count(part, valued, period)
    if number < account.version or tuple(balances) != tuple(getattr(account.buckets, name) for name in BUCKETS):
        raise DamagedAccountError(
            user_id, f"{number} entries come to {balances}, and the account has {account.buckets}"
        )
    return part


def _with_due(entries: Iterable[Entry], account: Account, until: datetime) -> Iterator[tuple[bool, Entry]]:
    """The stored entries (True), and those of boundaries before `until` that were not crossed yet (False)."""
    for entry in entries:
        yield True, entry
    for _ in range(MAX_BOUNDARIES):
        if account.due_at is None or account.due_at >= until:
            return
        account, crossed = cross_boundary(account)
        for entry in crossed:
            yield False, entry


def _paid_for(records: AccountRecords) -> Callable[[Entry], Paid | None]:
    bought = {
        each.purchase_id: Paid(each.purchase_id, each.credits, each.amount * NANO_PER_CENT)
        for each in records.purchases
    }
    months = {
        each.grant_key: Paid(each.invoice_id, each.credits, (each.amount - each.credited) * NANO_PER_CENT)
        for each in records.months
        if each.grant_key is not None and each.credits
    }

    def paid(entry: Entry) -> Paid | None:
        if entry.type is EntryType.PURCHASE and entry.purchase_id is not None:
            return bought.get(entry.purchase_id)
        return months.get(entry.business_key) if entry.type in (EntryType.PURCHASE, EntryType.MONTHLY) else None

    return paid


def _count(part: _OfAccount, valued: Valued, period: Period) -> None:
    entry = valued.entry
    owed = entry.amount if entry.type is EntryType.DEBT else 0
    if entry.type in (EntryType.PURCHASE, EntryType.MONTHLY):
        part.at[entry.business_key] = entry.created_at
    if entry.created_at >= period.end:
        return
    part.closing.add(valued.credits, valued.nano)
    part.debt[1] += owed
    if entry.created_at < period.start:
        part.opening.add(valued.credits, valued.nano)
        part.debt[0] += owed
        return
    part.changes[line_of(entry)].add(valued.credits, valued.nano)
    if entry.type is EntryType.SPEND and entry.run_id is not None:
        part.spends[entry.run_id] = valued


def _runs(records: AccountRecords, period: Period, part: _OfAccount) -> Sequence[Run]:
    """Those that are settled by an entry of the month, or ended in it without one."""
    found = [
        run
        for run in records.runs
        if run.run_id in part.spends or (run.status is not RunStatus.SETTLED and run.ended_at in period)
    ]
    missing = part.spends.keys() - {run.run_id for run in found if run.status is RunStatus.SETTLED and run.measured}
    if missing:
        raise DamagedAccountError(records.account.user_id, f"{min(missing)} was spent on and has no receipt")
    return found


def _add_credits(books: Books, part: _OfAccount) -> None:
    books.opening.add(part.opening.credits, part.opening.nano)
    books.closing.add(part.closing.credits, part.closing.nano)
    for name, change in part.changes.items():
        books.changes[name].add(change.credits, change.nano)
    books.debt_opening += part.debt[0]
    books.debt_closing += part.debt[1]


def _add_run(books: Books, run: Run, spend: Valued | None) -> None:
    if run.unpaid is not None:
        books.unpaid.add(run.unpaid.cost_nano)
    if spend is None:
        return
    assert run.measured is not None
    for margin in (
        books.total,
        books.by_model.setdefault(run.model, Margin()),
        books.by_package.setdefault(run.package or NO_PACKAGE, Margin()),
    ):
        margin.runs += 1
        margin.credits -= sum(spend.credits)
        margin.revenue_nano -= sum(spend.nano)
        margin.cost_nano += run.measured.price.cost_nano


def _add_money(books: Books, sales: Sales, records: AccountRecords, part: _OfAccount, live: bool | None) -> None:
    for purchase in records.purchases:
        if purchase.state is not PurchaseState.PAID or live not in (None, purchase.live):
            continue
        if purchase.payment_id is not None:
            sales.known.add(purchase.payment_id)
        sold_at = part.at.get(f"purchase:{purchase.purchase_id}")
        if sold_at is not None and sold_at in books.period:
            books.sold.setdefault(f"pack {purchase.pack}", Count()).add(purchase.amount)
            if purchase.payment_id is not None:
                sales.payments[purchase.payment_id] = purchase.amount
        _add_claims(books, sales, purchase)
    for month in records.months:
        if live not in (None, month.live):
            continue
        sales.known.add(month.invoice_id)
        # Without an entry of its own (nothing was left to grant), it is sold in the month in which it begins.
        sold_at = part.at.get(month.grant_key or "", month.period_start)
        if sold_at in books.period:
            paid = month.amount - month.credited
            books.sold.setdefault("month of PRPM+", Count()).add(paid)
            sales.invoices[month.invoice_id] = paid
        _add_claims(books, sales, month)


def _add_claims(books: Books, sales: Sales, record: Purchase | PaidMonth) -> None:
    for refund_id, claim in record.refunds.items():
        sales.refunds[refund_id] = claim
        if claim.counts and claim.made_at is None:
            books.undated.add(claim.amount)
        elif claim.counts and claim.made_at is not None and claim.made_at in books.period:
            books.refunds.add(claim.amount)
    names = {Stage.OPEN: "open", Stage.KEPT: "lost", Stage.GIVEN_BACK: "won"}
    for dispute_id, claim in record.disputes.items():
        sales.disputes[dispute_id] = claim
        if claim.made_at is None:
            books.undated.add(claim.amount)
        elif claim.made_at in books.period:
            books.disputes[names[claim.stage]].add(claim.amount)
