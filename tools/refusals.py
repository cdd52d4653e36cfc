"""Why the API may refuse a request that its description allows.

No schema can say that a cursor must be of an earlier answer, or that a package has such a variable. Each such reason is
a rule, with the operations that may give it. Any other 400 or 422 is a finding: either the API refuses too much, or the
description says too little. `tools/openapi_clients/refusals_check.py` has schemathesis look for them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REFUSED = (400, 422)
LISTS = (
    *("getSession", "getShared", "getUsage", "listPackages", "listPurchases", "listRuns", "listSessions"),
    *("listTransactions", "searchPackages"),
)
RUNS = ("runPackage", "streamRun", "estimateRun")
COMPARISONS = ("comparePackages", "streamComparison")
KEYED = (*COMPARISONS, "runPackage", "streamRun", "runCustomPrompt", "purchaseCredits", "forkShared")
TEXTS = (
    *RUNS,
    *COMPARISONS,
    "runCustomPrompt",
    "runAnonymously",
    "reportShared",
    "rateRun",
    "rateExchange",
    "voteOnShared",
)


@dataclass(frozen=True)
class Rule:
    """A refusal that no schema can say. `message`: a pattern for the whole of it."""

    why: str
    operations: tuple[str, ...]
    code: str
    message: str

    def allows(self, operation: str, body: Mapping[str, Any]) -> bool:
        message = re.fullmatch(self.message, str(body.get("message")), re.DOTALL)
        return operation in self.operations and body.get("error") == self.code and message is not None


INVALID = "validation_error"
RULES: tuple[Rule, ...] = (
    Rule(
        "a cursor is made by the list before it",
        LISTS,
        INVALID,
        r"cursor: must be a next_cursor of an earlier answer",
    ),
    Rule(
        "published clients ask for a first page by offset=0, and never beside a cursor",
        ("listSessions", "listTransactions", "searchPackages"),
        INVALID,
        r"offset: must be 0, which is the first page; use `cursor` for those after it; got 0",
    ),
    Rule(
        "one of two fields, either of which may be null",
        (*RUNS, *COMPARISONS, "runCustomPrompt"),
        INVALID,
        r"(variants\.[0-3]\.)?(package_id: must be given, or custom_prompt in its place"
        r"|custom_prompt: must not be beside package_id: a run has one of the two"
        r"|custom_prompt: must be given, unless session_id names a session that has one"
        r"|(package_version|use_no_prompt|variables): must not be given without package_id: only packages have it)",
    ),
    Rule(
        "the session has no custom prompt",
        (*RUNS, "runCustomPrompt"),
        INVALID,
        r"custom_prompt: must be given: this session has none of its own yet",
    ),
    Rule(
        "the session has no custom prompt to show",
        ("shareSession",),
        INVALID,
        r"include_prompt: must be false: this session has no custom prompt",
    ),
    Rule(
        "the limit of answers to custom prompts is in the price table",
        (*RUNS, *COMPARISONS, "runCustomPrompt"),
        INVALID,
        r"(variants\.[0-3]\.)?max_tokens: must be at most [0-9,]+ with a custom prompt; got [0-9]+",
    ),
    Rule(
        "variables are those of the package, and have a limit together",
        (*RUNS, *COMPARISONS),
        INVALID,
        r"`(variants\.[0-3]\.)?variables\.\w+` is not a variable of this package; .*"
        r"|(variants\.[0-3]\.)?variables: (this package has no variables|missing|must have at most 10,000) .*",
    ),
    Rule("variants differ", COMPARISONS, INVALID, r"variants\.[0-3]: must differ from variants\.[0-3]"),
    Rule(
        "visible characters are those of Unicode",
        TEXTS,
        INVALID,
        r"(variants\.[0-3]\.)?\w+: must not be blank: it has no visible character; got .*",
    ),
    Rule(
        "a text has no NUL and no half of a surrogate pair",
        TEXTS,
        INVALID,
        r"(variants\.[0-3]\.)?[\w.]+: must (not contain (NUL characters|half of a surrogate pair)"
        r"|be a text without half of a surrogate pair)(; got .*)?",
    ),
    Rule("an opinion has at least one of two fields", ("rateRun",), INVALID, r"body: needs a rating or is_helpful; .*"),
    Rule("the day has to exist", ("listRuns",), INVALID, r'day: must be a day such as 2027-01-31; got "[0-9-]{10}"'),
    Rule(
        "pages are those of the front end",
        ("subscribe", "openPortal"),
        INVALID,
        r"(success_url|cancel_url|return_url): must begin with https?://[a-z0-9.:-]+/ "
        r"and be percent-encoded ASCII; got .*",
    ),
    Rule(
        "which settings a model takes is in the price table",
        (*RUNS, *COMPARISONS),
        "unsupported_parameter",
        r"(haiku|sonnet|opus) does not support (temperature|effort \w+|max_tokens over [0-9]+); leave it out\.",
    ),
    Rule(
        "a key names one request",
        KEYED,
        "idempotency_conflict",
        r"This Idempotency-Key was used with a different request\. Use a new key\.",
    ),
    Rule(
        "an answer ends somewhere",
        ("followRun", "streamRun"),
        INVALID,
        r"last-event-id: must be at most [0-9]+, where the answer ends; got [0-9]+",
    ),
    Rule(
        "events are signed by Stripe",
        ("receiveStripeEvent",),
        "invalid_delivery",
        r"The event's signature could not be verified\.",
    ),
)


def explained(operation: str, body: Mapping[str, Any]) -> bool:
    """Whether a rule allows this refusal of a request that the description allows."""
    return any(rule.allows(operation, body) for rule in RULES)
