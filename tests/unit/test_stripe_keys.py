"""What of ours goes into headers and keys: ids of users of any script; keys that mean the same to every release."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playground.adapters.stripe_payments import MAX_KEY, _keyed
from playground.domain.users import MAX_USER_ID_CHARACTERS, is_user_id

HEADER = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
ANYTHING = st.text(st.characters(), max_size=2000)


def sent(key: str) -> str:
    return str(_keyed(key)["idempotency_key"])


@given(ANYTHING)
@example("")
@example(" a")
@example("a ")
@example("\ud800")
@example("x" * (MAX_KEY + 1))
def test_every_key_is_one_that_a_header_takes(key: str) -> None:
    assert HEADER.fullmatch(sent(key))
    assert len(sent(key)) <= MAX_KEY
    assert sent(key) == sent(key)


@given(ANYTHING, ANYTHING)
@example("é", "e\u0301")
@example("a", " a")
def test_two_keys_stay_two(one: str, other: str) -> None:
    assert (sent(one) == sent(other)) == (one == other)


@pytest.mark.parametrize(
    "key",
    [
        "customer:test:alice:2026-11-01T12:00:00.000Z",
        "customer:live: alice :2026-11-01T12:00:00.000Z",
        "checkout:test:O'Neil $1:2026-11-01T12:00:00.000Z:0:0123456789abcdef",
        "pur_0123456789abcdef",
    ],
)
def test_keys_that_a_header_takes_are_sent_as_they_always_were(key: str) -> None:
    """A request that is repeated with the next release must be the same one to Stripe."""
    assert sent(key) == key


@given(st.text(st.characters(), max_size=MAX_USER_ID_CHARACTERS + 2))
@example("x" * MAX_USER_ID_CHARACTERS)
@example("🙂" * MAX_USER_ID_CHARACTERS)
@example("\u202e")
@example("\u200b")
@example("\ud800")
@example("\0")
def test_a_users_id_is_text_that_every_place_takes(text: str) -> None:
    if is_user_id(text):
        assert 0 < len(text.encode()) <= 512  # of 2,048 bytes of a key
        assert len(text) <= MAX_USER_ID_CHARACTERS <= 500  # characters of a value in metadata
        assert not re.search(r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
    else:
        assert not text.strip() or not text.isprintable() or len(text) > MAX_USER_ID_CHARACTERS
