"""No route tells a user anything about what belongs to another one. The routes are those of the API's description, so
that a new one is tested as soon as it is described."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.handlers import Answer, Handlers
from tests.kit.described import described, resolved

PACKAGE = "@playground/code-reviewer"
OWNED = {"run_id", "session_id"}  # ids of what belongs to one user
PUBLIC = {"package_id", "scope", "name", "version", "token"}  # packages, price tables; a share's token is its key
UNSEEN = {"request_id"}  # differs between any two answers
KNOWN: Mapping[str, Any] = {  # good values of what bodies must have
    "package_id": PACKAGE,
    "input": "Go on.",
    "custom_prompt": "Be short.",
    "is_helpful": True,
    "is_effective": True,
    "rating": 5,
    "reason": "spam",
    "package": "small",
    "variants": [{"package_id": PACKAGE}, {"package_id": PACKAGE, "model": "haiku"}],
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request with one id: in the path, or in a field of the body."""

    method: str
    path: str
    id_name: str
    in_path: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.id_name}"


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Those that take a token, by method and path."""
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            if {"token": []} in operation.get("security", []):
                yield method.upper(), path, operation


def body_schema(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return resolved(content["schema"]) if content is not None else None


def cases() -> Iterator[Case]:
    for method, path, operation in operations():
        for parameter in (resolved(each) for each in operation.get("parameters", ())):
            if parameter["in"] == "path" and parameter["name"] in OWNED:
                yield Case(method, path, parameter["name"], in_path=True)
        for name in (body_schema(operation) or {}).get("properties", {}):
            if name in OWNED:
                yield Case(method, path, name, in_path=False)


CASES = list(cases())


def test_every_id_of_the_description_is_somebodys_or_public() -> None:
    for path, methods in described()["paths"].items():
        for operation in methods.values():
            names = {p["name"] for p in map(resolved, operation.get("parameters", ())) if p["in"] == "path"}
            ids = {name for name in (body_schema(operation) or {}).get("properties", {}) if name.endswith("_id")}
            assert names | ids <= OWNED | PUBLIC, path
    assert len(CASES) >= 12


def example_of(method: str, path: str) -> dict[str, Any] | None:
    """A body that is good but for the id."""
    schema = next((body_schema(each) for at, name, each in operations() if (at, name) == (method, path)), None)
    if schema is None:
        return None
    required = set(schema.get("required", ()))
    wanted = required | ({"package_id"} & schema["properties"].keys()) | ({"rating"} & schema["properties"].keys())
    return {name: KNOWN[name] for name in wanted if name not in OWNED}


@dataclass(frozen=True, slots=True)
class Owned:
    """A run and its conversation, and who they belong to."""

    owner: str
    run_id: str
    session_id: str


@pytest.fixture(scope="module")
def owned(handlers: Handlers) -> Owned:
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    body = {"package_id": PACKAGE, "input": "A secret plan."}
    answer = handlers.call("POST", "/playground/run", body, user=owner, key="first")
    assert answer.status == 200
    return Owned(owner, answer.body["run_id"], answer.body["session_id"])


def missing(value: str) -> str:
    """An id of the same form that nothing has."""
    return value[:-4] + ("0000" if value[-4:] != "0000" else "1111")


def ask(handlers: Handlers, case: Case, value: str, user: str | None) -> Answer:
    body = example_of(case.method, case.path)
    path = case.path
    if case.in_path:
        path = path.replace(f"{{{case.id_name}}}", value)
    elif body is not None:
        body[case.id_name] = value
    return handlers.call(case.method, path, body, user=user, key=uuid.uuid4().hex)


def told(answer: Answer) -> tuple[int, Any]:
    body = answer.body
    return answer.status, {name: value for name, value in body.items() if name not in UNSEEN}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_belongs_to_another_user_is_as_what_does_not_exist(
    handlers: Handlers, owned: Owned, user_id: str, case: Case
) -> None:
    before = handlers.call("GET", "/playground/credits", user=user_id).body
    value = getattr(owned, case.id_name)

    foreign, absent = (told(ask(handlers, case, each, user_id)) for each in (value, missing(value)))
    assert foreign == absent
    assert foreign[0] in (403, 404), foreign
    assert ask(handlers, case, value, None).status == 401
    assert handlers.call("GET", "/playground/credits", user=user_id).body["balance"] == before["balance"]
    mine = handlers.call("GET", f"/playground/sessions/{owned.session_id}", user=owned.owner)
    assert (mine.status, len(mine.body["conversation"])) == (200, 2)  # nothing was removed or added


@pytest.mark.parametrize(
    ("method", "path"), [each[:2] for each in operations()], ids=[f"{each[0]} {each[1]}" for each in operations()]
)
def test_a_route_that_takes_tokens_refuses_a_forged_one(handlers: Handlers, method: str, path: str) -> None:
    """With the same answer as none at all. What may be read without a token refuses a bad one, too, or ignores it."""
    filled = path.replace("{token}", "a" * 43).replace("{run_id}", "run_0").replace("{session_id}", "ses_0")
    body = example_of(method, path)
    forger = replace(handlers, tokens=replace(handlers.tokens, secret="f" * 43))
    forged = told(forger.call(method, filled, body, user="alice", key="k"))
    none = told(handlers.call(method, filled, body, user=None, key="k"))
    if {} in described()["paths"][path][method.lower()]["security"]:
        assert {forged[0], none[0]} <= {401, 404}
    else:
        assert forged == none
        assert forged[0] == 401
