"""Variables: what a text has placeholders for, and how they are filled."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.errors import InvalidRequestError, SessionConflictError
from playground.domain.runs import RunRequest, RunStatus
from playground.domain.variables import (
    MAX_FILLED_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    MAX_VARIABLES,
    Variable,
    check_values,
    filled,
    variables_of,
)
from tests.fakes import InMemoryCatalog
from tests.unit.test_run_prompt import TIDY, World

TEXT = "Write {{language}} for {{audience=beginners}}. Only {{language}}!"
FILLED = replace(TIDY, prompt=TEXT)
REQUEST = RunRequest(package_id="@acme/tidy", input="Sort a list.", model="sonnet", variables={"language": "Go"})


def world() -> World:
    return World(catalog=InMemoryCatalog(FILLED))


def sent(world: World) -> list[str | None]:
    return [prompt.system for prompt in world.model.prompts]


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_variables_of_a_text_are_listed_once_in_their_order() -> None:
    assert variables_of(TEXT) == (Variable("language"), Variable("audience", "beginners"))
    assert variables_of("{{a}} {{a=1}} {{a=2}} {{b=}}") == (Variable("a", "1"), Variable("b", ""))


@pytest.mark.parametrize(
    "text", ["{{ a }}", "{{a.b}}", "{{a-b}}", "{a}", "{{}}", "{{é}}", "{{a=x\ny}}", "{{#if a}}", "{{" + "a" * 65 + "}}"]
)
def test_other_braces_are_text(text: str) -> None:
    assert variables_of(text) == ()
    assert filled(text, {}) == text


def test_a_text_with_very_many_names_is_a_template_of_another_tool() -> None:
    names = [f"{{{{n{number}}}}}" for number in range(MAX_VARIABLES + 1)]
    assert len(variables_of("".join(names[:-1]))) == MAX_VARIABLES
    assert variables_of("".join(names)) == ()
    assert filled("".join(names), {}) == "".join(names)


def test_placeholders_are_filled_once() -> None:
    assert filled(TEXT, {"language": "{{audience}}"}) == "Write {{audience}} for beginners. Only {{audience}}!"
    assert filled("{{a}}{{b}}", {"a": "{{b}}", "b": r"\1"}) == r"{{b}}\1"
    assert filled("{{{a}}}", {"a": "x"}) == "{x}"


def test_without_variables_nothing_is_replaced() -> None:
    assert filled(TEXT, None) == TEXT


@pytest.mark.parametrize(
    ("values", "field", "named"),
    [
        (
            {"language": "Go", "tone": "dry"},
            "variables.tone",
            "`variables.tone` is not a variable of this package; it has language, audience",
        ),
        (
            {"langage": "Go"},
            "variables.langage",
            "`variables.langage` is not a variable of this package; did you mean `language`?",
        ),
        (
            {"language": "Go", "b": "", "audiences": ""},
            "variables.b",
            (
                "variables: this package has no variables b, audiences; it has language, audience. "
                "Did you mean `audience` by `audiences`?"
            ),
        ),
        ({}, "variables.language", "variables: missing language"),
    ],
)
def test_unknown_and_missing_variables_are_named(values: dict[str, str], field: str, named: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        filled(TEXT, values)
    assert (refused.value.facts["field"], refused.value.message) == (field, named)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"a": "x" * (MAX_VALUE_CHARACTERS + 1)}, "variables.a"),
        (dict.fromkeys("abc", "x" * 4000), "variables"),
        ({f"n{number}": "" for number in range(MAX_VARIABLES + 1)}, "variables"),
        ({"a b": ""}, "variables"),
        ({"": ""}, "variables"),
        ({"a" * 100_000: ""}, "variables"),
        ({"a\n": ""}, "variables"),
        ({"a": "\0"}, "variables.a"),
        ({"a": "\ud800"}, "variables.a"),
        ({"a": 1}, "variables.a"),
        ({"a": None}, "variables.a"),
        ({"a": ["x"]}, "variables.a"),
    ],
)
def test_values_have_bounds(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_values(values)
    assert refused.value.facts["field"] == field
    assert len(refused.value.message) < 300


def test_a_value_that_is_repeated_very_often_is_refused_before_it_is_put_in() -> None:
    text = "{{a}}" * 100_000
    assert len(filled(text, {"a": "x"})) == 100_000
    started = time.monotonic()
    with pytest.raises(InvalidRequestError, match="at most"):
        filled(text, {"a": "x" * MAX_VALUE_CHARACTERS})
    assert time.monotonic() - started < 2
    assert len(text) < MAX_FILLED_CHARACTERS


@pytest.mark.parametrize("text", ["{{" * 400_000, "{{a=" * 200_000, "{{" + "a" * 800_000, "{{a=b}" * 130_000])
def test_looking_for_placeholders_takes_linear_time(text: str) -> None:
    started = time.monotonic()
    variables_of(text)
    assert time.monotonic() - started < 2


@given(before=st.text(), value=st.text(), after=st.text())
def test_what_is_put_in_is_the_value_itself(before: str, value: str, after: str) -> None:
    before, after = before.replace("{", "("), after.replace("{", "(").replace("}", ")")
    assert filled(before + "{{x}}" + after, {"x": value}) == before + value + after


# --- runs -------------------------------------------------------------------------------------------------------------


def test_the_filled_text_is_sent_and_the_receipt_has_the_names_only() -> None:
    here = world()
    run = here.run(REQUEST).run
    assert sent(here) == ["Write Go for beginners. Only Go!"]
    assert (run.status, run.variables) == (RunStatus.SETTLED, ("language",))
    assert "Go" not in repr(run)


def test_the_prompt_is_counted_with_its_values() -> None:
    here = world()
    here.count = lambda prompt: len(prompt.system or "")
    few = here.run(REQUEST).run.prompt_tokens
    many = here.run(replace(REQUEST, variables={"language": "x" * 1_000})).run.prompt_tokens
    assert few is not None
    assert many == few + 2 * 998


def test_a_text_with_braces_runs_untouched_without_variables() -> None:
    here = world()
    assert here.run(replace(REQUEST, variables=None)).run.variables == ()
    assert sent(here) == [TEXT]


@pytest.mark.parametrize("values", [{}, {"language": "Go", "tone": "dry"}])
def test_variables_that_do_not_fit_are_refused_before_anything_is_held(values: dict[str, str]) -> None:
    here = world()
    with pytest.raises(InvalidRequestError):
        here.run(replace(REQUEST, variables=values), key="again")
    assert sent(here) == []
    assert here.run(REQUEST, key="again").run.charged == 1  # a refusal is not remembered


def test_a_session_goes_on_with_the_values_that_it_began_with() -> None:
    here = world()
    first = here.run(REQUEST).run
    on = replace(REQUEST, session_id=first.session_id, variables=None)
    assert here.run(on).run.variables == ("language",)
    here.run(replace(on, variables={"language": "Go"}))
    assert sent(here) == ["Write Go for beginners. Only Go!"] * 3
    with pytest.raises(SessionConflictError, match="other variables"):
        here.run(replace(on, variables={"language": "C"}))


def test_a_session_without_variables_goes_on_without() -> None:
    here = world()
    first = here.run(replace(REQUEST, variables=None)).run
    with pytest.raises(SessionConflictError, match="other variables"):
        here.run(replace(REQUEST, session_id=first.session_id))


def test_no_variables_and_only_defaults_are_different_requests() -> None:
    assert replace(REQUEST, variables={}).hash != replace(REQUEST, variables=None).hash
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert replace(REQUEST, variables=one).hash == replace(REQUEST, variables=other).hash


@pytest.mark.parametrize("text", ["x" * (MAX_FILLED_CHARACTERS + 1), "{{a" * (MAX_FILLED_CHARACTERS // 3 + 1)])
def test_a_long_text_without_variables_stays_as_it_is(text: str) -> None:
    """Whether it is too long for the model is another question."""
    assert filled(text, {}) == text
