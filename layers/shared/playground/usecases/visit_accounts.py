"""FanOut, VisitAccount: process every account whose boundary has passed, each in a task of its own.

    a schedule → a ShardTask per shard, in a queue → an AccountTask per account, in another queue

A task that fails is taken from its queue again; one that always fails ends in the dead-letter queue and does not block
the others. A repeated task does nothing. No task queues another of its own kind, so a chain has three links however
many accounts there are: Lambda stops loops after 16 rounds. A walk that runs out of time saves its cursor and is taken
from its queue again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from playground.domain.notices import of_expiry
from playground.domain.work import AccountTask, ShardTask, Task
from playground.ports import Boundaries, Ledger, NoticeOutbox, Places, Queue

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The result of one walk. If it is not `finished`, it is taken from the queue again and goes on from its cursor."""

    accounts: int = 0
    finished: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    boundaries: Boundaries
    walks: Queue
    visits: Queue
    places: Places

    def begin(self, task: Task, *, at: datetime) -> int:
        """Have every shard walked; how many there are."""
        walks = [ShardTask(task=task, at=at, shard=shard) for shard in range(self.boundaries.shards)]
        self.walks.put([walk.message() for walk in walks])
        return len(walks)

    def walk(self, walk: ShardTask, *, piece: int, time_is_up: Callable[[], bool] = lambda: False) -> Walked:
        """Put the accounts of a shard into the queue, one page after the other, until the end or until `time_is_up`.

        The index is read in the order of the boundaries, and an account that was dealt with moves behind all of them,
        so a walk goes forward whatever happens beside it. It remembers its place after every `piece` accounts and when
        its time is up. If it dies, its message comes again and it goes on from there: at most so many accounts are in
        the queue twice. Even without its place it would only repeat what changes nothing.
        """
        walked, since = Walked(), 0
        place = self.places.place(walk)
        after = place or walk.after
        while True:
            users, after = self.boundaries.due(walk.shard, now=walk.at + walk.task.ahead, after=after, limit=PAGE)
            if users:
                self.visits.put([AccountTask(task=walk.task, at=walk.at, user_id=user).message() for user in users])
            walked, since = replace(walked, accounts=walked.accounts + len(users)), since + len(users)
            if after is None:
                if place is not None:
                    self.places.remember(walk, None)
                return walked
            up = time_is_up()
            if up or since >= piece:
                self.places.remember(walk, after)
                place, since = after, 0
            if up:
                return replace(walked, finished=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitAccount:
    """The task for one account. Repeating it changes nothing; nor does doing it late."""

    ledger: Ledger
    notebook: NoticeOutbox

    def __call__(self, visit: AccountTask) -> bool:
        """Advance the account to the time of the task and, for WARN, record a notice of rollover that will expire.
        Whether one was recorded."""
        account = self.ledger.account(visit.user_id, visit.at)
        if visit.task is not Task.WARN:
            return False
        notice = of_expiry(account, visit.at)
        return notice is not None and self.notebook.put(notice)
