"""What a provider, or a gateway that poses as one, says about its tokens is believed only if it can be true."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from playground.adapters.claude import believable_usage, most_prompt_tokens
from playground.domain.errors import ModelError
from playground.domain.pricing import Usage
from playground.ports import Completion, Prompt, TokenCount
from tests.unit.test_claude_model import Speaker, fails, model, prompt, says, speaking

pytestmark = pytest.mark.timeout(60)

CLASSES = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
SENSIBLE = {"input_tokens": "20", "output_tokens": "3"}
STREAM = {"content-type": "text/event-stream"}
HUGE = "1" + "0" * 400
NONSENSE = ("20.5", '"20"', "-1", "true", "false", "1e999", "-1e999", "NaN", "[]", "{}", "1e3", HUGE, '""', "0.0")


def event(kind: str, **rest: str) -> bytes:
    """An event; `rest` is raw JSON, which may be what no encoder would write."""
    fields = ", ".join([f'"type": "{kind}"', *(f'"{name}": {raw}' for name, raw in rest.items())])
    return f"event: {kind}\ndata: {{{fields}}}\n\n".encode()


def answering(usage: Mapping[str, str], *, start: Mapping[str, str] = SENSIBLE, **message: str) -> Speaker:
    """A whole stream that says "Hello" and, at its end, this `usage`; values are raw JSON."""
    return says(b"".join([*_started(start, **message), *_ended(usage)]), headers=STREAM)


def _started(usage: Mapping[str, str], **message: str) -> list[bytes]:
    told = {"model": '"claude-sonnet-5-5"', "stop_reason": "null", "usage": _object(usage), **message}
    return [
        event("message_start", message=_object(told)),
        event("content_block_start", index="0", content_block='{"type": "text", "text": ""}'),
        event("content_block_delta", index="0", delta='{"type": "text_delta", "text": "Hello"}'),
        event("content_block_stop", index="0"),
    ]


def _ended(usage: Mapping[str, str]) -> list[bytes]:
    return [
        event("message_delta", delta='{"stop_reason": "end_turn", "stop_sequence": null}', usage=_object(usage)),
        event("message_stop"),
    ]


def _object(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {raw}' for name, raw in values.items()) + "}"


def answer_of(speak: Speaker, asked: Prompt | None = None) -> Completion:
    with speaking(speak) as url:
        return model(url).complete(asked or prompt(), timeout=20)


def reason_of(speak: Speaker, asked: Prompt | None = None) -> str:
    with speaking(speak) as url:
        error = fails(asked or prompt(), url)
    assert type(error) is ModelError
    return error.reason


def test_what_makes_sense_is_believed() -> None:
    usage = {**SENSIBLE, "cache_creation_input_tokens": "7", "cache_read_input_tokens": "null"}

    assert answer_of(answering(usage)).usage == Usage(input_tokens=20, output_tokens=3, cache_write_tokens=7)


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("name", CLASSES)
def test_tokens_that_are_no_count_are_not_believed(name: str, value: str) -> None:
    assert reason_of(answering({**SENSIBLE, name: value})) == "invalid_usage"


def test_missing_token_counts_are_not_taken_for_zero() -> None:
    """The two classes of the cache may be left out; these may not."""
    assert reason_of(answering({"input_tokens": "20"})) == "invalid_usage"
    assert reason_of(answering({"input_tokens": "20", "output_tokens": "null"})) == "invalid_usage"
    assert reason_of(answering({"output_tokens": "3"}, start={"output_tokens": "1"})) == "invalid_usage"
    assert reason_of(answering({"output_tokens": "3"}, start={"input_tokens": "null"})) == "invalid_usage"


def test_an_answer_without_usage_is_not_charged() -> None:
    with speaking(says(b"".join([*_started({}), *_ended({})]), headers=STREAM)) as url:
        assert fails(prompt(), url).reason == "invalid_usage"
    for usage in ("null", "[]", "7"):
        start = event("message_start", message=f'{{"model": "m", "usage": {usage}}}')
        with speaking(says(start, headers=STREAM)) as url:
            assert fails(prompt(), url).reason == "cut_off"


@pytest.mark.parametrize(("output", "believed"), [("1000", True), ("1001", False), (str(2**53), False)])
def test_no_answer_is_longer_than_it_may_be(output: str, believed: bool) -> None:
    speak = answering({**SENSIBLE, "output_tokens": output})
    if believed:
        assert answer_of(speak, prompt(max_tokens=1000)).usage.output_tokens == 1000
    else:
        assert reason_of(speak, prompt(max_tokens=1000)) == "invalid_usage"


@pytest.mark.parametrize("name", ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"])
def test_no_prompt_has_more_tokens_than_bytes(name: str) -> None:
    most = most_prompt_tokens(prompt())
    zero = {**SENSIBLE, "input_tokens": "0"}

    assert answer_of(answering({**zero, name: str(most)})).usage.prompt_tokens == most
    assert reason_of(answering({**zero, name: str(most + 1)})) == "invalid_usage"


@pytest.mark.parametrize("count", ["true", "20.5", '"20"', "-3", "0", "null", "1e999", "NaN", HUGE])
def test_a_count_that_cannot_be_true_is_replaced_by_a_guess(count: str) -> None:
    """A count that is too low would be a ceiling that is too low."""
    with speaking(says(f'{{"input_tokens": {count}}}'.encode())) as url:
        assert model(url).count_tokens(prompt(), timeout=5) == TokenCount(prompt().guessed_tokens, guessed=True)


@pytest.mark.parametrize(
    "message",
    [{"model": "7"}, {"model": "null"}, {"model": '""'}, {"model": json.dumps("x" * 300)}],
    ids=str,
)
def test_a_model_without_a_name_is_not_recorded(message: dict[str, str]) -> None:
    assert reason_of(answering(SENSIBLE, **message)) == "cut_off"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def believed(values: dict[str, Any], asked: Prompt) -> Usage | None:
    """The usage, or None if it is refused, which is the only other thing that may happen."""
    try:
        return believable_usage(values, asked)
    except ModelError as error:
        return {"invalid_usage": None}[error.reason]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(CLASSES), anything | st.integers(0, 2000)))
@example({"input_tokens": True, "output_tokens": 1})
@example({"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": False})
def test_usage_is_whole_and_within_bounds_or_an_error(values: dict[str, Any]) -> None:
    asked = prompt()
    usage = believed(values, asked)
    if usage is None:
        return
    told = [usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens]
    assert all(type(tokens) is int and tokens >= 0 for tokens in told)
    named = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert told == [values.get(name) or 0 for name in named]
    assert usage.output_tokens <= asked.max_tokens
    assert usage.prompt_tokens <= most_prompt_tokens(asked)


@pytest.mark.parametrize("wrong", [20.5, 20.0, "20", True, None, float("nan"), float("inf"), -1])
def test_usage_is_made_of_whole_numbers_only(wrong: Any) -> None:
    with pytest.raises(ValueError, match="tokens"):
        Usage(input_tokens=wrong)
