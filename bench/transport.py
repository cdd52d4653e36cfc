"""Records the requests of an adapter to the store at its botocore client, and injects latency and conflicts.

botocore emits an event before each request and after each response, and a handler may return a response so that nothing
is sent. The adapters run unchanged.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WRITES = frozenset({"UpdateItem", "TransactWriteItems"})
BEFORE, SEND, AFTER = "before-parameter-build.dynamodb", "before-call.dynamodb", "after-call.dynamodb"
UNANSWERED = "after-call-error.dynamodb"


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
    answered as if another transaction held the item. `exclusive`: and every write of an item that a transaction is at
    work on, as DynamoDB does; the engine makes it wait instead. `latency_of` a call, in place of `latency`.
    """

    latency: float = 0.0
    conflicts: float = 0.0
    exclusive: bool = False
    latency_of: Callable[[Call], float] | None = None
    pause: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - must be repeatable # nosec B311
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _at_work: dict[int, frozenset[str]] = field(default_factory=dict)

    @contextmanager
    def at(self, client: Any) -> Iterator["Transport"]:
        """Hook into the client while the context lasts."""
        events = client.meta.events
        handlers = (
            (BEFORE, self._built),
            (SEND, self._sending),
            (AFTER, self._answered),
            (UNANSWERED, self._unanswered),
        )
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
        call: Call = context["bench_call"]
        latency = context["bench_latency"] = self.latency_of(call) if self.latency_of else self.latency
        self.pause(latency / 2)
        if model.name not in WRITES:
            return None
        items = _items_of(call.params) if self.exclusive else frozenset()
        with self._lock:
            disturbed = self.rng.random() < self.conflicts or any(items & others for others in self._at_work.values())
            if not disturbed and self.exclusive and model.name == "TransactWriteItems":
                self._at_work[call.thread] = items
        if not disturbed:
            return None
        call.injected = True
        return _Refused(), conflict(call)

    def _answered(self, parsed: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        call: Call = context["bench_call"]
        self.pause(context["bench_latency"] / 2)
        if not call.injected:
            self._done(call)
        call.error = parsed.get("Error", {}).get("Code")

    def _unanswered(self, context: dict[str, Any], **_: Any) -> None:
        self._done(context["bench_call"])

    def _done(self, call: Call) -> None:
        with self._lock:
            self._at_work.pop(call.thread, None)


def _items_of(params: Mapping[str, Any]) -> frozenset[str]:
    """The items that a request writes."""
    writes = [write for each in params.get("TransactItems", ()) for write in each.values()] or [params]
    keys = [write.get("Key") or {name: write["Item"][name] for name in ("pk", "sk")} for write in writes]
    return frozenset(str(sorted(key.items())) for key in keys)


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
