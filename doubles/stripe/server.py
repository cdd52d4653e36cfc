"""The double as an HTTP server on the loopback interface."""

import base64
import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from doubles.html import CONTENT_TYPE
from doubles.loopback import LoopbackServer
from doubles.stripe import pages
from doubles.stripe.account import Account
from doubles.stripe.api import answer, answer_browser, name_of
from doubles.stripe.control import Controls
from doubles.stripe.invoices import BillingRules
from doubles.stripe.outages import Outage, Outages, scripted
from doubles.stripe.state import State
from doubles.stripe.webhooks import RETRY_DELAYS, Mode, Send, send_over_http
from doubles.stripe.wire import ApiError, Obj, decode_form, invalid
from doubles.stripe.world import API_VERSION, plain

LOOPBACK: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 1024 * 1024
TICK_SECONDS: Final = 0.5  # between two looks of the background at the clock
Headers = Mapping[str, str] | Message
API_KEY: Final = re.compile(r"(?P<kind>[srp])k_(?P<mode>test|live)_\w+")
HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9-]+( *, *[A-Za-z0-9-]+)*")
# Stripe's API may be called by any page: a key is needed all the same, and no cookies are read.
CORS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Request-Id, Stripe-Manage-Version, Stripe-Should-Retry",
}
PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, PATCH, POST, DELETE",
    "Access-Control-Max-Age": "300",
}


@dataclass(frozen=True, slots=True)
class Key:
    """What an API key says: the mode, and whether it is one for browsers."""

    livemode: bool
    publishable: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. With the status None the connection is closed without one."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


SILENCE: Final = Reply(None)


class StripeDouble:
    """The server in this process. `start` returns when it accepts calls, `stop` when it has ended.

    base           the source of its clock; a constant makes time stand still until it is advanced
    seed           makes ids, shuffles and everything else that is random reproducible
    background     send events and let time pass in a thread of its own; otherwise only by control
    endpoints      addresses that events go to, each with the secret that signs them (None: made up)
    mode           how events travel: held, dropped, copied, ...; as the control route `mode`
    rules          the account's billing settings
    send           how events leave; for tests that want no receiver
    state_dir      where the account is kept; None: nowhere
    """

    def __init__(
        self,
        port: int = 0,
        *,
        base: Callable[[], float] = time.time,
        seed: int | None = None,
        background: bool = False,
        send: Send = send_over_http,
        signing_time: Callable[[], float] = time.time,
        retry_delays: Sequence[int] = RETRY_DELAYS,
        rules: BillingRules | None = None,
        endpoints: Sequence[tuple[str, str | None]] = (),
        mode: Mode | None = None,
        state_dir: Path | None = None,
        verbose: bool = False,
    ) -> None:
        randomness = None if seed is None else random.Random(seed)  # noqa: S311 - ids of a test # nosec B311
        self.account = Account(
            base=base,
            randomness=randomness,
            send=send,
            signing_time=signing_time,
            retry_delays=retry_delays,
            rules=rules,
        )
        self.outages = Outages()
        self.controls = Controls(self.account, self.outages)
        self.verbose = verbose
        self.closing = threading.Event()
        self._state = State(state_dir) if state_dir is not None else None
        if self._state is not None:
            self._state.load(self.account.world)
        self.account.outbox.begin_with(endpoints)
        self.account.outbox.mode = mode or Mode()
        self._port = port
        self._background = background
        self._server: _Server | None = None
        self._threads: list[threading.Thread] = []

    # ------------------------------------------------------------ life

    @property
    def url(self) -> str:
        """The base address for the stripe package. It stays the same after `stop`."""
        return f"http://{LOOPBACK}:{self._port}"

    def start(self) -> "StripeDouble":
        """Listen. Raises OSError if the port is taken."""
        self._server = _Server((LOOPBACK, self._port), self)
        self._port = self._server.server_port
        self.account.world.url = self.url
        work = [threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)]
        if self._background:
            work.append(threading.Thread(target=self._live, daemon=True))
        for thread in work:
            thread.start()
        self._threads = work
        return self

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        self.closing.set()
        self.outages.clear()
        with self.account.lock:
            self.account.outbox.wakened.notify_all()
        server.shutdown()
        server.server_close()
        server.hang_up()
        for thread in self._threads:
            thread.join()
        self.save()
        if self._state is not None:
            self._state.close()

    def __enter__(self) -> "StripeDouble":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def save(self) -> None:
        with self.account.lock:
            if self._state is not None:
                self._state.save(self.account.world)
            else:
                self.account.world.changed.clear()

    def _live(self) -> None:
        """Let real time pass, and send events when they are due."""
        outbox, world = self.account.outbox, self.account.world
        while not self.closing.is_set():
            with self.account.lock:
                world.advance(world.now)
                if not outbox.due():
                    self.save()
                    outbox.wakened.wait(TICK_SECONDS)
                    continue
            outbox.deliver(parallel=4)
            self.save()

    # ------------------------------------------------------------ for tests in the same process

    def control(self, name: str, /, **values: Any) -> Any:
        """The same as the control route of that name. Raises ApiError."""
        method = "GET" if name in ("clock", "deliveries", "counts") else "POST"
        result = self.controls(method, name, _as_text(values))
        self.save()
        return result

    def deliver_pending(self, **how: Any) -> list[Obj]:
        """Send the deliveries that are due now, and return them with their outcomes."""
        sent: list[Obj] = self.control("deliver", **how)
        return sent

    def events(self, kind: str | None = None) -> list[Obj]:
        """All events, oldest first."""
        with self.account.lock:
            return [plain(event) for event in self.account.world.all("event") if kind in (None, event["type"])]

    # ------------------------------------------------------------ calls

    def reply(self, method: str, target: str, headers: Headers, body: bytes) -> Reply:
        address = urlsplit(target)
        request_id = self.new_request_id()
        try:
            if address.path == "/_control" or address.path.startswith("/_control/"):
                return self._control(method, address.path, address.query, headers, body)
            if not address.path.startswith("/v1/"):
                shown = pages.page(self.account, method, address.path, body.decode(errors="replace"))
                self.save()
                return Reply(shown.status, shown.text.encode(), shown.headers, CONTENT_TYPE)
            if method == "OPTIONS":
                return _preflight(headers)
            reply = self._api(method, address.path, address.query, headers, body, request_id)
        except ApiError as error:
            reply = _failure(error, request_id)
        return replace(reply, headers={**reply.headers, **CORS}) if address.path.startswith("/v1/") else reply

    def _control(self, method: str, path: str, query: str, headers: Headers, body: bytes) -> Reply:
        name = path.removeprefix("/_control").strip("/")
        values: Any = decode_form(query)
        if body and "json" in headers.get("Content-Type", ""):
            try:
                values |= _as_text(json.loads(body))
            except (ValueError, RecursionError, TypeError, AttributeError):
                raise invalid("The body is not a JSON object.") from None
        elif body:
            values |= decode_form(body.decode(errors="replace"))
        result = self.controls(method, name, values)
        self.save()
        return _json(200, result)

    def _api(self, method: str, path: str, query: str, headers: Headers, body: bytes, request_id: str) -> Reply:
        with self.account.lock:
            route = name_of(method, path)
            self.controls.calls[route] = self.controls.calls.get(route, 0) + 1
        try:
            values = decode_form("&".join(part for part in (query, body.decode()) if part))
        except UnicodeDecodeError:
            raise invalid("The request could not be read as a form.") from None
        key = _key_of(headers, values)
        outage = self.outages.take(method, path)
        if outage is not None and (outage.kind in ("hang", "disconnect")):
            self._wait(outage)
            return SILENCE
        if outage is not None and outage.kind == "error" and not outage.work:
            raise scripted(outage)
        version = headers.get("Stripe-Version", API_VERSION)
        if version != API_VERSION:
            raise invalid(f"Invalid Stripe API version: {version}. The Stripe double has {API_VERSION} only.")
        reply = self._perform(method, path, values, headers, key, request_id, outage)
        return SILENCE if outage is not None and outage.kind == "lose_reply" else reply

    def _perform(
        self,
        method: str,
        path: str,
        values: dict[str, Any],
        headers: Headers,
        api_key: Key,
        request_id: str,
        outage: Outage | None,
    ) -> Reply:
        """Do what the call asks for, under its idempotency key if it has one."""
        account, key = self.account, headers.get("Idempotency-Key") if method == "POST" else None
        livemode, perform = api_key.livemode, answer_browser if api_key.publishable else answer
        echo = {"Idempotency-Key": key} if key else {}
        with account.lock, account.world.calling(livemode, request_id, key):
            account.world.advance(account.world.now)
            kept = account.keys.begin(key, path, values) if key else None
        if kept is not None:
            status, body, original = kept
            replayed = {**echo, "Idempotent-Replayed": "true", "Original-Request": original}
            return _json(status, body, request_id, replayed)
        keep = False
        status, body, extra = 500, scripted(Outage("error", 1)).body(), {}
        try:
            if outage is not None and outage.kind == "slow":
                self._wait(outage)
            with account.lock, account.world.calling(livemode, request_id, key):
                try:
                    with account.world.all_or_nothing():
                        status, body = 200, perform(account, method, path, values)
                    keep = True
                    if outage is not None and outage.work:
                        status, body = outage.status, scripted(outage).body()
                except ApiError as error:
                    status, body, extra, keep = error.status, error.body(), error.headers, error.executed
                if key and keep:
                    account.keys.end(key, path, values, status, body, request_id)
        finally:
            with account.lock, account.world.calling(livemode, request_id, key):
                if key and not keep:
                    account.keys.forget(key)
            self.save()
        return _json(status, body, request_id, {**echo, **extra})

    def _wait(self, outage: Outage) -> None:
        if outage.seconds:
            self.outages.recovered.wait(outage.seconds)

    def new_request_id(self) -> str:
        with self.account.lock:
            return self.account.world.new_id("req")


def _key_of(headers: Headers, values: dict[str, Any]) -> Key:
    """The key of a call: in its Authorization header, or, as Stripe.js sends it, as the parameter `key`, which is taken
    out of `values`. Raises ApiError 401."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    key, given = value.strip(), values.pop("key", None)
    if scheme.lower() == "basic":
        with suppress(ValueError):
            key = base64.b64decode(key).decode().partition(":")[0]
    if not key and isinstance(given, str):
        key = given
    if not key:
        raise ApiError(
            401,
            "invalid_request_error",
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        )
    found = API_KEY.fullmatch(key)
    hidden = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 12 else "*" * 8
    if found is None:
        raise ApiError(401, "invalid_request_error", f"Invalid API Key provided: {hidden}")
    if key.endswith("_expired"):
        raise ApiError(401, "invalid_request_error", f"Expired API Key provided: {hidden}", code="api_key_expired")
    return Key(livemode=found["mode"] == "live", publishable=found["kind"] == "p")


def _preflight(headers: Headers) -> Reply:
    """What a browser asks before a page calls the API."""
    asked = headers.get("Access-Control-Request-Headers", "")
    allowed = {"Access-Control-Allow-Headers": asked} if HEADER_NAMES.fullmatch(asked) else {}
    return Reply(200, b"", {**CORS, **PREFLIGHT, **allowed, "Vary": "Access-Control-Request-Headers"}, "text/plain")


def _json(status: int, body: Any, request_id: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    named = {"Request-Id": request_id, "Stripe-Version": API_VERSION} if request_id else {}
    return Reply(status, json.dumps(body, indent=2, ensure_ascii=False).encode(), {**named, **(headers or {})})


def _failure(error: ApiError, request_id: str) -> Reply:
    return _json(error.status, error.body(), request_id, error.headers)


def _as_text(value: Any) -> Any:
    """A JSON value as a form has it: every leaf is text."""
    if isinstance(value, dict):
        return {str(key): _as_text(part) for key, part in value.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [_as_text(part) for part in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# ---------------------------------------------------------------- HTTP


class _Server(LoopbackServer):
    def __init__(self, address: tuple[str, int], double: StripeDouble) -> None:
        self.double = double
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # header and body in one packet
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def do_OPTIONS(self) -> None:
        self._handle()

    def log_message(self, *_: Any) -> None:
        """Nothing: the default would print what the client sent."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.server.double.verbose:
            sys.stderr.write(f"{self.command or '-'} {self.path.partition('?')[0]} {int(code)}\n")

    def _handle(self) -> None:
        length = self.headers.get("Content-Length", "0")
        counted = length.isascii() and length.isdigit() and "Transfer-Encoding" not in self.headers
        if not counted or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            remaining = min(int(length), 8 * MAX_BODY_BYTES) if counted else 0
            while remaining and (chunk := self.rfile.read(min(remaining, 65_536))):
                remaining -= len(chunk)  # a client that is still sending would not see the answer
            message = "The body is too large, or its length is unknown."
            error = ApiError(413 if counted else 411, "invalid_request_error", message)
            self._send(_failure(error, self.server.double.new_request_id()))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the client left before it had sent everything")
        self._send(self.server.double.reply(self.command, self.path, self.headers, body))

    def _send(self, reply: Reply) -> None:
        if reply.status is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        headers = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)), **reply.headers}
        headers["Cache-Control"] = "no-cache, no-store"
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()
