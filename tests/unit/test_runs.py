"""Names of runs and requests, and failures that are told again."""

import re
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain import errors
from playground.domain.runs import Failure, RunRequest, RunStatus, base32, error_of, failure_of, run_id_of

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
REQUEST = RunRequest(package_id="p", input="Hello", model="sonnet")
OTHER: dict[str, list[Any]] = {
    "package_id": ["q"],
    "input": ["hello", "Hello ", "Hellö"],
    "package_version": ["1.0.0"],
    "session_id": ["ses_1"],
    "model": ["opus"],
    "max_tokens": [1, 4096],
    "effort": ["low", "high"],
    "temperature": [0.0, 0.5],
    "use_no_prompt": [True],
    "variables": [{}, {"a": ""}, {"a": "b"}, {"b": ""}],
    "custom_prompt": ["You are a pirate.", "You are a pirate. ", "You are å pirate."],
    "names_model": [False],
    "comparison": ["cmp_1#0", "cmp_1#1"],
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


MESSAGES_ONLY = {"package_as_sent"}


@pytest.mark.parametrize("name", [field.name for field in fields(RunRequest) if field.name not in MESSAGES_ONLY])
def test_the_hash_of_a_request_covers_every_field(name: str) -> None:
    hashes = {replace(REQUEST, **{name: value}).hash for value in OTHER[name]}

    assert REQUEST.hash not in hashes
    assert len(hashes) == len(OTHER[name])


def test_the_same_request_has_the_same_hash() -> None:
    assert replace(REQUEST).hash == REQUEST.hash
    assert replace(REQUEST, package_as_sent="@scope/p").hash == REQUEST.hash
    assert re.fullmatch("[0-9a-f]{32}", REQUEST.hash)


def test_a_request_that_names_no_model_stays_the_same_when_the_default_changes() -> None:
    unnamed = replace(REQUEST, names_model=False)
    assert replace(unnamed, model="opus").hash == unnamed.hash


def test_a_value_in_another_field_is_another_request() -> None:
    assert replace(REQUEST, package_version="1").hash != replace(REQUEST, session_id="1").hash


def test_hashes_of_requests_do_not_change_between_releases() -> None:
    """They are stored with holds and receipts: a retry after a deployment has to be recognised."""
    assert REQUEST.hash == "716b9078a47c32dcd0116c698ee1c0ed"
    assert run_id_of("alice", "key-1") == "run_xyc3pxg551j5ew4vvwhpdn0b33"


@given(TEXTS, TEXTS)
def test_the_id_of_an_attempt_is_always_the_same(user: str, key: str) -> None:
    assert run_id_of(user, key) == run_id_of(user, key)
    assert re.fullmatch(f"run_[{ALPHABET}]{{26}}", run_id_of(user, key))


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_other_users_and_other_keys_have_other_ids(user: str, key: str, other_user: str, other_key: str) -> None:
    same = (user, key) == (other_user, other_key)

    assert (run_id_of(user, key) == run_id_of(other_user, other_key)) == same


@pytest.mark.parametrize(
    ("one", "other"), [(("a", "b:c"), ("a:b", "c")), (("ab", "c"), ("a", "bc")), (("1:a", "k"), ("1", "a:k"))]
)
def test_the_border_between_user_and_key_is_part_of_the_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert run_id_of(*one) != run_id_of(*other)


def test_base_32_reads_back() -> None:
    number = 0b10101_00000_11111_00001
    text = base32(number, 6)

    assert text == "00n0z1"
    assert sum(ALPHABET.index(digit) * 32**place for place, digit in enumerate(reversed(text))) == number


@given(st.lists(st.integers(0, 2**130 - 1), min_size=2, max_size=10))
def test_base_32_sorts_like_its_numbers(numbers: list[int]) -> None:
    for one, other in pairwise(base32(number, 26) for number in sorted(numbers)):
        assert one <= other
        assert len(one) == len(other) == 26


@pytest.mark.parametrize(
    "error",
    [
        errors.ModelError("refused"),
        errors.ModelError("empty"),
        errors.ModelError("cut_off"),
        errors.ModelOverloadedError("rate_limited", retry_after=17),
        errors.ModelOverloadedError("overloaded", retry_after=1),
        errors.ModelTimedOutError(),
        errors.SessionConflictError(),
        errors.StoreUnavailableError(),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.facts.get('reason')}",
)
def test_a_recorded_failure_is_repeated_unchanged(error: errors.PlaygroundError) -> None:
    again = error_of(failure_of(error))

    assert (type(again), again.message, again.facts) == (type(error), error.message, error.facts)


@pytest.mark.parametrize("keyed", [False, True])
def test_an_error_that_ended_a_run_names_it(keyed: bool) -> None:
    error = errors.StoreUnavailableError().ending("run_1", keyed=keyed)

    assert error.facts == {"retry_after": 2, "run_id": "run_1"}
    assert ("new Idempotency-Key" in error.message) is keyed


def test_an_unknown_failure_is_the_models() -> None:
    again = error_of(Failure(code="of_an_older_release", reason="something"))

    assert (type(again), again.code, again.facts) == (errors.ModelError, "model_failed", {"reason": "something"})


def test_every_message_of_a_model_error_says_that_nothing_was_charged() -> None:
    for reason in [*errors.ModelError.MESSAGES, "rejected", "provider_error", "unreachable", "internal"]:
        assert "Nothing was charged" in errors.ModelError(reason).message


def test_the_states_of_a_run_are_those_of_the_contract() -> None:
    assert [status.value for status in RunStatus] == ["held", "settled", "released", "expired"]
