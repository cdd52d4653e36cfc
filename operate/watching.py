"""What `./playground watch` shows: sums and percentiles over two windows of the metrics that functions have written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.metric_file import Sample
from playground.domain.outcomes import RunOutcome

SHORT_SECONDS = 60
WIDTH = 80
NANO_PER_DOLLAR = 1_000_000_000


@dataclass(slots=True)
class Window:
    """Metrics of the last `seconds`."""

    seconds: int
    values: dict[str, list[float]] = field(default_factory=dict)
    runs: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        self.values.setdefault(sample.metric, []).extend(sample.values)
        dimensions = dict(sample.dimensions)
        if sample.metric == "Runs":
            key = (dimensions.get("model", "?"), dimensions.get("outcome", "?"))
            self.runs[key] = self.runs.get(key, 0) + round(sum(sample.values))

    def total(self, metric: str) -> int:
        return round(sum(self.values.get(metric, ())))

    def largest(self, metric: str) -> int | None:
        values = self.values.get(metric)
        return round(max(values)) if values else None

    def percentile(self, metric: str, percent: int) -> int | None:
        """By the nearest rank."""
        values = sorted(self.values.get(metric, ()))
        return round(values[math.ceil(len(values) * percent / 100) - 1]) if values else None

    def success(self) -> float | None:
        """Percent of runs that were not lost."""
        ended = self.total("RunsEnded")
        return 100 * (1 - self.total("RunsLost") / ended) if ended else None


COUNTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "credits": (
        ("credits held", "CreditsHeld"),
        ("credits charged", "CreditsCharged"),
        ("credits released", "CreditsReleased"),
        ("credits expired", "CreditsExpired"),
        ("credits bought", "CreditsBought"),
        ("  taken back", "CreditsTakenBack"),
    ),
    "refused": (
        ("402 too few credits", "InsufficientCredits"),
        ("429 rate or count", "RateLimited"),
        ("refused in all", "Refused"),
        ("500 internal errors", "UnhandledError"),
    ),
    "payments": (
        ("purchases", "Purchases"),
        ("refunds", "Refunds"),
        ("disputes", "Disputes"),
        ("quarantined", "PaymentQuarantined"),
    ),
    "behind": (
        ("store retries", "StoreRetries"),
        ("holds expired", "HoldsExpired"),
        ("work done", "WorkDone"),
        ("work failed", "WorkFailed"),
        ("notices", "NoticesPublished"),
        ("differences", "ReconcileDifferences"),
        ("audit findings", "AuditDifferences"),
    ),
}


@dataclass(frozen=True, slots=True)
class View:
    at: datetime
    short: Window
    long: Window
    credit_value_nano: int

    @classmethod
    def of(cls, samples: Iterable[Sample], *, now: float, minutes: int, credit_value_nano: int) -> "View":
        """What `samples` say about the last minute and the last `minutes`."""
        short, long = Window(SHORT_SECONDS), Window(minutes * 60)
        for sample in samples:
            for window in (short, long):
                if now - window.seconds < sample.at <= now:
                    window.add(sample)
        return cls(datetime.fromtimestamp(now, UTC), short, long, credit_value_nano)

    def document(self) -> dict[str, object]:
        """All of it, for scripts. Money in nano-dollars, times in ms."""
        return {"at": self.at, "windows": [self._window(window) for window in (self.short, self.long)]}

    def _window(self, window: Window) -> dict[str, object]:
        return {
            "seconds": window.seconds,
            "runs": [
                {"model": model, "outcome": outcome, "runs": number}
                for (model, outcome), number in sorted(window.runs.items())
            ],
            "success_percent": window.success(),
            "added_latency_ms": {f"p{each}": window.percentile("AddedLatency", each) for each in (50, 99)},
            "time_to_first_text_ms": {f"p{each}": window.percentile("TimeToFirstText", each) for each in (50, 99)},
            "cost_nano": window.total("ProviderCost"),
            "paid_nano": window.total("PaidCost"),
            "unpaid_nano": window.total("ProviderCost") - window.total("PaidCost"),
            "margin_nano": self._margin(window),
            "spend_percent": window.largest("SpendPercent"),
            "counts": {metric: window.total(metric) for rows in COUNTS.values() for _, metric in rows},
        }

    def _margin(self, window: Window) -> int:
        """Charged credits at the price of the cheapest pack, less what the provider billed."""
        return window.total("CreditsCharged") * self.credit_value_nano - window.total("ProviderCost")

    def lines(self, title: str) -> list[str]:
        """A page of 80 columns."""
        windows = (self.short, self.long)
        head = f"{self.at:%H:%M:%S} UTC"
        minutes = self.long.seconds // 60
        found = [
            f"{title[: WIDTH - len(head) - 1]:<{WIDTH - len(head)}}{head}",
            "",
            _row("", "1 min", f"{minutes} min", "", "1 min", f"{minutes} min"),
        ]
        left = [
            ("runs ended", *(f"{window.total('RunsEnded'):,}" for window in windows)),
            ("runs lost", *(f"{window.total('RunsLost'):,}" for window in windows)),
            ("run success %", *(_one(window.success()) for window in windows)),
            ("added p50 ms", *(_whole(window.percentile("AddedLatency", 50)) for window in windows)),
            ("added p99 ms", *(_whole(window.percentile("AddedLatency", 99)) for window in windows)),
            ("first text p50", *(_whole(window.percentile("TimeToFirstText", 50)) for window in windows)),
            ("first text p99", *(_whole(window.percentile("TimeToFirstText", 99)) for window in windows)),
        ]
        right = [
            ("cost $", *(_dollars(window.total("ProviderCost")) for window in windows)),
            ("  paid", *(_dollars(window.total("PaidCost")) for window in windows)),
            ("  unpaid", *(_dollars(window.total("ProviderCost") - window.total("PaidCost")) for window in windows)),
            ("margin $", *(_dollars(self._margin(window)) for window in windows)),
            ("ceiling used %", *(_whole(window.largest("SpendPercent")) for window in windows)),
        ]
        found += _beside(left, right)
        for pair in (("credits", "refused"), ("behind", "payments")):
            columns = [
                [(label, *(f"{window.total(metric):,}" for window in windows)) for label, metric in COUNTS[name]]
                for name in pair
            ]
            found += ["", *_beside(*columns)]
        found += ["", f"{str(minutes) + ' min':<8}" + "".join(f"{each.value:>12}" for each in RunOutcome)]
        for model in sorted({model for model, _ in self.long.runs}):
            numbers = "".join(f"{self.long.runs.get((model, each.value), 0):>12,}" for each in RunOutcome)
            found.append(f"{model[:8]:<8}{numbers}")
        return found


Cells = tuple[str, ...]


def _beside(left: Sequence[Cells], right: Sequence[Cells]) -> list[str]:
    empty = ("", "", "")
    return [
        _row(*(left[number] if number < len(left) else empty), *(right[number] if number < len(right) else empty))
        for number in range(max(len(left), len(right)))
    ]


def _row(*cells: str) -> str:
    one, two, three, four, five, six = cells
    return f"{one:<18}{two:>9}{three:>10}    {four:<19}{five:>9}{six:>10}".rstrip()


def _whole(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _one(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def _dollars(nano: int) -> str:
    dollars = nano / NANO_PER_DOLLAR
    return f"{dollars:,.4f}" if abs(dollars) < 10 else f"{dollars:,.2f}" if abs(dollars) < 10_000 else f"{dollars:,.0f}"
