"""The tool that checks receipts: it agrees with the service about every one, and with no altered one."""

import copy
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.prices import PUBLISHED, parse_prices
from playground.domain.account import start_plus
from playground.domain.pricing import Usage
from playground.domain.runs import run_id_of
from tests.conftest import ROOT
from tests.handlers import EVENTS, Handlers
from tests.kit.extent import HANG_SECONDS, examples
from tests.kit.prices import EXAMPLE, EXAMPLE_DATA

TOOL = ROOT / "tools" / "verify_receipt.py"
UNCACHED = {"use_no_prompt": True}
CUSTOM: dict[str, Any] = {"package_id": None, "custom_prompt": "You are a pirate. Answer in one sentence."}
CASES: Mapping[str, dict[str, Any]] = {
    "haiku": {"model": "haiku", **UNCACHED},
    "sonnet": {"model": "sonnet", **UNCACHED},
    "opus": {"model": "opus", **UNCACHED},
    "haiku, cached": {"model": "haiku"},
    "sonnet, cached": {"model": "sonnet"},
    "opus, cached": {"model": "opus"},
    "by tier": {"input": "Hi [[claude: output_tokens=4000]]"},
    "by tier beyond the steps": {"input": "Hi [[claude: output_tokens=3000]]" + " word" * 1900, "model": "haiku"},
    "by floor": {"input": "Hi [[claude: output_tokens=9900]]", "max_tokens": 10_000, **UNCACHED},
    "by tier, opus": {"input": "Hi [[claude: output_tokens=9900]]", "max_tokens": 10_000, "model": "opus"},
    "custom prompt": {**CUSTOM, "input": "Hi [[claude: output_tokens=900]]" + " word" * 1500},
    "custom prompt, opus": {**CUSTOM, "input": "Hi [[claude: output_tokens=1000]]", "model": "opus"},
    "overrun": {"input": "Hi [[claude: output_tokens=600 input_factor=2.5]]" + " word" * 1800, "max_tokens": 600},
}
# They say what was asked for; only a change that moves the ceiling, or puts one above the other, can be seen.
UNSEEN = {("prompt_tokens",), ("max_tokens",), ("wanted_max_tokens",)}

OF_THE_RUN = {"model", "package", "package_version", "input_tokens", "output_tokens", "tokens_used", "transaction_type"}

Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Papers:
    """A receipt and its line, as the API gave them."""

    user_id: str
    receipt: dict[str, Any]
    line: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    module: ModuleType
    folder: Path

    def __call__(
        self, receipt: Any, *, line: Any = None, user_id: str = "", prices: Any = None, api: str | None = None
    ) -> int:
        arguments = [self._file("receipt", receipt)]
        if line is not None:
            arguments += ["--entry", self._file("line", line), "--user", user_id]
        if prices is not None:
            arguments += ["--prices", self._file("prices", prices)]
        if api is not None:
            arguments += ["--api", api]
        status: int = self.module.main(arguments)
        return status

    def _file(self, name: str, content: Any) -> str:
        path = self.folder / f"{name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)


@cache
def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_receipt", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(load(), tmp_path)


@pytest.fixture(scope="module")
def papers(handlers: Handlers, ledger: DynamoLedger) -> dict[str, Papers]:
    """A run of each case, by one user with a plan."""
    user_id, now = "receipts", datetime.now(UTC)
    ledger.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=now),
        business_key="plus",
        now=now,
    )
    for model in EXAMPLE.models:  # so that the package's text is in the cache of each
        assert handlers.file("run/ok", user_id=user_id, changes={"model": model}).status == 200
    found = {}
    for name, changes in CASES.items():
        run = handlers.file("run/ok", user_id=user_id, changes=changes)
        assert run.status == 200, run.body
        receipt = get(handlers, user_id, f"/v1/playground/runs/{run.body['run_id']}", run_id=run.body["run_id"])
        lines = get(handlers, user_id, "/v1/playground/credits/history")["transactions"]
        [line] = [line for line in lines if line["run_id"] == run.body["run_id"]]
        found[name] = Papers(user_id, receipt, line)
    return found


def get(handlers: Handlers, user_id: str, path: str, **parameters: str) -> dict[str, Any]:
    event = json.loads((EVENTS / "credits/unknown_run.json").read_text(encoding="utf-8"))
    event["headers"]["Authorization"] = f"Bearer {handlers.tokens.token(user_id, timedelta(hours=1))}"
    event |= {"path": path, "pathParameters": parameters}
    answer = handlers.event("credits", event)
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_service(
    tool: Tool, papers: dict[str, Papers], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = papers[name]
    assert tool(case.receipt, line=case.line, user_id=case.user_id) == 0, capsys.readouterr()
    assert "the receipt is right" in capsys.readouterr().out
    assert tool(case.receipt) == 0


def test_cases_are_what_their_names_say(papers: dict[str, Papers]) -> None:
    prices = {name: case.receipt["price"] for name, case in papers.items()}
    assert {name for name, price in prices.items() if price["floor"] > price["tier"] * price["factor"]} == {
        "by floor"
    }  # fmt: skip
    assert {name: price["factor"] for name, price in prices.items() if "custom" in name} == {
        "custom prompt": 2,
        "custom prompt, opus": 6,
    }
    assert papers["overrun"].receipt["overrun"] > 0
    assert prices["by tier"]["tier"] == 2
    for name, case in papers.items():
        assert bool(case.receipt["usage"]["cache_read_tokens"]) == (
            "cached" in name or ("use_no_prompt" not in CASES[name] and "custom" not in name)
        )


@pytest.mark.parametrize("name", ["sonnet", "opus, cached", "by floor", "overrun"])
def test_every_altered_number_of_a_receipt_is_caught(tool: Tool, papers: dict[str, Papers], name: str) -> None:
    case = papers[name]
    unseen = set()
    tried = 0
    for path, altered in alterations(case.receipt):
        tried += 1
        if tool(altered, line=case.line, user_id=case.user_id) == 0:
            unseen.add(path)
    assert unseen <= UNSEEN
    assert tried > 40


@pytest.mark.parametrize("name", ["sonnet", "overrun"])
def test_every_altered_field_of_a_line_is_caught(tool: Tool, papers: dict[str, Papers], name: str) -> None:
    case = papers[name]
    for path, altered in alterations(case.line, texts=True):
        is_of_an_earlier_version = path[0] in OF_THE_RUN and path[0] not in altered
        expected = 0 if is_of_an_earlier_version else 1
        assert tool(case.receipt, line=altered, user_id=case.user_id) == expected, path
    assert tool(case.receipt, line=case.line, user_id="somebody-else") == 1


@pytest.mark.parametrize(
    ("field", "value"), [("max_tokens", 40_000), ("prompt_tokens", 40_000), ("wanted_max_tokens", 1), ("ceiling", 1000)]
)
def test_what_was_asked_for_is_compared_with_the_ceiling(
    tool: Tool, papers: dict[str, Papers], field: str, value: int
) -> None:
    assert tool({**papers["sonnet"].receipt, field: value}) == 1


def alterations(
    paper: Any, path: Path_ = (), *, texts: bool = False, whole: Any = None
) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """`paper` with one number raised, lowered, made a text, removed, …; with `texts`, also with one text changed."""
    whole = paper if whole is None else whole
    for name, value in paper.items():
        where = (*path, name)
        if isinstance(value, dict):
            yield from alterations(value, where, texts=texts, whole=whole)
        elif type(value) is int:
            for other in (value + 1, value - 1, value * 10 + 7, -value - 1, str(value), None, value + 0.5):
                yield where, changed(whole, where, lambda place, key, other=other: place.update({key: other}))
            yield where, changed(whole, where, lambda place, key: place.pop(key))
        elif texts and isinstance(value, str):
            yield where, changed(whole, where, lambda place, key, value=value: place.update({key: value[:-1] + "~"}))


def changed(paper: dict[str, Any], path: Path_, change: Callable[..., object]) -> dict[str, Any]:
    altered = copy.deepcopy(paper)
    place = altered
    for name in path[:-1]:
        place = place[name]
    change(place, path[-1])
    return altered


# --- by itself --------------------------------------------------------------------------------------------------------


def test_needs_nothing_but_the_standard_library(papers: dict[str, Papers], tmp_path: Path) -> None:
    """`-I -S`: no environment, no installed package, no folder of this project."""
    case = papers["by floor"]
    entry = tmp_path / "history.json"
    entry.write_text(json.dumps({"transactions": [papers["sonnet"].line, case.line]}), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(TOOL), "--entry", str(entry), "--user", case.user_id],
        input=json.dumps(case.receipt),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert " × 10,000 + " in result.stdout
    assert "min(4, 4) = 4   ok" in result.stdout


def test_run_that_was_not_paid_for_costs_nothing(
    tool: Tool, handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"input": "Hello [[claude: status=500]]", "header:Idempotency-Key": "one"}
    assert handlers.file("run/ok", user_id=user_id, changes=changes).status == 502
    run_id = run_id_of(user_id, "one")
    receipt = get(handlers, user_id, f"/v1/playground/runs/{run_id}", run_id=run_id)
    assert tool(receipt) == 0
    assert tool({**receipt, "credits_spent": 1}) == 1
    assert tool({**receipt, "response": "an answer"}) == 1


@pytest.mark.parametrize("receipt", ["", "{", "[]", "{}", '{"status": "settled"}', "1" * 5000])
def test_what_is_no_receipt_is_refused(tool: Tool, receipt: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool(receipt) == 1
    assert "cannot be checked" in capsys.readouterr().err


def test_table_of_another_version_will_not_do(
    tool: Tool, papers: dict[str, Papers], capsys: pytest.CaptureFixture[str]
) -> None:
    prices = EXAMPLE_DATA
    assert tool(papers["sonnet"].receipt, prices={**prices, "version": "2030-01-01"}) == 1
    assert "--prices" in capsys.readouterr().err
    assert tool(papers["sonnet"].receipt, prices=prices) == 0
    assert tool(papers["by floor"].receipt, prices={**prices, "margin_percent": 50}) == 1


@pytest.mark.parametrize("version", ["2001-01-01", "../prices", "2026-11-01/../2026-11-01", "", None, 20261101])
def test_version_without_a_table_cannot_be_checked(
    tool: Tool, papers: dict[str, Papers], version: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool({**papers["sonnet"].receipt, "price_version": version}) == 1
    assert "cannot be checked" in capsys.readouterr().err


def test_old_receipt_is_right_by_its_own_table_when_prices_have_changed(
    tool: Tool, papers: dict[str, Papers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both tables are in the repository; which one is right follows from the receipt."""
    case, later = papers["by tier beyond the steps"], "2099-01-01"
    for version, change in ((EXAMPLE.version, {}), (later, {"tiers": {"steps": [[10, 50]], "further_tokens": 10}})):
        table = {**EXAMPLE_DATA, "version": version, **change}
        (tmp_path / f"{version}.json").write_text(json.dumps(table), encoding="utf-8")
    monkeypatch.setattr(tool.module, "PUBLISHED", tmp_path)
    assert tool(case.receipt, line=case.line, user_id=case.user_id) == 0
    assert tool({**case.receipt, "price_version": later}) == 1


# --- with the table of the API ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Front:
    """An address in front of the handlers, as API Gateway is one. `body` takes the place of what they answer."""

    url: str
    asked: list[str]
    body: bytes | None = None


@pytest.fixture
def front(handlers: Handlers) -> Iterator[Front]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            answer = handlers.call("GET", self.path.removeprefix("/api/v1"))
            body = found.body if found.body is not None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Front(f"http://127.0.0.1:{server.server_port}/api/v1", [])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("slash", ["", "/"])
def test_takes_the_table_from_the_api(tool: Tool, papers: dict[str, Papers], front: Front, slash: str) -> None:
    case = papers["by floor"]
    assert tool(case.receipt, api=front.url + slash) == 0
    assert front.asked == [f"/api/v1/playground/prices/{EXAMPLE.version}"]
    assert tool({**case.receipt, "credits_spent": 1}, api=front.url) == 1


def test_api_without_the_table_is_named(
    tool: Tool, papers: dict[str, Papers], front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = papers["sonnet"].receipt
    assert tool({**receipt, "price_version": "2001-01-01"}, api=front.url) == 1
    assert "playground/prices/2001-01-01: HTTP Error 404" in capsys.readouterr().err
    other = {**EXAMPLE_DATA, "version": "2001-01-01"}
    for body in (b"", b"[]", b"\xff", b"{}", json.dumps(other).encode()):
        front.body = body
        assert tool(receipt, api=front.url) == 1
        assert "cannot be checked" in capsys.readouterr().err
    assert tool(receipt, api="file:///etc") == 1
    assert "https:// or http:// is needed" in capsys.readouterr().err


tokens = st.integers(0, 400_000)
PUBLISHED_TABLES = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PUBLISHED.glob("*.json"))]
STRANGE = {
    **EXAMPLE_DATA,
    "margin_percent": 35,
    "tiers": {"steps": [[700, 2], [90_000, 5]], "further_tokens": 333},
    "plan": {**EXAMPLE_DATA["plan"], "price_cents": 100},  # the cheapest credit
    "models": [{**row, "factor": 7, "cache_read_nano": 9_000} for row in EXAMPLE_DATA["models"]],
}
TABLES = [*PUBLISHED_TABLES, STRANGE]


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from(TABLES),
    st.data(),
    st.tuples(tokens, tokens, tokens, tokens),
    tokens,
    st.integers(1, 100_000),
)
def test_prices_and_ceilings_are_those_of_the_service(
    table: dict[str, Any], data: st.DataObject, classes: tuple[int, int, int, int], prompt: int, most: int
) -> None:
    """Written twice, from the same table: long prompts, every tier, floors, of published tables and a strange one."""
    module, prices = load(), parse_prices(table)
    row = data.draw(st.sampled_from(table["models"]))
    name = row["name"]
    read, written, cache_write, cache_read = classes
    usage = Usage(
        input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read
    )
    price = prices.price(prices.models[name], usage)
    claimed = {
        "cost_nano_dollars": price.cost_nano,
        "floor": price.floor,
        "tier": price.tier,
        "factor": price.factor,
        "credits": price.credits,
    }
    measured = {
        "input_tokens": read,
        "output_tokens": written,
        "cache_write_tokens": cache_write,
        "cache_read_tokens": cache_read,
    }
    check = module.Check()
    cost = module.verify_cost(measured, claimed, row, check)
    module.verify_credits(cost, measured, claimed, row, table, check)
    assert check.wrong == 0
    assert module.ceiling_of(prompt, most, row, table) == prices.ceiling(prices.models[name], prompt, most)
