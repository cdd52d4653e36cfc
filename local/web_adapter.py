"""What the AWS Lambda Web Adapter does: an event becomes a request to the web server of its instance, and the response
goes back to Lambda while it is written.

The function's script starts a web server; the adapter waits until that is ready, and passes on one event at a time.
This follows the source of the adapter (1.0) and of the Rust runtime under it; docs/operations.md says what was checked.

- The path is the event's, which is without the stage; `.` and `..` in it are resolved, as that library does in URLs.
- Of a repeated header the application gets the last value, because `headers` replaces `multiValueHeaders` there. Query
  parameters keep all values.
- `x-amzn-request-context` and `x-amzn-lambda-context` are the adapter's own; what a client sends under these names is
  replaced.
- A streamed response is a JSON prelude, eight NUL bytes and the body as it comes. Cookies have a list of their own.
- If the application breaks off its response, the adapter writes the error at the end of the body, as text, and the
  response ends as if it were whole. A client must know the end of a stream by what is in it.
- The application does not learn that a client has gone: neither API Gateway nor Lambda says so.
"""

import asyncio
import base64
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import h11

HOST = "127.0.0.1"
READINESS_INTERVAL_SECONDS = 0.01
ASYNC_INIT_SECONDS = 9.8
READ_SIZE = 65_536  # bytes
HEAD_LIMIT = 64 * 1024  # bytes of the response's status line and headers
DELIMITER = bytes(8)  # between the prelude and the body

Write = Callable[[bytes], Awaitable[None]]

_PREFIX = "AWS_LWA_"
_REQUEST_CONTEXT = (
    *("accountId", "resourceId", "operationName", "stage", "domainName", "domainPrefix", "requestId", "protocol"),
    *("identity", "resourcePath", "path", "authorizer", "httpMethod", "requestTime", "requestTimeEpoch", "apiId"),
)
_IDENTITY = (
    *("cognitoIdentityPoolId", "accountId", "cognitoIdentityId", "caller", "apiKey", "apiKeyId", "accessKey"),
    *("sourceIp", "cognitoAuthenticationType", "cognitoAuthenticationProvider", "userArn", "userAgent", "user"),
)
_LEFT_OUT_IF_EMPTY = frozenset({"operationName", "authorizer"})
_TEXT_TYPES = ("text", "application/json", "application/javascript", "application/xml")
_PATH_SAFE = "/!$%&'()*+,-.:;=@[]_|~"


class ApplicationError(Exception):
    """The application gave no response: the invocation fails."""


class BrokenOffError(Exception):
    """The application ended its response in the middle."""


@dataclass(frozen=True, slots=True)
class Options:
    port: int
    readiness_port: int
    readiness_path: str
    readiness_by_connecting: bool
    readiness_seconds: float | None
    healthy: frozenset[int]
    async_init: bool
    streams: bool
    base_path: str | None
    pass_through_path: str
    authorization_source: str | None
    error_statuses: frozenset[int]

    @classmethod
    def read(cls, environment: Mapping[str, str], port: int) -> "Options":
        """From a function's variables. The port is the instance's own: on Lambda every instance is a machine, and here
        all of them share one."""

        def get(name: str, default: str) -> str:
            return environment.get(_PREFIX + name, default)

        own = get("PORT", "8080")
        readiness = get("READINESS_CHECK_PORT", own)
        seconds = _number(get("READINESS_CHECK_TIMEOUT_SECONDS", "0"))
        return cls(
            port=port,
            readiness_port=port if readiness == own else int(readiness),
            readiness_path=get("READINESS_CHECK_PATH", "/"),
            readiness_by_connecting=get("READINESS_CHECK_PROTOCOL", "http").lower() == "tcp",
            readiness_seconds=seconds if seconds > 0 else None,
            healthy=_statuses(get("READINESS_CHECK_HEALTHY_STATUS", "100-499")),
            async_init=get("ASYNC_INIT", "false") == "true",
            streams=get("INVOKE_MODE", "buffered").lower() == "response_stream",
            base_path=environment.get(f"{_PREFIX}REMOVE_BASE_PATH"),
            pass_through_path=get("PASS_THROUGH_PATH", "/events"),
            authorization_source=environment.get(f"{_PREFIX}AUTHORIZATION_SOURCE"),
            error_statuses=_statuses(get("ERROR_STATUS_CODES", "")),
        )


class WebAdapter:
    """The adapter of one instance."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._ready = False

    async def start(self) -> None:
        """Wait until the application is ready. Raises TimeoutError."""
        try:
            async with asyncio.timeout(
                ASYNC_INIT_SECONDS if self.options.async_init else self.options.readiness_seconds
            ):
                await self._wait_until_ready()
        except TimeoutError:
            if not self.options.async_init:
                raise

    async def _wait_until_ready(self) -> None:
        while not await self._is_healthy():
            await asyncio.sleep(READINESS_INTERVAL_SECONDS)
        self._ready = True

    async def _is_healthy(self) -> bool:
        options = self.options
        try:
            async with _connection(options.readiness_port) as (reader, writer):
                if options.readiness_by_connecting:
                    return True
                client = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
                headers = [("host", f"{HOST}:{options.readiness_port}")]
                request = h11.Request(method="GET", target=options.readiness_path, headers=headers)
                writer.write((client.send(request) or b"") + (client.send(h11.EndOfMessage()) or b""))
                return (await _response(client, reader)).status_code in options.healthy
        except (OSError, h11.RemoteProtocolError):
            return False

    async def handle(self, event: bytes, context: Mapping[str, object], write: Write) -> None:
        """Pass an event to the application, and what comes back to `write`.

        Raises ApplicationError before anything was written, and BrokenOffError afterwards.
        """
        if not self._ready:
            await self._wait_until_ready()
        try:
            request = request_of(event, context, self.options)
        except (AttributeError, TypeError, ValueError) as error:
            raise ApplicationError(f"the event cannot be made a request ({error})") from error
        try:
            async with _connection(self.options.port) as (reader, writer):
                client = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
                writer.write(_bytes_of(client, request))
                response = await _response(client, reader)
                if response.status_code in self.options.error_statuses:
                    body = b"".join([chunk async for chunk in _chunks(client, reader, b"")])
                    problem = json.dumps({"statusCode": response.status_code, "body": body.decode("utf-8", "replace")})
                    raise ApplicationError(problem)
                if self.options.streams:
                    async for chunk in _chunks(client, reader, prelude(response) + DELIMITER):
                        await write(chunk)
                else:
                    body = b"".join([chunk async for chunk in _chunks(client, reader, b"")])
                    await write(_proxy_answer(response, body))
        except (OSError, h11.ProtocolError) as error:
            raise ApplicationError(f"client error ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class AppRequest:
    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def request_of(event: bytes, context: Mapping[str, object], options: Options) -> AppRequest:
    """The request to the application. An event that is no request of a REST API is posted as it is."""
    document = json.loads(event)
    headers: dict[str, list[str]] = {}
    if isinstance(document, dict) and isinstance(document.get("requestContext"), dict) and "httpMethod" in document:
        method, path = str(document["httpMethod"]), _without_base(document.get("path") or "", options.base_path)
        parameters = document.get("multiValueQueryStringParameters") or document.get("queryStringParameters") or {}
        for name, values in (document.get("multiValueHeaders") or {}).items():
            headers[name.lower()] = list(values)
        for name, value in (document.get("headers") or {}).items():
            headers[name.lower()] = [value]
        text = document.get("body") or ""
        body = base64.b64decode(text) if document.get("isBase64Encoded") else text.encode()
        request_context: object = _request_context(document["requestContext"])
    else:
        method, path, parameters, body = "POST", options.pass_through_path, {}, event
        headers, request_context = {"content-type": ["application/json"]}, None
    if context.get("xray_trace_id"):
        headers["x-amzn-trace-id"] = [str(context["xray_trace_id"])]
    headers["x-amzn-request-context"] = [_header_json(request_context)]
    headers["x-amzn-lambda-context"] = [_header_json(context)]
    if options.authorization_source is not None and options.authorization_source.lower() in headers:
        headers["authorization"] = headers.pop(options.authorization_source.lower())
    headers.setdefault("host", [f"{HOST}:{options.port}"])
    headers.pop("transfer-encoding", None)
    headers.pop("content-length", None)
    if body or method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = [str(len(body))]
    target = _url_path(path)
    if parameters:
        target += f"?{urlencode(parameters, doseq=True)}"
    pairs = ((name.encode("ascii"), value.encode()) for name, values in headers.items() for value in values)
    return AppRequest(method, target, tuple(pairs), body)


def prelude(response: h11.Response) -> bytes:
    """The metadata of a streamed response."""
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name != b"transfer-encoding":
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    cookies = headers.pop("set-cookie", [])
    headers.setdefault("content-type", ["application/octet-stream"])
    # A repeated header is a list here, which is how the runtime's library writes it.
    single = {name: values[0] if len(values) == 1 else values for name, values in headers.items()}
    return _compact({"statusCode": response.status_code, "headers": single, "cookies": cookies})


def break_off_text(message: str = "error reading a body from connection") -> bytes:
    """What the runtime appends to a body whose end it did not get. It means it as trailers, and sends it as data."""
    encoded = base64.b64encode(message.encode()).decode()
    return (
        f"Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\nLambda-Runtime-Function-Error-Body: {encoded}\r\n"
    ).encode()


def reserve_port() -> socket.socket:
    """A free port for one instance: the socket holds it until it is closed.

    Nobody else gets the port meanwhile, and a server that sets SO_REUSEADDR can listen on it, because we do not. That
    is so on Linux; elsewhere the port is only likely to stay free.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    return holder


def release_port_if_needed(holder: socket.socket) -> None:
    if sys.platform != "linux":
        holder.close()


# --- HTTP --------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port, limit=READ_SIZE)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _bytes_of(client: h11.Connection, request: AppRequest) -> bytes:
    events: list[h11.Event] = [h11.Request(method=request.method, target=request.target, headers=list(request.headers))]
    if request.body:
        events.append(h11.Data(data=request.body))
    events.append(h11.EndOfMessage())
    return b"".join(client.send(event) or b"" for event in events)


async def _response(client: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    """The head of the final response. Raises h11.RemoteProtocolError."""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(READ_SIZE))
        elif isinstance(event, h11.Response):
            return event
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the connection was closed before a response")


async def _chunks(client: h11.Connection, reader: asyncio.StreamReader, first: bytes) -> AsyncIterator[bytes]:
    """`first` and what there is of the body, then the rest as it comes. Raises BrokenOffError."""
    pieces = [first] if first else []
    try:
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                if pieces:
                    yield b"".join(pieces)
                    pieces.clear()
                client.receive_data(await reader.read(READ_SIZE))
            elif isinstance(event, h11.Data):
                pieces.append(event.data)
            else:
                break
    except (OSError, h11.RemoteProtocolError) as error:
        raise BrokenOffError from error
    if pieces:
        yield b"".join(pieces)


# --- pieces ------------------------------------------------------------------------------------------------------


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _header_json(document: object) -> str:
    return _compact(document).decode().replace("\x7f", "")


def _request_context(context: Mapping[str, Any]) -> dict[str, object]:
    """The fields that the adapter's library knows, in its order; others are lost."""
    found = {name: context.get(name) for name in _REQUEST_CONTEXT}
    found["identity"] = {name: (context.get("identity") or {}).get(name) for name in _IDENTITY}
    return {name: value for name, value in found.items() if value or name not in _LEFT_OUT_IF_EMPTY}


def _without_base(path: str, base: str | None) -> str:
    if base is None:
        return path
    base = base.removesuffix("/")
    rest = path.removeprefix(base)
    return (rest or "/") if path.startswith(base) and (not rest or rest.startswith("/")) else path


def _url_path(path: str) -> str:
    """A path as a URL of http has it: dot segments resolved, and what may not stand there encoded."""
    kept: list[str] = []
    segments = path.replace("\\", "/").removeprefix("/").split("/")
    for position, segment in enumerate(segments):
        plain = segment.lower().replace("%2e", ".")
        if plain not in (".", ".."):
            kept.append(segment)
            continue
        if plain == ".." and kept:
            kept.pop()
        if position == len(segments) - 1:
            kept.append("")
    return "/" + quote("/".join(kept), safe=_PATH_SAFE)


def _statuses(text: str) -> frozenset[int]:
    """`200-299,404` as numbers; what is neither a number nor a range is left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if first.isdigit() and (last.isdigit() if dash else True):
            found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _proxy_answer(response: h11.Response, body: bytes) -> bytes:
    """The whole response as a buffered proxy integration wants it."""
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name != b"transfer-encoding":
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    kind = headers.get("content-type", [""])[0]
    encoded = "content-encoding" in headers or not (kind.startswith(_TEXT_TYPES) or not kind)
    text = base64.b64encode(body).decode() if encoded else body.decode("utf-8", errors="replace")
    answer = {"statusCode": response.status_code, "headers": {}, "multiValueHeaders": headers, "body": text}
    return _compact({**answer, "isBase64Encoded": encoded})
