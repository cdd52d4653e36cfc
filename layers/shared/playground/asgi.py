"""A function as a web application, behind the AWS Lambda Web Adapter: the way for a Python function to stream.

The adapter gets Lambda's event and makes an HTTP request of it for the server in the function, one at a time, with the
event's context in headers. Here the request becomes the event again, so that everything of `http.Api` holds as it does
for a function without the adapter; only the answer may be a stream.
"""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from playground.http import Api, EventStream, Invocation
from playground.observability import flush_metrics

READY_PATH = "/_ready"  # AWS_LWA_READINESS_CHECK_PATH in template.yaml; no path of the API
REQUEST_CONTEXT = "x-amzn-request-context"
LAMBDA_CONTEXT = "x-amzn-lambda-context"
MAX_CHUNKS_AHEAD = 4  # that are read of a stream before those before them are sent
DEFAULT_SECONDS = 300  # of an invocation, if nobody says how long it may take


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
        event, context = await _event_of(Request(scope, receive))
        async with self._one_at_a_time:
            answer = await run_in_threadpool(self._api, event, context)
        stream: EventStream | None = answer.get("stream")
        pump = _Pump(stream) if stream is not None else None
        response = StreamingResponse(pump.chunks(), answer["statusCode"]) if pump is not None else _plain(answer)
        for name, values in answer["multiValueHeaders"].items():
            if name in response.headers:
                del response.headers[name]
            for value in values:
                response.headers.append(name, value)
        try:
            await response(scope, receive, send)
        finally:
            if pump is not None:
                await asyncio.shield(run_in_threadpool(pump.wait))
                flush_metrics()  # of what was counted since the status was sent


class _Pump:
    """Reads a stream in one thread of its own and hands its chunks to the event loop: a task of a thread pool for each
    chunk takes several times as much. It is a few chunks ahead at most."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._arrived: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_CHUNKS_AHEAD)
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), name="pump", daemon=True)

    async def chunks(self) -> AsyncIterator[bytes]:
        """To be read once."""
        self._thread.start()
        try:
            while (chunk := await self._arrived.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
                self._room.release()
        finally:
            self._abandon()

    def wait(self) -> None:
        """Until nothing is read any more, and what the stream tells of is over. What is not sent yet is dropped."""
        self._abandon()
        if self._thread.ident is not None:
            self._thread.join()
        self._stream.wait()

    def _abandon(self) -> None:
        self._abandoned.set()
        self._room.release()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        end: BaseException | None = None
        try:
            for chunk in self._stream.chunks:
                self._room.acquire()
                if self._abandoned.is_set():
                    break
                self._hand_over(loop, chunk)
        except BaseException as error:
            end = error
        self._hand_over(loop, end)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, chunk: bytes | BaseException | None) -> None:
        with suppress(RuntimeError):  # the server has ended, and its loop is closed
            loop.call_soon_threadsafe(self._arrived.put_nowait, chunk)


def _plain(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body") or ""
    return Response(base64.b64decode(body) if answer.get("isBase64Encoded") else body, answer["statusCode"])


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
