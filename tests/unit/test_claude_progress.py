"""An answer while it is written: each piece when it comes, all of them together the whole, and an end at any moment."""

import json
import queue
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playground.domain.errors import ModelError, RunCancelledError
from playground.domain.pricing import Usage
from playground.ports import CANCELLED, Completion
from tests.kit.extent import HANG_SECONDS
from tests.unit.test_claude_model import EVENTS, model, prompt, speaking
from tests.unit.test_claude_streams import END, STOP, start, streaming
from tests.unit.test_claude_usage import _object, event

pytestmark = pytest.mark.timeout(HANG_SECONDS)

END_SECONDS = 30  # by which a call that was given up has surely ended; it takes milliseconds


class Watcher:
    """`ports.Progress` of a test. Pieces can be waited for."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.came: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stopped = threading.Event()

    def write(self, text: str) -> None:
        self.pieces.append(text)
        self.came.put(text)

    def stopping(self, seconds: float = 0) -> bool:
        return self.stopped.wait(seconds)


class Slow(Watcher):
    """Takes a millisecond for each piece."""

    def write(self, text: str) -> None:
        super().write(text)
        threading.Event().wait(0.001)


def delta(words: str, index: int = 0) -> bytes:
    told = _object({"type": '"text_delta"', "text": json.dumps(words)})
    return event("content_block_delta", index=str(index), delta=told)


def block(kind: str = "text", index: int = 0) -> bytes:
    content = f'{{"type": "{kind}", "{kind}": ""}}'
    return event("content_block_start", index=str(index), content_block=content)


def stopped_after(
    *parts: bytes, wait_for: int, watcher: Watcher | None = None
) -> tuple[Completion | ModelError, Watcher]:
    """What the model gives if its owner ends it after so many pieces; the provider says no more and goes on talking."""
    watcher = watcher or Watcher()

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(EVENTS + b"".join(parts))
        over.wait(HANG_SECONDS)

    with speaking(speak) as url:

        def stop() -> None:
            for _ in range(wait_for):
                watcher.came.get(timeout=HANG_SECONDS)
            watcher.stopped.set()

        stopping = threading.Thread(target=stop)
        stopping.start()
        try:
            return model(url).complete(prompt(), timeout=HANG_SECONDS, progress=watcher), watcher
        except ModelError as error:
            return error, watcher
        finally:
            watcher.stopped.set()
            stopping.join(HANG_SECONDS)


def test_each_piece_is_passed_on_before_the_next_one_is_sent() -> None:
    watcher = Watcher()

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(EVENTS + start() + block())
        for word in ("one ", "two ", "three"):
            connection.sendall(delta(word))
            assert watcher.came.get(timeout=HANG_SECONDS) == word
        connection.sendall(END + STOP)

    with speaking(speak) as url:
        answer = model(url).complete(prompt(), timeout=HANG_SECONDS, progress=watcher)
    assert answer.text == "one two three" == "".join(watcher.pieces)


UNITS = st.lists(
    st.sampled_from(["a", "é", "\u4f60", "\U0001f600", "\ud83d", "\ude00", " ", '"', "\\"]), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(UNITS.map("".join), min_size=1, max_size=6), second=UNITS.map("".join))
def test_the_pieces_together_are_the_text(words: list[str], second: str) -> None:
    """Also when a character comes in two halves, or half of one never comes."""
    watcher = Watcher()
    parts = [start(), block(), *map(delta, words), block("thinking", 1), block(index=2), delta(f"{second}.", 2)]

    with speaking(streaming(*parts, END, STOP)) as url:
        answer = model(url).complete(prompt(), timeout=HANG_SECONDS, progress=watcher)

    assert "".join(watcher.pieces) == answer.text
    "".join(watcher.pieces).encode()


def test_what_comes_before_text_that_is_there_is_no_answer() -> None:
    """Its reader has seen the later text first."""
    watcher = Watcher()
    said = streaming(start(), block(index=1), delta("two", 1), block(), delta("one "), END, STOP)
    with speaking(said) as url, pytest.raises(ModelError) as caught:
        model(url).complete(prompt(), timeout=HANG_SECONDS, progress=watcher)
    assert caught.value.reason == "cut_off"
    assert watcher.pieces == ["two"]


def test_an_ended_answer_is_what_was_written_and_its_output_is_counted_upward() -> None:
    answer, watcher = stopped_after(start(), block(), delta("Under the "), delta("stairs"), wait_for=2)

    assert isinstance(answer, Completion)
    assert (answer.text, answer.stop_reason) == ("Under the stairs", CANCELLED)
    assert "".join(watcher.pieces) == "Under the stairs"
    assert answer.usage == Usage(input_tokens=20, output_tokens=6)  # of 16 bytes


def test_thinking_that_was_seen_is_output() -> None:
    thought = event(
        "content_block_delta", index="0", delta=_object({"type": '"thinking_delta"', "thinking": json.dumps("x" * 300)})
    )
    answer, _ = stopped_after(start(), block("thinking"), thought, block(index=1), delta("Yes", 1), wait_for=1)

    assert isinstance(answer, Completion)
    assert answer.usage.output_tokens == 101


def test_an_answer_that_was_whole_is_itself() -> None:
    answer, _ = stopped_after(start(), block(), delta("Hello"), END, wait_for=1)

    assert isinstance(answer, Completion)
    assert (answer.text, answer.stop_reason) == ("Hello", "end_turn")


@pytest.mark.parametrize(
    "parts",
    [(), (start(),), (start(), block("thinking")), (start(), block(), delta(" \n"))],
    ids=["nothing", "the beginning", "thinking", "blank"],
)
def test_without_text_an_ended_run_is_cancelled(parts: tuple[bytes, ...]) -> None:
    error, watcher = stopped_after(*parts, wait_for=int(len(parts) == 3))

    assert isinstance(error, RunCancelledError)
    assert "".join(watcher.pieces).strip() == ""


def test_nothing_is_shown_of_what_comes_after_the_end() -> None:
    """The thread that reads the answer may have much of it in hand."""
    many = [delta(f"{number} ") for number in range(2_000)]
    answer, watcher = stopped_after(start(), block(), *many, wait_for=1, watcher=Slow())

    for thread in threading.enumerate():
        if thread.name == "claude":
            thread.join(HANG_SECONDS)
    assert isinstance(answer, Completion)
    assert answer.text == "".join(watcher.pieces)


def test_a_run_that_is_to_end_is_not_begun() -> None:
    watcher = Watcher()
    watcher.stopped.set()
    with pytest.raises(RunCancelledError) as caught:
        model("http://127.0.0.1:9").complete(prompt(), timeout=5, progress=watcher)
    assert caught.value.spent is None


def test_a_pause_before_a_retry_ends_at_once() -> None:
    watcher = Watcher()
    asked = threading.Event()

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 529 X\r\nretry-after: 60\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        asked.set()

    with speaking(speak) as url:
        stopping = threading.Thread(target=lambda: asked.wait(HANG_SECONDS) and watcher.stopped.set())
        stopping.start()
        with pytest.raises(RunCancelledError):
            model(url, sleep=None).complete(prompt(), timeout=HANG_SECONDS, progress=watcher)
        stopping.join()


def test_an_impossible_count_of_the_prompt_is_not_charged() -> None:
    told = {"model": '"claude-sonnet-5-5"', "stop_reason": "null", "usage": '{"input_tokens": 1e9, "output_tokens": 1}'}
    error, _ = stopped_after(event("message_start", message=_object(told)), block(), delta("Hello"), wait_for=1)

    assert isinstance(error, ModelError)
    assert error.reason == "invalid_usage"


@pytest.mark.parametrize("how", ["stopped", "out of time"])
@pytest.mark.parametrize(
    "said", [b"", EVENTS, EVENTS + start() + block() + delta("Hello ")], ids=["nothing", "a status", "text"]
)
def test_a_call_that_is_given_up_ends_at_the_provider(said: bytes, how: str) -> None:
    """Who pays for the tokens would pay on, and the thread and its connection would be kept for minutes."""
    watcher = Watcher()
    ended: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(said)
        if how == "stopped":
            watcher.stopped.set()
        connection.settimeout(0.1)
        while not over.is_set():
            with suppress(TimeoutError):
                ended.put(connection.recv(1))
                return

    with speaking(speak) as url:
        try:
            timeout = HANG_SECONDS if how == "stopped" else 0.3
            model(url, retries=0).complete(prompt(), timeout=timeout, progress=watcher)
        except ModelError:
            pass
        assert ended.get(timeout=END_SECONDS) == b""
        for thread in threading.enumerate():
            if thread.name == "claude":
                thread.join(END_SECONDS)
                assert not thread.is_alive()


def test_a_call_that_is_given_up_while_it_connects_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher()
    go_on = threading.Event()
    found = socket.getaddrinfo

    def look_up(*args: Any, **options: Any) -> Any:
        watcher.stopped.set()
        go_on.wait(HANG_SECONDS)
        return found(*args, **options)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        claude = model(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=0)
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(RunCancelledError):
            claude.complete(prompt(), timeout=HANG_SECONDS, progress=watcher)
        go_on.set()
        listener.settimeout(HANG_SECONDS)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(HANG_SECONDS)
            assert connection.recv(1) == b""
