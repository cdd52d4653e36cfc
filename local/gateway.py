"""API Gateway on a laptop: the stage of a REST API, made of what the template says and nothing else.

A request becomes a proxy event (payload format 1.0), goes to the function of its route, and the function's answer
becomes the response. Responses of the gateway itself (unknown path, body too large, function crashed, timeout) are made
from the template's GatewayResponses, and CORS preflight requests are answered from the template's mocks.

Where API Gateway's behaviour is worth knowing:
- a literal path segment wins over a variable one, and every variable over a greedy one;
- the response to a path or method that does not exist is of the type MISSING_AUTHENTICATION_TOKEN;
- a repeated header or query parameter is its last value in `headers`, all values in `multiValueHeaders`;
- `path` and path parameters are as they were sent, nothing decoded; query parameters are decoded (`+` is a space);
- `path` is without the stage and `requestContext.path` with it; a custom domain leaves its mapping on both;
- header names are as the client spelt them;
- a request without X-Amzn-Trace-Id gets one; that of a client is passed on, whatever it is, and a function whose trace
  has no valid root begins a new one;
- a function that cannot be started is an API_CONFIGURATION_ERROR, as there, but here the message says why;
- after the integration's timeout the client gets 504 while the function goes on working.

An integration that streams begins its response when the function's metadata are there, and passes on what comes:
- metadata that are missing, malformed or longer than 16 KB are an API_CONFIGURATION_ERROR, so a function that does not
  stream has no usable answer for it; nor has one that streams for an integration that does not;
- what goes wrong afterwards (the function fails, the integration's timeout, silence for too long) ends the response
  without its last chunk;
- a client that goes away is not noticed by the function, which works on.

Not imitated: the bandwidth after the first 10 MB. What API Gateway lacks for streams (a cache, compression, mapping
templates) does not exist here at all.
"""

import asyncio
import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from local import lineage
from local.console import StreamedAnswer, event_of, outcome_of
from local.http_server import BrokenStreamError, Headers, HttpServer, Request, Response, listen
from local.page import FrontEnd
from local.process import ShowLine, quiet
from local.runtime import Outcome, PayloadTooLargeError, Runtime, Streamed, error_text
from local.template import ACCOUNT, Api, GatewayResponse, MockRoute, Route
from local.web_adapter import DELIMITER

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024  # of a streamed response, with the delimiter
JSON = "application/json"
TRACE_HEADER = "X-Amzn-Trace-Id"

# Headers of one connection, which are not forwarded.
_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")  # a line break would start a header of its own
_CONTEXT_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+)")


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of gateway response, with API Gateway's defaults for what the template does not set."""

    name: str
    status: int
    message: str
    exception: str  # x-amzn-ErrorType


MISSING_AUTHENTICATION_TOKEN = Kind(
    "MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token", "MissingAuthenticationTokenException"
)
REQUEST_TOO_LARGE = Kind("REQUEST_TOO_LARGE", 413, "Request Entity Too Large", "RequestTooLargeException")
INTEGRATION_TIMEOUT = Kind("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out", "InternalServerErrorException")
API_CONFIGURATION_ERROR = Kind("API_CONFIGURATION_ERROR", 502, "Internal server error", "InternalServerErrorException")


class MalformedAnswerError(Exception):
    """The function's answer is not of the shape that a proxy integration must have."""


class Router:
    """Finds the route of a path; the most specific one wins."""

    def __init__(self, api: Api) -> None:
        self._routes: dict[tuple[str, ...], dict[str, Route | MockRoute]] = {}
        every: list[Route | MockRoute] = [*api.routes, *api.mocks]
        for route in every:
            self._routes.setdefault(_segments(route.path), {})[route.method] = route
        # Segment by segment, literals before variables before {greedy+}.
        self._patterns = sorted(self._routes, key=lambda pattern: [_rank(segment) for segment in pattern])

    def find(self, method: str, path: str) -> tuple[Route | MockRoute, dict[str, str]] | None:
        """The route and its path parameters. As in API Gateway the best path is chosen first, then the method."""
        segments = _segments(path)
        for pattern in self._patterns:
            parameters = _match(pattern, segments)
            if parameters is not None:
                methods = self._routes[pattern]
                route = methods.get(method) or methods.get("ANY")
                return None if route is None else (route, parameters)
        return None


def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.removesuffix("/").split("/")[1:])


def _rank(segment: str) -> int:
    if not segment.startswith("{"):
        return 0
    return 2 if segment.endswith("+}") else 1


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for position, expected in enumerate(pattern):
        if position >= len(segments):
            return None
        match _rank(expected):
            case 0 if expected != segments[position]:
                return None
            case 1 if not segments[position]:
                return None
            case 1:
                parameters[expected[1:-1]] = segments[position]
            case 2:
                parameters[expected[1:-2]] = "/".join(segments[position:])
                return parameters
    return parameters if len(pattern) == len(segments) else None


class Gateway:
    """Serves one API of the template on its own port. `front_end` answers outside the stage."""

    def __init__(
        self,
        api: Api,
        runtime: Runtime,
        *,
        port: int = 0,
        show: ShowLine = quiet,
        front_end: FrontEnd | None = None,
    ) -> None:
        self._front_end = front_end
        self.api = api
        self.runtime = runtime
        self._show = show
        self._router = Router(api)
        self._server = HttpServer(self._serve, listen(port), body_limit=MAX_BODY_BYTES, refusal=self._refusal)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def _serve(self, request: Request) -> Response:
        begun = time.monotonic()
        request_id = str(uuid.uuid4())
        response = await self._answer(request, request_id)
        what, event = f"{request.method} {self._loggable(request)}", event_of(request.body)

        def show(outcome: str) -> None:
            milliseconds = (time.monotonic() - begun) * 1000
            self._show("api", f"{what} {response.status} {milliseconds:.0f} ms{event}{outcome}")

        if isinstance(response.stream, _Body):
            answer = StreamedAnswer(_content_type(response.headers))
            response.stream.observe(answer, lambda end: show(answer.outcome(response.status) + end))
        else:
            show(outcome_of(response.status, response.body))
        return replace(response, headers=(*response.headers, ("x-amzn-RequestId", request_id)))

    def _loggable(self, request: Request) -> str:
        """The path, without what opens something: a parameter called token is a secret."""
        path = request.target.partition("?")[0]
        found = self._router.find(request.method, self._split_stage(path)[1])
        if found is None and self._front_end is not None:
            return self._front_end.loggable(path)
        if found is None or "token" not in found[1]:
            return path
        return f"/{self.api.stage}{found[0].path}"

    async def _answer(self, request: Request, request_id: str) -> Response:
        raw_path, _, query = request.target.partition("?")
        stage, path = self._split_stage(raw_path)
        if not stage and self._front_end is not None and (page := self._front_end.answer(request)) is not None:
            return page
        found = self._router.find(request.method, path) if stage else None
        if found is None:
            return self._say(MISSING_AUTHENTICATION_TOKEN, request_id)
        route, parameters = found
        if request.too_large:
            return self._say(REQUEST_TOO_LARGE, request_id)
        if isinstance(route, MockRoute):
            return Response(route.status, (("Content-Type", JSON), *route.headers.items()), route.body.encode())
        event = proxy_event(self.api, route, request, request_id, path=path, query=query, parameters=parameters)
        payload = json.dumps(event).encode()
        try:
            trace = _trace_of(event)
            if route.streams:
                return await self._streamed(route, payload, trace)
            async with asyncio.timeout(route.timeout):
                outcome = await self.runtime.invoke(route.function, payload, trace)
            _require_success(outcome)
            return self._response(outcome.payload, request)
        except _NotStartedError as error:
            return self._say(API_CONFIGURATION_ERROR, request_id, f"{route.function} does not start: {error}")
        except TimeoutError:
            return self._say(INTEGRATION_TIMEOUT, request_id)
        except PayloadTooLargeError:
            return self._say(REQUEST_TOO_LARGE, request_id)
        except MalformedAnswerError as error:
            self._show("api", f"{route.function} gave no usable answer: {str(error)[:500]}")
            return self._say(API_CONFIGURATION_ERROR, request_id)

    async def _streamed(self, route: Route, payload: bytes, trace: str | None) -> Response:
        """The response of a function that streams, as soon as its metadata are there.

        Raises TimeoutError and MalformedAnswerError.
        """
        deadline = asyncio.get_running_loop().time() + route.timeout
        source = self.runtime.invoke_streaming(route.function, payload, trace)
        body = _Body(source, deadline, self.api.idle_timeout)
        try:
            head = b""
            while DELIMITER not in head[:MAX_METADATA_BYTES]:
                data = await body.receive()
                if not data:
                    _require_success(source.outcome)
                if not data or len(head) >= MAX_METADATA_BYTES:
                    raise MalformedAnswerError("a streamed response begins with metadata and eight NUL bytes")
                head += data
            metadata, _, body.first = head.partition(DELIMITER)
            status, headers = _metadata(metadata)
        except BaseException:
            source.abandon()
            raise
        return Response(status, headers, stream=body)

    def _split_stage(self, path: str) -> tuple[str, str]:
        """Stage and path inside of it; no stage when the path is outside."""
        prefix = f"/{self.api.stage}"
        if path == prefix or path.startswith(f"{prefix}/"):
            return self.api.stage, path.removeprefix(prefix) or "/"
        return "", path

    def _response(self, payload: bytes, request: Request) -> Response:
        """The function's answer as a response. Raises MalformedAnswerError."""
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise MalformedAnswerError("not JSON") from error
        if not isinstance(answer, dict):
            raise MalformedAnswerError("not an object with statusCode")
        status, body = _status(answer.get("statusCode")), answer.get("body")
        if body is not None and not isinstance(body, str):
            raise MalformedAnswerError("body is not a string")
        headers = _answer_headers(answer)
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers = (("Content-Type", JSON), *headers)
        return Response(status, headers, self._body(body or "", answer.get("isBase64Encoded", False), request))

    def _body(self, body: str, encoded: object, request: Request) -> bytes:
        accepted = (request.header("accept") or "").split(",")[0].split(";")[0].strip()
        if encoded is True and _matches(self.api.binary_types, accepted):
            try:
                return base64.b64decode(body, validate=True)
            except binascii.Error as error:
                raise MalformedAnswerError("body is not base64") from error
        return body.encode("utf-8", errors="replace")

    def _say(self, kind: Kind, request_id: str, message: str | None = None) -> Response:
        """A response of the gateway itself, in the template's form. `message` replaces the one of a JSON document."""
        own = self.api.responses.get(kind.name)
        default = self.api.responses.get("DEFAULT_4XX" if kind.status < 500 else "DEFAULT_5XX")
        chosen = own or default or GatewayResponse(None, {}, {})
        status = chosen.status or kind.status
        content_type, template = next(
            iter(chosen.templates.items()), (JSON, '{"message":$context.error.messageString}')
        )
        values = {
            "requestId": request_id,
            "error.message": kind.message,
            "error.messageString": json.dumps(kind.message),
            "error.responseType": kind.name,
            "stage": self.api.stage,
        }
        text = _CONTEXT_VARIABLE.sub(lambda match: values.get(match[1], ""), template)
        if message is not None and content_type == JSON:
            text = json.dumps({**json.loads(text), "message": message})
        headers = (("Content-Type", content_type), ("x-amzn-ErrorType", kind.exception), *chosen.headers.items())
        return Response(status, headers, text.encode())

    def _refusal(self, status: int) -> Response:
        """The answer to what is not HTTP."""
        request_id = str(uuid.uuid4())
        response = self._say(Kind("BAD_REQUEST", status, "Bad Request", "BadRequestException"), request_id)
        return Response(status, (*response.headers, ("x-amzn-RequestId", request_id)), response.body)


class _NotStartedError(Exception):
    """No instance of the function could be started."""


class _Body:
    """The body of a streamed response, as the function writes it, and the line of its request at the end."""

    def __init__(self, source: Streamed, deadline: float, idle_seconds: float) -> None:
        self.deadline = deadline
        self.first = b""  # what came together with the metadata
        self._source = source
        self._idle_seconds = idle_seconds
        self._end: str | None = None  # what there is to say about it; None before it
        self._on_end: Callable[[str], None] = lambda _end: None
        self._answer: StreamedAnswer | None = None

    def observe(self, answer: StreamedAnswer, on_end: Callable[[str], None]) -> None:
        """Show what passes to `answer`, and say at the end how it ended."""
        self._answer, self._on_end = answer, on_end

    async def receive(self) -> bytes:
        """The function's next bytes; empty at the end. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(min(self.deadline, loop.time() + self._idle_seconds)):
            return await self._source.read()

    async def read(self) -> bytes:
        try:
            data, self.first = self.first or await self.receive(), b""
        except TimeoutError as error:
            self._end = f" (broken off: {INTEGRATION_TIMEOUT.message})"
            raise BrokenStreamError(self._end) from error
        if data:
            if self._answer is not None:
                self._answer.add(data)
        elif self._source.outcome.error is not None:
            self._end = f" (broken off: {error_text(self._source.outcome.payload)})"
            raise BrokenStreamError(self._end)
        else:
            self._end = ""
        return data

    def close(self) -> None:
        if self._end is None:
            is_late = asyncio.get_running_loop().time() >= self.deadline
            self._end = f" (broken off: {INTEGRATION_TIMEOUT.message})" if is_late else " (the client has gone)"
        self._source.abandon()
        self._on_end(self._end)


def _content_type(headers: Headers) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def _require_success(outcome: Outcome) -> None:
    """Raises _NotStartedError or MalformedAnswerError."""
    if not outcome.started:
        raise _NotStartedError(error_text(outcome.payload))
    if outcome.error is not None:
        raise MalformedAnswerError(outcome.payload.decode("utf-8", errors="replace"))


def _metadata(text: bytes) -> tuple[int, Headers]:
    """Status and headers of a streamed response. Raises MalformedAnswerError."""
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise MalformedAnswerError("the metadata are not JSON") from error
    if not isinstance(metadata, dict):
        raise MalformedAnswerError("the metadata are not an object")
    cookies = metadata.get("cookies") or []
    if not isinstance(cookies, list):
        raise MalformedAnswerError("cookies is not a list")
    headers = _answer_headers(metadata)
    headers = (*headers, *(("Set-Cookie", _header_value("Set-Cookie", cookie)) for cookie in cookies))
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("Content-Type", JSON), *headers)
    return _status(metadata.get("statusCode")), headers


def proxy_event(
    api: Api,
    route: Route,
    request: Request,
    request_id: str,
    *,
    path: str,
    query: str,
    parameters: Mapping[str, str],
) -> dict[str, object]:
    """The event of a REST proxy integration, payload format 1.0."""
    headers = _forwarded(request)
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace", separator="&")
    now = datetime.now(UTC)
    body, encoded = _event_body(request, api.binary_types)
    return {
        "resource": route.path,
        "path": path,
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _grouped(headers),
        "queryStringParameters": dict(pairs) or None,
        "multiValueQueryStringParameters": _grouped(pairs) or None,
        "pathParameters": dict(parameters) or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": api.logical_id.lower(),
            "domainName": request.header("host") or "",
            "domainPrefix": api.logical_id.lower(),
            "extendedRequestId": request_id,
            "httpMethod": request.method,
            "identity": {
                "accessKey": None,
                "accountId": None,
                "apiKey": None,
                "caller": None,
                "cognitoIdentityId": None,
                "principalOrgId": None,
                "sourceIp": request.client,
                "user": None,
                "userAgent": request.header("user-agent"),
                "userArn": None,
            },
            "path": request.target.partition("?")[0],
            "protocol": request.protocol,
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourceId": "local",
            "resourcePath": route.path,
            "stage": api.stage,
        },
        "body": body,
        "isBase64Encoded": encoded,
    }


def _forwarded(request: Request) -> list[tuple[str, str]]:
    """The client's headers, one spelling per name (the first one), with those that the gateway adds."""
    port = (request.header("host") or "").rpartition(":")[2]
    added: tuple[tuple[str, str], ...] = (
        ("X-Forwarded-For", ", ".join(filter(None, (request.header("x-forwarded-for"), request.client)))),
        ("X-Forwarded-Port", port if port.isdigit() else "80"),
        ("X-Forwarded-Proto", "http"),
    )
    replaced = {name.lower() for name, _ in added}
    if request.header(TRACE_HEADER) is None:
        added = (*added, (TRACE_HEADER, f"Root={lineage.new_root()}"))
    spelling: dict[str, str] = {}
    headers = []
    for name, value in request.headers:
        if name.lower() not in _HOP_BY_HOP and name.lower() not in replaced:
            headers.append((spelling.setdefault(name.lower(), name), value))
    return [*headers, *added]


def _trace_of(event: Mapping[str, Any]) -> str | None:
    """What the function is started with: the root only, because a request begins a chain whatever a client claims."""
    header = next((value for name, value in event["headers"].items() if name.lower() == TRACE_HEADER.lower()), None)
    root = lineage.root_of(header)
    return f"Root={root}" if root is not None else None


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def _event_body(request: Request, binary_types: tuple[str, ...]) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    content_type = (request.header("content-type") or "").split(";")[0].strip()
    if _matches(binary_types, content_type):
        return base64.b64encode(request.body).decode("ascii"), True
    return request.body.decode("utf-8", errors="replace"), False


def _matches(binary_types: tuple[str, ...], content_type: str) -> bool:
    kind = content_type.lower().partition("/")[0]
    return any(each in ("*/*", content_type.lower(), f"{kind}/*") for each in binary_types)


def _status(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise MalformedAnswerError(f"statusCode is {value!r}")
    return value


def _answer_headers(answer: Mapping[str, object]) -> Headers:
    """`headers` and `multiValueHeaders` of an answer; for a name in both, the values of the latter."""
    single, multiple = answer.get("headers") or {}, answer.get("multiValueHeaders") or {}
    if not isinstance(single, dict) or not isinstance(multiple, dict):
        raise MalformedAnswerError("headers is not an object")
    pairs: list[tuple[str, object]] = []
    for name, values in multiple.items():
        if not isinstance(values, list):
            raise MalformedAnswerError(f"multiValueHeaders: {name} is not a list")
        pairs.extend((name, value) for value in values)
    given = {name.lower() for name, _ in pairs}
    pairs.extend((name, value) for name, value in single.items() if name.lower() not in given)
    return tuple((_header_name(name), _header_value(name, value)) for name, value in pairs if value is not None)


def _header_name(name: str) -> str:
    if _HEADER_NAME.fullmatch(name) is None:
        raise MalformedAnswerError(f"{name!r} is no header name")
    return name


def _header_value(name: str, value: object) -> str:
    if isinstance(value, dict | list):
        raise MalformedAnswerError(f"header {name} is not a string")
    text = value if isinstance(value, str) else json.dumps(value)
    if _HEADER_VALUE.fullmatch(text) is None:
        raise MalformedAnswerError(f"header {name} has control characters")
    return text.strip(" \t")
