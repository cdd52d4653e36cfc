"""Fakes that fulfil the ports without I/O, and builders for what the tests of the ledger hold, charge and release.

`InMemoryLedger` passes the same contract tests as the ledger on DynamoDB (tests/contract).
"""

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cached_property
from uuid import uuid4

from playground.adapters import dynamo_items as items
from playground.domain.account import (
    Account,
    Change,
    Hold,
    Plan,
    drop_hold,
    open_account,
    overdue_change,
    place_hold,
    settle,
    with_debt_repaid,
)
from playground.domain.allowance import NOTHING_USED, Allowance, AllowanceUse, use_allowance
from playground.domain.anonymous import Reservation
from playground.domain.calendar import iso
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import CorruptLedgerError, SessionConflictError, VersionExistsError
from playground.domain.guard import Guard
from playground.domain.leaks import Leak
from playground.domain.packages import PackageSummary, PackageVersion, package_uuid
from playground.domain.paid_months import PaidMonth
from playground.domain.pricing import Price, Usage
from playground.domain.purchases import Customer, PaymentEvent, Purchase
from playground.domain.rates import RateLimit
from playground.domain.runs import Failure, Measured, Run, RunFilter, RunPlace, RunStatus, UnpaidCost
from playground.domain.sessions import RunFeedback, Session, SessionCursor, Turn
from playground.domain.sharing import Report, Share, ShareLink, Vote
from playground.domain.spend import Counters, PackageTotals, Ratings, SpendRow, UsagePlace, day_of
from playground.domain.subscriptions import Subscription
from playground.domain.variables import variables_of
from playground.domain.versions import newest_first
from playground.ports import (
    UNWATCHED,
    Admission,
    AllowanceUsedUp,
    AlreadyHeld,
    Amend,
    Begun,
    BegunBefore,
    Book,
    CannotAfford,
    Checkpoint,
    Completion,
    Conclude,
    Conversation,
    Ended,
    FeedbackAdded,
    Found,
    Held,
    HoldOutcome,
    NoSuchPlan,
    Paused,
    Progress,
    Prompt,
    PurchaseOutcome,
    Record,
    TextRef,
    TokenCount,
    TooFast,
    TooManyHolds,
    TooManyPurchases,
)

LEASE = timedelta(minutes=45)


# --- time and ids -----------------------------------------------------------------------------------------------------


class FrozenClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        self.now += by


class CountingNewId:
    """Ids that count up, over all kinds: `ses_0…01`, `try_0…02`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers):026d}"


# --- ledger and sessions ----------------------------------------------------------------------------------------------


class InMemorySessions:
    """`ports.Sessions`, and what a ledger needs to add a turn to a session."""

    def __init__(self, *, most_bytes: int = 390_000) -> None:
        self.lock = threading.RLock()
        self.summaries: dict[str, Session] = {}
        self.feedback: dict[tuple[str, str], RunFeedback] = {}
        self.reports: dict[tuple[str, str], Report] = {}
        self.texts: dict[str, Turn] = {}
        self.prompts: dict[str, str] = {}
        self._turns: dict[tuple[str, int], Turn] = {}
        self._most_bytes = most_bytes

    def turn(self, session_id: str, number: int) -> Turn | None:
        session = self.summaries.get(session_id)
        return self._turns.get((session_id, number)) if session is not None and session.deleted_at is None else None

    def prompt(self, session_id: str) -> str | None:
        session = self.summaries.get(session_id)
        return self.prompts.get(session_id) if session is not None and session.deleted_at is None else None

    def turns(self, session_id: str) -> Sequence[Turn]:
        return list(self.walk(session_id, first=1, last=999_999))

    def walk(self, session_id: str, *, first: int, last: int, newest_first: bool = False) -> Iterator[Turn]:
        keys = sorted(key for key in self._turns if key[0] == session_id and first <= key[1] <= last)
        return iter([self._turns[key] for key in (reversed(keys) if newest_first else keys)])

    def store_texts(self, session_id: str, turn: Turn, *, nonce: str) -> TextRef | None:
        texts, _ = items.packed_texts(turn)
        if sum(len(text) for text in texts.values()) <= self._most_bytes:
            return None
        name = f"{session_id}/{turn.number}-{nonce}"
        self.texts[name] = turn
        return TextRef(name=name, version=None, digest="")

    def discard(self, kept: TextRef) -> None:
        self.texts.pop(kept.name, None)

    def delete(self, session_id: str) -> None:
        """All of it, at once."""
        with self.lock:
            del self.summaries[session_id]
            self.prompts.pop(session_id, None)
            for key in [key for key in self._turns if key[0] == session_id]:
                del self._turns[key]

    def add(self, conversation: Conversation) -> None:
        """Raises SessionConflictError if the turn is not the next one of the user's session."""
        session, turn = conversation.session, conversation.turn
        with self.lock:
            before = self.summaries.get(session.session_id)
            if session.turns == 1:
                fits = before is None
            else:
                fits = (
                    before is not None
                    and before.turns == session.turns - 1
                    and before.user_id == session.user_id
                    and before.deleted_at is None
                )
            if not fits or (session.session_id, turn.number) in self._turns:
                raise SessionConflictError
            if conversation.prompt is not None:
                if session.session_id in self.prompts:
                    raise SessionConflictError
                self.prompts[session.session_id] = conversation.prompt
            sums = {
                name: getattr(session, name) for name in ("updated_at", "turns", "credits", "tokens", "duration_ms")
            }
            if before is not None and not before.has_own_turns:
                sums["variables"] = session.variables
            self.summaries[session.session_id] = replace(before, **sums) if before is not None else session
            self._turns[session.session_id, turn.number] = turn

    def find(self, user_id: str, session_id: str) -> Session | None:
        session = self._own(user_id, session_id)
        return session if session is not None and session.deleted_at is None else None

    def deleted(self, user_id: str, session_id: str) -> Session | None:
        session = self._own(user_id, session_id)
        return session if session is not None and session.deleted_at is not None else None

    def _own(self, user_id: str, session_id: str) -> Session | None:
        session = self.summaries.get(session_id)
        return session if session is not None and session.user_id == user_id else None

    def listed(
        self, user_id: str, *, after: SessionCursor | None, limit: int
    ) -> tuple[Sequence[Session], SessionCursor | None, Sequence[str]]:
        def place(session: Session) -> SessionCursor:
            return SessionCursor(session.updated_at, session.session_id)

        found = sorted(
            (
                session
                for session in self.summaries.values()
                if session.user_id == user_id
                and session.deleted_at is None
                and (after is None or place(session) < after)
            ),
            key=place,
            reverse=True,
        )
        return found[:limit], place(found[limit - 1]) if len(found) > limit else None, []

    def leftovers(self, user_id: str, *, before: datetime, limit: int) -> Sequence[Session]:
        found = [
            session
            for session in self.summaries.values()
            if session.user_id == user_id and session.deleted_at is not None and session.deleted_at < before
        ]
        return sorted(found, key=lambda session: session.deleted_at or before)[:limit]

    def mark_deleted(self, session: Session, now: datetime) -> bool:
        with self.lock:
            there = self.find(session.user_id, session.session_id)
            link = session.share
            if there is None or (there.share and there.share.share_id) != (link and link.share_id):
                return False
            former = there.former_shares | ({link.share_id} if link is not None else set())
            self.summaries[there.session_id] = replace(there, share=None, former_shares=former, deleted_at=now)
            if link is not None:
                self.shares.pop(link.share_id, None)
            return True

    def remove_some(self, session_id: str) -> bool:
        with self.lock:
            keys = sorted(key for key in self._turns if key[0] == session_id)
            self.prompts.pop(session_id, None)
            for key in keys[:2]:
                del self._turns[key]
            for kind in (self.feedback, self.reports, self.texts):
                for name in [name for name in kind if name[0] == session_id or f"{session_id}/" in name]:  # type: ignore[attr-defined]
                    del kind[name]  # type: ignore[attr-defined]
            return len(keys) > 2

    def remove_mark(self, session: Session) -> None:
        with self.lock:
            if self.deleted(session.user_id, session.session_id) is not None:
                del self.summaries[session.session_id]

    def begin_fork(self, session: Session) -> bool:
        with self.lock:
            return self.summaries.setdefault(session.session_id, session) == session

    def copy(self, session_id: str, turns: Sequence[Turn]) -> None:
        with self.lock:
            self._turns.update({(session_id, turn.number): turn for turn in turns})

    def give_up_fork(self, session: Session) -> bool:
        with self.lock:
            there = self.deleted(session.user_id, session.session_id)
            if there is None:
                return False
            self.summaries[there.session_id] = replace(there, forking=False)
            return True

    def finish_fork(self, session: Session) -> bool:
        with self.lock:
            there = self.summaries.get(session.session_id)
            if there is None or (there.deleted_at is not None and not there.forking):
                return False
            if there.forking:
                self.summaries[session.session_id] = session
            return True

    @cached_property
    def shares(self) -> dict[str, Share]:
        """What `InMemoryShares` keeps here, for session and share change together."""
        return {}


class InMemoryFeedback:
    """`ports.Feedback` over the sessions of `InMemorySessions`."""

    def __init__(self, sessions: InMemorySessions) -> None:
        self._sessions = sessions
        self._given: dict[str, tuple[str | None, Ratings]] = {}

    def put(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> bool:
        with self._sessions.lock:
            if self._sessions.find(user_id, session_id) is None:
                return False
            self._sessions.feedback[session_id, feedback.run_id] = feedback
            self._given[feedback.run_id] = package, Ratings.of(feedback.rating, feedback.is_helpful)
            return True

    def add(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> FeedbackAdded:
        with self._sessions.lock:
            if self._sessions.find(user_id, session_id) is None:
                return FeedbackAdded.NO_SESSION
            if self._sessions.feedback.get((session_id, feedback.run_id), feedback) != feedback:
                return FeedbackAdded.EXISTS
            self.put(user_id, session_id, feedback, package)
            return FeedbackAdded.ADDED

    def given(self, session_id: str, run_ids: Collection[str]) -> Mapping[str, RunFeedback]:
        with self._sessions.lock:
            return {
                run_id: given
                for (session, run_id), given in self._sessions.feedback.items()
                if session == session_id and run_id in run_ids
            }

    def ratings_of(self, package: str) -> Ratings:
        return sum((ratings for name, ratings in self._given.values() if name == package), Ratings())


class InMemoryShares:
    """`ports.Shares` over the sessions of `InMemorySessions`."""

    def __init__(self, sessions: InMemorySessions) -> None:
        self._sessions = sessions
        self._lock = sessions.lock
        self._viewers: dict[tuple[str, str], None] = {}
        self.votes: dict[tuple[str, str], Vote] = {}

    def find(self, share_id: str) -> Share | None:
        return self._sessions.shares.get(share_id)

    def create(self, session: Session, share: Share, nonce: str) -> bool:
        with self._lock:
            there = self._sessions.find(session.user_id, session.session_id)
            if there is None:
                return False
            if there.share is not None:
                return there.share == _link(share, nonce)
            if there.removed or there.hidden != session.hidden or share.share_id in self._sessions.shares:
                return False
            self._sessions.shares[share.share_id] = share
            self._change(replace(there, share=_link(share, nonce)))
            return True

    def move(self, session: Session, share: Share) -> bool:
        with self._lock:
            there = self._shared(session, share)
            if there is None or there.share is None or there.share.turns > share.turns:
                return False
            counted = self._sessions.shares[share.share_id]
            self._sessions.shares[share.share_id] = replace(
                counted,
                turns=share.turns,
                shared_at=share.shared_at,
                expires_at=share.expires_at,
                include_prompt=share.include_prompt,
            )
            self._change(replace(there, share=_link(share, there.share.nonce)))
            return True

    def withdraw(self, session: Session, share: Share) -> bool:
        with self._lock:
            there = self._shared(session, share)
            current = self.find(share.share_id)
            if there is None or current is None or (current.reports, current.hidden) != (share.reports, share.hidden):
                return False
            del self._sessions.shares[share.share_id]
            former = there.former_shares | {share.share_id}
            self._change(replace(there, share=None, former_shares=former, reports=share.reports, hidden=share.hidden))
            return True

    def remove_some(self, share_id: str) -> bool:
        with self._lock:
            for kind in (self._viewers, self.votes):
                for key in [key for key in kind if key[0] == share_id]:
                    del kind[key]  # type: ignore[attr-defined]
            return False

    def forget(self, session: Session, share_id: str) -> None:
        with self._lock:
            there = self._sessions.summaries.get(session.session_id)
            if there is not None:
                self._change(replace(there, former_shares=there.former_shares - {share_id}))

    def count_view(self, share_id: str, viewer: str, *, cleanup_at: datetime | None) -> bool:
        with self._lock:
            if (share_id, viewer) in self._viewers:
                return False
            self._viewers[share_id, viewer] = None
            share = self.find(share_id)
            if share is not None:
                self._sessions.shares[share_id] = replace(share, views=share.views + 1)
            return True

    def vote(self, share_id: str, viewer: str, vote: Vote, *, cleanup_at: datetime | None = None) -> bool:
        with self._lock:
            share = self._shown(share_id)
            if share is None:
                return False
            self.votes[share_id, viewer] = vote
            votes = [vote for (of, _), vote in self.votes.items() if of == share_id]
            helpful = sum(vote.is_helpful for vote in votes)
            self._sessions.shares[share_id] = replace(share, helpful=helpful, not_helpful=len(votes) - helpful)
            return True

    def report(self, share: Share, report: Report, *, hide_at: int) -> bool:
        with self._lock:
            there = self._shown(share.share_id)
            if there is None:
                return False
            key = (share.session_id, report.reporter)
            if key not in self._sessions.reports:
                self._sessions.reports[key] = report
                count = there.reports + 1
                self._sessions.shares[share.share_id] = replace(there, reports=count, hidden=count >= hide_at)
            return True

    def _shown(self, share_id: str) -> Share | None:
        share = self.find(share_id)
        return share if share is not None and not share.hidden else None

    def _shared(self, session: Session, share: Share) -> Session | None:
        there = self._sessions.find(session.user_id, session.session_id)
        known = there is not None and there.share is not None and there.share.share_id == share.share_id
        return there if known else None

    def _change(self, session: Session) -> None:
        self._sessions.summaries[session.session_id] = session


def _link(share: Share, nonce: str) -> ShareLink:
    return ShareLink(
        share_id=share.share_id,
        nonce=nonce,
        turns=share.turns,
        shared_at=share.shared_at,
        expires_at=share.expires_at,
    )


class PlantedLeaks:
    """`ports.Leaks` that finds the words it was given."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __call__(self, text: str) -> Sequence[Leak]:
        return [
            Leak(kind="word", start=text.index(word), end=text.index(word) + len(word))
            for word in self._words
            if word in text
        ]


class InMemoryPayments:
    """`ports.PurchaseRecords`. One lock."""

    def __init__(self, accounts: dict[str, Account] | None = None) -> None:
        self._lock = threading.RLock()
        self._accounts = accounts if accounts is not None else {}
        self._records: dict[object, Record] = {}
        self._purchases: dict[str, tuple[str, str]] = {}
        self._customers: dict[str, str] = {}
        self.events: dict[str, PaymentEvent] = {}

    def begin(self, purchase: Purchase, account: Account, *, limit: RateLimit, now: datetime) -> PurchaseOutcome:
        with self._lock:
            there = self.purchase(purchase.user_id, purchase.purchase_id)
            if there is not None:
                return BegunBefore(there)
            if purchase.user_id not in self._accounts:
                raise CorruptLedgerError(f"{purchase.user_id} has no account")
            stamp = self._accounts[purchase.user_id].purchases_at
            if stamp is not None and not limit.admits(stamp, now):
                return TooManyPurchases(stamp)
            stamp = limit.after(stamp, now)
            self._accounts[purchase.user_id] = replace(self._accounts[purchase.user_id], purchases_at=stamp)
            self._keep(purchase)
            return Begun(replace(purchase, revision=1), stamp)

    def purchase(self, user_id: str, purchase_id: str) -> Purchase | None:
        found = self._records.get((Purchase, user_id, purchase_id))
        return found if isinstance(found, Purchase) else None

    def purchases(self, user_id: str) -> Sequence[Purchase]:
        with self._lock:
            found = [each for each in self._records.values() if isinstance(each, Purchase) and each.user_id == user_id]
        return sorted(found, key=lambda each: (each.created_at, each.purchase_id), reverse=True)

    def purchase_of(self, payment_id: str) -> tuple[str, str] | None:
        return self._purchases.get(payment_id)

    def month(self, user_id: str, invoice_id: str) -> PaidMonth | None:
        found = self._records.get((PaidMonth, user_id, invoice_id))
        return found if isinstance(found, PaidMonth) else None

    def subscription(self, user_id: str) -> Subscription:
        found = self._records.get((Subscription, user_id))
        return found if isinstance(found, Subscription) else Subscription(user_id=user_id)

    def customer(self, user_id: str, *, live: bool) -> Customer | None:
        found = self._records.get((Customer, user_id, live))
        return found if isinstance(found, Customer) else None

    def user_of(self, customer_id: str) -> str | None:
        return self._customers.get(customer_id)

    def event(self, event_id: str) -> PaymentEvent | None:
        return self.events.get(event_id)

    def all(self, *, after: str | None) -> tuple[Sequence[Purchase | PaidMonth | PaymentEvent], str | None]:
        with self._lock:
            purchases = [record for record in self._records.values() if isinstance(record, Purchase | PaidMonth)]
            return [*purchases, *(event for event in self.events.values() if event.quarantined is not None)], None

    def save(self, *records: Record) -> bool:
        with self._lock:
            if not all(self._fits(record) for record in records):
                return False
            for record in records:
                self._keep(record)
            return True

    def _fits(self, record: Record) -> bool:
        if isinstance(record, PaymentEvent):
            return True
        there = self._records.get(self._key(record))
        if (there.revision if there is not None else 0) != record.revision:
            return False
        if isinstance(record, Purchase) and record.payment_id is not None:
            owner = (record.user_id, record.purchase_id)
            return self._purchases.get(record.payment_id, owner)[1] == owner[1]
        if isinstance(record, Customer):
            return self._customers.get(record.customer_id, record.user_id) == record.user_id
        return True

    def _keep(self, record: Record) -> None:
        if isinstance(record, PaymentEvent):
            self.events[record.event_id] = record
            return
        self._records[self._key(record)] = replace(record, revision=record.revision + 1)
        if isinstance(record, Purchase) and record.payment_id is not None:
            self._purchases[record.payment_id] = (record.user_id, record.purchase_id)
        if isinstance(record, Customer):
            self._customers[record.customer_id] = record.user_id

    def _key(self, record: Purchase | PaidMonth | Subscription | Customer) -> object:
        match record:
            case PaidMonth():
                return PaidMonth, record.user_id, record.invoice_id
            case Purchase():
                return Purchase, record.user_id, record.purchase_id
            case Customer():
                return Customer, record.user_id, record.live
            case Subscription():
                return Subscription, record.user_id


class InMemoryLedger:
    """`ports.Ledger`. One lock; `conclude` and `amend` are called outside of it, and again if the account has moved."""

    def __init__(self, sessions: InMemorySessions | None = None) -> None:
        self.sessions = sessions or InMemorySessions()
        self._lock = threading.RLock()
        self._accounts: dict[str, Account] = {}
        self._entries: dict[str, list[Entry]] = {}
        self._runs: dict[tuple[str, str], Run] = {}
        self._keys: set[tuple[str, str]] = set()
        self._ended: set[tuple[str, str]] = set()
        self.leases: dict[str, datetime] = {}
        self.records = InMemoryPayments(self._accounts)

    def account(self, user_id: str, now: datetime) -> Account:
        with self._lock:
            if user_id not in self._accounts:
                opened, entries = open_account(user_id, now)
                self._write(opened, *entries)
            while (overdue := overdue_change(self._accounts[user_id], now)) is not None:
                self._apply(overdue)
            return self._accounts[user_id]

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
        with self._lock:
            account = self.account(user_id, now)
            ended_before = any((user_id, hold.run_id) in self._ended for hold in holds)
            there = [account.holds[hold.run_id] for hold in holds if hold.run_id in account.holds]
            nonces = {hold.nonce for hold in holds}
            for hold in there:
                if hold.nonce not in nonces:
                    return AlreadyHeld(account, hold)
            ceilings = {hold.run_id: hold.ceiling for hold in holds}
            if any(hold.ceiling != ceilings[hold.run_id] for hold in there):
                self.cancel_hold(user_id, *there, now=now, rate=rate)
                account, ended_before = self._accounts[user_id], True
            elif there:
                return Held(account, ended_before or len(there) < len(holds))
            if account.paused_at is not None:
                return Paused(account)
            if plans is not None and account.plan not in plans:
                return NoSuchPlan(account)
            if len(account.holds) + len(holds) > limit:
                return TooManyHolds(account)
            ceiling = sum(hold.ceiling for hold in holds)
            if account.available < ceiling:
                return CannotAfford(account)
            if allowance is not None and not allowance.admits(account, ceiling, limit=limit, now=now, added=len(holds)):
                return AllowanceUsedUp(account)
            if rate is not None and not rate.admits(account.runs_at, now, added=len(holds)):
                return TooFast(account, ended_before)
            for hold in holds:
                account = place_hold(account, hold)
                self.leases[user_id] = min(hold.lease_at, self.leases.get(user_id, hold.lease_at))
            if rate is not None:
                account = replace(account, runs_at=rate.after(account.runs_at, now, added=len(holds)))
            self._accounts[user_id] = account
            return Held(account, ended_before)

    def ask_to_stop(self, user_id: str, run_id: str) -> bool:
        with self._lock:
            account = self._accounts.get(user_id)
            if account is None or run_id not in account.holds:
                return False
            marked = replace(account.holds[run_id], stop=True)
            self._accounts[user_id] = replace(account, holds={**account.holds, run_id: marked})
            return True

    def should_stop(self, user_id: str, hold: Hold) -> bool:
        with self._lock:
            account = self._accounts.get(user_id)
            there = account.holds.get(hold.run_id) if account is not None else None
            return there is None or there.nonce != hold.nonce or there.stop

    def cancel_hold(self, user_id: str, *holds: Hold, now: datetime, rate: RateLimit | None = None) -> None:
        with self._lock:
            account = self._accounts.get(user_id)
            there = account.holds if account is not None else {}
            if not all(hold.run_id in there and there[hold.run_id].nonce == hold.nonce for hold in holds):
                return
            for hold in holds:
                self._drop(user_id, hold.run_id, hold.nonce, now)
            account = self._accounts[user_id]
            if rate is not None and account.runs_at is not None:
                self._accounts[user_id] = replace(account, runs_at=account.runs_at - len(holds) * rate.interval)

    def correct_lease(self, account: Account) -> bool:
        with self._lock:
            there = self._accounts.get(account.user_id)
            if there is None or set(there.holds) != set(account.holds):
                return False
            self.leases.pop(account.user_id, None)
            if account.holds:
                self.leases[account.user_id] = min(hold.lease_at for hold in account.holds.values())
            return True

    def settle(self, account: Account, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
        user_id = account.user_id
        while True:
            after, run, entries = conclude(account)
            with self._lock:
                current = self.account(user_id, entries[-1].created_at)
                if self._is_over(user_id, hold.run_id, hold.nonce):
                    return self._ended_already(user_id, run)
                owes = account.owes or current.owes  # then it matters what is available
                if current.version == account.version and (not owes or current == account):
                    self.sessions.add(conversation)
                    self._ended.add((user_id, hold.run_id))
                    holds = {run_id: other for run_id, other in current.holds.items() if run_id != hold.run_id}
                    paid = replace(
                        current,
                        buckets=after.buckets,
                        held=current.held - hold.ceiling,
                        holds=holds,
                        debt=after.debt,
                        lapsed=after.lapsed,
                        reclaimed_monthly=after.reclaimed_monthly,
                        reclaimed_rollover=after.reclaimed_rollover,
                        version=after.version,
                        last_hash=after.last_hash,
                    )
                    self._write(paid, *entries)
                    self._runs[user_id, hold.run_id] = run
                    return Ended(run, by_us=True)
            account = current

    def release(
        self, user_id: str, run: Run, use: AllowanceUse = NOTHING_USED, *, seen: Account | None = None
    ) -> Ended:
        with self._lock:
            self.account(user_id, run.ended_at)
            if self._is_over(user_id, run.run_id, run.nonce):
                return self._ended_already(user_id, run)
            self._drop(user_id, run.run_id, run.nonce, run.ended_at)
            self._accounts[user_id] = use_allowance(self._accounts[user_id], use, run.ended_at)
            self._runs[user_id, run.run_id] = run
            return Ended(run, by_us=True)

    def change(self, user_id: str, amend: Amend, *, business_key: str, now: datetime) -> Account:
        while True:
            account = self.account(user_id, now)
            change = amend(account)
            if change is None:
                return account
            with self._lock:
                current = self.account(user_id, now)
                if (user_id, business_key) in self._keys:
                    return current
                if current is account:
                    self._keys.add((user_id, business_key))
                    return self._apply(with_debt_repaid(change, now=now))

    def book(self, user_id: str, book: Book, *, now: datetime) -> Account:
        while True:
            account = self.account(user_id, now)
            booking = book(account)
            if booking is None:
                return account
            with self._lock:
                if self.account(user_id, now) is account and self.records.save(*booking.records):
                    return self._apply(with_debt_repaid((booking.account, tuple(booking.entries)), now=now))

    def run(self, user_id: str, run_id: str, *, ended: bool = False) -> Run | None:
        with self._lock:
            return self._runs.get((user_id, run_id))

    def receipts(self, user_id: str, run_ids: Sequence[str]) -> Mapping[str, Run]:
        with self._lock:
            return {run_id: self._runs[user_id, run_id] for run_id in run_ids if (user_id, run_id) in self._runs}

    def ended_runs(
        self, user_id: str, wanted: RunFilter, *, after: RunPlace | None, limit: int
    ) -> tuple[Sequence[Run], RunPlace | None, Sequence[str]]:
        def place(run: Run) -> tuple[str, str]:
            return iso(run.ended_at), run.run_id

        with self._lock:
            runs = [run for (owner, _), run in self._runs.items() if owner == user_id and wanted.fits(run)]
        before = (after.ended_at, after.key) if after is not None else None
        found = sorted((run for run in runs if before is None or place(run) < before), key=place, reverse=True)
        return found[:limit], RunPlace(*place(found[limit - 1])) if len(found) > limit else None, []

    def entries(
        self, user_id: str, *, before: int | None, limit: int, type_: EntryType | None
    ) -> tuple[Sequence[Entry], int | None, Sequence[int]]:
        with self._lock:
            found = [
                entry
                for entry in reversed(self._entries.get(user_id, []))
                if (before is None or entry.seq < before) and (type_ is None or entry.type is type_)
            ]
        return found[:limit], found[limit - 1].seq if len(found) > limit else None, []

    def _write(self, account: Account, *entries: Entry) -> Account:
        self._accounts[account.user_id] = account
        self._entries.setdefault(account.user_id, []).extend(entries)
        return account

    def _apply(self, change: Change) -> Account:
        """Write a change of buckets and plan: the account afterwards."""
        after, entries = change
        return self._write(replace(after, revision=after.revision + 1), *entries)

    def _drop(self, user_id: str, run_id: str, nonce: str, now: datetime) -> bool:
        """Give a hold back, if it is the one that `nonce` placed."""
        account = self._accounts.get(user_id)
        if account is None or run_id not in account.holds or account.holds[run_id].nonce != nonce:
            return False
        after, entries = drop_hold(account, run_id, now=now)
        self._write(after, *entries)
        self._ended.add((user_id, run_id))
        return True

    def _is_over(self, user_id: str, run_id: str, nonce: str) -> bool:
        hold = self._accounts[user_id].holds.get(run_id)
        return (user_id, run_id) in self._runs or hold is None or hold.nonce != nonce

    def _ended_already(self, user_id: str, ours: Run) -> Ended:
        there = self._runs.get((user_id, ours.run_id))
        if there is None:
            raise CorruptLedgerError(f"{ours.run_id} of {user_id} has neither hold nor receipt")
        self._drop(user_id, ours.run_id, ours.nonce, ours.ended_at)
        settled = RunStatus.SETTLED
        by_us = there.nonce == ours.nonce and there.status is settled if ours.status is settled else there == ours
        return Ended(there, by_us=by_us)


class InMemoryLeases:
    """`ports.Leases` over `InMemoryLedger`. A place in the index is the time of the lease and the user."""

    shards = 2

    def __init__(self, ledger: InMemoryLedger) -> None:
        self._ledger = ledger

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        places = sorted(
            f"{iso(lease_at)}|{user_id}"
            for user_id, lease_at in dict(self._ledger.leases).items()
            if lease_at <= now and len(user_id) % self.shards == shard
        )
        found = [place for place in places if after is None or place > after]
        users = [place.partition("|")[2] for place in found[:limit]]
        return users, found[limit - 1] if len(found) > limit else None


# --- packages ---------------------------------------------------------------------------------------------------------


class InMemoryCatalog:
    """`ports.Catalog`."""

    def __init__(self, *packages: PackageVersion) -> None:
        self._versions: dict[str, dict[str, PackageVersion]] = {}
        self.withdrawn: set[tuple[str, str]] = set()  # package ids and versions
        for package in packages:
            self.publish(package)

    def publish(self, package: PackageVersion) -> bool:
        versions = self._versions.setdefault(package.package_id, {})
        there = versions.setdefault(package.version, package)
        if replace(there, published_at=package.published_at, hidden=package.hidden) != package:
            raise VersionExistsError(package.name, package.version)
        return there is package

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        uuid = package_uuid(package_id) or ""
        versions = {
            name: each for name, each in self._versions.get(uuid, {}).items() if (uuid, name) not in self.withdrawn
        }
        return versions.get(version or next(iter(newest_first(versions)), ""))

    def summary(self, package_id: str) -> PackageSummary | None:
        newest = self.version(package_id, None)
        if newest is None:
            return None
        return PackageSummary(
            package_id=newest.package_id,
            name=newest.name,
            description=newest.description,
            format=newest.format,
            subtype=newest.subtype,
            latest_version=newest.version,
            versions=newest_first(self._versions[newest.package_id]),
            preview=newest.prompt[:300],
            tags=newest.tags,
            assets=newest.assets,
            hidden=newest.hidden,
            variables=variables_of(newest.prompt),
            examples=newest.examples,
            prompt_characters=len(newest.prompt),
        )

    def search(self, text: str, *, after: str | None, limit: int) -> tuple[Sequence[PackageSummary], str | None]:
        summaries = [summary for package_id in self._versions if (summary := self.summary(package_id)) is not None]
        found = [
            summary
            for summary in sorted(summaries, key=lambda summary: summary.name)
            if summary.matches(text) and (after is None or summary.name > after)
        ]
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    def named(self, names: Sequence[str], text: str) -> Mapping[str, PackageSummary]:
        found, _ = self.search(text, after=None, limit=len(self._versions) + 1)
        return {summary.name: summary for summary in found if summary.name in names}


class InMemoryLookup:
    """`ports.Lookup` over the other fakes."""

    def __init__(self, ledger: InMemoryLedger, catalog: InMemoryCatalog) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self.runs_paused = False
        self.free_runs_paused_until: datetime | None = None

    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str | None, version: str | None, session_id: str | None
    ) -> Found:
        sessions = self._ledger.sessions
        session = sessions.find(user_id, session_id) if session_id is not None else None
        is_custom = session is not None and package_id is None
        return Found(
            run=self._ledger.run(user_id, run_id) if run_id is not None else None,
            package=self._catalog.version(package_id, version) if package_id is not None else None,
            session=session,
            prompt=sessions.prompt(session_id) if is_custom and session_id is not None else None,
            account=self._ledger._accounts.get(user_id),
            runs_paused=self.runs_paused,
            free_runs_paused_until=self.free_runs_paused_until,
        )


# --- live answers -----------------------------------------------------------------------------------------------------


class InMemoryCheckpoints:
    """`ports.Checkpoints`."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, str, int], Checkpoint] = {}

    def save(self, run_id: str, nonce: str, checkpoint: Checkpoint, *, now: datetime) -> None:
        self.pieces[run_id, nonce, checkpoint.end] = checkpoint

    def after(self, run_id: str, nonce: str, offset: int) -> Sequence[Checkpoint]:
        return [
            piece
            for (run, attempt, end), piece in sorted(self.pieces.items())
            if (run, attempt) == (run_id, nonce) and end > offset
        ]

    def delete(self, run_id: str, nonce: str, ends: Sequence[int]) -> None:
        for end in ends:
            self.pieces.pop((run_id, nonce, end), None)


# --- spend ------------------------------------------------------------------------------------------------------------


class InMemorySpend:
    """`ports.SpendCounters` and `ports.UsageCounters`. Deals with three runs at a time."""

    def __init__(self) -> None:
        self.counted: dict[str, Run] = {}
        self.ratings: dict[str, Ratings] = {}

    def count(self, runs: Sequence[Run]) -> tuple[int, Sequence[Run]]:
        some = {run.run_id: run for run in runs[:3]}
        new = [run for run_id, run in some.items() if run_id not in self.counted]
        self.counted.update(some)
        return len(runs[:3]), new

    def cost_of(self, day: date) -> int:
        return sum(Counters.of(run).cost_nano for run in self.counted.values() if day_of(run) == day)

    def page_of_user(
        self, user_id: str, first: date, last: date, *, after: UsagePlace | None, limit: int
    ) -> tuple[Sequence[SpendRow], UsagePlace | None]:
        runs = [run for run in self.counted.values() if run.user_id == user_id and first <= day_of(run) <= last]
        found: dict[tuple[date, str, str], SpendRow] = {}
        for run in runs:
            key = (day_of(run), run.package or "", run.model)
            there = found[key].counters if key in found else Counters()
            counters = there + Counters.of(run)
            found[key] = SpendRow(day=key[0], package=run.package, model=run.model, counters=counters)
        behind = (after.day, after.package or "", after.model) if after is not None else None
        rows = [found[key] for key in sorted(found) if behind is None or key > behind]
        return rows[:limit], rows[limit - 1].place if len(rows) > limit else None

    def of_package(self, package: str, first: date, last: date) -> Sequence[SpendRow]:
        runs = [run for run in self.counted.values() if run.package == package and first <= day_of(run) <= last]
        keys = sorted({(day_of(run), run.model) for run in runs})
        return [
            SpendRow(
                day=day,
                model=model,
                counters=sum(
                    (Counters.of(run) for run in runs if (day_of(run), run.model) == (day, model)), Counters()
                ),
            )
            for day, model in keys
        ]

    def all_of_package(self, package: str) -> PackageTotals:
        runs = [run for run in self.counted.values() if run.package == package]
        users = {run.user_id for run in runs}
        return PackageTotals(package=package, counters=sum(map(Counters.of, runs), Counters()), users=len(users))

    def ratings_of(self, package: str) -> Ratings:
        return self.ratings.get(package, Ratings())

    def packages(self) -> Sequence[PackageTotals]:
        return [self.all_of_package(name) for name in {run.package for run in self.counted.values() if run.package}]


class InMemoryGuard:
    """`ports.GuardSwitch`."""

    def __init__(self) -> None:
        self.guard = Guard()

    def read(self) -> Guard:
        return self.guard

    def save(self, guard: Guard) -> bool:
        if guard.revision != self.guard.revision:
            return False
        self.guard = replace(guard, revision=guard.revision + 1)
        return True


# --- model ------------------------------------------------------------------------------------------------------------

Reply = Completion | Exception


class ScriptedModel:
    """`ports.Model` that answers from a list, or by a function. Records what it was asked, and how much time it had."""

    def __init__(
        self,
        replies: Sequence[Reply] | Callable[[Prompt], Reply],
        *,
        count: Callable[[Prompt], int | TokenCount] = lambda prompt: 100,
    ) -> None:
        self._reply = replies if callable(replies) else _in_turn(iter(replies))
        self._count = count
        self.counted: list[Prompt] = []
        self.prompts: list[Prompt] = []
        self.timeouts: list[float] = []
        self.count_timeouts: list[float] = []

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        self.counted.append(prompt)
        self.count_timeouts.append(timeout)
        count = self._count(prompt)
        return count if isinstance(count, TokenCount) else TokenCount(count)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        self.prompts.append(prompt)
        self.timeouts.append(timeout)
        reply = self._reply(prompt)
        if isinstance(reply, Exception):
            raise reply
        progress.write(reply.text)
        return reply


def _in_turn(replies: Iterator[Reply]) -> Callable[[Prompt], Reply]:
    def reply(prompt: Prompt) -> Reply:
        following = next(replies, None)
        assert following is not None, "the model was asked more often than the script has replies"
        return following

    return reply


# --- anonymous runs ---------------------------------------------------------------------------------------------------


class InMemoryAnonymousBudget:
    """`ports.AnonymousBudget`. `used` by day, in nano-dollars; `open` are reservations that have not ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.used: dict[str, int] = {}
        self.nonces: dict[tuple[str, str], str] = {}
        self.open: set[str] = set()

    def reserve(self, reservation: Reservation, *, budget_nano: int) -> Admission:
        place = (reservation.day, reservation.visitor)
        with self._lock:
            if place in self.nonces:
                is_ours = self.nonces[place] == reservation.nonce
                return Admission.ADMITTED if is_ours else Admission.VISITOR_USED
            used = self.used.get(reservation.day, 0) + reservation.nano
            if used > budget_nano:
                return Admission.BUDGET_USED
            self.used[reservation.day] = used
            self.nonces[place] = reservation.nonce
            self.open.add(reservation.nonce)
            return Admission.ADMITTED

    def settle(self, reservation: Reservation, cost_nano: int) -> None:
        with self._lock:
            if reservation.nonce in self.open:
                self.open.remove(reservation.nonce)
                self.used[reservation.day] += cost_nano - reservation.nano

    def give_back(self, reservation: Reservation) -> None:
        with self._lock:
            if reservation.nonce in self.open:
                self.open.remove(reservation.nonce)
                self.used[reservation.day] -= reservation.nano
                del self.nonces[reservation.day, reservation.visitor]


# --- builders ---------------------------------------------------------------------------------------------------------


def a_hold(
    run_id: str,
    ceiling: int,
    now: datetime,
    *,
    nonce: str = "try_1",
    lease: timedelta = LEASE,
    session_id: str | None = None,
) -> Hold:
    """Of a new session, if no other is named."""
    return Hold(
        run_id=run_id,
        nonce=nonce,
        ceiling=ceiling,
        lease_at=now + lease,
        request_hash="a" * 32,
        session_id=session_id or f"ses_{uuid4().hex}",
        model="sonnet",
        placed_at=now,
    )


def receipt(user_id: str, hold: Hold, status: RunStatus, at: datetime) -> Run:
    """How `hold` ends without a charge."""
    failure = Failure(code="model_failed", reason="empty")
    return Run.of(hold, user_id=user_id, status=status, ended_at=at, failure=failure)


def paid_run(
    user_id: str,
    run_id: str,
    at: datetime,
    *,
    cost_nano: int,
    charged: int = 1,
    package: str | None = "@acme/tidy",
    model: str = "sonnet",
) -> Run:
    """The receipt of a run that was charged and has cost us so much."""
    hold = replace(a_hold(run_id, charged, at), model=model)
    return replace(
        receipt(user_id, hold, RunStatus.SETTLED, at),
        failure=None,
        package=package,
        charged=charged,
        turn=1,
        measured=Measured(
            usage=Usage(input_tokens=40, output_tokens=60),
            price=Price(credits=charged, tier=1, factor=1, floor=1, cost_nano=cost_nano),
            stop_reason="end_turn",
            duration_ms=1000,
        ),
    )


def unpaid_run(user_id: str, run_id: str, at: datetime, *, cost_nano: int, package: str | None = "@acme/tidy") -> Run:
    """The receipt of a run without an answer that has cost us so much."""
    run = receipt(user_id, a_hold(run_id, 1, at), RunStatus.RELEASED, at)
    return replace(run, package=package, unpaid=UnpaidCost(cost_nano=cost_nano, estimated=True))


def charging(hold: Hold, cost: int, at: datetime, *, turn: int = 1) -> Conclude:
    """Charges `cost` for the run of `hold`."""

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, entries = settle(account, hold.run_id, cost, reason="A run", now=at)
        entry = entries[-1]
        run = replace(
            receipt(account.user_id, hold, RunStatus.SETTLED, at),
            failure=None,
            charged=cost,
            deltas=entry.deltas,
            balance_after=entry.balance_after,
            entry_seq=entry.seq,
            entry_hash=entry.hash,
            turn=turn,
        )
        return after, run, entries

    return conclude


def conversation(user_id: str, hold: Hold, at: datetime, *, turns: int = 1) -> Conversation:
    """Turn number `turns` of the session of `hold`."""
    return Conversation(
        Session(
            session_id=hold.session_id,
            user_id=user_id,
            package_id="00000000-0000-5000-8000-000000000000",
            package="@acme/tidy",
            package_version="1.0.0",
            use_no_prompt=False,
            model="sonnet",
            title="Hello",
            created_at=at,
            updated_at=at,
            turns=turns,
            credits=turns,
            tokens=100 * turns,
            duration_ms=1000 * turns,
        ),
        Turn(
            number=turns,
            run_id=hold.run_id,
            input=f"question {turns}",
            answer=f"answer {turns}",
            input_tokens=40,
            output_tokens=60,
            asked_at=hold.placed_at,
            answered_at=at,
        ),
    )
