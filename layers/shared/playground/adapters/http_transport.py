"""An HTTP transport for httpx2 over urllib3, which reads a stream of small pieces at a fraction of the cost.

A call can be given up from another thread, at any moment: its connection is shut down at the socket.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import httptools
import httpx2
import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from playground.adapters.proxies import proxy_for

MAX_IDLE_CONNECTIONS = 10
MAX_IDLE_SECONDS = 30.0  # of a connection: then another one is made, as something in between may have dropped it
READ_BYTES = 65_536
MAX_INTERIM_RESPONSES = 20  # before a final one
MAX_FRAMING_BYTES = 65_536  # of the lines around a chunk of a body

_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))  # as the SDK sets them

_here = threading.local()


class Call:
    """One call, which can be given up from another thread.

    The connection is shut down, not closed: `close` does not wake a thread that waits for bytes, so the server would go
    on writing, and the file descriptor may become another connection's while that thread still reads from it. The
    thread of the call gets the end of the stream, and closes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._connection: _Watched | None = None

    def begin(self) -> None:
        """What this thread sends from now on is of this call."""
        _here.call = self

    @staticmethod
    def current() -> "Call":
        """The call of this thread."""
        call: Call = _here.call
        return call

    def use(self, connection: "_Watched") -> None:
        """Raises httpx2.WriteError if the call was given up: nothing is sent any more."""
        with self._lock:
            if self._given_up:
                raise httpx2.WriteError("the call was given up")
            self._connection, connection.call = connection, self

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self._connection is not None and self._connection.call is self:
                self._connection.shut_down()

    def hurry(self, seconds: float) -> None:
        """No read of this call takes longer from now on."""
        with self._lock, suppress(OSError):  # it is closed already
            if self._connection is not None and self._connection.call is self:
                self._connection.hurry(seconds)


class _Chunks:
    """Takes the body out of what is sent in chunks (RFC 9112, 7.1). `over`: it has come to its end."""

    def __init__(self) -> None:
        self.over = False
        self._body: list[bytes] = []
        self._bytes_since = 0  # the last of the body
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    def take(self, data: bytes) -> bytes:
        """The part of the body that is in `data`, which follows what was taken before. Raises HTTPException for what
        is not sent in chunks, and for bytes behind the end."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise http.client.HTTPException(f"not a body in chunks: {error}") from error
        self._bytes_since = 0 if self._body else self._bytes_since + len(data)
        if self._bytes_since > MAX_FRAMING_BYTES:
            raise http.client.LineTooLong("line of a chunk")
        body = b"".join(self._body)
        self._body.clear()
        return body

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_begin(self) -> None:
        if self.over:
            raise http.client.HTTPException("more than the body was sent")

    def on_message_complete(self) -> None:
        self.over = True


class _FinalResponse(http.client.HTTPResponse):
    """The final response to a request, behind interim ones (1xx), which say nothing about a call.

    `http.client` knows 100 only, and takes any other for a final one without a body: the next request on the connection
    would get what follows, the answer to this one.
    """

    _chunks: _Chunks | None = None

    def read1(self, n: int = -1) -> bytes:
        """As of `http.client`, but of a body in chunks all that is there, whatever `n` is: that needs three reads for
        each chunk, this one for all of them."""
        if not self.chunked:
            return super().read1(n)
        if self._chunks is None:
            self._chunks = _Chunks()
        while not self._chunks.over:
            data = self.fp.read1(READ_BYTES)
            if not data:
                raise http.client.IncompleteRead(b"")
            body = self._chunks.take(data)
            if self._chunks.over:
                self.close()
            if body:
                return body
        return b""

    def begin(self) -> None:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            super().begin()
            if self.status >= http.HTTPStatus.OK:
                return
            if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("another protocol, which was not asked for")
            self.headers = None  # type: ignore[assignment]  # read on
        raise http.client.HTTPException("too many interim responses")


class _Watched(HTTPConnection):
    """A connection that knows the call which uses it."""

    response_class = _FinalResponse
    call: Call | None = None
    _used_at = 0.0
    _socket: socket.socket | None = None  # also while only the response has it

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self._socket = self.sock
        Call.current().use(self)
        self._used_at = time.monotonic()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._used_at < MAX_IDLE_SECONDS and super().is_connected

    def shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it is closed already
                # Not SSLSocket.shutdown: that takes the encryption from the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def hurry(self, seconds: float) -> None:
        if self._socket is not None:
            self._socket.settimeout(seconds)


class _WatchedTls(_Watched, HTTPSConnection):
    def connect(self) -> None:
        """As without TLS, what fails here has failed before anything was sent."""
        try:
            super().connect()
        except TimeoutError as error:
            raise exceptions.ConnectTimeoutError(self, "the handshake took too long") from error
        except OSError as error:
            raise exceptions.NewConnectionError(self, f"the handshake failed: {error}") from error


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


class Transport(httpx2.BaseTransport):
    """Every call is made in a thread that has begun a `Call`. Proxies are those of the environment for `url`."""

    _pools: ClassVar = {"http": _Pool, "https": _TlsPool}

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "maxsize": MAX_IDLE_CONNECTIONS,
            "ssl_context": _tls(),
            "socket_options": [
                *HTTPConnection.default_socket_options,
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                *((socket.IPPROTO_TCP, getattr(socket, name), n) for name, n in _KEEP_ALIVE if hasattr(socket, name)),
            ],
        }
        proxy = proxy_for(url)
        self._manager = urllib3.PoolManager(**options) if proxy is None else urllib3.ProxyManager(proxy, **options)
        self._manager.pool_classes_by_scheme = self._pools

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        limits = request.extensions["timeout"]
        with _errors_of_httpx():
            answer = self._manager.urlopen(
                request.method,
                str(request.url),
                body=request.read(),
                headers=urllib3.HTTPHeaderDict(request.headers.multi_items()),
                timeout=urllib3.Timeout(connect=limits["connect"], read=limits["read"]),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        assert isinstance(answer, urllib3.HTTPResponse)
        return httpx2.Response(answer.status, headers=list(answer.headers.iteritems()), stream=_Body(answer))

    def close(self) -> None:
        self._manager.clear()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: urllib3.HTTPResponse) -> None:
        self._answer = answer
        self._response = answer._original_response

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            # urllib3's own reading costs more than the rest of it, but checks the length of a body that is not chunked.
            response = self._response
            is_chunked = isinstance(response, _FinalResponse) and response.chunked
            read = response.read1 if response is not None and is_chunked else self._answer.read1
            while data := read(READ_BYTES):
                yield data

    def close(self) -> None:
        """A connection whose answer was not read to its end is closed; any other can be used again."""
        if self._response is None or not self._response.isclosed():
            self._answer.close()
        self._answer.release_conn()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except exceptions.NewConnectionError as error:  # a ConnectTimeoutError, by name
        raise httpx2.ConnectError(str(error)) from error
    except exceptions.ConnectTimeoutError as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except exceptions.ProxyError as error:
        raise httpx2.ProxyError(str(error)) from error
    except exceptions.TimeoutError as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except TimeoutError as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except (exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error


def _tls() -> ssl.SSLContext:
    """Trusts whom the system trusts, or the environment names (SSL_CERT_FILE, SSL_CERT_DIR)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        return httpx2.create_ssl_context()  # knows more places, and loads another HTTP client for that
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context
