"""Threads of several processes at once on a real engine: some serial order of a plain model explains every answer (I7).

First that the search for such an order finds what is wrong with a history; then the ledger, overtaken in its narrowest
places; then histories of the ledger.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore
from tests.kit.extent import WHOLE
from tests.kit.histories import (
    NEVER,
    Crew,
    Record,
    Scene,
    UndecidedError,
    UnexplainedError,
    explain,
    placed_by,
    play,
)
from tests.kit.intercept import Interception, Request
from tests.kit.operations import Subject
from tests.property.model import (
    DAY,
    HOUR,
    SECOND,
    Answer,
    Cancel,
    Grant,
    Lost,
    Model,
    Operation,
    Paid,
    Place,
    PlaceAll,
    Placed,
    Read,
    ReadRun,
    Refunded,
    Release,
    Settle,
    Start,
    View,
    month_after,
)
from tests.support import SESSIONS_TABLE, new_ledger, new_store

PROCESSES = 3
NOW = 1_800_000_000_000


def place(run: str, ceiling: int, nonce: str = "", now: int = NOW) -> Place:
    nonce = nonce or f"try_{run}"
    return Place(run, nonce, ceiling, lease=NOW + DAY, session=f"ses_{nonce}", turn=1, limit=20, now=now)


def grant(credits_: int, key: str) -> Grant:
    return Grant(credits_, key, NOW)


def after(*operations: Operation) -> Model:
    model = Model()
    for operation in operations:
        model.apply(operation)
    return model


def answered(operation: Operation, *earlier: Operation) -> Answer:
    """What the last of these operations is answered if they come one after the other."""
    return after(*earlier).apply(operation)


def record(call: float, back: float, operation: Operation, answer: Answer | str | None) -> Record:
    return Record("u", f"at {call}", call, back, operation, answer)


READ = Read(NOW)


# --- the search -------------------------------------------------------------------------------------------------------


def test_what_overlaps_may_have_happened_in_either_order() -> None:
    one, two = grant(10, "one"), grant(20, "two")
    first, second = answered(one, two), answered(two)

    order = explain([record(0, 9, one, first), record(1, 8, two, second), record(10, 11, READ, first)])

    assert [record.operation for record in order] == [two, one, READ]


def test_a_change_may_be_answered_with_what_others_made_of_it() -> None:
    one, two = grant(10, "one"), grant(20, "two")
    both = answered(READ, one, two)

    explain([record(0, 9, one, both), record(1, 8, two, both)])


def test_what_got_no_answer_may_have_happened_or_not() -> None:
    lost = record(0, NEVER, grant(10, "one"), None)

    explain([lost, record(5, 6, READ, answered(READ))])
    explain([lost, record(5, 6, READ, answered(READ, lost.operation))])
    explain([lost, record(5, 6, READ, answered(READ)), record(7, 8, READ, answered(READ, lost.operation))])


def test_a_boundary_may_be_crossed_by_another_clock_that_is_under_way() -> None:
    start = Start(None, "plan", NOW)
    due = month_after(NOW, 1)
    early, late = Read(due - 1), Read(due)
    crossed = answered(late, start)
    history = [record(0, 1, start, answered(start)), record(2, 9, late, crossed), record(3, 4, early, crossed)]

    explain(history)
    with pytest.raises(UnexplainedError):
        explain([history[0], history[2]])


FIVE, SAME = place("run_1", 5), place("run_2", 5)
SETTLED = Settle(FIVE, 3, NOW)
LATER = Settle(FIVE, 2, NOW + SECOND)
RELEASED = Release(FIVE, "released", NOW)
OPEN = record(0, 1, READ, answered(READ))
HELD = record(2, 3, FIVE, answered(FIVE))

PAID, REFUNDED, LARGE = Paid("p", 100, 500, NOW), Refunded("p", 100, 500, 500, NOW), place("run_1", 24)
CHARGED = Settle(LARGE, 3, NOW)
IN_DEBT = (PAID, LARGE, REFUNDED, CHARGED)


def beside_debt() -> Answer:
    """What an earlier ledger came to: 19 are owed, and 21 of what was bought can be spent."""
    after_all = answered(READ, *IN_DEBT)
    assert isinstance(after_all, View)
    return after_all._replace(purchased=21, available=21, debt=19, version=after_all.version - 1)


WRONG: dict[str, Sequence[Record]] = {
    "purchased credits beside debt": [
        *(
            record(2 * number, 2 * number + 1, operation, answered(operation, *IN_DEBT[:number]))
            for number, operation in enumerate(IN_DEBT[:-1])
        ),
        record(6, NEVER, CHARGED, None),
        record(7, 8, READ, beside_debt()),
    ],
    "double spend": [OPEN, record(2, 5, FIVE, answered(FIVE)), record(3, 4, SAME, answered(SAME))],
    "stale read": [
        OPEN,
        record(2, 3, grant(10, "one"), answered(grant(10, "one"))),
        record(4, 5, READ, answered(READ)),
    ],
    "lost update": [
        OPEN,
        record(2, 5, grant(10, "one"), answered(grant(10, "one"))),
        record(3, 6, grant(20, "two"), answered(grant(20, "two"))),
    ],
    "double settle": [HELD, record(4, 7, SETTLED, answered(SETTLED, FIVE)), record(5, 6, LATER, answered(LATER, FIVE))],
    "settled and given back": [
        HELD,
        record(4, 7, SETTLED, answered(SETTLED, FIVE)),
        record(5, 6, RELEASED, answered(RELEASED, FIVE)),
    ],
    "one key, two effects": [
        OPEN,
        record(2, 3, grant(10, "one"), answered(grant(10, "one"))),
        record(4, 5, grant(10, "one"), answered(grant(10, "two"), grant(10, "one"))),
    ],
    "a hold refused with credits to spare": [
        record(0, 1, grant(10, "one"), answered(grant(10, "one"))),
        record(2, 3, FIVE, answered(place("run_1", 99), grant(10, "one"))),
    ],
    "a hold that comes back": [
        HELD,
        record(4, 5, Cancel(FIVE, NOW), answered(Cancel(FIVE, NOW), FIVE)),
        record(6, 7, READ, answered(READ, FIVE)),
    ],
    "a receipt that comes and goes": [
        HELD,
        record(4, 5, RELEASED, answered(RELEASED, FIVE)),
        record(6, 7, ReadRun("run_1", NOW), answered(ReadRun("run_1", NOW), FIVE)),
    ],
    "a charge from the wrong bucket": [
        record(0, 1, Start(None, "plan", NOW), answered(Start(None, "plan", NOW))),
        record(2, 3, FIVE, answered(FIVE, Start(None, "plan", NOW))),
        record(4, 5, SETTLED, answered(SETTLED, FIVE)),
    ],
    "what got no answer, seen and then gone": [
        record(0, NEVER, grant(10, "one"), None),
        record(1, 2, READ, answered(READ, grant(10, "one"))),
        record(3, 4, READ, answered(READ)),
    ],
    "an error": [OPEN, record(2, 3, READ, "CorruptLedgerError()")],
}


@pytest.mark.parametrize("history", WRONG.values(), ids=WRONG.keys())
def test_what_no_order_explains_is_found(history: Sequence[Record]) -> None:
    with pytest.raises(UnexplainedError):
        explain(history)
    explain(history[:-1])


def test_the_counterexample_is_the_shortest_wrong_prefix() -> None:
    wrong = WRONG["stale read"]
    more = [record(10 + number, 11 + number, READ, answered(READ, grant(10, "one"))) for number in range(20)]

    with pytest.raises(UnexplainedError) as error:
        explain([*wrong, *more])

    assert error.value.prefix == wrong
    assert "read at 15 08:00:00  =>  0+0+5-0 v1 free 0 []" in str(error.value)


def test_a_search_that_goes_on_and_on_is_given_up() -> None:
    holds = [place(f"run_{number}", 1) for number in range(5)]
    everywhere = [record(number, 99, hold, answered(hold)) for number, hold in enumerate(holds)]

    with pytest.raises(UndecidedError):
        explain(everywhere, most_states=3)


@pytest.mark.parametrize("seed", range(40))
def test_every_order_is_found_and_every_lie(seed: int) -> None:
    """Histories of which the order is known: each operation is asked before its place in it, and answered after."""
    chance = random.Random(seed)
    history, model = list[Record](), Model()
    placed: list[Place] = []
    for number in range(60):
        now = NOW + number * HOUR * 12
        possible: list[Operation] = [
            Read(now),
            Grant(chance.randint(1, 9), f"bonus {chance.randrange(6)}", now),
            Start(None, f"plan {number}", now),
            place(f"run_{chance.randrange(12)}", chance.randint(1, 6), f"try_{number}", now),
            PlaceAll(
                tuple(
                    place(f"run_{run}", chance.randint(1, 4), f"try_{number}_{run}", now)
                    for run in chance.sample(range(12), 2)
                )
            ),
            *(Settle(hold, chance.randint(1, hold.ceiling), now) for hold in placed[-3:]),
            *(Release(hold, "expired", now) for hold in placed[-2:]),
            *(Cancel(hold, now) for hold in placed[-1:]),
        ]
        operation = chance.choice(possible)
        answer = model.apply(operation)
        if isinstance(answer, Placed):
            placed += placed_by(operation)
        silent = chance.random() < 0.05
        call, back = number - chance.uniform(0, 4), NEVER if silent else number + chance.uniform(0, 4)
        history.append(record(call, back, operation, None if silent else answer))

    explain(history)
    views = [number for number, record in enumerate(history) if isinstance(record.answer, View)]
    lie = chance.choice(views)
    view = history[lie].answer
    assert isinstance(view, View)
    forged = view._replace(purchased=view.purchased + 1, available=view.available + 1)
    history[lie] = record(history[lie].call, history[lie].back, history[lie].operation, forged)
    with pytest.raises(UnexplainedError):
        explain(history)


# --- what a race would need luck for ----------------------------------------------------------------------------------


class Overtaken:
    """A subject, and another one of the same user that gets a word in just before the next transaction of the first
    one is sent."""

    def __init__(self, engine: Engine, subject: Subject) -> None:
        store = new_store(engine)
        self._client = store.client
        self._interception = Interception(self._client, self._on_request, "TransactWriteItems")
        self._other = subject
        self._meanwhile: list[Operation] = []
        self.subject = Subject(new_ledger(store), subject.sessions, subject.user_id)

    def apply(self, operation: Operation, *meanwhile: Operation) -> Answer:
        self._meanwhile = list(meanwhile)
        answer = self.subject.apply(operation)
        assert not self._meanwhile, "there was no transaction"
        return answer

    def _on_request(self, _request: Request) -> None:
        now, self._meanwhile = self._meanwhile, []
        for operation in now:
            self._other.apply(operation)

    def close(self) -> None:
        self._interception.close()
        self._client.close()


@pytest.fixture
def overtaken(engine: Engine, ledger: DynamoLedger, store: DynamoStore, user_id: str) -> Iterator[Overtaken]:
    overtaken = Overtaken(engine, Subject(ledger, DynamoSessions(store, SESSIONS_TABLE), user_id))
    yield overtaken
    overtaken.close()


def test_nothing_expires_that_was_held_just_before_the_boundary(overtaken: Overtaken) -> None:
    first, second = month_after(NOW, 1), month_after(NOW, 2)
    hold = place("run_1", 205, now=first)  # leaves 200
    setting: list[Operation] = [Start(None, "plan", NOW), Read(first), hold]
    for operation in setting:
        overtaken.subject.apply(operation)
    late = place("run_2", 50, now=second - 1)

    answer = overtaken.apply(Read(second), late)

    assert answer == answered(Read(second), *setting, late)


@pytest.mark.parametrize("ceiling", [300, 405], ids=["some", "all"])
def test_what_comes_back_just_before_the_boundary_expires_there(overtaken: Overtaken, ceiling: int) -> None:
    first, second = month_after(NOW, 1), month_after(NOW, 2)
    hold = place("run_1", ceiling, now=first)
    setting: list[Operation] = [Start(None, "plan", NOW), Read(first), hold]
    for operation in setting:
        overtaken.subject.apply(operation)
    back = Release(hold, "released", second - 1)

    answer = overtaken.apply(Read(second), back)

    assert answer == answered(Read(second), *setting, back)


@pytest.mark.parametrize("end", [CHARGED, Release(LARGE, "released", NOW)], ids=["settled", "released"])
def test_a_refund_just_before_the_end_of_a_run_is_repaid_by_it(overtaken: Overtaken, end: Settle | Release) -> None:
    for each in (PAID, LARGE):
        overtaken.subject.apply(each)

    answer = overtaken.apply(end, REFUNDED)

    assert answer == answered(end, PAID, LARGE, REFUNDED)
    assert overtaken.subject.apply(READ) == answered(READ, PAID, LARGE, REFUNDED, end)


def test_a_settlement_ends_its_own_hold_and_no_other(overtaken: Overtaken) -> None:
    """Between its look at the account and its write another attempt takes the place of this one."""
    other = place("run_1", 5, "try_2")
    overtaken.subject.apply(FIVE)

    answer = overtaken.apply(SETTLED, Cancel(FIVE, NOW), other)

    assert answer == answered(SETTLED, FIVE, Cancel(FIVE, NOW), other) == Lost()
    assert overtaken.subject.apply(READ) == answered(READ, other)


@pytest.mark.parametrize(
    "operation",
    [grant(10, "one"), Start(None, "plan", NOW), Read(month_after(NOW, 1))],
    ids=["bonus", "plan", "boundary"],
)
def test_an_account_that_is_returned_existed(overtaken: Overtaken, operation: Operation) -> None:
    """With the hold that was placed between the look at the account and the write."""
    setting: list[Operation] = [Start(None, "early", NOW)] if isinstance(operation, Read) else [READ]
    for each in setting:
        overtaken.subject.apply(each)

    answer = overtaken.apply(operation, FIVE)

    assert answer == answered(operation, *setting, FIVE)


# --- the ledger -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crew(engine: Engine, description: Description) -> Iterator[Crew]:
    with Crew(engine, PROCESSES) as crew:
        yield crew


def test_a_history_that_could_not_be_played_does_not_keep_others_from_it(
    crew: Crew, ledger: DynamoLedger, store: DynamoStore, user_id: str
) -> None:
    """A worker that waited in vain for the others is replaced, too."""
    scene = Scene(seed=1, users=(user_id,), steps=1)
    subjects = [Subject(ledger, DynamoSessions(store, SESSIONS_TABLE), user_id)]
    with pytest.raises(RuntimeError, match="TypeError"):
        crew.play(replace(scene, threads="no number"))  # type: ignore[arg-type]

    history = play(crew, scene, subjects)

    explain(history[user_id])


# What is disturbed has all that happens without it, too; undisturbed, an order has to explain every answer.
HISTORIES = {
    "one account": (1, 1, 0.0),
    "five accounts, disturbed": (5, 5, 0.03),
}
if WHOLE:
    HISTORIES |= {
        "one account again": (2, 1, 0.0),
        "one account, disturbed": (3, 1, 0.03),
        "five accounts": (4, 5, 0.0),
    }


@pytest.mark.parametrize(("seed", "accounts", "disturbed"), HISTORIES.values(), ids=HISTORIES)
def test_some_serial_order_explains_all_answers(
    crew: Crew,
    ledger: DynamoLedger,
    store: DynamoStore,
    user_id: str,
    seed: int,
    accounts: int,
    disturbed: float,
) -> None:
    users = tuple(f"{user_id}-{number}" for number in range(accounts))
    sessions = DynamoSessions(store, SESSIONS_TABLE)
    scene = Scene(seed=seed, users=users, threads=3, steps=24, disturbed=disturbed)

    history = play(crew, scene, [Subject(ledger, sessions, user) for user in users])

    for records in history.values():
        order = explain(records, lost_replies=disturbed > 0)
        assert len(order) >= sum(record.answer is not None for record in records)
