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
from playground.ports import Boundaries, Ledger, NoticeOutbox, Queue, WalkCursors

PAGE_ACCOUNTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The result of one walk. If it is not `finished`, it is taken from the queue again and continues at its cursor."""

    accounts: int = 0
    finished: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    boundaries: Boundaries
    walks: Queue
    visits: Queue
    cursors: WalkCursors

    def begin(self, task: Task, *, at: datetime) -> int:
        """Queue a walk of every shard. Returns their number."""
        walks = [ShardTask(task=task, at=at, shard=shard) for shard in range(self.boundaries.shards)]
        self.walks.put([walk.message() for walk in walks])
        return len(walks)

    def walk(self, walk: ShardTask, *, piece: int, time_is_up: Callable[[], bool] = lambda: False) -> Walked:
        """Queue a task for each due account of a shard, page by page, until the end or until `time_is_up`.

        The index is read in the order of boundaries, and a processed account moves behind all of them, so a walk always
        advances. It saves its cursor after every `piece` accounts and when its time is up. If its worker dies, the
        message is delivered again and the walk continues at the cursor; at most `piece` accounts are queued twice,
        which changes nothing.
        """
        walked, since = Walked(), 0
        saved = self.cursors.cursor(walk)
        after = saved or walk.after
        while True:
            users, after = self.boundaries.due(
                walk.shard, now=walk.at + walk.task.ahead, after=after, limit=PAGE_ACCOUNTS
            )
            if users:
                self.visits.put([AccountTask(task=walk.task, at=walk.at, user_id=user).message() for user in users])
            walked, since = replace(walked, accounts=walked.accounts + len(users)), since + len(users)
            if after is None:
                if saved is not None:
                    self.cursors.save(walk, None)
                return walked
            up = time_is_up()
            if up or since >= piece:
                self.cursors.save(walk, after)
                saved, since = after, 0
            if up:
                return replace(walked, finished=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitAccount:
    """Process the task of one account. A repeated or late call gives the same result."""

    ledger: Ledger
    outbox: NoticeOutbox

    def __call__(self, visit: AccountTask) -> bool:
        """Advance the account to the time of the task and, for WARN, record a notice of rollover that will expire.
        Whether one was recorded."""
        account = self.ledger.account(visit.user_id, visit.at)
        if visit.task is not Task.WARN:
            return False
        notice = of_expiry(account, visit.at)
        return notice is not None and self.outbox.put(notice)
