"""`make bench-cold`: what starting each function costs, as a ratio to the same start of an idiomatic handler.

Every start is a fresh interpreter that loads the function's module as Lambda does; it reports the CPU time of that, and
its resident memory afterwards. The functions are those that `make build` built. Starts of the reference
(bench/cold_reference.py, in a small form and in the full one) are interleaved with those of the functions, so that
whatever else the machine does affects both. CPU time, not wall time: a ratio holds on a busy machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local.built import NotBuiltError, as_on_lambda, python, unpack
from local.engine import CREDENTIALS
from local.process import ROOT, necessities
from local.settings import DEFAULT_BUILD, TEMPLATE
from local.template import Description, read_template

REFERENCE = ROOT / "bench" / "cold_reference.py"
SMALL, FULL = "reference, small", "reference, full"
WITH_CLAUDE = frozenset({"run", "stream", "anonymous"})
MAX_SMALL_RATIO, MAX_FULL_RATIO = 0.45, 0.65
MAX_SMALL_MEMORY_RATIO, MAX_FULL_MEMORY_RATIO = 0.6, 0.8
START_SECONDS = 120
SECRET = "-" * 32

# Run in the fresh interpreter. What was imported by then is not counted: Lambda's own runtime has it, too.
PROGRAM = """
import importlib.util, json, resource, sys, time
path = sys.argv[1]
spec = importlib.util.spec_from_file_location("app", path)
module = importlib.util.module_from_spec(spec)
begun = time.process_time()
spec.loader.exec_module(module)
taken = time.process_time() - begun
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[1])
assert callable(module.handler)
print(json.dumps([taken, pages * resource.getpagesize(), sorted(sys.modules)]))
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of start."""

    name: str
    interpreter: str
    path: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Start:
    cpu_seconds: float
    memory_bytes: int
    modules: frozenset[str]


class _Secrets(BaseHTTPRequestHandler):
    """Secrets Manager, as far as a start needs it."""

    protocol_version = "HTTP/1.1"  # connections are kept

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        secrets = {"api_key": "sk_test_bench", "generated": SECRET, "secrets": [SECRET], "webhook_secrets": [SECRET]}
        body = json.dumps({"SecretString": json.dumps(secrets)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def secrets_manager() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Secrets) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def start(subject: Subject) -> Start:
    """Raises RuntimeError if it does not start."""
    ended = subprocess.run(  # noqa: S603 - our own command
        [subject.interpreter, "-P", "-c", PROGRAM, str(subject.path)],
        env=dict(subject.environment),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{subject.name} does not start: {ended.stderr[-1000:]}")
    seconds, memory, modules = json.loads(ended.stdout.splitlines()[-1])
    return Start(seconds, memory, frozenset(modules))


def subjects(description: Description, interpreter: str, endpoint_url: str) -> list[Subject]:
    common = {
        **necessities(),
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint_url,
        "HOME": "/nonexistent",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    references = [
        Subject(name, sys.executable, REFERENCE, {**common, "REFERENCE": name.rpartition(" ")[2], "PYTHONPATH": extra})
        for name in (SMALL, FULL)
        for extra in [os.environ.get("REFERENCE_PATH", "")]
    ]
    functions = [
        Subject(
            function.short_name,
            interpreter,
            function.code / "app.py",
            {
                **common,
                **function.environment,
                "PYTHONPATH": os.pathsep.join(str(layer) for layer in (*function.layers, function.code)),
            },
        )
        for function in description.functions.values()
    ]
    return [*references, *sorted(functions, key=lambda each: each.name)]


def measure(all_of_them: Sequence[Subject], rounds: int) -> dict[str, list[Start]]:
    """Interleaved; a first round is thrown away."""
    found: dict[str, list[Start]] = {subject.name: [] for subject in all_of_them}
    for number in range(rounds + 1):
        for subject in all_of_them:
            started = start(subject)
            if number:
                found[subject.name].append(started)
    return found


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of starts of the same round."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def table(found: Mapping[str, Sequence[Start]]) -> str:
    cpu = {name: [each.cpu_seconds for each in starts] for name, starts in found.items()}
    memory = {name: [float(each.memory_bytes) for each in starts] for name, starts in found.items()}
    lines = [f"  {'':<18}{'CPU, ms':>9}{'÷ small':>9}{'÷ full':>8}{'MB':>7}{'÷ small':>9}{'÷ full':>8}{'modules':>9}"]
    for name in found:
        is_reference = name in (SMALL, FULL)
        ratios = [median_ratio(kind[name], kind[other]) for kind in (cpu, memory) for other in (SMALL, FULL)]
        numbers = (
            f"{statistics.median(cpu[name]) * 1000:>9.0f}{ratios[0]:>9.2f}{ratios[1]:>8.2f}"
            f"{statistics.median(memory[name]) / 2**20:>7.0f}{ratios[2]:>9.2f}{ratios[3]:>8.2f}"
            f"{len(found[name][-1].modules):>9}"
        )
        lines.append(f"  {name:<18}{numbers}{'' if is_reference else verdict(name, ratios)}")
    return "\n".join(lines)


def verdict(name: str, ratios: Sequence[float]) -> str:
    full = name in WITH_CLAUDE
    good = (
        ratios[1 if full else 0] <= (MAX_FULL_RATIO if full else MAX_SMALL_RATIO),
        ratios[3 if full else 2] <= (MAX_FULL_MEMORY_RATIO if full else MAX_SMALL_MEMORY_RATIO),
    )
    missed = [what for what, reached in zip(("CPU", "memory"), good, strict=True) if not reached]
    return f"   {'reached' if not missed else 'MISSED: ' + ', '.join(missed)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cold",
        description=__doc__,
        epilog=f"Targets: CPU ≤ {MAX_SMALL_RATIO} of the small form; {', '.join(sorted(WITH_CLAUDE))}: "
        f"≤ {MAX_FULL_RATIO} of the full form. Exit status: 0, whatever the numbers are; 1 if it could not measure.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, help="starts of each (default: 9)")
    parser.add_argument("--only", nargs="+", help="short names of functions")
    parser.add_argument("--source", action="store_true", help="start the sources instead of what is built")
    parser.add_argument("--build", type=Path, default=DEFAULT_BUILD, help="what to start (default: .aws-sam/build)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, secrets_manager() as endpoint_url:
        if options.source:
            description, interpreter = read_template(TEMPLATE), sys.executable
        else:
            try:
                template = unpack(options.build, Path(folder) / "built")
            except NotBuiltError as error:
                print(error, file=sys.stderr)
                return 1
            description, interpreter = as_on_lambda(read_template(template), template.parent), python()
        chosen = [
            subject
            for subject in subjects(description, interpreter, endpoint_url)
            if options.only is None or subject.name in (SMALL, FULL, *options.only)
        ]
        load = os.getloadavg()[0]
        try:
            found = measure(chosen, options.rounds)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"cold starts: medians of {options.rounds}, interleaved; load {load:.1f}, then {os.getloadavg()[0]:.1f}")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
