"""What runs came to, for metrics: few fixed outcomes, and whose doing a run without an answer was."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from playground.domain import errors
from playground.domain.runs import Run, RunStatus


class RunOutcome(StrEnum):
    """How a run ended. `DECLINED`: no answer, and nothing is wrong with the service: the model refused, the owner
    cancelled, `max_tokens` left no text, or the session went on elsewhere."""

    ANSWERED = "answered"
    DECLINED = "declined"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_lost(self) -> bool:
        """Whether it counts against the objective of run success."""
        return self not in (RunOutcome.ANSWERED, RunOutcome.DECLINED)


_DECLINED_CODES = (errors.RunCancelledError.code, errors.SessionConflictError.code)
_DECLINED_REASONS = ("refused", "no_text", "cancelled")


def outcome_of(run: Run) -> RunOutcome:
    """The outcome of a receipt. An unknown failure is `FAILED`."""
    if run.status is RunStatus.SETTLED:
        return RunOutcome.ANSWERED
    if run.status is RunStatus.EXPIRED or run.failure is None or run.failure.reason == "interrupted":
        return RunOutcome.INTERRUPTED
    if run.failure.code in _DECLINED_CODES or run.failure.reason in _DECLINED_REASONS:
        return RunOutcome.DECLINED
    return {
        errors.ModelOverloadedError.code: RunOutcome.OVERLOADED,
        errors.ModelTimedOutError.code: RunOutcome.TIMED_OUT,
    }.get(run.failure.code, RunOutcome.FAILED)


@dataclass(frozen=True, slots=True)
class CreditFlow:
    """Credits of runs that ended: `held` is `charged` + `released` + `expired`. `expired` were given back because the
    run's function died. `runs` are their numbers by model and outcome."""

    held: int = 0
    charged: int = 0
    released: int = 0
    expired: int = 0
    runs: Mapping[tuple[str, RunOutcome], int] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        return sum(self.runs.values())

    @property
    def lost(self) -> int:
        """Runs whose users got no answer because of us or of the model."""
        return sum(number for (_, outcome), number in self.runs.items() if outcome.is_lost)

    def plus(self, run: Run) -> Self:
        """With one more receipt."""
        key = (run.model, outcome_of(run))
        left = run.ceiling - run.charged
        expired = left if run.status is RunStatus.EXPIRED else 0
        return type(self)(
            held=self.held + run.ceiling,
            charged=self.charged + run.charged,
            released=self.released + left - expired,
            expired=self.expired + expired,
            runs={**self.runs, key: self.runs.get(key, 0) + 1},
        )
