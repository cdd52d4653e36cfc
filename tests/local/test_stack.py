"""The whole stack: start, kill, restart, and the commands that use it."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest

from local.invoke import call, with_tokens
from local.running import stack_at_port
from local.settings import SettingsError, read_settings
from local.stack import parameters
from local.state_file import read_state
from local.tokens import Issuer, TokenError, auth_secrets
from operate.cli import run as playground
from tests.kit.extent import HANG_SECONDS

NOT_TO_INHERIT = (
    "ANONYMOUS_BUDGET_CENTS",
    "ANONYMOUS_RUNS",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "AUTH_SECRETS",
    "FRONTEND_URL",
    "PORT",
    "STATE_DIR",
    "STRIPE_SECRET_KEY",
)


class Stack:
    """`python -m local.stack` in its own process, with its output."""

    def __init__(self, template: Path, environment: Mapping[str, str]) -> None:
        self.port = int(environment["PORT"])
        self.state_dir = Path(environment["STATE_DIR"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.stack", "--template", str(template)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = ""
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read_errors)
        self._reader.start()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                return
        self.end()
        raise AssertionError(f"it did not start:\n{self.errors}")

    def end(self) -> int:
        """Wait for its exit status."""
        status = self.process.wait(HANG_SECONDS)
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state_dir / "stack.json").read_text(encoding="utf-8"))
        return found


Launch = Callable[..., Stack]


@pytest.fixture
def launch(
    fixtures: Path, tmp_path: Path, free_ports: int, script_environment: dict[str, str]
) -> Iterator[Callable[..., Stack]]:
    stacks: list[Stack] = []
    inherited = {name: value for name, value in script_environment.items() if name not in NOT_TO_INHERIT}

    def start(ready: bool = True, **environment: str) -> Stack:
        settings = {"PORT": str(free_ports), "STATE_DIR": str(tmp_path / "state"), **environment}
        stack = Stack(fixtures / "stack.yaml", {**inherited, **settings})
        stacks.append(stack)
        if ready:
            stack.wait_until_ready()
        return stack

    yield start
    for stack in stacks:
        if stack.process.poll() is None:
            stack.process.kill()
        with contextlib.suppress(ValueError):
            stack.end()


def can_bind(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_the_stack_from_start_to_end(launch: Launch, client_of: Callable[[str], Any], tmp_path: Path) -> None:
    stack = launch(SOME_SECRET="of the developer")
    client = client_of(stack.url)

    ready, token_line, curl, header, *_ = stack.output
    assert ready == f"ready {stack.url}"
    assert token_line.startswith("token (demo, valid 30 days): ")
    token = token_line.rpartition(" ")[2]
    secret = json.loads((stack.state_dir / "auth-secrets.json").read_text(encoding="utf-8"))["secrets"][0]
    claims = jwt.decode(token, secret, algorithms=["HS256"], audience="tests", issuer="https://issuer.example")
    assert claims["sub"] == "demo"
    assert claims["exp"] - claims["iat"] == 30 * 24 * 3600
    assert curl == f"curl -sS -X POST {stack.url}/api/v1/playground/run \\"
    assert header == f"  -H 'Authorization: Bearer {token}' \\"
    start = stack.output.index(curl)
    pasted = subprocess.run(
        ["/bin/sh", "-c", "\n".join(stack.output[start : start + 4])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert pasted.stdout.startswith("{")  # the template of this test has no such route

    settings = client("GET", "/api/settings").json()
    assert "of the developer" not in settings["environment"].values()
    assert settings["environment"]["FRONTEND_URL"] == stack.url
    assert settings["environment"]["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{stack.port + 2}"
    assert settings["environment"]["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{stack.port + 1}"
    assert json.loads(settings["auth"]) == {"secrets": [secret]}
    assert json.loads(settings["anthropic"]) == {"api_key": "local"}
    assert client_of(f"http://127.0.0.1:{stack.port + 2}")("GET", "/_calls").status == 200
    assert client_of(f"http://127.0.0.1:{stack.port + 4}")("GET", "/_control").status == 200

    state = stack.state()
    assert state["pid"] == stack.process.pid
    assert state["url"] == stack.url
    assert state["tables"] == {"ThingsTable": "playground-ThingsTable"}
    assert state["functions"]["ThingsFunction"]["environment"]["TABLE"] == "playground-ThingsTable"
    assert secret not in (stack.state_dir / "stack.json").read_text(encoding="utf-8")
    assert stat.S_IMODE((stack.state_dir / "auth-secrets.json").stat().st_mode) == 0o600
    assert read_state(stack.state_dir) == state

    stack.process.send_signal(signal.SIGINT)
    assert stack.end() == 0
    assert not (stack.state_dir / "stack.json").exists()
    assert all(can_bind(port) for port in range(stack.port, stack.port + 5))


def test_a_killed_stack_leaves_nothing_running_and_loses_nothing(
    launch: Launch, client_of: Callable[[str], Any], eventually: Callable[[Any], None]
) -> None:
    """The next one starts at once on the same ports and with the same data."""
    stack = launch()
    client = client_of(stack.url)
    assert client("POST", "/api/things/a", b"kept").status == 204
    folder = stack.state_dir / "store" / "checkpoints"
    before = {path.name for path in folder.iterdir()}
    client("POST", "/api/things/b", b"a reason for one more checkpoint")
    eventually(lambda: any(path.name.isdigit() and path.name not in before for path in folder.iterdir()))
    stack.process.kill()
    assert stack.end() == -signal.SIGKILL
    assert (stack.state_dir / "stack.json").exists()
    assert read_state(stack.state_dir) is None

    again = launch()
    assert client("GET", "/api/things/a").body == b"kept"
    assert again.output[1].startswith("token")
    again.process.terminate()
    assert again.end() == 0


def test_a_token_that_the_running_stack_refuses_says_so(
    launch: Launch, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because of another state folder or other secrets. Commands that need the stack name its address."""
    stack = launch()
    monkeypatch.setenv("PORT", str(stack.port))
    monkeypatch.delenv("AUTH_SECRETS", raising=False)
    monkeypatch.setenv("STATE_DIR", str(stack.state_dir))
    assert playground(["token", "alice"]) == 0
    assert capsys.readouterr().err == ""

    monkeypatch.setenv("AUTH_SECRETS", "x" * 32)
    assert playground(["token", "alice"]) == 0
    assert "was started with other AUTH_SECRETS: it refuses this token" in capsys.readouterr().err

    monkeypatch.delenv("AUTH_SECRETS")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "elsewhere"))
    assert playground(["token", "alice"]) == 0
    said = capsys.readouterr()
    assert said.err == (
        f"note: the stack at {stack.url} refuses this token, which is for STATE_DIR={tmp_path / 'elsewhere'}: "
        f"use STATE_DIR={stack.state_dir}\n"
    )
    assert len(said.out.splitlines()) == 1
    assert playground(["audit", "alice"]) != 0
    assert f"the one at {stack.url} has STATE_DIR={stack.state_dir}" in capsys.readouterr().err

    secret = json.loads((stack.state_dir / "auth-secrets.json").read_text(encoding="utf-8"))["secrets"][0]
    assert secret not in json.dumps(stack_at_port({"PORT": str(stack.port)}))
    assert stack_at_port({"PORT": str(stack.port + 5)}) is None


def test_two_stacks_side_by_side(
    launch: Launch, client_of: Callable[[str], Any], tmp_path: Path, free_ports: int
) -> None:
    first = launch()
    same_folder = launch(ready=False, PORT=str(free_ports + 5))
    assert same_folder.end() == 1
    assert f"the stack at {first.url} (process {first.process.pid}) keeps its state in" in same_folder.errors

    second = launch(PORT=str(free_ports + 5), STATE_DIR=str(tmp_path / "second"))
    assert client_of(first.url)("POST", "/api/things/a", b"first").status == 204
    assert client_of(second.url)("GET", "/api/things/a").status == 404


@pytest.mark.parametrize(
    ("offset", "part"), [(0, "the API"), (2, "the stand-in for Claude"), (4, "the stand-in for Stripe")]
)
def test_a_busy_port_is_named_and_nothing_is_left(launch: Launch, free_ports: int, offset: int, part: str) -> None:
    with socket.create_server(("127.0.0.1", free_ports + offset)):
        stack = launch(ready=False)
        assert stack.end() == 1
    assert f"port {free_ports + offset} ({part}) is in use" in stack.errors
    assert f"make run PORT={free_ports + 1000}" in stack.errors
    assert all(can_bind(port) for port in range(free_ports, free_ports + 5))


def test_a_part_that_exits_stops_the_stack(launch: Launch, client_of: Callable[[str], Any]) -> None:
    stack = launch()
    os.kill(stack.state()["engine_pid"], signal.SIGKILL)
    assert stack.end() == 1
    assert "engine was ended by SIGKILL by itself" in stack.errors
    assert not (stack.state_dir / "stack.json").exists()
    assert all(can_bind(port) for port in range(stack.port, stack.port + 5))


def test_a_signal_while_starting_stops_the_stack(launch: Launch, eventually: Callable[[Any], None]) -> None:
    stack = launch(ready=False)
    eventually(lambda: "starting the store" in stack.errors)
    stack.process.terminate()
    assert stack.end() == 0
    # A program that was just being started ends by itself, as soon as its parent has.
    eventually(lambda: all(can_bind(port) for port in range(stack.port, stack.port + 5)))


def test_an_api_key_selects_the_real_claude(launch: Launch, client_of: Callable[[str], Any]) -> None:
    stack = launch(ANTHROPIC_API_KEY="sk-real", AUTH_SECRETS=f"{'n' * 32},{'o' * 32}", FRONTEND_URL="http://front:1/")
    settings = client_of(stack.url)("GET", "/api/settings").json()
    assert settings["environment"]["ANTHROPIC_BASE_URL"] == "https://api.anthropic.com"
    assert "ANTHROPIC_API_KEY" not in settings["environment"]
    assert json.loads(settings["anthropic"]) == {"api_key": "sk-real"}
    assert json.loads(settings["auth"]) == {"secrets": ["n" * 32, "o" * 32]}
    assert settings["environment"]["FRONTEND_URL"] == "http://front:1"
    assert can_bind(stack.port + 2)
    assert not (stack.state_dir / "auth-secrets.json").exists()


def test_an_api_key_selects_the_real_stripe(launch: Launch) -> None:
    stack = launch(STRIPE_SECRET_KEY="sk_test_real")
    assert can_bind(stack.port + 4)
    state = stack.state()
    assert (state["stripe_url"], state["ports"]["stripe"]) == (None, None)


def test_invoke_calls_a_function_of_the_running_stack(
    launch: Launch, script_environment: dict[str, str], tmp_path: Path
) -> None:
    def invoke(state_dir: Path, thing: str) -> "subprocess.CompletedProcess[str]":
        event = {"resource": "/things/{id}", "httpMethod": "GET", "pathParameters": {"id": thing}}
        path = tmp_path / "event.json"
        path.write_text(json.dumps(event), encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "operate", "invoke", "things", str(path)],
            env={**script_environment, "STATE_DIR": str(state_dir)},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    none = invoke(tmp_path / "no-stack", "x")
    assert (none.returncode, none.stdout) == (2, "")
    assert "start one with `make run`" in none.stderr

    stack = launch()
    fine = invoke(stack.state_dir, "x")
    assert (fine.returncode, json.loads(fine.stdout)) == (0, {"statusCode": 404})
    failed = invoke(stack.state_dir, "fail")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["errorType"] == "ValueError"
    status, _, answer = call(stack.state()["runtime_url"], "nobody", {})
    assert (status, answer["errorMessage"]) == (404, "Function not found: nobody")  # type: ignore[index]


def test_placeholders_become_tokens() -> None:
    tokens = Issuer("s" * 32, "HS256", "https://issuer.example", "tests")

    def subject(token: str) -> str:
        claims = jwt.decode(token, "s" * 32, algorithms=["HS256"], audience="tests", issuer="https://issuer.example")
        return str(claims["sub"])

    event = json.loads(with_tokens('{"a": "Bearer {{token}}", "b": "{{token:alice}}", "c": "{{other}}"}', tokens))
    assert subject(event["a"].removeprefix("Bearer ")) == "demo"
    assert subject(event["b"]) == "alice"
    assert event["c"] == "{{other}}"


def test_a_token_can_be_made_before_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("AUTH_SECRETS", raising=False)
    assert playground(["token", "alice", "--days", "2"]) == 0
    (secret,) = auth_secrets(tmp_path / "state")
    (token,) = capsys.readouterr().out.splitlines()
    claims = jwt.decode(token, secret, algorithms=["HS256"], options={"verify_aud": False})
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("alice", 2 * 24 * 3600)


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    first = auth_secrets(tmp_path, {})
    assert len(first[0]) >= 32
    assert auth_secrets(tmp_path, {}) == first
    assert [path.name for path in tmp_path.iterdir()] == ["auth-secrets.json"]
    assert auth_secrets(tmp_path, {"AUTH_SECRETS": f" {'a' * 32} , {'b' * 32}"}) == ("a" * 32, "b" * 32)


@pytest.mark.parametrize("given", ["short", f"{'a' * 32},short", ","])
def test_weak_secrets_are_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(TokenError, match="at least 32 bytes"):
        auth_secrets(tmp_path, {"AUTH_SECRETS": given})


def test_a_stale_state_file_is_ignored(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    (tmp_path / "stack.json").write_text(json.dumps({"pid": ended.pid, "url": "x"}), encoding="utf-8")
    assert read_state(tmp_path) is None
    (tmp_path / "stack.json").write_text("{half", encoding="utf-8")
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("value", ["abc", "0", "70000", "-1", "65532", "³"])
def test_a_port_must_leave_room_for_four_more(value: str) -> None:
    with pytest.raises(SettingsError, match="PORT must be a number"):
        read_settings({"PORT": value})


def test_functions_that_start_first_are_named() -> None:
    assert read_settings({}).warm == read_settings({"WARM": ""}).warm == frozenset()
    assert read_settings({"WARM": "run, monthly-reset"}).warm == {"run", "monthly-reset"}


def test_anonymous_runs_are_off_until_they_are_switched_on() -> None:
    chosen = {"AnonymousRuns", "AnonymousBudgetCents"}
    assert not chosen & parameters(read_settings({})).keys()
    on = parameters(read_settings({"ANONYMOUS_RUNS": "true", "ANONYMOUS_BUDGET_CENTS": "7"}))
    assert {name: on[name] for name in chosen} == {"AnonymousRuns": "true", "AnonymousBudgetCents": "7"}
    for name, value in (("ANONYMOUS_RUNS", "yes"), ("ANONYMOUS_BUDGET_CENTS", "0")):
        with pytest.raises(SettingsError, match=name):
            read_settings({name: value})


def test_the_defaults() -> None:
    settings = read_settings({})
    ports = (
        settings.port,
        settings.engine_port,
        settings.claude_port,
        settings.runtime_port,
        settings.stripe_port,
    )
    assert ports == (3000, 3001, 3002, 3003, 3004)
    assert settings.frontend_url == "http://127.0.0.1:3000"
    assert settings.state_dir.name == ".local"
