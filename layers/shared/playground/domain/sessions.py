"""Sessions: a conversation's summary, and its turns, one item each."""

from dataclasses import dataclass
from datetime import datetime


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The summary. `turns`, `credits`, `tokens` and `duration_ms` are sums over the turns."""

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
