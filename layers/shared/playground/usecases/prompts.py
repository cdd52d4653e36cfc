"""The prompt that would be sent: common to runs and estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from playground.domain.account import Account, Plan
from playground.domain.custom_prompts import CustomPrompt, CustomPrompts
from playground.domain.errors import (
    ContextTooLongError,
    InvalidRequestError,
    NotEntitledError,
    PackageNotFoundError,
    SessionConflictError,
    UnreadableError,
    UnsupportedParameterError,
)
from playground.domain.packages import PackageVersion
from playground.domain.pricing import ModelPrice, PriceTable, ceil_div, guess_tokens
from playground.domain.runs import RunRequest
from playground.domain.sessions import Session, Turn
from playground.domain.variables import filled
from playground.ports import Catalog, Found, Model, Prompt, Sessions

COUNTS = 4  # at most, of the tokens of one prompt; the last one is without any history


def refuse_unsupported(request: RunRequest, model: ModelPrice) -> None:
    """Raises UnsupportedParameterError for a setting that this model answers with an error, and InvalidRequestError
    for a longer answer than custom prompts have."""
    if request.is_custom and request.max_tokens is not None and request.max_tokens > model.max_output_tokens:
        expected = f"must be at most {model.max_output_tokens:,} with a custom prompt"
        raise InvalidRequestError("max_tokens", expected, got=request.max_tokens)
    if request.temperature is not None and not model.accepts_temperature:
        raise UnsupportedParameterError(parameter="temperature", model=model.name)
    if request.effort is not None and request.effort not in model.efforts:
        raise UnsupportedParameterError(parameter=f"effort {request.effort}", model=model.name)
    if request.max_tokens is not None and request.max_tokens > model.max_output_tokens:
        raise UnsupportedParameterError(parameter=f"max_tokens over {model.max_output_tokens}", model=model.name)


def plans_for(
    request: RunRequest, account: Account, prices: PriceTable, switch: CustomPrompts, *, is_verified_author: bool
) -> frozenset[Plan] | None:
    """The plans of which the account must have one for this run; None if it needs none. Raises NotEntitledError if
    `account`, as of now, has none of them."""
    if not request.is_custom:
        return None
    plans = switch.plans(prices.custom_prompt, is_verified_author=is_verified_author)
    if account.plan not in plans:
        raise NotEntitledError(is_sold=bool(plans))
    return plans


def source_for(request: RunRequest, found: Found, catalog: Catalog) -> PackageVersion | CustomPrompt:
    """What is run: a package, its text filled with the variables, or a custom prompt. A session stays with the package,
    the version, the use of the prompt and the variables, or with the custom prompt, that it began with.

    Raises PackageNotFoundError, SessionConflictError if the request does not fit its session, or InvalidRequestError if
    the variables do not fit the text, or if there is no custom prompt.
    """
    session = found.session
    if request.is_custom:
        return CustomPrompt(_custom_prompt_for(request, found.prompt, session))
    package = _version_for(request, found.package, session, catalog)
    return replace(package, prompt=filled(package.prompt, variables_for(request, session)))


def variables_for(request: RunRequest, session: Session | None) -> Mapping[str, str] | None:
    """The values of a run: of the request, or of the session that it goes on with. A fork that nobody has continued has
    none yet. Raises SessionConflictError for others than those of the session."""
    if session is None or not session.has_own_turns:
        return request.variables
    if request.variables is not None and request.variables != session.variables:
        raise SessionConflictError("This session was started with other variables.")
    return session.variables


def _custom_prompt_for(request: RunRequest, stored: str | None, session: Session | None) -> str:
    given = request.custom_prompt
    if session is not None and not session.is_custom:
        missing = ": give its package_id" if given is None else ""
        raise SessionConflictError(f"This session runs {session.package}{missing}.")
    if session is None or not session.has_own_turns:
        if given is None:
            raise InvalidRequestError("custom_prompt", "must be given: this session has none of its own yet")
        return given
    if stored is None:
        raise UnreadableError(f"the prompt of {session.session_id}")
    if given not in (None, stored):
        raise SessionConflictError("This session was started with another custom prompt.")
    return stored


def _version_for(
    request: RunRequest, found: PackageVersion | None, session: Session | None, catalog: Catalog
) -> PackageVersion:
    if found is None:
        raise PackageNotFoundError(request.package_as_sent or request.package_id or "", request.package_version)
    if session is None:
        return found
    if session.is_custom:
        raise SessionConflictError("This session runs a custom prompt.")
    if session.package_id != found.package_id:
        raise SessionConflictError(f"This session runs {session.package}.")
    if request.package_version not in (None, session.package_version):
        raise SessionConflictError(f"This session runs version {session.package_version}.")
    if request.use_no_prompt != session.use_no_prompt:
        raise SessionConflictError("This session was started with a different use_no_prompt.")
    if found.version == session.package_version:
        return found
    pinned = catalog.version(found.package_id, session.package_version)
    if pinned is None:
        raise PackageNotFoundError(session.package or found.name, session.package_version)
    return pinned


def build_prompt(
    request: RunRequest,
    model: ModelPrice,
    package: PackageVersion | CustomPrompt,
    history: Sequence[Turn],
    default_max_tokens: int,
) -> Prompt:
    """The package's text as the system prompt (none if the request wants none), then the conversation so far."""
    messages = [message for turn in history for message in (("user", turn.input), ("assistant", turn.answer))]
    return Prompt(
        model=model,
        system=None if request.use_no_prompt else package.prompt,
        messages=(*messages, ("user", request.input)),
        max_tokens=request.max_tokens or default_max_tokens,
        effort=request.effort,
        temperature=request.temperature,
    )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits, its tokens, and how many turns are not part of it. `guessed`: the tokens are an estimate."""

    prompt: Prompt
    tokens: int
    omitted: int
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class FitConversation:
    """Builds the prompt of a run with as much of the conversation as fits: into the model's context, into the budget
    of the caller's plan, and, with an answer of the shortest length, into what the caller can afford. Turns that the
    model declined in part, or that cannot be read, are never part of it."""

    sessions: Sessions
    model: Model
    prices: PriceTable

    def __call__(
        self,
        request: RunRequest,
        package: PackageVersion | CustomPrompt,
        session: Session | None,
        account: Account,
        *,
        timeout: float,
    ) -> Fitted:
        """The newest turns that fit. Raises ContextTooLongError if not even the input alone does. Without any turns it
        may still be too expensive; placing the hold finds out.

        A prompt that is too long only by a guess is not refused. At most the guess has to be paid for.
        """
        model = self._model(request)
        least = min(request.max_tokens or self.prices.default_max_tokens_of(model), self.prices.least_max_tokens)
        budget = self.prices.context_budget_tokens[account.plan.value]
        most = budget
        history: Sequence[Turn] = ()
        if session is not None:
            most = min(budget, self.prices.affordable_prompt_tokens(model, least, account.available))
            history = self._newest(session, most - self._prompt(request, package, ()).guessed_tokens)
        for tries_left in reversed(range(COUNTS)):
            prompt = self._prompt(request, package, history)
            first = tries_left == COUNTS - 1
            count = self.model.count_tokens(prompt, timeout=timeout if first else timeout / COUNTS)
            tokens = count.tokens
            over = tokens - min(most, model.context_tokens - least)
            if over <= 0 or not history:
                break
            # Drop the same fraction of the guess as of the counted tokens.
            history = _without_oldest(history, ceil_div(over * prompt.guessed_tokens, tokens)) if tries_left > 1 else ()
        if count.guessed:
            tokens = min(tokens, model.context_tokens - least)
        elif tokens > budget:
            raise ContextTooLongError(tokens=tokens, limit=budget)
        prompt = fit_to_context(prompt, tokens, least=self.prices.least_max_tokens)
        omitted = session.turns - len(history) if session is not None else 0
        return Fitted(prompt, tokens, omitted, guessed=count.guessed)

    def _prompt(self, request: RunRequest, package: PackageVersion | CustomPrompt, history: Sequence[Turn]) -> Prompt:
        model = self._model(request)
        return build_prompt(request, model, package, history, self.prices.default_max_tokens_of(model))

    def _model(self, request: RunRequest) -> ModelPrice:
        return self.prices.model(request.model, custom_prompt=request.is_custom)

    def _newest(self, session: Session, room: int) -> Sequence[Turn]:
        """The newest turns that can be sent and fit by the upper estimate, oldest first. Reads no further turns."""
        found: list[Turn] = []
        if room <= 0:
            return found
        for turn in self.sessions.walk(session.session_id, first=1, last=session.turns, newest_first=True):
            if not turn.can_be_sent:
                continue
            room -= _tokens(turn)
            if room < 0:
                break
            found.append(turn)
        return found[::-1]


def _without_oldest(history: Sequence[Turn], tokens: int) -> Sequence[Turn]:
    """`history` without its oldest turns: at least one, and about `tokens` tokens."""
    dropped = 0
    for number, turn in enumerate(history, start=1):
        dropped += _tokens(turn)
        if dropped >= tokens:
            return history[number:]
    return ()


def _tokens(turn: Turn) -> int:
    return guess_tokens(turn.input) + guess_tokens(turn.answer)


def fit_to_context(prompt: Prompt, tokens: int, *, least: int) -> Prompt:
    """`prompt` with no more `max_tokens` than the model's context leaves. Raises ContextTooLongError if too few are."""
    room = prompt.model.context_tokens - tokens
    if room < min(prompt.max_tokens, least):
        raise ContextTooLongError(tokens=tokens, limit=prompt.model.context_tokens)
    return replace(prompt, max_tokens=min(prompt.max_tokens, room))
