"""Streams as gateways and proxies really send them: framed otherwise, with more after the end, twice begun, without
bounds. Each is one whole answer, or one failure that says what it cost."""

import gzip
import itertools
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playground.adapters.claude import RETRIES
from playground.domain.errors import ModelError, RunCancelledError
from playground.domain.pricing import Spent, Usage
from playground.ports import TokenCount, Unwatched
from tests.unit.test_claude_model import EVENTS, PING, Speaker, fails, model, prompt, says, speaking
from tests.unit.test_claude_usage import SENSIBLE, STREAM, _object, answer_of, event

pytestmark = pytest.mark.timeout(60)

USAGE = _object(SENSIBLE)
DEEP = b"[" * 100_000


def start(stop_reason: str = "null") -> bytes:
    told = {"model": '"claude-sonnet-5-5"', "stop_reason": stop_reason, "usage": USAGE}
    return event("message_start", message=_object(told))


def text(words: str, index: int = 0) -> list[bytes]:
    return [
        event("content_block_start", index=str(index), content_block='{"type": "text", "text": ""}'),
        event(
            "content_block_delta", index=str(index), delta=_object({"type": '"text_delta"', "text": json.dumps(words)})
        ),
        event("content_block_stop", index=str(index)),
    ]


END = event("message_delta", delta='{"stop_reason": "end_turn"}', usage=USAGE)
STOP = event("message_stop")
WHOLE = b"".join([start(), *text("Hello"), END, STOP])


def streaming(*parts: bytes) -> Speaker:
    return says(b"".join(parts), headers=STREAM)


def failure(*parts: bytes) -> ModelError:
    with speaking(streaming(*parts)) as url:
        return fails(prompt(), url)


# --- framing ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cuts=st.lists(st.integers(0, len(WHOLE)), max_size=12),
    ending=st.sampled_from([b"\n", b"\r\n"]),
    comment=st.sampled_from([b"", b": keep-alive\n\n", PING, b"id: 7\nretry: 10\n\n", b"data\n\n", b"\n\n\n"]),
)
def test_an_answer_is_the_same_however_it_is_framed(cuts: Sequence[int], ending: bytes, comment: bytes) -> None:
    body = comment + comment.join(part + b"\n\n" for part in WHOLE.split(b"\n\n")[:-1])
    body = body.replace(b"\n", ending)
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(EVENTS.replace(b"connection: close", b"connection: close\r\ntransfer-encoding: chunked"))
        for first, last in itertools.pairwise(places):
            connection.sendall(f"{last - first:x}\r\n".encode() + body[first:last] + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    assert answer_of(speak).text == "Hello"


def test_a_compressed_stream_is_read() -> None:
    assert answer_of(says(gzip.compress(WHOLE), headers={**STREAM, "content-encoding": "gzip"})).text == "Hello"


def test_unknown_events_and_blocks_are_left_out() -> None:
    unknown = event("content_block_start", index="0", content_block='{"type": "hologram", "beam": [1]}')
    delta = event("content_block_delta", index="0", delta='{"type": "hologram_delta", "beam": 2}')
    news = event("weather", sun="true")

    assert answer_of(streaming(start(), news, unknown, delta, *text("Hello", 1), END, STOP)).text == "Hello"


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [b"data: [DONE]\n\n", event("error", error='{"type": "overloaded_error"}'), WHOLE, b"data: {\n\n", b"\xff" * 99],
    ids=["done", "an error", "another answer", "half an event", "bytes"],
)
def test_what_follows_an_answer_is_not_part_of_it(more: bytes) -> None:
    answer = answer_of(streaming(WHOLE, more))

    assert (answer.text, answer.usage) == ("Hello", Usage(input_tokens=20, output_tokens=3))


def test_an_answer_is_over_when_it_says_so() -> None:
    """A proxy that keeps the connection, or goes on with pings, does not make a timeout of an answer that is there."""

    def keeps(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(EVENTS + WHOLE)
        while not over.wait(0.05):
            connection.sendall(PING)

    began = time.monotonic()
    assert answer_of(keeps).text == "Hello"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("stop_reason", ['"end_turn"', "null"])
def test_without_its_end_an_answer_is_cut_off(stop_reason: str) -> None:
    """Only message_delta says how long the answer was; what message_start said of an end was said before it."""
    error = failure(start(stop_reason), *text("Hello, this is a rather long beginning"))

    assert error.reason == "cut_off"
    assert error.spent is not None
    assert error.spent.estimated
    assert error.spent.usage.output_tokens > 3


@pytest.mark.parametrize("usage", [{}, {"usage": "null"}, {"usage": "7"}], ids=["none", "null", "a number"])
def test_an_end_without_usage_does_not_say_how_long_the_answer_was(usage: dict[str, str]) -> None:
    error = failure(start(), *text("x" * 300), event("message_delta", delta='{"stop_reason": "end_turn"}', **usage))

    assert error.reason == "cut_off"
    assert error.spent == Spent(usage=Usage(input_tokens=20, output_tokens=100), estimated=True)


# --- the beginning ----------------------------------------------------------------------------------------------------


def test_an_answer_that_begins_twice_makes_no_sense() -> None:
    """Of which of the two is the usage? And what was seen of the first was paid for, too."""
    error = failure(start(), *text("x" * 300), start(), *text("Hello"), END, STOP)

    assert (type(error), error.reason) == (ModelError, "cut_off")
    assert error.spent is not None
    assert error.spent.usage.output_tokens >= 100


def test_before_any_content_a_second_beginning_replaces_the_first() -> None:
    assert answer_of(streaming(start(), start(), *text("Hello"), END, STOP)).text == "Hello"


def test_a_block_that_begins_twice_makes_no_sense() -> None:
    assert failure(start(), *text("Hello"), *text("Hello"), END, STOP).reason == "cut_off"


@pytest.mark.parametrize("index", ["null", "-1", "true", '"0"', "[]", "0.5", "1e999"])
def test_a_block_is_numbered(index: str) -> None:
    block = event("content_block_start", index=index, content_block='{"type": "text", "text": "Hello"}')

    assert failure(start(), block, END, STOP).reason == "cut_off"


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_an_event_that_is_nested_without_bounds_is_cut_off() -> None:
    error = failure(start(), b"data: " + DEEP + b"\n\n", END, STOP)

    assert (type(error), error.reason) == (ModelError, "cut_off")


@pytest.mark.parametrize("status", ["400 X", "529 X"])
def test_an_error_that_is_nested_without_bounds_is_known_by_its_status(status: str) -> None:
    with speaking(says(DEEP, status=status)) as url:
        assert fails(prompt(), url).reason == ("rejected" if status == "400 X" else "overloaded")


def test_tokens_are_guessed_when_the_count_is_nested_without_bounds() -> None:
    with speaking(says(DEEP)) as url:
        assert model(url).count_tokens(prompt(), timeout=5) == TokenCount(prompt().guessed_tokens, guessed=True)


def _endless(first: bytes, again: bytes) -> Speaker:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(EVENTS + first)
        sent = 0
        while not over.is_set() and sent < 300_000_000:
            connection.sendall(again)
            sent += len(again)

    return speak


def _compressed_line(connection: socket.socket, over: threading.Event) -> None:
    packer = zlib.compressobj(level=1, wbits=31)  # gzip's format; in parts, because what is traced counts this, too
    parts = [packer.compress(start() + b"data: "), *(packer.compress(b"x" * 1_000_000) for _ in range(200))]
    body = b"".join((*parts, packer.flush()))
    says(body, headers={**STREAM, "content-encoding": "gzip"})(connection, over)


DELTA = text("x" * 1000)[1]


@pytest.mark.parametrize(
    "speak",
    [
        _endless(start() + b"data: ", b"x" * 100_000),
        _endless(start() + b"data: {\n", b"data: x\n" * 10_000),
        _endless(start() + text("")[0], DELTA * 100),
        _compressed_line,
    ],
    ids=["a line", "an event", "a text", "a compressed line"],
)
def test_what_has_no_end_is_given_up(speak: Speaker) -> None:
    """Before it fills the memory of the function, which has 768 MB, and whose end would leave the hold behind."""
    tracemalloc.start()
    try:
        with speaking(speak) as url:
            error = fails(prompt(), url, timeout=30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (type(error), error.reason) == (ModelError, "cut_off")
    assert error.spent is not None
    assert peak < 256_000_000


@pytest.mark.parametrize("status", ["200 OK", "400 X"])
def test_of_a_body_without_bounds_only_the_beginning_is_read(status: str) -> None:
    """Of an error, and of a count of tokens, which the SDK reads whole."""
    speak = says(b"x" * 100_000_000, status=status)
    tracemalloc.start()
    try:
        with speaking(speak) as url:
            if status == "400 X":
                assert fails(prompt(), url).reason == "rejected"
            assert model(url).count_tokens(prompt(), timeout=20).guessed
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_a_text_is_no_longer_than_its_tokens_can_be() -> None:
    with speaking(streaming(start(), *text("x" * 300_000), END, STOP)) as url:
        assert fails(prompt(max_tokens=100), url).reason == "cut_off"


# --- elsewhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_and_the_prompt_go_to_no_other_place(status: int) -> None:
    """A redirect would take both along, and the API has none."""
    asked = threading.Event()

    def elsewhere(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        connection.sendall(EVENTS + WHOLE)

    with speaking(elsewhere) as other, speaking(says(b"", status=f"{status} X", headers={"location": other})) as url:
        error = fails(prompt(), url)
        assert model(url).count_tokens(prompt(), timeout=5).guessed

    assert (type(error), error.reason, asked.is_set()) == (ModelError, "rejected", False)


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says_first", "reason"),
    [
        (b"", "unreachable"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: te", "cut_off"),  # the end of its headers, as the HTTP library sees it
        (b"nonsense\r\n\r\n", "unreachable"),
    ],
)
def test_a_connection_that_breaks_after_the_question_may_have_been_billed(says_first: bytes, reason: str) -> None:
    """It was sent. Only a connection that did not come about was surely not asked for anything."""

    def hangs_up(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(says_first)

    with speaking(hangs_up) as url:
        error = fails(prompt(), url)

    assert (type(error), error.reason) == (ModelError, reason)
    assert error.spent is not None
    assert error.spent.estimated


# --- attempts that broke ----------------------------------------------------------------------------------------------


def breaking(then: Speaker) -> Speaker:
    """Ends the first connection without a word, and lets `then` have the others."""
    first = threading.Lock()

    def speak(connection: socket.socket, over: threading.Event) -> None:
        if not first.acquire(blocking=False):
            then(connection, over)

    return speak


def whole_prompt() -> Spent:
    """The most that one attempt may have cost."""
    asked = prompt()
    return Spent(usage=asked.model.most_expensive(asked.guessed_tokens, asked.max_tokens), estimated=True)


def test_what_a_broken_attempt_may_have_cost_comes_with_the_answer_of_the_next() -> None:
    with speaking(breaking(streaming(WHOLE))) as url:
        assert model(url).complete(prompt(), timeout=20).lost == (whole_prompt(),)


def test_what_a_broken_attempt_may_have_cost_comes_with_the_error_of_the_last() -> None:
    with speaking(breaking(says(b"", status="529 X"))) as url:
        overloaded = fails(prompt(), url)
    with speaking(breaking(says(b"", status="400 X"))) as url:
        refused = fails(prompt(), url)
    for error in (overloaded, refused):
        assert (error.spent, error.lost) == (None, (whole_prompt(),))


def test_broken_attempts_each_count_once() -> None:
    with speaking(lambda connection, over: None) as url:
        error = fails(prompt(), url)
    assert (error.spent, error.lost) == (whole_prompt(), (whole_prompt(),) * RETRIES)


def test_what_a_broken_attempt_may_have_cost_is_known_when_its_owner_stops_in_the_pause() -> None:
    class Stopping(Unwatched):
        def stopping(self, seconds: float = 0) -> bool:
            return seconds > 0

    with speaking(breaking(says(b""))) as url, pytest.raises(RunCancelledError) as caught:
        model(url, sleep=None).complete(prompt(), timeout=20, progress=Stopping())

    assert (caught.value.spent, caught.value.lost) == (None, (whole_prompt(),))
