"""Variables and suggested inputs through the functions, over the real engine."""

import json
from typing import Any

import pytest

from tests.handlers import Answer, Handlers
from tests.integration.test_sessions import run

PACKAGE = "@playground/plain-english"
AUDIENCE = "tenants who keep goats"
RUN = {"package_id": PACKAGE, "input": "What is a lien?"}


def started(handlers: Handlers, user: str, **fields: Any) -> Answer:
    return run(handlers, user, RUN["input"], package_id=PACKAGE, **fields)


def test_a_package_lists_its_variables_and_suggested_inputs(handlers: Handlers) -> None:
    package = handlers.call("GET", f"/packages/{PACKAGE}")
    assert package.body["variables"] == [
        {"name": "audience", "default": "intelligent adults who do not work in that field"}
    ]
    assert [example["title"] for example in package.body["examples"]] == ["A clause, for tenants", "An error message"]
    assert package.body["examples"][0]["variables"] == {"audience": "tenants who rent for the first time"}
    assert "examples" not in handlers.call("GET", "/packages?q=plain").body["packages"][0]


def test_variables_are_kept_with_the_session_for_its_owner_only(handlers: Handlers, user_id: str) -> None:
    first = started(handlers, user_id, variables={"audience": AUDIENCE})
    session_id, other = first.body["session_id"], f"{user_id}-other"
    session = f"/playground/sessions/{session_id}"

    assert handlers.call("GET", session, user=user_id).body["variables"] == {"audience": AUDIENCE}
    receipt = handlers.call("GET", f"/playground/runs/{first.body['run_id']}", user=user_id).body
    assert receipt["variables"] == ["audience"]
    receipt.pop("response")
    assert AUDIENCE not in json.dumps(receipt)

    further = started(handlers, user_id, session_id=session_id)
    receipt = handlers.call("GET", f"/playground/runs/{further.body['run_id']}", user=user_id).body
    assert receipt["variables"] == ["audience"]
    changed = {**RUN, "session_id": session_id, "variables": {"audience": "others"}}
    for path in ("/playground/run", "/playground/estimate"):
        refused = handlers.call("POST", path, changed, user=user_id)
        assert (refused.status, refused.body["error"]) == (409, "session_conflict")

    token = handlers.call("POST", f"{session}/share", None, user=user_id).body["share_token"]
    shared = handlers.call("GET", f"/playground/shared/{token}").body
    assert "variables" not in shared
    fork = handlers.call("POST", f"/playground/shared/{token}/fork", {}, user=other).body["session_id"]
    forked = handlers.call("GET", f"/playground/sessions/{fork}", user=other).body
    assert forked["variables"] is None
    for body in (shared, forked):
        assert AUDIENCE not in json.dumps({**body, "conversation": []})


def test_the_first_own_run_of_a_fork_brings_its_variables(handlers: Handlers, user_id: str) -> None:
    first = started(handlers, user_id, variables={"audience": AUDIENCE})
    path = f"/playground/sessions/{first.body['session_id']}/share"
    token = handlers.call("POST", path, None, user=user_id).body["share_token"]
    other = f"{user_id}-other"
    fork = handlers.call("POST", f"/playground/shared/{token}/fork", {}, user=other).body["session_id"]

    started(handlers, other, session_id=fork, variables={"audience": "cooks"})

    assert handlers.call("GET", f"/playground/sessions/{fork}", user=other).body["variables"] == {"audience": "cooks"}
    on = {**RUN, "session_id": fork, "variables": {"audience": "others"}}
    assert handlers.call("POST", "/playground/run", on, user=other).status == 409
    started(handlers, other, session_id=fork)
    assert handlers.call("GET", f"/playground/sessions/{fork}", user=other).body["variables"] == {"audience": "cooks"}


def test_only_defaults_are_kept_too(handlers: Handlers, user_id: str) -> None:
    first = started(handlers, user_id, variables={})
    session = f"/playground/sessions/{first.body['session_id']}"
    assert handlers.call("GET", session, user=user_id).body["variables"] == {}
    started(handlers, user_id, session_id=first.body["session_id"], variables={})
    plain = started(handlers, user_id)
    session = f"/playground/sessions/{plain.body['session_id']}"
    assert handlers.call("GET", session, user=user_id).body["variables"] is None


def test_values_are_part_of_what_a_key_names(handlers: Handlers, user_id: str) -> None:
    key = "the-same"
    bodies = [{**RUN, "variables": {"audience": name}} for name in ("cooks", "cooks", "others")]
    answers = [handlers.call("POST", "/playground/run", body, user=user_id, key=key) for body in bodies]
    assert [answer.status for answer in answers] == [200, 200, 422]
    assert answers[0].body["run_id"] == answers[1].body["run_id"]


@pytest.mark.parametrize("path", ["/playground/run", "/playground/run/stream", "/playground/estimate"])
@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"tone": "dry"}, "variables.tone"),
        ({"audience": "x" * 5_001}, "variables.audience"),
        ({"audience": 7}, "variables.audience"),
        ({"audience": None}, "variables.audience"),
        ({"au dience": "x"}, "variables"),
        ({"a" * 10_000: 7}, "variables"),
        (["audience"], "variables"),
        ("audience", "variables"),
    ],
)
def test_what_does_not_fit_is_a_400_that_names_it(
    handlers: Handlers, user_id: str, path: str, variables: Any, field: str
) -> None:
    refused = handlers.call("POST", path, {**RUN, "variables": variables}, user=user_id)
    assert (refused.status, refused.body["error"], refused.body["field"]) == (400, "validation_error", field)
    assert len(refused.body["message"]) < 300
    assert handlers.call("GET", "/playground/credits", user=user_id).body["held"] == 0


def test_a_streamed_run_takes_variables(handlers: Handlers, user_id: str) -> None:
    answer = handlers.call("POST", "/playground/run/stream", {**RUN, "variables": {"audience": AUDIENCE}}, user=user_id)
    done = answer.body[-1]
    session = f"/playground/sessions/{done['session_id']}"
    assert handlers.call("GET", session, user=user_id).body["variables"] == {"audience": AUDIENCE}
