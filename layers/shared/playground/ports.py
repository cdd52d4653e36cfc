"""What the use cases need from the outside, as protocols. Adapters fulfil them; tests fulfil them with fakes that pass
the same contract tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from playground.domain.account import Account, Change, Hold
from playground.domain.entries import Entry, EntryType
from playground.domain.notices import Notice
from playground.domain.packages import PackageSummary, PackageVersion
from playground.domain.payments import Customer, PaymentEvent, Purchase
from playground.domain.pricing import ModelPrice, Usage
from playground.domain.runs import Run
from playground.domain.sessions import Session, Turn
from playground.domain.subscriptions import Subscription

Clock = Callable[[], datetime]
"""The time now, aware, UTC. One worker's clock proves nothing: nothing may depend on it being exact."""

NewId = Callable[[str], str]
"""A fresh id of a kind (`ses` → `ses_…`). Ids sort roughly by time and cannot be guessed."""


# --- Ledger -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """The hold is placed. `ended_before`: the account remembers that a run of this id has ended already, perhaps."""

    account: Account
    ended_before: bool = False


@dataclass(frozen=True, slots=True)
class CannotAfford:
    account: Account


@dataclass(frozen=True, slots=True)
class TooManyHolds:
    account: Account


@dataclass(frozen=True, slots=True)
class AlreadyHeld:
    """Another attempt of the same run has a hold."""

    account: Account
    hold: Hold


HoldOutcome = Held | CannotAfford | TooManyHolds | AlreadyHeld


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `by_us` is false if somebody else ended it first: then `run` is what they wrote."""

    run: Run
    by_us: bool


class Conclude(Protocol):
    """Says, for the account as it is now, what the run comes to. Called again whenever the account has moved."""

    def __call__(self, account: Account) -> tuple[Account, Run, Entry]: ...


class Amend(Protocol):
    """Says what a change comes to, for the account as it is now; None if there is nothing to do (any more)."""

    def __call__(self, account: Account) -> Change | None: ...


Record = Purchase | Subscription | Customer | PaymentEvent
"""What is kept of the payment provider's world beside the account. Its `revision` is that of the item it was read from;
0 if there was none."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A change of credits with the records that say why. `entries` may be empty."""

    account: Account
    entries: Sequence[Entry]
    records: Sequence[Record]


class Book(Protocol):
    """Says what is to be booked for the account as it is now; None if there is nothing to do (any more). Called again
    whenever the account or a record has moved, so it reads the records itself."""

    def __call__(self, account: Account) -> Booking | None: ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a settled run adds to its session. `session` is the summary afterwards; turn 1 opens it."""

    session: Session
    turn: Turn


class Ledger(Protocol):
    """Accounts and what happens to them. Every operation opens the account if it is not there, exactly once, and
    advances it over boundaries that have passed. All raise StoreUnavailableError when the store does not take or give
    an answer in time, CorruptLedgerError when what is stored does not add up."""

    def account(self, user_id: str, now: datetime) -> Account:
        """The account, advanced to `now`."""
        ...

    def place_hold(self, user_id: str, hold: Hold, *, limit: int, now: datetime) -> HoldOutcome:
        """Set credits aside, atomically, if they are available, fewer than `limit` holds are open and the run has none.
        Repeating it with the same nonce gives `Held` again and holds once."""
        ...

    def settle(self, account: Account, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
        """End a held run as paid: account, receipt, entry, turn and session in one transaction, or nothing.
        `account` is the account as it was last seen; it may have moved since.
        If the run has ended otherwise, that outcome comes back (`by_us` false).
        Raises SessionConflictError if the session moved meanwhile; the hold is then still there."""
        ...

    def release(self, user_id: str, run: Run) -> Ended:
        """End a held run without a charge: give the hold back and write the receipt `run` (released or expired).
        If the run has ended otherwise, that outcome comes back and its hold, if one is left, is given back, too."""
        ...

    def cancel_hold(self, user_id: str, hold: Hold) -> None:
        """Give a hold back as if it had never been placed: no receipt. Does nothing if it is not there."""
        ...

    def correct_lease(self, account: Account) -> bool:
        """Have the index of leases say what `account`, as it was just seen, says: its earliest lease, or nothing.
        False, and no change, if a hold was placed or ended meanwhile: then somebody comes by again."""
        ...

    def change(self, user_id: str, amend: Amend, *, business_key: str, now: datetime) -> Account:
        """Apply a change of credits once per `business_key`, for ever. Repeating it changes nothing."""
        ...

    def book(self, user_id: str, book: Book, *, now: datetime) -> Account:
        """Write account, entries and records in one transaction, or nothing; the account afterwards. A record is only
        written over the one that was read. What may happen once only is for the records to say: repeating it is for
        `book` to notice."""
        ...

    def run(self, user_id: str, run_id: str) -> Run | None:
        """The receipt of a run that has ended. Reads what was last written."""
        ...

    def entries(
        self, user_id: str, *, before: int | None, limit: int, type_: EntryType | None
    ) -> tuple[Sequence[Entry], int | None]:
        """At most `limit` entries, newest first, numbered below `before`; and the `before` of the next page, if any.
        With `type_`, a page may hold fewer than `limit` although there are more."""
        ...


class PaymentRecords(Protocol):
    """Purchases, customers and subscriptions. Reads give what was last written."""

    def purchase(self, user_id: str, purchase_id: str) -> Purchase | None: ...

    def purchase_of(self, payment_id: str) -> tuple[str, str] | None:
        """User and purchase of a payment of the provider."""
        ...

    def subscription(self, user_id: str) -> Subscription:
        """One without a description, if there is none."""
        ...

    def customer(self, user_id: str, *, live: bool) -> Customer | None: ...

    def user_of(self, customer_id: str) -> str | None: ...

    def keep(self, *records: Record) -> bool:
        """Write records that move no credits, all or none. False, and no change, if one has moved since it was read."""
        ...


class Index(Protocol):
    """A sparse index of accounts by a time, spread over `shards`."""

    shards: int

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        """At most `limit` users whose time may have come by `now`, the earliest first, after the place `after`; and the
        `after` of the next page, if there may be more. May be a moment behind."""
        ...


class Leases(Index, Protocol):
    """Accounts that had a hold when they were last looked at, by the end of their earliest lease."""


class Boundaries(Index, Protocol):
    """Accounts that have a monthly boundary ahead, by the next one."""


class Notebook(Protocol):
    """What was told ahead of time, so that it is told once."""

    def put(self, notice: Notice) -> bool:
        """Write it down, if it is not there yet. The record of it is what is published. False if it was there."""
        ...


# --- scheduled work ---------------------------------------------------------------------------------------------------


class Queue(Protocol):
    """Work for later. What is taken from it may be taken again: at least once, in no order that means anything."""

    def put(self, messages: Sequence[Mapping[str, str | int | None]]) -> None:
        """Put all of them in. Raises StoreUnavailableError if one was not taken; others may have been."""
        ...


class Publisher(Protocol):
    """Tells the world."""

    def publish(self, notices: Sequence[Notice]) -> int | None:
        """Publish all; the position of the first that was not taken, if there is one. Those after it may have been."""
        ...


# --- what a run looks up before it holds ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    run: Run | None
    package: PackageVersion | None
    session: Session | None


class Lookup(Protocol):
    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
    ) -> Found:
        """Run, package (its newest version if none is named) and session (the user's own only), in one round trip."""
        ...


class Sessions(Protocol):
    def turn(self, session_id: str, number: int) -> Turn | None: ...

    def turns(self, session_id: str) -> Sequence[Turn]:
        """All turns, oldest first."""
        ...


class Catalog(Protocol):
    def publish(self, package: PackageVersion) -> bool:
        """Store a version. True if it is new, False if the very same was there already.
        Raises VersionExistsError if this version exists with another content: versions are immutable."""
        ...

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        """A version (None: the newest) by UUID or `@scope/name`."""
        ...

    def summary(self, package_id: str) -> PackageSummary | None: ...

    def search(self, text: str, *, after: str | None, limit: int) -> tuple[Sequence[PackageSummary], str | None]:
        """Summaries whose name, description or tags contain `text` (all for ""), by name, after the name `after`; and
        the `after` of the next page, if any. A page may hold fewer than `limit` although there are more."""
        ...


# --- Model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent to the model. `messages` alternate user, assistant, …, user."""

    model: ModelPrice
    system: str | None
    messages: tuple[tuple[str, str], ...]
    max_tokens: int
    effort: str | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came back: its text is not blank."""

    text: str
    usage: Usage
    stop_reason: str
    model_id: str


class Model(Protocol):
    def count_tokens(self, prompt: Prompt, *, timeout: float) -> int:
        """Prompt tokens of `prompt`: counted by the provider, or, if it does not answer within `timeout` seconds, a
        guess that is rather too high."""
        ...

    def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """An answer with text within `timeout` seconds, retries included. Raises ModelError (or one of its kinds) if
        there is none."""
        ...
