"""A queue on SQS."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.errors import StoreUnavailableError

MAX_BATCH_ITEMS = 10
TRIES = 3  # for messages of a batch that were not taken; the SDK repeats whole requests by itself


class SqsQueue:
    """`ports.Queue`."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def put(self, messages: Sequence[Mapping[str, str | int | None]]) -> None:
        for start in range(0, len(messages), MAX_BATCH_ITEMS):
            batch = messages[start : start + MAX_BATCH_ITEMS]
            self._put([{"Id": str(number), "MessageBody": json.dumps(body)} for number, body in enumerate(batch)])

    def _put(self, entries: Sequence[Mapping[str, str]]) -> None:
        for _ in range(TRIES):
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except (ClientError, BotoCoreError) as error:
                raise StoreUnavailableError from error
            failed = {item["Id"] for item in answer.get("Failed", ())}
            entries = [entry for entry in entries if entry["Id"] in failed]
            if not entries:
                return
        raise StoreUnavailableError
