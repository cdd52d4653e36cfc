"""Actions of viewers of a shared conversation: read, copy, vote, report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from playground.domain.calendar import instant
from playground.domain.errors import (
    IdempotencyConflictError,
    OwnShareError,
    ShareNotFoundError,
    StoreUnavailableError,
    UnreadableError,
)
from playground.domain.runs import base32
from playground.domain.sessions import Session, Turn
from playground.domain.sharing import Report, Share, ShareKeys, Vote, share_id_of, viewer_of
from playground.ports import Clock, NewId, Sessions, Shares
from playground.usecases.browse_sessions import read_turns
from playground.usecases.delete_session import RemoveLeftovers, deadline

COPY_BATCH_TURNS = 25
COPIED = "copied"  # the run id of copied turns, whose runs were another user's
CLEANUP_AFTER = timedelta(days=2)  # names of addresses change daily, so older ones never match


@dataclass(frozen=True, slots=True)
class SharedView:
    share: Share
    turns: Sequence[Turn]
    following: int | None
    prompt: str | None = None
    """The custom prompt, if its owner shares it; on the first page."""


def open_share(shares: Shares, token: str, clock: Clock) -> Share:
    """The open share of a token, in one round trip for every outcome. Raises ShareNotFoundError."""
    share = shares.find(share_id_of(token))
    if share is None or not share.is_open(clock()):
        raise ShareNotFoundError
    return share


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadShared:
    sessions: Sessions
    shares: Shares
    keys: ShareKeys
    clock: Clock

    def __call__(self, token: str, *, user_id: str | None, address: str, after: int = 0) -> SharedView:
        """The snapshot, from the turn after `after` on. A view is counted once per user, or per address and day, not
        for the owner, in one more round trip without retries.

        Raises ShareNotFoundError for every wrong, withdrawn, expired, hidden or deleted link.
        """
        share = open_share(self.shares, token, self.clock)
        turns, following = read_turns(
            self.sessions, share.session_id, after=after, last=share.turns, if_deleted=ShareNotFoundError
        )
        if user_id != share.user_id and after == 0:
            self._count(share, user_id, address)
        prompt = self.sessions.prompt(share.session_id) if share.include_prompt and after == 0 else None
        return SharedView(share, turns, following, prompt)

    def _count(self, share: Share, user_id: str | None, address: str) -> None:
        now = instant(self.clock())
        viewer, cleanup_at = _name_of(share, user_id, address, self.keys, now)
        try:
            self.shares.count_view(share.share_id, viewer, cleanup_at=cleanup_at)
        except StoreUnavailableError:
            return  # counting must not delay or refuse the conversation; the next view counts


def _name_of(
    share: Share, user_id: str | None, address: str, keys: ShareKeys, now: datetime
) -> tuple[str, datetime | None]:
    """The name of a viewer among those of the share, and when what is stored under it may be removed."""
    if user_id is not None:
        return viewer_of(share.share_id, user_id), None
    return keys.visitor(share.share_id, address, now), now + CLEANUP_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkShared:
    sessions: Sessions
    shares: Shares
    clock: Clock
    new_id: NewId

    def __call__(self, user_id: str, token: str, *, idempotency_key: str | None, seconds_left: float) -> Session:
        """Copy the snapshot into a new session of the user, without a charge. The same key again gives the same session
        as long as it exists. An incomplete fork is hidden: its summary becomes visible last.

        Raises ShareNotFoundError; IdempotencyConflictError if the key was used for another link.
        """
        time_is_up = deadline(self.clock, seconds_left)
        share_id = share_id_of(token)
        session_id = _fork_id(user_id, idempotency_key) if idempotency_key is not None else self.new_id("ses")
        if idempotency_key is not None:
            there = self.sessions.find(user_id, session_id)
            if there is not None:
                return _same(there, share_id)
        share = open_share(self.shares, token, self.clock)
        now = instant(self.clock())
        fork = Session(
            session_id=session_id,
            user_id=user_id,
            package_id=share.package_id,
            package=share.package,
            package_version=share.package_version,
            use_no_prompt=share.use_no_prompt,
            model=share.model,
            title=share.title,
            created_at=now,
            updated_at=now,
            turns=share.turns,
            copied=share.turns,
            forked_from=share_id,
        )
        if not self.sessions.begin_fork(replace(fork, deleted_at=now, forking=True)):
            begun = self.sessions.deleted(user_id, session_id)
            if begun is None:
                finished = self.sessions.find(user_id, session_id)
                if finished is None:
                    raise StoreUnavailableError  # removed between two reads
                return _same(finished, share_id)
            # Another attempt with this key is copying the same, or died. Both may continue: they write the same items.
            if not begun.forking:
                raise StoreUnavailableError  # it is being removed
            _same(begun, share_id)
            fork = replace(begun, deleted_at=None, forking=False)
        self._copy(share, fork)
        if not self.sessions.finish_fork(fork):
            raise StoreUnavailableError
        remove_leftovers = RemoveLeftovers(sessions=self.sessions, shares=self.shares, clock=self.clock)
        remove_leftovers(user_id, time_is_up=time_is_up)
        return fork

    def _copy(self, share: Share, fork: Session) -> None:
        batch: list[Turn] = []
        copied = 0
        for turn in self.sessions.walk(share.session_id, first=1, last=fork.turns):
            if turn.unreadable:
                raise UnreadableError(f"turn {turn.number} of {share.session_id}")
            copied += 1
            # What it cost, and who ended it, is about the other user.
            batch.append(replace(turn, run_id=COPIED, credits=None, stop_reason=None))
            if len(batch) == COPY_BATCH_TURNS:
                self.sessions.copy(fork.session_id, batch)
                batch = []
        if batch:
            self.sessions.copy(fork.session_id, batch)
        if copied < fork.turns:
            raise ShareNotFoundError  # the original is being deleted; what was copied goes with the leftovers


def _same(there: Session, share_id: str) -> Session:
    if there.forked_from != share_id:
        raise IdempotencyConflictError
    return there


def _fork_id(user_id: str, idempotency_key: str) -> str:
    """The same key of a user always names the same fork; another user's key names another."""
    digest = sha256(f"fork:{len(user_id)}:{user_id}:{idempotency_key}".encode()).digest()
    return "ses_" + base32(int.from_bytes(digest[:17]) >> 6, 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOnShared:
    shares: Shares
    keys: ShareKeys
    clock: Clock

    def __call__(self, user_id: str | None, token: str, *, address: str, is_helpful: bool, comment: str) -> Vote:
        """One vote per user, or per address and day without one, as views are counted; a later one replaces it.

        Raises ShareNotFoundError, or OwnShareError for the owner.
        """
        share = open_share(self.shares, token, self.clock)
        if share.user_id == user_id:
            raise OwnShareError
        now = instant(self.clock())
        viewer, cleanup_at = _name_of(share, user_id, address, self.keys, now)
        vote = Vote(is_helpful=is_helpful, comment=comment, given_at=now)
        if not self.shares.vote(share.share_id, viewer, vote, cleanup_at=cleanup_at):
            raise ShareNotFoundError
        return vote


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportShared:
    shares: Shares
    clock: Clock
    hide_at: int

    def __call__(self, user_id: str, token: str, *, reason: str) -> None:
        """Report the share to the operator, once per user. With `hide_at` reports it is hidden until an operator
        decides. Raises ShareNotFoundError, or OwnShareError for the owner."""
        share = open_share(self.shares, token, self.clock)
        if share.user_id == user_id:
            raise OwnShareError
        report = Report(reporter=user_id, reason=reason, given_at=instant(self.clock()))
        if not self.shares.report(share, report, hide_at=self.hide_at):
            raise ShareNotFoundError
