"""From the ledger's table through its stream and the function to the bus, over the real engine."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from local.resources import client
from local.template import ACCOUNT, REGION, Description
from playground.adapters.dynamo_keys import entry_key
from playground.domain.calendar import boundary
from tests.conftest import NOW
from tests.fakes import a_hold, charging, conversation
from tests.integration.test_time_passes import World, a_world, event_file, eventually
from tests.support import LEDGER_TABLE


@pytest.fixture(scope="module")
def world(description: Description) -> Iterator[World]:
    with a_world(description) as world:
        yield world


class Listener:
    """A queue that a rule of the bus gives everything to."""

    def __init__(self, world: World) -> None:
        self._sqs = client("sqs", world.engine.endpoint_url)
        self._url = self._sqs.create_queue(QueueName="listener")["QueueUrl"]
        events = client("events", world.engine.endpoint_url)
        bus = world.description.buses["NoticesBus"].name
        events.put_rule(Name="all", EventBusName=bus, EventPattern='{"source": ["playground.ledger"]}', State="ENABLED")
        target = {"Id": "listener", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:listener"}
        events.put_targets(Rule="all", EventBusName=bus, Targets=[target])
        events.close()
        self.heard: list[dict[str, Any]] = []

    def listen(self) -> list[dict[str, Any]]:
        """Everything so far."""
        while page := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", []):
            for message in page:
                self.heard.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return self.heard

    def of(self, user_id: str) -> list[tuple[str, Any]]:
        return [
            (event["detail-type"], event["detail"].get("credits", event["detail"].get("balance")))
            for event in self.listen()
            if event["detail"]["user_id"] == user_id
        ]

    def close(self) -> None:
        self._sqs.close()


@pytest.fixture(scope="module")
def listener(world: World) -> Iterator[Listener]:
    listener = Listener(world)
    yield listener
    listener.close()


def test_notices_of_a_life_are_published_in_order(world: World, listener: Listener) -> None:
    ledger, user = world.ledger, "told"
    ledger.account(user, NOW)
    for number, cost in ((1, 2), (2, 3)):
        hold = a_hold(f"run_{number}".ljust(30, "0"), cost, NOW)
        ledger.place_hold(user, hold, limit=20, now=NOW)
        ledger.settle(ledger.account(user, NOW), hold, charging(hold, cost, NOW), conversation(user, hold, NOW))
    expected = [("credits.granted", 5), ("run.settled", 2), ("run.settled", 3), ("credits.low", 0)]
    eventually(lambda: len(listener.of(user)) >= len(expected))

    assert sorted(listener.of(user)) == sorted(expected)
    assert [kind for kind, _ in listener.of(user)][:2] == ["credits.granted", "run.settled"]


def test_rollover_has_one_notice_though_every_night_asks(world: World, listener: Listener) -> None:
    user = "saver"
    world.subscribed(user, NOW)
    expires = boundary(NOW, 2)
    for days in (6, 5, 4):
        world.reset(event_file("warn", expires - timedelta(days=days)))
        eventually(world.is_done)
    eventually(lambda: ("rollover.expiring", 200) in listener.of(user))

    world.subscribed("last", NOW)
    eventually(lambda: len(listener.of("last")) == 2)  # by now everything before has come through
    assert listener.of(user).count(("rollover.expiring", 200)) == 1


def test_a_damaged_record_is_put_aside_and_the_others_are_published(world: World, listener: Listener) -> None:
    world.store.client.put_item(
        TableName=LEDGER_TABLE,
        Item={**entry_key(LEDGER_TABLE, "damaged", 1).raw, "seq": {"N": "1"}},
    )
    world.ledger.account("after the damage", NOW)

    eventually(lambda: listener.of("after the damage") == [("credits.granted", 5)])
    [failure] = world.bodies("NoticeFailures")
    assert failure["DDBStreamBatchInfo"]["batchSize"] == 1
    assert listener.of("damaged") == []


def test_all_that_was_heard_has_an_id_of_its_own(listener: Listener) -> None:
    details = [event["detail"] for event in listener.listen()]
    assert details
    assert len({detail["id"] for detail in details}) == len(details)  # nothing failed here, so nothing was repeated
    assert all(detail["version"] == 1 for detail in details)
