"""The price table as it ships: its numbers, its rules, and what is refused at load."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playground.adapters.prices import PATH, load_prices, parse_prices
from playground.domain.pricing import ModelPrice, PriceTable, PriceTableError, Tiers, Usage, ceil_div

DATA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
PRICES = load_prices()
HAIKU, SONNET, OPUS = (PRICES.models[name] for name in ("haiku", "sonnet", "opus"))
CHEAPEST = Fraction(2000, 600) / 100  # dollars: large packs, $20 for 600

MODELS = st.sampled_from(sorted(PRICES.models.values(), key=lambda model: model.name))
# Small numbers find the borders of the tiers, large ones those of the context and of haiku's long prompts.
TOKENS = st.one_of(st.integers(0, 20_000), st.integers(0, 1_000_000), st.integers(99_900, 100_100))
CLASSES = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
USAGES = st.builds(
    Usage, input_tokens=TOKENS, output_tokens=TOKENS, cache_write_tokens=TOKENS, cache_read_tokens=TOKENS
)


def credits_for(model: ModelPrice, **tokens: int) -> int:
    return PRICES.price(model, Usage(**tokens)).credits


def dollars(model: ModelPrice, usage: Usage) -> Fraction:
    """The provider's bill, from its price list in dollars per million tokens."""
    listed = {
        "haiku": ("0.10", "0.50", "0.125", "0.01"),
        "sonnet": ("2", "10", "2.50", "0.10"),
        "opus": ("4", "20", "5", "0.20"),
    }[model.name]
    bill = sum(
        (Fraction(price) * tokens / 1_000_000 for price, tokens in zip(listed, classes_of(usage), strict=True)),
        Fraction(0),
    )
    long = model.name == "haiku" and usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens > 100_000
    return 5 * bill if long else bill


def classes_of(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens


# --- the numbers ------------------------------------------------------------------------------------------------------


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
    assert PRICES.least_max_tokens == 512


@given(MODELS, USAGES)
def test_the_provider_is_paid_what_its_price_list_says(model: ModelPrice, usage: Usage) -> None:
    assert Fraction(model.cost_nano(usage), 10**9) == dollars(model, usage)


def test_the_cheapest_credit_is_that_of_the_large_pack() -> None:
    assert PRICES.credit_value_nano == CHEAPEST * 10**9
    assert PRICES.margin_percent == 20


@pytest.mark.parametrize(
    ("tokens", "base"),
    [
        (0, 1),
        (1, 1),
        (2_500, 1),
        (2_501, 2),
        (6_000, 2),
        (6_001, 3),
        (10_000, 3),
        (10_001, 4),
        (14_000, 4),
        (14_001, 5),
        (18_000, 5),
        (1_000_000, 3 + 248),  # 990,000 more, by 4,000, and one begun
    ],
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
    assert credits_for(PRICES.models[model], **usage) == expected


def test_a_charge_can_be_recomputed_from_its_parts() -> None:
    price = PRICES.price(SONNET, Usage(input_tokens=100, output_tokens=9_900))

    # 100 × $2 + 9,900 × $10 per million = $0.0992, over 0.8 × $20/600.
    assert (price.tier, price.factor, price.cost_nano, price.floor) == (3, 1, 99_200_000, 4)
    assert price.credits == max(price.tier * price.factor, price.floor)


def test_an_answer_is_never_free() -> None:
    for model in PRICES.models.values():
        assert credits_for(model) == model.factor


def test_tokens_of_every_class_are_billed() -> None:
    for name in CLASSES:
        assert (credits_for(HAIKU, **{name: 2_500}), credits_for(HAIKU, **{name: 2_501})) == (1, 2)


def test_a_long_prompt_on_haiku_costs_five_times_as_much_all_of_it() -> None:
    at_the_limit = Usage(input_tokens=60_000, cache_write_tokens=30_000, cache_read_tokens=10_000, output_tokens=1_000)
    over = replace(at_the_limit, cache_read_tokens=10_001)

    assert HAIKU.cost_nano(at_the_limit) == 60_000 * 100 + 30_000 * 125 + 10_000 * 10 + 1_000 * 500
    assert HAIKU.cost_nano(over) == 5 * (60_000 * 100 + 30_000 * 125 + 10_001 * 10 + 1_000 * 500)


def test_a_long_answer_is_no_long_prompt() -> None:
    assert HAIKU.cost_nano(Usage(input_tokens=100_000, output_tokens=100_000)) == 100_000 * 100 + 100_000 * 500


def test_other_models_know_no_long_prompts() -> None:
    for model in (SONNET, OPUS):
        one, many = model.cost_nano(Usage(input_tokens=1)), model.cost_nano(Usage(input_tokens=900_000))
        assert many == 900_000 * one


@pytest.mark.parametrize("name", CLASSES)
def test_tokens_are_never_negative(name: str) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        Usage(**{name: -1})


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**15))
def test_division_rounds_up_exactly(dividend: int, divisor: int) -> None:
    quotient = ceil_div(dividend, divisor)

    assert quotient - 1 < Fraction(dividend, divisor) <= quotient


# --- the rules --------------------------------------------------------------------------------------------------------


@given(MODELS, USAGES, st.sampled_from(CLASSES), st.integers(1, 5_000))
@example(HAIKU, Usage(input_tokens=100_000), "cache_read_tokens", 1)
def test_a_price_never_falls_when_a_class_of_tokens_grows(
    model: ModelPrice, usage: Usage, name: str, more: int
) -> None:
    larger = replace(usage, **{name: getattr(usage, name) + more})

    assert PRICES.price(model, larger).credits >= PRICES.price(model, usage).credits


@given(MODELS, TOKENS, TOKENS, st.data())
def test_the_ceiling_covers_every_way_of_classing_the_prompt(
    model: ModelPrice, prompt_tokens: int, max_tokens: int, data: st.DataObject
) -> None:
    """What was held is enough, however the provider spreads the prompt over its classes and however long the answer."""
    written = data.draw(st.integers(0, prompt_tokens))
    read = data.draw(st.integers(0, prompt_tokens - written))
    output = data.draw(st.one_of(st.just(max_tokens), st.integers(0, max_tokens)))
    usage = Usage(
        input_tokens=prompt_tokens - written - read,
        cache_write_tokens=written,
        cache_read_tokens=read,
        output_tokens=output,
    )

    assert PRICES.price(model, usage).credits <= PRICES.ceiling(model, prompt_tokens, max_tokens)


@given(MODELS, TOKENS, TOKENS)
def test_the_ceiling_is_reached(model: ModelPrice, prompt_tokens: int, max_tokens: int) -> None:
    """It is the price of the most expensive case, not more."""
    cases = [{name: prompt_tokens} for name in ("input_tokens", "cache_write_tokens", "cache_read_tokens")]
    most_expensive = max(credits_for(model, output_tokens=max_tokens, **case) for case in cases)

    assert PRICES.ceiling(model, prompt_tokens, max_tokens) == most_expensive


@given(MODELS, USAGES)
def test_every_run_leaves_the_margin_even_at_the_cheapest_credit(model: ModelPrice, usage: Usage) -> None:
    income = PRICES.price(model, usage).credits * CHEAPEST

    assert income * Fraction(80, 100) >= dollars(model, usage)


@given(MODELS, USAGES)
def test_a_price_is_no_higher_than_tier_and_margin_ask_for(model: ModelPrice, usage: Usage) -> None:
    credits_ = PRICES.price(model, usage).credits
    tier = PRICES.tiers.credits(sum(classes_of(usage))) * model.factor

    assert credits_ == tier or (credits_ - 1) * CHEAPEST * Fraction(80, 100) < dollars(model, usage)
    assert credits_ >= tier


@given(MODELS, TOKENS, st.integers(0, 500), st.integers(1, 128_000))
@example(SONNET, 400, 5, 4_096)
def test_affordable_max_tokens_is_the_largest(
    model: ModelPrice, prompt_tokens: int, credits_: int, wanted: int
) -> None:
    found = PRICES.affordable_max_tokens(model, prompt_tokens, credits_, wanted=wanted)

    assert 0 <= found <= wanted
    if found:
        assert PRICES.ceiling(model, prompt_tokens, found) <= credits_
    if found < wanted:
        assert PRICES.ceiling(model, prompt_tokens, found + 1) > credits_


@given(MODELS, st.integers(0, 12_000), st.integers(0, 12), st.integers(1, 200))
def test_affordable_max_tokens_agrees_with_trying_one_by_one(
    model: ModelPrice, prompt_tokens: int, credits_: int, wanted: int
) -> None:
    affordable = [n for n in range(1, wanted + 1) if PRICES.ceiling(model, prompt_tokens, n) <= credits_]

    assert PRICES.affordable_max_tokens(model, prompt_tokens, credits_, wanted=wanted) == max(affordable, default=0)


def test_signup_credits_pay_for_the_default_model() -> None:
    """Five credits buy a first answer at full length for an ordinary prompt."""
    assert PRICES.affordable_max_tokens(SONNET, 3_000, 5, wanted=PRICES.default_max_tokens) == PRICES.default_max_tokens


# --- what is refused at load ------------------------------------------------------------------------------------------

Path_ = tuple[str | int, ...]


def mutated(path: Path_, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(DATA)
    parent: Any = data
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return data


def without(path: Path_) -> dict[str, Any]:
    data = copy.deepcopy(DATA)
    parent: Any = data
    for part in path[:-1]:
        parent = parent[part]
    del parent[path[-1]]
    return data


def paths(of: Callable[[Any], bool], value: Any = DATA, where: Path_ = ()) -> list[Path_]:
    found = [where] if where and of(value) else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(of, item, (*where, key))
    return found


def is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def name_of(value: Any) -> str:
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)


NUMBERS = paths(is_number)
MONEY = [path for path in NUMBERS if str(path[-1]).endswith(("_nano", "_cents")) or path[-1] == "credits"]
SIZES = [path for path in NUMBERS if path[-1] != "margin_percent"]
OPTIONAL = ("popular", "long_prompt_tokens", "long_prompt_factor")
FIELDS = [path for path in paths(lambda _: True) if isinstance(path[-1], str) and path[-1] not in OPTIONAL]


def refused(data: Any) -> str:
    with pytest.raises(PriceTableError) as caught:
        parse_prices(data)
    return str(caught.value)


def test_the_table_that_ships_is_accepted() -> None:
    assert isinstance(parse_prices(copy.deepcopy(DATA)), PriceTable)
    assert len(MONEY) == 3 * 4 + 3 * 2 + 2
    assert load_prices() is load_prices()


@pytest.mark.parametrize("path", SIZES, ids=name_of)
@pytest.mark.parametrize("value", [0, -1, -1_000_000])
def test_what_is_not_positive_is_refused(path: Path_, value: int) -> None:
    refused(mutated(path, value))


@pytest.mark.parametrize("path", NUMBERS, ids=name_of)
@pytest.mark.parametrize("value", [0.5, 1.0, 1e9, float("nan"), float("inf")])
def test_fractions_are_refused(path: Path_, value: float) -> None:
    assert name_of(path) in refused(mutated(path, value))


@pytest.mark.parametrize("path", NUMBERS, ids=name_of)
@pytest.mark.parametrize("value", ["5", None, [1], {}, True])
def test_what_is_no_number_is_refused(path: Path_, value: Any) -> None:
    refused(mutated(path, value))


@pytest.mark.parametrize("path", FIELDS, ids=name_of)
def test_a_missing_field_is_refused(path: Path_) -> None:
    refused(without(path))


@pytest.mark.parametrize(
    "path", [("discount",), ("models", 0, "discount"), ("packs", 1, "discount"), ("plan", "discount")], ids=name_of
)
def test_an_unknown_field_is_refused(path: Path_) -> None:
    assert "discount" in refused(mutated(path, 5))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("margin_percent",), 100),
        (("margin_percent",), -1),
        (("default_model",), "gpt"),
        (("default_max_tokens",), 511),
        (("default_max_tokens",), 128_001),
        (("least_max_tokens",), 4_097),
        (("models", 1, "default_effort"), "extreme"),
        (("models", 1, "max_output_tokens"), 1_000_000),
        (("models",), []),
        (("packs",), []),
        (("packs", 1, "id"), "small"),
        (("tiers", "steps"), []),
        (("tiers", "steps"), [[2500, 1], [2500, 2]]),
        (("tiers", "steps"), [[2500, 1], [2400, 2]]),
        (("tiers", "steps"), [[2500, 2], [6000, 2]]),
        (("tiers", "steps"), [[2500, 2], [6000, 1]]),
    ],
    ids=str,
)
def test_a_table_that_contradicts_itself_is_refused(path: Path_, value: Any) -> None:
    refused(mutated(path, value))


def test_a_model_is_found_under_its_own_name_only() -> None:
    with pytest.raises(PriceTableError, match="another's name"):
        replace(PRICES, models={**PRICES.models, "sonnet": OPUS})


def test_a_file_that_is_refused_says_so_at_load(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(mutated(("packs", 0, "credits"), -100)), encoding="utf-8")

    with pytest.raises(PriceTableError, match="pack small: credits must be positive"):
        load_prices(path)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5)), min_size=1, max_size=5), st.integers(1, 50))
def test_any_table_of_tiers_that_is_accepted_never_falls(rises: list[tuple[int, int]], further: int) -> None:
    steps = [(sum(t for t, _ in rises[: n + 1]), sum(c for _, c in rises[: n + 1])) for n in range(len(rises))]
    tiers = Tiers(steps=tuple(steps), further_tokens=further)
    credits_ = [tiers.credits(tokens) for tokens in range(400)]

    assert credits_ == sorted(credits_)
    assert credits_[0] >= 1


PROVIDER_PRICES = st.integers(1, 100_000)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("input_nano", "output_nano", "cache_write_nano", "cache_read_nano"), PROVIDER_PRICES)
    ),
    st.integers(0, 50_000),
    st.integers(0, 10_000),
    st.sampled_from(["input_tokens", "cache_write_tokens", "cache_read_tokens"]),
)
@example(
    {"input_nano": 1, "output_nano": 1, "cache_write_nano": 1, "cache_read_nano": 100_000},
    50_000,
    0,
    "cache_read_tokens",
)
def test_the_ceiling_covers_the_prompt_with_any_prices_that_are_accepted(
    prices: dict[str, Any], prompt_tokens: int, output_tokens: int, name: str
) -> None:
    model = replace(SONNET, **prices)
    price = PRICES.price(model, Usage(output_tokens=output_tokens, **{name: prompt_tokens}))

    assert price.credits <= PRICES.ceiling(model, prompt_tokens, output_tokens)


@pytest.mark.parametrize(
    "data",
    [
        mutated(("tiers", "discount"), 5),
        mutated(("tiers", "steps"), [[2500]]),
        mutated(("tiers", "steps"), [[2500, 1, 7]]),
        mutated(("models", 0, "name"), "sonnet"),
        without(("models", 0, "long_prompt_tokens")),
        mutated(("models", 0, "accepts_temperature"), "false"),
    ],
    ids=[
        "unknown-field-in-tiers",
        "step-too-short",
        "step-too-long",
        "two-models-of-one-name",
        "long-prompt-factor-without-its-limit",
        "flag-that-is-text",
    ],
)
def test_other_mistakes_in_the_table_are_refused(data: dict[str, Any]) -> None:
    refused(data)
