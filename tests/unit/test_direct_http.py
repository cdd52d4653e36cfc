"""Pieces of a response that are sent past the event loop, on real connections: at once, complete and in order, whether
the reader keeps up or not."""

import asyncio
import errno
import http.client
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from playground.asgi import DIRECT_SEND, MAX_PIECE_BYTES, WebApp
from playground.direct_http import DirectProtocol, DirectSend
from playground.http import Api
from playground.settings import ApiSettings
from playground.usecases.live_events import LiveEvents
from tests.kit.extent import HANG_SECONDS

SETTINGS = ApiSettings(frontend_url="https://prpm.dev", powertools_service_name="tests")
MAX_BUFFERED_BYTES = 8_000_000  # of two sockets of one machine, and more than that
T = TypeVar("T")


class Live:
    """Live events of a test. `made`: how many were made of those that were asked for."""

    def __init__(self, quiet_seconds: float = HANG_SECONDS) -> None:
        self.made = 0
        self._asked: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self.events = LiveEvents(self._steps(), quiet=b":\n\n", quiet_seconds=quiet_seconds)

    def _steps(self) -> Iterator[bytes | None]:
        while True:
            try:
                asked = self._asked.get_nowait()
            except Empty:
                yield None
                continue
            if asked is None:
                return
            if isinstance(asked, BaseException):
                raise asked
            self.made += 1
            yield asked

    def ask(self, *pieces: bytes | BaseException | None) -> None:
        for piece in pieces:
            self._asked.put(piece)
            self.events.changed()


def serving(live: Live, client: Callable[[int], T], watch: Callable[[ServerState], None] = lambda _: None) -> T:
    """What `client`, a function of the port, returns; it runs in a thread of its own."""
    api = Api(SETTINGS)

    @api.app.get("/things")
    def things() -> Any:
        return api.stream(live.events, lambda: None)

    @api.app.get("/plain")
    def plain() -> dict[str, int]:
        return {"answer": 42}

    async def serve() -> T:
        config = Config(WebApp(api), lifespan="off", log_level="critical", access_log=False)
        config.load()
        state = ServerState()
        watch(state)
        server = await asyncio.get_running_loop().create_server(
            lambda: DirectProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            try:
                return await asyncio.wait_for(asyncio.to_thread(client, port), HANG_SECONDS)
            finally:
                for connection in list(state.connections):
                    connection.transport.close()  # type: ignore[union-attr]
                while state.tasks:
                    await asyncio.wait(state.tasks)

    return asyncio.run(serve())


@contextmanager
def busy(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop does nothing meanwhile."""
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait(HANG_SECONDS)

    loop.call_soon_threadsafe(work)
    assert begun.wait(HANG_SECONDS)
    try:
        yield
    finally:
        over.set()


class Reader:
    """A client that reads when the test says so."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)

    def __enter__(self) -> "Reader":
        self.connection.request("GET", "/v1/things")
        self.response = self.connection.getresponse()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def read(self, piece: bytes) -> None:
        assert self.response.read(len(piece)) == piece


def test_pieces_arrive_while_the_event_loop_is_busy() -> None:
    live = Live()
    loops: list[asyncio.AbstractEventLoop] = []

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            with busy(loops[0]):
                live.ask(b"second")
                reader.read(b"second")
            live.ask(b"third", None)
            return reader.response.read()

    assert serving(live, client, lambda _: loops.append(asyncio.get_running_loop())) == b"third"


def test_a_slow_reader_gets_everything_and_nothing_is_made_for_it_in_advance() -> None:
    live = Live()
    piece = bytes(range(256)) * 1_000
    number = 2 * MAX_BUFFERED_BYTES // len(piece)
    asked = threading.Event()

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            live.ask(*[piece] * number, None)
            asked.set()
            made = live.made
            assert made * len(piece) <= MAX_BUFFERED_BYTES + MAX_PIECE_BYTES
            return reader.response.read()

    assert serving(live, client) == piece * number


def test_no_piece_overtakes_what_the_event_loop_has_still_to_send() -> None:
    live = Live()
    loops: list[asyncio.AbstractEventLoop] = []
    large = b"1" * 2 * MAX_BUFFERED_BYTES

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            live.ask(large)
            for _ in range(10):  # until the loop waits again
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loops[0]).result(HANG_SECONDS)
            with busy(loops[0]):
                begin = reader.response.read(1_000_000)  # which makes room
                live.ask(b"second", None)
            return begin + reader.response.read()

    body = serving(live, client, lambda _: loops.append(asyncio.get_running_loop()))
    assert body.removeprefix(large) == b"second"


def test_pieces_of_several_threads_arrive_whole_whatever_the_readers_pace() -> None:
    live = Live(quiet_seconds=0.002)
    chance = random.Random(14)
    pieces = [b"%d;" % number * chance.choice((1, 3, 50_000)) for number in range(300)]

    def ask(part: list[bytes]) -> None:
        for each in part:
            live.ask(each + b"\n")

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            threads = [threading.Thread(target=ask, args=(pieces[number::3],)) for number in range(3)]
            for thread in threads:
                thread.start()
            read = [reader.response.read1(chance.choice((1, 100, 1_000))) for _ in range(300)]
            for thread in threads:
                thread.join()
            live.ask(None)
            return b"".join([*read, reader.response.read()])

    lines = serving(live, client).replace(b":\n\n", b"").splitlines()
    assert sorted(lines) == sorted(pieces)
    for number in range(3):  # those of one thread in its order
        own = set(pieces[number::3])
        assert [line for line in lines if line in own] == pieces[number::3]


def test_something_is_sent_when_it_is_quiet_for_long() -> None:
    live = Live(quiet_seconds=0.05)

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            reader.read(b":\n\n")
            live.ask(b"second")
            reader.read(b"second")
            reader.read(b":\n\n")
            live.ask(None)
            return reader.response.read().replace(b":\n\n", b"")

    assert serving(live, client) == b""


class Gone(BaseException):
    """No Exception."""


@pytest.mark.parametrize("error", [LookupError(), Gone()])
def test_an_error_cuts_the_response_off_behind_what_came_before_it(error: BaseException) -> None:
    live = Live()

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            live.ask(b"second", error)
            with pytest.raises(http.client.IncompleteRead) as cut:
                reader.response.read()
            return cut.value.partial

    assert serving(live, client) == b"second"


def test_a_connection_is_used_again() -> None:
    live = Live()

    def client(port: int) -> bytes:
        with Reader(port) as reader:
            live.ask(b"first")
            reader.read(b"first")
            live.ask(b"second", None)
            assert reader.response.read() == b"second"
            reader.connection.request("GET", "/v1/plain")
            return reader.connection.getresponse().read()

    assert serving(live, client) == b'{"answer":42}'


def test_the_response_to_a_request_that_was_sent_too_early_follows() -> None:
    live = Live()

    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), HANG_SECONDS) as connection:
            connection.sendall(b"GET /v1/things HTTP/1.1\r\nHost: t\r\n\r\n")
            live.ask(b"first")
            body = b""
            while b"first" not in body:
                body += connection.recv(65_536)
            connection.sendall(b"GET /v1/plain HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            live.ask(b"second", None)
            while data := connection.recv(65_536):
                body += data
            return body

    first, _, second = serving(live, client).partition(b"0\r\n\r\n")
    assert first.endswith(b"5\r\nfirst\r\n6\r\nsecond\r\n")
    assert second.endswith(b'{"answer":42}')


def test_nothing_is_written_for_a_reader_that_has_left() -> None:
    """Its descriptor may be another connection's."""
    live = Live()
    states: list[ServerState] = []

    def client(port: int) -> tuple[bool, bool, bytes]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with Reader(port) as reader:
                live.ask(b"first")
                reader.read(b"first")
                [protocol] = states[0].connections
                assert isinstance(protocol, DirectProtocol)
                direct = protocol.scope["extensions"][DIRECT_SEND]
                connection = protocol.transport.get_extra_info("socket")
                descriptor = connection.fileno()
                could = asyncio.run_coroutine_threadsafe(begun(direct), protocol.loop).result(HANG_SECONDS)
            while connection.fileno() >= 0:
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), protocol.loop).result(HANG_SECONDS)
            os.dup2(theirs.fileno(), descriptor)
            try:
                can = direct.write(b"second")
                ours.setblocking(False)
                with suppress(BlockingIOError):
                    return could, can, ours.recv(100)
                return could, can, b""
            finally:
                os.close(descriptor)
                live.ask(None)

    async def begun(direct: DirectSend) -> bool:
        return direct.begin()

    assert serving(live, client, states.append) == (True, False, b"")


def test_what_the_system_refuses_for_a_moment_is_left_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    transport = SimpleNamespace(write=written.append)
    protocol: Any = SimpleNamespace(lock=threading.Lock(), is_lost=False, transport=transport)
    direct = DirectSend(protocol)

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "no buffers")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        assert not direct.write(b"piece")
    direct.flush()
    assert written == [b"5\r\npiece\r\n"]
