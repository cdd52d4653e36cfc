"""What the ledger has recorded, told: which changes are news, in which words, and under which id."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_notices import notice_item, notice_of, notices_of, record_of
from playground.adapters.dynamo_payments import record_writes
from playground.adapters.eventbridge import EventBridgeBus, detail_of
from playground.domain.account import Account, Plan, grant, open_account, start_plus
from playground.domain.calendar import iso
from playground.domain.credits import Buckets
from playground.domain.entries import EntryType
from playground.domain.erasure import pseudonym_of
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.notices import Notice, NoticeType, of_change, of_entry, of_expiry, of_payment_event, of_run
from playground.domain.purchases import PaymentEvent
from playground.domain.runs import RunStatus
from playground.usecases.publish_notices import PublishNotices, Record
from tests.fakes import a_hold, charging, receipt

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OPENED, (SIGNUP,) = open_account("alice", NOW)
HOLD = a_hold("run_1", 5, NOW)
HELD = replace(OPENED, held=5, holds={"run_1": HOLD})
SETTLED = charging(HOLD, 3, NOW)(HELD)[1]
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "notices.schema.json").read_text(encoding="utf-8"))


def an_account(**buckets: int) -> Account:
    return replace(OPENED, buckets=Buckets(**buckets))


# --- which changes are news -------------------------------------------------------------------------------------------


def test_credits_that_come_in_have_a_notice() -> None:
    [notice] = of_entry(SIGNUP)
    assert (notice.type, notice.user_id, notice.occurred_at) == ("credits.granted", "alice", NOW)
    assert notice.data == {"entry_id": SIGNUP.entry_id, "kind": "signup", "credits": 5, "balance": 5}


def test_credits_that_move_or_leave_are_no_grant() -> None:
    _, (monthly,) = start_plus(OPENED, allowance=200, entitled_until=None, now=NOW)
    assert [notice.data["credits"] for notice in of_entry(monthly)] == [200]
    for entry in (charging(HOLD, 3, NOW)(HELD)[2][-1], replace(monthly, deltas=-monthly.deltas)):
        assert of_entry(entry) == ()


def test_a_paid_run_has_a_notice_and_a_released_one_has_none() -> None:
    [notice] = of_run(SETTLED)
    assert (notice.type, notice.data["credits"], notice.data["balance"]) == ("run.settled", 3, 2)
    assert of_run(receipt("alice", HOLD, RunStatus.RELEASED, NOW)) == ()
    [notice] = of_run(receipt("alice", HOLD, RunStatus.EXPIRED, NOW))
    assert (notice.type, notice.data) == ("hold.expired", {"run_id": "run_1", "credits": 5})


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [
        (11, 10, 10),
        (200, 3, 10),
        (12, 0, 0),
        (5, 0, 0),
        (10, 9, None),
        (11, 11, None),
        (10, 11, None),
        (0, 0, None),
        (0, 10, None),
        (12, 11, None),
    ],
)
def test_a_balance_is_low_when_it_falls_to_a_level(before: int, after: int, level: int | None) -> None:
    notices = of_change(an_account(purchased=before), an_account(purchased=after), NOW)
    assert [notice.data["level"] for notice in notices] == ([] if level is None else [level])


def test_what_is_held_is_not_low_yet() -> None:
    assert of_change(OPENED, HELD, NOW) == ()


@pytest.mark.parametrize(
    ("ahead", "told"), [(7 * DAY, True), (7 * DAY + timedelta(milliseconds=1), False), (DAY, True)]
)
def test_rollover_has_a_notice_at_most_seven_days_ahead(ahead: timedelta, told: bool) -> None:
    due = NOW + 30 * DAY
    account = replace(an_account(rollover=40), plan=Plan.PLUS, anchor=NOW, due_at=due)
    notice = of_expiry(account, due - ahead)
    assert (notice is not None) is told
    if notice is not None:
        assert notice.data == {"credits": 40, "expires_at": iso(due)}


def test_nothing_to_expire_is_nothing_to_tell() -> None:
    due = NOW + 3 * DAY
    assert of_expiry(replace(an_account(monthly=40), anchor=NOW, due_at=due), NOW) is None
    assert of_expiry(replace(an_account(rollover=40), anchor=NOW, due_at=due), due) is None  # it is over
    assert of_expiry(an_account(rollover=40), NOW) is None


def an_event(**more: Any) -> PaymentEvent:
    fields = {
        "event_id": "evt_1",
        "type": "payment_intent.succeeded",
        "user_id": None,
        "subject": "pi_1",
        "occurred_at": NOW,
        "received_at": NOW,
        **more,
    }
    return PaymentEvent(**fields)


def test_only_a_quarantined_payment_has_a_notice() -> None:
    assert of_payment_event(an_event()) == ()
    [notice] = of_payment_event(an_event(quarantined="amount"))
    assert notice.user_id is None
    assert notice.data == {"event_id": "evt_1", "event_type": "payment_intent.succeeded", "reason": "amount"}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"quarantined": "amount"}, 1),
        ({"quarantined": "customer"}, {"quarantined": "amount"}, 1),
        ({"quarantined": "amount", "resolved_at": NOW}, {"quarantined": "amount"}, 1),
        ({"quarantined": "amount"}, {"quarantined": "amount", "received_at": NOW + DAY}, 0),
        ({"quarantined": "amount", "user_id": "alice"}, {"quarantined": "amount", "user_id": pseudonym_of(1)}, 0),
        ({"quarantined": "amount"}, {"quarantined": "amount", "resolved_at": NOW}, 0),
        ({"quarantined": "amount"}, {}, 0),
        (None, {"quarantined": "amount", "user_id": pseudonym_of(1)}, 0),
        (None, {"quarantined": "closed", "type": "closed"}, 0),
        (None, {"quarantined": "closed", "resolved_at": NOW}, 0),
    ],
    ids=[
        "new",
        "other reason",
        "again",
        "repeat",
        "erased",
        "closed",
        "fits",
        "pseudonym",
        "note",
        "dated note",
    ],
)
def test_an_event_has_a_notice_when_it_is_quarantined_and_not_when_it_changes(
    before: dict[str, Any] | None, after: dict[str, Any], told: int
) -> None:
    """Above all nobody is told which pseudonym is whose."""
    [old] = record_writes("t", an_event(**before)) if before is not None else [None]
    [new] = record_writes("t", an_event(**after))
    record = a_record("EVENT#evt_1", "EVENT", before=old.item if old is not None else None, after=new.item)
    assert len(notices_of(record)) == told


# --- ids --------------------------------------------------------------------------------------------------------------


def test_a_repeat_has_the_same_id_and_nothing_else_has_it() -> None:
    [first] = of_entry(SIGNUP)
    [again] = of_entry(SIGNUP)
    others = [
        replace(first, user_id="bob"),
        replace(first, key="2"),
        replace(first, type=NoticeType.RUN_SETTLED),
        replace(first, user_id=None),
        replace(first, user_id="alice:1", key=""),
    ]
    ids = [first.notice_id, *(other.notice_id for other in others)]
    assert again.notice_id == first.notice_id
    assert len(set(ids)) == len(ids)
    assert first.notice_id.startswith("ntc_")


# --- records of the stream --------------------------------------------------------------------------------------------


def a_record(pk: str, sk: str, *, before: Any = None, after: Any = None, number: str = "1") -> dict[str, Any]:
    change: dict[str, Any] = {
        "Keys": {"pk": {"S": pk}, "sk": {"S": sk}},
        "SequenceNumber": number,
        "ApproximateCreationDateTime": NOW.timestamp(),
    }
    if before is not None:
        change["OldImage"] = before
    if after is not None:
        change["NewImage"] = after
    return {"dynamodb": change}


def types(notices: Sequence[Notice]) -> list[str]:
    return [notice.type.value for notice in notices]


def test_records_are_read_by_what_they_are() -> None:
    entry, run = items.entry_item(SIGNUP), items.run_item(SETTLED)
    rich, poor = items.account_item(an_account(purchased=50)), items.account_item(an_account(purchased=5))
    [event] = record_writes("t", an_event(quarantined="amount"))
    assert types(notices_of(a_record("USER#alice", "ENTRY#000000000001", after=entry))) == ["credits.granted"]
    assert types(notices_of(a_record("USER#alice", "RUN#run_1", after=run))) == ["run.settled"]
    assert types(notices_of(a_record("USER#alice", "ACCOUNT", before=rich, after=poor))) == ["credits.low"]
    assert types(notices_of(a_record("EVENT#evt_1", "EVENT", after=event.item))) == ["payment.quarantined"]


@pytest.mark.parametrize(
    "record",
    [
        a_record("USER#alice", "ENTRY#000000000001", before=items.entry_item(SIGNUP)),
        a_record("USER#alice", "ENTRY#1", before=items.entry_item(SIGNUP), after=items.entry_item(SIGNUP)),
        a_record("USER#alice", "ACCOUNT", after=items.account_item(OPENED)),
        a_record("USER#alice", "KEY#bonus:1", after={}),
        a_record("USER#alice", "PURCHASE#pur_1", after={}),
        a_record("PAYMENT#pi_1", "PAYMENT", after={}),
        a_record(f"USER#{pseudonym_of(1)}", "ENTRY#000000000001", after=items.entry_item(SIGNUP)),
        a_record(
            "USER#alice",
            "ACCOUNT",
            before=items.account_item(an_account(purchased=50)),
            after={**items.account_item(an_account(purchased=5)), items.ERASING: {"S": "erased_x"}},
        ),
    ],
    ids=["deleted", "changed", "opened", "key", "purchase", "pointer", "pseudonym", "being erased"],
)
def test_other_changes_have_no_notice(record: dict[str, Any]) -> None:
    assert notices_of(record) == ()


def test_a_damaged_record_has_no_notice() -> None:
    damaged = {**items.entry_item(SIGNUP), "amount": {"N": "500"}}
    with pytest.raises(CorruptLedgerError):
        notices_of(a_record("USER#alice", "ENTRY#000000000001", after=damaged))


def test_a_notice_ahead_of_time_survives_the_store() -> None:
    account = replace(an_account(rollover=40), anchor=NOW, due_at=NOW + DAY)
    notice = of_expiry(account, NOW)
    assert notice is not None
    assert notice_of("alice", notice_item(notice)) == notice
    [told] = notices_of(a_record("USER#alice", "NOTICE#x", after=notice_item(notice)))
    assert told == notice
    with pytest.raises(CorruptLedgerError):
        notice_of("alice", {**notice_item(notice), "type": {"S": "credits.stolen"}})


# --- publishing -------------------------------------------------------------------------------------------------------


class Bus:
    """`ports.Publisher` that takes all but some."""

    def __init__(self, *refuses: str) -> None:
        self.refuses = refuses
        self.told: list[Notice] = []

    def publish(self, notices: Sequence[Notice]) -> int | None:
        for place, notice in enumerate(notices):
            if notice.key in self.refuses:
                return place
            self.told.append(notice)
        return None


def a_notice(key: str) -> Notice:
    return Notice(type=NoticeType.CREDITS_LOW, user_id="alice", key=key, occurred_at=NOW, data={})


def records(*keys: str) -> list[Record]:
    def read(key: str) -> Sequence[Notice]:
        if key == "damaged":
            raise CorruptLedgerError("a line")
        return [] if key == "silent" else [a_notice(key), a_notice(f"{key}'")]

    return [Record(number=f"n-{key}", notices=lambda key=key: read(key)) for key in keys]


def test_records_are_published_in_their_order() -> None:
    bus = Bus()
    assert PublishNotices(bus)(records("a", "silent", "b")).failed is None
    assert [notice.key for notice in bus.told] == ["a", "a'", "b", "b'"]


def test_from_a_damaged_record_on_they_come_again() -> None:
    bus = Bus()
    published = PublishNotices(bus)(records("a", "damaged", "b"))
    assert (published.failed, type(published.error)) == ("n-damaged", CorruptLedgerError)
    assert [notice.key for notice in bus.told] == ["a", "a'"]


def test_from_the_first_notice_that_was_not_taken_they_come_again() -> None:
    assert PublishNotices(Bus("b'"))(records("a", "silent", "b", "c")).failed == "n-b"
    assert PublishNotices(Bus("a"))(records("a", "damaged")).failed == "n-a"


def test_nothing_to_tell_is_no_call() -> None:
    class Silent(Bus):
        def publish(self, notices: Sequence[Notice]) -> int | None:
            raise AssertionError("there is nothing to publish")

    assert PublishNotices(Silent())(records("silent")).failed is None


class Events:
    """As much of the client of EventBridge as the bus uses; entries whose key is in `fails` are not taken."""

    def __init__(self, *fails: int) -> None:
        self.fails = fails
        self.entries: list[dict[str, Any]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - as boto3 spells it
        assert len(Entries) <= 10
        first = len(self.entries)
        self.entries += Entries
        outcomes = [
            {"ErrorCode": "ThrottlingException"} if first + number in self.fails else {"EventId": "1"}
            for number in range(len(Entries))
        ]
        return {"FailedEntryCount": sum("ErrorCode" in outcome for outcome in outcomes), "Entries": outcomes}


@pytest.mark.parametrize(("fails", "place"), [((), None), ((0,), 0), ((12, 24), 12), ((24,), 24)])
def test_the_first_entry_that_was_not_taken_is_named(fails: tuple[int, ...], place: int | None) -> None:
    events = Events(*fails)
    assert EventBridgeBus(events, "bus").publish([a_notice(str(number)) for number in range(25)]) == place
    assert {entry["EventBusName"] for entry in events.entries} == {"bus"}
    assert {entry["Source"] for entry in events.entries} == {"playground.ledger"}


def test_a_bus_out_of_reach_is_unavailable() -> None:
    class Gone:
        def put_events(self, **_arguments: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    with pytest.raises(StoreUnavailableError):
        EventBridgeBus(Gone(), "bus").publish([a_notice("1")])


# --- the schema -------------------------------------------------------------------------------------------------------


def all_kinds() -> list[Notice]:
    expiry = of_expiry(replace(an_account(rollover=40), anchor=NOW, due_at=NOW + DAY), NOW)
    assert expiry is not None
    _, bonus = grant(OPENED, 5, type_=EntryType.BONUS, business_key="b", reason="r", now=NOW)
    return [
        *of_entry(bonus),
        *of_run(SETTLED),
        *of_run(receipt("alice", HOLD, RunStatus.EXPIRED, NOW)),
        *of_change(an_account(purchased=50), an_account(purchased=5), NOW),
        *of_payment_event(an_event(quarantined="amount")),
        expiry,
    ]


def check(value: Any, schema: dict[str, Any]) -> None:
    """As much of JSON Schema as docs/notices.schema.json uses."""
    kinds = {"object": dict, "string": str, "integer": int, "null": type(None)}
    allowed = schema.get("type", list(kinds))
    assert any(type(value) is kinds[name] for name in ([allowed] if isinstance(allowed, str) else allowed)), value
    assert value == schema.get("const", value)
    assert value in schema.get("enum", [value])
    if isinstance(value, dict):
        assert set(schema["required"]) <= set(value)
        assert set(value) <= set(schema["properties"])  # a consumer may meet more; what we write is all described
        for name, part in value.items():
            check(part, schema["properties"][name])


def test_every_kind_of_notice_is_as_the_schema_says() -> None:
    notices = all_kinds()
    assert {notice.type for notice in notices} == set(NoticeType) == set(SCHEMA["$defs"])
    for notice in notices:
        check(dict(detail_of(notice)), SCHEMA["$defs"][notice.type.value])


def test_the_schema_notices_what_is_wrong() -> None:
    for notice in all_kinds():
        detail = dict(detail_of(notice))
        for name in detail:
            for wrong in ({**detail, name: 1.5}, {key: value for key, value in detail.items() if key != name}):
                with pytest.raises(AssertionError):
                    check(wrong, SCHEMA["$defs"][notice.type.value])


def test_nothing_in_a_notice_was_written_by_a_person() -> None:
    _, bonus = grant(OPENED, 5, type_=EntryType.BONUS, business_key="bonus:1", reason="Sorry, Alice", now=NOW)
    [notice] = of_entry(bonus)
    assert "Sorry" not in json.dumps(detail_of(notice))


def test_a_record_is_read_when_its_turn_comes() -> None:
    record = record_of(a_record("USER#alice", "ENTRY#000000000001", after={}, number="7"))
    assert record.number == "7"
    with pytest.raises(CorruptLedgerError):
        record.notices()
