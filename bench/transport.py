"""Records the requests of an adapter to the store at its botocore client, and injects latency and conflicts.

botocore emits an event before each request and after each response, and a handler may return a response so that nothing
is sent. The adapters run unchanged.
"""

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WRITES = frozenset({"UpdateItem", "TransactWriteItems"})
BEFORE, SEND, AFTER = "before-parameter-build.dynamodb", "before-call.dynamodb", "after-call.dynamodb"


@dataclass(slots=True)
class Call:
    """One request to the store. `error`: DynamoDB's code, None on success. `injected`: it was never sent."""

    operation: str
    params: Mapping[str, Any]
    thread: int
    error: str | None = None
    injected: bool = False


@dataclass
class Transport:
    """Hooks into one client. Safe to share between threads.

    `latency` seconds are added to each call, half of them before it; a fraction `conflicts` (0..1) of the writes is
    answered as if another transaction held the item.
    """

    latency: float = 0.0
    conflicts: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - must be repeatable
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at(self, client: Any) -> Iterator["Transport"]:
        """Hook into the client while the context lasts."""
        events = client.meta.events
        handlers = ((BEFORE, self._built), (SEND, self._sending), (AFTER, self._answered))
        for name, handler in handlers:
            events.register(name, handler, unique_id=f"{id(self)}{name}")
        try:
            yield self
        finally:
            for name, _ in handlers:
                events.unregister(name, unique_id=f"{id(self)}{name}")

    def of_this_thread(self) -> list[Call]:
        with self._lock:
            return [call for call in self.calls if call.thread == threading.get_ident()]

    def _built(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        call = Call(model.name, params, threading.get_ident())
        context["bench_call"] = call
        with self._lock:
            self.calls.append(call)

    def _sending(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
        time.sleep(self.latency / 2)
        if model.name not in WRITES:
            return None
        with self._lock:
            disturbed = self.rng.random() < self.conflicts
        if not disturbed:
            return None
        call: Call = context["bench_call"]
        call.injected = True
        return _Refused(), conflict(call)

    def _answered(self, parsed: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        time.sleep(self.latency / 2)
        context["bench_call"].error = parsed.get("Error", {}).get("Code")


class _Refused:
    """The part of an HTTP response that botocore reads."""

    status_code = 400


def conflict(call: Call) -> dict[str, Any]:
    """DynamoDB's answer when another transaction holds an item."""
    metadata = {"HTTPStatusCode": 400, "HTTPHeaders": {}}
    if call.operation == "UpdateItem":
        code = "TransactionConflictException"
        return {"Error": {"Code": code, "Message": "Transaction is ongoing for the item"}, "ResponseMetadata": metadata}
    others = [{"Code": "None"}] * (len(call.params["TransactItems"]) - 1)
    return {
        "Error": {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"},
        "CancellationReasons": [{"Code": "TransactionConflict", "Message": "Transaction is ongoing"}, *others],
        "ResponseMetadata": metadata,
    }
