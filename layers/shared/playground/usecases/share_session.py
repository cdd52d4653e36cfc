"""ShareSession and UnshareSession: a frozen snapshot for everybody who has the link."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from playground.domain.calendar import instant
from playground.domain.errors import (
    InvalidRequestError,
    SessionNotFoundError,
    ShareBlockedError,
    StoreUnavailableError,
    UnreadableError,
)
from playground.domain.sessions import Session, Turn
from playground.domain.sharing import Share, ShareKeys, share_id_of
from playground.ports import Clock, Leaks, NewId, Sessions, Shares
from playground.usecases.delete_session import deadline, repeat

MAX_TRIES = 16  # while other requests share, withdraw or delete
MAX_FINDINGS = 100  # listed in an answer


@dataclass(frozen=True, slots=True)
class Shared:
    share: Share
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSession:
    sessions: Sessions
    shares: Shares
    keys: ShareKeys
    leaks: Leaks
    clock: Clock
    new_nonce: Callable[[], str]

    def __call__(
        self,
        user_id: str,
        session_id: str,
        *,
        expires_in: timedelta | None,
        acknowledge_findings: bool,
        include_prompt: bool = False,
    ) -> Shared:
        """Share the user's own session as it is now.

        Sharing again gives the same link, moves its snapshot forward and sets its expiry anew (none if `expires_in` is
        None), and whether the custom prompt is part of it; after a withdrawal there is a new link. Turns that were not
        public yet are searched for leaks first. Raises ShareBlockedError with the findings, unless they are
        acknowledged. Only searched texts are shared. Raises InvalidRequestError if there is no custom prompt to
        include.
        """
        for _ in range(MAX_TRIES):
            session = self.sessions.find(user_id, session_id)
            if session is None:
                raise SessionNotFoundError
            if session.removed:
                raise ShareBlockedError
            prompt = self.sessions.prompt(session_id) if include_prompt and session.is_custom else None
            if include_prompt and prompt is None:
                raise InvalidRequestError("include_prompt", "must be false: this session has no custom prompt")
            if not acknowledge_findings:
                first = session.share.turns + 1 if session.share is not None else 1
                self._search(self.sessions.walk(session_id, first=first, last=session.turns), prompt)
            shared = self._share(session, expires_in, include_prompt)
            if shared is not None:
                return shared
        raise StoreUnavailableError

    def _share(self, session: Session, expires_in: timedelta | None, include_prompt: bool) -> Shared | None:
        """One attempt; None if the session has changed, so that it must be read again."""
        now = instant(self.clock())
        expires_at = now + expires_in if expires_in is not None else None
        link = session.share
        if link is None:
            nonce = self.new_nonce()
            token = self.keys.token(session.session_id, nonce)
            share = Share(
                share_id=share_id_of(token),
                session_id=session.session_id,
                user_id=session.user_id,
                package_id=session.package_id,
                package=session.package,
                package_version=session.package_version,
                use_no_prompt=session.use_no_prompt,
                model=session.model,
                title=session.title,
                created_at=session.created_at,
                turns=session.turns,
                shared_at=now,
                expires_at=expires_at,
                include_prompt=include_prompt,
                hidden=session.hidden,
                reports=session.reports,
            )
            return Shared(share, token) if self.shares.create(session, share, nonce) else None
        there = self.shares.find(link.share_id)
        known = self.keys.known_token(session.session_id, link)
        if there is None:
            return None
        if known is None:  # made with a secret that was removed: this link cannot be shown any more
            self.shares.withdraw(session, there)
            return None
        moved = replace(there, turns=session.turns, shared_at=now, expires_at=expires_at, include_prompt=include_prompt)
        return Shared(moved, known) if self.shares.move(session, moved) else None

    def _search(self, turns: Iterable[Turn], prompt: str | None) -> None:
        """Raises ShareBlockedError if there are leaks, with their positions and kinds, without their content. The
        prompt is turn 0."""
        findings: list[dict[str, str | int]] = []
        found = 0
        for number, role, text in _texts(turns, prompt):
            for leak in self.leaks(text):
                found += 1
                if len(findings) < MAX_FINDINGS:
                    findings.append(
                        {"turn": number, "role": role, "kind": leak.kind, "start": leak.start, "end": leak.end}
                    )
        if found:
            raise ShareBlockedError(findings, found=found)


def _texts(turns: Iterable[Turn], prompt: str | None) -> Iterator[tuple[int, str, str]]:
    """Number of the turn, role and text. Raises UnreadableError."""
    if prompt is not None:
        yield 0, "prompt", prompt
    for turn in turns:
        if turn.unreadable:
            raise UnreadableError(f"turn {turn.number}")  # it may hold anything, and may be repaired one day
        yield turn.number, "user", turn.input
        yield turn.number, "assistant", turn.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class UnshareSession:
    sessions: Sessions
    shares: Shares
    clock: Clock

    def __call__(self, user_id: str, session_id: str, *, seconds_left: float) -> None:
        """Withdraw the link of the user's own session: the next read finds nothing, and a later share gives another
        link. Views and votes go with it; reports stay. Repeating it changes nothing. Raises SessionNotFoundError."""
        time_is_up = deadline(self.clock, seconds_left)
        for _ in range(MAX_TRIES):
            session = self.sessions.find(user_id, session_id)
            if session is None:
                raise SessionNotFoundError
            if session.share is None:
                return self._clean(session, time_is_up)
            share = self.shares.find(session.share.share_id)
            if share is not None:
                self.shares.withdraw(session, share)
        raise StoreUnavailableError

    def _clean(self, session: Session, time_is_up: Callable[[], bool]) -> None:
        """Remove the rest of withdrawn shares, which nobody can read. The next call continues where this one ends."""
        try:
            for share_id in sorted(session.former_shares):
                repeat(partial(self.shares.remove_some, share_id), time_is_up)
                self.shares.forget(session, share_id)
        except StoreUnavailableError:
            return


def nonce_maker(new_id: NewId) -> Callable[[], str]:
    """Nonces of shares: they make each new link a different one."""
    return lambda: new_id("shr")
