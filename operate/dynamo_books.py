"""What `books` reads: the accounts, and of each its entries, receipts, purchases and paid months, page by page."""

from collections.abc import Iterator
from dataclasses import dataclass

from operate.books import AccountRecords, DamagedAccountError
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_keys import account_key, seq_of, user_pk
from playground.adapters.dynamo_payments import month_of, purchase_of
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem
from playground.domain.entries import Entry
from playground.domain.errors import CorruptLedgerError
from playground.domain.runs import Run

PAGE = 100  # items


@dataclass(frozen=True, slots=True)
class DynamoBooks:
    """`books.Archive`."""

    store: DynamoStore
    ledger_table: str

    def users(self) -> Iterator[str]:
        """A scan of the whole table for its accounts, page by page."""
        accounts = DynamoAudit(self.store, ledger_table=self.ledger_table, sessions_table="")
        after: str | None = None
        while True:
            page, after = accounts.users(after=after)
            yield from page
            if after is None:
                return

    def read(self, user_id: str) -> AccountRecords:
        raw = self.store.get(account_key(self.ledger_table, user_id))
        if raw is None:
            raise DamagedAccountError(user_id, "it is gone")
        if items.ERASING in raw:
            raise DamagedAccountError(user_id, "it is being erased")
        try:
            return AccountRecords(
                account=items.account_of(user_id, raw),
                entries=self._entries(user_id),
                runs=self._runs(user_id),
                purchases=[purchase_of(user_id, each) for each in self._items(user_id, "PURCHASE")],
                months=[month_of(user_id, each) for each in self._items(user_id, "INVOICE")],
            )
        except CorruptLedgerError as error:
            raise DamagedAccountError(user_id, error.what) from error

    def _entries(self, user_id: str) -> Iterator[Entry]:
        for raw in self._items(user_id, "ENTRY"):
            try:
                entry = items.entry_of(user_id, raw)
            except CorruptLedgerError as error:
                raise DamagedAccountError(user_id, error.what) from error
            if entry.seq != seq_of(raw):
                raise DamagedAccountError(user_id, f"the number of entry {entry.seq} is not that of its key")
            yield entry

    def _runs(self, user_id: str) -> Iterator[Run]:
        for raw in self._items(user_id, "RUN"):
            try:
                yield items.run_of(user_id, raw)
            except CorruptLedgerError as error:
                raise DamagedAccountError(user_id, error.what) from error

    def _items(self, user_id: str, kind: str) -> Iterator[RawItem]:
        arguments: dict[str, object] = {}
        pk = user_pk(user_id)
        while True:
            page, stopped = self.store.query(
                self.ledger_table, pk, first=f"{kind}#", last=f"{kind}$", limit=PAGE, condition=arguments
            )
            yield from page
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = Key(self.ledger_table, pk, stopped).raw
