"""Logger, metrics and the names of metrics. One line per outcome, with ids and amounts, without user content."""

import logging
import re
import sys
import threading
from enum import StrEnum
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.shared.functions import get_tracer_id

from playground.domain.errors import INVALID_USAGE, CorruptLedgerError, PaymentsRejectedError, PlaygroundError
from playground.domain.outcomes import CreditFlow
from playground.domain.runs import Run, RunStatus

if TYPE_CHECKING:
    from playground.domain.anonymous import AnonymousOutcome
    from playground.usecases.run_prompt import RunTimes

_ROOT = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})\s*(?:;|$)")
MAX_TRACE_HEADER_CHARACTERS = 1000


def trace_id_of(header: str | None) -> str | None:
    """The trace id in the value of X-Amzn-Trace-Id; None without a valid one. API Gateway passes on the header of a
    caller that sends one, so nothing else of it is used."""
    if header is None or len(header) > MAX_TRACE_HEADER_CHARACTERS:
        return None
    found = _ROOT.search(header)
    return found[1] if found else None


class _TraceIds(logging.Filter):
    """Adds the trace id of what is being handled to every line that does not name one."""

    request: str | None = None

    def current(self) -> str | None:
        return self.request or trace_id_of(f"Root={get_tracer_id()}")  # Lambda sets it for each invocation

    def filter(self, record: logging.LogRecord) -> bool:
        if record.__dict__.get("trace_id") is None:
            record.trace_id = self.current()
        return True


_trace_ids = _TraceIds()
# One name for it in all functions: behind the web adapter, Powertools does not find its own (xray_trace_id).
logger = Logger(xray_trace_id=None)
logger.addFilter(_trace_ids)
metrics = Metrics(namespace="Playground")  # the alarms in template.yaml look there


class Metric(StrEnum):
    """Names of metrics; docs/operations.md describes each."""

    RUN_SETTLED = "RunSettled"
    RUN_RELEASED = "RunReleased"
    CREDITS_SPENT = "CreditsSpent"
    UNPAID_COST = "UnpaidCost"
    OVERRUN_CREDITS = "OverrunCredits"
    REFUSED = "Refused"
    KEYS_STALE = "KeysStale"
    UNHANDLED_ERROR = "UnhandledError"
    HOLDS_EXPIRED = "HoldsExpired"
    SWEEP_FAILED = "SweepFailed"
    PAYMENT_APPLIED = "PaymentApplied"
    PAYMENT_QUARANTINED = "PaymentQuarantined"
    PAYMENTS_REJECTED = "PaymentsRejected"
    RECONCILE_REPAIRED = "ReconcileRepaired"
    RECONCILE_DIFFERENCES = "ReconcileDifferences"
    DELIVERY_REFUSED = "DeliveryRefused"
    CREDITS_BOUGHT = "CreditsBought"
    CREDITS_TAKEN_BACK = "CreditsTakenBack"
    SHARE_REPORTED = "ShareReported"
    WORK_DONE = "WorkDone"
    WORK_FAILED = "WorkFailed"
    NOTICES_PUBLISHED = "NoticesPublished"
    INVALID_USAGE = "InvalidUsage"
    PROVIDER_COST = "ProviderCost"
    SPEND_PERCENT = "SpendPercent"
    UNREADABLE_RECORDS = "UnreadableRecords"
    ANONYMOUS_RUNS = "AnonymousRuns"
    ANONYMOUS_COST = "AnonymousCost"
    RUNS = "Runs"
    RUNS_ENDED = "RunsEnded"
    RUNS_LOST = "RunsLost"
    CREDITS_HELD = "CreditsHeld"
    CREDITS_CHARGED = "CreditsCharged"
    CREDITS_RELEASED = "CreditsReleased"
    CREDITS_EXPIRED = "CreditsExpired"
    PAID_COST = "PaidCost"
    ADDED_LATENCY = "AddedLatency"
    SLOW_RUNS = "SlowRuns"
    TIMED_RUNS = "TimedRuns"
    TIME_TO_FIRST_TEXT = "TimeToFirstText"
    STORE_RETRIES = "StoreRetries"
    INSUFFICIENT_CREDITS = "InsufficientCredits"
    RATE_LIMITED = "RateLimited"
    PURCHASES = "Purchases"
    REFUNDS = "Refunds"
    DISPUTES = "Disputes"
    AUDIT_DIFFERENCES = "AuditDifferences"


MAX_ADDED_MS = 1000
"""A run that takes longer than this, without the model's time, is slow (`SlowRuns`)."""


def begin_trace(header: str | None) -> None:
    """From now on lines have the trace id of a request with this X-Amzn-Trace-Id; without a valid one, that of the
    invocation, if there is one."""
    _trace_ids.request = trace_id_of(header)


def current_trace_id() -> str | None:
    """The trace id of the request, or else of the invocation, that is being handled."""
    return _trace_ids.current()


# A run that is streamed ends in another thread than the one that answers.
_metrics_lock = threading.RLock()


def count(metric: Metric, value: int = 1) -> None:
    with _metrics_lock:
        metrics.add_metric(name=metric.value, unit=MetricUnit.Count, value=value)


def measure(metric: Metric, milliseconds: int) -> None:
    with _metrics_lock:
        metrics.add_metric(name=metric.value, unit=MetricUnit.Milliseconds, value=milliseconds)


def report_retry() -> None:
    """The store is tried again: another write came first, or it was short of capacity."""
    count(Metric.STORE_RETRIES)


def report_times(times: "RunTimes") -> None:
    """The times of a run that was settled."""
    count(Metric.TIMED_RUNS)
    count(Metric.SLOW_RUNS, int(times.added_ms > MAX_ADDED_MS))
    measure(Metric.ADDED_LATENCY, times.added_ms)
    if times.first_text_ms is not None:
        measure(Metric.TIME_TO_FIRST_TEXT, times.first_text_ms)


def report_flow(flow: CreditFlow) -> None:
    """What receipts came to that were counted now, each once. `Runs` has two more dimensions, both of few values:
    models of the price table, and `RunOutcome`."""
    count(Metric.RUNS_ENDED, flow.ended)
    count(Metric.RUNS_LOST, flow.lost)
    count(Metric.CREDITS_HELD, flow.held)
    count(Metric.CREDITS_CHARGED, flow.charged)
    count(Metric.CREDITS_RELEASED, flow.released)
    count(Metric.CREDITS_EXPIRED, flow.expired)
    for (model, outcome), number in flow.runs.items():
        with single_metric(
            Metric.RUNS.value,
            MetricUnit.Count,
            number,
            namespace=metrics.namespace,
            default_dimensions={"model": model},
        ) as runs:
            runs.add_dimension("outcome", outcome.value)


def report_failure(user_id: str | None, error: Exception) -> None:
    """One line for an account that scheduled work could not process; unexpected errors with their traceback."""
    what = error.what if isinstance(error, CorruptLedgerError) else None
    code, unforeseen = (error.code, None) if isinstance(error, PlaygroundError) else (PlaygroundError.code, error)
    logger.error(
        "account failed", user_id=user_id, error=code, kind=type(error).__name__, what=what, exc_info=unforeseen
    )


def report_stale_keys(cause: str, age_seconds: float) -> None:
    """The key set of the issuer could not be fetched; the last known keys are used."""
    count(Metric.KEYS_STALE)
    logger.error("key set is stale", cause=cause, age_seconds=round(age_seconds))


def report_unreadable(error: CorruptLedgerError) -> None:
    """One line and the count for a stored record that could not be read: left out of a list, or asked for by itself."""
    count(Metric.UNREADABLE_RECORDS)
    logger.error("unreadable record", what=error.what)


def report_rejected(error: PaymentsRejectedError) -> None:
    """One line and an alarm: the payment provider rejects our requests, and repeats do not help."""
    count(Metric.PAYMENTS_REJECTED)
    logger.error("payments rejected", what=error.what)


def flush_metrics() -> None:
    """Write the metrics, if there are any. A web server's output is a pipe with a buffer, which is emptied here: an
    instance may be frozen or ended before more is written."""
    with _metrics_lock:
        if metrics.metric_set:
            metrics.flush_metrics()
        sys.stdout.flush()


def report_run(run: Run) -> None:
    """One line and the counts for a run that has ended. Expired runs are counted by the sweeper."""
    if run.status is not RunStatus.EXPIRED:
        count(Metric.RUN_SETTLED if run.status is RunStatus.SETTLED else Metric.RUN_RELEASED)
    if run.unpaid:
        count(Metric.UNPAID_COST, run.unpaid.cost_nano)
    if run.charged:
        count(Metric.CREDITS_SPENT, run.charged)
    if run.overrun:
        count(Metric.OVERRUN_CREDITS, run.overrun)
    if run.failure is not None and run.failure.reason == INVALID_USAGE:
        count(Metric.INVALID_USAGE)
    logger.info(
        "run ended",
        trace_id=run.trace_id,
        run_id=run.run_id,
        user_id=run.user_id,
        status=run.status.value,
        model=run.model,
        package=run.package,
        ceiling=run.ceiling,
        charged=run.charged,
        overrun=run.overrun,
        reason=run.failure.reason if run.failure else None,
        unpaid_nano=run.unpaid.cost_nano if run.unpaid else None,
        estimated=run.unpaid.estimated if run.unpaid else None,
    )


def report_anonymous_run(outcome: "AnonymousOutcome") -> None:
    """One line and the counts for an anonymous run that was admitted. Nothing of its visitor."""
    count(Metric.ANONYMOUS_RUNS)
    count(Metric.ANONYMOUS_COST, outcome.counted_nano)
    logger.info(
        "anonymous run ended", package=outcome.package, counted_nano=outcome.counted_nano, reason=outcome.failure
    )
