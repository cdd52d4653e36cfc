"""FanOut, VisitAccount: deal with every account whose boundary has come, each by itself.

    a schedule → one Walk per shard → a Visit per account, and a Walk for what is left of the shard → …

All of it goes through a queue. A piece that fails is taken from the queue again; one that always fails ends in its
dead-letter queue and holds nobody back. A piece that is done twice does nothing the second time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from playground.domain.notices import of_expiry
from playground.domain.work import Task, Visit, Walk
from playground.ports import Boundaries, Ledger, Notebook, Queue

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What one piece of a walk did. If it is not `finished`, the rest of the shard is in the queue."""

    accounts: int = 0
    finished: bool = True


class FanOut:
    def __init__(self, *, boundaries: Boundaries, queue: Queue) -> None:
        self._boundaries = boundaries
        self._queue = queue

    def begin(self, task: Task, *, at: datetime) -> int:
        """Have every shard walked; how many there are."""
        walks = [Walk(task=task, at=at, shard=shard) for shard in range(self._boundaries.shards)]
        self._queue.put([walk.message() for walk in walks])
        return len(walks)

    def walk(self, walk: Walk, *, limit: int, time_is_up: Callable[[], bool] = lambda: False) -> Walked:
        """Put at most `limit` accounts of a shard into the queue, until `time_is_up`, and then what is left of it.

        The index is read in the order of the boundaries, and an account that was dealt with moves behind all of them,
        so a walk goes forward whatever happens beside it. If it dies, its message comes again, and some accounts are
        in the queue twice.
        """
        walked, after = Walked(), walk.after
        while True:
            users, after = self._boundaries.due(
                walk.shard, now=walk.at + walk.task.ahead, after=after, limit=min(PAGE, limit - walked.accounts)
            )
            if users:
                self._queue.put([Visit(task=walk.task, at=walk.at, user_id=user).message() for user in users])
            walked = replace(walked, accounts=walked.accounts + len(users))
            if after is None:
                return walked
            if walked.accounts >= limit or time_is_up():
                self._queue.put([replace(walk, after=after).message()])
                return replace(walked, finished=False)


class VisitAccount:
    """What is done with one account. Repeating it changes nothing; nor does doing it late."""

    def __init__(self, *, ledger: Ledger, notebook: Notebook) -> None:
        self._ledger = ledger
        self._notebook = notebook

    def __call__(self, visit: Visit) -> bool:
        """Advance the account to the time of the visit and, if that is its task, tell what will expire. Whether there
        was something to tell."""
        account = self._ledger.account(visit.user_id, visit.at)
        if visit.task is not Task.WARN:
            return False
        notice = of_expiry(account, visit.at)
        return notice is not None and self._notebook.put(notice)
