"""The ledger on DynamoDB: four kinds of writes, with every rule in the condition of a write.

    place hold    one conditional update of the account: no read before it, no version
    end a run     one transaction: account, receipt and, if paid, entry, turn and session; of several runs that are
                  settled at the same time, all of them
    change        one transaction: account, entries and the item that makes its business key unique for ever
    open          one transaction: account and signup entry, if there is no account

Holds change `held` and `available` by difference and leave `version` alone, so parallel runs of one user queue up
inside DynamoDB. What writes entries compares `version`; if it was stale, the refusal brings the account as it is now,
and the change is worked out again. Every attempt carries a nonce, in the hold and in the receipt: when a reply was
lost, the repeat recognises its own work.

The credits of a hold first pay what the account owes (debt, or credits that lapsed while they were held), in entries.
So a hold can end without comparing `version` only while nothing is owed; otherwise its end is a change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any

from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_items import AccountItem
from playground.adapters.dynamo_keys import (
    MAX_SEQ_DIGITS,
    account_key,
    change_key,
    entry_key,
    entry_sk,
    index_key,
    outcome_key,
    prompt_key,
    run_id_in,
    run_key,
    run_place,
    seq_of,
    session_key,
    shard_of,
    turn_key,
    user_pk,
)
from playground.adapters.dynamo_mapping import encode, millis
from playground.adapters.dynamo_outcomes import Outcome, outcome_item, outcome_of
from playground.adapters.dynamo_payments import record_writes
from playground.adapters.dynamo_rates import counted
from playground.adapters.dynamo_store import (
    MAX_TRANSACTION_ITEMS,
    ConditionFailed,
    DynamoStore,
    PassingError,
    Put,
    RawItem,
    Save,
    TransactionRefused,
    Update,
)
from playground.adapters.time_limit import time_left
from playground.domain.account import (
    Account,
    Change,
    Hold,
    Plan,
    drop_hold,
    open_account,
    overdue_change,
    with_debt_repaid,
)
from playground.domain.allowance import NOTHING_USED, Allowance, AllowanceUse, best_level, use_allowance
from playground.domain.calendar import iso
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import CorruptLedgerError, SessionConflictError, StoreUnavailableError
from playground.domain.rates import RateLimit
from playground.domain.runs import Run, RunFilter, RunPlace, RunStatus
from playground.domain.sessions import Session
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    Amend,
    Book,
    CannotAfford,
    Conclude,
    Conversation,
    Ended,
    Held,
    HoldOutcome,
    NoSuchPlan,
    Paused,
    ReportUnreadable,
    TooFast,
    TooManyHolds,
)

MAX_BOUNDARIES = 1200  # a hundred years of months: a loop that needs more is broken
MAX_TOGETHER = 24  # runs that are settled in one transaction
SETTLEMENT_SECONDS = 0.04  # s that a settlement of many takes, roughly
TICKET_SECONDS = 0.002  # s between those who wait: so they neither read nor go on all at once
MAX_WAIT_SECONDS = 3.0  # s in the queue, of the time that a settlement has
READS_OF_A_PAUSE, READS_OF_A_STANDSTILL = 3, 12  # at least, in the time of a read: a store may be slow
MAX_PAUSE_SECONDS = 1.0  # s, after a read that took unusually long, too
MAX_STANDSTILL_SECONDS = 0.25  # s in the queue without progress: the first in it is dead, or gave up
MAX_PAGES = 20  # reads per page of a filtered list; a shorter page with a cursor is fine
INDEX_OF_RUNS = "by_end"
FILTERS_OF_RUNS = ("package", "model", "status")
LAST_END = "~"  # above every time


class DynamoLedger:
    """`ports.Ledger` over two tables: one for money, one for sessions."""

    def __init__(
        self,
        store: DynamoStore,
        *,
        ledger_table: str,
        sessions_table: str,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._report = report
        self._store = store
        self._ledger = ledger_table
        self._sessions = sessions_table

    # --- account ------------------------------------------------------------------------------------------------------

    def account(self, user_id: str, now: datetime) -> Account:
        raw = self._store.get(account_key(self._ledger, user_id))
        account = self._open(user_id, now) if raw is None else items.account_of(user_id, raw)
        return self._advance(account, now)

    def _open(self, user_id: str, now: datetime) -> Account:
        """Create the account with its signup credits, unless another worker just did; the account in either case."""
        account, entries = open_account(user_id, now)
        key = account_key(self._ledger, user_id)
        for _ in self._store.backoff:
            try:
                self._store.transact(Put(key, items.account_item(account)), *self._entry_puts(entries))
            except TransactionRefused as refusal:
                raw = self._store.get(key)
                if raw is not None:
                    return items.account_of(user_id, raw)
                if not refusal.in_the_way:
                    raise CorruptLedgerError(f"{user_id} has entries and no account") from None
            else:
                return account
        raise StoreUnavailableError

    def _advance(self, account: Account, now: datetime) -> Account:
        """Cross every boundary up to `now`, one transaction each. A worker that comes second finds it done."""
        for _ in range(MAX_BOUNDARIES):
            overdue = overdue_change(account, now)
            if overdue is None:
                return account
            account = self._apply(account, overdue) or self._reread(account.user_id)
        raise CorruptLedgerError(f"{account.user_id} has boundaries without end")

    def _reread(self, user_id: str) -> Account:
        raw = self._store.get(account_key(self._ledger, user_id))
        if raw is None:
            raise CorruptLedgerError(f"the account of {user_id} is gone")
        return items.account_of(user_id, raw)

    # --- place hold ---------------------------------------------------------------------------------------------------

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
        ceiling, lease = _together(holds)
        ends_first = False
        for _ in self._store.backoff:
            write = self._placing(user_id, holds, limit, now, ends_first=ends_first)
            if allowance is not None:
                admitted = _admitted(allowance, ceiling, limit, now, seen, added=len(holds))
                write = replace(write, condition=write.condition & admitted)
            if plans is not None:
                write = replace(write, condition=write.condition & _has_one_of(plans))
            if rate is not None:
                runs_at = seen.runs_at if seen is not None else None
                write = counted(write, AccountItem.runs_at, rate, runs_at, now, added=len(holds))
            try:
                raw = self._store.update(write)
            except ConditionFailed as refusal:
                outcome = self._why_not(user_id, holds, refusal.item, limit, now, allowance, rate, plans)
                if outcome is not None:
                    return outcome
                ends_first = lease < (refusal.item or {}).get("lease_at", {"S": ""})["S"]
                seen = items.account_of(user_id, refusal.item) if refusal.item is not None else None
            else:
                return Held(items.account_of(user_id, raw), ended_before=_remembers(raw, holds))
        raise StoreUnavailableError

    def _placing(self, user_id: str, holds: Sequence[Hold], limit: int, now: datetime, *, ends_first: bool) -> Update:
        """`ends_first`: their lease ends before `lease_at`, for they began earlier than others and were placed after
        them. It is then put in the place of that one; otherwise the earliest stays, and the sweeper corrects it."""
        ceiling, lease = _together(holds)
        places = [Path(AccountItem.holds)[hold.run_id] for hold in holds]
        earlier = AccountItem.lease_at.does_not_exist() | (AccountItem.lease_at <= lease)
        return Update(
            account_key(self._ledger, user_id),
            actions=[
                AccountItem.available.set(AccountItem.available - ceiling),
                AccountItem.held.set(AccountItem.held + ceiling),
                *(place.set(encode(hold)) for place, hold in zip(places, holds, strict=True)),
                AccountItem.lease_shard.set(shard_of(user_id)),
                AccountItem.lease_at.set(lease if ends_first else Path(AccountItem.lease_at) | lease),
            ],
            condition=(AccountItem.available >= ceiling)
            & (AccountItem.lease_at > lease if ends_first else earlier)
            & (size(AccountItem.holds) <= limit - len(holds))  # type: ignore[no-untyped-call]
            & reduce(and_, [place.does_not_exist() for place in places])
            & AccountItem.paused_at.does_not_exist()
            & _not_due(now),
        )

    def _why_not(
        self,
        user_id: str,
        holds: Sequence[Hold],
        raw: RawItem | None,
        limit: int,
        now: datetime,
        allowance: Allowance | None,
        rate: RateLimit | None,
        plans: frozenset[Plan] | None,
    ) -> HoldOutcome | None:
        """Why the holds were refused, from the account that refused them; None if they can be tried again."""
        if raw is None:
            self._open(user_id, now)
            return None
        account = items.account_of(user_id, raw)
        if account.is_due(now):
            self._advance(account, now)
            return None
        ours = [hold for hold in holds if _holds(account, hold)]
        for hold in holds:
            there = account.holds.get(hold.run_id)
            if there is not None and hold not in ours:
                return AlreadyHeld(account, there)
        if any(account.holds[hold.run_id].ceiling != hold.ceiling for hold in ours):
            # A write of this attempt took effect after its repeat had been refused, and the attempt has tried with
            # other ceilings since.
            self.cancel_hold(user_id, *(account.holds[hold.run_id] for hold in ours), now=now, rate=rate)
            return None
        if ours:  # the reply to our own write was lost; what is not there any more, another worker has ended
            return Held(account, ended_before=len(ours) < len(holds) or _remembers(raw, holds))
        if account.paused_at is not None:
            return Paused(account)
        if plans is not None and account.plan not in plans:
            return NoSuchPlan(account)
        if len(account.holds) > limit - len(holds):
            return TooManyHolds(account)
        ceiling, _ = _together(holds)
        if account.available < ceiling:
            return CannotAfford(account)
        if allowance is not None and not allowance.admits(account, ceiling, limit=limit, now=now, added=len(holds)):
            return AllowanceUsedUp(account)
        if rate is not None and not rate.admits(account.runs_at, now, added=len(holds)):
            return TooFast(account, ended_before=_remembers(raw, holds))
        return None

    def ask_to_stop(self, user_id: str, run_id: str) -> bool:
        there = Path(AccountItem.holds)[run_id]
        write = Update(account_key(self._ledger, user_id), actions=[there["x"].set(True)], condition=there.exists())
        try:
            self._store.update(write)
        except ConditionFailed:
            return False
        return True

    def should_stop(self, user_id: str, hold: Hold) -> bool:
        raw = self._store.get(account_key(self._ledger, user_id), attributes=("holds",)) or {}
        there = raw.get("holds", {}).get("M", {}).get(hold.run_id, {}).get("M", {})
        return there.get("n") != {"S": hold.nonce} or "x" in there

    def cancel_hold(self, user_id: str, *holds: Hold | Run, now: datetime, rate: RateLimit | None = None) -> None:
        uncount: list[Action] = []
        if rate is not None:
            uncount.append(AccountItem.runs_at.set(AccountItem.runs_at - len(holds) * _millis(rate.interval)))
        for _ in self._store.backoff:
            drop = self._drop(user_id, holds, _owes_nothing())
            try:
                self._store.update(replace(drop, actions=[*drop.actions, *uncount]))
            except ConditionFailed as refusal:
                if refusal.item is None:
                    return
                account = items.account_of(user_id, refusal.item)
                if not all(_holds(account, hold) for hold in holds):
                    return  # one is not there
                if not account.owes:
                    return
                if self._apply(account, _without(account, holds, now), ended=holds, also=uncount):
                    return
            else:
                return
        raise StoreUnavailableError

    def correct_lease(self, account: Account) -> bool:
        condition = size(AccountItem.holds) == len(account.holds)  # type: ignore[no-untyped-call]
        for run_id in account.holds:
            condition &= Path(AccountItem.holds)[run_id].exists()
        if account.holds:
            earliest = min(hold.lease_at for hold in account.holds.values())
            actions = [AccountItem.lease_at.set(iso(earliest))]
        else:
            actions = [AccountItem.lease_at.remove(), AccountItem.lease_shard.remove()]
        key = account_key(self._ledger, account.user_id)
        try:
            self._store.update(Update(key, actions=actions, condition=condition))
        except ConditionFailed:
            return False
        return True

    # --- end a run ----------------------------------------------------------------------------------------------------

    def settle(self, account: Account, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
        ours = _Settling(
            hold=hold,
            conclude=conclude,
            at=conversation.turn.answered_at,
            session=conversation.session,
            turn=items.turn_item(conversation.turn, conversation.kept),
            prompt=conversation.prompt,
        )
        line = _Line(ours, deadline=self._store.backoff.monotonic() + min(MAX_WAIT_SECONDS, time_left() / 2))
        try:
            ended = self._settle(account, line)
        except Exception:
            self._withdraw(line)
            raise
        if not ended.by_us:
            self._withdraw(line)
        return ended

    def _settle(self, account: Account, line: "_Line") -> Ended:
        ours, user_id = line.ours, account.user_id
        hold, now = ours.hold, ours.at
        for number in self._store.backoff.without_pauses():  # its time includes waiting in the queue
            if number == 0 and len(account.holds) > 1:  # other runs are open: it has probably changed
                account = self._wait_in_queue(self._reread(user_id), line)
            account = self._advance(account, now)
            if not _holds(account, hold):
                raw = self._receipt_of_ended(user_id, hold.run_id)
                return self._settled_or_ended(user_id, hold, raw, now, outlived=not line.published)
            together = [ours, *self._others(account, line)]
            writes, places, run = self._settlement(account, together)
            transact = self._store.transact if len(account.holds) == 1 else self._store.transact_once
            try:
                transact(*writes)
            except TransactionRefused as refusal:
                if 1 in refusal.refused:
                    return self._settled_or_ended(user_id, hold, refusal.refused[1], now)
                if 0 in refusal.refused:
                    account = self._wait_in_queue(self._moved(user_id, refusal.refused[0]), line, lost_race=True)
                    continue
                if refusal.in_the_way:
                    account = self._reread(user_id)
                    continue
                at_fault = [places[place] for place in refusal.refused]
                if any(isinstance(each, Entry) for each in at_fault):
                    raise CorruptLedgerError(f"an entry of {user_id} beyond {account.version} is there") from None
                if any(each is ours for each in at_fault):
                    raise SessionConflictError from None
                line.apart.update(each.hold.run_id for each in at_fault if isinstance(each, _Settling))
            except PassingError:  # another transaction is at work, and tries at once would be in its way
                if account.holds[hold.run_id].ticket is not None:
                    self._store.backoff.sleep(self._store.backoff.random() * SETTLEMENT_SECONDS)
                account = self._wait_in_queue(self._reread(user_id), line, lost_race=True)
            except StoreUnavailableError:
                if len(together) == 1:
                    raise
                line.alone = True  # it may be for what the others write
            else:
                if line.published or len(together) > 1:
                    self._forget([each.hold for each in together])
                return Ended(run, by_us=True)
        raise StoreUnavailableError

    def _settlement(
        self, account: Account, together: Sequence["_Settling"]
    ) -> tuple[list[Update | Put], Mapping[int, "_Settling | Entry"], Run]:
        """The transaction that settles runs of one account: the account, then the receipt, the entries and the
        conversation of each. With what each of its writes is for, and the receipt of the first run."""
        after, runs = account, []
        writes: list[Update | Put] = []
        places: dict[int, _Settling | Entry] = {}
        for each in together:
            after, run, entries = each.conclude(after)
            runs.append(run)
            writes.append(self._receipt_put(run))
            places[len(writes)] = each
            for entry, put in zip(entries, self._entry_puts(entries), strict=True):
                writes.append(put)
                places[len(writes)] = entry
            for write in self._conversation_writes(each):
                writes.append(write)
                places[len(writes)] = each
        ceiling = sum(each.hold.ceiling for each in together)
        spent = account.balance - after.balance  # by the runs, and for what the account owes
        there = {each.hold.run_id: Path(AccountItem.holds)[each.hold.run_id] for each in together}
        update = Update(
            account_key(self._ledger, account.user_id),
            actions=[
                *_bucket_actions(after),
                *_owed_actions(after),
                AccountItem.held.set(AccountItem.held - ceiling),
                AccountItem.available.set(AccountItem.available + (ceiling - spent)),
                *(place.remove() for place in there.values()),
                *_recent_actions(there),
            ],
            condition=(AccountItem.version == account.version)
            & reduce(and_, [there[each.hold.run_id]["n"] == each.hold.nonce for each in together])
            & _not_due(max(each.at for each in together))
            & (_owes_as_seen(account) if account.owes else _owes_nothing()),
        )
        return [update, *writes], places, runs[0]

    def _conversation_writes(self, settling: "_Settling") -> list[Put | Update]:
        session_id, number = settling.hold.session_id, int(settling.turn["number"]["N"])
        writes = [
            Put(turn_key(self._sessions, session_id, number), settling.turn),
            self._session_write(settling.session),
        ]
        if settling.prompt is not None:
            writes.append(Put(prompt_key(self._sessions, session_id), items.prompt_item(settling.prompt)))
        return writes

    # --- settlements of one account at the same time ------------------------------------------------------------------

    def _wait_in_queue(self, account: Account, line: "_Line", *, lost_race: bool = False) -> Account:
        """Wait for the earlier settlements of this account, until the deadline at most; the account then.

        Only one settlement at a time can go through, and many that try at once slow that one down. So a settlement that
        lost a race, or finds others waiting, stores its outcome, takes a ticket from the account, and tries when its
        number is the lowest. Whoever settles meanwhile settles it, too.
        Correctness does not depend on it: a settlement that does not wait is refused as before, and tickets of dead
        workers are passed.
        """
        hold = line.ours.hold
        if not (_holds(account, hold) and (lost_race or any(_tickets(account)))):
            return account
        if account.holds[hold.run_id].ticket is None:
            self._publish(account, line)
            account = self._take_ticket(account.user_id, hold)
        backoff = self._store.backoff
        moved, read_seconds = backoff.monotonic(), 0.0
        while _holds(account, hold):
            ticket = account.holds[hold.run_id].ticket or 0
            before = sum(other < ticket for other in _tickets(account))
            standstill = max(MAX_STANDSTILL_SECONDS, read_seconds * READS_OF_A_STANDSTILL)
            standstill += before * SETTLEMENT_SECONDS / 2  # not all pass a dead one at once
            if not before or backoff.monotonic() >= min(line.deadline, moved + standstill):
                break
            pause = max(min(self._pause(before), MAX_STANDSTILL_SECONDS), read_seconds * READS_OF_A_PAUSE)
            backoff.sleep(min(pause, MAX_PAUSE_SECONDS))
            asked = backoff.monotonic()
            seen, account = account, self._reread(account.user_id)
            read_seconds = backoff.monotonic() - asked
            if account.version != seen.version:
                moved = backoff.monotonic()
        return account

    def _pause(self, before: int) -> float:
        """Seconds until so many settlements in front of one are probably over."""
        return SETTLEMENT_SECONDS * (1 + before // MAX_TOGETHER) + before * TICKET_SECONDS

    def _publish(self, account: Account, line: "_Line") -> None:
        """Store our outcome, so that others can settle it. Not if it is too large, or would not do what `conclude`
        does."""
        ours = line.ours
        after, run, entries = ours.conclude(account)
        outcome = Outcome(run=run, reason=entries[-1].reason, session=ours.session, turn=ours.turn, prompt=ours.prompt)
        item = outcome_item(outcome)
        if item is None or outcome.conclude(account) != (after, run, tuple(entries)):
            return
        line.published = True  # first: nobody knows whether a request without a reply was written
        with suppress(StoreUnavailableError):  # then it is settled alone
            self._store.put_all({outcome_key(self._sessions, run.run_id, run.nonce): item})

    def _others(self, account: Account, line: "_Line") -> list["_Settling"]:
        """Other runs of this account that can be settled together with ours: those whose outcome is stored, the lowest
        tickets first, and no more than fit into a transaction. Each session once, because items are written once."""
        if line.alone or account.owes:
            return []
        ours = line.ours
        tickets = {hold.run_id: hold.ticket for hold in account.holds.values() if hold.ticket is not None}
        waiting = sorted(set(tickets) - line.apart - {ours.hold.run_id}, key=lambda run_id: tickets[run_id])
        holds = [account.holds[run_id] for run_id in waiting[:MAX_TOGETHER]]
        self._read_outcomes(account.user_id, [hold for hold in holds if hold.run_id not in line.outcomes], line)
        sessions, others = {ours.hold.session_id}, []
        room = MAX_TRANSACTION_ITEMS - 1 - ours.writes
        for hold in holds:
            outcome = line.outcomes.get(hold.run_id)
            if outcome is None or not outcome.is_of(hold) or account.is_due(outcome.run.ended_at):
                continue
            other = _Settling(
                hold=hold,
                conclude=outcome.conclude,
                at=outcome.run.ended_at,
                session=outcome.session,
                turn=outcome.turn,
                prompt=outcome.prompt,
            )
            room -= other.writes
            if hold.session_id not in sessions and room >= 0:
                sessions.add(hold.session_id)
                others.append(other)
        return others

    def _read_outcomes(self, user_id: str, holds: Sequence[Hold], line: "_Line") -> None:
        """Those that cannot be read are left to their own workers."""
        if not holds:
            return
        keys = {hold.run_id: outcome_key(self._sessions, hold.run_id, hold.nonce) for hold in holds}
        try:
            found = self._store.get_all(list(keys.values()), consistent=frozenset({self._sessions}))
        except StoreUnavailableError:
            line.alone = True
            return
        for run_id, key in keys.items():
            outcome = outcome_of(user_id, found[key]) if key in found else None
            if outcome is not None:
                line.outcomes[run_id] = outcome
            else:  # too large to be shared, of another version, or settled meanwhile
                line.apart.add(run_id)

    def _withdraw(self, line: "_Line") -> None:
        """Nobody has settled our run, so nobody else deletes its outcome."""
        if line.published:
            self._forget([line.ours.hold])

    def _forget(self, holds: Sequence[Hold]) -> None:
        """Delete outcomes whose runs have ended. What is left is removed by the table's time to live."""
        with suppress(StoreUnavailableError):
            self._store.delete_all([outcome_key(self._sessions, hold.run_id, hold.nonce) for hold in holds])

    def _take_ticket(self, user_id: str, hold: Hold) -> Account:
        there = Path(AccountItem.holds)[hold.run_id]
        following = (AccountItem.tickets | 0) + 1
        write = Update(
            account_key(self._ledger, user_id),
            actions=[AccountItem.tickets.set(following), there["q"].set(following)],
            condition=there["n"] == hold.nonce,
        )
        try:
            return items.account_of(user_id, self._store.update(write))
        except ConditionFailed as refusal:
            return self._moved(user_id, refusal.item)

    def release(
        self, user_id: str, run: Run, use: AllowanceUse = NOTHING_USED, *, seen: Account | None = None
    ) -> Ended:
        account = seen
        for _ in self._store.backoff:
            # Before a boundary that has passed, what is held would still count as held.
            drop = self._drop(user_id, [run], _not_due(run.ended_at) & _owes_nothing())
            try:
                self._store.transact(_using(drop, use, run.ended_at, account), self._receipt_put(run))
            except TransactionRefused as refusal:
                if 1 in refusal.refused:
                    return self._released_or_ended(user_id, run, refusal.refused[1])
                account = self._moved(user_id, refusal.refused[0])
                if not _holds(account, run):
                    return self._released_or_ended(user_id, run, self._receipt_of_ended(user_id, run.run_id))
                account = self._advance(account, run.ended_at)
                if account.owes and _holds(account, run):
                    with suppress(_DoneBeforeError):  # the next try reads the receipt
                        after, entries = drop_hold(account, run.run_id, now=run.ended_at)
                        back = use_allowance(after, use, run.ended_at), entries
                        if self._apply(account, back, self._receipt_put(run), ended=[run]):
                            return Ended(run, by_us=True)
            else:
                return Ended(run, by_us=True)
        raise StoreUnavailableError

    def _receipt_put(self, run: Run) -> Put:
        return Put(run_key(self._ledger, run.user_id, run.run_id), items.run_item(run))

    def _receipt_of_ended(self, user_id: str, run_id: str) -> RawItem | None:
        """The receipt of a run whose hold is gone. The items of a transaction become visible one after the other, and
        the account may be the first of them."""
        key = run_key(self._ledger, user_id, run_id)
        return self._store.get(key) or self._store.get_certain(key).get(key)

    def _drop(self, user_id: str, placed: Sequence[Hold | Run], condition: Condition) -> Update:
        """Give holds back, if all are those that were `placed`. For an account that owes nothing."""
        ceiling = sum(each.ceiling for each in placed)
        there = {each.run_id: Path(AccountItem.holds)[each.run_id] for each in placed}
        ours = [(there[each.run_id]["n"] == each.nonce) & (there[each.run_id]["c"] == each.ceiling) for each in placed]
        return Update(
            account_key(self._ledger, user_id),
            actions=[
                AccountItem.held.set(AccountItem.held - ceiling),
                AccountItem.available.set(AccountItem.available + ceiling),
                *(place.remove() for place in there.values()),
                *_recent_actions(there),
            ],
            condition=reduce(and_, ours) & condition,
        )

    def _settled_or_ended(
        self, user_id: str, hold: Hold, raw: RawItem | None, now: datetime, *, outlived: bool = True
    ) -> Ended:
        """The outcome on record. A settlement with the nonce of the attempt is its own, or was made for it. `outlived`:
        the hold may have outlived the run, or may have been placed once more by a late repeat."""
        there = self._on_record(user_id, hold, raw)
        if outlived:
            self.cancel_hold(user_id, hold, now=now)
        return Ended(there, by_us=there.nonce == hold.nonce and there.status is RunStatus.SETTLED)

    def _released_or_ended(self, user_id: str, run: Run, raw: RawItem | None) -> Ended:
        """The outcome on record. It is our own write, whose reply was lost, if it is exactly our receipt."""
        there = self._on_record(user_id, run, raw)
        self.cancel_hold(user_id, run, now=run.ended_at)
        return Ended(there, by_us=there == run)

    def _on_record(self, user_id: str, ours: Hold | Run, raw: RawItem | None) -> Run:
        if raw is None:
            raise CorruptLedgerError(f"{ours.run_id} of {user_id} has neither hold nor receipt")
        return items.run_of(user_id, raw)

    def _moved(self, user_id: str, raw: RawItem | None) -> Account:
        if raw is None:
            raise CorruptLedgerError(f"the account of {user_id} is gone")
        return items.account_of(user_id, raw)

    def _session_write(self, session: Session) -> Put | Update:
        key = session_key(self._sessions, session.session_id)
        if session.turns == 1:
            return Put(key, items.session_item(session))
        item = items.SessionItem
        first = session.turns == session.copied + 1  # the owner's first turn in a fork brings the variables
        variables = [item.variables.set(dict(session.variables))] if first and session.variables is not None else []
        return Update(
            key,
            actions=[
                *variables,
                item.updated_at.set(iso(session.updated_at)),
                item.listed_at.set(items.listed_at(session.updated_at, session.session_id)),
                item.turns.set(session.turns),
                item.credits.set(session.credits),
                item.tokens.set(session.tokens),
                item.duration_ms.set(session.duration_ms),
            ],
            condition=(item.turns == session.turns - 1)
            & (item.user_id == session.user_id)
            & item.deleted_at.does_not_exist(),
        )

    # --- change -------------------------------------------------------------------------------------------------------

    def change(self, user_id: str, amend: Amend, *, business_key: str, now: datetime) -> Account:
        account = self.account(user_id, now)
        for _ in self._store.backoff:
            change = amend(account)
            if change is None:
                return account
            key = Put(
                change_key(self._ledger, user_id, business_key),
                {"created_at": {"S": iso(now)}, "version": {"N": str(account.version)}},
            )
            try:
                after = self._apply(account, with_debt_repaid(change, now=now), key)
            except _DoneBeforeError:
                return self._advance(self._reread(user_id), now)
            if after is not None:
                return after
            account = self.account(user_id, now)
        raise StoreUnavailableError

    def book(self, user_id: str, book: Book, *, now: datetime) -> Account:
        account = self.account(user_id, now)
        for _ in self._store.backoff:
            booking = book(account)
            if booking is None:
                return account
            writes = [write for record in booking.records for write in record_writes(self._ledger, record)]
            change = with_debt_repaid((booking.account, tuple(booking.entries)), now=now)
            after = self._apply(account, change, *writes)
            if after is not None:
                return after
            account = self.account(user_id, now)
        raise StoreUnavailableError

    def _apply(
        self,
        account: Account,
        change: Change,
        *others: Put | Save,
        ended: Sequence[Hold | Run] = (),
        also: Sequence[Action] = (),
    ) -> Account | None:
        """Write a change of buckets and plan with its other items; None if any of them changed meanwhile. `ended`: with
        the end of these holds. `also`: with these updates of the account.

        Holds count, too: what is held cannot leave, and the account that is returned is one that was there. So do the
        stamps of limits: a hold that came and went meanwhile has moved them.
        Raises _DoneBeforeError if a `Put` among the others was there: this change was made before.
        """
        after, entries = change
        after = replace(after, revision=account.revision + 1)
        write = Update(
            account_key(self._ledger, account.user_id),
            actions=[
                *_bucket_actions(after),
                *_plan_actions(after),
                *_owed_actions(after),
                *_allowance_actions(account, after),
                AccountItem.available.set(after.available),
                *_ended_actions(after, [each.run_id for each in ended]),
                *also,
            ],
            condition=(AccountItem.version == account.version)
            & (AccountItem.revision == account.revision)
            & (Path(AccountItem.holds) == items.holds_map(account))
            & _same_limits(account),
        )
        try:
            self._store.transact(write, *self._entry_puts(entries), *others)
        except TransactionRefused as refusal:
            refused = [other for place, other in enumerate(others, len(entries) + 1) if place in refusal.refused]
            if any(isinstance(other, Put) for other in refused):
                raise _DoneBeforeError from None
            if refused or 0 in refusal.refused or refusal.in_the_way:
                return None
            raise CorruptLedgerError(f"entries of {account.user_id} beyond version {account.version}") from None
        return after

    def _entry_puts(self, entries: Iterable[Entry]) -> list[Put]:
        return [Put(entry_key(self._ledger, entry.user_id, entry.seq), items.entry_item(entry)) for entry in entries]

    # --- reading ------------------------------------------------------------------------------------------------------

    def run(self, user_id: str, run_id: str, *, ended: bool = False) -> Run | None:
        if ended:
            raw = self._receipt_of_ended(user_id, run_id)
        else:
            raw = self._store.get(run_key(self._ledger, user_id, run_id))
        return items.run_of(user_id, raw) if raw is not None else None

    def receipts(self, user_id: str, run_ids: Sequence[str]) -> Mapping[str, Run]:
        return self._receipts(user_id, run_ids)[0]

    def _receipts(self, user_id: str, run_ids: Sequence[str]) -> tuple[dict[str, Run], Sequence[str]]:
        """Receipts by the ids of their runs, in the order of `run_ids`; and the ids of those that cannot be read."""
        found = self._store.get_all(
            [run_key(self._ledger, user_id, run_id) for run_id in run_ids], consistent=frozenset({self._ledger})
        )
        runs: dict[str, Run] = {}
        unreadable: list[str] = []
        for run_id in dict.fromkeys(run_ids):
            raw = found.get(run_key(self._ledger, user_id, run_id))
            if raw is None:
                continue
            try:
                runs[run_id] = items.run_of(user_id, raw)
            except CorruptLedgerError as error:
                self._report(error)
                unreadable.append(run_id)
        return runs, unreadable

    def ended_runs(
        self, user_id: str, wanted: RunFilter, *, after: RunPlace | None, limit: int
    ) -> tuple[Sequence[Run], RunPlace | None, Sequence[str]]:
        wanted_values = {name: getattr(wanted, name) for name in FILTERS_OF_RUNS}
        equal = {name: str(value) for name, value in wanted_values.items() if value is not None}
        found: list[str] = []
        for _ in range(MAX_PAGES):
            page, stopped = self._store.query_index(
                self._ledger,
                INDEX_OF_RUNS,
                hash_name="pk",
                hash_value=user_pk(user_id),
                range_name="ended_at",
                first=iso(wanted.since) if wanted.since else None,
                last=iso(wanted.until - timedelta(milliseconds=1)) if wanted.until else LAST_END,
                newest_first=True,
                after=index_key(user_id, after) if after else None,
                limit=max(limit, 100) if equal else limit - len(found),
                equal=equal,
            )
            for raw in page:
                if len(found) == limit:
                    break
                after = run_place(raw)
                if (run_id := run_id_in(raw)) is not None:  # a subscription that has ended is in the index, too
                    found.append(run_id)
            else:
                after = run_place(stopped) if stopped is not None else None
            if after is None or len(found) == limit:
                break
        runs, unreadable = self._receipts(user_id, found)
        return list(runs.values()), after, unreadable

    def entries(
        self, user_id: str, *, before: int | None, limit: int, type_: EntryType | None
    ) -> tuple[Sequence[Entry], int | None, Sequence[int]]:
        found: list[Entry] = []
        unreadable: list[int] = []
        seen_down_to = before or 10**MAX_SEQ_DIGITS
        filter_: Mapping[str, Any] | None = None
        if type_ is not None:
            filter_ = {
                "FilterExpression": "#type = :type",
                "ExpressionAttributeNames": {"#type": "type"},
                "ExpressionAttributeValues": {":type": {"S": type_.value}},
            }
        last = entry_sk(before - 1) if before is not None else entry_sk(10**MAX_SEQ_DIGITS - 1)
        for _ in range(MAX_PAGES):
            page, stopped = self._store.query(
                self._ledger,
                user_pk(user_id),
                first=entry_sk(0),
                last=last,
                newest_first=True,
                limit=limit - len(found) if type_ is None else max(limit, 100),
                condition=filter_,
            )
            for raw in page:
                if len(found) == limit:
                    return found, seen_down_to, unreadable
                seen_down_to = seq_of(raw)
                try:
                    found.append(items.entry_of(user_id, raw))
                except CorruptLedgerError as error:
                    self._report(error)
                    unreadable.append(seen_down_to)
            seen_down_to = int(stopped.rpartition("#")[2]) if stopped is not None else 1
            if seen_down_to == 1:
                return found, None, unreadable  # entries are numbered from 1
            if len(found) == limit:
                return found, seen_down_to, unreadable
            last = entry_sk(seen_down_to - 1)
        return found, seen_down_to, unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settling:
    """A run that is about to be settled: how the account pays for it, when it ended, and what is stored of it."""

    hold: Hold
    conclude: Conclude
    at: datetime
    session: Session
    turn: RawItem
    prompt: str | None

    @property
    def writes(self) -> int:
        """Besides the account: receipt, entry, turn, session and prompt, while nothing is owed."""
        return 4 if self.prompt is None else 5


@dataclass(slots=True)
class _Line:
    """What a settlement knows of those of the same account. `deadline`: when it stops waiting for them. `published`:
    others may settle ours. `apart`: runs that cannot be settled with ours; `alone`: none can."""

    ours: _Settling
    deadline: float
    published: bool = False
    alone: bool = False
    apart: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)


class _DoneBeforeError(Exception):
    """The business key of a change is taken: the change was made before."""


def _holds(account: Account, hold: Hold | Run) -> bool:
    there = account.holds.get(hold.run_id)
    return there is not None and there.nonce == hold.nonce


def _together(holds: Sequence[Hold]) -> tuple[int, str]:
    """The credits of holds, and the first of their leases as it is stored."""
    return sum(hold.ceiling for hold in holds), iso(min(hold.lease_at for hold in holds))


def _remembers(raw: RawItem, holds: Sequence[Hold]) -> bool:
    return any(items.remembers(raw, hold.run_id) for hold in holds)


def _without(account: Account, holds: Sequence[Hold | Run], now: datetime) -> Change:
    """The holds given back, one after the other."""
    entries: list[Entry] = []
    for hold in holds:
        account, written = drop_hold(account, hold.run_id, now=now)
        entries.extend(written)
    return account, tuple(entries)


def _tickets(account: Account) -> Iterator[int]:
    return (hold.ticket for hold in account.holds.values() if hold.ticket is not None)


def _bucket_actions(after: Account) -> list[Action]:
    """Buckets, version and chain by value: only with a condition on `version`."""
    return [
        AccountItem.monthly.set(after.buckets.monthly),
        AccountItem.rollover.set(after.buckets.rollover),
        AccountItem.purchased.set(after.buckets.purchased),
        AccountItem.version.set(after.version),
        AccountItem.last_hash.set(after.last_hash),
    ]


def _owed_actions(after: Account) -> list[Action]:
    def unless_nothing(attribute: Any, credits_: int) -> Action:
        action: Action = attribute.set(credits_) if credits_ else attribute.remove()
        return action

    return [
        AccountItem.debt.set(after.debt),
        unless_nothing(AccountItem.lapsed, after.lapsed),
        unless_nothing(AccountItem.reclaimed_monthly, after.reclaimed_monthly),
        unless_nothing(AccountItem.reclaimed_rollover, after.reclaimed_rollover),
    ]


def _recent_actions(run_ids: Iterable[str]) -> list[Action]:
    """Remember that these runs have ended: of several in one slot the last, for a path is written once."""
    marks = dict(items.recent_slot(run_id) for run_id in run_ids)
    return [Path(AccountItem.recent)[slot].set(mark) for slot, mark in marks.items()]


def _ended_actions(after: Account, run_ids: Sequence[str]) -> list[Action]:
    if not run_ids:
        return []
    return [
        AccountItem.held.set(after.held),
        *(Path(AccountItem.holds)[run_id].remove() for run_id in run_ids),
        *_recent_actions(run_ids),
    ]


def _plan_actions(after: Account) -> list[Action]:
    def optional(attribute: Any, value: datetime | None) -> Action:
        action: Action = attribute.set(iso(value)) if value else attribute.remove()
        return action

    return [
        AccountItem.revision.set(after.revision),
        AccountItem.plan.set(after.plan.value),
        AccountItem.allowance.set(after.allowance),
        AccountItem.period.set(after.period),
        optional(AccountItem.anchor, after.anchor),
        optional(AccountItem.entitled_until, after.entitled_until),
        optional(AccountItem.due_at, after.due_at),
        optional(AccountItem.paused_at, after.paused_at),
        AccountItem.subscription_id.set(after.subscription_id)
        if after.subscription_id
        else AccountItem.subscription_id.remove(),
        AccountItem.paid_periods.set(list(after.paid_periods))
        if after.paid_periods
        else AccountItem.paid_periods.remove(),
        AccountItem.due_shard.set(shard_of(after.user_id)) if after.due_at else AccountItem.due_shard.remove(),
    ]


def _allowance_actions(before: Account, after: Account) -> list[Action]:
    """What a run without an answer has used, and what is paid for the first time, which begins the allowance anew."""
    actions: list[Action] = [AccountItem.has_paid.set(True)] if after.has_paid and not before.has_paid else []
    for attribute, was, becomes in (
        (AccountItem.failures_at, before.failures_at, after.failures_at),
        (AccountItem.unpaid_at, before.unpaid_at, after.unpaid_at),
    ):
        if becomes != was:
            actions.append(attribute.set(millis(becomes)) if becomes is not None else attribute.remove())
    return actions


def _admitted(
    allowance: Allowance, ceiling: int, limit: int, now: datetime, seen: Account | None, *, added: int = 1
) -> Condition:
    """`Allowance.admits`, of the account as it is when it is written.

    Of the levels only the one that decides for `seen`, the account as last read, is in the condition (None: nothing is
    used). It never admits more than `admits`. If more has been used since, it may refuse what `admits` would not; the
    refusal brings the account, so that the next try has the right level.
    """

    def within(counted: Any, used: Any, level: tuple[int, datetime]) -> Condition:
        most, latest = level
        condition: Condition = (counted <= most) & (used.does_not_exist() | (used <= millis(latest)))
        return condition

    failures_at, unpaid_at = (seen.failures_at, seen.unpaid_at) if seen is not None else (None, None)
    by_runs = best_level(allowance.by_open_runs(limit, now, added=added), failures_at)
    by_credits = best_level(allowance.by_held_credits(ceiling, now), unpaid_at)
    open_runs = size(AccountItem.holds)  # type: ignore[no-untyped-call]
    condition: Condition = within(open_runs, AccountItem.failures_at, by_runs) & within(
        AccountItem.held, AccountItem.unpaid_at, by_credits
    )
    return condition


def _using(write: Update, use: AllowanceUse, at: datetime, seen: Account | None) -> Update:
    """`write`, and what a run without an answer uses up of the allowance.

    DynamoDB knows no maximum: a time that has passed is set, one that is ahead is added to, and the condition says
    which of the two was right. `seen`, the account that refused, decides; at first nothing is thought to be used.
    """
    actions, conditions = list(write.actions), [write.condition]
    for attribute, ahead, more in (
        (AccountItem.failures_at, seen.failures_at if seen else None, use.failures),
        (AccountItem.unpaid_at, seen.unpaid_at if seen else None, use.unpaid),
    ):
        if not more:
            continue
        now, moved = millis(at), _millis(more)
        if ahead is not None and millis(ahead) > now:
            actions.append(attribute.set(attribute + moved))
            conditions.append(attribute > now)
        else:
            actions.append(attribute.set(now + moved))
            conditions.append(attribute.does_not_exist() | (attribute <= now))
    return replace(write, actions=actions, condition=reduce(and_, conditions))


def _millis(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _same_limits(account: Account) -> Condition:
    """Nothing was counted against the account's limits since it was read."""
    stamps = (
        (AccountItem.failures_at, account.failures_at),
        (AccountItem.unpaid_at, account.unpaid_at),
        (AccountItem.runs_at, account.runs_at),
    )
    same = [attribute == millis(at) if at is not None else attribute.does_not_exist() for attribute, at in stamps]
    condition: Condition = reduce(and_, same)
    return condition


def _not_due(now: datetime) -> Condition:
    """No monthly boundary has passed by `now` that the account has not seen."""
    condition: Condition = AccountItem.due_at.does_not_exist() | (AccountItem.due_at > iso(now))
    return condition


def _has_one_of(plans: frozenset[Plan]) -> Condition:
    """The account has one of the plans; there may be none that would do. Only with `_not_due`: then the plan is that of
    now."""
    condition: Condition = (
        AccountItem.plan.is_in(*sorted(plan.value for plan in plans)) if plans else AccountItem.plan.does_not_exist()
    )
    return condition


def _owes_nothing() -> Condition:
    """The account owes nothing: what a hold gives back becomes available as it is."""
    condition: Condition = (AccountItem.debt == 0) & AccountItem.lapsed.does_not_exist()
    return condition


def _owes_as_seen(account: Account) -> Condition:
    """The account owes what it owed in `account`, and has as much available: both decide what is repaid."""
    lapsed = AccountItem.lapsed == account.lapsed if account.lapsed else AccountItem.lapsed.does_not_exist()
    condition: Condition = (
        (AccountItem.debt == account.debt) & lapsed & (Path(AccountItem.holds) == items.holds_map(account))
    )
    return condition
