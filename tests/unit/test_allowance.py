"""The allowance for runs without an answer: what it admits, what it counts, and how long one waits."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.adapters.prices import parse_prices
from playground.domain.account import Account, Plan, drop_hold, note_payment, open_account, place_hold
from playground.domain.allowance import Allowance, use_allowance
from playground.domain.pricing import PriceTableError
from tests.fakes import a_hold
from tests.kit.prices import EXAMPLE, EXAMPLE_DATA

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LIMIT = 20
NANO = 1_000_000_000
SMALL = Allowance(failed_runs_per_hour=5, unpaid_nano_per_day=NANO // 2, nano_per_credit=26_666_667)


def account(credits_: int = 5) -> Account:
    opened, _ = open_account("alice", NOW)
    return replace(opened, buckets=replace(opened.buckets, purchased=credits_))


def fail(before: Account, allowance: Allowance, cost_nano: int, at: datetime) -> Account:
    return use_allowance(before, allowance.use(cost_nano), at)


def test_so_many_runs_may_fail_an_hour_and_then_one_each_interval() -> None:
    failed, runs = account(), 0
    while SMALL.admits(failed, 1, limit=LIMIT, now=NOW):
        failed, runs = fail(failed, SMALL, 0, NOW), runs + 1

    assert runs == 5
    wait = SMALL.wait(failed, 1, NOW)
    assert wait == timedelta(minutes=12)
    assert not SMALL.admits(failed, 1, limit=LIMIT, now=NOW + wait - timedelta(milliseconds=1))
    assert SMALL.admits(failed, 1, limit=LIMIT, now=NOW + wait)
    assert not SMALL.admits(fail(failed, SMALL, 0, NOW + wait), 1, limit=LIMIT, now=NOW + wait)


def test_so_much_may_be_unpaid_a_day() -> None:
    """Each of the runs costs the most that its hold allows."""
    worst, many = 2 * SMALL.nano_per_credit, replace(SMALL, failed_runs_per_hour=1000)
    failed, cost = account(), 0
    while many.admits(failed, 2, limit=LIMIT, now=NOW):
        failed, cost = fail(failed, many, worst, NOW), cost + worst

    assert NANO // 2 - worst - many.unpaid_nano_per_day // 20 < cost <= NANO // 2
    assert many.admits(failed, 2, limit=LIMIT, now=NOW + many.wait(failed, 2, NOW))
    assert timedelta() < many.wait(failed, 2, NOW) < timedelta(hours=6)


def test_a_run_that_may_cost_more_than_a_day_is_admitted_alone_and_with_nothing_used() -> None:
    rich = account(1000)

    assert SMALL.admits(rich, 900, limit=LIMIT, now=NOW)
    assert not SMALL.admits(place_hold(rich, a_hold("run_1", 1, NOW)), 900, limit=LIMIT, now=NOW)
    assert not SMALL.admits(fail(rich, SMALL, 1, NOW), 900, limit=LIMIT, now=NOW)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["place", "fail", "settle"]),
            st.integers(1, 30),
            st.floats(0, 1),
            st.integers(0, 3_600_000),
        ),
        max_size=80,
    )
)
def test_neither_failures_nor_cost_ever_exceed_the_allowance(steps: list[tuple[str, int, float, int]]) -> None:
    """Whatever is open at the same time and however it ends: the level never exceeds what is allowed. A run that may
    cost more than all of it is admitted only alone, and is left out here."""
    now, alice = NOW, account(10_000)
    open_: list[str] = []
    for number, (what, ceiling, part, pause) in enumerate(steps):
        now += timedelta(milliseconds=pause)
        if what == "place":
            if ceiling <= 18 and SMALL.admits(alice, ceiling, limit=LIMIT, now=now):
                alice = place_hold(alice, a_hold(f"run_{number}", ceiling, now))
                open_.append(f"run_{number}")
        elif open_:
            run_id = open_.pop(0)
            worst = alice.holds[run_id].ceiling * SMALL.nano_per_credit
            alice, _ = drop_hold(alice, run_id, now=now)
            if what == "fail":
                alice = fail(alice, SMALL, int(worst * part), now)
        assert (alice.failures_at or now) - now <= 5 * SMALL.interval
        slack = timedelta(milliseconds=len(steps))  # every cost is rounded up to a millisecond
        assert (alice.unpaid_at or now) - now <= timedelta(days=1) + slack


def test_time_that_has_passed_is_not_saved_up() -> None:
    failed = fail(account(), SMALL, 1000, NOW)
    much_later = NOW + timedelta(days=30)

    assert fail(failed, SMALL, 0, much_later).failures_at == much_later + SMALL.interval


def test_what_was_paid_for_makes_the_allowance_larger_and_begins_it_anew() -> None:
    free = EXAMPLE.allowance(account())
    spent = fail(account(), free, NANO, NOW)
    assert not free.admits(spent, 1, limit=LIMIT, now=NOW)

    paid = note_payment(spent)

    assert (paid.failures_at, paid.unpaid_at) == (None, None)
    assert EXAMPLE.allowance(paid).unpaid_nano_per_day > free.unpaid_nano_per_day
    failed_again = fail(paid, free, NANO, NOW)
    assert note_payment(failed_again) == failed_again  # only the first payment forgives


def test_a_plan_of_an_operator_has_the_larger_allowance_while_it_lasts() -> None:
    assert EXAMPLE.allowance(replace(account(), plan=Plan.PLUS)) == EXAMPLE.allowance(note_payment(account()))


def test_more_credits_than_those_of_the_welcome_are_as_good_as_a_payment() -> None:
    """They were bought before payments were noted in the account, or an operator gave them."""
    assert EXAMPLE.allowance(account(6)) == EXAMPLE.allowance(note_payment(account()))
    assert EXAMPLE.allowance(account(5)) != EXAMPLE.allowance(account(6))


def test_a_hold_costs_us_at_most_what_the_allowance_takes_it_for() -> None:
    """The floor of prices: a ceiling is never less than what the provider bills at most."""
    allowance = EXAMPLE.allowance(account())
    for model in EXAMPLE.models.values():
        for prompt in (1, 5_000, 150_000):
            for output in (1, 512, 4096, 100_000):
                worst = model.cost_nano(model.most_expensive(prompt, output))
                assert worst <= EXAMPLE.ceiling(model, prompt, output) * allowance.nano_per_credit


@pytest.mark.parametrize(
    ("which", "name", "value", "told"),
    [
        ("free", "failed_runs_per_hour", 0, "failed_runs_per_hour must be 1..3600"),
        ("free", "unpaid_cents_per_day", 0, "unpaid_cents_per_day must be 1..1000000"),
        ("paying", "unpaid_cents_per_day", 1, "paying must not be less than free"),
        ("paying", "failed_runs_per_hour", 1.5, "whole numbers only"),
    ],
)
def test_a_table_without_proper_limits_is_refused(which: str, name: str, value: Any, told: str) -> None:
    data = copy.deepcopy(EXAMPLE_DATA)
    data["failure_limits"][which][name] = value

    with pytest.raises(PriceTableError, match=told):
        parse_prices(data)
