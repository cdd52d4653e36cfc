"""Prices: the rules of any table, examples from a fixed one, and what is refused at load."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playground.adapters import prices as prices_of_the_layer
from playground.adapters.prices import PATH, PUBLISHED, load_prices, parse_prices, published_prices, read_published
from playground.domain.pricing import ModelPrice, PriceTable, PriceTableError, Tiers, Usage, ceil_div
from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS
from tests.kit.prices import EXAMPLE, EXAMPLE_DATA

LAYER = ROOT / "layers" / "shared"
PRICES = load_prices()
HAIKU, SONNET, OPUS = (EXAMPLE.models[name] for name in ("haiku", "sonnet", "opus"))
CHEAPEST = min(Fraction(offer.price_cents, 100 * offer.credits) for offer in (*PRICES.packs, PRICES.plan))  # dollars
NET = CHEAPEST * Fraction(100 - PRICES.margin_percent, 100)

MODELS = st.sampled_from(sorted(PRICES.models.values(), key=lambda model: model.name))
# Small numbers find the borders of the tiers, large ones those of the context and of haiku's long prompts.
TOKENS = st.one_of(st.integers(0, 20_000), st.integers(0, 1_000_000), st.integers(99_900, 100_100))
CLASSES = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
USAGES = st.builds(
    Usage, input_tokens=TOKENS, output_tokens=TOKENS, cache_write_tokens=TOKENS, cache_read_tokens=TOKENS
)


def credits_for(model: ModelPrice, **tokens: int) -> int:
    return EXAMPLE.price(model, Usage(**tokens)).credits


def dollars(model: ModelPrice, usage: Usage) -> Fraction:
    """The provider's bill, worked out from the fields of the table."""
    listed = (model.input_nano, model.output_nano, model.cache_write_nano, model.cache_read_nano)
    bill = sum(price * tokens for price, tokens in zip(listed, classes_of(usage), strict=True))
    prompt = usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens
    long = model.long_prompt_tokens is not None and prompt > model.long_prompt_tokens
    return Fraction(bill * (model.long_prompt_factor if long else 1), 10**9)


def classes_of(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens


# --- examples ---------------------------------------------------------------------------------------------------------


@given(MODELS, USAGES)
def test_the_provider_is_paid_what_its_price_list_says(model: ModelPrice, usage: Usage) -> None:
    assert Fraction(model.cost_nano(usage), 10**9) == dollars(model, usage)


def test_the_cheapest_credit_counts_the_plan_too() -> None:
    assert PRICES.credit_value_nano == CHEAPEST * 10**9
    dear = replace(EXAMPLE.plan, price_cents=1)
    assert replace(EXAMPLE, plan=dear).credit_value_nano == Fraction(10**7, dear.credits)


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
    assert EXAMPLE.tiers.credits(tokens) == base


def test_a_charge_can_be_recomputed_from_its_parts() -> None:
    price = EXAMPLE.price(SONNET, Usage(input_tokens=100, output_tokens=9_900))

    # 100 × $2 + 9,900 × $10 per million = $0.0992, over 0.8 × $20/600.
    assert (price.tier, price.factor, price.cost_nano, price.floor) == (3, 1, 99_200_000, 4)
    assert price.credits == max(price.tier * price.factor, price.floor)


def test_an_answer_is_never_free() -> None:
    for model in PRICES.models.values():
        assert PRICES.price(model, Usage()).credits == PRICES.tiers.credits(0) * model.factor >= 1


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
    most_expensive = max(PRICES.price(model, Usage(output_tokens=max_tokens, **case)).credits for case in cases)

    assert PRICES.ceiling(model, prompt_tokens, max_tokens) == most_expensive


@given(MODELS, USAGES)
def test_every_run_leaves_the_margin_even_at_the_cheapest_credit(model: ModelPrice, usage: Usage) -> None:
    income = PRICES.price(model, usage).credits * NET

    assert income >= dollars(model, usage)


@given(MODELS, USAGES)
def test_a_price_is_no_higher_than_tier_and_margin_ask_for(model: ModelPrice, usage: Usage) -> None:
    credits_ = PRICES.price(model, usage).credits
    tier = PRICES.tiers.credits(sum(classes_of(usage))) * model.factor

    assert credits_ == tier or (credits_ - 1) * NET < dollars(model, usage)
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


# --- what is refused at load ------------------------------------------------------------------------------------------

Path_ = tuple[str | int, ...]


def mutated(path: Path_, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(EXAMPLE_DATA)
    parent: Any = data
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return data


def without(path: Path_) -> dict[str, Any]:
    data = copy.deepcopy(EXAMPLE_DATA)
    parent: Any = data
    for part in path[:-1]:
        parent = parent[part]
    del parent[path[-1]]
    return data


def paths(of: Callable[[Any], bool], value: Any = EXAMPLE_DATA, where: Path_ = ()) -> list[Path_]:
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
OPTIONAL = ("popular", "long_prompt_tokens", "long_prompt_factor", "rate_limits", "custom_prompt")
FIELDS = [path for path in paths(lambda _: True) if isinstance(path[-1], str) and path[-1] not in OPTIONAL]


def refused(data: Any) -> str:
    with pytest.raises(PriceTableError) as caught:
        parse_prices(data)
    return str(caught.value)


def test_the_table_that_ships_is_accepted() -> None:
    assert isinstance(parse_prices(copy.deepcopy(EXAMPLE_DATA)), PriceTable)
    assert len(MONEY) == 3 * 4 + 3 * 2 + 2
    assert load_prices() is load_prices()


@pytest.mark.parametrize(
    "version",
    ["", "1", "2026-11", "2026-11-01.", "2026-11-01-2", "../prices", "2026-11-01/..", "2026-11-01\n", "٢٠٢٦-١١-٠١"],
)
def test_a_version_that_is_no_day_is_refused(version: str) -> None:
    assert "version" in refused(mutated(("version",), version))
    assert (read_published(version), published_prices(version)) == (None, None)


def test_a_second_table_of_a_day_has_a_number() -> None:
    assert parse_prices(mutated(("version",), "2026-11-01.2")).version == "2026-11-01.2"


# --- earlier tables ---------------------------------------------------------------------------------------------------


def test_every_published_table_is_there_for_ever() -> None:
    versions = sorted(path.stem for path in PUBLISHED.glob("*.json"))
    assert "2026-11-01" in versions
    for version in versions:
        table = published_prices(version)
        assert table is not None
        assert table.version == version


def test_the_current_table_is_among_them() -> None:
    assert published_prices(PRICES.version) == PRICES
    text = read_published(PRICES.version)
    assert text == PATH.read_text(encoding="utf-8")


def test_an_earlier_table_is_read_as_it_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = json.dumps(mutated(("version",), "2001-01-01"), indent=7)
    (tmp_path / "2001-01-01.json").write_text(earlier, encoding="utf-8")
    monkeypatch.setattr(prices_of_the_layer, "PUBLISHED", tmp_path)
    assert read_published("2001-01-01") == earlier
    assert published_prices.__wrapped__("2001-01-01") == replace(EXAMPLE, version="2001-01-01")


def test_a_table_that_is_not_published_yet_is_found_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices_of_the_layer, "PUBLISHED", tmp_path)
    assert read_published(PRICES.version) == PATH.read_text(encoding="utf-8")
    assert read_published("2001-01-01") is None


def test_only_the_current_table_is_read_at_start() -> None:
    program = """
import pathlib, sys
read, text = [], pathlib.Path.read_text
pathlib.Path.read_text = lambda path, *args, **kwargs: (read.append(path.name), text(path, *args, **kwargs))[1]
from playground.adapters.prices import load_prices
load_prices()
print(*(name for name in read if name.endswith(".json")))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_SECONDS, check=True, cwd=LAYER
    )
    assert ended.stdout == "prices.json\n"


# --- what else is refused ---------------------------------------------------------------------------------------------


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
    with pytest.raises(PriceTableError, match="listed under another name"):
        replace(EXAMPLE, models={**EXAMPLE.models, "sonnet": OPUS})


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
    price = EXAMPLE.price(model, Usage(output_tokens=output_tokens, **{name: prompt_tokens}))

    assert price.credits <= EXAMPLE.ceiling(model, prompt_tokens, output_tokens)


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
