"""What a cold start loads: each function the libraries that it needs, none of the others.

An app.py is run as Lambda runs it, in a fresh interpreter, with real clients that talk to a server on the loopback. The
server knows nothing but secrets.
"""

import ast
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.kit.extent import HANG_SECONDS
from tests.kit.template import template_description

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
DOMAIN = sorted((LAYER / "playground" / "domain").rglob("*.py"))
APPS = sorted((ROOT / "functions").glob("*/app.py"))
OPTIONAL = frozenset(
    {
        "anthropic",
        "cryptography",
        "detect_secrets",
        "jwt",
        "pynamodb",
        "starlette",
        "stripe",
        "playground.adapters.dynamo_audit",
        "playground.adapters.dynamo_catalog",
        "playground.adapters.dynamo_ledger",
        "playground.adapters.dynamo_payments",
        "playground.adapters.dynamo_sessions",
        "playground.adapters.dynamo_store",
        "playground.adapters.prices",
        "playground.http",
        "playground.schemas",
        "playground.usecases.apply_payment",
    }
)
"""Each takes time of a cold start. Whoever adds a function says in BUDGET which of them it may load, and no more."""
API = frozenset({"playground.http", "playground.schemas"})
USERS = frozenset({"jwt", "cryptography"})  # who has to know who is asking
STORE = frozenset({"pynamodb", "playground.adapters.dynamo_store"})
# The ledger writes records of payments in its transactions, and so knows their items.
LEDGER = STORE | {"playground.adapters.dynamo_ledger", "playground.adapters.dynamo_payments"}
SESSIONS = frozenset({"playground.adapters.dynamo_sessions"})
PRICES = frozenset({"playground.adapters.prices"})
MODEL = frozenset({"anthropic", "playground.adapters.dynamo_catalog"}) | PRICES
WEB = frozenset({"starlette"})  # uvicorn is what starts the application
STRIPE = frozenset({"stripe", "playground.usecases.apply_payment"}) | PRICES

BUDGET: dict[str, frozenset[str]] = {
    "run": API | USERS | LEDGER | SESSIONS | MODEL | WEB,
    "stream": API | USERS | LEDGER | SESSIONS | MODEL | WEB,
    "estimate": API | USERS | LEDGER | SESSIONS | MODEL,
    "credits": API | USERS | LEDGER | SESSIONS | PRICES,  # it loads Stripe when somebody wants to pay
    "sessions": API | USERS | LEDGER | SESSIONS,  # it loads the scanner for leaks when somebody shares
    "anonymous": API | STORE | MODEL,  # strangers call it: nothing of accounts and tokens
    "catalog": API | {"playground.adapters.dynamo_catalog", "playground.adapters.dynamo_store"},
    "webhook": API | LEDGER | STRIPE,
    "reconcile": LEDGER | STRIPE,
    "reset": LEDGER,
    # It reads receipts and writes counters; of accounts it knows nothing.
    "guard": STORE,
    "audit": STORE | PRICES | {"playground.adapters.dynamo_audit"},
    # It reads items of the ledger, with the schemas that PynamoDB holds; it opens no connection to a table.
    "notices": STORE | {"playground.adapters.dynamo_payments"},
}
NEVER = {
    "boto3",
    "s3transfer",
    "aws_xray_sdk",
    "moto",
    "pytest",
    "hypothesis",
    "local",
    "tests",
    "ministack",
    "operate",
    "doubles",
}
IMPORT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""
START = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("app", sys.argv[2])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps([sorted(sys.modules), callable(module.handler)]))
"""
SECRET = "a secret of the tests, 32 bytes at least"
SECRETS = {
    "api_key": "sk_test_imports",
    "generated": SECRET,
    "secrets": [SECRET],
    "webhook_secrets": ["whsec_of_the_tests_0123456789"],
}


def imported_by(path: Path) -> tuple[str, ...]:
    """Modules that `path` imports at its top, in order; `from package import module` is the module, too."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an app.py is no package"
            assert node.module is not None
            names.append(node.module)
            folder = LAYER / node.module.replace(".", "/")
            names += [f"{node.module}.{alias.name}" for alias in node.names if (folder / f"{alias.name}.py").exists()]
    return tuple(names)


def fresh(program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints that runs `program`, with nothing in the environment but this."""
    result = subprocess.run(
        [sys.executable, "-c", program, str(LAYER), *arguments],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        cwd=LAYER,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@cache
def loaded(modules: tuple[str, ...]) -> frozenset[str]:
    """Top-level modules of a fresh interpreter after importing these."""
    return frozenset(name.partition(".")[0] for name in json.loads(fresh(IMPORT, *modules)))


class Store(ThreadingHTTPServer):
    """AWS as a cold start may see it: every secret is there, and nothing else is. `asked` are the operations."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Store

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"]
        self.server.asked.append(operation)
        known = operation == "secretsmanager.GetSecretValue"
        body = json.dumps({"SecretString": json.dumps(SECRETS)} if known else {"__type": "AccessDeniedException"})
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@dataclass(frozen=True, slots=True)
class Started:
    """What a function has loaded, by full name and by the name of the library, and what it has asked AWS for."""

    modules: frozenset[str]
    asked: frozenset[str]

    @property
    def libraries(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self.modules)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


_STARTED: dict[str, Started] = {}


@pytest.fixture
def started(app: Path, store: Store) -> Started:
    """The function, started; once for all tests."""
    name = app.parent.name
    if name not in _STARTED:
        function = template_description().function(name)
        assert function is not None
        store.asked.clear()
        keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
        environment = {**function.environment, **keys, "AWS_ENDPOINT_URL": store.url}
        modules, is_callable = json.loads(fresh(START, str(app), environment=environment))
        assert is_callable
        _STARTED[name] = Started(frozenset(modules), frozenset(store.asked))
    return _STARTED[name]


each_app = pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)


def test_every_function_is_looked_at() -> None:
    assert {app.parent.name for app in APPS} == set(BUDGET)


@each_app
def test_a_function_loads_what_it_uses_and_nothing_else(app: Path, started: Started) -> None:
    """anthropic alone takes a second of a cold start, and half of the memory."""
    assert started.modules & OPTIONAL == BUDGET[app.parent.name]


@each_app
def test_no_function_loads_what_it_has_no_use_for(started: Started) -> None:
    assert started.libraries & NEVER == set()
    assert "aws_lambda_powertools" in started.libraries


@each_app
def test_a_function_loads_the_bodies_of_its_own_routes_only(app: Path, started: Started) -> None:
    name = app.parent.name
    bodies = {module.rpartition(".")[2] for module in started.modules if module.startswith("playground.schemas.")}

    others = {
        "run": {"compare", "custom_prompt"},
        "stream": {"run", "compare"},
        "estimate": {"run"},
        "anonymous": {"run"},
    }
    assert bodies <= {"common", "published", name} | others.get(name, set())


@each_app
def test_a_start_reads_secrets_and_nothing_else(started: Started) -> None:
    """Whatever it asked for besides, each new instance would ask for again before its first request."""
    assert started.asked <= {"secretsmanager.GetSecretValue"}


@each_app
def test_an_app_imports_the_layer_the_router_and_the_standard_library(app: Path) -> None:
    roots = {name.partition(".")[0] for name in imported_by(app)}

    assert roots - set(sys.stdlib_module_names) == {"playground"} | roots & {"aws_lambda_powertools"}


def module_of(path: Path) -> str:
    parts = path.relative_to(LAYER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", DOMAIN, ids=module_of)
def test_the_domain_is_the_standard_library_and_itself(path: Path) -> None:
    """Seen twice: in the source, imports within functions included, and in what an interpreter really loads."""
    name = module_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            assert module.startswith("playground.domain") or module.partition(".")[0] in sys.stdlib_module_names

    assert loaded((name,)) - loaded(()) - set(sys.stdlib_module_names) == {"playground"}


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        path.relative_to(LAYER / "playground").as_posix()
        for path in (LAYER / "playground").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
    }

    assert readers == {"settings.py"}
