"""What the use cases need from the outside, as protocols. Adapters fulfil them; tests fulfil them with fakes that pass
the same contract tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from playground.domain.allowance import NOTHING_USED
from playground.domain.errors import CorruptLedgerError

if TYPE_CHECKING:
    from playground.domain.account import Account, Change, Hold, Plan
    from playground.domain.allowance import Allowance, AllowanceUse
    from playground.domain.anonymous import Reservation
    from playground.domain.entries import Entry, EntryType
    from playground.domain.guard import Guard
    from playground.domain.leaks import Leak
    from playground.domain.notices import Notice
    from playground.domain.packages import PackageKind, PackageSummary, PackageVersion
    from playground.domain.paid_months import PaidMonth
    from playground.domain.payment_events import (
        CustomersSubscription,
        InvoicePaid,
        InvoiceStatement,
        ObjectKind,
        Payment,
        ProviderObject,
        Statement,
    )
    from playground.domain.pricing import ModelPrice, PlanPrice, Spent, Usage
    from playground.domain.purchases import Customer, PaymentEvent, Purchase
    from playground.domain.rates import RateLimit
    from playground.domain.runs import Run, RunFilter, RunPlace
    from playground.domain.search import Place, Query
    from playground.domain.sessions import RunFeedback, Session, SessionCursor, Turn
    from playground.domain.sharing import Report, Share, Vote
    from playground.domain.spend import PackageTotals, Ratings, SpendRow, UsagePlace
    from playground.domain.subscriptions import Subscription, SubscriptionSnapshot
    from playground.domain.work import ShardTask

Clock = Callable[[], datetime]
"""The current time, aware, UTC. Workers' clocks differ: correctness must not depend on an exact one."""

NewId = Callable[[str], str]
"""A new id of a kind (`ses` → `ses_…`). Ids sort roughly by time and cannot be guessed."""

TimeLimit = Callable[[float], AbstractContextManager[None]]
"""Within `TimeLimit(seconds)` every store request of this thread ends after so many seconds at most: with an answer, or
with StoreUnavailableError. A nested limit never extends the outer one."""


CANCELLED = "cancelled"
"""The stop reason of an answer that its owner has ended."""

ReportUnreadable = Callable[[CorruptLedgerError], None]
"""Called for each stored record that a list leaves out because it is damaged."""


# --- Ledger -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """The holds are placed. `ended_before`: the account's memory of ended runs matches one of the ids, so the receipts
    have to be read."""

    account: Account
    ended_before: bool = False


@dataclass(frozen=True, slots=True)
class CannotAfford:
    account: Account


@dataclass(frozen=True, slots=True)
class TooManyHolds:
    account: Account


@dataclass(frozen=True, slots=True)
class AllowanceUsedUp:
    """The account's failed and open runs leave no allowance for this one."""

    account: Account


@dataclass(frozen=True, slots=True)
class TooFast:
    """The account has begun as many runs as its rate limit admits. `ended_before` as in `Held`."""

    account: Account
    ended_before: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """The account refuses new runs."""

    account: Account


@dataclass(frozen=True, slots=True)
class NoSuchPlan:
    """The account has none of the plans that the holds need."""

    account: Account


@dataclass(frozen=True, slots=True)
class AlreadyHeld:
    """Another attempt of the same run has a hold."""

    account: Account
    hold: Hold


HoldOutcome = Held | CannotAfford | TooManyHolds | AllowanceUsedUp | TooFast | Paused | NoSuchPlan | AlreadyHeld


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `by_us` is false if another worker ended it otherwise: then `run` is that worker's receipt. A
    settlement is ours even if another worker has written it for us."""

    run: Run
    by_us: bool


class Conclude(Protocol):
    """Computes, for the current account, the end of a run: the account afterwards, the receipt, and the entries, of
    which the spend is the last. Called again whenever the account has changed."""

    def __call__(self, account: Account) -> tuple[Account, Run, Sequence[Entry]]: ...


class Amend(Protocol):
    """Computes a change for the current account; None if there is nothing to do (any more)."""

    def __call__(self, account: Account) -> Change | None: ...


if TYPE_CHECKING:
    Record = Purchase | PaidMonth | Subscription | Customer | PaymentEvent
    """The stored records of the payment provider's objects. Their `revision` is that of the item they were read from; 0
    if there was none."""
else:
    Record = Any


@dataclass(frozen=True, slots=True)
class Booking:
    """A change of credits with the records that cause it. `entries` may be empty."""

    account: Account
    entries: Sequence[Entry]
    records: Sequence[Record]


class Book(Protocol):
    """Computes what is booked for the current account; None if there is nothing to do (any more). Called again whenever
    the account or a record has changed, so it reads the records itself."""

    def __call__(self, account: Account) -> Booking | None: ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a settled run adds to its session. `session` is the summary afterwards; turn 1 opens it. `kept` refers to
    the texts of the turn if they are too large for its item: see `Sessions.store_texts`. `prompt`: the custom prompt
    that the session has from now on, with its owner's first turn."""

    session: Session
    turn: Turn
    kept: TextRef | None = None
    prompt: str | None = field(default=None, repr=False)


class Ledger(Protocol):
    """Accounts and their operations. Every operation opens a missing account, exactly once, and advances it over
    boundaries that have passed. A write that makes credits available repays debt with them; lapsed credits of a hold
    expire before that. All raise StoreUnavailableError when the store does not answer in time, CorruptLedgerError when
    stored data does not add up."""

    def account(self, user_id: str, now: datetime) -> Account:
        """The account, advanced to `now`."""
        ...

    def place_hold(
        self,
        user_id: str,
        *holds: Hold,
        limit: int,
        now: datetime,
        allowance: Allowance | None = None,
        rate: RateLimit | None = None,
        plans: frozenset[Plan] | None = None,
        seen: Account | None = None,
    ) -> HoldOutcome:
        """Set credits aside for one run, or for several: all of them in one write, or nothing. They are if the sum is
        available, the account is not paused, at most `limit` holds are open afterwards, none of the runs has one, the
        account has one of `plans` at `now`, and `allowance` and `rate` admit them (None: without that condition). The
        same write counts the runs for `rate`. A refusal costs no allowance and is not counted. Repeating it with the
        same nonces gives `Held` again, and holds and counts once. `seen` is the account as it was last read, which may
        save a request."""
        ...

    def settle(self, account: Account, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
        """End a held run as paid: account, receipt, entry, turn and session in one transaction, or nothing. Others that
        are settled at the same time may be in the same transaction. `account` is the account as it was last read; it
        may have changed since. If the run has ended otherwise, that outcome comes back (`by_us` false). Raises
        SessionConflictError if the session was changed or deleted meanwhile; the hold is then still in place. After
        StoreUnavailableError the run may yet be settled, until it is released."""
        ...

    def release(
        self, user_id: str, run: Run, use: AllowanceUse = NOTHING_USED, *, seen: Account | None = None
    ) -> Ended:
        """End a held run without a charge: give the hold back, write the receipt `run` (released or expired) and note
        what it uses up of the account's allowance, in one transaction. `seen` is the account as it was last read, which
        may save a request; it may have changed since. If the run has ended otherwise, that outcome comes back and its
        hold, if one is left, is given back, too."""
        ...

    def ask_to_stop(self, user_id: str, run_id: str) -> bool:
        """Mark the hold of a run, so that whoever makes the run ends it. False, and no change, if the run has no hold.
        Repeating it changes nothing."""
        ...

    def should_stop(self, user_id: str, hold: Hold) -> bool:
        """Whether the run of `hold` is to be ended: it is marked, or another worker has ended it."""
        ...

    def cancel_hold(self, user_id: str, *holds: Hold, now: datetime, rate: RateLimit | None = None) -> None:
        """Give holds that were placed together back as if they had never been placed: no receipts, and not counted for
        the `rate` that they were placed with. One write. Does nothing if one of them is not there."""
        ...

    def correct_lease(self, account: Account) -> bool:
        """Set the account's key in the index of leases to its earliest lease in `account`, as just read, or remove it.
        False, and no change, if a hold was placed or ended meanwhile; the next sweep tries again."""
        ...

    def change(self, user_id: str, amend: Amend, *, business_key: str, now: datetime) -> Account:
        """Apply a change of credits once per `business_key`, for ever. Repeating it changes nothing."""
        ...

    def book(self, user_id: str, book: Book, *, now: datetime) -> Account:
        """Write account, entries and records in one transaction, or nothing; the account afterwards. A record is only
        written over the one that was read. `book` must return None if the records show the effect already."""
        ...

    def run(self, user_id: str, run_id: str, *, ended: bool = False) -> Run | None:
        """The receipt of a run that has ended. Reads what was last written. `ended`: the account has shown that the run
        is not held any more; then a receipt that becomes visible only after the account is waited for."""
        ...

    def receipts(self, user_id: str, run_ids: Sequence[str]) -> Mapping[str, Run]:
        """The receipts of those of the runs that have ended, by their ids, in one round trip for 100. Reads what was
        last written. Receipts that cannot be read are reported and left out."""
        ...

    def ended_runs(
        self, user_id: str, wanted: RunFilter, *, after: RunPlace | None, limit: int
    ) -> tuple[Sequence[Run], RunPlace | None, Sequence[str]]:
        """At most `limit` of the user's runs that have ended and fit, the last one to end first, after a place; the
        place at which the next page begins, if there may be more; and the ids of runs among them that cannot be read,
        which are reported and left out. A page may hold fewer than `limit` although there are more. May be a moment
        behind. Over all pages every run that had ended before is there once, also if others end meanwhile."""
        ...

    def entries(
        self, user_id: str, *, before: int | None, limit: int, type_: EntryType | None
    ) -> tuple[Sequence[Entry], int | None, Sequence[int]]:
        """At most `limit` entries, newest first, numbered below `before`; the `before` of the next page, if any; and
        the numbers of entries among them that cannot be read, which are left out. With `type_`, a page may hold fewer
        than `limit` although there are more."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """The purchase is recorded, and counted."""

    purchase: Purchase
    purchases_at: datetime


@dataclass(frozen=True, slots=True)
class BegunBefore:
    """There is a purchase of this id, which this call has not written. Nothing is counted."""

    purchase: Purchase


@dataclass(frozen=True, slots=True)
class TooManyPurchases:
    """The account has begun as many purchases as its rate limit admits. Nothing is recorded or counted."""

    purchases_at: datetime


PurchaseOutcome = Begun | BegunBefore | TooManyPurchases


class PurchaseRecords(Protocol):
    """Purchases, customers and subscriptions. Reads give what was last written."""

    def begin(self, purchase: Purchase, account: Account, *, limit: RateLimit, now: datetime) -> PurchaseOutcome:
        """Record a new purchase and count it for `limit` in its account, in one write, or do neither. `account` is the
        account as it was last read; it may have changed since."""
        ...

    def purchase(self, user_id: str, purchase_id: str) -> Purchase | None: ...

    def purchases(self, user_id: str) -> Sequence[Purchase]:
        """All of a user, the newest first. Damaged ones are reported and left out."""
        ...

    def purchase_of(self, payment_id: str) -> tuple[str, str] | None:
        """User and purchase of a payment of the provider."""
        ...

    def month(self, user_id: str, invoice_id: str) -> PaidMonth | None: ...

    def subscription(self, user_id: str) -> Subscription:
        """One without a description, if there is none."""
        ...

    def customer(self, user_id: str, *, live: bool) -> Customer | None: ...

    def user_of(self, customer_id: str) -> str | None: ...

    def event(self, event_id: str) -> PaymentEvent | None:
        """An event that was applied or quarantined."""
        ...

    def all(self, *, after: str | None) -> tuple[Sequence[Purchase | PaidMonth | PaymentEvent], str | None]:
        """A page of all purchases, paid months and quarantined events, after a cursor; and the cursor of the next page,
        if any. Damaged items are reported and left out. A scan of the table: never on a request's path."""
        ...

    def save(self, *records: Record) -> bool:
        """Write records that change no credits, all or none. False, and no change, if one has changed since it was
        read."""
        ...


class Index(Protocol):
    """A sparse index of accounts by a time, spread over `shards`."""

    shards: int

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        """At most `limit` users whose time may have passed by `now`, the earliest first, after the cursor `after`; and
        the `after` of the next page, if there may be more. Eventually consistent."""
        ...


class Leases(Index, Protocol):
    """Accounts that had a hold when they were last written, by the end of their earliest lease."""


class Boundaries(Index, Protocol):
    """Accounts that have a monthly boundary ahead, by the next one."""


class NoticeOutbox(Protocol):
    """Notices of future events, each recorded once."""

    def put(self, notice: Notice) -> bool:
        """Record the notice, if it is new; it is then published from the stream. False if it was there already."""
        ...


# --- scheduled work ---------------------------------------------------------------------------------------------------


class Queue(Protocol):
    """A queue of tasks: delivered at least once, in no particular order."""

    def put(self, messages: Sequence[Mapping[str, str | int | None]]) -> None:
        """Send all messages. Raises StoreUnavailableError if one was refused; others may have been sent."""
        ...


class WalkCursors(Protocol):
    """Cursors of unfinished walks. A lost cursor only makes a walk begin anew."""

    def cursor(self, walk: ShardTask) -> str | None:
        """The cursor of this walk; None: at the beginning."""
        ...

    def save(self, walk: ShardTask, after: str | None) -> None:
        """Save the cursor; None: it is finished, and begins anew if it is started again. Of two walks of one shard with
        the same task the later call wins, and the other one begins anew."""
        ...


class Publisher(Protocol):
    """Publishes notices on the bus."""

    def publish(self, notices: Sequence[Notice]) -> int | None:
        """Publish all; the position of the first that was refused, if any. Those after it may have been published."""
        ...


# --- spend ------------------------------------------------------------------------------------------------------------


class SpendCounters(Protocol):
    """What runs cost us, by day. All raise StoreUnavailableError."""

    def count(self, runs: Sequence[Run]) -> tuple[int, Sequence[Run]]:
        """Count the first of `runs`, each run once for ever. How many of them are dealt with (one at least), and those
        that this call has counted; the others were counted before. All of these, or nothing."""
        ...

    def cost_of(self, day: date) -> int:
        """What all runs of a day that were counted so far cost, in nano-dollars."""
        ...


class UsageCounters(Protocol):
    """What has been counted of runs, for those who want to see it. A run is counted a moment after it ended. All raise
    StoreUnavailableError."""

    def page_of_user(
        self, user_id: str, first: date, last: date, *, after: UsagePlace | None, limit: int
    ) -> tuple[Sequence[SpendRow], UsagePlace | None]:
        """At most `limit` rows of a user from `first` to `last`, by day, package and model, behind the place `after`;
        and the place of the last one if there are more."""
        ...

    def of_package(self, package: str, first: date, last: date) -> Sequence[SpendRow]:
        """All rows of a package from `first` to `last`, by day and model."""
        ...

    def all_of_package(self, package: str) -> PackageTotals:
        """Of a package that nobody has run: zeros."""
        ...

    def ratings_of(self, package: str) -> Ratings:
        """What owners think of their runs of a package."""
        ...

    def packages(self) -> Sequence[PackageTotals]:
        """Of every package that was ever run, in no particular order."""
        ...


class GuardSwitch(Protocol):
    """The state of the spend guard. Both raise StoreUnavailableError."""

    def read(self) -> Guard: ...

    def save(self, guard: Guard) -> bool:
        """Replace the state that `guard` was made from. False, and no change, if it has changed meanwhile."""
        ...


# --- what a run reads before its hold ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    run: Run | None
    package: PackageVersion | None
    session: Session | None
    prompt: str | None = field(default=None, repr=False)
    """The custom prompt of the session, for a run without a package."""
    account: Account | None = None
    """As stored: not opened, not advanced. None if there is none yet."""
    runs_paused: bool = False
    """Whether an operator has paused the runs of all accounts, as of a few seconds ago."""
    free_runs_paused_until: datetime | None = None
    """Until when the spend guard pauses the runs of accounts that have signup credits only, as of a few seconds ago."""


class Lookup(Protocol):
    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str | None, version: str | None, session_id: str | None
    ) -> Found:
        """Run, package (its newest version if none is named), session (the user's own only) and account, in one round
        trip. Without a package also the session's custom prompt."""
        ...


# --- sessions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRef:
    """A reference to the texts of a turn in the bucket. `version` distinguishes objects of the same name."""

    name: str
    version: str | None
    digest: str


class FeedbackAdded(Enum):
    """What became of feedback that replaces nothing."""

    ADDED = "added"
    EXISTS = "exists"
    NO_SESSION = "no session"


class Sessions(Protocol):
    """Conversations. A deleted session is visible only to `deleted` and to the methods that remove it. All raise
    StoreUnavailableError when the store does not answer in time."""

    def turn(self, session_id: str, number: int) -> Turn | None:
        """One that is damaged is marked as `unreadable`, here and in all that follows, and reported."""
        ...

    def prompt(self, session_id: str) -> str | None:
        """The custom prompt of a session. None if it has none, or does not exist."""
        ...

    def turns(self, session_id: str) -> Sequence[Turn]:
        """All turns, oldest first."""
        ...

    def walk(self, session_id: str, *, first: int, last: int, newest_first: bool = False) -> Iterator[Turn]:
        """Turns `first` to `last`, read lazily page by page. It ends early if the session is being deleted meanwhile; a
        walk that has begun may still yield turns of a marked session."""
        ...

    def store_texts(self, session_id: str, turn: Turn, *, nonce: str) -> TextRef | None:
        """Store the texts of a turn in the bucket if they are too large for one item, before the turn is written; None
        if they are not. `nonce` makes the object's name unique to this attempt."""
        ...

    def discard(self, kept: TextRef) -> None:
        """Remove texts whose turn was not written after all."""
        ...

    def find(self, user_id: str, session_id: str) -> Session | None:
        """The user's own session, as last written. None for a deleted, foreign or unknown one."""
        ...

    def deleted(self, user_id: str, session_id: str) -> Session | None:
        """The user's own session that is marked as deleted, and not removed yet."""
        ...

    def listed(
        self, user_id: str, *, after: SessionCursor | None, limit: int
    ) -> tuple[Sequence[Session], SessionCursor | None, Sequence[str]]:
        """At most `limit` of the user's sessions, newest activity first, after a cursor; the cursor of the next page,
        if there may be more; and the ids of damaged sessions among them, which are reported and left out. A page may
        hold fewer than `limit` although there are more. Eventually consistent."""
        ...

    def leftovers(self, user_id: str, *, before: datetime, limit: int) -> Sequence[Session]:
        """Sessions that were marked as deleted before a time and still exist, because the worker that removed them
        died."""
        ...

    def mark_deleted(self, session: Session, now: datetime) -> bool:
        """Mark a session as deleted: from now on neither it nor its share can be read, and no run can add a turn. One
        write. False, and no change, if the session has been shared, withdrawn or deleted since it was read."""
        ...

    def remove_some(self, session_id: str) -> bool:
        """Remove a bounded number of items of a deleted session. False when none is left."""
        ...

    def remove_mark(self, session: Session) -> None:
        """Remove the summary of a deleted session that has no other items left."""
        ...

    def begin_fork(self, session: Session) -> bool:
        """Store the marked summary of a new fork, before its turns. False if there is one with this id."""
        ...

    def copy(self, session_id: str, turns: Sequence[Turn]) -> None:
        """Write turns of a fork that has begun. Repeating it changes nothing."""
        ...

    def give_up_fork(self, session: Session) -> bool:
        """Mark an unfinished fork as deleted, so that no attempt completes it. False if it is finished, or gone."""
        ...

    def finish_fork(self, session: Session) -> bool:
        """Turn a completely copied fork into a regular session. False if it was removed meanwhile."""
        ...


class Feedback(Protocol):
    """What owners think of answers."""

    def put(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> bool:
        """Store or replace the feedback on a run of `package`, and bring the package's ratings up to date, in one
        write. False, and no change, if the session is not there (any more). Repeated, it changes nothing. Raises
        StoreUnavailableError."""
        ...

    def add(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> FeedbackAdded:
        """As `put`, but only if there is none yet. A repeat of the very same is ADDED."""
        ...

    def given(self, session_id: str, run_ids: Collection[str]) -> Mapping[str, RunFeedback]:
        """The feedback on these runs of a session, as last written, by run. What is damaged is left out and reported.
        Raises StoreUnavailableError."""
        ...


class Shares(Protocol):
    """Share links. Every write is conditional on what was read before; False means: read again."""

    def find(self, share_id: str) -> Share | None:
        """The share of a token, as last written, whether it is open or not. One round trip, found or not."""
        ...

    def create(self, session: Session, share: Share, nonce: str) -> bool:
        """Share a session that is not shared."""
        ...

    def move(self, session: Session, share: Share) -> bool:
        """Move the snapshot of a shared session forward, and set its expiry anew."""
        ...

    def withdraw(self, session: Session, share: Share) -> bool:
        """Withdraw the link of a session at once. The session records what is left to remove, and the reports."""
        ...

    def remove_some(self, share_id: str) -> bool:
        """Remove a bounded number of views and votes of a withdrawn share. False when none is left."""
        ...

    def forget(self, session: Session, share_id: str) -> None:
        """Record that all items of a former share of this session are removed."""
        ...

    def count_view(self, share_id: str, viewer: str, *, cleanup_at: datetime | None) -> bool:
        """Count this viewer of a share that was just read, once: False if already counted. Tried once: on a conflict it
        raises StoreUnavailableError, and nothing is counted."""
        ...

    def vote(self, share_id: str, viewer: str, vote: Vote, *, cleanup_at: datetime | None = None) -> bool:
        """Store or replace a viewer's vote, with the counters. False if the share is gone or hidden. `cleanup_at`: when
        the vote may be removed, which the counters outlive."""
        ...

    def report(self, share: Share, report: Report, *, hide_at: int) -> bool:
        """Store a report, one per reporter and session, and hide the share when it has `hide_at` of them. Repeating it
        changes nothing. False if the share is gone or hidden."""
        ...


# --- packages ---------------------------------------------------------------------------------------------------------


class CatalogReader(Protocol):
    """What is shown of packages."""

    def summary(self, package_id: str) -> PackageSummary | None: ...

    def search(self, text: str, *, after: str | None, limit: int) -> tuple[Sequence[PackageSummary], str | None]:
        """Summaries whose name, description or tags contain all words of `text`, by name, after the name `after`; and
        the `after` of the next page, if any. A page may hold fewer than `limit` although there are more."""
        ...

    def named(self, names: Sequence[str], text: str) -> Mapping[str, PackageSummary]:
        """Those of these packages, by name, that are there and contain `text` as in `search`. At most 100 names."""
        ...


class PackageIndex(Protocol):
    """The catalogue as it is searched by name and kind."""

    def search(
        self, text: str, *, after: str | None, limit: int, kind: PackageKind
    ) -> tuple[Sequence[PackageSummary], str | None]:
        """As `CatalogReader.search`, of packages of one kind only."""
        ...

    def ranked(
        self, query: Query, *, after: Place | None, limit: int, kind: PackageKind
    ) -> tuple[Sequence[PackageSummary], Place | None]:
        """Summaries of a kind that match, the best match first, after a place; and the `after` of the next page, if
        any. A page may hold fewer than `limit` although there are more."""
        ...

    def count(self, query: Query, kind: PackageKind) -> int | None:
        """How many packages of a kind match in all; None if they are too many to be counted."""
        ...


class Catalog(CatalogReader, Protocol):
    def publish(self, package: PackageVersion) -> bool:
        """Store a version. True if it is new, False if the very same was there already.
        Raises VersionExistsError if this version exists with another content: versions are immutable."""
        ...

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        """A version (None: the newest) by UUID or `@scope/name`."""
        ...


# --- live answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A piece of an answer that is being written: `text` begins at the character `offset` and ends before `end`."""

    offset: int
    text: str

    @property
    def end(self) -> int:
        return self.offset + len(self.text)


class Checkpoints(Protocol):
    """The text of answers while they are written, for readers elsewhere. It proves nothing and nothing depends on it:
    only the ledger says what a run has come to. Pieces disappear by themselves after a while. An attempt is named by
    its run and its nonce. All raise StoreUnavailableError."""

    def save(self, run_id: str, nonce: str, checkpoint: Checkpoint, *, now: datetime) -> None: ...

    def after(self, run_id: str, nonce: str, offset: int) -> Sequence[Checkpoint]:
        """The pieces that end after the character `offset`, in order; a bounded number of them. Reads what was last
        written."""
        ...

    def delete(self, run_id: str, nonce: str, ends: Sequence[int]) -> None:
        """Remove pieces, by where they end."""
        ...


# --- Model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request to the model. `messages` alternate user, assistant, …, user."""

    model: ModelPrice
    system: str | None
    messages: tuple[tuple[str, str], ...]
    max_tokens: int
    effort: str | None = None
    temperature: float | None = None

    @property
    def guessed_tokens(self) -> int:
        """An upper estimate of the prompt's tokens."""
        from playground.domain.pricing import guess_tokens  # few who know prompts guess

        return sum(guess_tokens(text) for text in (self.system or "", *(text for _, text in self.messages)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer; its text is not blank. `lost`: what attempts before it may have cost, which gave none."""

    text: str
    usage: Usage
    stop_reason: str
    model_id: str
    lost: Sequence[Spent] = ()


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt. `guessed`: not counted by the provider but estimated, rather too high."""

    tokens: int
    guessed: bool = False


class Progress(Protocol):
    """Takes the text of an answer while it is written, and says whether to go on. Safe to use from any thread."""

    def write(self, text: str) -> None:
        """The next piece of the text. It never waits."""
        ...

    def stopping(self, seconds: float = 0) -> bool:
        """Whether the answer is to end with what is written; waits so many seconds for that."""
        ...


class Unwatched:
    """`Progress` that nobody looks at."""

    def write(self, text: str) -> None:
        pass

    def stopping(self, seconds: float = 0) -> bool:
        if seconds > 0:
            time.sleep(seconds)
        return False


UNWATCHED = Unwatched()


class Model(Protocol):
    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        """Prompt tokens of `prompt`: counted by the provider, or guessed if it does not answer within `timeout` seconds
        or gives an impossible count."""
        ...

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        """An answer with text within `timeout` seconds, retries included. Raises ModelError (or a subclass) if there is
        none, or if its usage is impossible for this prompt (`invalid_usage`).

        `progress` gets the text while it comes: all of it together is that of the Completion. When it says so, the call
        ends within a second: with what was written, its output counted upward, and CANCELLED as the stop reason; or
        with RunCancelledError if nothing was."""
        ...


# --- anonymous runs ---------------------------------------------------------------------------------------------------


class Admission(Enum):
    """Whether an anonymous run is admitted; if not, why."""

    ADMITTED = "admitted"
    VISITOR_USED = "visitor used"
    BUDGET_USED = "budget used"


class AnonymousBudget(Protocol):
    """The runs of visitors and the money that they may cost, by UTC day. Every method is one transaction and may be
    repeated with the same reservation: it takes effect once. All raise StoreUnavailableError when the store does not
    answer in time; the transaction may have taken effect or may still do so."""

    def reserve(self, reservation: Reservation, *, budget_nano: int) -> Admission:
        """Count the visitor's run of the day and add `reservation.nano` to what the day has used, if the visitor has
        not had one and the sum stays within `budget_nano`; or neither. A visitor who has had one is VISITOR_USED
        whatever is left of the budget."""
        ...

    def settle(self, reservation: Reservation, cost_nano: int) -> None:
        """Replace what is reserved by what the run has cost. The visitor's run stays counted."""
        ...

    def give_back(self, reservation: Reservation) -> None:
        """Undo a reservation whose run has certainly cost nothing: the visitor may run again. Does nothing after
        `settle`."""
        ...


# --- Payments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentStarted:
    """A payment that the customer has to complete. `client_secret` is for the customer's browser only."""

    payment_id: str
    client_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutStarted:
    checkout_id: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutPage:
    """A checkout page that is not closed. `is_complete`: it is paid. The others: where it leads back to."""

    checkout_id: str
    is_complete: bool
    success_url: str | None
    cancel_url: str | None


class CustomerGoneError(Exception):
    """The payment provider does not have this customer, or has deleted it. The request had no effect."""


class PaymentProvider(Protocol):
    """The payment provider. All raise PaymentsUnavailableError if it does not answer in time, PaymentsRejectedError if
    it rejects the request; those that take a `customer_id` raise CustomerGoneError. Methods that create an object take
    a `key`: the same key gives the same object, for a day at least. A key may be any text."""

    def create_customer(self, *, user_id: str, key: str) -> str: ...

    def create_payment(
        self, *, amount: int, currency: str, customer_id: str, user_id: str, purchase_id: str, key: str
    ) -> PaymentStarted: ...

    def describe_payment(self, payment_id: str, *, description: str, receipt_email: str | None) -> None:
        """What the payment is for, and where the provider sends its receipt. May be repeated, also with other texts."""
        ...

    def receipts(self, *, customer_id: str, since: datetime) -> Mapping[str, str]:
        """Addresses of the provider's receipts by payment, for payments of a customer that were made since then: the
        newest few hundred. They may expire, so they are asked for when they are needed."""
        ...

    def payment_started(self, payment_id: str) -> PaymentStarted | None:
        """None if the provider does not have it."""
        ...

    def payment_for(self, *, customer_id: str, purchase_id: str) -> PaymentStarted | None:
        """The payment of a purchase, as far as the provider finds it by our id."""
        ...

    def payment(self, payment_id: str) -> Payment | None: ...

    def create_checkout(
        self,
        *,
        customer_id: str,
        user_id: str,
        plan: PlanPrice,
        currency: str,
        success_url: str,
        cancel_url: str,
        key: str,
    ) -> CheckoutStarted: ...

    def checkout_page(self, checkout_id: str, *, customer_id: str) -> CheckoutPage | None:
        """A checkout page; None if the provider does not have it, if it is closed, or if its customer is another one or
        was deleted."""
        ...

    def close_checkout(self, checkout_id: str) -> bool:
        """Close a checkout page, so that nobody can pay on it. True if it is closed, also if it was before; False if it
        is paid, or cannot be closed because it is being paid. May be repeated."""
        ...

    def subscription(self, subscription_id: str) -> SubscriptionSnapshot | None: ...

    def set_cancel_at_period_end(self, subscription_id: str, *, cancel: bool) -> SubscriptionSnapshot | None:
        """The subscription afterwards; None if there is no such, or it is over."""
        ...

    def listed(
        self, kind: ObjectKind, *, since: datetime | None, after: str | None
    ) -> tuple[Sequence[ProviderObject], str | None]:
        """A page of what was made since then, newest first, after the object `after`; and the `after` of the next page,
        if any."""
        ...

    def stated_subscription(self, subscription_id: str) -> ProviderObject | None: ...

    def statement(self, payment_id: str) -> Statement | None: ...

    def invoice_of(self, payment_id: str) -> InvoicePaid | None:
        """The invoice of a subscription that a payment is of, if that is paid."""
        ...

    def invoice_paid(self, invoice_id: str) -> InvoicePaid | None:
        """An invoice of a subscription, if it is paid."""
        ...

    def invoices_of(self, subscription_id: str) -> Sequence[ProviderObject]:
        """All of a subscription, oldest first."""
        ...

    def invoice_statement(self, invoice_id: str) -> InvoiceStatement: ...

    def subscriptions_of(self, customer_id: str) -> Sequence[CustomersSubscription]:
        """The latest hundred, also those that are over."""
        ...

    def is_of_invoice(self, payment_id: str) -> bool:
        """Whether the payment is that of an invoice, and so of a subscription."""
        ...

    def create_portal(self, *, customer_id: str, return_url: str) -> str:
        """The address of the page on which a customer looks after cards and subscriptions."""
        ...


# --- Sharing ----------------------------------------------------------------------------------------------------------


class Leaks(Protocol):
    def __call__(self, text: str) -> Sequence[Leak]:
        """Leaks in `text`, in order; no two overlap. The same text always gives the same result. Never raises, whatever
        the text is."""
        ...
