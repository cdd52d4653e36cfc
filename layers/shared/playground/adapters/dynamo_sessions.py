"""Sessions and turns, read. They are written by the ledger, in the transaction that ends a run."""

from collections.abc import Sequence

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.sessions import Turn

PAGE = 100
MOST_PAGES = 1000


class DynamoSessions:
    """`ports.Sessions`."""

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def turn(self, session_id: str, number: int) -> Turn | None:
        raw = self._store.get(items.turn_key(self._table, session_id, number))
        return items.turn_of(raw) if raw is not None else None

    def turns(self, session_id: str) -> Sequence[Turn]:
        turns: list[Turn] = []
        first = 0
        for _ in range(MOST_PAGES):
            page, stopped = self._store.query(
                self._table,
                f"SESSION#{session_id}",
                first=items.turn_sk(first),
                last=items.turn_sk(999_999),
                limit=PAGE,
            )
            turns += [items.turn_of(raw) for raw in page]
            if stopped is None or not turns:
                break
            first = turns[-1].number + 1
        return turns
