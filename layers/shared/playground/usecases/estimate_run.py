"""EstimateRun: what a run would cost, by the same functions that price it. Writes no credits."""

from dataclasses import dataclass
from datetime import timedelta

from playground.domain.account import without_dead_holds
from playground.domain.custom_prompts import CustomPrompts
from playground.domain.errors import AccountPausedError, RunsPausedError, SessionNotFoundError
from playground.domain.pricing import PriceTable
from playground.domain.runs import RunRequest
from playground.ports import Catalog, Clock, Ledger, Lookup, Model, Sessions
from playground.usecases.prompts import COUNTS, FitConversation, plans_for, refuse_unsupported, source_for

ANSWER_RESERVE_SECONDS = 2.0  # of an invocation, for the work after the counting


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`estimated_*` are for an answer of typical length, `max_credits` is the most that the run could cost."""

    estimated_credits: int
    max_credits: int
    estimated_tokens: int
    prompt_tokens: int
    max_tokens: int
    turns_omitted: int = 0
    affordable_max_tokens: int
    can_afford: bool
    balance: int
    available: int
    model_id: str
    price_version: str
    guessed: bool = False
    """The tokens of the prompt are an upper estimate, and so are the credits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRun:
    ledger: Ledger
    lookup: Lookup
    sessions: Sessions
    catalog: Catalog
    model: Model
    prices: PriceTable
    clock: Clock
    count_timeout_seconds: float
    custom_prompts: CustomPrompts = CustomPrompts.PLANS

    def __call__(
        self, user_id: str, request: RunRequest, *, seconds_left: float, is_verified_author: bool = False
    ) -> Estimate:
        """The estimate for `request`, within `seconds_left`; if counting takes longer, the tokens are guessed. Raises
        the errors that RunPrompt raises before it places a hold, except those about credits."""
        ends = self.clock() + timedelta(seconds=seconds_left - ANSWER_RESERVE_SECONDS)
        model = self.prices.model(request.model, custom_prompt=request.is_custom)
        refuse_unsupported(request, model)
        found = self.lookup(
            user_id=user_id,
            run_id=None,
            package_id=request.package_id,
            version=request.package_version,
            session_id=request.session_id,
        )
        if found.runs_paused:
            raise RunsPausedError
        if request.session_id is not None and found.session is None:
            raise SessionNotFoundError
        package = source_for(request, found, self.catalog)
        now = self.clock()
        account = without_dead_holds(self.ledger.account(user_id, now), now)  # a run would give them back
        plans_for(request, account, self.prices, self.custom_prompts, is_verified_author=is_verified_author)
        if account.paused_at is not None:
            raise AccountPausedError
        # The first count may take this long, and each of the others 1/COUNTS of it.
        timeout = min(self.count_timeout_seconds, (ends - self.clock()).total_seconds() * COUNTS / (2 * COUNTS - 1))
        fit = FitConversation(self.sessions, self.model, self.prices)
        fitted = fit(request, package, found.session, account, timeout=max(timeout, 0.0))
        prompt, tokens = fitted.prompt, fitted.tokens
        least = min(prompt.max_tokens, self.prices.least_max_tokens)
        affordable = self.prices.affordable_max_tokens(model, tokens, account.available, wanted=prompt.max_tokens)
        typical = min(self.prices.typical_output_tokens, prompt.max_tokens)
        return Estimate(
            estimated_credits=self.prices.ceiling(model, tokens, typical),
            max_credits=self.prices.ceiling(model, tokens, prompt.max_tokens),
            estimated_tokens=tokens + typical,
            prompt_tokens=tokens,
            max_tokens=prompt.max_tokens,
            turns_omitted=fitted.omitted,
            affordable_max_tokens=affordable if affordable >= least else 0,
            can_afford=affordable >= least,
            balance=account.balance,
            available=account.available,
            model_id=model.model_id,
            price_version=self.prices.version,
            guessed=fitted.guessed,
        )
