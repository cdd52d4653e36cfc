"""The bytes of one response, from the instance that writes them to the caller that reads them."""

import asyncio

LIMIT = 65_536  # buffered bytes; a writer of more waits


class ResponseStream:
    """A queue of bytes for one writer and one reader in the same event loop."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._closed = False
        self._abandoned = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Add bytes; if there are more than the limit, wait until they are read. Dropped if nobody reads any more."""
        if self._closed or self._abandoned:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._readable.set()
        if self._size > self._limit:
            self._writable.clear()
            await self._writable.wait()

    async def read(self) -> bytes:
        """All bytes that are there; waits for the first ones. Empty at the end."""
        if not self._pieces and not self._closed:
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._writable.set()
        return data

    def close(self) -> None:
        """This was all: the reader gets what is there, and then the end."""
        self._closed = True
        self._readable.set()
        self._writable.set()

    def abandon(self) -> None:
        """Nobody reads any more: the writer goes on without waiting."""
        self._abandoned = True
        self._pieces.clear()
        self._size = 0
        self._writable.set()
