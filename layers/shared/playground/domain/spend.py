"""What runs cost us at the provider, counted by day. Derived from receipts and from nothing else.

A receipt is counted once, by its run's id, on the day (UTC) on which the run ended. Everything here is a whole number;
money is in nano-dollars.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from functools import total_ordering
from typing import Self

from playground.domain.runs import Run, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Sums over runs. `runs` were charged, `failed` were not. `cost_nano` is what the provider billed for both, or may
    have billed at most; `unpaid_nano` is the part of it that nobody paid for. Tokens are those of charged runs."""

    runs: int = 0
    failed: int = 0
    credits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    unpaid_nano: int = 0

    @classmethod
    def of(cls, run: Run) -> Self:
        """What one receipt adds."""
        unpaid_nano = run.unpaid.cost_nano if run.unpaid is not None else 0
        if run.status is not RunStatus.SETTLED or run.measured is None:
            return cls(failed=1, cost_nano=unpaid_nano, unpaid_nano=unpaid_nano)
        return cls(
            runs=1,
            credits=run.charged,
            input_tokens=run.measured.usage.prompt_tokens,
            output_tokens=run.measured.usage.output_tokens,
            cost_nano=run.measured.price.cost_nano + unpaid_nano,
            unpaid_nano=unpaid_nano,
        )

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """Counters of one day, of a user, of a package or in total. `package` is None for runs whose package is not on
    record (their function died), and in totals."""

    day: date
    model: str
    package: str | None = None
    counters: Counters

    @property
    def place(self) -> "UsagePlace":
        return UsagePlace(day=self.day, package=self.package, model=self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePlace:
    """A position in the rows of a user, by day, package and model."""

    day: date
    package: str | None
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTotals:
    """All runs of a package, since there are counters. `users` have run it, with an answer or without; each counts once
    for ever, and again only after an erasure of the account."""

    package: str
    counters: Counters = Counters()
    users: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """Sums over the latest opinions of owners on their runs. `rated` of them have from 1 to 5 stars."""

    rated: int = 0
    stars: int = 0
    helpful: int = 0
    not_helpful: int = 0

    @classmethod
    def of(cls, rating: int | None, is_helpful: bool | None) -> Self:
        """What one opinion adds."""
        return cls(
            rated=int(rating is not None),
            stars=rating or 0,
            helpful=int(is_helpful is True),
            not_helpful=int(is_helpful is False),
        )

    def __add__(self, other: "Ratings") -> "Ratings":
        return Ratings(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def __sub__(self, other: "Ratings") -> "Ratings":
        return Ratings(**{each.name: getattr(self, each.name) - getattr(other, each.name) for each in fields(self)})


@total_ordering
@dataclass(frozen=True, slots=True)
class Rank:
    """A position in the list of packages by charged runs: of two the one with more runs is first, or that of the
    earlier name."""

    runs: int
    name: str

    def __lt__(self, other: "Rank") -> bool:
        return (-self.runs, self.name) < (-other.runs, other.name)


def ranking_of(packages: Iterable[PackageTotals]) -> Sequence[Rank]:
    """Those that have charged runs, by rank."""
    return sorted(Rank(each.counters.runs, each.package) for each in packages if each.counters.runs)


def day_of(run: Run) -> date:
    """The day on which a run counts."""
    return run.ended_at.date()
