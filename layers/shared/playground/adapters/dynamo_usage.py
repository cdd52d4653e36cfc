"""Reading the counters of `domain.spend` in DynamoDB: `ports.UsageCounters`. Queries only, no scan.

`dynamo_spend` writes them. Its schemas are not loaded here: public routes read these counters, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

from playground.adapters.dynamo_keys import (
    PACKAGE_SHARDS,
    day_sk,
    package_pk,
    package_total_key,
    packages_pk,
    ratings_pk,
    user_day_sk,
    user_pk,
)
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem
from playground.domain.errors import UnreadableError
from playground.domain.spend import Counters, PackageTotals, Ratings, SpendRow, UsagePlace
from playground.ports import ReportUnreadable

PAGE = 1_000  # rows in one query, which reads 1 MB at most


T = TypeVar("T")


class DynamoUsage:
    """Eventually consistent. Raises StoreUnavailableError, and UnreadableError for a damaged counter: sums without it
    would be wrong. Only the list of packages leaves it out, and reports it."""

    def __init__(self, store: DynamoStore, table: str, *, report: ReportUnreadable = lambda error: None) -> None:
        self._store = store
        self._table = table
        self._report = report

    def page_of_user(
        self, user_id: str, first: date, last: date, *, after: UsagePlace | None, limit: int
    ) -> tuple[Sequence[SpendRow], UsagePlace | None]:
        begin = day_sk(first)
        if after is not None:
            begin = max(begin, user_day_sk(after.day, after.package, after.model) + "\0")  # the first text behind it
        rows: list[SpendRow] = []
        for raw in self._query(user_pk(user_id), begin, f"{day_sk(last)}~", page=min(limit + 1, PAGE)):
            if len(rows) == limit:
                return rows, rows[-1].place
            rows.append(_readable(raw, row_of))
        return rows, None

    def of_user(self, user_id: str, first: date, last: date) -> Sequence[SpendRow]:
        """All rows of one user from `first` to `last`, by day, package and model."""
        return [_readable(raw, row_of) for raw in self._days(user_pk(user_id), first, last)]

    def of_package(self, package: str, first: date, last: date) -> Sequence[SpendRow]:
        return [_readable(raw, row_of) for raw in self._days(package_pk(package), first, last)]

    def all_of_package(self, package: str) -> PackageTotals:
        raw = self._store.get(package_total_key(self._table, package), consistent=False)
        return _readable(raw, _totals_of) if raw is not None else PackageTotals(package=package)

    def packages(self) -> Sequence[PackageTotals]:
        found: list[PackageTotals] = []
        for shard in range(PACKAGE_SHARDS):
            for raw in self._query(packages_pk(shard), " ", "~"):
                try:
                    found.append(_readable(raw, _totals_of))
                except UnreadableError as error:
                    self._report(error)
        return found

    def ratings_of(self, package: str) -> Ratings:
        parts = self._query(ratings_pk(package), "0", "~")
        return sum((_readable(raw, _ratings_of) for raw in parts), Ratings())

    def _days(self, pk: str, first: date, last: date) -> Iterator[RawItem]:
        return self._query(pk, day_sk(first), f"{day_sk(last)}~")

    def _query(self, pk: str, first: str, last: str, *, page: int = PAGE) -> Iterator[RawItem]:
        arguments: dict[str, Any] = {}
        while True:
            items, stopped = self._store.query(
                self._table, pk, first=first, last=last, limit=page, condition=arguments, consistent=False
            )
            yield from items
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = Key(self._table, pk, stopped).raw


def counters_of(raw: RawItem) -> Counters:
    return Counters(**{each.name: _number(raw, each.name) for each in fields(Counters)})


def _readable(raw: RawItem, read: Callable[[RawItem], T]) -> T:
    """Raises UnreadableError."""
    try:
        return read(raw)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableError(f"counter {raw['pk']['S']} {raw['sk']['S']}: {error!r}") from error


def _totals_of(raw: RawItem) -> PackageTotals:
    return PackageTotals(package=raw["sk"]["S"], counters=counters_of(raw), users=_number(raw, "users"))


def _ratings_of(raw: RawItem) -> Ratings:
    return Ratings(**{each.name: _number(raw, each.name) for each in fields(Ratings)})


def _number(raw: Mapping[str, Any], name: str) -> int:
    return int(raw[name]["N"]) if name in raw else 0


def row_of(raw: RawItem) -> SpendRow:
    return SpendRow(
        day=date.fromisoformat(raw["sk"]["S"].split("#")[1]),
        model=raw["model"]["S"],
        package=raw["package"]["S"] if "package" in raw else None,
        counters=counters_of(raw),
    )
