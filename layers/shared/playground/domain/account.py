"""The account: a user's credits, the holds of open runs, and every operation on them.

Pure functions: each takes an account and returns the account afterwards with the entries that record the change. The
store's conditions decide whether a change may be written, never this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from playground.domain.calendar import boundary, instant
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import GENESIS, DebtOrigin, Entry, EntryType

SIGNUP_CREDITS = 5
MAX_BOUNDARIES = 1200  # a hundred years of months

# A lease runs from the end of the invocation that places it. The clock that writes it and the one that reads it may
# each be 10 min off, so both errors are added, and a minute.
LEASE_MARGIN = timedelta(minutes=10 + 10 + 1)


class Plan(StrEnum):
    FREE = "free"
    PLUS = "plus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Credits set aside for one run until `lease_at`. `nonce` names the attempt that placed it.

    `ticket` is its number in the queue of settlements that run at the same time. It saves retries and has no effect on
    correctness.
    """

    run_id: str
    nonce: str
    ceiling: int
    lease_at: datetime
    request_hash: str
    session_id: str
    model: str
    placed_at: datetime
    ticket: int | None = field(default=None, compare=False)
    cost_nano: int = 0
    """The most that the provider can bill for the run, in nano-dollars; 0 in holds of an earlier version."""
    interval: timedelta = timedelta()
    """What the run uses up of the allowance if its worker dies: see `domain.allowance`."""
    max_tokens: int = 0
    """The limit of the answer that is held for; 0 in holds of an earlier version."""
    stop: bool = field(default=False, compare=False)
    """Whether its owner has asked to end the run with what is written by then."""
    trace_id: str | None = None
    """Of the request that placed it, for logs; None in holds of an earlier version."""

    def __post_init__(self) -> None:
        if self.ceiling < 1:
            raise ValueError(f"a hold must be at least 1 credit, not {self.ceiling}")

    def dead(self, now: datetime) -> bool:
        """Whether the lease has run out: the attempt that placed it must be over."""
        return self.lease_at <= now

    @property
    def max_duration(self) -> timedelta:
        """How long the invocation that placed it can last at most, by its own clock."""
        return self.lease_at - LEASE_MARGIN - self.placed_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`version` is the number of the last entry, `last_hash` its hash. `due_at` is the next monthly boundary.
    `revision` is the store's count of changes, because some have no entry. It is not part of equality.

    `debt`: credits that were taken back after they had been spent; repaid from *purchased* as soon as possible.
    `lapsed`: rollover that was due to expire at the last boundary but was held. Credits that a hold gives back expire
    up to this amount.
    `reclaimed_monthly`, `reclaimed_rollover`: credits of a refunded month that were held when it was refunded. They are
    part of the debt, which is repaid from them as soon as they are available.

    `allowance`: credits of a month, as of the beginning of the plan or its last grant. `entitled_until`: the end of a
    plan that an operator set; None: no end. A paid plan has the provider's `subscription_id` instead, and the numbers
    of its paid periods from the previous one on."""

    user_id: str
    created_at: datetime
    buckets: Buckets = Buckets()
    held: int = 0
    debt: int = 0
    lapsed: int = 0
    reclaimed_monthly: int = 0
    reclaimed_rollover: int = 0
    holds: Mapping[str, Hold] = field(default_factory=dict)
    version: int = 0
    last_hash: str = GENESIS
    plan: Plan = Plan.FREE
    allowance: int = 0
    anchor: datetime | None = None
    period: int = 0
    due_at: datetime | None = None
    entitled_until: datetime | None = None
    subscription_id: str | None = None
    paid_periods: tuple[int, ...] = ()
    has_paid: bool = False
    """Whether a purchase or a month was ever paid for, since this field exists."""
    failures_at: datetime | None = None
    unpaid_at: datetime | None = None
    """The used part of the allowance: see `domain.allowance`. None or a past time: nothing is used."""
    runs_at: datetime | None = None
    purchases_at: datetime | None = None
    """The used part of the rate limits: see `domain.rates`. None or a past time: nothing is used."""
    paused_at: datetime | None = None
    """The time from which an operator has paused the account: it takes no new runs. Open runs end as usual."""
    revision: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.held < 0 or self.debt < 0 or self.available < 0:
            raise ValueError(f"held {self.held}, debt {self.debt} and available {self.available} cannot be negative")
        if self.held != sum(hold.ceiling for hold in self.holds.values()):
            raise ValueError(f"held {self.held} is not the sum of the holds")
        if not 0 <= self.lapsed <= min(self.held, self.buckets.rollover):
            raise ValueError(f"lapsed {self.lapsed} is more than the held credits or the rollover")
        if not 0 <= self.reclaimed_monthly <= self.buckets.monthly:
            raise ValueError(f"{self.reclaimed_monthly} reclaimed of {self.buckets.monthly} monthly credits")
        if not 0 <= self.reclaimed_rollover <= self.buckets.rollover:
            raise ValueError(f"{self.reclaimed_rollover} reclaimed of {self.buckets.rollover} rollover credits")
        if self.due_at is not None and self.anchor is None:
            raise ValueError("due_at needs an anchor")

    @property
    def balance(self) -> int:
        return self.buckets.total

    @property
    def available(self) -> int:
        """Credits that a new hold may take."""
        return self.balance - self.held

    @property
    def payable_debt(self) -> int:
        """Debt that can be repaid now: 0 after every change."""
        reclaimed = self.reclaimed_monthly + self.reclaimed_rollover
        return min(self.debt, self.buckets.purchased + reclaimed, self.available)

    @property
    def owes(self) -> bool:
        """Whether part of what a hold gives back is taken: debt, or lapsed rollover."""
        return self.debt > 0 or self.lapsed > 0

    @property
    def has_granted_plan(self) -> bool:
        """Whether an operator set the plan, and it is active."""
        return self.plan is Plan.PLUS and self.subscription_id is None

    @property
    def is_organisation(self) -> bool:
        """Whether this is a verified organisation: one whose plan an operator set (`has_granted_plan`)."""
        return self.has_granted_plan

    @property
    def allocated(self) -> int:
        """Credits that were granted for this month."""
        unpaid = self.subscription_id is not None and self.period not in self.paid_periods
        return 0 if unpaid else self.allowance

    @property
    def resets_at(self) -> datetime | None:
        """When a month may be granted next; None if the next boundary grants none, or there is none."""
        if self.plan is not Plan.PLUS or self.anchor is None:
            return None
        following = boundary(self.anchor, self.period + 1)
        ends = self.entitled_until if self.subscription_id is None else None
        return following if ends is None or ends > following else None

    @property
    def is_paying(self) -> bool:
        """Whether the larger allowance for failures applies: to users who have ever paid or have a plan. More purchased
        credits than the signup gives are a sign of a payment before `has_paid` was recorded, or of a grant."""
        return self.has_paid or self.plan is Plan.PLUS or self.buckets.purchased > SIGNUP_CREDITS

    def dead_holds(self, now: datetime) -> tuple[Hold, ...]:
        return tuple(hold for hold in self.holds.values() if hold.dead(now))

    def is_due(self, now: datetime) -> bool:
        """Whether a monthly boundary has passed that this account has not crossed yet."""
        return self.due_at is not None and self.due_at <= now


Change = tuple[Account, tuple[Entry, ...]]
"""The account afterwards, and the entries that record how it came about."""


def write_entry(
    account: Account,
    type_: EntryType,
    deltas: Deltas,
    *,
    business_key: str,
    reason: str,
    now: datetime,
    run_id: str | None = None,
    session_id: str | None = None,
    purchase_id: str | None = None,
    operator: str | None = None,
) -> tuple[Account, Entry]:
    """Apply `deltas` and record them in an entry. Buckets change in no other way."""
    buckets = account.buckets.plus(deltas)
    entry = Entry(
        user_id=account.user_id,
        seq=account.version + 1,
        type=type_,
        deltas=deltas,
        balance_after=buckets.total,
        business_key=business_key,
        reason=reason,
        created_at=instant(now),
        previous_hash=account.last_hash,
        run_id=run_id,
        session_id=session_id,
        purchase_id=purchase_id,
        operator=operator,
    )
    account = replace(
        account,
        buckets=buckets,
        lapsed=min(account.lapsed, buckets.rollover),
        reclaimed_monthly=min(account.reclaimed_monthly, buckets.monthly, account.debt),
        reclaimed_rollover=min(account.reclaimed_rollover, buckets.rollover, account.debt),
        version=entry.seq,
        last_hash=entry.hash,
    )
    return account, entry


def repay_debt(account: Account, *, cause: str, now: datetime, reserved: int = 0, **about: str | None) -> Change:
    """Repay debt, as far as credits are available beyond `reserved`. Changes nothing without debt.

    Reclaimed credits are used first, then *purchased*. `cause` is the business key of the change that made credits
    available. `about`: the run or purchase that the entry names.
    """
    repaid = min(account.payable_debt, account.available - reserved)
    if repaid < 1:
        return account, ()
    rollover = min(account.reclaimed_rollover, repaid)
    monthly = min(account.reclaimed_monthly, repaid - rollover)
    account = replace(
        account,
        debt=account.debt - repaid,
        reclaimed_monthly=account.reclaimed_monthly - monthly,
        reclaimed_rollover=account.reclaimed_rollover - rollover,
    )
    account, entry = write_entry(
        account,
        EntryType.DEBT,
        Deltas(monthly=-monthly, rollover=-rollover, purchased=monthly + rollover - repaid),
        business_key=f"debt:{cause}:repaid",
        reason="Outstanding debt paid",
        now=now,
        **about,
    )
    return account, (entry,)


def incur_debt(account: Account, missing: int, *, cause: str, now: datetime, **about: str | None) -> Change:
    """Add `missing` credits to *purchased* as debt, so that they can be taken back. The `debt` entries sum up to the
    debt. Changes nothing if none are missing. `cause`, the business key of what takes them back, begins with a
    DebtOrigin; raises ValueError if it does not."""
    if not missing:
        return account, ()
    account = replace(account, debt=account.debt + missing)
    account, entry = write_entry(
        account,
        EntryType.DEBT,
        Deltas(purchased=missing),
        business_key=f"debt:{cause}",
        reason=DebtOrigin(cause.partition(":")[0]).reason,
        now=now,
        **about,
    )
    return account, (entry,)


def with_debt_repaid(change: Change, *, now: datetime) -> Change:
    """`change`, with debt repaid from the credits that it made available: an account never has available *purchased*
    credits and debt at once."""
    account, entries = change
    cause = entries[-1].business_key if entries else f"entry:{account.version}"
    account, repaid = repay_debt(account, cause=cause, now=now)
    return account, (*entries, *repaid)


def open_account(user_id: str, now: datetime) -> Change:
    """A new account with its signup credits."""
    account = Account(user_id=user_id, created_at=instant(now))
    account, entry = write_entry(
        account,
        EntryType.SIGNUP,
        Deltas(purchased=SIGNUP_CREDITS),
        business_key="signup",
        reason="Welcome credits",
        now=now,
    )
    return account, (entry,)


def as_of(account: Account | None, user_id: str, now: datetime) -> Account:
    """The account as the store will have it at `now`: opened, and advanced over every boundary. Writes nothing."""
    if account is None:
        account, _ = open_account(user_id, now)
    for _ in range(MAX_BOUNDARIES):
        overdue = overdue_change(account, now)
        if overdue is None:
            break
        account, _ = overdue
    return account


def overdue_change(account: Account, now: datetime) -> Change | None:
    """What must be done to the account before any other change: cross the next boundary that has passed. None if there
    is none.

    An account that an earlier version left with *purchased* credits and debt repays it here.
    """
    if account.is_due(now):
        return cross_boundary(account)
    return with_debt_repaid((account, ()), now=now) if account.payable_debt else None


def note_payment(account: Account) -> Account:
    """Record that the user has paid. The first time, the used part of the smaller allowance is reset."""
    return account if account.has_paid else replace(account, has_paid=True, failures_at=None, unpaid_at=None)


def place_hold(account: Account, hold: Hold) -> Account:
    """Set `hold.ceiling` aside. Raises ValueError if it is not available or the run is held already."""
    if hold.run_id in account.holds:
        raise ValueError(f"{hold.run_id} is held already")
    return replace(account, held=account.held + hold.ceiling, holds={**account.holds, hold.run_id: hold})


def drop_hold(account: Account, run_id: str, *, now: datetime) -> Change:
    """Give the whole hold back: release, expire and cancel. Raises KeyError if the run is not held.

    Its lapsed part expires, then debt is repaid. Without either there is no entry.
    """
    return _give_back(account, run_id, 0, now)


def without_dead_holds(account: Account, now: datetime) -> Account:
    """The account without the holds of dead attempts."""
    for hold in account.dead_holds(now):
        account, _ = drop_hold(account, hold.run_id, now=now)
    return account


def _give_back(account: Account, run_id: str, cost: int, now: datetime) -> Change:
    """End the hold of `run_id`, of which `cost` is about to be spent; from the rest, lapsed credits expire, then debt
    is repaid.

    Lapsed credits expire from what comes back, never from what is spent or was available before. `lapsed` is 0 when
    nothing is held. A late repeat may place a hold again, so that it comes back twice; therefore the keys of these
    entries include the number of the previous entry.
    """
    holds = dict(account.holds)
    hold = holds.pop(run_id)
    held = account.held - hold.ceiling
    cause = f"run:{run_id}:{account.version}"
    left = max(account.buckets.rollover + account.buckets.draw_down(cost).rollover - account.reclaimed_rollover, 0)
    expired = min(account.lapsed, hold.ceiling - cost, left)
    lapsed = min(account.lapsed - expired, held)
    account = replace(account, held=held, holds=holds, lapsed=lapsed)
    entries: tuple[Entry, ...] = ()
    if expired:
        account, entry = write_entry(
            account,
            EntryType.EXPIRE,
            Deltas(rollover=-expired),
            business_key=f"{cause}:lapsed",
            reason="Rollover credits expired while a run held them",
            now=now,
            run_id=run_id,
        )
        entries = (entry,)
    account, repaid = repay_debt(account, cause=cause, now=now, reserved=cost, run_id=run_id)
    return account, (*entries, *repaid)


def settle(account: Account, run_id: str, cost: int, *, reason: str, now: datetime) -> Change:
    """Spend `cost` credits of the hold of `run_id` and give the rest back. The spend entry is the last one.

    The split over the buckets is made here, in priority order, from the buckets as they are now. The rest goes first to
    what `drop_hold` takes. Raises KeyError if the run is not held, ValueError unless 1 ≤ cost ≤ ceiling: no run costs
    more than its hold, and no answer is free.
    """
    hold = account.holds[run_id]
    if not 1 <= cost <= hold.ceiling:
        raise ValueError(f"a run held for {hold.ceiling} cannot cost {cost}")
    account, entries = _give_back(account, run_id, cost, now)
    account, entry = write_entry(
        account,
        EntryType.SPEND,
        account.buckets.draw_down(cost),
        business_key=f"run:{run_id}",
        reason=reason,
        now=now,
        run_id=run_id,
        session_id=hold.session_id,
    )
    return account, (*entries, entry)


def grant(
    account: Account,
    credits_: int,
    *,
    type_: EntryType,
    business_key: str,
    reason: str,
    now: datetime,
    operator: str | None = None,
) -> tuple[Account, Entry]:
    """Add credits to *purchased*. Raises ValueError unless at least 1."""
    if credits_ < 1:
        raise ValueError(f"a grant must be at least 1 credit, not {credits_}")
    deltas = Deltas(purchased=credits_)
    return write_entry(account, type_, deltas, business_key=business_key, reason=reason, now=now, operator=operator)


def take_back(
    account: Account,
    credits_: int,
    *,
    type_: EntryType,
    business_key: str,
    reason: str,
    now: datetime,
    purchase_id: str | None = None,
    operator: str | None = None,
) -> Change:
    """Take `credits_` from *purchased*, never held ones. Missing credits are added first as debt, in an entry of their
    own. The entry of type `type_` is the last one. Raises ValueError unless at least 1."""
    if credits_ < 1:
        raise ValueError(f"at least 1 credit must be taken back, not {credits_}")
    missing = max(credits_ - min(account.buckets.purchased, account.available), 0)
    account, entries = incur_debt(
        account, missing, cause=business_key, now=now, purchase_id=purchase_id, operator=operator
    )
    account, taken = write_entry(
        account,
        type_,
        Deltas(purchased=-credits_),
        business_key=business_key,
        reason=reason,
        now=now,
        purchase_id=purchase_id,
        operator=operator,
    )
    return account, (*entries, taken)


def start_plus(account: Account, *, allowance: int, entitled_until: datetime | None, now: datetime) -> Change:
    """Begin the plan with `now` as its anchor, and grant the first month. `entitled_until` None: no end.

    `allowance`: credits of each month, and the maximum that rolls over.
    """
    account = ending_at(begin_plus(account, anchor=now, allowance=allowance), entitled_until)
    account, entry = write_entry(
        account,
        EntryType.MONTHLY,
        Deltas(monthly=allowance),
        business_key=period_key(account, account.period, "monthly"),
        reason="PRPM+ credits of this month",
        now=now,
    )
    return account, (entry,)


def begin_plus(
    account: Account, *, anchor: datetime, allowance: int, period: int = 0, subscription_id: str | None = None
) -> Account:
    """The plan with this anchor, in `period`, which must be the present one; nothing is granted yet. Existing rollover
    expires at its own boundary or at the next one of this plan, whichever is earlier. Raises ValueError unless the
    allowance is at least 1."""
    if allowance < 1:
        raise ValueError(f"a plan must give at least 1 credit a month, not {allowance}")
    anchor = instant(anchor)
    following = boundary(anchor, period + 1)
    return replace(
        account,
        plan=Plan.PLUS,
        allowance=allowance,
        anchor=anchor,
        period=period,
        due_at=min(following, account.due_at) if account.due_at and account.buckets.rollover else following,
        entitled_until=None,
        subscription_id=subscription_id,
        paid_periods=(),
    )


def ending_at(account: Account, until: datetime | None) -> Account:
    """The plan that an operator set, ending at `until` (None: no end).

    Like a boundary, `until` is a time at which the account is due.
    """
    if account.anchor is None:
        raise ValueError(f"{account.user_id} has no plan")
    regular = boundary(account.anchor, account.period + 1)
    due = [regular] if until is None else [regular, instant(until)]
    if account.buckets.rollover and account.due_at not in (None, regular, account.entitled_until):
        due += [account.due_at] if account.due_at is not None else []  # rollover of an earlier plan expires before
    return replace(account, entitled_until=until, due_at=min(due))


def cross_boundary(account: Account) -> Change:
    """Cross the next monthly boundary, at the boundary's own time. Raises ValueError if there is none.

    Old rollover expires, unused monthly becomes rollover (at most one allowance, the rest expires), and the month is
    granted again if the plan is entitled beyond the boundary. Held credits do not expire: at most `balance − held` is
    removed, and the account records the rest as `lapsed`, which expires when it is given back or at the next boundary.
    Purchased credits change only to repay debt, if the month makes held ones available. A plan that an operator ended
    within a month ends there: unused monthly credits are removed, rollover stays until its boundary.
    """
    if account.due_at is None or account.anchor is None:
        raise ValueError(f"{account.user_id} has no monthly boundary")
    at, anchor = account.due_at, account.anchor
    if _ends_within_a_month(account, at):
        return _end_within_a_month(account, at)
    of_an_earlier_plan = at < boundary(anchor, account.period + 1)  # rollover of an ended plan expires now
    entries: list[Entry] = []

    def write(type_: EntryType, deltas: Deltas, name: str, reason: str) -> None:
        nonlocal account
        if deltas != Deltas():
            key = period_key(account, account.period, name)
            account, entry = write_entry(account, type_, deltas, business_key=key, reason=reason, now=at)
            entries.append(entry)

    if not of_an_earlier_plan:
        account = replace(account, period=account.period + 1)
    old = min(account.buckets.rollover, account.available)
    write(EntryType.EXPIRE, Deltas(rollover=-old), "expire-rollover", "Rollover credits expired")
    lapsed = account.buckets.rollover
    if of_an_earlier_plan:
        return replace(_with_next_due(account), lapsed=lapsed), tuple(entries)
    unused = account.buckets.monthly
    excess = min(max(unused - account.allowance, 0), account.available)
    write(
        EntryType.EXPIRE, Deltas(monthly=-excess), "expire-monthly", "Unused credits beyond the rollover limit expired"
    )
    remaining = account.buckets.monthly
    lapsed += max(remaining - account.allowance, 0)
    reclaimed = account.reclaimed_monthly
    write(
        EntryType.ROLLOVER,
        Deltas(monthly=-remaining, rollover=remaining),
        "rollover",
        "Unused monthly credits rolled over",
    )
    account = replace(account, reclaimed_monthly=0, reclaimed_rollover=account.reclaimed_rollover + reclaimed)
    entitled = _is_entitled(account, at)
    if entitled:
        write(EntryType.MONTHLY, Deltas(monthly=account.allowance), "monthly", "PRPM+ credits of this month")
    unpaid = account.plan is Plan.PLUS and account.subscription_id is not None  # it may still be paid, or end
    if not entitled and not unpaid:
        account = replace(account, plan=Plan.FREE, allowance=0)
    # An ended plan crosses one more boundary if rollover is left, at which that expires.
    more = entitled or unpaid or account.buckets.rollover > 0
    account = _with_next_due(account) if more else replace(account, due_at=None)
    return with_debt_repaid((replace(account, lapsed=lapsed), tuple(entries)), now=at)


def _with_next_due(account: Account) -> Account:
    """The account, due at the next boundary, or at the end of the plan if that comes first."""
    assert account.anchor is not None
    following = boundary(account.anchor, account.period + 1)
    until = account.entitled_until
    if until is not None and account.has_granted_plan and boundary_before(account) < until < following:
        following = until
    return replace(account, due_at=following)


def boundary_before(account: Account) -> datetime:
    """The beginning of the period that the account is in."""
    assert account.anchor is not None
    return boundary(account.anchor, account.period) if account.period else account.anchor


def _ends_within_a_month(account: Account, at: datetime) -> bool:
    """Whether `at` is the end of a plan, before its month is over."""
    assert account.anchor is not None
    until = account.entitled_until
    return account.has_granted_plan and until is not None and until <= at < boundary(account.anchor, account.period + 1)


def _end_within_a_month(account: Account, at: datetime) -> Change:
    unused = min(account.buckets.monthly, account.available)
    account = replace(account, plan=Plan.FREE, allowance=0)
    entries: tuple[Entry, ...] = ()
    if unused:
        key = period_key(account, account.period, "end")
        account, entry = write_entry(
            account, EntryType.EXPIRE, Deltas(monthly=-unused), business_key=key, reason="PRPM+ has ended", now=at
        )
        entries = (entry,)
    left = account.buckets.monthly or account.buckets.rollover
    return _with_next_due(account) if left else replace(account, due_at=None), entries


def _is_entitled(account: Account, at: datetime) -> bool:
    """Whether the period that begins at `at` is granted."""
    if account.plan is not Plan.PLUS:
        return False
    if account.subscription_id is not None:
        return account.period in account.paid_periods
    return account.entitled_until is None or account.entitled_until > at


def period_key(account: Account, period: int, name: str) -> str:
    """The business key of what happens once in a period of a plan."""
    assert account.anchor is not None
    return period_key_of(account.anchor, period, name)


def period_key_of(anchor: datetime, period: int, name: str) -> str:
    """The same, of a plan with that anchor."""
    return f"period:{anchor:%Y%m%dT%H%M%S%f}:{period}:{name}"
