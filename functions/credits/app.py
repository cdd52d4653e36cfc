"""Balance, history, receipts, prices, purchases and the subscription.

Never asks a model; asks Stripe only when somebody wants to pay, and loads its package only then.
"""

from functools import cache
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from playground import wiring
from playground.adapters.dynamo_payments import DynamoPayments
from playground.adapters.ids import id_maker
from playground.adapters.secrets import read_secret
from playground.domain.account import Account
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import InvalidRequestError
from playground.http import Api, answers, authenticator, from_cursor, to_cursor, utc_now
from playground.observability import report_run
from playground.ports import Payments
from playground.schemas import (
    PRICES,
    Breakdown,
    CreditsAnswer,
    HistoryAnswer,
    IdempotencyKey,
    Monthly,
    PackAnswer,
    PacksAnswer,
    PricingAnswer,
    PurchaseAnswer,
    PurchaseBody,
    ReceiptAnswer,
    Rollover,
    SubscribeBody,
    SubscriptionAnswer,
    Transaction,
    UnpaidAnswer,
    UrlAnswer,
)
from playground.settings import CreditsPaymentsSettings
from playground.usecases.buy_credits import BuyCredits, ManageSubscription, SubscriptionState
from playground.usecases.read_account import ReadAccount
from playground.usecases.read_run import ReadRun, Receipt

settings = CreditsPaymentsSettings.load()
store = wiring.store(settings)
ledger = wiring.ledger(settings, store)
records = DynamoPayments(store, settings.ledger_table)
read_account = ReadAccount(ledger=ledger, clock=utc_now, report=report_run)
read_run = ReadRun(ledger=ledger, sessions=wiring.sessions(settings, store), clock=utc_now, report=report_run)
handler = Api(
    settings,
    authenticate=authenticator(settings, wiring.secrets_client),
    public=frozenset({"/playground/credits/packages"}),
)
app = handler.app


@app.get("/playground/credits", tags=["credits"], responses=answers(CreditsAnswer, 401, 503))
def credits_() -> CreditsAnswer:
    """The caller's balance, as of now."""
    return _credits(read_account(handler.user_id))


@app.get("/playground/credits/history", tags=["credits"], responses=answers(HistoryAnswer, 400, 401, 503))
def history(
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    type: Annotated[str | None, Query(json_schema_extra={"enum": [kind.value for kind in EntryType]})] = None,  # noqa: A002
) -> HistoryAnswer:
    """Every change of the caller's credits, newest first. With `type`, a page may be shorter than `limit`."""
    if type is not None and type not in list(EntryType):
        raise InvalidRequestError("type", f"must be one of {', '.join(EntryType)}")
    before = from_cursor(cursor)
    ledger.account(handler.user_id, utc_now())
    entries, following, unreadable = ledger.entries(
        handler.user_id, before=before, limit=limit, type_=EntryType(type) if type is not None else None
    )
    return HistoryAnswer(
        transactions=[_transaction(entry) for entry in entries],
        next_cursor=to_cursor(following) if following is not None else None,
        unreadable=list(unreadable),
    )


@app.get("/playground/runs/<run_id>", tags=["runs"], responses=answers(ReceiptAnswer, 400, 401, 404, 503))
def receipt(run_id: Annotated[str, Path(max_length=64)]) -> ReceiptAnswer:
    """What became of a run, and everything that its charge was worked out from."""
    return _receipt(read_run(handler.user_id, run_id))


@app.get("/playground/credits/packages", tags=["credits"], responses=answers(PacksAnswer))
def packs() -> PacksAnswer:
    """Packs of credits on sale. Public."""
    smallest = PRICES.packs[0]
    return PacksAnswer(
        packages=[
            PackAnswer(
                id=pack.id,
                name=pack.name,
                credits=pack.credits,
                price=pack.price_cents,
                price_formatted=_dollars(pack.price_cents),
                per_credit_cost=round(pack.price_cents / pack.credits, 2),
                bonus=pack.credits * smallest.price_cents * 100 // (smallest.credits * pack.price_cents) - 100,
                description=pack.description,
                popular=pack.popular,
            )
            for pack in PRICES.packs
        ]
    )


@app.get("/playground/pricing", tags=["credits"], responses=answers(PricingAnswer, 401, 503))
def pricing() -> PricingAnswer:
    """What PRPM+ costs and gives."""
    plan = PRICES.plan
    return PricingAnswer(
        name=plan.name,
        price=plan.price_cents,
        price_formatted=_dollars(plan.price_cents),
        currency=PRICES.currency,
        interval=plan.interval,
        credits=plan.credits,
        price_version=PRICES.version,
    )


@app.post("/playground/credits/purchase", tags=["payments"], responses=answers(PurchaseAnswer, 400, 401, 409, 422, 503))
def purchase(body: PurchaseBody, idempotency_key: IdempotencyKey = None) -> PurchaseAnswer:
    """Begin to buy a pack. The credits come when it is paid."""
    offer = buy_credits()(handler.user_id, body.package, idempotency_key=idempotency_key)
    return PurchaseAnswer(
        client_secret=offer.client_secret,
        credits=offer.purchase.credits,
        price=offer.purchase.amount,
        purchase_id=offer.purchase.purchase_id,
    )


@app.get("/playground/subscription", tags=["payments"], responses=answers(SubscriptionAnswer, 401, 503))
def subscription() -> SubscriptionAnswer:
    """Whether PRPM+ is active, and until when."""
    return _subscription(manage_subscription().state(handler.user_id))


@app.post("/playground/subscribe", tags=["payments"], responses=answers(UrlAnswer, 400, 401, 409, 503))
def subscribe(body: SubscribeBody) -> UrlAnswer:
    """A page of Stripe on which PRPM+ is paid for. The same one while it is open."""
    url = manage_subscription().subscribe(handler.user_id, success_url=body.success_url, cancel_url=body.cancel_url)
    return UrlAnswer(url=url)


@app.post(
    "/playground/subscription/cancel", tags=["payments"], responses=answers(SubscriptionAnswer, 400, 401, 404, 503)
)
def cancel() -> SubscriptionAnswer:
    """End PRPM+ with the period that is paid for."""
    return _subscription(manage_subscription().cancel(handler.user_id))


@app.post(
    "/playground/subscription/resume", tags=["payments"], responses=answers(SubscriptionAnswer, 400, 401, 404, 503)
)
def resume() -> SubscriptionAnswer:
    """Take a cancellation back."""
    return _subscription(manage_subscription().resume(handler.user_id))


@app.post("/playground/subscription/portal", tags=["payments"], responses=answers(UrlAnswer, 400, 401, 404, 503))
def portal() -> UrlAnswer:
    """A page of Stripe for cards and invoices."""
    return UrlAnswer(url=manage_subscription().portal(handler.user_id))


# What Stripe needs is made when somebody wants to pay: most requests do not, and its package takes a while to load.


@cache
def stripe_secret() -> dict[str, Any]:
    """Kept once it is good; one that is not set yet is read again with the next request."""
    return read_secret(wiring.secrets_client(), settings.stripe_secret_arn, "api_key")


@cache
def payments() -> Payments:
    from playground.adapters.stripe_payments import StripePayments

    return StripePayments(api_key=stripe_secret()["api_key"], base_url=settings.stripe_base_url)


@cache
def buy_credits() -> BuyCredits:
    return BuyCredits(
        ledger=ledger,
        records=records,
        payments=payments(),
        prices=PRICES,
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
        prices=PRICES,
        live=wiring.is_live(stripe_secret()["api_key"]),
        clock=utc_now,
        frontend_url=settings.frontend_url,
    )


def _subscription(state: SubscriptionState) -> SubscriptionAnswer:
    return SubscriptionAnswer(
        is_active=state.is_active,
        status=state.status,
        cancel_at_period_end=state.cancel_at_period_end,
        current_period_end=state.current_period_end,
    )


def _credits(account: Account) -> CreditsAnswer:
    buckets = account.buckets
    return CreditsAnswer(
        balance=account.balance,
        available=account.available,
        held=account.held,
        debt=account.debt,
        monthly=Monthly(
            allocated=account.allocated,
            used=max(account.allocated - buckets.monthly, 0),
            remaining=buckets.monthly,
            reset_at=account.resets_at,
        ),
        rollover=Rollover(amount=buckets.rollover, expires_at=account.due_at if buckets.rollover else None),
        purchased=buckets.purchased,
        breakdown=Breakdown(monthly=buckets.monthly, rollover=buckets.rollover, purchased=buckets.purchased),
        plan=account.plan.value,
    )


def _transaction(entry: Entry) -> Transaction:
    return Transaction(
        id=entry.entry_id,
        seq=entry.seq,
        amount=entry.amount,
        balance_after=entry.balance_after,
        type=entry.type.value,
        description=entry.reason,
        buckets=_breakdown(entry.deltas),
        session_id=entry.session_id,
        run_id=entry.run_id,
        purchase_id=entry.purchase_id,
        created_at=entry.created_at,
        business_key=entry.business_key,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
    )


def _receipt(receipt: Receipt) -> ReceiptAnswer:
    run, measured = receipt.run, receipt.run.measured
    usage = measured.usage if measured else run.unpaid.usage if run.unpaid else None
    price = measured.price if measured else None
    return ReceiptAnswer(
        run_id=run.run_id,
        status=run.status.value,
        session_id=run.session_id,
        model=run.model,
        ceiling=run.ceiling,
        started_at=run.started_at,
        ended_at=run.ended_at if receipt.ended else None,
        package=run.package,
        package_version=run.package_version,
        model_id=run.model_id,
        stop_reason=measured.stop_reason if measured else None,
        duration_ms=measured.duration_ms if measured else None,
        credits_spent=run.charged,
        overrun=run.overrun,
        buckets=_breakdown(run.deltas) if measured else None,
        balance_after=run.balance_after,
        usage={
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
        }
        if usage
        else None,
        price={
            "credits": price.credits,
            "tier": price.tier,
            "factor": price.factor,
            "floor": price.floor,
            "cost_nano_dollars": price.cost_nano,
        }
        if price
        else None,
        unpaid=UnpaidAnswer(
            cost_nano_dollars=run.unpaid.cost_nano,
            usage_source="estimated" if run.unpaid.estimated else "reported",
        )
        if run.unpaid
        else None,
        price_version=run.price_version,
        prompt_tokens=run.prompt_tokens,
        max_tokens=run.max_tokens,
        wanted_max_tokens=run.wanted_max_tokens,
        entry_seq=run.entry_seq,
        entry_hash=run.entry_hash,
        error={"error": run.failure.code, "reason": run.failure.reason} if run.failure else None,
        response=receipt.answer,
    )


def _breakdown(deltas: Deltas) -> Breakdown:
    return Breakdown(monthly=deltas.monthly, rollover=deltas.rollover, purchased=deltas.purchased)


def _dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02d}"
