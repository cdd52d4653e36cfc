"""CancelRun: end a run that is being made, and keep what is written by then."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from playground.domain.errors import RunCancelledError, RunEndedError
from playground.domain.runs import Run, RunStatus
from playground.ports import CANCELLED, Ledger
from playground.usecases.read_run import ReadRun, Receipt

LOOK_SECONDS = 0.25
WAIT_SECONDS = 5.0  # its worker looks once a second, closes the call and settles


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRun:
    """Whoever makes the run settles what is written by then, or releases the run if nothing is. That or its natural end
    is its outcome, whichever comes first: never both."""

    ledger: Ledger
    read_run: ReadRun
    sleep: Callable[[float], None]

    def __call__(self, user_id: str, run_id: str, *, seconds_left: float) -> Receipt:
        """The receipt of the run as it was cancelled; of a run that is held still, if its worker has not said anything
        within some seconds: perhaps it is dead, and then its lease ends the run. Repeating it gives the same.

        Raises RunNotFoundError; RunEndedError if the run came to another end.
        """
        asked = self.ledger.ask_to_stop(user_id, run_id)
        receipt = self.read_run(user_id, run_id)
        for _ in range(math.ceil(min(WAIT_SECONDS, seconds_left) / LOOK_SECONDS) if asked else 0):
            if receipt.ended:
                break
            self.sleep(LOOK_SECONDS)
            receipt = self.read_run(user_id, run_id)
        if receipt.ended and not _was_cancelled(receipt.run):
            raise RunEndedError(receipt.run.status)
        return receipt


def _was_cancelled(run: Run) -> bool:
    if run.status is RunStatus.SETTLED:
        return run.measured is not None and run.measured.stop_reason == CANCELLED
    return run.failure is not None and run.failure.code == RunCancelledError.code
