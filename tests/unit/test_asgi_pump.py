"""A stream that waits is read in a thread: in order, not far ahead, and never after its end."""

import threading
from collections.abc import Iterator

import pytest

from playground.asgi import MAX_CHUNKS_AHEAD, _Pump
from tests.kit.extent import HANG_SECONDS

pytestmark = pytest.mark.timeout(HANG_SECONDS)


class Source:
    """A stream of numbers, which counts what is read of it."""

    def __init__(self, number: int, error: Exception | None = None) -> None:
        self.read = 0
        self.ahead = threading.Event()
        self._number = number
        self._error = error

    def chunks(self) -> Iterator[bytes]:
        for number in range(self._number):
            self.read += 1
            if self.read > MAX_CHUNKS_AHEAD:
                self.ahead.set()
            yield b"%d" % number
        if self._error is not None:
            raise self._error


def test_chunks_come_in_order_and_end() -> None:
    assert list(_Pump(Source(1_000).chunks()).start()) == [b"%d" % number for number in range(1_000)]


def test_an_error_follows_the_chunks_before_it() -> None:
    chunks = _Pump(Source(2, LookupError()).chunks()).start()
    assert [next(chunks), next(chunks)] == [b"0", b"1"]
    with pytest.raises(LookupError):
        next(chunks)


def test_a_client_that_takes_nothing_holds_a_few_chunks_and_can_be_left() -> None:
    """The thread that reads does not wait for it."""
    source = Source(1_000)
    pump = _Pump(source.chunks())
    assert next(pump.start()) == b"0"
    assert source.ahead.wait(HANG_SECONDS)
    pump.end()
    assert source.read <= MAX_CHUNKS_AHEAD + 2


def test_a_stream_of_which_nothing_was_read_can_be_left() -> None:
    source = Source(1)
    _Pump(source.chunks()).end()
    assert source.read == 0
