"""Cursors: what goes in comes out, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain import cursors
from playground.domain.errors import InvalidRequestError

NONE = [
    "",
    "=",
    "x",
    "MA",
    "LTE",
    "bnVsbA",
    "MTAwMDAwMDAwMDAwMA",
    "1",
    "é",
    "W10",
    "W1tdXQ",
    "[" * 60,
    "WyJhIl0",
    "\0",
    "IDMg",
    "MV8w",
    "KzM",
]


@given(number=st.integers(1, cursors.MAX_NUMBER))
def test_a_number_comes_back(number: int) -> None:
    assert cursors.number_of(cursors.number_cursor(number)) == number


@given(parts=st.lists(st.text(st.characters(codec="utf-8"))))
def test_parts_come_back(parts: list[str]) -> None:
    assert cursors.parts_of(cursors.parts_cursor(*parts), len(parts)) == parts


@given(pk=st.text(min_size=1), sk=st.text(min_size=1))
def test_a_key_comes_back(pk: str, sk: str) -> None:
    assert cursors.scan_key_of(cursors.scan_cursor(pk, sk)) == (pk, sk)


@given(user_id=st.text())
def test_a_place_in_an_index_comes_back(user_id: str) -> None:
    at = "2026-11-28T00:00:00.000Z"
    assert cursors.index_place_of(cursors.index_cursor(at, user_id)) == (at, user_id)


def test_no_cursor_is_the_beginning() -> None:
    assert cursors.number_of(None) is None


@pytest.mark.parametrize("text", NONE)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="next_cursor"):
        cursors.number_of(text)
    with pytest.raises(InvalidRequestError, match="next_cursor"):
        cursors.parts_of(text, 3)
    with pytest.raises(ValueError, match="after"):
        cursors.scan_key_of(text)
