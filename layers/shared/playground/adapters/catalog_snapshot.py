"""A short-lived cache of the catalogue in the process, for public reads.

All summaries are under one partition key, which DynamoDB lets be read 3,000 units a second, and a search reads all of
them. So an instance reads them once a minute, and searches what it has read. A package by its id or name is read from
the table unless this instance has just read it: one that was just published is there at once.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.domain.errors import StoreUnavailableError
from playground.domain.packages import ANY_KIND, PackageKind, PackageSummary, package_uuid
from playground.domain.search import Match, Place, Query, SearchedText, ranked

LIFE_SECONDS = 60.0  # of the list; a new package is found by a search that much later
STALE_SECONDS = 600.0  # for which an older list is better than none, when the store does not answer
RETRY_SECONDS = 5.0  # after an answer that did not come
SUMMARY_SECONDS = 10.0  # of one package; a new version of it is shown that much later
MAX_SUMMARIES = 500  # packages that are kept one by one
MAX_LISTED = 5_000  # packages in the list; those behind them are read from the table
MAX_LISTED_CHARACTERS = 8_000_000  # likewise
PAGE = 1_000
SEARCHED_ITEMS = 200  # of those behind the list, in one query
SEARCH_QUERIES = 5  # for one page of answers
_BEHIND = Match(0, 0, 0)  # the place of those behind the list: after the ranked ones, by name


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The first packages by name, and what is searched of them. `complete`: there are no others."""

    summaries: Sequence[PackageSummary]
    names: Sequence[str]
    texts: Mapping[str, SearchedText]
    complete: bool
    read_at: float


class SnapshotCatalog:
    """`summary`, `search` and `named` of `ports.Catalog`, and `ports.PackageIndex`. Safe to share between threads; of
    many that find the list too old one reads it, and the others take the old one, or wait if there is none."""

    def __init__(
        self,
        catalog: DynamoCatalog,
        *,
        max_listed: int = MAX_LISTED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._max_listed = max_listed
        self._monotonic = monotonic
        self._snapshot: _Snapshot | None = None
        self._try_at = 0.0
        self._reading = threading.Lock()
        self._summaries: OrderedDict[str, tuple[float, PackageSummary]] = OrderedDict()
        self._lock = threading.Lock()

    def summary(self, package_id: str) -> PackageSummary | None:
        """The summary of a package, at most ten seconds old. A missing package is never cached."""
        uuid = package_uuid(package_id)
        if uuid is None:
            return None
        now = self._monotonic()
        with self._lock:
            read_at, known = self._summaries.get(uuid, (0.0, None))
        if known is not None and now < read_at + SUMMARY_SECONDS:
            return known
        summary = self._catalog.summary(uuid)
        with self._lock:
            self._summaries.pop(uuid, None)
            if summary is not None:
                self._summaries[uuid] = now, summary
                if len(self._summaries) > MAX_SUMMARIES:
                    self._summaries.popitem(last=False)
        return summary

    def count(self, query: Query, kind: PackageKind = ANY_KIND) -> int | None:
        """How many packages match in all; None if there are more than are kept here."""
        snapshot = self._current()
        if not snapshot.complete:
            return None
        return sum(
            kind.includes(summary) and query.match(snapshot.texts[summary.name]) is not None
            for summary in snapshot.summaries
        )

    def ranked(
        self, query: Query, *, after: Place | None, limit: int, kind: PackageKind = ANY_KIND
    ) -> tuple[Sequence[PackageSummary], Place | None]:
        """As `ports.PackageIndex`. Packages that are not kept here follow the ranked ones by name; of them one call
        reads at most 1,000, so a page may hold fewer than `limit`, or none, although there are more."""
        snapshot = self._current()
        found: list[PackageSummary] = []
        if after is None or after.match != _BEHIND:
            of_kind = [summary for summary in snapshot.summaries if kind.includes(summary)]
            places = ranked(of_kind, query, texts=snapshot.texts, after=after)
            if len(places) > limit:
                return [summary for _, summary in places[:limit]], places[limit - 1][0]
            found = [summary for _, summary in places]
        if snapshot.complete:
            return found, None
        behind = snapshot.names[-1]
        position: str | None = max(after.name, behind) if after is not None and after.match == _BEHIND else behind
        for _ in range(SEARCH_QUERIES):
            page, position = self._catalog.listed(position, SEARCHED_ITEMS)
            for summary in page:
                if kind.includes(summary) and query.match(SearchedText.of(summary)) is not None:
                    if len(found) == limit:
                        return found, Place(_BEHIND, behind)
                    found.append(summary)
                behind = summary.name
            if position is None:
                return found, None
            behind = position
        return found, Place(_BEHIND, behind)

    def search(
        self, text: str, *, after: str | None, limit: int, kind: PackageKind = ANY_KIND
    ) -> tuple[Sequence[PackageSummary], str | None]:
        """As `DynamoCatalog.search`, in what was there at most a minute ago."""
        snapshot = self._current()
        first = bisect_right(snapshot.names, after) if after is not None else 0
        found: list[PackageSummary] = []
        for summary in snapshot.summaries[first:]:
            if summary.matches(text) and kind.includes(summary):
                if len(found) == limit:
                    return found, found[-1].name
                found.append(summary)
        if snapshot.complete:
            return found, None
        behind = max(after or "", snapshot.names[-1])
        if len(found) == limit:
            return found, behind
        rest, following = self._catalog.search(text, after=behind, limit=limit - len(found), kind=kind)
        return [*found, *rest], following

    def named(self, names: Sequence[str], text: str) -> Mapping[str, PackageSummary]:
        """As `DynamoCatalog.named`, of those that were there at most a minute ago."""
        snapshot = self._current()
        found: dict[str, PackageSummary] = {}
        behind: list[str] = []
        for name in names:
            place = bisect_left(snapshot.names, name)
            if place < len(snapshot.names):
                if snapshot.names[place] == name and snapshot.summaries[place].matches(text):
                    found[name] = snapshot.summaries[place]
            elif not snapshot.complete:
                behind.append(name)
        return {**found, **self._catalog.named(behind, text)} if behind else found

    def _current(self) -> _Snapshot:
        """Raises StoreUnavailableError."""
        now = self._monotonic()
        snapshot = self._snapshot
        if snapshot is not None and now < max(snapshot.read_at + LIFE_SECONDS, self._try_at):
            return snapshot
        if not self._reading.acquire(blocking=snapshot is None):
            assert snapshot is not None
            return snapshot
        try:
            if self._snapshot is not snapshot and self._snapshot is not None:
                return self._snapshot  # another thread has just read it
            self._snapshot = self._read(now)
        except StoreUnavailableError:
            if snapshot is None or now > snapshot.read_at + STALE_SECONDS:
                raise
            self._try_at = now + RETRY_SECONDS
            return snapshot
        finally:
            self._reading.release()
        return self._snapshot

    def _read(self, now: float) -> _Snapshot:
        summaries: list[PackageSummary] = []
        characters, position = 0, None
        while True:
            page, position = self._catalog.listed(position, PAGE)
            summaries += page
            characters += sum(map(_characters, page))
            if position is None or len(summaries) >= self._max_listed or characters >= MAX_LISTED_CHARACTERS:
                break
        complete = position is None and len(summaries) <= self._max_listed
        summaries = summaries[: self._max_listed]
        texts = {summary.name: SearchedText.of(summary) for summary in summaries}
        return _Snapshot(summaries, [summary.name for summary in summaries], texts, complete, now)


def _characters(summary: PackageSummary) -> int:
    texts = (summary.name, summary.description, summary.preview, *summary.versions, *summary.tags)
    return sum(map(len, texts))
