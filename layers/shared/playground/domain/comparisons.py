"""A comparison: one input for two to four variants, which are run at the same time and held for in one step."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from playground.domain.pricing import PriceTable
from playground.domain.runs import RunRequest, run_id_of

MIN_VARIANTS = 2
MAX_VARIANTS = 4


def variants_of(requests: Sequence[RunRequest]) -> Sequence[RunRequest]:
    """The requests as variants of one comparison: the hash of each depends on all of them and on its place."""
    digest = hashlib.sha256("\n".join(request.hash for request in requests).encode()).hexdigest()[:32]
    return [replace(request, comparison=f"{digest}:{index}") for index, request in enumerate(requests)]


def repeated(requests: Sequence[RunRequest], prices: PriceTable) -> tuple[int, int] | None:
    """The places of two requests that would be the same run; None if all differ. A default that is spelled out makes no
    difference."""
    seen: list[RunRequest] = []
    for index, request in enumerate(requests):
        model = prices.model(request.model, custom_prompt=request.is_custom)
        plain = replace(
            request,
            max_tokens=request.max_tokens or prices.default_max_tokens_of(model),
            names_model=True,
            package_as_sent=None,
            comparison=None,
        )
        if plain in seen:
            return seen.index(plain), index
        seen.append(plain)
    return None


def comparison_id_of(user_id: str, idempotency_key: str) -> str:
    """The id of the comparison that a user's key names: always the same."""
    return "cmp_" + run_id_of(user_id, idempotency_key).partition("_")[2]
