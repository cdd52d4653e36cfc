"""Bodies of the function credits."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field

from playground.adapters.prices import load_prices
from playground.domain.account import Account, Plan
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.pricing import ModelPrice, Pack, Price, PriceTable, Usage
from playground.domain.purchases import Purchase, PurchaseState
from playground.domain.runs import Run, RunStatus, UnpaidCost
from playground.domain.spend import Counters
from playground.domain.spreadsheet import csv_of
from playground.schemas.common import MAX_MAX_TOKENS, UNREADABLE, Body, Moment, RequestBody
from playground.schemas.published import (
    CheckoutNames,
    CreditsNames,
    PortalNames,
    PricingNames,
    PurchaseNames,
    SubscriptionNames,
    TransactionNames,
)
from playground.usecases.browse_runs import HistoryPage, RunsPage
from playground.usecases.buy_credits import Offer, SubscriptionState
from playground.usecases.list_purchases import Purchases
from playground.usecases.read_run import Receipt
from playground.usecases.read_usage import UsagePage

PRICES = load_prices()


class Breakdown(Body):
    monthly: int
    rollover: int
    purchased: int

    @classmethod
    def of(cls, credits_: Buckets | Deltas) -> Self:
        return cls(monthly=credits_.monthly, rollover=credits_.rollover, purchased=credits_.purchased)


class Monthly(Body):
    allocated: int
    used: int
    remaining: int
    reset_at: Moment | None


class Rollover(Body):
    amount: int
    expires_at: Moment | None


class CreditsAnswer(CreditsNames):
    balance: Annotated[int, Field(description="monthly + rollover + purchased")]
    available: Annotated[int, Field(description="balance − held")]
    held: Annotated[int, Field(description="Set aside for open runs")]
    debt: Annotated[
        int, Field(description="Credits that the account owes; a purchase, a bonus and what a run gives back repay it")
    ]
    monthly: Monthly
    rollover: Rollover
    purchased: int
    breakdown: Breakdown
    plan: Annotated[str, Field(json_schema_extra={"enum": [plan.value for plan in Plan]})]

    @classmethod
    def of(cls, account: Account) -> Self:
        buckets = account.buckets
        return cls(
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
            breakdown=Breakdown.of(buckets),
            plan=account.plan.value,
        )


class PurchaseBody(RequestBody):
    package: Annotated[
        str,
        Field(strict=True, max_length=50, json_schema_extra={"enum": [pack.id for pack in PRICES.packs]}),
    ]


class PurchaseAnswer(PurchaseNames):
    client_secret: Annotated[str, Field(description="For the provider's payment form in the browser; do not store it")]
    credits: int
    debt: Annotated[
        int, Field(description="Debt of the account as of now: so many of these credits repay it when they come")
    ]
    price: Annotated[int, Field(description="Cents")]
    purchase_id: str
    pay_url: Annotated[
        str | None,
        Field(
            description="On a laptop only: a page of the stand-in for Stripe on which the pack can be paid",
            exclude_if=lambda url: url is None,
        ),
    ] = None

    @classmethod
    def of(cls, offer: Offer, *, pay_page_url: str = "") -> Self:
        """`pay_page_url`: where payment pages are, each under its client secret; empty if there are none."""
        purchase = offer.purchase
        return cls(
            client_secret=offer.client_secret,
            credits=purchase.credits,
            debt=offer.debt,
            price=purchase.amount,
            purchase_id=purchase.purchase_id,
            pay_url=f"{pay_page_url}/{offer.client_secret}" if pay_page_url else None,
        )


class PurchaseSummary(Body):
    purchase_id: str
    package: str
    credits: int
    price: Annotated[int, Field(description="Cents")]
    currency: str
    state: Annotated[
        Literal["open", "declined", "canceled", "paid"],
        Field(description="declined: the last attempt to pay failed; another one may succeed"),
    ]
    created_at: Moment
    paid_at: Moment | None
    refunded: Annotated[int, Field(description="Cents that were refunded")]
    disputed: Annotated[int, Field(description="Cents that are disputed, or were lost in a dispute")]
    receipt_url: Annotated[
        str | None,
        Field(description="Stripe's receipt; it expires, so ask again. null if it is not paid, or Stripe is silent"),
    ]

    @classmethod
    def of(cls, purchase: Purchase, receipt_url: str | None) -> Self:
        return cls(
            purchase_id=purchase.purchase_id,
            package=purchase.pack,
            credits=purchase.credits,
            price=purchase.amount,
            currency=purchase.currency.upper(),
            state=STATES[purchase.state],
            created_at=purchase.created_at,
            paid_at=purchase.paid_at,
            refunded=purchase.amount_refunded,
            disputed=purchase.amount_disputed,
            receipt_url=receipt_url,
        )


STATES: Mapping[PurchaseState, Literal["open", "declined", "canceled", "paid"]] = {
    PurchaseState.OPEN: "open",
    PurchaseState.FAILED: "declined",
    PurchaseState.CANCELED: "canceled",
    PurchaseState.PAID: "paid",
}


class PurchasesAnswer(Body):
    purchases: list[PurchaseSummary]
    receipts_available: Annotated[bool, Field(description="false: Stripe did not answer, so no receipt_url is known")]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Purchases) -> Self:
        receipts = found.receipts or {}
        return cls(
            purchases=[PurchaseSummary.of(each, receipts.get(each.payment_id or "")) for each in found.purchases],
            receipts_available=found.receipts is not None,
            next_cursor=found.next_cursor,
        )


ReturnUrl = Annotated[
    str | None, Field(strict=True, max_length=2000, description="A page of the front end; has a default")
]


class SubscribeBody(RequestBody):
    success_url: Annotated[ReturnUrl, Field(validation_alias=AliasChoices("success_url", "successUrl"))] = None
    cancel_url: Annotated[ReturnUrl, Field(validation_alias=AliasChoices("cancel_url", "cancelUrl"))] = None


class PortalBody(RequestBody):
    return_url: Annotated[ReturnUrl, Field(validation_alias=AliasChoices("return_url", "returnUrl"))] = None


class CheckoutAnswer(CheckoutNames):
    url: Annotated[str, Field(description="A page of the payment provider")]


class PortalAnswer(PortalNames):
    url: Annotated[str, Field(description="A page of the payment provider")]


class SubscriptionAnswer(SubscriptionNames):
    is_active: bool
    status: Annotated[
        str, Field(description="The provider's status; `granted` if an operator set the plan; `none` without one")
    ]
    cancel_at_period_end: bool
    current_period_end: Moment | None

    @classmethod
    def of(cls, state: SubscriptionState) -> Self:
        return cls.model_validate(state, from_attributes=True)


def _without_operator(entry: Entry) -> str:
    """Entries of earlier versions name the operator behind their reason, "… (by anna)"; the user is not shown it."""
    reason, found, _ = entry.reason.rpartition(" (by ")
    is_named = entry.operator is None and entry.type in (EntryType.BONUS, EntryType.ADMIN)
    return reason if found and is_named and entry.reason.endswith(")") else entry.reason


class Transaction(TransactionNames):
    id: str
    seq: int
    amount: int
    balance_after: int
    type: Annotated[str, Field(json_schema_extra={"enum": [kind.value for kind in EntryType]})]
    description: str
    debt_origin: Annotated[
        Literal["refund", "dispute", "take", "undo"] | None,
        Field(
            description="Of a line that adds debt: what took back more credits than were available, `take` and `undo` "
            "by an operator; null for all other lines"
        ),
    ]
    buckets: Breakdown
    session_id: str | None
    run_id: str | None
    purchase_id: str | None
    model: Annotated[str | None, Field(description="Of the run that this line is about, as are the next five")]
    package: str | None
    package_version: str | None
    input_tokens: int | None
    output_tokens: int | None
    tokens_used: int | None
    custom_prompt: Annotated[bool, Field(description="Whether that run was one of a custom prompt")] = False
    use_no_prompt: Annotated[bool, Field(description="Whether that run was one without the package's text")] = False
    created_at: Moment
    business_key: Annotated[str, Field(description="Names the cause of this line; there is one line for each")]
    previous_hash: Annotated[str, Field(description="Hash of the line before")]
    hash: Annotated[str, Field(description="SHA-256 over this line and the hash of the line before")]

    @classmethod
    def of(cls, entry: Entry, run: Run | None = None) -> Self:
        """`run`: the one that the entry is about, if its receipt can be read."""
        usage = run.usage if run else None
        return cls(
            id=entry.entry_id,
            seq=entry.seq,
            amount=entry.amount,
            balance_after=entry.balance_after,
            type=entry.type.value,
            description=_without_operator(entry),
            debt_origin=entry.debt_origin.value if entry.debt_origin is not None else None,
            buckets=Breakdown.of(entry.deltas),
            session_id=entry.session_id,
            run_id=entry.run_id,
            purchase_id=entry.purchase_id,
            model=run.model if run else None,
            package=run.package if run else None,
            package_version=run.package_version if run else None,
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            tokens_used=usage.billed_tokens if usage else None,
            custom_prompt=run is not None and run.custom_prompt,
            use_no_prompt=run is not None and run.use_no_prompt,
            created_at=entry.created_at,
            business_key=entry.business_key,
            previous_hash=entry.previous_hash,
            hash=entry.hash,
        )


class HistoryAnswer(Body):
    transactions: list[Transaction]
    next_cursor: str | None
    total: Annotated[int | None, Field(description="Lines of the whole history; null with `type`")]
    unreadable: list[int] = Field([], description=f"Numbers (seq). {UNREADABLE}")

    @classmethod
    def of(cls, page: HistoryPage, *, next_cursor: str | None) -> Self:
        return cls(
            transactions=[Transaction.of(entry, page.runs.get(entry.run_id or "")) for entry in page.entries],
            next_cursor=next_cursor,
            total=page.total,
            unreadable=list(page.unreadable),
        )


COLUMNS = (
    *("seq", "created_at", "type", "amount", "balance_after", "description", "monthly", "rollover", "purchased"),
    *("run_id", "session_id", "purchase_id", "model", "package", "package_version"),
    *("input_tokens", "output_tokens", "tokens_used", "business_key"),
)
UNREADABLE_LINE = "unreadable"  # in place of the type


def history_csv(page: HistoryPage) -> str:
    """The page as CSV, with a header line. Of a damaged line there is the number only."""
    lines: dict[int, dict[str, Any]] = {seq: {"seq": seq, "type": UNREADABLE_LINE} for seq in page.unreadable}
    for entry in page.entries:
        line = Transaction.of(entry, page.runs.get(entry.run_id or "")).model_dump(mode="json")
        lines[entry.seq] = {**line, **line["buckets"]}
    return csv_of(COLUMNS, ([lines[seq].get(name) for name in COLUMNS] for seq in sorted(lines, reverse=True)))


class UsageTotals(Body):
    runs: Annotated[int, Field(description="Runs that were charged")]
    failed_runs: Annotated[int, Field(description="Runs that were not: they failed, were cancelled or expired")]
    credits: int
    tokens: Annotated[int, Field(description="input_tokens + output_tokens, of charged runs")]
    input_tokens: int
    output_tokens: int
    provider_cost: Annotated[
        int, Field(description="What the provider billed for all of these runs, in nano-dollars ($1 = 1,000,000,000)")
    ]

    @classmethod
    def of(cls, counters: Counters) -> Self:
        return cls(**_counted(counters))


class UsageDay(UsageTotals):
    date: date
    model: str
    package: Annotated[str | None, Field(description="null if it is not on record: the run's function died")]


class UsageAnswer(Body):
    from_date: Annotated[date, Field(description="The first day (UTC)")]
    to_date: Annotated[date, Field(description="The last day: today")]
    days: Annotated[
        list[UsageDay], Field(description="A row for each day, package and model with runs, the earliest day first")
    ]
    totals: Annotated[UsageTotals, Field(description="Sums of the rows of this answer")]
    next_cursor: str | None

    @classmethod
    def of(cls, page: UsagePage, *, next_cursor: str | None) -> Self:
        return cls(
            from_date=page.first,
            to_date=page.last,
            days=[
                UsageDay(date=row.day, model=row.model, package=row.package, **_counted(row.counters))
                for row in page.rows
            ],
            totals=UsageTotals.of(page.totals),
            next_cursor=next_cursor,
        )


def _counted(counters: Counters) -> dict[str, int]:
    return {
        "runs": counters.runs,
        "failed_runs": counters.failed,
        "credits": counters.credits,
        "tokens": counters.input_tokens + counters.output_tokens,
        "input_tokens": counters.input_tokens,
        "output_tokens": counters.output_tokens,
        "provider_cost": counters.cost_nano,
    }


class PackAnswer(Body):
    id: str
    name: str
    credits: int
    price: Annotated[int, Field(description="in cents")]
    price_formatted: str
    per_credit_cost: Annotated[float, Field(description="in cents")]
    bonus: Annotated[int, Field(description="Percent more credits for the money than in the smallest pack")]
    description: str
    popular: bool

    @classmethod
    def of(cls, pack: Pack, *, smallest: Pack) -> Self:
        return cls(
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


class PacksAnswer(Body):
    packages: list[PackAnswer]

    @classmethod
    def of(cls, packs: Sequence[Pack]) -> Self:
        """`packs` as the price table has them, the smallest first."""
        return cls(packages=[PackAnswer.of(pack, smallest=packs[0]) for pack in packs])


class PricingAnswer(PricingNames):
    name: str
    price: Annotated[int, Field(description="in cents")]
    price_formatted: str
    currency: str
    interval: str
    credits: int
    price_version: str

    @classmethod
    def of(cls, prices: PriceTable) -> Self:
        plan = prices.plan
        return cls(
            name=plan.name,
            price=plan.price_cents,
            price_formatted=_dollars(plan.price_cents),
            currency=prices.currency,
            interval=plan.interval,
            credits=plan.credits,
            price_version=prices.version,
        )


class MaxTokensAnswer(Body):
    default: int
    most: Annotated[int, Field(description="The most that a request may ask for")]


class TierAnswer(Body):
    up_to_tokens: int
    credits: Annotated[int, Field(description="For a run of this model, before the floor")]


class TiersAnswer(Body):
    steps: Annotated[list[TierAnswer], Field(description="By billed tokens, input and output; the first that fits")]
    further_tokens: Annotated[int, Field(description="Above the last step, each begun further_tokens cost more")]
    further_credits: int


class ModelAnswer(Body):
    name: Annotated[str, Field(description="The value of `model` in a request")]
    model_id: Annotated[str, Field(description="The provider's id")]
    default: bool
    factor: Annotated[int, Field(description="Multiplies the credits of the size tiers")]
    tiers: TiersAnswer
    efforts: list[str]
    default_effort: str
    takes_temperature: bool
    max_tokens: MaxTokensAnswer
    context_tokens: int
    retired: Annotated[bool, Field(description="No longer offered: a request for it is refused")]

    @classmethod
    def of(cls, model: ModelPrice, prices: PriceTable) -> Self:
        steps = [
            TierAnswer(up_to_tokens=tokens, credits=credits_ * model.factor) for tokens, credits_ in prices.tiers.steps
        ]
        return cls(
            name=model.name,
            model_id=model.model_id,
            default=model.name == prices.default_model,
            factor=model.factor,
            tiers=TiersAnswer(steps=steps, further_tokens=prices.tiers.further_tokens, further_credits=model.factor),
            efforts=list(model.efforts),
            default_effort=model.default_effort,
            takes_temperature=model.accepts_temperature,
            max_tokens=MaxTokensAnswer(
                default=prices.default_max_tokens, most=min(model.max_output_tokens, MAX_MAX_TOKENS)
            ),
            context_tokens=model.context_tokens,
            retired=False,  # the price table has no model that is not offered
        )


class ModelsAnswer(Body):
    models: list[ModelAnswer]
    price_version: str

    @classmethod
    def of(cls, prices: PriceTable) -> Self:
        return cls(
            models=[ModelAnswer.of(model, prices) for model in prices.models.values()], price_version=prices.version
        )


class UnpaidAnswer(Body):
    cost_nano_dollars: int
    usage_source: Annotated[
        Literal["reported", "estimated"],
        Field(description="estimated: the provider did not report all of it; the rest is estimated upward"),
    ]

    @classmethod
    def of(cls, unpaid: UnpaidCost) -> Self:
        return cls(cost_nano_dollars=unpaid.cost_nano, usage_source="estimated" if unpaid.estimated else "reported")


class RunError(Body):
    error: Annotated[str, Field(description="A code of the error answers")]
    reason: str


class RunSummary(Body):
    run_id: str
    status: Literal["held", "settled", "released", "expired"]
    session_id: Annotated[str, Field(description="The session may have been deleted since")]
    model: str
    model_id: str | None
    package: str | None
    package_version: str | None
    credits_spent: int
    ceiling: Annotated[int, Field(description="The most that it could cost: what was held while it ran")]
    input_tokens: Annotated[
        int | None, Field(description="As are the next two: null for an unpaid run whose usage is an estimate")
    ]
    output_tokens: int | None
    tokens_used: int | None
    stop_reason: str | None
    duration_ms: int | None
    started_at: Moment
    ended_at: Moment | None
    error: Annotated[RunError | None, Field(description="Why it was not charged")]

    @classmethod
    def of(cls, run: Run) -> Self:
        usage, measured = run.final_usage, run.measured
        return cls(
            run_id=run.run_id,
            status=run.status.value,
            session_id=run.session_id,
            model=run.model,
            model_id=run.model_id,
            package=run.package,
            package_version=run.package_version,
            credits_spent=run.charged,
            ceiling=run.ceiling,
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            tokens_used=usage.billed_tokens if usage else None,
            stop_reason=measured.stop_reason if measured else None,
            duration_ms=measured.duration_ms if measured else None,
            started_at=run.started_at,
            ended_at=run.ended_at if run.status is not RunStatus.HELD else None,
            error=RunError(error=run.failure.code, reason=run.failure.reason) if run.failure else None,
        )


class RunsAnswer(Body):
    open: Annotated[
        list[RunSummary],
        Field(description="Runs that are being made, on the first page only; none with `package` or `day`"),
    ]
    runs: Annotated[list[RunSummary], Field(description="Runs that ended, the last one to end first")]
    next_cursor: str | None
    unreadable: list[str] = Field([], description=f"Ids of runs. {UNREADABLE}")

    @classmethod
    def of(cls, page: RunsPage, *, next_cursor: str | None) -> Self:
        return cls(
            open=[RunSummary.of(run) for run in page.open],
            runs=[RunSummary.of(run) for run in page.runs],
            next_cursor=next_cursor,
            unreadable=list(page.unreadable),
        )


class ReceiptAnswer(Body):
    run_id: str
    status: Literal["held", "settled", "released", "expired"]
    session_id: str
    model: str
    ceiling: int
    started_at: Moment
    ended_at: Moment | None = None
    package: str | None = None
    package_version: str | None = None
    variables: list[str] = Field([], description="Names of the variables that were given")
    custom_prompt: Annotated[
        bool, Field(description="Whether it ran a custom prompt: the table's `custom_prompt` has its factor")
    ] = False
    use_no_prompt: Annotated[
        bool, Field(description="Whether nothing of the package's text was sent; false if that was not recorded yet")
    ] = False
    model_id: str | None = None
    stop_reason: str | None = None
    duration_ms: int | None = None
    credits_spent: int = 0
    overrun: Annotated[int, Field(description="Credits above the ceiling: never charged")] = 0
    buckets: Breakdown | None = None
    balance_after: int | None = None
    usage: dict[str, int] | None = None
    price: dict[str, int] | None = None
    unpaid: Annotated[
        UnpaidAnswer | None, Field(description="What attempts without an answer cost the service; never charged")
    ] = None
    price_version: Annotated[
        str | None, Field(description="The table of ceiling and charge: GET /playground/prices/{price_version}")
    ] = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    wanted_max_tokens: int | None = None
    entry_seq: int | None = None
    entry_hash: str | None = None
    error: dict[str, Any] | None = None
    response: Annotated[str | None, Field(description="The answer, while its session exists")] = None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        run, measured = receipt.run, receipt.run.measured
        usage = run.usage
        return cls(
            run_id=run.run_id,
            status=run.status.value,
            session_id=run.session_id,
            variables=list(run.variables),
            custom_prompt=run.custom_prompt,
            use_no_prompt=run.use_no_prompt,
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
            buckets=Breakdown.of(run.deltas) if measured else None,
            balance_after=run.balance_after,
            usage=_usage(usage) if usage else None,
            price=_price(measured.price) if measured else None,
            unpaid=UnpaidAnswer.of(run.unpaid) if run.unpaid else None,
            price_version=run.price_version,
            prompt_tokens=run.prompt_tokens,
            max_tokens=run.max_tokens,
            wanted_max_tokens=run.wanted_max_tokens,
            entry_seq=run.entry_seq,
            entry_hash=run.entry_hash,
            error={"error": run.failure.code, "reason": run.failure.reason} if run.failure else None,
            response=receipt.answer,
        )


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
    }


def _price(price: Price) -> dict[str, int]:
    return {
        "credits": price.credits,
        "tier": price.tier,
        "factor": price.factor,
        "floor": price.floor,
        "cost_nano_dollars": price.cost_nano,
    }


def _dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02d}"
