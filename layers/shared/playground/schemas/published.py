"""Names under which published clients read our fields: the only place that maps them.

Answers carry both names. OpenAPI marks the earlier ones deprecated.
"""

from typing import Any

from pydantic import BaseModel, computed_field

from playground.schemas.common import Moment


def _same_as(name: str, type_: Any) -> Any:
    """A field with the value of the field `name`, under an earlier name."""
    extra = {"deprecated": True, "description": f"The same as `{name}`"}
    return computed_field(return_type=type_, json_schema_extra=extra)(property(lambda self: getattr(self, name)))


class SessionNames(BaseModel):
    id = _same_as("session_id", str)
    package_name = _same_as("package", str)
    run_count = _same_as("turns", int)
    last_run_at = _same_as("updated_at", Moment)
    total_tokens = _same_as("tokens_used", int)
    total_duration_ms = _same_as("duration_ms", int)
    is_public = _same_as("shared", bool)


class SharedNames(BaseModel):
    package_name = _same_as("package", str)


class PurchaseNames(BaseModel):
    clientSecret = _same_as("client_secret", str)  # noqa: N815 -- the name is the client's
    purchaseId = _same_as("purchase_id", str)  # noqa: N815


class CheckoutNames(BaseModel):
    checkoutUrl = _same_as("url", str)  # noqa: N815


class PortalNames(BaseModel):
    portalUrl = _same_as("url", str)  # noqa: N815


class SubscriptionNames(BaseModel):
    isActive = _same_as("is_active", bool)  # noqa: N815
    cancelAtPeriodEnd = _same_as("cancel_at_period_end", bool)  # noqa: N815
    currentPeriodEnd = _same_as("current_period_end", Moment | None)  # noqa: N815
