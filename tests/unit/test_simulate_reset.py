"""A small one of `make simulate-reset`, and that it would notice."""

import sys
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from playground.domain.account import Account, Change, cross_boundary
from tests import fakes, simulate_reset
from tests.simulate_reset import WrongError, report, simulate


@pytest.fixture(autouse=True)
def unlucky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few accounts meet what a million would."""
    monkeypatch.setattr(simulate_reset, "DAMAGED_EVERY", 1_000)
    monkeypatch.setattr(simulate_reset, "TWICE", 0.05)
    monkeypatch.setattr(simulate_reset, "DIES", 0.1)


@pytest.mark.parametrize("spread", [0, 3600])
def test_every_account_crosses_its_boundaries_once_whatever_comes_twice_or_dies(spread: float) -> None:
    """Also with damaged accounts among them, which end as dead letters and hold nobody up."""
    night = simulate(2_000, spread, seed=1)
    assert night.advanced == 1_998
    assert {number % 1_000 for number in night.dead_letters} == {999}
    assert night.repeats > 50
    assert night.most_links == 3
    assert max(night.units.values()) < simulate_reset.NEW_TABLE_UNITS
    assert max(map(len, report(night, 1.0))) <= 80


def test_an_account_that_nobody_visits_takes_a_few_bytes() -> None:
    """A byte, its shard and its place in the index; its message takes four more. So a million fit into 100 MB."""
    night = simulate(2_000, 0, seed=1)
    assert not any((night.ledger._accounts, night.ledger._entries, night.ledger._keys, night.ledger._runs))
    stored = [night.accounts.advanced, night._shard, *chain.from_iterable(night._index)]
    assert sum(map(sys.getsizeof, stored)) / 2_000 < 16


def test_a_night_that_is_longer_than_an_hour_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walks of the next hour queue once more who is not done, and nobody is advanced twice."""
    pace = simulate_reset.pace_of_the_template()
    monkeypatch.setattr(simulate_reset, "pace_of_the_template", lambda: replace(pace, workers=1))
    monkeypatch.setattr(simulate_reset, "ADVANCE_SECONDS", 2.0)  # so that a batch is within the function's 120 s
    night = simulate(2_000, 0, seed=1)
    assert night.advanced == 1_998
    assert night.invocations["schedule"] > 1
    assert night.last_at > 3_600
    assert night.repeats < night.invocations["schedule"] * 2_000


def test_a_boundary_that_is_crossed_again_by_a_repeat_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(account: Account, now: Any) -> Change | None:
        return cross_boundary(account) if account.buckets.rollover == 0 or account.version % 7 == 0 else None

    monkeypatch.setattr(fakes, "overdue_change", twice)
    with pytest.raises(WrongError):
        simulate(1_000, 0, seed=1)


def test_a_month_that_is_not_granted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(account: Account, now: Any) -> Change | None:
        if account.due_at is None or account.due_at > now:
            return None
        after, entries = cross_boundary(account)
        return replace(after, buckets=replace(after.buckets, monthly=0)), entries

    monkeypatch.setattr(fakes, "overdue_change", without)
    with pytest.raises(WrongError):
        simulate(100, 0, seed=1)
