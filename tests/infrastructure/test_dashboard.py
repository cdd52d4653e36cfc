"""The dashboard: that of the list, of metrics that exist, by dimensions that the stack has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from playground.observability import Metric, metrics
from tests.kit.emitted import emitted_by
from tests.kit.template import TEMPLATE, template_description, template_source
from tools import dashboard

RESOURCES: dict[str, Any] = template_source()["Resources"]
BODY = json.loads(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
GRAPHS = [widget["properties"] for widget in BODY["widgets"] if widget["type"] == "metric"]
SERVICES = {function.short_name for function in template_description().functions.values()}


def test_the_template_has_the_dashboard_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dashboard.main(["--check"]) == 0

    edited = tmp_path / "template.yaml"
    edited.write_text(TEMPLATE.read_text(encoding="utf-8").replace("Time to first text", "Another title"))
    monkeypatch.setattr(dashboard, "TEMPLATE", edited)
    assert dashboard.main(["--check"]) == 1
    assert "run it without --check" in capsys.readouterr().out
    assert dashboard.main([]) == 0
    assert edited.read_text(encoding="utf-8") == TEMPLATE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no marks"):
        dashboard.with_dashboard("Resources: {}")


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph["title"])
def test_a_graph_shows_what_exists(graph: dict[str, Any]) -> None:
    ids, used = set(), set()
    for row in graph["metrics"]:
        *names, shown = row
        ids.add(shown.get("id"))
        if not names:
            found = re.search(r'MetricName="(\w+)"', shown["expression"])
            assert found is None or found[1] in set(Metric)
            if found is None:
                used |= set(re.findall(r"\b[a-z]\w*\b", shown["expression"]))
            continue
        namespace, metric, dimension, value = names
        if namespace == metrics.namespace:
            assert metric in set(Metric)
            assert (dimension, value in SERVICES) == ("service", True)
        else:
            name = re.fullmatch(r"\$\{(\w+)(\.QueueName)?\}", value)
            assert name is not None
            kind = {"AWS/Lambda": "AWS::Serverless::Function", "AWS/SQS": "AWS::SQS::Queue"}[namespace]
            assert RESOURCES[name[1]]["Type"] == kind
    assert used <= ids
    assert len(graph["metrics"]) < 100


ALARMED = {
    (metric["Dimensions"][0]["Value"], metric["MetricName"])
    for resource in RESOURCES.values()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
    for item in resource["Properties"].get("Metrics", [{"MetricStat": {"Metric": resource["Properties"]}}])
    if "MetricStat" in item
    for metric in [item["MetricStat"]["Metric"]]
    if metric["Namespace"] == metrics.namespace
}
SHOWN = {(row[3], row[1]) for graph in GRAPHS for row in graph["metrics"] if row[0] == metrics.namespace}
SEARCHED = {
    found[1]
    for graph in GRAPHS
    for row in graph["metrics"]
    if (found := re.search(r'MetricName="(\w+)"', row[-1].get("expression", "")))
}
NOT_ALARMED = {
    # They end runs as expired only, which have neither.
    Metric.INVALID_USAGE: {"credits", "reset"},
    Metric.OVERRUN_CREDITS: {"credits", "reset"},
    # They do not ask Stripe for anything.
    Metric.PAYMENTS_REJECTED: {"run", "stream", "estimate", "anonymous", "sessions", "catalog"},
    # What it reads raises CorruptLedgerError, an internal error; an alarm takes no more than ten metrics.
    Metric.UNREADABLE_RECORDS: {"webhook"},
}
"""Services that could write what an alarm counts by their code's references, and do not."""
LOOKED_UP = {
    # The same of each function, of what the dashboard has from receipts.
    *(Metric.RUN_SETTLED, Metric.RUN_RELEASED, Metric.CREDITS_SPENT),
    # Amounts and work that are done as they should be; what is not is on the dashboard.
    *(Metric.CREDITS_BOUGHT, Metric.CREDITS_TAKEN_BACK, Metric.PAYMENT_APPLIED, Metric.RECONCILE_REPAIRED),
    *(Metric.NOTICES_PUBLISHED, Metric.WORK_DONE, Metric.ANONYMOUS_RUNS, Metric.ANONYMOUS_COST),
    Metric.WORK_FAILED,  # a repeat follows, or the alarm of the queue of failures
}
"""Metrics that nobody watches: for `./playground watch` and for questions."""


def test_what_is_watched_is_written_by_the_function_that_it_is_watched_of() -> None:
    """A line of a graph or an alarm on a service that cannot write the metric would be silent for ever."""
    written = {(service, metric) for service in SERVICES for metric in emitted_by(service)}
    assert sorted(SHOWN - written) == []
    assert sorted(ALARMED - written) == []


def test_what_is_written_is_watched_or_said_to_be_looked_up() -> None:
    written = {metric for service in SERVICES for metric in emitted_by(service)}
    watched = {metric for _, metric in SHOWN | ALARMED} | SEARCHED
    assert written == set(Metric)
    assert written - watched == LOOKED_UP


def test_an_alarm_on_every_service_that_writes_what_it_counts() -> None:
    """One that adds up services and leaves one out would miss what happens there."""
    writing = {service: emitted_by(service) for service in SERVICES}
    for metric in sorted({metric for _, metric in ALARMED}):
        missing = {service for service in SERVICES if metric in writing[service]} - {
            service for service, of in ALARMED if of == metric
        }
        assert missing == NOT_ALARMED.get(Metric(metric), set()), metric


def test_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in BODY["widgets"]:
        place = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not place & taken
        assert max(x for x, _ in place) < dashboard.COLUMNS
        taken |= place


def test_what_an_alarm_counts_is_on_it() -> None:
    shown = {row[1] for graph in GRAPHS for row in graph["metrics"] if len(row) > 1}
    alarmed = {
        item["MetricStat"]["Metric"]["MetricName"]
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        for item in resource["Properties"].get("Metrics", [])
        if "MetricStat" in item
    }
    not_money_or_feeling = {Metric.KEYS_STALE.value, Metric.UNPAID_COST.value, Metric.SLOW_RUNS.value}
    assert alarmed - shown <= not_money_or_feeling | {Metric.TIMED_RUNS.value}
