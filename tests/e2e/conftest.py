"""One laptop stack for all end-to-end tests, started as `make run` starts it."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from local.demo import Client, wait_until_ready
from local.engine import Engine
from local.settings import TEMPLATE
from local.tokens import issuer
from playground.adapters.dynamo_ledger import DynamoLedger
from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS, WHOLE
from tests.kit.log_leaks import leaks_in_stack_log
from tests.kit.ports import free_ports
from tests.support import new_ledger, new_store


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: its process, its state folder, the first of its ports, and its store."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    port: int
    ledger: DynamoLedger

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def claude_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 2}"

    @property
    def stripe_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 4}"

    @property
    def log(self) -> str:
        return (self.folder / "stack.log").read_text(encoding="utf-8")

    def client(self, user_id: str) -> Client:
        return Client(self.url, issuer(TEMPLATE, self.folder, {}).token(user_id, timedelta(hours=1)))


def start_stack(folder: Path, port: int, variables: Mapping[str, str] | None = None) -> Stack:
    """Start a stack and wait until it says that it is ready. `variables`: more of what `make run` takes."""
    own = ("PATH", "HOME", "ENGINE_PYTHON", "PYTHONPATH", "LANG")
    environment = {name: os.environ[name] for name in own if name in os.environ}
    environment |= {"PORT": str(port), "STATE_DIR": str(folder), "PYTHONPATH": str(ROOT / "layers" / "shared")}
    if not WHOLE:
        environment["LOCAL_CONCURRENCY"] = "4"  # half as many processes to start when many ask at once
    environment |= variables or {}
    environment["LOG"] = "json"  # all that functions write, as in CloudWatch: a test looks for what must not be there
    log = folder / "stack.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.stack"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    wait_until_ready(process, log)
    store = new_store(_EngineAt(port + 1))
    return Stack(process, folder, port, new_ledger(store))


class _EngineAt(Engine):
    """An engine that somebody else has started."""

    def __init__(self, port: int) -> None:
        self.port = port


def stop_stack(stack: Stack) -> None:
    stack.process.terminate()
    try:
        stack.process.wait(HANG_SECONDS / 2)
    finally:
        stack.process.kill()
        stack.process.wait()
        stack.ledger._store.client.close()
    assert not (found := leaks_in_stack_log(stack.log)), found[:10]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="playground-e2e-") as folder:
        stack = start_stack(Path(folder), free_ports(5))
        yield stack
        stop_stack(stack)
        assert not re.search(r"Traceback|unhandled error", stack.log), stack.log[-5000:]
