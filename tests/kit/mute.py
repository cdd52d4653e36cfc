"""A store that accepts connections and, from some moment on, says nothing: what no timeout of one attempt bounds."""

import socket
import threading
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Mute:
    """Passes everything on to a local port until `fall_silent`. From then on connections are accepted, requests are
    read and forgotten, and nothing comes back."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.swallowed = 0
        """Requests, or pieces of some, that got no answer."""
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        self._silent.set()

    def wake_up(self) -> None:
        """What was asked meanwhile is never answered."""
        self._silent.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
            self._sockets += [client, upstream]
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while content := source.recv(CHUNK):
                if self._silent.is_set():
                    self.swallowed += 1
                else:
                    sink.sendall(content)
        except OSError:
            return  # closed

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
