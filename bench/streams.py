"""`make bench-streams`: the latency that our stream adds to Claude's, and its CPU and store cost, against targets."""

import argparse
import json
import os
import re
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.checkpoints import checkpointed
from bench.latency import percentile
from bench.transport import Transport
from bench.world import PRICES, SECONDS_LEFT, FixedModel, World, a_request, world
from local.engine import CREDENTIALS, Engine
from local.process import ROOT, Program, die_with_parent
from local.resources import client, create_resources
from local.seed import seed as seed_packages
from local.template import Description, read_template
from local.tokens import Issuer
from playground.ports import Prompt

DIRECT, FUNCTION, REFERENCE, LITELLM = "asking directly", "our function", "the reference", "LiteLLM's proxy"
LITELLM_VERSION = "1.108.7"
SECRET = "-" * 32
LITELLM_KEY = f"sk-{SECRET}"
MODEL = "claude-sonnet-5-5"
PACKAGE = "@playground/code-reviewer"
SHORT = "output_tokens=20 slow=5"  # 3 deltas
LONG = "output_tokens=1360 slow=5"  # 200 deltas
WARM_UP = 5  # runs of each way
READY_SECONDS = 120
HANG_SECONDS = 60

MAX_ADDED_P50 = 0.015  # s, to the first delta
MAX_ADDED_P99 = 0.060
MAX_DELTA = 0.001  # s, p50
MAX_RATIO = 0.5
MAX_ROUND_TRIPS = (2, 1)
MAX_WRITE_UNITS = 16
ANSWERS = ((1, 2_048), (21, 5_000), (241, 60_000))  # seconds, characters

DESCRIPTION = f"""\
Start a store in memory, a stand-in for Claude and the compared servers, each in its own process; request streams from
them in turn, and stop them. The stand-in writes the time into every delta, from which the delay is computed.

  asking directly    the stand-in itself
  our function       functions/stream as its script starts it, called as the Web Adapter calls it
  the reference      bench/reference.py: a common, simpler implementation of the same job
  LiteLLM's proxy    without its database; only if there is {{folder}}, or another folder that --litellm names:
                     python3 -m venv {{folder}}
                     {{folder}}/bin/pip install 'litellm[proxy]=={LITELLM_VERSION}'

CPU is that of a server's own process, all threads: not of the store, the stand-in, the client or what makes HTTP of an
event (the Web Adapter, which is not there).
"""
EPILOG = "Exit status: 1 if a target is missed. Targets are for an idle machine."
LITELLM_FOLDER = ".venv-litellm"
MAX_IDLE_LOAD = 0.5  # load average of a machine without other work


@dataclass(frozen=True, slots=True)
class Stream:
    """Measured at the client. Seconds until the first delta, and for each delta from sending to arrival."""

    first: float
    late: Sequence[float]
    cpu: float


@dataclass(frozen=True, slots=True)
class Way:
    name: str
    port: int
    request: Callable[[str, str], tuple[str, Mapping[str, str], Mapping[str, object]]]
    """From a user and a directive: path, headers and body."""
    pid: int | None = None
    short: list[Stream] = field(default_factory=list)
    long: list[Stream] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.streams",
        description=DESCRIPTION.format(folder=LITELLM_FOLDER),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", type=int, default=150, help="runs of 3 deltas of each way (default: 150)")
    parser.add_argument("--long", type=int, default=15, help="runs of 200 deltas of each way (default: 15)")
    parser.add_argument(
        "--litellm", type=Path, default=ROOT / LITELLM_FOLDER, metavar="FOLDER", help=f"default: {LITELLM_FOLDER}"
    )
    options = parser.parse_args(arguments)
    if min(options.short, options.long) < 1:
        parser.error("--short and --long must be at least 1")
    os.environ.update(CREDENTIALS)
    load = os.getloadavg()[0]
    idle = "idle" if load <= MAX_IDLE_LOAD else "NOT IDLE: the targets of latency do not hold for it"
    print(f"python {sys.version.split()[0]} · {os.cpu_count()} CPUs · load average {load:.1f} before it, {idle}")
    with Engine() as engine, ExitStack() as stack:
        claude_url = f"http://127.0.0.1:{stack.enter_context(stamped_claude())}"
        description = read_template(ROOT / "template.yaml", {"AnthropicBaseUrl": claude_url})
        secrets = {"AuthSecret": json.dumps({"secrets": [SECRET]}), "AnthropicSecret": json.dumps({"api_key": "-"})}
        create_resources(description, engine.endpoint_url, secrets)
        seed_packages({**CREDENTIALS, **description.functions["CatalogFunction"].environment}, engine.endpoint_url)
        measured = stack.enter_context(world(engine.endpoint_url, description, claude_url))
        users = make_users(measured, options.short + options.long + WARM_UP)
        ways = stack.enter_context(all_ways(description, engine.endpoint_url, claude_url, users, options.litellm))
        compare(ways, users, options.short, options.long)
        good = print_latency(ways)
        of_store, of_count = waits(measured, options.short)
        print(f"\n  waiting before the first delta, ms: store {of_store * 1000:.1f}, count {of_count * 1000:.1f}")
        good += print_costs(measured)
    print(f"\nload average {os.getloadavg()[0]:.1f} after it")
    return 0 if all(good) else 1


def make_users(measured: World, number: int) -> list[str]:
    """One user for each run, so that no rate limit applies."""
    users = [f"stream-{number}" for number in range(number)]
    for user in users:
        measured.give(user, 100)
    return users


# --- the servers ------------------------------------------------------------------------------------------------------


@contextmanager
def serving(name: str, command: Callable[[int], Sequence[str]], environment: Mapping[str, str]) -> Iterator[Program]:
    port = int(environment["PORT"])
    program = Program(name, command(port), environment=environment)
    try:
        ends = time.monotonic() + READY_SECONDS
        while not answers(port):
            if time.monotonic() > ends or program.ended:
                raise program.failure("was not ready")
            time.sleep(0.05)
        yield program
    finally:
        program.stop()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def stamped_claude() -> Iterator[int]:
    port = free_port()
    environment = {"PORT": str(port), "PYTHONPATH": str(ROOT)}
    with serving("claude", lambda port: die_with_parent("bench.stamped_claude", "--port", str(port)), environment):
        yield port


@contextmanager
def all_ways(
    description: Description, endpoint_url: str, claude_url: str, users: Sequence[str], litellm_folder: Path
) -> Iterator[Sequence[Way]]:
    parameters = description.functions["StreamFunction"].environment
    issuer = Issuer(SECRET, "HS256", parameters["AUTH_ISSUER"], parameters["AUTH_AUDIENCE"])
    tokens = {user: issuer.token(user, timedelta(hours=2)) for user in users}
    with ExitStack() as stack:
        function = stack.enter_context(our_function(description, endpoint_url, tokens))
        system = system_text(claude_url, function, users[0])
        ways = [direct(claude_url, system), function]
        ways.append(stack.enter_context(reference(endpoint_url, claude_url, system, tokens)))
        python = litellm_folder / "bin" / "python"
        if python.exists():
            ways.append(stack.enter_context(litellm(python, claude_url, system)))
        else:
            print(f"LiteLLM's proxy is left out: there is no {python} (--help says how to make it)")
        yield ways


def direct(claude_url: str, system: str) -> Way:
    def request(_user: str, directive: str) -> tuple[str, Mapping[str, str], Mapping[str, object]]:
        headers = {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
        return (
            "/v1/messages",
            headers,
            {"model": MODEL, "max_tokens": 4096, "stream": True, **prompt(system, directive)},
        )

    return Way(DIRECT, int(claude_url.rpartition(":")[2]), request)


def prompt(system: str, directive: str) -> dict[str, object]:
    return {"system": system, "messages": [{"role": "user", "content": text_of(directive)}]}


def text_of(directive: str) -> str:
    return f"def add(a, b): return a - b [[claude: {directive}]]"


@contextmanager
def our_function(description: Description, endpoint_url: str, tokens: Mapping[str, str]) -> Iterator[Way]:
    function = description.functions["StreamFunction"]
    port = free_port()
    environment = {
        **CREDENTIALS,
        **function.environment,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_LWA_PORT": str(port),
        "PORT": str(port),
        "PYTHONPATH": os.pathsep.join([str(function.code), *(str(layer) for layer in function.layers)]),
    }
    options = [word.replace("$AWS_LWA_PORT", str(port)) for word in uvicorn_options(function.code / function.handler)]

    def request(user: str, directive: str) -> tuple[str, Mapping[str, str], Mapping[str, object]]:
        now = int(time.time() * 1000)
        headers = {
            "Authorization": f"Bearer {tokens[user]}",
            "x-amzn-request-context": json.dumps({"requestId": "bench", "requestTimeEpoch": now}),
            "x-amzn-lambda-context": json.dumps({"request_id": "bench", "deadline": now + function.timeout * 1000}),
        }
        return "/v1/playground/run/stream", headers, {"package_id": PACKAGE, "input": text_of(directive)}

    with serving("stream", lambda _: die_with_parent("uvicorn", *options), environment) as program:
        yield Way(FUNCTION, port, request, program.pid)


def uvicorn_options(script: Path) -> list[str]:
    """The arguments with which a function's script starts uvicorn."""
    _, _, options = script.read_text(encoding="utf-8").partition(" -m uvicorn ")
    return shlex.split(options.replace("\\\n", " "))


def system_text(claude_url: str, function: Way, user: str) -> str:
    """The system prompt that the function sends for the package."""
    ask(function, user, SHORT)
    with socket.create_connection(("127.0.0.1", int(claude_url.rpartition(":")[2])), HANG_SECONDS) as connection:
        connection.sendall(b"GET /_calls HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    system: str = json.loads(answer.partition(b"\r\n\r\n")[2])["last_request"]["system"][0]["text"]
    return system


@contextmanager
def reference(endpoint_url: str, claude_url: str, system: str, tokens: Mapping[str, str]) -> Iterator[Way]:
    make_reference_table(endpoint_url, system, list(tokens))
    port = free_port()
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint_url,
        "ANTHROPIC_BASE_URL": claude_url,
        "REFERENCE_TABLE": "reference",
        "REFERENCE_SECRET": SECRET,
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }
    options = ["bench.reference:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]

    def request(user: str, directive: str) -> tuple[str, Mapping[str, str], Mapping[str, object]]:
        headers = {"Authorization": f"Bearer {tokens[user]}"}
        return "/run", headers, {"package_id": PACKAGE, "input": text_of(directive)}

    with serving("reference", lambda _: die_with_parent("uvicorn", *options), environment) as program:
        yield Way(REFERENCE, port, request, program.pid)


def make_reference_table(endpoint_url: str, system: str, users: Sequence[str], balance: int = 1000) -> None:
    dynamodb = client("dynamodb", endpoint_url)
    keys = (("pk", "HASH"), ("sk", "RANGE"))
    dynamodb.create_table(
        TableName="reference",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
    )
    items: list[dict[str, Any]] = [{"pk": {"S": PACKAGE}, "sk": {"S": "PACKAGE"}, "text": {"S": system}}]
    items += [{"pk": {"S": user}, "sk": {"S": "ACCOUNT"}, "balance": {"N": str(balance)}} for user in users]
    for item in items:
        dynamodb.put_item(TableName="reference", Item=item)
    dynamodb.close()


@contextmanager
def litellm(python: Path, claude_url: str, system: str) -> Iterator[Way]:
    """The proxy with one model, without database, telemetry, look-ups and our environment."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-litellm-") as home:
        config = Path(home) / "config.yaml"
        parameters = {"model": f"anthropic/{MODEL}", "api_base": claude_url, "api_key": "bench"}
        settings = {
            "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
            "litellm_settings": {"telemetry": False},
        }
        config.write_text(json.dumps(settings), encoding="utf-8")  # which is YAML, too
        environment = {
            "PORT": str(port),
            "HOME": home,
            "LITELLM_MASTER_KEY": LITELLM_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "NO_PROXY": "127.0.0.1",
        }

        def request(_user: str, directive: str) -> tuple[str, Mapping[str, str], Mapping[str, object]]:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": text_of(directive)}]
            body = {"model": MODEL, "max_tokens": 4096, "stream": True, "messages": messages}
            return "/v1/chat/completions", {"Authorization": f"Bearer {LITELLM_KEY}"}, body

        options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        command = die_with_parent("litellm.proxy.proxy_cli", *options, python=str(python))
        with serving("litellm", lambda _: command, environment) as program:
            yield Way(LITELLM, port, request, program.pid)


# --- measuring --------------------------------------------------------------------------------------------------------

STAMPS = re.compile(rb'"((?:\d{9,20} )+)"')


def ask(way: Way, user: str, directive: str) -> Stream:
    """One stream to its end, over a connection of its own."""
    path, headers, body = way.request(user, directive)
    payload = json.dumps(body).encode()
    own = {"Host": "bench", "Content-Type": "application/json", "Content-Length": str(len(payload))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (own | dict(headers)).items())]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode() + payload
    cpu = cpu_seconds(way.pid)
    started = time.monotonic_ns()
    arrivals: list[tuple[int, bytes]] = []
    with socket.create_connection(("127.0.0.1", way.port), HANG_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        while data := connection.recv(65536):
            arrivals.append((time.monotonic_ns(), data))
    deltas = lateness(arrivals)
    if not deltas:
        raise RuntimeError(f"{way.name} gave no deltas: {b''.join(data for _, data in arrivals)[:500]!r}")
    used = cpu_seconds(way.pid) - cpu
    return Stream(first=(deltas[0][0] - started) / 1e9, late=[seconds for _, seconds in deltas], cpu=used)


def lateness(arrivals: Sequence[tuple[int, bytes]]) -> list[tuple[int, float]]:
    """For each delta: when it arrived, and how many seconds after it was sent. The full text in `response` at the end
    is not a delta."""
    found: list[tuple[int, float]] = []
    rest = b""
    for moment, data in arrivals:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and b'"response"' not in line:
                for texts in STAMPS.findall(line):
                    found += [(moment, (moment - int(stamp)) / 1e9) for stamp in texts.split()]
    return found


def cpu_seconds(pid: int | None) -> float:
    """CPU seconds of all threads of a process. 0 where the system has no clock for it: only Linux does."""
    if pid is None or sys.platform != "linux":
        return 0.0
    return time.clock_gettime((~pid << 3) | 2)


def compare(ways: Sequence[Way], users: Sequence[str], short: int, long: int) -> None:
    """Call all of them in turn, starting with another one each time."""
    for user in users[-WARM_UP:]:
        for way in ways:
            ask(way, user, SHORT)
    for number, user in enumerate(users[: short + long]):
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            if number < short:
                way.short.append(ask(way, user, SHORT))
            else:
                way.long.append(ask(way, user, LONG))


class _Timed(Transport):
    """Records the duration of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def _sending(self, model: Any, context: dict[str, Any], **rest: Any) -> tuple[Any, dict[str, Any]] | None:
        context["bench_started"] = time.perf_counter()
        return super()._sending(model, context, **rest)

    def _answered(self, parsed: Mapping[str, Any], context: dict[str, Any], **rest: Any) -> None:
        self.seconds.append(time.perf_counter() - context["bench_started"])
        super()._answered(parsed, context, **rest)


def waits(measured: World, times: int) -> tuple[float, float]:
    """Median seconds that a run waits before its first delta: for the store, and for Claude's count of the prompt.
    Both depend on the stand-ins: the store evaluates the hold's long condition in Python."""
    user = "waits"
    measured.give(user, 10 * times)
    counted = Prompt(model=PRICES.models["sonnet"], system=None, messages=(("user", text_of(SHORT)),), max_tokens=512)
    of_store, of_count = [], []
    for _ in range(times):
        with _Timed().at(measured.store.client) as timed:
            assert isinstance(timed, _Timed)
            measured.run_prompt(FixedModel())(user, a_request(), idempotency_key=None, seconds_left=SECONDS_LEFT)
        of_store.append(sum(timed.seconds[: MAX_ROUND_TRIPS[0]]))
        started = time.perf_counter()
        measured.claude.count_tokens(counted, timeout=HANG_SECONDS)
        of_count.append(time.perf_counter() - started)
    return median(of_store), median(of_count)


def added_to_first(way: Way, base: Way) -> list[float]:
    """Seconds to the first delta of each run, minus the median of direct calls."""
    usual = percentile([stream.first for stream in base.short], 50)
    return [stream.first - usual for stream in way.short]


def late(way: Way) -> list[float]:
    return [each for stream in way.long for each in stream.late]


def median_cpu(streams: Sequence[Stream]) -> float:
    return median(stream.cpu for stream in streams)


# --- printing ---------------------------------------------------------------------------------------------------------


def print_latency(ways: Sequence[Way]) -> list[bool]:
    """Print the table; whether each target is reached."""
    base, ours, plain = ways[:3]
    deltas = len(base.long[0].late)
    print(f"\n{len(base.short)} runs of 3 deltas and {len(base.long)} of {deltas}, in turn; ms added, ms of CPU a run")
    print(f"  {'':<18}{'first p50':>11}{'first p99':>11}{'delta p50':>11}{'delta p99':>11}{'CPU: 3':>8}{deltas:>6}")
    for way in ways:
        first, delta = added_to_first(way, base), late(way)
        cells = [percentile(first, percent) for percent in (50, 99)]
        cells += [percentile(delta, percent) - percentile(late(base), percent) for percent in (50, 99)]
        cpu = f"{median_cpu(way.short) * 1000:>8.0f}{median_cpu(way.long) * 1000:>6.0f}" if way.pid is not None else ""
        print(f"  {way.name:<18}{''.join(f'{cell * 1000:>11.2f}' for cell in cells)}{cpu}")
    first = added_to_first(ours, base)
    p50 = percentile(first, 50)
    of_delta = percentile(late(ours), 50) - percentile(late(base), 50)
    print()
    good = [
        target("added to the first delta, p50, ms", p50 * 1000, MAX_ADDED_P50 * 1000),
        target("added to the first delta, p99, ms", percentile(first, 99) * 1000, MAX_ADDED_P99 * 1000),
        target("added to a delta, p50, ms", of_delta * 1000, MAX_DELTA * 1000),
    ]
    if len(ways) > 3:
        proxy = percentile(added_to_first(ways[3], base), 50)
        good.append(target("added to the first delta ÷ LiteLLM's", p50 / proxy, MAX_RATIO))
    if median_cpu(plain.long) > 0:
        ratio = median_cpu(ours.long) / median_cpu(plain.long)
        good.append(target("CPU of a long run ÷ the reference's", ratio, MAX_RATIO))
    return good


def target(what: str, value: float, most: float) -> bool:
    good = value <= most
    print(f"  {what:<42}{value:>7.4g}   target ≤ {most:g}: {'reached' if good else 'NOT REACHED'}")
    return good


def print_costs(measured: World) -> list[bool]:
    """Units and round trips of a run at the store, checkpoints apart."""
    measured.give("trips", 100)
    trips = measured.round_trips("trips")
    print("\nunits of the store, by seconds and characters of an answer; round trips")
    print(f"  {'':<24}{'run':>6}{'checkpoints:':>14}{'put':>5}{'deleted':>9}{'checks: read':>13}")
    costs = [checkpointed(measured, f"{seconds} s", seconds, characters) for seconds, characters in ANSWERS]
    for cost in costs:
        what = f"{cost.seconds} s, {cost.characters:,}"
        print(f"  {what:<24}{cost.run:>6}{cost.put_items:>14}{cost.puts:>5}{cost.deletes:>9}{cost.read:>13}")
    print()
    return [
        target("round trips before the model", len(trips.before), MAX_ROUND_TRIPS[0]),
        target("round trips after it", len(trips.after or ()), MAX_ROUND_TRIPS[1]),
        target(f"write units of a run of {costs[0].characters:,} characters", costs[0].run, MAX_WRITE_UNITS),
    ]


if __name__ == "__main__":
    sys.exit(main())
