"""Rate limits in a write of the account: a condition, and the stamp that counts the request."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters.dynamo_mapping import millis
from playground.adapters.dynamo_store import Update
from playground.domain.rates import MILLISECOND, RateLimit


def counted(
    write: Update, attribute: Any, limit: RateLimit, seen: datetime | None, now: datetime, *, added: int = 1
) -> Update:
    """`write`, if `limit` admits `added` more requests of the account, and with those counted in `attribute`.

    DynamoDB knows no maximum: a stamp that has passed is replaced, one that is ahead is added to, and the condition
    says which of the two was right. `seen`, the stamp as last read, decides; None: there is none, or it is ahead. A
    stamp hardly ever moves back, so that a wrong guess costs one request more, and then only beside another request.
    """
    at, latest = millis(now), millis(limit.latest(now, added=added))
    more = added * (limit.interval // MILLISECOND)
    action: Action
    condition: Condition
    if seen is not None and millis(seen) < at:
        action, condition = attribute.set(at + more), attribute < at
    else:
        action = attribute.set((Path(attribute) | at) + more)
        condition = attribute.does_not_exist() | attribute.between(at, latest)
    condition = condition if write.condition is None else write.condition & condition
    return replace(write, actions=[*write.actions, action], condition=condition)
