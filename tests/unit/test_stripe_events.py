"""Which deliveries are believed, and how what Stripe writes is read."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe
from hypothesis import example, given
from hypothesis import strategies as st

from playground.adapters.stripe_events import READERS, TOLERANCE, EventReader, described_of, read_event
from playground.domain.errors import InvalidDeliveryError
from playground.domain.payment_events import Unreadable

NOW = datetime(2027, 1, 31, 12, 0, tzinfo=UTC)
NEW, OLD = "whsec_the_new_one_of_two", "whsec_the_old_one_of_two"
BODY = json.dumps(
    {"id": "evt_1", "object": "event", "type": "x", "livemode": False, "created": 1, "data": {"object": {}}}
)


def signature(secret: str, off: float = 0) -> str:
    at = int((NOW + timedelta(seconds=off)).timestamp())
    header: str = stripe.WebhookSignature.generate_signature_header(BODY, secret, at)
    return header


@pytest.mark.parametrize("secrets", [[], [""], ["too short"], [NEW, ""]], ids=str)
def test_it_does_not_start_with_a_secret_that_can_be_guessed(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secrets"):
        EventReader(secrets)


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_any_secret_of_the_list_is_good(secret: str) -> None:
    assert EventReader([NEW, OLD])(BODY.encode(), signature(secret), NOW).event_id == "evt_1"


def test_a_secret_that_was_taken_out_is_not() -> None:
    with pytest.raises(InvalidDeliveryError):
        EventReader([NEW])(BODY.encode(), signature(OLD), NOW)


@pytest.mark.parametrize("off", [-TOLERANCE, TOLERANCE])
def test_the_time_may_be_off_by_five_minutes_and_no_more(off: int) -> None:
    reader = EventReader([NEW])
    assert reader(BODY.encode(), signature(NEW, off), NOW).type == "x"
    with pytest.raises(InvalidDeliveryError):
        reader(BODY.encode(), signature(NEW, off + (1 if off > 0 else -1)), NOW)


SUBSCRIPTION: dict[str, Any] = {"id": "sub_1", "status": "active", "customer": "cus_1", "created": 1, "start_date": 2}


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"items": {"data": [{"current_period_end": 50}]}}, 50),
        ({"current_period_end": 40}, 40),  # as it was before 2025
        ({}, None),
    ],
)
def test_the_end_of_a_period_is_read_where_it_is(more: dict[str, Any], end: int | None) -> None:
    described = described_of({**SUBSCRIPTION, **more}, occurred_at=NOW, event_id="evt_1")
    assert described.current_period_end == (datetime.fromtimestamp(end, UTC) if end is not None else None)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("payment_intent.succeeded", {}),
        ("payment_intent.succeeded", {"id": "pi_1", "amount": -1, "currency": "usd", "amount_received": 1}),
        ("payment_intent.succeeded", {"id": "pi_1", "amount": True, "currency": "usd", "amount_received": 1}),
        ("refund.updated", {"id": "re_1", "payment_intent": "pi_1", "currency": "usd", "amount": "5"}),
        ("customer.subscription.updated", {"customer": "cus_1"}),
        ("invoice.paid", {"customer": "cus_1", "subscription": "sub_1", "lines": {"data": [{"period": {}}]}}),
    ],
)
def test_an_event_that_matters_in_another_shape_is_no_event_that_is_ignored(kind: str, content: dict[str, Any]) -> None:
    content = {"object": READERS[kind].of, **content}
    event = read_event({**json.loads(BODY), "type": kind, "data": {"object": content}})
    assert event.change == Unreadable(subject=content.get("id"))


# --- what nobody signed -----------------------------------------------------------------------------------------------

ODD_TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["é", "\udce9", "\0", "９" * 5, "9" * 400, "-1", "1_0", " 1", "1.5", "inf", "t", "v1", "=", ",", "v1=é", "t=1,t=1"]
)


@given(
    st.lists(st.tuples(st.sampled_from(["t=", "v1=", "v0=", "", "=", ","]), ODD_TEXT), max_size=6),
    st.booleans(),
    st.binary(max_size=60) | st.just(BODY.encode()) | st.text(st.characters(codec="utf-8")).map(str.encode),
)
@example([("v1=", "é")], True, b"{}")
@example([("v1=", "\udce9")], True, b"{}")
@example([("t=", "9" * 400), ("v1=", "a")], False, b"{}")
def test_no_signature_and_no_body_is_anything_but_refused(
    parts: list[tuple[str, str]], timed: bool, body: bytes
) -> None:
    """Without a secret nobody gets further than that, and nothing is an error of ours."""
    stamp = [f"t={int(NOW.timestamp())}"] if timed else []
    header = ",".join([*stamp, *(name + value for name, value in parts)])
    with pytest.raises(InvalidDeliveryError):
        EventReader([NEW])(body, header, NOW)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT, st.lists, max_leaves=5))
def test_what_is_signed_and_no_event_is_refused(value: Any) -> None:
    text = json.dumps(value)
    header = stripe.WebhookSignature.generate_signature_header(text, NEW, int(NOW.timestamp()))
    with pytest.raises(InvalidDeliveryError):
        EventReader([NEW])(text.encode(), header, NOW)
