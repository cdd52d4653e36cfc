"""Notices as events on a bus of EventBridge. docs/notices.md describes them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.calendar import iso
from playground.domain.errors import StoreUnavailableError
from playground.domain.notices import VERSION, Envelope, Notice

SOURCE = "playground.ledger"
MAX_BATCH_ITEMS = 10


class EventBridgeBus:
    """`ports.Publisher`."""

    def __init__(self, client: Any, bus: str) -> None:
        self._client = client
        self._bus = bus

    def publish(self, notices: Sequence[Notice]) -> int | None:
        for start in range(0, len(notices), MAX_BATCH_ITEMS):
            entries = [self._entry(notice) for notice in notices[start : start + MAX_BATCH_ITEMS]]
            try:
                answer = self._client.put_events(Entries=entries)
            except (ClientError, BotoCoreError) as error:
                raise StoreUnavailableError from error
            for number, outcome in enumerate(answer["Entries"]):
                if "ErrorCode" in outcome:
                    return start + number
        return None

    def _entry(self, notice: Notice) -> dict[str, Any]:
        return {
            "EventBusName": self._bus,
            "Source": SOURCE,
            "DetailType": notice.type.value,
            "Time": notice.occurred_at,
            "Detail": json.dumps(detail_of(notice)),
            **({"TraceHeader": f"Root={notice.trace_id}"} if notice.trace_id is not None else {}),
        }


def detail_of(notice: Notice) -> Mapping[str, Any]:
    """The `detail` of the event."""
    envelope = Envelope(
        version=VERSION,
        id=notice.notice_id,
        type=notice.type.value,
        user_id=notice.user_id,
        occurred_at=iso(notice.occurred_at),
    )
    return {**asdict(envelope), **notice.data}
