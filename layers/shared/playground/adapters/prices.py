"""The price tables that the layer carries.

`data/prices.json` is the current one. `data/prices/<version>.json` is every table that was ever published, the current
one too; `make check` refuses a change of them. Only the current one is loaded at start.
"""

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from playground.domain.account import Plan
from playground.domain.pricing import (
    VERSION,
    CustomPromptTerms,
    FailureLimits,
    ModelPrice,
    Pack,
    PlanPrice,
    PriceTable,
    PriceTableError,
    Tiers,
)
from playground.domain.rates import RateLimits

PATH = Path(__file__).parent.parent / "data" / "prices.json"
PUBLISHED = PATH.with_suffix("")


class _Strict(BaseModel):
    """Whole numbers are integers, flags are booleans, and there is no field more or less."""

    model_config = ConfigDict(strict=True, extra="forbid")


class PublishedTiers(_Strict):
    steps: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    further_tokens: int


class PublishedModel(_Strict):
    name: str
    model_id: str
    factor: int
    input_nano: int
    output_nano: int
    cache_write_nano: int
    cache_read_nano: int
    context_tokens: int
    max_output_tokens: int
    efforts: list[str]
    default_effort: str
    accepts_temperature: bool
    long_prompt_tokens: int | None = None
    long_prompt_factor: int = 1


class PublishedPack(_Strict):
    id: str
    name: str
    credits: int
    price_cents: int
    description: str
    popular: bool = False


class PublishedPlan(_Strict):
    name: str
    price_cents: int
    credits: int
    interval: str


class PublishedFailureLimits(_Strict):
    failed_runs_per_hour: int
    unpaid_cents_per_day: int


class PublishedFailureLimitsByPayment(_Strict):
    free: PublishedFailureLimits
    paying: PublishedFailureLimits


class PublishedRunsPerMinute(_Strict):
    free: int
    paying: int
    organisation: int


class PublishedRateLimits(_Strict):
    runs_per_minute: PublishedRunsPerMinute
    purchases_per_minute: int


class PublishedCustomPrompt(_Strict):
    factor: int
    max_output_tokens: int
    plans: list[str]


class PublishedPrices(_Strict):
    version: str
    currency: str
    margin_percent: int
    tiers: PublishedTiers
    default_model: str
    default_max_tokens: int
    least_max_tokens: int
    typical_output_tokens: int
    failure_limits: PublishedFailureLimitsByPayment
    rate_limits: PublishedRateLimits | None = None
    context_budget_tokens: dict[str, int]
    custom_prompt: PublishedCustomPrompt | None = None
    models: list[PublishedModel]
    packs: list[PublishedPack]
    plan: PublishedPlan


@cache
def load_prices(path: Path = PATH) -> PriceTable:
    """The table at `path`, by which runs are charged. Raises PriceTableError if it is incomplete or could mint credits
    or sell them under cost."""
    table = parse_prices(json.loads(path.read_text(encoding="utf-8")))
    if table.rate_limits is None:
        raise PriceTableError("price table: rate_limits: Field required")
    if table.custom_prompt is None:
        raise PriceTableError("price table: custom_prompt: Field required")
    return table


def read_published(version: str) -> str | None:
    """The file of a published table, as it was published; None if there is none of this version.

    A current table that is not published yet is found, too, so that its receipts can be checked while it is made.
    """
    if not VERSION.fullmatch(version):
        return None
    try:
        return (PUBLISHED / f"{version}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return PATH.read_text(encoding="utf-8") if version == load_prices().version else None


@lru_cache(maxsize=64)
def published_prices(version: str) -> PriceTable | None:
    """The published table of this version; None if there is none. Raises PriceTableError if its file is damaged."""
    text = read_published(version)
    return parse_prices(json.loads(text)) if text is not None else None


def parse_prices(data: Any) -> PriceTable:
    """The table that `data` describes. Raises PriceTableError."""
    try:
        file = PublishedPrices.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        fraction = isinstance(problem["input"], float)
        what = f"whole numbers only, not {problem['input']}" if fraction else problem["msg"]
        raise PriceTableError(f"price table: {where}: {what}") from error
    names = [model.name for model in file.models]
    if len(set(names)) != len(names):
        raise PriceTableError(f"price table: models: names must differ, not {', '.join(names)}")
    models = [ModelPrice(**{**model.model_dump(), "efforts": tuple(model.efforts)}) for model in file.models]
    return PriceTable(
        version=file.version,
        currency=file.currency,
        margin_percent=file.margin_percent,
        tiers=Tiers(
            steps=tuple((up_to, credits_) for up_to, credits_ in file.tiers.steps),
            further_tokens=file.tiers.further_tokens,
        ),
        models={model.name: model for model in models},
        default_model=file.default_model,
        packs=tuple(Pack(**pack.model_dump()) for pack in file.packs),
        plan=PlanPrice(**file.plan.model_dump()),
        default_max_tokens=file.default_max_tokens,
        least_max_tokens=file.least_max_tokens,
        typical_output_tokens=file.typical_output_tokens,
        failure_limits=FailureLimits(**file.failure_limits.free.model_dump()),
        failure_limits_paying=FailureLimits(**file.failure_limits.paying.model_dump()),
        rate_limits=_rate_limits(file.rate_limits),
        context_budget_tokens=file.context_budget_tokens,
        custom_prompt=_custom_prompt(file.custom_prompt),
    )


def _custom_prompt(file: PublishedCustomPrompt | None) -> CustomPromptTerms | None:
    if file is None:
        return None
    plans = {plan.value: plan for plan in Plan}
    if unknown := [name for name in file.plans if name not in plans]:
        raise PriceTableError(f"price table: custom_prompt.plans: must be of {', '.join(plans)}, not {unknown[0]}")
    return CustomPromptTerms(
        factor=file.factor,
        max_output_tokens=file.max_output_tokens,
        plans=tuple(plans[name] for name in file.plans),
    )


def _rate_limits(file: PublishedRateLimits | None) -> RateLimits | None:
    if file is None:
        return None
    runs = file.runs_per_minute
    return RateLimits(
        runs_free=runs.free,
        runs_paying=runs.paying,
        runs_organisation=runs.organisation,
        purchases=file.purchases_per_minute,
    )
