"""Histories: what many workers asked of one ledger at once, when, what the answers were, and whether they make sense.

A history makes sense if there is a serial order of its operations that respects real time (what was answered before
another was asked comes before it) and in which a single worker would have got the same answers: linearizability, found
by the search of Wing and Gong, with a memory of what has been tried (Lowe). The answers of an account do not depend on
another account, so each account is searched by itself.

An operation that ended without an answer (the store was unavailable) may have happened, at any time since it was asked,
or not. A change of credits is answered with the account as it is then, which others may have changed in between: it
counts as two steps. A boundary may be crossed by any worker whose clock has passed it, before the rest of its
operation; the search may therefore put a crossing anywhere while there is one.
"""

import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from botocore.awsrequest import AWSResponse

from local.engine import Engine
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.errors import StoreUnavailableError
from tests.kit.extent import HANG_SECONDS
from tests.kit.intercept import Interception, Request
from tests.kit.operations import Subject
from tests.property.model import (
    DAY,
    HOUR,
    MINUTE,
    STAGES,
    Answer,
    Audit,
    Books,
    Cancel,
    CancelAll,
    Correction,
    Dear,
    Disputed,
    Ended,
    Entitle,
    Full,
    Grant,
    Hasty,
    Limits,
    Lost,
    Model,
    Moved,
    NoPlan,
    Nothing,
    Operation,
    Paid,
    Pause,
    Paused,
    Payment,
    Place,
    PlaceAll,
    Placed,
    Read,
    ReadRun,
    Receipt,
    Refunded,
    Release,
    Settle,
    Start,
    Take,
    Taken,
    Undo,
    View,
    agree,
    millis,
    moment,
    month_after,
)
from tests.support import SESSIONS_TABLE, new_ledger, new_store

WAIT = HANG_SECONDS / 2  # for a process or a thread that has lost its way
MAX_STATES = 150_000  # that one search looks at before it gives up
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Record:
    """One operation: asked at `call`, answered at `back` (monotonic nanoseconds, one clock for all processes). Without
    an answer it may have happened or not. An answer that is an exception explains nothing."""

    user: str
    worker: str
    call: float
    back: float
    operation: Operation
    answer: Answer | str | None

    def __str__(self) -> str:
        back = "?" if self.back == NEVER else f"{self.back / 1e6:.3f}"
        return (
            f"{self.call / 1e6:.3f} to {back} ms  {self.worker}  {described(self.operation)}  =>  {said(self.answer)}"
        )


def described(operation: Operation) -> str:
    """An operation in a few words."""
    name, now = type(operation).__name__.lower(), f"at {moment(operation.now):%d %H:%M:%S}"
    match operation:
        case Place(run, nonce, ceiling, _, session, turn, limit, _, limits, rate, needs_plan):
            others = f", {limits.runs} may fail" if limits is not None else ""
            others += f", {rate} a minute" if rate is not None else ""
            others += ", with the plan" if needs_plan else ""
            return f"{name} {run} as {nonce} for {ceiling}, turn {turn} of {session}, limit {limit}{others}, {now}"
        case PlaceAll(holds):
            return f"{name} of " + "; ".join(map(described, holds))
        case CancelAll(holds, _):
            return f"{name} {', '.join(f'{hold.run} as {hold.nonce}' for hold in holds)}"
        case Settle(hold, cost, _):
            return f"{name} {hold.run} as {hold.nonce} with {cost} of {hold.ceiling}, turn {hold.turn}, {now}"
        case Release(hold, status, _, cost):
            return f"{name} {hold.run} as {hold.nonce}, {status}, unpaid {cost}, {now}"
        case Cancel(hold, _):
            return f"{name} {hold.run} as {hold.nonce}"
        case ReadRun(run, _):
            return f"{name} {run}"
        case Grant(credits, key, _) | Take(credits, key, _):
            return f"{name} {credits} as {key}, {now}"
        case Undo(key, _):
            return f"{name} {key}, {now}"
        case Pause(on, key, _):
            return f"{name if on else 'resume'} as {key}, {now}"
        case Paid(purchase, credits, _, _):
            return f"{name} {purchase} for {credits}, {now}"
        case Refunded(purchase, _, price, cents, _):
            return f"{name} {purchase} up to {cents} of {price}, {now}"
        case Disputed(purchase, _, price, dispute, cents, stage, _):
            return f"{name} {purchase} as {dispute}, {cents} of {price}, {stage}, {now}"
        case Start(until, key, _) | Entitle(until, key, _):
            return f"{name} until {moment(until) if until else 'ended'} as {key}, {now}"
    return f"{name} {now}"


def said(answer: object) -> str:
    """An answer in a few words: monthly + rollover + purchased − held, the number of entries, the period, the holds."""
    match answer:
        case View():
            holds = " ".join(f"{run}/{nonce}:{ceiling}" for run, nonce, ceiling, _ in sorted(answer.holds))
            sums = f"{answer.monthly}+{answer.rollover}+{answer.purchased}-{answer.held}"
            owes = f" owes {answer.debt}" if answer.debt else ""
            owes += f" lapsed {answer.lapsed}" if answer.lapsed else ""
            paused = " paused" if answer.paused is not None else ""
            return f"{sums} v{answer.version} {answer.plan} {answer.period}{owes}{paused} [{holds}]"
        case Ended(receipt, by_us):
            return f"{said(receipt)}, by us: {by_us}"
        case Receipt():
            charged = f" {answer.charged} {answer.split} entry {answer.seq}" if answer.charged else ""
            return f"{answer.status} by {answer.nonce}{charged}"
        case Placed(view, ended_before):
            return f"placed{', ended before' if ended_before else ''} {said(view)}"
        case Dear(view) | Full(view) | Paused(view) | NoPlan(view) | Taken(view, _) | Hasty(view, _):
            return f"{type(answer).__name__.lower()} {said(view)}"
        case Books(view, lines, turns, receipts):
            rows = (f"{line.type} {line.monthly:+}{line.rollover:+}{line.purchased:+}" for line in lines)
            outcomes = (said(receipt) for receipt in receipts)
            return "\n      ".join([said(view), *rows, str(turns), *outcomes])
        case None:
            return "nothing"
    return answer if isinstance(answer, str) else type(answer).__name__.lower()


# --- does it make sense? ----------------------------------------------------------------------------------------------


class UnexplainedError(AssertionError):
    """No serial order explains `prefix`, the shortest beginning of a history of which that is true."""

    def __init__(self, search: "_Search") -> None:
        self.prefix = search.records
        first = min((record.call for record in self.prefix), default=0)
        shown = [replace(record, call=record.call - first, back=record.back - first) for record in self.prefix]
        order, model = search.order, search.deepest
        lines = [
            f"no serial order explains these {len(self.prefix)} operations:",
            *(f"  {record}" for record in shown),
            f"the longest explanation found has {len(order)} of them, which end with",
            *(f"  {record.worker}  {described(record.operation)}" for record in order[-20:]),
            f"and leave {said(model.view())}; none of these can come next:",
        ]
        for operation, record in search.stuck():
            expected, actual = said(model.copy().apply(operation)), said(record.answer)
            lines.append(
                f"  {record.worker}  {described(operation)}\n      answered {actual}\n      not      {expected}"
            )
        super().__init__("\n".join(lines))


class UndecidedError(AssertionError):
    """The search has looked at as many states as it may."""


def explain(history: Sequence[Record], *, lost_replies: bool = False, most_states: int = MAX_STATES) -> list[Record]:
    """A serial order that explains `history`, of one account. Raises UnexplainedError, or UndecidedError.

    With `lost_replies` a hold may be answered with the account as it was when it was asked for again.
    """
    search = _Search(history, lost_replies, most_states)
    if search.found():
        return search.order
    answered = sorted((record.back, place) for place, record in enumerate(history) if record.back != NEVER)
    least, most = 1, len(answered)  # answers: the whole of it cannot be explained, nothing can
    failed = search
    while least < most:
        middle = (least + most) // 2
        search = _Search(_until(history, answered[middle - 1][0]), lost_replies, most_states)
        try:
            explained = search.found()
        except UndecidedError:
            explained = True  # it may be: a longer prefix is shown then
        if explained:
            least = middle + 1
        else:
            most, failed = middle, search
    raise UnexplainedError(failed)


def _until(history: Sequence[Record], end: float) -> list[Record]:
    """What an observer knew at `end`: what was asked, and what was answered."""
    return [
        record if record.back <= end else replace(record, back=NEVER, answer=None)
        for record in history
        if record.call <= end
    ]


NOTHING_DONE = (Dear, Full, Hasty, Paused, NoPlan, Taken, Moved, Lost)


def placed_by(operation: Operation) -> Sequence[Place]:
    """The holds that an operation would place."""
    return (operation,) if isinstance(operation, Place) else operation.holds if isinstance(operation, PlaceAll) else ()


@dataclass(frozen=True, slots=True)
class _Step:
    """A step to be ordered. `answer`: the answer it got, None if any answer will do. It comes after step
    `after` of the same record, while the account has at most `version` entries, and before any of the attempts `held`
    has lost its hold."""

    record: Record
    operation: Operation
    answer: Answer | str | None
    order: tuple[float, float]
    after: int | None = None
    version: int | None = None
    held: frozenset[str] = frozenset()


def _steps(history: Iterable[Record], *, lost_replies: bool) -> list[_Step]:
    steps: list[_Step] = []
    for record in sorted(history, key=lambda record: record.call):
        operation, answer, view = record.operation, record.answer, _view(record.answer)
        near = answer.receipt.seq if isinstance(answer, Ended) else view and view.version
        order = (near or 0, record.back)
        if view is None:
            steps.append(_Step(record, operation, answer, order))
            continue
        held = frozenset(nonce for _, nonce, _, _ in view.holds)
        is_change = isinstance(operation, Grant | Correction | Start | Entitle | Payment)
        if is_change or (lost_replies and isinstance(answer, Placed)):
            steps.append(_Step(record, operation, None, order, version=view.version))
            operation, answer = Read(operation.now), view
            steps.append(_Step(record, operation, answer, order, len(steps) - 1, view.version, held))
        else:
            steps.append(_Step(record, operation, answer, order, None, view.version, held))
    return steps


def _view(answer: object) -> View | None:
    """The account at that moment, if the answer says it."""
    if isinstance(answer, Placed | Dear | Full | Hasty | Paused | NoPlan | Taken):
        return answer.view
    return answer if isinstance(answer, View) else None


def _ways(before: Model, step: _Step) -> Iterator[tuple[Model, Answer]]:
    """What an account may be after a step, with the answer. An operation that finds its run already ended may or may
    not have crossed a boundary before."""
    model = before.copy()
    yield model, model.apply(step.operation)
    if isinstance(step.operation, Settle | Release) and before.due is not None and before.due <= step.operation.now:
        model = before.copy()
        answer = model.apply(step.operation, arriving=False)
        if isinstance(answer, Lost) or (isinstance(answer, Ended) and answer.by_us is not True):
            yield model, answer


def _may_cross(model: Model, step: _Step) -> bool:
    """Whether a boundary may have been crossed by this step. Reading a receipt, cancelling a hold and undoing what
    was never granted do not look at the clock."""
    looks = not isinstance(step.operation, ReadRun | Cancel | CancelAll) and not isinstance(step.answer, Nothing)
    return looks and model.due is not None and model.due <= step.operation.now


@dataclass(frozen=True, slots=True)
class _Node:
    done: int  # a bit per step
    first: int  # all steps before this one are done
    model: Model
    last: int | None = None  # the step that led here; None for a boundary, and for the beginning
    before: "_Node | None" = None
    depth: int = 0


class _Search:
    """Depth first. A state that was reached with the same steps done is not looked at again."""

    def __init__(self, history: Sequence[Record], lost_replies: bool, most_states: int) -> None:
        self.records = sorted(history, key=lambda record: record.call)
        self._steps = _steps(history, lost_replies=lost_replies)
        self._places = {
            hold.nonce: place for place, step in enumerate(self._steps) for hold in placed_by(step.operation)
        }
        self._most = most_states
        self._wanted = sum(1 << place for place, step in enumerate(self._steps) if step.record.answer is not None)
        self._best = _Node(0, 0, Model())

    @property
    def order(self) -> list[Record]:
        """The longest serial order that was found."""
        places = []
        node: _Node | None = self._best
        while node is not None:
            if node.last is not None:
                places.append(node.last)
            node = node.before
        return [self._steps[place].record for place in reversed(places) if self._steps[place].after is None]

    @property
    def deepest(self) -> Model:
        return self._best.model

    def stuck(self) -> list[tuple[Operation, Record]]:
        """What could have come next where the longest order ends."""
        steps = [self._steps[place] for place in self._candidates(self._best)]
        return [(step.operation, step.record) for step in steps if step.record.answer is not None]

    def found(self) -> bool:
        stack, seen = [self._best], set[object]()
        while stack:
            node = stack.pop()
            state = (node.done, node.model.key())
            if state in seen:
                continue
            seen.add(state)
            if len(seen) > self._most:
                raise UndecidedError(f"undecided after {self._most} states of {len(self.records)} operations")
            if node.done & self._wanted == self._wanted:
                self._best = node
                return True
            following = self._next(node)
            if following is not None:
                stack += reversed(following)
                if node.depth > self._best.depth:
                    self._best = node
        return False

    def _next(self, node: _Node) -> list[_Node] | None:
        """The nodes that may follow, the most promising first. None: what is still to come has come too late."""
        may_cross = False
        likely: list[_Node] = []
        perhaps: list[_Node] = []
        for place in self._candidates(node):
            step = self._steps[place]
            may_cross = may_cross or _may_cross(node.model, step)
            if (step.version is not None and step.version < node.model.version) or step.held & node.model.gone:
                return None
            for model, expected in _ways(node.model, step):
                changed = model.changes != node.model.changes
                if step.record.answer is None:
                    if changed:
                        perhaps.append(self._after(node, place, model))
                elif (
                    agree(expected, step.answer) if step.answer is not None else not isinstance(expected, NOTHING_DONE)
                ):
                    if not changed and not _may_cross(node.model, step) and self._harmless(node, step):
                        return [self._after(node, place, node.model)]
                    likely.append(self._after(node, place, model))
        if may_cross:
            model = node.model.copy()
            model.cross()
            likely.append(replace(node, model=model, last=None, before=node))
        return likely + perhaps

    def _harmless(self, node: _Node, step: _Step) -> bool:
        """Whether a step that fits and has changed nothing would never change anything with this answer. Then it may be
        taken at once: it can neither help nor hinder what comes after."""
        match step.operation:
            case Read() | ReadRun() | Audit():
                return True
            case Grant(_, key, _):
                return key in node.model.keys
            case Settle(hold) | Release(hold) if self._plan_may_change(node, step):
                return False  # it may have to come later, to cross a boundary that its answer does not show
            case Settle(hold) | Release(hold) | Cancel(hold):  # an attempt holds once
                return self._has_held(node, hold)
            case CancelAll(holds):
                return all(self._has_held(node, hold) for hold in holds)
        return isinstance(step.answer, NOTHING_DONE)

    def _has_held(self, node: _Node, hold: Place) -> bool:
        """Whether the attempt does not hold any more from here on, unless it does now."""
        return hold.nonce not in self._places or bool(node.done >> self._places[hold.nonce] & 1)

    def _plan_may_change(self, node: _Node, step: _Step) -> bool:
        """Whether a beginning or an end of a plan is still to come that may have come before this step."""
        return any(
            isinstance(other.operation, Entitle | Start)
            and not node.done >> place & 1
            and other.record.call < step.record.back
            for place, other in enumerate(self._steps)
        )

    def _candidates(self, node: _Node) -> list[int]:
        """What was asked before anything else that is still to come was answered; what says to be early first."""
        found: list[int] = []
        answered = NEVER
        for place in range(node.first, len(self._steps)):
            step = self._steps[place]
            if step.record.call > answered:
                break
            if not node.done >> place & 1:
                if step.after is None or node.done >> step.after & 1:
                    found.append(place)
                if step.record.answer is not None:
                    answered = min(answered, step.record.back)
        return sorted(found, key=lambda place: self._steps[place].order)

    def _after(self, node: _Node, place: int, model: Model) -> _Node:
        done, first = node.done | 1 << place, node.first
        while done >> first & 1:
            first += 1
        return _Node(done, first, model, place, node, node.depth + 1)


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


class Disturbance:
    """On the way from one store: a part of the writes is in conflict with others, and of some the reply is lost."""

    def __init__(self, store: DynamoStore, seed: object, rate: float) -> None:
        self._random = random.Random(str(seed))
        self._rate = rate
        self._interception = Interception(store.client, self._on_request)

    def _on_request(self, request: Request) -> AWSResponse | None:
        if request.operation not in ("UpdateItem", "TransactWriteItems") or self._random.random() >= self._rate:
            return None
        if self._random.random() < 0.5:
            return request.in_conflict()  # a transaction's first item is the account, which is what others have
        request.send()
        raise request.hung_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interception.close()


# --- making histories -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Every process has `threads`, which do `steps` operations each, drawn by `seed`, on any of `users`. The clocks go
    through a `span` around the second boundary of plans that began at `anchor`, and differ by ten minutes either way.
    `disturbed`: the part of the writes that meets a conflict or loses its reply."""

    seed: int
    users: tuple[str, ...]
    anchor: int = millis(datetime(2027, 1, 31, 23, 30, tzinfo=UTC))
    threads: int = 5
    steps: int = 16
    span: int = 2 * HOUR
    disturbed: float = 0.0
    placed: tuple[tuple[str, Place], ...] = ()  # before the scene, by attempts that may be late

    @property
    def begins(self) -> int:
        return month_after(self.anchor, 2) - self.span // 2


SKEW = 10 * MINUTE
FAILURES = Limits(runs=6, cost=1_000_000_000, per_credit=25_000_000)  # 40 credits a day
SHARED_RUNS = 6  # that all workers try for
SHARED_KEYS = 5
SHARED_SESSIONS = 3
SHARED_PURCHASES = 3


class Worker:
    """One thread of a process."""

    def __init__(
        self, scene: Scene, name: str, subjects: Mapping[str, Subject], placed: list[tuple[str, Place]]
    ) -> None:
        self.records: list[Record] = []
        self._scene = scene
        self._name = name
        self._subjects = subjects
        self._placed = placed  # by any thread of this process
        self._random = random.Random(f"{scene.seed} {name}")
        self._step = 0

    def run(self) -> None:
        actions: Mapping[Callable[[], None], int] = {
            self.place: 10,
            self.place_all: 3,
            self.settle: 8,
            self.release: 4,
            self.cancel: 1,
            self.read: 2,
            self.read_run: 2,
            self.sweep: 3,
            self.grant: 3,
            self.take: 1,
            self.undo: 1,
            self.pause: 1,
            self.start: 1,
            self.entitle: 1,
            self.pay: 2,
            self.refund: 2,
            self.dispute: 1,
        }
        for action in self._random.choices(list(actions), list(actions.values()), k=self._scene.steps):
            action()
            self._step += 1

    def place(self) -> None:
        user, place = self._user(), self._a_place(f"{self._name}_{self._step}")
        answer = self._do(user, place)
        if isinstance(answer, Placed):
            self._placed.append((user, place))
        elif answer is None:
            self._do(user, Cancel(place, self._now()))

    def place_all(self) -> None:
        """Two or three runs that begin together. They end one by one."""
        user, name = self._user(), f"{self._name}_{self._step}"
        first = self._a_place(f"{name}a")
        others = [self._a_place(f"{name}{letter}") for letter in "bc"[: self._random.choice((1, 1, 2))]]
        same = {"now": first.now, "lease": first.lease, "limit": first.limit, "limits": first.limits}
        pair = {first.run: first} | {
            other.run: replace(other, **same, rate=first.rate) for other in others if other.run != first.run
        }
        together = PlaceAll(tuple(pair.values()))
        answer = self._do(user, together)
        if isinstance(answer, Placed):
            self._placed += [(user, place) for place in together.holds]
        elif answer is None:
            self._do(user, CancelAll(together.holds, self._now()))

    def _a_place(self, name: str) -> Place:
        run = f"run_{name}" if self._chance(0.6) else f"run_s{self._random.randrange(SHARED_RUNS)}"
        session = f"ses_{name}" if self._chance(0.8) else f"ses_s{self._random.randrange(SHARED_SESSIONS)}"
        now = self._now()
        return Place(
            run=run,
            nonce=f"try_{name}",
            ceiling=self._random.choice((1, 1, 2, 3, 5, 20, 90)),
            lease=now + DAY,  # no attempt that is alive may be given up
            session=session,
            turn=1 if session == f"ses_{name}" else self._random.choice((1, 1, 2, 3)),
            limit=self._random.choice((20, 20, 6)),
            now=now,
            limits=self._random.choice((None, FAILURES)),
            rate=self._random.choice((None, None, 3, 60)),
            needs_plan=self._chance(0.2),
        )

    def settle(self) -> None:
        if self._placed:
            user, place = self._a_placed()
            self._do(user, Settle(place, self._random.randint(1, place.ceiling), self._now()))

    def release(self) -> None:
        if self._placed:
            user, place = self._a_placed()
            cost = self._random.choice((None, 0, place.ceiling * FAILURES.per_credit))
            self._do(user, Release(place, "released", self._now(), cost))

    def cancel(self) -> None:
        if self._placed:
            user, place = self._a_placed()
            self._do(user, Cancel(place, self._now()))

    def read(self) -> None:
        self._do(self._user(), Read(self._now()))

    def read_run(self) -> None:
        run = self._random.choice(self._placed)[1].run if self._placed else "run_s0"
        self._do(self._user(), ReadRun(run, self._now()))

    def sweep(self) -> None:
        """A read, and an end of each hold that is dead by this clock: others may be faster."""
        user, now = self._user(), self._now()
        view = self._do(user, Read(now))
        if isinstance(view, View):
            for place in dead_holds(view, now):
                self._do(user, Release(place, "expired", now))

    def grant(self) -> None:
        key = f"bonus:{self._random.randrange(SHARED_KEYS) if self._chance(0.5) else f'{self._name}_{self._step}'}"
        self._do(self._user(), Grant(self._random.randint(1, 30), key, self._now()))

    def take(self) -> None:
        key = f"t{self._random.randrange(SHARED_KEYS)}" if self._chance(0.5) else f"t_{self._name}_{self._step}"
        credits_ = 1 + sum(map(ord, key)) % 20  # a key is for one amount
        self._do(self._user(), Take(credits_, key, self._now()))

    def undo(self) -> None:
        self._do(self._user(), Undo(f"bonus:{self._random.randrange(SHARED_KEYS)}", self._now()))

    def pause(self) -> None:
        """Mostly ended at once: nothing happens on an account that is paused."""
        user, key = self._user(), f"{self._name}_{self._step}"
        self._do(user, Pause(True, f"p_{key}", self._now()))
        self._do(user, Pause(False, f"r_{key}", self._now()))

    def start(self) -> None:
        self._do(self._user(), Start(None, f"plan:{self._name}_{self._step}", self._now()))

    def entitle(self) -> None:
        now = self._now()
        until = None if self._chance(0.5) else self._scene.begins + self._random.randint(0, self._scene.span)
        if until is not None:
            until = max(until, now + 1)  # operators may not name a time that has passed
        self._do(self._user(), Entitle(until, f"until:{self._name}_{self._step}", now))

    def pay(self) -> None:
        name, credits_, price = self._a_purchase()
        self._do(self._user(), Paid(name, credits_, price, self._now()))

    def refund(self) -> None:
        name, credits_, price = self._a_purchase()
        cents = self._random.choice((price, self._random.randint(1, price)))
        self._do(self._user(), Refunded(name, credits_, price, cents, self._now()))

    def dispute(self) -> None:
        name, credits_, price = self._a_purchase()
        cents, stage = self._random.randint(1, price), self._random.choice(STAGES)
        self._do(self._user(), Disputed(name, credits_, price, "d", cents, stage, self._now()))

    def _a_purchase(self) -> tuple[str, int, int]:
        """One that other workers hear of, too."""
        return purchase(self._random.randrange(SHARED_PURCHASES))

    def _do(self, user: str, operation: Operation) -> Answer | str | None:
        record = perform(self._subjects[user], self._name, operation)
        self.records.append(record)
        return record.answer

    def _user(self) -> str:
        return self._random.choice(self._scene.users)

    def _a_placed(self) -> tuple[str, Place]:
        """A recent one, mostly."""
        return self._placed[-1 - min(int(self._random.expovariate(0.4)), len(self._placed) - 1)]

    def _now(self) -> int:
        past = self._scene.span * self._step // self._scene.steps
        return self._scene.begins + past + self._random.randint(-SKEW, SKEW)

    def _chance(self, part: float) -> bool:
        return self._random.random() < part


def purchase(number: int) -> tuple[str, int, int]:
    """Its name, its credits and its price."""
    return f"s{number}", 20 + 7 * number, 500


def perform(subject: Subject, worker: str, operation: Operation) -> Record:
    answer: Answer | str | None
    call = time.monotonic_ns()
    try:
        answer = subject.apply(operation)
    except StoreUnavailableError:
        answer = None
    except Exception as error:  # whatever it is, nothing explains it
        answer = repr(error)
    back = NEVER if answer is None else time.monotonic_ns()
    return Record(subject.user_id, worker, call, back, operation, answer)


def dead_holds(view: View, now: int) -> list[Place]:
    """Those whose lease is over, as far as an account knows them."""
    return [
        Place(run, nonce, ceiling, lease, session="ses_unknown", turn=1, limit=20, now=lease)
        for run, nonce, ceiling, lease in sorted(view.holds)
        if lease <= now
    ]


class Crew:
    """Some processes, each with a store of its own over one engine. One history at a time. After one that failed, or
    was given up in the middle, the next is played by new ones."""

    def __init__(self, engine: Engine, processes: int) -> None:
        self._engine = engine
        self._number = processes
        self._pipes: list[Pipe] = []
        self._processes: list[BaseProcess] = []
        self._start()

    def _start(self) -> None:
        # Forked from a process that has imported this module, and nothing else: each import takes a second.
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._together = context.Barrier(self._number)  # kept: it ends with us
        for number in range(self._number):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_member,
                args=(theirs, self._engine.port, number, self._together),
                name=f"history-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def play(self, scene: Scene) -> list[Record]:
        """All that happened, in no order. Raises RuntimeError if a process failed."""
        if not self._pipes:
            self._start()
        try:
            return self._play(scene)
        except BaseException:
            self.kill()
            raise

    def _play(self, scene: Scene) -> list[Record]:
        for pipe in self._pipes:
            pipe.send(scene)
        records: list[Record] = []
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if not pipe.poll(WAIT):
                raise RuntimeError(f"{process.name} does not answer")
            answer = pipe.recv()
            if isinstance(answer, str):
                raise RuntimeError(f"{process.name}: {answer}")
            records += answer
        return records

    def close(self) -> None:
        """Let them end in order."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.join(WAIT)
        self.kill()

    def kill(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            if process.is_alive():
                process.kill()
            process.join()
            process.close()
        self._pipes, self._processes = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _member(pipe: Pipe, port: int, number: int, together: Any) -> None:
    """A process of the crew: plays scenes until the pipe is closed."""
    store = new_store(Engine(port=port))
    with closing(store.client):
        while True:
            try:
                scene = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send(_play(scene, store, number, together))
            except Exception as error:  # raised in the thread that waits for this one
                pipe.send(repr(error))


def _play(scene: Scene, store: DynamoStore, number: int, together: Any) -> list[Record]:
    ledger, sessions = new_ledger(store), DynamoSessions(store, SESSIONS_TABLE)
    subjects = {user: Subject(ledger, sessions, user) for user in scene.users}
    placed = list(scene.placed)
    workers = [Worker(scene, f"p{number}t{thread}", subjects, placed) for thread in range(scene.threads)]
    start = threading.Barrier(scene.threads, action=lambda: together.wait(WAIT), timeout=WAIT)

    def run(worker: Worker) -> None:
        start.wait()
        worker.run()

    with Disturbance(store, f"{scene.seed} {number}", scene.disturbed), ThreadPoolExecutor(scene.threads) as pool:
        for future in [pool.submit(run, worker) for worker in workers]:
            future.result(WAIT)
    return [record for worker in workers for record in worker.records]


# --- a whole story with many workers ----------------------------------------------------------------------------------


def stage(scene: Scene, subjects: Sequence[Subject]) -> tuple[Scene, list[Record]]:
    """Before anybody else comes. Every user has a plan that has crossed its first boundary, so that rollover expires at
    the second, in the middle of the scene; packs that are paid for, of which one is refunded; and holds of most of what
    there is, or of all, whose attempts are late or dead, for their leases end during the scene."""
    chance, records, placed = random.Random(f"{scene.seed} stage"), list[Record](), list[tuple[str, Place]]()
    before = scene.begins - HOUR
    for subject in subjects:

        def do(operation: Operation, subject: Subject = subject) -> object:
            records.append(perform(subject, "stage", operation))
            return records[-1].answer

        do(Start(None, "plan", scene.anchor))
        for number in range(SHARED_PURCHASES):
            do(Paid(*purchase(number), before))
        view = do(Grant(chance.choice((1, 20, 200)), "bonus:first", before))
        free = view.available if isinstance(view, View) else 0
        holds = chance.randint(1, 5)
        for number in range(holds):
            # The last one takes all that is left, mostly: what is taken back then is owed, and rollover cannot expire.
            everything = number == holds - 1 and chance.random() < 0.8
            ceiling = max(free, 1) if everything else 1 + int(free * chance.random())
            lease = scene.begins + chance.randint(0, scene.span)
            place = Place(f"run_d{number}", f"try_d{number}", ceiling, lease, f"ses_d{number}", 1, 20, before)
            if isinstance(do(place), Placed):
                placed.append((subject.user_id, place))
                free -= ceiling
        name, credits_, price = purchase(0)
        do(Refunded(name, credits_, price, price, before))  # owed, if all is held
    return replace(scene, placed=tuple(placed)), records


def clear(scene: Scene, subjects: Iterable[Subject], history: Mapping[str, Sequence[Record]]) -> list[Record]:
    """After all have gone: every lease is over and every hold comes back; then the books are audited."""
    records = []
    late = scene.begins + scene.span + 2 * DAY
    for subject in subjects:
        operations = [record.operation for record in history[subject.user_id]]
        places = [place for operation in operations for place in placed_by(operation)]
        records.append(perform(subject, "clear", Read(late)))
        view = records[-1].answer
        if isinstance(view, View):
            records += [perform(subject, "clear", Release(hold, "expired", late)) for hold in dead_holds(view, late)]
        sessions, runs = ({getattr(place, name) for place in places} for name in ("session", "run"))
        audit = Audit(tuple(sorted(sessions)), tuple(sorted(runs)), late)
        records.append(perform(subject, "clear", audit))
    return records


def play(crew: "Crew", scene: Scene, subjects: Sequence[Subject]) -> dict[str, list[Record]]:
    """All that happened to each user from the beginning to the audit."""
    scene, records = stage(scene, subjects)
    history: dict[str, list[Record]] = defaultdict(list)
    for record in [*records, *crew.play(scene)]:
        history[record.user].append(record)
    for record in clear(scene, subjects, history):
        history[record.user].append(record)
    return history
