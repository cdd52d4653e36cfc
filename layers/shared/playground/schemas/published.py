"""Names under which published clients read our fields: the only place that maps them.

Answers carry both names. OpenAPI marks the earlier ones deprecated.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, computed_field
from pydantic.config import JsonDict

from playground.domain.custom_prompts import NAME
from playground.schemas.common import Moment


def _same_as(name: str, type_: Any) -> Any:
    """A field with the value of the field `name`, under an earlier name."""
    extra: JsonDict = {"deprecated": True, "description": f"The same as `{name}`"}
    return computed_field(return_type=type_, json_schema_extra=extra)(property(lambda self: getattr(self, name)))


def _name_of_package() -> Any:
    """`package` for clients to which every session has one."""
    extra: JsonDict = {"deprecated": True, "description": f"The same as `package`, or `{NAME}` without one"}
    return computed_field(return_type=str, json_schema_extra=extra)(property(lambda self: self.package or NAME))


class SessionNames(BaseModel):
    id: ClassVar[Any] = _same_as("session_id", str)
    package_name: ClassVar[Any] = _name_of_package()
    run_count: ClassVar[Any] = _same_as("turns", int)
    last_run_at: ClassVar[Any] = _same_as("updated_at", Moment)
    total_tokens: ClassVar[Any] = _same_as("tokens_used", int)
    total_duration_ms: ClassVar[Any] = _same_as("duration_ms", int)
    is_public: ClassVar[Any] = _same_as("shared", bool)


class SharedNames(BaseModel):
    package_name: ClassVar[Any] = _name_of_package()


class PurchaseNames(BaseModel):
    clientSecret: ClassVar[Any] = _same_as("client_secret", str)  # noqa: N815 -- the name is the client's
    purchaseId: ClassVar[Any] = _same_as("purchase_id", str)  # noqa: N815


class CheckoutNames(BaseModel):
    checkoutUrl: ClassVar[Any] = _same_as("url", str)  # noqa: N815


class PortalNames(BaseModel):
    portalUrl: ClassVar[Any] = _same_as("url", str)  # noqa: N815


class SubscriptionNames(BaseModel):
    isActive: ClassVar[Any] = _same_as("is_active", bool)  # noqa: N815
    cancelAtPeriodEnd: ClassVar[Any] = _same_as("cancel_at_period_end", bool)  # noqa: N815
    currentPeriodEnd: ClassVar[Any] = _same_as("current_period_end", Moment | None)  # noqa: N815
