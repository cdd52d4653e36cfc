"""What the description of the API says about each error code: what it means, and the facts that its body has.

Which route answers which code is said beside the route (`answers` of `playground/http.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from playground.domain import errors
from playground.domain.errors import PlaygroundError
from playground.http import STATUS

Schema = Mapping[str, Any]

INTEGER: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Schema = {"anyOf": [TIME, {"type": "null"}]}
SECONDS: Schema = {"type": "integer", "minimum": 0, "description": "Seconds after which to try again, as Retry-After"}
RUN_ID: Schema = {"type": "string", "description": "The run that has ended with this error"}
LOGIN: Schema = {"type": "boolean", "description": "With a login one can go on"}
PLAN_PAGE: Schema = {
    "type": "string",
    "format": "uri",
    "description": "A page on which PRPM+ is sold; not there if that would not help",
}
PLACE: Schema = {
    "type": "object",
    "properties": {
        "turn": {"type": "integer", "description": "From 1; 0 is the custom prompt"},
        "role": {"type": "string", "enum": ["user", "assistant", "prompt"]},
        "kind": {"type": "string", "description": "What it looks like"},
        "start": {"type": "integer", "description": "Character of the message, from 0"},
        "end": INTEGER,
    },
    "required": ["turn", "role", "kind", "start", "end"],
}

WHEN = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
RUN = "run_01KBD4Y2QG5N7R8T9V0W1X2Y3Z"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """`facts` are in every body with this code, `optional` in some. `example`: an error that has the code; None for
    what the gateway says, and for what is not told."""

    description: str
    example: PlaygroundError | None = None
    facts: Mapping[str, Schema] = field(default_factory=dict)
    optional: Mapping[str, Schema] = field(default_factory=dict)

    @property
    def known(self) -> Mapping[str, Schema]:
        return {**self.facts, **self.optional, **SOMETIMES}


SOMETIMES: Mapping[str, Schema] = {
    "variant": {"type": "integer", "description": "The variant of a comparison that this is about, from 0"},
}
"""Facts that any code may have."""

CODES: Mapping[str, ErrorCode] = {
    "validation_error": ErrorCode(
        "A field, a parameter or a header is missing, unknown or out of its bounds.",
        errors.InvalidRequestError("input", "must not be blank: it has no visible character"),
        {
            "field": {"type": "string", "description": "As the request spelt it"},
            "expected": {"type": "string", "description": "What would be right; for an unknown name the nearest one"},
        },
    ),
    "bad_request": ErrorCode("API Gateway could not read the request."),
    "invalid_delivery": ErrorCode("The event is not signed by Stripe, or too old.", errors.InvalidDeliveryError("")),
    "unauthorized": ErrorCode("The token is missing or not valid, for whatever reason.", errors.UnauthorizedError("")),
    "insufficient_credits": ErrorCode(
        "The caller cannot pay for this. Nothing is held.",
        errors.InsufficientCreditsError(required_credits=3, available_credits=2, debt=0, reset_at=WHEN),
        {
            "required_credits": INTEGER,
            "available_credits": INTEGER,
            "debt": {
                "type": "integer",
                "description": "Credits that the account owes: what is bought repays it first. 0 for most",
            },
            "reset_at": {**TIME_OR_NULL, "description": "When the plan's next credits come; null without a plan"},
            "purchase_url": {"type": "string", "format": "uri", "description": "A page on which credits are sold"},
        },
    ),
    "account_paused": ErrorCode("An operator has the account refuse new runs.", errors.AccountPausedError()),
    "not_entitled": ErrorCode(
        "This deployment or plan does not have it.",
        errors.AnonymousRunsOffError(),
        optional={"login_required": LOGIN, "purchase_url": PLAN_PAGE},
    ),
    "verified_author_required": ErrorCode(
        "This deployment or plan has no custom prompts: `not_entitled` for published clients.",
        errors.VerifiedAuthorRequiredError(),
        optional={"purchase_url": PLAN_PAGE},
    ),
    "own_share": ErrorCode("Owners cannot vote on or report their own share.", errors.OwnShareError()),
    "package_not_found": ErrorCode(
        "There is no such package, or not in this version.", errors.PackageNotFoundError("@acme/tidy", "2.0.0")
    ),
    "price_table_not_found": ErrorCode("There is no such price table.", errors.PriceTableNotFoundError("2020-01-01")),
    "run_not_found": ErrorCode("The caller has no such run.", errors.RunNotFoundError()),
    "session_not_found": ErrorCode("The caller has no such session.", errors.SessionNotFoundError()),
    "share_not_found": ErrorCode(
        "The link is wrong, withdrawn or expired, or its conversation is hidden or deleted.",
        errors.ShareNotFoundError(),
    ),
    "subscription_not_found": ErrorCode("The caller has no subscription.", errors.SubscriptionNotFoundError()),
    "run_in_progress": ErrorCode(
        "The run with this Idempotency-Key is in progress. Repeat the request later to read its outcome.",
        errors.RunInProgressError(run_id=RUN, retry_after=3, lease_at=WHEN),
        {
            "run_id": TEXT,
            "retry_after": SECONDS,
            "lease_at": {**TIME, "description": "When the run has ended at the latest"},
        },
    ),
    "run_cancelled": ErrorCode(
        "The run was cancelled before the model had written anything. Nothing was charged.",
        errors.RunCancelledError().ending(RUN, keyed=False),
        {"reason": TEXT},
        {"run_id": RUN_ID},
    ),
    "run_ended": ErrorCode(
        "The run has already ended in another way.",
        errors.RunEndedError("settled"),
        {"status": {"type": "string", "enum": ["settled", "released", "expired"]}},
    ),
    "session_conflict": ErrorCode(
        "The session does not fit the request, or has changed since it was read.",
        errors.SessionConflictError(),
        optional={"run_id": RUN_ID},
    ),
    "already_subscribed": ErrorCode("The caller has a subscription.", errors.AlreadySubscribedError()),
    "plan_granted": ErrorCode(
        "An operator has granted PRPM+ to the caller.",
        errors.PlanGrantedError(entitled_until=WHEN),
        {"entitled_until": {**TIME_OR_NULL, "description": "null: without an end"}},
    ),
    "purchase_unavailable": ErrorCode(
        "The payment of this purchase does not exist any more. Buy again with a new Idempotency-Key.",
        errors.PurchaseUnavailableError(purchase_id="pur_01KBD4Y2QG5N7R8T9V0W1X2Y3Z", state="open"),
        {"purchase_id": TEXT, "state": TEXT},
    ),
    "feedback_exists": ErrorCode("Feedback on this exchange was given before.", errors.FeedbackExistsError()),
    "share_blocked": ErrorCode(
        "The conversation may contain secrets, or an operator has removed it.",
        errors.ShareBlockedError(
            [{"turn": 1, "role": "user", "kind": "aws_access_key", "start": 12, "end": 32}], found=1
        ),
        {"findings": {"type": "array", "items": PLACE}, "found": INTEGER},
    ),
    "context_too_long": ErrorCode(
        "Package and input have more tokens than the model takes.",
        errors.ContextTooLongError(tokens=1_200_000, limit=1_000_000),
        {"tokens": INTEGER, "limit": INTEGER},
    ),
    "request_too_large": ErrorCode("API Gateway accepts no body of this size."),
    "idempotency_conflict": ErrorCode(
        "The Idempotency-Key was used with a different request.", errors.IdempotencyConflictError()
    ),
    "unsupported_parameter": ErrorCode(
        "The model does not take this setting.",
        errors.UnsupportedParameterError(parameter="temperature", model="opus"),
        {"parameter": TEXT, "model": TEXT},
    ),
    "rate_limited": ErrorCode(
        "Too many requests in a short time: of the caller, of a visitor without a login, or of all callers together, "
        "which API Gateway counts.",
        errors.RateLimitedError(what="runs", limit=5, retry_after=9),
        optional={
            "retry_after": SECONDS,
            "limit": {"type": "integer", "description": "Per minute, of the caller"},
            "login_required": LOGIN,
        },
    ),
    "too_many_runs": ErrorCode(
        "The caller has the most runs that can be open at a time.",
        errors.TooManyRunsError(limit=20, retry_after=5),
        {"limit": INTEGER, "retry_after": SECONDS},
    ),
    "too_many_failures": ErrorCode(
        "Too many of the caller's runs ended without an answer lately.",
        errors.TooManyFailuresError(retry_after=600),
        {"retry_after": SECONDS},
    ),
    "internal_error": ErrorCode("A fault of the service."),
    "unreadable_record": ErrorCode(
        "The stored record is damaged; an operator is notified. Nothing else is affected.", errors.UnreadableError("")
    ),
    "model_failed": ErrorCode(
        "The model gave no answer. Nothing was charged.",
        errors.ModelError("refused").ending(RUN, keyed=False),
        {"reason": {"type": "string", "description": "`refused`, `no_text` and others"}},
        {"run_id": RUN_ID},
    ),
    "model_overloaded": ErrorCode(
        "The model accepts no more requests now. Nothing was charged.",
        errors.ModelOverloadedError("overloaded", retry_after=2).ending(RUN, keyed=False),
        {"reason": TEXT, "retry_after": SECONDS},
        {"run_id": RUN_ID},
    ),
    "store_unavailable": ErrorCode(
        "The service is busy. A repeat with the same Idempotency-Key is safe.",
        errors.StoreUnavailableError(),
        {"retry_after": SECONDS},
        {"run_id": RUN_ID},
    ),
    "runs_paused": ErrorCode(
        "An operator has paused the runs of all accounts.", errors.RunsPausedError(), {"retry_after": SECONDS}
    ),
    "paused": ErrorCode(
        "Runs without a login, or for signup credits only, are paused for the rest of the day.",
        errors.FreeRunsPausedError(retry_after=3600),
        {"retry_after": SECONDS},
        {"login_required": LOGIN},
    ),
    "payments_unavailable": ErrorCode(
        "The payment provider cannot be reached. A repeat with the same Idempotency-Key is safe.",
        errors.PaymentsUnavailableError(),
        {"retry_after": SECONDS},
    ),
    "payments_rejected": ErrorCode(
        "Payments are not set up correctly; an operator is notified.",
        errors.PaymentsRejectedError(""),
        {"retry_after": SECONDS},
    ),
    "model_timed_out": ErrorCode(
        "The model did not finish in time. Nothing was charged.",
        errors.ModelTimedOutError().ending(RUN, keyed=False),
        {"reason": TEXT},
        {"run_id": RUN_ID},
    ),
    "gateway_timed_out": ErrorCode(
        "The answer took too long. Repeat the request with the same Idempotency-Key to read its outcome."
    ),
}

GATEWAY: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "This is not a request that the API understands. Please check its path, method and headers."),
    "request_too_large": (413, "The request body is too large."),
    "rate_limited": (429, "Too many requests. Please try again in a moment."),
    "internal_error": (500, "Something went wrong on our side. Please try again."),
    "gateway_timed_out": (
        504,
        "The answer took too long. Repeat the request with the same Idempotency-Key to read its outcome.",
    ),
}
"""What API Gateway says itself, on any route, as in template.yaml: status and message by code."""


def status_of(kind: type[PlaygroundError]) -> int:
    """The status that answers an error, as playground/http.py finds it."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), 500)


def schema_name(code: str) -> str:
    """`InsufficientCreditsError` of `insufficient_credits`."""
    return code.title().replace("_", "").removesuffix("Error") + "Error"


def schema_of(code: str) -> Schema:
    """The schema of the bodies with this code."""
    about = CODES[code]
    properties = {
        "error": {"type": "string", "const": code},
        "message": {"type": "string", "description": "For a person"},
        "request_id": {"anyOf": [TEXT, {"type": "null"}]},
        **about.known,
    }
    return {
        "type": "object",
        "title": schema_name(code),
        "description": about.description,
        "properties": properties,
        "required": ["error", "message", "request_id", *about.facts],
    }


def example_of(code: str) -> Mapping[str, Any]:
    """A body with this code."""
    example = CODES[code].example
    facts = {} if example is None else dict(example.facts)
    if "purchase_url" in CODES[code].facts:
        facts["purchase_url"] = "https://prpm.dev/playground/credits"
    message = GATEWAY[code][1] if example is None else example.message
    return {"error": code, "message": message, "request_id": "0a1b2c3d-0000-4000-8000-00000000beef", **facts}


def by_status(kinds: Iterable[type[PlaygroundError]]) -> Mapping[int, list[str]]:
    """The codes of each status, in order, of `kinds` and of what API Gateway says."""
    found: dict[int, set[str]] = {}
    for code, (status, _) in GATEWAY.items():
        found.setdefault(status, set()).add(code)
    for kind in kinds:
        found.setdefault(status_of(kind), set()).add(kind.code)
    return {status: sorted(codes) for status, codes in sorted(found.items())}
