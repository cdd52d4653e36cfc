"""The spend guard in DynamoDB: one item of the ledger's table, beside the pause of all runs. `ports.GuardSwitch`.

It is in that table so that runs read it with their account, in the same request: it cannot be out of reach by itself.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from playground.adapters.dynamo_keys import control_change_key, guard_key
from playground.adapters.dynamo_store import DynamoStore, Put, RawItem, Save, TransactionRefused
from playground.domain.calendar import from_iso, iso
from playground.domain.errors import UnreadableError
from playground.domain.guard import Guard, GuardSettings

TEXTS = ("reason", "operator", "lift_reason", "lifted_by")


class DynamoGuard:
    def __init__(self, store: DynamoStore, ledger_table: str) -> None:
        self._store = store
        self._table = ledger_table

    def read(self) -> Guard:
        raw = self._store.get(guard_key(self._table))
        return guard_of(raw) if raw is not None else Guard()

    def save(self, guard: Guard, *, business_key: str | None = None, facts: Mapping[str, str] | None = None) -> bool:
        save = Save(guard_key(self._table), guard_item(guard), guard.revision)
        once = []
        if business_key is not None:
            fields = {name: {"S": text} for name, text in (facts or {}).items()}
            once = [Put(control_change_key(self._table, business_key), fields)]
        try:
            self._store.transact(save, *once)
        except TransactionRefused:
            return False
        return True

    def is_done(self, business_key: str) -> bool:
        """Whether an order was carried out."""
        return self._store.get(control_change_key(self._table, business_key)) is not None


def guard_item(guard: Guard) -> RawItem:
    """The item that replaces the one which `guard` was read from."""
    item: dict[str, Any] = {"revision": {"N": str(guard.revision + 1)}}
    if guard.ceiling_nano is not None:
        item["ceiling_nano"] = {"N": str(guard.ceiling_nano)}
    if guard.paused_until is not None:
        item["paused_until"] = {"S": iso(guard.paused_until)}
    if guard.lifted_on is not None:
        item["lifted_on"] = {"S": guard.lifted_on.isoformat()}
    if guard.deployed is not None:
        item["deployed_ceiling_nano"] = {"N": str(guard.deployed.ceiling_nano)}
        item["deployed_pauses"] = {"BOOL": guard.deployed.pauses}
    for name in TEXTS:
        if (text := getattr(guard, name)) is not None:
            item[name] = {"S": text}
    return item


def guard_of(raw: RawItem) -> Guard:
    """The guard in an item. Raises UnreadableError if it is damaged."""
    try:
        deployed = None
        if "deployed_ceiling_nano" in raw:
            deployed = GuardSettings(
                ceiling_nano=int(raw["deployed_ceiling_nano"]["N"]), pauses=bool(raw["deployed_pauses"]["BOOL"])
            )
        return Guard(
            ceiling_nano=int(raw["ceiling_nano"]["N"]) if "ceiling_nano" in raw else None,
            paused_until=from_iso(raw["paused_until"]["S"]) if "paused_until" in raw else None,
            lifted_on=date.fromisoformat(raw["lifted_on"]["S"]) if "lifted_on" in raw else None,
            deployed=deployed,
            revision=int(raw["revision"]["N"]),
            **{name: raw[name]["S"] for name in TEXTS if name in raw},
        )
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableError(f"the spend guard: {error}") from error
