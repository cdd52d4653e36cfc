"""Balance, history, runs and their receipts, prices, purchases and the subscription.

Never calls a model. Calls Stripe, and loads its package, only for payments and the subscription.
"""

import re
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlencode

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from playground import wiring
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_usage import DynamoUsage
from playground.adapters.ids import id_maker
from playground.adapters.prices import PublishedPrices, load_prices, read_published
from playground.adapters.secrets import read_secret
from playground.domain.calendar import from_iso, iso
from playground.domain.cursors import bad_cursor, number_cursor, number_of, parts_cursor, parts_of
from playground.domain.entries import EntryType
from playground.domain.errors import (
    AlreadySubscribedError,
    IdempotencyConflictError,
    InvalidRequestError,
    PaymentsRejectedError,
    PaymentsUnavailableError,
    PlanGrantedError,
    PriceTableNotFoundError,
    PurchaseUnavailableError,
    RateLimitedError,
    RunEndedError,
    RunNotFoundError,
    SubscriptionNotFoundError,
    UnreadableError,
)
from playground.domain.packages import PACKAGE_NAME, is_package_name
from playground.domain.runs import RunFilter, RunPlace, RunStatus
from playground.domain.spend import UsagePlace
from playground.http import CSV, Api, answers, authenticator, utc_now
from playground.observability import report_run, report_unreadable
from playground.ports import PaymentProvider
from playground.schemas.common import Cursor, IdempotencyKey
from playground.schemas.credits import (
    CheckoutAnswer,
    CreditsAnswer,
    HistoryAnswer,
    ModelsAnswer,
    PacksAnswer,
    PortalAnswer,
    PortalBody,
    PricingAnswer,
    PurchaseAnswer,
    PurchaseBody,
    PurchasesAnswer,
    ReceiptAnswer,
    RunsAnswer,
    SubscribeBody,
    SubscriptionAnswer,
    UsageAnswer,
    history_csv,
)
from playground.schemas.published import FirstPage
from playground.settings import CreditsPaymentsSettings
from playground.usecases.browse_runs import ListRuns, ReadHistory
from playground.usecases.buy_credits import BuyCredits, ManageSubscription
from playground.usecases.cancel_run import CancelRun
from playground.usecases.list_purchases import ListPurchases
from playground.usecases.read_account import ReadAccount
from playground.usecases.read_run import ReadRun
from playground.usecases.read_usage import DEFAULT_DAYS, MAX_DAYS, MAX_ROWS, ReadUsage

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Origin"}

settings = CreditsPaymentsSettings.load()
prices = load_prices()
store = wiring.store()
ledger = wiring.ledger(settings, store)
records = DynamoPurchaseRecords(store, settings.ledger_table, report=report_unreadable)
read_account = ReadAccount(ledger=ledger, clock=utc_now, report=report_run)
read_history = ReadHistory(ledger=ledger, clock=utc_now)
list_runs = ListRuns(ledger=ledger, read_account=read_account)
read_run = ReadRun(ledger=ledger, sessions=wiring.sessions(settings, store), clock=utc_now, report=report_run)
read_usage = ReadUsage(usage=DynamoUsage(store, settings.spend_table), clock=utc_now)
cancel_run = CancelRun(ledger=ledger, read_run=read_run, sleep=time.sleep)
authenticate = authenticator(settings, wiring.secrets_client)
api = Api(
    settings,
    authenticate=authenticate,
    public=frozenset(
        {
            "/playground/credits/packages",
            "/playground/models",
            "/playground/pricing",
            "/playground/prices/<version>",
        }
    ),
    max_age={"/playground/models": 300},
)
app = api.app
handler = api

PAYMENTS_FAILED = (PaymentsUnavailableError, PaymentsRejectedError)
KEY = re.compile(r"[!-}]{1,100}")  # in a cursor
MODEL = re.compile(r"[a-z0-9._-]{1,64}")  # likewise, also of a model that is retired


@app.get("/playground/credits", tags=["credits"], operation_id="getCredits", responses=answers(CreditsAnswer))
def credits_() -> CreditsAnswer:
    """The caller's balance, as of now."""
    return CreditsAnswer.of(read_account(api.user_id))


@app.get(
    "/playground/credits/history",
    tags=["credits"],
    operation_id="listTransactions",
    responses=answers(HistoryAnswer, as_csv=True),
)
def history(
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Cursor = None,
    type: Annotated[str | None, Query(json_schema_extra={"enum": [kind.value for kind in EntryType]})] = None,  # noqa: A002
    offset: FirstPage = 0,
) -> Response[str]:
    """Every change of the caller's credits, newest first, and for a run its model, package and tokens. With `type`, a
    page may be shorter than `limit`. With `Accept: text/csv` the same page is CSV for spreadsheets, with a header line;
    the answer's `Link` header has the address of the next page."""
    if type is not None and type not in list(EntryType):
        raise InvalidRequestError("type", f"must be one of {', '.join(EntryType)}", got=type)
    type_ = EntryType(type) if type is not None else None
    page = read_history(api.user_id, limit=limit, before=number_of(cursor), type_=type_)
    following = number_cursor(page.following) if page.following is not None else None
    api.add_headers({"Vary": "Origin, Accept"})
    if api.preferred([content_types.APPLICATION_JSON, CSV]) != CSV:
        body = HistoryAnswer.of(page, next_cursor=following).model_dump_json()
        return Response(200, content_type=content_types.APPLICATION_JSON, body=body)
    if following is not None:
        query = {"limit": limit, "cursor": following} | ({"type": type_.value} if type_ is not None else {})
        api.add_headers({"Link": f'<?{urlencode(query)}>; rel="next"'})
    download = {"Content-Disposition": 'attachment; filename="credits.csv"'}
    return Response(200, content_type=f"{CSV}; charset=utf-8", body=history_csv(page), headers=download)


@app.get("/playground/runs", tags=["runs"], operation_id="listRuns", responses=answers(RunsAnswer))
def runs(
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Cursor = None,
    package: Annotated[
        str | None,
        Query(max_length=200, description="@scope/name", json_schema_extra={"pattern": f"^{PACKAGE_NAME}$"}),
    ] = None,
    model: Annotated[str | None, Query(json_schema_extra={"enum": list(prices.models)})] = None,
    status: Annotated[str | None, Query(json_schema_extra={"enum": [status.value for status in RunStatus]})] = None,
    day: Annotated[
        str | None,
        Query(
            max_length=10,
            description="YYYY-MM-DD, UTC, on which the runs ended",
            json_schema_extra={"pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "format": "date"},
        ),
    ] = None,
) -> RunsAnswer:
    """The caller's runs with their outcome, those that failed, too, the last one to end first. With a filter, a page
    may be shorter than `limit`; the end is where next_cursor is null. Expired runs have no package. A run may be listed
    a moment after it ended."""
    wanted = _filter(package, model, status, day)
    page = list_runs(api.user_id, wanted, limit=limit, after=_place(cursor, wanted))
    following = page.following
    return RunsAnswer.of(page, next_cursor=parts_cursor(following.ended_at, following.key) if following else None)


def _filter(package: str | None, model: str | None, status: str | None, day: str | None) -> RunFilter:
    """Raises InvalidRequestError."""
    if package is not None and not is_package_name(package):
        raise InvalidRequestError("package", "must be @scope/name", got=package)
    if model is not None and model not in prices.models:
        raise InvalidRequestError("model", f"must be one of {', '.join(prices.models)}", got=model)
    if status is not None and status not in list(RunStatus):
        raise InvalidRequestError("status", f"must be one of {', '.join(RunStatus)}", got=status)
    since = until = None
    if day is not None:
        try:
            since = datetime.fromisoformat(day).replace(tzinfo=UTC)
            until = since + timedelta(days=1)
        except (ValueError, OverflowError):
            since = None
        if since is None or since.date().isoformat() != day:
            raise InvalidRequestError("day", "must be a day such as 2027-01-31", got=day)
    return RunFilter(
        package=package,
        model=model,
        status=RunStatus(status) if status is not None else None,
        since=since,
        until=until,
    )


def _place(cursor: str | None, wanted: RunFilter) -> RunPlace | None:
    """The place that a cursor names. Raises InvalidRequestError if it is not one of the list of `wanted`."""
    if cursor is None:
        return None
    place = RunPlace(*parts_of(cursor, 2))
    try:
        is_time = iso(from_iso(place.ended_at)) == place.ended_at  # the store refuses a place outside of the list
    except ValueError:
        is_time = False
    if not (is_time and KEY.fullmatch(place.key) and wanted.includes(place)):
        raise bad_cursor()
    return place


@app.get(
    "/playground/runs/<run_id>",
    tags=["runs"],
    operation_id="getRun",
    responses=answers(ReceiptAnswer, RunNotFoundError, UnreadableError),
)
def receipt(run_id: Annotated[str, Path(max_length=64)]) -> ReceiptAnswer:
    """The status of a run, and its receipt: everything that its charge was computed from."""
    return ReceiptAnswer.of(read_run(api.user_id, run_id))


@app.post(
    "/playground/runs/<run_id>/cancel",
    tags=["runs"],
    operation_id="cancelRun",
    responses=answers(ReceiptAnswer, RunNotFoundError, RunEndedError, UnreadableError),
)
def cancel_one(run_id: Annotated[str, Path(max_length=64)]) -> ReceiptAnswer:
    """End one of the caller's runs. What is written by then is kept and paid for (`stop_reason` cancelled); if nothing
    is, the run is released. Answers with the receipt; `held` if the run has not ended within five seconds. 409
    `run_ended` if it came to another end before."""
    return ReceiptAnswer.of(cancel_run(api.user_id, run_id, seconds_left=api.seconds_left - 2))


@app.get(
    "/playground/analytics/usage",
    tags=["runs"],
    operation_id="getUsage",
    responses=answers(UsageAnswer, UnreadableError),
)
def usage(
    days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="Days (UTC) up to today")] = DEFAULT_DAYS,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = MAX_ROWS,
    cursor: Cursor = None,
) -> UsageAnswer:
    """What the caller's runs of the last days came to, by day, package and model, with `totals` of these rows. A run
    counts on the day on which it ended, a moment after it. Runs without a login are nobody's."""
    page = read_usage(api.user_id, days=days, limit=limit, after=_usage_place(cursor))
    following = page.following
    parts = (following.day.isoformat(), following.package or "", following.model) if following is not None else None
    return UsageAnswer.of(page, next_cursor=parts_cursor(*parts) if parts is not None else None)


def _usage_place(cursor: str | None) -> UsagePlace | None:
    """Raises InvalidRequestError."""
    if cursor is None:
        return None
    day, package, model = parts_of(cursor, 3)
    try:
        place = UsagePlace(day=date.fromisoformat(day), package=package or None, model=model)
    except ValueError:
        raise bad_cursor() from None
    if place.day.isoformat() != day or not (package == "" or is_package_name(package)) or not MODEL.fullmatch(model):
        raise bad_cursor()
    return place


@app.get("/playground/credits/packages", tags=["credits"], operation_id="listPacks", responses=answers(PacksAnswer))
def packs() -> PacksAnswer:
    """Packs of credits on sale. Public."""
    return PacksAnswer.of(prices.packs)


@app.get("/playground/models", tags=["credits"], operation_id="listModels", responses=answers(ModelsAnswer))
def models() -> ModelsAnswer:
    """The models that a run may use, with what each costs and takes. Public."""
    return ModelsAnswer.of(prices)


@app.get("/playground/pricing", tags=["credits"], operation_id="getPricing", responses=answers(PricingAnswer))
def pricing() -> PricingAnswer:
    """What PRPM+ costs and gives. Public."""
    return PricingAnswer.of(prices)


@app.get(
    "/playground/prices/<version>",
    tags=["credits"],
    operation_id="getPriceTable",
    responses=answers(PublishedPrices, PriceTableNotFoundError),
)
def price_table(
    version: Annotated[str, Path(max_length=32, description="The `price_version` of a receipt, for example")],
) -> Response[str]:
    """A published price table, the current one or an earlier one. Public. A version never changes."""
    table = read_published(version)
    if table is None:
        raise PriceTableNotFoundError(version)
    return Response(status_code=200, content_type=content_types.APPLICATION_JSON, body=table, headers=FOREVER)


@app.post(
    "/playground/credits/purchase",
    tags=["payments"],
    operation_id="purchaseCredits",
    responses=answers(
        PurchaseAnswer, PurchaseUnavailableError, IdempotencyConflictError, RateLimitedError, *PAYMENTS_FAILED
    ),
)
def purchase(body: PurchaseBody, idempotency_key: IdempotencyKey = None) -> PurchaseAnswer:
    """Begin to buy a pack. The credits are added when it is paid."""
    email = api.email(authenticate.email)
    offer = buy_credits()(
        api.user_id,
        body.package,
        idempotency_key=idempotency_key,
        receipt_email=email,
        show_standing=api.show_standing,
    )
    return PurchaseAnswer.of(offer, pay_page_url=settings.pay_page_url)


@app.get(
    "/playground/credits/purchases",
    tags=["payments"],
    operation_id="listPurchases",
    responses=answers(PurchasesAnswer),
)
def purchases(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> PurchasesAnswer:
    """The caller's purchases of packs, newest first, also those that were never paid."""
    return PurchasesAnswer.of(list_purchases(api.user_id, limit=limit, cursor=cursor))


@app.get(
    "/playground/subscription",
    tags=["payments"],
    operation_id="getSubscription",
    responses=answers(SubscriptionAnswer, *PAYMENTS_FAILED),
)
def subscription() -> SubscriptionAnswer:
    """Whether PRPM+ is active, and until when."""
    return SubscriptionAnswer.of(manage_subscription().state(api.user_id))


@app.post(
    "/playground/subscribe",
    tags=["payments"],
    operation_id="subscribe",
    responses=answers(CheckoutAnswer, AlreadySubscribedError, PlanGrantedError, *PAYMENTS_FAILED),
)
def subscribe(body: SubscribeBody) -> CheckoutAnswer:
    """The address of Stripe's checkout page for PRPM+; the same one while that is open and leads back to the same
    pages. With other ones, the open page is closed and replaced."""
    url = manage_subscription().subscribe(api.user_id, success_url=body.success_url, cancel_url=body.cancel_url)
    return CheckoutAnswer(url=url)


@app.post(
    "/playground/subscription/cancel",
    tags=["payments"],
    operation_id="cancelSubscription",
    responses=answers(SubscriptionAnswer, SubscriptionNotFoundError, *PAYMENTS_FAILED),
)
def cancel() -> SubscriptionAnswer:
    """Cancel PRPM+ at the end of the paid period."""
    return SubscriptionAnswer.of(manage_subscription().cancel(api.user_id))


@app.post(
    "/playground/subscription/resume",
    tags=["payments"],
    operation_id="resumeSubscription",
    responses=answers(SubscriptionAnswer, SubscriptionNotFoundError, *PAYMENTS_FAILED),
)
def resume() -> SubscriptionAnswer:
    """Withdraw a cancellation."""
    return SubscriptionAnswer.of(manage_subscription().resume(api.user_id))


@app.post(
    "/playground/subscription/portal",
    tags=["payments"],
    operation_id="openPortal",
    responses=answers(PortalAnswer, SubscriptionNotFoundError, *PAYMENTS_FAILED),
)
def portal(body: PortalBody) -> PortalAnswer:
    """The address of Stripe's page for cards and invoices."""
    return PortalAnswer(url=manage_subscription().portal(api.user_id, return_url=body.return_url))


# Made on first use: most requests need no payment provider, and its package takes a while to load.


@cache
def stripe_secret() -> dict[str, Any]:
    """Cached once it is valid; a placeholder is read again with the next request."""
    return read_secret(wiring.secrets_client(), settings.stripe_secret_arn, "api_key")


@cache
def payments() -> PaymentProvider:
    from playground.adapters.stripe_payments import StripePayments

    return StripePayments(api_key=stripe_secret()["api_key"], base_url=settings.stripe_base_url)


list_purchases = ListPurchases(
    records=records, payments=payments, live=lambda: wiring.is_live(stripe_secret()["api_key"])
)


@cache
def buy_credits() -> BuyCredits:
    return BuyCredits(
        ledger=ledger,
        records=records,
        payments=payments(),
        prices=prices.with_rate_limits_times(settings.rate_limit_factor),
        live=wiring.is_live(stripe_secret()["api_key"]),
        clock=utc_now,
        new_id=id_maker(utc_now),
    )


@cache
def manage_subscription() -> ManageSubscription:
    return ManageSubscription(
        ledger=ledger,
        records=records,
        payments=payments,
        prices=prices,
        live=wiring.is_live(stripe_secret()["api_key"]),
        clock=utc_now,
        frontend_url=settings.frontend_url,
        subscription_page=settings.subscription_page,
        extra_origins=settings.extra_origins,
    )
