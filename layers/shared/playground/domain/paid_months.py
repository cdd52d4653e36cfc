"""Paid months of PRPM+: their payments, refunds and disputes, and the credits that follow from them.

A month is our own row, written in the transaction that grants its credits. Refunds, disputes and credit notes only ever
add to it, as to a purchase (`domain/purchases.py`): the same events in any order give the same month.

Refunded money takes credits back, pro rata: first from what is left of that month (*monthly*, then its *rollover*).
What of the month has expired unused was never spent, so it counts as returned. Only what was spent of the part that was
paid back is owed: it is taken from *purchased*, and becomes debt if it is not there. What is held cannot be taken and
becomes debt, too; the account remembers it, and repays it from there when the hold ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from playground.domain.account import Account, Change, Plan, note_payment, period_key_of, repay_debt, write_entry
from playground.domain.calendar import boundary, instant
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.purchases import REASONS, Claim, PaidFor
from playground.domain.subscriptions import TOLERANCE, PaidPeriod, pay_period, period_number, present_period

MOVED = (EntryType.REFUND, EntryType.DISPUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidMonth(PaidFor):
    """A paid invoice of a subscription, with the state of its money and of its credits.

    `amount` is the invoice's total in cents, after discounts and with taxes; `credited` is the part of it that a credit
    note waived before it was paid. `refunded` has the highest sum of refunds that was named for each payment; `refunds`
    and `disputes` are known by their ids, and a credit note counts as a refund of what it gave back by itself.
    `credits` is what the month was worth; `grant_key` is the business key of the entry that granted it, if one did.
    `taken_refund` and `taken_dispute` are credits that were taken back, `owed` those of them that were taken from
    *purchased* or became debt; `moves` counts the entries about that. `revision` is the store's.
    """

    invoice_id: str
    user_id: str
    subscription_id: str
    started_at: datetime
    period_start: datetime
    amount: int
    currency: str
    live: bool
    credited: int = 0
    credits: int = 0
    granted: bool = False
    beside: bool = False
    grant_key: str | None = None
    refunded: Mapping[str, int] = field(default_factory=dict)
    refunds: Mapping[str, Claim] = field(default_factory=dict)
    disputes: Mapping[str, Claim] = field(default_factory=dict)
    taken_refund: int = 0
    taken_dispute: int = 0
    owed: int = 0
    moves: int = 0
    revision: int = field(default=0, compare=False)

    # --- what is told about it ----------------------------------------------------------------------------------------

    def with_refunded(self, payment_id: str, amount: int) -> "PaidMonth":
        """The provider says that `amount` cents of this payment were refunded altogether."""
        return replace(self, refunded={**self.refunded, payment_id: max(self.refunded.get(payment_id, 0), amount)})

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Of its period, counted from the beginning of the subscription."""
        return period_number(instant(self.started_at), self.period_start + TOLERANCE)

    @property
    def amount_refunded(self) -> int:
        """Cents, as of a purchase; and what was waived before it was paid."""
        return min(self._gone_back(sum(self.refunded.values())) + self.credited, self.amount)


class Place(StrEnum):
    """The bucket that the credits of a month are in."""

    MONTHLY = "monthly"
    ROLLOVER = "rollover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """The state of the credits of a month. `left` are still there, in `place`; `taken` were taken back; the others that
    were granted have expired. `owed` was taken from *purchased* or became debt; `repaid` is the part of it that was
    held, and was taken from `place` when the hold ended: it counts as taken."""

    granted: int = 0
    used: int = 0
    left: int = 0
    taken: int = 0
    owed: int = 0
    repaid: int = 0
    place: Place = Place.MONTHLY


def fate_of(month: PaidMonth, entries: Iterable[Entry], account: Account) -> Fate:
    """Worked out from the entries of `account`, oldest first: they may begin anywhere before the month's grant, and go
    up to what the account is now.

    Two months may be in one bucket, if the earlier one was held when it should have gone. What leaves the bucket is of
    the one that came first; so each credit that is spent or expires is of one month.
    """
    known = [entry for entry in entries if entry.seq <= account.version]
    start = next((at for at, entry in enumerate(known) if entry.business_key == month.grant_key), None)
    if start is None:
        return Fate()
    grant, later = known[start].deltas, known[start + 1 :]
    place = Place.ROLLOVER if grant.rollover else Place.MONTHLY
    fate = Fate(granted=grant.monthly + grant.rollover, left=grant.monthly + grant.rollover, place=place)
    content = {
        each: getattr(account.buckets, each.value) - sum(getattr(entry.deltas, each.value) for entry in later)
        for each in Place
    }
    ahead = content[place] - fate.left  # credits of others that are in the bucket and came before
    ours = tuple(f"{type_.value}:{month.invoice_id}:" for type_ in MOVED)
    for entry in later:
        deltas, here = entry.deltas, getattr(entry.deltas, fate.place.value)
        if entry.type in MOVED and entry.business_key.startswith(ours):
            moved = deltas.monthly + deltas.rollover
            place = Place.MONTHLY if deltas.monthly else Place.ROLLOVER if deltas.rollover else fate.place
            ahead = ahead if place is fate.place else content[place]
            owed = fate.owed - deltas.purchased
            fate = replace(fate, left=fate.left + moved, taken=fate.taken - moved, owed=owed, place=place)
        elif entry.type is EntryType.ROLLOVER and fate.place is Place.MONTHLY:
            ahead += content[Place.ROLLOVER]
            fate = replace(fate, left=min(fate.left, deltas.rollover), place=Place.ROLLOVER)
        elif here < 0:
            repaid = min(-here, fate.left, fate.owed - fate.repaid) if entry.type is EntryType.DEBT else 0
            before = min(ahead, -here - repaid)
            of_another = entry.type in (*MOVED, EntryType.DEBT)
            behind = content[fate.place] - ahead - fate.left if of_another else 0
            gone = max(min(-here - repaid - before - behind, fate.left - repaid), 0)
            ahead -= before
            fate = replace(
                fate,
                left=fate.left - repaid - gone,
                taken=fate.taken + repaid,
                repaid=fate.repaid + repaid,
                used=fate.used + (gone if entry.type is EntryType.SPEND else 0),
            )
        content = {each: credits_ + getattr(deltas, each.value) for each, credits_ in content.items()}
    return fate


def book_month(
    account: Account,
    month: PaidMonth,
    *,
    allowance: int,
    ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
) -> tuple[PaidMonth, Change]:
    """Bring the account in line with a paid month: the month and the account afterwards, with the entries.

    The month is granted once (`pay_period`; to *purchased*, if an operator's plan is on, for that goes on). Refunds and
    disputes take back what is due and was not taken yet, and give back what was taken too much, as long as the credits
    would still be there. What is held is not taken, it is owed until it comes back. Doing it again changes nothing.

    A month that has not begun yet and was refunded in part is booked when it begins. `entries` reads those of the
    account since the month began. `ended_at`: the subscription is over since then.
    """
    if not month.granted:
        month, (account, granted) = _grant(account, month, allowance, ended_at, entries, now)
    else:
        granted = ()
    steps = sorted(
        (due - taken, type_)
        for due, taken, type_ in (
            (month.due_for_refunds, month.taken_refund, EntryType.REFUND),
            (month.due_for_disputes, month.taken_dispute, EntryType.DISPUTE),
        )
        if due != taken
    )
    if not month.granted or not (steps or month.owed):
        return month, (account, granted)
    fate = fate_of(month, [*entries(month), *granted], account)
    due, moved = month.taken_refund + month.taken_dispute, list(granted)
    # Credits that come back first, so that they are there for what is taken.
    for change, type_ in steps or [(0, EntryType.REFUND if month.taken_refund else EntryType.DISPUTE)]:
        due += change
        month, fate, (account, written) = _follow(account, month, fate, due, type_, change < 0, ended_at, now)
        moved += written
    month = replace(month, taken_refund=month.due_for_refunds, taken_dispute=month.due_for_disputes)
    return month, (account, tuple(moved))


def _grant(
    account: Account,
    month: PaidMonth,
    allowance: int,
    ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
) -> tuple[PaidMonth, Change]:
    anchor, number = instant(month.started_at), month.number
    known = account.subscription_id == month.subscription_id and account.anchor is not None
    if known:
        assert account.anchor is not None
        anchor, number = account.anchor, period_number(account.anchor, month.period_start + TOLERANCE)
    month = replace(month, credits=allowance, started_at=anchor, grant_key=period_key_of(anchor, number, "monthly"))
    if account.is_given:
        return _grant_beside(account, month, ended_at, entries, now)
    if number > period_number(anchor, now) and (not known or number > account.period) and month.amount_refunded:
        return replace(month, credits=0, grant_key=None), (account, ())
    paid = PaidPeriod(
        subscription_id=month.subscription_id, period_start=month.period_start, started_at=month.started_at
    )
    change = pay_period(account, paid, allowance=allowance, ended_at=ended_at, now=now)
    return replace(month, granted=True), change if change is not None else (account, ())


def _grant_beside(
    account: Account,
    month: PaidMonth,
    ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
) -> tuple[PaidMonth, Change]:
    """A month that was paid for while an operator's plan is on: nothing of that plan is touched. What was over before
    that plan began gives nothing any more, and a month that an earlier version has granted is not granted again."""
    assert account.anchor is not None
    over = boundary(instant(month.started_at), month.number + 1)
    if ended_at is not None:
        over = min(over, ended_at)
    month = replace(month, granted=True)
    before = month.period_start < account.anchor
    if over <= account.anchor or (before and any(entry.business_key == month.grant_key for entry in entries(month))):
        return month, (account, ())
    key = f"month:{month.invoice_id}"
    account, entry = write_entry(
        note_payment(account),
        EntryType.PURCHASE,
        Deltas(purchased=month.credits),
        business_key=key,
        reason="PRPM+ credits of a month, paid beside the plan that is on",
        now=now,
    )
    account, repaid = repay_debt(account, cause=key, now=now)
    return replace(month, grant_key=key, beside=True), (account, (entry, *repaid))


def _follow(
    account: Account,
    month: PaidMonth,
    fate: Fate,
    due: int,
    type_: EntryType,
    back: bool,
    ended_at: datetime | None,
    now: datetime,
) -> tuple[PaidMonth, Fate, Change]:
    """Take credits of the month back, until `due` are taken in total."""
    used = month.credits if month.beside else fate.used
    wanted = max(0, min(month.credits - used - due, fate.left + fate.taken))
    place = fate.place
    if wanted > fate.left:
        live = _live_place(account, month, ended_at, now)
        place, wanted = (live, wanted) if live is not None else (place, fate.left)
    taken = min(fate.left - wanted, account.available)
    held = fate.left - wanted - taken
    owed = max(0, due + used - month.credits) + held + fate.repaid
    key = f"{type_.value}:{month.invoice_id}:{month.moves + 1}"
    entries: list[Entry] = []
    spare = min(account.buckets.purchased, account.available - max(taken, 0))
    missing = max(owed - month.owed - spare, 0)
    if missing:
        account = replace(account, debt=account.debt + missing)
        account, entry = write_entry(
            account,
            EntryType.DEBT,
            Deltas(purchased=missing),
            business_key=f"debt:{key}",
            reason="Owed: these credits were spent already",
            now=now,
        )
        entries.append(entry)
    deltas = Deltas(purchased=month.owed - owed, **{place.value: -taken})
    if deltas != Deltas():
        reason = REASONS[type_][back or (not due and owed == fate.repaid)]
        account, entry = write_entry(account, type_, deltas, business_key=key, reason=reason, now=now)
        entries.append(entry)
        if deltas.purchased > 0:
            account, repaid = repay_debt(account, cause=key, now=now)
            entries += repaid
        month = replace(month, moves=month.moves + 1, owed=owed)
    held = min(held, account.debt)
    if fate.left > 0 and place is Place.MONTHLY:
        account = replace(account, reclaimed_monthly=min(held, account.buckets.monthly))
    elif fate.left > 0:
        account = replace(account, reclaimed_rollover=min(held, account.buckets.rollover))
    if taken < 0 and place is Place.ROLLOVER:
        account = _expiring(account, now)
    return (
        month,
        replace(fate, left=fate.left - taken, taken=fate.taken + taken, place=place),
        (account, tuple(entries)),
    )


def _live_place(account: Account, month: PaidMonth, ended_at: datetime | None, now: datetime) -> Place | None:
    """The bucket in which credits of the month would still be, had they not been taken."""
    anchor = account.anchor
    if anchor is None or account.subscription_id != month.subscription_id:
        return None
    number, present = period_number(anchor, month.period_start + TOLERANCE), present_period(account, now)
    if ended_at is not None and ended_at < boundary(anchor, number + 1):
        return None
    if number == present and account.plan is Plan.PLUS:
        return Place.MONTHLY
    return Place.ROLLOVER if number == present - 1 else None


def _expiring(account: Account, now: datetime) -> Account:
    """Rollover that was given back to an account without a boundary ahead expires at the next one."""
    if account.due_at is not None or account.anchor is None:
        return account
    present = present_period(account, now)
    return replace(account, period=present, due_at=boundary(account.anchor, present + 1))
