"""The Claude double behaves as the real API: with the real SDK, and with raw sockets for what the SDK hides."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import example, given, settings
from hypothesis import strategies as st

from doubles.claude.answers import clip, fit, pieces
from doubles.claude.server import ClaudeDouble, count_input_tokens, count_text_tokens
from tests.kit.extent import HANG_SECONDS, examples

HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
ROOT = Path(__file__).parents[2]
PACKAGE = "# Release notes writer\n\nTurn changes into notes.\n\n- Group by impact\n- Write in the present tense\n"
HEADERS = {"x-api-key": "test", "anthropic-version": "2023-06-01", "content-type": "application/json"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400).filter(
    lambda text: bool(text.strip()) and "[[claude:" not in text
)


@pytest.fixture(scope="module")
def double() -> Iterator[ClaudeDouble]:
    with ClaudeDouble() as running:
        yield running


@pytest.fixture(scope="module")
def client(double: ClaudeDouble) -> Iterator[anthropic.Anthropic]:
    with connect(double) as connected:
        yield connected


def connect(double: ClaudeDouble, *, max_retries: int = 0) -> anthropic.Anthropic:
    """A client that validates answers strictly against the SDK's types."""
    return anthropic.Anthropic(
        api_key="test",
        base_url=double.url,
        max_retries=max_retries,
        timeout=HANG_SECONDS,
        _strict_response_validation=True,
    )


def request_for(text: str, **more: Any) -> dict[str, Any]:
    return {"model": HAIKU, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}


def ask(client: anthropic.Anthropic, text: str, **more: Any) -> Message:
    answer: Message = client.messages.create(**request_for(text, **more))
    return answer


def stream(client: anthropic.Anthropic, text: str, **more: Any) -> Iterator[RawMessageStreamEvent]:
    with client.messages.create(**request_for(text, **more), stream=True) as events:
        yield from events


def collect(seen: list[RawMessageStreamEvent], events: Iterator[RawMessageStreamEvent]) -> None:
    """Collect the events before the stream failed."""
    while (event := next(events, None)) is not None:
        seen.append(event)


def streamed_text(events: list[RawMessageStreamEvent]) -> str:
    return "".join(
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def input_classes(message: Message) -> tuple[int, int | None, int | None]:
    usage = message.usage
    return usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens


def call(
    double: ClaudeDouble, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, Any]:
    """One call without the SDK: status, headers, and the body as JSON if it is JSON."""
    host, port = double.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=HANG_SECONDS)
    try:
        connection.request(method, path, body, HEADERS if headers is None else headers)
        response = connection.getresponse()
        text = response.read()
        return (
            response.status,
            response.headers,
            json.loads(text) if "json" in response.headers["content-type"] else text,
        )
    finally:
        connection.close()


def post(double: ClaudeDouble, request: Any, path: str = "/v1/messages") -> tuple[int, http.client.HTTPMessage, Any]:
    return call(double, "POST", path, json.dumps(request).encode())


def refusal_of(double: ClaudeDouble, request: Any) -> tuple[int, str, str]:
    status, headers, body = post(double, request)
    assert body["type"] == "error"
    assert body["request_id"] == headers["request-id"]
    return status, body["error"]["type"], body["error"]["message"]


# ---------------------------------------------------------------- answers


def test_answers_in_json(client: anthropic.Anthropic) -> None:
    message = ask(client, "Describe the new login flow", system=PACKAGE)
    text = text_of(message)
    assert "**Release notes writer**" in text
    assert "> Describe the new login flow" in text
    assert "**Write in the present tense**" in text
    assert message.stop_reason == "end_turn"
    assert 150 <= message.usage.output_tokens <= 400
    assert message.usage.output_tokens == count_text_tokens(text)
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


def test_streams_the_answer_that_json_gives(client: anthropic.Anthropic) -> None:
    request = request_for("Describe the new login flow", system=PACKAGE)
    whole = client.messages.create(**request)
    with client.messages.stream(**request) as events:
        streamed = events.get_final_message()
    assert text_of(streamed) == text_of(whole)
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert input_classes(streamed) == input_classes(whole)
    assert streamed.stop_reason == "end_turn"


def test_streams_events_in_the_order_of_the_api(double: ClaudeDouble) -> None:
    _, headers, body = post(double, request_for("Hello [[claude: thinking=30 output_tokens=40]]", stream=True))
    names = re.findall(r"^event: (\w+)$", body.decode(), re.MULTILINE)
    types = [json.loads(data)["type"] for data in re.findall(r"^data: (.*)$", body.decode(), re.MULTILINE)]
    block = r"content_block_start {}(content_block_delta )+content_block_stop "
    order = f"message_start {block.format('ping ')}{block.format('')}message_delta message_stop "
    assert names == types
    assert re.fullmatch(order, "".join(f"{name} " for name in names))
    assert headers.get_content_type() == "text/event-stream"
    assert headers["request-id"]


def test_a_stream_starts_with_an_empty_message(client: anthropic.Anthropic) -> None:
    events = list(stream(client, "Hello"))
    start, end = events[0], events[-2]
    assert start.type == "message_start"
    assert start.message.stop_reason is None
    assert start.message.content == []
    assert end.type == "message_delta"
    assert end.usage.output_tokens == count_text_tokens(streamed_text(events)) > start.message.usage.output_tokens
    assert end.usage.input_tokens == start.message.usage.input_tokens


def test_same_request_gets_same_text_from_every_double(double: ClaudeDouble, client: anthropic.Anthropic) -> None:
    request = request_for("Compare these two plans", system=PACKAGE)
    with ClaudeDouble() as other, connect(other) as other_client:
        answers = [text_of(asked.messages.create(**request)) for asked in (client, client, other_client)]
    assert len(set(answers)) == 1
    assert text_of(ask(client, "Compare these three plans", system=PACKAGE)) not in answers


def test_continues_a_conversation(client: anthropic.Anthropic) -> None:
    turns = [
        {"role": "user", "content": "Write the notes [[claude: nonsense=1]]"},
        {"role": "assistant", "content": "Here they are."},
        {"role": "user", "content": [{"type": "text", "text": "Now make them shorter"}]},
    ]
    text = text_of(ask(client, "", messages=turns, system=PACKAGE))
    assert text.startswith('Following up on turn 1 ("Write the notes"), this is turn 2')
    assert "> Now make them shorter" in text


def test_answers_code_with_code(client: anthropic.Anthropic) -> None:
    code = "def add(a, b):\n    return a - b"
    assert f"```\n{code}\n```" in text_of(ask(client, code))
    assert "```python\nprint(1)\n```" in text_of(ask(client, "Look:\n```python\nprint(1)\n```\nWhy?"))
    assert "```" not in text_of(ask(client, "Describe the login flow"))


def test_cuts_at_max_tokens(client: anthropic.Anthropic) -> None:
    whole = text_of(ask(client, "Describe the login flow"))
    message = ask(client, "Describe the login flow", max_tokens=20)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == count_text_tokens(text_of(message)) == 20
    assert whole.startswith(text_of(message))


@settings(max_examples=examples(60), deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), system=TEXTS | st.just(""), max_tokens=st.integers(1, 500))
def test_usage_is_what_count_tokens_says(
    client: anthropic.Anthropic, texts: list[str], system: str, max_tokens: int
) -> None:
    """For every text, with NUL and astral characters, in every field for text."""
    turns = [
        {"role": ("user", "assistant")[index % 2], "content": text}
        for index, text in enumerate(texts if len(texts) % 2 else texts[1:])
    ]
    request = {"model": SONNET, "messages": turns, "system": system}
    counted = client.messages.count_tokens(**request).input_tokens  # type: ignore[arg-type]
    message: Message = client.messages.create(**request, max_tokens=max_tokens)  # type: ignore[call-overload]
    assert sum(part or 0 for part in input_classes(message)) == counted == count_input_tokens(request)
    assert message.usage.output_tokens == count_text_tokens(text_of(message)) <= min(max_tokens, 400)
    assert message.stop_reason == "max_tokens" or message.usage.output_tokens >= 150


@given(text=TEXTS, tokens=st.integers(0, 300))
@example(text="\N{GRINNING FACE}\N{GRINNING FACE}", tokens=1)
def test_texts_have_the_requested_number_of_tokens(text: str, tokens: int) -> None:
    assert count_text_tokens(fit(text, tokens, ["A sentence.", "Ein Satz für später."])) == tokens
    assert count_text_tokens(clip(text, tokens)) == min(tokens, count_text_tokens(text))
    assert "".join(pieces(text)) == text


def test_a_long_text_is_streamed_in_larger_pieces() -> None:
    short, long = pieces("five " * 100), pieces("five " * 50_000)
    assert max(map(len, short)) <= 24
    assert len(long) <= 600
    assert "".join(long) == "five " * 50_000


def test_counts_three_bytes_as_a_token() -> None:
    assert [count_text_tokens(text) for text in ("", "a", "abc", "abcd", "\N{EURO SIGN}", "\N{GRINNING FACE}")] == [
        0,
        1,
        1,
        2,
        1,
        2,
    ]


def test_counts_tools_images_and_every_message(client: anthropic.Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD" * 30}}
    tool: dict[str, Any] = {"name": "look_up", "input_schema": {"type": "object"}}
    blocks: list[dict[str, Any]] = [{"type": "text", "text": "What is this?"}, image]
    turns = [{"role": "user", "content": blocks}]
    plain = count_input_tokens(request_for("What is this?"))
    message = ask(client, "", messages=turns, tools=[tool], tool_choice={"type": "auto"})
    assert message.usage.input_tokens == count_input_tokens({"messages": turns, "tools": [tool]}) > plain + 40
    assert count_input_tokens({"messages": turns * 2}) == 2 * count_input_tokens({"messages": turns})
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = {"messages": [{"role": "user", "content": [block | mark for block in blocks]}], "tools": [tool | mark]}
    assert count_input_tokens(marked) == message.usage.input_tokens


# ---------------------------------------------------------------- prompt cache


def cacheable(name: str, *, tokens: int = 1200, ttl: str | None = None, tail: str = "") -> list[dict[str, Any]]:
    mark = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    blocks: list[dict[str, Any]] = [
        {"type": "text", "text": fit(f"# {name}\n", tokens, ["Read this."]), "cache_control": mark}
    ]
    return [*blocks, {"type": "text", "text": tail}] if tail else blocks


def test_writes_a_prefix_to_the_cache_once_and_reads_it_afterwards(client: anthropic.Anthropic) -> None:
    system = cacheable("written once")
    first, second, other_text = (ask(client, text, system=system) for text in ("Hello", "Hello", "Something else"))
    total = client.messages.count_tokens(model=HAIKU, messages=[{"role": "user", "content": "Hello"}], system=system)  # type: ignore[arg-type]
    rest, written, read = input_classes(first)
    assert (read, written) == (0, 1206)
    assert rest + 1206 == total.input_tokens
    assert input_classes(second) == (rest, 0, 1206)
    assert input_classes(other_text)[1:] == (0, 1206)
    assert first.usage.cache_creation is not None
    assert first.usage.cache_creation.ephemeral_5m_input_tokens == 1206
    assert first.usage.cache_creation.ephemeral_1h_input_tokens == 0


def test_streams_the_cache_classes(client: anthropic.Anthropic) -> None:
    system = cacheable("streamed")
    for expected in ((1206, 0), (0, 1206)):
        events = list(stream(client, "Hello", system=system))
        start, end = events[0], events[-2]
        assert start.type == "message_start"
        assert end.type == "message_delta"
        assert input_classes(start.message)[1:] == expected
        assert (end.usage.cache_creation_input_tokens, end.usage.cache_read_input_tokens) == expected


def test_every_model_has_its_own_cache(client: anthropic.Anthropic) -> None:
    system = cacheable("per model")
    written = [input_classes(ask(client, "Hello", system=system, model=model))[1] for model in (HAIKU, SONNET, HAIKU)]
    assert written == [1206, 1206, 0]


def test_tools_are_part_of_the_cached_prefix(client: anthropic.Anthropic) -> None:
    system = cacheable("with tools")
    tools = [[{"name": name, "input_schema": {"type": "object"}}] for name in ("look_up", "look_out", "look_up")]
    first, second, third = (input_classes(ask(client, "Hello", system=system, tools=tool)) for tool in tools)
    assert (first[2], second[2], third[1]) == (0, 0, 0)
    assert first[1] == third[2]
    assert (first[1] or 0) > 1206


def test_what_follows_the_last_mark_is_plain_input(client: anthropic.Anthropic) -> None:
    ask(client, "Hello", system=cacheable("with a tail", tail="First tail."))
    rest, written, read = input_classes(
        ask(client, "Hello", system=cacheable("with a tail", tail="Another, longer tail."))
    )
    assert (written, read) == (0, 1206)
    assert rest == count_input_tokens(request_for("Hello")) + count_text_tokens("Another, longer tail.")


@pytest.mark.parametrize("system", [cacheable("too short", tokens=1017), fit("", 2000, ["Not marked."])])
def test_does_not_cache_what_is_short_or_not_marked(client: anthropic.Anthropic, system: Any) -> None:
    for _ in range(2):
        assert input_classes(ask(client, "Hello", system=system))[1:] == (0, 0)


def test_caches_from_1024_tokens_on(client: anthropic.Anthropic) -> None:
    assert input_classes(ask(client, "Hello", system=cacheable("long enough", tokens=1018)))[1:] == (1024, 0)


def test_reports_an_hour_as_an_hour(client: anthropic.Anthropic) -> None:
    usage = ask(client, "Hello", system=cacheable("an hour", ttl="1h")).usage
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_1h_input_tokens == usage.cache_creation_input_tokens == 1206


def test_a_failed_call_caches_nothing(client: anthropic.Anthropic) -> None:
    system = cacheable("after a failure")
    with pytest.raises(anthropic.InternalServerError):
        ask(client, "[[claude: status=500]]", system=system)
    assert input_classes(ask(client, "Hello", system=system))[1:] == (1206, 0)


# ---------------------------------------------------------------- directives


@pytest.mark.parametrize("tokens", [1, 2, 10, 333, 5000])
def test_output_tokens_are_exact(client: anthropic.Anthropic, tokens: int) -> None:
    message = ask(client, f"Write [[claude: output_tokens={tokens}]]", max_tokens=6000)
    assert message.usage.output_tokens == count_text_tokens(text_of(message)) == tokens
    assert message.stop_reason == "end_turn"
    events = list(stream(client, f"Write [[claude: output_tokens={tokens}]]", max_tokens=6000))
    assert streamed_text(events) == text_of(message)


def test_output_tokens_do_not_exceed_max_tokens(client: anthropic.Anthropic) -> None:
    message = ask(client, "Write [[claude: output_tokens=500 stop_reason=pause_turn]]", max_tokens=100)
    assert (message.usage.output_tokens, message.stop_reason) == (100, "max_tokens")
    exact = ask(client, "Write [[claude: output_tokens=100]]", max_tokens=100)
    assert (exact.usage.output_tokens, exact.stop_reason) == (100, "end_turn")


def test_delays_a_json_answer(client: anthropic.Anthropic) -> None:
    started = time.monotonic()
    ask(client, "[[claude: delay=0.3]]")
    assert time.monotonic() - started >= 0.3


def test_delays_a_stream_once_before_its_first_delta(client: anthropic.Anthropic) -> None:
    """test_stop_ends_calls_under_way proves that the stream has begun by then."""
    started = time.monotonic()
    seen: dict[str, float] = {}
    for event in stream(client, "[[claude: delay=0.4 output_tokens=500]]"):
        seen.setdefault(event.type, time.monotonic())
    assert seen["content_block_delta"] - started >= 0.4
    assert seen["message_stop"] - started < 10


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_wait_for_each_other(client: anthropic.Anthropic, streamed: bool) -> None:
    """One alone is not answered; those of another number do not count; later calls start a new group."""
    say = (lambda text: list(stream(client, text))) if streamed else (lambda text: [ask(client, text)])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            waiting = [pool.submit(say, "[[claude: together=3]]") for _ in range(2)]
            assert say("Now.")
            others = [pool.submit(say, "[[claude: together=2]]") for _ in range(2)]
            assert all(other.result() for other in others)
            assert not any(call.done() for call in waiting)
            assert say("[[claude: together=3]]")
            assert all(call.result() for call in waiting)


def test_slows_down_between_deltas(client: anthropic.Anthropic) -> None:
    started = time.monotonic()
    events = list(stream(client, "[[claude: slow=50 output_tokens=40]]"))
    deltas = sum(event.type == "content_block_delta" for event in events)
    assert deltas >= 5
    assert time.monotonic() - started >= 0.05 * (deltas - 1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (402, "billing_error", anthropic.APIStatusError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.APIStatusError),
        (418, "invalid_request_error", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (503, "api_error", anthropic.InternalServerError),
        (504, "timeout_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
def test_fails_with_a_status(
    client: anthropic.Anthropic, status: int, kind: str, error: type[anthropic.APIStatusError], streamed: bool
) -> None:
    with pytest.raises(error) as failure:
        ask(client, f"[[claude: status={status}]]", stream=streamed)
    assert failure.value.status_code == status
    assert failure.value.type == kind
    assert failure.value.request_id
    assert failure.value.response.headers.get("retry-after") == ("1" if status in (429, 529) else None)


@pytest.mark.parametrize("status", [429, 503])
def test_sets_retry_after(client: anthropic.Anthropic, status: int) -> None:
    with pytest.raises(anthropic.APIStatusError) as failure:
        ask(client, f"[[claude: status={status} retry_after=2.5]]")
    assert failure.value.response.headers["retry-after"] == "2.5"


def test_retry_after_has_a_default_per_double() -> None:
    with (
        ClaudeDouble(retry_after=7) as slow_provider,
        connect(slow_provider) as its_client,
        pytest.raises(anthropic.RateLimitError) as failure,
    ):
        ask(its_client, "[[claude: status=429]]")
    assert failure.value.response.headers["retry-after"] == "7"


def test_the_sdk_succeeds_after_retries(double: ClaudeDouble) -> None:
    with connect(double, max_retries=2) as persistent:
        message = ask(persistent, "Persist [[claude: status=529 times=2 retry_after=0.01 output_tokens=12]]")
    assert message.usage.output_tokens == 12


def test_times_counts_the_same_text_only(client: anthropic.Anthropic) -> None:
    def outcome(text: str) -> int:
        try:
            ask(client, text)
        except anthropic.APIStatusError as error:
            return error.status_code
        return 200

    one, other = "One [[claude: status=500 times=2]]", "Other [[claude: status=500 times=2]]"
    assert [outcome(text) for text in (one, one, other, one, other, other)] == [500, 500, 500, 200, 500, 200]


def test_times_ends_an_empty_answer(client: anthropic.Anthropic) -> None:
    text = "Say something [[claude: empty times=1]]"
    assert [len(ask(client, text).content) for _ in range(3)] == [0, 1, 1]


def test_times_ends_a_cut(client: anthropic.Anthropic) -> None:
    text = "Say something [[claude: cut_after=5 times=1]]"
    with pytest.raises(anthropic.APIConnectionError):
        ask(client, text)
    assert ask(client, text).stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "reason", ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "model_context_window_exceeded"]
)
def test_stops_for_a_reason(client: anthropic.Anthropic, reason: str, streamed: bool) -> None:
    text, more = f"Hello [[claude: stop_reason={reason}]]", {"stop_sequences": ["END"]}
    if streamed:
        with client.messages.stream(**request_for(text, **more)) as events:
            message: Message = events.get_final_message()
    else:
        message = ask(client, text, **more)
    assert message.stop_reason == reason
    assert message.stop_sequence == ("END" if reason == "stop_sequence" else None)
    assert message.stop_details is None
    assert message.usage.output_tokens == count_text_tokens(text_of(message)) >= 150


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("more", "tokens"), [("", 3), ("output_tokens=50", 50)])
def test_refuses_with_details(client: anthropic.Anthropic, more: str, tokens: int, streamed: bool) -> None:
    text = f"Hello [[claude: stop_reason=refusal {more}]]"
    if streamed:
        with client.messages.stream(**request_for(text)) as events:
            message: Message = events.get_final_message()
    else:
        message = ask(client, text)
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.type == "refusal"
    assert message.usage.output_tokens == tokens
    assert count_text_tokens(text_of(message)) == (50 if more else 0)
    assert len(message.content) == (1 if more else 0)


def test_an_answer_can_be_empty(client: anthropic.Anthropic) -> None:
    message = ask(client, "[[claude: empty]]")
    assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "end_turn", 3)
    types = [event.type for event in stream(client, "[[claude: empty]]")]
    assert types == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_comes_before_the_text(client: anthropic.Anthropic, streamed: bool) -> None:
    text = "Hello [[claude: thinking=200 output_tokens=30]]"
    if streamed:
        with client.messages.stream(**request_for(text)) as events:
            message: Message = events.get_final_message()
    else:
        message = ask(client, text)
    thinking, answer = message.content
    assert thinking.type == "thinking"
    assert thinking.signature
    assert answer.type == "text"
    assert (count_text_tokens(thinking.thinking), count_text_tokens(answer.text)) == (200, 30)
    assert message.usage.output_tokens == 230
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 200


@pytest.mark.parametrize("script", ["thinking_only", "thinking=5000"])
def test_thinking_can_use_up_all_tokens(client: anthropic.Anthropic, script: str) -> None:
    message = ask(client, f"Hello [[claude: {script}]]", max_tokens=300)
    assert [block.type for block in message.content] == ["thinking"]
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 300)


def test_thinking_leaves_the_rest_to_the_text(client: anthropic.Anthropic) -> None:
    message = ask(client, "Hello [[claude: thinking=80]]", max_tokens=100)
    assert (count_text_tokens(text_of(message)), message.stop_reason) == (20, "max_tokens")


@pytest.mark.parametrize(
    ("script", "tokens"), [("", 7), ("", 0), ("", 90_000), ("thinking=20", 5), ("thinking=20", 25)]
)
def test_cuts_a_stream_after_tokens(client: anthropic.Anthropic, script: str, tokens: int) -> None:
    """The client has every earlier delta, and detects the truncation."""
    seen: list[RawMessageStreamEvent] = []
    with pytest.raises(httpx2.RemoteProtocolError):
        collect(seen, stream(client, f"Hello [[claude: cut_after={tokens} output_tokens=40 {script}]]"))
    texts = [event.delta for event in seen if event.type == "content_block_delta"]
    carried = sum(
        count_text_tokens("".join(parts))
        for parts in (
            [delta.thinking for delta in texts if delta.type == "thinking_delta"],
            [delta.text for delta in texts if delta.type == "text_delta"],
        )
    )
    assert carried == min(tokens, 40)
    assert seen[0].type == "message_start"
    assert "message_delta" not in [event.type for event in seen]


@pytest.mark.parametrize("tokens", [0, 7, 90_000])
def test_cuts_a_json_body_short(double: ClaudeDouble, client: anthropic.Anthropic, tokens: int) -> None:
    with pytest.raises(anthropic.APIConnectionError):
        ask(client, f"Hello [[claude: cut_after={tokens}]]")
    with pytest.raises(http.client.IncompleteRead) as cut:
        post(double, request_for(f"Hello [[claude: cut_after={tokens}]]"))
    assert cut.value.expected
    assert ask(client, "Hello again").stop_reason == "end_turn"


@pytest.mark.parametrize("script", ["", "output_tokens=1", "empty"])
def test_an_error_can_come_inside_a_stream(client: anthropic.Anthropic, script: str) -> None:
    seen: list[RawMessageStreamEvent] = []
    with pytest.raises(anthropic.APIStatusError) as failure:
        collect(seen, stream(client, f"Hello [[claude: error_in_stream=overloaded_error {script}]]"))
    assert (failure.value.status_code, failure.value.type) == (200, "overloaded_error")
    assert (
        sum(event.type == "content_block_delta" for event in seen) == {"": 3, "output_tokens=1": 1, "empty": 0}[script]
    )
    assert "message_delta" not in [event.type for event in seen]


def test_an_error_in_a_stream_is_a_plain_error_in_json(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.InternalServerError) as failure:
        ask(client, "Hello [[claude: error_in_stream=overloaded_error]]")
    assert (failure.value.status_code, failure.value.type) == (529, "overloaded_error")


@pytest.mark.parametrize(("factor", "billed"), [("2.5", 250), ("1.1", 110), ("0", 0)])
def test_usage_factor_multiplies_the_output_tokens(client: anthropic.Anthropic, factor: str, billed: int) -> None:
    message = ask(client, f"Hello [[claude: output_tokens=100 usage_factor={factor}]]", max_tokens=100)
    assert (count_text_tokens(text_of(message)), message.usage.output_tokens) == (100, billed)


def test_input_factor_multiplies_the_input_tokens(client: anthropic.Anthropic) -> None:
    counted = count_input_tokens(request_for("Hello [[claude: input_factor=3]]"))
    assert ask(client, "Hello [[claude: input_factor=3]]").usage.input_tokens == 3 * counted


@pytest.mark.parametrize(("raw", "expected"), [("20.5", 20.5), ('"many"', "many"), ("null", None), ("-1", -1)])
def test_reports_the_tokens_that_the_directive_says(double: ClaudeDouble, raw: str, expected: object) -> None:
    names = {
        "input": "input_tokens",
        "output": "output_tokens",
        "cache_write": "cache_creation_input_tokens",
        "cache_read": "cache_read_input_tokens",
    }
    for short, name in names.items():
        usage = post(double, request_for(f"Hello [[claude: reported_{short}={raw}]]"))[2]["usage"]
        assert usage[name] == expected
        assert all(type(usage[other]) is int for other in names.values() if other != name)


def test_counting_can_fail_alone(client: anthropic.Anthropic) -> None:
    text = "Hello [[claude: count_status=429]]"
    with pytest.raises(anthropic.RateLimitError):
        client.messages.count_tokens(model=HAIKU, messages=[{"role": "user", "content": text}])
    assert ask(client, text).stop_reason == "end_turn"


def test_a_stream_can_have_only_an_error(client: anthropic.Anthropic) -> None:
    seen: list[Any] = []
    with pytest.raises(anthropic.APIStatusError) as failure:
        collect(seen, stream(client, "Hello [[claude: error_first=overloaded_error]]"))
    assert (seen, failure.value.status_code, failure.value.type) == ([], 200, "overloaded_error")
    with pytest.raises(anthropic.InternalServerError):
        ask(client, "Hello [[claude: error_first=overloaded_error]]")


@pytest.mark.parametrize(("emoji", "halves"), [("split", ["\\ud83d", "\\ude00"]), ("half", ["\\ud83d"])])
def test_an_emoji_can_be_cut_in_two(double: ClaudeDouble, emoji: str, halves: list[str]) -> None:
    body = post(double, request_for(f"Hello [[claude: emoji={emoji}]]", stream=True))[2].decode()
    deltas = [line for line in body.splitlines() if "text_delta" in line]
    assert [f'"text": "{half}"' in line for half, line in zip(halves, deltas[-len(halves) :], strict=True)]
    assert body.count("\\ud") == len(halves)


def test_a_conversation_with_a_refused_answer_is_refused_again(client: anthropic.Anthropic) -> None:
    refused = ask(client, "Hello [[claude: stop_reason=refusal output_tokens=20]]")
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": text_of(refused)},
        {"role": "user", "content": "And now?"},
    ]
    assert (refused.stop_reason, ask(client, "", messages=turns).stop_reason) == ("refusal", "refusal")
    assert ask(client, "", messages=turns[2:]).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("directive", "named"),
    [
        ("outputtokens=5", "'outputtokens'"),
        ("output_tokens=5 loud", "'loud'"),
        ("output_tokens", "output_tokens"),
        ("output_tokens=0", "output_tokens"),
        ("output_tokens=128001", "output_tokens"),
        ("output_tokens=1_000", "output_tokens"),
        ("output_tokens=5 output_tokens=6", "output_tokens is given twice"),
        ("delay=121", "delay"),
        ("delay=-1", "delay"),
        ("delay=nan", "delay"),
        ("status=200", "status"),
        ("status=teapot", "status"),
        ("times=0", "times"),
        ("stop_reason=tool_use", "stop_reason"),
        ("error_in_stream=nonsense", "error_in_stream"),
        ("empty=yes", "empty takes no value"),
        ("usage_factor=", "usage_factor"),
        ("error_first=nonsense", "error_first"),
        ("reported_input=many", "reported_input"),
        ("emoji=whole", "emoji"),
        ("retry_after=soon", "retry_after"),
    ],
)
def test_refuses_a_directive_it_cannot_follow(double: ClaudeDouble, directive: str, named: str) -> None:
    status, kind, message = refusal_of(double, request_for(f"Hello [[claude: {directive}]]"))
    assert (status, kind) == (400, "invalid_request_error")
    assert named in message


def test_refuses_a_directive_without_end(double: ClaudeDouble) -> None:
    assert refusal_of(double, request_for("Hello [[claude: empty]"))[0] == 400


def test_several_directives_are_merged(client: anthropic.Anthropic) -> None:
    message = ask(client, "[[claude: output_tokens=40]] Hello [[claude:stop_reason=pause_turn]]")
    assert (message.usage.output_tokens, message.stop_reason) == (40, "pause_turn")


def test_follows_directives_in_the_last_user_message_only(client: anthropic.Anthropic) -> None:
    fail = "[[claude: status=500]]"
    turns = [
        {"role": "user", "content": fail},
        {"role": "assistant", "content": fail},
        {"role": "user", "content": "Go"},
    ]
    assert ask(client, "", messages=turns, system=f"# Title\n{fail}").stop_reason == "end_turn"


def test_does_not_restate_a_directive(client: anthropic.Anthropic) -> None:
    text = text_of(ask(client, "Hello there [[claude: output_tokens=300]] friend"))
    assert "> Hello there friend" in text
    assert "claude" not in text


# ---------------------------------------------------------------- validation


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": 1}, "temperature"),
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.type.enabled"),
        ({"thinking": {"type": "disabled"}}, "thinking.type.disabled"),
        ({"thinking": {"type": "between_tools"}, "model": OPUS}, "thinking.type.between_tools"),
        ({"thinking": {"type": ["adaptive"]}}, "thinking"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "look_up"}}, "tool_choice"),
        ({"messages": [user("Hello"), {"role": "assistant", "content": "Hi"}]}, "prefill"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "Hi"}, user("Hello")]}, "first message"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [user("Hello"), user("")]}, "messages.1.content"),
        ({"messages": [user("  \n")]}, "messages.0.content"),
        ({"messages": [user([])]}, "messages.0.content"),
        ({"messages": [user(None)]}, "messages.0.content"),
        ({"messages": [user([{"type": "text", "text": ""}])]}, "messages.0.content.0.text"),
        ({"messages": [user([{"type": "text"}])]}, "messages.0.content.0.text"),
        ({"messages": [user([{"text": "Hello"}])]}, "messages.0.content.0.type"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0.text"),
        ({"system": [{"type": "image"}]}, "system.0.type"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "forever"}}]}, "cache_control"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 5}, "maximum of 4"),
        ({"tools": [1]}, "tools"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 128_001}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10.5}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"model": None}, "model"),
        ({"output_config": {"effort": "extreme"}}, "effort"),
        ({"output_config": {"effort": 3}}, "effort"),
    ],
)
def test_refuses_what_the_models_refuse(double: ClaudeDouble, change: dict[str, Any], named: str) -> None:
    status, kind, message = refusal_of(double, request_for("Hello") | change)
    assert (status, kind) == (400, "invalid_request_error")
    assert named in message


@pytest.mark.parametrize("field", ["max_tokens", "messages", "model"])
def test_refuses_what_is_missing(double: ClaudeDouble, field: str) -> None:
    request = request_for("Hello")
    del request[field]
    assert refusal_of(double, request) == (400, "invalid_request_error", f"{field}: Field required")


@pytest.mark.parametrize(
    "change",
    [
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "between_tools"}, "model": SONNET},
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "none"}},
        {"max_tokens": 128_000},
        {"max_tokens": 1},
        {"system": ""},
        {"metadata": {"user_id": "someone"}},
        *({"output_config": {"effort": effort}} for effort in ("low", "medium", "high", "xhigh", "max")),
        *({"model": model} for model in (HAIKU, SONNET, OPUS)),
    ],
)
def test_accepts_what_the_models_accept(double: ClaudeDouble, change: dict[str, Any]) -> None:
    assert post(double, request_for("Hello") | change)[0] == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_does_not_know_other_models(double: ClaudeDouble, path: str) -> None:
    status, _, body = post(double, request_for("Hello", model="claude-2"), path)
    assert status == 404
    assert body["error"] == {"type": "not_found_error", "message": "model: claude-2"}


def test_refuses_a_prompt_that_is_too_long(double: ClaudeDouble) -> None:
    room = 1_000_000 - count_input_tokens(request_for("a"))
    fits, too_long = request_for("a" * 3 * (room - 9)), request_for("a" * 3 * (room - 8))
    assert post(double, fits | {"max_tokens": 10})[0] == 200
    status, kind, message = refusal_of(double, too_long | {"max_tokens": 10})
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("prompt is too long")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff", b'{"model": "\\ud800"}', b"[" * 200_000],
)
def test_refuses_what_is_not_a_json_object(double: ClaudeDouble, body: bytes) -> None:
    status, _, answer = call(double, "POST", "/v1/messages", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


def test_accepts_escaped_astral_characters(double: ClaudeDouble) -> None:
    status, _, body = post(double, request_for("\N{GRINNING FACE}"))
    assert status == 200
    assert "> \N{GRINNING FACE}" in body["content"][0]["text"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("header", "value", "status", "kind"),
    [
        ("x-api-key", None, 401, "authentication_error"),
        ("x-api-key", " ", 401, "authentication_error"),
        ("authorization", "Bearer ", 401, "authentication_error"),
        ("anthropic-version", None, 400, "invalid_request_error"),
        ("content-type", None, 400, "invalid_request_error"),
        ("content-type", "text/plain", 400, "invalid_request_error"),
    ],
)
def test_requires_headers(
    double: ClaudeDouble, path: str, header: str, value: str | None, status: int, kind: str
) -> None:
    base = {name: text for name, text in HEADERS.items() if header != "authorization" or name != "x-api-key"}
    headers = {name: text for name, text in {**base, header: value}.items() if text is not None}
    got, answered, body = call(double, "POST", path, json.dumps(request_for("Hello")).encode(), headers)
    assert (got, body["error"]["type"]) == (status, kind)
    assert answered["request-id"] == body["request_id"]


def test_accepts_the_key_in_either_header(double: ClaudeDouble) -> None:
    """The SDK sends a bearer token; calls by hand send x-api-key."""
    rest = {name: text for name, text in HEADERS.items() if name != "x-api-key"}
    for key in ({"x-api-key": "test"}, {"authorization": "Bearer test"}):
        assert call(double, "GET", "/v1/models", headers=rest | key)[0] == 200
    assert call(double, "GET", "/v1/models", headers=rest)[0] == 401


def test_takes_bodies_up_to_32_mb(double: ClaudeDouble) -> None:
    """Clients that send more can still read the error."""
    limit = 32 * 1024 * 1024
    status, _, body = call(double, "POST", "/v1/messages", b" " * (limit + 1))
    assert (status, body["error"]["type"]) == (413, "request_too_large")
    assert call(double, "POST", "/v1/messages", b" " * limit)[0] == 400


def test_requires_a_length(double: ClaudeDouble) -> None:
    status, _, body = call(double, "POST", "/v1/messages", headers=HEADERS | {"transfer-encoding": "chunked"})
    assert (status, body["error"]["type"]) == (411, "invalid_request_error")
    status, _, body = call(double, "POST", "/v1/messages", headers=HEADERS | {"content-length": "-1"})
    assert (status, body["error"]["type"]) == (411, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/v1/messages"), ("POST", "/v1/complete"), ("POST", "/v1/models")]
)
def test_does_not_know_other_paths(double: ClaudeDouble, method: str, path: str) -> None:
    status, headers, body = call(double, method, path)
    error = {"type": "not_found_error", "message": "Not Found"}
    assert status == 404
    assert body == {"type": "error", "error": error, "request_id": headers["request-id"]}


def test_answers_other_methods_in_its_own_shape(double: ClaudeDouble) -> None:
    status, headers, body = call(double, "DELETE", "/v1/messages")
    assert (status, body["type"], body["request_id"]) == (501, "error", headers["request-id"])


# ---------------------------------------------------------------- models, counters


def test_lists_its_models(client: anthropic.Anthropic) -> None:
    models = client.models.list().data
    assert [model.id for model in models] == [HAIKU, SONNET, OPUS]
    assert {model.max_tokens for model in models} == {128_000}
    assert client.models.retrieve(OPUS) == models[2]
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-2")


def test_counts_every_call_until_a_reset() -> None:
    with ClaudeDouble() as counted, connect(counted) as its_client:
        system = cacheable("forgotten")
        ask(its_client, "Hello", system=system)
        with pytest.raises(anthropic.InternalServerError):
            ask(its_client, "[[claude: status=500 times=1]]", model=OPUS)
        with pytest.raises(anthropic.BadRequestError):
            ask(its_client, "Hello", model=OPUS, extra_body={"temperature": 1})
        with pytest.raises(anthropic.NotFoundError):
            ask(its_client, "Hello", model="claude-2")
        call(counted, "POST", "/v1/messages", b"{")
        call(counted, "POST", "/v1/messages", b"{}", {})
        call(counted, "GET", "/v1/messages")
        its_client.messages.count_tokens(model=HAIKU, messages=[{"role": "user", "content": "Hello"}])
        calls = call(counted, "GET", "/_calls", headers={})[2]
        assert (calls["messages"], calls["count_tokens"]) == (6, 1)
        assert calls["messages_by_model"] == {HAIKU: 1, OPUS: 2, "claude-2": 1}

        empty = {"messages": 0, "count_tokens": 0, "messages_by_model": {}, "last_request": None}
        assert call(counted, "POST", "/_reset", headers={})[2] == empty
        assert call(counted, "GET", "/_calls", headers={})[2] == empty
        assert input_classes(ask(its_client, "Hello", system=system))[1:] == (1206, 0)
        with pytest.raises(anthropic.InternalServerError):
            ask(its_client, "[[claude: status=500 times=1]]", model=OPUS)


def test_shows_the_last_request_without_its_texts(double: ClaudeDouble, client: anthropic.Anthropic) -> None:
    secret = "a very private question"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    turns = [user(secret), {"role": "assistant", "content": "Yes?"}, user([{"type": "text", "text": secret}, image])]
    system = [{"type": "text", "text": PACKAGE, "cache_control": {"type": "ephemeral"}}]
    ask(client, "", messages=turns, system=system, output_config={"effort": "low"})
    calls = call(double, "GET", "/_calls", headers={})[2]
    assert secret not in json.dumps(calls)
    assert calls["last_request"] == {
        "model": HAIKU,
        "max_tokens": 1000,
        "system": system,
        "output_config": {"effort": "low"},
        "messages": [
            user(len(secret)),
            {"role": "assistant", "content": 4},
            user(
                [
                    {"type": "text", "text": len(secret)},
                    {"type": "image", "source": {"type": "base64", "media_type": 9, "data": 4}},
                ]
            ),
        ],
    }


# ---------------------------------------------------------------- many clients, misbehaving clients


def test_64_calls_at_once_are_64_answers() -> None:
    """No answer is lost or mixed up, and exactly one call writes the cache."""
    system = cacheable("by many")
    barrier = threading.Barrier(64)

    def one(number: int) -> Message:
        with connect(crowded) as own:
            barrier.wait(HANG_SECONDS)
            if number % 2:
                return ask(own, f"Question number{number}", system=system)
            with own.messages.stream(**request_for(f"Question number{number}", system=system)) as events:
                message: Message = events.get_final_message()
                return message

    with ClaudeDouble() as crowded, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(one, range(64)))
        calls = call(crowded, "GET", "/_calls", headers={})[2]
    assert all(f"> Question number{number}\n" in text_of(answer) for number, answer in enumerate(answers))
    assert sorted(input_classes(answer)[1:] for answer in answers) == [(0, 1206)] * 63 + [(1206, 0)]
    assert (calls["messages"], calls["messages_by_model"]) == (64, {HAIKU: 64})
    assert len({answer.id for answer in answers}) == 64


def test_delayed_calls_do_not_wait_for_each_other(double: ClaudeDouble) -> None:
    """64 calls that are each delayed by half a second take about that, not 32."""
    barrier = threading.Barrier(64)

    def one(_: int) -> int:
        barrier.wait(HANG_SECONDS)
        return post(double, request_for("[[claude: delay=0.5 output_tokens=5]]"))[0]

    started = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(one, range(64))) == [200] * 64
    assert time.monotonic() - started < 10


def handlers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "process_request" in thread.name}


def leave_while_sending_headers(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"POST /v1/messages HTTP/1.1\r\nx-api-")


def leave_while_sending_the_body(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request[:-20])


def leave_without_reading(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)


def leave_in_the_middle_of_the_answer(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    assert connection.recv(200).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "leave",
    [
        leave_while_sending_headers,
        leave_while_sending_the_body,
        leave_without_reading,
        leave_in_the_middle_of_the_answer,
    ],
)
def test_a_disconnected_client_is_not_logged(
    leave: Callable[[socket.socket, bytes], None], reset: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "Hello [[claude: output_tokens=100000 delay=0.01]]"
    body = json.dumps(request_for(text, stream=True, max_tokens=128_000)).encode()
    headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"POST /v1/messages HTTP/1.1\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body
    before = handlers()
    with ClaudeDouble() as left_alone, connect(left_alone) as its_client:
        host, port = left_alone.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=HANG_SECONDS) as connection:
            leave(connection, request)
            if reset:
                linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert ask(its_client, "Hello").stop_reason == "end_turn"
    for thread in handlers() - before:
        thread.join(HANG_SECONDS)
        assert not thread.is_alive()
    assert capfd.readouterr() == ("", "")


def test_keeps_a_connection_over_failures(double: ClaudeDouble) -> None:
    host, port = double.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=HANG_SECONDS)
    connection.connect()
    kept = connection.sock
    for text, status in (("Hello", 200), ("[[claude: status=529]]", 529), ("[[claude: loud]]", 400), ("Hello", 200)):
        connection.request("POST", "/v1/messages", json.dumps(request_for(text)), HEADERS)
        response = connection.getresponse()
        response.read()
        assert (response.status, connection.sock) == (status, kept)
    connection.close()


def test_answers_expect_100_continue(double: ClaudeDouble) -> None:
    """Clients such as curl hold back a large body until `100 Continue`."""
    host, port = double.url.removeprefix("http://").split(":")
    head = "POST /_reset HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=HANG_SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


# ---------------------------------------------------------------- start and stop


def test_stop_ends_calls_under_way() -> None:
    before = handlers()
    stopped = ClaudeDouble().start()
    with connect(stopped) as its_client:
        events = stream(its_client, "Hello [[claude: delay=100]]")
        assert next(events).type == "message_start"
        stopped.stop()
        for thread in handlers() - before:
            thread.join(HANG_SECONDS)
            assert not thread.is_alive()
        with pytest.raises(httpx2.RemoteProtocolError):
            list(events)
        with pytest.raises(anthropic.APIConnectionError):
            ask(its_client, "Hello")
    stopped.stop()


def test_stop_closes_idle_connections() -> None:
    stopped = ClaudeDouble().start()
    host, port = stopped.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=HANG_SECONDS) as connection:
        connection.sendall(b"GET /_calls HTTP/1.1\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        stopped.stop()
        assert connection.recv(1000) == b""


def test_starts_again_on_the_same_port() -> None:
    again = ClaudeDouble()
    with again:
        url = again.url
        with pytest.raises(OSError, match="in use"):
            ClaudeDouble(int(url.rsplit(":", 1)[1])).start()
    with again, connect(again) as its_client:
        assert again.start().url == url
        assert ask(its_client, "Hello").stop_reason == "end_turn"


def test_verbose_is_one_line_per_call_without_texts(capfd: pytest.CaptureFixture[str]) -> None:
    with ClaudeDouble(verbose=True) as talkative:
        post(talkative, request_for("A secret"))
        post(talkative, request_for("A secret [[claude: status=529]]"), "/v1/messages?beta=true")
        call(talkative, "DELETE", "/v1/messages")
    assert capfd.readouterr().err.splitlines() == [
        "POST /v1/messages 200",
        "POST /v1/messages 529",
        "DELETE /v1/messages 501",
    ]


def module(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "doubles.claude.server", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_runs_as_a_module_until_a_signal(ending: signal.Signals) -> None:
    with module("--port", "0") as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert re.fullmatch(r"listening on http://127\.0\.0\.1:[0-9]+\n", line)
            with anthropic.Anthropic(api_key="test", base_url=line.split()[-1], timeout=HANG_SECONDS) as its_client:
                assert ask(its_client, "Hello").stop_reason == "end_turn"
                os.kill(process.pid, ending)
                output, errors = process.communicate(timeout=HANG_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_port_in_use_is_reported(double: ClaudeDouble) -> None:
    with module("--port", double.url.rsplit(":", 1)[1]) as process:
        output, errors = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"cannot listen on {double.url}: ")


def test_explains_its_options() -> None:
    with module("--help") as process:
        output, _ = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    options = re.findall(r"^  (--[a-z-]+)(?: [A-Z]+)?(.*(?:\n {10,}.*)*)", output, re.MULTILINE)
    assert [option for option, _ in options] == ["--port", "--host", "--retry-after", "--verbose"]
    assert all(help_text.strip() for _, help_text in options)
