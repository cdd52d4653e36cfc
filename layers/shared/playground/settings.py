"""Settings of each function, checked at start. The only reader of the environment."""

import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from playground.domain.guard import MAX_CEILING_DOLLARS

Name = Annotated[str, Field(min_length=1)]
Origin = Annotated[str, Field(pattern=r"^https?://[^/]+$")]
Page = Annotated[str, Field(pattern=r"^/[!-z|~]*$")]  # visible ASCII without braces
SharedPage = Annotated[str, Field(pattern=r"^/[!-z|~]*\{token\}[!-z|~]*$")]


def _listed(value: object) -> object:
    return (value.split(",") if value else ()) if isinstance(value, str) else value


Origins = Annotated[tuple[Origin, ...], BeforeValidator(_listed)]
"""Origins, separated by commas."""


class Settings(BaseModel):
    """A field is the environment variable of the same name in upper case."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)  # a function uses one of them

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings. Raises pydantic.ValidationError, which names missing or invalid ones without their values."""
        values = {name: environ[name.upper()] for name in cls.model_fields if name.upper() in environ}
        return cls.model_validate(values)


class ApiSettings(Settings):
    """Settings of every function behind the API."""

    frontend_url: Origin
    powertools_service_name: Name
    # Pages of the front end that answers link to.
    credits_page: Page = "/playground/credits/buy"
    subscription_page: Page = "/playground/credits/subscribe"
    shared_page: SharedPage = "/playground/shared?token={token}"
    # Other origins whose pages may call the API. Links lead to frontend_url.
    extra_origins: Origins = ()


class MoneySettings(Settings):
    """The ledger's table."""

    ledger_table: Name


class LedgerSettings(MoneySettings):
    """The tables of ledger and conversations."""

    sessions_table: Name


class SpendSettings(Settings):
    """The table of what runs cost."""

    spend_table: Name


class AuthSettings(Settings):
    """How tokens are verified."""

    auth_algorithm: Annotated[str, Field(pattern=r"^(HS(256|384|512)|RS(256|384|512)|ES(256|384|512)|EdDSA)$")]
    auth_issuer: Name
    auth_audience: Name
    auth_secret_arn: Name
    auth_jwks_url: str = ""
    auth_require_issuer_and_audience: bool = True


class StripeSettings(Settings):
    """Stripe's URL and the secret with its keys, which is read on first use."""

    stripe_secret_arn: Name
    stripe_base_url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] = "https://api.stripe.com"


class ContentSettings(Settings):
    """The bucket of texts that are too large for an item."""

    content_bucket: Name


class CreditsSettings(ApiSettings, AuthSettings, LedgerSettings, ContentSettings):
    pass


class RateSettings(Settings):
    """The rate limits of the price table are multiplied by this: 1, but for load tests."""

    rate_limit_factor: Annotated[int, Field(ge=1, le=600)]


class CreditsPaymentsSettings(CreditsSettings, StripeSettings, RateSettings, SpendSettings):
    # Where the stand-in for Stripe shows its payment pages: on a laptop only.
    pay_page_url: Annotated[str, Field(pattern=r"^(http://127\.0\.0\.1:[0-9]+/[a-z]+)?$")] = ""


class WebhookSettings(ApiSettings, MoneySettings, StripeSettings):
    pass


class ReconcileSettings(MoneySettings, StripeSettings):
    powertools_service_name: Name


class SessionsSettings(CreditsSettings, SpendSettings):
    share_secret_arn: Name
    reports_to_hide: Annotated[int, Field(ge=1, le=1000)]


class CatalogSettings(ApiSettings, ContentSettings):
    catalog_table: Name


class CatalogFunctionSettings(CatalogSettings, SpendSettings):
    pass


class EstimateSettings(CreditsSettings, CatalogSettings):
    custom_prompts: Annotated[str, Field(pattern=r"^(off|plans|everybody)$")]
    anthropic_secret_arn: Name
    anthropic_base_url: Annotated[str, Field(pattern=r"^https?://")]
    model_timeout_seconds: Annotated[float, Field(gt=0, le=900)]


class RunSettings(EstimateSettings, RateSettings):
    max_open_runs: Annotated[int, Field(ge=1, le=20)]


class RunFunctionSettings(RunSettings):
    whole_conversation: bool


class AnonymousSettings(CatalogSettings):
    anonymous_runs: bool
    anonymous_budget_cents: Annotated[int, Field(ge=1, le=100_000)]
    visitors_table: Name
    visitor_secret_arn: Name
    anthropic_secret_arn: Name
    anthropic_base_url: Annotated[str, Field(pattern=r"^https?://")]
    model_timeout_seconds: Annotated[float, Field(gt=0, le=900)]


class ResetSettings(MoneySettings):
    powertools_service_name: Name
    max_accounts: Annotated[int, Field(ge=1, le=100_000)]
    account_work_url: Annotated[str, Field(pattern=r"^https?://")]
    shard_work_url: Annotated[str, Field(pattern=r"^https?://")]


class AuditSettings(LedgerSettings):
    powertools_service_name: Name
    max_accounts: Annotated[int, Field(ge=1, le=100_000)]


class NoticesSettings(Settings):
    powertools_service_name: Name
    notices_bus: Name


class GuardFunctionSettings(MoneySettings, SpendSettings):
    powertools_service_name: Name
    daily_ceiling_dollars: Annotated[int, Field(ge=1, le=MAX_CEILING_DOLLARS)]
    pause_free_runs: bool
