"""Delivery of the Stripe double's events: signatures, retries and faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from doubles.stripe import StripeDouble
from doubles.stripe.webhooks import Mode, signature
from doubles.stripe.wire import ApiError

T0 = 1_790_000_000
URL = "http://127.0.0.1:1/hooks"
SECRET = "whsec_of_the_test"


class Receiver:
    """A webhook endpoint: records what it receives and answers with the given statuses in turn; then 200."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Mapping[str, str], bytes]] = []
        self.answers: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        with self._lock:
            self.received.append((url, headers, body))
            answer = self.answers.pop(0) if self.answers else 200
        if answer == 0:
            raise ConnectionRefusedError
        return answer

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, _, body in self.received]

    @property
    def names(self) -> list[str]:
        """Of the customers that the events are about."""
        return [json.loads(body)["data"]["object"]["name"] for _, _, body in self.received]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def double(receiver: Receiver) -> Iterator[StripeDouble]:
    with StripeDouble(base=lambda: float(T0), seed=1, send=receiver, retry_delays=(10, 20)) as running:
        running.control("endpoint", url=URL, secret=SECRET)
        yield running


def connect(double: StripeDouble) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_123", base_addresses={"api": double.url}, max_network_retries=0)


@pytest.fixture
def client(double: StripeDouble) -> stripe.StripeClient:
    return connect(double)


def customers(client: stripe.StripeClient, *names: str) -> None:
    for name in names:
        client.v1.customers.create({"name": name})


def states(double: StripeDouble) -> list[str]:
    return [delivery["state"] for delivery in double.control("deliveries")]


def test_an_event_arrives_signed_and_is_read_by_the_package(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    made = client.v1.customers.create({"email": "zoë@example.com", "metadata": {"user_id": "u1"}})
    (sent,) = double.deliver_pending()
    assert (sent["event_type"], sent["status"], sent["state"]) == ("customer.created", 200, "delivered")
    ((url, headers, body),) = receiver.received
    assert url == URL
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
    assert (event.type, event.api_version, event.livemode) == ("customer.created", "2026-10-28.endive", False)
    assert (event.pending_webhooks, event.created) == (1, T0)
    customer = event.data.object
    assert isinstance(customer, stripe.Customer)
    assert (customer.id, customer.email) == (made.id, "zoë@example.com")
    assert event.request is not None
    assert made.last_response is not None
    assert event.request.id == made.last_response.request_id
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0
    assert double.deliver_pending() == []


def test_the_signature_is_the_one_of_the_package_and_depends_on_everything() -> None:
    body = b'{"object": "event"}'
    header = signature(body, ["whsec_new", "whsec_old"], T0)
    assert header.startswith(f"t={T0},v1=")
    for secret in ("whsec_new", "whsec_old"):
        assert stripe.WebhookSignature.verify_header(body, header, secret)
        expected = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, T0)
        assert expected.split(",")[1] in header.split(",")
    for wrong in ((body + b" ", header, "whsec_new"), (body, header, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(*wrong)


def test_secrets_are_rotated(double: StripeDouble, client: stripe.StripeClient, receiver: Receiver) -> None:
    (endpoint,) = client.v1.webhook_endpoints.list()
    for keep, valid in ((True, ("whsec_2", SECRET)), (False, ("whsec_2",))):
        double.control("rotate", endpoint=endpoint.id, secret="whsec_2", keep=keep)
        customers(client, "Ann")
        double.deliver_pending()
        _, headers, body = receiver.received[-1]
        for secret in ("whsec_2", SECRET):
            if secret in valid:
                stripe.Webhook.construct_event(body, headers["Stripe-Signature"], secret)
            else:
                with pytest.raises(stripe.SignatureVerificationError):
                    stripe.Webhook.construct_event(body, headers["Stripe-Signature"], secret)


def test_an_old_signature(double: StripeDouble, client: stripe.StripeClient, receiver: Receiver) -> None:
    customers(client, "Ann")
    double.deliver_pending(age=301)
    _, headers, body = receiver.received[-1]
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)


def test_a_failed_delivery_is_retried_a_limited_number_of_times(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    customers(client, "Ann")
    receiver.answers = [500, 0, 302]
    assert [sent["status"] for sent in double.deliver_pending()] == [500]
    assert double.deliver_pending() == []  # not yet
    double.control("advance", seconds=10)
    assert [sent["status"] for sent in double.deliver_pending()] == [0]
    double.control("advance", seconds=20)
    assert [(sent["status"], sent["state"]) for sent in double.deliver_pending()] == [(302, "failed")]
    double.control("advance", days=30)
    assert double.deliver_pending() == []
    assert len(receiver.received) == 3
    assert len({body for _, _, body in receiver.received}) == 1


def test_duplicates(double: StripeDouble, client: stripe.StripeClient, receiver: Receiver) -> None:
    double.control("mode", copies=3, times=1)
    customers(client, "Ann", "Bob")
    double.deliver_pending(parallel=4)
    assert sorted(receiver.names) == ["Ann", "Ann", "Ann", "Bob"]
    assert len({json.loads(body)["id"] for _, _, body in receiver.received}) == 2


def test_delays(double: StripeDouble, client: stripe.StripeClient, receiver: Receiver) -> None:
    double.control("mode", delay=60, times=1)
    customers(client, "Ann", "Bob")
    double.deliver_pending()
    assert receiver.names == ["Bob"]
    double.control("advance", seconds=60)
    double.deliver_pending()
    assert receiver.names == ["Bob", "Ann"]


def test_events_can_be_delivered_out_of_order(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    names = [str(number) for number in range(8)]
    for order in ("as_it_happened", "reversed", "shuffled"):
        double.control("mode", order=order)
        customers(client, *names)
        receiver.received.clear()
        double.deliver_pending()
        assert sorted(receiver.names) == names
        assert (receiver.names == names) == (order == "as_it_happened")
        assert (receiver.names == names[::-1]) == (order == "reversed")


def test_drops_and_replays(double: StripeDouble, client: stripe.StripeClient, receiver: Receiver) -> None:
    double.control("mode", drop=True)
    customers(client, "Ann")
    assert double.deliver_pending() == []
    assert states(double) == ["dropped"]
    (event,) = client.v1.events.list()
    for _ in range(2):
        double.control("replay", event=event.id)
    double.deliver_pending()
    assert receiver.names == ["Ann", "Ann"]


def test_deliveries_can_be_held_and_released(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    double.control("mode", hold=True, types=["customer.created"])
    customers(client, "Ann")
    client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    double.deliver_pending()
    assert receiver.types == ["payment_intent.created"]
    double.control("release")
    double.deliver_pending()
    assert receiver.types == ["payment_intent.created", "customer.created"]


def test_an_endpoint_gets_the_events_that_it_asks_for(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    made = double.control("endpoint", url=f"{URL}/2", events=["payment_intent.created"])
    assert not hasattr(client.v1.webhook_endpoints.retrieve(made["id"]), "secret")
    customers(client, "Ann")
    client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    double.deliver_pending()
    assert [url for url, _, _ in receiver.received] == [URL, URL, f"{URL}/2"]
    _, headers, body = receiver.received[-1]
    assert stripe.Webhook.construct_event(body, headers["Stripe-Signature"], made["secret"])


def test_events_stay_on_this_machine(double: StripeDouble) -> None:
    for url in ("https://example.com/hooks", "http://example.com/hooks", "http://127.0.0.1.example.com/"):
        with pytest.raises(ApiError, match="this machine only"):
            double.control("endpoint", url=url)


def test_events_are_listed(double: StripeDouble, client: stripe.StripeClient) -> None:
    customers(client, "Ann")
    client.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": "http://127.0.0.1/",
        }
    )
    everything = [event.type for event in client.v1.events.list({"limit": 100})]
    assert everything[::-1] == [event["type"] for event in double.events()]
    assert [event.type for event in client.v1.events.list({"type": "charge.succeeded"})] == ["charge.succeeded"]
    some = client.v1.events.list({"types": ["customer.created", "charge.*"]})
    assert [event.type for event in some] == ["charge.succeeded", "customer.created"]


def test_the_background_thread_delivers_everything(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """Over a real socket, with an endpoint that fails at first."""
    bodies: list[bytes] = []
    statuses = [500]

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(statuses.pop() if statuses else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            with StripeDouble(background=True, retry_delays=(0, 0)) as double:
                double.control("endpoint", url=f"http://127.0.0.1:{server.server_port}/hooks?a=b")
                customers(connect(double), "Ann")
                eventually(lambda: len(bodies) == 2)
                eventually(lambda: states(double) == ["delivered"])
        finally:
            server.shutdown()
            serving.join()
    assert bodies[0] == bodies[1]


def test_live_events_go_to_live_endpoints(
    double: StripeDouble, client: stripe.StripeClient, receiver: Receiver
) -> None:
    double.control("endpoint", url=f"{URL}/live", secret="whsec_live", live=True)
    live = stripe.StripeClient("sk_live_1", base_addresses={"api": double.url})
    made = live.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    double.control("pay", payment_intent=made.id)
    customers(client, "Ann")
    double.deliver_pending()
    sent = [(url, json.loads(body)["livemode"]) for url, _, body in receiver.received]
    assert sent == [(f"{URL}/live", True)] * 3 + [(URL, False)]


def test_an_event_in_delivery_is_not_sent_again(double: StripeDouble, client: stripe.StripeClient) -> None:
    """An endpoint that calls the API while it receives an event."""
    seen: list[bytes] = []

    def ask_again(_url: str, _headers: Mapping[str, str], body: bytes) -> int:
        seen.append(body)
        assert double.deliver_pending() == []
        return 200

    double.account.outbox.send = ask_again
    customers(client, "Ann")
    assert len(double.deliver_pending()) == 1
    assert len(seen) == 1


def test_endpoints_and_mode_are_constructor_arguments(receiver: Receiver) -> None:
    with StripeDouble(send=receiver, endpoints=[(URL, SECRET)], mode=Mode(copies=2)) as double:
        customers(connect(double), "Ann")
        double.deliver_pending()
    assert receiver.names == ["Ann", "Ann"]
    _, headers, body = receiver.received[0]
    assert stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
