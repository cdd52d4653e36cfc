"""A stream is read in a thread and sent by the event loop: in order, not far ahead, and never after its end."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from playground.asgi import MAX_CHUNKS_AHEAD, _Pump
from playground.http import EventStream
from tests.kit.extent import HANG_SECONDS


class Source:
    """A stream of numbers, which counts what is read of it and notes whether it was waited for."""

    def __init__(self, number: int, error: Exception | None = None) -> None:
        self.read = 0
        self.waited = False
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

    def wait(self) -> None:
        self.waited = True

    @property
    def stream(self) -> EventStream:
        return EventStream(self.chunks(), self.wait)


def test_chunks_come_in_order_and_end() -> None:
    source = Source(1_000)

    async def read() -> list[bytes]:
        return [chunk async for chunk in _Pump(source.stream).chunks()]

    assert asyncio.run(read()) == [b"%d" % number for number in range(1_000)]


def test_an_error_follows_the_chunks_before_it() -> None:
    async def read() -> None:
        chunks = _Pump(Source(2, LookupError()).stream).chunks()
        assert [await anext(chunks), await anext(chunks)] == [b"0", b"1"]
        with pytest.raises(LookupError):
            await anext(chunks)

    asyncio.run(read())


def test_a_client_that_takes_nothing_holds_a_few_chunks_and_can_be_left() -> None:
    """Neither the thread that reads nor the end of the run waits for it."""
    source = Source(1_000)

    async def leave() -> None:
        pump = _Pump(source.stream)
        chunks = pump.chunks()
        assert await anext(chunks) == b"0"
        assert await asyncio.to_thread(source.ahead.wait, HANG_SECONDS)
        await asyncio.wait_for(asyncio.to_thread(pump.wait), HANG_SECONDS)

    asyncio.run(leave())
    assert source.read <= MAX_CHUNKS_AHEAD + 2
    assert source.waited


def test_a_stream_of_which_nothing_was_sent_is_waited_for_all_the_same() -> None:
    source = Source(1)

    async def leave() -> None:
        _Pump(source.stream).wait()

    asyncio.run(leave())
    assert (source.read, source.waited) == (0, True)
