"""Every request of one worker, numbered, and a place for each of them to go wrong.

`Wire` sees what goes to the store by tests/kit/intercept.py. The Claude SDK has no event like botocore's (the hooks of
httpx cannot answer); there the transport below its client is wrapped.

A worker can be killed at a request: `Killed` is no Exception, so nothing that the code has for errors runs, and
whatever still asks for something afterwards is found out. A call of the model runs in a thread of its own; there the
call ends as one that timed out, and the thread that waits for it is killed as soon as it hears of that.
"""

import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import httpx2
import stripe
from botocore.awsrequest import AWSResponse
from botocore.retries.standard import RetryEventAdapter, StandardRetryConditions

from playground.adapters.claude import ClaudeModel
from playground.ports import UNWATCHED, Completion, Model, Progress, Prompt, TokenCount
from tests.kit.intercept import Interception, Request

STRIPE = "STRIPE"
WRITES = frozenset({"UpdateItem", "TransactWriteItems", "BatchWriteItem", STRIPE})
MODEL = "POST"
OUTCOME = "#OUTCOME"  # ends the keys of outcomes that wait to be settled

_T = TypeVar("_T")
StripeReply = tuple[Any, int, Mapping[str, str]]


class Killed(BaseException):
    """The process ends here."""


class Fault(StrEnum):
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    CONFLICT = "conflict"  # of a transaction with another one, or of an update with a transaction
    IN_PROGRESS = "in progress"  # the same token is at work
    THROTTLED = "throttled"
    OVER_CAPACITY = "over capacity"
    BROKEN = "500"
    UNREACHABLE = "unreachable"
    UNPROCESSED = "unprocessed"  # a batch that was answered in part, with nothing
    LOST = "reply lost"
    FORGOTTEN = "reply and token lost"  # as if the repeat came when its token is forgotten, ten minutes later
    LATE = "arrives late"  # no answer; the request takes effect after all, when the worker has long continued

    def concerns(self, step: "Step") -> bool:
        """Whether this can happen to such a request."""
        match self:
            case Fault.CONFLICT:
                return step.writes and step.operation != STRIPE
            case Fault.LATE:
                return step.writes
            case Fault.IN_PROGRESS | Fault.FORGOTTEN:
                return step.operation == "TransactWriteItems"
            case Fault.OVER_CAPACITY:
                return step.operation not in (MODEL, STRIPE)
            case Fault.UNPROCESSED:
                return step.operation == "BatchGetItem"
        return True


PASSING = tuple(fault for fault in Fault if fault not in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER))
"""What a worker survives: the same request goes through in a moment."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `number` counts from 1 and includes what the SDK repeats."""

    number: int
    operation: str
    label: str

    @property
    def writes(self) -> bool:
        return self.operation in WRITES

    def __str__(self) -> str:
        return f"{self.operation} {self.label}"


Plan = Callable[[Step], Fault | None]
"""What happens to a request; None: nothing."""

Meanwhile = Callable[[Step], None]
"""What others do while the worker stands still in front of a request: a delay, if it moves a clock."""


def nothing_fails(_step: Step) -> None:
    return None


def nobody_else(_step: Step) -> None:
    return None


def at(number: int, *faults: Fault) -> Plan:
    """`faults`, one after the other, from request `number` on."""

    def plan(step: Step) -> Fault | None:
        place = step.number - number
        return faults[place] if 0 <= place < len(faults) else None

    return plan


def at_first(label: str, fault: Fault) -> Plan:
    """`fault`, at the first request of this label."""
    pending = [fault]

    def plan(step: Step) -> Fault | None:
        return pending.pop() if pending and step.label == label else None

    return plan


def at_each(faults: Sequence[Fault], offset: int, *, times: int) -> Plan:
    """At every request one of `faults`, which one depends on its label and on `offset`; so many times, then it goes
    through, whatever was asked for in between. Over as many offsets as there are faults, every request has every fault
    that concerns it; but those to Stripe, whose package pauses for half a second before it asks again, and here does
    not ask again at all."""
    failed: Counter[str] = Counter()

    def plan(step: Step) -> Fault | None:
        if step.operation == STRIPE:
            return None
        if failed[str(step)] == times:
            failed[str(step)] = 0
            return None
        failed[str(step)] += 1
        possible = [fault for fault in faults if fault.concerns(step)]
        return possible[(zlib.crc32(str(step).encode()) + offset) % len(possible)]

    return plan


def gone_from(number: int) -> Plan:
    """The store is out of reach from request `number` on."""

    def plan(step: Step) -> Fault | None:
        return Fault.UNREACHABLE if step.number >= number and step.operation != MODEL else None

    return plan


def at_random(seed: int, rate: float, faults: Sequence[Fault] = PASSING) -> Plan:
    """At `rate` of the requests one of `faults`; the same ones for the same seed."""
    chance = random.Random(seed)

    def plan(step: Step) -> Fault | None:
        hit, choice = chance.random() < rate, chance.random()
        possible = [fault for fault in faults if fault.concerns(step)]
        return possible[int(choice * len(possible))] if hit else None

    return plan


@dataclass(slots=True)
class Life:
    """A worker from its start to its end: what it asked for, what befell it, what the other side did of it."""

    plan: Plan
    meanwhile: Meanwhile
    steps: list[Step] = field(default_factory=list)
    befallen: list[tuple[Step, Fault]] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    """Requests that the other side carried out, whether or not the worker heard of it."""
    under_way: list[tuple[Step, Callable[[], bool]]] = field(default_factory=list)
    """What arrives when the worker has gone on: carries it out, and says whether that was done."""
    dead: bool = False
    post_mortem: list[Step] = field(default_factory=list)

    def count(self, label: str) -> int:
        """How many requests of this label were carried out."""
        return sum(step.label == label for step in self.done)

    def befell_the_model(self) -> int:
        return sum(step.operation == MODEL for step, _ in self.befallen)


class Wire:
    """Between one worker and everything that it asks. For one thread at a time, and only inside of `life`."""

    def __init__(self, dynamodb: Any, model: ClaudeModel) -> None:
        self._life: Life | None = None
        self.done: Counter[str] = Counter()
        """What was carried out in all lives so far, by label."""
        self._interception = Interception(dynamodb, self._store_request)
        _repeat_without_pauses(dynamodb)
        # Neither the SDK nor our adapter lets a transport be given to a client that they make.
        claude = model._client._client
        claude._transport = _ModelTransport(self, claude._transport)
        self.model: Model = _Model(self, model)

    @contextmanager
    def life(self, plan: Plan = nothing_fails, meanwhile: Meanwhile = nobody_else) -> Iterator[Life]:
        """A new process. What is still under way arrives at its end.

        Raises AssertionError then if anything was asked for after it was killed.
        """
        assert self._life is None, "two lives on one wire"
        life = self._life = Life(plan, meanwhile)
        try:
            yield life
        finally:
            self._life = None
        for step, arrive in life.under_way:
            if arrive():
                life.done.append(step)
        self.done.update(step.label for step in life.done)
        assert not life.post_mortem, f"a dead worker asked for {', '.join(map(str, life.post_mortem))}"

    def close(self) -> None:
        self._interception.close()

    def _next(self, operation: str, label: str) -> tuple[Life, Step, Fault | None]:
        life = self._life
        assert life is not None, f"no live worker could ask for {operation} {label}"
        step = Step(len(life.steps) + 1, operation, label)
        if life.dead:
            life.post_mortem.append(step)  # the AssertionError may be caught: it is raised again at the end
            raise AssertionError(f"a dead worker asks for {step}")
        life.steps.append(step)
        life.meanwhile(step)
        fault = life.plan(step)
        if fault is not None and not fault.concerns(step):
            fault = None
        if fault is not None:
            life.befallen.append((step, fault))
        if fault is Fault.KILLED_BEFORE:
            life.dead = True
            raise Killed(f"before {step}")
        return life, step, fault

    # --- the store ----------------------------------------------------------------------------------------------------

    def _store_request(self, request: Request) -> AWSResponse:
        life, step, fault = self._next(request.operation, _subject(request.operation, request.body))
        if fault is Fault.UNREACHABLE:
            raise request.unreachable()
        if fault is Fault.LATE:
            life.under_way.append((step, lambda: request.send().status_code == 200))
            raise request.unanswered()
        if fault not in (None, Fault.KILLED_AFTER, Fault.LOST, Fault.FORGOTTEN):
            return _refusal(fault, request)
        answer = (request.without_token() if fault is Fault.FORGOTTEN else request).send()
        if answer.status_code == 200:
            life.done.append(step)
        if fault is Fault.KILLED_AFTER:
            life.dead = True
            raise Killed(f"after {step}")
        if fault in (Fault.LOST, Fault.FORGOTTEN):
            raise request.hung_up()
        return answer

    # --- Stripe -------------------------------------------------------------------------------------------------------

    def stripe_request(self, label: str, send: Callable[[], StripeReply]) -> StripeReply:
        """A call of the stripe package, which `send` carries out."""
        life, step, fault = self._next(STRIPE, label)
        match fault:
            case Fault.UNREACHABLE | Fault.THROTTLED | Fault.BROKEN:
                raise stripe.APIConnectionError("connection refused")
            case Fault.LATE:
                life.under_way.append((step, lambda: send()[1] == 200))
                raise stripe.APIConnectionError("no answer")
        answer = send()
        if answer[1] == 200:
            life.done.append(step)
        if fault is Fault.KILLED_AFTER:
            life.dead = True
            raise Killed(f"after {step}")
        if fault is Fault.LOST:
            raise stripe.APIConnectionError("the reply was lost")
        return answer

    # --- the model ----------------------------------------------------------------------------------------------------

    def model_request(self, request: httpx2.Request, inner: httpx2.BaseTransport) -> httpx2.Response:
        try:
            life, step, fault = self._next(MODEL, request.url.path)
            return self._ask_model(request, inner, life, step, fault)
        except Killed as killed:
            raise httpx2.ReadTimeout(str(killed), request=request) from None

    def _ask_model(
        self, request: httpx2.Request, inner: httpx2.BaseTransport, life: Life, step: Step, fault: Fault | None
    ) -> httpx2.Response:
        match fault:
            case Fault.UNREACHABLE:
                raise httpx2.ConnectError("connection refused", request=request)
            case Fault.THROTTLED:
                return _model_error(429, "rate_limit_error")
            case Fault.BROKEN:
                return _model_error(500, "api_error")
        response = inner.handle_request(request)
        life.done.append(step)
        if fault in (Fault.KILLED_AFTER, Fault.LOST):
            assert isinstance(response.stream, httpx2.SyncByteStream)
            for _ in response.stream:
                pass  # the model has said everything
            response.close()
        if fault is Fault.KILLED_AFTER:
            life.dead = True
            raise Killed(f"after {step}")
        if fault is Fault.LOST:
            raise httpx2.RemoteProtocolError("server disconnected without sending a response", request=request)
        return response

    def model_call(self, call: Callable[[], _T]) -> _T:
        """What `call` returns or raises, if the worker is alive then."""
        try:
            return call()
        finally:
            if self._life is not None and self._life.dead:
                raise Killed("during a call of the model")


class _Model:
    """`ports.Model`: the real one, whose calls a worker may not survive."""

    def __init__(self, wire: Wire, model: ClaudeModel) -> None:
        self._wire = wire
        self._model = model

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return self._wire.model_call(lambda: self._model.count_tokens(prompt, timeout=timeout))

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        return self._wire.model_call(lambda: self._model.complete(prompt, timeout=timeout, progress=progress))


class _ModelTransport(httpx2.BaseTransport):
    def __init__(self, wire: Wire, inner: httpx2.BaseTransport) -> None:
        self._wire = wire
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._wire.model_request(request, self._inner)

    def close(self) -> None:
        self._inner.close()


def _repeat_without_pauses(dynamodb: Any) -> None:
    """The SDK decides as ever what it repeats, and how often; but at once, and whatever other tests have used up."""
    adapter = RetryEventAdapter()
    conditions = StandardRetryConditions(max_attempts=dynamodb.meta.config.retries["total_max_attempts"])

    def needs_retry(**event: Any) -> float | None:
        return 0.0 if conditions.is_retryable(adapter.create_retry_context(**event)) else None

    dynamodb.meta.events.unregister("needs-retry.dynamodb", unique_id="retry-config-dynamodb")
    dynamodb.meta.events.register("needs-retry.dynamodb", needs_retry)


# --- what a request is about ------------------------------------------------------------------------------------------


def _subject(operation: str, body: Mapping[str, Any]) -> str:
    """A few words for a request: what it reads, or what it does to the books."""
    match operation:
        case "TransactWriteItems":
            items = [next(iter(write.values())).get("Item", {}) for write in body["TransactItems"]]
            ends = [item["status"]["S"] for item in items if _kind(item) == "run"]
            written = [item["type"]["S"] for item in items if _kind(item) == "entry"] or [_kind(item) for item in items]
            return ends[0] if ends else "+".join(filter(None, written))
        case "UpdateItem":
            names = set(body["ExpressionAttributeNames"].values())
            if "x" in names:
                return "ask to stop"
            if "q" in names:
                return "ticket"
            return "lease" if "held" not in names else "hold" if "lease_at" in names else "give back"
        case "BatchWriteItem":
            [requests] = body["RequestItems"].values()
            if OUTCOME in json.dumps(requests):
                return "outcome" if all("PutRequest" in request for request in requests) else "no outcome"
            return "checkpoint" if all("PutRequest" in request for request in requests) else "no checkpoints"
        case "BatchGetItem":
            wanted = [key for table in body["RequestItems"].values() for key in table["Keys"]]
            if wanted[0]["sk"]["S"].endswith(OUTCOME):
                return "outcomes"
            return "+".join(sorted({_kind(key) for key in wanted}))
        case "TransactGetItems":
            return "+".join(sorted({_kind(item["Get"]["Key"]) for item in body["TransactItems"]}))
        case "Query":
            return str(body.get("IndexName") or _kind({"sk": body["ExpressionAttributeValues"][":first"]}) + "s")
    return _kind(body["Key"])


_KINDS = {"HEAD": "package", "VERSION": "package"}


def _kind(key: Mapping[str, Any]) -> str:
    name = str(key["sk"]["S"]).partition("#")[0] if "sk" in key else ""
    return _KINDS.get(name, name.lower())


# --- answers of the faults --------------------------------------------------------------------------------------------


def _refusal(fault: Fault, request: Request) -> AWSResponse:
    match fault:
        case Fault.CONFLICT:
            return request.in_conflict()
        case Fault.IN_PROGRESS:
            return request.error(400, "TransactionInProgressException")
        case Fault.OVER_CAPACITY:
            return request.over_capacity()
        case Fault.THROTTLED:
            return request.error(400, "ThrottlingException")
        case Fault.UNPROCESSED:
            wanted = request.body["RequestItems"]
            return request.answer(200, {"Responses": {name: [] for name in wanted}, "UnprocessedKeys": wanted})
    return request.error(500, "InternalServerError")


def _model_error(status: int, kind: str) -> httpx2.Response:
    return httpx2.Response(
        status, headers={"retry-after": "1"}, json={"type": "error", "error": {"type": kind, "message": "no"}}
    )
