"""What a run costs, and what can be bought. One table, read by the API, the documentation and the tests.

Money is integer nano-dollars ($1 = 10⁹), so that a provider price per million tokens is a whole number per token:
$0.01 per million tokens is 10 nano-dollars a token. Nothing here is a float.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import TypeGuard

from playground.domain.account import Account, Plan
from playground.domain.allowance import Allowance
from playground.domain.rates import MAX_PER_MINUTE, RateLimit, RateLimits

NANO = 1_000_000_000
NANO_PER_CENT = NANO // 100
VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[0-9]{1,3})?")
"""Of a price table: its day, and a number for another one of the same day. It is also the name of a file."""


class PriceTableError(ValueError):
    """The table could mint credits or sell them under cost; it is refused at load."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise PriceTableError(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, in the provider's four classes, which do not overlap. Raises ValueError unless each is an
    integer from 0."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0

    def __post_init__(self) -> None:
        for tokens in (self.input_tokens, self.output_tokens, self.cache_write_tokens, self.cache_read_tokens):
            if not is_count(tokens):
                raise ValueError("tokens must be whole numbers from 0")

    @property
    def prompt_tokens(self) -> int:
        """Everything that was sent, cached or not."""
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens

    @property
    def billed_tokens(self) -> int:
        """What the size tiers count: input of every class, and output."""
        return self.prompt_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The provider's probable bill for a call without an answer. `estimated`: its usage is unknown, or known in part;
    the rest is an upper bound."""

    usage: Usage
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """One model: what we charge for it (`factor`), what it costs us (nano-dollars a token), what it takes."""

    name: str
    model_id: str
    factor: int
    input_nano: int
    output_nano: int
    cache_write_nano: int
    cache_read_nano: int
    context_tokens: int
    max_output_tokens: int
    efforts: tuple[str, ...]
    default_effort: str
    accepts_temperature: bool
    long_prompt_tokens: int | None = None
    """Prompts over so many tokens cost `long_prompt_factor` times as much, all of them."""
    long_prompt_factor: int = 1

    def __post_init__(self) -> None:
        _require(self.factor >= 1, f"{self.name}: factor must be at least 1, not {self.factor}")
        prices = (self.input_nano, self.output_nano, self.cache_write_nano, self.cache_read_nano)
        _require(min(prices) > 0, f"{self.name}: a provider price must be positive, not {prices}")
        _require(self.long_prompt_factor >= 1, f"{self.name}: long_prompt_factor must be at least 1")
        _require(
            self.long_prompt_factor == 1 or self.long_prompt_tokens is not None,
            f"{self.name}: long_prompt_factor needs long_prompt_tokens",
        )
        _require(self.long_prompt_tokens is None or self.long_prompt_tokens > 0, f"{self.name}: long_prompt_tokens")
        _require(
            0 < self.max_output_tokens < self.context_tokens, f"{self.name}: max_output_tokens must fit the context"
        )
        _require(self.default_effort in self.efforts, f"{self.name}: default_effort must be one of its efforts")

    def cost_nano(self, usage: Usage) -> int:
        """What the provider bills for `usage`, in nano-dollars."""
        cost = (
            usage.input_tokens * self.input_nano
            + usage.output_tokens * self.output_nano
            + usage.cache_write_tokens * self.cache_write_nano
            + usage.cache_read_tokens * self.cache_read_nano
        )
        long = self.long_prompt_tokens is not None and usage.prompt_tokens > self.long_prompt_tokens
        return cost * self.long_prompt_factor if long else cost

    def most_expensive(self, prompt_tokens: int, output_tokens: int) -> Usage:
        """The usage with the highest cost for `prompt_tokens`, whatever token classes the provider counts them in."""
        classes = (
            Usage(input_tokens=prompt_tokens, output_tokens=output_tokens),
            Usage(cache_write_tokens=prompt_tokens, output_tokens=output_tokens),
            Usage(cache_read_tokens=prompt_tokens, output_tokens=output_tokens),
        )
        return max(classes, key=self.cost_nano)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    id: str
    name: str
    credits: int
    price_cents: int
    description: str
    popular: bool = False

    def __post_init__(self) -> None:
        _require(self.credits > 0, f"pack {self.id}: credits must be positive, not {self.credits}")
        _require(self.price_cents > 0, f"pack {self.id}: price must be positive, not {self.price_cents} cents")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPrice:
    name: str
    price_cents: int
    credits: int
    interval: str

    def __post_init__(self) -> None:
        _require(self.credits > 0, f"plan {self.name}: credits must be positive, not {self.credits}")
        _require(self.price_cents > 0, f"plan {self.name}: price must be positive, not {self.price_cents} cents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Base credits by billed tokens: the first `steps` (up to so many tokens → credits), then one more credit per
    begun `further_tokens`."""

    steps: tuple[tuple[int, int], ...]
    further_tokens: int

    def __post_init__(self) -> None:
        _require(bool(self.steps), "tiers: at least one step is needed")
        _require(self.steps[0][0] > 0 and self.steps[0][1] > 0, "tiers: the first step must be positive")
        for (tokens, credits_), (more_tokens, more_credits) in pairwise(self.steps):
            _require(more_tokens > tokens and more_credits > credits_, "tiers: steps must rise")
        _require(self.further_tokens > 0, f"tiers: further_tokens must be positive, not {self.further_tokens}")

    def credits(self, tokens: int) -> int:
        for up_to, credits_ in self.steps:
            if tokens <= up_to:
                return credits_
        last_tokens, last_credits = self.steps[-1]
        return last_credits + ceil_div(tokens - last_tokens, self.further_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A charge and everything needed to recompute it."""

    credits: int
    tier: int
    factor: int
    floor: int
    cost_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimits:
    """How much an account may fail at our expense: see `domain.allowance`."""

    failed_runs_per_hour: int
    unpaid_cents_per_day: int

    def __post_init__(self) -> None:
        _require(
            0 < self.failed_runs_per_hour <= 3600,
            f"failed_runs_per_hour must be 1..3600, not {self.failed_runs_per_hour}",
        )
        _require(
            0 < self.unpaid_cents_per_day <= 1_000_000,
            f"unpaid_cents_per_day must be 1..1000000, not {self.unpaid_cents_per_day}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomPromptTerms:
    """How a run with a custom prompt differs: its credits by tier are `factor` times those of the model, and its answer
    has at most `max_output_tokens`. `plans` are entitled to it."""

    factor: int
    max_output_tokens: int
    plans: tuple[Plan, ...]

    def __post_init__(self) -> None:
        _require(self.factor >= 1, f"custom_prompt: factor must be at least 1, not {self.factor}")
        _require(self.max_output_tokens > 0, "custom_prompt: max_output_tokens must be positive")
        _require(len(set(self.plans)) == len(self.plans), "custom_prompt: plans must differ")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    version: str
    currency: str
    margin_percent: int
    tiers: Tiers
    models: Mapping[str, ModelPrice]
    default_model: str
    packs: tuple[Pack, ...]
    plan: PlanPrice
    default_max_tokens: int
    least_max_tokens: int
    """`max_tokens` is never reduced below this."""
    typical_output_tokens: int
    """The length of an answer that an estimate assumes, if `max_tokens` allows as much."""
    failure_limits: FailureLimits
    failure_limits_paying: FailureLimits
    """For users who have ever paid or have a plan."""
    rate_limits: RateLimits | None
    """None in tables that were published before there were any: such a table checks receipts and runs nothing."""
    context_budget_tokens: Mapping[str, int]
    """By plan: the most prompt tokens of a run. The oldest turns of a conversation are left out to stay within it."""
    custom_prompt: CustomPromptTerms | None = None
    """None in tables that were published before there were any: such a table prices no run with a custom prompt."""
    _net_credit_nano: Fraction = field(init=False, repr=False, compare=False)
    """The part of a credit's value that may go to the provider."""

    def __post_init__(self) -> None:
        _require(
            VERSION.fullmatch(self.version) is not None,
            f"version must be a day like 2026-11-01, or 2026-11-01.2, not {self.version}",
        )
        _require(0 <= self.margin_percent < 100, f"margin_percent must be 0..99, not {self.margin_percent}")
        _require(self.default_model in self.models, f"default_model {self.default_model} is not in the table")
        _require(bool(self.packs), "at least one pack is needed")
        _require(len({pack.id for pack in self.packs}) == len(self.packs), "pack ids must differ")
        _require(all(name == model.name for name, model in self.models.items()), "a model is listed under another name")
        _require(
            0 < self.least_max_tokens <= self.default_max_tokens, "least_max_tokens must not exceed default_max_tokens"
        )
        for model in self.models.values():
            _require(self.default_max_tokens <= model.max_output_tokens, f"{model.name} cannot give default_max_tokens")
        _require(self.typical_output_tokens > 0, "typical_output_tokens must be positive")
        plans = {plan.value for plan in Plan}
        _require(
            set(self.context_budget_tokens) == plans,
            f"context_budget_tokens: one for each of {', '.join(sorted(plans))} is needed, and no others",
        )
        _require(
            self.failure_limits_paying.failed_runs_per_hour >= self.failure_limits.failed_runs_per_hour
            and self.failure_limits_paying.unpaid_cents_per_day >= self.failure_limits.unpaid_cents_per_day,
            "failure_limits: paying must not be less than free",
        )
        if self.rate_limits is not None:
            limits = self.rate_limits
            _require(
                1 <= limits.runs_free <= limits.runs_paying <= limits.runs_organisation <= MAX_PER_MINUTE,
                f"rate_limits: runs must be 1..{MAX_PER_MINUTE}, and not fall from free to paying to organisation",
            )
            _require(1 <= limits.purchases <= MAX_PER_MINUTE, f"rate_limits: purchases must be 1..{MAX_PER_MINUTE}")
        if self.custom_prompt is not None:
            most = self.custom_prompt.max_output_tokens
            _require(
                self.least_max_tokens <= most <= min(model.max_output_tokens for model in self.models.values()),
                f"custom_prompt: max_output_tokens must be at least least_max_tokens and fit every model, not {most}",
            )
        context = min(model.context_tokens for model in self.models.values())
        for plan, tokens in self.context_budget_tokens.items():
            _require(
                self.default_max_tokens <= tokens <= context,
                f"context_budget_tokens: {plan} must be {self.default_max_tokens} to {context}, not {tokens}",
            )
        # Worked out once: a run prices some twenty usages until it knows what its caller can pay for.
        object.__setattr__(self, "_net_credit_nano", self.credit_value_nano * (100 - self.margin_percent) / 100)

    @property
    def credit_value_nano(self) -> Fraction:
        """What the cheapest credit on sale brings in, in nano-dollars."""
        sold = [(pack.price_cents, pack.credits) for pack in self.packs]
        sold.append((self.plan.price_cents, self.plan.credits))
        return min(Fraction(cents * NANO_PER_CENT, credits_) for cents, credits_ in sold)

    def allowance(self, account: Account) -> Allowance:
        """How much `account` may fail at our expense. What a hold can cost us follows from the floor of prices."""
        limits = self.failure_limits_paying if account.is_paying else self.failure_limits
        net = self._net_credit_nano
        return Allowance(
            failed_runs_per_hour=limits.failed_runs_per_hour,
            unpaid_nano_per_day=limits.unpaid_cents_per_day * NANO_PER_CENT,
            nano_per_credit=ceil_div(net.numerator, net.denominator),
        )

    def run_limit(self, account: Account) -> RateLimit:
        """How many runs `account` may begin per minute. Raises PriceTableError for a table without rate limits."""
        limits = self._rate_limits
        if account.is_organisation:
            return RateLimit(name="runs", per_minute=limits.runs_organisation)
        return RateLimit(name="runs", per_minute=limits.runs_paying if account.is_paying else limits.runs_free)

    @property
    def purchase_limit(self) -> RateLimit:
        """How many purchases an account may begin per minute. Raises PriceTableError as `run_limit` does."""
        return RateLimit(name="purchases", per_minute=self._rate_limits.purchases)

    @property
    def _rate_limits(self) -> RateLimits:
        if self.rate_limits is None:
            raise PriceTableError(f"the table {self.version} has no rate_limits")
        return self.rate_limits

    def with_rate_limits_times(self, factor: int) -> "PriceTable":
        """This table with rate limits that are `factor` times as high."""
        return replace(self, rate_limits=self._rate_limits.times(factor))

    def model(self, name: str, *, custom_prompt: bool = False) -> ModelPrice:
        """The model of this name; with a custom prompt, on the terms of those. Raises KeyError for an unknown model,
        PriceTableError for a custom prompt if the table has no terms for it."""
        model = self.models[name]
        if not custom_prompt:
            return model
        if self.custom_prompt is None:
            raise PriceTableError(f"the table {self.version} has no custom_prompt")
        return replace(
            model,
            factor=model.factor * self.custom_prompt.factor,
            max_output_tokens=self.custom_prompt.max_output_tokens,
        )

    def default_max_tokens_of(self, model: ModelPrice) -> int:
        """What a request without `max_tokens` gets."""
        return min(self.default_max_tokens, model.max_output_tokens)

    def price(self, model: ModelPrice, usage: Usage) -> Price:
        """Credits for `usage`: max(tier × factor, floor), at least 1.

        floor = ceil(provider cost ÷ ((1 − margin) × value of the cheapest credit)): what keeps the margin even when
        every credit was bought at the lowest price. Never falls when any class of tokens grows.
        """
        cost = model.cost_nano(usage)
        net = self._net_credit_nano
        floor = ceil_div(cost * net.denominator, net.numerator)
        tier = self.tiers.credits(usage.billed_tokens)
        return Price(
            credits=max(tier * model.factor, floor), tier=tier, factor=model.factor, floor=floor, cost_nano=cost
        )

    def ceiling(self, model: ModelPrice, prompt_tokens: int, max_tokens: int) -> int:
        """The most that a call with so many prompt tokens and this `max_tokens` can cost, in credits."""
        return self.price(model, model.most_expensive(prompt_tokens, max_tokens)).credits

    def affordable_prompt_tokens(self, model: ModelPrice, max_tokens: int, credits_: int) -> int:
        """The most prompt tokens whose ceiling with this `max_tokens` is at most `credits_`; 0 if not even one is."""
        low, high = 0, model.context_tokens  # the ceiling never falls with prompt tokens either
        while low < high:
            middle = (low + high + 1) // 2
            if self.ceiling(model, middle, max_tokens) <= credits_:
                low = middle
            else:
                high = middle - 1
        return low

    def affordable_max_tokens(self, model: ModelPrice, prompt_tokens: int, credits_: int, *, wanted: int) -> int:
        """The largest `max_tokens` ≤ `wanted` whose ceiling is at most `credits_`; 0 if not even one token is."""
        low, high = 0, wanted  # the ceiling never falls with max_tokens, so the largest can be searched for by halves
        while low < high:
            middle = (low + high + 1) // 2
            if self.ceiling(model, prompt_tokens, middle) <= credits_:
                low = middle
            else:
                high = middle - 1
        return low


PriceTables = Callable[[str], PriceTable | None]
"""The table that was published as this version; None if there is none. A version always names the same numbers."""


def is_count(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer from 0. Booleans and floats are not."""
    return type(value) is int and value >= 0


def guess_tokens(text: str) -> int:
    """An upper estimate of the tokens of a message: one per 3 bytes of UTF-8, and some for the message itself."""
    return len(text.encode()) // 3 + 12


def ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
