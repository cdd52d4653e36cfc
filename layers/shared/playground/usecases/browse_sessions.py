"""ListSessions and ReadSession: a user's conversations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from playground.domain.calendar import instant
from playground.domain.errors import SessionNotFoundError, UnreadableError
from playground.domain.sessions import Place, Session, Turn
from playground.domain.sharing import Share, ShareKeys
from playground.domain.text import sent_bytes
from playground.ports import Clock, ReportUnreadable, Sessions, Shares

MAX_BYTES = 4_500_000  # of a conversation in one answer, as it leaves the function; Lambda gives 6 MB back at most
MESSAGE_BYTES = 400  # of a turn besides its texts, likewise


@dataclass(frozen=True, slots=True)
class SessionsPage:
    """`began` is when the first of these pages was read, `following` where the next one begins, `unreadable` what was
    left out because it is damaged."""

    sessions: Sequence[Session]
    began: datetime
    following: Place | None
    unreadable: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSessions:
    sessions: Sessions
    clock: Clock

    def __call__(
        self, user_id: str, *, limit: int, after: Place | None = None, began: datetime | None = None
    ) -> SessionsPage:
        """At most `limit` summaries, newest activity first. Over all pages, every session that is not touched meanwhile
        comes once. One that becomes active meanwhile moves up: it comes once or, if its page was still to come, not at
        all, and is at the top of the next list. What was made since the first page is in none of the others."""
        sessions, following, unreadable = self.sessions.listed(user_id, after=after, limit=limit)
        if after is None or began is None:
            # Another worker's clock may be ahead: nothing below the first page can be newer than what is on it.
            began = max([instant(self.clock()), *(session.updated_at for session in sessions)])
        shown = [session for session in sessions if session.created_at <= began]
        return SessionsPage(shown, began, following, unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session for its owner: a piece of the conversation, where it goes on, and how its share is doing."""

    session: Session
    turns: Sequence[Turn]
    following: int | None
    share: Share | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSession:
    sessions: Sessions
    shares: Shares
    keys: ShareKeys
    report: ReportUnreadable = lambda error: None

    def __call__(self, user_id: str, session_id: str, *, after: int = 0) -> SessionView:
        """The user's own session with its turns from the one after `after` on. Raises SessionNotFoundError."""
        session = self.sessions.find(user_id, session_id)
        if session is None:
            raise SessionNotFoundError
        turns, following = window(
            self.sessions.walk(session_id, first=after + 1, last=session.turns), last=session.turns
        )
        if following is None and (turns[-1].number if turns else after) < session.turns:
            raise SessionNotFoundError  # it is being deleted
        link = session.share
        return SessionView(
            session=session,
            turns=turns,
            following=following,
            share=self._share(link.share_id) if link is not None else None,
            token=self.keys.known_token(session_id, link) if link is not None else None,
        )

    def _share(self, share_id: str) -> Share | None:
        """A conversation can be read although how its share is doing cannot."""
        try:
            return self.shares.find(share_id)
        except UnreadableError as error:
            self.report(error)
            return None


def window(turns: Iterable[Turn], *, last: int) -> tuple[Sequence[Turn], int | None]:
    """The first of `turns` that fit into one answer, at least one; and the number of the last of them, if there are
    more up to `last`."""
    found: list[Turn] = []
    size = 0
    for turn in turns:
        size += sent_bytes(turn.input) + sent_bytes(turn.answer) + MESSAGE_BYTES
        if found and size > MAX_BYTES:
            return found, found[-1].number
        found.append(turn)
    return found, None
