"""Errors of the domain: types with facts as fields.

    PlaygroundError
    ├── InvalidRequestError             a field is out of its bounds
    │   └── UnknownFieldError           a field that the request does not have
    ├── UnauthorizedError               no usable token, whatever the reason
    ├── InvalidDeliveryError            an event without a valid signature
    ├── NotFoundError                   missing and foreign look alike
    │   ├── PackageNotFoundError
    │   ├── PriceTableNotFoundError
    │   ├── RunNotFoundError
    │   ├── SessionNotFoundError
    │   ├── ShareNotFoundError          wrong, withdrawn, expired, hidden: one answer
    │   └── SubscriptionNotFoundError
    ├── VersionExistsError              a published version is immutable
    ├── InsufficientCreditsError
    ├── TooManyRunsError                more open holds than allowed
    ├── RateLimitedError                more runs or purchases per minute than allowed
    ├── TooManyFailuresError            the account has used up its allowance of failed runs
    ├── RunInProgressError              another attempt of this run has the hold
    ├── IdempotencyConflictError        same key, other request
    ├── SessionConflictError            the session does not fit the request, or has changed since it was read
    ├── ShareBlockedError               the conversation may hold secrets, or an operator has removed it
    ├── AccountPausedError              an operator has paused the account: no new runs
    ├── RunsPausedError                 an operator has paused the runs of all accounts
    ├── NotEntitledError                this account may not run custom prompts
    │   └── VerifiedAuthorRequiredError … as published clients read it
    ├── AnonymousRunsOffError           this deployment has no anonymous runs
    ├── AnonymousRunUsedError           the visitor has had the anonymous run of the day
    ├── AnonymousBudgetUsedError        the day's budget of anonymous runs is used up
    ├── FreeRunsPausedError             today's cost has reached its ceiling: no runs for signup credits
    ├── OwnShareError                   owners cannot vote on or report their own share
    ├── ContextTooLongError
    ├── UnsupportedParameterError       a setting that the model refuses
    ├── ModelError                      the model gave no answer that can be charged
    │   ├── ModelOverloadedError
    │   ├── ModelTimedOutError
    │   └── RunCancelledError           … because its owner has cancelled the run before there was any text
    ├── RunEndedError                   a run that has ended cannot be cancelled
    ├── AlreadySubscribedError
    ├── PlanGrantedError
    ├── PurchaseUnavailableError        the payment of a purchase is unknown to this payment provider
    ├── PaymentsUnavailableError        the payment provider did not answer in time
    ├── PaymentsRejectedError           the payment provider rejects our request: an operator has to fix something
    ├── StoreUnavailableError           the store did not answer in time; the request may or may not have had an effect
    └── CorruptLedgerError              stored credits do not add up; the operation is refused
        └── UnreadableError             one record is damaged; all others are unaffected

A message is made from the facts; only `http.py` knows a status. No error carries a prompt, an answer, a token or a
provider's text.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from playground.domain.calendar import iso

if TYPE_CHECKING:
    from playground.domain.pricing import Spent
INVALID_USAGE = "invalid_usage"
"""The reason of a ModelError: the usage that the provider reported cannot be true."""

MAX_ECHO_CHARACTERS = 64  # of an unknown name, in the answer
MAX_SHOWN_CHARACTERS = 24  # of a value, in the answer
NOTHING = object()
"""No value: what came is not shown."""

MIN_SIMILARITY = 0.78  # of a suggested name: `packge` suggests package_id, `prompt` suggests none

Fact = str | int | bool | None | Sequence[Mapping[str, str | int]]


class PlaygroundError(Exception):
    """Base of all refusals and failures that are shown to a caller."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **facts: Fact) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, Fact] = facts

    def ending(self, run_id: str, *, keyed: bool) -> Self:
        """This error as the outcome of a run: repeats with the run's key get it for ever."""
        self.facts = {**self.facts, "run_id": run_id}
        if keyed:
            self.message += " This run has ended; a new attempt takes a new Idempotency-Key."
        return self

    def of_variant(self, index: int) -> Self:
        """This error, naming the variant of a comparison that it is about."""
        self.facts = {**self.facts, "variant": index}
        return self


class InvalidRequestError(PlaygroundError):
    """A field of the request is missing or out of bounds. `field` names it, `expected` says what would be right.
    `got`: the value that came, of which the message shows what `shown` does. `is_text`: it is a text, whose length only
    is shown."""

    code = "validation_error"

    def __init__(
        self, field: str, expected: str, *, message: str | None = None, got: object = NOTHING, is_text: bool = False
    ) -> None:
        came = f"; got {shown(got, is_text=is_text)}" if got is not NOTHING else ""
        super().__init__(message or f"{field}: {expected}{came}", field=field, expected=expected)

    def of_variant(self, index: int) -> Self:
        """The same, and the field is named in its variant."""
        super().of_variant(index)
        field = str(self.facts["field"])
        named = f"variants.{index}.{field}"
        self.message = self.message.replace(field, named, 1)
        self.facts = {**self.facts, "field": named}
        return self


class UnknownFieldError(InvalidRequestError):
    """A field, or another `kind` of name, that the request, or what else is the `owner` of such names, does not have.
    It is not ignored, because the caller expects it to have an effect.

    `known` maps each accepted spelling to the contract's name. `nearest` is the name that was probably meant; None if
    none is similar. `within`: the field in which these names are.
    """

    def __init__(
        self,
        field: str,
        known: Mapping[str, str],
        *,
        kind: str = "field",
        owner: str = "this request",
        within: str | None = None,
        nearest: str | None = None,
    ) -> None:
        self.nearest = nearest or nearest_name(field, known)
        field = (f"{within}." if within else "") + field[:MAX_ECHO_CHARACTERS]
        listed = ", ".join(dict.fromkeys(known.values()))
        if self.nearest is not None:
            expected, hint = self.nearest, f"did you mean `{self.nearest}`?"
        elif listed:
            expected, hint = f"one of {listed}", f"it has {listed}"
        else:
            expected, hint = f"no {kind}", "it has none"
        super().__init__(field, expected, message=f"`{field}` is not a {kind} of {owner}; {hint}")


class UnauthorizedError(PlaygroundError):
    """Absent, malformed, expired and forged tokens are one answer; `reason` is for our log only."""

    code = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__("A valid access token is required.")
        self.reason = reason


class InvalidDeliveryError(PlaygroundError):
    """Wrong signature, wrong time, or not an event: one answer; `reason` is for our log only."""

    code = "invalid_delivery"

    def __init__(self, reason: str) -> None:
        super().__init__("The event's signature could not be verified.")
        self.reason = reason


class NotFoundError(PlaygroundError):
    """Base of the errors for what does not exist or belongs to another user."""


class PackageNotFoundError(NotFoundError):
    code = "package_not_found"

    def __init__(self, package_id: str, version: str | None = None) -> None:
        what = f"{package_id} in version {version}" if version else package_id
        super().__init__(f"There is no package {what}.")


class PriceTableNotFoundError(NotFoundError):
    code = "price_table_not_found"

    def __init__(self, version: str) -> None:
        super().__init__(f"There is no price table {version}.")


class VersionExistsError(PlaygroundError):
    """A version is immutable: this one is published with another content."""

    code = "version_exists"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"{name} {version} is already published with different content; publish a new version.")


class RunNotFoundError(NotFoundError):
    code = "run_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such run.")


class SessionNotFoundError(NotFoundError):
    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such session.")


class ShareNotFoundError(NotFoundError):
    """Wrong, malformed, withdrawn, expired, hidden and deleted links are one answer."""

    code = "share_not_found"

    def __init__(self) -> None:
        super().__init__("There is no shared conversation at this link.")


class ShareBlockedError(PlaygroundError):
    """Sharing would publish what looks like a secret (`findings` says where, never what), or an operator forbids it."""

    code = "share_blocked"

    def __init__(self, findings: Sequence[Mapping[str, str | int]] = (), *, found: int = 0) -> None:
        super().__init__(
            f"This conversation may contain {found} secrets. If they are none, share it with acknowledge_findings."
            if found
            else "This conversation was removed by an operator; it cannot be shared.",
            findings=findings,
            found=found,
        )


class RunsPausedError(PlaygroundError):
    """An operator has paused the runs of all accounts. Nothing is held. The request may be repeated later."""

    code = "runs_paused"

    def __init__(self, *, retry_after: int = 60) -> None:
        super().__init__("Runs are paused at the moment. Please try again later.", retry_after=retry_after)


class FreeRunsPausedError(PlaygroundError):
    """The provider has cost as much today as it may, and the caller has signup credits only. Nothing is held."""

    code = "paused"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            "Free runs are paused for today. Please try again later; runs paid with purchased or plan credits go on.",
            retry_after=retry_after,
        )


class AccountPausedError(PlaygroundError):
    """An operator has paused the account: no new run begins. Nothing is held."""

    code = "account_paused"

    def __init__(self) -> None:
        super().__init__("This account is paused: no new runs can be started. Please contact support.")


class NotEntitledError(PlaygroundError):
    """The account may not run custom prompts: by its plan, or in this deployment. Nothing is held. `is_sold`: a plan
    that anybody can buy has them."""

    code = "not_entitled"

    def __init__(self, *, is_sold: bool = True) -> None:
        super().__init__(
            "Custom prompts are for PRPM+ and for verified authors." if is_sold else "There are no custom prompts here."
        )
        self.is_sold = is_sold


class VerifiedAuthorRequiredError(NotEntitledError):
    """The same, under the code that published clients know."""

    code = "verified_author_required"


class AnonymousRunsOffError(PlaygroundError):
    """This deployment has no anonymous runs. Nothing is counted."""

    code = "not_entitled"

    def __init__(self) -> None:
        super().__init__("Running a package needs a login here.", login_required=True)


class AnonymousRunUsedError(PlaygroundError):
    """The visitor has had the anonymous run of the UTC day. Nothing more is counted."""

    code = "rate_limited"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            "You have had today's run without a login. Log in to go on.", login_required=True, retry_after=retry_after
        )


class AnonymousBudgetUsedError(PlaygroundError):
    """What is left of the day's budget of anonymous runs does not cover this one. The visitor's run is not counted."""

    code = "paused"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            "Runs without a login are used up for today. Log in to go on.", login_required=True, retry_after=retry_after
        )


class FeedbackExistsError(PlaygroundError):
    code = "feedback_exists"

    def __init__(self) -> None:
        super().__init__("There is feedback on this answer already.")


class OwnShareError(PlaygroundError):
    code = "own_share"

    def __init__(self) -> None:
        super().__init__("This conversation is your own. You cannot vote on it or report it.")


class InsufficientCreditsError(PlaygroundError):
    """The caller cannot pay for the run, or for all `runs` of a comparison. Nothing is held. `guessed`: the tokens are
    an upper estimate, not a count. `debt`: credits that the account owes; those that come in next repay it first."""

    code = "insufficient_credits"

    def __init__(
        self,
        *,
        required_credits: int,
        available_credits: int,
        debt: int = 0,
        reset_at: datetime | None = None,
        guessed: bool = False,
        runs: int = 1,
    ) -> None:
        needed = ("about " if guessed else "") + _credits(required_credits)
        wanted = "This run needs" if runs == 1 else f"These {runs} runs need"
        owed = f" The account has a debt of {_credits(debt)}: credits that you buy repay it first." if debt else ""
        super().__init__(
            f"Insufficient credits. {wanted} {needed}; available: {available_credits}.{owed}",
            required_credits=required_credits,
            available_credits=available_credits,
            debt=debt,
            reset_at=iso(reset_at) if reset_at else None,
        )


class TooManyRunsError(PlaygroundError):
    """The account has the maximum number of open runs."""

    code = "too_many_runs"

    def __init__(self, *, limit: int, retry_after: int) -> None:
        super().__init__(f"{limit} runs are open; wait for one of them to end.", limit=limit, retry_after=retry_after)


class RateLimitedError(PlaygroundError):
    """The account has begun as many runs or purchases (`what`) as it may in a minute. Nothing is held or counted. One
    more is admitted after `retry_after` seconds."""

    code = "rate_limited"

    def __init__(self, *, what: str, limit: int, retry_after: int) -> None:
        super().__init__(
            f"At most {limit} {what} a minute can be started. Please try again in {retry_after} s.",
            limit=limit,
            retry_after=retry_after,
        )


class TooManyFailuresError(PlaygroundError):
    """The account has used up its allowance of failed runs. Nothing is held or counted."""

    code = "too_many_failures"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            "Too many of your runs ended without an answer lately. Please try again later.", retry_after=retry_after
        )


class RunInProgressError(PlaygroundError):
    """Another attempt of the same run is in progress, or its worker died. Ask again after `retry_after` seconds with
    the same key. A dead worker's hold ends at `lease_at` at the latest."""

    code = "run_in_progress"

    def __init__(self, *, run_id: str, retry_after: int, lease_at: datetime) -> None:
        super().__init__(
            "This run is in progress. Repeat the request later to read its outcome.",
            run_id=run_id,
            retry_after=retry_after,
            lease_at=iso(lease_at),
        )
        self.run_id = run_id


class IdempotencyConflictError(PlaygroundError):
    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with a different request. Use a new key.")


class SessionConflictError(PlaygroundError):
    code = "session_conflict"

    def __init__(self, why: str = "The session has changed meanwhile. Please try again.") -> None:
        super().__init__(why)


class ContextTooLongError(PlaygroundError):
    code = "context_too_long"

    def __init__(self, *, tokens: int, limit: int) -> None:
        super().__init__(
            f"Package and input have {tokens} tokens, even without the conversation; at most {limit} fit.",
            tokens=tokens,
            limit=limit,
        )


class UnsupportedParameterError(PlaygroundError):
    code = "unsupported_parameter"

    def __init__(self, *, parameter: str, model: str) -> None:
        super().__init__(f"{model} does not support {parameter}; leave it out.", parameter=parameter, model=model)


class ModelError(PlaygroundError):
    """The model gave no answer that can be charged. `reason`: what happened, in our words."""

    code = "model_failed"

    MESSAGES: ClassVar[Mapping[str, str]] = {
        "refused": "The model declined to answer this. Nothing was charged.",
        "empty": "The model gave an empty answer. Nothing was charged.",
        "no_text": "max_tokens was used up before there was any text. Nothing was charged; allow more tokens.",
        "cut_off": "The model's answer was cut off. Nothing was charged; please try again.",
        INVALID_USAGE: "The model reported an impossible token count. Nothing was charged; please try again later.",
        "timed_out": "The model did not finish in time. Nothing was charged; a smaller max_tokens or effort may help.",
        "interrupted": "This run was interrupted. Nothing was charged.",
        "overloaded": "The model is overloaded. Nothing was charged; please try again later.",
        "rate_limited": "The model accepts no more requests now. Nothing was charged; please try again later.",
        "cancelled": "This run was cancelled before the model had written anything. Nothing was charged.",
    }

    def __init__(self, reason: str) -> None:
        super().__init__(self.MESSAGES.get(reason, "The model gave no answer. Nothing was charged."), reason=reason)
        self.reason = reason
        self.spent: Spent | None = None
        """The provider's bill for it; None if it certainly bills nothing."""
        self.lost: tuple[Spent, ...] = ()
        """The bills for attempts before it."""

    def costing(self, spent: "Spent | None") -> Self:
        """This error with the provider's bill for it."""
        self.spent = spent
        return self

    def after(self, lost: "Sequence[Spent]") -> Self:
        """This error with the bills for the attempts before it."""
        self.lost = tuple(lost)
        return self


class ModelOverloadedError(ModelError):
    code = "model_overloaded"

    def __init__(self, reason: str, *, retry_after: int) -> None:
        super().__init__(reason)
        self.facts = {**self.facts, "retry_after": retry_after}


class ModelTimedOutError(ModelError):
    code = "model_timed_out"

    def __init__(self, reason: str = "timed_out") -> None:
        super().__init__(reason)


class RunCancelledError(ModelError):
    """Its owner has cancelled the run before there was any text. What was written by then would have been an answer."""

    code = "run_cancelled"

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(reason)


class RunEndedError(PlaygroundError):
    """A run that has ended in another way cannot be cancelled any more."""

    code = "run_ended"

    def __init__(self, status: str) -> None:
        super().__init__("This run has already ended; nothing was changed.", status=status)


class StoreUnavailableError(PlaygroundError):
    """The store did not answer in time. The request may be repeated."""

    code = "store_unavailable"

    def __init__(self, *, retry_after: int = 2) -> None:
        super().__init__("The service is busy. Please try again shortly.", retry_after=retry_after)


class PaymentsUnavailableError(PlaygroundError):
    """The payment provider did not answer in time. The request may be repeated with the same key."""

    code = "payments_unavailable"

    def __init__(self, *, retry_after: int = 5) -> None:
        super().__init__(
            "The payment provider cannot be reached at the moment. Please try again.", retry_after=retry_after
        )


class PaymentsRejectedError(PlaygroundError):
    """The payment provider rejects our request: a fault of ours or of the configuration, which a repeat does not cure.
    `what`, for our log only: the kind of error, the provider's code, parameter and request id; no texts."""

    code = "payments_rejected"

    def __init__(self, what: str, *, retry_after: int = 3600) -> None:
        super().__init__(
            "Payments are unavailable because of a configuration error. The operator has been notified.",
            retry_after=retry_after,
        )
        self.what = what


class PurchaseUnavailableError(PlaygroundError):
    """This purchase cannot be paid any more, or is paid already: its payment belongs to another account or mode of the
    payment provider. No second payment was begun: a purchase has one."""

    code = "purchase_unavailable"

    def __init__(self, *, purchase_id: str, state: str) -> None:
        super().__init__(
            "The payment provider no longer has the payment of this purchase. Buy again with a new Idempotency-Key.",
            purchase_id=purchase_id,
            state=state,
        )


class AlreadySubscribedError(PlaygroundError):
    code = "already_subscribed"

    def __init__(self) -> None:
        super().__init__("You already have a subscription.")


class PlanGrantedError(PlaygroundError):
    """A plan that an operator set is active: a subscription beside it would give nothing for its price."""

    code = "plan_granted"

    def __init__(self, *, entitled_until: datetime | None) -> None:
        until = iso(entitled_until) if entitled_until is not None else None
        ends = f"until {until}" if until is not None else "without an end"
        super().__init__(
            f"An operator has granted PRPM+ to this account {ends}. You can subscribe when it has ended.",
            entitled_until=until,
        )


class SubscriptionNotFoundError(NotFoundError):
    code = "subscription_not_found"

    def __init__(self) -> None:
        super().__init__("There is no subscription.")


class CorruptLedgerError(PlaygroundError):
    """Stored data breaks an invariant. Fail closed: nothing is spent, granted or answered until it is repaired."""

    def __init__(self, what: str) -> None:
        super().__init__("This account needs an operator's attention.")
        self.what = what


class UnreadableError(CorruptLedgerError):
    """One record (a receipt, a turn, a session, a share) is damaged. Lists leave it out and say so."""

    code = "unreadable_record"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.message = "This record cannot be read; an operator has been notified. Nothing else is affected."


_WORD = re.compile("[A-Za-z0-9@._:/+-]*")


def shown(value: object, *, is_text: bool = False) -> str:
    """What a message says of a value that came: never a text with spaces, which may be a prompt, and never the whole of
    a long one, which may be a secret. `is_text`: of a text its length only."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            is_long = isinstance(value, int) and abs(value) >= 10**MAX_SHOWN_CHARACTERS
            return "a number of more digits" if is_long else str(value)
        case str() if is_text or not _WORD.fullmatch(value):
            return f"a text of {len(value):,} character{'' if len(value) == 1 else 's'}"
        case str():
            return f'"{value[:MAX_SHOWN_CHARACTERS]}{"…" if len(value) > MAX_SHOWN_CHARACTERS else ""}"'
        case list():
            return f"a list of {len(value):,}"
        case dict():
            return "an object"
    return "another type"


def _credits(number: int) -> str:
    return f"{number} credit{'' if number == 1 else 's'}"


def nearest_name(name: str, known: Mapping[str, str]) -> str | None:
    """The contract's name of the spelling most similar to `name`; case, hyphens and underscores do not matter."""
    from difflib import get_close_matches  # loaded for a wrong request only

    spellings = {_plain(spelling): contract_name for spelling, contract_name in known.items()}
    found = get_close_matches(_plain(name[:MAX_ECHO_CHARACTERS]), spellings, n=1, cutoff=MIN_SIMILARITY)
    return spellings[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
