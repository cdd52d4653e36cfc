"""BuyCredits and ManageSubscription: a user's requests to the payment provider.

Our own row is written first, so that the webhook finds it whatever happens to the request. Nothing here changes
credits: only events of the provider do.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from playground.domain.account import Account, Plan
from playground.domain.calendar import instant, iso
from playground.domain.errors import (
    AlreadySubscribedError,
    IdempotencyConflictError,
    InvalidRequestError,
    PaymentsRejectedError,
    PaymentsUnavailableError,
    PlanGrantedError,
    PurchaseUnavailableError,
    RateLimitedError,
    StoreUnavailableError,
    SubscriptionNotFoundError,
)
from playground.domain.pricing import Pack, PriceTable
from playground.domain.purchases import Customer, Purchase
from playground.domain.rates import RateStanding
from playground.domain.runs import run_id_of
from playground.domain.subscriptions import AgreedPrice, Subscription, SubscriptionSnapshot
from playground.ports import (
    Begun,
    BegunBefore,
    CheckoutPage,
    CheckoutStarted,
    Clock,
    CustomerGoneError,
    Ledger,
    NewId,
    PaymentProvider,
    PaymentStarted,
    PurchaseRecords,
    TooManyPurchases,
)

T = TypeVar("T")

MAX_TRIES = 8  # of writing a row that other requests write, too
MAX_CUSTOMERS = 3  # tried in one request: the recorded one, its replacement, and one more if that is gone, too
KEY_LIFETIME = timedelta(hours=23)  # of idempotency keys at the provider, less an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A purchase with an open payment. `debt`: what the account owed when it was asked for."""

    purchase: Purchase
    client_secret: str
    debt: int


@dataclass(frozen=True, slots=True)
class Customers:
    """A user's customer at the provider: one, also when two requests create it at once.

    A customer that the provider does not have (deleted, or of another Stripe account) is replaced by one new one. Its
    number comes from the record and is in its idempotency key at the provider, so concurrent requests get the same
    customer.
    """

    records: PurchaseRecords
    payments: PaymentProvider
    live: bool

    def ask(self, account: Account, now: datetime, question: Callable[[Customer], T]) -> T:
        """The answer to `question` about the user's customer, which is created or replaced if necessary. The question
        is repeated if its customer is gone, so keys of what it creates must include the customer's number."""
        for _ in range(MAX_CUSTOMERS):
            customer = self._of(account, now)
            try:
                return question(customer)
            except CustomerGoneError:
                # If it has changed meanwhile, another request has recorded that already.
                self.records.save(replace(customer, gone=True))
        raise PaymentsUnavailableError

    def _of(self, account: Account, now: datetime) -> Customer:
        user_id = account.user_id
        for _ in range(MAX_TRIES):
            seen = self.records.customer(user_id, live=self.live)
            if seen is not None and not seen.gone:
                return seen
            mode = "live" if self.live else "test"
            number = seen.number + 1 if seen is not None else 0
            customer_id = self.payments.create_customer(
                user_id=user_id, key=_numbered(f"customer:{mode}:{_generation(account)}", number)
            )
            made = Customer(user_id=user_id, customer_id=customer_id, live=self.live, created_at=now)
            self.records.save(seen.replaced_by(customer_id, now) if seen is not None else made)
        raise StoreUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyCredits:
    ledger: Ledger
    records: PurchaseRecords
    payments: PaymentProvider
    prices: PriceTable
    live: bool
    clock: Clock
    new_id: NewId

    def __call__(
        self,
        user_id: str,
        pack_id: str,
        *,
        idempotency_key: str | None,
        receipt_email: str | None = None,
        show_standing: Callable[[RateStanding], None] = lambda standing: None,
    ) -> Offer:
        """A purchase of the pack with the secret for its payment. The same key again gives the same purchase, for ever,
        and is not counted for the rate limit. `show_standing` is called with the account's use of that limit.

        The provider sends its receipt to `receipt_email`, which is not stored here.

        Raises InvalidRequestError for an unknown pack, IdempotencyConflictError if the key was used for another one,
        RateLimitedError, PurchaseUnavailableError if the provider no longer has its payment, StoreUnavailableError
        while the account is being erased.
        """
        pack = next((pack for pack in self.prices.packs if pack.id == pack_id), None)
        if pack is None:
            known = ", ".join(pack.id for pack in self.prices.packs)
            raise InvalidRequestError("package", f"must be one of {known}", got=pack_id)
        now = instant(self.clock())
        account = self.ledger.account(user_id, now)
        show_standing(self.prices.purchase_limit.standing(account.purchases_at, now))
        purchase = self._open(account, pack, idempotency_key, now, show_standing)
        started = self._payment(account, purchase, now)
        if purchase.payment_id is None:
            self._describe(purchase, started, receipt_email)
        purchase = self._name(purchase, started.payment_id)
        return Offer(purchase=purchase, client_secret=started.client_secret, debt=account.debt)

    def _open(
        self,
        account: Account,
        pack: Pack,
        idempotency_key: str | None,
        now: datetime,
        show_standing: Callable[[RateStanding], None],
    ) -> Purchase:
        user_id = account.user_id
        purchase_id = self.new_id("pur")
        if idempotency_key is not None:
            key = f"purchase:{_generation(account)}:{idempotency_key}"
            purchase_id = "pur_" + run_id_of(user_id, key).removeprefix("run_")
        wanted = Purchase(
            purchase_id=purchase_id,
            user_id=user_id,
            pack=pack.id,
            credits=pack.credits,
            amount=pack.price_cents,
            currency=self.prices.currency.lower(),
            live=self.live,
            price_version=self.prices.version,
            created_at=now,
        )
        there = self.records.purchase(user_id, purchase_id) if idempotency_key is not None else None
        if there is None:
            limit = self.prices.purchase_limit
            match self.records.begin(wanted, account, limit=limit, now=now):
                case Begun(purchase, purchases_at):
                    show_standing(limit.standing(purchases_at, now))
                    return purchase
                case TooManyPurchases(purchases_at):
                    show_standing(limit.standing(purchases_at, now))
                    wait = math.ceil(limit.wait(purchases_at, now).total_seconds())
                    raise RateLimitedError(what=limit.name, limit=limit.per_minute, retry_after=wait)
                case BegunBefore(there):
                    pass
        if there.pack != pack.id:
            raise IdempotencyConflictError
        if there.live is not self.live:
            raise PurchaseUnavailableError(purchase_id=there.purchase_id, state=there.state.value)
        return there

    def _payment(self, account: Account, purchase: Purchase, now: datetime) -> PaymentStarted:
        """The payment of a purchase, which has at most one. If the provider no longer has it, no other one is begun,
        because the credits could then be paid and not granted, or granted twice."""
        if purchase.payment_id is not None:
            started = self.payments.payment_started(purchase.payment_id)
            if started is None:
                raise PurchaseUnavailableError(purchase_id=purchase.purchase_id, state=purchase.state.value)
            return started

        def begin(customer: Customer) -> PaymentStarted:
            started: PaymentStarted | None = None
            if now - purchase.created_at > KEY_LIFETIME:  # the provider has forgotten the key, but not the payment
                started = self._find(customer, purchase)
            return started or self.payments.create_payment(
                amount=purchase.amount,
                currency=purchase.currency,
                customer_id=customer.customer_id,
                user_id=purchase.user_id,
                purchase_id=purchase.purchase_id,
                key=_numbered(purchase.purchase_id, customer.number),
            )

        return Customers(self.records, self.payments, live=self.live).ask(account, now, begin)

    def _describe(self, purchase: Purchase, started: PaymentStarted, receipt_email: str | None) -> None:
        """Say at the provider what is paid for. In a call of its own, for what creates the payment must be the same in
        every repeat, whatever its token says and whichever release it meets. A payment without it is as good."""
        with suppress(PaymentsUnavailableError, PaymentsRejectedError):
            self.payments.describe_payment(
                started.payment_id,
                description=f"{purchase.credits} playground credits ({purchase.pack}), {purchase.purchase_id}",
                receipt_email=receipt_email,
            )

    def _find(self, customer: Customer, purchase: Purchase) -> PaymentStarted | None:
        """The payment among those of the user's customer and of the previous one, if the provider has it."""
        started = self.payments.payment_for(customer_id=customer.customer_id, purchase_id=purchase.purchase_id)
        if started is None and customer.former:
            with suppress(CustomerGoneError):
                return self.payments.payment_for(customer_id=customer.former[-1], purchase_id=purchase.purchase_id)
        return started

    def _name(self, purchase: Purchase, payment_id: str) -> Purchase:
        """The purchase with its payment's id, which the webhook may have recorded before."""
        for _ in range(MAX_TRIES):
            if purchase.payment_id is not None:
                return purchase
            named = replace(purchase, payment_id=payment_id)
            if self.records.save(named):
                return named
            there = self.records.purchase(purchase.user_id, purchase.purchase_id)
            if there is None:
                break
            purchase = there
        raise StoreUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    is_active: bool
    status: str
    cancel_at_period_end: bool
    current_period_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageSubscription:
    """`subscribe`, `cancel`, `resume` and `portal` may each be repeated."""

    ledger: Ledger
    records: PurchaseRecords
    payments: Callable[[], PaymentProvider]
    prices: PriceTable
    live: bool
    clock: Clock
    frontend_url: str
    subscription_page: str
    extra_origins: Sequence[str] = ()

    def state(self, user_id: str) -> SubscriptionState:
        """The state by our records only. A plan that an operator set is active, too, with status `granted`."""
        account = self.ledger.account(user_id, self.clock())
        subscription = self.records.subscription(user_id)
        if not subscription.is_active and (account.has_granted_plan or _pays(account, subscription)):
            return SubscriptionState(
                is_active=True,
                status="granted" if account.has_granted_plan else "active",
                cancel_at_period_end=account.has_granted_plan and account.entitled_until is not None,
                current_period_end=account.due_at,
            )
        return _state(subscription)

    def subscribe(self, user_id: str, *, success_url: str | None = None, cancel_url: str | None = None) -> str:
        """The URL of the provider's checkout page. A page that is still open is returned again, unless it leads back to
        other addresses: it is closed then, before another one is opened, so that one page at most can be paid on.

        Recorded pages and subscriptions that the provider does not have (of a deleted customer, or of another Stripe
        account) are ignored.

        Raises AlreadySubscribedError, PlanGrantedError while an operator's plan is active, InvalidRequestError for a
        URL outside the front end, and StoreUnavailableError while the account is being erased.
        """
        query = f"{self.subscription_page}{'&' if '?' in self.subscription_page else '?'}checkout="
        success = self._return_url("success_url", success_url, f"{query}success")
        cancel = self._return_url("cancel_url", cancel_url, f"{query}canceled")
        now = instant(self.clock())
        account = self.ledger.account(user_id, now)
        plan, currency = self.prices.plan, self.prices.currency.lower()
        for _ in range(MAX_TRIES):
            subscription = self.records.subscription(user_id)
            if self._is_alive_there(subscription.described) or self._pays_there(account, subscription):
                raise AlreadySubscribedError
            if account.has_granted_plan:
                raise PlanGrantedError(entitled_until=account.entitled_until)
            url = subscription.open_checkout(now)
            page = self._page_there(subscription) if url is not None else None
            if url is not None and page is not None and not self._is_replaced(page, success, cancel):
                return url
            mode = "live" if self.live else "test"
            key = f"checkout:{mode}:{_generation(account)}:{subscription.checkouts}:{_digest(success, cancel)}"

            def begin(customer: Customer, key: str = key) -> CheckoutStarted:
                return self.payments().create_checkout(
                    customer_id=customer.customer_id,
                    user_id=user_id,
                    plan=plan,
                    currency=currency,
                    success_url=success,
                    cancel_url=cancel,
                    key=_numbered(key, customer.number),
                )

            started = self._customers().ask(account, now, begin)
            opened = replace(
                subscription,
                live=self.live,
                checkout_id=started.checkout_id,
                checkout_url=started.url,
                checkout_expires_at=started.expires_at,
                checkouts=subscription.checkouts + 1,
            ).with_offer(AgreedPrice(amount=plan.price_cents, currency=currency))
            if self.records.save(opened):
                return started.url
        raise StoreUnavailableError

    def cancel(self, user_id: str) -> SubscriptionState:
        """End the subscription with its paid period. Changes no credits."""
        return self._set(user_id, cancel=True)

    def resume(self, user_id: str) -> SubscriptionState:
        """Undo `cancel`. Changes no credits."""
        return self._set(user_id, cancel=False)

    def portal(self, user_id: str, *, return_url: str | None = None) -> str:
        """The URL of the provider's page for cards and invoices. Raises SubscriptionNotFoundError if the user has
        never paid, and InvalidRequestError for a URL outside the front end."""
        back = self._return_url("return_url", return_url, self.subscription_page)
        if self.records.customer(user_id, live=self.live) is None:
            raise SubscriptionNotFoundError
        now = instant(self.clock())
        return self._customers().ask(
            self.ledger.account(user_id, now),
            now,
            lambda customer: self.payments().create_portal(customer_id=customer.customer_id, return_url=back),
        )

    def _customers(self) -> Customers:
        return Customers(self.records, self.payments(), live=self.live)

    def _is_alive_there(self, described: SubscriptionSnapshot | None) -> bool:
        """Whether the provider has it, too. Otherwise it would stay active here for ever: no event would end it."""
        return (
            described is not None
            and _alive(described)
            and self.payments().subscription(described.subscription_id) is not None
        )

    def _pays_there(self, account: Account, subscription: Subscription) -> bool:
        own = account.subscription_id
        return _pays(account, subscription) and own is not None and self.payments().subscription(own) is not None

    def _page_there(self, subscription: Subscription) -> CheckoutPage | None:
        """The recorded page, if the provider has it and it is not closed."""
        if subscription.checkout_id is None:
            return None
        customer = self.records.customer(subscription.user_id, live=self.live)
        if customer is None or customer.gone:
            return None
        return self.payments().checkout_page(subscription.checkout_id, customer_id=customer.customer_id)

    def _is_replaced(self, page: CheckoutPage, success: str, cancel: str) -> bool:
        """Whether the page leads back elsewhere, and has been closed for that. What is paid on, or being paid on, is
        not closed."""
        if (page.success_url, page.cancel_url) == (success, cancel) or page.is_complete:
            return False
        return self.payments().close_checkout(page.checkout_id)

    def _set(self, user_id: str, *, cancel: bool) -> SubscriptionState:
        described = self.records.subscription(user_id).described
        if described is None or not _alive(described):
            raise SubscriptionNotFoundError
        if described.cancel_at_period_end is not cancel:
            answer = self.payments().set_cancel_at_period_end(described.subscription_id, cancel=cancel)
            if answer is None:
                raise SubscriptionNotFoundError
            described = answer.ordered_after(described)
        for _ in range(MAX_TRIES):
            subscription = self.records.subscription(user_id)
            updated = subscription.updated_by(described.ordered_after(subscription.described))
            if updated == subscription or self.records.save(updated):
                return _state(updated)
        raise StoreUnavailableError

    def _return_url(self, field: str, url: str | None, default_path: str) -> str:
        """A URL of the front end: the checkout page must not redirect to another site."""
        if url is None:
            return self.frontend_url + default_path
        visible = all("!" <= character <= "~" and character != "\\" for character in url)
        own_pages = tuple(f"{origin}/" for origin in (self.frontend_url, *self.extra_origins))
        if not url.startswith(own_pages) or not visible:
            raise InvalidRequestError(
                field, f"must begin with {self.frontend_url}/ and be percent-encoded ASCII", got=url
            )
        return url


def _generation(account: Account) -> str:
    """Identifies the account, also among accounts of one user before and after an erasure. Without the time of opening,
    the provider would answer a key with objects of the erased account."""
    return f"{account.user_id}:{iso(account.created_at)}"


def _numbered(key: str, number: int) -> str:
    """The idempotency key for an object of the `number`th customer of a user. Another customer makes another request,
    for which the provider would refuse the same key. Keys of the first customer have no number, as in earlier
    versions."""
    return f"{key}:{number}" if number else key


def _digest(*texts: str) -> str:
    """A hash for an idempotency key, which must differ when the URLs in a request do."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _alive(described: SubscriptionSnapshot | None) -> bool:
    return described is not None and described.ended_at is None and described.status != "incomplete"


def _pays(account: Account, subscription: Subscription) -> bool:
    """Whether the plan is that of an earlier subscription, which continues although a later one has ended."""
    described, own = subscription.described, account.subscription_id
    other = described is not None and described.subscription_id != own
    return account.plan is Plan.PLUS and own is not None and other and own not in subscription.ended


def _state(subscription: Subscription) -> SubscriptionState:
    described = subscription.described
    return SubscriptionState(
        is_active=subscription.is_active,
        status=subscription.status,
        cancel_at_period_end=described.cancel_at_period_end if described is not None else False,
        current_period_end=described.current_period_end if described is not None else None,
    )
