"""WithdrawPackage: an operator takes a version, or a package, out of the catalogue, and puts it back.

HEAD says which versions can be had. Each order writes HEAD, the listing and the marks of the versions in one
transaction, over the HEAD that was read; what does not fit into it follows, while HEAD is still that one. So an order
that was interrupted is finished by its repeat.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path

from playground.adapters.dynamo_catalog import WITHDRAWN_AT, DynamoCatalog, head_item, listing_item
from playground.adapters.dynamo_keys import head_key, listing_key, order_key, version_key
from playground.adapters.dynamo_store import (
    Check,
    Delete,
    DynamoStore,
    Put,
    RawItem,
    Replace,
    TransactionRefused,
    Update,
    Write,
)
from playground.domain.calendar import iso
from playground.domain.errors import PackageNotFoundError, StoreUnavailableError
from playground.domain.packages import package_uuid
from playground.domain.versions import newest_first

ANY = Path("pk").exists() | Path("pk").does_not_exist()
MAX_MARKS = 90  # of versions in one transaction, beside HEAD, listing and record


@dataclass(frozen=True, slots=True)
class Offered:
    """What HEAD says. `versions` can be had. `closed`: those that could, of a package that is withdrawn; else None."""

    versions: tuple[str, ...]
    withdrawn: tuple[str, ...] = ()
    closed: tuple[str, ...] | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(newest_first((*self.versions, *self.withdrawn, *(self.closed or ()))))

    def without(self, version: str | None) -> "Offered":
        """With this version withdrawn, or the package (None)."""
        if version is None:
            return self if self.closed is not None else Offered((), self.withdrawn, self.versions)
        if version in self.withdrawn:
            return self
        return Offered(
            _less(self.versions, version),
            (*self.withdrawn, version),
            _less(self.closed, version) if self.closed is not None else None,
        )

    def with_again(self, version: str | None) -> "Offered":
        """With this version back, or the package (None) with what could be had of it before."""
        if version is None:
            return self if self.closed is None else Offered(self.closed, self.withdrawn)
        if version not in self.withdrawn:
            return self
        withdrawn = _less(self.withdrawn, version)
        if self.closed is not None:
            return Offered(self.versions, withdrawn, tuple(newest_first((*self.closed, version))))
        return Offered(tuple(newest_first((*self.versions, version))), withdrawn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """The package after an order. `is_new` is False if nothing had to change."""

    name: str
    offered: Offered
    is_new: bool


@dataclass(frozen=True, slots=True)
class WithdrawPackage:
    store: DynamoStore
    catalog: DynamoCatalog
    catalog_table: str

    def __call__(
        self, package_id: str, version: str | None, *, reason: str, operator: str, now: datetime, dry_run: bool = False
    ) -> Withdrawal:
        """Withdraw a version, or the package (None) with all its versions. Repeating it changes nothing.

        There are no new runs, estimates and listings of it. Conversations and shares stay readable, and do not go on.
        Raises PackageNotFoundError.
        """
        return self._order("withdraw", package_id, version, reason, operator, now, dry_run)

    def reinstate(
        self, package_id: str, version: str | None, *, reason: str, operator: str, now: datetime, dry_run: bool = False
    ) -> Withdrawal:
        """Put a version, or the package (None), back. Versions that were withdrawn one by one stay withdrawn when
        their package comes back."""
        return self._order("reinstate", package_id, version, reason, operator, now, dry_run)

    def _order(
        self, verb: str, package_id: str, version: str | None, reason: str, operator: str, now: datetime, dry_run: bool
    ) -> Withdrawal:
        uuid = package_uuid(package_id)
        for _ in self.store.backoff:
            head = self.store.get(head_key(self.catalog_table, uuid)) if uuid is not None else None
            if head is None or uuid is None:
                raise PackageNotFoundError(package_id)
            before = _offered(head)
            if version is not None and version not in before.all:
                raise PackageNotFoundError(package_id, version)
            after = before.without(version) if verb == "withdraw" else before.with_again(version)
            outcome = Withdrawal(name=head["name"]["S"], offered=after, is_new=after != before)
            if dry_run:
                return outcome
            marks = self._marks(uuid, after, now)
            writes: list[Write] = list(marks[:MAX_MARKS])
            if outcome.is_new:
                record = {
                    "order": {"S": verb},
                    "reason": {"S": reason},
                    "operator": {"S": operator},
                    **({"version": {"S": version}} if version is not None else {}),
                }
                key = order_key(self.catalog_table, uuid, f"{iso(now)}#{secrets.token_hex(4)}")
                writes += [Put(key, record), *self._moved(uuid, head, before, after, now)]
            elif writes:
                writes.append(Check(head_key(self.catalog_table, uuid), _says(after)))
            else:
                return outcome
            try:
                self.store.transact(*writes)
                for start in range(MAX_MARKS, len(marks), MAX_MARKS):
                    still = Check(head_key(self.catalog_table, uuid), _says(after))
                    self.store.transact(*marks[start : start + MAX_MARKS], still)
            except TransactionRefused:
                continue  # somebody publishes or withdraws: look again
            return outcome
        raise StoreUnavailableError

    def _marks(self, uuid: str, offered: Offered, now: datetime) -> list[Update]:
        """What makes the marks of the versions say what HEAD is to say."""
        keys = {version: version_key(self.catalog_table, uuid, version) for version in offered.all}
        items = self.store.get_all(list(keys.values()), consistent=frozenset({self.catalog_table}))
        mark = Path(WITHDRAWN_AT)
        marks = []
        for version, key in keys.items():
            is_marked = WITHDRAWN_AT in items.get(key, {})
            if is_marked is (version in offered.versions):
                action = mark.remove() if is_marked else mark.set(iso(now))
                marks.append(Update(key, actions=[action], condition=Path("pk").exists()))
        return marks

    def _moved(self, uuid: str, head: RawItem, before: Offered, after: Offered, now: datetime) -> Sequence[Write]:
        """HEAD and the listing, over the HEAD that was read."""
        key, listing = head_key(self.catalog_table, uuid), listing_key(self.catalog_table, head["name"]["S"])
        state = _state(after)
        if not after.versions:
            gone = {name: value for name, value in head.items() if name not in ("withdrawn", "closed")}
            gone |= {**state, WITHDRAWN_AT: {"S": iso(now)}}
            return [Replace(key, gone, _says(before)), Delete(listing, ANY)]
        item = self.store.get(version_key(self.catalog_table, uuid, after.versions[0]))
        if item is None:
            raise PackageNotFoundError(head["name"]["S"], after.versions[0])
        package = self.catalog.stored_version(item)
        item = {name: value for name, value in item.items() if name != WITHDRAWN_AT}
        return [
            Replace(key, {**head_item(package, item, after.versions), **state}, _says(before)),
            Replace(listing, listing_item(package, after.versions), ANY),
        ]


def _less(versions: Sequence[str], version: str) -> tuple[str, ...]:
    return tuple(each for each in versions if each != version)


def _offered(head: RawItem) -> Offered:
    def stored(name: str) -> tuple[str, ...]:
        return tuple(each["S"] for each in head.get(name, {"L": []})["L"])

    return Offered(stored("versions"), stored("withdrawn"), stored("closed") if "closed" in head else None)


def _state(offered: Offered) -> Mapping[str, dict[str, list[dict[str, str]]]]:
    stored = {"versions": offered.versions, "withdrawn": offered.withdrawn or None, "closed": offered.closed}
    return {
        name: {"L": [{"S": version} for version in versions]}
        for name, versions in stored.items()
        if versions is not None
    }


def _says(offered: Offered) -> Condition:
    state = _state(offered)
    terms = [
        Path(name) == [each["S"] for each in state[name]["L"]] if name in state else Path(name).does_not_exist()
        for name in ("versions", "withdrawn", "closed")
    ]
    return reduce(and_, terms)
