"""ListPackages, ListPopular, ListRelevant, SearchPackages and ReadPackage: the catalogue."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playground.domain.cursors import bad_cursor, parts_cursor, parts_of
from playground.domain.errors import InvalidRequestError, PackageNotFoundError
from playground.domain.packages import ANY_KIND, PackageKind, PackageSummary, is_package_name
from playground.domain.search import Match, Place, Query
from playground.domain.spend import Rank
from playground.ports import CatalogReader, PackageIndex

MAX_QUERY_CHARACTERS = 200
MAX_PAGE = 100
DEFAULT_PAGE = 20
NAMES_AT_ONCE = 100
MAX_NAMES = 1_000  # whose packages one call looks at; also the searches behind them are bounded
MAX_SEARCHES = 5

_COUNT = re.compile("[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class PackagePage:
    """`next_cursor` is None at the end. A page may be short or empty without being the last."""

    packages: Sequence[PackageSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ListPackages:
    """A page of the packages that match a text, by name."""

    catalog: CatalogReader

    def __call__(self, query: str = "", *, limit: int = DEFAULT_PAGE, cursor: str | None = None) -> PackagePage:
        """The packages whose name, description or tags contain each word of `query`, in any case.

        Raises InvalidRequestError for a query, limit or cursor that is out of bounds.
        """
        _check_name(query, limit, cursor)
        packages, after = self.catalog.search(query.strip(), after=cursor, limit=limit)
        return PackagePage(packages, after)


def _check_name(query: str, limit: int, cursor: str | None) -> None:
    _check(query, limit)
    if cursor is not None and not is_package_name(cursor):
        raise InvalidRequestError("cursor", "must be a next_cursor of an earlier answer")


def _check(query: str, limit: int) -> None:
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidRequestError("q", f"must have at most {MAX_QUERY_CHARACTERS} characters")
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequestError("limit", f"must be 1 to {MAX_PAGE}")


@dataclass(frozen=True, slots=True)
class ListPopular:
    """A page of the packages that match a text, by their runs. `ranking` has every package that was ever run, by rank;
    it may be a minute old."""

    catalog: CatalogReader
    ranking: Callable[[], Sequence[Rank]]

    def __call__(self, query: str = "", *, limit: int = DEFAULT_PAGE, cursor: str | None = None) -> PackagePage:
        """As `ListPackages`: those with the most charged runs first, equal ones by name, and then those that were never
        run, by name. A cursor is the rank of the last package, so that ranks that change between two pages repeat or
        leave out the packages that change, and no others."""
        _check(query, limit)
        text, ranking, after = query.strip(), self.ranking(), _rank_of(cursor)
        if after is not None and not after.runs:
            return self._without_runs(text, ranking, [], after.name or None, limit)
        begin = bisect_right(ranking, after) if after is not None else 0
        end = min(begin + MAX_NAMES, len(ranking))
        found: list[PackageSummary] = []
        seen = ranking[begin : begin + 1]  # the last rank that is dealt with
        for start in range(begin, end, NAMES_AT_ONCE):
            ranks = ranking[start : min(start + NAMES_AT_ONCE, end)]
            there = self.catalog.named([rank.name for rank in ranks], text)
            for rank in ranks:
                if rank.name in there:
                    if len(found) == limit:
                        return PackagePage(found, _cursor_of(*seen))
                    found.append(there[rank.name])
                seen = (rank,)
        if end < len(ranking):
            return PackagePage(found, _cursor_of(*seen))
        return self._without_runs(text, ranking, found, None, limit)

    def _without_runs(
        self, text: str, ranking: Sequence[Rank], found: list[PackageSummary], after: str | None, limit: int
    ) -> PackagePage:
        """`found`, and behind it packages that were never run, after the name `after`."""
        ranked = {rank.name for rank in ranking}
        for _ in range(MAX_SEARCHES):
            summaries, following = self.catalog.search(text, after=after, limit=MAX_PAGE)
            for summary in summaries:
                if summary.name not in ranked:
                    if len(found) == limit:
                        return PackagePage(found, _cursor_of(Rank(0, after or "")))
                    found.append(summary)
                after = summary.name
            if following is None:
                return PackagePage(found, None)
            after = following
        return PackagePage(found, _cursor_of(Rank(0, after or "")))


def _cursor_of(rank: Rank) -> str:
    return parts_cursor(str(rank.runs), rank.name)


def _rank_of(cursor: str | None) -> Rank | None:
    """Raises InvalidRequestError."""
    if cursor is None:
        return None
    runs, name = parts_of(cursor, 2)
    if not (
        runs.isascii() and runs.isdigit() and len(runs) <= 15 and (is_package_name(name) or (runs, name) == ("0", ""))
    ):
        raise bad_cursor()
    return Rank(int(runs), name)


@dataclass(frozen=True, slots=True)
class ListRelevant:
    """A page of the packages that match a text in part, the best match first."""

    index: PackageIndex

    def __call__(
        self, query: str, *, kind: PackageKind = ANY_KIND, limit: int = DEFAULT_PAGE, cursor: str | None = None
    ) -> PackagePage:
        """The packages of a kind in which at least one word of `query` occurs (`domain.search`); without words all, by
        name. Raises InvalidRequestError for a query, limit or cursor that is out of bounds."""
        words = Query.of(query)
        if not words.words:
            _check_name(query, limit, cursor)
            return PackagePage(*self.index.search("", after=cursor, limit=limit, kind=kind))
        _check(query, limit)
        summaries, following = self.index.ranked(words, after=_place_of(cursor), limit=limit, kind=kind)
        return PackagePage(summaries, _place_cursor(following) if following is not None else None)


def _place_cursor(place: Place) -> str:
    return parts_cursor(*map(str, place.match), place.name)


def _place_of(cursor: str | None) -> Place | None:
    """Raises InvalidRequestError."""
    if cursor is None:
        return None
    *numbers, name = parts_of(cursor, 4)
    if not (is_package_name(name) and all(_COUNT.fullmatch(number) for number in numbers)):
        raise bad_cursor()
    words, exact, named = map(int, numbers)
    return Place(Match(words, exact, named), name)


@dataclass(frozen=True, slots=True)
class FoundPackages:
    """As `PackagePage`. `total`: how many match in all; None if they are too many to be counted."""

    page: PackagePage
    total: int | None


@dataclass(frozen=True, slots=True)
class SearchPackages:
    """A page of the packages of a kind that match a text in part, the best match first, and their number."""

    index: PackageIndex

    def __call__(
        self, query: str, *, kind: PackageKind, limit: int = DEFAULT_PAGE, cursor: str | None = None
    ) -> FoundPackages:
        """As `ListRelevant`."""
        page = ListRelevant(self.index)(query, kind=kind, limit=limit, cursor=cursor)
        return FoundPackages(page, self.index.count(Query.of(query), kind))


@dataclass(frozen=True, slots=True)
class ReadPackage:
    """One package: its newest version with the beginning of the prompt, and the list of all versions."""

    catalog: CatalogReader

    def __call__(self, package_id: str) -> PackageSummary:
        """The package with this UUID or `@scope/name`. Raises PackageNotFoundError."""
        summary = self.catalog.summary(package_id)
        if summary is None:
            raise PackageNotFoundError(package_id)
        return summary
