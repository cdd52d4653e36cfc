"""Webhooks: endpoints, deliveries, their order and retries, and what was answered.

A delivery is one event on its way to one endpoint. Nothing is sent while the world is locked; `Outbox.deliver` takes
what is due, sends it, and notes the outcome. What is not answered with 2xx is tried again later, by the double's clock.
"""

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from doubles.stripe.wire import Obj, invalid
from doubles.stripe.world import API_VERSION, World, mode_of, plain

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
RETRY_DELAYS: Final = (5, 60, 300, 3_600, 7_200, 21_600, 43_200, 86_400)  # seconds; Stripe goes on for three days
MAX_COPIES: Final = 50
MAX_AT_ONCE: Final = 64
SEND_SECONDS: Final = 30.0
UNKNOWN: Final = 0  # the status of an attempt that got no answer
ORDERS: Final = ("as_it_happened", "reversed", "shuffled")

Send = Callable[[str, Mapping[str, str], bytes], int]


def signature(payload: bytes, secrets: Sequence[str], moment: int, *, livemode: bool = False) -> str:
    """The value of `Stripe-Signature`: one v1 for each secret in force. Test mode adds a v0, which receivers ignore."""

    def sign(secret: str) -> str:
        return hmac.new(secret.encode(), f"{moment}.".encode() + payload, hashlib.sha256).hexdigest()

    parts = [f"t={moment}", *(f"v1={sign(secret)}" for secret in secrets)]
    return ",".join(parts if livemode else [*parts, f"v0={sign('v0')}"])


def encode(event: Obj) -> bytes:
    return json.dumps(plain(event), indent=2, ensure_ascii=False).encode()


def send_over_http(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """The status of the answer. Raises OSError or HTTPException when there is none."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=SEND_SECONDS)
    try:
        path = address.path or "/"
        connection.request("POST", f"{path}?{address.query}" if address.query else path, body, dict(headers))
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def check_url(url: str) -> None:
    """Raises ApiError for an address that is not on this machine."""
    address = urlsplit(url)
    if address.scheme != "http" or address.hostname not in LOOPBACK:
        raise invalid("The Stripe double sends events to http:// addresses of this machine only.", "url")


@dataclass(slots=True)
class Mode:
    """How deliveries travel from now on. `times` limits it to the next events."""

    hold: bool = False  # collect without sending
    drop: bool = False  # never send, as if Stripe had given up
    copies: int = 1
    delay: int = 0  # seconds
    order: str = "as_it_happened"
    types: tuple[str, ...] = ()  # only events of these types; empty: all
    times: int | None = None

    def applies(self, kind: str) -> bool:
        return (not self.types or kind in self.types) and self.times != 0


class Outbox:
    """Endpoints and deliveries. `lock` is that of the world."""

    def __init__(
        self,
        world: World,
        lock: threading.RLock,
        *,
        send: Send = send_over_http,
        signing_time: Callable[[], float] = time.time,
        retry_delays: Sequence[int] = RETRY_DELAYS,
    ) -> None:
        self.world = world
        self.mode = Mode()
        self.wakened = threading.Condition(lock)
        self._lock = lock
        self.send = send
        self._signing_time = signing_time
        self._retry_delays = tuple(retry_delays)
        world.on_event = self.enqueue

    # ------------------------------------------------------------ endpoints

    def add_endpoint(self, url: str, secret: str | None = None, events: Sequence[str] = ("*",)) -> Obj:
        """Add an endpoint; one with the same address is replaced."""
        check_url(url)
        for known in self.world.all("webhook_endpoint"):
            if secret is not None and known["url"] == url and mode_of(known) == self.world.livemode:
                self.world.update(known, _secrets=[secret], enabled_events=list(events), status="enabled")
                return known
        return self.world.add(
            {
                "id": self.world.new_id("we"),
                "object": "webhook_endpoint",
                "api_version": API_VERSION,
                "application": None,
                "created": self.world.now,
                "description": None,
                "enabled_events": list(events),
                "livemode": self.world.livemode,
                "metadata": {},
                "status": "enabled",
                "url": url,
                "_secrets": [secret or self.world.new_id("whsec", 32)],
            }
        )

    def begin_with(self, endpoints: Sequence[tuple[str, str | None]]) -> None:
        """Set the endpoints that the stand-in is started with, in place of those of an earlier start."""
        kept = [self.add_endpoint(url, secret)["id"] for url, secret in endpoints]
        for known in self.world.all("webhook_endpoint"):
            if known["id"] in kept:
                self.world.update(known, _from_start=True)
            elif known.get("_from_start"):
                self.world.remove(known)

    def rotate(self, identifier: str, secret: str, *, keep: bool) -> Obj:
        """A new secret. With `keep` the former ones sign as well, as they do for 24 hours at Stripe."""
        endpoint = self.world.get("webhook_endpoint", identifier)
        self.world.update(endpoint, _secrets=[secret, *(endpoint["_secrets"] if keep else [])])
        return endpoint

    # ------------------------------------------------------------ queue

    def enqueue(self, event: Obj) -> None:
        mode = self.mode if self.mode.applies(event["type"]) else Mode()
        if mode is self.mode and mode.times is not None:
            mode.times -= 1
        for endpoint in self.world.all("webhook_endpoint"):
            wanted = endpoint["enabled_events"]
            if endpoint["status"] != "enabled" or mode_of(endpoint) != event["livemode"]:
                continue
            if "*" not in wanted and event["type"] not in wanted:
                continue
            self.world.update(event, pending_webhooks=event["pending_webhooks"] + 1)
            state = "dropped" if mode.drop else "held" if mode.hold else "pending"
            for _ in range(mode.copies):
                self._add(event, endpoint, state, self.world.now + mode.delay)
        self.wakened.notify_all()

    def replay(self, identifier: str) -> list[Obj]:
        """Send an event to every endpoint again, whatever the mode and its earlier deliveries."""
        event = self._event(identifier)
        endpoints = [each for each in self.world.all("webhook_endpoint") if mode_of(each) == event["livemode"]]
        made = [self._add(event, endpoint, "pending", self.world.now) for endpoint in endpoints]
        self.wakened.notify_all()
        return made

    def release(self) -> list[Obj]:
        """Release held deliveries; they are sent when they are due."""
        held = [delivery for delivery in self.world.all("delivery") if delivery["state"] == "held"]
        for delivery in held:
            self.world.update(delivery, state="pending")
        self.wakened.notify_all()
        return held

    def deliveries(self, event: str | None = None) -> list[Obj]:
        """Oldest first."""
        found = self.world.all("delivery")
        return [plain(delivery) for delivery in found if event is None or delivery["event"] == event]

    def due(self) -> list[Obj]:
        """The deliveries that are due now, in the order of sending."""
        now = self.world.now
        found = [each for each in self.world.all("delivery") if each["state"] == "pending" and each["due_at"] <= now]
        found.sort(key=lambda delivery: delivery["due_at"])
        if self.mode.order == "reversed":
            found.reverse()
        elif self.mode.order == "shuffled":
            self.world.random.shuffle(found)
        return found

    def _add(self, event: Obj, endpoint: Obj, state: str, due_at: int) -> Obj:
        return self.world.add(
            {
                "id": self.world.new_id("dlv"),
                "object": "delivery",
                "attempts": [],
                "due_at": due_at,
                "endpoint": endpoint["id"],
                "event": event["id"],
                "event_type": event["type"],
                "livemode": event["livemode"],
                "state": state,
            }
        )

    def _event(self, identifier: str) -> Obj:
        event = self.world.find("event", identifier)
        if event is None:
            raise invalid(f"No such event: '{identifier}'", "event", "resource_missing")
        return event

    # ------------------------------------------------------------ sending

    def deliver(self, *, parallel: int = 1, age: int = 0) -> list[Obj]:
        """Send the deliveries that are due, once, and return their outcomes. Call it without holding the lock.

        parallel   that many at the same time, as Stripe does not wait for one answer before it sends the next
        age        seconds by which the signature is older than now
        """
        with self._lock:
            batch = self.due()
            for delivery in batch:
                self.world.update(delivery, state="sending")
            letters = [self._letter(delivery, age) for delivery in batch]
        if parallel == 1:
            statuses = [self._post(letter) for letter in letters]
        else:
            with ThreadPoolExecutor(min(parallel, MAX_AT_ONCE)) as pool:
                statuses = list(pool.map(self._post, letters))
        with self._lock:
            return [self._note(delivery, status) for delivery, status in zip(batch, statuses, strict=True)]

    def _letter(self, delivery: Obj, age: int) -> tuple[str, dict[str, str], bytes] | None:
        endpoint = self.world.find("webhook_endpoint", delivery["endpoint"])
        if endpoint is None:
            return None
        event = self.world.objects[delivery["event"]]
        body = encode(event)
        signed = signature(
            body, endpoint["_secrets"], int(self._signing_time()) - age, livemode=bool(event["livemode"])
        )
        headers = {
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signed,
        }
        return endpoint["url"], headers, body

    def _post(self, letter: tuple[str, dict[str, str], bytes] | None) -> int | None:
        """The status that was answered; UNKNOWN without an answer, None if there is nobody to send it to."""
        if letter is None:
            return None
        try:
            return self.send(*letter)
        except (OSError, http.client.HTTPException):
            return UNKNOWN

    def _note(self, delivery: Obj, status: int | None) -> Obj:
        if status is None:
            self.world.update(delivery, state="dropped")
            return {**plain(delivery), "status": UNKNOWN}
        attempts = [*delivery["attempts"], {"at": self.world.now, "status": status}]
        failures = len(attempts)
        if 200 <= status < 300:
            self.world.update(delivery, state="delivered", attempts=attempts)
            event = self.world.objects[delivery["event"]]
            self.world.update(event, pending_webhooks=max(0, event["pending_webhooks"] - 1))
        elif failures <= len(self._retry_delays):
            due = self.world.now + self._retry_delays[failures - 1]
            self.world.update(delivery, state="pending", due_at=due, attempts=attempts)
        else:
            self.world.update(delivery, state="failed", attempts=attempts)
        return {**plain(delivery), "status": status}
