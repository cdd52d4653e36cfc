"""Concurrent runs of one user compared with the same runs in sequence, and two ways to place a hold."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from statistics import median

from bench.transport import WRITES, Transport
from bench.world import SECONDS_LEFT, FixedModel, Watched, World, a_request, utc_now
from playground.domain.account import Hold
from playground.domain.errors import InsufficientCreditsError, PlaygroundError
from playground.ports import Held

LATENCY = 0.005  # s that the store is made slower by
CONFLICTS = 0.1  # of all writes


@dataclass(frozen=True, slots=True)
class Crowd:
    """The outcome of several runs. `ledger_seconds`: for each, its duration without the model. `cpu_seconds`: of this
    process, whose threads the runs are; `store_cpu_seconds`: of the store's; None if that cannot be seen."""

    ledger_seconds: Sequence[float]
    cpu_seconds: float
    store_cpu_seconds: float | None
    refused: int
    failed: Counter[str]
    lost_holds: int
    findings: int
    writes: int
    disturbed: int
    outrun: int
    most_open: int


@dataclass(slots=True)
class _Outcome:
    seconds: float = 0.0
    error: PlaygroundError | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """When a run begins, in seconds, and how long its answer takes."""

    start: float
    model: float


class _Open:
    """Counts the answers that are awaited at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def wait(self, seconds: float) -> float:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(seconds)
        with self._lock:
            self._now -= 1
        return 0.0


def crowd(world: World, user_id: str, plans: Sequence[Plan], *, at_once: bool, seed: int, apart: bool = False) -> Crowd:
    """Make these runs for `user_id`, who has enough credits, with injected latency and conflicts.

    The limit of open runs per account is raised. `apart`: every run has a user of its own.
    """
    users = [f"{user_id} {number}" if apart else user_id for number in range(len(plans))]
    for user in dict.fromkeys(users):
        world.give(user, 10 * len(plans))
    rng = random.Random(seed)  # noqa: S311 - must be repeatable # nosec B311
    transport = Transport(latency=LATENCY, conflicts=CONFLICTS, rng=rng)
    open_ = _Open()

    def one(number: int) -> _Outcome:
        plan = plans[number]
        watched = Watched(FixedModel(seconds=lambda: open_.wait(plan.model)), transport)
        run_prompt = world.run_prompt(watched, max_open_runs=len(plans))
        time.sleep(plan.start)
        outcome, started = _Outcome(), time.perf_counter()
        try:
            run_prompt(users[number], a_request(), idempotency_key=f"run {number}", seconds_left=SECONDS_LEFT)
        except PlaygroundError as error:
            outcome.error = error
        outcome.seconds = time.perf_counter() - started - watched.seconds
        return outcome

    cpu, store_cpu = time.process_time(), world.store_cpu_seconds()
    with transport.at(world.store.client), ThreadPoolExecutor(len(plans) if at_once else 1) as pool:
        outcomes = list(pool.map(one, range(len(plans))))
    cpu, store_cpu_after = time.process_time() - cpu, world.store_cpu_seconds()
    accounts = [world.ledger.account(user, utc_now()) for user in dict.fromkeys(users)]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    writes = [call for call in transport.calls if call.operation in WRITES]
    return Crowd(
        ledger_seconds=[outcome.seconds for outcome in outcomes],
        cpu_seconds=cpu,
        store_cpu_seconds=None if store_cpu is None or store_cpu_after is None else store_cpu_after - store_cpu,
        refused=sum(isinstance(error, InsufficientCreditsError) for error in errors),
        failed=Counter(error.code for error in errors if not isinstance(error, InsufficientCreditsError)),
        lost_holds=sum(len(account.holds) for account in accounts),
        findings=sum(len(world.audit(account.user_id).findings) for account in accounts),
        writes=len(writes),
        disturbed=sum(call.injected for call in writes),
        outrun=sum(call.error is not None and not call.injected for call in writes),
        most_open=open_.most,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]


def a_hold(number: int) -> Hold:
    """Of the same length as those of RunPrompt."""
    now = utc_now()
    return Hold(
        run_id=f"run_{number:026d}",
        nonce=f"try_{number:026d}",
        ceiling=2,
        lease_at=now + timedelta(minutes=20),
        request_hash="0" * 32,
        session_id=f"ses_{number:026d}",
        model="sonnet",
        placed_at=now,
    )


@dataclass(frozen=True, slots=True)
class TwoWays:
    """Median seconds of a hold as a conditional update, and as a transaction that checks that there is no receipt."""

    update: float
    transaction: float


def two_ways_to_hold(world: World, user_id: str, times: int) -> TwoWays:
    """Place the same hold in both ways in turn. Releasing it is not measured."""
    world.give(user_id, 100)
    now = utc_now()
    hold = a_hold(0)
    client = world.store.client
    with Transport().at(client) as transport:
        assert isinstance(world.ledger.place_hold(user_id, hold, limit=20, now=now), Held)
        request = dict(transport.calls[-1].params)
    world.ledger.cancel_hold(user_id, hold, now=now)
    of_update = {name: value for name, value in request.items() if not name.startswith("Return")}
    receipt = {
        "TableName": request["TableName"],
        "Key": {**request["Key"], "sk": {"S": f"RUN#{hold.run_id}"}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    ways: list[Callable[[], object]] = [
        lambda: client.update_item(**request),
        lambda: client.transact_write_items(TransactItems=[{"Update": of_update}, {"ConditionCheck": receipt}]),
    ]
    taken: list[list[float]] = [[], []]
    for _ in range(times):
        for way, seconds in zip(ways, taken, strict=True):
            started = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - started)
            world.ledger.cancel_hold(user_id, hold, now=now)
    return TwoWays(update=median(taken[0]), transaction=median(taken[1]))
