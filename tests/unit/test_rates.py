"""Rate limits: what they admit, what they count, and how long one waits."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.adapters.prices import load_prices, parse_prices
from playground.domain.account import Account, begin_plus, note_payment, open_account, start_plus
from playground.domain.pricing import PriceTableError
from playground.domain.rates import MAX_PER_MINUTE, MINUTE, RateLimit, RateLimits
from tests.kit.prices import EXAMPLE, EXAMPLE_DATA

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIVE = RateLimit(name="runs", per_minute=5)
LIMITS = RateLimits(runs_free=5, runs_paying=20, runs_organisation=100, purchases=3)
TABLE = replace(EXAMPLE, rate_limits=LIMITS)


def account() -> Account:
    return open_account("alice", NOW)[0]


def used(limit: RateLimit, requests: int, now: datetime = NOW) -> datetime | None:
    """The stamp after so many requests at once."""
    stamp: datetime | None = None
    for _ in range(requests):
        assert limit.admits(stamp, now)
        stamp = limit.after(stamp, now)
    return stamp


@given(per_minute=st.integers(1, 400))
def test_so_many_are_admitted_at_once_and_then_one_each_interval(per_minute: int) -> None:
    limit = RateLimit(name="runs", per_minute=per_minute)
    stamp = used(limit, per_minute)

    assert not limit.admits(stamp, NOW)
    wait = limit.wait(stamp, NOW)
    assert MINUTE / per_minute <= wait < MINUTE / per_minute + MILLISECOND
    assert not limit.admits(stamp, NOW + wait - MILLISECOND)
    assert limit.admits(stamp, NOW + wait)
    assert not limit.admits(limit.after(stamp, NOW + wait), NOW + wait)


@given(
    per_minute=st.integers(1, 30),
    pauses=st.lists(st.integers(0, 20_000), max_size=80),
)
def test_in_any_time_it_admits_the_limit_and_what_has_recovered(per_minute: int, pauses: list[int]) -> None:
    """However requests come: between any two that are admitted are at most as many as came back meanwhile, and the
    limit."""
    limit = RateLimit(name="runs", per_minute=per_minute)
    now, stamp, admitted = NOW, None, []
    for pause in pauses:
        now += pause * MILLISECOND
        if limit.admits(stamp, now):
            stamp = limit.after(stamp, now)
            admitted.append(now)

    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= per_minute + (end - start) / limit.interval


@given(
    per_minute=st.integers(1, 30),
    ahead=st.integers(0, 600_000),
    requests=st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=80),
)
def test_clocks_that_differ_admit_what_recovers_in_the_difference_and_no_more(
    per_minute: int, ahead: int, requests: list[tuple[int, bool]]
) -> None:
    """One worker's clock is ahead by `ahead`: that admits at most what recovers in that time, once; and nobody waits
    longer than by that much."""
    limit, skew = RateLimit(name="runs", per_minute=per_minute), ahead * MILLISECOND
    true, stamp, admitted = NOW, None, []
    for pause, fast in requests:
        true += pause * MILLISECOND
        now = true + skew if fast else true
        if limit.admits(stamp, now):
            stamp = limit.after(stamp, now)
            admitted.append(true)
        assert limit.wait(stamp, true) <= limit.interval + skew

    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= per_minute + (end - start + skew) / limit.interval


def test_a_refused_request_moves_nothing() -> None:
    stamp = used(FIVE, 5)
    for _ in range(100):
        assert not FIVE.admits(stamp, NOW)
    assert FIVE.wait(stamp, NOW) == timedelta(seconds=12)


@given(per_minute=st.integers(1, 50), requests=st.integers(0, 50), later=st.integers(0, 70_000))
def test_the_standing_is_what_would_be_admitted(per_minute: int, requests: int, later: int) -> None:
    limit = RateLimit(name="runs", per_minute=per_minute)
    stamp = used(limit, min(requests, per_minute))
    now = NOW + later * MILLISECOND

    standing = limit.standing(stamp, now)

    more = stamp
    for _ in range(standing.remaining):
        assert limit.admits(more, now)
        more = limit.after(more, now)
    assert not limit.admits(more, now)
    soon = limit.standing(stamp, now + timedelta(seconds=standing.seconds))
    assert soon.remaining > standing.remaining or standing.remaining == per_minute
    assert (standing.seconds == 0) is (standing.remaining == per_minute)
    if standing.remaining == 0:
        assert standing.seconds == -(-limit.wait(stamp, now) // timedelta(seconds=1))


def test_a_change_of_the_limit_needs_no_reset() -> None:
    """Whoever has used up the small limit waits for one of the larger limit's intervals; and the other way around."""
    paying, organisation = RateLimit(name="runs", per_minute=20), RateLimit(name="runs", per_minute=100)
    assert paying.wait(used(FIVE, 5), NOW) == timedelta(seconds=3)
    assert FIVE.wait(used(organisation, 100), NOW) == timedelta(seconds=12)


def test_a_limit_depends_on_what_the_account_is() -> None:
    free = account()
    granted, _ = start_plus(free, allowance=200, entitled_until=None, now=NOW)
    subscribed = begin_plus(free, anchor=NOW, allowance=200, subscription_id="sub_1")
    found = [TABLE.run_limit(each).per_minute for each in (free, note_payment(free), subscribed, granted)]

    assert found == [5, 20, 20, 100]
    assert TABLE.purchase_limit == RateLimit(name="purchases", per_minute=3)


def test_a_factor_multiplies_all_limits() -> None:
    assert TABLE.with_rate_limits_times(2).rate_limits == RateLimits(
        runs_free=10, runs_paying=40, runs_organisation=200, purchases=6
    )
    assert TABLE.with_rate_limits_times(1) == TABLE
    huge = TABLE.with_rate_limits_times(10_000)
    assert huge.run_limit(start_plus(account(), allowance=1, entitled_until=None, now=NOW)[0]).interval == MILLISECOND


def changed(**runs: int) -> dict[str, Any]:
    limits = {"runs_per_minute": {"free": 5, "paying": 20, "organisation": 100} | runs, "purchases_per_minute": 3}
    return EXAMPLE_DATA | {"rate_limits": limits}


@pytest.mark.parametrize(
    "data",
    [
        changed(free=0),
        changed(free=21),
        changed(organisation=19),
        changed(organisation=MAX_PER_MINUTE + 1),
        changed(guests=5),
        EXAMPLE_DATA | {"rate_limits": {}},
        EXAMPLE_DATA | {"rate_limits": {**changed()["rate_limits"], "purchases_per_minute": 0}},
    ],
)
def test_impossible_limits_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(PriceTableError):
        parse_prices(data)


def test_a_table_without_limits_checks_receipts_and_runs_nothing(tmp_path: Path) -> None:
    data = {name: value for name, value in EXAMPLE_DATA.items() if name != "rate_limits"}
    old = parse_prices(data)
    assert old.price(old.models["sonnet"], EXAMPLE.models["sonnet"].most_expensive(1, 1)).credits == 1
    with pytest.raises(PriceTableError):
        old.run_limit(account())
    with pytest.raises(PriceTableError):
        _ = old.purchase_limit
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PriceTableError):
        load_prices(path)
