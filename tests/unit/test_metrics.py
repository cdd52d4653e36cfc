"""What is counted: outcomes, credits, times, and that nothing with unbounded values becomes a dimension."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from playground.adapters.dynamo_store import Backoff
from playground.domain.errors import (
    INVALID_USAGE,
    ModelError,
    ModelOverloadedError,
    ModelTimedOutError,
    PlaygroundError,
    RunCancelledError,
    SessionConflictError,
    StoreUnavailableError,
)
from playground.domain.outcomes import CreditFlow, RunOutcome, outcome_of
from playground.domain.runs import Run, RunStatus, failure_of
from playground.observability import MAX_ADDED_MS, flush_metrics, metrics, report_flow, report_retry, report_times
from playground.usecases.expire_holds import INTERRUPTED
from playground.usecases.run_prompt import RunTimes
from tests.fakes import paid_run, unpaid_run

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PAID = replace(paid_run("alice", "run_1", NOW, cost_nano=700, charged=3), ceiling=5)
UNPAID = replace(unpaid_run("alice", "run_2", NOW, cost_nano=50), ceiling=4)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    metrics.clear_metrics()
    yield
    metrics.clear_metrics()


def failed(error: PlaygroundError) -> Run:
    return replace(UNPAID, failure=failure_of(error))


@pytest.mark.parametrize(
    ("run", "outcome", "lost"),
    [
        (PAID, RunOutcome.ANSWERED, False),
        (failed(RunCancelledError()), RunOutcome.DECLINED, False),
        (failed(SessionConflictError()), RunOutcome.DECLINED, False),
        (failed(ModelError("refused")), RunOutcome.DECLINED, False),
        (failed(ModelError("no_text")), RunOutcome.DECLINED, False),
        (failed(ModelError("empty")), RunOutcome.FAILED, True),
        (failed(ModelError(INVALID_USAGE)), RunOutcome.FAILED, True),
        (failed(StoreUnavailableError()), RunOutcome.FAILED, True),
        (failed(ModelOverloadedError("overloaded", retry_after=1)), RunOutcome.OVERLOADED, True),
        (failed(ModelTimedOutError()), RunOutcome.TIMED_OUT, True),
        (replace(UNPAID, failure=INTERRUPTED), RunOutcome.INTERRUPTED, True),
        (replace(UNPAID, status=RunStatus.EXPIRED, failure=None), RunOutcome.INTERRUPTED, True),
        (replace(UNPAID, failure=None), RunOutcome.INTERRUPTED, True),
    ],
)
def test_a_receipt_has_one_outcome(run: Run, outcome: RunOutcome, lost: bool) -> None:
    assert outcome_of(run) is outcome
    assert outcome.is_lost is lost


def flow_of(*runs: Run) -> CreditFlow:
    flow = CreditFlow()
    for run in runs:
        flow = flow.plus(run)
    return flow


def test_what_was_held_is_charged_released_or_expired() -> None:
    flow = flow_of(PAID, failed(ModelError("empty")), replace(UNPAID, status=RunStatus.EXPIRED, ceiling=7))

    assert (flow.held, flow.charged, flow.released, flow.expired) == (16, 3, 6, 7)
    assert flow.held == flow.charged + flow.released + flow.expired
    assert (flow.ended, flow.lost) == (3, 2)


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    flush_metrics()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]


def test_dimensions_are_few_and_say_nothing_of_a_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "guard")
    report_flow(flow_of(PAID, PAID, failed(ModelError("empty"))))
    report_times(RunTimes(added_ms=MAX_ADDED_MS + 1, first_text_ms=400))
    report_times(RunTimes(added_ms=MAX_ADDED_MS, first_text_ms=None))
    report_retry()

    documents = written(capsys)
    values = {name: value for document in documents for name, value in document.items()}
    dimensions = {
        name
        for document in documents
        for each in document["_aws"]["CloudWatchMetrics"]
        for name in each["Dimensions"][0]
    }
    assert dimensions <= {"service", "model", "outcome"}
    assert {
        frozenset(document["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0])
        for document in documents
        if "Runs" in document
    } == {frozenset({"service", "model", "outcome"})}  # as the dashboard searches for it
    assert "alice" not in json.dumps(documents)
    assert sorted(
        (document["model"], document["outcome"], *document["Runs"]) for document in documents if "Runs" in document
    ) == [(PAID.model, "answered", 2.0), (PAID.model, "failed", 1.0)]
    assert values["AddedLatency"] == [MAX_ADDED_MS + 1, MAX_ADDED_MS]
    assert (values["SlowRuns"], values["TimedRuns"]) == ([1, 0], [1, 1])
    assert values["TimeToFirstText"] == [400]
    assert (values["RunsEnded"], values["RunsLost"], values["StoreRetries"]) == ([3], [1], [1])


def test_what_is_counted_does_not_wait_in_a_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a function behind the Web Adapter is a pipe."""
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Raw(pipe), 100_000), encoding="utf-8"))
    report_retry()
    flush_metrics()

    assert b"StoreRetries" in pipe.getvalue()


class Raw(io.RawIOBase):
    def __init__(self, pipe: io.BytesIO) -> None:
        self._pipe = pipe

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._pipe.write(data)


def test_each_try_after_the_first_is_a_retry() -> None:
    retried: list[None] = []
    backoff = Backoff(tries=4, sleep=lambda seconds: None, on_retry=lambda: retried.append(None))
    with pytest.raises(StoreUnavailableError):
        list(backoff.without_pauses())

    assert len(retried) == 3
