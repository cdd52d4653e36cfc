"""A run: request, outcome and charge. Written once, when it ends."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from playground.domain import errors
from playground.domain.account import Hold
from playground.domain.calendar import iso
from playground.domain.credits import Deltas
from playground.domain.pricing import Price, Usage


class RunStatus(StrEnum):
    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A validated request for a run. Without `names_model`, the model is the default one. `package_as_sent`: how the
    request named the package, for messages; its UUID if that is not known. Without a package it is a run with a custom
    prompt: with the one that is given, or with that of the session."""

    package_id: str | None = None
    input: str
    package_version: str | None = None
    session_id: str | None = None
    model: str
    max_tokens: int | None = None
    effort: str | None = None
    temperature: float | None = None
    use_no_prompt: bool = False
    variables: Mapping[str, str] | None = None
    custom_prompt: str | None = field(default=None, repr=False)
    names_model: bool = True
    package_as_sent: str | None = None
    comparison: str | None = None
    """Of a variant of a comparison: identifies all that is compared, and its place in it."""

    @property
    def is_custom(self) -> bool:
        """Whether it is a run with a custom prompt."""
        return self.package_id is None

    @property
    def hash(self) -> str:
        """Identifies the request: two requests with the same hash are the same, however they were spelled.

        Fields that were left out are not part of it, so that a repeat stays the same request when a default changes or
        a field is added.
        """
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "package_as_sent"}
        content = {name: value for name, value in given.items() if value is not None and value is not False}
        del content["model" if not self.names_model else "names_model"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run was not charged: an error code of the contract, and the reason in our words."""

    code: str
    reason: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the model reported, and the charge that follows from it."""

    usage: Usage
    price: Price
    stop_reason: str
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpaidCost:
    """What a run without an answer cost us, in nano-dollars. `usage` is None if only an upper bound is known.
    `estimated`: the provider did not report all of it; the rest is an upper bound."""

    cost_nano: int
    estimated: bool
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The receipt. `overrun` is what the price exceeded the ceiling by: never charged, always recorded.

    An expired run has only the fields of its hold.
    """

    run_id: str
    user_id: str
    status: RunStatus
    nonce: str
    request_hash: str
    session_id: str
    model: str
    ceiling: int
    started_at: datetime
    ended_at: datetime
    package: str | None = None
    package_version: str | None = None
    model_id: str | None = None
    price_version: str | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    wanted_max_tokens: int | None = None
    turns_omitted: int = 0
    variables: tuple[str, ...] = ()
    """The names of the variables that were given, without their values."""
    custom_prompt: bool = False
    """Whether it was run, and priced, with a custom prompt."""
    use_no_prompt: bool = False
    """Whether nothing of the package's text was sent; False if it was stored by a version that did not record it."""
    charged: int = 0
    overrun: int = 0
    deltas: Deltas = Deltas()
    balance_after: int | None = None
    entry_seq: int | None = None
    entry_hash: str | None = None
    turn: int | None = None
    measured: Measured | None = None
    failure: Failure | None = None
    unpaid: UnpaidCost | None = None
    trace_id: str | None = None
    """Of the request that placed its hold, for logs only."""

    @property
    def usage(self) -> Usage | None:
        """What the provider reported, or for an unpaid run the most that it can have used."""
        return self.measured.usage if self.measured else self.unpaid.usage if self.unpaid else None

    @property
    def final_usage(self) -> Usage | None:
        """What was charged, or of an unpaid run what the provider reported. None if any part of that is an estimate."""
        return None if not self.measured and self.unpaid and self.unpaid.estimated else self.usage

    @classmethod
    def of(cls, hold: Hold, *, user_id: str, status: RunStatus, ended_at: datetime, **outcome: Any) -> Self:
        """The run that `hold` was placed for, with its outcome."""
        return cls(
            run_id=hold.run_id,
            user_id=user_id,
            status=status,
            nonce=hold.nonce,
            request_hash=hold.request_hash,
            session_id=hold.session_id,
            model=hold.model,
            ceiling=hold.ceiling,
            started_at=hold.placed_at,
            ended_at=ended_at,
            trace_id=hold.trace_id,
            **outcome,
        )


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A position in the list of the runs of a user that ended: a time as it is stored, and what tells those of one
    moment apart."""

    ended_at: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list is of: those that fit everything that is given. `package` is a name. Runs that ended from
    `since` on and before `until`."""

    package: str | None = None
    model: str | None = None
    status: RunStatus | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fits(self, run: Run) -> bool:
        """Whether a run that ended belongs into the list."""
        return (
            (self.package is None or run.package == self.package)
            and (self.model is None or run.model == self.model)
            and (self.status is None or run.status is self.status)
            and self.includes(RunPlace(iso(run.ended_at), run.run_id))
        )

    def includes(self, place: RunPlace) -> bool:
        """Whether the list may have a run at `place`."""
        since, until = iso(self.since) if self.since else "", iso(self.until) if self.until else None
        return since <= place.ended_at and (until is None or place.ended_at < until)


def run_id_of(user_id: str, idempotency_key: str, variant: int = 0) -> str:
    """The id of the run that a user's key names: the same key always gives the same run, and another user's key
    another. A key that names a comparison names a run for each `variant`; the first is the run that it names alone, so
    that one key cannot name both.

    130 bits of SHA-256 over all of it, in Crockford's base 32, so that it cannot be guessed from outside or collide.
    """
    name = f"{len(user_id)}:{user_id}:{idempotency_key}" + (f"\n{variant}" if variant else "")  # no key has a newline
    digest = hashlib.sha256(name.encode()).digest()
    number = int.from_bytes(digest[:17]) >> 6
    return "run_" + base32(number, 26)


def base32(number: int, length: int) -> str:
    """`number` in Crockford's base 32 (lower case), which sorts like the number."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append("0123456789abcdefghjkmnpqrstvwxyz"[digit])
    return "".join(reversed(digits))


def failure_of(error: errors.PlaygroundError) -> Failure:
    """What a receipt records of an error."""
    reason, retry_after = error.facts.get("reason", ""), error.facts.get("retry_after")
    return Failure(
        code=error.code,
        reason=reason if isinstance(reason, str) else "",
        retry_after=retry_after if isinstance(retry_after, int) else None,
    )


def error_of(failure: Failure) -> errors.PlaygroundError:
    """The error that a receipt records."""
    match failure.code:
        case errors.ModelOverloadedError.code:
            return errors.ModelOverloadedError(failure.reason, retry_after=failure.retry_after or 1)
        case errors.ModelTimedOutError.code:
            return errors.ModelTimedOutError(failure.reason)
        case errors.RunCancelledError.code:
            return errors.RunCancelledError(failure.reason)
        case errors.SessionConflictError.code:
            return errors.SessionConflictError()
        case errors.StoreUnavailableError.code:
            return errors.StoreUnavailableError()
    return errors.ModelError(failure.reason)
