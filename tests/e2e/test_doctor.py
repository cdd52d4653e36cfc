"""`./playground doctor` on the whole stack, with a run."""

import json

import pytest

from operate.cli import run
from tests.e2e.conftest import Stack


def test_the_laptop_stack_is_as_it_should_be(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(stack.folder))
    monkeypatch.delenv("PLAYGROUND_TOKEN", raising=False)

    status = run(["doctor", "--run", "doctor-of-e2e", "--json"])
    document = json.loads(capsys.readouterr().out)
    outcomes = {each["check"]: (each["outcome"], each["detail"]) for each in document["checks"]}
    assert [name for name, (outcome, _) in outcomes.items() if outcome != "ok"] == ["key set", "alarms"], outcomes
    assert (status, document["ok"]) == (0, True)
    assert outcomes["run"][1].endswith("1 credits, as its receipt says")
    assert stack.client("doctor-of-e2e").get("/playground/credits").body["balance"] == 4
