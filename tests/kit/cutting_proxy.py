"""A proxy on loopback that breaks connections off in the middle of a response, as a network does.

    with cutting_proxy(port) as proxy:
        proxy.cut("POST /api/v1/playground/run/stream", after_bytes=800)

Bytes are passed on as they come, in both directions. A cut is made once.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from local.http_server import LOOPBACK

READ_SIZE = 65_536  # bytes


class CuttingProxy:
    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._cuts: list[tuple[bytes, int]] = []
        self.cut_count = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def cut(self, request: str, *, after_bytes: int) -> None:
        """Break off the response to the next request whose first line begins like this."""
        with self._lock:
            self._cuts.append((request.encode(), after_bytes))

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the test has ended
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection((LOOPBACK, self._target)) as server:
            left: list[int] = []  # bytes until the cut, once a request is to be cut
            answers = threading.Thread(target=self._pass_answers, args=(server, client, left), daemon=True)
            answers.start()
            self._pass_requests(client, server, left)
            answers.join()

    def _pass_requests(self, client: socket.socket, server: socket.socket, left: list[int]) -> None:
        try:
            while data := client.recv(READ_SIZE):
                with self._lock:
                    for cut in self._cuts:
                        if data.startswith(cut[0]):
                            self._cuts.remove(cut)
                            left.append(cut[1])
                            break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of the two has gone

    def _pass_answers(self, server: socket.socket, client: socket.socket, left: list[int]) -> None:
        try:
            while data := server.recv(READ_SIZE):
                if left and len(data) >= left[0]:
                    client.sendall(data[: left[0]])
                    with self._lock:
                        self.cut_count += 1
                    # Both threads read these sockets, so closing them here would wait for the other one.
                    client.shutdown(socket.SHUT_RDWR)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                if left:
                    left[0] -= len(data)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def cutting_proxy(target: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
