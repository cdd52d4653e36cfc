"""Notices: events about an account for the outside, derived from what the ledger has recorded and from nothing else.

A notice is published at least once. Its id is derived from its content, so a repeat has the same id. It never carries
what a person wrote: no prompt, no answer, no reason, no address.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from playground.domain.account import Account
from playground.domain.calendar import iso
from playground.domain.entries import Entry, EntryType
from playground.domain.erasure import is_pseudonym
from playground.domain.errors import CorruptLedgerError
from playground.domain.purchases import PaymentEvent
from playground.domain.runs import Run, RunStatus, base32

VERSION = 1  # version of the schema: a new field keeps it, a field with a new meaning changes it
LOW_CREDITS = (10, 0)  # a balance that falls to one of these is a notice
EXPIRY_AHEAD = timedelta(days=7)
CLOSED = "closed"  # type of the note that an operator has closed an event

GRANTING = tuple(kind for kind in EntryType if kind is not EntryType.SPEND)  # entries that can add credits

Data = Mapping[str, str | int | None]


class NoticeType(StrEnum):
    CREDITS_GRANTED = "credits.granted"
    CREDITS_LOW = "credits.low"
    ROLLOVER_EXPIRING = "rollover.expiring"
    RUN_SETTLED = "run.settled"
    HOLD_EXPIRED = "hold.expired"
    PAYMENT_QUARANTINED = "payment.quarantined"


# The content of notices: docs/notices.schema.json is generated from these classes. Fields may be added; removing one or
# changing its meaning needs a new VERSION.


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The fields of every notice."""

    version: int
    id: str
    type: str
    user_id: str | None
    occurred_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsGranted:
    """Credits were added."""

    entry_id: str
    kind: str
    credits: int
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsLow:
    """The balance fell to a level."""

    balance: int
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloverExpiring:
    """Rollover will expire within seven days."""

    credits: int
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettled:
    """A run was charged."""

    run_id: str
    session_id: str
    model: str
    credits: int
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldExpired:
    """A run died and its hold was given back."""

    run_id: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentQuarantined:
    """An event of the payment provider was quarantined."""

    event_id: str
    event_type: str
    reason: str


Detail = CreditsGranted | CreditsLow | RolloverExpiring | RunSettled | HoldExpired | PaymentQuarantined
DETAILS: Mapping[NoticeType, type[Detail]] = {
    NoticeType.CREDITS_GRANTED: CreditsGranted,
    NoticeType.CREDITS_LOW: CreditsLow,
    NoticeType.ROLLOVER_EXPIRING: RolloverExpiring,
    NoticeType.RUN_SETTLED: RunSettled,
    NoticeType.HOLD_EXPIRED: HoldExpired,
    NoticeType.PAYMENT_QUARANTINED: PaymentQuarantined,
}
NULLABLE_USER = frozenset({NoticeType.PAYMENT_QUARANTINED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`key` identifies the fact; it is unique for each user and type. `user_id` is None if the user is unknown."""

    type: NoticeType
    user_id: str | None
    key: str
    occurred_at: datetime
    data: Data
    trace_id: str | None = field(default=None, compare=False)
    """Of the request that led to it, if that is known. It is neither stored nor part of the content."""

    @property
    def notice_id(self) -> str:
        """The same for every repeat of the same notice: 130 bits of SHA-256 over type, user and key."""
        user_id = self.user_id or ""
        text = f"{self.type}:{len(user_id)}:{user_id}:{self.key}"
        return "ntc_" + base32(int.from_bytes(hashlib.sha256(text.encode()).digest()[:17]) >> 6, 26)


def of_entry(entry: Entry) -> tuple[Notice, ...]:
    """For an entry that adds credits."""
    if entry.amount < 1 or entry.type not in GRANTING:
        return ()
    return (
        Notice(
            type=NoticeType.CREDITS_GRANTED,
            user_id=entry.user_id,
            key=str(entry.seq),
            occurred_at=entry.created_at,
            data=asdict(
                CreditsGranted(
                    entry_id=entry.entry_id,
                    kind=entry.type.value,
                    credits=entry.amount,
                    balance=entry.balance_after,
                )
            ),
        ),
    )


def of_run(run: Run) -> tuple[Notice, ...]:
    """A run that was paid, or whose hold ended by itself; none for a run that was given back in time. Raises
    CorruptLedgerError for a paid run without `balance_after`."""
    match run.status:
        case RunStatus.SETTLED:
            if run.balance_after is None:
                raise CorruptLedgerError(f"run {run.run_id} of {run.user_id}: settled without balance_after")
            type_ = NoticeType.RUN_SETTLED
            detail: RunSettled | HoldExpired = RunSettled(
                run_id=run.run_id,
                session_id=run.session_id,
                model=run.model,
                credits=run.charged,
                balance=run.balance_after,
            )
        case RunStatus.EXPIRED:
            type_ = NoticeType.HOLD_EXPIRED
            detail = HoldExpired(run_id=run.run_id, credits=run.ceiling)
        case _:
            return ()
    return (
        Notice(
            type=type_,
            user_id=run.user_id,
            key=run.run_id,
            occurred_at=run.ended_at,
            data=asdict(detail),
            trace_id=run.trace_id,
        ),
    )


def of_payment_event(event: PaymentEvent, before: PaymentEvent | None = None) -> tuple[Notice, ...]:
    """An event of the payment provider that was quarantined, because it does not fit our records.

    Later changes of it (closed, received again, renamed by an erasure) have no notice. `before` is the event as it was
    known until now. The ledgers of erased users give no notices.
    """
    if not _waits(event) or (event.user_id is not None and is_pseudonym(event.user_id)):
        return ()
    if before is not None and _waits(before) and before.quarantined == event.quarantined:
        return ()
    assert event.quarantined is not None
    return (
        Notice(
            type=NoticeType.PAYMENT_QUARANTINED,
            user_id=event.user_id,
            key=event.event_id,
            occurred_at=event.received_at,
            data=asdict(PaymentQuarantined(event_id=event.event_id, event_type=event.type, reason=event.quarantined)),
        ),
    )


def _waits(event: PaymentEvent) -> bool:
    """For an operator. Type `closed` is the note that an operator has closed an event."""
    return event.quarantined is not None and event.resolved_at is None and event.type != CLOSED


def of_change(before: Account, after: Account, at: datetime) -> tuple[Notice, ...]:
    """For a balance that fell to one of `LOW_CREDITS`. Holds do not count: they may be given back."""
    crossed = [level for level in LOW_CREDITS if after.balance <= level < before.balance]
    if not crossed:
        return ()
    return (
        Notice(
            type=NoticeType.CREDITS_LOW,
            user_id=after.user_id,
            key=str(after.version),
            occurred_at=at,
            data=asdict(CreditsLow(balance=after.balance, level=min(crossed))),
        ),
    )


def of_expiry(account: Account, at: datetime) -> Notice | None:
    """Rollover that will expire at the next boundary, if that is at most `EXPIRY_AHEAD` from `at`."""
    expires_at = account.due_at
    if expires_at is None or not account.buckets.rollover:
        return None
    if not at < expires_at <= at + EXPIRY_AHEAD:
        return None
    return Notice(
        type=NoticeType.ROLLOVER_EXPIRING,
        user_id=account.user_id,
        key=iso(expires_at),
        occurred_at=at,
        data=asdict(RolloverExpiring(credits=account.buckets.rollover, expires_at=iso(expires_at))),
    )
