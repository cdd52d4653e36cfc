"""Many threads on one session and its share, on a real engine: whatever the order, it is some order."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import pytest

from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_feedback import DynamoFeedback
from playground.adapters.dynamo_keys import feedback_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_shares import DynamoShares
from playground.adapters.dynamo_store import Backoff
from playground.adapters.dynamo_usage import DynamoUsage
from playground.domain.account import Account, Change, Hold, grant
from playground.domain.entries import EntryType
from playground.domain.errors import SessionConflictError, SessionNotFoundError, ShareNotFoundError
from playground.domain.sessions import RunFeedback
from playground.domain.sharing import ShareKeys, share_id_of
from playground.domain.spend import Ratings
from playground.ports import Ended, Held
from playground.usecases.browse_sessions import ReadSession
from playground.usecases.delete_session import DeleteSession
from playground.usecases.share_session import ShareSession, UnshareSession
from playground.usecases.visit_share import ForkShared, ReadShared, ReportShared, VoteOnShared
from tests.conftest import NOW
from tests.fakes import PlantedLeaks, a_hold, charging, conversation
from tests.kit.extent import HANG_SECONDS, examples
from tests.support import SESSIONS_TABLE, SPEND_TABLE, all_entries, check_invariants, new_ledger, new_store

CONNECTIONS = 16
THREADS = 32
ROUNDS = examples(12)
KEYS = ShareKeys(["a secret of the tests, 32 bytes at least"])

T = TypeVar("T")


class Worker:
    """What one instance of the functions consists of."""

    def __init__(self, ledger: DynamoLedger) -> None:
        self.ledger = ledger
        self.sessions = DynamoSessions(ledger._store, SESSIONS_TABLE)
        self.shares = DynamoShares(ledger._store, SESSIONS_TABLE)

        def clock():  # type: ignore[no-untyped-def]
            return NOW

        def new_id(kind: str) -> str:
            return f"{kind}_{uuid4().hex}"

        self.share = ShareSession(
            sessions=self.sessions,
            shares=self.shares,
            keys=KEYS,
            leaks=PlantedLeaks(),
            clock=clock,
            new_nonce=lambda: new_id("shr"),
        )
        self.unshare = UnshareSession(sessions=self.sessions, shares=self.shares, clock=clock)
        self.look = ReadShared(sessions=self.sessions, shares=self.shares, keys=KEYS, clock=clock)
        self.delete = DeleteSession(sessions=self.sessions, shares=self.shares, clock=clock)
        self.fork = ForkShared(sessions=self.sessions, shares=self.shares, clock=clock, new_id=new_id)
        self.vote = VoteOnShared(shares=self.shares, keys=KEYS, clock=clock)
        self.feedback = DynamoFeedback(ledger._store, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE)
        self.read = ReadSession(sessions=self.sessions, shares=self.shares, feedback=self.feedback, keys=KEYS)
        self.report = ReportShared(shares=self.shares, clock=clock, hide_at=3)


@pytest.fixture(scope="module")
def workers(engine: Engine, description: Description) -> Iterator[Sequence[Worker]]:
    patient = Backoff(tries=1000, most_seconds=HANG_SECONDS)  # here is one small machine for all of it
    stores = [new_store(engine, patient) for _ in range(CONNECTIONS)]
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda store: store.client, stores))
    yield [Worker(new_ledger(store)) for store in stores]
    for client in clients:
        client.close()


@dataclass(frozen=True)
class Race:
    workers: Sequence[Worker]
    pool: ThreadPoolExecutor

    def __call__(self, *runners: Callable[[Worker], T]) -> list[T | Exception]:
        """Start all of them at the same moment; what they return or raise."""
        barrier = threading.Barrier(len(runners), timeout=HANG_SECONDS)

        def start(runner: Callable[[Worker], T], worker: Worker) -> T | Exception:
            barrier.wait()
            try:
                return runner(worker)
            except (SessionConflictError, SessionNotFoundError, ShareNotFoundError) as error:
                return error

        each = zip(runners, itertools.cycle(self.workers), strict=False)
        futures = [self.pool.submit(start, runner, worker) for runner, worker in each]
        return [future.result(timeout=HANG_SECONDS) for future in futures]


@pytest.fixture(scope="module")
def race(workers: Sequence[Worker]) -> Iterator[Race]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield Race(workers, pool)


def hold_for(worker: Worker, user_id: str, session_id: str) -> Hold:
    """A hold for one more run, and the credit for it."""
    run_id = f"run_{uuid4().hex}"

    def amend(account: Account) -> Change:
        after, entry = grant(account, 1, type_=EntryType.BONUS, business_key=run_id, reason="", now=NOW)
        return after, (entry,)

    worker.ledger.change(user_id, amend, business_key=run_id, now=NOW)
    hold = a_hold(run_id, 1, NOW, session_id=session_id, nonce=f"try_{run_id}")
    assert isinstance(worker.ledger.place_hold(user_id, hold, limit=100, now=NOW), Held)
    return hold


def settle(worker: Worker, user_id: str, hold: Hold, number: int) -> Ended:
    account = worker.ledger.account(user_id, NOW)
    about = conversation(user_id, hold, NOW, turns=number)
    about = replace(about, turn=replace(about.turn, answer=f"answer {number} of {hold.run_id}"))
    return worker.ledger.settle(account, hold, charging(hold, 1, NOW, turn=number), about)


def talk(worker: Worker, user_id: str, *, turns: int) -> str:
    session_id = f"ses_{uuid4().hex}"
    for number in range(1, turns + 1):
        settle(worker, user_id, hold_for(worker, user_id, session_id), number)
    return session_id


def good(outcomes: Sequence[T | Exception]) -> list[T]:
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


# --- continuations ----------------------------------------------------------------------------------------------------


def test_simultaneous_continuations_are_whole_and_in_order_or_refused(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    for _ in range(ROUNDS):
        session_id = talk(worker, user_id, turns=1)
        holds = [hold_for(worker, user_id, session_id) for _ in range(6)]
        outcomes = race(*(lambda worker, hold=hold: settle(worker, user_id, hold, 2) for hold in holds))  # type: ignore[misc]
        [won] = good(outcomes)
        assert Counter(type(outcome) for outcome in outcomes)[SessionConflictError] == 5
        turns = worker.sessions.turns(session_id)
        assert [turn.number for turn in turns] == [1, 2]
        assert (turns[1].run_id, turns[1].answer) == (won.run.run_id, f"answer 2 of {won.run.run_id}")
        session = worker.sessions.find(user_id, session_id)
        assert session is not None
        assert (session.turns, session.credits) == (2, 2)
    account = worker.ledger.account(user_id, NOW)
    check_invariants(account, all_entries(worker.ledger, user_id))
    assert len(account.holds) == 5 * ROUNDS  # the losers', for them to release


# --- delete against everything ----------------------------------------------------------------------------------------


def test_a_deleted_session_is_not_revived_by_a_run_that_ends_at_that_moment(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    for _ in range(ROUNDS):
        session_id = talk(worker, user_id, turns=2)
        hold = hold_for(worker, user_id, session_id)
        outcomes = race(
            lambda worker, session_id=session_id, hold=hold: settle(worker, user_id, hold, 3),  # type: ignore[misc]
            lambda worker, session_id=session_id: worker.delete(user_id, session_id, seconds_left=29),  # type: ignore[misc]
            lambda worker, session_id=session_id: worker.delete(user_id, session_id, seconds_left=29),  # type: ignore[misc]
        )
        assert None in outcomes  # one of the two deleted it
        assert worker.sessions.find(user_id, session_id) is None
        assert worker.sessions.deleted(user_id, session_id) is None
        assert not worker.sessions.turns(session_id)
        settled = not isinstance(outcomes[0], SessionConflictError)
        assert (worker.ledger.run(user_id, hold.run_id) is not None) == settled
    check_invariants(worker.ledger.account(user_id, NOW), all_entries(worker.ledger, user_id))


# --- share, withdraw, look --------------------------------------------------------------------------------------------


def test_sharing_at_the_same_moment_gives_one_link(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    for _ in range(ROUNDS):
        session_id = talk(worker, user_id, turns=1)
        tokens = {
            shared.token  # type: ignore[union-attr]
            for shared in race(
                *[
                    lambda worker, session_id=session_id: worker.share(  # type: ignore[misc]
                        user_id, session_id, expires_in=None, acknowledge_findings=False
                    )
                ]
                * 6
            )
        }
        assert len(tokens) == 1


def test_after_a_withdrawal_no_view_succeeds(race: Race, user_id: str) -> None:
    """Sharing, withdrawing, looking, voting and deleting at once: session and share always say the same."""
    worker = race.workers[0]
    for number in range(ROUNDS):
        session_id = talk(worker, user_id, turns=2)
        first = worker.share(user_id, session_id, expires_in=None, acknowledge_findings=False).token

        def share(worker: Worker, session_id: str = session_id) -> object:
            return worker.share(user_id, session_id, expires_in=timedelta(days=1), acknowledge_findings=False).token

        def unshare(worker: Worker, session_id: str = session_id) -> object:
            return worker.unshare(user_id, session_id, seconds_left=29)

        def look(worker: Worker, token: str = first) -> object:
            return len(worker.look(token, user_id=None, address="203.0.113.1").turns)

        def vote(worker: Worker, token: str = first) -> object:
            return worker.vote("somebody", token, address="", is_helpful=True, comment="")

        def delete(worker: Worker, session_id: str = session_id) -> object:
            return worker.delete(user_id, session_id, seconds_left=29)

        outcomes = race(share, unshare, look, vote, look, share, *([delete] if number % 2 else []))
        for outcome in outcomes:
            if isinstance(outcome, int):
                assert outcome == 2  # whole, or not at all
        session = worker.sessions.find(user_id, session_id)
        link = session.share if session is not None else None
        tokens = {first, *(outcome for outcome in outcomes if isinstance(outcome, str))}
        for token in tokens:
            alive = worker.shares.find(share_id_of(token)) is not None
            assert alive == (link is not None and link.share_id == share_id_of(token))
        assert (session is None) == bool(number % 2)


def test_a_link_that_was_withdrawn_before_the_first_view_is_dead(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    session_id = talk(worker, user_id, turns=1)
    for _ in range(ROUNDS):
        token = worker.share(user_id, session_id, expires_in=None, acknowledge_findings=False).token
        race.workers[1].unshare(user_id, session_id, seconds_left=29)
        outcomes = race(*[lambda worker, token=token: worker.look(token, user_id=None, address="a")] * 4)  # type: ignore[misc]
        assert [type(outcome) for outcome in outcomes] == [ShareNotFoundError] * 4


# --- counters ---------------------------------------------------------------------------------------------------------


def test_views_are_exact(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    token = worker.share(user_id, talk(worker, user_id, turns=1), expires_in=None, acknowledge_findings=False).token
    looks = [
        lambda worker, number=number: worker.look(token, user_id=f"viewer {number % 8}", address="")  # type: ignore[misc]
        for number in range(THREADS)
    ]
    assert len(good(race(*looks))) == THREADS
    share = worker.shares.find(share_id_of(token))
    assert share is not None
    assert share.views == 8


def test_votes_are_exact(race: Race, user_id: str) -> None:
    """Eight viewers change their minds four times each, all at once; then everybody says what they say last."""
    worker = race.workers[0]
    token = worker.share(user_id, talk(worker, user_id, turns=1), expires_in=None, acknowledge_findings=False).token

    def vote(viewer: int, is_helpful: bool) -> Callable[[Worker], object]:
        return lambda worker: worker.vote(f"viewer {viewer}", token, address="", is_helpful=is_helpful, comment="")

    race(*(vote(number % 8, number % 3 == 0) for number in range(THREADS)))
    share = worker.shares.find(share_id_of(token))
    assert share is not None
    assert share.helpful + share.not_helpful == 8
    race(*(vote(viewer, viewer < 3) for viewer in range(8)))
    share = worker.shares.find(share_id_of(token))
    assert share is not None
    assert (share.helpful, share.not_helpful) == (3, 5)


def test_reports_are_exact_and_hide_in_time(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    token = worker.share(user_id, talk(worker, user_id, turns=1), expires_in=None, acknowledge_findings=False).token
    outcomes = race(
        *(
            lambda worker, number=number: worker.report(f"reporter {number % 8}", token, reason="spam")  # type: ignore[misc]
            for number in range(16)
        )
    )
    share = worker.shares.find(share_id_of(token))
    assert share is not None
    assert (share.reports, share.hidden) == (3, True)
    assert any(isinstance(outcome, ShareNotFoundError) for outcome in outcomes)


# --- fork -------------------------------------------------------------------------------------------------------------


def test_forks_with_one_key_are_one_session(race: Race, user_id: str) -> None:
    worker = race.workers[0]
    token = worker.share(user_id, talk(worker, user_id, turns=30), expires_in=None, acknowledge_findings=False).token
    forks = race(*[lambda worker: worker.fork(f"{user_id}-2", token, idempotency_key="k", seconds_left=29)] * 6)
    ids = {fork.session_id for fork in good(forks)}
    assert len(good(forks)) == 6
    [fork_id] = ids
    session = worker.sessions.find(f"{user_id}-2", fork_id)
    assert session is not None
    assert [turn.number for turn in worker.sessions.turns(fork_id)] == list(range(1, 31))


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_of_opinions_on_the_same_runs_at_once_the_totals_have_those_that_stay(race: Race, user_id: str) -> None:
    """Whatever replaces what: each run is in the totals once, with what is stored."""
    worker, package = race.workers[0], f"@{user_id}/tidy"
    session_id = talk(worker, user_id, turns=1)
    runs = [f"run_{user_id}_{number}" for number in range(3)]
    for number in range(ROUNDS):

        def rate(worker: Worker, run_id: str, stars: int, number: int = number) -> object:
            feedback = RunFeedback(
                run_id=run_id,
                rating=stars or None,
                is_helpful=None if stars == 1 else stars > 2,
                comment="",
                given_at=NOW + timedelta(seconds=number),
            )
            return worker.feedback.put(user_id, session_id, feedback, package)

        given = [(run_id, stars) for run_id in runs for stars in range(6)]
        outcomes = race(*(lambda worker, each=each: rate(worker, *each) for each in given))  # type: ignore[misc]
        assert outcomes == [True] * len(given)
        stored = [worker.ledger._store.get(feedback_key(SESSIONS_TABLE, session_id, run_id)) or {} for run_id in runs]
        expected = [
            Ratings.of(
                int(raw["rating"]["N"]) if "N" in raw.get("rating", {}) else None, raw.get("is_helpful", {}).get("BOOL")
            )
            for raw in stored
        ]
        assert DynamoUsage(worker.ledger._store, SPEND_TABLE).ratings_of(package) == sum(expected, Ratings())
