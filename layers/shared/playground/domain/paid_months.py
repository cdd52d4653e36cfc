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

from playground.domain.account import (
    Account,
    Change,
    Plan,
    incur_debt,
    note_payment,
    period_key_of,
    repay_debt,
    write_entry,
)
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

    # --- events -------------------------------------------------------------------------------------------------------

    def with_refunded(self, payment_id: str, amount: int) -> "PaidMonth":
        """With the provider's total of refunds of this payment: `amount` cents."""
        return replace(self, refunded={**self.refunded, payment_id: max(self.refunded.get(payment_id, 0), amount)})

    # --- derived values -----------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The number of its period, counted from the beginning of the subscription."""
        return period_number(instant(self.started_at), self.period_start + TOLERANCE)

    @property
    def amount_refunded(self) -> int:
        """Cents refunded, and cents waived before it was paid; at most `amount`."""
        return min(self._gone_back(sum(self.refunded.values())) + self.credited, self.amount)


class MonthBucket(StrEnum):
    """The bucket that holds the credits of a month."""

    MONTHLY = "monthly"
    ROLLOVER = "rollover"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthCredits:
    """The credits of a month by state. `left` are in `bucket`; `taken` were taken back; `used` were spent; the rest of
    `granted` has expired. `owed` was taken from *purchased* or became debt. `repaid` is the part of `owed` that was
    held, and was taken from `bucket` when the hold ended; it is included in `taken`."""

    granted: int = 0
    used: int = 0
    left: int = 0
    taken: int = 0
    owed: int = 0
    repaid: int = 0
    bucket: MonthBucket = MonthBucket.MONTHLY


def month_credits(month: PaidMonth, entries: Iterable[Entry], account: Account) -> MonthCredits:
    """The credits of a month, computed from the `entries` of `account`, oldest first, which must include the month's
    grant and all later ones up to the account's version.

    A bucket may hold credits of two months, if the earlier ones were held at their boundary. Credits leave a bucket
    first in, first out, so each credit that is spent or expires belongs to one month.
    """
    known = [entry for entry in entries if entry.seq <= account.version]
    start = next((at for at, entry in enumerate(known) if entry.business_key == month.grant_key), None)
    if start is None:
        return MonthCredits()
    grant, later = known[start].deltas, known[start + 1 :]
    bucket = MonthBucket.ROLLOVER if grant.rollover else MonthBucket.MONTHLY
    state = MonthCredits(granted=grant.monthly + grant.rollover, left=grant.monthly + grant.rollover, bucket=bucket)
    content = {
        each: getattr(account.buckets, each.value) - sum(getattr(entry.deltas, each.value) for entry in later)
        for each in MonthBucket
    }
    ahead = content[bucket] - state.left  # other credits in the bucket that leave it earlier
    ours = tuple(f"{type_.value}:{month.invoice_id}:" for type_ in MOVED)
    for entry in later:
        deltas, here = entry.deltas, getattr(entry.deltas, state.bucket.value)
        if entry.type in MOVED and entry.business_key.startswith(ours):
            moved = deltas.monthly + deltas.rollover
            bucket = (
                MonthBucket.MONTHLY if deltas.monthly else MonthBucket.ROLLOVER if deltas.rollover else state.bucket
            )
            ahead = ahead if bucket is state.bucket else content[bucket]
            owed = state.owed - deltas.purchased
            state = replace(state, left=state.left + moved, taken=state.taken - moved, owed=owed, bucket=bucket)
        elif entry.type is EntryType.ROLLOVER and state.bucket is MonthBucket.MONTHLY:
            ahead += content[MonthBucket.ROLLOVER]
            state = replace(state, left=min(state.left, deltas.rollover), bucket=MonthBucket.ROLLOVER)
        elif here < 0:
            repaid = min(-here, state.left, state.owed - state.repaid) if entry.type is EntryType.DEBT else 0
            before = min(ahead, -here - repaid)
            of_another = entry.type in (*MOVED, EntryType.DEBT)
            behind = content[state.bucket] - ahead - state.left if of_another else 0
            gone = max(min(-here - repaid - before - behind, state.left - repaid), 0)
            ahead -= before
            state = replace(
                state,
                left=state.left - repaid - gone,
                taken=state.taken + repaid,
                repaid=state.repaid + repaid,
                used=state.used + (gone if entry.type is EntryType.SPEND else 0),
            )
        content = {each: credits_ + getattr(deltas, each.value) for each, credits_ in content.items()}
    return state


def book_month(
    account: Account,
    month: PaidMonth,
    *,
    allowance: int,
    ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
    former_ended_at: datetime | None = None,
) -> tuple[PaidMonth, Change]:
    """Bring the account in line with a paid month: the month and the account afterwards, with the entries.

    The month is granted once (`pay_period`; to *purchased* if an operator's plan is active, which continues). Refunds
    and disputes take back what is due and not taken yet, and give back what was taken too much, unless those credits
    would have expired by now. Held credits are not taken but owed until they come back. A repeat changes nothing.

    A month that has not begun yet and was refunded in part is booked when it begins. `entries` reads those of the
    account since the month began. `ended_at`: when the subscription ended; `former_ended_at`: when the one ended that
    the account is of, if that is another one.
    """
    if not month.granted:
        month, (account, granted) = _grant(account, month, allowance, ended_at, former_ended_at, entries, now)
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
    state = month_credits(month, [*entries(month), *granted], account)
    due, moved = month.taken_refund + month.taken_dispute, list(granted)
    # Give back first, so that these credits can be taken.
    for change, type_ in steps or [(0, EntryType.REFUND if month.taken_refund else EntryType.DISPUTE)]:
        due += change
        month, state, (account, written) = _follow(account, month, state, due, type_, change < 0, ended_at, now)
        moved += written
    month = replace(month, taken_refund=month.due_for_refunds, taken_dispute=month.due_for_disputes)
    return month, (account, tuple(moved))


def _grant(
    account: Account,
    month: PaidMonth,
    allowance: int,
    ended_at: datetime | None,
    former_ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
) -> tuple[PaidMonth, Change]:
    anchor, number = instant(month.started_at), month.number
    known = account.subscription_id == month.subscription_id and account.anchor is not None
    if known:
        assert account.anchor is not None
        anchor, number = account.anchor, period_number(account.anchor, month.period_start + TOLERANCE)
    month = replace(month, credits=allowance, started_at=anchor, grant_key=period_key_of(anchor, number, "monthly"))
    if account.has_granted_plan:
        return _grant_beside(account, month, ended_at, entries, now)
    if number > period_number(anchor, now) and (not known or number > account.period) and month.amount_refunded:
        return replace(month, credits=0, grant_key=None), (account, ())
    paid = PaidPeriod(
        subscription_id=month.subscription_id, period_start=month.period_start, started_at=month.started_at
    )
    change = pay_period(account, paid, allowance=allowance, ended_at=ended_at, now=now, former_ended_at=former_ended_at)
    return replace(month, granted=True), change if change is not None else (account, ())


def _grant_beside(
    account: Account,
    month: PaidMonth,
    ended_at: datetime | None,
    entries: Callable[[PaidMonth], Sequence[Entry]],
    now: datetime,
) -> tuple[PaidMonth, Change]:
    """Grant a month that was paid while an operator's plan is active, without changing that plan. A month that ended
    before the plan began grants nothing, and one that an earlier version has granted is not granted again."""
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
        reason="PRPM+ credits of a paid month, in addition to the current plan",
        now=now,
    )
    account, repaid = repay_debt(account, cause=key, now=now)
    return replace(month, grant_key=key, beside=True), (account, (entry, *repaid))


def _follow(
    account: Account,
    month: PaidMonth,
    state: MonthCredits,
    due: int,
    type_: EntryType,
    back: bool,
    ended_at: datetime | None,
    now: datetime,
) -> tuple[PaidMonth, MonthCredits, Change]:
    """Take credits of the month back, until `due` are taken in total."""
    used = month.credits if month.beside else state.used
    wanted = max(0, min(month.credits - used - due, state.left + state.taken))
    bucket = state.bucket
    if wanted > state.left:
        live = _live_bucket(account, month, ended_at, now)
        bucket, wanted = (live, wanted) if live is not None else (bucket, state.left)
    taken = min(state.left - wanted, account.available)
    held = state.left - wanted - taken
    owed = max(0, due + used - month.credits) + held + state.repaid
    key = f"{type_.value}:{month.invoice_id}:{month.moves + 1}"
    spare = min(account.buckets.purchased, account.available - max(taken, 0))
    account, entries = incur_debt(account, max(owed - month.owed - spare, 0), cause=key, now=now)
    deltas = Deltas(purchased=month.owed - owed, **{bucket.value: -taken})
    if deltas != Deltas():
        reason = REASONS[type_][back or (not due and owed == state.repaid)]
        account, entry = write_entry(account, type_, deltas, business_key=key, reason=reason, now=now)
        entries = (*entries, entry)
        if deltas.purchased > 0:
            account, repaid = repay_debt(account, cause=key, now=now)
            entries += repaid
        month = replace(month, moves=month.moves + 1, owed=owed)
    held = min(held, account.debt)
    if state.left > 0 and bucket is MonthBucket.MONTHLY:
        account = replace(account, reclaimed_monthly=min(held, account.buckets.monthly))
    elif state.left > 0:
        account = replace(account, reclaimed_rollover=min(held, account.buckets.rollover))
    if taken < 0 and bucket is MonthBucket.ROLLOVER:
        account = _expiring(account, now)
    return (
        month,
        replace(state, left=state.left - taken, taken=state.taken + taken, bucket=bucket),
        (account, entries),
    )


def _live_bucket(account: Account, month: PaidMonth, ended_at: datetime | None, now: datetime) -> MonthBucket | None:
    """The bucket in which credits of the month would still be, had they not been taken."""
    anchor = account.anchor
    if anchor is None or account.subscription_id != month.subscription_id:
        return None
    number, present = period_number(anchor, month.period_start + TOLERANCE), present_period(account, now)
    if ended_at is not None and ended_at < boundary(anchor, number + 1):
        return None
    if number == present and account.plan is Plan.PLUS:
        return MonthBucket.MONTHLY
    return MonthBucket.ROLLOVER if number == present - 1 else None


def _expiring(account: Account, now: datetime) -> Account:
    """Give an account without a next boundary one, at which returned rollover expires."""
    if account.due_at is not None or account.anchor is None:
        return account
    present = present_period(account, now)
    return replace(account, period=present, due_at=boundary(account.anchor, present + 1))
