"""Names under which published clients read our fields, and how they ask for a first page: the only place for both.

Answers carry both names. OpenAPI marks the earlier ones deprecated.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, ClassVar

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import computed_field
from pydantic.config import JsonDict

from playground.domain.custom_prompts import NAME
from playground.schemas.common import Body, Moment

FirstPage = Annotated[
    int,
    Query(
        ge=0,
        le=0,
        deprecated=True,
        description="Only 0, the first page, as published clients ask for it. Later pages are found by `cursor`",
    ),
]
"""`offset` of a list. A route declares it and need not read it: `http` refuses others, and any beside `cursor`."""


def _same_as(name: str, type_: Any) -> Any:
    """A field with the value of the field `name` (`a.b` for one within another), under an earlier name."""
    return _earlier(type_, f"The same as `{name}`", attrgetter(name))


def _always(value: Any, type_: Any, why: str) -> Any:
    """A field of which this API has nothing to say."""
    return _earlier(type_, why, lambda _: value)


def _earlier(type_: Any, description: str, get: Callable[[Any], Any]) -> Any:
    extra: JsonDict = {"deprecated": True, "description": description}
    return computed_field(return_type=type_, json_schema_extra=extra)(property(get))


def _name_of_package() -> Any:
    """`package` for clients to which every session has one."""
    extra: JsonDict = {"deprecated": True, "description": f"The same as `package`, or `{NAME}` without one"}
    return computed_field(return_type=str, json_schema_extra=extra)(property(lambda self: self.package or NAME))


class SessionNames(Body):
    id: ClassVar[Any] = _same_as("session_id", str)
    package_name: ClassVar[Any] = _name_of_package()
    run_count: ClassVar[Any] = _same_as("turns", int)
    last_run_at: ClassVar[Any] = _same_as("updated_at", Moment)
    total_tokens: ClassVar[Any] = _same_as("tokens_used", int)
    total_duration_ms: ClassVar[Any] = _same_as("duration_ms", int)
    is_public: ClassVar[Any] = _same_as("shared", bool)


class SharedNames(Body):
    package_name: ClassVar[Any] = _name_of_package()
    view_count: ClassVar[Any] = _same_as("views", int)
    helpful_count: ClassVar[Any] = _same_as("helpful", int)
    not_helpful_count: ClassVar[Any] = _same_as("not_helpful", int)


class VoteNames(Body):
    message: ClassVar[Any] = _always("Thank you for your feedback.", str, "A text for a person")


class CreditsNames(Body):
    monthly_credits: ClassVar[Any] = _same_as("monthly.allocated", int)
    monthly_credits_used: ClassVar[Any] = _same_as("monthly.used", int)
    monthly_reset_at: ClassVar[Any] = _same_as("monthly.reset_at", Moment | None)
    rollover_credits: ClassVar[Any] = _same_as("rollover.amount", int)
    rollover_expires_at: ClassVar[Any] = _same_as("rollover.expires_at", Moment | None)
    purchased_credits: ClassVar[Any] = _same_as("purchased", int)
    prpm_plus_status: ClassVar[Any] = _earlier(
        str | None,
        "`active` while `plan` is `plus`, otherwise null",
        lambda self: "active" if self.plan == "plus" else None,
    )


class TransactionNames(Body):
    transaction_type: ClassVar[Any] = _same_as("type", str)


class PricingNames(Body):
    isOrgMember: ClassVar[Any] = _always(False, bool, "There is one price for everybody")  # noqa: N815
    orgName: ClassVar[Any] = _always(None, str | None, "There is one price for everybody")  # noqa: N815
    discount: ClassVar[Any] = _always(None, int | None, "There is one price for everybody")


class PurchaseNames(Body):
    clientSecret: ClassVar[Any] = _same_as("client_secret", str)  # noqa: N815 -- the name is the client's
    purchaseId: ClassVar[Any] = _same_as("purchase_id", str)  # noqa: N815


class CheckoutNames(Body):
    checkoutUrl: ClassVar[Any] = _same_as("url", str)  # noqa: N815


class PortalNames(Body):
    portalUrl: ClassVar[Any] = _same_as("url", str)  # noqa: N815


class SubscriptionNames(Body):
    isActive: ClassVar[Any] = _same_as("is_active", bool)  # noqa: N815
    cancelAtPeriodEnd: ClassVar[Any] = _same_as("cancel_at_period_end", bool)  # noqa: N815
    currentPeriodEnd: ClassVar[Any] = _same_as("current_period_end", Moment | None)  # noqa: N815
