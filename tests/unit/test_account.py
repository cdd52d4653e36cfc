"""What may happen to an account, by example. The rules for any order of events are in property/."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playground.domain.account import (
    LEASE_MARGIN,
    SIGNUP_CREDITS,
    Account,
    Hold,
    Plan,
    as_of,
    cross_boundary,
    drop_hold,
    ending_at,
    grant,
    open_account,
    overdue_change,
    place_hold,
    settle,
    start_plus,
    without_dead_holds,
)
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import GENESIS, Entry, EntryType
from tests.support import check_invariants

NOW = datetime(2027, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
FEBRUARY = datetime(2027, 2, 28, 12, 0, 0, 123_000, tzinfo=UTC)
MARCH = datetime(2027, 3, 31, 12, 0, 0, 123_000, tzinfo=UTC)
APRIL = datetime(2027, 4, 30, 12, 0, 0, 123_000, tzinfo=UTC)


def a_hold(run_id: str = "run_1", ceiling: int = 3, lease_at: datetime = NOW + timedelta(minutes=30)) -> Hold:
    return Hold(
        run_id=run_id,
        nonce=f"try_{run_id}",
        ceiling=ceiling,
        lease_at=lease_at,
        request_hash="hash",
        session_id="ses_1",
        model="sonnet",
        placed_at=NOW,
    )


def an_account(*, monthly: int = 0, rollover: int = 0, purchased: int = 0, **more: Any) -> Account:
    buckets = Buckets(monthly=monthly, rollover=rollover, purchased=purchased)
    return replace(Account(user_id="alice", created_at=NOW, buckets=buckets), **more)


def a_plus_account(
    *, monthly: int, rollover: int = 0, purchased: int = 5, until: datetime | None = None, held: int = 0
) -> Account:
    account = an_account(
        monthly=monthly,
        rollover=rollover,
        purchased=purchased,
        plan=Plan.PLUS,
        allowance=200,
        anchor=NOW,
        due_at=FEBRUARY,
        entitled_until=until,
    )
    return place_hold(account, a_hold(ceiling=held)) if held else account


def dropped(account: Account, run_id: str) -> Account:
    """The account after a hold that is given back without an entry."""
    account, entries = drop_hold(account, run_id, now=NOW)
    assert not entries
    return account


def lines(entries: tuple[Entry, ...]) -> list[tuple[str, Deltas]]:
    return [(entry.type.value, entry.deltas) for entry in entries]


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_new_account_has_its_signup_credits() -> None:
    account, entries = open_account("alice", NOW)

    assert account.buckets == Buckets(purchased=5)
    assert SIGNUP_CREDITS == 5
    assert (account.plan, account.allowance, account.due_at, account.debt) == (Plan.FREE, 0, None, 0)
    assert (account.balance, account.available, account.held, account.version) == (5, 5, 0, 1)
    [entry] = entries
    assert (entry.type, entry.business_key, entry.seq, entry.previous_hash) == (EntryType.SIGNUP, "signup", 1, GENESIS)
    assert (entry.amount, entry.balance_before, entry.balance_after, entry.created_at) == (5, 0, 5, NOW)
    check_invariants(account, entries)


def test_two_users_never_share_a_chain() -> None:
    (alice, _), (bob, _) = open_account("alice", NOW), open_account("bob", NOW)

    assert alice.last_hash != bob.last_hash


# --- holds ------------------------------------------------------------------------------------------------------------


def test_a_hold_is_not_spent_but_not_available_either() -> None:
    account = place_hold(an_account(monthly=10), a_hold(ceiling=4))

    assert (account.balance, account.held, account.available, account.version) == (10, 4, 6, 0)
    assert account.holds == {"run_1": a_hold(ceiling=4)}


def test_everything_that_is_available_can_be_held_and_not_one_more() -> None:
    account = place_hold(an_account(monthly=5, purchased=5), a_hold("run_1", 4))

    assert place_hold(account, a_hold("run_2", 6)).available == 0
    with pytest.raises(ValueError, match="available -1"):
        place_hold(account, a_hold("run_2", 7))


def test_a_run_is_held_once() -> None:
    account = place_hold(an_account(monthly=10), a_hold())

    with pytest.raises(ValueError, match="run_1 is held already"):
        place_hold(account, replace(a_hold(), nonce="try_2"))


@pytest.mark.parametrize("ceiling", [0, -1])
def test_a_hold_holds_something(ceiling: int) -> None:
    with pytest.raises(ValueError, match="a hold must be"):
        a_hold(ceiling=ceiling)


def test_dropping_a_hold_gives_all_of_it_back_and_writes_nothing() -> None:
    before = an_account(monthly=10)
    held = place_hold(place_hold(before, a_hold("run_1", 4)), a_hold("run_2", 3))

    assert dropped(held, "run_2") == place_hold(before, a_hold("run_1", 4))
    assert dropped(dropped(held, "run_1"), "run_2") == before
    with pytest.raises(KeyError):
        drop_hold(held, "run_3", now=NOW)


def test_earlier_accounts_do_not_change() -> None:
    before = an_account(monthly=10)
    held = place_hold(before, a_hold())
    drop_hold(held, "run_1", now=NOW)

    assert (before.holds, before.held) == ({}, 0)
    assert (set(held.holds), held.held) == ({"run_1"}, 3)


def test_a_hold_is_dead_from_the_moment_at_which_its_lease_ends() -> None:
    account = place_hold(an_account(monthly=10), a_hold("run_1", lease_at=NOW))
    account = place_hold(account, a_hold("run_2", lease_at=NOW + timedelta(milliseconds=1)))

    assert account.dead_holds(NOW - timedelta(milliseconds=1)) == ()
    assert [hold.run_id for hold in account.dead_holds(NOW)] == ["run_1"]
    assert [hold.run_id for hold in account.dead_holds(NOW + timedelta(milliseconds=1))] == ["run_1", "run_2"]


def test_a_lease_outlasts_clocks_that_are_ten_minutes_off_in_both_directions() -> None:
    assert timedelta(minutes=20) < LEASE_MARGIN


@pytest.mark.parametrize(
    "wrong", [{"held": 1}, {"held": -1}, {"debt": -1}, {"held": 3}, {"holds": {"run_1": a_hold()}}]
)
def test_an_account_that_does_not_add_up_does_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"negative|not the sum"):
        an_account(monthly=2, **wrong)


# --- settling ---------------------------------------------------------------------------------------------------------


def test_settling_spends_the_cost_and_gives_the_rest_back() -> None:
    account = place_hold(an_account(monthly=10), a_hold(ceiling=4))

    after, [entry] = settle(account, "run_1", 3, reason="Run of @acme/tidy", now=NOW)

    assert (after.balance, after.held, after.available, after.holds, after.version) == (7, 0, 7, {}, 1)
    assert (entry.type, entry.business_key, entry.amount) == (EntryType.SPEND, "run:run_1", -3)
    assert (entry.run_id, entry.session_id, entry.reason, entry.created_at) == (
        "run_1",
        "ses_1",
        "Run of @acme/tidy",
        NOW,
    )


def test_settling_draws_from_the_buckets_in_order() -> None:
    account = place_hold(an_account(monthly=1, rollover=2, purchased=5), a_hold(ceiling=6))

    after, [entry] = settle(account, "run_1", 5, reason="", now=NOW)

    assert entry.deltas == Deltas(monthly=-1, rollover=-2, purchased=-2)
    assert after.buckets == Buckets(purchased=3)


def test_the_split_is_made_from_the_buckets_at_the_end_not_at_the_hold() -> None:
    """A boundary between hold and settlement moves credits; what is spent comes from where they are then."""
    account = place_hold(a_plus_account(monthly=150, purchased=0), a_hold(ceiling=100))
    account, _ = cross_boundary(account)
    assert account.buckets == Buckets(monthly=200, rollover=150)

    _, [entry] = settle(account, "run_1", 100, reason="", now=FEBRUARY)

    assert entry.deltas == Deltas(monthly=-100)


def test_settling_one_run_leaves_the_hold_of_another() -> None:
    account = place_hold(place_hold(an_account(monthly=10), a_hold("run_1", 4)), a_hold("run_2", 6))

    after, _ = settle(account, "run_1", 4, reason="", now=NOW)

    assert (after.held, after.available, set(after.holds)) == (6, 0, {"run_2"})


@pytest.mark.parametrize("cost", [-1, 0, 5, 1000])
def test_a_run_is_charged_at_most_its_hold_and_at_least_one_credit(cost: int) -> None:
    account = place_hold(an_account(monthly=100), a_hold(ceiling=4))

    with pytest.raises(ValueError, match="cannot cost"):
        settle(account, "run_1", cost, reason="", now=NOW)


def test_a_run_is_settled_once() -> None:
    account = place_hold(an_account(monthly=10), a_hold())
    after, _ = settle(account, "run_1", 1, reason="", now=NOW)

    with pytest.raises(KeyError):
        settle(after, "run_1", 1, reason="", now=NOW)


# --- debt -------------------------------------------------------------------------------------------------------------


def test_what_a_run_gives_back_repays_debt() -> None:
    """5 + 100 credits, a run holds 24, the pack is refunded, the run costs 3: as if it had cost 3 before the refund."""
    account = place_hold(an_account(purchased=24, debt=19), a_hold("run_1", 24))

    after, entries = settle(account, "run_1", 3, reason="", now=NOW)

    assert lines(entries) == [("debt", Deltas(purchased=-19)), ("spend", Deltas(purchased=-3))]
    assert (after.buckets, after.debt, entries[-1].balance_after) == (Buckets(purchased=2), 0, 2)


def test_debt_is_not_repaid_from_what_the_run_spends() -> None:
    account = place_hold(an_account(purchased=24, debt=19), a_hold("run_1", 24))

    after, entries = settle(account, "run_1", 10, reason="", now=NOW)

    assert lines(entries) == [("debt", Deltas(purchased=-14)), ("spend", Deltas(purchased=-10))]
    assert (after.buckets, after.debt) == (Buckets(), 5)


def test_a_hold_that_is_given_back_repays_debt_as_far_as_it_goes() -> None:
    account = place_hold(place_hold(an_account(purchased=24, debt=19), a_hold("run_1", 10)), a_hold("run_2", 14))

    after, entries = drop_hold(account, "run_1", now=NOW)

    assert lines(entries) == [("debt", Deltas(purchased=-10))]
    assert (after.buckets, after.debt, after.available) == (Buckets(purchased=14), 9, 0)
    again, more = drop_hold(after, "run_2", now=NOW)
    assert (again.buckets, again.debt) == (Buckets(purchased=5), 0)
    assert len({entry.business_key for entry in (*entries, *more)}) == 2


def test_a_month_is_not_touched_by_debt() -> None:
    account = place_hold(an_account(monthly=50, debt=19), a_hold("run_1", 24))

    after, entries = settle(account, "run_1", 3, reason="", now=NOW)

    assert lines(entries) == [("spend", Deltas(monthly=-3))]
    assert (after.buckets, after.debt) == (Buckets(monthly=47), 19)


def test_a_month_that_frees_purchased_credits_repays_debt_from_them() -> None:
    """The hold can be paid by the month now, so that it keeps nothing of *purchased* back."""
    account = replace(a_plus_account(monthly=0, purchased=24, held=24), debt=19)

    after, entries = cross_boundary(account)

    assert lines(entries) == [("monthly", Deltas(monthly=200)), ("debt", Deltas(purchased=-19))]
    assert (after.buckets, after.debt, after.available) == (Buckets(monthly=200, purchased=5), 0, 181)


def test_an_account_that_an_earlier_version_left_with_credits_beside_debt_repays_it() -> None:
    account = an_account(purchased=21, debt=19)

    after = as_of(account, "alice", NOW)

    assert (after.buckets, after.debt) == (Buckets(purchased=2), 0)
    assert overdue_change(after, NOW) is None


def test_dead_holds_are_counted_as_the_ledger_will_have_them() -> None:
    dead = a_hold("run_1", 24, lease_at=NOW)
    account = without_dead_holds(place_hold(an_account(purchased=24, debt=19), dead), NOW)

    assert (account.available, account.debt) == (5, 0)


# --- grants -----------------------------------------------------------------------------------------------------------


def test_a_grant_is_purchased_and_never_expires() -> None:
    account, _ = open_account("alice", NOW)

    after, entry = grant(
        account, 100, type_=EntryType.BONUS, business_key="bonus#support-1", reason="Sorry for the outage", now=NOW
    )

    assert after.buckets == Buckets(purchased=105)
    assert (entry.type, entry.deltas, entry.business_key) == (
        EntryType.BONUS,
        Deltas(purchased=100),
        "bonus#support-1",
    )
    assert (entry.seq, entry.previous_hash) == (2, account.last_hash)


@pytest.mark.parametrize("credits_", [0, -1])
def test_a_grant_grants_something(credits_: int) -> None:
    with pytest.raises(ValueError, match="a grant must be"):
        grant(an_account(), credits_, type_=EntryType.BONUS, business_key="b", reason="", now=NOW)


# --- plan and boundaries ----------------------------------------------------------------------------------------------


def test_the_plan_begins_with_an_allowance_and_a_boundary_a_month_later() -> None:
    account, first = open_account("alice", NOW - timedelta(days=3))

    account, entries = start_plus(account, allowance=200, entitled_until=None, now=NOW)

    assert account.buckets == Buckets(monthly=200, purchased=5)
    assert (account.plan, account.allowance, account.anchor, account.period) == (Plan.PLUS, 200, NOW, 0)
    assert account.due_at == FEBRUARY
    assert lines(entries) == [("monthly", Deltas(monthly=200))]
    check_invariants(account, first + entries)


def test_a_boundary_is_due_from_its_own_moment() -> None:
    account = a_plus_account(monthly=1)

    assert not account.is_due(FEBRUARY - timedelta(milliseconds=1))
    assert account.is_due(FEBRUARY)
    assert not an_account().is_due(FEBRUARY + timedelta(days=10_000))


def test_unused_credits_of_the_month_roll_over_and_the_month_is_granted_again() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=120))

    assert after.buckets == Buckets(monthly=200, rollover=120, purchased=5)
    assert lines(entries) == [
        ("rollover", Deltas(monthly=-120, rollover=120)),
        ("monthly", Deltas(monthly=200)),
    ]
    assert {entry.created_at for entry in entries} == {FEBRUARY}
    assert (after.period, after.due_at, after.plan) == (1, MARCH, Plan.PLUS)


def test_rollover_lives_for_one_month() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=30, rollover=70))

    assert after.buckets == Buckets(monthly=200, rollover=30, purchased=5)
    assert lines(entries)[0] == ("expire", Deltas(rollover=-70))


def test_a_month_that_was_used_up_leaves_nothing_to_roll_over() -> None:
    _, entries = cross_boundary(a_plus_account(monthly=0))

    assert lines(entries) == [("monthly", Deltas(monthly=200))]


def test_rollover_is_at_most_one_allowance() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=350))

    assert after.buckets == Buckets(monthly=200, rollover=200, purchased=5)
    assert lines(entries) == [
        ("expire", Deltas(monthly=-150)),
        ("rollover", Deltas(monthly=-200, rollover=200)),
        ("monthly", Deltas(monthly=200)),
    ]


def test_what_is_held_does_not_expire() -> None:
    account = a_plus_account(monthly=0, rollover=70, purchased=0, held=60)

    after, entries = cross_boundary(account)

    assert lines(entries)[0] == ("expire", Deltas(rollover=-10))
    assert after.buckets == Buckets(monthly=200, rollover=60)
    assert (after.held, after.available) == (60, 200)


def test_what_was_held_over_a_boundary_expires_when_it_is_given_back() -> None:
    account, _ = cross_boundary(a_plus_account(monthly=0, rollover=70, purchased=0, held=60))
    assert account.lapsed == 60

    after, entries = drop_hold(account, "run_1", now=FEBRUARY)

    assert lines(entries) == [("expire", Deltas(rollover=-60))]
    assert (after.buckets, after.held, after.lapsed) == (Buckets(monthly=200), 0, 0)


@pytest.mark.parametrize(
    ("cost", "expired", "left"),
    [
        (1, 59, Buckets(monthly=199, rollover=1)),
        (20, 40, Buckets(monthly=180, rollover=20)),
        (60, 0, Buckets(monthly=140, rollover=60)),
    ],
)
def test_what_a_run_spends_over_a_boundary_does_not_expire(cost: int, expired: int, left: Buckets) -> None:
    """The user has as much as if the run had ended before the boundary: the 200 of the new month."""
    account, _ = cross_boundary(a_plus_account(monthly=0, rollover=60, purchased=0, held=60))

    after, entries = settle(account, "run_1", cost, reason="", now=FEBRUARY)

    assert -sum(entry.amount for entry in entries if entry.type is EntryType.EXPIRE) == expired
    assert (entries[-1].type, entries[-1].balance_after) == (EntryType.SPEND, after.balance)
    assert (after.buckets, after.balance, after.lapsed) == (left, 200, 0)


def test_what_lapsed_expires_from_what_several_holds_give_back() -> None:
    account = place_hold(a_plus_account(monthly=0, rollover=70, purchased=0, held=40), a_hold("run_2", 30))
    account, _ = cross_boundary(account)

    once, first = drop_hold(account, "run_1", now=FEBRUARY)
    twice, second = settle(once, "run_2", 10, reason="", now=FEBRUARY)

    assert (lines(first), once.lapsed) == ([("expire", Deltas(rollover=-40))], 30)
    assert lines(second) == [("expire", Deltas(rollover=-20)), ("spend", Deltas(monthly=-10))]
    assert (twice.buckets, twice.lapsed) == (Buckets(monthly=190, rollover=10), 0)
    keys = [entry.business_key for entry in (*first, *second)]
    assert len(set(keys)) == len(keys)


def test_purchased_credits_do_not_expire_for_rollover_that_a_run_has_spent() -> None:
    """250 are held: 200 of rollover, 50 of purchased. 150 are spent from rollover; only 50 of it are left to expire."""
    account, _ = cross_boundary(a_plus_account(monthly=0, rollover=200, purchased=50, held=250))
    account = replace(account, buckets=replace(account.buckets, monthly=0))

    after, entries = settle(account, "run_1", 150, reason="", now=FEBRUARY)

    assert lines(entries) == [("expire", Deltas(rollover=-50)), ("spend", Deltas(rollover=-150))]
    assert after.buckets == Buckets(purchased=50)


def test_what_is_held_over_two_boundaries_lapses_once() -> None:
    account, _ = cross_boundary(a_plus_account(monthly=0, rollover=60, purchased=0, held=60))
    account, _ = cross_boundary(account)

    assert (account.buckets, account.lapsed) == (Buckets(monthly=200, rollover=200), 0)  # others cover the hold now
    assert dropped(account, "run_1").buckets == account.buckets


def test_a_hold_that_other_credits_cover_does_not_keep_rollover_alive() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=0, rollover=70, purchased=100, held=60))

    assert lines(entries)[0] == ("expire", Deltas(rollover=-70))
    assert after.buckets.purchased == 100


def test_what_is_held_beyond_the_rollover_limit_rolls_over_too() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=300, purchased=0, held=250))

    assert lines(entries)[:2] == [("expire", Deltas(monthly=-50)), ("rollover", Deltas(monthly=-250, rollover=250))]
    assert (after.available, after.lapsed) == (200, 50)
    assert drop_hold(after, "run_1", now=FEBRUARY)[0].buckets == Buckets(monthly=200, rollover=200)


def test_a_plan_that_is_paid_until_the_boundary_is_over_at_the_boundary() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=120, until=FEBRUARY))

    assert lines(entries) == [("rollover", Deltas(monthly=-120, rollover=120))]
    assert (after.plan, after.allowance, after.buckets) == (Plan.FREE, 0, Buckets(rollover=120, purchased=5))
    assert after.due_at == MARCH  # for the rollover to expire


def test_the_next_reset_is_answered_only_if_there_is_one() -> None:
    assert an_account().resets_at is None
    assert a_plus_account(monthly=9).resets_at == FEBRUARY
    assert a_plus_account(monthly=9, until=FEBRUARY + timedelta(days=1)).resets_at == FEBRUARY
    assert a_plus_account(monthly=9, until=FEBRUARY).resets_at is None
    over, _ = cross_boundary(a_plus_account(monthly=9, until=FEBRUARY))
    assert (over.resets_at, over.due_at) == (None, MARCH)  # then rollover expires, and nothing comes
    of_an_earlier_plan = replace(a_plus_account(monthly=9, rollover=9), due_at=FEBRUARY - timedelta(days=3))
    assert of_an_earlier_plan.resets_at == FEBRUARY


def test_a_plan_that_is_paid_beyond_the_boundary_goes_on() -> None:
    after, _ = cross_boundary(a_plus_account(monthly=0, until=FEBRUARY + timedelta(milliseconds=1)))

    assert (after.plan, after.allowance, after.buckets.monthly) == (Plan.PLUS, 200, 200)
    assert after.due_at == FEBRUARY + timedelta(milliseconds=1)


def test_a_plan_that_an_operator_ends_within_a_month_ends_there() -> None:
    """What is unused of the month is removed; rollover lives to its own expiry."""
    middle = FEBRUARY + timedelta(days=10)
    account, _ = cross_boundary(a_plus_account(monthly=120, until=middle))
    assert (account.due_at, account.resets_at) == (middle, None)

    ended, entries = cross_boundary(account)
    assert lines(entries) == [("expire", Deltas(monthly=-200))]
    assert entries[0].created_at == middle
    assert (ended.plan, ended.allowance, ended.due_at) == (Plan.FREE, 0, MARCH)
    assert ended.buckets == Buckets(rollover=120, purchased=5)

    over, entries = cross_boundary(ended)
    assert lines(entries) == [("expire", Deltas(rollover=-120))]
    assert (over.due_at, over.buckets) == (None, Buckets(purchased=5))


def test_what_is_held_when_a_plan_ends_within_a_month_goes_at_its_boundary() -> None:
    middle = NOW + timedelta(days=10)
    account = replace(a_plus_account(monthly=200, purchased=0, held=80, until=middle), due_at=middle)
    ended, entries = cross_boundary(account)
    assert (lines(entries), ended.due_at) == ([("expire", Deltas(monthly=-120))], FEBRUARY)
    assert (ended.buckets.monthly, ended.available) == (80, 0)


def test_an_end_that_is_moved_is_due_where_it_is_now() -> None:
    account, _ = start_plus(open_account("alice", NOW)[0], allowance=200, entitled_until=None, now=NOW)
    assert account.due_at == FEBRUARY
    middle = NOW + timedelta(days=10)
    sooner = ending_at(account, middle)
    assert (sooner.entitled_until, sooner.due_at) == (middle, middle)
    later = ending_at(sooner, NOW + timedelta(days=500))
    assert (later.due_at, ending_at(sooner, None).due_at) == (FEBRUARY, FEBRUARY)


def test_a_plan_gives_what_it_gave_when_it_began() -> None:
    account, _ = start_plus(open_account("alice", NOW)[0], allowance=400, entitled_until=None, now=NOW)
    account, _ = cross_boundary(account)
    assert account.buckets == Buckets(monthly=400, rollover=400, purchased=5)
    with pytest.raises(ValueError, match="a plan must give"):
        start_plus(account, allowance=0, entitled_until=None, now=NOW)


def test_after_the_plan_rollover_lives_to_its_own_expiry_and_purchased_stays() -> None:
    account, _ = cross_boundary(a_plus_account(monthly=120, until=FEBRUARY))

    after, entries = cross_boundary(account)

    assert lines(entries) == [("expire", Deltas(rollover=-120))]
    assert (after.buckets, after.due_at) == (Buckets(purchased=5), None)


def test_rollover_that_is_held_when_it_should_end_keeps_a_boundary_ahead() -> None:
    account, _ = cross_boundary(a_plus_account(monthly=120, purchased=0, until=FEBRUARY))
    account = place_hold(account, a_hold("run_2", 20))
    account, _ = cross_boundary(account)
    assert (account.buckets.rollover, account.due_at) == (20, APRIL)

    given_back, _ = drop_hold(account, "run_2", now=APRIL - timedelta(days=1))
    assert (given_back.buckets, given_back.due_at) == (Buckets(), APRIL)
    assert cross_boundary(given_back)[0].due_at is None


def test_a_plan_that_ends_with_nothing_left_has_no_boundary_ahead() -> None:
    after, entries = cross_boundary(a_plus_account(monthly=0, until=FEBRUARY))

    assert (entries, after.due_at, after.plan) == ((), None, Plan.FREE)
    with pytest.raises(ValueError, match="no monthly boundary"):
        cross_boundary(after)


def test_a_year_of_missed_boundaries_is_the_same_as_twelve_nights_of_work() -> None:
    account, entries = open_account("alice", NOW)
    account, more = start_plus(account, allowance=200, entitled_until=None, now=NOW)
    entries += more
    due = []
    while account.is_due(NOW + timedelta(days=365)):
        due.append(account.due_at)
        account, more = cross_boundary(account)
        entries += more

    check_invariants(account, entries)
    assert account.buckets == Buckets(monthly=200, rollover=200, purchased=5)
    assert [(moment.month, moment.day) for moment in due if moment is not None] == [
        (2, 28),
        (3, 31),
        (4, 30),
        (5, 31),
        (6, 30),
        (7, 31),
        (8, 31),
        (9, 30),
        (10, 31),
        (11, 30),
        (12, 31),
        (1, 31),
    ]


def test_a_plan_that_begins_again_has_keys_of_its_own() -> None:
    """Its periods are numbered from 0 again; without the anchor in the key a new month could look like an old one."""
    account, entries = open_account("alice", NOW)
    for begun in (NOW, NOW + timedelta(milliseconds=1)):
        account, more = start_plus(account, allowance=200, entitled_until=None, now=begun)
        entries += more
        account, more = cross_boundary(account)
        entries += more

    check_invariants(account, entries)
