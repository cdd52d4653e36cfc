"""Sessions and turns. Turns are written by the ledger, in the transaction that ends a run, or copied by a fork.

Deleting marks the summary first, in one conditional write; every other write to a session is conditional on no mark.
The session's items are removed afterwards, in pieces, and a later request goes on with it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_items import SessionItem
from playground.adapters.dynamo_keys import prompt_key, session_key, share_key, turn_key, turn_number, turn_sk
from playground.adapters.dynamo_store import (
    MAX_BATCH_ITEMS,
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
from playground.domain.calendar import iso
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.sessions import Session, SessionCursor, Turn
from playground.ports import ReportUnreadable, TextRef

INDEX = "by_owner"
PAGE = 25  # turns in one query
MAX_TURNS = 999_999
MAX_ITEM_BYTES = 390_000  # of texts; an item holds 400 KB
_FIRST, _LAST = "0", "~"  # around every time, and above the "-" of what is marked


class DynamoSessions:
    """`ports.Sessions`."""

    def __init__(
        self,
        store: DynamoStore,
        table: str,
        texts: TurnTexts | None = None,
        *,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._store = store
        self._table = table
        self._texts = texts
        self._report = report

    # --- turns --------------------------------------------------------------------------------------------------------

    def turn(self, session_id: str, number: int) -> Turn | None:
        of_summary, of_turn = (
            session_key(self._table, session_id),
            turn_key(self._table, session_id, number),
        )
        found = self._store.get_all([of_summary, of_turn], consistent=frozenset({self._table}))
        if of_summary not in found or (of_turn not in found and _is_there(found[of_summary])):
            # Either it was deleted, or its transaction is not over: its items become visible one after the other.
            found = self._store.get_certain(of_summary, of_turn)
        summary, raw = found.get(of_summary), found.get(of_turn)
        if raw is None or not _is_there(summary):
            return None
        return self._turn(raw)

    def prompt(self, session_id: str) -> str | None:
        of_summary, of_prompt = session_key(self._table, session_id), prompt_key(self._table, session_id)
        found = self._store.get_all([of_summary, of_prompt], consistent=frozenset({self._table}))
        raw = found.get(of_prompt)
        return items.prompt_of(raw) if raw is not None and _is_there(found.get(of_summary)) else None

    def turns(self, session_id: str) -> Sequence[Turn]:
        return list(self.walk(session_id, first=1, last=MAX_TURNS))

    def walk(self, session_id: str, *, first: int, last: int, newest_first: bool = False) -> Iterator[Turn]:
        while first <= last:  # every page is at least one turn, or the last
            page, stopped = self._store.query(
                self._table,
                session_key(self._table, session_id).pk,
                first=turn_sk(first),
                last=turn_sk(last),
                newest_first=newest_first,
                limit=PAGE,
            )
            for raw in page:
                turn = self._turn(raw)
                if turn is None:
                    return
                yield turn
            if stopped is None or not page:
                return
            number = turn_number(page[-1])
            if newest_first:
                last = number - 1
            else:
                first = number + 1

    def store_texts(self, session_id: str, turn: Turn, *, nonce: str) -> TextRef | None:
        if len(turn.input.encode()) + len(turn.answer.encode()) <= MAX_ITEM_BYTES:
            return None
        stored, _ = items.packed_texts(turn)
        if sum(len(text) for text in stored.values()) <= MAX_ITEM_BYTES:
            return None
        return self._bucket.put(session_id, turn, nonce)

    def discard(self, kept: TextRef) -> None:
        self._bucket.delete(kept)

    def _turn(self, raw: RawItem) -> Turn | None:
        """None if its texts have been removed, because its session is being deleted."""
        try:
            return items.turn_of(raw, lambda kept: self._bucket.get(kept))
        except CorruptLedgerError as error:
            if not _is_there(self._store.get(Key(self._table, raw["pk"]["S"], "SESSION"))):
                return None
            self._report(error)
            return items.unreadable_turn(raw)

    @property
    def _bucket(self) -> TurnTexts:
        if self._texts is None:
            raise StoreUnavailableError  # without a bucket, large texts must fail, not get lost
        return self._texts

    # --- summaries ----------------------------------------------------------------------------------------------------

    def find(self, user_id: str, session_id: str) -> Session | None:
        session = self._summary(user_id, session_id)
        return session if session is not None and session.deleted_at is None else None

    def deleted(self, user_id: str, session_id: str) -> Session | None:
        session = self._summary(user_id, session_id)
        return session if session is not None and session.deleted_at is not None else None

    def _summary(self, user_id: str, session_id: str) -> Session | None:
        raw = self._store.get(session_key(self._table, session_id))
        return items.own_session_of(user_id, raw) if raw is not None else None

    def listed(
        self, user_id: str, *, after: SessionCursor | None, limit: int
    ) -> tuple[Sequence[Session], SessionCursor | None, Sequence[str]]:
        place = items.listed_at(after.updated_at, after.session_id) if after is not None else None
        keys, stopped = self._store.query_index(
            self._table,
            INDEX,
            hash_name="user_id",
            hash_value=user_id,
            range_name="listed_at",
            first=_FIRST,
            last=_LAST,
            newest_first=True,
            after=self._position(user_id, place, after.session_id) if after is not None and place else None,
            limit=limit,
        )
        found, unreadable = self._summaries(keys)
        # The place is that of the index: the sessions may have become active since it was read.
        following = items.place_of(stopped["listed_at"]["S"]) if stopped is not None else None
        return [session for session in found if session.deleted_at is None], following, unreadable

    def leftovers(self, user_id: str, *, before: datetime, limit: int) -> Sequence[Session]:
        keys, _ = self._store.query_index(
            self._table,
            INDEX,
            hash_name="user_id",
            hash_value=user_id,
            range_name="listed_at",
            first="-",
            last=items.marked_at(before, ""),
            after=None,
            limit=limit,
        )
        return [session for session in self._summaries(keys)[0] if session.deleted_at is not None]

    def _position(self, user_id: str, place: str, session_id: str) -> RawItem:
        key = session_key(self._table, session_id)
        return {**key.raw, "user_id": {"S": user_id}, "listed_at": {"S": place}}

    def _summaries(self, keys: Sequence[RawItem]) -> tuple[Sequence[Session], Sequence[str]]:
        """The sessions of a page of the index, as they are now, in the order of the page; and the ids of those that
        cannot be read. One that moves while the page is read may be at both of its places: it is there once."""
        wanted = list(dict.fromkeys(Key(self._table, raw["pk"]["S"], raw["sk"]["S"]) for raw in keys))
        if not wanted:
            return [], []
        found = self._store.get_all(wanted, consistent=frozenset({self._table}))
        sessions: list[Session] = []
        unreadable: list[str] = []
        for key in wanted:
            if key not in found:
                continue
            try:
                sessions.append(items.session_of(found[key]))
            except CorruptLedgerError as error:
                self._report(error)
                if _is_there(found[key]):
                    unreadable.append(key.pk.partition("#")[2])
        return sessions, unreadable

    # --- delete -------------------------------------------------------------------------------------------------------

    def mark_deleted(self, session: Session, now: datetime) -> bool:
        actions: list[Action] = [
            SessionItem.deleted_at.set(iso(now)),
            SessionItem.listed_at.set(items.marked_at(now, session.session_id)),
        ]
        if session.share is None:
            mark = Update(self._key(session), actions=actions, condition=unshared(session))
            try:
                self._store.update(mark)
            except ConditionFailed as refusal:
                return _is_marked(refusal.item, session, now)  # our own write, its reply lost
            return True
        share_id = session.share.share_id
        actions += [Path(SessionItem.share).remove(), SessionItem.former_shares.add({share_id})]
        try:
            self._store.transact(
                Update(self._key(session), actions=actions, condition=shared_as(session, share_id)),
                Delete(share_key(self._table, share_id), Path("pk").exists()),
            )
        except TransactionRefused as refusal:
            return _is_marked(refusal.refused.get(0), session, now)
        return True

    def remove_some(self, session_id: str) -> bool:
        """One batch. Objects are removed before the items that name them, so that no object is orphaned."""
        page, stopped = self._store.query(
            self._table,
            session_key(self._table, session_id).pk,
            first="A",
            last=_LAST,
            limit=MAX_BATCH_ITEMS + 1,
            condition={"ProjectionExpression": "pk, sk, kept"},
        )
        rest = [raw for raw in page if raw["sk"]["S"] != "SESSION"]
        for raw in rest[:MAX_BATCH_ITEMS]:
            kept = items.kept_of(raw)
            if kept is not None:
                self.discard(kept)
        self._store.delete_all([Key(self._table, raw["pk"]["S"], raw["sk"]["S"]) for raw in rest[:MAX_BATCH_ITEMS]])
        return stopped is not None or len(rest) > MAX_BATCH_ITEMS

    def remove_mark(self, session: Session) -> None:
        try:
            self._store.transact(Delete(self._key(session), SessionItem.deleted_at.exists()))
        except TransactionRefused:
            return  # another request was faster

    # --- fork ---------------------------------------------------------------------------------------------------------

    def begin_fork(self, session: Session) -> bool:
        try:
            self._store.transact(Put(self._key(session), items.session_item(session)))
        except TransactionRefused as refusal:
            raw = refusal.refused.get(0)
            there = items.session_of(raw) if raw is not None else None
            return there == session  # our own write, its reply lost
        return True

    def copy(self, session_id: str, turns: Sequence[Turn]) -> None:
        written: dict[Key, RawItem] = {}
        for turn in turns:
            # A copy has an object of its own: the other session may be deleted. Its name is the same in every repeat.
            kept = self.store_texts(session_id, turn, nonce="fork")
            written[turn_key(self._table, session_id, turn.number)] = items.turn_item(turn, kept)
        self._store.put_all(written)

    def give_up_fork(self, session: Session) -> bool:
        begun = SessionItem.forking.exists() & (SessionItem.user_id == session.user_id)
        try:
            self._store.update(Update(self._key(session), actions=[SessionItem.forking.remove()], condition=begun))
        except ConditionFailed as refusal:
            return refusal.item is not None and items.session_of(refusal.item).deleted_at is not None
        return True

    def finish_fork(self, session: Session) -> bool:
        begun = SessionItem.forking.exists() & (SessionItem.forked_from == session.forked_from)
        try:
            self._store.transact(Replace(self._key(session), items.session_item(session), begun))
        except TransactionRefused as refusal:
            raw = refusal.refused.get(0)
            return raw is not None and items.session_of(raw).deleted_at is None  # finished already
        return True

    def _key(self, session: Session) -> Key:
        return session_key(self._table, session.session_id)


def _is_there(summary: RawItem | None) -> bool:
    """Whether a session exists for its readers: it is not marked as deleted."""
    return summary is not None and "S" not in summary.get("deleted_at", {})


def unshared(session: Session) -> Condition:
    """The session exists, is the user's, and is not shared: the condition for creating a share."""
    condition: Condition = (
        (SessionItem.user_id == session.user_id)
        & SessionItem.deleted_at.does_not_exist()
        & Path(SessionItem.share).does_not_exist()
    )
    return condition


def shared_as(session: Session, share_id: str) -> Condition:
    """The session is there, the user's, and shared under this id."""
    condition: Condition = (
        (SessionItem.user_id == session.user_id)
        & SessionItem.deleted_at.does_not_exist()
        & (Path(SessionItem.share)["id"] == share_id)
    )
    return condition


def _is_marked(raw: RawItem | None, session: Session, now: datetime) -> bool:
    there = items.session_of(raw) if raw is not None else None
    return there is not None and (there.user_id, there.deleted_at) == (session.user_id, now)
