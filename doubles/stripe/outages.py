"""Scripted failures of the next calls."""

import threading
from dataclasses import dataclass
from typing import Final

from doubles.stripe.wire import ApiError, Params, invalid

KINDS: Final = ("error", "hang", "disconnect", "lose_reply", "slow")
ERROR_TYPES: Final = ("api_error", "card_error", "idempotency_error", "invalid_request_error")
MAX_SECONDS: Final = 600


@dataclass(slots=True)
class Outage:
    """One kind of failure.

    error        answers with `status` (and `type`, `code`, `param`); with `work`, after having done what was asked
    hang         no answer for `seconds`, then the connection is closed; nothing was done
    disconnect   the connection is closed at once; nothing was done
    lose_reply   everything is done, and the connection is closed instead of an answer
    slow         everything is done after `seconds`, or as soon as POST /_control/recover says so
    """

    kind: str
    calls: int
    status: int = 500
    seconds: int = 0
    work: bool = False
    method: str | None = None
    path: str | None = None  # a prefix
    type: str | None = None  # of an error; None: what goes with its status
    code: str | None = None
    param: str | None = None

    def concerns(self, method: str, path: str) -> bool:
        return (self.method in (None, method)) and (self.path is None or path.startswith(self.path))


class Outages:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead: list[Outage] = []
        self.recovered = threading.Event()  # set, then replaced, so that waiting calls go on

    def add(self, params: Params) -> Outage:
        kind = params.choice("kind", KINDS)
        if kind is None:
            raise params.missing("kind")
        outage = Outage(
            kind,
            params.integer("calls", lowest=1) or 1,
            params.integer("status", lowest=400, highest=599) or 500,
            params.integer("seconds", lowest=0, highest=MAX_SECONDS) or (30 if kind in ("hang", "slow") else 0),
            params.flag("work"),
            params.choice("method", ("GET", "POST", "DELETE")),
            params.text("path"),
            params.choice("type", ERROR_TYPES),
            params.text("code"),
            params.text("param"),
        )
        if outage.work and kind != "error":
            raise invalid("`work` is for errors only.", "work")
        with self._lock:
            self._ahead.append(outage)
        return outage

    def take(self, method: str, path: str) -> Outage | None:
        """The failure of this call, or None. A failure is used up by the call that takes it."""
        with self._lock:
            for outage in self._ahead:
                if outage.concerns(method, path):
                    outage.calls -= 1
                    if outage.calls == 0:
                        self._ahead.remove(outage)
                    return outage
        return None

    def clear(self) -> None:
        """End all failures, also for calls that are waiting."""
        with self._lock:
            self._ahead.clear()
            former, self.recovered = self.recovered, threading.Event()
        former.set()


def scripted(outage: Outage) -> ApiError:
    status = outage.status
    if outage.type is not None or outage.code is not None or outage.param is not None:
        kind = outage.type or ("api_error" if status >= 500 else "invalid_request_error")
        return ApiError(status, kind, "A scripted error.", code=outage.code, param=outage.param)
    if status == 429:
        message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
        return ApiError(429, "invalid_request_error", message, code="rate_limit")
    if status == 401:
        return ApiError(401, "invalid_request_error", "Invalid API Key provided.")
    kind = "api_error" if status >= 500 else "invalid_request_error"
    return ApiError(status, kind, "Sorry! There was an error while talking to us. Please retry this request.")
