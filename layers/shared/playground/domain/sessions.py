"""Sessions: a conversation's summary, and its turns, one item each."""

from dataclasses import dataclass
from datetime import UTC, datetime

from playground.domain.sharing import ShareLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and its answer, in one place, so that there is never one without the other."""

    number: int
    run_id: str
    input: str
    answer: str
    input_tokens: int
    output_tokens: int
    asked_at: datetime
    answered_at: datetime
    refused: bool = False
    """The model declined in the middle of the answer. While it is in what is sent, everything after it is declined."""
    unreadable: bool = False
    """The stored item is damaged: it has no texts and no tokens, and its times may be `UNKNOWN_TIME`."""

    @property
    def can_be_sent(self) -> bool:
        """Whether the turn may be part of what the model is sent of a conversation."""
        return not (self.refused or self.unreadable)


UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The summary. `turns` counts all turns. `credits`, `tokens` and `duration_ms` are sums over the turns that were
    run in this session: the first `copied` turns of a fork cost its owner nothing.

    `updated_at` never goes back, whatever the clocks of the workers say: it is a session's place in the list.
    """

    session_id: str
    user_id: str
    package_id: str
    package: str
    package_version: str
    use_no_prompt: bool
    model: str
    title: str
    created_at: datetime
    updated_at: datetime
    turns: int = 0
    credits: int = 0
    tokens: int = 0
    duration_ms: int = 0
    copied: int = 0
    forked_from: str | None = None
    """The id of the share that this is a copy of."""
    share: ShareLink | None = None
    reports: int = 0
    """Reports of the former shares of this session; they count for a new link, too."""
    hidden: bool = False
    removed: bool = False
    """An operator has removed its share for good: it cannot be shared any more."""
    former_shares: frozenset[str] = frozenset()
    """Ids of dead shares of which something is still stored."""
    deleted_at: datetime | None = None
    """Set while a deleted session is being removed, or a fork is being copied. Only those two see it; for all others it
    does not exist."""
    forking: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the list of a user's sessions: right after this one, as it was when it was listed. Activity only ever
    moves a session up, so that nothing is listed twice below a place, and nothing there is passed over."""

    updated_at: datetime
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFeedback:
    """The owner's feedback on the answer of a run. A later one replaces it."""

    run_id: str
    rating: int | None
    is_helpful: bool | None
    comment: str
    given_at: datetime
