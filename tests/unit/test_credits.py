"""Buckets and what changes them."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.credits import Buckets, Deltas

COUNTS = st.integers(0, 1000)
CHANGES = st.integers(-1000, 1000)


@pytest.mark.parametrize(
    ("amount", "taken"),
    [
        (0, Deltas()),
        (1, Deltas(monthly=-1)),
        (3, Deltas(monthly=-3)),
        (4, Deltas(monthly=-3, rollover=-1)),
        (5, Deltas(monthly=-3, rollover=-2)),
        (6, Deltas(monthly=-3, rollover=-2, purchased=-1)),
        (9, Deltas(monthly=-3, rollover=-2, purchased=-4)),
    ],
)
def test_spends_monthly_then_rollover_then_purchased(amount: int, taken: Deltas) -> None:
    assert Buckets(monthly=3, rollover=2, purchased=4).draw_down(amount) == taken


def test_spends_rollover_before_purchased_when_there_is_nothing_monthly() -> None:
    assert Buckets(rollover=2, purchased=2).draw_down(3) == Deltas(rollover=-2, purchased=-1)


@pytest.mark.parametrize("amount", [-1, 10, 1000])
def test_what_is_not_there_cannot_be_drawn(amount: int) -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        Buckets(monthly=3, rollover=2, purchased=4).draw_down(amount)


@given(COUNTS, COUNTS, COUNTS, st.data())
def test_drawing_one_by_one_is_drawing_at_once(
    monthly: int, rollover: int, purchased: int, data: st.DataObject
) -> None:
    before = Buckets(monthly=monthly, rollover=rollover, purchased=purchased)
    amount = data.draw(st.integers(0, before.total))
    left = [monthly, rollover, purchased]
    for _ in range(amount):
        left[next(index for index, count in enumerate(left) if count)] -= 1

    assert before.plus(before.draw_down(amount)) == Buckets(monthly=left[0], rollover=left[1], purchased=left[2])


@pytest.mark.parametrize("bucket", ["monthly", "rollover", "purchased"])
def test_no_bucket_is_ever_negative(bucket: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        Buckets(**{bucket: -1})
    with pytest.raises(ValueError, match="negative"):
        Buckets(monthly=1, rollover=1, purchased=1).plus(Deltas(**{bucket: -2}))


def test_a_change_is_applied_to_each_bucket_on_its_own() -> None:
    after = Buckets(monthly=10, rollover=20, purchased=30).plus(Deltas(monthly=-1, rollover=2, purchased=-3))

    assert after == Buckets(monthly=9, rollover=22, purchased=27)


@given(CHANGES, CHANGES, CHANGES)
def test_totals_are_sums_and_a_change_can_be_turned_round(monthly: int, rollover: int, purchased: int) -> None:
    deltas = Deltas(monthly=monthly, rollover=rollover, purchased=purchased)

    assert deltas.total == monthly + rollover + purchased
    assert -deltas == Deltas(monthly=-monthly, rollover=-rollover, purchased=-purchased)
    assert Buckets(monthly=1000, rollover=1000, purchased=1000).plus(deltas).plus(-deltas).total == 3000


def test_buckets_and_deltas_cannot_be_changed() -> None:
    for value in (Buckets(), Deltas()):
        with pytest.raises(FrozenInstanceError):
            value.monthly = 5  # type: ignore[misc]
