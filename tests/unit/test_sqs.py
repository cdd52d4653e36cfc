"""A queue on SQS: batches, and messages of a batch that were not taken."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from playground.adapters.sqs import SqsQueue
from playground.domain.errors import StoreUnavailableError

MESSAGES = [{"number": number} for number in range(25)]


class Sqs:
    """As much of the client as the queue uses. Takes nothing of what `refuses` names, as often as it says."""

    def __init__(self, refuses: dict[int, int] | None = None, error: Exception | None = None) -> None:
        self.refuses = refuses or {}
        self.error = error
        self.taken: list[int] = []
        self.calls = 0

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        assert QueueUrl == "https://queue"
        assert 1 <= len(Entries) <= 10
        assert len({entry["Id"] for entry in Entries}) == len(Entries)
        self.calls += 1
        if self.error is not None:
            raise self.error
        failed = []
        for entry in Entries:
            number = json.loads(entry["MessageBody"])["number"]
            if self.refuses.get(number, 0):
                self.refuses[number] -= 1
                failed.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                self.taken.append(number)
        return {"Successful": [], "Failed": failed} if failed else {"Successful": []}


def test_all_messages_are_put_in_batches_of_ten() -> None:
    sqs = Sqs()
    SqsQueue(sqs, "https://queue").put(MESSAGES)
    assert (sqs.taken, sqs.calls) == (list(range(25)), 3)


def test_nothing_is_no_call() -> None:
    sqs = Sqs()
    SqsQueue(sqs, "https://queue").put([])
    assert sqs.calls == 0


def test_what_was_not_taken_is_put_once_more_and_nothing_else() -> None:
    sqs = Sqs({3: 1, 14: 2})
    SqsQueue(sqs, "https://queue").put(MESSAGES)
    assert sorted(sqs.taken) == list(range(25))


def test_an_undelivered_event_is_not_forgotten() -> None:
    with pytest.raises(StoreUnavailableError):
        SqsQueue(Sqs({3: 100}), "https://queue").put(MESSAGES)


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://queue"),
        ClientError({"Error": {"Code": "OverLimit", "Message": ""}}, "SendMessageBatch"),
    ],
    ids=["unreachable", "refused"],
)
def test_a_queue_out_of_reach_is_unavailable(error: Exception) -> None:
    with pytest.raises(StoreUnavailableError):
        SqsQueue(Sqs(error=error), "https://queue").put(MESSAGES)
