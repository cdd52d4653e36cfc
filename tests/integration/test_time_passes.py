"""The schedule, the queue and the workers over the real engine: many accounts, twice at once, late, and one damaged."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.backend import Backend
from local.engine import Engine
from local.event_sources import EventSources
from local.resources import client, create_resources
from local.template import Description
from playground.adapters.dynamo_index import DynamoBoundaries, DynamoWalkCursors
from playground.adapters.dynamo_keys import account_key, shard_name, shard_of
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_notices import DynamoNoticeOutbox
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.sqs import SqsQueue
from playground.domain.account import Account, Change, start_plus
from playground.domain.calendar import boundary, iso
from playground.domain.entries import EntryType
from playground.domain.errors import CorruptLedgerError
from playground.domain.work import AccountTask, ShardTask, Task, work_of
from playground.ports import Held
from playground.usecases.visit_accounts import FanOut, VisitAccount
from tests.fakes import a_hold, charging, conversation
from tests.handlers import EVENTS
from tests.kit.extent import HANG_SECONDS, examples
from tests.support import LEDGER_TABLE, all_entries, check_invariants, new_ledger, new_store

ANCHOR = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)  # a common one
FIRST = boundary(ANCHOR, 1)
MANY = 300
SOON = HANG_SECONDS / 2


@dataclass(frozen=True, slots=True)
class World:
    """An engine with nobody else on it, the functions that time starts, and what starts them."""

    engine: Engine
    store: DynamoStore
    ledger: DynamoLedger
    backend: Backend
    description: Description
    lines: list[str]
    sqs: Any

    def reset(self, event: dict[str, Any]) -> Any:
        outcome = self.backend.invoke("ResetFunction", json.dumps(event).encode())
        assert outcome.error is None, outcome.payload
        return json.loads(outcome.payload)

    def messages(self, queue: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.description.queues[queue].url, AttributeNames=names)
        return sum(int(number) for number in found["Attributes"].values())

    def is_done(self) -> bool:
        """Nothing is waiting or under way: no shard, and then no account that a shard has sent."""
        return self.messages("ShardWork") == 0 and self.messages("AccountWork") == 0

    def bodies(self, queue: str) -> list[Any]:
        """What is in a queue, taken out of it."""
        found = []
        url = self.description.queues[queue].url
        while page := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for message in page:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def subscribed(self, user_id: str, anchor: datetime = ANCHOR) -> str:
        def start(account: Account) -> Change:
            return start_plus(account, allowance=200, entitled_until=None, now=anchor)

        self.ledger.change(user_id, start, business_key="plan:1", now=anchor)
        return user_id

    def period(self, user_id: str) -> int:
        """As stored, not advanced by looking."""
        raw = self.store.get(account_key(LEDGER_TABLE, user_id))
        assert raw is not None
        return int(raw["period"]["N"])


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@contextmanager
def a_world(description: Description, *, sources: bool = True, **variables: str) -> Iterator[World]:
    unattended = ("ResetFunction", "NoticesFunction", "GuardFunction")
    functions = {
        name: replace(function, environment={**function.environment, **variables})
        for name, function in description.functions.items()
        if name in unattended
    }
    small = replace(description, functions=functions, apis=())
    lines: list[str] = []
    with Engine() as engine:
        create_resources(small, engine.endpoint_url)
        store = new_store(engine)
        extra = {"AWS_ENDPOINT_URL": engine.endpoint_url}
        with Backend(small, extra_environment=extra, show=lambda _name, line: lines.append(line)) as backend:
            running = EventSources(small, engine.endpoint_url, backend.invoke, schedules=False, retry_seconds=0)
            if sources:
                running.start()
            sqs = client("sqs", engine.endpoint_url)
            yield World(engine, store, new_ledger(store), backend, small, lines, sqs)
            running.stop()
            sqs.close()
        store.client.close()


@pytest.fixture(scope="module")
def world(description: Description) -> Iterator[World]:
    with a_world(description) as world:
        yield world


def event_file(name: str, at: datetime) -> dict[str, Any]:
    event = json.loads((EVENTS / f"reset/{name}.json").read_text(encoding="utf-8"))
    return {**event, "at": iso(at)}


def test_a_nights_work_is_done_once_however_often_it_is_started(world: World) -> None:
    """Three starts at once, one of them late: every account crosses its boundary once."""
    users = [world.subscribed(f"common-{number}") for number in range(examples(MANY))]
    later = [world.subscribed(f"later-{number}", ANCHOR + timedelta(hours=1)) for number in range(5)]

    starts = [threading.Thread(target=world.reset, args=[event_file("daily", FIRST)]) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    eventually(world.is_done)

    assert {world.period(user) for user in users} == {1}

    for user in users:
        entries = all_entries(world.ledger, user)
        assert [entry.type for entry in entries].count(EntryType.MONTHLY) == 2
        check_invariants(world.ledger.account(user, FIRST), entries)
    assert [world.period(user) for user in later] == [0] * len(later)
    assert world.messages("AccountWorkFailures") == 0


def test_a_damaged_account_does_not_block_others_and_ends_in_the_dead_letter_queue(world: World) -> None:
    anchor = ANCHOR - timedelta(days=90)  # before that of the others, who are not due at its boundary
    users = [world.subscribed(f"beside-{number}", anchor) for number in range(40)]
    poison = users[17]
    world.store.client.update_item(
        TableName=LEDGER_TABLE,
        Key=account_key(LEDGER_TABLE, poison).raw,
        UpdateExpression="SET available = :many",
        ExpressionAttributeValues={":many": {"N": "1000"}},
    )
    at = boundary(anchor, 1)

    world.reset(event_file("daily", at))

    eventually(lambda: all(world.period(user) >= 1 for user in users if user != poison))
    eventually(lambda: world.messages("AccountWorkFailures") == 1)
    assert world.bodies("AccountWorkFailures") == [{"task": "advance", "at": iso(at), "user_id": poison}]
    assert world.is_done()
    assert world.period(poison) == 0
    assert any(poison in line and "available is 1000" in line for line in world.lines)  # the log says why
    world.store.client.delete_item(TableName=LEDGER_TABLE, Key=account_key(LEDGER_TABLE, poison).raw)


def test_what_is_no_work_ends_in_the_dead_letter_queue_too(world: World) -> None:
    dance = '{"task": "dance", "at": "2027-01-01T00:00:00Z", "shard": 1}'
    for queue in ("AccountWork", "ShardWork"):
        for body in ("not json", "[]", '{"task": "advance"}', dance):
            world.sqs.send_message(QueueUrl=world.description.queues[queue].url, MessageBody=body)
    eventually(lambda: world.messages("AccountWorkFailures") == 8)
    world.sqs.purge_queue(QueueUrl=world.description.queues["AccountWorkFailures"].url)


@pytest.fixture(scope="module")
def narrow(description: Description) -> Iterator[World]:
    """Whose function deals with one account before it looks whether to go on elsewhere."""
    with a_world(description, MAX_ACCOUNTS="1") as world:
        yield world


def test_a_shard_of_many_pieces_is_no_recursive_loop(narrow: World) -> None:
    """Lambda stops what starts a function for the 17th time in one chain of messages."""
    pieces = 20
    shard = [name for name in map("many-{}".format, range(1000)) if shard_of(name) == shard_name(0)]
    users = [narrow.subscribed(name) for name in shard[:pieces]]
    narrow.reset(event_file("daily", FIRST))
    eventually(narrow.is_done)
    assert narrow.messages("AccountWorkFailures") == 0
    assert [narrow.period(user) for user in users] == [1] * pieces


def test_more_dead_holds_than_one_sweep_takes_come_back_with_the_same_schedule(narrow: World) -> None:
    """Not a few of them every five minutes."""
    users = [f"left-{number}" for number in range(25)]
    for user in users:
        hold = a_hold(f"run_{user}".ljust(30, "0"), 1, ANCHOR)
        assert isinstance(narrow.ledger.place_hold(user, hold, limit=20, now=ANCHOR), Held)
    damaged = users[3]
    narrow.store.client.update_item(
        TableName=LEDGER_TABLE,
        Key=account_key(LEDGER_TABLE, damaged).raw,
        UpdateExpression="SET available = :many",
        ExpressionAttributeValues={":many": {"N": "1000"}},
    )

    swept = narrow.reset(event_file("expire_holds", FIRST))

    assert (swept["accounts"], swept["finished"]) == (1, False)
    eventually(narrow.is_done)
    held = {user: narrow.store.get(account_key(LEDGER_TABLE, user)) for user in users}
    assert {user for user, raw in held.items() if raw is not None and raw["held"] != {"N": "0"}} == {damaged}
    assert narrow.messages("AccountWorkFailures") == 0  # the log names it, and every sweep tries it again


# --- without the functions: steps in an order of our own --------------------------------------------------------------


class Steps:
    """FanOut and VisitAccount over the engine, with the queue taken from by hand."""

    def __init__(self, engine: Engine, store: DynamoStore, description: Description) -> None:
        self.sqs = client("sqs", engine.endpoint_url)
        self.urls = [description.queues[name].url for name in ("ShardWork", "AccountWork")]
        walks, visits = (SqsQueue(self.sqs, url) for url in self.urls)
        self.ledger = new_ledger(store)
        self.cursors = DynamoWalkCursors(store, LEDGER_TABLE)
        boundaries = DynamoBoundaries(store, LEDGER_TABLE)
        self.fan_out = FanOut(boundaries=boundaries, walks=walks, visits=visits, cursors=self.cursors)
        self.visit = VisitAccount(ledger=self.ledger, outbox=DynamoNoticeOutbox(store, LEDGER_TABLE))

    def take(self) -> list[ShardTask | AccountTask]:
        found: list[ShardTask | AccountTask] = []
        for url in self.urls:
            while page := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                for message in page:
                    found.append(work_of(json.loads(message["Body"])))
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture(scope="module")
def steps(description: Description) -> Iterator[Steps]:
    with Engine() as engine:
        create_resources(description, engine.endpoint_url)
        store = new_store(engine)
        steps = Steps(engine, store, description)
        yield steps
        steps.sqs.close()
        store.client.close()


def subscribe(ledger: DynamoLedger, user_id: str, anchor: datetime) -> None:
    def start(account: Account) -> Change:
        return start_plus(account, allowance=200, entitled_until=None, now=anchor)

    ledger.change(user_id, start, business_key="plan:1", now=anchor)


def test_a_walk_goes_on_from_its_place_until_it_is_finished(steps: Steps) -> None:
    """Whoever is found is dealt with at once, beside the walk: what was advanced moves behind it."""
    users = {f"piece-{number}" for number in range(examples(400, minimum=160))}
    for user in users:
        subscribe(steps.ledger, user, ANCHOR)
    assert steps.fan_out.begin(Task.ADVANCE, at=FIRST) == 16

    visits: list[AccountTask] = []
    calls = 0
    waiting = steps.take()
    while waiting:
        unfinished: list[ShardTask | AccountTask] = []
        for item in waiting:
            if isinstance(item, AccountTask):
                visits.append(item)
                steps.visit(item)
            else:
                calls += 1
                if not steps.fan_out.walk(item, piece=3, time_is_up=lambda: True).finished:
                    unfinished.append(item)  # as its queue brings it again
        waiting = [*unfinished, *steps.take()]

    assert sorted(visit.user_id for visit in visits) == sorted(users)
    assert calls >= 16
    assert all(visit.at == FIRST for visit in visits)
    for user in users:
        assert steps.ledger.account(user, FIRST).period == 1
    again = [steps.fan_out.walk(ShardTask(task=Task.ADVANCE, at=FIRST, shard=shard), piece=9) for shard in range(16)]
    assert [(walked.accounts, walked.finished) for walked in again] == [(0, True)] * 16


def test_a_place_is_stored_for_one_walk_and_forgotten_at_its_end(steps: Steps) -> None:
    walk, later = (ShardTask(task=Task.WARN, at=at, shard=3) for at in (FIRST, FIRST + timedelta(hours=1)))
    assert steps.cursors.cursor(walk) is None
    steps.cursors.save(walk, "there|alice")
    steps.cursors.save(replace(walk, shard=4), "elsewhere|bob")
    steps.cursors.save(replace(walk, task=Task.ADVANCE), "elsewhere|carol")
    assert (steps.cursors.cursor(walk), steps.cursors.cursor(later)) == ("there|alice", None)
    steps.cursors.save(walk, None)
    assert steps.cursors.cursor(walk) is None
    steps.cursors.save(later, "there|dave")
    assert (steps.cursors.cursor(walk), steps.cursors.cursor(later)) == (None, "there|dave")


@pytest.mark.parametrize("advanced", ["before settling", "while settling"])
def test_a_boundary_in_the_middle_of_a_run_neither_loses_nor_mints(steps: Steps, advanced: str) -> None:
    """The run is held before the boundary and settled after it; the job comes in between, or at the same time."""
    ledger, user = steps.ledger, f"running-{advanced}"
    subscribe(ledger, user, ANCHOR)
    hold = a_hold(f"run_{advanced.replace(' ', '_')}".ljust(30, "0"), 150, FIRST - timedelta(minutes=1))
    assert isinstance(ledger.place_hold(user, hold, limit=20, now=hold.placed_at), Held)
    seen = ledger.account(user, hold.placed_at)
    visit = AccountTask(task=Task.ADVANCE, at=FIRST, user_id=user)
    after = FIRST + timedelta(seconds=1)

    def settle() -> None:
        ledger.settle(seen, hold, charging(hold, 100, after), conversation(user, hold, after))

    if advanced == "before settling":
        steps.visit(visit)
        settle()
    else:
        visits = [threading.Thread(target=steps.visit, args=[visit]) for _ in range(4)]
        both = [threading.Thread(target=settle), *visits]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    account = ledger.account(user, after)
    # 200 of the month rolled over whole, for what is held stays; then 100 of the new month were spent.
    assert (account.buckets.monthly, account.buckets.rollover, account.buckets.purchased) == (100, 200, 5)
    assert (account.held, account.available) == (0, 305)
    entries = all_entries(ledger, user)
    check_invariants(account, entries)
    assert [entry.type for entry in entries].count(EntryType.MONTHLY) == 2


def test_expiring_rollover_has_one_notice_seven_days_ahead(steps: Steps) -> None:
    anchor = ANCHOR + timedelta(days=730)
    subscribe(steps.ledger, "saver", anchor)
    second = boundary(anchor, 2)  # at the first the month rolls over, at the second it expires

    told = [
        steps.visit(AccountTask(task=Task.WARN, at=second - timedelta(days=days), user_id="saver"))
        for days in (9, 8, 7, 6, 1)
    ]

    assert told == [False, False, True, False, False]


def test_a_damaged_account_is_refused_and_not_repaired(steps: Steps) -> None:
    subscribe(steps.ledger, "broken", ANCHOR)
    client_ = steps.ledger._store.client
    client_.update_item(
        TableName=LEDGER_TABLE,
        Key=account_key(LEDGER_TABLE, "broken").raw,
        UpdateExpression="SET held = :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    with pytest.raises(CorruptLedgerError):
        steps.visit(AccountTask(task=Task.ADVANCE, at=FIRST, user_id="broken"))


def kinds(entries: Sequence[Any]) -> list[str]:
    return [entry.type.value for entry in entries]


def test_fourteen_months_in_a_second_with_runs_in_between(steps: Steps) -> None:
    """Exact numbers, month by month: 30 are spent in odd months, nothing in even ones."""
    ledger, user = steps.ledger, "traveller"
    subscribe(ledger, user, ANCHOR)
    expected = []
    rollover = 0
    for month in range(1, 15):
        at = boundary(ANCHOR, month)
        steps.visit(AccountTask(task=Task.ADVANCE, at=at, user_id=user))
        rollover = 200 - (30 if month > 1 and (month - 1) % 2 else 0)
        if month % 2:
            hold = a_hold(f"run_{month}".ljust(30, "0"), 40, at)
            assert isinstance(ledger.place_hold(user, hold, limit=20, now=at), Held)
            ledger.settle(ledger.account(user, at), hold, charging(hold, 30, at), conversation(user, hold, at))
        account = ledger.account(user, at)
        expected.append((month, account.buckets.monthly, account.buckets.rollover, account.buckets.purchased))
        assert expected[-1] == (month, 170 if month % 2 else 200, rollover, 5)

    account, entries = ledger.account(user, boundary(ANCHOR, 14)), all_entries(ledger, user)
    check_invariants(account, entries)
    assert kinds(entries).count("monthly") == 15
    assert kinds(entries).count("spend") == 7
    assert kinds(entries).count("rollover") == 14
    assert kinds(entries).count("expire") == 13
    assert account.balance == 5 + 15 * 200 - 7 * 30 + sum(e.amount for e in entries if e.type is EntryType.EXPIRE)
