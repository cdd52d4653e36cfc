"""The comparison with Stripe as it is started: by the schedule, and by an operator at a running stack."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.state_file import write_state
from operate.cli import run as playground
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.stripe_payments import StripePayments
from playground.usecases.reconcile import Cause, Reconcile
from tests.handlers import Context, Handlers, loaded
from tests.kit.billing import Billing
from tests.kit.shop import Shop
from tests.kit.template import template_description
from tests.support import new_ledger, new_store, records_of

AT = "2027-01-31T04:17:00Z"


# An engine and a Stripe of this file's own: what is compared is everything that is there, and other files leave much.


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def stripe_double() -> Iterator[StripeDouble]:
    with StripeDouble(base=time.time, seed=2) as double:
        double.control("portal")
        yield double


@pytest.fixture(scope="module")
def handlers(engine: Engine, claude: ClaudeDouble, stripe_double: StripeDouble) -> Iterator[Handlers]:
    with loaded(template_description(), engine, claude, stripe_double) as handlers:
        yield handlers


@pytest.fixture(scope="module")
def ledger(engine: Engine, handlers: Handlers) -> Iterator[DynamoLedger]:
    store = new_store(engine)
    yield new_ledger(store)
    store.client.close()


def test_the_scheduled_task_makes_up_for_lost_events(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    shop.double.control("refund", payment_intent=payment, amount=250)

    outcome = shop.handlers.apps["reconcile"].handler({"task": "reconcile", "at": AT, "days": None}, Context(900))

    assert payment in outcome["repaired"]
    assert outcome["after"] is None
    assert shop.history() == [("signup", 5), ("purchase", 100), ("refund", -50)]


def test_it_stops_before_its_time_is_up_and_says_where(shop: Shop) -> None:
    outcome = shop.handlers.apps["reconcile"].handler({"task": "reconcile", "at": AT}, Context(30))
    assert (outcome["looked_at"], outcome["after"]) == (0, "payments:")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"task": "audit", "at": AT},
        {"task": "reconcile"},
        {"task": "reconcile", "at": AT, "days": 0},
        {"task": "reconcile", "at": AT, "days": True},
        {"task": "reconcile", "at": AT, "after": "nowhere:1"},
    ],
    ids=str,
)
def test_what_is_no_task_is_refused(handlers: Handlers, event: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"task|time|days|not a cursor"):
        handlers.apps["reconcile"].handler(event, Context(900))


def run(shop: Shop, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command, at a stack whose state is in `folder`."""
    functions = shop.handlers.description.functions
    write_state(
        folder,
        {
            "pid": os.getpid(),
            "engine_url": engine.endpoint_url,
            "tables": {table.logical_id: table.name for table in shop.handlers.description.tables.values()},
            "functions": {name: {"environment": dict(each.environment)} for name, each in functions.items()},
        },
    )
    monkeypatch.setenv("STATE_DIR", str(folder))
    return playground(["reconcile", *arguments])


def test_the_command_makes_up_for_lost_events_and_tells_what_is_left(
    shop: Shop, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tests before this one have left a few payments that do not fit."""
    payment = shop.pay(shop.buy())
    odd = shop.buy()
    client = shop.handlers.apps["reconcile"].payments.client
    client.v1.payment_intents.update(shop.payment_of(odd), {"amount": 700})
    strange = shop.pay(odd)

    assert run(shop, engine, tmp_path, monkeypatch) == 1
    printed = capsys.readouterr()
    assert f"{payment}: made up for" in printed.out
    assert f"{strange}: mismatch user {shop.user_id} purchase {odd['purchase_id']} amount" in printed.out
    assert "made up for" in printed.err
    assert shop.history() == [("signup", 5), ("purchase", 100)]

    assert run(shop, engine, tmp_path, monkeypatch, "--close", strange) == 0
    run(shop, engine, tmp_path, monkeypatch, "--all")
    printed = capsys.readouterr()
    assert payment not in printed.out
    assert f"{strange}: m" not in printed.out


def test_a_command_without_a_stack_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert playground(["reconcile"]) == 2
    assert "no stack is running" in capsys.readouterr().err


def test_the_books_of_this_month_tie_at_a_running_stack(
    shop: Shop, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the tests before this one have left in the table: this user is not among what is damaged."""
    payment = shop.pay(shop.buy())
    shop.deliver()
    shop.double.control("refund", payment_intent=payment, amount=250)
    shop.deliver()
    run(shop, engine, tmp_path, monkeypatch)
    capsys.readouterr()
    month = f"{datetime.now(UTC):%Y-%m}"

    status = playground(["books", "--month", month, "--json", "--no-stripe"])

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["ties"]
    assert shop.user_id not in document["damaged"]
    assert status == (1 if document["damaged"] else 0), err
    bought = next(row for row in document["rows"] if row["line"] == "granted: bought")
    assert bought["credits"] >= 100


def test_an_unreadable_event_is_reported_until_it_is_closed(shop: Shop) -> None:
    shop.pay(shop.buy())
    [event] = [event for event in shop.new_events() if event["type"] == "payment_intent.succeeded"]
    del event["data"]["object"]["amount_received"]
    assert shop.send(event).status == 200

    payments = StripePayments(api_key="sk_test_1", base_url=shop.double.url)
    billing = Billing(shop.ledger, records_of(shop.ledger), shop.double, payments, shop.user_id)
    reconcile = Reconcile(
        payments=payments,
        records=billing.records,
        apply_payment=billing.apply_payment,
        clock=billing.clock,
        live=False,
    )
    told = [each for each in reconcile(everything=True).differences if each.subject == event["id"]]
    assert [(each.cause, each.detail) for each in told] == [(Cause.QUARANTINED, "unreadable")]
    assert reconcile.close(event["id"])
    assert not [each for each in reconcile(everything=True).differences if each.subject == event["id"]]
    assert shop.history()[-1] == ("purchase", 100)  # the comparison made up for it
