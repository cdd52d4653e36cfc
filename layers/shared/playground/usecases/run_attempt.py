"""What one call of RunPrompt knows: an attempt, and the attempt with its hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from playground.domain.account import Account, Hold, Plan
from playground.domain.custom_prompts import CustomPrompt
from playground.domain.packages import PackageVersion
from playground.domain.pricing import ModelPrice, PriceTable
from playground.domain.runs import Run, RunRequest, RunStatus
from playground.domain.sessions import Comparison, Session
from playground.domain.text import cut
from playground.ports import Prompt
from playground.usecases.prompts import Fitted

MAX_TITLE_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call, before anything is held.

    `keyed`: the same request with the same key leads to the same run. `package` has the text that is sent, filled with
    `variables`, or is a custom prompt. `plans`: of which the account must have one (None: no matter). `account` is as
    it was read, advanced to `started` and without dead holds. `lease_at` is when a hold of this attempt ends.
    `deadline` is the end of the invocation in monotonic seconds. `comparison`: what it is a variant of.
    `trace_id`: of the request, for logs.
    """

    user_id: str
    request: RunRequest
    keyed: bool
    run_id: str
    nonce: str
    session_id: str
    session: Session | None
    package: PackageVersion | CustomPrompt
    plans: frozenset[Plan] | None
    variables: Mapping[str, str] | None
    model: ModelPrice
    account: Account
    started: datetime
    lease_at: datetime
    deadline: float
    comparison: Comparison | None = None
    trace_id: str | None = None

    @property
    def package_name(self) -> str | None:
        return None if isinstance(self.package, CustomPrompt) else self.package.name

    @property
    def new_prompt(self) -> str | None:
        """The custom prompt that has to be stored with the session: with its owner's first turn."""
        begins = self.session is None or not self.session.has_own_turns
        return self.package.prompt if begins and isinstance(self.package, CustomPrompt) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """An attempt whose prompt is counted and whose ceiling is held, or about to be.

    `fitted` has the prompt that was wanted; `max_tokens` is what the hold pays for, which may be less. `account` is as
    it was when it was read or written last.
    """

    attempt: Attempt
    fitted: Fitted
    max_tokens: int
    hold: Hold
    account: Account

    @classmethod
    def of(cls, attempt: Attempt, fitted: Fitted, account: Account, prices: PriceTable) -> "HeldRun":
        """The hold that `attempt` would like to have."""
        max_tokens = fitted.prompt.max_tokens
        hold = Hold(
            run_id=attempt.run_id,
            nonce=attempt.nonce,
            ceiling=prices.ceiling(attempt.model, fitted.tokens, max_tokens),
            cost_nano=attempt.model.cost_nano(attempt.model.most_expensive(fitted.tokens, max_tokens)),
            interval=prices.allowance(attempt.account).interval,
            lease_at=attempt.lease_at,
            request_hash=attempt.request.hash,
            session_id=attempt.session_id,
            model=attempt.request.model,
            placed_at=attempt.started,
            max_tokens=max_tokens,
            trace_id=attempt.trace_id,
        )
        return cls(attempt=attempt, fitted=fitted, max_tokens=max_tokens, hold=hold, account=account)

    def shrunk(self, max_tokens: int, prices: PriceTable) -> "HeldRun":
        """The same with a shorter answer, and a ceiling to match."""
        model, tokens = self.attempt.model, self.fitted.tokens
        hold = replace(
            self.hold,
            ceiling=prices.ceiling(model, tokens, max_tokens),
            cost_nano=model.cost_nano(model.most_expensive(tokens, max_tokens)),
            max_tokens=max_tokens,
        )
        return replace(self, max_tokens=max_tokens, hold=hold)

    @property
    def prompt(self) -> Prompt:
        """What is sent to the model."""
        return replace(self.fitted.prompt, max_tokens=self.max_tokens)

    @property
    def wanted_max_tokens(self) -> int:
        return self.fitted.prompt.max_tokens

    def receipt(self, status: RunStatus, ended_at: datetime, **outcome: Any) -> Run:
        """The receipt of this run with its outcome."""
        return Run.of(
            self.hold,
            user_id=self.attempt.user_id,
            status=status,
            ended_at=ended_at,
            package=self.attempt.package_name,
            package_version=self.attempt.package.version,
            custom_prompt=self.attempt.request.is_custom,
            use_no_prompt=self.attempt.request.use_no_prompt,
            prompt_tokens=self.fitted.tokens,
            max_tokens=self.max_tokens,
            wanted_max_tokens=self.wanted_max_tokens,
            turns_omitted=self.fitted.omitted,
            variables=tuple(sorted(self.attempt.variables or ())),
            **outcome,
        )

    def session_after(self, *, charged: int, tokens: int, duration_ms: int, now: datetime) -> Session:
        """The summary of the session with this turn: of a new one, or of the one that is continued."""
        attempt = self.attempt
        session = attempt.session or Session(
            session_id=attempt.session_id,
            user_id=attempt.user_id,
            package_id=attempt.package.package_id,
            package=attempt.package_name,
            package_version=attempt.package.version,
            use_no_prompt=attempt.request.use_no_prompt,
            model=attempt.request.model,
            title=cut(" ".join(attempt.request.input.split()), MAX_TITLE_CHARACTERS),
            created_at=now,
            updated_at=now,
            comparison=attempt.comparison,
        )
        return replace(
            session,
            variables=attempt.variables,
            updated_at=max(session.updated_at, now),  # clocks differ; a session never moves back in the list
            turns=session.turns + 1,
            credits=session.credits + charged,
            tokens=session.tokens + tokens,
            duration_ms=session.duration_ms + duration_ms,
        )
