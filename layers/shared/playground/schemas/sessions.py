"""Bodies of the function sessions."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from playground.domain.sessions import Comparison, RunFeedback, Session, Turn
from playground.domain.sharing import Share, Vote
from playground.schemas.common import (
    UNREADABLE,
    UNREADABLE_TURN,
    Body,
    Message,
    Moment,
    RequestBody,
    messages,
    not_blank,
    plain,
)
from playground.schemas.published import SessionNames, SharedNames, VoteNames
from playground.usecases.browse_sessions import SessionsPage, SessionView
from playground.usecases.share_session import Shared
from playground.usecases.visit_share import SharedView

Comment = Annotated[
    str, Field(max_length=1000, validation_alias=AliasChoices("comment", "feedback_text")), AfterValidator(plain)
]
_HELPFUL = Field(strict=True, validation_alias=AliasChoices("is_helpful", "isHelpful"))


CUSTOM = "null if it runs a custom prompt"


class ComparisonPlace(Body):
    id: Annotated[str, Field(description="The same for all sessions of one comparison")]
    index: Annotated[int, Field(description="Of the variant, from 0")]

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        return cls(id=comparison.comparison_id, index=comparison.index)


class SessionListed(SessionNames):
    session_id: str
    package_id: Annotated[str | None, Field(description=CUSTOM)]
    package: Annotated[str | None, Field(description=CUSTOM)]
    package_version: Annotated[str | None, Field(description=CUSTOM)]
    use_no_prompt: bool
    model: str
    title: Annotated[str, Field(description="The beginning of the first input")]
    turns: int
    credits_spent: Annotated[int, Field(description="By the runs of this session; turns that were copied cost nothing")]
    tokens_used: int
    duration_ms: int
    created_at: Moment
    updated_at: Moment
    forked: Annotated[bool, Field(description="Whether it began as a copy of a shared conversation")]
    shared: bool
    comparison: Annotated[
        ComparisonPlace | None, Field(description="The comparison that it began with; null if it began with a run")
    ] = None

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(
            session_id=session.session_id,
            package_id=session.package_id,
            package=session.package,
            package_version=session.package_version,
            use_no_prompt=session.use_no_prompt,
            model=session.model,
            title=session.title,
            turns=session.turns,
            credits_spent=session.credits,
            tokens_used=session.tokens,
            duration_ms=session.duration_ms,
            created_at=session.created_at,
            updated_at=session.updated_at,
            forked=session.forked_from is not None,
            shared=session.share is not None,
            comparison=ComparisonPlace.of(session.comparison) if session.comparison is not None else None,
        )


class SessionList(Body):
    sessions: list[SessionListed]
    next_cursor: str | None
    unreadable: list[str] = Field([], description=f"Ids of sessions. {UNREADABLE}")

    @classmethod
    def of(cls, page: SessionsPage, *, next_cursor: str | None) -> Self:
        return cls(
            sessions=[SessionListed.of(session) for session in page.sessions],
            next_cursor=next_cursor,
            unreadable=list(page.unreadable),
        )


class ShareStatus(Body):
    share_url: Annotated[
        str | None,
        Field(description="null if it was made with a secret that was removed; sharing again makes a new link"),
    ]
    shared_at: Moment
    expires_at: Moment | None
    expired: bool
    hidden: Annotated[bool, Field(description="Hidden by reports or an operator")]
    turns: Annotated[int, Field(description="Number of turns in the snapshot")]
    prompt_included: Annotated[bool, Field(description="Whether it shows the custom prompt")] = False
    views: int
    helpful: int
    not_helpful: int

    @classmethod
    def of(cls, share: Share, *, share_url: str | None, now: datetime) -> Self:
        return cls(
            share_url=share_url,
            shared_at=share.shared_at,
            expires_at=share.expires_at,
            expired=share.expires_at is not None and share.expires_at <= now,
            hidden=share.hidden,
            turns=share.turns,
            prompt_included=share.include_prompt,
            views=share.views,
            helpful=share.helpful,
            not_helpful=share.not_helpful,
        )


class RunFeedbackAnswer(Body):
    run_id: str
    rating: int | None
    is_helpful: bool | None
    comment: str
    given_at: Moment

    @classmethod
    def of(cls, feedback: RunFeedback) -> Self:
        return cls.model_validate(feedback, from_attributes=True)


OLDER = "null if an earlier version stored it: then only the receipt has it"


class ExchangeRun(Body):
    run_id: str
    credits_spent: Annotated[int | None, Field(description=OLDER)]
    stop_reason: Annotated[str | None, Field(description=OLDER)]
    feedback: Annotated[RunFeedbackAnswer | None, Field(description="What the owner thinks of the answer")]


class SessionMessage(Message):
    run: Annotated[
        ExchangeRun | None,
        Field(description="The run of an answer; null for inputs, in turns that were copied, and if it is damaged"),
    ] = None


def _messages_of(view: SessionView, turn: Turn) -> list[SessionMessage]:
    asked, answered = (SessionMessage.model_validate(each, from_attributes=True) for each in messages(turn))
    if view.session.has_run(turn):
        given = view.feedback.get(turn.run_id)
        answered.run = ExchangeRun(
            run_id=turn.run_id,
            credits_spent=turn.credits,
            stop_reason=turn.stop_reason,
            feedback=RunFeedbackAnswer.of(given) if given is not None else None,
        )
    return [asked, answered]


class SessionAnswer(SessionListed):
    variables: Annotated[
        dict[str, str] | None,
        Field(description="What the placeholders of the package's text are filled with; only the owner sees it"),
    ]
    custom_prompt: Annotated[
        str | None, Field(description="The custom prompt that it runs; only the owner sees it, on the first page")
    ] = None
    share: ShareStatus | None
    conversation: list[SessionMessage]
    next_cursor: Annotated[str | None, Field(description="The rest of a conversation that is too long for one answer")]

    @classmethod
    def of_view(cls, view: SessionView, *, share: ShareStatus | None, next_cursor: str | None) -> Self:
        return cls(
            **SessionListed.of(view.session).model_dump(),
            variables=dict(view.session.variables) if view.session.variables is not None else None,
            custom_prompt=view.prompt,
            share=share,
            conversation=[message for turn in view.turns for message in _messages_of(view, turn)],
            next_cursor=next_cursor,
        )


class DeletedAnswer(Body):
    deleted: bool


class ShareBody(RequestBody):
    expires_in_days: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=365,
            validation_alias=AliasChoices("expires_in_days", "expiresInDays"),
            description="When the link expires; never if left out",
        ),
    ] = None
    acknowledge_findings: Annotated[
        bool,
        Field(
            strict=True,
            validation_alias=AliasChoices("acknowledge_findings", "acknowledgeFindings"),
            description="Share it although it may contain secrets",
        ),
    ] = False
    include_prompt: Annotated[
        bool,
        Field(
            strict=True,
            validation_alias=AliasChoices("include_prompt", "includePrompt"),
            description="Show the session's custom prompt to whoever has the link, too",
        ),
    ] = False


class ShareAnswer(Body):
    share_token: str
    share_url: str
    turns: int
    shared_at: Moment
    expires_at: Moment | None

    @classmethod
    def of(cls, shared: Shared, *, share_url: str) -> Self:
        return cls(
            share_token=shared.token,
            share_url=share_url,
            turns=shared.share.turns,
            shared_at=shared.share.shared_at,
            expires_at=shared.share.expires_at,
        )


class UnsharedAnswer(Body):
    shared: bool


class SharedMessage(Body):
    role: Literal["user", "assistant"]
    content: str
    timestamp: Moment
    unreadable: Annotated[bool, Field(description=UNREADABLE_TURN)] = False

    @classmethod
    def of(cls, message: Message) -> Self:
        """What a message says, without its tokens."""
        return cls.model_validate(message, from_attributes=True)


class SharedAnswer(SharedNames):
    package_id: Annotated[str | None, Field(description=CUSTOM)]
    package: Annotated[str | None, Field(description=CUSTOM)]
    package_version: Annotated[str | None, Field(description=CUSTOM)]
    custom_prompt: Annotated[
        str | None, Field(description="The custom prompt, if the owner shares it; on the first page")
    ] = None
    model: str
    title: str
    turns: int
    created_at: Moment
    shared_at: Moment
    views: Annotated[int, Field(description="Of all viewers but the owner. As are the next two: counted until now")]
    helpful: int
    not_helpful: int
    conversation: list[SharedMessage]
    next_cursor: str | None

    @classmethod
    def of(cls, view: SharedView, *, next_cursor: str | None) -> Self:
        """What is public of a share: not its owner, and of what viewers added only the counts."""
        share = view.share
        return cls(
            package_id=share.package_id,
            package=share.package,
            package_version=share.package_version,
            custom_prompt=view.prompt,
            model=share.model,
            title=share.title,
            turns=share.turns,
            created_at=share.created_at,
            shared_at=share.shared_at,
            views=share.views,
            helpful=share.helpful,
            not_helpful=share.not_helpful,
            conversation=[SharedMessage.of(message) for turn in view.turns for message in messages(turn)],
            next_cursor=next_cursor,
        )


class VoteBody(RequestBody):
    is_helpful: Annotated[bool, _HELPFUL]
    comment: Comment = ""


class VoteAnswer(VoteNames):
    is_helpful: bool
    comment: str
    given_at: Moment

    @classmethod
    def of(cls, vote: Vote) -> Self:
        return cls.model_validate(vote, from_attributes=True)


class ReportBody(RequestBody):
    reason: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(plain), AfterValidator(not_blank)]


class ReportAnswer(Body):
    reported: bool


class RunFeedbackBody(RequestBody):
    rating: Annotated[int | None, Field(strict=True, ge=1, le=5)] = None
    is_helpful: Annotated[bool | None, _HELPFUL] = None
    comment: Comment = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rating is None and self.is_helpful is None:
            raise ValueError("needs a rating or is_helpful")
        return self


class ExchangeFeedbackBody(RequestBody):
    session_id: Annotated[
        str, Field(min_length=1, max_length=64, validation_alias=AliasChoices("session_id", "sessionId"))
    ]
    exchange_index: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            validation_alias=AliasChoices("exchange_index", "exchangeIndex"),
            description="Which turn of the session, from 0; the newest one if left out",
        ),
    ] = None
    is_effective: Annotated[bool, Field(strict=True, validation_alias=AliasChoices("is_effective", "isEffective"))]
    comment: Comment = ""


class ExchangeFeedbackAnswer(Body):
    success: bool
    feedback_id: Annotated[str, Field(description="The id of the run that gave the answer")]
