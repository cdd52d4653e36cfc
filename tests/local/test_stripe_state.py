"""The Stripe double as a program: its stored state, its start, and `./playground pay`."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from doubles.stripe import StripeDouble
from doubles.stripe.__main__ import main
from doubles.stripe.api import ROUTES
from doubles.stripe.control import CONTROLS
from doubles.stripe.world import API_VERSION
from local.stripe_keys import API_KEY, webhook_secret
from local.till import PAGE
from operate.cli import run as playground
from tests.kit.extent import HANG_SECONDS


def connect(url: str) -> stripe.StripeClient:
    return stripe.StripeClient(API_KEY, base_addresses={"api": url}, max_network_retries=0)


def intent(url: str, purchase: str = "pur_1") -> stripe.PaymentIntent:
    return connect(url).v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "metadata": {"purchase_id": purchase}}
    )


# ---------------------------------------------------------------- stored state


def test_a_restart_keeps_the_state(tmp_path: Path) -> None:
    with StripeDouble(state_dir=tmp_path) as first:
        first.control("endpoint", url="http://127.0.0.1:9/", secret="whsec_1")
        client = connect(first.url)
        customer = client.v1.customers.create({"email": "zoë@example.com"}, {"idempotency_key": "k"})
        first.control("pay", payment_intent=intent(first.url).id)
        first.control("advance", days=20)
        events = [event["id"] for event in first.events()]
        waiting = len(first.control("deliveries"))
        now = first.control("clock")["now"]
    received: list[bytes] = []

    def receive(_url: str, _headers: Any, body: bytes) -> int:
        received.append(body)
        return 200

    with StripeDouble(state_dir=tmp_path, send=receive) as second:
        client = connect(second.url)
        assert client.v1.customers.create({"email": "zoë@example.com"}, {"idempotency_key": "k"}).id != customer.id
        assert client.v1.customers.retrieve(customer.id).email == "zoë@example.com"
        assert [each.status for each in client.v1.payment_intents.list()] == ["succeeded"]
        assert [event["id"] for event in second.events()][: len(events)] == events
        assert second.control("clock")["now"] >= now
        second.deliver_pending()
        assert len(received) == waiting + 1


def test_a_killed_double_loses_no_call_that_was_answered(tmp_path: Path, script_environment: dict[str, str]) -> None:
    """The second process knows the idempotency keys of the first and continues its events."""
    command = [sys.executable, "-m", "doubles.stripe", "--state-dir", str(tmp_path)]
    made: list[str] = []
    for _ in range(2):
        with subprocess.Popen(command, env=script_environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening on ").strip()
            customer = connect(url).v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})
            made.append(customer.id)
            process.send_signal(signal.SIGKILL)
    assert made[0] == made[1]


def test_events_in_delivery_are_sent_again_after_a_kill(tmp_path: Path) -> None:
    """The first double is killed while an endpoint has not answered yet."""
    again: list[str] = []

    def while_it_is_sent(_url: str, _headers: Any, _body: bytes) -> int:
        intent(first.url)  # any call saves everything
        with StripeDouble(state_dir=tmp_path, send=lambda *_: 200) as second:
            again.extend(sent["event_type"] for sent in second.deliver_pending())
        return 200

    endpoints = [("http://127.0.0.1:9/", "whsec_1")]
    with StripeDouble(state_dir=tmp_path, endpoints=endpoints, send=while_it_is_sent) as first:
        connect(first.url).v1.customers.create({})
        first.deliver_pending()
    assert again == ["customer.created", "payment_intent.created"]


def test_a_start_at_another_port_replaces_the_endpoint_of_the_former(tmp_path: Path) -> None:
    def urls(*endpoints: str) -> list[str]:
        with StripeDouble(state_dir=tmp_path, endpoints=[(url, "whsec_1") for url in endpoints]) as double:
            connect(double.url).v1.customers.create({})
            return [endpoint.url for endpoint in connect(double.url).v1.webhook_endpoints.list()]

    with StripeDouble(state_dir=tmp_path) as double:
        double.control("endpoint", url="http://127.0.0.1:1/mine")
    assert urls("http://127.0.0.1:2/") == ["http://127.0.0.1:2/", "http://127.0.0.1:1/mine"]
    assert urls("http://127.0.0.1:3/") == ["http://127.0.0.1:3/", "http://127.0.0.1:1/mine"]
    with StripeDouble(state_dir=tmp_path, send=lambda *_: 200) as double:
        double.deliver_pending()
        states = [delivery["state"] for delivery in double.control("deliveries")]
    assert states == ["delivered", "dropped", "delivered", "dropped"]


def test_a_reply_is_sent_after_it_is_stored(tmp_path: Path) -> None:
    with StripeDouble(state_dir=tmp_path) as double:
        made = intent(double.url)
        with StripeDouble(state_dir=tmp_path) as reader:
            assert connect(reader.url).v1.payment_intents.retrieve(made.id).id == made.id


# ---------------------------------------------------------------- as a program


def test_the_program_starts_listens_and_ends(tmp_path: Path, script_environment: dict[str, str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_file\n", encoding="utf-8")
    command = [sys.executable, "-m", "doubles.stripe", "--port", "0", "--verbose"]
    command += ["--endpoint", "http://127.0.0.1:9/hooks", "--secret-file", str(secret)]
    process = subprocess.Popen(
        command, env=script_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        intent(url, "pur_secret_words")
        assert [endpoint.url for endpoint in connect(url).v1.webhook_endpoints.list()] == ["http://127.0.0.1:9/hooks"]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert "POST /v1/payment_intents 200" in errors
    assert "pur_secret_words" not in errors


def test_a_port_in_use_and_a_remote_endpoint_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller's signal mask is unchanged."""
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with StripeDouble() as double:
        assert main(["--port", double.url.rpartition(":")[2]]) == 1
    assert main(["--endpoint", "http://example.com/"]) == 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == signals
    errors = capsys.readouterr().err
    assert "this machine only" in errors


def test_help(script_environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "doubles.stripe", "--help"],
        env=script_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage: python -m doubles.stripe" in result.stdout


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    secret = webhook_secret(tmp_path / "new")
    assert secret.startswith("whsec_")
    assert webhook_secret(tmp_path / "new") == secret
    assert webhook_secret(tmp_path / "other") != secret
    (file,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# ---------------------------------------------------------------- playground pay


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """`playground pay` beside a stack that says that this double is its Stripe."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    with StripeDouble() as double:

        def run(*arguments: str, url: str | None = double.url) -> int:
            state = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "stripe_url": url}
            (tmp_path / "stack.json").write_text(json.dumps(state), encoding="utf-8")
            return playground(["pay", *arguments])

        run.double = double  # type: ignore[attr-defined]
        yield run


def test_a_purchase_is_paid(till: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = intent(till.double.url)
    assert till("pur_1") == 0
    assert capsys.readouterr().out == f"{made.id} succeeded: 5.00 USD\n"
    assert till("pur_1") == 1
    assert "already succeeded" in capsys.readouterr().err


def test_a_purchase_is_found_behind_a_page_of_others(till: Any) -> None:
    made = intent(till.double.url)
    for number in range(PAGE):
        intent(till.double.url, f"pur_later_{number}")
    assert till("pur_1") == 0
    assert connect(till.double.url).v1.payment_intents.retrieve(made.id).status == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("pur_1", "--card", "declined"), 1, "Your card was declined."),
        (("pur_1", "--card", "gold"), 1, "No such test card"),
        (("pur_2",), 4, "there is no purchase pur_2"),
        (("x' OR y:'",), 4, "there is no purchase x' OR y:'"),
    ],
)
def test_pay_explains_why_a_purchase_is_not_paid(
    till: Any, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, message: str
) -> None:
    made = intent(till.double.url)
    assert till(*arguments) == status
    assert message in capsys.readouterr().err
    assert connect(till.double.url).v1.payment_intents.retrieve(made.id).status == "requires_payment_method"


def test_pay_needs_a_stack_with_the_double(
    till: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert till("pur_1", url=None) == 1
    assert "real Stripe" in capsys.readouterr().err
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))
    assert till("pur_1") == 2
    assert "no stack is running" in capsys.readouterr().err


# ---------------------------------------------------------------- documentation


def test_the_page_lists_every_route_and_every_control() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stripe-double.md").read_text(encoding="utf-8")
    routes: dict[str, set[str]] = {}
    for route in ROUTES:
        routes.setdefault(route.path, set()).add(route.method)
    listed = dict(re.findall(r"^\| `(/v1/[^`]+)` \| ([A-Z ]+) \|$", page, re.MULTILINE))
    assert {path: set(methods.split()) for path, methods in listed.items()} == routes
    assert list(listed) == sorted(listed)
    section = page.partition("| Control | Does |")[2].partition("\n\n")[0]
    first_cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(CONTROLS)
    assert API_VERSION in page
