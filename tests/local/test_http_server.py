"""Sockets of the laptop's servers."""

import asyncio
import socket
from contextlib import closing

from local.http_server import LOOPBACK, listen


def test_small_pieces_are_sent_at_once() -> None:
    """Otherwise each waits for the acknowledgement of the one before it, which may come after 40 ms."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen(0)
        async with await asyncio.start_server(connected, sock=listener):
            with closing(socket.create_connection((LOOPBACK, listener.getsockname()[1]))):
                return await found

    assert asyncio.run(accepted()) == 1
