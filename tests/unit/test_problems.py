"""What is wrong with a request is said in our words: the field, what came, and what would be right."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from playground.domain.errors import MAX_SHOWN_CHARACTERS, InvalidRequestError, shown
from playground.domain.packages import PACKAGE_NAME, UUID_TEXT
from playground.domain.variables import MAX_NAME_CHARACTERS
from playground.problems import ANYTHING_ELSE, EXPECTED, PATTERNS, first_problem
from playground.schemas.compare import CompareBody
from playground.schemas.run import RunBody
from playground.schemas.sessions import RunFeedbackBody
from tests.kit.described import described

RUN = {"package_id": "@acme/tidy", "input": "What is this?"}


def message_of(body: type[Any], value: Mapping[str, Any]) -> str:
    """Some problems are found by validators of ours, which raise what is answered."""
    with pytest.raises((ValidationError, InvalidRequestError)) as raised:
        body.model_validate(value)
    error = raised.value
    return error.message if isinstance(error, InvalidRequestError) else first_problem(error.errors()).message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": "600"}, 'max_tokens: must be a whole number; got "600"'),
        ({"max_tokens": 600.5}, "max_tokens: must be a whole number; got 600.5"),
        ({"max_tokens": 0}, "max_tokens: must be at least 1; got 0"),
        ({"maxTokens": 10**30}, "maxTokens: must be at most 32,000; got a number of more digits"),
        ({"max_tokens": [1, 2]}, "max_tokens: must be a whole number; got a list of 2"),
        ({"temperature": 1.5}, "temperature: must be at most 1; got 1.5"),
        ({"temperature": "warm"}, 'temperature: must be a number; got "warm"'),
        ({"temperature": float("inf")}, "temperature: must be a number; got inf"),
        ({"use_no_prompt": 1}, "use_no_prompt: must be true or false; got 1"),
        ({"model": "gpt-4o"}, 'model: must be one of haiku, sonnet, opus; got "gpt-4o"'),
        ({"model": None}, "model: must be a text; got null"),
        ({"input": ""}, "input: must have at least 1 character; got a text of 0 characters"),
        ({"input": "x" * 10_001}, "input: must have at most 10,000 characters; got a text of 10,001 characters"),
        ({"input": {"my": "secret"}}, "input: must be a text; got an object"),
        ({"input": " \n"}, "input: must not be blank: it has no visible character; got a text of 2 characters"),
        ({"input": "\ud800"}, "input: must be a text without half of a surrogate pair; got a text of 1 character"),
        ({"userInput": "x"}, "userInput: must not be beside input, which is the same field"),
        ({"package_id": "tidy"}, 'package_id: must be a UUID or @scope/name; got "tidy"'),
        (
            {"package_version": "1 2"},
            "package_version: must have only letters, digits and . + -; got a text of 3 characters",
        ),
        ({"session_id": "a/b"}, 'session_id: must have only letters, digits, _ and -; got "a/b"'),
        ({"variables": []}, "variables: must be an object; got a list of 0"),
        ({"variables": {"name": 5}}, "variables.name: must be a text; got 5"),
    ],
)
def test_a_problem_names_the_field_what_came_and_what_is_right(changes: Mapping[str, Any], message: str) -> None:
    assert message_of(RunBody, {**RUN, **changes}) == message


def test_what_is_missing_is_named() -> None:
    assert message_of(RunBody, {"package_id": "@acme/tidy"}) == "input: must be given"
    assert message_of(CompareBody, {"input": "x"}) == "variants: must be given"
    assert message_of(CompareBody, {"input": "x", "variants": [RUN["input"]] * 2}).startswith("variants.0: ")
    assert message_of(CompareBody, {"input": "x", "variants": [{}]}) == (
        "variants: must have at least 2 entries; got a list of 1"
    )
    assert message_of(RunFeedbackBody, {"rating": 6}) == "rating: must be at most 5; got 6"


@pytest.mark.parametrize("kind", [*EXPECTED, "a kind of another version"])
def test_pydantics_words_are_never_shown(kind: str) -> None:
    context = {"ge": 1, "le": 2, "min_length": 1, "max_length": 2, "expected": "'a' or 'b'"}
    problem = {"type": kind, "loc": ("body", "x"), "msg": "Input should be valid", "ctx": context, "input": None}
    message = first_problem([problem]).message
    assert "Input" not in message
    assert "{" not in message
    assert (ANYTHING_ELSE in message) == (kind not in EXPECTED)


def test_a_pattern_without_words_is_not_shown() -> None:
    problem = {"type": "string_pattern_mismatch", "loc": ("query", "x"), "ctx": {"pattern": "^a$"}, "input": "b"}
    assert first_problem([problem]).message == f'x: {ANYTHING_ELSE}; got "b"'
    assert first_problem([]).message == f"body: {ANYTHING_ELSE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (12, "12"),
        (1e300, "1e+300"),
        (10**24, "a number of more digits"),
        (-0.5, "-0.5"),
        ("gpt-4o", '"gpt-4o"'),
        ("", '""'),
        ("sk-" + "x" * 60, f'"sk-{"x" * (MAX_SHOWN_CHARACTERS - 3)}…"'),
        ("my prompt", "a text of 9 characters"),
        ("\0", "a text of 1 character"),
        ("日本語", "a text of 3 characters"),
        ([1] * 1200, "a list of 1,200"),
        ({"a": "b"}, "an object"),
        (object, "another type"),
    ],
)
def test_what_is_shown_of_a_value(value: object, text: str) -> None:
    """Never a text with spaces, which may be a prompt, and never the whole of a long one, which may be a secret."""
    assert shown(value) == text


def test_every_pattern_of_a_request_has_words() -> None:
    """Beside those that code of ours compares."""

    def patterns(node: Any) -> set[str]:
        if isinstance(node, Mapping):
            own = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
            return own.union(*(patterns(each) for each in node.values()))
        return set().union(*(patterns(each) for each in node)) if isinstance(node, list) else set()

    found = patterns(described()["paths"]) | {
        pattern
        for name, schema in described()["components"]["schemas"].items()
        if name.endswith(("Body", "Variant"))
        for pattern in patterns(schema)
    }
    day = next(pattern for pattern in found if pattern.startswith("^[0-9]{4}-"))
    names = {f"^({PACKAGE_NAME}|{UUID_TEXT})$", f"^{PACKAGE_NAME}$", f"^[A-Za-z0-9_]{{1,{MAX_NAME_CHARACTERS}}}$"}
    assert found - {"^[0-9]+$", "^[0-9]{1,9}$", day, *names} == set(PATTERNS)


def test_a_wrong_name_in_a_variant_is_named_with_its_place() -> None:
    def compared(**changes: Any) -> Mapping[str, Any]:
        variant = {"package_id": "@acme/tidy"}
        return {"input": "x", "variants": [variant, {**variant, **changes}]}

    assert message_of(CompareBody, compared(max_token=600)) == (
        "`variants.1.max_token` is not a field of this request; did you mean `max_tokens`?"
    )
    assert message_of(CompareBody, compared(packageId="@acme/tidy")) == (
        "variants.1.packageId: must not be beside package_id, which is the same field"
    )
