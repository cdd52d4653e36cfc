"""The ledger when the store refuses, stalls, forgets to answer, or is gone.

`Wire` sees every request of every attempt that the SDK makes (tests/kit/intercept.py), and answers instead of the
store, refuses the connection, or lets the request take effect on the real engine and loses the reply.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse

from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.domain.account import Account, Change, Hold, grant, start_plus
from playground.domain.calendar import boundary
from playground.domain.entries import EntryType
from playground.domain.errors import ModelTimedOutError, SessionConflictError, StoreUnavailableError
from playground.domain.pricing import Usage
from playground.domain.runs import Run, RunRequest, RunStatus
from playground.ports import CannotAfford, Completion, Ended, Found, Held
from playground.usecases.run_prompt import PaidAnswer, RunPrompt
from tests.fakes import (
    FrozenClock,
    InMemoryCatalog,
    ScriptedModel,
    a_hold,
    charging,
    conversation,
    receipt,
)
from tests.kit.extent import HANG_SECONDS
from tests.kit.intercept import Interception, Request
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE
from tests.support import SESSIONS_TABLE, all_entries, check_invariants, new_ledger, new_store, patient_client

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LIMIT = 20
TRIES = 6
MAX_WAIT_SECONDS = 25.0  # s for a store that keeps saying no: it takes 4; the whole request has less than 29

Fault = Callable[["Wire", Request], AWSResponse | None]
"""What happens to one request. None: nothing, it is sent."""


class Wire:
    """Between a store and the engine. `plan` says what happens to the next requests of an operation, in order; after
    those, `always` does, if there is one. `sent` counts the requests."""

    def __init__(self, store: DynamoStore) -> None:
        self.plan: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.sent: dict[str, int] = {}
        self.forgets_tokens = False
        self._interception = Interception(store.client, self._on_request)

    def _on_request(self, request: Request) -> AWSResponse | None:
        operation = request.operation
        self.sent[operation] = self.sent.get(operation, 0) + 1
        planned = self.plan.get(operation)
        fault = planned.pop(0) if planned else self.always.get(operation)
        answer = fault(self, request) if fault else None
        return self.forward(request) if answer is None and self.forgets_tokens else answer

    def forward(self, request: Request) -> AWSResponse:
        """Send `request` to the engine; without its token, if the store is to forget that it has seen it before."""
        return (request.without_token() if self.forgets_tokens else request).send()

    def close(self) -> None:
        self._interception.close()


# --- faults -----------------------------------------------------------------------------------------------------------


def in_conflict(wire: Wire, request: Request) -> AWSResponse:
    return request.in_conflict()


def throttled(wire: Wire, request: Request) -> AWSResponse:
    return request.error(400, "ThrottlingException")


def over_capacity(wire: Wire, request: Request) -> AWSResponse:
    return request.over_capacity("ThrottlingError", 0)


def in_progress(wire: Wire, request: Request) -> AWSResponse:
    return request.error(400, "TransactionInProgressException")


def broken(wire: Wire, request: Request) -> AWSResponse:
    return request.error(500, "InternalServerError")


def out_of_reach(wire: Wire, request: Request) -> AWSResponse:
    raise request.unreachable()


def unanswered(wire: Wire, request: Request) -> AWSResponse:
    wire.forward(request)
    raise request.unanswered()


def hung_up(wire: Wire, request: Request) -> AWSResponse:
    wire.forward(request)
    raise request.hung_up()


def broken_afterwards(wire: Wire, request: Request) -> AWSResponse:
    wire.forward(request)
    return broken(wire, request)


PASSING = {"conflict": in_conflict, "over capacity": over_capacity, "in progress": in_progress, "throttled": throttled}
DOWN = {"500": broken, "out of reach": out_of_reach}
LOST = {"unanswered": unanswered, "hung up": hung_up, "500 afterwards": broken_afterwards}
FAULTS: Mapping[str, Fault] = {**PASSING, **DOWN, **LOST}


# --- what is done -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """An operation that writes. `before` prepares for it, `act` does it, `is_right` says whether its answer may be
    believed, and `after` is what the account has then: balance, held, entries."""

    operation: str
    before: Callable[[DynamoLedger, str], object]
    act: Callable[[DynamoLedger, str], object]
    is_right: Callable[[object], bool]
    untouched: tuple[int, int, int]
    after: tuple[int, int, int]


HOLD = a_hold("run_1", 5, NOW)
DUE = boundary(NOW, 1)


def hold_for(user_id: str) -> Hold:
    """The whole balance, in a session that only this user has."""
    return replace(HOLD, session_id=f"ses_{user_id}")


def place(ledger: DynamoLedger, user_id: str) -> object:
    return ledger.place_hold(user_id, hold_for(user_id), limit=1, now=NOW)


def settle(ledger: DynamoLedger, user_id: str) -> Ended:
    hold = hold_for(user_id)
    account = Account(user_id=user_id, created_at=NOW)  # as it was long ago: the refusal brings the one of now
    account = replace(
        account, buckets=replace(account.buckets, purchased=5), held=5, holds={hold.run_id: hold}, version=1
    )
    account = replace(account, last_hash=all_entries(ledger, user_id)[0].hash)
    return ledger.settle(account, hold, charging(hold, 3, NOW), conversation(user_id, hold, NOW))


def release(ledger: DynamoLedger, user_id: str) -> Ended:
    return ledger.release(user_id, receipt(user_id, hold_for(user_id), RunStatus.RELEASED, NOW))


def give(ledger: DynamoLedger, user_id: str) -> Account:
    def amend(account: Account) -> Change | None:
        after, entry = grant(account, 10, type_=EntryType.BONUS, business_key="bonus", reason="For you", now=NOW)
        return after, (entry,)

    return ledger.change(user_id, amend, business_key="bonus", now=NOW)


def begin(ledger: DynamoLedger, user_id: str) -> Account:
    return ledger.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=NOW),
        business_key="plus",
        now=NOW,
    )


def ours(outcome: object) -> bool:
    """Whether it was this very call that ended the run, if it was about ending one."""
    return not isinstance(outcome, Ended) or outcome.by_us


def ended_as(status: RunStatus) -> Callable[[object], bool]:
    return lambda outcome: (
        isinstance(outcome, Ended) and (outcome.run.status, outcome.run.nonce) == (status, HOLD.nonce)
    )


DEEDS: Mapping[str, Deed] = {
    "open": Deed(
        "TransactWriteItems",
        lambda ledger, user_id: None,
        lambda ledger, user_id: ledger.account(user_id, NOW),
        lambda outcome: isinstance(outcome, Account) and outcome.balance == 5,
        (5, 0, 1),
        (5, 0, 1),
    ),
    "hold": Deed(
        "UpdateItem",
        lambda ledger, user_id: ledger.account(user_id, NOW),
        place,
        lambda outcome: isinstance(outcome, Held) and outcome.account.held == 5,
        (5, 0, 1),
        (5, 5, 1),
    ),
    "cancel": Deed(
        "UpdateItem",
        place,
        lambda ledger, user_id: ledger.cancel_hold(user_id, hold_for(user_id), now=NOW),
        lambda outcome: outcome is None,
        (5, 5, 1),
        (5, 0, 1),
    ),
    "settle": Deed("TransactWriteItems", place, settle, ended_as(RunStatus.SETTLED), (5, 5, 1), (2, 0, 2)),
    "release": Deed("TransactWriteItems", place, release, ended_as(RunStatus.RELEASED), (5, 5, 1), (5, 0, 1)),
    "change": Deed(
        "TransactWriteItems",
        lambda ledger, user_id: ledger.account(user_id, NOW),
        give,
        lambda outcome: isinstance(outcome, Account) and outcome.balance == 15,
        (5, 0, 1),
        (15, 0, 2),
    ),
    "advance": Deed(
        "TransactWriteItems",
        begin,
        lambda ledger, user_id: ledger.account(user_id, DUE),
        lambda outcome: isinstance(outcome, Account) and outcome.balance == 405 and outcome.period == 1,
        (205, 0, 2),
        (405, 0, 4),
    ),
}


def state(ledger: DynamoLedger, user_id: str) -> tuple[int, int, int]:
    """Balance, held and entries of an account that adds up."""
    entries = all_entries(ledger, user_id)
    account = ledger.account(user_id, NOW)
    if not entries:
        entries = all_entries(ledger, user_id)
    check_invariants(account, entries)
    return account.balance, account.held, account.version


@contextmanager
def wired(store: DynamoStore) -> Iterator[Wire]:
    with closing(Wire(store)) as wire, closing(store.client):
        yield wire


@dataclass(frozen=True)
class Faulty:
    ledger: DynamoLedger
    wire: Wire


@pytest.fixture(scope="module")
def plain_store(engine: Engine, description: Description) -> Iterator[tuple[DynamoStore, Wire]]:
    """Without repeats by the SDK, and without pauses: every attempt is the ledger's own."""
    backoff = Backoff(tries=TRIES, most_seconds=HANG_SECONDS, sleep=lambda seconds: None)
    store = DynamoStore(patient_client(engine, attempts=1), backoff)
    with wired(store) as wire:
        yield store, wire


@pytest.fixture
def plain(plain_store: tuple[DynamoStore, Wire]) -> Iterator[Faulty]:
    store, wire = plain_store
    yield Faulty(new_ledger(store), wire)
    _reset(wire)


@pytest.fixture(scope="module")
def real_store(engine: Engine, description: Description) -> Iterator[tuple[DynamoStore, Wire]]:
    """As the functions have it: up to three attempts by the SDK, with its own pauses."""
    store = new_store(engine)
    with wired(store) as wire:
        yield store, wire


@pytest.fixture
def real(real_store: tuple[DynamoStore, Wire]) -> Iterator[Faulty]:
    store, wire = real_store
    yield Faulty(new_ledger(store), wire)
    _reset(wire)


def _reset(wire: Wire) -> None:
    wire.plan, wire.always, wire.sent, wire.forgets_tokens = {}, {}, {}, False


def until_it_works(act: Callable[[], object]) -> object:
    """What a caller does when the store is unavailable: it tries again."""
    for _ in range(3):
        try:
            return act()
        except StoreUnavailableError:
            continue
    raise AssertionError("it never worked")


# --- one fault --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_waited_for_and_is_no_refusal(
    plain: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, fault: Fault
) -> None:
    deed.before(ledger, user_id)
    plain.wire.plan[deed.operation] = [fault] * (TRIES - 1)

    outcome = deed.act(plain.ledger, user_id)

    assert deed.is_right(outcome), outcome
    assert ours(outcome)
    assert state(ledger, user_id) == deed.after
    assert plain.wire.sent[deed.operation] == TRIES


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize("fault", [*DOWN.values(), *LOST.values()], ids=[*DOWN, *LOST])
def test_repeating_what_got_no_answer_has_one_effect_and_knows_it_for_its_own(
    plain: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, fault: Fault
) -> None:
    """Also the hold of everything there is: its repeat finds no credit left and is no refusal."""
    deed.before(ledger, user_id)
    plain.wire.plan[deed.operation] = [fault]

    outcome = until_it_works(lambda: deed.act(plain.ledger, user_id))

    assert deed.is_right(outcome), outcome
    assert ours(outcome)
    assert state(ledger, user_id) == deed.after
    assert deed.is_right(deed.act(ledger, user_id))
    assert state(ledger, user_id) == deed.after


@pytest.mark.parametrize("forgets_tokens", [False, True], ids=["token known", "token forgotten"])
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_the_repeat_of_the_sdk_finds_its_own_work(
    real: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, forgets_tokens: bool
) -> None:
    """Whether the store still knows the token of the request, which it does for ten minutes, or not."""
    deed.before(ledger, user_id)
    real.wire.plan[deed.operation] = [hung_up]
    real.wire.forgets_tokens = forgets_tokens

    outcome = deed.act(real.ledger, user_id)

    assert deed.is_right(outcome), outcome
    assert ours(outcome)
    assert real.wire.sent[deed.operation] == 2
    assert state(ledger, user_id) == deed.after


# --- it never works ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_conflicts_without_end_end_as_unavailable(
    plain: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, fault: Fault
) -> None:
    deed.before(ledger, user_id)
    plain.wire.always[deed.operation] = fault

    with pytest.raises(StoreUnavailableError):
        deed.act(plain.ledger, user_id)

    assert plain.wire.sent[deed.operation] == TRIES
    assert state(ledger, user_id) == deed.untouched


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize("fault", DOWN.values(), ids=DOWN.keys())
def test_a_store_that_is_down_is_unavailable_at_once(
    plain: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, fault: Fault
) -> None:
    """The SDK has repeated it, as often as it is set to; the ledger adds nothing to that."""
    deed.before(ledger, user_id)
    plain.wire.always[deed.operation] = fault

    with pytest.raises(StoreUnavailableError):
        deed.act(plain.ledger, user_id)

    assert plain.wire.sent[deed.operation] == 1
    assert state(ledger, user_id) == deed.untouched


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_store_that_never_answers_has_done_it_once(
    plain: Faulty, ledger: DynamoLedger, user_id: str, deed: Deed, fault: Fault
) -> None:
    deed.before(ledger, user_id)
    plain.wire.always[deed.operation] = fault

    with pytest.raises(StoreUnavailableError):
        deed.act(plain.ledger, user_id)
    for _ in range(2):
        with suppress(StoreUnavailableError):  # some see by reading that it is done
            deed.act(plain.ledger, user_id)

    assert state(ledger, user_id) == deed.after


def test_the_sdk_tries_three_times(real: Faulty, user_id: str) -> None:
    real.wire.always["GetItem"] = broken

    with pytest.raises(StoreUnavailableError):
        real.ledger.account(user_id, NOW)

    assert real.wire.sent == {"GetItem": 3}


def test_throttling_without_end_ends_in_the_time_of_a_request(real: Faulty, ledger: DynamoLedger, user_id: str) -> None:
    """The attempts of the SDK, with its pauses, and those of the ledger must not multiply."""
    ledger.account(user_id, NOW)
    over = threading.Event()

    def until_over(wire: Wire, request: Request) -> AWSResponse:
        return (broken if over.is_set() else throttled)(wire, request)

    real.wire.always["UpdateItem"] = until_over
    with ThreadPoolExecutor(1) as pool:
        placing = pool.submit(place, real.ledger, user_id)
        ended, _ = wait([placing], timeout=MAX_WAIT_SECONDS)
        over.set()

    assert ended, f"still at it after {MAX_WAIT_SECONDS} s"
    assert isinstance(placing.exception(), StoreUnavailableError)


@pytest.mark.parametrize("fault", [throttled, broken, out_of_reach], ids=["throttled", "500", "out of reach"])
def test_an_account_that_cannot_be_read_is_unavailable(plain: Faulty, user_id: str, fault: Fault) -> None:
    """It is not taken for one that does not exist."""
    plain.wire.always["GetItem"] = fault

    with pytest.raises(StoreUnavailableError):
        plain.ledger.account(user_id, NOW)

    assert "TransactWriteItems" not in plain.wire.sent


def test_money_is_read_as_it_was_last_written(plain: Faulty, ledger: DynamoLedger, user_id: str) -> None:
    """The engine always does that; the real store only does it when it is asked to."""
    asked: list[bool] = []

    def reads(wire: Wire, request: Request) -> None:
        asked.append(request.body.get("ConsistentRead", False))

    plain.wire.always |= {"GetItem": reads, "Query": reads}

    plain.ledger.account(user_id, NOW)
    plain.ledger.run(user_id, "run_1")
    plain.ledger.entries(user_id, before=None, limit=1, type_=None)

    assert asked == [True, True, True]


# --- conflicts and refusals together ----------------------------------------------------------------------------------


def account_in_conflict(wire: Wire, request: Request) -> AWSResponse:
    """The account is in another transaction's hands, and says so instead of refusing; the other items are judged by
    the store: the answer to a transaction that is late *and* conflicts with a third."""
    real_answer = wire.forward(request)
    reasons = json.loads(real_answer.content)["CancellationReasons"]
    assert any(reason["Code"] == "ConditionalCheckFailed" for reason in reasons[1:])
    place = next(place for place, write in enumerate(request.writes) if write.get("Key", {}).get("sk") == ACCOUNT)
    reasons[place] = {"Code": "TransactionConflict", "Message": "ongoing"}
    return request.error(400, "TransactionCanceledException", CancellationReasons=reasons)


ACCOUNT = {"S": "ACCOUNT"}


def test_a_late_settlement_that_meets_a_conflict_is_worked_out_again(
    plain: Faulty, ledger: DynamoLedger, user_id: str
) -> None:
    """A faster operation has taken the number of its entry; that is no sign of corruption."""
    place(ledger, user_id)
    give(ledger, user_id)
    plain.wire.plan["TransactWriteItems"] = [account_in_conflict]

    assert ours(settle(plain.ledger, user_id))

    assert state(ledger, user_id) == (12, 0, 3)


def test_a_late_change_that_meets_a_conflict_is_worked_out_again(
    plain: Faulty, ledger: DynamoLedger, user_id: str
) -> None:
    calls: list[int] = []
    ledger.account(user_id, NOW)

    def amend(account: Account) -> Change | None:
        calls.append(account.version)
        if len(calls) == 1:
            give(ledger, user_id)
        after, entry = grant(account, 1, type_=EntryType.ADMIN, business_key="one", reason="One", now=NOW)
        return after, (entry,)

    plain.wire.plan["TransactWriteItems"] = [account_in_conflict]

    assert plain.ledger.change(user_id, amend, business_key="one", now=NOW).balance == 16

    assert state(ledger, user_id) == (16, 0, 3)
    assert calls == [1, 2]


def test_a_late_advance_that_meets_a_conflict_finds_it_done(plain: Faulty, ledger: DynamoLedger, user_id: str) -> None:
    begin(ledger, user_id)

    def overtaken(wire: Wire, request: Request) -> AWSResponse:
        ledger.account(user_id, DUE)
        return account_in_conflict(wire, request)

    plain.wire.plan["TransactWriteItems"] = [overtaken]

    assert plain.ledger.account(user_id, DUE).balance == 405

    assert state(ledger, user_id) == (405, 0, 4)


def test_a_second_opening_that_meets_a_conflict_finds_it_done(
    plain: Faulty, ledger: DynamoLedger, user_id: str
) -> None:
    def overtaken(wire: Wire, request: Request) -> AWSResponse:
        ledger.account(user_id, NOW)
        answered = wire.forward(request)
        reasons = json.loads(answered.content)["CancellationReasons"]
        reasons[0] = {"Code": "TransactionConflict", "Message": "ongoing"}
        return request.error(400, "TransactionCanceledException", CancellationReasons=reasons)

    plain.wire.plan["TransactWriteItems"] = [overtaken]

    assert plain.ledger.account(user_id, NOW).balance == 5

    assert state(ledger, user_id) == (5, 0, 1)


def test_a_second_release_that_meets_a_conflict_reads_the_outcome(
    plain: Faulty, ledger: DynamoLedger, user_id: str
) -> None:
    place(ledger, user_id)
    settled = settle(ledger, user_id)
    plain.wire.plan["TransactWriteItems"] = [account_in_conflict]

    assert release(plain.ledger, user_id) == Ended(settled.run, by_us=False)

    assert state(ledger, user_id) == (2, 0, 2)


def test_a_session_that_moved_is_no_conflict_to_wait_for(plain: Faulty, ledger: DynamoLedger, user_id: str) -> None:
    place(ledger, user_id)
    other = f"{user_id}-other"
    taken = replace(hold_for(other), session_id=hold_for(user_id).session_id)
    ledger.account(other, NOW)
    placed = ledger.place_hold(other, taken, limit=1, now=NOW)
    ledger.settle(placed.account, taken, charging(taken, 1, NOW), conversation(other, taken, NOW))
    plain.wire.plan["TransactWriteItems"] = [account_in_conflict]

    with pytest.raises(SessionConflictError):
        settle(plain.ledger, user_id)

    assert state(ledger, user_id) == (5, 5, 1)


def test_a_hold_in_conflict_is_refused_for_what_is_true_then(plain: Faulty, ledger: DynamoLedger, user_id: str) -> None:
    """A conflict decides nothing: what the account has when it is over does."""
    ledger.account(user_id, NOW)

    def spent_meanwhile(wire: Wire, request: Request) -> AWSResponse:
        ledger.place_hold(user_id, a_hold("run_2", 1, NOW), limit=LIMIT, now=NOW)
        return in_conflict(wire, request)

    plain.wire.plan["UpdateItem"] = [spent_meanwhile, in_conflict]

    outcome = plain.ledger.place_hold(user_id, hold_for(user_id), limit=LIMIT, now=NOW)

    assert isinstance(outcome, CannotAfford)
    assert outcome.account.available == 4


# --- overtaken --------------------------------------------------------------------------------------------------------


def test_a_settlement_overtaken_by_the_sweeper_reads_that_the_run_expired(
    plain: Faulty, store: DynamoStore, ledger: DynamoLedger, user_id: str
) -> None:
    """At the last moment: the request is on its way already."""
    place(ledger, user_id)
    expired = receipt(user_id, hold_for(user_id), RunStatus.EXPIRED, NOW)

    def overtaken(wire: Wire, request: Request) -> None:
        ledger.release(user_id, expired)

    plain.wire.plan["TransactWriteItems"] = [overtaken]

    assert settle(plain.ledger, user_id) == Ended(expired, by_us=False)

    assert state(ledger, user_id) == (5, 0, 1)
    assert not DynamoSessions(store, SESSIONS_TABLE).turns(hold_for(user_id).session_id)


def test_a_late_settlement_that_arrives_after_all_does_nothing(
    plain: Faulty, ledger: DynamoLedger, user_id: str
) -> None:
    """A request that was given up, and whose run was released, is still under way: it finds no hold."""
    place(ledger, user_id)
    late: list[Callable[[], AWSResponse]] = []

    def delayed(wire: Wire, request: Request) -> AWSResponse:
        late.append(lambda: wire.forward(request))
        raise request.unanswered()

    plain.wire.plan["TransactWriteItems"] = [delayed]
    with pytest.raises(StoreUnavailableError):
        settle(plain.ledger, user_id)
    released = release(ledger, user_id)

    assert late[0]().status_code == 400

    assert ledger.run(user_id, "run_1") == released.run
    assert state(ledger, user_id) == (5, 0, 1)


# --- a worker dies ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing after it runs, and no `except` sees it."""


TIDY = a_package()
REQUEST = RunRequest(package_id="@acme/tidy", input="Hello", model="sonnet", max_tokens=600)
ANSWER = Completion(
    text="Done.", usage=Usage(input_tokens=50, output_tokens=50), stop_reason="end_turn", model_id="claude-sonnet-5-5"
)
STEPS = 5  # requests to the store of a first run: receipt, hold, open, hold, settle


def a_worker(ledger: DynamoLedger, store: DynamoStore, clock: FrozenClock, model: ScriptedModel) -> RunPrompt:
    catalog = InMemoryCatalog(TIDY)

    def lookup(
        *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
    ) -> Found:
        return Found(ledger.run(user_id, run_id or ""), catalog.version(package_id, version), None)

    return RunPrompt(
        ledger=ledger,
        lookup=lookup,
        sessions=DynamoSessions(store, SESSIONS_TABLE),
        catalog=catalog,
        model=model,
        prices=EXAMPLE,
        clock=clock,
        new_id=lambda kind: f"{kind}_{uuid4().hex}",
        max_open_runs=LIMIT,
        model_timeout_seconds=24,
    )


def run_once(worker: RunPrompt, user_id: str) -> PaidAnswer:
    return worker(user_id, REQUEST, idempotency_key="k", seconds_left=29)


@pytest.mark.parametrize("taken", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_run_whose_worker_dies_at_any_request_ends_once(
    plain_store: tuple[DynamoStore, Wire],
    plain: Faulty,
    store: DynamoStore,
    ledger: DynamoLedger,
    user_id: str,
    step: int,
    taken: bool,
) -> None:
    """Before the request takes effect or right after; then the same attempt again, when the lease is over, twice."""
    requests = 0

    def dies(wire: Wire, request: Request) -> AWSResponse | None:
        nonlocal requests
        requests += 1
        if requests != step + 1:
            return None
        if taken:
            wire.forward(request)
        raise Killed

    for operation in ("GetItem", "UpdateItem", "TransactWriteItems"):
        plain.wire.always[operation] = dies
    clock, model = FrozenClock(NOW), ScriptedModel(lambda prompt: ANSWER)
    try:
        run_once(a_worker(plain.ledger, plain_store[0], clock, model), user_id)
    except Killed:
        assert requests == step + 1
    else:
        assert requests == step == STEPS
    asked = len(model.prompts)
    clock.move(timedelta(hours=2))

    outcomes: list[Run | str] = []
    for _ in range(2):
        try:
            outcomes.append(run_once(a_worker(ledger, store, clock, model), user_id).run)
        except ModelTimedOutError as error:
            outcomes.append(error.reason)

    account = ledger.account(user_id, clock.now)
    check_invariants(account, all_entries(ledger, user_id))
    (run,) = {ledger.run(user_id, run.run_id) for run in outcomes if isinstance(run, Run)} or {None}
    assert outcomes[0] == outcomes[1]
    assert account.held == 0
    assert account.balance == 5 - (run.charged if run else 0)
    held_then = (step, taken) in {(STEPS - 2, True), (STEPS - 1, False)}
    assert outcomes[0] == ("interrupted" if held_then else run)
    assert asked + (not held_then and asked == 0) == len(model.prompts) == 1 - (held_then and asked == 0)
