"""Purchases, refunds, disputes and debt, in numbers."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.account import Account, Hold, open_account, place_hold
from playground.domain.entries import Entry, EntryType
from playground.domain.purchases import Claim, Purchase, PurchaseState, Stage, book_purchase
from tests.support import check_invariants

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def a_purchase(credits_: int = 100, amount: int = 500, **fields: object) -> Purchase:
    purchase = Purchase(
        purchase_id="pur_1",
        user_id="alice",
        pack="small",
        credits=credits_,
        amount=amount,
        currency="usd",
        live=False,
        price_version="1",
        created_at=NOW,
    )
    return replace(purchase, **fields)  # type: ignore[arg-type]


def paid(purchase: Purchase) -> Purchase:
    return purchase.reached(PurchaseState.PAID, NOW)


class Books:
    """An account with its entries."""

    def __init__(self) -> None:
        self.account, entries = open_account("alice", NOW)
        self.entries: list[Entry] = list(entries)

    def book(self, purchase: Purchase) -> Purchase:
        purchase, (self.account, entries) = book_purchase(self.account, purchase, now=NOW)
        self.entries += entries
        check_invariants(self.account, self.entries)
        return purchase

    def lines(self) -> list[tuple[EntryType, int]]:
        return [(entry.type, entry.amount) for entry in self.entries[1:]]


def hold(account: Account, credits_: int) -> Account:
    placed = Hold(
        run_id="run_1",
        nonce="try_1",
        ceiling=credits_,
        lease_at=NOW + timedelta(hours=1),
        request_hash="-",
        session_id="ses_1",
        model="haiku",
        placed_at=NOW,
    )
    return place_hold(account, placed)


def test_an_unpaid_purchase_moves_nothing() -> None:
    books = Books()
    for state in (PurchaseState.OPEN, PurchaseState.FAILED, PurchaseState.CANCELED):
        books.book(replace(a_purchase(), state=state, refunded=500))
    assert books.lines() == []


def test_a_paid_one_is_granted_once() -> None:
    books = Books()
    once = books.book(paid(a_purchase()))
    assert books.book(once) == once
    assert books.lines() == [(EntryType.PURCHASE, 100)]


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ("paid", "failed", "paid"),
        ("paid", "canceled", "paid"),
        ("failed", "paid", "paid"),
        ("canceled", "open", "canceled"),
    ],
)
def test_states_only_rise(before: str, after: str, state: str) -> None:
    purchase = a_purchase().reached(PurchaseState(before), NOW).reached(PurchaseState(after), NOW)
    assert purchase.state is PurchaseState(state)


@pytest.mark.parametrize(
    ("refunded", "due"), [(0, 0), (1, 1), (5, 1), (6, 2), (250, 50), (251, 51), (499, 100), (500, 100), (900, 100)]
)
def test_a_refund_takes_its_part_rounded_up(refunded: int, due: int) -> None:
    assert a_purchase().with_refunded(refunded).due_for_refunds == due


def test_what_is_taken_in_parts_is_never_more_than_what_is_taken_at_once() -> None:
    books, purchase = Books(), paid(a_purchase(7, 500))
    for cents in range(0, 501, 13):
        purchase = books.book(purchase.with_refunded(cents))
    purchase = books.book(purchase.with_refunded(500))
    assert purchase.taken_refund == 7
    assert books.account.balance == 5


def test_what_was_spent_becomes_debt_and_the_next_purchase_pays_it_first() -> None:
    books = Books()
    purchase = books.book(paid(a_purchase()))
    books.account = hold(books.account, 60)  # 45 are free
    books.book(purchase.with_refunded(500))

    assert (books.account.debt, books.account.available, books.account.balance) == (55, 0, 60)
    assert books.lines()[-2:] == [(EntryType.DEBT, 55), (EntryType.REFUND, -100)]

    books.book(paid(a_purchase(40, purchase_id="pur_2")))
    assert (books.account.debt, books.account.available) == (15, 0)
    books.book(paid(a_purchase(40, purchase_id="pur_3")))
    assert (books.account.debt, books.account.available) == (0, 25)


def test_a_refund_that_fails_pays_the_debt_that_it_made() -> None:
    books = Books()
    purchase = books.book(paid(a_purchase()))
    books.account = hold(books.account, 105)
    refund = Claim(500, Stage.OPEN)
    purchase = books.book(purchase.with_refund("re_1", refund))
    assert books.account.debt == 100

    books.book(purchase.with_refund("re_1", Claim(500, Stage.GIVEN_BACK)))
    assert (books.account.debt, books.account.balance) == (0, 105)


def test_a_refund_of_what_is_disputed_takes_nothing_twice() -> None:
    books = Books()
    purchase = books.book(paid(a_purchase()).with_dispute("dp_1", Claim(500, Stage.OPEN)))
    assert books.account.balance == 5
    purchase = books.book(purchase.with_refunded(500))
    assert (books.account.balance, purchase.taken_refund, purchase.taken_dispute) == (5, 100, 0)
    books.book(purchase.with_dispute("dp_1", Claim(500, Stage.GIVEN_BACK)))
    assert (books.account.balance, books.account.debt) == (5, 0)


def test_the_sum_of_a_charge_and_the_refunds_by_their_ids_are_not_added() -> None:
    purchase = a_purchase().with_refunded(200).with_refund("re_1", Claim(200, Stage.OPEN))
    assert purchase.amount_refunded == 200
    assert purchase.with_refund("re_2", Claim(100, Stage.OPEN)).amount_refunded == 300
    assert purchase.with_refund("re_1", Claim(200, Stage.GIVEN_BACK)).amount_refunded == 0


FACTS = {
    "paid": lambda purchase: purchase.reached(PurchaseState.PAID, NOW),
    "failed": lambda purchase: purchase.reached(PurchaseState.FAILED, NOW),
    "first part": lambda purchase: purchase.with_refund("re_1", Claim(120, Stage.OPEN)),
    "first sum": lambda purchase: purchase.with_refunded(120),
    "second part": lambda purchase: purchase.with_refund("re_2", Claim(80, Stage.OPEN)),
    "second fails": lambda purchase: purchase.with_refund("re_2", Claim(80, Stage.GIVEN_BACK)),
    "both sums": lambda purchase: purchase.with_refunded(200),
}


def test_every_order_of_events_ends_alike() -> None:
    ends = set()
    for order in itertools.permutations(FACTS):
        books, purchase = Books(), a_purchase()
        for name in order:
            purchase = books.book(FACTS[name](purchase))
        ends.add((books.account.balance, books.account.debt, purchase.taken_refund, purchase.amount_refunded))
    assert ends == {(81, 0, 24, 120)}


@given(
    facts=st.lists(
        st.tuples(
            st.sampled_from(["sum", "refund", "dispute"]),
            st.integers(0, 3),
            st.integers(1, 600),
            st.sampled_from(Stage),
        ),
        max_size=8,
    ),
    spent=st.integers(0, 105),
)
def test_repeated_and_reversed_events_give_the_sums_of_the_purchase(
    facts: list[tuple[str, int, int, Stage]], spent: int
) -> None:
    books, purchase = Books(), paid(a_purchase())
    purchase = books.book(purchase)
    if spent:
        books.account = hold(books.account, spent)
    for kind, number, cents, stage in [*facts, *reversed(facts)]:
        if kind == "sum":
            told = purchase.with_refunded(cents)
        elif kind == "refund":
            told = purchase.with_refund(f"re_{number}", Claim(cents, stage))
        else:
            told = purchase.with_dispute(f"dp_{number}", Claim(cents, stage))
        purchase = books.book(told)
    due = purchase.due_for_refunds + purchase.due_for_disputes
    assert 0 <= due <= 100
    assert books.account.balance - books.account.debt == 105 - due
    assert books.account.debt == 0 or books.account.available == 0
    assert purchase.taken_refund + purchase.taken_dispute == due
