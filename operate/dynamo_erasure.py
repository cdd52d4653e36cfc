"""Erasure and export on DynamoDB: everything that is kept of one user, wherever it is.

    USER#<id>         ACCOUNT ENTRY# RUN# KEY# NOTICE# PURCHASE# INVOICE# CUSTOMER# SUBSCRIPTION    the ledger's table
    PAYMENT#<id>      PAYMENT      }
    CUSTOMER#<id>     CUSTOMER     } name their user in an attribute and are found by a scan
    EVENT#<id>        EVENT        }
    SESSION#<id>      SESSION TURN# …      the sessions' table; receipts and summaries say which are the user's
    LIVE#<run>        <nonce>#…            texts of runs that died before they were paid for; receipts name the runs
    SHARE#<id>        SHARE VIEW# VOTE#    of others: what the user left there is found by a scan, as are reports
    USER#<id>         TOTAL PACKAGE# DAY#  counters of the user's runs, in the table of what runs cost
    sessions/…        texts that are too large for an item, in the bucket

For an operator, never on a request's path.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_items import AccountItem, SessionItem
from playground.adapters.dynamo_keys import (
    account_key,
    customer_pointer,
    entry_key,
    erasure_key,
    live_pk,
    payment_pointer,
    run_key,
    session_key,
    share_key,
    spender_key,
    subscription_key,
    user_pk,
)
from playground.adapters.dynamo_payments import DynamoPurchaseRecords, record_writes, subscription_of
from playground.adapters.dynamo_spend import FORGOTTEN_UNTIL
from playground.adapters.dynamo_store import (
    Check,
    Delete,
    DynamoStore,
    Key,
    Put,
    RawItem,
    Replace,
    TransactionRefused,
    Update,
    Write,
)
from playground.adapters.texts import TurnTexts
from playground.domain.account import Account
from playground.domain.calendar import from_iso, iso
from playground.domain.entries import GENESIS
from playground.domain.erasure import (
    OvertakenError,
    erased_account,
    erased_entry,
    erased_run,
    merged,
    opened_again,
)
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.sharing import viewer_of
from playground.domain.spend import Counters
from playground.domain.subscriptions import Subscription

PAGE = 25
MAX_LARGE = 9  # items of up to 400 KB in a transaction, which takes 4 MB
MAX_PAGES = 10_000  # of versions of the texts of one conversation
MAX_ROUNDS = 10  # in search of conversations that somebody goes on copying
# A subscription before the customer that leads to it, so that an event meanwhile is retried; purchases after the
# customer with which they are compared.
PAYMENT_KINDS = ("SUBSCRIPTION", "CUSTOMER#", "PURCHASE#", "INVOICE#")
PERSONAL_KINDS = ("NOTICE#", "RUN#", "ENTRY#")
FORGOTTEN = {"N": "0"}  # the version in a key whose entry is under a pseudonym
FORGET_AHEAD = timedelta(minutes=10)  # by which the clock of a function that wrote a receipt may be ahead of ours
ANY = Path("pk").exists() | Path("pk").does_not_exist()


@dataclass(frozen=True)
class DynamoPerson:
    """What is kept of a user, read page by page."""

    store: DynamoStore
    _: KW_ONLY
    ledger_table: str
    sessions_table: str
    spend_table: str
    texts: TurnTexts

    def books(self, user_id: str, kind: str = "") -> Iterator[RawItem]:
        """Items of the user's own partition whose sort key begins with `kind`."""
        return self._partition(self.ledger_table, user_pk(user_id), kind)

    def spend(self, user_id: str) -> Iterator[RawItem]:
        """Counters of the user's runs."""
        return self._partition(self.spend_table, user_pk(user_id), "")

    def elsewhere(self, user_id: str) -> Iterator[RawItem]:
        """Payments, customers and events of the payment provider that name the user. A scan of the whole table."""
        return self._scan(self.ledger_table, "user_id = :user", {":user": {"S": user_id}})

    def left_behind(self, user_id: str) -> Iterator[RawItem]:
        """What the user left at conversations of others: views, votes and reports. A scan of the whole table."""
        kinds = {":view": {"S": "VIEW#"}, ":vote": {"S": "VOTE#"}, ":report": {"S": f"REPORT#{user_id}"}}
        condition = "begins_with(sk, :view) OR begins_with(sk, :vote) OR sk = :report"
        for raw in self._scan(self.sessions_table, condition, kinds):
            share_id, (kind, _, who) = raw["pk"]["S"].removeprefix("SHARE#"), raw["sk"]["S"].partition("#")
            if kind == "REPORT" or who == viewer_of(share_id, user_id):
                yield raw

    def sessions(self, user_id: str, *others: str) -> Iterator[str]:
        """Ids of the user's conversations: those that receipts (of `others`, too) name, and those in the index of
        owners, for a copy of somebody's conversation has no receipt."""
        seen: set[str] = set()
        for name in (user_id, *others):
            for raw in self.books(name, "RUN#"):
                session_id = raw["session_id"]["S"]
                if session_id not in seen:
                    seen.add(session_id)
                    if self._is_of(session_id, user_id):
                        yield session_id
        for session_id in self._owned(user_id):
            if session_id not in seen:
                seen.add(session_id)
                yield session_id

    def _owned(self, user_id: str) -> Iterator[str]:
        after: Mapping[str, Any] | None = None
        while True:
            found, after = self.store.query_index(
                self.sessions_table,
                "by_owner",
                hash_name="user_id",
                hash_value=user_id,
                range_name="listed_at",
                last="~",
                after=after,
                limit=PAGE,
            )
            for raw in found:
                yield raw["pk"]["S"].removeprefix("SESSION#")
            if after is None:
                return

    def _is_of(self, session_id: str, user_id: str) -> bool:
        raw = self.store.get(session_key(self.sessions_table, session_id))
        return raw is not None and raw["user_id"]["S"] == user_id

    def conversation(self, session_id: str) -> Iterator[RawItem]:
        """Everything of a session, and of its share."""
        for raw in self._partition(self.sessions_table, session_key("", session_id).pk, ""):
            if raw["sk"]["S"] == "SESSION":
                for share_id in shares_of(raw):
                    yield from self._partition(self.sessions_table, share_key("", share_id).pk, "")
            yield raw

    def texts_of(self, turn: RawItem) -> Mapping[str, str]:
        """The texts of a turn that are not in its item."""
        kept = items.kept_of(turn)
        return self.texts.get(kept) if kept is not None else {}

    def _partition(self, table: str, pk: str, kind: str) -> Iterator[RawItem]:
        arguments: dict[str, Any] = {}
        while True:
            page, stopped = self.store.query(
                table, pk, first=kind or " ", last=f"{kind}~", limit=PAGE, condition=arguments
            )
            yield from page
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = Key(table, pk, stopped).raw

    def _scan(self, table: str, condition: str, values: Mapping[str, Any]) -> Iterator[RawItem]:
        return self.store.scan_all(table, {"FilterExpression": condition, "ExpressionAttributeValues": values})


class DynamoEraser(DynamoPerson):
    """`erase_account.Eraser`. A copy depends only on the original and the pseudonym, so a repeated copy is the same.

    Every write is conditional on the account still being erased under this pseudonym. Nothing else writes to such an
    account, so everything in it is of the erased user. A process that is overtaken by another one finds the mark gone,
    and changes nothing of a user who has come back since.
    """

    def exists(self, user_id: str) -> bool:
        return self._raw_account(user_id) is not None

    def pseudonym(self, user_id: str) -> str | None:
        raw = self._raw_account(user_id) or {}
        return str(raw[items.ERASING]["S"]) if items.ERASING in raw else None

    def is_erased(self, user_id: str) -> bool:
        raw = self._raw_account(user_id)
        if raw is None or items.ERASING in raw:
            return False
        account = items.account_of(user_id, raw)
        if account.version != 1 or account.buckets.total or account.holds:
            return False
        left = itertools.chain(
            (raw for raw in self.books(user_id) if not _stays(raw)),
            (raw for raw in self.spend(user_id) if raw["sk"]["S"] != spender_key(self.spend_table, user_id).sk),
            self._owned(user_id),
            self._renamed(user_id),
            self.left_behind(user_id),
        )
        return next(left, None) is None

    def subscription(self, user_id: str) -> Subscription:
        return DynamoPurchaseRecords(self.store, self.ledger_table).subscription(user_id)

    def begin(self, account: Account, subscription: Subscription, pseudonym: str) -> bool:
        mark = Update(
            account_key(self.ledger_table, account.user_id),
            actions=[
                Path(items.ERASING).set(pseudonym),
                # What holds credits does not look at the mark: it finds none.
                AccountItem.available.set(0),
                AccountItem.revision.set(account.revision + 1),
                AccountItem.lease_at.remove(),
                AccountItem.lease_shard.remove(),
                AccountItem.due_at.remove(),
                AccountItem.due_shard.remove(),
            ],
            condition=(AccountItem.version == account.version)
            & (AccountItem.revision == account.revision)
            & (Path(AccountItem.holds) == {})
            & Path(items.ERASING).does_not_exist(),
        )
        kept = Put(erasure_key(self.ledger_table, account.user_id), items.account_item(account))
        unmoved: Condition = Path("pk").does_not_exist()
        if subscription.revision:
            unmoved = Path("revision") == subscription.revision
        seen = Check(subscription_key(self.ledger_table, account.user_id), unmoved)
        try:
            self.store.transact(mark, kept, seen)  # the account as it was, until it has been copied
        except TransactionRefused as refusal:
            there = refusal.refused.get(0) or {}
            return bool(there.get(items.ERASING) == {"S": pseudonym})  # our own write, its reply lost
        return True

    def copy_books(self, user_id: str, pseudonym: str) -> tuple[int, int]:
        entries = runs = 0
        previous_hash = GENESIS
        copies: dict[Key, RawItem] = {}
        for raw in self.books(user_id, "ENTRY#"):
            entry = erased_entry(items.entry_of(user_id, raw), pseudonym, previous_hash=previous_hash)
            if entry.seq != entries + 1:
                if self.store.get(entry_key(self.ledger_table, pseudonym, entries + 1)) is None:
                    self._still(user_id, pseudonym)
                    raise CorruptLedgerError(f"{user_id} lacks entry {entries + 1}")
                break  # they are being deleted, so all of them were copied
            previous_hash = entry.hash
            entries += 1
            copies[entry_key(self.ledger_table, pseudonym, entry.seq)] = items.entry_item(entry)
            copies = self._copy_full(user_id, pseudonym, copies)
        self._copy(user_id, pseudonym, copies)
        copies = {}
        for raw in self.books(user_id, "RUN#"):
            run = items.run_of(user_id, raw)
            entry_hash = None
            if run.entry_seq is not None:
                copied = self.store.get(entry_key(self.ledger_table, pseudonym, run.entry_seq))
                if copied is None:
                    self._still(user_id, pseudonym)
                    raise CorruptLedgerError(f"{run.run_id} names an entry that is not there")
                entry_hash = items.entry_of(pseudonym, copied).hash
            erased = erased_run(run, pseudonym, entry_hash=entry_hash)
            runs += 1
            copies[run_key(self.ledger_table, pseudonym, run.run_id)] = items.run_item(erased)
            copies = self._copy_full(user_id, pseudonym, copies)
        for raw in self.books(user_id, "KEY#"):
            if raw["version"] != FORGOTTEN:  # it was copied, and says so
                copies[Key(self.ledger_table, user_pk(pseudonym), raw["sk"]["S"])] = raw
                copies = self._copy_full(user_id, pseudonym, copies)
        self._copy(user_id, pseudonym, copies)
        return entries, runs

    def _copy_full(self, user_id: str, pseudonym: str, copies: dict[Key, RawItem]) -> dict[Key, RawItem]:
        """What is still to be copied."""
        if len(copies) < PAGE:
            return copies
        self._copy(user_id, pseudonym, copies)
        return {}

    def _copy(self, user_id: str, pseudonym: str, copies: Mapping[Key, RawItem]) -> None:
        """Those that are not there. One that is there and differs is of other books than these."""
        puts = [Put(key, item) for key, item in copies.items()]
        for _ in self.store.backoff:
            if not puts:
                return
            try:
                self._fenced(user_id, pseudonym, *puts)
            except TransactionRefused as refusal:
                for place, there in refusal.refused.items():
                    if there != {**puts[place].item, **puts[place].key.raw}:
                        raise CorruptLedgerError(f"{puts[place].key.sk} of {pseudonym} is another one") from None
                puts = [put for place, put in enumerate(puts) if place not in refusal.refused]
            else:
                return

    def copy_account(self, user_id: str, pseudonym: str) -> None:
        key = erasure_key(self.ledger_table, user_id)
        raw = self.store.get(key)
        if raw is None:
            return  # copied before
        account = items.account_of(user_id, raw)
        last = self.store.get(entry_key(self.ledger_table, pseudonym, account.version))
        if last is None:
            self._still(user_id, pseudonym)
            raise CorruptLedgerError(f"{pseudonym} lacks entry {account.version}")
        erased = erased_account(account, pseudonym, last_hash=items.entry_of(pseudonym, last).hash)
        target = account_key(self.ledger_table, pseudonym)
        try:
            self._fenced(user_id, pseudonym, Put(target, items.account_item(erased)), Delete(key, ANY))
        except TransactionRefused:
            if self.store.get(target) is None:
                raise StoreUnavailableError from None

    def move_payments(self, user_id: str, pseudonym: str) -> int:
        moved = 0
        for kind in PAYMENT_KINDS:
            for raw in list(self.books(user_id, kind)):
                moved += self._move_payment(user_id, pseudonym, raw)
        return moved

    def _move_payment(self, user_id: str, pseudonym: str, raw: RawItem) -> int:
        """One record and the pointer to it, at the same moment. A record that moves meanwhile is read again."""
        old = Key(self.ledger_table, user_pk(user_id), raw["sk"]["S"])
        for _ in self.store.backoff:
            writes: list[Write] = [
                Delete(old, Path("revision") == int(raw["revision"]["N"])),
                *self._in_new_place(pseudonym, raw),
            ]
            for pointer in _pointers_of(self.ledger_table, raw):
                theirs = (Path("user_id") == user_id) | (Path("user_id") == pseudonym)
                writes.append(Update(pointer, actions=[Path("user_id").set(pseudonym)], condition=theirs))
            try:
                self._fenced(user_id, pseudonym, *writes)
            except TransactionRefused:
                again = self.store.get(old)
                if again is None:
                    return 0  # it has been moved
                raw = again
            else:
                return 1
        raise StoreUnavailableError

    def _in_new_place(self, pseudonym: str, raw: RawItem) -> Sequence[Write]:
        """The writes of a record under the pseudonym. If there is one already, a subscription is merged; a customer, a
        purchase or a paid month stays, because later events were applied to that one."""
        place = Key(self.ledger_table, user_pk(pseudonym), raw["sk"]["S"])
        there = self.store.get(place)
        if there is None:
            return [Put(place, raw)]
        if place.sk != "SUBSCRIPTION":
            return []
        both = merged(subscription_of(pseudonym, raw), subscription_of(pseudonym, there))
        return record_writes(self.ledger_table, both)

    def delete_sessions(self, user_id: str, pseudonym: str) -> int:
        receipts = [
            (raw["run_id"]["S"], raw["session_id"]["S"])
            for name in (user_id, pseudonym)
            for raw in self.books(name, "RUN#")
        ]
        for run_id in sorted({run_id for run_id, _ in receipts}):
            left = [
                Key(self.sessions_table, raw["pk"]["S"], raw["sk"]["S"])
                for raw in self._partition(self.sessions_table, live_pk(run_id), "")
            ]
            self._delete(user_id, pseudonym, left, at_once=MAX_LARGE)
        named = {session_id for _, session_id in receipts}
        return self._delete_those(user_id, pseudonym, sorted(named)) + self._delete_owned(user_id, pseudonym)

    def delete_traces(self, user_id: str, pseudonym: str) -> int:
        left = [Key(self.sessions_table, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.left_behind(user_id)]
        self._delete(user_id, pseudonym, left)
        return self._delete_owned(user_id, pseudonym)

    def _delete_owned(self, user_id: str, pseudonym: str) -> int:
        """Until none is found: conversations can be copied meanwhile, and an index may be a moment behind."""
        deleted = 0
        for _ in range(MAX_ROUNDS):
            found = [session_id for session_id in sorted(set(self._owned(user_id))) if self._is_of(session_id, user_id)]
            if not found:
                return deleted
            deleted += self._delete_those(user_id, pseudonym, found)
        raise StoreUnavailableError

    def _delete_those(self, user_id: str, pseudonym: str, session_ids: Iterable[str]) -> int:
        """The mark first, which every other write to a session looks at, and the summary last and by itself: it is
        what leads to the rest. Of one that is not there any more, what was left of it."""
        deleted = 0
        for session_id in session_ids:
            state = self._mark_deleted(user_id, pseudonym, session_id)
            if state is Mark.OF_ANOTHER:
                continue
            self._delete_texts(user_id, pseudonym, session_id)
            summary = session_key(self.sessions_table, session_id)
            for _ in range(MAX_ROUNDS):
                rest = [key for key in self._keys_of(session_id) if key != summary]
                if not rest:
                    break
                self._delete(user_id, pseudonym, rest, at_once=MAX_LARGE)
            else:
                raise StoreUnavailableError  # somebody goes on adding to it
            if state is Mark.THERE:
                self._fenced(user_id, pseudonym, Delete(summary, ANY))
                deleted += 1
        return deleted

    def _delete_texts(self, user_id: str, pseudonym: str, session_id: str) -> None:
        for _ in range(MAX_PAGES):
            versions = self.texts.versions(session_id)
            if not versions:
                return
            self._still(user_id, pseudonym)  # so they are of the conversation that goes
            for name, version in versions:
                self.texts.delete_version(name, version)
        raise StoreUnavailableError

    def _keys_of(self, session_id: str) -> list[Key]:
        return [Key(self.sessions_table, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.conversation(session_id)]

    def _mark_deleted(self, user_id: str, pseudonym: str, session_id: str) -> "Mark":
        """Nothing is added to the session from now on: no turn, no share, and no copy is finished."""
        key = session_key(self.sessions_table, session_id)
        for _ in self.store.backoff:
            raw = self.store.get(key)
            if raw is None:
                return Mark.GONE
            if raw["user_id"]["S"] != user_id:
                return Mark.OF_ANOTHER
            if "deleted_at" in raw and "forking" not in raw:
                return Mark.THERE
            at = raw["updated_at"]["S"]  # of its last activity: the mark itself is gone in a moment
            actions: list[Action] = [
                SessionItem.deleted_at.set(at),
                SessionItem.listed_at.set(items.marked_at(from_iso(at), session_id)),
                Path(SessionItem.forking).remove(),
            ]
            condition = (SessionItem.user_id == user_id) & SessionItem.forking.does_not_exist()
            if "forking" in raw:
                condition = SessionItem.user_id == user_id
            writes: list[Write] = []
            share_id = raw.get("share", {}).get("M", {}).get("id", {}).get("S")
            if share_id is None:
                condition &= Path(SessionItem.share).does_not_exist()
            else:
                condition &= Path(SessionItem.share)["id"] == share_id
                actions += [Path(SessionItem.share).remove(), SessionItem.former_shares.add({share_id})]
                writes = [Delete(share_key(self.sessions_table, share_id), ANY)]
            try:
                self._fenced(user_id, pseudonym, Update(key, actions=actions, condition=condition), *writes)
            except TransactionRefused:
                continue
            return Mark.THERE
        raise StoreUnavailableError

    def forget_events(self, user_id: str, pseudonym: str) -> int:
        changed = 0
        for raw in self._renamed(user_id):
            key = Key(self.ledger_table, raw["pk"]["S"], raw["sk"]["S"])
            named = Update(key, actions=[Path("user_id").set(pseudonym)], condition=Path("user_id") == user_id)
            try:
                self._fenced(user_id, pseudonym, named)
            except TransactionRefused:
                continue
            changed += 1
        return changed

    def _renamed(self, user_id: str) -> Iterator[RawItem]:
        """Events, and pointers of customers so old that no record names them. Other pointers move with their record."""
        return (raw for raw in self.elsewhere(user_id) if raw["sk"]["S"] in ("EVENT", "CUSTOMER"))

    def forget_spend(self, user_id: str, pseudonym: str, now: datetime) -> None:
        """First the mark, which every count of this user's runs looks at; it stays. Totals stay, too: they name nobody.
        Receipts that are counted from now on are counted in the totals only."""
        mark = spender_key(self.spend_table, user_id)
        until = iso(now + FORGET_AHEAD)
        names = [Path(each.name) for each in fields(Counters)]
        actions: list[Action] = [Path(FORGOTTEN_UNTIL).set(until), *(name.remove() for name in names)]
        self._fenced(user_id, pseudonym, Update(mark, actions=actions))
        keys = [Key(self.spend_table, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.spend(user_id)]
        self._delete(user_id, pseudonym, [key for key in keys if key != mark])

    def delete_books(self, user_id: str, pseudonym: str) -> None:
        for kind in PERSONAL_KINDS:
            keys = [Key(self.ledger_table, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.books(user_id, kind)]
            self._delete(user_id, pseudonym, keys)
        stripped = [
            Replace(
                Key(self.ledger_table, raw["pk"]["S"], raw["sk"]["S"]),
                {"created_at": raw["created_at"], "version": FORGOTTEN},
                ANY,
            )
            for raw in self.books(user_id, "KEY#")
            if raw["version"] != FORGOTTEN
        ]
        for start in range(0, len(stripped), PAGE):
            self._fenced(user_id, pseudonym, *stripped[start : start + PAGE])

    def finish(self, user_id: str, pseudonym: str, now: datetime) -> None:
        key = account_key(self.ledger_table, user_id)
        raw = self.store.get(key) or {}
        if raw.get(items.ERASING) != {"S": pseudonym}:
            return  # finished
        # Later than the former one in any case: accounts of one user are told apart by when they were opened.
        opened_at = max(now, from_iso(raw["created_at"]["S"]) + timedelta(milliseconds=1))
        paused_at = from_iso(raw["paused_at"]["S"]) if "paused_at" in raw else None
        account, (entry,) = opened_again(
            user_id, revision=int(raw["revision"]["N"]) + 1, now=opened_at, paused_at=paused_at
        )
        try:
            self.store.transact(
                Replace(key, items.account_item(account), Path(items.ERASING) == pseudonym),
                Put(entry_key(self.ledger_table, user_id, entry.seq), items.entry_item(entry)),
            )
        except TransactionRefused:
            if self.pseudonym(user_id) == pseudonym:
                raise CorruptLedgerError(f"{iso(now)}: something of the former account is still there") from None

    def _fenced(self, user_id: str, pseudonym: str, *writes: Write) -> None:
        """All of `writes`, or none. Raises OvertakenError if the account is not being erased under this pseudonym any
        more, and TransactionRefused, which names `writes` by their position."""
        try:
            self.store.transact(*writes, Check(account_key(self.ledger_table, user_id), _erasing(pseudonym)))
        except TransactionRefused as refusal:
            if len(writes) in refusal.refused:
                raise OvertakenError(user_id) from None
            raise

    def _still(self, user_id: str, pseudonym: str) -> None:
        """Raises OvertakenError. What was read before is of the account that is being erased."""
        if self.pseudonym(user_id) != pseudonym:
            raise OvertakenError(user_id)

    def _delete(self, user_id: str, pseudonym: str, keys: Sequence[Key], *, at_once: int = PAGE) -> None:
        for start in range(0, len(keys), at_once):
            self._fenced(user_id, pseudonym, *(Delete(key, ANY) for key in keys[start : start + at_once]))

    def _raw_account(self, user_id: str) -> RawItem | None:
        return self.store.get(account_key(self.ledger_table, user_id))


class Mark(Enum):
    """What there is of a session that is to be deleted."""

    THERE = auto()
    GONE = auto()
    OF_ANOTHER = auto()


def _erasing(pseudonym: str) -> Condition:
    condition: Condition = Path(items.ERASING) == pseudonym
    return condition


def _stays(raw: RawItem) -> bool:
    """Whether an item of the user's partition is one that `finish` leaves: the account, its entry, a used reference."""
    kind, _, _ = raw["sk"]["S"].partition("#")
    return kind in ("ACCOUNT", "ENTRY") or (kind == "KEY" and raw["version"] == FORGOTTEN)


def shares_of(session: RawItem) -> Sequence[str]:
    """Ids under which a session is, or was, shared."""
    share: Mapping[str, Any] = session.get("share", {}).get("M", {})
    return [*([share["id"]["S"]] if "id" in share else []), *session.get("former_shares", {}).get("SS", [])]


def _pointers_of(table: str, raw: RawItem) -> Sequence[Key]:
    """What leads to a record: of a customer also what leads to the ones before."""
    kind = raw["sk"]["S"].partition("#")[0]
    if kind == "PURCHASE" and "payment_id" in raw and "S" in raw["payment_id"]:
        return [payment_pointer(table, raw["payment_id"]["S"])]
    if kind == "CUSTOMER":
        ids = [raw["customer_id"], *raw.get("former", {}).get("L", [])]
        return [customer_pointer(table, each["S"]) for each in ids]
    return []
