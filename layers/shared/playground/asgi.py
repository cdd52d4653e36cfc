"""A function as a web application, behind the AWS Lambda Web Adapter: the way for a Python function to stream.

The adapter gets Lambda's event and makes an HTTP request of it for the server in the function, one at a time, with the
event's context in headers. Here the request becomes the event again, so that everything of `http.Api` holds as it does
for a function without the adapter; only the answer may be a stream.
"""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from playground.http import Api, EventStream, Invocation

READY_PATH = "/_ready"  # AWS_LWA_READINESS_CHECK_PATH in template.yaml; no path of the API
REQUEST_CONTEXT = "x-amzn-request-context"
LAMBDA_CONTEXT = "x-amzn-lambda-context"
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
        response = StreamingResponse(stream.chunks, answer["statusCode"]) if stream is not None else _plain(answer)
        for name, values in answer["multiValueHeaders"].items():
            if name in response.headers:
                del response.headers[name]
            for value in values:
                response.headers.append(name, value)
        try:
            await response(scope, receive, send)
        finally:
            if stream is not None:
                await asyncio.shield(run_in_threadpool(stream.wait))


def _plain(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body") or ""
    return Response(base64.b64decode(body) if answer.get("isBase64Encoded") else body, answer["statusCode"])


async def _event_of(request: Request) -> tuple[dict[str, Any], Context]:
    """The event that the adapter made the request of, and its context."""
    headers = dict(request.headers)  # of several with one name the last, as in an event
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
