"""The issuer's public keys (JWKS), fetched over HTTP and cached, also when they cannot be fetched again."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import jwt

from playground.domain.errors import StoreUnavailableError

FRESH_SECONDS = 300.0  # a set is used for so long without asking again
STALE_SECONDS = 24 * 3600.0  # and for so long if it cannot be fetched again
COOLDOWN_SECONDS = 30.0  # between two requests while there is a set: after a failure, and for unknown keys
FETCH_SECONDS = 3.0  # connecting, all of the answer, everything
MAX_BYTES = 256 * 1024  # of a set; those of large issuers are a few KB

_UNUSABLE = (OSError, ValueError, http.client.HTTPException, RecursionError, jwt.PyJWTError)


class KeySetError(Exception):
    """The set could not be fetched or used. The message names the cause, and no content."""


class KeySet:
    """The keys at `url` by their ids.

    A set that was fetched replaces the one before: what it does not have any more is refused from then on. If it cannot
    be fetched, the last one is used for up to 24 hours, and `report_stale` is called for every failure.
    """

    def __init__(
        self,
        url: str,
        *,
        report_stale: Callable[[str, float], None] = lambda cause, age_seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._url = url
        self._report_stale = report_stale
        self._monotonic = monotonic
        self._fetch_seconds = fetch_seconds
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._failed_at: float | None = None

    def key(self, kid: str) -> Any:
        """The public key of this id. Raises jwt.InvalidTokenError if the set has none, StoreUnavailableError if that
        cannot be known."""
        with self._lock:
            age = self._age()
            if age is None or age >= FRESH_SECONDS:
                self._refresh()
            elif kid not in self._keys and age >= COOLDOWN_SECONDS:
                self._refresh()  # it may be new
            if kid in self._keys:
                return self._keys[kid]
            if self._failed_at is not None:
                raise StoreUnavailableError  # the newest set may have it
        raise jwt.InvalidTokenError("unknown kid")

    def _age(self) -> float | None:
        """Seconds since the set was fetched; None if there is none that may be used."""
        if self._fetched_at is None:
            return None
        age = self._monotonic() - self._fetched_at
        return age if age < STALE_SECONDS else None

    def _refresh(self) -> None:
        """Fetch the set, unless that failed just now. Raises StoreUnavailableError if there is none to go on with."""
        now, age = self._monotonic(), self._age()
        if age is not None and self._failed_at is not None and now - self._failed_at < COOLDOWN_SECONDS:
            return
        try:
            self._keys = fetch(self._url, self._fetch_seconds)
        except KeySetError as error:
            self._failed_at = self._monotonic()
            if age is None:
                self._keys = {}
                raise StoreUnavailableError from error
            self._report_stale(str(error), age)
        else:
            self._fetched_at, self._failed_at = self._monotonic(), None


def fetch(url: str, seconds: float) -> Mapping[str, Any]:
    """The keys at `url`, within `seconds` for all of it. Raises KeySetError. Redirects are not followed.

    The standard library limits each wait for a few bytes, and not all of them together. So the request is made in a
    thread of its own, and its connection is shut down when the time is over.
    """
    parts = urlsplit(url)
    connection_type = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connection_type(parts.hostname or "", parts.port, timeout=seconds + 1)
    sockets: list[socket.socket] = []
    outcomes: list[Mapping[str, Any] | Exception] = []

    def run() -> None:
        try:
            connection.connect()
            sockets.append(connection.sock)
            outcomes.append(_keys(connection, parts.path + (f"?{parts.query}" if parts.query else "")))
        except (KeySetError, *_UNUSABLE) as error:
            outcomes.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="key set", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcomes:
        for sock in sockets:  # while it is being connected, its own limit ends it
            with suppress(OSError):  # it is closed already
                sock.shutdown(socket.SHUT_RDWR)
        raise KeySetError("timed out")
    outcome = outcomes[0]
    if isinstance(outcome, KeySetError):
        raise outcome
    if isinstance(outcome, Exception):
        raise KeySetError(type(outcome).__name__)
    return outcome


def _keys(connection: http.client.HTTPConnection, target: str) -> Mapping[str, Any]:
    connection.request("GET", target or "/", headers={"Accept": "application/json"})
    with connection.getresponse() as response:
        if response.status != HTTPStatus.OK:
            raise KeySetError(f"status {response.status}")
        body = response.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise KeySetError("too large")
        if response.length:
            raise KeySetError("cut off")
    document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise KeySetError("no key set")
    keys = {
        key.key_id: key.key
        for key in jwt.PyJWKSet.from_dict(document)
        if key.key_id and key.public_key_use in (None, "sig")
    }
    if not keys:
        raise KeySetError("no keys with an id")
    return keys
