"""A function as a web application, behind the AWS Lambda Web Adapter: the way for a Python function to stream.

The adapter gets Lambda's event and makes an HTTP request of it for the server in the function, one at a time, with the
event's context in headers. Here the request becomes the event again, so that everything of `http.Api` holds as it does
for a function without the adapter; only the answer may be a stream.
"""

import asyncio
import base64
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from playground.adapters.snapshots import restored
from playground.http import Api, EventStream, Invocation
from playground.observability import flush_metrics
from playground.usecases.live_events import LiveEvents

READY_PATH = "/_ready"  # AWS_LWA_READINESS_CHECK_PATH in template.yaml; no path of the API
RESTORED_PATH = "/_restored"  # AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH; the adapter refuses it to everybody else
REQUEST_CONTEXT = "x-amzn-request-context"
LAMBDA_CONTEXT = "x-amzn-lambda-context"
MAX_CHUNKS_AHEAD = 4  # that are read of a stream before those before them are sent
MAX_PIECE_BYTES = 65_536  # with a larger one no other event is sent together
DEFAULT_SECONDS = 300  # of an invocation, if nobody says how long it may take
DIRECT_SEND = "playground.direct_send"  # an extension of ASGI: playground.direct_http


class DirectSend(Protocol):
    """Sends pieces of a response from any thread. See playground.direct_http.DirectSend."""

    def begin(self) -> bool: ...

    def write(self, body: bytes) -> bool: ...

    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Context(Invocation):
    """What `Api` needs of Lambda's context."""

    aws_request_id: str
    deadline_ms: int

    def get_remaining_time_in_millis(self) -> int:
        return max(self.deadline_ms - int(time.time() * 1000), 0)


class WebApp:
    """The ASGI application of a function. A run that nobody reads any more is finished before the next request."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        if scope["path"] == READY_PATH:
            await PlainTextResponse("ready")(scope, receive, send)
            return
        if scope["path"] == RESTORED_PATH:
            await run_in_threadpool(restored)
            await PlainTextResponse("restored")(scope, receive, send)
            return
        event, context = await _event_of(Request(scope, receive))
        async with self._one_at_a_time:
            answer = await run_in_threadpool(self._api, event, context)
        stream: EventStream | None = answer.get("stream")
        if stream is None:
            await _plain(answer)(scope, receive, send)
        else:
            await _stream(answer, stream, receive, send, scope.get("extensions", {}).get(DIRECT_SEND))


async def _stream(
    answer: Mapping[str, Any], stream: EventStream, receive: Receive, send: Send, direct: DirectSend | None
) -> None:
    """Send a streamed answer until it is over or its reader has left; then wait until what it tells of is over."""
    pump: _Pump | None = None
    if isinstance(stream.chunks, LiveEvents):
        source = stream.chunks
    else:
        pump = _Pump(stream.chunks)
        source = pump.start()
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _headers_of(answer)]
    bell = _Bell(source.quiet_seconds)
    outlet = _Outlet(source, bell, direct)
    reader = asyncio.ensure_future(_has_left(receive))
    reader.add_done_callback(lambda _: bell.ring())
    try:
        await send({"type": "http.response.start", "status": answer["statusCode"], "headers": headers})
        source.listen(outlet.changed)
        while not reader.done():
            piece = outlet.take()
            if not piece:
                if source.over:
                    break
                if await outlet.wait():
                    continue
                piece = source.quiet
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            bell.answered()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        bell.close()
        reader.cancel()
        await asyncio.shield(run_in_threadpool(_wait, stream, pump))
        flush_metrics()  # of what was counted since the status was sent


def _wait(stream: EventStream, pump: "_Pump | None") -> None:
    if pump is not None:
        pump.end()
    stream.wait()


async def _has_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Bell:
    """Wakes one task: by a call from any thread, or when nothing was sent for `quiet_seconds`."""

    def __init__(self, quiet_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._quiet_seconds = math.inf if quiet_seconds is None else quiet_seconds
        self._answered_at = self._loop.time()
        self._called = False
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def call(self) -> None:
        """From any thread. Calls before the task looks are one."""
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the server has ended, and its loop is closed
                self._loop.call_soon_threadsafe(self.ring)

    def ring(self) -> None:
        self._called = False  # first: what changes from now on calls again
        self._rung.set()

    def answered(self) -> None:
        """Something was sent."""
        self._answered_at = self._loop.time()

    async def wait(self) -> bool:
        """Wait for the next call; whether there was one, and not just quiet."""
        await self._rung.wait()
        self._rung.clear()
        return self._loop.time() < self._answered_at + self._quiet_seconds

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """One timer for the whole stream: to set it anew for each piece would cost more than the piece."""
        due = self._answered_at + self._quiet_seconds
        if self._loop.time() >= due:
            self._rung.set()
            due = self._loop.time() + self._quiet_seconds
        if due < math.inf:
            self._timer = self._loop.call_at(due, self._look)


class _Outlet:
    """The way of a stream's events to its reader.

    While the event loop waits for the next one, whichever thread makes it possible also sends it, if there is a way
    past the event loop and the reader keeps up. Otherwise that thread wakes the loop, which sends it. At any moment
    either the loop or those threads read `source`.
    """

    def __init__(self, source: LiveEvents[bytes], bell: "_Bell", direct: DirectSend | None) -> None:
        self._source = source
        self._bell = bell
        self._direct = direct
        self._lock = threading.Lock()
        self._is_direct = False
        self._error: BaseException | None = None

    def changed(self) -> None:
        """There may be another event. From any thread, which must not hold a lock that reading `source` takes."""
        with self._lock:
            if self._is_direct:
                self._write()
            else:
                self._bell.call()

    def take(self) -> bytes:
        """All that is there, up to MAX_PIECE_BYTES and an event: a stream that is behind is sent in few large pieces.
        Raises what making an event raised, after what came before it was taken."""
        if self._error is not None:
            raise self._error
        taken: list[bytes] = []
        size = 0
        try:
            for chunk in self._source.ready():
                taken.append(chunk)
                size += len(chunk)
                if size >= MAX_PIECE_BYTES:
                    break
        except BaseException as error:
            if not taken:
                raise
            self._error = error
        return b"".join(taken)

    async def wait(self) -> bool:
        """In the event loop, when there was nothing to take: until there may be something, or the reader has left.
        False: it was quiet for long. A change before this, which nobody has taken, has rung the bell."""
        if self._direct is None or not self._direct.begin():
            return await self._bell.wait()
        with self._lock:
            self._is_direct = True
        try:
            return await self._bell.wait()
        finally:
            with self._lock:
                self._is_direct = False
            self._direct.flush()

    def _write(self) -> None:
        """Send what is there, and wake the event loop if there is something that only the loop can do."""
        assert self._direct is not None
        try:
            while piece := self.take():
                self._bell.answered()
                if not self._direct.write(piece):
                    break
            else:
                if not self._source.over:
                    return
        except BaseException as error:  # the event loop raises it
            self._error = error
        self._is_direct = False
        self._bell.call()


class _Pump:
    """Reads a stream that waits, in one thread of its own: a task of a thread pool for each chunk takes several times
    as much. It is a few chunks ahead at most."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._arrived: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(MAX_CHUNKS_AHEAD)
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._read, name="pump", daemon=True)
        # Keep-alives are among what is read.
        self._events = LiveEvents(self._steps(), quiet=b"", quiet_seconds=None)

    def start(self) -> LiveEvents[bytes]:
        """The chunks. Once."""
        self._thread.start()
        return self._events

    def end(self) -> None:
        """Until nothing is read any more. What is not taken yet is dropped."""
        self._abandoned.set()
        self._room.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _steps(self) -> Iterator[bytes | None]:
        while True:
            try:
                chunk = self._arrived.get_nowait()
            except Empty:
                yield None
                continue
            if chunk is None:
                return
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
            self._room.release()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for chunk in self._chunks:
                self._room.acquire()
                if self._abandoned.is_set():
                    break
                self._hand_over(chunk)
        except BaseException as error:
            end = error
        self._hand_over(end)

    def _hand_over(self, chunk: bytes | BaseException | None) -> None:
        self._arrived.put(chunk)
        self._events.changed()


def _plain(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body") or ""
    response = Response(base64.b64decode(body) if answer.get("isBase64Encoded") else body, answer["statusCode"])
    for name in answer["multiValueHeaders"]:
        if name in response.headers:
            del response.headers[name]
    for name, value in _headers_of(answer):
        response.headers.append(name, value)
    return response


def _headers_of(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, values in answer["multiValueHeaders"].items() for value in values)


async def _event_of(request: Request) -> tuple[dict[str, Any], Context]:
    """The event that the adapter made the request of, and its context."""
    headers = dict(request.headers.items())  # of several with one name the last, as in an event
    context = _object(headers.pop(REQUEST_CONTEXT, ""))
    invocation = _object(headers.pop(LAMBDA_CONTEXT, ""))
    raw = await request.body()
    try:
        body, encoded = raw.decode(), False
    except UnicodeDecodeError:
        body, encoded = base64.b64encode(raw).decode(), True
    query = parse_qs(request.url.query, keep_blank_values=True)
    event = {
        "httpMethod": request.method,
        "path": request.scope["raw_path"].decode("latin-1"),
        "headers": headers,
        "multiValueHeaders": {name: request.headers.getlist(name) for name in headers},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "requestContext": context,
        "body": body or None,
        "isBase64Encoded": encoded,
    }
    deadline = invocation.get("deadline")
    return event, Context(
        aws_request_id=str(invocation.get("request_id") or ""),
        deadline_ms=deadline if isinstance(deadline, int) else int((time.time() + DEFAULT_SECONDS) * 1000),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
