"""ListPurchases: what a user has bought, or meant to, with the state of each purchase."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from playground.domain.calendar import from_iso, iso
from playground.domain.cursors import bad_cursor, parts_cursor, parts_of
from playground.domain.errors import PaymentsRejectedError, PaymentsUnavailableError, StoreUnavailableError
from playground.domain.purchases import Purchase, PurchaseState
from playground.ports import CustomerGoneError, PaymentProvider, PurchaseRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchases:
    """A page, the newest purchase first. `receipts`: addresses at the provider, by payment; None if it did not answer,
    then the page is as good without."""

    purchases: Sequence[Purchase]
    receipts: Mapping[str, str] | None
    next_cursor: str | None


class ListPurchases:
    def __init__(self, *, records: PurchaseRecords, payments: Callable[[], PaymentProvider], live: Callable[[], bool]):
        self._records = records
        self._payments = payments
        self._live = live

    def __call__(self, user_id: str, *, limit: int, cursor: str | None) -> Purchases:
        """Raises InvalidRequestError for a cursor that is none."""
        before = _place_of(cursor) if cursor is not None else None
        left = [each for each in self._records.purchases(user_id) if before is None or _place(each) < before]
        page = left[:limit]
        return Purchases(
            purchases=page,
            receipts=self._receipts(user_id, page),
            next_cursor=parts_cursor(iso(page[-1].created_at), page[-1].purchase_id) if len(left) > limit else None,
        )

    def _receipts(self, user_id: str, page: Sequence[Purchase]) -> Mapping[str, str] | None:
        """Asked for each time, because they expire. The provider is not asked if nothing of the page is paid."""
        paid = [each.created_at for each in page if each.state is PurchaseState.PAID]
        if not paid:
            return {}
        try:
            customer = self._records.customer(user_id, live=self._live())
            found: dict[str, str] = {}
            for customer_id in (customer.customer_id, *customer.former[-1:]) if customer is not None else ():
                found |= self._of(customer_id, min(paid))
        except (PaymentsUnavailableError, PaymentsRejectedError, StoreUnavailableError):
            return None
        return found

    def _of(self, customer_id: str, since: datetime) -> Mapping[str, str]:
        try:
            return self._payments().receipts(customer_id=customer_id, since=since)
        except CustomerGoneError:
            return {}


def _place(purchase: Purchase) -> tuple[datetime, str]:
    return purchase.created_at, purchase.purchase_id


def _place_of(cursor: str) -> tuple[datetime, str]:
    at, purchase_id = parts_of(cursor, 2)
    try:
        return from_iso(at), purchase_id
    except ValueError:
        raise bad_cursor() from None
