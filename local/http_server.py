"""A small HTTP/1.1 server for the gateway and the Runtime API: asyncio carries the bytes, h11 knows the protocol.

A handler gets a complete request and gives a complete response; everything else is decided here: keep-alive,
pipelining (one request after the other), chunked bodies, `Expect: 100-continue`, HEAD, limits, malformed requests.
A response leaves in one write, because head and body in two writes cost a client with delayed acknowledgements 40 ms.
One whose body is a stream leaves as its pieces come, chunked, and no faster than the client reads it. If the stream
breaks off, so does the response: the connection is closed without the last chunk.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import h11

LOOPBACK = "127.0.0.1"
READ_SIZE = 65_536  # bytes
IDLE_SECONDS = 310  # how long API Gateway keeps an idle connection
DRAIN_SECONDS = 10  # after a refusal: how long we go on reading what the client is still sending
HEAD_LIMIT = 64 * 1024  # bytes of request line and headers

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Headers  # names as they were sent
    body: bytes
    protocol: str
    client: str
    too_large: bool = False  # the body was over the limit and is not here

    def header(self, name: str) -> str | None:
        """The last value of a header, whatever the case of its name."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[-1] if found else None


class BrokenStreamError(Exception):
    """A stream ends before its end: the client must see that something is missing."""


class Stream(Protocol):
    """A body that is sent while it is made."""

    deadline: float  # of the event loop's clock; then the response breaks off, also if it is the client who is slow

    async def read(self) -> bytes:
        """The next bytes; empty at the end. Raises BrokenStreamError."""
        ...

    def close(self) -> None:
        """No more is read: it has ended, or the client has gone. Called once for every stream of a response."""
        ...


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Headers = ()
    body: bytes = b""
    stream: Stream | None = None  # in place of the body


Handler = Callable[[Request], Awaitable[Response]]
Refusal = Callable[[int], Response]


def plain_refusal(status: int) -> Response:
    """What a request gets that could not even be read."""
    return Response(status, (("Content-Type", "text/plain"),), HTTPStatus(status).phrase.encode())


class BusyPortError(Exception):
    """Somebody else listens on a port that we need."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(f"port {port} is in use")


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback interface; port 0 takes a free one. Raises BusyPortError."""
    # Of TCP by name: asyncio sends small pieces at once (TCP_NODELAY) on such connections only.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Without it the connections of a stack that has just ended would keep its ports busy for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise BusyPortError(port) from error
    return listener


class HttpServer:
    """Serves `handler` on a listening socket. Start and stop it inside one event loop."""

    def __init__(
        self, handler: Handler, listener: socket.socket, *, body_limit: int, refusal: Refusal = plain_refusal
    ) -> None:
        self.handler = handler
        self.body_limit = body_limit
        self.refusal = refusal
        self.listener = listener
        self.port: int = listener.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=self.listener, backlog=1024)

    async def stop(self) -> None:
        """Stop accepting and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await _Connection(self, reader, writer).serve()
        except (OSError, TimeoutError, BrokenStreamError, asyncio.CancelledError):
            pass  # the client has gone or was silent for too long, its response has broken off, or we are stopping
        finally:
            self._connections.discard(task)
            writer.close()
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await writer.wait_closed()
            except (OSError, TimeoutError, asyncio.CancelledError):
                writer.transport.abort()


class _Connection:
    def __init__(self, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.client: str = writer.get_extra_info("peername")[0]
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def serve(self) -> None:
        while True:
            try:
                request = await self._receive()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if request is None:
                return
            response = await self.server.handler(request)
            await self._send(response, head_only=request.method == "HEAD", close=request.too_large)
            if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                await self._drain()
                return
            self.http.start_next_cycle()

    async def _receive(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                if self.http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
                async with asyncio.timeout(IDLE_SECONDS):
                    self.http.receive_data(await self.reader.read(READ_SIZE))
            elif isinstance(event, h11.Request):
                head = event
                if _content_length(event) > self.server.body_limit:
                    return self._request(event, b"", too_large=True)
            elif isinstance(event, h11.Data):
                assert head is not None
                body += event.data
                if len(body) > self.server.body_limit:
                    return self._request(head, b"", too_large=True)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return self._request(head, bytes(body))
            else:
                return None  # the connection was closed, or left HTTP/1.1

    def _request(self, head: h11.Request, body: bytes, *, too_large: bool = False) -> Request:
        return Request(
            method=head.method.decode("ascii"),
            target=head.target.decode("latin-1"),
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()
            ),
            body=body,
            protocol=f"HTTP/{head.http_version.decode('ascii')}",
            client=self.client,
            too_large=too_large,
        )

    async def _send(self, response: Response, *, head_only: bool, close: bool) -> None:
        try:
            await self._send_parts(response, head_only=head_only, close=close)
        finally:
            if response.stream is not None:
                response.stream.close()

    async def _send_parts(self, response: Response, *, head_only: bool, close: bool) -> None:
        headers = [(name, value) for name, value in response.headers if name.lower() not in _OURS]
        # Answers without a body by definition must not announce one.
        bodiless = response.status == HTTPStatus.NO_CONTENT or response.status == HTTPStatus.NOT_MODIFIED
        if not bodiless and response.stream is None:
            headers.append(("Content-Length", str(len(response.body))))
        headers.append(("Date", formatdate(usegmt=True)))
        if close:
            headers.append(("Connection", "close"))
        events: list[h11.Event] = [
            h11.Response(
                status_code=response.status,
                headers=[(name.encode("ascii"), value.encode("utf-8")) for name, value in headers],
                reason=_phrase(response.status),
            )
        ]
        if response.stream is not None:
            self._write(*events)
            await self._send_stream(response.stream, silently=head_only or bodiless)
            return
        if response.body and not head_only and not bodiless:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        self._write(*events)
        await self.writer.drain()

    async def _send_stream(self, stream: Stream, *, silently: bool) -> None:
        async with asyncio.timeout_at(stream.deadline):
            await self.writer.drain()
            while chunk := await stream.read():
                if not silently:
                    self._write(h11.Data(data=chunk))
                    await self.writer.drain()
            self._write(h11.EndOfMessage())
            await self.writer.drain()

    def _write(self, *events: h11.Event) -> None:
        self.writer.write(b"".join(self.http.send(event) or b"" for event in events))

    async def _refuse(self, status: int) -> None:
        if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(self.server.refusal(status), head_only=False, close=True)
            await self._drain()

    async def _drain(self) -> None:
        """Read and forget what is still coming: closing now would reset the connection, and a client that is
        still sending would never see our answer."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self.reader.read(READ_SIZE):
                    pass


# What only the server can know; a handler's own values would contradict the bytes that are sent.
_OURS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date"})


def _content_length(head: h11.Request) -> int:
    for name, value in head.headers:
        if name == b"content-length":
            return int(value)
    return 0


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
