"""uvicorn's HTTP protocol, with an ASGI extension: bytes of a response can be sent from any thread.

    python -m uvicorn app:web --http playground.direct_http:DirectProtocol

`send` of ASGI belongs to the event loop. A thread that has something to send must wake it, which takes longer than to
send: for an answer in many small pieces it is half of the CPU time. With this extension the thread writes to the socket
itself, as long as the reader keeps up.
"""

import asyncio
import os
import threading
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from playground.asgi import DIRECT_SEND


class DirectProtocol(HttpToolsProtocol):
    """Adds DIRECT_SEND to the extensions of each request's scope: a `DirectSend`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lock = threading.Lock()
        self.is_lost = False
        self._direct_send = DirectSend(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called before the transport closes the socket: from now on its descriptor may be another connection's."""
        with self.lock:
            self.is_lost = True
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DIRECT_SEND: self._direct_send}  # type: ignore[dict-item]


class DirectSend:
    """The body of a connection's present response, past the event loop. Not for two threads at once.

    Between `begin`, if that was true, and `flush` nothing of the response is sent in another way.
    """

    def __init__(self, protocol: DirectProtocol) -> None:
        self._protocol = protocol
        self._rest = b""
        self._descriptor = -1

    def begin(self) -> bool:
        """In the event loop: whether `write` can be used now. It cannot before the response has started, while a slow
        reader has not got all that was sent, and for a response that is not chunked."""
        protocol = self._protocol
        cycle, transport = protocol.cycle, protocol.transport
        # If the client has sent another request already, it is the one of that: its response has not started.
        if not cycle.chunked_encoding or cycle.response_complete:
            return False
        if protocol.is_lost or transport.is_closing() or protocol.scheme != "http":
            return False
        if not isinstance(transport, asyncio.WriteTransport) or transport.get_write_buffer_size():
            return False
        self._descriptor = transport.get_extra_info("socket").fileno()
        return True

    def write(self, body: bytes) -> bool:
        """Send `body`, which is not empty, from any thread, without waiting. False: the reader does not keep up or has
        left, and there must be a `flush` next."""
        data = b"%x\r\n%b\r\n" % (len(body), body)
        with self._protocol.lock:
            if self._protocol.is_lost:
                return False
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # the reader does not keep up; or the event loop gets the same error
                sent = 0
        self._rest = data[sent:]
        return not self._rest

    def flush(self) -> None:
        """In the event loop: leave to it what `write` could not send."""
        rest, self._rest = self._rest, b""
        if rest and not self._protocol.is_lost:
            self._protocol.transport.write(rest)
