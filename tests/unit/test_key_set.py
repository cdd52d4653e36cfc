"""The issuer's key set from a server that hangs, drips, breaks and lies: known keys are used, nobody waits for long."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from playground.adapters import key_set as adapter
from playground.adapters.key_set import COOLDOWN_SECONDS, FRESH_SECONDS, MAX_BYTES, STALE_SECONDS, KeySet
from playground.domain.errors import StoreUnavailableError

PATIENCE = 0.4  # s for a fetch in these tests
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(kid: str, **more: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": kid, **more}


def answer(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def of_keys(*keys: dict[str, Any]) -> bytes:
    return answer(json.dumps({"keys": keys}).encode())


GOOD = of_keys(jwk("one"))

Serve = Callable[[socket.socket, threading.Event], None]


def sending(data: bytes) -> Serve:
    return lambda connection, over: connection.sendall(data)


def hanging(connection: socket.socket, over: threading.Event) -> None:
    over.wait(30)


def dripping(data: bytes) -> Serve:
    """A byte at a time, each well within the limit of one read."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
            if over.wait(0.05):
                return

    return serve


def dripping_body(connection: socket.socket, over: threading.Event) -> None:
    head, _, body = GOOD.partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n")
    dripping(body)(connection, over)


class Server:
    """A server of one kind of answer, which may be changed; it counts connections."""

    def __init__(self) -> None:
        self.serve: Serve = sending(GOOD)
        self.requests = 0
        self.url = ""
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/keys.json"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._over.is_set():
                connection.close()
                return
            self.requests += 1
            self._threads.append(threading.Thread(target=self._one, args=(connection,)))
            self._threads[-1].start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                self.serve(connection, self._over)
            except OSError:
                return  # it was hung up on

    def close(self) -> None:
        self._over.set()
        with socket.create_connection(self._listener.getsockname()):
            pass
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Subject:
    """A key set of `server`, with a clock that only the test moves."""

    def __init__(self, server: Server) -> None:
        self.clock = Clock()
        self.stale: list[tuple[str, float]] = []
        self.keys = KeySet(
            server.url,
            report_stale=lambda cause, age: self.stale.append((cause, age)),
            monotonic=self.clock,
            fetch_seconds=PATIENCE,
        )

    def has(self, kid: str) -> bool:
        try:
            return bool(self.keys.key(kid))
        except jwt.InvalidTokenError:
            return False


@pytest.fixture
def subject(server: Server) -> Subject:
    return Subject(server)


@contextmanager
def soon() -> Iterator[None]:
    """Within the limit of a fetch, and what a machine under load adds."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < PATIENCE + 2


BROKEN: dict[str, tuple[Serve, str]] = {
    "hangs": (hanging, "timed out"),
    "drips its head": (dripping(GOOD), "timed out"),
    "drips its body": (dripping_body, "timed out"),
    "closes": (sending(b""), "RemoteDisconnected"),
    "closes in the middle": (sending(GOOD[:-30]), "cut off"),
    "is no HTTP": (sending(b"hello\r\n\r\n"), "BadStatusLine"),
    "has a fault": (sending(answer(b"{}", "500 Internal Server Error")), "status 500"),
    "sends somebody elsewhere": (
        sending(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "status 302",
    ),
    "says something else": (sending(answer(b"<html>Sorry</html>")), "JSONDecodeError"),
    "says nothing": (sending(answer(b"")), "JSONDecodeError"),
    "has no keys": (sending(of_keys()), "PyJWKSetError"),
    "has keys without an id": (sending(of_keys({**jwk("x"), "kid": ""})), "no keys with an id"),
    "has keys for something else": (sending(of_keys(jwk("one", use="enc"))), "no keys with an id"),
    "has a list": (sending(answer(b"[]")), "no key set"),
    "is deep": (sending(answer(b'{"keys":' + b"[" * 100_000)), "RecursionError"),
    "is too large": (sending(answer(GOOD.partition(b"\r\n\r\n")[2] + b" " * MAX_BYTES)), "too large"),
    "has no end": (sending(answer(b"[" + b" " * (4 * MAX_BYTES), length=10**12)), "too large"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_known_keys_are_used_while_the_set_cannot_be_fetched(server: Server, subject: Subject, how: str) -> None:
    assert subject.has("one")
    server.serve, cause = BROKEN[how]
    subject.clock.now += FRESH_SECONDS

    with soon():
        assert subject.has("one")

    assert subject.stale == [(cause, FRESH_SECONDS)]
    for _ in range(5):
        assert subject.has("one")
    assert server.requests == 2, "and the issuer is left alone for a while"
    subject.clock.now += COOLDOWN_SECONDS
    assert subject.has("one")
    assert server.requests == 3
    server.serve = sending(GOOD)
    subject.clock.now += COOLDOWN_SECONDS
    assert subject.has("one")
    assert len(subject.stale) == 2
    subject.clock.now += FRESH_SECONDS - 1
    assert subject.has("one")
    assert server.requests == 4, "fresh again"


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_key_set_tokens_are_refused_quickly(server: Server, subject: Subject, how: str) -> None:
    server.serve, _ = BROKEN[how]
    with soon(), pytest.raises(StoreUnavailableError):
        subject.has("one")

    server.serve = sending(GOOD)
    assert subject.has("one"), "the next request asks again"


def test_keys_are_too_old_after_a_day(server: Server, subject: Subject) -> None:
    assert subject.has("one")
    server.serve = sending(b"")
    subject.clock.now += STALE_SECONDS - 1
    assert subject.has("one")

    subject.clock.now += 1
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            subject.has("one")

    server.serve = sending(GOOD)
    assert subject.has("one")


def test_a_key_that_the_set_does_not_have_any_more_is_refused(server: Server, subject: Subject) -> None:
    server.serve = sending(of_keys(jwk("one"), jwk("two")))
    assert subject.has("one")
    server.serve = sending(of_keys(jwk("two")))
    subject.clock.now += FRESH_SECONDS

    assert subject.has("two")
    assert not subject.has("one")
    server.serve = hanging
    subject.clock.now += FRESH_SECONDS
    with pytest.raises(StoreUnavailableError):
        subject.has("one")
    assert subject.has("two")


def test_a_new_key_is_found_before_the_set_is_old(server: Server, subject: Subject) -> None:
    assert subject.has("one")
    server.serve = sending(of_keys(jwk("one"), jwk("two")))
    assert not subject.has("two"), "the set was fetched just now"
    subject.clock.now += COOLDOWN_SECONDS

    assert subject.has("two")
    assert server.requests == 2


def test_invented_keys_have_the_set_fetched_twice_a_minute_at_most(server: Server, subject: Subject) -> None:
    for number in range(120):
        assert not subject.has(f"invented-{number}")
        subject.clock.now += 1

    assert server.requests <= 5


def test_invented_keys_do_not_keep_a_broken_issuer_busy(server: Server, subject: Subject) -> None:
    assert subject.has("one")
    server.serve = sending(b"")
    subject.clock.now += COOLDOWN_SECONDS
    for number in range(60):
        with pytest.raises(StoreUnavailableError):
            subject.has(f"invented-{number}")
        assert subject.has("one")
        subject.clock.now += 1

    assert server.requests <= 4


@pytest.mark.parametrize("serve", [dripping(GOOD), dripping_body], ids=["head", "body"])
def test_a_fetch_that_was_given_up_ends(server: Server, subject: Subject, serve: Serve) -> None:
    """Its connection is shut down: nothing goes on reading for as long as the other side likes."""
    server.serve = serve
    with pytest.raises(StoreUnavailableError):
        subject.has("one")

    for thread in threading.enumerate():
        if thread.name == "key set":
            thread.join(2)
            assert not thread.is_alive()


def test_nobody_there(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    with pytest.raises(adapter.KeySetError, match="ConnectionRefusedError"):
        adapter.fetch(url, PATIENCE)
