"""Sessions: a conversation's summary, and its turns, one item each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from playground.domain.sharing import ShareLink, check_package


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and its answer, in one item, so that neither exists without the other."""

    number: int
    run_id: str
    input: str
    answer: str
    input_tokens: int
    output_tokens: int
    asked_at: datetime
    answered_at: datetime
    refused: bool = False
    """The model declined in the middle of the answer. It would decline every later prompt that includes this turn."""
    unreadable: bool = False
    """The stored item is damaged: it has no texts and no tokens, and its times may be `UNKNOWN_TIME`."""

    credits: int | None = None
    """What its run was charged; None in a copy, and if it was stored by a version that did not record it. As is:"""
    stop_reason: str | None = None

    @property
    def can_be_sent(self) -> bool:
        """Whether the turn may be part of a prompt."""
        return not (self.refused or self.unreadable)


UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison that a session began with: `index` is the place of its variant in it, from 0."""

    comparison_id: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The summary. `turns` counts all turns. `credits`, `tokens` and `duration_ms` are sums over the turns that were
    run in this session: the first `copied` turns of a fork cost its owner nothing. A session without a package runs a
    custom prompt, whose text is stored beside the turns.

    `updated_at` never decreases, even if a worker's clock is slow: lists are ordered by it.
    """

    session_id: str
    user_id: str
    package_id: str | None = None
    package: str | None = None
    package_version: str | None = None
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
    """The id of the share that this session was copied from."""
    share: ShareLink | None = None
    reports: int = 0
    """Reports of the former shares of this session; they count for a new link, too."""
    hidden: bool = False
    removed: bool = False
    """An operator has removed its share for good: it cannot be shared any more."""
    former_shares: frozenset[str] = frozenset()
    """Ids of withdrawn shares of which items are left to remove."""
    deleted_at: datetime | None = None
    """Set while a deleted session is being removed, or a fork is being copied. Only those two see it; for all others it
    does not exist."""
    forking: bool = False
    variables: Mapping[str, str] | None = None
    """What the placeholders of the package's text are filled with. A share or a fork does not have them."""
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        check_package(self.package_id, self.package, self.package_version)

    @property
    def is_custom(self) -> bool:
        """Whether it runs a custom prompt."""
        return self.package_id is None

    @property
    def has_own_turns(self) -> bool:
        """False for a fork that nobody has continued yet."""
        return self.turns > self.copied

    def has_run(self, turn: Turn) -> bool:
        """Whether a turn of this session was run in it, and not copied, as far as that can be read."""
        return turn.number > self.copied and not turn.unreadable


@dataclass(frozen=True, slots=True, order=True)
class SessionCursor:
    """A position in the list of a user's sessions: after this one, as it was when it was listed. Activity only moves
    sessions to the top, so below a cursor no session is repeated or skipped."""

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
