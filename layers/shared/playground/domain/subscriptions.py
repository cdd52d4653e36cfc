"""PRPM+ as a subscription: its state at the payment provider, and the monthly credits that follow from it.

Credits follow paid periods and nothing else: a status, a cancellation or its withdrawal moves none. A period is named
by its number, counted from the anchor, so that it is granted once however often and late its invoice comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from playground.domain.account import (
    Account,
    Change,
    Plan,
    begin_plus,
    cross_boundary,
    note_payment,
    period_key,
    write_entry,
)
from playground.domain.calendar import boundary, instant
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType

TOLERANCE = timedelta(hours=12)  # by which the provider's period may begin before our boundary
ONE_MILLISECOND = timedelta(milliseconds=1)
MAX_ENDED_SUBSCRIPTIONS = 50  # ended subscriptions of one user that stay on record
MAX_PRICES = 50  # of subscriptions of one user, and of offers
ACTIVE = frozenset({"active", "trialing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSnapshot:
    """The state of a subscription in one event. `ended_at` is set if it has ended."""

    subscription_id: str
    status: str
    cancel_at_period_end: bool
    current_period_end: datetime | None
    started_at: datetime
    ended_at: datetime | None
    occurred_at: datetime
    event_id: str

    @property
    def rank(self) -> tuple[datetime, str, bool, bool, datetime, str]:
        """Of two snapshots the one with the higher rank is current: the later subscription, an ended one, one that has
        left `incomplete` (there is no way back), the later event."""
        over, begun = self.ended_at is not None, self.status != "incomplete"
        return self.started_at, self.subscription_id, over, begun, self.occurred_at, self.event_id

    def is_same_second(self, other: "SubscriptionSnapshot | None") -> bool:
        """Whether both are of the same second. Events say their time in seconds, so neither is known to be the later
        one."""
        return (
            other is not None
            and self.subscription_id == other.subscription_id
            and self.ended_at is None
            and other.ended_at is None
            and self.event_id != other.event_id
            and self.occurred_at.replace(microsecond=0) == other.occurred_at.replace(microsecond=0)
        )

    def ordered_after(self, other: "SubscriptionSnapshot | None") -> "SubscriptionSnapshot":
        """This snapshot, ordered after `other` and before any of the next second."""
        return replace(self, occurred_at=other.occurred_at + ONE_MILLISECOND) if other is not None else self


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedPrice:
    """The price that was agreed for a month: `amount` in cents, before discounts and taxes that are added. `price_id`
    is the provider's name of it, once there is one."""

    amount: int
    currency: str
    price_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A user's subscription. One item per user, also when there is none.

    `described` is the snapshot with the highest rank so far; `ended` has the times at which subscriptions ended, by
    their ids. `checkout_*`: the provider's page that is open for the user; `checkouts` counts them. `prices` has the
    agreed price of each subscription, by their ids; `offers` the prices shown on such pages. `revision` is the store's.
    """

    user_id: str
    live: bool = False
    described: SubscriptionSnapshot | None = None
    ended: Mapping[str, datetime] = field(default_factory=dict)
    checkout_id: str | None = None
    checkout_url: str | None = None
    checkout_expires_at: datetime | None = None
    checkouts: int = 0
    prices: Mapping[str, AgreedPrice] = field(default_factory=dict)
    offers: tuple[AgreedPrice, ...] = ()
    revision: int = field(default=0, compare=False)

    @property
    def status(self) -> str:
        return self.described.status if self.described is not None else "none"

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    def with_price(self, subscription_id: str, price: AgreedPrice) -> "Subscription":
        """The price of a subscription is agreed on once, when its first invoice is accepted."""
        if subscription_id in self.prices:
            return self
        prices = {**self.prices, subscription_id: price}
        return replace(self, prices=dict(list(prices.items())[-MAX_PRICES:]))

    def with_offer(self, price: AgreedPrice) -> "Subscription":
        """With a price that a checkout page of the provider shows."""
        offers = (*(offer for offer in self.offers if offer != price), price)
        return replace(self, offers=offers[-MAX_PRICES:])

    def open_checkout(self, now: datetime) -> str | None:
        """The checkout page that is still open at `now`."""
        if self.checkout_url is None or self.checkout_expires_at is None or self.checkout_expires_at <= now:
            return None
        return self.checkout_url

    def updated_by(self, described: SubscriptionSnapshot) -> "Subscription":
        """Updated by an event. Events may come in any order: none revives an ended subscription or replaces a newer
        state."""
        ended = dict(self.ended)
        if described.ended_at is not None:
            ended[described.subscription_id] = described.ended_at
            ended = dict(sorted(ended.items(), key=lambda item: (item[1], item[0]))[-MAX_ENDED_SUBSCRIPTIONS:])
        higher = self.described is None or described.rank > self.described.rank
        subscription = replace(self, ended=ended, described=described if higher else self.described)
        if subscription.is_active:
            subscription = replace(subscription, checkout_id=None, checkout_url=None, checkout_expires_at=None)
        return subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidPeriod:
    """A paid invoice: one period of a subscription. `started_at`: when the subscription began."""

    subscription_id: str
    period_start: datetime
    started_at: datetime


def pay_period(
    account: Account,
    paid: PaidPeriod,
    *,
    allowance: int,
    ended_at: datetime | None,
    now: datetime,
    former_ended_at: datetime | None = None,
) -> Change | None:
    """Grant the credits of a paid period, once; None if there is nothing (more) to do, or an operator's plan is on.

    `allowance`: credits of a month now, and the maximum of rollover.

    The account must have been advanced to `now`. If another worker's clock has advanced it further, the account's
    period is the current one. The first period of a new subscription starts the plan at the subscription's beginning,
    so that its boundaries are the provider's. The current period grants the month's credits; the previous one grants
    rollover; an older one grants none, because they would have expired. A future period is granted at its boundary.
    `ended_at`: when the subscription ended; credits that the end removes are not granted. `former_ended_at`: when the
    one ended whose place it takes, if that is known and was not applied yet.
    """
    before = account
    began: tuple[Entry, ...] = ()
    if account.has_granted_plan:
        return None
    if account.subscription_id != paid.subscription_id:
        known_or_over = account.subscription_id is not None or ended_at is not None
        if known_or_over and account.anchor is not None and paid.started_at <= account.anchor:
            return None  # an earlier subscription than the current plan, which may be an operator's
        account, began = _begin(account, paid, allowance, min(former_ended_at or now, now), now)
    assert account.anchor is not None
    anchor = account.anchor
    number, present = period_number(anchor, paid.period_start + TOLERANCE), present_period(account, now)
    if number in account.paid_periods:
        return None
    account = replace(note_payment(account), paid_periods=_noted(account.paid_periods, number, present))
    over = ended_at is not None and ended_at < boundary(anchor, number + 1)
    deltas, reason = Deltas(), ""
    if number == present and not over:
        deltas, reason = Deltas(monthly=allowance), "PRPM+ credits of this month"
        account = replace(account, allowance=allowance)
    elif number == present - 1 and not over:
        room = max(allowance - (account.buckets.rollover - account.lapsed), 0)
        deltas, reason = Deltas(rollover=room), "PRPM+ credits of last month, paid late"
        account = replace(account, period=present, due_at=account.due_at or boundary(anchor, present + 1))
    granted: tuple[Entry, ...] = ()
    if deltas != Deltas():
        key = period_key(account, number, "monthly")
        account, entry = write_entry(account, EntryType.MONTHLY, deltas, business_key=key, reason=reason, now=now)
        granted = (entry,)
    if ended_at is not None:
        account, removed = end_plus(account, ended_at=ended_at, now=now)
        granted += removed
    entries = began + granted
    return (account, entries) if entries or account != before else None


def end_plus(account: Account, *, ended_at: datetime, now: datetime) -> Change:
    """End the plan as of `ended_at`: unused credits of that month are removed, older rollover stays until it expires.

    The account must have been advanced to `now`. Held credits are not removed; those that come back expire at the next
    boundary. If a boundary has passed since, the month's unused credits have become rollover, and are removed from it.
    An end at the period's boundary is after it, even if our clock has not reached it. Does nothing to a free account.
    """
    anchor = account.anchor
    if account.plan is not Plan.PLUS or anchor is None:
        return account, ()
    crossed: tuple[Entry, ...] = ()
    if account.is_due(ended_at):
        account, crossed = cross_boundary(account)
    passed = present_period(account, now) - period_number(anchor, ended_at)
    buckets = account.buckets
    monthly = min(buckets.monthly, account.available)
    rollover = min(buckets.rollover, account.available - monthly) if passed == 1 else 0
    period = account.period
    account = replace(account, plan=Plan.FREE, allowance=0, entitled_until=instant(min(ended_at, now)))
    entries = crossed
    if monthly or rollover:
        account, entry = write_entry(
            account,
            EntryType.EXPIRE,
            Deltas(monthly=-monthly, rollover=-rollover),
            business_key=period_key(account, period, "end"),
            reason="PRPM+ has ended",
            now=now,
        )
        entries += (entry,)
    left = account.buckets.monthly or account.buckets.rollover
    return replace(account, due_at=account.due_at if left else None), entries


def period_number(anchor: datetime, moment: datetime) -> int:
    """The number of the period that contains `moment`; 0 before the anchor."""
    number = max((moment.year - anchor.year) * 12 + moment.month - anchor.month, 0)
    return number if number == 0 or boundary(anchor, number) <= moment else number - 1


def present_period(account: Account, now: datetime) -> int:
    """The number of the current period: by `now`, or by the account if it was advanced further."""
    assert account.anchor is not None
    return max(period_number(account.anchor, now), account.period)


def _begin(account: Account, paid: PaidPeriod, allowance: int, former_ended_at: datetime, now: datetime) -> Change:
    """The plan of this subscription in its present period, after the end of the former one; nothing is granted yet.

    Its earlier boundaries are not crossed: what the account has is of other plans, and expires at theirs.
    """
    account, ended = end_plus(account, ended_at=former_ended_at, now=now)
    anchor = instant(paid.started_at)
    return begin_plus(
        account,
        anchor=anchor,
        allowance=allowance,
        period=period_number(anchor, now),
        subscription_id=paid.subscription_id,
    ), ended


def _noted(periods: tuple[int, ...], number: int, present: int) -> tuple[int, ...]:
    """`periods` and `number`, without those before the previous period."""
    return tuple(sorted(period for period in {*periods, number} if period >= present - 1))
