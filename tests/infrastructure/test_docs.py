"""What the documents say is what the code has."""

import json
import re
from itertools import chain
from typing import TypeGuard

import pytest

from doubles.claude import server as claude_double
from local import stack
from local.settings import TEMPLATE, read_settings
from local.template import read_parameters
from operate.cli import COMMANDS
from playground import settings
from playground.adapters import archives, packages
from playground.adapters.stripe_events import READERS
from playground.domain import errors
from playground.http import STATUS
from playground.observability import Metric
from playground.schemas import credits as credits_bodies
from playground.schemas import run as run_bodies
from playground.schemas import sessions as sessions_bodies
from playground.schemas.common import RequestBody, spellings
from tests.conftest import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in chain((ROOT / "docs").glob("*.md"), ROOT.glob("*.md"))
}
README = PAGES["README.md"]
API = PAGES["docs/api.md"]
ARCHITECTURE = PAGES["docs/architecture.md"]
COMMANDS_PAGE = PAGES["docs/commands.md"]
CREDITS = PAGES["docs/credits.md"]
DEPLOY = PAGES["docs/deploy.md"]
OPERATIONS = PAGES["docs/operations.md"]
PACKAGES = PAGES["docs/packages.md"]
PARTS = ARCHITECTURE.partition("\n## Parts, and what each may import\n")[2].partition("\n## ")[0]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_command_that_a_page_names_is_a_target() -> None:
    """In code, that is: decisions and prose may speak of what there was."""
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for name, text in PAGES.items():
        if name != "docs/decisions.md":
            assert set(re.findall(r"(?:`|^    )make (?:-s )?([a-z-]+)", text, re.MULTILINE)) <= targets, name
    assert targets - {"help", "environment", "token", "import", "audit", "reconcile"} <= set(
        re.findall(r"`make ([a-z-]+)", COMMANDS_PAGE)
    )


def anchors(text: str) -> set[str]:
    """What headings are called in links to them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (folder / path).resolve() if path else ROOT / name
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def test_every_page_is_found_from_the_readme() -> None:
    linked = {f"docs/{page}" for page in re.findall(r"\]\(docs/([\w-]+\.md)", README)} | {
        "CONTRIBUTING.md",
        "README.md",
    }
    assert "](CONTRIBUTING.md)" in README
    assert linked == set(PAGES)


def test_every_route_is_in_the_table() -> None:
    """And every route of the table is one; what parameters are called there does not matter."""
    told = re.findall(r"^\| `([A-Z]+ /\S+)` \|", API, re.MULTILINE)
    document = json.loads((ROOT / "functions" / "catalog" / "openapi.json").read_text(encoding="utf-8"))
    routes = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert sorted(re.sub(r"{\w+}", "{}", route) for route in told) == sorted(re.sub(r"{\w+}", "{}", r) for r in routes)


def test_routes_that_need_no_token_are_marked_in_the_table() -> None:
    document = json.loads((ROOT / "functions" / "catalog" / "openapi.json").read_text(encoding="utf-8"))
    public = {
        f"{method.upper()} {re.sub(r'{.*?}', '{}', path)}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if {"token": []} not in operation["security"] or {} in operation["security"]  # none, or an optional one
    }
    rows = re.findall(r"^\| `([A-Z]+ /\S+)` \| (.+) \|$", API, re.MULTILINE)
    assert {re.sub(r"{\w+}", "{}", route) for route, does in rows if does.endswith("Public")} == public


def test_every_name_of_older_clients_is_in_the_table() -> None:
    bodies = [
        kind
        for module in (credits_bodies, run_bodies, sessions_bodies)
        for kind in vars(module).values()
        if is_body(kind)
    ]
    older: dict[str, set[str]] = {}
    for body in bodies:
        for spelling, name in spellings(body).items():
            if spelling != name:
                older.setdefault(name, set()).add(spelling)
    section = API.partition("\n## Names of older clients\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^;]+?)(?:;.*)? \|$", section, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", names)) for name, names in rows} == older


def is_body(kind: object) -> TypeGuard[type[RequestBody]]:
    return isinstance(kind, type) and issubclass(kind, RequestBody) and kind is not RequestBody


def test_every_body_of_a_request_refuses_unknown_fields() -> None:
    document = json.loads((ROOT / "functions" / "catalog" / "openapi.json").read_text(encoding="utf-8"))
    taken = [
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation and operation["operationId"] != "receiveStripeEvent"  # Stripe adds fields
    ]
    assert taken
    assert {
        name for name in taken if document["components"]["schemas"][name].get("additionalProperties") is not False
    } == set()


def test_events_that_stripe_has_to_send_are_those_that_are_read() -> None:
    section = DEPLOY.partition("its events are")[2].partition("\n4.")[0]
    older_name = "charge.refund.updated"  # of refund.updated
    assert set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", section)) == set(READERS) - {older_name}


def test_every_output_that_a_page_names_is_one() -> None:
    outputs = set(
        re.findall(r"^  (\w+):", TEMPLATE.read_text(encoding="utf-8").partition("\nOutputs:\n")[2], re.MULTILINE)
    )
    assert set(re.findall(r"output `(\w+)`", DEPLOY + OPERATIONS)) <= outputs
    assert "StripeWebhookUrl" in outputs


def test_every_error_of_the_code_is_in_the_table_with_its_status() -> None:
    rows = {int(status): text for status, text in re.findall(r"^\| (\d{3}) \| (.+) \|$", API, re.MULTILINE)}
    for kind, status in STATUS.items():
        assert f"`{kind.code}`" in rows[status], kind


def test_every_reason_of_a_failed_model_is_named() -> None:
    reasons = set(errors.ModelError.MESSAGES) - {"timed_out", "interrupted", "overloaded", "rate_limited", "cancelled"}
    row = next(line for line in API.splitlines() if line.startswith("| 502 "))
    assert all(reason in row for reason in reasons)


def test_every_setting_is_in_the_table() -> None:
    names = {
        name.upper()
        for kind in (
            settings.RunSettings,
            settings.EstimateSettings,
            settings.CreditsPaymentsSettings,
            settings.WebhookSettings,
            settings.ReconcileSettings,
            settings.SessionsSettings,
            settings.CatalogSettings,
            settings.AnonymousSettings,
            settings.AuditSettings,
        )
        for name in kind.model_fields
    }
    assert names <= set(re.findall(r"`([A-Z_]+)`", OPERATIONS))


def test_every_metric_is_in_the_table() -> None:
    assert {metric.value for metric in Metric} <= set(re.findall(r"^\| `(\w+)` \|", OPERATIONS, re.MULTILINE))


def test_every_variable_of_the_stack_is_in_the_table() -> None:
    source = (ROOT / "local" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z][A-Z_]+)"', source))
    assert read <= set(re.findall(r"^\| `([A-Z_]+)` \|", COMMANDS_PAGE, re.MULTILINE))
    assert f"| `PORT` | {read_settings({}).port} |" in COMMANDS_PAGE


def test_every_parameter_of_the_template_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z][a-z]\w+)` \| (`[^`]*`|empty) \|", DEPLOY, re.MULTILINE))
    defaults = {name: f"`{value}`" if value else "empty" for name, value in read_parameters(TEMPLATE).items()}
    assert rows == defaults


def test_every_variable_of_the_stack_is_in_its_help() -> None:
    rows = set(re.findall(r"^\| `([A-Z_]+)` \|", COMMANDS_PAGE, re.MULTILINE))
    assert "STRIPE_WEBHOOK_SECRET" in rows
    assert rows == set(re.findall(r"^  ([A-Z_]+) ", stack.EPILOG, re.MULTILINE))


def test_every_alarm_has_something_to_do() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    alarms = set(re.findall(r"^  (\w+)Alarm:\n    Type: AWS::CloudWatch::(?:Composite)?Alarm$", template, re.MULTILINE))
    section = OPERATIONS.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+` ?)+) \|", section, re.MULTILINE)
    assert alarms
    assert {name for row in rows for name in re.findall(r"\w+", row)} == alarms


def test_every_schedule_is_listed() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    tasks = re.findall(r"""ScheduleExpression: .+\n(?:.*\n){0,2}? +Input: '\{"task": "(\w+)\"""", template)
    section = OPERATIONS.partition("\n## Scheduled work\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| (.+) \| `(\w+)` \|", section, re.MULTILINE)
    assert len(tasks) == 6
    assert {task for _, task in told} == set(tasks)
    for hour, minute in re.findall(r"cron\((?P<minute>\d+) (?P<hour>\d+) ", template):
        assert any(f"{int(minute):02}:{int(hour):02}" in when for when, _ in told)


def test_every_folder_is_in_the_table() -> None:
    listed = {
        name.partition("/")[0] for name in re.findall(r"^\| `(\w[\w<>./]*)` \|", PARTS, re.MULTILINE) if "/" in name
    }
    assert listed == {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}


def test_codes_of_the_gateway_are_in_the_table_of_errors() -> None:
    codes = set(re.findall(r'"error": "(\w+)"', TEMPLATE.read_text(encoding="utf-8")))
    assert "bad_request" in codes
    table = "".join(re.findall(r"^\| \d{3} \| .+ \|$", API, re.MULTILINE))
    assert all(f"`{code}`" in table for code in codes), codes


def test_every_directive_of_the_stand_in_for_claude_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        claude_double.main(["--help"])
    said = capsys.readouterr().out
    for name in ("output_tokens=N", "delay=SECONDS", "error_in_stream=TYPE", "thinking_only", "slow=MS"):
        assert re.search(rf"^ +{name} ", said, re.MULTILINE), name


def test_every_secret_is_in_the_table() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    secrets = set(re.findall(r"^  (\w+):\n    Type: AWS::SecretsManager::Secret$", template, re.MULTILINE))
    assert secrets
    assert secrets <= set(re.findall(r"^\| `(\w+Secret)` \|", OPERATIONS, re.MULTILINE))


def test_what_is_to_be_typed_needs_nothing_but_make() -> None:
    """A module by itself needs the environment and the path that make gives it."""
    bare = {name: re.findall(r"(?<!/)python3? -m (?:local|operate|doubles)\S*", text) for name, text in PAGES.items()}
    assert not any(bare.values()), bare


def test_every_command_that_a_page_names_is_one() -> None:
    """And every command is in the table."""
    named = {name for text in PAGES.values() for name in re.findall(r"\./playground ([a-z][a-z-]+)", text)}
    assert named <= set(COMMANDS)
    rows = "".join(line for line in COMMANDS_PAGE.splitlines() if line.startswith("| `./playground "))
    assert {name for name in COMMANDS if name not in rows} == set()


@pytest.mark.parametrize(("name", "least"), [("ledger", 20), ("sharing", 10)])
def test_every_test_that_a_page_names_exists(name: str, least: int) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named <= set(re.findall(r"def (test_\w+)", sources))
    assert len(named) > least


def test_bounds_of_packages_are_those_of_the_reader() -> None:
    bounds = (packages.MAX_PROMPT_BYTES, archives.MAX_FILES_BYTES, archives.MAX_MEMBERS)
    assert [bound for bound in bounds if f"{bound:,}" not in PACKAGES] == []
    assert f"{archives.MAX_ARCHIVE_BYTES // 2**20} MiB" in PACKAGES
