"""Visitors of anonymous runs and the budget of their day, in a table of their own.

A visitor's item and the item of the budget change in one transaction, each under its own condition. The visitor's item
has the reservation's nonce, and `reserved_nano` as long as the run is open: that makes each transaction take effect
once, however often it is sent. A run that dies leaves its reservation behind, counted in full.

All visitors of a day share the item of the budget, in two transactions a run, 2 write units each: DynamoDB's limit of
1,000 units a second for one item would be reached at 250 runs a second, and transactions conflict long before that. The
throttle of the route in template.yaml keeps far below both.
"""

from datetime import datetime

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.models import Model

from playground.adapters.dynamo_keys import budget_key, visitor_key
from playground.adapters.dynamo_store import Delete, DynamoStore, Key, Put, TransactionRefused, Update
from playground.domain.anonymous import Reservation
from playground.domain.errors import StoreUnavailableError
from playground.ports import Admission


class VisitorItem(Model):
    """`reserved_nano` is there as long as the run is open."""

    nonce = UnicodeAttribute()
    reserved_nano = NumberAttribute(null=True)
    ttl = NumberAttribute()


class BudgetItem(Model):
    """`used_nano`: what was reserved, and of ended runs what they cost. `runs`: those that were counted."""

    used_nano = NumberAttribute()
    runs = NumberAttribute()
    ttl = NumberAttribute()


class DynamoAnonymousBudget:
    """`ports.AnonymousBudget`."""

    def __init__(self, store: DynamoStore, table: str) -> None:
        self._store = store
        self._table = table

    def reserve(self, reservation: Reservation, *, budget_nano: int) -> Admission:
        room = budget_nano - reservation.nano
        ttl = _seconds(reservation.cleanup_at)
        has_room: Condition = BudgetItem.used_nano <= room
        if room >= 0:
            has_room = has_room | BudgetItem.used_nano.does_not_exist()
        visitor = {
            "nonce": {"S": reservation.nonce},
            "reserved_nano": {"N": str(reservation.nano)},
            "ttl": {"N": str(ttl)},
        }
        try:
            self._store.transact(
                Put(self._visitor(reservation), visitor),
                Update(
                    self._budget(reservation),
                    actions=[
                        BudgetItem.used_nano.add(reservation.nano),
                        BudgetItem.runs.add(1),
                        BudgetItem.ttl.set(ttl),
                    ],
                    condition=has_room,
                ),
            )
        except TransactionRefused as refusal:
            if 0 not in refusal.refused:
                if refusal.in_the_way:  # perhaps this very reservation is in the budget, and its reply was lost
                    raise StoreUnavailableError from refusal
                return Admission.BUDGET_USED
            there = refusal.refused[0]
            is_ours = there is not None and there["nonce"] == {"S": reservation.nonce}  # its reply was lost
            return Admission.ADMITTED if is_ours else Admission.VISITOR_USED
        return Admission.ADMITTED

    def settle(self, reservation: Reservation, cost_nano: int) -> None:
        try:
            self._store.transact(
                Update(
                    self._visitor(reservation),
                    actions=[VisitorItem.reserved_nano.remove()],
                    condition=_is_open(reservation),
                ),
                Update(self._budget(reservation), actions=[BudgetItem.used_nano.add(cost_nano - reservation.nano)]),
            )
        except TransactionRefused:
            return  # it has ended before

    def give_back(self, reservation: Reservation) -> None:
        try:
            self._store.transact(
                Delete(self._visitor(reservation), _is_open(reservation)),
                Update(
                    self._budget(reservation),
                    actions=[BudgetItem.used_nano.add(-reservation.nano), BudgetItem.runs.add(-1)],
                ),
            )
        except TransactionRefused:
            return  # it has ended before, or was never there

    def _budget(self, reservation: Reservation) -> Key:
        return budget_key(self._table, reservation.day)

    def _visitor(self, reservation: Reservation) -> Key:
        return visitor_key(self._table, reservation.day, reservation.visitor)


def _is_open(reservation: Reservation) -> Condition:
    condition: Condition = (VisitorItem.nonce == reservation.nonce) & VisitorItem.reserved_nano.exists()
    return condition


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
