"""The CloudWatch dashboard: a readable list here, JSON between two marks in template.yaml.

PYTHONPATH=layers/shared .venv/bin/python -m tools.dashboard            write it
PYTHONPATH=layers/shared .venv/bin/python -m tools.dashboard --check    1 if the template has another one
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.adapters.prices import load_prices
from playground.domain.outcomes import RunOutcome
from playground.observability import Metric, metrics

TEMPLATE = Path(__file__).parent.parent / "template.yaml"
BEGIN, END = "      # dashboard: written by tools/dashboard.py\n", "      # end of dashboard\n"
REGION = "${AWS::Region}"
PERIOD_SECONDS = 300
COLUMNS, HEIGHT = 24, 6  # of the dashboard's grid; of a graph

RUNS = ("run", "stream")
RUN_ENDERS = (*RUNS, "credits", "reset")
API = ("run", "stream", "estimate", "anonymous", "credits", "sessions", "webhook", "catalog")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a graph: one metric of one service, or of several added up, or `math` over other lines by their ids.
    `dimensions` replace the service."""

    label: str
    metric: Metric | str = ""
    services: Sequence[str] = ()
    stat: str = "Sum"
    namespace: str = metrics.namespace
    dimensions: Sequence[tuple[str, str]] = ()
    math: str = ""
    id: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    title: str
    lines: Sequence[Line]
    width: int = 8


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


def of_queue(label: str, logical_id: str, metric: str) -> Line:
    name = f"${{{logical_id}.QueueName}}"
    return Line(label, metric, stat="Maximum", namespace="AWS/SQS", dimensions=[("QueueName", name)])


def of_function(label: str, logical_id: str, metric: str, stat: str = "Sum") -> Line:
    return Line(label, metric, stat=stat, namespace="AWS/Lambda", dimensions=[("FunctionName", f"${{{logical_id}}}")])


def by_model(outcome: RunOutcome) -> Line:
    """All models with this outcome, whatever they are called."""
    found = f'{{{metrics.namespace},service,model,outcome}} MetricName="{Metric.RUNS.value}" outcome="{outcome.value}"'
    return Line(outcome.value, math=f"SUM(SEARCH('{found}', 'Sum', {PERIOD_SECONDS}))", id=f"o_{outcome.value}")


def credit_value_nano() -> int:
    """What the cheapest credit on sale brings in."""
    return int(load_prices().credit_value_nano)


DASHBOARD: Sequence[Heading | Graph] = (
    Heading("What users feel"),
    Graph(
        "Run success (objective 99.5 %)",
        [
            Line("ended", Metric.RUNS_ENDED, ["guard"], id="ended", hidden=True),
            Line("lost", Metric.RUNS_LOST, ["guard"], id="lost", hidden=True),
            Line("percent", math="100 * (1 - lost / ended)", id="success"),
        ],
    ),
    Graph(
        "Added latency, ms (objective: 99 % up to 1,000)",
        [
            Line(f"{service} {stat}", Metric.ADDED_LATENCY, [service], stat=stat)
            for service in RUNS
            for stat in ("p50", "p99")
        ],
    ),
    Graph(
        "Time to first text, ms",
        [
            Line(f"{service} {stat}", Metric.TIME_TO_FIRST_TEXT, [service], stat=stat)
            for service in RUNS
            for stat in ("p50", "p99")
        ],
    ),
    Graph("Runs by outcome", [by_model(outcome) for outcome in RunOutcome]),
    Graph(
        "Refused requests",
        [
            Line("402 too few credits", Metric.INSUFFICIENT_CREDITS, RUNS),
            Line("429 by functions", Metric.RATE_LIMITED, API),
            Line("all", Metric.REFUSED, API),
        ],
    ),
    Graph("Internal errors", [Line("answers with 500", Metric.UNHANDLED_ERROR, API)]),
    Heading("Credits and money"),
    Graph(
        "Credits of ended runs",
        [
            Line("held", Metric.CREDITS_HELD, ["guard"]),
            Line("charged", Metric.CREDITS_CHARGED, ["guard"]),
            Line("released", Metric.CREDITS_RELEASED, ["guard"]),
            Line("expired", Metric.CREDITS_EXPIRED, ["guard"]),
        ],
    ),
    Graph(
        "Provider cost and margin at the cheapest credit, $",
        [
            Line("cost", Metric.PROVIDER_COST, ["guard"], id="cost", hidden=True),
            Line("paid", Metric.PAID_COST, ["guard"], id="paid", hidden=True),
            Line("charged", Metric.CREDITS_CHARGED, ["guard"], id="charged", hidden=True),
            Line("paid for", math="paid / 1000000000", id="paid_dollars"),
            Line("unpaid", math="(cost - paid) / 1000000000", id="unpaid_dollars"),
            Line("margin", math=f"(charged * {credit_value_nano()} - cost) / 1000000000", id="margin_dollars"),
        ],
    ),
    Graph("Ceiling of the day, %", [Line("used", Metric.SPEND_PERCENT, ["guard"], stat="Maximum")]),
    Graph(
        "Purchases, refunds, disputes",
        [
            Line("purchases", Metric.PURCHASES, ["webhook"]),
            Line("refunds", Metric.REFUNDS, ["webhook"]),
            Line("disputes", Metric.DISPUTES, ["webhook"]),
        ],
    ),
    Graph(
        "Payments that need somebody",
        [
            Line("quarantined", Metric.PAYMENT_QUARANTINED, ["webhook"]),
            Line("rejected", Metric.PAYMENTS_REJECTED, ["credits", "webhook", "reconcile"]),
            Line("differences", Metric.RECONCILE_DIFFERENCES, ["reconcile"]),
            Line("deliveries refused", Metric.DELIVERY_REFUSED, ["webhook"]),
        ],
    ),
    Graph(
        "Books that need somebody",
        [
            Line("audit findings", Metric.AUDIT_DIFFERENCES, ["audit"]),
            Line("overrun credits", Metric.OVERRUN_CREDITS, RUNS),
            Line("impossible usage", Metric.INVALID_USAGE, RUNS),
            Line("unreadable records", Metric.UNREADABLE_RECORDS, [*API, "guard", "reconcile", "reset"]),
        ],
    ),
    Heading("Behind the API"),
    Graph(
        "Age of the oldest work, s",
        [
            of_queue("shards", "ShardWork", "ApproximateAgeOfOldestMessage"),
            of_queue("accounts", "AccountWork", "ApproximateAgeOfOldestMessage"),
        ],
    ),
    Graph(
        "Lag of the streams, ms",
        [
            of_function("notices", "NoticesFunction", "IteratorAge", "Maximum"),
            of_function("guard", "GuardFunction", "IteratorAge", "Maximum"),
        ],
    ),
    Graph(
        "Given up",
        [
            of_queue(name, name, "ApproximateNumberOfMessagesVisible")
            for name in ("AccountWorkFailures", "NoticeFailures", "GuardFailures", "ScheduleFailures")
        ],
    ),
    Graph(
        "Store and holds",
        [
            Line("store retries", Metric.STORE_RETRIES, [*RUN_ENDERS, "guard", "webhook"]),
            Line("holds expired", Metric.HOLDS_EXPIRED, ["reset"]),
            Line("sweep failed", Metric.SWEEP_FAILED, ["reset"]),
        ],
    ),
    Graph(
        "Instances at once",
        [
            of_function("run", "RunFunction", "ConcurrentExecutions", "Maximum"),
            of_function("stream", "StreamFunction", "ConcurrentExecutions", "Maximum"),
        ],
    ),
    Graph(
        "Crashes",
        [
            of_function("run", "RunFunction", "Errors"),
            of_function("stream", "StreamFunction", "Errors"),
            of_function("webhook", "WebhookFunction", "Errors"),
            of_function("reset", "ResetFunction", "Errors"),
            of_function("guard", "GuardFunction", "Errors"),
        ],
    ),
)


def widgets(parts: Sequence[Heading | Graph] = DASHBOARD) -> list[dict[str, Any]]:
    """The widgets of the dashboard's body, in rows of 24 columns."""
    found: list[dict[str, Any]] = []
    x = y = 0
    for part in parts:
        if isinstance(part, Heading):
            y += HEIGHT if x else 0
            place = {"x": 0, "y": y, "width": COLUMNS, "height": 1}
            found.append({"type": "text", **place, "properties": {"markdown": f"## {part.text}"}})
            x, y = 0, y + 1
            continue
        if x + part.width > COLUMNS:
            x, y = 0, y + HEIGHT
        place = {"x": x, "y": y, "width": part.width, "height": HEIGHT}
        found.append({"type": "metric", **place, "properties": _properties(part)})
        x += part.width
    return found


def _properties(graph: Graph) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for number, line in enumerate(graph.lines):
        rows += _rows(line, f"l{number}")
    return {"title": graph.title, "region": REGION, "view": "timeSeries", "period": PERIOD_SECONDS, "metrics": rows}


def _rows(line: Line, name: str) -> list[list[Any]]:
    shown = {"label": line.label, **({"id": line.id} if line.id else {}), **({"visible": False} if line.hidden else {})}
    if line.math:
        return [[{"expression": line.math, **shown}]]
    metric = line.metric.value if isinstance(line.metric, Metric) else line.metric
    dimensions = [line.dimensions] if line.dimensions else [[("service", service)] for service in line.services]
    rows: list[list[Any]] = [[line.namespace, metric, *(part for pair in each for part in pair)] for each in dimensions]
    if len(rows) == 1:
        return [[*rows[0], {"stat": line.stat, **shown}]]
    ids = [f"{name}_{number}" for number in range(len(rows))]
    summed = " + ".join(f"FILL({id_}, 0)" for id_ in ids)
    parts = [[*row, {"stat": line.stat, "id": id_, "visible": False}] for row, id_ in zip(rows, ids, strict=True)]
    return [*parts, [{"expression": summed, **shown}]]


def block() -> str:
    """The property of the template: a widget on each line."""
    lines = ",\n".join(f"          {json.dumps(widget, separators=(', ', ': '))}" for widget in widgets())
    head = '        {"start": "-PT24H", "periodOverride": "inherit", "widgets": ['
    return f"      DashboardBody: !Sub |\n{head}\n{lines}\n        ]}}\n"


def with_dashboard(template: str) -> str:
    """The template with this dashboard between its marks. Raises ValueError without them."""
    before, begin, rest = template.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("template.yaml has no marks for the dashboard")
    return f"{before}{BEGIN}{block()}{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dashboard", description="Write the CloudWatch dashboard into template.yaml.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if it would")
    check = parser.parse_args(arguments).check
    template = TEMPLATE.read_text(encoding="utf-8")
    wanted = with_dashboard(template)
    if wanted == template:
        return 0
    if check:
        print("the dashboard in template.yaml is not that of tools/dashboard.py: run it without --check")
        return 1
    TEMPLATE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
