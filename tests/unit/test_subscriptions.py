"""Paid periods and the end of a subscription: the same credits in whatever order and however late it is told."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from playground.domain.account import Account, Plan, cross_boundary, drop_hold, open_account, place_hold, start_plus
from playground.domain.calendar import boundary
from playground.domain.entries import Entry
from playground.domain.subscriptions import (
    PaidPeriod,
    Subscription,
    SubscriptionSnapshot,
    end_plus,
    pay_period,
    period_number,
)
from tests.fakes import a_hold
from tests.support import check_invariants

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def period(number: int, subscription: str = "sub_1", start: datetime = START) -> PaidPeriod:
    return PaidPeriod(
        subscription_id=subscription, period_start=boundary(start, number) if number else start, started_at=start
    )


class Life:
    """One account, told of payments at times that only grow."""

    def __init__(self) -> None:
        self.now = START - DAY
        self.account, entries = open_account("alice", self.now)
        self.entries: list[Entry] = list(entries)
        self.ended: dict[str, datetime] = {}

    def at(self, now: datetime) -> "Life":
        assert now >= self.now
        self.now = now
        while self.account.is_due(now):
            self._keep(cross_boundary(self.account))
        return self

    def pay(self, paid: PaidPeriod) -> "Life":
        change = pay_period(
            self.account, paid, allowance=200, ended_at=self.ended.get(paid.subscription_id), now=self.now
        )
        if change is not None:
            self._keep(change)
        return self

    def end(self, at: datetime, subscription: str = "sub_1") -> "Life":
        self.ended[subscription] = at
        if self.account.subscription_id == subscription:
            self._keep(end_plus(self.account, ended_at=at, now=self.now))
        return self

    def _keep(self, change: tuple[Account, Sequence[Entry]]) -> None:
        self.account, entries = change
        self.entries += entries
        check_invariants(self.account, self.entries)

    @property
    def buckets(self) -> tuple[int, int, int]:
        buckets = self.account.buckets
        return buckets.monthly, buckets.rollover, buckets.purchased


def test_the_first_payment_starts_the_plan_at_the_subscriptions_own_beginning() -> None:
    life = Life().at(START + DAY).pay(period(0))
    assert life.buckets == (200, 0, 5)
    assert (life.account.anchor, life.account.due_at) == (START, datetime(2026, 2, 28, 10, tzinfo=UTC))


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_period_is_granted_once(times: int) -> None:
    life = Life().at(START)
    for _ in range(times):
        life.pay(period(0))
    assert life.buckets == (200, 0, 5)


def test_a_month_that_is_not_paid_for_has_no_credits_until_it_is() -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 1) + timedelta(minutes=1))
    assert (life.buckets, life.account.allocated, life.account.plan) == ((0, 200, 5), 0, Plan.PLUS)

    life.at(life.now + timedelta(hours=1)).pay(period(1))
    assert (life.buckets, life.account.allocated) == ((200, 200, 5), 200)


def test_a_payment_ahead_of_its_period_is_granted_at_the_boundary() -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 1) - timedelta(minutes=5)).pay(period(1))
    assert life.buckets == (200, 0, 5)
    assert life.at(boundary(START, 1)).buckets == (200, 200, 5)


def test_a_payment_is_granted_to_an_account_that_a_faster_clock_has_advanced() -> None:
    """To the worker that hears of it the period has not begun; the account is in it."""
    life = Life().at(START).pay(period(0)).at(boundary(START, 1) + timedelta(minutes=9))
    life.now = boundary(START, 1) - timedelta(seconds=30)
    life.pay(period(1))
    assert (life.buckets, life.account.paid_periods) == ((200, 200, 5), (0, 1))
    assert life.pay(period(1)).at(boundary(START, 1) + DAY).buckets == (200, 200, 5)


def test_a_payment_for_last_month_is_rollover_to_an_account_that_a_faster_clock_has_advanced() -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 2) + timedelta(minutes=9))
    life.now = boundary(START, 2) - timedelta(seconds=30)
    assert life.pay(period(1)).buckets == (0, 200, 5)


@pytest.mark.parametrize("seconds", [-5, 0, 5])
def test_an_end_with_the_period_is_one_whatever_our_clock_says(seconds: int) -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 1) + timedelta(seconds=seconds)).end(boundary(START, 1))
    assert (life.buckets, life.account.plan) == ((0, 200, 5), Plan.FREE)
    assert life.at(boundary(START, 2)).buckets == (0, 0, 5)


@pytest.mark.parametrize("months", range(1, 5))
def test_a_payment_that_comes_months_late_gives_what_would_be_left_of_it(months: int) -> None:
    on_time = Life().at(START).pay(period(0)).at(boundary(START, months) + DAY)
    late = Life().at(boundary(START, months) + DAY).pay(period(0))
    assert late.buckets == on_time.buckets == ((0, 200, 5) if months == 1 else (0, 0, 5))


def test_the_end_removes_what_is_unused_of_the_month_and_nothing_else() -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 1)).pay(period(1)).at(boundary(START, 1) + DAY)
    life.end(life.now)
    assert (life.buckets, life.account.plan) == ((0, 200, 5), Plan.FREE)
    assert life.at(boundary(START, 2)).buckets == (0, 0, 5)
    assert life.account.due_at is None


def test_nothing_revives_what_is_over() -> None:
    life = Life().at(START).pay(period(0)).end(START + DAY).at(START + 2 * DAY).pay(period(0))
    assert life.buckets == (0, 0, 5)


def test_a_new_subscription_takes_the_place_of_the_former_one() -> None:
    second = START + 40 * DAY
    former = Life().at(START).pay(period(0)).at(second)
    former.end(second).at(second + DAY).pay(period(0, "sub_2", second))
    turned = Life().at(START).pay(period(0)).at(second + DAY)
    turned.pay(period(0, "sub_2", second)).end(second)
    assert former.buckets == turned.buckets == (200, 200, 5)
    assert former.account.due_at == turned.account.due_at == boundary(START, 2)  # rollover of the former one


@pytest.mark.parametrize("ended", [START, START + DAY, boundary(START, 1)])
@pytest.mark.parametrize("after", [timedelta(seconds=1), DAY, timedelta(days=90)])
def test_an_old_invoice_does_not_touch_the_plan_that_an_operator_set_since(ended: datetime, after: timedelta) -> None:
    """It is told again by the payment provider, or found by the nightly comparison."""
    life = Life().at(START).pay(period(0)).at(ended).end(ended).at(ended + after)
    change = start_plus(life.account, allowance=200, entitled_until=None, now=life.now)
    life._keep(change)
    before = life.account, list(life.entries)
    life.pay(period(0)).pay(period(1))
    assert (life.account, life.entries) == before
    assert life.account.plan is Plan.PLUS

    later = life.now + DAY
    assert life.at(later).pay(period(0, "sub_2", later)).account.subscription_id is None


def test_a_subscription_that_takes_over_leaves_rollover_to_its_own_boundary() -> None:
    """It began in the second month before: its own boundaries have passed since, and nothing of the operator's plan
    expires at them, or at any time before the subscription took over."""
    life = Life().at(START)
    life._keep(start_plus(life.account, allowance=200, entitled_until=None, now=START))
    began, ends, taken_over = START + 10 * DAY, boundary(START, 2) + 3 * DAY, boundary(START + 10 * DAY, 2)
    life.at(ends)
    life._keep(end_plus(life.account, ended_at=ends, now=ends))
    assert life.buckets == (0, 200, 5)
    due_at = life.account.due_at

    number = len(life.at(taken_over).entries)
    life.pay(period(2, "sub_1", began))

    assert (life.buckets, life.account.due_at, life.account.period) == ((200, 200, 5), due_at, 2)
    assert {entry.created_at for entry in life.entries[number:]} == {taken_over}
    life.at(boundary(START, 3))
    assert life.buckets == (200, 0, 5)
    life.at(boundary(began, 3))
    assert life.buckets == (0, 200, 5)


def test_rollover_that_lapsed_while_it_was_held_takes_no_room_from_a_month_that_is_paid_late() -> None:
    life = Life().at(START).pay(period(0)).at(boundary(START, 1))
    hold = a_hold("run_1", 205, life.now)
    life.account = place_hold(life.account, hold)
    life.at(boundary(START, 2))
    assert (life.buckets, life.account.lapsed) == ((0, 200, 5), 200)

    life.pay(period(1))
    assert life.buckets == (0, 400, 5)
    life._keep(drop_hold(life.account, "run_1", now=life.now))

    assert life.buckets == (0, 200, 5)


def test_every_order_of_late_news_ends_alike() -> None:
    """Two periods and an end, all told in the third month."""
    ended = boundary(START, 1) + 5 * DAY
    news = {
        "first": lambda life: life.pay(period(0)),
        "second": lambda life: life.pay(period(1)),
        "end": lambda life: life.end(ended),
        "first again": lambda life: life.pay(period(0)),
    }
    for months in (1, 2, 3):
        ends = set()
        for order in itertools.permutations(news):
            life = Life().at(boundary(START, months) + 10 * DAY)
            for name in order:
                news[name](life)
            life.at(boundary(START, months) + 11 * DAY)
            ends.add((life.buckets, life.account.plan, life.account.due_at))
        in_time = Life().at(START).pay(period(0)).at(boundary(START, 1)).pay(period(1)).at(ended).end(ended)
        in_time.at(boundary(START, months) + 11 * DAY)
        assert ends == {(in_time.buckets, in_time.account.plan, in_time.account.due_at)}, months


def test_periods_are_numbered_as_boundaries_are() -> None:
    for number in range(1, 40):
        at = boundary(START, number)
        assert period_number(START, at) == number
        assert period_number(START, at - timedelta(milliseconds=1)) == number - 1
    assert period_number(START, START - DAY) == 0


# --- descriptions -----------------------------------------------------------------------------------------------------


def described(
    status: str, second: int, *, ended: bool = False, name: str = "sub_1", start: datetime = START
) -> SubscriptionSnapshot:
    at = start + timedelta(seconds=second)
    return SubscriptionSnapshot(
        subscription_id=name,
        status=status,
        cancel_at_period_end=False,
        current_period_end=None,
        started_at=start,
        ended_at=at if ended else None,
        occurred_at=at,
        event_id=f"evt_{name}_{second}_{status}",
    )


def test_every_order_of_descriptions_ends_with_the_last_one() -> None:
    told = [
        described("incomplete", 0),
        described("active", 0),
        described("past_due", 5),
        described("canceled", 7, ended=True),
        described("active", 9),  # stale: nothing revives it
    ]
    for order in itertools.permutations(told):
        subscription = Subscription(user_id="alice")
        for each in order:
            subscription = subscription.updated_by(each)
        assert subscription.status == "canceled"
        assert set(subscription.ended) == {"sub_1"}


def test_a_former_subscription_does_not_replace_a_later_one() -> None:
    later = described("active", 0, name="sub_2", start=START + DAY)
    subscription = (
        Subscription(user_id="alice").updated_by(later).updated_by(described("canceled", 500_000, ended=True))
    )
    assert (subscription.described, subscription.is_active) == (later, True)


def test_two_of_one_second_are_a_tie() -> None:
    one, two = described("active", 0), described("past_due", 0)
    assert one.is_same_second(two)
    assert not one.is_same_second(described("past_due", 1))
    assert not one.is_same_second(described("canceled", 0, ended=True))
    assert two.ordered_after(one).rank > one.rank


def test_what_was_paid_for_within_the_second_in_which_it_was_made_is_not_incomplete() -> None:
    made, paid = described("incomplete", 0), described("active", 0)
    for order in ((made, paid), (paid, made)):
        subscription = Subscription(user_id="alice")
        for each in order:
            subscription = subscription.updated_by(each)
        assert subscription.status == "active"
