"""ReadUsage and ReadPackageUsage: what has been counted of runs, for a user and for the public."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from playground.domain.errors import InvalidRequestError
from playground.domain.spend import Counters, PackageTotals, Ratings, SpendRow, UsagePlace
from playground.ports import Clock, UsageCounters

MAX_DAYS = 90
DEFAULT_DAYS = 30
MAX_ROWS = 5_000  # of one answer, whose body has at most 2.5 MB then; a Lambda function answers with 6 MB at most
MIN_USERS_SHOWN = 5
"""A package with fewer users shows the number of its runs and nothing else: the rest would be about somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """Rows of one user from `first` to `last`, the earliest day first. `totals` are the sums of these rows, and of all
    days if `following` is None and the page is the first one."""

    first: date
    last: date
    rows: Sequence[SpendRow]
    totals: Counters
    following: UsagePlace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUsage:
    usage: UsageCounters
    clock: Clock

    def __call__(
        self, user_id: str, *, days: int = DEFAULT_DAYS, limit: int = MAX_ROWS, after: UsagePlace | None = None
    ) -> UsagePage:
        """At most `limit` rows of the user's last `days` days (UTC, with today) behind the place `after`. Raises
        InvalidRequestError for days, a limit or a place that is out of bounds."""
        first, last = last_days(days, self.clock())
        if not 1 <= limit <= MAX_ROWS:
            raise InvalidRequestError("limit", f"must be 1 to {MAX_ROWS}", got=limit)
        if after is not None and after.day > last:
            raise InvalidRequestError("cursor", "must be a next_cursor of an earlier answer")
        rows, following = self.usage.page_of_user(user_id, first, last, after=after, limit=limit)
        totals = sum((row.counters for row in rows), Counters())
        return UsagePage(first=first, last=last, rows=rows, totals=totals, following=following)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUsage:
    """What everybody may know of a package. `days` are charged runs by day, of days on which there were any. Of a
    package with fewer than MIN_USERS_SHOWN users, `users` and `ratings` are None and `days` is empty."""

    totals: PackageTotals
    first: date
    last: date
    users: int | None
    ratings: Ratings | None
    days: Sequence[tuple[date, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPackageUsage:
    usage: UsageCounters
    clock: Clock

    def __call__(self, package: str, *, days: int = DEFAULT_DAYS) -> PackageUsage:
        """Raises InvalidRequestError for days that are out of bounds."""
        first, last = last_days(days, self.clock())
        totals = self.usage.all_of_package(package)
        if totals.users < MIN_USERS_SHOWN:
            return PackageUsage(totals=totals, first=first, last=last, users=None, ratings=None, days=())
        runs: dict[date, int] = {}
        for row in self.usage.of_package(package, first, last):
            runs[row.day] = runs.get(row.day, 0) + row.counters.runs
        shown = [(day, runs[day]) for day in sorted(runs) if runs[day]]
        ratings = self.usage.ratings_of(package)
        return PackageUsage(totals=totals, first=first, last=last, users=totals.users, ratings=ratings, days=shown)


def last_days(days: int, now: datetime) -> tuple[date, date]:
    """The first and the last of so many days (UTC), of which the last is today. Raises InvalidRequestError."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidRequestError("days", f"must be 1 to {MAX_DAYS}", got=days)
    last = now.date()
    return last - timedelta(days=days - 1), last
