"""A dry run: the result of a change, without writing it."""

from collections.abc import Callable, Sequence
from datetime import datetime

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import account_key, change_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.account import Account, as_of
from playground.domain.entries import Entry, EntryType
from playground.ports import Amend, Book


class DryRunLedger(DynamoLedger):
    """The ledger as it is, whose changes are worked out and not written.

    An account that is not there, or that has boundaries to cross, is worked out, too. Only what reads and what changes
    accounts works; runs cannot be placed or ended.
    """

    def __init__(self, store: DynamoStore, *, ledger_table: str, sessions_table: str) -> None:
        super().__init__(store, ledger_table=ledger_table, sessions_table=sessions_table)
        self._written: list[Entry] = []

    def account(self, user_id: str, now: datetime) -> Account:
        raw = self._store.get(account_key(self._ledger, user_id))
        return as_of(items.account_of(user_id, raw) if raw is not None else None, user_id, now)

    def change(self, user_id: str, amend: Amend, *, business_key: str, now: datetime) -> Account:
        account = self.account(user_id, now)
        if self._store.get(change_key(self._ledger, user_id, business_key)) is not None:
            return account  # done before
        change = amend(account)
        if change is None:
            return account
        self._written += change[1]
        return change[0]

    def book(self, user_id: str, book: Book, *, now: datetime) -> Account:
        booking = book(self.account(user_id, now))
        return booking.account if booking is not None else self.account(user_id, now)

    def entries(
        self, user_id: str, *, before: int | None, limit: int, type_: EntryType | None
    ) -> tuple[Sequence[Entry], int | None, Sequence[int]]:
        if before is None and (new := [entry for entry in self._written if type_ in (None, entry.type)]):
            return new[::-1], new[0].seq, []
        return super().entries(user_id, before=before, limit=limit, type_=type_)

    def _refuse(self, *_: object, **__: object) -> "Callable[..., object]":
        raise NotImplementedError("a dry run neither places nor ends runs")

    place_hold = settle = release = cancel_hold = correct_lease = _refuse  # type: ignore[assignment]
