"""A night's work on a million accounts that share an anchor, over queues and a Lambda made of lists: how many
invocations it takes, that no chain of them gets long, and that it is finished whatever dies on the way.

The index costs 10 ms a query and a queue 10 ms for ten messages, as assumed in docs/operations.md; a function has 120 s
and keeps 10 of them, as in the template. What is done with one account is tested elsewhere.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from playground.domain.work import AccountTask, ShardTask, Task, work_of
from playground.usecases.visit_accounts import FanOut
from tests.kit.extent import examples

MILLION = 1_000_000
SHARDS = 16
AT = datetime(2026, 11, 30, 0, 0, tzinfo=UTC)
CALL, VISIT, HAS = 0.01, 0.03, 110.0  # s
MAX_LINKS = 16  # of a chain of invocations of one function: Lambda stops the next
PIECE = 2_000


class Killed(BaseException):
    """The function ends here: out of time or memory."""


@dataclass
class Message:
    body: str
    links: int
    receives: int = 0


@dataclass
class Night:
    """Everything around `FanOut`: the index, the queues, the cursors, and the invocations."""

    accounts: int
    task: Task = Task.ADVANCE
    call_seconds: float = CALL
    has_seconds: float = HAS
    killed: Callable[[int], bool] = lambda _call: False  # by the number of the call
    poison: frozenset[str] = frozenset()
    shards: int = SHARDS
    queues: dict[str, list[Message]] = field(default_factory=lambda: {"walks": [], "visits": []})
    failures: list[str] = field(default_factory=list)
    invocations: Counter[str] = field(default_factory=Counter)
    visits: int = 0
    most_links: int = 0
    most_waiting: int = 0
    _places: dict[tuple[str, int], tuple[datetime, str | None]] = field(default_factory=dict)
    _links: int = 0
    _clock: float = 0.0
    _calls: int = 0

    def __post_init__(self) -> None:
        self.is_due = bytearray(b"\1") * self.accounts
        self.visited = bytearray(self.accounts)
        self.fan_out = FanOut(
            boundaries=self,
            walks=_Queue(self, "walks"),
            visits=_Queue(self, "visits"),
            cursors=self,
        )

    # --- the index, the cursors, the clock ----------------------------------------------------------------------------

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        self.spend()
        first = shard if after is None else int(after) + SHARDS
        found: list[str] = []
        for number in range(first, self.accounts, SHARDS):
            if self.is_due[number]:
                found.append(str(number))
                if len(found) == limit:
                    return found, found[-1]
        return found, None

    def cursor(self, walk: ShardTask) -> str | None:
        self.spend()
        at, after = self._places.get((walk.task.value, walk.shard), (None, None))
        return after if at == walk.at else None

    def save(self, walk: ShardTask, after: str | None) -> None:
        self.spend()
        self._places[walk.task.value, walk.shard] = walk.at, after

    def send(self, queue: str, messages: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(messages), 10):
            self.spend()
            self.queues[queue] += [Message(json.dumps(each), self._links) for each in messages[start : start + 10]]
        self.most_waiting = max(self.most_waiting, len(self.queues[queue]))

    def spend(self) -> None:
        self._calls += 1
        self._clock += self.call_seconds
        if self.killed(self._calls):
            raise Killed

    # --- Lambda -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """What a schedule starts, and all that follows."""
        self._links = 1
        self.invocations["schedule"] += 1
        self.fan_out.begin(self.task, at=AT)
        while any(self.queues.values()):
            self._take("walks", size=1, most_receives=10, work=self._walk)
            while self.queues["visits"]:
                self._take("visits", size=50, most_receives=5, work=self._visit)

    def _take(self, queue: str, *, size: int, most_receives: int, work: Callable[[Any], bool]) -> None:
        batch, self.queues[queue] = self.queues[queue][-size:], self.queues[queue][:-size]
        again: list[Message] = []
        started = [message for message in batch if message.links < MAX_LINKS]
        if started:
            self.invocations[queue] += 1
            self._links = max(message.links for message in started) + 1
            self.most_links = max(self.most_links, self._links)
            self._clock = 0.0
        for message in batch:
            try:
                done = message in started and work(work_of(json.loads(message.body)))
            except Killed:
                done = False
            if not done:
                message.receives += 1
                if message.receives == most_receives:
                    self.failures.append(message.body)
                else:
                    again.append(message)
        self.queues[queue] = again + self.queues[queue]

    def _walk(self, walk: ShardTask) -> bool:
        return self.fan_out.walk(walk, piece=PIECE, time_is_up=lambda: self._clock > self.has_seconds).finished

    def _visit(self, visit: AccountTask) -> bool:
        self.visits += 1
        number = int(visit.user_id)
        if visit.user_id in self.poison:
            return False
        if self.task is Task.ADVANCE:
            self.is_due[number] = 0
        self.visited[number] = 1
        return True


@dataclass(frozen=True, slots=True)
class _Queue:
    night: Night
    name: str

    def put(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self.night.send(self.name, messages)


def test_a_million_accounts_are_found_by_sixteen_walks() -> None:
    """And dealt with in 20,000 batches of fifty: 50 minutes of ten workers, at 30 ms for each account. Outside of
    continuous integration it is a quarter of a million."""
    accounts = examples(MILLION) // 800 * 800  # whole batches in every shard
    night = Night(accounts)
    night.run()
    assert night.visited == bytearray(b"\1") * accounts
    assert (night.visits, night.failures, night.most_links) == (accounts, [], 3)
    assert night.invocations == {"schedule": 1, "walks": 16, "visits": accounts // 50}
    assert night.most_waiting < accounts // SHARDS + 1
    assert MILLION * VISIT / 10 < 3_600


@pytest.mark.parametrize("task", Task)
def test_walks_that_are_slow_go_on_from_where_they_were(task: Task) -> None:
    """Ten times slower, none of them is through at once, and whoever was found is not looked for again: also not by a
    walk whose accounts stay in the index."""
    night = Night(200_000, task=task, call_seconds=10 * CALL)
    night.run()
    assert (night.visits, night.failures, night.most_links) == (200_000, [], 3)
    assert night.invocations["walks"] == 32


@pytest.mark.parametrize("task", Task)
def test_whatever_dies_on_the_way_all_are_found(task: Task) -> None:
    rng = random.Random(7)
    night = Night(100_000, task=task, killed=lambda call: call > 2 and rng.random() < 1 / 1_500)
    night.run()
    assert night.visited == bytearray(b"\1") * 100_000
    assert (night.failures, night.most_links) == ([], 3)
    assert night.invocations["walks"] > 16
    # A walk that died repeats what came after its last place; of the others nothing is done twice.
    assert night.visits - 100_000 <= (night.invocations["walks"] - 16) * (PIECE + 100)


def test_damaged_accounts_do_not_block_others_and_are_named() -> None:
    poison = frozenset({"0", "17", "49999"})
    night = Night(50_000, poison=poison)
    night.run()
    assert 50_000 - sum(night.visited) == len(poison)
    assert {json.loads(body)["user_id"] for body in night.failures} == poison
    assert night.most_links == 3


def test_a_walk_that_is_started_again_begins_anew() -> None:
    """Its place is that of a walk under way; a later one of the same shard, or the same one again, is another."""
    night = Night(1_000, task=Task.WARN)
    night.run()
    night.run()
    assert night.visits == 2_000


def test_a_place_is_that_of_one_walk() -> None:
    night = Night(40_000, task=Task.WARN, has_seconds=1.0)
    walk = ShardTask(task=Task.WARN, at=AT, shard=0)
    assert not night.fan_out.walk(walk, piece=PIECE, time_is_up=lambda: True).finished
    assert night.cursor(walk) is not None
    assert night.cursor(ShardTask(task=Task.ADVANCE, at=AT, shard=0)) is None
    assert night.cursor(ShardTask(task=Task.WARN, at=AT, shard=1)) is None
    assert night.cursor(ShardTask(task=Task.WARN, at=AT.replace(day=29), shard=0)) is None


def test_messages_of_earlier_versions_are_understood() -> None:
    old: Iterator[Any] = iter(
        work_of({"task": "advance", "at": "2026-11-30T00:00:00Z", "shard": 3, "after": after}) for after in (None, "x")
    )
    assert list(old) == [ShardTask(task=Task.ADVANCE, at=AT, shard=3, after=after) for after in (None, "x")]
    with pytest.raises(ValueError, match="not a task"):
        work_of({"task": "advance", "at": "2026-11-30T00:00:00Z", "shard": 3, "after": 5})
