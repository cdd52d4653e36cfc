"""The HTTP client of Stripe's SDK that we wrote: what it says of a failure, beside the SDK's own over `requests`."""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
import stripe
import urllib3

from playground.adapters.stripe_http import Urllib3Client
from playground.adapters.stripe_payments import StripePayments
from tests.unit.test_claude_model import says, speaking

CONNECT_SECONDS, READ_SECONDS = 0.5, 0.3
CUSTOMER = b'{"id": "cus_1", "object": "customer"}'
Speak = Callable[[socket.socket, threading.Event], None]


def ours(url: str) -> stripe.HTTPClient:
    return Urllib3Client(url=url, connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)


def theirs(url: str) -> stripe.HTTPClient:
    return stripe.RequestsClient(timeout=(CONNECT_SECONDS, READ_SECONDS))


both = pytest.mark.parametrize("made", [ours, theirs])


def ask(client: stripe.HTTPClient, url: str) -> tuple[Any, int, Any]:
    return client.request("post", f"{url}/v1/customers", {"Idempotency-Key": "k"}, "a=b")


def cut_off(connection: socket.socket, over: threading.Event) -> None:
    """A reset, after the request has arrived."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def stalls(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
    over.wait()


def closes(connection: socket.socket, over: threading.Event) -> None:
    """Without a word."""


@both
@pytest.mark.parametrize("speak", [cut_off, silent, stalls, closes])
def test_what_may_not_have_arrived_is_tried_again(made: Callable[[str], stripe.HTTPClient], speak: Speak) -> None:
    with speaking(speak) as url, pytest.raises(stripe.APIConnectionError) as caught:
        ask(made(url), url)
    assert caught.value.should_retry


@both
def test_a_server_that_is_not_there_is_tried_again(made: Callable[[str], stripe.HTTPClient]) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(stripe.APIConnectionError) as caught:
            ask(made(url), url)
    assert caught.value.should_retry


def test_half_an_answer_is_tried_again() -> None:
    """The request has its idempotency key: repeating it is safe, and the only way to learn the outcome."""
    half = says(CUSTOMER, headers={"content-length": "1000"})
    with speaking(half) as url, pytest.raises(stripe.APIConnectionError) as caught:
        ask(ours(url), url)
    assert caught.value.should_retry


@both
def test_an_answer_without_tls_is_not_tried_again(made: Callable[[str], stripe.HTTPClient]) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(stripe.APIConnectionError) as caught:
            ask(made(url), url)
        thread.join()
    assert not caught.value.should_retry


def test_a_certificate_that_is_not_good_is_not_tried_again() -> None:
    """At a proxy, too."""
    bad = urllib3.exceptions.SSLError("certificate verify failed")
    for error in (bad, urllib3.exceptions.ProxyError("cannot connect to the proxy", bad)):
        client = ours("https://api.stripe.com")

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        client._manager.urlopen = fail  # type: ignore[attr-defined]
        with pytest.raises(stripe.APIConnectionError) as caught:
            ask(client, "https://api.stripe.com")
        assert not caught.value.should_retry


def test_certificates_are_checked_against_stripes_list() -> None:
    pool = ours("https://api.stripe.com")._manager.connection_from_url("https://api.stripe.com")  # type: ignore[attr-defined]
    assert (pool.cert_reqs, pool.ca_certs) == ("CERT_REQUIRED", stripe.ca_bundle_path)
    ssl.create_default_context(cafile=pool.ca_certs)


def test_the_key_is_not_taken_elsewhere() -> None:
    moved = says(b"", status="302 Found", headers={"location": "http://127.0.0.1:1/"})
    with speaking(moved) as url:
        _, status, headers = ask(ours(url), url)
    assert (status, headers["Location"]) == (302, "http://127.0.0.1:1/")


@both
def test_an_answer_is_read_as_it_is(made: Callable[[str], stripe.HTTPClient]) -> None:
    with speaking(says(CUSTOMER, headers={"Request-Id": "req_1"})) as url:
        body, status, headers = ask(made(url), url)
    assert (body, status, headers["request-id"], "Request-Id" in headers) == (CUSTOMER, 200, "req_1", True)


def test_a_connection_is_used_again() -> None:
    """By any thread."""
    seen: list[int] = []  # requests of each connection
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    def speak(connection: socket.socket, over: threading.Event) -> None:
        seen.append(1)
        connection.sendall(answer)
        while received := connection.recv(1 << 16):
            if received.endswith(b"a=b"):  # the end of a request
                seen[-1] += 1
                connection.sendall(answer)

    with speaking(speak) as url:
        client = ours(url)
        for _ in range(3):
            thread = threading.Thread(target=ask, args=(client, url))
            thread.start()
            thread.join()
        client.close()  # type: ignore[no-untyped-call]
    assert seen == [3]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking(says(CUSTOMER)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        url = "http://stripe.invalid"
        assert ask(ours(url), url)[0] == CUSTOMER


def test_a_request_that_is_repeated_has_the_same_key() -> None:
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(CUSTOMER)}\r\nconnection: close\r\n\r\n".encode() + CUSTOMER

    def serve() -> None:
        for reply in (b"", answer):  # the first answer is lost
            connection, _ = listener.accept()
            with connection:
                received = b""
                while not received.endswith(b"=ann"):
                    received += connection.recv(1 << 16)
                requests.append(received)
                connection.sendall(reply)

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        made = StripePayments(api_key="sk_test_1", base_url=url).create_customer(user_id="ann", key="key-1")
        thread.join()

    keys = [re.findall(rb"(?i)idempotency-key: (\S+)", each) for each in requests]
    assert (made, keys) == ("cus_1", [[b"key-1"], [b"key-1"]])
