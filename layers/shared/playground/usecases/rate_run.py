"""RateRun and RateExchange: the owner's feedback on an answer."""

from dataclasses import dataclass

from playground.domain.calendar import instant
from playground.domain.errors import (
    FeedbackExistsError,
    InvalidRequestError,
    RunNotFoundError,
    SessionNotFoundError,
    UnreadableError,
)
from playground.domain.runs import RunStatus
from playground.domain.sessions import RunFeedback
from playground.ports import Clock, Feedback, FeedbackAdded, Ledger, Sessions


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RateExchange:
    sessions: Sessions
    feedback: Feedback
    clock: Clock

    def __call__(
        self, user_id: str, session_id: str, index: int | None, *, is_helpful: bool, comment: str
    ) -> RunFeedback:
        """Store feedback on an exchange of the user's own session, counted from 0; None: the newest one. Nothing
        replaces it, and it does not replace what RateRun stored. It is deleted with the session.

        Raises SessionNotFoundError, InvalidRequestError for an exchange that the session does not have,
        RunNotFoundError for one that was copied, because it is the answer to somebody else's run, and
        FeedbackExistsError.
        """
        session = self.sessions.find(user_id, session_id)
        if session is None:
            raise SessionNotFoundError
        number = session.turns if index is None else index + 1
        if number > session.turns:
            raise InvalidRequestError("exchange_index", f"must be 0 to {session.turns - 1}", got=index)
        turn = self.sessions.turn(session_id, number)
        if turn is None:
            raise SessionNotFoundError  # it is being deleted
        if turn.unreadable:
            raise UnreadableError(f"turn {number} of {session_id}")
        if number <= session.copied:
            raise RunNotFoundError
        feedback = RunFeedback(
            run_id=turn.run_id, rating=None, is_helpful=is_helpful, comment=comment, given_at=instant(self.clock())
        )
        match self.feedback.add(user_id, session_id, feedback, session.package):
            case FeedbackAdded.ADDED:
                return feedback
            case FeedbackAdded.EXISTS:
                raise FeedbackExistsError
            case FeedbackAdded.NO_SESSION:
                raise SessionNotFoundError
