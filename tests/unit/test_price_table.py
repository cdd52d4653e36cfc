"""The numbers of the table that ships, as they were agreed on, and the pages that repeat them.

Whoever changes a price changes this file, too. No other test has these numbers: tests/kit/prices.py.
"""

import pytest

from playground.adapters.prices import load_prices
from playground.domain.account import Plan
from playground.domain.pricing import NANO, CustomPromptTerms, FailureLimits, Usage
from playground.domain.rates import RateLimits
from tests.conftest import ROOT

PRICES = load_prices()
README = (ROOT / "README.md").read_text(encoding="utf-8")
CREDITS = (ROOT / "docs" / "credits.md").read_text(encoding="utf-8")
SONNET = PRICES.models["sonnet"]


def test_packs() -> None:
    assert [(pack.id, pack.credits, pack.price_cents, pack.popular) for pack in PRICES.packs] == [
        ("small", 100, 500, False),
        ("medium", 250, 1000, True),
        ("large", 600, 2000, False),
    ]
    assert PRICES.currency == "USD"


def test_plan() -> None:
    plan = PRICES.plan

    assert (plan.name, plan.price_cents, plan.credits, plan.interval) == ("PRPM+", 2000, 200, "month")


def test_models() -> None:
    assert [(model.name, model.model_id, model.factor) for model in PRICES.models.values()] == [
        ("haiku", "claude-haiku-5-5", 1),
        ("sonnet", "claude-sonnet-5-5", 1),
        ("opus", "claude-opus-5-5", 3),
    ]
    assert PRICES.default_model == "sonnet"
    assert [model.default_effort for model in PRICES.models.values()] == ["medium", "high", "medium"]
    assert not any(model.accepts_temperature for model in PRICES.models.values())
    assert {(model.context_tokens, model.max_output_tokens) for model in PRICES.models.values()} == {
        (1_000_000, 128_000)
    }
    assert (PRICES.default_max_tokens, PRICES.least_max_tokens) == (4_096, 512)


def test_price_list_of_the_provider() -> None:
    """In thousandths of a cent per million tokens: input, output, written to the cache, read from it."""
    millions = {
        model.name: [
            model.cost_nano(usage) * 100_000 // NANO
            for usage in (
                Usage(input_tokens=1_000_000),
                Usage(output_tokens=1_000_000),
                Usage(cache_write_tokens=1_000_000),
                Usage(cache_read_tokens=1_000_000),
            )
        ]
        for model in PRICES.models.values()
    }
    five_times = [5 * 10_000, 50_000, 5 * 12_500, 5 * 1_000]  # prompts of more than 100,000 tokens
    assert millions == {
        "haiku": five_times,
        "sonnet": [200_000, 1_000_000, 250_000, 10_000],
        "opus": [400_000, 2_000_000, 500_000, 20_000],
    }
    haiku = PRICES.models["haiku"]
    assert haiku.cost_nano(Usage(input_tokens=100_000)) == NANO // 100
    assert haiku.cost_nano(Usage(input_tokens=100_001)) == 5 * 100_001 * 100


def test_the_cheapest_credit_is_that_of_the_large_pack() -> None:
    assert 600 * PRICES.credit_value_nano == 20 * NANO
    assert PRICES.margin_percent == 20


@pytest.mark.parametrize(
    ("tokens", "base"),
    [(0, 1), (2_500, 1), (2_501, 2), (6_000, 2), (6_001, 3), (10_000, 3), (10_001, 4), (14_000, 4), (14_001, 5)],
)
def test_size_tiers(tokens: int, base: int) -> None:
    assert PRICES.tiers.credits(tokens) == base


@pytest.mark.parametrize(
    ("model", "usage", "expected"),
    [
        ("sonnet", {"input_tokens": 1_200, "output_tokens": 800}, 1),
        ("sonnet", {"input_tokens": 3_000, "output_tokens": 2_000}, 2),
        ("sonnet", {"input_tokens": 6_000, "output_tokens": 4_000}, 3),
        ("sonnet", {"input_tokens": 100, "output_tokens": 9_900}, 4),
        ("opus", {"input_tokens": 1_200, "output_tokens": 800}, 3),
        ("opus", {"input_tokens": 3_000, "output_tokens": 2_000}, 6),
        ("opus", {"input_tokens": 6_000, "output_tokens": 4_000}, 9),
        ("haiku", {"input_tokens": 1_200, "output_tokens": 800}, 1),
        ("haiku", {"input_tokens": 6_000, "output_tokens": 4_000}, 3),
    ],
)
def test_examples(model: str, usage: dict[str, int], expected: int) -> None:
    assert PRICES.price(PRICES.models[model], Usage(**usage)).credits == expected


def test_signup_credits_pay_for_the_default_model() -> None:
    """Five credits buy a first answer at full length for an ordinary prompt."""
    assert PRICES.affordable_max_tokens(SONNET, 3_000, 5, wanted=PRICES.default_max_tokens) == PRICES.default_max_tokens


def test_failure_limits_and_budgets() -> None:
    assert PRICES.failure_limits == FailureLimits(failed_runs_per_hour=20, unpaid_cents_per_day=50)
    assert PRICES.failure_limits_paying == FailureLimits(failed_runs_per_hour=60, unpaid_cents_per_day=500)
    assert PRICES.context_budget_tokens == {"free": 60_000, "plus": 200_000}
    assert PRICES.custom_prompt == CustomPromptTerms(factor=2, max_output_tokens=1024, plans=(Plan.PLUS,))
    assert PRICES.rate_limits == RateLimits(runs_free=5, runs_paying=20, runs_organisation=100, purchases=3)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_readme_has_the_prices() -> None:
    for (up_to, credits_), factor in ((step, PRICES.models["opus"].factor) for step in PRICES.tiers.steps):
        assert f"| up to {up_to:,} | {credits_} | {credits_ * factor} |" in README
    assert f"| each further {PRICES.tiers.further_tokens:,} begun | + 1 | + {PRICES.models['opus'].factor} |" in README
    words = " ".join(README.split())
    for pack in PRICES.packs:
        assert f"{pack.credits} " in words
        assert f"for ${pack.price_cents // 100}" in words
    assert f"{PRICES.plan.name} gives {PRICES.plan.credits} a month" in words
    assert f"default of {PRICES.default_max_tokens:,} tokens" in words
    assert f"below {PRICES.least_max_tokens}," in words
    assert f"a {PRICES.margin_percent} % margin" in words


def test_the_page_of_rules_has_limits_and_budgets() -> None:
    words = " ".join(CREDITS.split())
    free, paying = PRICES.failure_limits, PRICES.failure_limits_paying
    assert f"{free.failed_runs_per_hour} such runs an hour and ${free.unpaid_cents_per_day / 100:.2f} of" in words
    assert f"{paying.failed_runs_per_hour} and ${paying.unpaid_cents_per_day // 100} once" in words
    assert f"gives the {PRICES.plan.credits} of its period once" in words
    limits = PRICES.rate_limits
    assert limits is not None
    assert f"may begin {limits.runs_free} runs a minute, {limits.runs_paying} once it has paid" in words
    assert f"and {limits.runs_organisation} as a verified organisation" in words
    assert f"may begin {limits.purchases} purchases a minute" in words
    assert (
        f"{limits.runs_free} on the free plan, {limits.runs_paying} once a user has paid, "
        f"{limits.runs_organisation} for a verified organisation; {limits.purchases} purchases"
    ) in " ".join(README.split())
    for tokens in PRICES.context_budget_tokens.values():
        assert f"{tokens:,}" in words
