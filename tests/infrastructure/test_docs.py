"""What the documents say is what the code has."""

import re

import pytest

from local.settings import read_settings
from playground import settings
from playground.domain import errors
from playground.http import STATUS
from playground.observability import Metric
from playground.schemas import PRICES
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_command_of_the_readme_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"\bmake (?:-s )?([a-z-]+)", README)) <= targets


def test_every_error_of_the_code_is_in_the_table_with_its_status() -> None:
    rows = {int(status): text for status, text in re.findall(r"^\| (\d{3}) \| (.+) \|$", README, re.MULTILINE)}
    for kind, status in STATUS.items():
        assert f"`{kind.code}`" in rows[status], kind


def test_every_reason_of_a_failed_model_is_named() -> None:
    reasons = set(errors.ModelError.MESSAGES) - {"timed_out", "interrupted", "overloaded", "rate_limited"}
    row = next(line for line in README.splitlines() if line.startswith("| 502 "))
    assert all(reason in row for reason in reasons)


def test_every_setting_is_in_the_table() -> None:
    names = {
        name.upper()
        for kind in (
            settings.RunSettings,
            settings.EstimateSettings,
            settings.CreditsPaymentsSettings,
            settings.WebhookSettings,
            settings.ReconcileSettings,
            settings.SessionsSettings,
            settings.CatalogSettings,
        )
        for name in kind.model_fields
    }
    assert names <= set(re.findall(r"`([A-Z_]+)`", OPERATIONS))


def test_every_metric_is_in_the_table() -> None:
    assert {metric.value for metric in Metric} <= set(re.findall(r"^\| `(\w+)` \|", OPERATIONS, re.MULTILINE))


def test_every_variable_of_the_stack_is_in_the_table() -> None:
    source = (ROOT / "local" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z][A-Z_]+)"', source))
    assert read <= set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert f"| `PORT` | {read_settings({}).port} |" in README


def test_prices_of_the_readme_are_those_of_the_table() -> None:
    for (up_to, credits_), factor in ((step, PRICES.models["opus"].factor) for step in PRICES.tiers.steps):
        assert f"| up to {up_to:,} | {credits_} | {credits_ * factor} |" in README
    for pack in PRICES.packs:
        assert f"{pack.credits}" in README
        assert f"${pack.price_cents // 100}" in README
    assert f"{PRICES.default_max_tokens:,} tokens" in README


@pytest.mark.parametrize(("name", "least"), [("ledger", 20), ("sharing", 10)])
def test_every_test_that_a_page_names_exists(name: str, least: int) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named <= set(re.findall(r"def (test_\w+)", sources))
    assert len(named) > least


def test_budgets_of_the_readme_are_those_of_the_table() -> None:
    for tokens in PRICES.context_budget_tokens.values():
        assert f"{tokens:,}" in README
