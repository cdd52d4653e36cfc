"""What the ledger's table records, read from its stream as notices; and notices that are recorded ahead of time.

    pk            sk                        becomes
    USER#<id>     ENTRY#<number>  new       credits.granted
    USER#<id>     RUN#<id>        new       run.settled, hold.expired
    USER#<id>     ACCOUNT         changed   credits.low
    USER#<id>     NOTICE#<id>     new       what it says: rollover.expiring
    EVENT#<id>    EVENT           any       payment.quarantined, if it was not known before

Other changes have no notice.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pynamodb.attributes import MapAttribute, UnicodeAttribute
from pynamodb.models import Model

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import notice_key, user_pk
from playground.adapters.dynamo_mapping import ItemMapping
from playground.adapters.dynamo_payments import event_of
from playground.adapters.dynamo_store import DynamoStore, Put, RawItem, TransactionRefused
from playground.domain.erasure import is_pseudonym
from playground.domain.notices import Notice, of_change, of_entry, of_payment_event, of_run
from playground.usecases.publish_notices import Record


class NoticeItem(Model):
    type = UnicodeAttribute()
    key = UnicodeAttribute()
    occurred_at = UnicodeAttribute()
    data: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]


_NOTICE = ItemMapping(of=Notice, schema=NoticeItem, not_stored=frozenset({"user_id", "trace_id"}))


class DynamoNoticeOutbox:
    """`ports.NoticeOutbox`: an item in the user's partition, which the stream then brings."""

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def put(self, notice: Notice) -> bool:
        assert notice.user_id is not None
        key = notice_key(self._table, notice.user_id, f"{notice.type}:{notice.key}")
        try:
            self._store.transact(Put(key, notice_item(notice)))
        except TransactionRefused:
            return False
        return True


def notice_item(notice: Notice) -> RawItem:
    return _NOTICE.write(notice)


def notice_of(user_id: str, raw: RawItem) -> Notice:
    """The notice in an item. Raises CorruptLedgerError if it is damaged."""
    with items.undamaged(f"a notice of {user_id}"):
        return _NOTICE.read(raw, user_id=user_id)


def record_of(record: Mapping[str, Any]) -> Record:
    """A record of the table's stream. It is parsed lazily, so that a damaged record does not block those before it."""
    return Record(number=record["dynamodb"]["SequenceNumber"], notices=lambda: notices_of(record))


def notices_of(record: Mapping[str, Any]) -> Sequence[Notice]:
    """The notices of a change of the table. Raises CorruptLedgerError if an item that it is about is damaged."""
    change = record["dynamodb"]
    pk, sk = change["Keys"]["pk"]["S"], change["Keys"]["sk"]["S"]
    before, after = change.get("OldImage"), change.get("NewImage")
    if after is None:
        return ()
    if sk == "EVENT":
        event_id = pk.partition("#")[2]
        known = event_of(event_id, before) if before is not None else None
        return of_payment_event(event_of(event_id, after), known)
    user_id = pk.removeprefix(user_pk(""))
    if pk == user_id:
        return ()
    if is_pseudonym(user_id) or items.ERASING in after or items.ERASING in (before or {}):
        return ()  # the account is erased
    kind = sk.partition("#")[0]
    if before is not None:
        if kind != "ACCOUNT":
            return ()
        at = datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC)
        return of_change(items.account_of(user_id, before), items.account_of(user_id, after), at)
    match kind:
        case "ENTRY":
            return of_entry(items.entry_of(user_id, after))
        case "RUN":
            return of_run(items.run_of(user_id, after))
        case "NOTICE":
            return (notice_of(user_id, after),)
    return ()
