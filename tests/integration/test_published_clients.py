"""The web app and the CLI of the earlier product, against our handlers: the requests that they send, and the fields of
the answers that they read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.sharing import share_id_of
from playground.settings import ApiSettings
from tests.handlers import Answer, Handlers, loaded
from tests.integration.test_sessions import PACKAGE, give, left, long_session, run
from tests.integration.test_subscriptions import subscribed
from tests.kit.shop import Shop

FRONT_END = "https://prpm.dev"


@dataclass(frozen=True)
class World:
    """What a user of the clients has: a session of two turns, shared, and a package by its UUID."""

    handlers: Handlers
    user: str
    session_id: str
    token: str
    package: str

    def send(self, method: str, path: str, body: Mapping[str, Any] | None, *, signed_in: bool) -> Answer:
        names = {"SESSION": self.session_id, "TOKEN": self.token, "UUID": self.package}
        for name, value in names.items():
            path = path.replace(name, value)
        fields = {name: names.get(value, value) for name, value in body.items()} if body is not None else None
        return self.handlers.call(method, path, fields, user=self.user if signed_in else None)


@pytest.fixture
def world(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> World:
    give(ledger, user_id, 50)
    first = run(handlers, user_id, "What is this?")
    session_id = first.body["session_id"]
    run(handlers, user_id, "And that?", session_id=session_id)
    shared = handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id)
    package = handlers.call("GET", f"/packages/{PACKAGE}").body["id"]
    return World(handlers, user_id, session_id, shared.body["share_token"], package)


@dataclass(frozen=True)
class Use:
    """A request of a published client. `reads`: paths of fields in its answer, `a.b`, or `a[].b` in every element."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    reads: str
    signed_in: bool = True


RUN = {"package_id": "UUID", "input": "Hello."}
CLIENTS = {
    "run": Use(
        "POST",
        "/playground/run",
        {**RUN, "model": "sonnet", "session_id": "SESSION"},
        "session_id response credits_spent credits_remaining tokens_used duration_ms model conversation[].role "
        "conversation[].content conversation[].timestamp conversation[].tokens",
    ),
    "run without the prompt": Use("POST", "/playground/run", {**RUN, "use_no_prompt": True}, "response session_id"),
    "estimate": Use("POST", "/playground/estimate", {**RUN, "model": "sonnet"}, "estimated_credits estimated_tokens"),
    "sessions": Use(
        "GET",
        "/playground/sessions?limit=20&offset=0",
        None,
        "sessions[].id sessions[].package_name sessions[].run_count sessions[].credits_spent sessions[].last_run_at "
        "sessions[].package_id sessions[].package_version sessions[].model sessions[].total_tokens "
        "sessions[].total_duration_ms sessions[].is_public sessions[].created_at sessions[].updated_at",
    ),
    "session": Use("GET", "/playground/sessions/SESSION", None, "id package_name package_id conversation[].content"),
    "share": Use("POST", "/playground/sessions/SESSION/share", None, "share_token share_url"),
    "shared": Use(
        "GET",
        "/playground/shared/TOKEN",
        None,
        "package_name package_id package_version model conversation[].content view_count helpful_count "
        "not_helpful_count shared_at created_at",
        signed_in=False,
    ),
    "vote": Use(
        "POST",
        "/playground/shared/TOKEN/feedback",
        {"is_helpful": True, "feedback_text": "Thanks."},
        "message",
        signed_in=False,
    ),
    "feedback": Use(
        "POST",
        "/playground/feedback",
        {"session_id": "SESSION", "exchange_index": 0, "is_effective": True, "comment": "Good."},
        "success feedback_id",
    ),
    "feedback of the CLI": Use(
        "POST", "/playground/feedback", {"session_id": "SESSION", "is_effective": False}, "success feedback_id"
    ),
    "credits": Use(
        "GET",
        "/playground/credits",
        None,
        "balance monthly.allocated monthly.used monthly.remaining monthly.reset_at rollover.amount rollover.expires_at "
        "purchased breakdown.monthly breakdown.rollover breakdown.purchased",
    ),
    "credits of the CLI": Use(
        "GET",
        "/playground/credits",
        None,
        "balance monthly_credits monthly_credits_used rollover_credits purchased_credits rollover_expires_at "
        "monthly_reset_at prpm_plus_status",
    ),
    "history": Use(
        "GET",
        "/playground/credits/history?limit=10&offset=0",
        None,
        "total transactions[].amount transactions[].balance_after transactions[].description "
        "transactions[].created_at transactions[].transaction_type transactions[].type",
    ),
    "packs": Use(
        "GET",
        "/playground/credits/packages",
        None,
        "packages[].id packages[].name packages[].credits packages[].price packages[].popular",
    ),
    "purchase": Use(
        "POST", "/playground/credits/purchase", {"package": "small"}, "clientSecret purchaseId credits price"
    ),
    "pricing": Use("GET", "/playground/pricing", None, "price currency interval credits isOrgMember orgName discount"),
    "subscribe": Use(
        "POST",
        "/playground/subscribe",
        {"successUrl": f"{FRONT_END}/playground?ok=1", "cancelUrl": f"{FRONT_END}/pricing"},
        "checkoutUrl",
    ),
    "subscription": Use("GET", "/playground/subscription", None, "isActive status cancelAtPeriodEnd currentPeriodEnd"),
    "package of a run": Use("GET", "/packages/%40playground%2Fcode-reviewer", None, "id name", signed_in=False),
    "package by its id": Use("GET", "/packages/by-id/UUID", None, "id name description", signed_in=False),
    "search": Use(
        "GET",
        "/search?q=review&limit=10",
        None,
        "packages[].id packages[].name packages[].description total limit",
        signed_in=False,
    ),
    "delete": Use("DELETE", "/playground/sessions/SESSION", None, ""),
}


def read(value: Any, path: str) -> None:
    """Raises LookupError or TypeError if a client would read `undefined`."""
    for part in path.split("."):
        many = part.endswith("[]")
        value = value[part.removesuffix("[]")]
        if many:
            rest = path.split("[].", 1)[1]
            assert value, path
            for element in value:
                read(element, rest)
            return


@pytest.mark.parametrize("name", CLIENTS)
def test_published_clients_find_every_field_that_they_read(world: World, name: str) -> None:
    use = CLIENTS[name]
    answer = world.send(use.method, use.path, use.body, signed_in=use.signed_in)
    assert answer.status == 200, answer.body
    for path in use.reads.split():
        read(answer.body, path)


# --- the conversation with the answer ---------------------------------------------------------------------------------


def ask(handlers: Handlers, user: str, path: str, key: str | None = None, **fields: Any) -> Answer:
    return handlers.call("POST", path, {"package_id": PACKAGE, "input": "Hello.", **fields}, user=user, key=key)


def done_of(answer: Answer) -> Any:
    (done,) = [event for event in answer.body if event["event"] == "done"]
    return done


@pytest.mark.parametrize("path", ["/playground/run", "/playground/run/stream"])
def test_a_run_answers_the_whole_conversation_on_request(world: World, path: str) -> None:
    key = str(uuid4())

    def conversation(query: str, **fields: Any) -> tuple[list[str], int]:
        answer = ask(world.handlers, world.user, path + query, **fields)
        assert answer.status == 200, answer.body
        body = answer.body if path.endswith("run") else done_of(answer)
        return inputs(body), body["earlier_turns"]

    third = {"session_id": world.session_id, "input": "Third.", "key": key}
    assert conversation("?include=conversation", **third) == (["What is this?", "And that?", "Third."], 0)
    assert conversation("", session_id=world.session_id, input="Fourth.") == (["Fourth."], 3)
    assert conversation("?include=conversation", **third) == (["What is this?", "And that?", "Third."], 0), "a repeat"
    assert conversation("", **third) == (["Third."], 2)
    assert conversation("?include=conversation") == (["Hello."], 0)


def test_an_operator_may_have_the_whole_conversation_answered_to_clients_that_do_not_ask(
    description: Description, engine: Engine, claude: ClaudeDouble, stripe_double: StripeDouble, user_id: str
) -> None:
    with loaded(description, engine, claude, stripe_double, parameters={"WholeConversation": "true"}) as handlers:
        session_id = ask(handlers, user_id, "/playground/run", input="First.").body["session_id"]
        second = ask(handlers, user_id, "/playground/run", session_id=session_id, input="Second.").body
        custom: dict[str, Any] = {"custom_prompt": "Answer in one short sentence.", "input": "Hello."}
        own = send_custom(handlers, user_id, **custom)
        again = send_custom(handlers, user_id, **custom | {"session_id": own["session_id"], "input": "Again."})

    assert inputs(second) == ["First.", "Second."]
    assert inputs(own) == ["Hello."]
    assert inputs(again) == ["Hello.", "Again."]


def send_custom(handlers: Handlers, user: str, **body: Any) -> Any:
    claims = {"verified_author": True}
    return handlers.call("POST", "/custom-prompt/run", body, user=f"{user}-author", claims=claims).body


def inputs(body: Any) -> list[str]:
    return [message["content"] for message in body["conversation"] if message["role"] == "user"]


def test_what_is_included_has_its_bound(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    give(ledger, user_id, 50)
    session_id = long_session(handlers, user_id, turns=210, answer="Yes.")

    body = ask(handlers, user_id, "/playground/run?include=conversation", session_id=session_id).body

    assert len(body["conversation"]) == 2 * 200
    assert (body["earlier_turns"], body["conversation"][-2]["content"]) == (11, "Hello.")

    refused = ask(handlers, user_id, "/playground/run?include=everything", session_id=session_id)
    assert (refused.status, refused.body["field"]) == (400, "include")


# --- opinions ---------------------------------------------------------------------------------------------------------


def test_feedback_on_an_exchange_is_given_once(world: World, user_id: str) -> None:
    def give_feedback(user: str = user_id, **fields: Any) -> tuple[int, str | None]:
        body = {"session_id": world.session_id, "exchange_index": 1, "is_effective": True, **fields}
        answer = world.handlers.call("POST", "/playground/feedback", body, user=user)
        return answer.status, answer.body.get("error") or answer.body.get("feedback_id")

    turn = world.handlers.apps["sessions"].sessions.turn(world.session_id, 2)  # type: ignore[attr-defined]
    assert give_feedback() == (200, turn.run_id)
    assert give_feedback(is_effective=False) == (409, "feedback_exists")
    assert give_feedback(exchange_index=2) == (400, "validation_error")
    assert give_feedback(exchange_index=-1) == (400, "validation_error")
    assert give_feedback(f"{user_id}-other") == (404, "session_not_found")
    assert give_feedback(session_id="ses_unknown") == (404, "session_not_found")
    by_run = world.handlers.call("POST", f"/playground/runs/{turn.run_id}/feedback", {"rating": 5}, user=user_id)
    assert (by_run.status, by_run.body["rating"]) == (200, 5)
    assert give_feedback() == (409, "feedback_exists")


def test_an_exchange_that_was_copied_is_not_rated(world: World, user_id: str) -> None:
    other = f"{user_id}-other"
    fork = world.handlers.call("POST", f"/playground/shared/{world.token}/fork", {}, user=other).body["session_id"]
    body = {"session_id": fork, "exchange_index": 0, "is_effective": True}
    answer = world.handlers.call("POST", "/playground/feedback", body, user=other)
    assert (answer.status, answer.body["error"]) == (404, "run_not_found")


def test_visitors_vote_once_per_address_and_users_once(world: World, user_id: str) -> None:
    def vote(helpful: bool, *, user: str | None = None, address: str = "203.0.113.7") -> int:
        path = f"/playground/shared/{world.token}/feedback"
        return world.handlers.call("POST", path, {"is_helpful": helpful}, user=user, address=address).status

    def counts() -> tuple[int, int]:
        shared = world.handlers.call("GET", f"/playground/shared/{world.token}", address="192.0.2.1").body
        return shared["helpful_count"], shared["not_helpful_count"]

    assert [vote(True), vote(True), vote(True)] == [200, 200, 200]
    assert counts() == (1, 0)
    assert vote(False) == 200, "a later vote replaces it"
    assert counts() == (0, 1)
    assert vote(True, address="203.0.113.8") == 200
    assert counts() == (1, 1)
    other = f"{user_id}-other"
    assert [vote(True, user=other), vote(True, user=other, address="203.0.113.9")] == [200, 200]
    assert counts() == (2, 1), "a user has one vote, from wherever it comes"
    assert vote(True, user=user_id) == 403, "the owner"
    assert counts() == (2, 1)
    stored = [item for item in left(world.handlers, "SHARE", share_id_of(world.token)) if "is_helpful" in item]
    ends = {item["sk"]["S"][:7] for item in stored if "ttl" in item}
    stays = {item["sk"]["S"][:7] for item in stored if "ttl" not in item}
    assert (ends, stays) == ({"VOTE#a-"}, {"VOTE#u-"}), "the hash of an address does not stay"


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/playground/sessions",
        "/playground/credits/history",
        "/playground/credits/purchases",
        "/playground/runs",
        "/playground/sessions/SESSION",
        "/playground/shared/TOKEN",
        "/packages",
        "/search",
    ],
)
def test_an_offset_is_refused_with_the_name_of_the_cursor(world: World, path: str) -> None:
    answer = world.send("GET", f"{path}?offset=20", None, signed_in=True)
    assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", "offset")
    assert "`cursor`" in answer.body["message"]


@pytest.mark.parametrize("path", ["/playground/sessions", "/playground/credits/history", "/search"])
def test_offset_0_is_the_first_page(world: World, path: str) -> None:
    """Published clients send it with their first request. Any other is refused, and so is 0 beside a cursor."""

    def send(query: str) -> Answer:
        return world.send("GET", f"{path}?{query}", None, signed_in=True)

    first, same = ({**send(query).body, "next_cursor": None} for query in ("limit=1", "limit=1&offset=0"))
    assert first == same
    for query, got in (("offset=1", 1), ("limit=20&offset=20", 20), ("offset=-1", -1), ("offset=0&cursor=x", 0)):
        refused = send(query)
        assert (refused.status, refused.body["field"]) == (400, "offset")
        assert refused.body["message"] == (
            f"offset: must be 0, which is the first page; use `cursor` for those after it; got {got}"
        )


@pytest.mark.parametrize("path", ["/playground/credits/purchases", "/playground/runs", "/packages"])
def test_offset_0_is_for_the_lists_of_published_clients_only(world: World, path: str) -> None:
    refused = world.send("GET", f"{path}?offset=0", None, signed_in=True)
    assert (refused.status, refused.body["expected"]) == (400, "cursor")


def test_a_search_filters_and_counts(handlers: Handlers) -> None:
    def search(query: str) -> Any:
        answer = handlers.call("GET", f"/search?{query}")
        assert answer.status == 200, answer.body
        return answer.body

    everything = search("limit=100")
    packages = everything["packages"]
    assert everything["total"] == len(packages) > 1
    for name in ("format", "subtype"):
        for value in {package[name] for package in packages}:
            wanted = [package["id"] for package in packages if package[name] == value]
            found = search(f"{name}={value}&limit=100")
            assert ([package["id"] for package in found["packages"]], found["total"]) == (wanted, len(wanted))
    assert search("subtype=none")["total"] == 0

    first = search("limit=1")
    assert (len(first["packages"]), first["total"], first["limit"]) == (1, len(packages), 1)
    assert search(f"limit=1&cursor={first['next_cursor']}")["packages"][0] == packages[1]


def test_a_package_by_id_that_is_not_there_is_not_found(handlers: Handlers) -> None:
    for wrong in (str(uuid4()), "none"):
        answer = handlers.call("GET", f"/packages/by-id/{wrong}")
        assert (answer.status, answer.body["error"]) == (404, "package_not_found")


def test_the_history_has_its_total_where_it_is_known(world: World) -> None:
    def total(query: str) -> int | None:
        body = world.handlers.call("GET", f"/playground/credits/history?{query}", user=world.user).body
        total: int | None = body["total"]
        return total

    assert total("limit=1") == total("limit=100") == 4  # signup, bonus, two runs
    assert total("limit=1&type=spend") is None


def test_a_model_of_another_provider_is_refused_with_the_names_of_ours(world: World) -> None:
    answer = world.send("POST", "/playground/run", {**RUN, "model": "gpt-4o"}, signed_in=True)
    assert (answer.status, answer.body["field"]) == (400, "model")
    assert all(name in answer.body["message"] for name in ("sonnet", "opus", "haiku"))


def test_the_plan_that_the_cli_waits_for_becomes_active(shop: Shop) -> None:
    def status() -> Any:
        return shop.call("GET", "/playground/credits").body["prpm_plus_status"]

    assert status() is None
    subscribed(shop)
    assert status() == "active"


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_lead_to_pages_of_the_published_web_app(world: World, handlers: Handlers, user_id: str) -> None:
    shared = world.send("POST", "/playground/sessions/SESSION/share", None, signed_in=True).body
    assert shared["share_url"] == f"{FRONT_END}/playground/shared?token={shared['share_token']}"

    poor = f"{user_id}-poor"
    refused = ask(handlers, poor, "/playground/run", input="Hello. " * 1400, model="opus")
    assert (refused.status, refused.body["purchase_url"]) == (402, f"{FRONT_END}/playground/credits/buy")
    assert "Insufficient credits" in refused.body["message"]


def test_the_pages_of_links_are_settings() -> None:
    named = {"frontend_url": FRONT_END, "powertools_service_name": "test"}
    settings = ApiSettings(**named)
    assert settings.shared_page.replace("{token}", "T") == "/playground/shared?token=T"
    for field, page in (
        ("credits_page", "https://evil.test/"),
        ("credits_page", "no slash"),
        ("subscription_page", "/a b"),
        ("shared_page", "/shared/"),
    ):
        with pytest.raises(ValidationError):
            ApiSettings(**named, **{field: page})
