"""Tasks of scheduled work, as messages: read a shard of the index of boundaries, process one account, or sweep a shard
of the index of leases."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from playground.domain.calendar import iso, scheduled_time
from playground.domain.notices import EXPIRY_AHEAD

Message = Mapping[str, str | int | None]

SWEEP = "expire_holds"


class Task(StrEnum):
    """What is done with every account that is due. `ahead`: how long before its boundary."""

    ADVANCE = "advance"  # cross the boundaries that have passed
    WARN = "warn"  # warn that rollover will expire

    @property
    def ahead(self) -> timedelta:
        return EXPIRY_AHEAD if self is Task.WARN else timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """Find the due accounts of one shard of the index, and queue a task for each. `after`: only those behind a cursor;
    messages of earlier versions have it."""

    task: Task
    at: datetime
    shard: int
    after: str | None = None

    def message(self) -> Message:
        return {"task": self.task.value, "at": iso(self.at), "shard": self.shard}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTask:
    """Process one account as of `at`."""

    task: Task
    at: datetime
    user_id: str

    def message(self) -> Message:
        return {"task": self.task.value, "at": iso(self.at), "user_id": self.user_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """Expire the holds of one shard whose leases have ended by `at`."""

    at: datetime
    shard: int

    def message(self) -> Message:
        return {"task": SWEEP, "at": iso(self.at), "shard": self.shard}


def work_of(message: object) -> ShardTask | AccountTask | SweepTask:
    """The task in a message. Raises ValueError for anything else."""
    match message:
        case {"task": "expire_holds", "at": at, "shard": int(shard)}:
            return SweepTask(at=scheduled_time(at), shard=shard)
        case {"task": str(task), "at": at, "user_id": str(user_id)} if user_id:
            return AccountTask(task=Task(task), at=scheduled_time(at), user_id=user_id)
        case {"task": str(task), "at": at, "shard": int(shard), "after": str() | None as after}:
            return ShardTask(task=Task(task), at=scheduled_time(at), shard=shard, after=after)
        case {"task": str(task), "at": at, "shard": int(shard), **others} if "after" not in others:
            return ShardTask(task=Task(task), at=scheduled_time(at), shard=shard)
    raise ValueError("the message is not a task")
