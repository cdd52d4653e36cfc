"""Conversations: list, read, delete, share, copy, vote, report. Never calls a model or a payment provider."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from playground import wiring
from playground.adapters.dynamo_feedback import DynamoFeedback
from playground.adapters.dynamo_shares import DynamoShares
from playground.adapters.ids import id_maker
from playground.domain.calendar import from_iso, iso
from playground.domain.cursors import bad_cursor, number_cursor, number_of, parts_cursor, parts_of
from playground.domain.errors import (
    FeedbackExistsError,
    IdempotencyConflictError,
    OwnShareError,
    RunNotFoundError,
    SessionConflictError,
    SessionNotFoundError,
    ShareBlockedError,
    ShareNotFoundError,
    StoreUnavailableError,
    UnreadableError,
)
from playground.domain.leaks import Leak
from playground.domain.sessions import SessionCursor
from playground.domain.sharing import share_id_of
from playground.http import (
    OPTIONAL_TOKEN,
    Api,
    answers,
    authenticator,
    utc_now,
)
from playground.observability import Metric, count, logger, report_unreadable
from playground.ports import Leaks
from playground.schemas.common import Cursor, IdempotencyKey
from playground.schemas.published import FirstPage
from playground.schemas.sessions import (
    DeletedAnswer,
    ExchangeFeedbackAnswer,
    ExchangeFeedbackBody,
    ReportAnswer,
    ReportBody,
    RunFeedbackAnswer,
    RunFeedbackBody,
    SessionAnswer,
    SessionList,
    SessionListed,
    ShareAnswer,
    ShareBody,
    SharedAnswer,
    ShareStatus,
    UnsharedAnswer,
    VoteAnswer,
    VoteBody,
)
from playground.settings import SessionsSettings
from playground.usecases.browse_sessions import ListSessions, ReadSession
from playground.usecases.delete_session import DeleteSession
from playground.usecases.rate_run import RateExchange, RateRun
from playground.usecases.share_session import ShareSession, UnshareSession, nonce_maker
from playground.usecases.visit_share import ForkShared, ReadShared, ReportShared, VoteOnShared

SHARED = "/playground/shared/<token>"
# A link is a secret: no index, no cache, no Referer. The answer is data and may load nothing.
SHARED_HEADERS = {
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@cache
def leak_scanner() -> Leaks:
    """Made on first use: most requests share nothing, and its package takes a quarter of a start."""
    from playground.adapters.leaks import LeakScanner

    return LeakScanner()


def leaks_of(text: str) -> Sequence[Leak]:
    return leak_scanner()(text)


settings = SessionsSettings.load()
store = wiring.store()
ledger = wiring.ledger(settings, store)
sessions = wiring.sessions(settings, store)
shares = DynamoShares(store, settings.sessions_table)
keys = wiring.share_keys(settings)
new_id = id_maker(utc_now)

list_sessions = ListSessions(sessions=sessions, clock=utc_now)
feedback = DynamoFeedback(
    store,
    sessions_table=settings.sessions_table,
    spend_table=settings.spend_table,
    report=report_unreadable,
)
read_session = ReadSession(sessions=sessions, shares=shares, feedback=feedback, keys=keys, report=report_unreadable)
delete_session = DeleteSession(sessions=sessions, shares=shares, clock=utc_now)
share_session = ShareSession(
    sessions=sessions,
    shares=shares,
    keys=keys,
    leaks=leaks_of,
    clock=utc_now,
    new_nonce=nonce_maker(new_id),
)
unshare_session = UnshareSession(sessions=sessions, shares=shares, clock=utc_now)
read_shared = ReadShared(sessions=sessions, shares=shares, keys=keys, clock=utc_now)
fork_shared = ForkShared(sessions=sessions, shares=shares, clock=utc_now, new_id=new_id)
vote_on_shared = VoteOnShared(shares=shares, keys=keys, clock=utc_now)
report_shared = ReportShared(shares=shares, clock=utc_now, hide_at=settings.reports_to_hide)
rate_exchange = RateExchange(sessions=sessions, feedback=feedback, clock=utc_now)
rate_run = RateRun(ledger=ledger, feedback=feedback, clock=utc_now)

api = Api(
    settings,
    authenticate=authenticator(settings, wiring.secrets_client),
    public=frozenset({SHARED, f"{SHARED}/feedback"}),
    headers={SHARED: SHARED_HEADERS},
)
app = api.app
handler = api

SessionId = Annotated[str, Path(max_length=64)]
Token = Annotated[str, Path(description="The last part of a share link")]


@app.get("/playground/sessions", tags=["sessions"], operation_id="listSessions", responses=answers(SessionList))
def sessions_(
    limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: Cursor = None, offset: FirstPage = 0
) -> SessionList:
    """The caller's sessions, newest activity first. A page may be shorter than `limit`; the end is where next_cursor is
    null."""
    began = after = None
    if cursor is not None:
        parts = parts_of(cursor, 3)
        try:
            began, after = from_iso(parts[0]), SessionCursor(from_iso(parts[1]), parts[2])
        except ValueError:
            raise bad_cursor() from None
    page = list_sessions(api.user_id, limit=limit, after=after, began=began)
    following = page.following
    next_cursor = parts_cursor(iso(page.began), iso(following.updated_at), following.session_id) if following else None
    return SessionList.of(page, next_cursor=next_cursor)


@app.get(
    "/playground/sessions/<session_id>",
    tags=["sessions"],
    operation_id="getSession",
    responses=answers(SessionAnswer, SessionNotFoundError, UnreadableError),
)
def session(session_id: SessionId, cursor: Cursor = None) -> SessionAnswer:
    """One of the caller's sessions with its conversation, and how its share is doing."""
    view = read_session(api.user_id, session_id, after=number_of(cursor) or 0)
    share_url = _url(view.token) if view.token is not None else None
    return SessionAnswer.of_view(
        view,
        share=ShareStatus.of(view.share, share_url=share_url, now=utc_now()) if view.share is not None else None,
        next_cursor=_cursor(view.following),
    )


@app.delete(
    "/playground/sessions/<session_id>",
    tags=["sessions"],
    operation_id="deleteSession",
    responses=answers(DeletedAnswer, SessionNotFoundError),
)
def delete(session_id: SessionId) -> DeletedAnswer:
    """Delete a session with its texts and its share. Ledger entries and receipts stay."""
    delete_session(api.user_id, session_id, seconds_left=api.seconds_left)
    logger.info("session deleted", session_id=session_id, user_id=api.user_id)
    return DeletedAnswer(deleted=True)


@app.post(
    "/playground/sessions/<session_id>/share",
    tags=["sharing"],
    operation_id="shareSession",
    responses=answers(ShareAnswer, SessionNotFoundError, SessionConflictError, ShareBlockedError, UnreadableError),
)
def share(session_id: SessionId, body: ShareBody) -> ShareAnswer:
    """Share a session as it is now. A repeat keeps the link and adds the turns since. 409 share_blocked says where the
    session may contain secrets; `acknowledge_findings` shares it anyway."""
    shared = share_session(
        api.user_id,
        session_id,
        expires_in=timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None,
        acknowledge_findings=body.acknowledge_findings,
        include_prompt=body.include_prompt,
    )
    logger.info("session shared", session_id=session_id, user_id=api.user_id, turns=shared.share.turns)
    return ShareAnswer.of(shared, share_url=_url(shared.token))


@app.delete(
    "/playground/sessions/<session_id>/share",
    tags=["sharing"],
    operation_id="unshareSession",
    responses=answers(UnsharedAnswer, SessionNotFoundError, UnreadableError),
)
def unshare(session_id: SessionId) -> UnsharedAnswer:
    """End the link. Sharing again makes another one."""
    unshare_session(api.user_id, session_id, seconds_left=api.seconds_left)
    logger.info("share withdrawn", session_id=session_id, user_id=api.user_id)
    return UnsharedAnswer(shared=False)


@app.get(
    "/playground/shared/<token>",
    tags=["sharing"],
    operation_id="getShared",
    security=OPTIONAL_TOKEN,
    responses=answers(SharedAnswer, ShareNotFoundError, StoreUnavailableError, UnreadableError),
)
def shared(token: Token, cursor: Cursor = None) -> SharedAnswer:
    """A shared conversation, as it was when it was shared. Public."""
    view = read_shared(token, user_id=api.visitor_id, address=api.source_address, after=number_of(cursor) or 0)
    return SharedAnswer.of(view, next_cursor=_cursor(view.following))


@app.post(
    "/playground/shared/<token>/fork",
    tags=["sharing"],
    operation_id="forkShared",
    responses=answers(SessionListed, ShareNotFoundError, IdempotencyConflictError, UnreadableError),
)
def fork(token: Token, idempotency_key: IdempotencyKey = None) -> SessionListed:
    """Copy a shared conversation into a new session of the caller, to continue it. Free."""
    fork = fork_shared(api.user_id, token, idempotency_key=idempotency_key, seconds_left=api.seconds_left)
    logger.info("share copied", session_id=fork.session_id, user_id=api.user_id, turns=fork.copied)
    return SessionListed.of(fork)


@app.post(
    "/playground/shared/<token>/feedback",
    tags=["sharing"],
    operation_id="voteOnShared",
    responses=answers(VoteAnswer, ShareNotFoundError, OwnShareError),
)
def vote(token: Token, body: VoteBody) -> VoteAnswer:
    """Vote whether a shared conversation helped. One vote per user, and without a token one per address and day; a
    later one replaces it. Public."""
    vote = vote_on_shared(
        api.visitor_id, token, address=api.source_address, is_helpful=body.is_helpful, comment=body.comment
    )
    return VoteAnswer.of(vote)


@app.post(
    "/playground/shared/<token>/report",
    tags=["sharing"],
    operation_id="reportShared",
    responses=answers(ReportAnswer, ShareNotFoundError, OwnShareError),
)
def report(token: Token, body: ReportBody) -> ReportAnswer:
    """Report a shared conversation to the operator. Once per user."""
    report_shared(api.user_id, token, reason=body.reason)
    logger.info("share reported", share_id=share_id_of(token), user_id=api.user_id)
    count(Metric.SHARE_REPORTED)
    return ReportAnswer(reported=True)


@app.post(
    "/playground/runs/<run_id>/feedback",
    tags=["runs"],
    operation_id="rateRun",
    responses=answers(RunFeedbackAnswer, RunNotFoundError, SessionNotFoundError, UnreadableError),
)
def rate(run_id: Annotated[str, Path(max_length=64)], body: RunFeedbackBody) -> RunFeedbackAnswer:
    """Rate the answer of one of the caller's own runs. A later rating replaces it."""
    given = rate_run(api.user_id, run_id, rating=body.rating, is_helpful=body.is_helpful, comment=body.comment)
    return RunFeedbackAnswer.of(given)


@app.post(
    "/playground/feedback",
    tags=["runs"],
    operation_id="rateExchange",
    deprecated=True,
    responses=answers(
        ExchangeFeedbackAnswer, SessionNotFoundError, RunNotFoundError, FeedbackExistsError, UnreadableError
    ),
)
def rate_exchange_(body: ExchangeFeedbackBody) -> ExchangeFeedbackAnswer:
    """Say whether an exchange of one of the caller's own sessions was effective, once. For earlier clients: POST
    /playground/runs/{run_id}/feedback is the same by the run, also takes a rating, and can be repeated."""
    given = rate_exchange(
        api.user_id, body.session_id, body.exchange_index, is_helpful=body.is_effective, comment=body.comment
    )
    return ExchangeFeedbackAnswer(success=True, feedback_id=given.run_id)


def _url(token: str) -> str:
    return settings.frontend_url + settings.shared_page.replace("{token}", token)


def _cursor(following: int | None) -> str | None:
    return number_cursor(following) if following is not None else None
