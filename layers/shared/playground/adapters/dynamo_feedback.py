"""Owners' feedback on answers, with the session, and the totals of it by package: `ports.Feedback`.

An opinion and its part of the totals are one transaction. The condition is that what it replaces is what was read, so
that the totals have the latest opinion on every run once, whatever is repeated or comes at the same time. Opinions of
earlier versions are in no totals; replacing one counts it.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.models import Model

from playground.adapters.dynamo_items import SessionItem, undamaged
from playground.adapters.dynamo_keys import RATING_SHARDS, feedback_key, ratings_key, session_key
from playground.adapters.dynamo_mapping import ItemMapping
from playground.adapters.dynamo_store import (
    Check,
    DynamoStore,
    Key,
    Put,
    RawItem,
    Replace,
    TransactionRefused,
    Update,
    Write,
)
from playground.domain.errors import StoreUnavailableError, UnreadableError
from playground.domain.sessions import RunFeedback
from playground.domain.spend import Ratings
from playground.ports import FeedbackAdded, ReportUnreadable

PAGE = 1_000
COUNTED_FOR = "counted_for"  # the package in whose totals this opinion is


class FeedbackItem(Model):
    rating = NumberAttribute(null=True)
    is_helpful = BooleanAttribute(null=True)
    comment = UnicodeAttribute()
    given_at = UnicodeAttribute()


_FEEDBACK = ItemMapping(of=RunFeedback, schema=FeedbackItem, not_stored=frozenset({"run_id"}))


class DynamoFeedback:
    def __init__(
        self,
        store: DynamoStore,
        *,
        sessions_table: str,
        spend_table: str,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._store = store
        self._report = report
        self._sessions = sessions_table
        self._spend = spend_table

    def put(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> bool:
        key = feedback_key(self._sessions, session_id, feedback.run_id)
        item = {**_FEEDBACK.write(feedback), **({COUNTED_FOR: {"S": package}} if package is not None else {})}
        is_there = (SessionItem.user_id == user_id) & SessionItem.deleted_at.does_not_exist()
        for _ in self._store.backoff:
            former = self._store.get(key)
            writes: list[Write] = [
                Check(session_key(self._sessions, session_id), is_there),
                Put(key, item) if former is None else Replace(key, item, _unchanged(former)),
                *self._counts(former, feedback, package),
            ]
            try:
                self._store.transact(*writes)
            except TransactionRefused as refusal:
                if 0 in refusal.refused:
                    return False
                continue  # another opinion on this run was stored meanwhile
            return True
        raise StoreUnavailableError

    def add(self, user_id: str, session_id: str, feedback: RunFeedback, package: str | None) -> FeedbackAdded:
        key = feedback_key(self._sessions, session_id, feedback.run_id)
        item = {**_FEEDBACK.write(feedback), **({COUNTED_FOR: {"S": package}} if package is not None else {})}
        is_there = (SessionItem.user_id == user_id) & SessionItem.deleted_at.does_not_exist()
        try:
            self._store.transact(
                Check(session_key(self._sessions, session_id), is_there),
                Put(key, item),
                *self._counts(None, feedback, package),
            )
        except TransactionRefused as refusal:
            if 0 in refusal.refused:
                return FeedbackAdded.NO_SESSION
            is_own = refusal.refused.get(1) == {**item, **key.raw}  # the same write, whose reply was lost
            return FeedbackAdded.ADDED if is_own else FeedbackAdded.EXISTS
        return FeedbackAdded.ADDED

    def given(self, session_id: str, run_ids: Collection[str]) -> Mapping[str, RunFeedback]:
        """Ids sort by time, so those of a part of a conversation are beside each other. A query reads 1 MB of them."""
        found: dict[str, RunFeedback] = {}
        position = min(run_ids, default=None)
        while position is not None:
            first = feedback_key(self._sessions, session_id, position)
            last = feedback_key(self._sessions, session_id, max(run_ids))
            page, stopped = self._store.query(self._sessions, first.pk, first=first.sk, last=last.sk, limit=PAGE)
            for raw in page:
                run_id = raw["sk"]["S"].partition("#")[2]
                try:
                    with undamaged(f"the feedback on {run_id}", UnreadableError):
                        if run_id in run_ids:
                            found[run_id] = _FEEDBACK.read(raw, run_id=run_id)
                except UnreadableError as error:
                    self._report(error)
            position = stopped.partition("#")[2] + "\0" if stopped is not None else None
        return found

    def _counts(self, former: RawItem | None, feedback: RunFeedback, package: str | None) -> list[Update]:
        """What the totals change by."""
        changes: dict[str, Ratings] = {}
        if package is not None:
            changes[package] = Ratings.of(feedback.rating, feedback.is_helpful)
        if former is not None and COUNTED_FOR in former:
            counted_for = former[COUNTED_FOR]["S"]
            changes[counted_for] = changes.get(counted_for, Ratings()) - _ratings_of(former)
        shard = zlib.crc32(feedback.run_id.encode()) % RATING_SHARDS
        return [
            _adding(ratings_key(self._spend, name, shard), change)
            for name, change in changes.items()
            if change != Ratings()
        ]


def _adding(key: Key, change: Ratings) -> Update:
    amounts = {each.name: getattr(change, each.name) for each in fields(Ratings)}
    return Update(key, actions=[Path(name).add(amount) for name, amount in amounts.items() if amount])


def _ratings_of(raw: RawItem) -> Ratings:
    rating, is_helpful = raw.get("rating", {}), raw.get("is_helpful", {})
    return Ratings.of(int(rating["N"]) if "N" in rating else None, is_helpful.get("BOOL"))


def _unchanged(former: RawItem) -> Condition:
    """What the totals have of it is still the same."""
    condition = Path("pk").exists()
    for name in ("rating", "is_helpful", COUNTED_FOR):
        path = Path(name)
        condition &= (
            path == _value_of(former[name])
            if name in former and "NULL" not in former[name]
            else path.does_not_exist() | path.is_type("NULL")
        )
    return condition


def _value_of(attribute: dict[str, Any]) -> object:
    [(kind, value)] = attribute.items()
    return int(value) if kind == "N" else value
