"""The laptop stack from outside: real HTTP, real processes, the real engine."""

import http.client
import json
import os
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from urllib.parse import urlsplit

import pytest

from local import demo
from local.demo import Answer
from local.till import Till
from playground.domain.account import Account, Change, grant, note_payment
from playground.domain.entries import EntryType
from playground.domain.runs import run_id_of
from tests.conftest import NOW, ROOT
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.kit.extent import HANG_SECONDS, whole_only
from tests.kit.ports import free_ports
from tests.support import all_entries, check_invariants, claude_calls

REVIEW = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b"}


def _bonus(account: Account, credits_: int) -> Change:
    """Credits for somebody who has paid, and so may run 20 times a minute."""
    after, entry = grant(
        note_payment(account), credits_, type_=EntryType.BONUS, business_key="bonus#test", reason="A test", now=NOW
    )
    return after, (entry,)


def test_the_demo_is_as_expected(stack: Stack, user_id: str) -> None:
    demo.show_runs(stack.client(user_id))
    demo.show_sharing(stack.client(user_id), stack.client(f"{user_id}-friend"))
    demo.show_paying(stack.client(f"{user_id}-payer"), Till(stack.stripe_url))


def test_a_pack_is_paid_in_the_browser(stack: Stack, user_id: str) -> None:
    client = stack.client(user_id)
    bought = client.post("/playground/credits/purchase", {"package": "small"}).body
    assert bought["pay_url"] == f"{stack.stripe_url}/pay/{bought['client_secret']}"
    page = urlsplit(bought["pay_url"])
    for card, balance in (("declined", 5), ("visa", 5 + bought["credits"])):
        connection = http.client.HTTPConnection(page.netloc, timeout=HANG_SECONDS)
        try:
            connection.request("POST", page.path, f"action=pay&card={card}")
            assert connection.getresponse().status == 303
        finally:
            connection.close()
        answer = demo.wait_for(client, "/playground/credits", balance=balance)
        assert answer.body["balance"] == balance


def test_the_demo_fails_when_an_answer_is_unexpected(stack: Stack, user_id: str) -> None:
    client = stack.client(user_id)
    assert client.post("/playground/run", REVIEW).status == 200  # so the account is not a new one any more
    with pytest.raises(demo.UnexpectedAnswerError, match="balance is 4 instead of 5"):
        demo.show_runs(client)


def test_64_parallel_runs_on_7_credits_are_7_answers(stack: Stack, user_id: str) -> None:
    client, ledger = stack.client(user_id), stack.ledger
    two_more = partial(_bonus, credits_=2)
    ledger.change(user_id, two_more, business_key="bonus#test", now=NOW)
    request = {**REVIEW, "max_tokens": 600}
    estimate = client.post("/playground/estimate", request)
    assert (estimate.body["max_credits"], estimate.body["current_balance"]) == (1, 7)
    calls = claude_calls(stack.claude_url)["messages"]
    barrier = Barrier(64)

    def run(_: int) -> Answer:
        barrier.wait(HANG_SECONDS)
        return client.post("/playground/run", request)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(run, range(64)))

    assert Counter(answer.status for answer in answers) == {200: 7, 402: 57}
    assert claude_calls(stack.claude_url)["messages"] - calls == 7
    account = ledger.account(user_id, NOW)
    assert (account.balance, account.held, len(account.holds)) == (0, 0, 0)
    entries = all_entries(ledger, user_id)
    check_invariants(account, entries)
    paid = [entry.run_id for entry in entries if entry.type is EntryType.SPEND]
    assert sorted(paid) == sorted(answer.body["run_id"] for answer in answers if answer.status == 200)


def test_same_key_50_times_in_parallel_is_one_charge_and_one_answer(stack: Stack, user_id: str) -> None:
    client = stack.client(user_id)
    calls = claude_calls(stack.claude_url)["messages"]
    barrier = Barrier(50)

    def run(_: int) -> Answer:
        barrier.wait(HANG_SECONDS)
        return client.post("/playground/run", REVIEW, key="the one")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(run, range(50)))

    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 409}
    assert {answer.body["error"] for answer in answers if answer.status == 409} <= {"run_in_progress"}
    final = client.post("/playground/run", REVIEW, key="the one")
    assert {json.dumps(answer.body) for answer in answers if answer.status == 200} == {json.dumps(final.body)}
    assert claude_calls(stack.claude_url)["messages"] - calls == 1
    account = stack.ledger.account(user_id, NOW)
    assert (account.balance, account.held) == (4, 0)
    check_invariants(account, all_entries(stack.ledger, user_id))


def test_run_in_progress_says_when_to_come_back(stack: Stack, user_id: str) -> None:
    client = stack.client(user_id)
    slow = {**REVIEW, "input": "Slowly. [[claude: together=2]]"}
    run_id = run_id_of(user_id, "slow")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/playground/run", slow, key="slow")
        receipt = client.get(f"/playground/runs/{run_id}")
        while receipt.status == 404 and not first.done():
            receipt = client.get(f"/playground/runs/{run_id}")
        assert (receipt.status, receipt.body["status"], receipt.body["response"]) == (200, "held", None)
        second = client.post("/playground/run", slow, key="slow")
        assert (second.status, second.body["error"], second.body["run_id"]) == (409, "run_in_progress", run_id)
        assert second.body["retry_after"] > 0
        assert stack.client(f"{user_id}-other").post("/playground/run", slow).status == 200  # which it waits for
        assert first.result().status == 200
    assert client.post("/playground/run", slow, key="slow").body == first.result().body
    assert client.get("/playground/credits").body["balance"] == 4


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/nothing", 404, "route_not_found"), ("/playground/run", 404, "route_not_found")],
)
def test_what_the_template_does_not_have_does_not_exist(
    stack: Stack, user_id: str, path: str, status: int, code: str
) -> None:
    answer = stack.client(user_id).get(path)
    assert (answer.status, answer.body["error"]) == (status, code)
    assert set(answer.body) == {"error", "message", "request_id"}


def test_20_megabytes_are_refused(stack: Stack, user_id: str) -> None:
    answer = stack.client(user_id).post("/playground/run", {**REVIEW, "input": "x" * 20_000_000})
    assert (answer.status, answer.body["error"]) == (413, "request_too_large")


@pytest.mark.parametrize(("path", "status"), [("/playground/run", 200), ("/auth/me", 204), ("/no/such/path", 204)])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_browser_may_ask_first(stack: Stack, path: str, status: int, name: str) -> None:
    """Also for a path that does not exist, so that the page can read that it does not. On a laptop there are two
    origins, so the gateway names any, and the functions the one that asks."""
    origin = stack.url.replace("127.0.0.1", name)
    answers = []
    for method in ("OPTIONS", "GET"):
        connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=HANG_SECONDS)
        try:
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            connection.request(method, f"/api/v1{path}", headers=headers)
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        answers.append(response)
    first, then = answers
    assert (first.status, then.status) == (status, 404)
    assert first.headers["Access-Control-Allow-Origin"] == ("*" if status == 200 else origin)
    assert "POST" in first.headers["Access-Control-Allow-Methods"]
    allowed = first.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-type", "idempotency-key"} <= {name.strip() for name in allowed.split(",")}
    assert then.headers["Access-Control-Allow-Origin"] == "*"


def test_nothing_that_people_write_is_logged(stack: Stack, user_id: str) -> None:
    client = stack.client(user_id)
    secret = "a sentence that nobody else writes"
    answer = client.post("/playground/run", {**REVIEW, "input": secret})
    client.post("/playground/run", {**REVIEW, "input": secret, "model": "none"})
    client.post("/playground/run", {**REVIEW, "input": f"{secret} [[claude: status=500]]"})
    assert answer.status == 200
    assert secret in answer.body["response"]
    assert answer.body["run_id"] in stack.log
    for text in (secret, client.token, answer.body["response"].splitlines()[0]):
        assert text not in stack.log


@whole_only
def test_balance_and_history_survive_a_kill(tmp_path: Path, user_id: str) -> None:
    """`kill -9` of the stack; the same command starts it again on the same ports with the same data."""
    port = free_ports(5)
    few = {"WARM": "run,credits"}
    stack = start_stack(tmp_path, port, few)
    try:
        client = stack.client(user_id)
        run = client.post("/playground/run", REVIEW, key="before the kill")
        assert run.status == 200
        before = [client.get(path).body for path in ("/playground/credits", "/playground/credits/history")]
    finally:
        stack.process.send_signal(signal.SIGKILL)
        stack.process.wait()
        stack.ledger._store.client.close()
    again = start_stack(tmp_path, port, few)
    try:
        assert [client.get(path).body for path in ("/playground/credits", "/playground/credits/history")] == before
        assert client.post("/playground/run", REVIEW, key="before the kill").body == run.body
    finally:
        stop_stack(again)


def test_invoke_and_token_commands_work_against_the_stack(stack: Stack) -> None:
    environment = {**os.environ, "STATE_DIR": str(stack.folder), "PYTHONPATH": str(ROOT / "layers" / "shared")}
    for arguments in (["invoke", "run", "events/run/ok.json"], ["token", "alice"]):
        done = subprocess.run(
            [ROOT / "playground", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        if arguments[0] == "invoke":
            assert json.loads(done.stdout)["statusCode"] == 200
        else:
            assert demo.Client(stack.url, done.stdout.strip()).get("/playground/credits").status == 200
