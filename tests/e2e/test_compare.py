"""Comparisons through the whole laptop stack: gateway, function, store and Claude's stand-in, over HTTP."""

import http.client
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.demo import Answer, Client
from local.event_stream import ServerEvent, read_events
from tests.e2e.conftest import Stack
from tests.kit.extent import HANG_SECONDS
from tests.support import all_entries, check_invariants, claude_calls

PACKAGE = "@playground/code-reviewer"
WITH: Mapping[str, object] = {"package_id": PACKAGE, "max_tokens": 2000}
WITHOUT = {**WITH, "use_no_prompt": True}
SHORT = {**WITH, "max_tokens": 512}
THOUGHT = "Think. [[claude: thinking=600 output_tokens=700]]"  # the thought alone is longer than SHORT may be


class Comparer:
    """One user who compares."""

    def __init__(self, stack: Stack, user_id: str) -> None:
        self.stack = stack
        self.user_id = user_id
        self.client: Client = stack.client(user_id)

    def compare(self, *variants: Mapping[str, object], text: str = "Review this.", key: str | None = None) -> Answer:
        return self.client.post("/playground/compare", {"input": text, "variants": variants}, key=key)

    def stream(
        self, *variants: Mapping[str, object], text: str = "Review this.", key: str = "k"
    ) -> Sequence[ServerEvent] | Answer:
        """The events, or the answer if it is no stream."""
        connection = http.client.HTTPConnection(urlsplit(self.stack.url).netloc, timeout=HANG_SECONDS)
        headers = {
            "Authorization": f"Bearer {self.client.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            body = json.dumps({"input": text, "variants": variants})
            connection.request("POST", "/api/v1/playground/compare/stream", body, headers)
            response = connection.getresponse()
            if response.status != 200:
                return Answer(response.status, json.loads(response.read()))
            return list(read_events(response))
        finally:
            connection.close()

    def account(self) -> tuple[int, int]:
        """Balance and what is held, of the account, which adds up."""
        account = self.stack.ledger.account(self.user_id, datetime.now(UTC))
        check_invariants(account, all_entries(self.stack.ledger, self.user_id))
        return account.balance, account.held


@pytest.fixture
def comparer(stack: Stack, user_id: str) -> Comparer:
    return Comparer(stack, user_id)


def test_variants_are_asked_at_once_and_answered_in_order(comparer: Comparer) -> None:
    """`together` makes the stand-in wait until as many calls are there."""
    text = "Review this. [[claude: together=2 output_tokens=40]]"

    answer = comparer.compare(WITH, WITHOUT, text=text, key="k")

    assert answer.status == 200, answer.body
    first, second = answer.body["results"]
    assert first["run_id"] != second["run_id"]
    assert first["session_id"] != second["session_id"]
    assert first["input_tokens"] > second["input_tokens"]  # only the first had the package's prompt
    assert answer.body["credits_spent"] == first["credits_spent"] + second["credits_spent"] == 2
    assert comparer.account() == (3, 0)
    for index, result in enumerate((first, second)):
        receipt = comparer.client.get(f"/playground/runs/{result['run_id']}").body
        assert (receipt["status"], receipt["credits_spent"]) == ("settled", result["credits_spent"])
        session = comparer.client.get(f"/playground/sessions/{result['session_id']}").body
        assert session["comparison"] == {"id": answer.body["comparison_id"], "index": index}
        assert session["conversation"][1]["content"] == result["response"]

    calls = claude_calls(comparer.stack.claude_url)["messages"]
    again = comparer.compare(WITH, WITHOUT, text=text, key="k")
    assert (again.status, again.body) == (200, answer.body)
    assert claude_calls(comparer.stack.claude_url)["messages"] == calls
    assert comparer.account() == (3, 0)
    assert comparer.compare(WITHOUT, WITH, text=text, key="k").body["error"] == "idempotency_conflict"
    alone = comparer.client.post("/playground/run", {**WITH, "input": text}, key="k")
    assert (alone.status, alone.body["error"]) == (422, "idempotency_conflict")


def test_one_that_fails_leaves_the_other_its_answer(comparer: Comparer) -> None:
    answer = comparer.compare(SHORT, WITH, text=THOUGHT, key="k")

    failed, answered = answer.body["results"]
    assert (answer.status, failed["error"], failed["reason"]) == (200, "model_failed", "no_text")
    assert failed["request_id"]
    assert comparer.client.get(f"/playground/runs/{failed['run_id']}").body["status"] == "released"
    assert answer.body["credits_spent"] == answered["credits_spent"] >= 1
    assert comparer.account() == (5 - answered["credits_spent"], 0)
    again = comparer.compare(SHORT, WITH, text=THOUGHT, key="k")
    ours = {name: value for name, value in again.body["results"][0].items() if name != "request_id"}
    assert ours == {name: value for name, value in failed.items() if name != "request_id"}
    assert again.body["results"][1] == answered


def test_what_cannot_be_afforded_together_holds_nothing(comparer: Comparer) -> None:
    calls = claude_calls(comparer.stack.claude_url)["messages"]

    answer = comparer.compare({**WITH, "model": "opus"}, {**WITHOUT, "model": "opus"})

    assert (answer.status, answer.body["error"]) == (402, "insufficient_credits")
    assert (answer.body["required_credits"], answer.body["available_credits"]) == (6, 5)
    assert claude_calls(comparer.stack.claude_url)["messages"] == calls
    assert comparer.account() == (5, 0)


@pytest.mark.parametrize(
    ("variants", "field"),
    [
        ([], "variants"),
        ([WITH], "variants"),
        ([{**WITH, "max_tokens": 600 + number} for number in range(5)], "variants"),
        ([WITH, WITHOUT, WITH], "variants.2"),
        ([WITH, {**WITHOUT, "model": "sonnet"}, {**WITHOUT}], "variants.2"),
        ([WITH, {**WITH, "effort": "enormous"}], "variants.1.effort"),
        ([WITH, {**WITH, "temperature": 1}], "variants.1.temperature"),
        ([WITH, {**WITH, "input": "another"}], "variants.1.input"),
        ([WITH, "another"], "variants.1"),
        ([WITH, {"max_tokens": 600}], "variants.1.package_id"),
    ],
)
def test_what_is_no_comparison_is_a_400_that_names_the_field(
    comparer: Comparer, variants: Sequence[Any], field: str
) -> None:
    for answer in (comparer.compare(*variants), comparer.stream(*variants)):
        assert isinstance(answer, Answer)
        assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", field)
    assert comparer.account() == (5, 0)


def test_a_refusal_names_the_variant(comparer: Comparer) -> None:
    missing = comparer.compare(WITH, {"package_id": "@playground/none"})
    assert (missing.status, missing.body["error"], missing.body["variant"]) == (404, "package_not_found", 1)


def test_a_comparison_is_streamed_variant_by_variant(comparer: Comparer) -> None:
    text = "Review this. [[claude: output_tokens=60 slow=30]]"

    events = comparer.stream(WITH, WITHOUT, text=text)

    assert not isinstance(events, Answer)
    assert events[-1].name == "end"
    assert len({event.data["run_id"] for event in events if event.name == "run"}) == 2
    for index in (0, 1):
        ours = [event for event in events[:-1] if event.data["index"] == index]
        assert [ours[0].name, ours[-1].name] == ["run", "done"]
        deltas = [event for event in ours if event.name == "delta"]
        response = ours[-1].data["response"]
        assert "".join(event.data["text"] for event in deltas) == response
        assert int(deltas[-1].id or 0) == len(response)
    places = [event.data["index"] for event in events if event.name == "delta"]
    assert places != sorted(places), "the variants were written one after the other"
    spent = sum(event.data["credits_spent"] for event in events if event.name == "done")
    assert events[-1].data["credits_spent"] == spent
    assert comparer.account() == (5 - spent, 0)

    again = comparer.stream(WITH, WITHOUT, text=text)
    assert not isinstance(again, Answer)
    assert [event.data for event in again if event.name in ("done", "end")] == [
        *sorted((event.data for event in events if event.name == "done"), key=lambda data: data["index"]),
        events[-1].data,
    ]
    whole = comparer.compare(WITH, WITHOUT, text=text, key="k")
    assert whole.body["credits_spent"] == spent
    run_id = events[0].data["run_id"]
    rest = comparer.client.stream("GET", f"/playground/runs/{run_id}/stream", None, Last_Event_ID="10")
    assert [event.name for event in rest] == ["run", "delta", "done"]


def test_a_streamed_variant_that_fails_is_an_error_of_its_own(comparer: Comparer) -> None:
    events = comparer.stream(SHORT, WITH, text=THOUGHT)

    assert not isinstance(events, Answer)
    ends = {event.data["index"]: event for event in events if event.name in ("done", "error")}
    assert (ends[0].name, ends[0].data["error"], ends[1].name) == ("error", "model_failed", "done")
    assert (events[-1].name, events[-1].data["credits_spent"]) == ("end", ends[1].data["credits_spent"])
    assert comparer.account() == (5 - ends[1].data["credits_spent"], 0)


def test_a_comparison_needs_a_token(stack: Stack) -> None:
    body = {"input": "x", "variants": [WITH, WITHOUT]}
    assert Client(stack.url, None).post("/playground/compare", body).status == 401
