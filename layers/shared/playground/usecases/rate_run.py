"""RateRun: the owner's feedback on an answer."""

from dataclasses import dataclass

from playground.domain.calendar import instant
from playground.domain.errors import RunNotFoundError, SessionNotFoundError
from playground.domain.runs import RunStatus
from playground.domain.sessions import RunFeedback
from playground.ports import Clock, Feedback, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRun:
    ledger: Ledger
    feedback: Feedback
    clock: Clock

    def __call__(
        self, user_id: str, run_id: str, *, rating: int | None, is_helpful: bool | None, comment: str
    ) -> RunFeedback:
        """Store feedback on the user's own settled run; a later one replaces it. It is deleted with the session, but
        stays in the ratings of the package, which name nobody. Raises RunNotFoundError, or SessionNotFoundError if the
        answer was deleted."""
        run = self.ledger.run(user_id, run_id)
        if run is None or run.status is not RunStatus.SETTLED:
            raise RunNotFoundError
        feedback = RunFeedback(
            run_id=run_id, rating=rating, is_helpful=is_helpful, comment=comment, given_at=instant(self.clock())
        )
        if not self.feedback.put(user_id, run.session_id, feedback, run.package):
            raise SessionNotFoundError
        return feedback
