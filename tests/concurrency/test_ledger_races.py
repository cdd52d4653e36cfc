"""Many threads on one account of a real engine: whatever the order, it is some order.

Every thread waits at a barrier until all are there. Threads share sixteen connections, each with its own pool of
sockets, so that requests really are under way at the same time.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from botocore.awsrequest import AWSResponse

from bench.settle import OneAtATime
from bench.transport import Transport
from bench.virtual_time import VirtualTime
from local.engine import Engine
from local.template import Description
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_checkpoints import DynamoCheckpoints
from playground.adapters.dynamo_keys import account_key, outcome_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_outcomes import MAX_OUTCOME_BYTES, Outcome, outcome_item
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import Backoff, DynamoStore, RawItem
from playground.domain.account import (
    Account,
    Change,
    Hold,
    Plan,
    ending_at,
    grant,
    open_account,
    place_hold,
    start_plus,
    take_back,
)
from playground.domain.allowance import Allowance
from playground.domain.calendar import boundary
from playground.domain.credits import Buckets
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import RunNotFoundError, SessionConflictError, StoreUnavailableError
from playground.domain.rates import RateLimit
from playground.domain.runs import Run, RunFilter, RunPlace, RunStatus
from playground.ports import AlreadyHeld, CannotAfford, Ended, Held, HoldOutcome, TooManyHolds
from playground.usecases.expire_holds import ExpireHolds
from playground.usecases.read_run import ReadRun
from playground.usecases.stream_run import Done, FollowRun
from tests.fakes import InMemoryLedger, a_hold, charging, conversation, receipt
from tests.kit.extent import HANG_SECONDS, examples
from tests.kit.intercept import Interception, Request, intercepted
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, all_entries, check_invariants, new_ledger, new_store

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
CONNECTIONS = 16
MAX_THREADS = 64
ROUNDS = examples(30)

T = TypeVar("T")


@pytest.fixture(scope="module")
def ledgers(engine: Engine, description: Description) -> Iterator[Sequence[DynamoLedger]]:
    patient = Backoff(most_seconds=HANG_SECONDS)  # here is one small machine for all of it
    stores = [new_store(engine, patient) for _ in range(CONNECTIONS)]
    with ThreadPoolExecutor(4) as pool:  # making a client takes a while
        clients = list(pool.map(lambda store: store.client, stores))
    yield [new_ledger(store) for store in stores]
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        yield pool


class Race:
    """Starts functions of a ledger at the same moment, each in a thread of its own."""

    def __init__(self, ledgers: Sequence[DynamoLedger], pool: ThreadPoolExecutor) -> None:
        self._ledgers = itertools.cycle(ledgers)
        self._pool = pool

    def __call__(self, *runners: Callable[[DynamoLedger], T]) -> list[T]:
        assert len(runners) <= MAX_THREADS
        barrier = threading.Barrier(len(runners), timeout=HANG_SECONDS)

        def start(runner: Callable[[DynamoLedger], T], ledger: DynamoLedger) -> T:
            barrier.wait()
            return runner(ledger)

        futures = [self._pool.submit(start, runner, next(self._ledgers)) for runner in runners]
        return [future.result(timeout=HANG_SECONDS) for future in futures]


@pytest.fixture
def race(ledgers: Sequence[DynamoLedger], pool: ThreadPoolExecutor) -> Race:
    return Race(ledgers, pool)


def holding(user_id: str, hold: Hold, *, limit: int = MAX_THREADS) -> Callable[[DynamoLedger], HoldOutcome]:
    return lambda ledger: ledger.place_hold(user_id, hold, limit=limit, now=hold.placed_at)


def holding_all(user_id: str, *holds: Hold) -> Callable[[DynamoLedger], HoldOutcome]:
    return lambda ledger: ledger.place_hold(user_id, *holds, limit=MAX_THREADS, now=NOW)


def settling(account: Account, hold: Hold, cost: int, at: datetime = NOW) -> Callable[[DynamoLedger], Ended]:
    user_id = account.user_id
    return lambda ledger: ledger.settle(account, hold, charging(hold, cost, at), conversation(user_id, hold, at))


def ending(user_id: str, hold: Hold, status: RunStatus, at: datetime = NOW) -> Callable[[DynamoLedger], Ended]:
    return lambda ledger: ledger.release(user_id, receipt(user_id, hold, status, at))


def giving(user_id: str, credits_: int, key: str, at: datetime = NOW) -> Callable[[DynamoLedger], Account]:
    def amend(account: Account) -> Change | None:
        after, entry = grant(account, credits_, type_=EntryType.BONUS, business_key=key, reason="For you", now=at)
        return after, (entry,)

    return lambda ledger: ledger.change(user_id, amend, business_key=key, now=at)


def held(ledger: DynamoLedger, user_id: str, hold: Hold) -> Account:
    outcome = ledger.place_hold(user_id, hold, limit=MAX_THREADS, now=hold.placed_at)
    assert isinstance(outcome, Held)
    return outcome.account


def checked(ledger: DynamoLedger, user_id: str, now: datetime = NOW) -> Account:
    account = ledger.account(user_id, now)
    check_invariants(account, all_entries(ledger, user_id))
    return account


def kinds(outcomes: Sequence[object]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


# --- holds ------------------------------------------------------------------------------------------------------------


def test_sixty_four_runs_on_seven_credits_get_seven_holds(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    giving(user_id, 2, "two more")(ledger)

    outcomes = race(*(holding(user_id, a_hold(f"run_{number}", 1, NOW)) for number in range(64)))

    assert kinds(outcomes) == {"Held": 7, "CannotAfford": 57}
    account = checked(ledger, user_id)
    placed = {f"run_{number}" for number, outcome in enumerate(outcomes) if isinstance(outcome, Held)}
    assert set(account.holds) == placed
    assert (account.balance, account.held, account.available) == (7, 7, 0)
    assert all(outcome.account.available == 0 for outcome in outcomes if isinstance(outcome, CannotAfford))


def test_of_forty_pairs_on_seven_credits_three_are_held_whole(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Two credits each: three pairs fit, and a single run does not take what a pair would need half of."""
    giving(user_id, 2, "two more")(ledger)
    pairs = [[a_hold(f"run_{number}_{which}", 1, NOW) for which in "ab"] for number in range(40)]

    outcomes = race(*(holding_all(user_id, *pair) for pair in pairs))

    assert kinds(outcomes) == {"Held": 3, "CannotAfford": 37}
    account = checked(ledger, user_id)
    placed = [pair for pair, outcome in zip(pairs, outcomes, strict=True) if isinstance(outcome, Held)]
    assert set(account.holds) == {hold.run_id for pair in placed for hold in pair}
    assert (account.held, account.available) == (6, 1)


def test_pairs_that_share_a_run_exclude_each_other(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Each of thirty attempts has the runs 0 to 2, in another order: one of them gets all three."""
    giving(user_id, 200, "plenty")(ledger)
    attempts = [
        [a_hold(f"run_{(number + which) % 3}", 1, NOW, nonce=f"try_{number}_{which}") for which in range(3)]
        for number in range(30)
    ]

    outcomes = race(*(holding_all(user_id, *attempt) for attempt in attempts))

    assert kinds(outcomes) == {"Held": 1, "AlreadyHeld": 29}
    (won,) = (attempt for attempt, outcome in zip(attempts, outcomes, strict=True) if isinstance(outcome, Held))
    assert checked(ledger, user_id).holds == {hold.run_id: hold for hold in won}


def test_no_race_gets_past_the_limit(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    giving(user_id, 100, "plenty")(ledger)

    outcomes = race(*(holding(user_id, a_hold(f"run_{number}", 1, NOW), limit=20) for number in range(64)))

    assert kinds(outcomes) == {"Held": 20, "TooManyHolds": 44}
    assert checked(ledger, user_id).held == 20
    assert all(len(outcome.account.holds) == 20 for outcome in outcomes if isinstance(outcome, TooManyHolds))


def test_fifty_attempts_of_one_run_get_one_hold(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Also while the account is being opened."""
    holds = [a_hold("run_1", 1, NOW, nonce=f"try_{number}") for number in range(50)]

    outcomes = race(*(holding(user_id, hold) for hold in holds))

    assert kinds(outcomes) == {"Held": 1, "AlreadyHeld": 49}
    account = checked(ledger, user_id)
    (won,) = (hold for hold, outcome in zip(holds, outcomes, strict=True) if isinstance(outcome, Held))
    assert account.holds == {"run_1": won}
    assert {outcome.hold for outcome in outcomes if isinstance(outcome, AlreadyHeld)} == {won}
    assert account.held == 1


def test_one_attempt_repeated_in_parallel_holds_once(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    hold = a_hold("run_1", 5, NOW)

    outcomes = race(*[holding(user_id, hold)] * 16)

    assert kinds(outcomes) == {"Held": 16}
    assert checked(ledger, user_id).held == 5


def test_an_account_is_opened_once_whoever_comes_first(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    def read(ledger: DynamoLedger) -> Account:
        return ledger.account(user_id, NOW)

    runners: list[Callable[[DynamoLedger], object]] = []
    for number in range(8):
        runners += [
            read,
            holding(user_id, a_hold(f"run_{number}", 1, NOW)),
            holding(user_id, a_hold(f"dear_{number}", 99, NOW)),
            giving(user_id, 10, f"bonus {number}"),
        ]

    race(*runners)

    account = checked(ledger, user_id)
    types = Counter(entry.type for entry in all_entries(ledger, user_id))
    assert types == {EntryType.SIGNUP: 1, EntryType.BONUS: 8}
    assert (account.balance, account.held) == (85, len(account.holds))
    assert len(account.holds) >= 5


# --- ends -------------------------------------------------------------------------------------------------------------


def test_twenty_settlements_of_one_account_all_go_through(
    race: Race, store: DynamoStore, ledger: DynamoLedger, user_id: str
) -> None:
    """Each has seen the account before any of the others."""
    giving(user_id, 55, "plenty")(ledger)
    holds = [a_hold(f"run_{number}", 3, NOW) for number in range(20)]
    for hold in holds:
        account = held(ledger, user_id, hold)

    ended = race(*(settling(account, hold, 1 + number % 3) for number, hold in enumerate(holds)))

    assert all(end.by_us and end.run.status is RunStatus.SETTLED for end in ended)
    account = checked(ledger, user_id)
    assert (account.balance, account.held, account.available) == (60 - 39, 0, 21)
    entries = all_entries(ledger, user_id)
    spends = {entry.run_id: entry for entry in entries if entry.type is EntryType.SPEND}
    assert len(entries) == 22
    for end in ended:
        entry = spends[end.run.run_id]
        assert ledger.run(user_id, end.run.run_id) == end.run
        assert (end.run.entry_seq, end.run.entry_hash, end.run.charged) == (entry.seq, entry.hash, -entry.amount)
        assert len(DynamoSessions(store, SESSIONS_TABLE).turns(end.run.session_id)) == 1


def test_settlements_go_through_on_a_slow_store_that_does_one_request_at_a_time(
    engine: Engine, ledger: DynamoLedger, user_id: str
) -> None:
    """In virtual time. Those who wait ask it less often than a fast one, and give nobody up who is only slow."""
    giving(user_id, 55, "plenty")(ledger)
    holds = [a_hold(f"run_{number}", 3, NOW) for number in range(20)]
    accounts = [held(ledger, user_id, hold) for hold in holds]
    clock, rng = VirtualTime(), random.Random(1)
    store = new_store(engine, Backoff(sleep=clock.sleep, random=rng.random, monotonic=lambda: clock.now))
    subject = new_ledger(store)
    transport = Transport(exclusive=True, latency_of=OneAtATime(clock).latency_of, pause=clock.sleep, rng=rng)

    with transport.at(store.client):
        settle = [settling(accounts[-1], hold, 1) for hold in holds]
        ended = clock.run([partial(each, subject) for each in settle])
    store.client.close()

    assert all(end.by_us and end.run.status is RunStatus.SETTLED for end in ended)
    assert checked(ledger, user_id).balance == 60 - 20
    assert clock.now < Backoff().most_seconds


def pausing(user_id: str) -> Callable[[DynamoLedger], Account]:
    def amend(account: Account) -> Change:
        return replace(account, paused_at=NOW), ()

    return lambda ledger: ledger.change(user_id, amend, business_key="pause", now=NOW)


def taking(user_id: str, credits_: int, key: str) -> Callable[[DynamoLedger], Account]:
    def amend(account: Account) -> Change:
        return take_back(account, credits_, type_=EntryType.ADMIN, business_key=key, reason="Taken", now=NOW)

    return lambda ledger: ledger.change(user_id, amend, business_key=key, now=NOW)


def test_no_hold_is_placed_after_a_pause(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Each hold is either in the account that the pause has left, or refused."""
    giving(user_id, 40, "forty")(ledger)
    holds = [a_hold(f"run_{number}", 1, NOW) for number in range(40)]

    *outcomes, paused = race(*(holding(user_id, hold) for hold in holds), pausing(user_id))

    placed = {hold.run_id for hold, outcome in zip(holds, outcomes, strict=True) if isinstance(outcome, Held)}
    assert isinstance(paused, Account)
    assert set(paused.holds) == placed
    assert set(checked(ledger, user_id).holds) == placed
    assert kinds(outcomes)["Held"] + kinds(outcomes)["Paused"] == 40


def test_corrections_and_holds_at_once_take_nothing_that_is_held(
    race: Race, ledger: DynamoLedger, user_id: str
) -> None:
    giving(user_id, 25, "thirty")(ledger)
    holds = [a_hold(f"run_{number}", 1, NOW) for number in range(20)]

    race(*(holding(user_id, hold) for hold in holds), *(taking(user_id, 20, f"take:{key}") for key in "aabb"))

    account = checked(ledger, user_id)
    assert account.balance == 30 - 40 + account.debt
    assert account.held == len(account.holds) <= account.balance
    assert not account.payable_debt


def test_settlements_grants_and_holds_at_once_lose_nothing(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    giving(user_id, 95, "plenty")(ledger)
    holds = [a_hold(f"run_{number}", 4, NOW) for number in range(12)]
    for hold in holds:
        account = held(ledger, user_id, hold)
    runners: list[Callable[[DynamoLedger], object]] = [settling(account, hold, 2) for hold in holds]
    runners += [giving(user_id, 1, f"bonus {number}") for number in range(12)]
    runners += [holding(user_id, a_hold(f"new_{number}", 1, NOW)) for number in range(12)]

    race(*runners)

    account = checked(ledger, user_id)
    assert (account.balance, account.held) == (100 - 24 + 12, 12)
    assert account.version == 2 + 24


@pytest.mark.parametrize("winner", ["settle and expire", "release and expire", "settle and release"])
def test_a_run_ends_once_and_its_hold_comes_back_once(
    race: Race, store: DynamoStore, ledger: DynamoLedger, user_id: str, winner: str
) -> None:
    giving(user_id, 1000, "plenty")(ledger)
    won: Counter[RunStatus] = Counter()
    charged = 0
    for number in range(ROUNDS):
        hold = a_hold(f"run_{number}", 5, NOW)
        account = held(ledger, user_id, hold)
        ways = {
            "settle": settling(account, hold, 3),
            "release": ending(user_id, hold, RunStatus.RELEASED),
            "expire": ending(user_id, hold, RunStatus.EXPIRED),
        }
        ended = race(*(ways[name] for name in winner.split(" and ")))

        run = ledger.run(user_id, hold.run_id)
        assert run is not None
        assert [end.run for end in ended] == [run, run]
        assert sorted(end.by_us for end in ended) == [False, True]
        turns = DynamoSessions(store, SESSIONS_TABLE).turns(hold.session_id)
        assert len(turns) == (run.status is RunStatus.SETTLED)
        won[run.status] += 1
        charged += run.charged
        account = ledger.account(user_id, NOW)
        assert (account.held, account.available, account.balance) == (0, 1005 - charged, 1005 - charged)
    checked(ledger, user_id)
    assert charged == 3 * won[RunStatus.SETTLED]


def test_runs_that_end_while_they_are_listed_are_listed_once(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Paid, failed and expired ones, many of them in one millisecond. Those that ended before are on every list."""
    giving(user_id, 20, "bonus")(ledger)
    before = [a_hold(f"run_before_{number}", 1, NOW) for number in range(5)]
    meanwhile = [a_hold(f"run_{number}", 1, NOW) for number in range(15)]
    for hold in (*before, *meanwhile):
        account = held(ledger, user_id, hold)
    for hold in before:
        ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, NOW))

    def listing(ledger: DynamoLedger) -> list[str]:
        found: list[str] = []
        after: RunPlace | None = None
        for _ in range(30):
            page, after, _ = ledger.ended_runs(user_id, RunFilter(), after=after, limit=2)
            found += [run.run_id for run in page]
            if after is None:
                return found
        raise AssertionError("a list without end")

    def end(number: int, hold: Hold) -> Callable[[DynamoLedger], Ended]:
        at = NOW + timedelta(milliseconds=number // 5)
        status = (RunStatus.SETTLED, RunStatus.RELEASED, RunStatus.EXPIRED)[number % 3]
        return settling(account, hold, 1, at) if status is RunStatus.SETTLED else ending(user_id, hold, status, at)

    outcomes = race(*(end(number, hold) for number, hold in enumerate(meanwhile)), *[listing] * 8)

    ids = {hold.run_id for hold in before}
    for found in (outcome for outcome in outcomes if isinstance(outcome, list)):
        assert len(set(found)) == len(found)
        assert set(found) >= ids
    assert sorted(listing(ledger)) == sorted(ids | {hold.run_id for hold in meanwhile})
    checked(ledger, user_id)


def test_many_sweeps_give_a_dead_hold_back_once(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    for number in range(5):
        account = held(ledger, user_id, a_hold(f"run_{number}", 1, NOW))
    later = NOW + timedelta(hours=2)

    def sweeping(number: int) -> Callable[[DynamoLedger], int]:
        return lambda ledger: ExpireHolds(ledger)(account, now=later + timedelta(seconds=number))

    given_back = race(*map(sweeping, range(8)))

    account = checked(ledger, user_id)
    assert (account.held, account.available, account.version) == (0, 5, 1)
    assert sum(given_back) == 5


def test_a_hold_and_the_end_of_the_attempt_before_it(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """A second attempt holds while the first one ends: it gets the hold, or the answer that the run may have ended."""
    for number in range(ROUNDS):
        first = a_hold(f"run_{number}", 2, NOW)
        second = replace(first, nonce="try_2")
        held(ledger, user_id, first)

        _, outcome = race(ending(user_id, first, RunStatus.RELEASED), holding(user_id, second))

        if isinstance(outcome, Held):
            assert outcome.ended_before
            assert not ledger.release(user_id, receipt(user_id, second, RunStatus.EXPIRED, NOW)).by_us
        else:
            assert isinstance(outcome, AlreadyHeld)
        run = ledger.run(user_id, first.run_id)
        assert run is not None
        assert run.status is RunStatus.RELEASED
    account = checked(ledger, user_id)
    assert (account.held, account.available) == (0, 5)


# --- the allowance for runs without an answer -------------------------------------------------------------------------

HOURLY = Allowance(failed_runs_per_hour=20, unpaid_nano_per_day=500_000_000, nano_per_credit=25_000_000)


def allowed(user_id: str, hold: Hold) -> Callable[[DynamoLedger], HoldOutcome]:
    return lambda ledger: ledger.place_hold(user_id, hold, limit=MAX_THREADS, now=hold.placed_at, allowance=HOURLY)


def failing(user_id: str, hold: Hold, cost_nano: int) -> Callable[[DynamoLedger], Ended]:
    use = HOURLY.use(cost_nano)
    return lambda ledger: ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, NOW), use)


def failing_at_once(user_id: str, hold: Hold, cost_nano: int) -> Callable[[DynamoLedger], bool]:
    """Whether it was admitted."""

    def run(ledger: DynamoLedger) -> bool:
        if not isinstance(allowed(user_id, hold)(ledger), Held):
            return False
        return failing(user_id, hold, cost_nano)(ledger).by_us

    return run


def test_of_sixty_four_failing_runs_twenty_get_a_hold(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """No run has failed yet when they begin: open runs count as failed ones."""
    giving(user_id, 1000, "plenty")(ledger)
    holds = [a_hold(f"run_{number}", 1, NOW, nonce=f"try_{number}") for number in range(64)]

    outcomes = race(*(allowed(user_id, hold) for hold in holds))

    assert kinds(outcomes) == {"Held": 20, "AllowanceUsedUp": 44}
    placed = [hold for hold, outcome in zip(holds, outcomes, strict=True) if isinstance(outcome, Held)]
    ended = race(*(failing(user_id, hold, 25_000_000) for hold in placed))
    assert all(each.by_us for each in ended)
    account = checked(ledger, user_id)
    assert account.failures_at == NOW + timedelta(hours=1)
    assert account.unpaid_at == NOW + timedelta(days=1), "20 × 2.5 cents are the 50 cents of a day"
    more = race(*(allowed(user_id, a_hold(f"more_{number}", 1, NOW)) for number in range(16)))
    assert kinds(more) == {"AllowanceUsedUp": 16}


def test_what_open_runs_may_cost_stays_within_a_day(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Twenty are allowed by their number, and by their cost only four: 5 credits can cost 12.5 cents, of 50."""
    giving(user_id, 1000, "plenty")(ledger)
    holds = [a_hold(f"run_{number}", 5, NOW, nonce=f"try_{number}") for number in range(32)]

    outcomes = race(*(allowed(user_id, hold) for hold in holds))

    assert kinds(outcomes) == {"Held": 4, "AllowanceUsedUp": 28}


def test_failures_and_new_runs_at_once_stay_within_the_allowance(
    race: Race, ledger: DynamoLedger, user_id: str
) -> None:
    """A failure makes no room for another run: its hold ends, and it is counted, in one transaction."""
    giving(user_id, 1000, "plenty")(ledger)
    cost, failed = 12_000_000, 0
    for batch in range(4):
        holds = [a_hold(f"run_{batch}_{number}", 1, NOW, nonce=f"try_{number}") for number in range(16)]
        failed += sum(race(*(failing_at_once(user_id, hold, cost) for hold in holds)))

    assert failed == 20
    account = checked(ledger, user_id)
    assert account.failures_at == NOW + timedelta(hours=1)
    assert account.unpaid_at == NOW + 20 * HOURLY.use(cost).unpaid


# --- runs per minute --------------------------------------------------------------------------------------------------

FIVE = RateLimit(name="runs", per_minute=5)


def pacing(user_id: str, hold: Hold, seen: Account | None = None) -> Callable[[DynamoLedger], HoldOutcome]:
    return lambda ledger: ledger.place_hold(user_id, hold, limit=MAX_THREADS, now=hold.placed_at, rate=FIVE, seen=seen)


@pytest.mark.parametrize("idle", [None, timedelta(hours=1), timedelta(seconds=30)], ids=["new", "idle", "half used"])
def test_of_thirty_runs_at_once_those_of_the_limit_get_a_hold(
    race: Race, ledger: DynamoLedger, user_id: str, idle: timedelta | None
) -> None:
    """For an account that is opened by them, for one whose stamp has passed, and for one whose stamp is ahead: they
    begin with different updates. All workers have read the account before."""
    giving(user_id, 100, "plenty")(ledger)
    if idle is not None:
        for number in range(5):
            pacing(user_id, a_hold(f"before_{number}", 1, NOW - idle))(ledger)
    seen = checked(ledger, user_id)
    admitted = 5 if idle is None or idle > timedelta(minutes=1) else 2  # 30 s give back 2.5 of 5

    outcomes = race(*(pacing(user_id, a_hold(f"run_{number}", 1, NOW), seen) for number in range(30)))

    assert kinds(outcomes) == {"Held": admitted, "TooFast": 30 - admitted}
    account = checked(ledger, user_id)
    assert account.held == seen.held + admitted
    before = seen.runs_at or NOW
    assert account.runs_at == max(before, NOW) + admitted * timedelta(seconds=12)
    again = race(*(pacing(user_id, a_hold(f"more_{number}", 1, NOW), seen) for number in range(30)))
    assert kinds(again) == {"TooFast": 30}
    assert checked(ledger, user_id) == account


def test_cancelled_holds_and_new_ones_at_once_are_counted_right(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    """Thirty place a hold and take it back at once: in the end nothing is used, and the whole limit is there."""
    giving(user_id, 100, "plenty")(ledger)

    def place_and_cancel(number: int) -> Callable[[DynamoLedger], str]:
        hold = a_hold(f"run_{number}", 1, NOW)

        def run(ledger: DynamoLedger) -> str:
            outcome = pacing(user_id, hold)(ledger)
            if isinstance(outcome, Held):
                ledger.cancel_hold(user_id, hold, now=NOW, rate=FIVE)
            return type(outcome).__name__

        return run

    found = Counter(race(*(place_and_cancel(number) for number in range(30))))

    assert found.keys() <= {"Held", "TooFast"}
    assert found["Held"] >= 5
    account = checked(ledger, user_id)
    assert (account.held, account.runs_at) == (0, NOW)


# --- changes ----------------------------------------------------------------------------------------------------------


def test_one_business_key_has_one_effect(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    after = race(*[giving(user_id, 100, "payment 1")] * 24)

    assert {account.balance for account in after} == {105}
    assert checked(ledger, user_id).version == 2


def test_different_amounts_under_one_key_have_one_effect(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    race(*(giving(user_id, amount, "payment 1") for amount in range(1, 25)))

    account = checked(ledger, user_id)
    assert account.version == 2
    assert 5 < account.balance < 30


def test_changes_with_keys_of_their_own_all_go_through(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    race(*(giving(user_id, 2**number, f"payment {number}") for number in range(24)))

    account = checked(ledger, user_id)
    assert account.version == 25
    assert account.balance == 5 + 2**24 - 1


# --- boundaries -------------------------------------------------------------------------------------------------------


def on_plus(ledger: DynamoLedger, user_id: str, entitled_until: datetime | None = None) -> Account:
    return ledger.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=entitled_until, now=NOW),
        business_key="plus",
        now=NOW,
    )


def test_a_repeat_crosses_the_boundary_that_comes_up_meanwhile(ledger: DynamoLedger, user_id: str) -> None:
    """Between the repeat's read and its write, an operator ends the plan at a time that has passed for the repeat."""
    on_plus(ledger, user_id)
    ends, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)

    def change(account: Account) -> Change:
        ledger.change(user_id, lambda then: (ending_at(then, ends), ()), business_key="until", now=NOW)
        return start_plus(account, allowance=200, entitled_until=None, now=late)

    repeated = ledger.change(user_id, change, business_key="plus", now=late)

    assert (repeated.plan, repeated.buckets.monthly) == (Plan.FREE, 0)
    assert repeated == checked(ledger, user_id, late)


def test_every_boundary_is_crossed_once(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    on_plus(ledger, user_id)
    late = boundary(NOW, 4)

    accounts = race(*[lambda ledger: ledger.account(user_id, late)] * 16)

    account = checked(ledger, user_id, late)
    assert set(map(repr, accounts)) == {repr(account)}
    assert (account.period, account.buckets) == (4, Buckets(monthly=200, rollover=200, purchased=5))
    types = Counter(entry.type for entry in all_entries(ledger, user_id))
    assert types == {EntryType.SIGNUP: 1, EntryType.MONTHLY: 5, EntryType.ROLLOVER: 4, EntryType.EXPIRE: 3}


@pytest.mark.parametrize("entitled", [True, False], ids=["goes on", "ends"])
def test_holds_that_race_with_a_boundary(race: Race, ledger: DynamoLedger, user_id: str, entitled: bool) -> None:
    """Some workers' clocks say that it has passed, some not. Nothing that was held has expired, whichever was first."""
    on_plus(ledger, user_id, None if entitled else boundary(NOW, 1))
    ledger.account(user_id, boundary(NOW, 1))  # rollover of 200, and 200 for the month if the plan goes on
    due = boundary(NOW, 2)
    before, after = due - timedelta(seconds=1), due + timedelta(seconds=1)
    runners: list[Callable[[DynamoLedger], object]] = []
    for number in range(12):
        runners += [
            holding(user_id, a_hold(f"early_{number}", 20, before)),
            holding(user_id, a_hold(f"late_{number}", 20, after)),
            lambda ledger: ledger.account(user_id, after),
        ]

    outcomes = race(*runners)

    account = checked(ledger, user_id, after)
    assert account.period == 2
    placed = [outcome for outcome in outcomes if isinstance(outcome, Held)]
    assert account.held == 20 * len(placed) == 20 * len(account.holds)
    kept = account.buckets.rollover - (200 if entitled else 0)
    expired = sum(-entry.amount for entry in all_entries(ledger, user_id) if entry.type is EntryType.EXPIRE)
    assert account.balance == (605 if entitled else 205) - expired
    assert account.buckets.monthly == (200 if entitled else 0)
    if entitled:
        assert 0 <= kept <= 200
        assert len(placed) >= 20
    else:
        assert account.available <= 5


def test_settlements_that_race_with_a_boundary(race: Race, ledger: DynamoLedger, user_id: str) -> None:
    on_plus(ledger, user_id)
    holds = [a_hold(f"run_{number}", 10, NOW) for number in range(12)]
    for hold in holds:
        account = held(ledger, user_id, hold)
    late = boundary(NOW, 1)
    runners: list[Callable[[DynamoLedger], object]] = [settling(account, hold, 10, late) for hold in holds]
    runners += [lambda ledger: ledger.account(user_id, late)] * 12

    race(*runners)

    account = checked(ledger, user_id, late)
    assert (account.balance, account.held) == (405 - 120, 0)
    types = Counter(entry.type for entry in all_entries(ledger, user_id))
    assert types == {EntryType.SIGNUP: 1, EntryType.MONTHLY: 2, EntryType.ROLLOVER: 1, EntryType.SPEND: 12}


# --- the fake ---------------------------------------------------------------------------------------------------------


def test_the_ledger_in_memory_is_right_under_threads_too(pool: ThreadPoolExecutor) -> None:
    ledger = InMemoryLedger()
    barrier = threading.Barrier(32, timeout=HANG_SECONDS)

    def one(number: int) -> bool:
        hold = a_hold(f"run_{number}", 1, NOW)
        barrier.wait()
        outcome = ledger.place_hold("u", hold, limit=64, now=NOW)
        if not isinstance(outcome, Held):
            return False
        return ledger.settle(outcome.account, hold, charging(hold, 1, NOW), conversation("u", hold, NOW)).by_us

    assert sum(pool.map(one, range(32))) == 5

    account = ledger.account("u", NOW)
    check_invariants(account, all_entries(ledger, "u"))
    assert account.balance == 0


# --- the line ---------------------------------------------------------------------------------------------------------


class Line:
    """A ledger whose pauses are those of this test: each does the next of `meanwhile`. Counts its transactions.

    `now` is its clock, which pauses move."""

    def __init__(self, engine: Engine) -> None:
        store = new_store(engine, Backoff(sleep=self._pause, monotonic=lambda: self.now))
        self._client = store.client
        self._interception = Interception(self._client, self._on_request, "TransactWriteItems")
        self.ledger = new_ledger(store)
        self.meanwhile: list[Callable[[], object]] = []
        self.before_transaction: Callable[[], object] = lambda: None
        self.instead: Callable[[Request], AWSResponse | None] = lambda request: None
        self.now = 0.0
        self.pauses = 0
        self.transactions = 0

    def _pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def _on_request(self, request: Request) -> AWSResponse | None:
        self.transactions += 1
        self.before_transaction()
        return self.instead(request)

    def close(self) -> None:
        self._interception.close()
        self._client.close()


@pytest.fixture
def line(engine: Engine, description: Description) -> Iterator[Line]:
    line = Line(engine)
    yield line
    line.close()


def test_a_settlement_that_waits_is_settled_by_the_one_in_front_of_it(
    line: Line, ledger: DynamoLedger, user_id: str
) -> None:
    first, second = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    held(ledger, user_id, first)
    account = held(ledger, user_id, second)
    ledger._take_ticket(user_id, first)
    line.meanwhile = [lambda: settling(account, first, 1)(ledger)]

    ended = settling(account, second, 1)(line.ledger)

    assert (ended.by_us, line.pauses, line.transactions) == (True, 1, 0)
    assert not checked(ledger, user_id).holds


def test_who_died_in_line_is_passed(line: Line, ledger: DynamoLedger, user_id: str) -> None:
    dead, alive = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    held(ledger, user_id, dead)
    account = held(ledger, user_id, alive)
    ledger._take_ticket(user_id, dead)

    ended = settling(account, alive, 1)(line.ledger)

    assert (ended.by_us, line.transactions) == (True, 1)
    assert 0 < line.pauses < 40
    assert list(checked(ledger, user_id).holds) == [dead.run_id]


def test_waiting_in_the_queue_ends_with_the_time_limit(line: Line, ledger: DynamoLedger, user_id: str) -> None:
    """Another run stays first in the queue, and the account changes all the time: also after each try."""
    front, ours = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    held(ledger, user_id, front)
    account = held(ledger, user_id, ours)
    ledger._take_ticket(user_id, front)
    gifts = (giving(user_id, 1, f"bonus:{number}") for number in itertools.count())
    line.meanwhile = [lambda: next(gifts)(ledger)] * 1000

    def slowly() -> None:
        line.now += 0.1
        next(gifts)(ledger)

    line.before_transaction = slowly

    with pytest.raises(StoreUnavailableError):
        settling(account, ours, 1)(line.ledger)

    assert 4 <= line.now < 4.5
    assert set(checked(ledger, user_id).holds) == {front.run_id, ours.run_id}


def test_who_is_ended_in_line_reads_how(line: Line, ledger: DynamoLedger, store: DynamoStore, user_id: str) -> None:
    front, ours = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    held(ledger, user_id, front)
    account = held(ledger, user_id, ours)
    ledger._take_ticket(user_id, front)
    outcome = outcome_key(SESSIONS_TABLE, ours.run_id, ours.nonce)

    def expire() -> None:
        assert store.get(outcome) is not None
        ending(user_id, ours, RunStatus.EXPIRED)(ledger)

    line.meanwhile = [expire]

    ended = settling(account, ours, 1)(line.ledger)

    assert (ended.by_us, ended.run.status, line.transactions) == (False, RunStatus.EXPIRED, 0)
    assert store.get(outcome) is None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The worker of a run has stored its outcome and taken a ticket, and is slow, or dead."""

    ledger: DynamoLedger
    store: DynamoStore
    user_id: str

    def __call__(self, hold: Hold, cost: int = 1, at: datetime = NOW, **changed: Any) -> Run:
        """The receipt that it would have now. `changed`: fields of its outcome."""
        account = self.ledger.account(self.user_id, NOW)
        _, run, entries = charging(hold, cost, at)(account)
        talk = conversation(self.user_id, hold, at)
        outcome = Outcome(
            run=run,
            reason=entries[-1].reason,
            session=talk.session,
            turn=items.turn_item(talk.turn),
        )
        self.put(hold, outcome_item(replace(outcome, **changed)))
        self.ledger._take_ticket(self.user_id, hold)
        return run

    def put(self, hold: Hold, item: RawItem | None) -> None:
        assert item is not None
        self.store.put_all({outcome_key(SESSIONS_TABLE, hold.run_id, hold.nonce): item})

    def is_stored(self, hold: Hold) -> bool:
        return self.store.get(outcome_key(SESSIONS_TABLE, hold.run_id, hold.nonce)) is not None


@pytest.fixture
def waiting(ledger: DynamoLedger, store: DynamoStore, user_id: str) -> Waiting:
    giving(user_id, 100, "plenty")(ledger)
    return Waiting(ledger, store, user_id)


def test_whoever_settles_settles_those_who_wait(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str
) -> None:
    """Also those whose workers are dead. Each has what it would have had alone; the outcomes are deleted."""
    others = [a_hold(f"run_{number}", 3, NOW) for number in range(18)]
    ours = a_hold("ours", 3, NOW)
    for hold in others:
        held(ledger, user_id, hold)
    account = held(ledger, user_id, ours)
    outcomes = [waiting(hold, 1 + number % 3) for number, hold in enumerate(others)]

    ended = settling(account, ours, 2)(line.ledger)

    assert (ended.by_us, line.transactions) == (True, 1)
    account = checked(ledger, user_id)
    assert (account.held, account.balance) == (0, 105 - 2 - sum(run.charged for run in outcomes))
    spends = {entry.run_id: entry for entry in all_entries(ledger, user_id) if entry.type is EntryType.SPEND}
    for hold, outcome in zip(others, outcomes, strict=True):
        entry = spends[hold.run_id]
        settled = ledger.run(user_id, hold.run_id)
        assert settled == replace(
            outcome,
            deltas=entry.deltas,
            balance_after=entry.balance_after,
            entry_seq=entry.seq,
            entry_hash=entry.hash,
        )
        [turn] = DynamoSessions(store, SESSIONS_TABLE).turns(hold.session_id)
        assert turn == conversation(user_id, hold, NOW).turn
        session = DynamoSessions(store, SESSIONS_TABLE).find(user_id, hold.session_id)
        assert session == conversation(user_id, hold, NOW).session
        assert not waiting.is_stored(hold)
        again = settling(account, hold, 1)(ledger)
        assert (again.by_us, again.run) == (True, settled)
    assert checked(ledger, user_id) == account


def test_as_many_with_prompts_of_their_own_fit_into_transactions(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str
) -> None:
    others = [a_hold(f"run_{number}", 1, NOW) for number in range(24)]
    ours = a_hold("ours", 1, NOW)
    for hold in others:
        held(ledger, user_id, hold)
    account = held(ledger, user_id, ours)
    for hold in others:
        waiting(hold, prompt=f"Do {hold.run_id}.")

    assert settling(account, ours, 1)(line.ledger).by_us

    account = checked(ledger, user_id)
    settled = [hold for hold in others if hold.run_id not in account.holds]
    assert len(settled) == 19  # 1 + 4 + 19 × 5 items
    prompts = [DynamoSessions(store, SESSIONS_TABLE).prompt(hold.session_id) for hold in settled]
    assert prompts == [f"Do {hold.run_id}." for hold in settled]


@pytest.mark.parametrize("happens", ["cancelled", "cancelled and placed by another attempt", "expired"])
def test_a_hold_that_is_gone_is_not_settled_by_others(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str, happens: str
) -> None:
    """It ended after the account was read: the version is the same."""
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other)
    pending: list[Callable[[], object]] = [lambda: ledger.cancel_hold(user_id, other, now=NOW)]
    if happens == "expired":
        pending = [lambda: ending(user_id, other, RunStatus.EXPIRED)(ledger)]
    elif happens != "cancelled":
        pending.append(lambda: held(ledger, user_id, replace(other, nonce="another attempt")))

    def meanwhile() -> None:
        while pending:
            pending.pop(0)()

    line.before_transaction = meanwhile

    assert settling(account, ours, 2)(line.ledger).by_us

    account = checked(ledger, user_id)
    assert (account.balance, len(account.holds)) == (103, "placed" in happens)
    run = ledger.run(user_id, other.run_id)
    assert (run.status if run is not None else None) == (RunStatus.EXPIRED if happens == "expired" else None)


def test_a_run_with_a_large_answer_settles_others(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    """It cannot be settled by them."""
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other)
    talk = conversation(user_id, ours, NOW)
    noise = random.Random(1).randbytes(MAX_OUTCOME_BYTES).decode("latin-1")
    large = replace(talk, turn=replace(talk.turn, answer=noise))
    line.before_transaction = lambda: seen.append(waiting.is_stored(ours))
    seen: list[bool] = []

    assert line.ledger.settle(account, ours, charging(ours, 2, NOW), large).by_us

    assert seen == [False]
    assert not checked(ledger, user_id).holds
    assert not waiting.is_stored(other)


def test_an_outcome_is_that_of_the_attempt_that_holds(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str
) -> None:
    first, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    second = replace(first, nonce="another attempt")
    held(ledger, user_id, first)
    waiting(first)
    ledger.cancel_hold(user_id, first, now=NOW)
    held(ledger, user_id, second)
    account = held(ledger, user_id, ours)
    ledger._take_ticket(user_id, second)
    item = store.get(outcome_key(SESSIONS_TABLE, first.run_id, first.nonce))
    assert item is not None
    waiting.put(second, {name: value for name, value in item.items() if name not in ("pk", "sk")})

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [second.run_id]


@pytest.mark.parametrize("cost", [0, 4])
def test_an_outcome_that_costs_what_it_must_not_is_left_alone(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str, cost: int
) -> None:
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    run = waiting(other)
    waiting(other, run=replace(run, charged=cost))

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [other.run_id]


def test_a_session_that_moved_keeps_nobody_else_from_being_settled(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str
) -> None:
    """Its own worker learns that its session has changed."""
    first = a_hold("run_0", 3, NOW)
    other, third, ours = (a_hold(name, 3, NOW) for name in ("run_1", "run_2", "ours"))
    other = replace(other, session_id=first.session_id)
    settling(held(ledger, user_id, first), first, 1)(ledger)
    for hold in (other, third):
        held(ledger, user_id, hold)
    account = held(ledger, user_id, ours)
    waiting(other)  # turn 1 again
    waiting(third)

    assert settling(account, ours, 2)(line.ledger).by_us

    assert line.transactions == 2
    assert list(checked(ledger, user_id).holds) == [other.run_id]
    with pytest.raises(SessionConflictError):
        settling(account, other, 1)(line.ledger)


def test_two_runs_of_one_session_are_not_settled_together(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    first, second, ours = (a_hold(name, 3, NOW) for name in ("run_1", "run_2", "ours"))
    second = replace(second, session_id=first.session_id)
    for hold in (first, second):
        held(ledger, user_id, hold)
        waiting(hold)
    account = held(ledger, user_id, ours)

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [second.run_id]


def test_what_another_version_has_stored_or_damaged_is_left_to_its_own_worker(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str
) -> None:
    newer, damaged, ours = (a_hold(name, 3, NOW) for name in ("run_1", "run_2", "ours"))
    for hold in (newer, damaged):
        held(ledger, user_id, hold)
        waiting(hold)
        item = dict(store.get(outcome_key(SESSIONS_TABLE, hold.run_id, hold.nonce)) or {})
        more = {"M": {**item["run"]["M"], "since": {"S": "2027"}}} if hold is newer else {"M": {}}
        waiting.put(hold, {**item, "run": more})
    account = held(ledger, user_id, ours)

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [newer.run_id, damaged.run_id]


def test_an_account_that_owes_settles_one_run_at_a_time(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 102, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other)
    taking(user_id, 50, "take:fraud")(ledger)

    assert settling(account, ours, 2)(line.ledger).by_us

    account = checked(ledger, user_id)
    assert (list(account.holds), account.debt, account.balance) == ([other.run_id], 0, 53)


def test_a_run_that_ended_after_a_boundary_is_not_settled_before_it(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    on_plus(ledger, user_id)
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other, at=boundary(NOW, 1))

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [other.run_id]
    late = boundary(NOW, 1)
    assert settling(account, other, 1, late)(ledger).by_us
    assert not checked(ledger, user_id, late).holds


def test_whatever_is_wrong_with_what_others_write_ours_is_settled(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other)
    line.instead = lambda request: request.error(400, "ValidationException") if len(request.writes) > 5 else None

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [other.run_id]


def test_one_that_meets_another_transaction_queues_up_at_once(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    """Many that try again and again would be in each other's way."""
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    line.instead = lambda request: request.in_conflict() if line.transactions == 1 else None
    seen: list[bool] = []
    line.before_transaction = lambda: seen.append(waiting.is_stored(ours))

    assert settling(account, ours, 2)(line.ledger).by_us

    assert (seen, line.now) == ([False, True], 0)
    assert not waiting.is_stored(ours)


def test_an_outcome_that_says_less_than_its_worker_knows_is_not_stored(
    line: Line, ledger: DynamoLedger, waiting: Waiting, user_id: str
) -> None:
    """The overrun of this run depends on the account."""
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    seen: list[bool] = []
    line.before_transaction = lambda: seen.append(waiting.is_stored(ours))
    line.instead = lambda request: request.in_conflict() if line.transactions == 1 else None
    rounds = itertools.count()

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charging(ours, 2, NOW)(account)
        return replace(after, period=next(rounds)), run, entries

    assert line.ledger.settle(account, ours, conclude, conversation(user_id, ours, NOW)).by_us

    assert seen == [False, False]


def test_a_large_answer_is_settled_by_its_own_worker() -> None:
    hold = a_hold("run_1", 3, NOW)
    _, run, _ = charging(hold, 1, NOW)(place_hold(open_account("u", NOW)[0], hold))
    talk = conversation("u", hold, NOW)
    noise = random.Random(1).randbytes(MAX_OUTCOME_BYTES).decode("latin-1")
    large = items.turn_item(replace(talk.turn, answer=noise))
    small = Outcome(run=run, reason="A run", session=talk.session, turn=items.turn_item(talk.turn))

    assert outcome_item(small) is not None
    assert outcome_item(replace(small, turn=large)) is None
    assert outcome_item(replace(small, prompt=noise)) is None


@pytest.mark.parametrize(
    "turn",
    [{"M": {}}, {"M": {"number": {"N": "1"}, "run_id": {"S": "run_2"}}}, {"M": {"number": {"N": "2"}}}],
    ids=["empty", "of another run", "another one"],
)
def test_an_outcome_whose_turn_is_not_that_of_its_run_is_left_alone(
    line: Line, ledger: DynamoLedger, store: DynamoStore, waiting: Waiting, user_id: str, turn: RawItem
) -> None:
    other, ours = a_hold("run_1", 3, NOW), a_hold("ours", 3, NOW)
    held(ledger, user_id, other)
    account = held(ledger, user_id, ours)
    waiting(other)
    item = dict(store.get(outcome_key(SESSIONS_TABLE, other.run_id, other.nonce)) or {})
    waiting.put(other, {**item, "turn": turn})

    assert settling(account, ours, 2)(line.ledger).by_us

    assert list(checked(ledger, user_id).holds) == [other.run_id]


class Lagging:
    """A store that makes the items of a transaction visible one by one, as DynamoDB does: the account is the first, and
    receipt and turn are not there yet for whoever reads them by themselves. A read of one moment meets the transaction
    once."""

    def __init__(self, engine: Engine) -> None:
        self.store = new_store(engine, Backoff(sleep=lambda seconds: None))
        self._interception = Interception(self.store.client, self._on_request)
        self.conflicts = 1

    def _on_request(self, request: Request) -> AWSResponse | None:
        if request.operation == "GetItem" and request.body["Key"]["sk"]["S"].startswith("RUN#"):
            return request.answer(200, {})
        if request.operation == "BatchGetItem":
            return request.answer(200, {"Responses": {}, "UnprocessedKeys": {}})
        if request.operation == "TransactGetItems" and self.conflicts:
            self.conflicts -= 1
            return request.canceled("TransactionConflict")
        return None

    def close(self) -> None:
        self._interception.close()
        self.store.client.close()


@pytest.fixture
def lagging(engine: Engine, description: Description) -> Iterator[Lagging]:
    lagging = Lagging(engine)
    yield lagging
    lagging.close()


def test_a_receipt_that_is_visible_after_the_account_is_waited_for(
    lagging: Lagging, ledger: DynamoLedger, user_id: str
) -> None:
    """Another worker has just settled our run."""
    ours, other = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    held(ledger, user_id, ours)
    account = held(ledger, user_id, other)
    settled = settling(account, ours, 1)(ledger)

    ended = settling(account, ours, 1)(new_ledger(lagging.store))

    assert (ended, lagging.conflicts) == (settled, 0)


def test_a_release_waits_for_a_receipt_that_is_visible_after_the_account(
    lagging: Lagging, ledger: DynamoLedger, user_id: str
) -> None:
    """The account is not what the release wants, and the receipt is in another transaction still."""
    hold = a_hold("run_1", 2, NOW)
    settled = settling(held(ledger, user_id, hold), hold, 1)(ledger)
    raw = lagging.store.get(account_key(LEDGER_TABLE, user_id))

    def refuse(request: Request) -> AWSResponse:
        reasons = [{"Code": "ConditionalCheckFailed", "Item": raw}, {"Code": "TransactionConflict"}]
        return request.error(400, "TransactionCanceledException", CancellationReasons=reasons)

    with intercepted(lagging.store.client, refuse, "TransactWriteItems"):
        ended = ending(user_id, hold, RunStatus.RELEASED)(new_ledger(lagging.store))

    assert (ended.by_us, ended.run, lagging.conflicts) == (False, settled.run, 0)


def test_an_answer_that_is_visible_after_the_account_is_found(
    lagging: Lagging, ledger: DynamoLedger, user_id: str
) -> None:
    """By whoever asks for the run, and by whoever follows it."""
    hold = a_hold("run_1", 2, NOW)
    settling(held(ledger, user_id, hold), hold, 1)(ledger)
    sessions, own = DynamoSessions(lagging.store, SESSIONS_TABLE), new_ledger(lagging.store)

    receipt = ReadRun(ledger=own, sessions=sessions, clock=lambda: NOW)(user_id, hold.run_id)
    follow = FollowRun(
        ledger=own,
        sessions=sessions,
        checkpoints=DynamoCheckpoints(lagging.store, SESSIONS_TABLE),
        clock=lambda: NOW,
        sleep=lambda seconds: None,
    )
    *_, last = follow(user_id, hold.run_id, offset=0, seconds_left=60).events

    assert (receipt.run.status, receipt.answer) == (RunStatus.SETTLED, "answer 1")
    assert isinstance(last, Done)
    assert last.answer.turn.answer == "answer 1"


def test_a_run_that_nobody_has_made_is_not_found_at_any_moment(store: DynamoStore, user_id: str) -> None:
    sessions, own = DynamoSessions(store, SESSIONS_TABLE), new_ledger(store)

    with pytest.raises(RunNotFoundError):
        ReadRun(ledger=own, sessions=sessions, clock=lambda: NOW)(user_id, "run_1")
    assert sessions.turn("ses_none", 1) is None


def test_a_ticket_in_the_queue_is_no_obstacle_to_a_change(ledger: DynamoLedger, user_id: str) -> None:
    hold = a_hold("run_1", 2, NOW)
    held(ledger, user_id, hold)
    ledger._take_ticket(user_id, hold)

    account = giving(user_id, 7, "bonus:1")(ledger)

    assert account.buckets.purchased == checked(ledger, user_id).buckets.purchased == 12


def test_a_change_sees_what_was_counted_by_a_hold_that_came_and_went(ledger: DynamoLedger, user_id: str) -> None:
    """The holds are the same as when the account was read; the stamps of its limits are not."""
    hold, rounds = a_hold("run_1", 2, NOW), itertools.count(1)

    def amend(account: Account) -> Change:
        if next(rounds) == 1:
            outcome = ledger.place_hold(
                user_id, hold, limit=MAX_THREADS, now=NOW, rate=RateLimit(name="runs", per_minute=5)
            )
            assert isinstance(outcome, Held)
            failing(user_id, hold, 25_000_000)(ledger)
        after, entry = grant(account, 7, type_=EntryType.BONUS, business_key="b", reason="For you", now=NOW)
        return after, (entry,)

    account = ledger.change(user_id, amend, business_key="b", now=NOW)

    assert next(rounds) == 3
    assert account == ledger.account(user_id, NOW)
    assert None not in (account.failures_at, account.unpaid_at, account.runs_at)
