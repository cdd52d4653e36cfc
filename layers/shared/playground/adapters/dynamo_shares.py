"""Shares, in the table of the sessions, and everything that viewers add to them.

Session and share point to each other, and change in one transaction. A vote or report has the condition that the share
is there and not hidden, in the transaction with the counter: these counters are exact, and nothing is added to a
withdrawn share.

A view is one transaction over the viewer's item and one of 16 counters, and touches nothing else: DynamoDB cancels
transactions that conflict on an item, and readers of a popular link must not conflict. It is tried once. No viewer is
counted twice; after a conflict the viewer is counted at the next view, so the number may be too low for a while.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_items import SessionItem
from playground.adapters.dynamo_keys import counter_key, report_key, session_key, share_key, view_key, vote_key
from playground.adapters.dynamo_mapping import ItemMapping, encode
from playground.adapters.dynamo_sessions import shared_as, unshared
from playground.adapters.dynamo_store import (
    MAX_BATCH_ITEMS,
    Check,
    ConditionFailed,
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
from playground.domain.calendar import iso
from playground.domain.errors import UnreadableError
from playground.domain.sessions import Session
from playground.domain.sharing import Report, Share, ShareLink, Vote

COUNTERS = 16  # of the views of one share
MAX_TRIES = 16  # of a vote or a report whose share changed meanwhile


class ShareItem(Model):
    session_id = UnicodeAttribute()
    owner = UnicodeAttribute()
    package_id = UnicodeAttribute(null=True)
    package = UnicodeAttribute(null=True)
    package_version = UnicodeAttribute(null=True)
    use_no_prompt = BooleanAttribute()
    model = UnicodeAttribute()
    title = UnicodeAttribute()
    created_at = UnicodeAttribute()
    turns = NumberAttribute()
    shared_at = UnicodeAttribute()
    expires_at = UnicodeAttribute(null=True)
    include_prompt = BooleanAttribute(null=True)
    hidden = BooleanAttribute()
    views = NumberAttribute()
    helpful = NumberAttribute()
    not_helpful = NumberAttribute()
    reports = NumberAttribute()


class VoteItem(Model):
    is_helpful = BooleanAttribute()
    comment = UnicodeAttribute()
    given_at = UnicodeAttribute()


class ReportItem(Model):
    """`share_id`: the share that was reported; the report is the session's."""

    reason = UnicodeAttribute()
    given_at = UnicodeAttribute()
    share_id = UnicodeAttribute(null=True)


_VOTE = ItemMapping(of=Vote, schema=VoteItem)
_REPORT = ItemMapping(
    of=Report, schema=ReportItem, not_stored=frozenset({"reporter"}), not_fields=frozenset({"share_id"})
)
_SHARE = ItemMapping(of=Share, schema=ShareItem, names={"user_id": "owner"}, not_stored=frozenset({"share_id"}))


class DynamoShares:
    """`ports.Shares`."""

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def find(self, share_id: str) -> Share | None:
        """The share with its views, in one request: the counters come right before it."""
        return find_share(self._store, self._table, share_id)

    # --- the owner ----------------------------------------------------------------------------------------------------

    def create(self, session: Session, share: Share, nonce: str) -> bool:
        link = _link_of(share, nonce)
        try:
            self._store.transact(
                Update(
                    self._session_key(session),
                    actions=[Path(SessionItem.share).set(encode(link))],
                    condition=unshared(session) & _moderated_as(session),
                ),
                Put(share_key(self._table, share.share_id), _SHARE.write(share)),
            )
        except TransactionRefused as refusal:
            return _is_shared_as(refusal.refused.get(0), share, nonce)
        return True

    def move(self, session: Session, share: Share) -> bool:
        assert session.share is not None
        link = _link_of(share, session.share.nonce)
        try:
            self._store.transact(
                Update(
                    self._session_key(session),
                    actions=[Path(SessionItem.share).set(encode(link))],
                    # Forward only: of two that share at once the one that saw more turns wins.
                    condition=shared_as(session, share.share_id) & (Path(SessionItem.share)["turns"] <= share.turns),
                ),
                Update(
                    share_key(self._table, share.share_id),
                    actions=[
                        ShareItem.turns.set(share.turns),
                        ShareItem.shared_at.set(iso(share.shared_at)),
                        ShareItem.expires_at.set(iso(share.expires_at))
                        if share.expires_at
                        else ShareItem.expires_at.remove(),
                        ShareItem.include_prompt.set(True)
                        if share.include_prompt
                        else ShareItem.include_prompt.remove(),
                    ],
                    condition=ShareItem.owner == session.user_id,
                ),
            )
        except TransactionRefused:
            return False
        return True

    def withdraw(self, session: Session, share: Share) -> bool:
        actions: list[Action] = [
            Path(SessionItem.share).remove(),
            SessionItem.former_shares.add({share.share_id}),
            SessionItem.reports.set(share.reports),
            SessionItem.hidden.set(share.hidden),
        ]
        unchanged = (ShareItem.reports == share.reports) & (ShareItem.hidden == share.hidden)
        try:
            self._store.transact(
                Update(self._session_key(session), actions=actions, condition=shared_as(session, share.share_id)),
                Delete(share_key(self._table, share.share_id), unchanged),
            )
        except TransactionRefused:
            return False
        return True

    def remove_some(self, share_id: str) -> bool:
        page, stopped = self._store.query(
            self._table,
            share_key(self._table, share_id).pk,
            first="A",
            last="~",
            limit=MAX_BATCH_ITEMS + 1,
            condition={"ProjectionExpression": "pk, sk"},
        )
        rest = [Key(self._table, raw["pk"]["S"], raw["sk"]["S"]) for raw in page if raw["sk"]["S"] != "SHARE"]
        self._store.delete_all(rest[:MAX_BATCH_ITEMS])
        return stopped is not None or len(rest) > MAX_BATCH_ITEMS

    def forget(self, session: Session, share_id: str) -> None:
        try:
            self._store.update(
                Update(
                    self._session_key(session),
                    actions=[SessionItem.former_shares.delete({share_id})],
                    condition=SessionItem.user_id == session.user_id,
                )
            )
        except ConditionFailed:
            return  # the session is gone, and with it what it remembered

    # --- viewers ------------------------------------------------------------------------------------------------------

    def count_view(self, share_id: str, viewer: str, *, cleanup_at: datetime | None) -> bool:
        number = zlib.crc32(viewer.encode()) % COUNTERS
        counter = counter_key(self._table, share_id, number)
        try:
            self._store.transact_once(
                Put(view_key(self._table, share_id, viewer), _ttl(cleanup_at)),
                Update(counter, actions=[ShareItem.views.add(1)], condition=_ANY),
            )
        except TransactionRefused:
            return False
        return True

    def vote(self, share_id: str, viewer: str, vote: Vote, *, cleanup_at: datetime | None = None) -> bool:
        key = vote_key(self._table, share_id, viewer)
        item = {**_VOTE.write(vote), **_ttl(cleanup_at)}
        former = self._store.get(key)
        for _ in range(MAX_TRIES):
            before = former["is_helpful"]["BOOL"] if former is not None else None
            try:
                self._store.transact(*self._vote_writes(share_id, Replace(key, item, _voted_as(before)), before, vote))
            except TransactionRefused as refusal:
                if 1 in refusal.refused:
                    return False
                former = refusal.refused.get(0) or self._store.get(key)
            else:
                return True
        return False

    def _vote_writes(self, share_id: str, stored: Replace, before: bool | None, vote: Vote) -> Sequence[Write]:
        counters: list[Action] = []
        if before is not vote.is_helpful:
            counters.append(_counter(vote.is_helpful).add(1))
            if before is not None:
                counters.append(_counter(before).add(-1))
        counting = self._counting(share_id, counters) if counters else Check(self._share(share_id), _shown())
        return stored, counting

    def report(self, share: Share, report: Report, *, hide_at: int) -> bool:
        key = report_key(self._table, share.session_id, report.reporter)
        seen: Share | None = share
        for _ in range(MAX_TRIES):
            if seen is None or seen.hidden:
                return False
            count = seen.reports + 1
            update = Update(
                self._share(share.share_id),
                actions=[ShareItem.reports.set(count), ShareItem.hidden.set(count >= hide_at)],
                condition=_shown() & (ShareItem.reports == seen.reports),
            )
            try:
                self._store.transact(Put(key, _REPORT.write(report, share_id=share.share_id)), update)
            except TransactionRefused as refusal:
                if 0 in refusal.refused:
                    return True  # this reporter has reported it before
                seen = self.find(share.share_id)
            else:
                return True
        return False

    def _counting(self, share_id: str, actions: Sequence[Action]) -> Update:
        return Update(self._share(share_id), actions=actions, condition=_shown())

    def _share(self, share_id: str) -> Key:
        return share_key(self._table, share_id)

    def _session_key(self, session: Session) -> Key:
        return session_key(self._table, session.session_id)


def find_share(store: DynamoStore, table: str, share_id: str) -> Share | None:
    """A share with all that was counted."""
    page, _ = store.query(
        table, share_key(table, share_id).pk, first="COUNT#", last="SHARE", limit=COUNTERS + 1, newest_first=True
    )
    if not page or page[0]["sk"] != {"S": "SHARE"}:
        return None
    share = share_of(share_id, page[0])
    return replace(share, views=share.views + sum(int(counter["views"]["N"]) for counter in page[1:]))


_ANY = Path("pk").exists() | Path("pk").does_not_exist()


def _ttl(cleanup_at: datetime | None) -> RawItem:
    return {"ttl": {"N": str(int(cleanup_at.timestamp()))}} if cleanup_at is not None else {}


def _voted_as(before: bool | None) -> Condition:
    """The viewer's vote is as it was read."""
    as_seen: Condition = VoteItem.is_helpful.does_not_exist() if before is None else VoteItem.is_helpful == before
    return as_seen


def _shown() -> Condition:
    """The share exists and is not hidden."""
    condition: Condition = ShareItem.hidden == False  # noqa: E712 - an expression
    return condition


def _counter(is_helpful: bool) -> NumberAttribute:
    return ShareItem.helpful if is_helpful else ShareItem.not_helpful


def _moderated_as(session: Session) -> Condition:
    """Reports and decisions about the session are as they were read."""
    hidden: Condition = SessionItem.hidden == True  # noqa: E712 - an expression
    if not session.hidden:
        hidden = SessionItem.hidden.does_not_exist() | (SessionItem.hidden == False)  # noqa: E712
    condition: Condition = hidden & SessionItem.removed.does_not_exist()
    return condition


def _link_of(share: Share, nonce: str) -> ShareLink:
    return ShareLink(
        share_id=share.share_id,
        nonce=nonce,
        turns=share.turns,
        shared_at=share.shared_at,
        expires_at=share.expires_at,
    )


def _is_shared_as(raw: RawItem | None, share: Share, nonce: str) -> bool:
    """Whether the session in `raw` has this very link: our own write, its reply lost."""
    there = items.session_of(raw).share if raw is not None else None
    return there == _link_of(share, nonce)


def share_of(share_id: str, raw: RawItem) -> Share:
    """The share in an item. Raises UnreadableError if it is damaged."""
    with items.undamaged(f"share {share_id}", UnreadableError):
        return _SHARE.read(raw, share_id=share_id)


def report_of(raw: RawItem) -> Report:
    """The report in an item. Raises UnreadableError if it is damaged."""
    reporter = raw["sk"]["S"].removeprefix("REPORT#")
    with items.undamaged(f"report {reporter} of {raw['pk']['S']}", UnreadableError):
        return _REPORT.read(raw, reporter=reporter)
