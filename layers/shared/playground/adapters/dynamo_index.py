"""Accounts by a time at which something is due, from the sparse indexes by_lease and by_due; and how far walks over the
latter have come. No scan."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from playground.adapters.dynamo_keys import SHARDS, account_key, shard_name, user_pk, walk_key
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem, Save
from playground.domain.calendar import iso
from playground.domain.cursors import index_cursor, index_place_of
from playground.domain.work import ShardTask


class _SparseIndex:
    """`ports.Index`. A place in it is the time and the user. `name`: which times, `lease` or `due`."""

    shards = SHARDS
    name: str

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        found, stopped = self._store.query_index(
            self._table,
            f"by_{self.name}",
            hash_name=f"{self.name}_shard",
            hash_value=shard_name(shard),
            range_name=f"{self.name}_at",
            last=iso(now),
            after=self._place(shard, after) if after is not None else None,
            limit=limit,
        )
        users = [item["pk"]["S"].removeprefix(user_pk("")) for item in found]
        if stopped is None:
            return users, None
        return users, index_cursor(stopped[f"{self.name}_at"]["S"], stopped["pk"]["S"].removeprefix(user_pk("")))

    def _place(self, shard: int, after: str) -> Mapping[str, Any]:
        at, user_id = index_place_of(after)
        return {
            f"{self.name}_shard": {"S": shard_name(shard)},
            f"{self.name}_at": {"S": at},
            **account_key("", user_id).raw,
        }


class DynamoLeases(_SparseIndex):
    """`ports.Leases`: accounts that had a hold when they were last looked at, by their earliest lease."""

    name = "lease"


class DynamoBoundaries(_SparseIndex):
    """`ports.Boundaries`: accounts that have a monthly boundary ahead, by the next one."""

    name = "due"


class DynamoWalkCursors:
    """`ports.WalkCursors`: one item for each task and shard, of the walk that was at work there last."""

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def cursor(self, walk: ShardTask) -> str | None:
        raw = self._store.get(self._key(walk))
        if raw is None or raw["at"] != {"S": iso(walk.at)} or "after" not in raw:
            return None
        after: str = raw["after"]["S"]
        return after

    def save(self, walk: ShardTask, after: str | None) -> None:
        item: RawItem = {"at": {"S": iso(walk.at)}}
        if after is not None:
            item = {**item, "after": {"S": after}}
        self._store.transact(Save(self._key(walk), item, None))

    def _key(self, walk: ShardTask) -> Key:
        return walk_key(self._table, walk.task.value, walk.shard)
