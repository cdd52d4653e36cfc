"""Claude through the real SDK, against a server that speaks as Claude does and one that speaks as nobody should."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doubles.claude.answers import count_input_tokens, count_text_tokens
from doubles.claude.server import ClaudeDouble
from playground.adapters.claude import MAX_RETRY_AFTER_SECONDS, RETRIES, ClaudeModel
from playground.adapters.prices import load_prices
from playground.domain.errors import ModelError, ModelOverloadedError, ModelTimedOutError
from playground.domain.pricing import Usage
from playground.ports import Prompt, TokenCount

MODELS = load_prices().models
SYSTEM = "# Tidy\n\nTidy up.\n\n- Keep it short\n"
LONG_SYSTEM = SYSTEM + "- Never leave anything lying about\n" * 200  # long enough for the provider's cache


def prompt(text: str = "Where do the shoes go?", **changes: Any) -> Prompt:
    plain = Prompt(model=MODELS["sonnet"], system=SYSTEM, messages=(("user", text),), max_tokens=1000)
    return replace(plain, **changes)


def scripted(directive: str, **changes: Any) -> Prompt:
    return prompt(f"Where do the shoes go? [[claude: {directive}]]", **changes)


def as_sent(asked: Prompt) -> dict[str, Any]:
    """What counts for the provider, written down without the code under test."""
    return {
        **({"system": asked.system} if asked.system else {}),
        "messages": [{"role": role, "content": text} for role, text in asked.messages],
    }


@pytest.fixture(scope="module")
def running() -> Iterator[ClaudeDouble]:
    with ClaudeDouble(retry_after=1) as double:
        yield double


@pytest.fixture
def double(running: ClaudeDouble) -> ClaudeDouble:
    request(running, "POST", "/_reset")
    return running


def request(double: ClaudeDouble, method: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(double.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, headers={"content-length": "0"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def calls(double: ClaudeDouble) -> dict[str, Any]:
    return request(double, "GET", "/_calls")


def last_request(double: ClaudeDouble) -> dict[str, Any]:
    sent: dict[str, Any] = calls(double)["last_request"]
    return sent


_opened: list[ClaudeModel] = []


def model(url: str, sleeps: list[float] | None = None, **options: Any) -> ClaudeModel:
    """With pauses that are noted instead of slept."""
    pauses: list[float] = [] if sleeps is None else sleeps
    _opened.append(ClaudeModel(api_key="test", base_url=url, **{"sleep": pauses.append, **options}))
    return _opened[-1]


@pytest.fixture(autouse=True)
def no_connection_is_left_open() -> Iterator[None]:
    """A function keeps its model for as long as it lives; here there are many."""
    yield
    while _opened:
        _opened.pop().close()


def fails(asked: Prompt, url: str, *, timeout: float = 20, sleeps: list[float] | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        model(url, sleeps).complete(asked, timeout=timeout)
    assert "Nothing was charged" in caught.value.message
    return caught.value


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_with_its_tokens(double: ClaudeDouble) -> None:
    asked = prompt()

    answer = model(double.url).complete(asked, timeout=20)

    assert answer.text.startswith("This answer is based on **Tidy**.")
    assert (answer.stop_reason, answer.model_id) == ("end_turn", "claude-sonnet-5-5")
    assert answer.usage == Usage(
        input_tokens=count_input_tokens(as_sent(asked)), output_tokens=count_text_tokens(answer.text)
    )


def test_tokens_of_the_cache_are_counted_apart(double: ClaudeDouble) -> None:
    """Written the first time, read the second time; the sum is the counted prompt each time."""
    claude, asked = model(double.url), prompt(system=LONG_SYSTEM)
    counted = claude.count_tokens(asked, timeout=20).tokens

    first, second = claude.complete(asked, timeout=20).usage, claude.complete(asked, timeout=20).usage

    assert (first.cache_read_tokens, second.cache_write_tokens) == (0, 0)
    assert first.cache_write_tokens == second.cache_read_tokens > 1024
    assert first.input_tokens == second.input_tokens > 0
    assert first.prompt_tokens == second.prompt_tokens == counted
    assert first.output_tokens == second.output_tokens > 0


def test_a_conversation_is_sent_in_order(double: ClaudeDouble) -> None:
    asked = prompt(messages=(("user", "one"), ("assistant", "two two"), ("user", "three three three")))

    answer = model(double.url).complete(asked, timeout=20)

    assert 'Following up on turn 1 ("one"), this is turn 2' in answer.text
    assert last_request(double)["messages"] == [
        {"role": "user", "content": len("one")},
        {"role": "assistant", "content": len("two two")},
        {"role": "user", "content": len("three three three")},
    ]


@pytest.mark.parametrize(
    ("directive", "stop_reason", "output_tokens"),
    [
        ("output_tokens=5000", "max_tokens", 1000),
        ("output_tokens=70", "end_turn", 70),
        ("output_tokens=70 stop_reason=refusal", "refusal", 70),
        ("output_tokens=70 stop_reason=model_context_window_exceeded", "model_context_window_exceeded", 70),
    ],
)
def test_answers_that_stop_early_are_answers(
    double: ClaudeDouble, directive: str, stop_reason: str, output_tokens: int
) -> None:
    answer = model(double.url).complete(scripted(directive), timeout=20)

    assert (answer.stop_reason, answer.usage.output_tokens) == (stop_reason, output_tokens)
    assert count_text_tokens(answer.text) == output_tokens


def test_thinking_is_billed_and_not_part_of_the_text(double: ClaudeDouble) -> None:
    answer = model(double.url).complete(scripted("thinking=300 output_tokens=50"), timeout=20)

    assert (count_text_tokens(answer.text), answer.usage.output_tokens) == (50, 350)


def test_what_the_provider_bills_is_reported_as_it_is(double: ClaudeDouble) -> None:
    answer = model(double.url).complete(scripted("output_tokens=100 usage_factor=3"), timeout=20)

    assert answer.usage.output_tokens == 300


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_plain_prompt_is_sent_without_any_setting(double: ClaudeDouble) -> None:
    model(double.url).complete(prompt(), timeout=20)

    assert last_request(double) == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 1000,
        "stream": True,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": len("Where do the shoes go?")}],
    }


def test_without_a_package_there_is_no_system_prompt(double: ClaudeDouble) -> None:
    model(double.url).complete(prompt(system=None), timeout=20)

    assert "system" not in last_request(double)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_providers_name_of_the_model_is_sent(double: ClaudeDouble, name: str) -> None:
    answer = model(double.url).complete(prompt(model=MODELS[name]), timeout=20)

    assert answer.model_id == last_request(double)["model"] == MODELS[name].model_id


@pytest.mark.parametrize("effort", MODELS["sonnet"].efforts)
def test_effort_is_sent(double: ClaudeDouble, effort: str) -> None:
    model(double.url).complete(prompt(effort=effort), timeout=20)

    assert last_request(double)["output_config"] == {"effort": effort}


def test_temperature_is_sent_only_to_models_that_take_it(double: ClaudeDouble) -> None:
    model(double.url).complete(prompt(temperature=0.5), timeout=20)
    assert "temperature" not in last_request(double)

    older = replace(MODELS["sonnet"], accepts_temperature=True)
    error = fails(prompt(model=older, temperature=0.5), double.url)  # the double has no such model, and says so
    assert (last_request(double)["temperature"], error.reason) == (0.5, "rejected")


def test_temperature_zero_is_a_temperature(double: ClaudeDouble) -> None:
    fails(prompt(model=replace(MODELS["sonnet"], accepts_temperature=True), temperature=0.0), double.url)

    assert last_request(double)["temperature"] == 0.0


# --- counting ---------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
MESSAGES = st.lists(TEXTS, min_size=1, max_size=6).map(
    lambda texts: tuple((("user", "assistant")[number % 2], text) for number, text in enumerate(texts))
)


@pytest.mark.parametrize("system", [None, SYSTEM, LONG_SYSTEM, "Räum auf – 片付けて 🧹"])
def test_tokens_are_counted_exactly(double: ClaudeDouble, system: str | None) -> None:
    asked = prompt("Wohin mit den Schuhen? 👟", system=system)

    assert model(double.url).count_tokens(asked, timeout=20).tokens == count_input_tokens(as_sent(asked))
    assert (calls(double)["count_tokens"], calls(double)["messages"]) == (1, 0)


def test_what_is_counted_is_what_is_billed(double: ClaudeDouble) -> None:
    claude = model(double.url)
    asked = prompt(system=LONG_SYSTEM, effort="low", messages=(("user", "a"), ("assistant", "b"), ("user", "c")))

    assert claude.complete(asked, timeout=20).usage.prompt_tokens == claude.count_tokens(asked, timeout=20).tokens


@given(st.none() | TEXTS, MESSAGES)
@example(None, (("user", "🧹" * 100),))
@example("\U0001f9f9", (("user", "x"),))
def test_a_guess_is_never_too_low(system: str | None, messages: tuple[tuple[str, str], ...]) -> None:
    """A hold is made from it: what it leaves out, nobody pays for."""
    asked = prompt(system=system, messages=messages)

    assert asked.guessed_tokens >= count_input_tokens(as_sent(asked))


@given(st.text("abcdefgh äß", min_size=300, max_size=3000))
def test_a_guess_is_not_much_too_high(text: str) -> None:
    asked = prompt(text, system=None)

    assert asked.guessed_tokens <= count_input_tokens(as_sent(asked)) + 24


def test_tokens_are_guessed_when_the_provider_is_down() -> None:
    with ClaudeDouble() as stopped:
        pass
    asked = prompt()

    assert model(stopped.url).count_tokens(asked, timeout=5) == TokenCount(asked.guessed_tokens, guessed=True)


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directive", "kind", "reason", "attempts"),
    [
        ("status=429", ModelOverloadedError, "rate_limited", 3),
        ("status=529", ModelOverloadedError, "overloaded", 3),
        ("status=503", ModelOverloadedError, "overloaded", 3),
        ("status=500", ModelError, "provider_error", 3),
        ("status=504", ModelError, "provider_error", 3),
        ("status=400", ModelError, "rejected", 1),
        ("status=401", ModelError, "rejected", 1),
        ("status=403", ModelError, "rejected", 1),
        ("status=404", ModelError, "rejected", 1),
        ("status=413", ModelError, "rejected", 1),
        ("no_such_directive", ModelError, "rejected", 1),
        ("error_in_stream=overloaded_error", ModelOverloadedError, "overloaded", 1),
        ("error_in_stream=rate_limit_error", ModelOverloadedError, "rate_limited", 1),
        ("error_in_stream=api_error", ModelError, "provider_error", 1),
        ("error_first=overloaded_error", ModelOverloadedError, "overloaded", 3),
        ("error_first=rate_limit_error", ModelOverloadedError, "rate_limited", 3),
        ("error_first=api_error", ModelError, "provider_error", 3),
        ("error_first=invalid_request_error", ModelError, "provider_error", 1),
        ("reported_output=1001", ModelError, "invalid_usage", 1),
        ("reported_input=20.5", ModelError, "invalid_usage", 1),
        ("cut_after=0", ModelError, "cut_off", 1),
        ("cut_after=40", ModelError, "cut_off", 1),
        ("empty", ModelError, "empty", 1),
        ("thinking_only", ModelError, "no_text", 1),
        ("stop_reason=refusal", ModelError, "refused", 1),
    ],
)
def test_each_failure_has_its_own_error(
    double: ClaudeDouble, directive: str, kind: type[ModelError], reason: str, attempts: int
) -> None:
    """And only what produced nothing is tried again: what may have been billed is not billed twice."""
    sleeps: list[float] = []

    error = fails(scripted(directive), double.url, sleeps=sleeps)

    assert (type(error), error.reason) == (kind, reason)
    assert (calls(double)["messages"], len(sleeps)) == (attempts, attempts - 1)


def test_no_provider_text_is_passed_on(double: ClaudeDouble) -> None:
    for directive in ("status=400", "status=500", "status=529", "error_in_stream=api_error"):
        error = fails(scripted(directive), double.url)
        assert "Scripted" not in f"{error} {error.message} {error.facts}"


def test_a_provider_that_takes_no_connection_was_not_asked() -> None:
    """Its line of waiting connections is full. That is no answer that takes too long."""
    with socket.socket() as full, ExitStack() as others:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            waiting = others.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        error = fails(prompt(), f"http://127.0.0.1:{full.getsockname()[1]}", timeout=4)

    assert (type(error), error.reason) == (ModelError, "unreachable")


def test_a_provider_that_is_not_there_is_tried_again() -> None:
    sleeps: list[float] = []
    with ClaudeDouble() as stopped:
        pass

    error = fails(prompt(), stopped.url, sleeps=sleeps)

    assert (type(error), error.reason, sleeps) == (ModelError, "unreachable", [0.5, 1.0])


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 529])
def test_the_second_attempt_may_succeed(double: ClaudeDouble, status: int) -> None:
    sleeps: list[float] = []

    answer = model(double.url, sleeps).complete(scripted(f"times=1 status={status} output_tokens=60"), timeout=20)

    assert answer.usage.output_tokens == 60
    assert (calls(double)["messages"], len(sleeps)) == (2, 1)


@pytest.mark.parametrize("status", [429, 500, 529])
def test_without_retries_the_model_is_asked_once(double: ClaudeDouble, status: int) -> None:
    with pytest.raises(ModelError):
        model(double.url, retries=0).complete(scripted(f"times=1 status={status} output_tokens=60"), timeout=20)

    assert calls(double)["messages"] == 1


def test_an_overload_that_comes_with_status_200_is_tried_again(double: ClaudeDouble) -> None:
    """As the first thing that a stream says, it says what a 529 says: nothing was produced."""
    answer = model(double.url).complete(scripted("times=1 error_first=overloaded_error output_tokens=60"), timeout=20)

    assert (answer.usage.output_tokens, calls(double)["messages"]) == (60, 2)


def test_an_error_after_the_start_and_before_any_content_is_tried_again() -> None:
    overload = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}\n\n'
    sleeps: list[float] = []
    with speaking(says(START + PING + overload, headers={"content-type": "text/event-stream"})) as url:
        assert isinstance(fails(prompt(), url, sleeps=sleeps), ModelOverloadedError)

    assert sleeps == [0.5, 1.0]


@pytest.mark.parametrize(("emoji", "end"), [("split", "😀"), ("half", "\ufffd")])
def test_a_character_that_two_deltas_share_is_one(double: ClaudeDouble, emoji: str, end: str) -> None:
    """And half of one, which is no text and could be neither stored nor sent, is replaced."""
    answer = model(double.url).complete(scripted(f"output_tokens=20 emoji={emoji}"), timeout=20)

    assert answer.text.endswith(end)
    assert answer.text.encode().decode() == answer.text


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\r"])
def test_what_separates_lines_elsewhere_is_text_in_a_stream(separator: str) -> None:
    delta = json.dumps({"type": "text_delta", "text": f"a{separator}b"}, ensure_ascii=False)
    opened = '{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}'
    told = '{"type": "content_block_delta", "index": 0, "delta": ' + delta + "}"
    ends = '{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}'
    body = START + "".join(f"data: {data}\r\n\r\n" for data in (opened, told, ends)).encode()
    with speaking(says(body, headers={"content-type": "text/event-stream"})) as url:
        assert model(url).complete(prompt(), timeout=20).text == f"a{separator}b"


def test_pauses_grow(double: ClaudeDouble) -> None:
    sleeps: list[float] = []
    fails(scripted("status=500"), double.url, sleeps=sleeps)

    assert sleeps == [0.5, 1.0]
    assert len(sleeps) == RETRIES


def test_pauses_are_at_least_as_long_as_the_provider_asks_for(double: ClaudeDouble) -> None:
    sleeps: list[float] = []
    fails(scripted("status=529 retry_after=4"), double.url, sleeps=sleeps)

    assert sleeps == [4, 4]


@pytest.mark.parametrize("retry_after", [10, 20, 3600])
def test_a_pause_that_does_not_fit_is_not_begun(double: ClaudeDouble, retry_after: int) -> None:
    sleeps: list[float] = []
    error = fails(scripted(f"status=429 retry_after={retry_after}"), double.url, timeout=11, sleeps=sleeps)

    assert (sleeps, calls(double)["messages"]) == ([], 1)
    assert error.facts["retry_after"] == min(retry_after, MAX_RETRY_AFTER_SECONDS)


def test_a_retry_is_not_begun_without_time_for_an_answer(double: ClaudeDouble) -> None:
    sleeps: list[float] = []
    fails(scripted("status=500"), double.url, timeout=2.4, sleeps=sleeps)

    assert (sleeps, calls(double)["messages"]) == ([], 1)


def test_time_that_passes_in_pauses_counts(double: ClaudeDouble) -> None:
    """With pauses that take as long as they should, the third attempt would come too late."""
    clock = Clock()
    claude = model(double.url, monotonic=clock, sleep=clock.advance)
    with pytest.raises(ModelOverloadedError):
        claude.complete(scripted("status=529 retry_after=4"), timeout=9)

    assert (clock.advanced, calls(double)["messages"]) == ([4], 2)


class Clock:
    """The worker's clock, and what was slept on top."""

    def __init__(self) -> None:
        self.advanced: list[float] = []

    def __call__(self) -> float:
        return time.monotonic() + sum(self.advanced)

    def advance(self, seconds: float) -> None:
        self.advanced.append(seconds)


@pytest.mark.parametrize(("seconds", "told"), [("0", 1), ("0.4", 1), ("7", 7), ("61", 60)])
def test_callers_are_asked_to_wait_for_a_sensible_time(double: ClaudeDouble, seconds: str, told: int) -> None:
    assert fails(scripted(f"status=529 retry_after={seconds}"), double.url, timeout=1).facts["retry_after"] == told


# --- time -------------------------------------------------------------------------------------------------------------

ENOUGH = 0.5  # s for a call
TOO_LONG = 60  # s: what should be cut after ENOUGH would go on for minutes


def takes(call: Callable[[], object]) -> float:
    started = time.monotonic()
    with suppress(ModelTimedOutError):
        call()
    return time.monotonic() - started


@pytest.mark.parametrize(
    "directive",
    ["delay=120", "slow=400 output_tokens=900", "slow=400 thinking=800"],
    ids=["silence", "drip", "thoughts"],
)
def test_an_answer_that_takes_too_long_is_given_up(double: ClaudeDouble, directive: str) -> None:
    sleeps: list[float] = []
    started = time.monotonic()

    error = fails(scripted(directive), double.url, timeout=ENOUGH, sleeps=sleeps)

    assert (type(error), error.reason, sleeps) == (ModelTimedOutError, "timed_out", [])
    assert ENOUGH <= time.monotonic() - started < TOO_LONG
    assert calls(double)["messages"] == 1


@pytest.mark.parametrize("timeout", [0, -1])
def test_without_time_left_the_model_is_not_asked(double: ClaudeDouble, timeout: float) -> None:
    error = fails(prompt(), double.url, timeout=timeout)

    assert (type(error), calls(double)["messages"]) == (ModelTimedOutError, 0)


def test_a_model_goes_on_after_a_call_that_took_too_long(double: ClaudeDouble) -> None:
    claude = model(double.url)
    with pytest.raises(ModelTimedOutError):
        claude.complete(scripted("slow=400 output_tokens=900"), timeout=ENOUGH)

    assert claude.complete(prompt(), timeout=20).text
    assert claude.count_tokens(prompt(), timeout=20).tokens == count_input_tokens(as_sent(prompt()))


# --- servers that speak as nobody should ------------------------------------------------------------------------------

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
START = b"event: message_start\ndata: " + json.dumps(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        },
    }
).encode() + b"\n\n"  # fmt: skip
Speaker = Callable[[socket.socket, threading.Event], None]


@contextmanager
def speaking(speak: Speaker) -> Iterator[str]:
    """A server that lets `speak` have the connection after each request. The event is set when the test is over."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            _take_request(connection)
            speak(connection, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                if over.is_set():
                    connection.close()
                    return
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            over.set()
            socket.create_connection(address).close()  # wakes the acceptor
            for thread in (acceptor, *threads):
                thread.join()


def _take_request(connection: socket.socket) -> None:
    """All of it: what is left unread when a connection is closed resets it, and takes the answer along."""
    head = b""
    while b"\r\n\r\n" not in head and (received := connection.recv(1 << 20)):
        head += received
    head, _, body = head.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: *([0-9]+)", head)
    missing = int(found[1]) - len(body) if found is not None else 0
    while missing > 0 and (received := connection.recv(1 << 20)):
        missing -= len(received)


def says(body: bytes, *, status: str = "200 OK", headers: Mapping[str, str] | None = None) -> Speaker:
    lines = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **(headers or {})}.items())
    answer = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
    return lambda connection, over: connection.sendall(answer)


def pings_only(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(EVENTS + START)
    while not over.wait(0.03):
        connection.sendall(PING)


def never(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def falls_silent(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(EVENTS + START)
    over.wait(0.9)
    connection.sendall(PING)
    over.wait()


def drips_headers(connection: socket.socket, over: threading.Event) -> None:
    for byte in EVENTS:
        if over.wait(0.03):
            return
        connection.sendall(bytes([byte]))


def test_pings_do_not_extend_the_time() -> None:
    """The SDK swallows pings, and each of them is a successful read: no timeout of its own would ever end this."""
    with speaking(pings_only) as url:
        started = time.monotonic()
        error = fails(prompt(), url, timeout=ENOUGH)
        took = time.monotonic() - started

    assert (type(error), error.reason) == (ModelTimedOutError, "timed_out")
    assert ENOUGH <= took < TOO_LONG


def test_a_server_that_never_answers_costs_no_more_than_the_time_there_is() -> None:
    with speaking(never) as url:
        started = time.monotonic()
        assert isinstance(fails(prompt(), url, timeout=ENOUGH), ModelTimedOutError)
        assert model(url).count_tokens(prompt(), timeout=ENOUGH) == TokenCount(prompt().guessed_tokens, guessed=True)
        assert time.monotonic() - started < TOO_LONG


@pytest.mark.parametrize("speak", [falls_silent, drips_headers])
def test_the_time_is_over_when_it_is_over(speak: Speaker) -> None:
    """An invocation that is ended in the middle of a read cannot release its hold any more. A read that is not cut
    takes 1.9 s every time; on a busy machine one that is cut may take as long once, but not always."""
    with speaking(speak) as url:
        assert any(takes(lambda: model(url).complete(prompt(), timeout=1)) < 1.8 for _ in range(9))
        assert any(takes(lambda: model(url).count_tokens(prompt(), timeout=1)) < 1.8 for _ in range(9))


@pytest.mark.parametrize(
    "speak",
    [
        says(b"<html>"),
        says(b"{}"),
        says(b"", headers={"content-type": "text/event-stream"}),
        says(START, headers={"content-type": "text/event-stream"}),
        says(b"event: message_start\ndata: {\n\n", headers={"content-type": "text/event-stream"}),
        says(b"event: message_start\ndata: \xff\n\n", headers={"content-type": "text/event-stream"}),
        says(b"not gzip", headers={"content-encoding": "gzip"}),
        says(START, headers={"content-type": "text/event-stream", "content-length": "9999"}),
    ],
    ids=range(8),
)
def test_an_answer_that_makes_no_sense_is_cut_off(speak: Speaker) -> None:
    with speaking(speak) as url:
        error = fails(prompt(), url)

    assert (type(error), error.reason) == (ModelError, "cut_off")


@pytest.mark.parametrize(
    "speak",
    [
        says(b"", status="500 X"),
        says(b"<html>", status="502 X", headers={"content-type": "text/html"}),
        says(b"[]", status="500 X"),
        says(b'{"error": "text"}', status="500 X"),
    ],
    ids=range(4),
)
def test_errors_without_a_proper_body_are_known_by_their_status(speak: Speaker) -> None:
    with speaking(speak) as url:
        error = fails(prompt(), url)

    assert (type(error), error.reason) == (ModelError, "provider_error")


@pytest.mark.parametrize("value", ["", "soon", "-5", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_retry_after_that_is_no_number_is_ignored(value: str) -> None:
    sleeps: list[float] = []
    with speaking(says(b"", status="529 X", headers={"retry-after": value})) as url:
        error = fails(prompt(), url, sleeps=sleeps)

    assert (type(error), error.facts["retry_after"], sleeps) == (ModelOverloadedError, 1, [0.5, 1.0])


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_retry_after_that_is_not_finite_is_an_overload_too(value: str) -> None:
    with speaking(says(b"", status="529 X", headers={"retry-after": value})) as url:
        assert isinstance(fails(prompt(), url), ModelOverloadedError)


@pytest.mark.parametrize(
    "speak",
    [
        says(b"{"),
        says(b"{}"),
        says(b"null"),
        says(b"[]"),
        says(b'{"input_tokens": "many"}'),
        says(b"<html>", headers={"content-type": "text/html"}),
        says(b"\xff\xfe"),
    ],
    ids=range(7),
)
def test_tokens_are_guessed_when_the_count_makes_no_sense(speak: Speaker) -> None:
    with speaking(speak) as url:
        assert model(url).count_tokens(prompt(), timeout=5) == TokenCount(prompt().guessed_tokens, guessed=True)


@pytest.mark.parametrize(
    "events",
    [
        b'event: message_start\ndata: {"type": "message_start"}\n\n',
        START + b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
        b'"delta": {"type": "text_delta", "text": "x"}}\n\n',
    ],
    ids=["a start without a message", "a delta without its block"],
)
def test_a_stream_with_holes_is_cut_off(events: bytes) -> None:
    with speaking(says(events, headers={"content-type": "text/event-stream"})) as url:
        assert fails(prompt(), url).reason == "cut_off"


def test_tokens_are_guessed_when_the_provider_refuses_to_count() -> None:
    for status in ("401 X", "429 X", "500 X", "529 X"):
        with speaking(says(b"{}", status=status)) as url:
            assert model(url).count_tokens(prompt(), timeout=5) == TokenCount(prompt().guessed_tokens, guessed=True)


def test_no_spans_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: they cost time, and would go nowhere."""
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", "true")
    model = ClaudeModel(api_key="k", base_url="http://127.0.0.1:1")
    assert not model._client.open_telemetry["traces"]["enabled"]
    model.close()
