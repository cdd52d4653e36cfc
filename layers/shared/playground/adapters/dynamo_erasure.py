"""Erasure and export on DynamoDB: everything that is kept of one user, wherever it is.

    USER#<id>         ACCOUNT ENTRY# RUN# KEY# NOTICE# PURCHASE# CUSTOMER# SUBSCRIPTION    the ledger's table
    PAYMENT#<id>      PAYMENT      }
    CUSTOMER#<id>     CUSTOMER     } name their user in an attribute and are found by a scan
    EVENT#<id>        EVENT        }
    SESSION#<id>      SESSION TURN# …      the sessions' table; receipts and summaries say which are the user's
    SHARE#<id>        SHARE VIEW# VOTE#    of others: what the user left there is found by a scan, as are reports
    sessions/…        texts that are too large for an item, in the bucket

For an operator, never on a request's path.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.expressions.operand import Path

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_items import AccountItem
from playground.adapters.dynamo_store import (
    ConditionFailed,
    Delete,
    DynamoStore,
    Key,
    Put,
    RawItem,
    Replace,
    TransactionRefused,
    Update,
)
from playground.adapters.texts import TurnTexts
from playground.domain.account import Account
from playground.domain.calendar import iso
from playground.domain.entries import GENESIS
from playground.domain.erasure import erased_account, erased_entry, erased_run, opened_again
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.sharing import viewer_of

PAGE = 25
PAYMENT_KINDS = ("PURCHASE#", "CUSTOMER#", "SUBSCRIPTION")
PERSONAL_KINDS = ("NOTICE#", "RUN#", "ENTRY#")


class DynamoPerson:
    """What is kept of a user, read page by page."""

    def __init__(self, store: DynamoStore, *, ledger_table: str, sessions_table: str, texts: TurnTexts) -> None:
        self._store = store
        self._ledger = ledger_table
        self._sessions = sessions_table
        self._texts = texts

    def books(self, user_id: str, kind: str = "") -> Iterator[RawItem]:
        """Items of the user's own partition whose sort key begins with `kind`."""
        return self._partition(self._ledger, items.user_pk(user_id), kind)

    def elsewhere(self, user_id: str) -> Iterator[RawItem]:
        """Payments, customers and events of the payment provider that name the user. A scan of the whole table."""
        return self._scan(self._ledger, "user_id = :user", {":user": {"S": user_id}})

    def left_behind(self, user_id: str) -> Iterator[RawItem]:
        """What the user left at conversations of others: views, votes and reports. A scan of the whole table."""
        kinds = {":view": {"S": "VIEW#"}, ":vote": {"S": "VOTE#"}, ":report": {"S": f"REPORT#{user_id}"}}
        condition = "begins_with(sk, :view) OR begins_with(sk, :vote) OR sk = :report"
        for raw in self._scan(self._sessions, condition, kinds):
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
            found, after = self._store.query_index(
                self._sessions,
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
        raw = self._store.get(items.session_key(self._sessions, session_id))
        return raw is not None and raw["user_id"]["S"] == user_id

    def conversation(self, session_id: str) -> Iterator[RawItem]:
        """Everything of a session, and of its share."""
        for raw in self._partition(self._sessions, items.session_key("", session_id).pk, ""):
            if raw["sk"]["S"] == "SESSION":
                for share_id in shares_of(raw):
                    yield from self._partition(self._sessions, f"SHARE#{share_id}", "")
            yield raw

    def texts_of(self, turn: RawItem) -> Mapping[str, str]:
        """The texts of a turn that are not in its item."""
        kept = items.kept_of(turn)
        return self._texts.get(kept) if kept is not None else {}

    def _partition(self, table: str, pk: str, kind: str) -> Iterator[RawItem]:
        arguments: dict[str, Any] = {}
        while True:
            page, stopped = self._store.query(
                table, pk, first=kind or " ", last=f"{kind}~", limit=PAGE, condition=arguments
            )
            yield from page
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = Key(table, pk, stopped).raw

    def _scan(self, table: str, condition: str, values: Mapping[str, Any]) -> Iterator[RawItem]:
        arguments: dict[str, Any] = {
            "TableName": table,
            "FilterExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        while True:
            try:
                answer = self._store.connection.dispatch("Scan", arguments)
            except (ClientError, BotoCoreError) as error:
                raise StoreUnavailableError from error
            yield from answer["Items"]
            stopped = answer.get("LastEvaluatedKey")
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = stopped


class DynamoEraser(DynamoPerson):
    """`erase_account.Eraser`. What is copied is worked out from what is there and the pseudonym, so that a copy that is
    made twice is the same."""

    def exists(self, user_id: str) -> bool:
        return self._raw_account(user_id) is not None

    def pseudonym(self, user_id: str) -> str | None:
        raw = self._raw_account(user_id) or {}
        return str(raw[items.ERASING]["S"]) if items.ERASING in raw else None

    def begin(self, account: Account, pseudonym: str) -> bool:
        mark = Update(
            items.account_key(self._ledger, account.user_id),
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
        kept = Put(Key(self._ledger, items.user_pk(account.user_id), "ERASURE"), items.account_item(account))
        try:
            self._store.transact(mark, kept)  # the account as it was, until it has been copied
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
                if self._store.get(items.entry_key(self._ledger, pseudonym, entries + 1)) is None:
                    raise CorruptLedgerError(f"{user_id} lacks entry {entries + 1}")
                break  # they are being deleted, so all of them were copied
            previous_hash = entry.hash
            entries += 1
            copies[items.entry_key(self._ledger, pseudonym, entry.seq)] = items.entry_item(entry)
            copies = self._write_full(copies)
        self._store.put_all(copies)
        copies = {}
        for raw in self.books(user_id, "RUN#"):
            run = items.run_of(user_id, raw)
            entry_hash = None
            if run.entry_seq is not None:
                copied = self._store.get(items.entry_key(self._ledger, pseudonym, run.entry_seq))
                if copied is None:
                    raise CorruptLedgerError(f"{run.run_id} names an entry that is not there")
                entry_hash = items.entry_of(pseudonym, copied).hash
            erased = erased_run(run, pseudonym, entry_hash=entry_hash)
            runs += 1
            copies[items.run_key(self._ledger, pseudonym, run.run_id)] = items.run_item(erased)
            copies = self._write_full(copies)
        for raw in self.books(user_id, "KEY#"):
            if raw["version"] != {"N": "0"}:  # it was copied, and says so
                copies[Key(self._ledger, items.user_pk(pseudonym), raw["sk"]["S"])] = raw
                copies = self._write_full(copies)
        self._store.put_all(copies)
        return entries, runs

    def _write_full(self, copies: dict[Key, RawItem]) -> dict[Key, RawItem]:
        """What is still to be written."""
        if len(copies) < PAGE:
            return copies
        self._store.put_all(copies)
        return {}

    def copy_account(self, user_id: str, pseudonym: str) -> None:
        key = Key(self._ledger, items.user_pk(user_id), "ERASURE")
        raw = self._store.get(key)
        if raw is None:
            return  # copied before
        account = items.account_of(user_id, raw)
        last = self._store.get(items.entry_key(self._ledger, pseudonym, account.version))
        if last is None:
            raise CorruptLedgerError(f"{pseudonym} lacks entry {account.version}")
        erased = erased_account(account, pseudonym, last_hash=items.entry_of(pseudonym, last).hash)
        target = items.account_key(self._ledger, pseudonym)
        try:
            self._store.transact(Put(target, items.account_item(erased)), Delete(key, Path("pk").exists()))
        except TransactionRefused:
            if self._store.get(target) is None:
                raise StoreUnavailableError from None

    def move_payments(self, user_id: str, pseudonym: str) -> int:
        moved = 0
        for kind in PAYMENT_KINDS:
            for raw in list(self.books(user_id, kind)):
                moved += self._move_payment(user_id, pseudonym, raw)
        return moved

    def _move_payment(self, user_id: str, pseudonym: str, raw: RawItem) -> int:
        """One record and the pointer to it, at the same moment. A record that moves meanwhile is read again."""
        old = Key(self._ledger, items.user_pk(user_id), raw["sk"]["S"])
        for _ in self._store.backoff:
            writes: list[Put | Update | Delete] = [
                Put(Key(self._ledger, items.user_pk(pseudonym), old.sk), raw),
                Delete(old, Path("revision") == int(raw["revision"]["N"])),
            ]
            pointer = _pointer_of(self._ledger, raw)
            if pointer is not None:
                writes.append(
                    Update(pointer, actions=[Path("user_id").set(pseudonym)], condition=Path("user_id") == user_id)
                )
            try:
                self._store.transact(*writes)
            except TransactionRefused:
                again = self._store.get(old)
                if again is None:
                    return 0  # it has been moved
                raw = again
            else:
                return 1
        raise StoreUnavailableError

    def delete_sessions(self, user_id: str, pseudonym: str) -> int:
        deleted = 0
        for session_id in list(self.sessions(user_id, pseudonym)):
            everything = []
            for raw in self.conversation(session_id):
                kept = items.kept_of(raw)
                if kept is not None:
                    self._texts.delete(kept)  # before the item that names it
                everything.append(Key(self._sessions, raw["pk"]["S"], raw["sk"]["S"]))
            # Shares first, so that no link leads here any more; the summary last: it is what leads to the rest.
            everything.sort(key=lambda key: (key.sk == "SESSION", key.sk != "SHARE"))
            self._store.delete_all(everything)
            deleted += 1
        self._store.delete_all(
            [Key(self._sessions, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.left_behind(user_id)]
        )
        return deleted

    def forget_events(self, user_id: str, pseudonym: str) -> int:
        changed = 0
        for raw in self.elsewhere(user_id):
            key = Key(self._ledger, raw["pk"]["S"], raw["sk"]["S"])
            try:
                self._store.update(
                    Update(key, actions=[Path("user_id").set(pseudonym)], condition=Path("user_id") == user_id)
                )
            except ConditionFailed:
                continue
            changed += 1
        return changed

    def delete_books(self, user_id: str) -> None:
        for kind in PERSONAL_KINDS:
            keys = [Key(self._ledger, raw["pk"]["S"], raw["sk"]["S"]) for raw in self.books(user_id, kind)]
            self._store.delete_all(keys)
        stripped = {
            Key(self._ledger, raw["pk"]["S"], raw["sk"]["S"]): {"created_at": raw["created_at"], "version": {"N": "0"}}
            for raw in self.books(user_id, "KEY#")
        }
        self._store.put_all(stripped)

    def finish(self, user_id: str, pseudonym: str, now: datetime) -> None:
        key = items.account_key(self._ledger, user_id)
        raw = self._store.get(key) or {}
        if raw.get(items.ERASING) != {"S": pseudonym}:
            return  # finished
        account, (entry,) = opened_again(user_id, revision=int(raw["revision"]["N"]) + 1, now=now)
        try:
            self._store.transact(
                Replace(key, items.account_item(account), Path(items.ERASING) == pseudonym),
                Put(items.entry_key(self._ledger, user_id, entry.seq), items.entry_item(entry)),
            )
        except TransactionRefused:
            if self.pseudonym(user_id) == pseudonym:
                raise CorruptLedgerError(f"{iso(now)}: something of the former account is still there") from None

    def _raw_account(self, user_id: str) -> RawItem | None:
        return self._store.get(items.account_key(self._ledger, user_id))


def shares_of(session: RawItem) -> Sequence[str]:
    """Ids under which a session is, or was, shared."""
    share: Mapping[str, Any] = session.get("share", {}).get("M", {})
    return [*([share["id"]["S"]] if "id" in share else []), *session.get("former_shares", {}).get("SS", [])]


def _pointer_of(table: str, raw: RawItem) -> Key | None:
    kind = raw["sk"]["S"].partition("#")[0]
    if kind == "PURCHASE" and "payment_id" in raw and "S" in raw["payment_id"]:
        return Key(table, f"PAYMENT#{raw['payment_id']['S']}", "PAYMENT")
    if kind == "CUSTOMER":
        return Key(table, f"CUSTOMER#{raw['customer_id']['S']}", "CUSTOMER")
    return None
