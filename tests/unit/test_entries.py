"""Lines of the ledger and their hashes."""

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.credits import Deltas
from playground.domain.entries import GENESIS, DebtOrigin, Entry, EntryType

NOW = datetime(2027, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ENTRY = Entry(
    user_id="alice",
    seq=7,
    type=EntryType.SPEND,
    deltas=Deltas(monthly=-2, rollover=-1),
    balance_after=40,
    business_key="run:run_1",
    reason="Run of @acme/tidy – Ünïcode",
    created_at=NOW,
    previous_hash="ab" * 32,
    run_id="run_1",
    session_id="ses_1",
)
OTHER: dict[str, list[Any]] = {
    "user_id": ["bob", ""],
    "seq": [8, 6, 70],
    "type": [kind for kind in EntryType if kind is not EntryType.SPEND],
    # The second keeps the sum, the others do not.
    "deltas": [Deltas(monthly=-3, rollover=-1), Deltas(monthly=-1, rollover=-2), Deltas(purchased=-3), Deltas()],
    "balance_after": [41, 39, -40],
    "business_key": ["run:run_2", "signup"],
    "reason": ["Run of @acme/tidy", ""],
    "created_at": [NOW + timedelta(milliseconds=1), NOW - timedelta(days=1)],
    "previous_hash": [GENESIS, "ab" * 31 + "ac"],
    "run_id": ["run_2", None],
    "session_id": ["ses_2", None],
    "purchase_id": ["pur_1", "ses_1"],
}


@pytest.mark.parametrize("name", [field.name for field in fields(Entry) if field.name != "operator"])
def test_the_hash_covers_every_field(name: str) -> None:
    hashes = [replace(ENTRY, **{name: value}).hash for value in OTHER[name]]

    assert ENTRY.hash not in hashes
    assert len(set(hashes)) == len(hashes)


def test_a_value_cannot_move_to_another_field_unnoticed() -> None:
    moved = replace(ENTRY, run_id="ses_1", session_id="run_1")

    assert moved.hash != ENTRY.hash
    assert replace(ENTRY, run_id=None).hash != replace(ENTRY, run_id="").hash


def test_anybody_can_recompute_a_hash() -> None:
    """The recipe is public: whoever has a line of the history can prove it without this code."""
    content = {
        "user_id": "alice",
        "seq": 7,
        "type": "spend",
        "amount": -3,
        "balance_after": 40,
        "deltas": [-2, -1, 0],
        "business_key": "run:run_1",
        "reason": "Run of @acme/tidy – Ünïcode",
        "created_at": "2027-01-02T03:04:05.678Z",
        "previous_hash": "ab" * 32,
        "run_id": "run_1",
        "session_id": "ses_1",
        "purchase_id": None,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert ENTRY.hash == hashlib.sha256(text.encode("utf-8")).hexdigest()


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 1000))
def test_amount_and_balance_before_follow_from_the_deltas(one: int, two: int, three: int, after: int) -> None:
    entry = replace(ENTRY, deltas=Deltas(monthly=one, rollover=two, purchased=three), balance_after=after)

    assert entry.amount == one + two + three
    assert entry.balance_before + entry.amount == entry.balance_after


def test_ids_sort_by_number_and_name_the_content() -> None:
    entries = [replace(ENTRY, seq=seq) for seq in (9, 10, 99, 100, 1_000_000_000)]
    ids = [entry.entry_id for entry in entries]

    assert ids == sorted(ids)
    assert all(
        id_.startswith("ent_") and id_.endswith(entry.hash[:12]) for id_, entry in zip(ids, entries, strict=True)
    )
    assert replace(ENTRY, reason="else").entry_id != ENTRY.entry_id


def test_types_are_those_of_the_contract() -> None:
    assert [kind.value for kind in EntryType] == [
        "signup",
        "monthly",
        "purchase",
        "spend",
        "rollover",
        "expire",
        "refund",
        "dispute",
        "bonus",
        "admin",
        "debt",
    ]


@pytest.mark.parametrize("origin", DebtOrigin)
def test_a_stored_debt_says_what_it_comes_from(origin: DebtOrigin) -> None:
    """Also one of an earlier version, whose reason says that the credits were spent."""
    debt = replace(
        ENTRY,
        type=EntryType.DEBT,
        deltas=Deltas(purchased=3),
        business_key=f"debt:{origin}:pur_1:2",
        reason="Debt: these credits were already spent",
    )
    assert debt.debt_origin is origin
    assert replace(debt, deltas=Deltas(purchased=-3), business_key=f"{debt.business_key}:repaid").debt_origin is None
    assert replace(debt, type=EntryType.ADMIN).debt_origin is None
    assert replace(debt, business_key="debt:from somewhere else").debt_origin is None
