"""The price table that the layer carries: `data/prices.json`."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from playground.domain.pricing import FailureLimits, ModelPrice, Pack, PlanPrice, PriceTable, PriceTableError, Tiers

PATH = Path(__file__).parent.parent / "data" / "prices.json"


class _Strict(BaseModel):
    """Whole numbers are integers, flags are booleans, and there is no field more or less."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _Tiers(_Strict):
    steps: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    further_tokens: int


class _Model(_Strict):
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


class _Pack(_Strict):
    id: str
    name: str
    credits: int
    price_cents: int
    description: str
    popular: bool = False


class _Plan(_Strict):
    name: str
    price_cents: int
    credits: int
    interval: str


class _FailureLimits(_Strict):
    failed_runs_per_hour: int
    unpaid_cents_per_day: int


class _FailureLimitsByPayment(_Strict):
    free: _FailureLimits
    paying: _FailureLimits


class _File(_Strict):
    version: str
    currency: str
    margin_percent: int
    tiers: _Tiers
    default_model: str
    default_max_tokens: int
    least_max_tokens: int
    typical_output_tokens: int
    failure_limits: _FailureLimitsByPayment
    context_budget_tokens: dict[str, int]
    models: list[_Model]
    packs: list[_Pack]
    plan: _Plan


@cache
def load_prices(path: Path = PATH) -> PriceTable:
    """The table at `path`. Raises PriceTableError if it is incomplete or could mint credits or sell them under cost."""
    return parse_prices(json.loads(path.read_text(encoding="utf-8")))


def parse_prices(data: Any) -> PriceTable:
    """The table that `data` describes. Raises PriceTableError."""
    try:
        file = _File.model_validate(data)
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
        context_budget_tokens=file.context_budget_tokens,
    )
