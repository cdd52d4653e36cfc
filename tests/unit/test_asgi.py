"""A function as a web application: requests become the events that they were made of, and streams are sent."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from playground.adapters import snapshots
from playground.asgi import READY_PATH, RESTORED_PATH, WebApp
from playground.domain.errors import ModelError, StoreUnavailableError
from playground.http import Api
from playground.observability import flush_metrics
from playground.settings import ApiSettings
from playground.usecases.live_events import LiveEvents
from tests.kit.extent import HANG_SECONDS

SETTINGS = ApiSettings(frontend_url="https://prpm.dev", powertools_service_name="tests")
REQUEST_CONTEXT = {"requestId": "req_1", "identity": {"sourceIp": "203.0.113.9"}}


class Recorded:
    """Stands for `http.Api`: keeps the event, and answers what the test says."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.left: list[int] = []
        self.answer = answer or {
            "statusCode": 200,
            "multiValueHeaders": {"Content-Type": ["application/json"]},
            "body": "{}",
            "isBase64Encoded": False,
        }

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        self.left.append(context.get_remaining_time_in_millis())
        return self.answer


def ask(
    app: WebApp,
    path: str = "/v1/things",
    *,
    method: str = "GET",
    query: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    body: bytes = b"",
    leaves: bool = False,
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an answer. `leaves`: the connection is gone when the first byte is sent."""
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            if leaves:
                return {"type": "http.disconnect"}
            await asyncio.sleep(HANG_SECONDS)
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))
    start = sent[0]
    return (
        start["status"],
        [(name.decode(), value.decode()) for name, value in start["headers"]],
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def web(api: Any) -> WebApp:
    return WebApp(api)


def test_it_is_ready_without_asking_the_api() -> None:
    api = Recorded()
    assert ask(web(api), READY_PATH)[0] == 200
    assert api.events == []


def test_after_a_restore_everything_is_made_anew_without_asking_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(snapshots, "_hooks", [lambda: made.append(1)])
    api = Recorded()
    assert ask(web(api), RESTORED_PATH, method="POST")[0] == 200
    assert (api.events, made) == ([], [1])


def test_a_restore_that_fails_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the adapter makes a failed restore: no request is served with what is old."""

    def fail() -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(snapshots, "_hooks", [fail])
    with pytest.raises(StoreUnavailableError):  # the server answers 500
        ask(web(Recorded()), RESTORED_PATH, method="POST")


def test_a_request_becomes_its_event() -> None:
    api = Recorded()
    context = json.dumps(REQUEST_CONTEXT).encode()
    invocation = json.dumps({"request_id": "inv_1", "deadline": 32_503_680_000_000}).encode()
    ask(
        web(api),
        "/v1/packages/%40acme%2Ftidy",
        method="POST",
        query=b"q=a%20b&q=c&empty=&x=%F0%9F%98%80",
        headers=(
            (b"authorization", b"Bearer one"),
            (b"authorization", b"Bearer two"),
            (b"x-amzn-request-context", context),
            (b"x-amzn-lambda-context", invocation),
        ),
        body='{"input": "楼梯"}'.encode(),
    )

    [event] = api.events
    assert event["path"] == "/v1/packages/%40acme%2Ftidy"
    assert event["httpMethod"] == "POST"
    assert event["headers"] == {"authorization": "Bearer two"}
    assert event["multiValueHeaders"] == {"authorization": ["Bearer one", "Bearer two"]}
    assert event["multiValueQueryStringParameters"] == {"q": ["a b", "c"], "empty": [""], "x": ["😀"]}
    assert event["queryStringParameters"] == {"q": "c", "empty": "", "x": "😀"}
    assert event["requestContext"] == REQUEST_CONTEXT
    assert (event["body"], event["isBase64Encoded"]) == ('{"input": "楼梯"}', False)
    assert api.left[0] > 1_000_000


def test_a_request_without_anything_is_an_event_without_it() -> None:
    api = Recorded()
    ask(web(api), headers=((b"x-amzn-request-context", b"[nonsense"), (b"x-amzn-lambda-context", b"[]")))
    [event] = api.events
    assert (event["body"], event["queryStringParameters"], event["multiValueQueryStringParameters"]) == (None,) * 3
    assert event["requestContext"] == {}
    assert 0 < api.left[0] <= 300_000


def test_bytes_that_are_no_text_are_passed_on_as_they_are() -> None:
    api = Recorded()
    ask(web(api), method="POST", body=b"\xff\xfe{}")
    assert api.events[0]["isBase64Encoded"]
    assert base64.b64decode(api.events[0]["body"]) == b"\xff\xfe{}"


def test_an_answer_keeps_its_status_headers_and_bytes() -> None:
    api = Recorded(
        {
            "statusCode": 418,
            "multiValueHeaders": {"Content-Type": ["image/png"], "X-Many": ["1", "2"]},
            "body": base64.b64encode(b"\x89PNG").decode(),
            "isBase64Encoded": True,
        }
    )
    status, headers, body = ask(web(api))
    assert (status, body) == (418, b"\x89PNG")
    assert [value for name, value in headers if name == "x-many"] == ["1", "2"]
    assert [value for name, value in headers if name == "content-type"] == ["image/png"]


# --- streams ----------------------------------------------------------------------------------------------------------


def streaming(chunks: Callable[[], Iterator[bytes]], wait: Callable[[], None] = lambda: None) -> Api:
    api = Api(SETTINGS)

    @api.app.get("/things")
    def things() -> Any:
        return api.stream(chunks(), wait)

    @api.app.get("/plain")
    def plain() -> dict[str, int]:
        return {"answer": 42}

    return api


def test_a_stream_is_sent_as_it_comes() -> None:
    status, headers, body = ask(web(streaming(lambda: iter([b"data: 1\n\n", b"data: 2\n\n"]))))
    assert (status, body) == (200, b"data: 1\n\ndata: 2\n\n")
    assert dict(headers)["content-type"] == "text/event-stream"
    assert dict(headers)["cache-control"] == "no-store"
    assert "content-length" not in dict(headers)


def test_the_next_answer_is_not_the_stream_of_the_last_one() -> None:
    app = web(streaming(lambda: iter([b"data: 1\n\n"])))
    assert ask(app)[2] == b"data: 1\n\n"
    assert json.loads(ask(app, "/v1/plain")[2]) == {"answer": 42}


class Live:
    """Live events of a test, which are sent while they are made."""

    def __init__(self, *, quiet_seconds: float = HANG_SECONDS) -> None:
        self._made: SimpleQueue[bytes | None] = SimpleQueue()
        self.events = LiveEvents(self._steps(), quiet=b": quiet", quiet_seconds=quiet_seconds)

    def _steps(self) -> Iterator[bytes | None]:
        while True:
            try:
                chunk = self._made.get_nowait()
            except Empty:
                yield None
                continue
            if chunk is None:
                return
            yield chunk

    def make(self, *chunks: bytes | None) -> None:
        for chunk in chunks:
            self._made.put(chunk)
            self.events.changed()


class Reader:
    """Who gets the messages of one answer; `takes` is called with each body before the next one is sent."""

    def __init__(self, takes: Callable[[bytes], None], *, leaves: asyncio.Event | None = None) -> None:
        self.bodies: list[bytes] = []
        self._takes = takes
        self._leaves = leaves

    async def read(self, api: Api) -> None:
        self._asked = False
        scope = {"type": "http", "method": "GET", "path": "/v1/things", "raw_path": b"/v1/things", "headers": []}
        await WebApp(api)({**scope, "query_string": b""}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            await (self._leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        if message.get("body"):
            self.bodies.append(message["body"])
            self._takes(message["body"])


def test_each_event_is_sent_before_the_next_one_is_made() -> None:
    live = Live()
    live.make(b"1")
    following = {b"1": b"2", b"2": b"3", b"3": None}
    reader = Reader(lambda body: threading.Timer(0.01, live.make, (following[body],)).start())
    asyncio.run(asyncio.wait_for(reader.read(streaming(lambda: live.events)), HANG_SECONDS))
    assert reader.bodies == [b"1", b"2", b"3"]


def test_a_stream_that_is_behind_is_sent_in_one_piece() -> None:
    live = Live()
    live.make(b"1")
    reader = Reader(lambda body: live.make(*(b"%d" % number for number in range(2, 6)), None) if body == b"1" else None)
    asyncio.run(asyncio.wait_for(reader.read(streaming(lambda: live.events)), HANG_SECONDS))
    assert reader.bodies == [b"1", b"2345"]


def test_what_came_before_an_error_is_sent() -> None:
    def steps() -> Iterator[bytes | None]:
        yield b"1"
        yield b"2"
        raise LookupError

    reader = Reader(lambda _: None)
    events = LiveEvents(steps(), quiet=b"", quiet_seconds=None)
    with pytest.raises(LookupError):
        asyncio.run(asyncio.wait_for(reader.read(streaming(lambda: events)), HANG_SECONDS))
    assert reader.bodies == [b"12"]


def test_something_is_sent_when_it_is_quiet_for_long() -> None:
    live = Live(quiet_seconds=0.05)
    live.make(b"1")
    reader = Reader(lambda body: live.make(None) if reader.bodies.count(b": quiet") == 2 else None)
    asyncio.run(asyncio.wait_for(reader.read(streaming(lambda: live.events)), HANG_SECONDS))
    assert reader.bodies == [b"1", b": quiet", b": quiet"]


def test_nobody_is_waited_for_who_has_left() -> None:
    live = Live()
    live.make(b"1")

    async def leave() -> None:
        left = asyncio.Event()
        await Reader(lambda _: left.set(), leaves=left).read(streaming(lambda: live.events))

    asyncio.run(asyncio.wait_for(leave(), HANG_SECONDS))


@pytest.mark.parametrize("leaves", [False, True])
def test_a_request_is_over_when_what_it_tells_of_is_over(leaves: bool) -> None:
    """Also if its reader has left: Lambda stops an instance that has answered."""
    over = threading.Event()
    waited: list[bool] = []

    def wait() -> None:
        waited.append(over.wait(HANG_SECONDS))

    threading.Timer(0.2, over.set).start()
    ask(web(streaming(lambda: iter([b"data: 1\n\n"] * 3), wait)), leaves=leaves)
    assert waited == [True]


def test_an_error_after_the_status_says_what_a_plain_one_says() -> None:
    api = Api(SETTINGS)
    body = json.loads(api.failure(ModelError("cut_off").ending("run_1", keyed=False), "req_1"))
    assert (body["error"], body["reason"], body["run_id"], body["request_id"]) == (
        "model_failed",
        "cut_off",
        "run_1",
        "req_1",
    )
    assert json.loads(api.failure(ZeroDivisionError("secret"), "req_2")) == {
        "error": "internal_error",
        "message": "Something went wrong on our side. Please try again.",
        "request_id": "req_2",
    }


def test_what_is_counted_while_a_stream_is_sent_is_written_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Afterwards the instance may be stopped for good."""
    api = Api(SETTINGS)

    @api.app.get("/things")
    def things() -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"data: 1\n\n"
            yield api.failure(ModelError("cut_off"), "req_1").encode()

        return api.stream(chunks(), lambda: None)

    flush_metrics()  # of other tests
    capsys.readouterr()
    assert ask(web(api))[0] == 200
    assert capsys.readouterr().out.count('"Refused":[1.0]') == 1
