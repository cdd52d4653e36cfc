"""ListSessions, ReadSession and ReadEarlierTurns: a user's conversations."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from playground.domain.calendar import instant
from playground.domain.errors import NotFoundError, SessionNotFoundError, StoreUnavailableError, UnreadableError
from playground.domain.sessions import RunFeedback, Session, SessionCursor, Turn
from playground.domain.sharing import Share, ShareKeys
from playground.domain.text import sent_bytes
from playground.ports import Clock, Feedback, ReportUnreadable, Sessions, Shares, TimeLimit

MAX_BYTES = 4_500_000  # of a conversation in one answer, as encoded by the function; Lambda's limit is 6 MB
MAX_TURNS = 200  # of a conversation that is sent with the answer to a run: eight queries
MAX_EARLIER_SECONDS = 3.0  # for reading them, while the answer waits
RESERVE_SECONDS = 0.5  # of an invocation, for sending the answer
MESSAGE_BYTES = 400  # of a turn without its texts, as encoded
FEEDBACK_BYTES = 6_400  # of the run and the feedback that its owner sees beside it: a comment of 1,000 characters


@dataclass(frozen=True, slots=True)
class SessionsPage:
    """`began` is when the first of these pages was read, `following` the cursor of the next one. `unreadable`: ids of
    damaged sessions, which are left out."""

    sessions: Sequence[Session]
    began: datetime
    following: SessionCursor | None
    unreadable: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSessions:
    sessions: Sessions
    clock: Clock

    def __call__(
        self, user_id: str, *, limit: int, after: SessionCursor | None = None, began: datetime | None = None
    ) -> SessionsPage:
        """At most `limit` summaries, newest activity first. A session that does not change while the pages are read is
        on exactly one of them. One that becomes active meanwhile moves to the top of the list, and may be missing from
        the pages that are still to come. Sessions created after the first page was read are on none of the others."""
        sessions, following, unreadable = self.sessions.listed(user_id, after=after, limit=limit)
        if after is None or began is None:
            # Another worker's clock may be ahead; no later page has a session newer than those of the first one.
            began = max([instant(self.clock()), *(session.updated_at for session in sessions)])
        shown = [session for session in sessions if session.created_at <= began]
        return SessionsPage(shown, began, following, unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session for its owner: some turns, the number after which the next ones follow, and its share."""

    session: Session
    turns: Sequence[Turn]
    following: int | None
    share: Share | None = None
    token: str | None = None
    prompt: str | None = None
    """The custom prompt; on the first page."""
    feedback: Mapping[str, RunFeedback] = field(default_factory=dict)
    """The owner's feedback on these turns, by run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSession:
    sessions: Sessions
    shares: Shares
    feedback: Feedback
    keys: ShareKeys
    report: ReportUnreadable = lambda error: None

    def __call__(self, user_id: str, session_id: str, *, after: int = 0) -> SessionView:
        """The user's own session with its turns from the one after `after` on, and the feedback on them. Raises
        SessionNotFoundError."""
        session = self.sessions.find(user_id, session_id)
        if session is None:
            raise SessionNotFoundError
        turns, following = read_turns(
            self.sessions,
            session_id,
            after=after,
            last=session.turns,
            if_deleted=SessionNotFoundError,
            turn_bytes=MESSAGE_BYTES + FEEDBACK_BYTES,
        )
        link = session.share
        run_ids = {turn.run_id for turn in turns if session.has_run(turn)}
        return SessionView(
            session=session,
            feedback=self.feedback.given(session_id, run_ids) if run_ids else {},
            turns=turns,
            following=following,
            share=self._share(link.share_id) if link is not None else None,
            token=self.keys.known_token(session_id, link) if link is not None else None,
            prompt=self._prompt(session_id) if session.is_custom and after == 0 else None,
        )

    def _prompt(self, session_id: str) -> str | None:
        """The custom prompt; None if it is damaged, which does not prevent reading the conversation either."""
        try:
            return self.sessions.prompt(session_id)
        except UnreadableError as error:
            self.report(error)
            return None

    def _share(self, share_id: str) -> Share | None:
        """The share; None if it is damaged, which does not prevent reading the conversation."""
        try:
            return self.shares.find(share_id)
        except UnreadableError as error:
            self.report(error)
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEarlierTurns:
    """The conversation before an answer, to be sent with it."""

    sessions: Sessions
    time_limit: TimeLimit
    max_turns: int = MAX_TURNS
    max_bytes: int = MAX_BYTES

    def __call__(self, session_id: str, turn: Turn, *, seconds_left: float) -> Sequence[Turn]:
        """The turns before `turn`, oldest first: without a gap the newest of them that fit into one answer with it, at
        most `max_turns` in all. Later turns are not among them, so a repeat answers the same.

        The answer is paid for, so it does not fail with this: turns that cannot be read, or not in time, are left out.
        `seconds_left` is what the invocation has.
        """
        found = [turn]
        size = _sent_bytes(turn)
        with suppress(StoreUnavailableError), self.time_limit(min(MAX_EARLIER_SECONDS, seconds_left - RESERVE_SECONDS)):
            for earlier in self.sessions.walk(session_id, first=1, last=turn.number - 1, newest_first=True):
                size += _sent_bytes(earlier)
                if size > self.max_bytes or len(found) == self.max_turns or earlier.number != found[-1].number - 1:
                    break
                found.append(earlier)
        return found[:0:-1]


def read_turns(
    sessions: Sessions,
    session_id: str,
    *,
    after: int,
    last: int,
    if_deleted: type[NotFoundError],
    turn_bytes: int = MESSAGE_BYTES,
) -> tuple[Sequence[Turn], int | None]:
    """The `window` of the turns after `after`. Raises `if_deleted` if the session is being deleted meanwhile."""
    turns, following = window(sessions.walk(session_id, first=after + 1, last=last), last=last, turn_bytes=turn_bytes)
    if following is None and (turns[-1].number if turns else after) < last:
        raise if_deleted
    return turns, following


def window(turns: Iterable[Turn], *, last: int, turn_bytes: int = MESSAGE_BYTES) -> tuple[Sequence[Turn], int | None]:
    """The first of `turns` that fit into one answer, at least one; and the number of the last of them, if there are
    more up to `last`. `turn_bytes` is what is sent of each beside its texts."""
    found: list[Turn] = []
    size = 0
    for turn in turns:
        size += _sent_bytes(turn, turn_bytes)
        if found and size > MAX_BYTES:
            return found, found[-1].number
        found.append(turn)
    return found, None


def _sent_bytes(turn: Turn, turn_bytes: int = MESSAGE_BYTES) -> int:
    return sent_bytes(turn.input) + sent_bytes(turn.answer) + turn_bytes
