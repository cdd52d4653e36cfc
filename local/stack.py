"""The whole backend on this machine, in the foreground: `make run`.

| port   | what                                                                       |
| ------ | -------------------------------------------------------------------------- |
| PORT   | the API, as template.yaml describes it (default 3000)                       |
| PORT+1 | the store: DynamoDB, S3, SQS, EventBridge, Secrets Manager                  |
| PORT+2 | a stand-in for Claude, unless ANTHROPIC_API_KEY is set                      |
| PORT+3 | the functions: Lambda's Runtime API and Invoke API                          |
| PORT+4 | a stand-in for Stripe, unless STRIPE_SECRET_KEY is set                     |

Everything listens on 127.0.0.1 only. Data is stored in STATE_DIR (default .local). Ctrl-C or SIGTERM stops everything,
the store last. If one part exits by itself, the others are stopped and the last lines of its output are printed.
"""

import contextlib
import errno
import json
import os
import queue
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from local.backend import Backend
from local.built import NotBuiltError, as_on_lambda, python, unpack
from local.command import command
from local.console import for_a_person
from local.engine import CREDENTIALS, Engine
from local.event_sources import EventSources
from local.front_end import CREDITS, SHARED, SUBSCRIPTION, PlaceholderPages
from local.http_server import BusyPortError, listen
from local.metric_file import MetricFile
from local.page import FrontEnd, Page
from local.process import ROOT, Program, ProgramError, die_with_parent, show_line
from local.resources import TableChangedError, create_resources
from local.seed import seed
from local.settings import DEFAULT_CEILING_DOLLARS, TEMPLATE, Settings, SettingsError, read_settings
from local.state_file import (
    FolderInUseError,
    UnusableFolderError,
    lock_folder,
    prepare_state_dir,
    remove_state,
    write_state,
)
from local.stripe_keys import API_KEY as STRIPE_KEY
from local.stripe_keys import WEBHOOK_PATH, webhook_secret, webhook_secret_file
from local.template import Description, TemplateError, read_template
from local.tokens import TokenError, auth_secrets, issuer, key_id

EPILOG = """\
from the environment, or on make's command line:
  PORT                   the API (3000); the four ports after it are used, too
  STATE_DIR              folder of the data and of the token secret (.local)
  FRONTEND_URL           origin of the front end (http://127.0.0.1:PORT)
  PAGE_DIR               the built page (web/dist)
  LOCAL_CONCURRENCY      instances of a function (8)
  RATE_LIMIT_FACTOR      multiplies the rate limits, for load tests (1)
  DAILY_CEILING_DOLLARS  what Claude may cost on one day (100)
  WARM                   functions to start first, separated by commas (all)
  BUILT                  1: run what `make build` built, as Lambda would get it; or its folder (0)
  PAUSE_FREE_RUNS        true: at that ceiling, no runs for signup credits (false)
  LOG                    format of the functions' logs: text or json (text)
  CUSTOM_PROMPTS         plans, everybody or off: who may run prompts of their own (plans)
  WHOLE_CONVERSATION     true: a run answers with the whole conversation (false)
  ANONYMOUS_RUNS         true: runs without a login, once a day (false)
  ANONYMOUS_BUDGET_CENTS what they may cost in a day (the template's)
  AUTH_SECRETS           secrets for tokens, separated by commas (made once)
  ANTHROPIC_API_KEY      uses the real Claude instead of the stand-in
  ANTHROPIC_BASE_URL     address of the real Claude
  STRIPE_SECRET_KEY      uses the real Stripe instead of the stand-in
  STRIPE_PUBLISHABLE_KEY shows Stripe's form on the page
  STRIPE_WEBHOOK_SECRET  secret that events are signed with (made once)
"""
DEMO_USER = "demo"
DEMO_DAYS = 30
CATALOG_TABLE = "CatalogTable"
DEMO_PACKAGE = "@playground/code-reviewer"
CLAUDE_SECONDS = 120.0
STRIPE_SECONDS = 120.0
PORT_SECONDS = 2.0  # how long the ports of a stack that has just been killed may take to become free

# To reach the real Claude from behind a company's proxy.
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


class _StoppedError(BaseException):
    """A signal has asked the stack to end."""


class Signals:
    """A signal interrupts the start; afterwards it is put into `events`."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[ProgramError | None] = queue.SimpleQueue()
        self.interrupting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        former = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        self.interrupting = True
        try:
            yield
        finally:
            self.interrupting = False

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupting:
            self.interrupting = False  # only once: the shutdown must not be interrupted
            raise _StoppedError
        self.events.put(None)

    def program_ended(self, program: Program) -> None:
        self.events.put(program.failure(f"{program.exit_text()} by itself"))


def run(settings: Settings, template: Path = TEMPLATE) -> None:
    """Run until a signal. Raises one of REASONS if the stack cannot start or a part of it exits."""
    signals = Signals()
    with signals.handled(), ExitStack() as parts, contextlib.suppress(_StoppedError):
        with signals.interruptible():
            start(settings, template, signals, parts)
        failure = signals.events.get()
        if failure is not None:
            raise failure
        say("stopping")


def start(settings: Settings, template: Path, signals: Signals, parts: ExitStack) -> None:
    prepare_state_dir(settings.state_dir)
    parts.callback(os.close, lock_folder(settings.state_dir))
    check_ports(settings)
    real_claude = settings.anthropic_api_key is not None
    if settings.built is not None:
        say("unpacking what was built")
        template = unpack(settings.built, settings.state_dir / "built")
    description = read_template(template, parameters(settings))
    if settings.built is not None:
        description = as_on_lambda(description, template.parent)
    if unknown := settings.warm - {function.short_name for function in description.functions.values()}:
        raise SettingsError(f"WARM: the template has no function {', '.join(sorted(unknown))}")
    tokens = issuer(template, settings.state_dir)
    secrets = {
        "AuthSecret": json.dumps({"secrets": auth_secrets(settings.state_dir)}),
        "AnthropicSecret": json.dumps({"api_key": settings.anthropic_api_key or "local"}),
        "StripeSecret": json.dumps(stripe_secret(settings)),
    }

    say("starting the store")
    store = settings.state_dir / "store"
    prepare_state_dir(store)
    engine = Engine(store, settings.engine_port, show=_errors_only, on_exit=signals.program_ended)
    parts.callback(engine.stop)
    engine.start()
    create_resources(description, engine.endpoint_url, secrets)
    if not real_claude:
        say("starting the stand-in for Claude")
        parts.enter_context(claude_double(settings, signals))
    if settings.stripe_secret_key is None:
        say("starting the stand-in for Stripe")
        parts.enter_context(stripe_double(settings, description, signals))
    import_packages(description, engine.endpoint_url)

    show = MetricFile(settings.state_dir).keeping(
        show_line
        if settings.log_as_json
        else for_a_person(behind_the_api=functions_of_the_api(description).__contains__)
    )
    say("starting the functions")
    extra = {"AWS_ENDPOINT_URL": engine.endpoint_url, **laptop_only(settings)}
    if real_claude:
        extra |= {name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ}
    backend = Backend(
        description,
        port=settings.port,
        runtime_port=settings.runtime_port,
        extra_environment=extra,
        concurrency=settings.concurrency,
        warm=settings.warm or True,
        reload=settings.built is None,
        python=sys.executable if settings.built is None else python(),
        show=show,
        front_end=front_end(settings, description),
    )
    parts.callback(backend.stop)
    backend.start()
    sources = EventSources(description, engine.endpoint_url, backend.invoke, show=show)
    parts.callback(sources.stop)
    sources.start()
    parts.callback(remove_state, settings.state_dir)
    about = identity(settings, backend)
    backend.describe(about)
    write_state(settings.state_dir, {**about, **state(settings, description, backend, engine)})
    token = tokens.token(DEMO_USER, timedelta(days=DEMO_DAYS))
    announce(settings, description, token)


def front_end(settings: Settings, description: Description) -> FrontEnd | None:
    """What is served beside the API: nothing if the front end is somebody else's."""
    if settings.has_front_end:
        return None
    if not Page.is_built(settings.page_dir):
        return PlaceholderPages(f"{settings.url}/{description.apis[0].stage}/v1")
    # Stripe's form speaks to the real Stripe, which knows nothing of what the stand-in has.
    key = settings.stripe_publishable_key if settings.stripe_secret_key is not None else None
    return Page(
        settings.page_dir,
        publishable_key=key,
        pay_page=pay_page(settings),
        anonymous_runs=settings.anonymous_runs,
    )


def pay_page(settings: Settings) -> str | None:
    """Where purchases are paid without Stripe's form: the stand-in's page."""
    return f"http://127.0.0.1:{settings.stripe_port}/pay" if settings.stripe_secret_key is None else None


def functions_of_the_api(description: Description) -> frozenset[str]:
    """Short names of the functions that answer requests."""
    return frozenset(
        description.functions[route.function].short_name for api in description.apis for route in api.routes
    )


def parameters(settings: Settings) -> dict[str, str]:
    """Values of the template's parameters on this machine; the others keep their defaults."""
    values = {"FrontendUrl": settings.frontend_url, "ExtraOrigins": ",".join(settings.extra_origins)}
    if not settings.has_front_end:
        values |= {"CreditsPage": CREDITS, "SubscriptionPage": SUBSCRIPTION, "SharedPage": SHARED}
    if settings.rate_limit_factor != 1:
        values["RateLimitFactor"] = str(settings.rate_limit_factor)
    if settings.daily_ceiling_dollars != DEFAULT_CEILING_DOLLARS:
        values["DailyCeilingDollars"] = str(settings.daily_ceiling_dollars)
    if settings.pause_free_runs:
        values["PauseFreeRuns"] = "true"
    if settings.anthropic_api_key is None:
        values["AnthropicBaseUrl"] = f"http://127.0.0.1:{settings.claude_port}"
    elif settings.anthropic_base_url is not None:
        values["AnthropicBaseUrl"] = settings.anthropic_base_url
    if settings.stripe_secret_key is None:
        values["StripeBaseUrl"] = f"http://127.0.0.1:{settings.stripe_port}"
    if settings.custom_prompts != "plans":
        values["CustomPrompts"] = settings.custom_prompts
    if settings.whole_conversation:
        values["WholeConversation"] = "true"
    if settings.anonymous_runs:
        values["AnonymousRuns"] = "true"
    if settings.anonymous_budget_cents is not None:
        values["AnonymousBudgetCents"] = str(settings.anonymous_budget_cents)
    return values


def laptop_only(settings: Settings) -> dict[str, str]:
    """Settings of the functions that are not in the template and apply to the laptop only."""
    address = pay_page(settings)
    return {} if address is None else {"PAY_PAGE_URL": address}


def stripe_secret(settings: Settings) -> dict[str, object]:
    """The stand-in's key and secret, or the real ones. Events that are signed by hand with STRIPE_WEBHOOK_SECRET are
    accepted with the stand-in, too."""
    secrets = [settings.stripe_webhook_secret] if settings.stripe_webhook_secret else []
    if settings.stripe_secret_key is None or not secrets:
        secrets.append(webhook_secret(settings.state_dir))
    return {"api_key": settings.stripe_secret_key or STRIPE_KEY, "webhook_secrets": secrets}


def check_ports(settings: Settings) -> None:
    """Raises BusyPortError. A port that is taken after this check ends the stack with the same message."""
    ports = [settings.port, settings.engine_port, settings.runtime_port]
    if settings.anthropic_api_key is None:
        ports.append(settings.claude_port)
    if settings.stripe_secret_key is None:
        ports.append(settings.stripe_port)
    deadline = time.monotonic() + PORT_SECONDS
    for port in sorted(ports):
        while True:
            try:
                listen(port).close()
                break
            except BusyPortError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def claude_double(settings: Settings, signals: Signals) -> Iterator[None]:
    program = Program(
        "claude",
        die_with_parent("doubles.claude.server", "--port", str(settings.claude_port)),
        environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        show=_errors_only,
        on_exit=signals.program_ended,
    )
    try:
        program.wait_for_line(lambda line: line.startswith("listening on "), CLAUDE_SECONDS)
        yield
    finally:
        program.stop()


@contextmanager
def stripe_double(settings: Settings, description: Description, signals: Signals) -> Iterator[None]:
    """Sends its events to the webhook function, if the template has one."""
    arguments = ["--port", str(settings.stripe_port), "--state-dir", str(settings.state_dir / "stripe")]
    for api in description.apis:
        if any(route.path == WEBHOOK_PATH for route in api.routes):
            secret = webhook_secret_file(settings.state_dir)
            arguments += ["--endpoint", f"{settings.url}/{api.stage}{WEBHOOK_PATH}", "--secret-file", str(secret)]
    program = Program(
        "stripe",
        die_with_parent("doubles.stripe", *arguments),
        environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        show=_errors_only,
        on_exit=signals.program_ended,
    )
    try:
        program.wait_for_line(lambda line: line.startswith("listening on "), STRIPE_SECONDS)
        yield
    finally:
        program.stop()


def import_packages(description: Description, endpoint_url: str) -> None:
    """Put the sample packages into the catalogue, if the template has one."""
    if CATALOG_TABLE not in description.tables:
        return
    say("importing the sample packages")
    environment = {
        name: value for function in description.functions.values() for name, value in function.environment.items()
    }
    seed({**CREDENTIALS, **environment}, endpoint_url)


def identity(settings: Settings, backend: Backend) -> dict[str, Any]:
    """Identifies this stack to other commands (local/running.py)."""
    return {
        "url": backend.url,
        "state_dir": str(settings.state_dir),
        "token_keys": [key_id(secret) for secret in auth_secrets(settings.state_dir)],
    }


def state(settings: Settings, description: Description, backend: Backend, engine: Engine) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "api_url": f"{backend.url}/{description.apis[0].stage}",
        "engine_url": engine.endpoint_url,
        "engine_pid": engine.pid,
        "runtime_url": backend.runtime_url,
        "claude_url": description.parameters.get("AnthropicBaseUrl"),
        "stripe_url": None if settings.stripe_secret_key else f"http://127.0.0.1:{settings.stripe_port}",
        "ports": {
            "api": settings.port,
            "engine": settings.engine_port,
            "claude": settings.claude_port if settings.anthropic_api_key is None else None,
            "runtime": settings.runtime_port,
            "stripe": settings.stripe_port if settings.stripe_secret_key is None else None,
        },
        "tables": {table.logical_id: table.name for table in description.tables.values()},
        "buckets": {bucket.logical_id: bucket.name for bucket in description.buckets.values()},
        "secrets": {secret.logical_id: secret.name for secret in description.secrets.values()},
        "queues": {queue.logical_id: queue.url for queue in description.queues.values()},
        "buses": {bus.logical_id: bus.name for bus in description.buses.values()},
        "functions": {
            function.logical_id: {"short_name": function.short_name, "environment": dict(function.environment)}
            for function in description.functions.values()
        },
    }


def announce(settings: Settings, description: Description, token: str) -> None:
    claude = description.parameters["AnthropicBaseUrl"] if settings.anthropic_api_key else "a local stand-in"
    stripe = "Stripe" if settings.stripe_secret_key else "a local stand-in"
    body = json.dumps({"package_id": DEMO_PACKAGE, "input": "Review this: def add(a, b): return a - b"})
    address = f"{settings.url}/{description.apis[0].stage}/v1/playground/run"
    ports = f"{settings.port} to {settings.stripe_port}"
    lines = (
        f"ready {settings.url}",
        f"token (demo, valid {DEMO_DAYS} days): {token}",
        f"curl -sS -X POST {address} \\",
        f"  -H 'Authorization: Bearer {token}' \\",
        "  -H 'Content-Type: application/json' \\",
        f"  -d '{body}'",
        in_a_browser(settings, token),
        f"claude: {claude} · stripe: {stripe} · store: {settings.state_dir} · ports {ports}",
        "Ctrl-C stops it",
    )
    print("\n".join(lines), flush=True)


def in_a_browser(settings: Settings, token: str) -> str:
    """How to open the page. A token is given only to a page on this machine."""
    if not settings.has_front_end and not Page.is_built(settings.page_dir):
        return f"in a browser: {settings.frontend_url}/ (no page is built: `make web`)"
    address = f"{settings.frontend_url}/"
    return f"in a browser: {address}#token={token}" if settings.extra_origins else f"in a browser: {address}"


def say(what: str) -> None:
    show_line("stack", what)


def _errors_only(name: str, line: str) -> None:
    if not line.startswith("listening on "):
        show_line(name, line)


DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
REASONS = (
    BusyPortError,
    FolderInUseError,
    NotBuiltError,
    ProgramError,
    SettingsError,
    TableChangedError,
    TemplateError,
    TokenError,
    UnusableFolderError,
)


def advice(error: Exception, environment: Mapping[str, str] = os.environ) -> str:
    if isinstance(error, BusyPortError):
        base = int(environment.get("PORT") or 3000)
        parts = ("the API", "the store", "the stand-in for Claude", "the functions", "the stand-in for Stripe")
        part = parts[error.port - base]
        return (
            f"port {error.port} ({part}) is in use by another program: end that one, "
            f"or choose another group of five ports, for example `make run PORT={base + 1000}`"
        )
    return str(error)


def main() -> int:
    parser = command(
        "run",
        "[PORT=3000] [STATE_DIR=.local]",
        "Run the whole backend on this machine, in the foreground.",
        EPILOG,
    )
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="a template other than the project's")
    arguments = parser.parse_args()
    try:
        run(read_settings(), arguments.template)
    except REASONS as error:
        print(advice(error), file=sys.stderr, flush=True)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            print(f"the disk is full: {error}", file=sys.stderr, flush=True)
            return 1
        traceback.print_exc()
        print("the stack ended because of the error above", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
