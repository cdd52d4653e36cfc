"""The trace id of a request: what is taken of its header, and which lines have it."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from playground.domain.guard import NANO_PER_DOLLAR, GuardSettings
from playground.domain.notices import of_run
from playground.domain.runs import Run, RunStatus
from playground.http import Api
from playground.observability import begin_trace, current_trace_id, logger, report_run, trace_id_of
from playground.settings import ApiSettings
from playground.usecases.count_spend import CountSpend, Receipt
from playground.usecases.publish_notices import PublishNotices, Record
from tests.conftest import NOW
from tests.fakes import InMemoryGuard, InMemorySpend, a_hold, paid_run
from tests.handlers import Context

ROOT = "1-58406520-a006649127e371903a2de979"
OTHER = "1-58406521-b006649127e371903a2de979"
SETTINGS = GuardSettings(ceiling_nano=NANO_PER_DOLLAR, pauses=False)


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    begin_trace(None)
    yield
    begin_trace(None)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What functions would write, in Lambda's format."""
    found: list[dict[str, Any]] = []
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(handler.format(record)))

    kept = Kept()
    logger.addHandler(kept)
    yield found
    logger.removeHandler(kept)


@pytest.mark.parametrize(
    "header",
    [
        f"Root={ROOT}",
        f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1",
        f"Self=1-58406520-b006649127e371903a2de979;Root={ROOT}",
        f"Sampled=?; Root={ROOT} ;Lineage=1:8e7a3c2b:0",
    ],
)
def test_the_root_of_a_trace_is_its_id(header: str) -> None:
    assert trace_id_of(header) == ROOT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ROOT,
        "Root=",
        "Root=1-58406520-A006649127E371903A2DE979",
        f"Root={ROOT}0",
        f"Root=2{ROOT[1:]}",
        f"xRoot={ROOT}",
        f"Root={ROOT}\nsecond line",
        "Root=1-5840652０-a006649127e371903a2de979",
        f"Root={ROOT};" + "a" * 1000,
    ],
)
def test_what_is_no_trace_id_is_not_taken(header: str | None) -> None:
    assert trace_id_of(header) is None


def test_lines_have_the_trace_of_the_request_then_of_the_invocation(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger.info("neither")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={OTHER};Sampled=0;Lineage=1:8e7a3c2b:0")
    logger.info("of the invocation")
    begin_trace(f"Root={ROOT}")
    logger.info("of the request")
    report_run(replace(paid_run("alice", "run_1", NOW, cost_nano=1), trace_id="1-00000000-000000000000000000000000"))
    begin_trace("Root=anything")
    logger.info("of the invocation again")

    assert [line.get("trace_id") for line in lines] == [
        None,
        OTHER,
        ROOT,
        "1-00000000-000000000000000000000000",  # of the run that is told of, whoever ends it
        OTHER,
    ]
    assert not any("xray_trace_id" in line for line in lines)


def test_a_request_sets_the_trace_and_nothing_else_of_its_header_is_logged(lines: list[dict[str, Any]]) -> None:
    api = Api(ApiSettings(frontend_url="https://prpm.dev", powertools_service_name="tests"))

    def ask(**headers: str) -> None:
        api({"httpMethod": "GET", "path": "/v1/none", "headers": headers, "requestContext": {}}, Context())
        logger.info("after the answer")  # as a run does that is streamed

    ask(**{"X-Amzn-Trace-Id": f"Root={ROOT};Parent=private"})
    ask(**{"x-amzn-trace-id": "Root=private"})
    assert [line.get("trace_id") for line in lines if line["message"] == "after the answer"] == [ROOT, None]
    assert "private" not in json.dumps(lines)
    assert current_trace_id() is None


def test_what_reads_the_stream_names_the_traces_of_the_runs_once_each() -> None:
    runs = [
        replace(paid_run("alice", f"run_{number}", NOW, cost_nano=1), trace_id=trace_id)
        for number, trace_id in enumerate((ROOT, None, OTHER, ROOT))
    ]
    count = CountSpend(spend=InMemorySpend(), guard=InMemoryGuard(), settings=SETTINGS, clock=lambda: NOW)

    def receipt(run: Run) -> Receipt:
        return Receipt(number=run.run_id, run=lambda: run)

    assert count([receipt(run) for run in runs]).trace_ids == (ROOT, OTHER)
    assert count([receipt(run) for run in runs]).trace_ids == ()  # counted before: nothing was done for them


def test_a_receipt_has_the_trace_of_its_hold_whoever_writes_it() -> None:
    hold = replace(a_hold("run_1", 5, NOW), trace_id=ROOT)
    run = Run.of(hold, user_id="alice", status=RunStatus.EXPIRED, ended_at=NOW)
    assert run.trace_id == ROOT


class Bus:
    """Takes so many notices."""

    def __init__(self, takes: int | None) -> None:
        self._takes = takes

    def publish(self, notices: object) -> int | None:
        return self._takes


@pytest.mark.parametrize(("takes", "traces"), [(None, (ROOT, OTHER)), (1, (ROOT,)), (0, ())])
def test_published_notices_name_their_traces(takes: int | None, traces: tuple[str, ...]) -> None:
    runs = [
        replace(paid_run("alice", f"run_{each[2:10]}", NOW, cost_nano=1), balance_after=1, trace_id=each)
        for each in (ROOT, OTHER)
    ]
    records = [Record(number=run.run_id, notices=lambda run=run: of_run(run)) for run in runs]  # type: ignore[misc]
    assert PublishNotices(Bus(takes))(records).trace_ids == traces
