"""DeleteSession: hidden at once, removed in pieces."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from playground.domain.calendar import instant
from playground.domain.errors import SessionNotFoundError, StoreUnavailableError
from playground.domain.sessions import Session
from playground.ports import Clock, Sessions, Shares

MAX_TRIES = 16  # of marking a session that other requests share or withdraw
MAX_PIECES = 100_000  # a loop that needs more is broken
MIN_LEFTOVER_AGE = timedelta(minutes=15)  # longer than any invocation, so the worker that marked it is dead
MAX_LEFTOVERS = 2  # removed by one request in addition to its own session
ANSWER_RESERVE_SECONDS = 3.0  # of an invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSession:
    """Removes what belongs to a session that is marked as deleted."""

    sessions: Sessions
    shares: Shares

    def __call__(self, session: Session, *, time_is_up: Callable[[], bool]) -> None:
        """Remove it in pieces, the mark last, so that a later call continues where this one stopped. Raises
        StoreUnavailableError when `time_is_up`."""
        for share_id in sorted(session.former_shares):
            repeat(partial(self.shares.remove_some, share_id), time_is_up)
        repeat(partial(self.sessions.remove_some, session.session_id), time_is_up)
        self.sessions.remove_mark(session)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveLeftovers:
    """Removes a user's deleted sessions and unfinished forks whose worker died."""

    sessions: Sessions
    shares: Shares
    clock: Clock

    def __call__(self, user_id: str, *, time_is_up: Callable[[], bool]) -> None:
        """Remove a few of them; the next request continues."""
        remove = RemoveSession(sessions=self.sessions, shares=self.shares)
        before = instant(self.clock()) - MIN_LEFTOVER_AGE
        try:
            for session in self.sessions.leftovers(user_id, before=before, limit=MAX_LEFTOVERS):
                if session.forking and not self.sessions.give_up_fork(session):
                    continue
                remove(session, time_is_up=time_is_up)
        except StoreUnavailableError:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSession:
    sessions: Sessions
    shares: Shares
    clock: Clock

    def __call__(self, user_id: str, session_id: str, *, seconds_left: float) -> None:
        """Delete the user's own session with its turns, texts and share. Ledger entries and receipts stay.

        The first write hides it from everybody; then its items are removed. If there is not enough time for that,
        StoreUnavailableError asks for a repeat, which continues where this one stopped. Raises SessionNotFoundError for
        a foreign or unknown session, and when everything has been removed.
        """
        time_is_up = deadline(self.clock, seconds_left)
        remove = RemoveSession(sessions=self.sessions, shares=self.shares)
        remove(self._mark(user_id, session_id), time_is_up=time_is_up)
        remove_leftovers = RemoveLeftovers(sessions=self.sessions, shares=self.shares, clock=self.clock)
        remove_leftovers(user_id, time_is_up=time_is_up)

    def _mark(self, user_id: str, session_id: str) -> Session:
        for _ in range(MAX_TRIES):
            session = self.sessions.find(user_id, session_id)
            if session is None:
                marked = self.sessions.deleted(user_id, session_id)
                if marked is None or marked.forking:
                    raise SessionNotFoundError
                return marked
            self.sessions.mark_deleted(session, instant(self.clock()))
        raise StoreUnavailableError


def deadline(clock: Clock, seconds_left: float) -> Callable[[], bool]:
    """A function that says whether the time for work is over."""
    ends: datetime = clock() + timedelta(seconds=seconds_left - ANSWER_RESERVE_SECONDS)
    return lambda: clock() >= ends


def repeat(piece: Callable[[], bool], time_is_up: Callable[[], bool]) -> None:
    """Call `piece` until it returns False. Raises StoreUnavailableError if `time_is_up` before that."""
    for _ in range(MAX_PIECES):
        if not piece():
            return
        if time_is_up():
            break
    raise StoreUnavailableError
