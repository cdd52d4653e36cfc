"""What a run and its estimate have in common: the prompt that would be sent."""

from collections.abc import Sequence
from dataclasses import replace

from playground.domain.errors import (
    ContextTooLongError,
    PackageNotFoundError,
    SessionConflictError,
    UnsupportedParameterError,
)
from playground.domain.packages import PackageVersion
from playground.domain.pricing import ModelPrice
from playground.domain.runs import RunRequest
from playground.domain.sessions import Session, Turn
from playground.ports import Catalog, Prompt


def refuse_unsupported(request: RunRequest, model: ModelPrice) -> None:
    """Raises UnsupportedParameterError for a setting that this model answers with an error."""
    if request.temperature is not None and not model.accepts_temperature:
        raise UnsupportedParameterError(parameter="temperature", model=model.name)
    if request.effort is not None and request.effort not in model.efforts:
        raise UnsupportedParameterError(parameter=f"effort {request.effort}", model=model.name)
    if request.max_tokens is not None and request.max_tokens > model.max_output_tokens:
        raise UnsupportedParameterError(parameter=f"max_tokens over {model.max_output_tokens}", model=model.name)


def package_for(
    request: RunRequest, found: PackageVersion | None, session: Session | None, catalog: Catalog
) -> PackageVersion:
    """The package to run. A session stays with the package, the version and the use of the prompt that it began with.

    Raises PackageNotFoundError, or SessionConflictError if the request wants something else than its session.
    """
    if found is None:
        raise PackageNotFoundError(request.package_id, request.package_version)
    if session is None:
        return found
    if session.package_id != found.package_id:
        raise SessionConflictError(f"This session runs {session.package}.")
    if request.package_version not in (None, session.package_version):
        raise SessionConflictError(f"This session runs version {session.package_version}.")
    if request.use_no_prompt != session.use_no_prompt:
        raise SessionConflictError("This session began with another use_no_prompt.")
    if found.version == session.package_version:
        return found
    pinned = catalog.version(found.package_id, session.package_version)
    if pinned is None:
        raise PackageNotFoundError(session.package, session.package_version)
    return pinned


def build_prompt(
    request: RunRequest, model: ModelPrice, package: PackageVersion, history: Sequence[Turn], default_max_tokens: int
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


def fit_to_context(prompt: Prompt, tokens: int, *, least: int) -> Prompt:
    """`prompt` with no more `max_tokens` than the model's context leaves. Raises ContextTooLongError if too few are."""
    room = prompt.model.context_tokens - tokens
    if room < min(prompt.max_tokens, least):
        raise ContextTooLongError(tokens=tokens, limit=prompt.model.context_tokens)
    return replace(prompt, max_tokens=min(prompt.max_tokens, room))
