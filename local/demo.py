"""`make demo`: walks through the main features as one user, on the running stack or on one that it starts.

Every step checks its result; the first unexpected result ends the demo with exit status 1.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local.event_stream import ServerEvent, read_events
from local.process import ROOT
from local.settings import TEMPLATE, state_dir
from local.state_file import read_state
from local.till import CannotPayError, Till
from local.tokens import issuer

PACKAGE = "@playground/code-reviewer"
WITH_VARIABLES = "@playground/plain-english"
INPUT = "def mean(numbers):\n    return sum(numbers) / len(numbers)"
START_SECONDS = 120


class UnexpectedAnswerError(Exception):
    """A step had an unexpected result."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the API at `url`; anonymous without a token."""

    url: str
    token: str | None

    def get(self, path: str) -> Answer:
        return self._send("GET", path, None, {})

    def post(self, path: str, body: Mapping[str, object], *, key: str | None = None) -> Answer:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self._send("POST", path, json.dumps(body), headers)

    def delete(self, path: str) -> Answer:
        return self._send("DELETE", path, None, {})

    def stream(
        self, method: str, path: str, body: Mapping[str, object] | None, **headers: str
    ) -> Generator[ServerEvent, None, None]:
        """The events of a stream, as they come. Leaving it ends the connection. Raises
        UnexpectedAnswerError if the answer is no stream."""
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, sent)
            response = connection.getresponse()
            if response.status != 200:
                raise UnexpectedAnswerError(f"status {response.status} instead of a stream: {response.read(500)!r}")
            yield from read_events(response)
        finally:
            connection.close()

    def _send(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, f"/api/v1{path}", body, {**headers, **authorization})
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()


def show_runs(client: Client, *, claude_can_fail: bool = True) -> None:
    """Runs and conversations. `claude_can_fail`: Claude is the stand-in, which fails on demand. Raises
    UnexpectedAnswerError."""
    step("A new account has 5 credits")
    credits_ = client.get("/playground/credits")
    expect(credits_, 200, balance=5, available=5, held=0)

    step("There are packages to try")
    packages = client.get("/packages?q=review")
    expect(packages, 200)
    if PACKAGE not in [package["name"] for package in packages.body["packages"]]:
        raise UnexpectedAnswerError(f"{PACKAGE} is not among the packages")
    show(PACKAGE)

    step("An estimate says what a run would cost, and costs nothing")
    request = {"package_id": PACKAGE, "input": INPUT}
    estimate = client.post("/playground/estimate", request)
    expect(estimate, 200, can_afford=True, current_balance=5)

    step("A run answers and charges no more than the estimate's maximum")
    key = f"demo-{secrets.token_hex(8)}"
    run = client.post("/playground/run", request, key=key)
    expect(run, 200, stop_reason="end_turn")
    spent = run.body["credits_spent"]
    if not 1 <= spent <= estimate.body["max_credits"]:
        raise UnexpectedAnswerError(
            f"{spent} credits were charged, at most {estimate.body['max_credits']} were announced"
        )
    show(
        "",
        *run.body["response"].splitlines()[:6],
        "...",
        "",
        f"credits_spent {spent}, {run.body['tokens_used']} tokens",
    )

    step("The balance went down by exactly that")
    expect(client.get("/playground/credits"), 200, balance=5 - spent, available=5 - spent, held=0)

    step("The history says why, and adds up")
    history = client.get("/playground/credits/history")
    expect(history, 200)
    lines = history.body["transactions"]
    for line in reversed(lines):
        show(f"{line['seq']}. {line['type']:<7} {line['amount']:+d} -> {line['balance_after']}   {line['description']}")
    if sum(line["amount"] for line in lines) != 5 - spent:
        raise UnexpectedAnswerError("the entries do not add up to the balance")

    step("The receipt recomputes the charge")
    receipt = client.get(f"/playground/runs/{run.body['run_id']}")
    expect(receipt, 200, status="settled", credits_spent=spent)
    show(json.dumps({name: receipt.body[name] for name in ("usage", "price", "price_version", "ceiling")}))

    step("The same request with the same Idempotency-Key: the same answer, no second charge")
    again = client.post("/playground/run", request, key=key)
    expect(again, 200, run_id=run.body["run_id"], response=run.body["response"])
    expect(client.get("/playground/credits"), 200, balance=5 - spent)

    step("The same key with another request is refused")
    expect(client.post("/playground/run", {**request, "input": "another"}, key=key), 422, error="idempotency_conflict")

    if claude_can_fail:
        step("A model that fails costs nothing")
        failing = {**request, "input": "Hello [[claude: status=500]]"}
        expect(client.post("/playground/run", failing), 502, error="model_failed")
        expect(client.get("/playground/credits"), 200, balance=5 - spent, held=0)

    step("A run that cannot be afforded is refused, and says what it needs")
    dear = {"package_id": PACKAGE, "input": "All of this, please. " * 450, "model": "opus"}
    refused = client.post("/playground/run", dear)
    expect(refused, 402, error="insufficient_credits", available_credits=5 - spent)
    show(refused.body["message"])
    expect(client.get("/playground/credits"), 200, balance=5 - spent, held=0)


def show_sharing(owner: Client, friend: Client) -> None:
    """The story goes on: what was said is continued, shared, copied and deleted. Raises UnexpectedAnswerError."""
    anybody = Client(owner.url, None)

    step("The conversation is there, and goes on")
    sessions = owner.get("/playground/sessions?limit=1")
    expect(sessions, 200)
    session_id = sessions.body["sessions"][0]["session_id"]
    session = f"/playground/sessions/{session_id}"
    go_on = {"package_id": PACKAGE, "input": "And for an empty list?", "session_id": session_id}
    expect(owner.post("/playground/run", go_on), 200, session_id=session_id, turns_omitted=0)
    expect(owner.get(session), 200, turns=2)
    expect(friend.get(session), 404, error="session_not_found")

    step("A link shows a snapshot of it to everyone who has the link")
    shared = owner.post(f"{session}/share", {"expires_in_days": 30})
    expect(shared, 200, turns=2)
    link = f"/playground/shared/{shared.body['share_token']}"
    show(shared.body["share_url"])
    expect(anybody.get(link), 200, package=PACKAGE, turns=2)

    step("A friend votes, copies it, and goes on at their own cost")
    expect(friend.post(f"{link}/feedback", {"is_helpful": True, "comment": "Just what I needed."}), 200)
    fork = friend.post(f"{link}/fork", {})
    expect(fork, 200, turns=2, credits_spent=0)
    further = {"package_id": PACKAGE, "input": "And in one line?", "session_id": fork.body["session_id"]}
    copied = friend.post("/playground/run", further)
    expect(copied, 200, credits_remaining=5 - copied.body.get("credits_spent", 0))
    status = owner.get(session).body["share"]
    if (status["views"], status["helpful"]) != (1, 1):
        raise UnexpectedAnswerError(f"one view and one vote were expected: {json.dumps(status)}")

    step("What looks like a secret is not shared without a second look")
    key = "AKIA" + secrets.token_hex(8).upper().translate(str.maketrans("01", "XY"))
    careless = friend.post("/playground/run", {"package_id": PACKAGE, "input": f'AWS_KEY = "{key}"'})
    expect(careless, 200)
    blocked = friend.post(f"/playground/sessions/{careless.body['session_id']}/share", {})
    expect(blocked, 409, error="share_blocked")
    show(blocked.body["message"])

    step("A withdrawn link is dead, and the copy lives")
    expect(owner.delete(f"{session}/share"), 200)
    expect(anybody.get(link), 404, error="share_not_found")
    expect(friend.get(f"/playground/sessions/{fork.body['session_id']}"), 200, turns=3)

    step("A deleted conversation is gone; what it cost stays on record")
    expect(owner.delete(session), 200, deleted=True)
    expect(owner.get(session), 404, error="session_not_found")
    expect(owner.get("/playground/credits"), 200, held=0)


def show_variables(client: Client) -> None:
    """A package's text has a placeholder, which the run fills. Raises UnexpectedAnswerError."""
    step("A package says what its text has placeholders for, and suggests inputs")
    package = client.get(f"/packages/{WITH_VARIABLES}")
    expect(package, 200)
    [variable], example = package.body["variables"], package.body["examples"][0]
    show(f"{{{{{variable['name']}}}}}, or else {variable['default']}", f"{example['title']}: {example['variables']}")

    step("A run fills them; an unknown one is refused by its name")
    request = {"package_id": WITH_VARIABLES, "input": example["input"]}
    misspelt = client.post("/playground/run", {**request, "variables": {"audiense": "tenants"}})
    expect(misspelt, 400, error="validation_error", field="variables.audiense")
    show(misspelt.body["message"])
    run = client.post("/playground/run", {**request, "variables": example["variables"]})
    expect(run, 200, stop_reason="end_turn")
    receipt = client.get(f"/playground/runs/{run.body['run_id']}")
    expect(receipt, 200, status="settled", variables=[variable["name"]])


def show_paying(client: Client, till: Till) -> None:
    """A user buys, spends, gets a part back, and subscribes. Raises UnexpectedAnswerError."""
    step("Everybody can see what is sold")
    packs, plan = client.get("/playground/credits/packages"), client.get("/playground/pricing")
    expect(packs, 200)
    expect(plan, 200)
    [pack] = [pack for pack in packs.body["packages"] if pack["id"] == "medium"]
    price, credits_ = pack["price"], pack["credits"]
    show(
        f"{pack['name']}: {credits_} credits for {pack['price_formatted']}; {plan.body['name']}: {plan.body['credits']}"
    )

    step("A purchase waits for its payment, and the same key is the same purchase")
    key = f"demo-{secrets.token_hex(8)}"
    purchase = client.post("/playground/credits/purchase", {"package": pack["id"]}, key=key)
    expect(purchase, 200, credits=credits_, price=price)
    again = client.post("/playground/credits/purchase", {"package": pack["id"]}, key=key)
    expect(again, 200, purchase_id=purchase.body["purchase_id"])
    expect(client.get("/playground/credits"), 200, balance=5)

    step("Paid: the credits are there, once")
    payment = till.pay(purchase.body["purchase_id"], "visa")["id"]
    balance = 5 + credits_
    paid = wait_for(client, "/playground/credits", balance=balance)
    expect(paid, 200, balance=balance, purchased=balance, debt=0)

    step("A tenth of the money goes back, and a tenth of the credits with it")
    part = price // 10
    taken = -(-credits_ * part // price)  # a begun credit is a credit
    till.control("refund", payment_intent=payment, amount=part)
    balance -= taken
    expect(wait_for(client, "/playground/credits", balance=balance), 200, balance=balance, debt=0)
    newest = client.get("/playground/credits/history?limit=1").body["transactions"][0]
    show(f"{newest['type']} {newest['amount']:+d} -> {newest['balance_after']}   {newest['description']}")
    if (newest["type"], newest["amount"]) != ("refund", -taken):
        raise UnexpectedAnswerError("the history does not end with the refund")

    step(f"PRPM+ is paid for on a page of Stripe, and gives {plan.body['credits']} credits a month")
    balance += plan.body["credits"]
    page = client.post("/playground/subscribe", {})
    expect(page, 200)
    expect(client.post("/playground/subscribe", {}), 200, url=page.body["url"])
    till.control("checkout", session=page.body["url"].rpartition("/")[2].partition("#")[0], card="visa")
    expect(wait_for(client, "/playground/credits", plan="plus"), 200, balance=balance, plan="plus")
    active = wait_for(client, "/playground/subscription", is_active=True)
    expect(active, 200, is_active=True, status="active", cancel_at_period_end=False)
    expect(client.post("/playground/subscribe", {}), 409, error="already_subscribed")

    step("Cancelled and taken up again: no credits move")
    expect(client.post("/playground/subscription/cancel", {}), 200, cancel_at_period_end=True)
    expect(client.post("/playground/subscription/resume", {}), 200, cancel_at_period_end=False)
    expect(client.get("/playground/credits"), 200, balance=balance)


def show_streams(client: Client, *, claude_can_wait: bool = True) -> None:
    """An answer is watched while it is written, lost, and read on. Raises UnexpectedAnswerError."""
    step("An answer comes while it is written; this connection breaks after a few words")
    before = client.get("/playground/credits").body["balance"]
    request = {"package_id": PACKAGE, "input": INPUT + (" [[claude: slow=60]]" if claude_can_wait else "")}
    key = f"demo-{secrets.token_hex(8)}"
    run_id, text, place = "", "", "0"
    print("    ", end="")
    with contextlib.closing(client.stream("POST", "/playground/run/stream", request, Idempotency_Key=key)) as events:
        for event in events:
            if event.name == "run":
                run_id = event.data["run_id"]
            elif event.name == "delta":
                text, place = text + tell_text(event.data["text"]), event.id or "0"
                if len(text) > 120:
                    break
    print()
    step("It is read on behind the last character that arrived")
    print("    ", end="")
    path = f"/playground/runs/{run_id}/stream"
    with contextlib.closing(client.stream("GET", path, None, Last_Event_ID=place)) as events:
        for event in events:
            if event.name == "delta":
                text += tell_text(event.data["text"])
    print()
    if event.name != "done" or event.data["response"] != text:
        raise UnexpectedAnswerError("the two parts of the stream are not the answer")
    show(f"done: {len(text)} characters, credits_spent {event.data['credits_spent']}")
    expect(client.get("/playground/credits"), 200, balance=before - event.data["credits_spent"], held=0)


def show_comparing(client: Client, *, claude_can_think: bool = True) -> None:
    """One input is run with and without the package's prompt. Raises UnexpectedAnswerError."""
    step("With and without the package: both are held in one step, asked at the same time, and paid for one by one")
    before = client.get("/playground/credits").body["balance"]
    key = f"demo-{secrets.token_hex(8)}"
    variants = [{"package_id": PACKAGE}, {"package_id": PACKAGE, "use_no_prompt": True}]
    compared = client.post("/playground/compare", {"input": INPUT, "variants": variants}, key=key)
    expect(compared, 200)
    for name, result in zip(("with", "without"), compared.body["results"], strict=True):
        show(f"{name}: {result['response'].splitlines()[0][:80]} ...  credits_spent {result['credits_spent']}")
    spent = sum(result["credits_spent"] for result in compared.body["results"])
    expect(client.get("/playground/credits"), 200, balance=before - spent, held=0)
    expect(
        client.post("/playground/compare", {"input": INPUT, "variants": variants}, key=key),
        200,
        comparison_id=compared.body["comparison_id"],
        credits_spent=spent,
    )

    if claude_can_think:
        step("One variant that fails costs nothing, and the other is answered")
        thought = {"input": f"{INPUT} [[claude: thinking=600 output_tokens=700]]"}
        variants = [{"package_id": PACKAGE, "max_tokens": 512}, {"package_id": PACKAGE}]
        compared = client.post("/playground/compare", {**thought, "variants": variants})
        expect(compared, 200)
        failed, answered = compared.body["results"]
        if failed.get("error") != "model_failed" or answered["credits_spent"] != compared.body["credits_spent"]:
            raise UnexpectedAnswerError(f"one failure and one answer were expected: {json.dumps(compared.body)[:500]}")
        show(failed["message"])


def show_usage(client: Client) -> None:
    """The runs of a user who did nothing but compare, as they were counted. Raises UnexpectedAnswerError."""
    step("Usage has every run once, a moment after it ended")
    history = client.get("/playground/runs?limit=100").body["runs"]
    charged = [run for run in history if run["status"] == "settled"]
    expected = {"runs": len(charged), "credits": sum(run["credits_spent"] for run in charged)}
    usage = client.get("/playground/analytics/usage?days=2")
    for _ in range(100):
        if usage.body["totals"]["runs"] == expected["runs"]:
            break
        time.sleep(0.1)
        usage = client.get("/playground/analytics/usage?days=2")
    expect(usage, 200, next_cursor=None)
    totals = {
        name: usage.body["totals"][name] for name in ("runs", "failed_runs", "credits", "tokens", "provider_cost")
    }
    if {name: totals[name] for name in expected} != expected:
        raise UnexpectedAnswerError(f"the totals are {totals}, and the receipts say {expected}")
    show(json.dumps(totals))

    step("Everybody sees how often a package was run, and nothing more while few have run it")
    package = Client(client.url, None).get(f"/playground/analytics/packages/{PACKAGE}")
    expect(package, 200, name=PACKAGE)
    show(json.dumps({name: package.body[name] for name in ("runs", "users", "average_credits")}))


def tell_text(text: str) -> str:
    """Print a piece of an answer, indented like everything else, and give it back."""
    print(text.replace("\n", "\n    "), end="", flush=True)
    return text


def wait_for(client: Client, path: str, **fields: object) -> Answer:
    """Poll `path` until the answer has these fields, for about 10 seconds; the last answer."""
    answer = client.get(path)
    for _ in range(100):
        if all(answer.body.get(name) == value for name, value in fields.items()):
            break
        time.sleep(0.1)
        answer = client.get(path)
    return answer


def step(what: str) -> None:
    print(f"\n* {what}", flush=True)


def show(*lines: str) -> None:
    for line in lines:
        print(f"    {line}", flush=True)


def expect(answer: Answer, status: int, /, **fields: object) -> None:
    """Raises UnexpectedAnswerError unless the answer has this status and these fields."""
    if answer.status != status:
        raise UnexpectedAnswerError(f"status {answer.status} instead of {status}: {json.dumps(answer.body)[:500]}")
    for name, value in fields.items():
        if answer.body.get(name) != value:
            raise UnexpectedAnswerError(f"{name} is {answer.body.get(name)!r} instead of {value!r}")
    known = {name: value for name, value in answer.body.items() if name in fields}
    show(f"{status} {json.dumps(known) if known and len(json.dumps(known)) < 200 else ''}".rstrip())


@contextlib.contextmanager
def running_stack() -> Iterator[tuple[str, Path]]:
    """URL and state folder of the running stack, or of one that is started for the demo and stopped after it."""
    folder = state_dir()
    state = read_state(folder)
    if state is not None:
        yield str(state["url"]), folder
        return
    print("no stack is running; starting one for this demo", flush=True)
    with tempfile.TemporaryDirectory(prefix="playground-demo-") as name:
        port = free_ports()
        environment = {**os.environ, "PORT": str(port), "STATE_DIR": name}
        log = Path(name) / "stack.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "local.stack"], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        try:
            yield wait_until_ready(process, log), Path(name)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The URL of the stack, once it is ready. Raises UnexpectedAnswerError with the end of its log."""
    for _ in range(START_SECONDS * 10):
        ready = re.search(r"^ready (\S+)$", log.read_text(encoding="utf-8"), re.MULTILINE)
        if ready:
            return ready[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise UnexpectedAnswerError("the stack did not start:\n" + log.read_text(encoding="utf-8")[-2000:])


def free_ports(count: int = 5) -> int:
    """The first of `count` neighbouring ports on loopback that are free now."""
    for _ in range(100):
        first = 20_000 + secrets.randbelow(20_000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
            return first
    raise UnexpectedAnswerError("no free ports were found")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.demo", description="Show the main job from end to end, and check every step of it."
    )
    parser.parse_args()
    try:
        with running_stack() as (url, folder):
            user = f"demo-{secrets.token_hex(4)}"
            print(f"user {user} at {url}", flush=True)
            state = read_state(folder)
            stand_in = state is not None and state["ports"]["claude"] is not None
            tokens = issuer(TEMPLATE, folder)
            owner, friend = (Client(url, tokens.token(name, timedelta(hours=1))) for name in (user, f"{user}-friend"))
            show_runs(owner, claude_can_fail=stand_in)
            show_sharing(owner, friend)
            watcher = Client(url, tokens.token(f"{user}-watcher", timedelta(hours=1)))
            show_streams(watcher, claude_can_wait=stand_in)
            show_variables(watcher)
            comparer = Client(url, tokens.token(f"{user}-comparer", timedelta(hours=1)))
            show_comparing(comparer, claude_can_think=stand_in)
            show_usage(comparer)
            if state is not None and state.get("stripe_url"):
                show_paying(Client(url, tokens.token(f"{user}-payer", timedelta(hours=1))), Till(state["stripe_url"]))
    except (UnexpectedAnswerError, CannotPayError, OSError) as error:
        print(f"\nnot as expected: {error}", file=sys.stderr)
        return 1
    print("\nall as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
