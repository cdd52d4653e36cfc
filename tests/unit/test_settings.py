"""Settings come from the environment, complete and within bounds, or a function does not start."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from playground.settings import (
    AnonymousSettings,
    ApiSettings,
    AuthSettings,
    CatalogSettings,
    CreditsPaymentsSettings,
    CreditsSettings,
    EstimateSettings,
    RunSettings,
    Settings,
)

GOOD: Mapping[str, str] = {
    "FRONTEND_URL": "https://prpm.test",
    "POWERTOOLS_SERVICE_NAME": "run",
    "AUTH_ALGORITHM": "HS256",
    "AUTH_ISSUER": "https://issuer.test",
    "AUTH_AUDIENCE": "playground-test",
    "AUTH_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:auth",
    "AUTH_JWKS_URL": "",
    "AUTH_REQUIRE_ISSUER_AND_AUDIENCE": "false",
    "LEDGER_TABLE": "ledger",
    "SESSIONS_TABLE": "sessions",
    "CATALOG_TABLE": "catalog",
    "CONTENT_BUCKET": "content",
    "ANTHROPIC_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:claude",
    "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
    "MODEL_TIMEOUT_SECONDS": "24",
    "MAX_OPEN_RUNS": "20",
    "CUSTOM_PROMPTS": "plans",
    "RATE_LIMIT_FACTOR": "1",
}
OPTIONAL = {"AUTH_JWKS_URL", "AUTH_REQUIRE_ISSUER_AND_AUDIENCE"}
CANARY = "canary-in-a-value"
CLASSES = [ApiSettings, AuthSettings, CatalogSettings, CreditsSettings, EstimateSettings, RunSettings]


def problem(environ: Mapping[str, str], kind: type[Settings] = RunSettings) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.load(environ)
    return str(caught.value)


def test_a_field_is_the_variable_of_the_same_name() -> None:
    settings = RunSettings.load(GOOD)

    assert settings.model_dump() == {
        **{name.lower(): value for name, value in GOOD.items()},
        "model_timeout_seconds": 24.0,
        "max_open_runs": 20,
        "rate_limit_factor": 1,
        "auth_require_issuer_and_audience": False,
        "extra_origins": (),
        "credits_page": "/playground/credits/buy",
        "subscription_page": "/playground/credits/subscribe",
        "shared_page": "/playground/shared?token={token}",
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_function_reads_only_what_it_names(kind: type[Settings]) -> None:
    environ = {name: value for name, value in GOOD.items() if name.lower() in kind.model_fields}

    assert kind.load({**GOOD, "UNRELATED": "1", "ledger_table": "lower case is another variable"}) == kind.load(environ)


@pytest.mark.parametrize("name", sorted(GOOD.keys() - OPTIONAL))
def test_a_missing_variable_is_named(name: str) -> None:
    text = problem({key: value for key, value in GOOD.items() if key != name})

    assert name.lower() in text
    assert "1 validation error" in text


@pytest.mark.parametrize("name", sorted(GOOD.keys() - OPTIONAL))
def test_an_empty_variable_is_named(name: str) -> None:
    assert name.lower() in problem({**GOOD, name: ""})


def test_no_key_set_is_needed_with_shared_secrets() -> None:
    assert RunSettings.load({key: value for key, value in GOOD.items() if key not in OPTIONAL}).auth_jwks_url == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_ALGORITHM", "none"),
        ("AUTH_ALGORITHM", "HS1"),
        ("AUTH_ALGORITHM", "hs256"),
        ("AUTH_ALGORITHM", "HS256,none"),
        ("AUTH_ALGORITHM", "HS256\n"),
        ("FRONTEND_URL", "https://prpm.test/"),
        ("FRONTEND_URL", "*"),
        ("FRONTEND_URL", "prpm.test"),
        ("EXTRA_ORIGINS", "*"),
        ("EXTRA_ORIGINS", "http://localhost:1,"),
        ("EXTRA_ORIGINS", "http://localhost:1,http://localhost:2/"),
        ("ANTHROPIC_BASE_URL", "api.anthropic.com"),
        ("ANTHROPIC_BASE_URL", "file:///tmp"),
        ("MODEL_TIMEOUT_SECONDS", "0"),
        ("MODEL_TIMEOUT_SECONDS", "-1"),
        ("MODEL_TIMEOUT_SECONDS", "901"),
        ("MODEL_TIMEOUT_SECONDS", "inf"),
        ("MODEL_TIMEOUT_SECONDS", "nan"),
        ("MODEL_TIMEOUT_SECONDS", "soon"),
        ("MAX_OPEN_RUNS", "0"),
        ("MAX_OPEN_RUNS", "21"),
        ("MAX_OPEN_RUNS", "1.5"),
        ("MAX_OPEN_RUNS", "many"),
        ("CUSTOM_PROMPTS", "plus"),
        ("CUSTOM_PROMPTS", "Off"),
    ],
)
def test_a_value_out_of_bounds_is_refused_under_its_name(name: str, value: str) -> None:
    assert name.lower() in problem({**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANONYMOUS_BUDGET_CENTS", "0"),
        ("ANONYMOUS_BUDGET_CENTS", "-1"),
        ("ANONYMOUS_BUDGET_CENTS", "100001"),
        ("ANONYMOUS_BUDGET_CENTS", "0.5"),
        ("ANONYMOUS_RUNS", ""),
        ("ANONYMOUS_RUNS", "maybe"),
        ("VISITORS_TABLE", ""),
    ],
)
def test_anonymous_runs_are_bounded(name: str, value: str) -> None:
    good = {
        **GOOD,
        "ANONYMOUS_RUNS": "false",
        "ANONYMOUS_BUDGET_CENTS": "100",
        "VISITORS_TABLE": "visitors",
        "VISITOR_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:visitors",
    }
    assert AnonymousSettings.load(good).anonymous_runs is False
    assert name.lower() in problem({**good, name: value}, AnonymousSettings)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "RS256", "RS512", "ES256", "ES512", "EdDSA"])
def test_algorithms_that_tokens_may_be_signed_with(algorithm: str) -> None:
    assert RunSettings.load({**GOOD, "AUTH_ALGORITHM": algorithm}).auth_algorithm == algorithm


def test_other_origins_are_separated_by_commas() -> None:
    def origins(text: str) -> tuple[str, ...]:
        return RunSettings.load({**GOOD, "EXTRA_ORIGINS": text}).extra_origins

    assert origins("") == ()
    assert origins("http://localhost:3000,http://[::1]:3000") == ("http://localhost:3000", "http://[::1]:3000")


@pytest.mark.parametrize(
    "url", ["https://evil.example/pay", "http://127.0.0.1:3004@evil.example/pay", "http://127.0.0.1:3004", "/pay"]
)
def test_client_secrets_are_not_put_into_links_to_other_machines(url: str) -> None:
    environ = {**GOOD, "STRIPE_SECRET_ARN": "arn:stripe", "PAY_PAGE_URL": url}
    assert "pay_page_url" in problem(environ, CreditsPaymentsSettings)


def test_no_value_is_ever_shown() -> None:
    """The message goes to a log; the environment may hold anything."""
    wrong = dict.fromkeys(GOOD, CANARY) | {"OTHER": CANARY}
    text = problem(wrong)

    assert "frontend_url" in text
    assert CANARY not in text
    for name in GOOD:
        assert CANARY not in problem({"AUTH_SECRET_ARN": CANARY, name: CANARY})


def test_settings_do_not_change() -> None:
    settings = RunSettings.load(GOOD)

    with pytest.raises(ValidationError, match="frozen"):
        settings.ledger_table = "another"  # type: ignore[misc]
