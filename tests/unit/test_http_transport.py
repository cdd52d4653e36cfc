"""The connections to Claude: which errors they have, when they are used again, and when not."""

import http.client
import io
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise

import httpx2
import pytest
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from playground.adapters import http_transport
from playground.adapters.http_transport import (
    MAX_FRAMING_BYTES,
    Call,
    Transport,
    _Chunks,
    _errors_of_httpx,
)
from tests.kit.extent import HANG_SECONDS
from tests.unit.test_claude_model import EVENTS, model, prompt
from tests.unit.test_claude_streams import WHOLE

pytestmark = pytest.mark.timeout(HANG_SECONDS)


class Server:
    """Speaks on each connection until it is closed, and counts connections. `answer`: what it says to a request."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self._all = ExitStack()
        self._listener = self._all.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            rest = b""
            while received := connection.recv(1 << 16):
                rest += received
                head, separator, body = rest.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                if separator and len(body) >= length:
                    self.requests.append(rest)
                    rest = b""
                    connection.sendall(self.answer)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._all.close()


def chunked(body: bytes, *, end: bool = True) -> bytes:
    said = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return said + b"%x\r\n%b\r\n" % (len(body), body) + (b"0\r\n\r\n" if end else b"")


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Server]]:
    with ExitStack() as servers:

        def start(answer: bytes) -> Server:
            server = Server(answer)
            servers.callback(server.close)
            return server

        yield start


@contextmanager
def calling(url: str) -> Iterator[httpx2.Client]:
    Call().begin()
    with httpx2.Client(transport=Transport(url), timeout=HANG_SECONDS) as client:
        yield client


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again_after_an_answer(serve: Callable[[bytes], Server]) -> None:
    """Also if the end of the body follows the end of the answer: a new connection costs a handshake."""
    server = serve(chunked(EVENTS.partition(b"\r\n\r\n")[2] + WHOLE))
    claude = model(server.url)
    for _ in range(3):
        claude.complete(prompt(), timeout=HANG_SECONDS)
        for thread in threading.enumerate():
            if thread.name == "claude":
                thread.join(HANG_SECONDS)
    assert (server.connections, len(server.requests)) == (1, 3)


def test_an_answer_is_there_before_the_end_of_its_body(
    serve: Callable[[bytes], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never ends the body delays nobody, and its connection is closed soon."""
    server = serve(chunked(EVENTS.partition(b"\r\n\r\n")[2] + WHOLE, end=False))
    claude = model(server.url)
    for _ in range(2):
        claude.complete(prompt(), timeout=HANG_SECONDS)
        for thread in threading.enumerate():
            if thread.name == "claude":
                thread.join(HANG_SECONDS)
                assert not thread.is_alive()
    assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    serve: Callable[[bytes], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    with calling(server.url) as client:
        client.get(server.url)
        client.get(server.url)
        assert server.connections == 1
        monkeypatch.setattr(http_transport, "MAX_IDLE_SECONDS", 0.0)
        client.get(server.url)
    assert server.connections == 2


def test_what_is_read_in_part_is_not_the_beginning_of_the_next_answer(serve: Callable[[bytes], Server]) -> None:
    server = serve(chunked(b"x" * 10, end=False))  # nothing more is there to be read, for now
    with calling(server.url) as client:
        for _ in range(2):
            with client.stream("GET", server.url) as answer:
                assert next(answer.iter_raw())[:1] == b"x"
    assert server.connections == 2


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_answers_on_the_way_are_no_answer(serve: Callable[[bytes], Server], status: bytes) -> None:
    """What follows one would otherwise be the answer to the next request, which may be another user's."""
    interim = b"HTTP/1.1 %b\r\nlink: </style.css>\r\n\r\n" % status
    server = serve(interim * 3 + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    with calling(server.url) as client:
        for _ in range(2):
            answer = client.get(server.url)
            assert (answer.status_code, answer.content) == (200, b"{}")
    assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
)
def test_answers_on_the_way_without_end_and_other_protocols_are_errors(
    serve: Callable[[bytes], Server], said: bytes
) -> None:
    server = serve(said)
    with calling(server.url) as client:
        for _ in range(2):
            with pytest.raises(httpx2.RemoteProtocolError):
                client.get(server.url)
    assert server.connections == 2


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_piece_is_there_before_the_next_one_is_sent() -> None:
    go_on = threading.Event()

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none")
            go_on.wait(HANG_SECONDS)
            connection.sendall(b"two")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=speak, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with calling(url) as client, client.stream("GET", url) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"one"
            go_on.set()
            assert next(pieces) == b"two"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
    ],
)
def test_a_body_that_breaks_off_is_an_error(said: bytes) -> None:
    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=speak, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with calling(url) as client, pytest.raises(httpx2.RemoteProtocolError):
            client.get(url)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40)),
    extension=st.sampled_from([b"", b";x=y", b";x"]),
    trailers=st.sampled_from([b"", b"x: y\r\n", b"x: y\r\nz: \r\n"]),
    cuts=st.lists(st.integers(0, 2_000)),
)
def test_a_body_in_chunks_is_the_same_wherever_it_is_cut(
    pieces: list[bytes], extension: bytes, trailers: bytes, cuts: list[int]
) -> None:
    sent = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    sent += b"0%b\r\n%b\r\n" % (extension, trailers)
    chunks = _Chunks()
    places = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    body = b""
    for start, end in pairwise(places):
        assert not chunks.over
        body += chunks.take(sent[start:end])
    assert (body, chunks.over) == (b"".join(pieces), True)


def taken_by_bytes(sent: bytes) -> None:
    chunks = _Chunks()
    for place in range(len(sent)):
        chunks.take(sent[place : place + 1])


@pytest.mark.parametrize(
    "sent",
    [
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1_0\r\n",
        b"1" + b"0" * 16 + b"\r\n",
        b"\r\n",
        b"2\r\nabc\r\n",
        b"2\r\nab3\r\nabc\r\n",
        b"1;" + b"x" * MAX_FRAMING_BYTES,
        b"0\r\n" + b"x: y\r\n" * (MAX_FRAMING_BYTES // 6 + 1),
        b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_not_in_chunks_is_refused(sent: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        _Chunks().take(sent)
    with pytest.raises(http.client.HTTPException):
        taken_by_bytes(sent)


def test_a_connection_with_more_than_its_answer_is_not_used_again(serve: Callable[[bytes], Server]) -> None:
    """What is behind it may be the answer to another request."""
    server = serve(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
    with calling(server.url) as client:
        for _ in range(2):
            with pytest.raises(httpx2.RemoteProtocolError):
                client.get(server.url)
    assert server.connections == 2


def test_several_chunks_that_are_there_are_one_piece(serve: Callable[[bytes], Server]) -> None:
    server = serve(CHUNKED + b"".join(b"1\r\n%d\r\n" % number for number in range(10)) + b"0\r\n\r\n")
    with calling(server.url) as client, client.stream("GET", server.url) as answer:
        assert len(list(answer.iter_raw())) < 10
        assert answer.num_bytes_downloaded == 10


def test_a_chunk_that_does_not_come_is_a_timeout(serve: Callable[[bytes], Server]) -> None:
    server = serve(CHUNKED + b"2\r\na")
    with calling(server.url) as client, pytest.raises(httpx2.ReadTimeout):
        client.get(server.url, timeout=0.05)


# --- what fails before anything is sent -------------------------------------------------------------------------------


def test_a_connection_that_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with calling(url) as client, pytest.raises(httpx2.ConnectError):
        client.get(url)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_a_server_without_tls(says: bytes | None) -> None:
    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            if says is None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is reset
            else:
                connection.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=speak, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with calling(url) as client, pytest.raises(httpx2.ConnectError):
            client.get(url)


def test_a_handshake_that_takes_too_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with calling(url) as client, pytest.raises(httpx2.ConnectTimeout):
            client.get(url, timeout=httpx2.Timeout(HANG_SECONDS, connect=0.2))


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with calling(url) as client, pytest.raises(httpx2.ReadTimeout):
            client.get(url, timeout=httpx2.Timeout(HANG_SECONDS, read=0.2))


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_the_proxy_of_the_environment_is_asked(
    serve: Callable[[bytes], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    monkeypatch.setenv("http_proxy", proxy.url)
    with calling("http://claude.example") as client:
        assert client.get("http://claude.example/v1").text == "{}"
    assert proxy.requests[0].startswith(b"GET http://claude.example/v1 HTTP/1.1\r\n")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    direct = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    with calling(direct.url) as client:
        client.get(direct.url)
    assert (direct.connections, proxy.connections) == (1, 1)


class _Sent:
    """A socket from which an answer is read."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._answer))


PARTS_OF_CHUNKS = st.sampled_from(
    [b"0", b"1", b"2", b"a", b"\r\n", b"\n", b"\r", b";x", b" ", b"1\r\na\r\n", b"0\r\n\r\n"]
)


@given(parts=st.lists(PARTS_OF_CHUNKS, max_size=12), pieces=st.integers(1, 7))
@example(parts=[b"1\r\na\n1\r\nb\n0\r\n\r\n"], pieces=7)
def test_no_body_is_taken_that_the_standard_library_refuses_or_reads_differently(
    parts: list[bytes], pieces: int
) -> None:
    sent = b"".join(parts)
    chunks, taken = _Chunks(), b""
    try:
        for start in range(0, len(sent), pieces):
            taken += chunks.take(sent[start : start + pieces])
    except http.client.HTTPException:
        return
    if not chunks.over:
        return
    response = http.client.HTTPResponse(_Sent(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent))  # type: ignore[arg-type]
    response.begin()
    assert response.read() == taken


@pytest.mark.parametrize("error", [ssl.SSLError("bad record"), urllib3.exceptions.SSLError("bad record")])
def test_an_error_of_tls_behind_the_handshake_does_not_say_that_nothing_was_sent(error: Exception) -> None:
    with pytest.raises(httpx2.RemoteProtocolError), _errors_of_httpx():
        raise error
