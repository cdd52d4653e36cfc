"""The kit itself: what goes wrong in one test does not go wrong in the next one."""

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

import pytest

from tests.kit.intercept import PlainConnection


class _EndedError(BaseException):
    """As pytest-timeout ends a test: in the middle of whatever the main thread does."""


class _Server(ThreadingHTTPServer):
    requests = 0
    over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        if self.server.requests == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            self.server.over.wait()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def ends_by_signal() -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise _EndedError

    former = signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, former)


@pytest.mark.usefixtures("ends_by_signal")
def test_a_connection_that_was_left_in_the_middle_of_an_answer_is_not_used_again(server: _Server) -> None:
    connection = PlainConnection(f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(_EndedError):
        connection.send("POST", "/", b"first", {})

    status, _, content = connection.send("POST", "/", b"second", {})

    connection.close()
    assert (status, content) == (200, b"second")
