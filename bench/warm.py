"""`make bench-warm`: the CPU time of a warm run, as a ratio to that of an idiomatic handler.

Both handlers answer the same requests by turns, each in a process of its own: a token is verified, the body validated,
account and package read, the prompt counted, the most that the run may cost held by a conditional write, Claude asked,
and the answer stored and charged for in one transaction. The store and the stand-in for Claude are other processes,
whose time is not counted. Ours is what `make build` built; the reference is bench/cold_reference.py in its full form.
CPU time, all threads included, not wall time: a ratio holds on a busy machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.cold import REFERENCE, SECRET
from bench.streams import PACKAGE, free_port, make_reference_table, serving, text_of
from bench.world import world
from local.built import NotBuiltError, as_on_lambda, python, unpack
from local.engine import CREDENTIALS, Engine
from local.process import ROOT, die_with_parent, necessities
from local.resources import client, create_resources
from local.seed import seed as seed_packages
from local.settings import DEFAULT_BUILD, TEMPLATE
from local.template import Description, read_template
from local.tokens import Issuer

OURS, THEIRS = "our function", "the reference"
MAX_RATIO = 0.5
USERS = 20
WARM_UP = 20  # runs of each
ANSWER = "output_tokens=200"
ANSWER_SECONDS = 300
IDEMPOTENCY = "idempotency"

# Run in a fresh interpreter: loads a handler as Lambda does; for each number that it reads it makes so many runs, and
# says what CPU time they took.
PROGRAM = """
import importlib.util, json, sys, time, uuid
sys.stdout = open("/dev/null", "w")
spec = importlib.util.spec_from_file_location("app", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with open(sys.argv[2]) as file:
    events = [json.dumps(event) for event in json.load(file)]


class Context:
    function_name = "bench"
    function_version = "1"
    memory_limit_in_mb = 768
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "bench"

    def get_remaining_time_in_millis(self):
        return 295_000


made = 0
for line in sys.stdin:
    seconds = 0.0
    for _ in range(int(line)):
        made += 1
        event = json.loads(events[made % len(events)])
        event["requestContext"] |= {"requestId": str(uuid.uuid4()), "requestTimeEpoch": int(time.time() * 1000)}
        event["headers"]["Idempotency-Key"] = str(uuid.uuid4())
        event["multiValueHeaders"] = {name: [value] for name, value in event["headers"].items()}
        begun = time.process_time()
        answer = module.handler(event, Context())
        seconds += time.process_time() - begun
        assert answer["statusCode"] == 200, answer
    print(json.dumps([seconds, answer["body"]]), file=sys.stderr, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some runs, and the body of the last answer."""

    cpu_seconds: float
    body: Mapping[str, Any]


class Handler:
    """A process with a warm handler."""

    def __init__(self, name: str, interpreter: str, app: Path, events: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [interpreter, "-P", "-c", PROGRAM, str(app), str(events)],
            env={**necessities(), **environment},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, times: int) -> Batch:
        """Raises RuntimeError if a run does not answer 200."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        line = self._process.stderr.readline()
        if not line.startswith("["):
            raise RuntimeError(f"{self.name}: {line}{self._process.communicate(timeout=ANSWER_SECONDS)[1][-2000:]}")
        seconds, body = json.loads(line)
        return Batch(seconds, json.loads(body))

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def handlers(build: Path | None) -> Iterator[tuple[Handler, Handler]]:
    """Ours and theirs. Without a `build` ours is loaded from the sources. Raises NotBuiltError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-warm-")))
        engine = stack.enter_context(Engine())
        claude_url = f"http://127.0.0.1:{stack.enter_context(claude())}"
        values = {"AnthropicBaseUrl": claude_url, "RateLimitFactor": "600"}
        described = read_template(TEMPLATE, values)
        function, interpreter = described.functions["RunFunction"], sys.executable
        if build is not None:
            unpacked = unpack(build, folder / "built")
            built = as_on_lambda(read_template(unpacked, values), unpacked.parent)
            function, interpreter = built.functions["RunFunction"], python()
        prepare(described, engine.endpoint_url, claude_url)
        environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": engine.endpoint_url}
        parameters = function.environment
        issuer = Issuer(SECRET, "HS256", parameters["AUTH_ISSUER"], parameters["AUTH_AUDIENCE"])
        ours = {
            **environment,
            **parameters,
            "PYTHONPATH": os.pathsep.join(str(each) for each in (*function.layers, function.code)),
        }
        theirs = {
            **environment,
            "ANTHROPIC_BASE_URL": claude_url,
            "REFERENCE": "full",
            "REFERENCE_IDEMPOTENCY_TABLE": IDEMPOTENCY,
            "REFERENCE_SECRET": SECRET,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "PYTHONPATH": os.environ.get("REFERENCE_PATH", ""),
        }
        one = Handler(
            OURS, interpreter, function.code / "app.py", events(folder / "ours", "/v1/playground/run", issuer), ours
        )
        stack.callback(one.stop)
        other = Handler(THEIRS, sys.executable, REFERENCE, events(folder / "theirs", "/run", issuer), theirs)
        stack.callback(other.stop)
        yield one, other


@contextmanager
def claude() -> Iterator[int]:
    port = free_port()
    environment = {"PORT": str(port), "PYTHONPATH": str(ROOT)}
    with serving("claude", lambda port: die_with_parent("doubles.claude", "--port", str(port)), environment):
        yield port


def prepare(description: Description, endpoint_url: str, claude_url: str) -> None:
    """Tables, secrets, packages and users with credits, for both."""
    os.environ.update(CREDENTIALS)
    secrets = {"AuthSecret": json.dumps({"secrets": [SECRET]}), "AnthropicSecret": json.dumps({"api_key": "-"})}
    create_resources(description, endpoint_url, secrets)
    seed_packages({**CREDENTIALS, **description.functions["CatalogFunction"].environment}, endpoint_url)
    with world(endpoint_url, description, claude_url) as prepared:
        for user in users():
            prepared.give(user, 100_000)
    make_reference_table(endpoint_url, SYSTEM, users(), balance=1_000_000)
    make_idempotency_table(endpoint_url)


def make_idempotency_table(endpoint_url: str) -> None:
    """The reference's utility keeps its records by one attribute."""
    dynamodb = client("dynamodb", endpoint_url)
    dynamodb.create_table(
        TableName=IDEMPOTENCY,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    dynamodb.close()


SYSTEM = "You are a code reviewer. Name the three most important problems of the code, and how to mend each. " * 8


def users() -> list[str]:
    return [f"warm-{number}" for number in range(USERS)]


def events(path: Path, route: str, issuer: Issuer) -> Path:
    """A file of requests, one of each user."""
    template = json.loads((ROOT / "events" / "run" / "ok.json").read_text(encoding="utf-8"))
    body = json.dumps({"package_id": PACKAGE, "input": text_of(ANSWER)})
    path.write_text(
        json.dumps(
            [
                {
                    **template,
                    "path": route,
                    "headers": {
                        **template["headers"],
                        "Authorization": f"Bearer {issuer.token(user, timedelta(hours=2))}",
                    },
                    "body": body,
                }
                for user in users()
            ]
        ),
        encoding="utf-8",
    )
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.warm",
        description=__doc__,
        epilog=f"Target: a ratio of at most {MAX_RATIO}. Exit status: 0, whatever it is; 1 if it could not measure.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10, help="batches of each (default: 10)")
    parser.add_argument("--runs", type=int, default=20, help="runs of a batch (default: 20)")
    parser.add_argument("--source", action="store_true", help="run the sources instead of what is built")
    parser.add_argument("--build", type=Path, default=DEFAULT_BUILD, help="what to run (default: .aws-sam/build)")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.runs) < 1:
        parser.error("--rounds and --runs must be at least 1")
    load = os.getloadavg()[0]
    found: dict[str, list[float]] = {OURS: [], THEIRS: []}
    try:
        with handlers(None if options.source else options.build) as both:
            for handler in both:
                handler.run(WARM_UP)
            for _ in range(options.rounds):
                for handler in both:
                    found[handler.name].append(handler.run(options.runs).cpu_seconds / options.runs)
    except (NotBuiltError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"warm runs: {options.rounds} batches of {options.runs} of each; load {load:.1f}, then {os.getloadavg()[0]:.1f}"
    )
    for name, seconds in found.items():
        print(f"  {name:<14}{statistics.median(seconds) * 1000:>8.2f} ms CPU")
    ratio = statistics.median(ours / theirs for ours, theirs in zip(found[OURS], found[THEIRS], strict=True))
    print(f"  ratio         {ratio:>8.2f}   {'reached' if ratio <= MAX_RATIO else 'MISSED'} (target: {MAX_RATIO})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
