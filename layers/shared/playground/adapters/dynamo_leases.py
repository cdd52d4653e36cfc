"""Accounts whose leases may have ended, from the sparse index by_lease. No scan."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.calendar import iso

INDEX = "by_lease"


class DynamoLeases:
    """`ports.Leases`. A place in the index is `lease_at` and user."""

    shards = items.SHARDS

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        found, stopped = self._store.query_index(
            self._table,
            INDEX,
            hash_name="lease_shard",
            hash_value=items.shard_name(shard),
            range_name="lease_at",
            last=iso(now),
            after=_place(shard, after) if after is not None else None,
            limit=limit,
        )
        users = [item["pk"]["S"].removeprefix("USER#") for item in found]
        if stopped is None:
            return users, None
        return users, f"{stopped['lease_at']['S']}|{stopped['pk']['S'].removeprefix('USER#')}"


def _place(shard: int, after: str) -> Mapping[str, Any]:
    lease_at, _, user_id = after.partition("|")
    return {
        "lease_shard": {"S": items.shard_name(shard)},
        "lease_at": {"S": lease_at},
        **items.account_key("", user_id).raw,
    }
