"""Two users and anybody else, over HTTP: continue, share, copy, vote, report, decide, withdraw, delete."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.demo import Answer, Client
from operate.cli import run as playground
from tests.e2e.conftest import Stack

REVIEW = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b"}


def test_two_users_walk_through_share_fork_vote_and_withdrawal(stack: Stack, user_id: str) -> None:
    alice, bob, anybody = stack.client(user_id), stack.client(f"{user_id}-bob"), Client(stack.url, None)
    first = alice.post("/playground/run", REVIEW)
    session = f"/playground/sessions/{first.body['session_id']}"
    again = alice.post("/playground/run", {**REVIEW, "input": "Why?", "session_id": first.body["session_id"]})
    assert [answer.status for answer in (first, again)] == [200, 200]

    shared = alice.post(f"{session}/share", {})
    link = f"/playground/shared/{shared.body['share_token']}"
    assert shared.body["share_url"] == f"{stack.url}/playground/shared/{shared.body['share_token']}"
    seen = anybody.get(link)
    assert (seen.status, len(seen.body["conversation"])) == (200, 4)
    assert user_id not in json.dumps(seen.body)

    fork = bob.post(f"{link}/fork", {}, key="mine")
    assert bob.post(f"{link}/fork", {}, key="mine").body == fork.body
    own = f"/playground/sessions/{fork.body['session_id']}"
    further = bob.post("/playground/run", {**REVIEW, "input": "So?", "session_id": fork.body["session_id"]})
    assert (further.status, further.body["credits_remaining"]) == (200, 4)
    assert (bob.get(own).body["turns"], alice.get(session).body["turns"]) == (3, 2)
    assert (alice.get(own).status, bob.get(session).status, bob.delete(session).status) == (404, 404, 404)

    assert bob.post(f"{link}/feedback", {"is_helpful": False}).status == 200
    assert bob.post(f"{link}/feedback", {"is_helpful": True}).status == 200
    assert bob.get(link).status == 200
    status = alice.get(session).body["share"]
    assert (status["views"], status["helpful"], status["not_helpful"], status["turns"]) == (2, 1, 0, 2)

    assert alice.delete(f"{session}/share").status == 200
    assert (anybody.get(link).status, bob.get(link).status, alice.get(link).status) == (404, 404, 404)
    other = alice.post(f"{session}/share", {}).body["share_token"]
    assert other != shared.body["share_token"]
    assert alice.delete(session).status == 200
    assert anybody.get(f"/playground/shared/{other}").status == 404
    assert bob.get(own).body["turns"] == 3
    history = alice.get("/playground/credits/history").body["transactions"]
    assert [line["amount"] for line in history] == [-1, -1, 5]
    for secret in (shared.body["share_token"], other, "Why?"):
        assert secret not in stack.log  # neither in a path nor anywhere else


def test_simultaneous_continuations_are_one_answer_and_the_others_cost_nothing(stack: Stack, user_id: str) -> None:
    """None is answered before all three were asked, however long each of them takes to get there."""
    client = stack.client(user_id)
    session_id = client.post("/playground/run", REVIEW).body["session_id"]

    def go_on(number: int) -> Answer:
        ask = {**REVIEW, "input": f"{number}? [[claude: together=3]]", "session_id": session_id, "max_tokens": 600}
        return client.post("/playground/run", ask)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(go_on, range(3)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    assert {answer.body.get("error") for answer in answers} == {None, "session_conflict"}
    [won] = [answer for answer in answers if answer.status == 200]
    conversation = client.get(f"/playground/sessions/{session_id}").body["conversation"]
    assert conversation[3]["run"]["run_id"] == won.body["run_id"]
    said = [{name: each[name] for name in each if name != "run"} for each in conversation[2:]]
    assert said == won.body["conversation"]
    assert client.get("/playground/credits").body["balance"] == 3


def test_an_operator_decides_about_a_reported_link(
    stack: Stack, user_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, anybody = stack.client(user_id), Client(stack.url, None)
    session_id = alice.post("/playground/run", REVIEW).body["session_id"]
    token = alice.post(f"/playground/sessions/{session_id}/share", {}).body["share_token"]
    link = f"/playground/shared/{token}"
    for number in range(3):
        reporter = stack.client(f"{user_id}-{number}")
        assert reporter.post(f"{link}/report", {"reason": "It shows\x1b[31m an address."}).status == 200
    assert anybody.get(link).status == 404

    moderate = Moderator(stack, monkeypatch, capsys)
    _, listed, _ = moderate("list")
    [line] = [line for line in listed.splitlines() if user_id in line]
    share_id = line.split()[0]
    assert "hidden, 3 reports" in line
    _, shown, _ = moderate("show", share_id)
    assert f"reported by {user_id}-2" in shown
    assert "def add" in shown
    assert "\x1b" not in shown
    status, restored, _ = moderate("restore", f"{stack.url}{link}")
    assert (status, restored.split(",")[:2]) == (0, [f"restore: {share_id} shown", " 0 reports"])
    assert anybody.get(link).status == 200
    assert moderate("hide", token)[1].startswith(f"hide: {share_id} hidden,")
    assert anybody.get(link).status == 404
    assert moderate("remove", share_id)[1].startswith(f"remove: {share_id} removed,")
    assert moderate("show", share_id) == (4, "", f"there is no share {share_id}\n")
    again = alice.post(f"/playground/sessions/{session_id}/share", {"acknowledge_findings": True})
    assert (again.status, again.body["error"], again.body["findings"]) == (409, "share_blocked", [])
    assert alice.get(f"/playground/sessions/{session_id}").status == 200


class Moderator:
    """`./playground moderate`, in this process: its status, and what it printed."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("STATE_DIR", str(stack.folder))
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        status = playground(["moderate", *arguments])
        return (status, *self.capsys.readouterr())
