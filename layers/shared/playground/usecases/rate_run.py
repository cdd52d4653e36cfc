"""RateRun: the owner's feedback on an answer."""

from playground.domain.calendar import instant
from playground.domain.errors import RunNotFoundError, SessionNotFoundError
from playground.domain.runs import RunStatus
from playground.domain.sessions import RunFeedback
from playground.ports import Clock, Ledger, Sessions


class RateRun:
    def __init__(self, *, ledger: Ledger, sessions: Sessions, clock: Clock) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._clock = clock

    def __call__(
        self, user_id: str, run_id: str, *, rating: int | None, is_helpful: bool | None, comment: str
    ) -> RunFeedback:
        """Feedback on the user's own run that gave an answer; a later one replaces it. It is kept with the session and
        goes with it. Raises RunNotFoundError, or SessionNotFoundError if the answer was deleted."""
        run = self._ledger.run(user_id, run_id)
        if run is None or run.status is not RunStatus.SETTLED:
            raise RunNotFoundError
        feedback = RunFeedback(
            run_id=run_id, rating=rating, is_helpful=is_helpful, comment=comment, given_at=instant(self._clock())
        )
        if not self._sessions.put_feedback(user_id, run.session_id, feedback):
            raise SessionNotFoundError
        return feedback
