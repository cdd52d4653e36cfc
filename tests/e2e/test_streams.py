"""Streams through the whole laptop stack: gateway, Web Adapter, function, store and Claude's stand-in, over HTTP."""

import http.client
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.event_stream import ServerEvent, read_events
from tests.e2e.conftest import Stack
from tests.kit.extent import HANG_SECONDS, whole_only
from tests.support import all_entries, check_invariants

PACKAGE = "@playground/code-reviewer"
TOKENS = 60


class Reader:
    """One user who reads streams."""

    def __init__(self, stack: Stack, user_id: str) -> None:
        self.stack = stack
        self.user_id = user_id
        self.client = stack.client(user_id)

    @contextmanager
    def opened(
        self, method: str, path: str, body: Mapping[str, object] | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(urlsplit(self.stack.url).netloc, timeout=HANG_SECONDS)
        own = {"Authorization": f"Bearer {self.client.token}", "Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, own | named)
            yield connection.getresponse()
        finally:
            connection.close()

    def run(self, directive: str, key: str = "k", **headers: str) -> Any:
        body = {"package_id": PACKAGE, "input": f"Review this. [[claude: {directive}]]"}
        return self.opened("POST", "/playground/run/stream", body, Idempotency_Key=key, **headers)

    def read_on(self, run_id: str, offset: object = 0) -> Any:
        return self.opened("GET", f"/playground/runs/{run_id}/stream", Last_Event_ID=str(offset))

    def account(self) -> tuple[int, int]:
        """Balance and what is held, of the account, which adds up."""
        account = self.stack.ledger.account(self.user_id, datetime.now(UTC))
        check_invariants(account, all_entries(self.stack.ledger, self.user_id))
        return account.balance, account.held

    def ended(self, run_id: str) -> Mapping[str, Any]:
        """The receipt of the run, when it has ended."""
        for _ in range(int(HANG_SECONDS * 10)):
            receipt = self.client.get(f"/playground/runs/{run_id}").body
            if receipt["status"] != "held":
                return receipt
            threading.Event().wait(0.1)
        raise AssertionError("the run has not ended")


@pytest.fixture
def reader(stack: Stack, user_id: str) -> Reader:
    return Reader(stack, user_id)


def text_of(events: list[ServerEvent]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "delta")


def test_deltas_arrive_while_claude_writes(reader: Reader) -> None:
    """Were they held back anywhere on the way, they would arrive together."""
    arrived: list[float] = []
    events: list[ServerEvent] = []
    with reader.run(f"output_tokens={TOKENS} slow=100") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        for event in read_events(response):
            events.append(event)
            arrived.append(time.monotonic())

    assert [events[0].name, events[-1].name] == ["run", "done"]
    gaps = [after - before for before, after in itertools.pairwise(arrived[1:-1])]
    assert len(gaps) >= 5
    assert sum(gap > 0.05 for gap in gaps) > len(gaps) * 0.7
    done = events[-1].data
    assert text_of(events) == done["response"]
    assert [int(event.id or 0) for event in events if event.name == "delta"][-1] == len(done["response"])
    assert (done["run_id"], done["session_id"]) == (events[0].data["run_id"], events[0].data["session_id"])
    assert done["credits_spent"] <= events[0].data["ceiling"]
    assert reader.account() == (5 - done["credits_spent"], 0)


def test_whatever_byte_it_was_cut_at_it_goes_on_there(reader: Reader) -> None:
    """Of one run, made once: while it is being made, by the instance that makes it and by others, and afterwards."""
    dice = random.Random(20261128)
    with reader.run(f"output_tokens={TOKENS} slow=120") as response:
        first = next(read_events(response))
        run_id = first.data["run_id"]
    while_made = [cut_and_read_on(reader, run_id, dice.randrange(20, 2_500)) for _ in range(3)]
    again = []
    for _ in range(2):
        with reader.run(f"output_tokens={TOKENS} slow=120", Last_Event_ID="7") as response:
            again.append(text_of(list(read_events(response))))

    receipt = reader.ended(run_id)
    text = receipt["response"]
    assert while_made == [text] * 3
    assert again == [text[7:]] * 2
    with reader.read_on(run_id) as response:
        whole = response.read()
    for size in [*range(0, len(whole), 97), *(dice.randrange(len(whole)) for _ in range(10))]:
        assert cut_and_read_on(reader, run_id, size) == text
    assert receipt["status"] == "settled"
    assert reader.account() == (5 - receipt["credits_spent"], 0)


def cut_and_read_on(reader: Reader, run_id: str, size: int) -> str:
    """The text of two readings: the first ends after so many bytes, the second begins behind its last whole event."""
    with reader.read_on(run_id) as response:
        begun = response.read(size)
    seen = list(read_events(begun.splitlines(keepends=True)))
    with reader.read_on(run_id, next((event.id for event in reversed(seen) if event.id), 0)) as response:
        rest = list(read_events(response))
    assert rest[-1].name == "done"
    return text_of(seen) + text_of(rest)


def test_at_every_event_it_goes_on_behind_it(reader: Reader) -> None:
    with reader.run(f"output_tokens={TOKENS} slow=20") as response:
        events = list(read_events(response))
    run_id, text = events[0].data["run_id"], events[-1].data["response"]

    for event in events:
        if event.name == "delta":
            with reader.read_on(run_id, event.id) as response:
                rest = list(read_events(response))
            assert text_of(rest) == text[int(event.id or 0) :]
            assert rest[-1].data == events[-1].data


def test_a_client_that_leaves_at_once_has_a_run_that_ends(reader: Reader, stack: Stack) -> None:
    body = json.dumps({"package_id": PACKAGE, "input": f"Leaves. [[claude: output_tokens={TOKENS} slow=50]]"})
    head = (
        f"POST /api/v1/playground/run/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {reader.client.token}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: left\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.port)) as connection:
        connection.sendall(head.encode() + body.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"

    runs = reader.client.get("/playground/runs").body
    run_id = (runs["open"] + runs["runs"])[0]["run_id"]
    assert reader.ended(run_id)["status"] == "settled"
    with reader.read_on(run_id) as response:
        assert list(read_events(response))[-1].name == "done"


def test_a_run_that_fails_in_mid_stream_is_an_error_and_leaves_nothing(reader: Reader) -> None:
    directive = f"output_tokens={TOKENS} slow=20 error_in_stream=overloaded_error"
    with reader.run(directive) as response:
        events = list(read_events(response))

    assert (events[0].name, events[-1].name) == ("run", "error")
    assert text_of(events)
    assert events[-1].data["error"] == "model_overloaded"
    run_id = events[0].data["run_id"]
    assert events[-1].data["run_id"] == run_id
    assert events[-1].data["request_id"]
    assert reader.account() == (5, 0)
    for again in (reader.run(directive), reader.read_on(run_id)):
        with again as response:
            assert response.status == 503
            assert json.loads(response.read())["error"] == "model_overloaded"


def test_what_is_refused_is_no_stream(reader: Reader) -> None:
    with reader.run("output_tokens=999999999x") as response:  # a bad directive: Claude refuses it, after the hold
        assert [event.name for event in read_events(response)] == ["run", "error"]
    for body, status, code in (
        ({"package_id": PACKAGE, "input": "x", "temprature": 1}, 400, "validation_error"),
        ({"package_id": "@playground/none", "input": "x"}, 404, "package_not_found"),
        ({"package_id": PACKAGE, "input": "x", "temperature": 0.5}, 422, "unsupported_parameter"),
    ):
        with reader.opened("POST", "/playground/run/stream", body) as response:
            answer = json.loads(response.read())
            assert (response.status, answer["error"]) == (status, code)
            assert response.headers["Content-Type"] == "application/json"
            assert answer["request_id"]


@pytest.mark.parametrize("offset", ["x", "-1", "1.5", "1e3", "9999999999", "5 ", "٣"])
def test_a_place_is_a_number(reader: Reader, offset: str) -> None:
    with reader.run("output_tokens=20", key=f"k {offset.encode()!r}"[:60]) as response:
        events = list(read_events(response))
    run_id = events[0].data["run_id"]
    if offset.isascii() and not offset.endswith(" "):
        with reader.read_on(run_id, offset) as response:
            answer = json.loads(response.read())
        assert (response.status, answer["error"], answer["field"]) == (400, "validation_error", "last-event-id")
    beyond = len(events[-1].data["response"]) + 1
    with reader.read_on(run_id, beyond) as response:
        answer = json.loads(response.read())
    assert (response.status, answer["field"]) == (400, "last-event-id")


def test_a_run_is_its_owners(reader: Reader, stack: Stack, user_id: str) -> None:
    with reader.run("output_tokens=20") as response:
        run_id = next(read_events(response)).data["run_id"]
        response.read()
    other = Reader(stack, f"{user_id}-2")
    with other.read_on(run_id) as response:
        assert (response.status, json.loads(response.read())["error"]) == (404, "run_not_found")
    assert other.client.post(f"/playground/runs/{run_id}/cancel", {}).status == 404
    stranger = Reader(stack, user_id)
    stranger.client = type(reader.client)(stack.url, "x")
    with stranger.read_on(run_id) as response:
        assert response.status == 401


def test_a_run_is_ended_with_what_is_written(reader: Reader) -> None:
    events: list[ServerEvent] = []
    with reader.run(f"output_tokens={TOKENS} slow=400") as response:
        stream = read_events(response)
        events += [next(stream), next(stream)]
        run_id = events[0].data["run_id"]
        asked = time.monotonic()
        cancelled = reader.client.post(f"/playground/runs/{run_id}/cancel", {})
        seconds = time.monotonic() - asked
        events += stream

    assert (cancelled.status, cancelled.body["status"], cancelled.body["stop_reason"]) == (200, "settled", "cancelled")
    assert seconds < 30  # two on an idle machine
    assert events[-1].name == "done"
    assert events[-1].data["response"] == text_of(events) == cancelled.body["response"]
    assert 1 <= cancelled.body["credits_spent"] <= cancelled.body["ceiling"]
    assert reader.client.post(f"/playground/runs/{run_id}/cancel", {}).body == cancelled.body
    assert reader.account() == (5 - cancelled.body["credits_spent"], 0)


def test_a_run_of_which_nothing_is_written_is_released(reader: Reader) -> None:
    body = {"package_id": PACKAGE, "input": "Wait. [[claude: delay=60]]"}
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(reader.client.post("/playground/run", body, key="w")))
    waiting.start()
    run_id = None
    while run_id is None:
        held = reader.client.get("/playground/runs").body["open"]
        run_id = held[0]["run_id"] if held else None
    cancelled = reader.client.post(f"/playground/runs/{run_id}/cancel", {})
    waiting.join(HANG_SECONDS)

    assert (cancelled.status, cancelled.body["status"], cancelled.body["credits_spent"]) == (200, "released", 0)
    assert [(answer.status, answer.body["error"]) for answer in answers] == [(409, "run_cancelled")]
    assert reader.account() == (5, 0)


def test_a_run_that_has_ended_is_not_cancelled(reader: Reader) -> None:
    with reader.run("output_tokens=20") as response:
        run_id = next(read_events(response)).data["run_id"]
        response.read()
    refused = reader.client.post(f"/playground/runs/{run_id}/cancel", {})
    assert (refused.status, refused.body["error"], refused.body["status"]) == (409, "run_ended", "settled")


@whole_only
def test_a_run_may_take_longer_than_a_buffered_answer(reader: Reader) -> None:
    """A REST API gives a buffered integration 29 s."""
    body = {"package_id": PACKAGE, "input": "Think long. [[claude: delay=31]]"}
    answer = reader.client.post("/playground/run", body)
    assert (answer.status, answer.body["stop_reason"]) == (200, "end_turn")
    assert answer.body["duration_ms"] > 30_000
