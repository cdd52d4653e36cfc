"""Fixtures of the laptop stack's tests: a backend of the fixture template, and a plain HTTP client."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.backend import Backend
from local.template import Description, read_template
from tests.kit import ports
from tests.kit.extent import HANG_SECONDS

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    url: str

    def __call__(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=HANG_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        address = urlsplit(self.url)
        assert address.hostname is not None
        assert address.port is not None
        return socket.create_connection((address.hostname, address.port), timeout=HANG_SECONDS)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def description() -> Description:
    return read_template(FIXTURES / "template.yaml")


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(f"[{name}] {line}")


@pytest.fixture(scope="module")
def log() -> Log:
    return Log()


@pytest.fixture(scope="module")
def backend(description: Description, log: Log) -> Iterator[Backend]:
    with Backend(description, show=log) as running:
        yield running


@pytest.fixture(scope="module")
def client(backend: Backend) -> Client:
    return Client(backend.url)


@pytest.fixture(scope="session")
def client_of() -> Callable[[str], Client]:
    return Client


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition is true; fails if it does not become true in time."""

    def wait(condition: Callable[[], object], seconds: float = HANG_SECONDS / 2) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Whether a process runs; a zombie does not."""

    def check(pid: int) -> bool:
        command = ["ps", "-o", "stat=", "-p", str(pid)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.returncode == 0 and not result.stdout.strip().startswith("Z")

    return check


@pytest.fixture
def free_ports() -> int:
    """The first of ten free ports in a row: enough for two stacks."""
    return ports.free_ports(10)


@pytest.fixture(scope="session")
def script_environment() -> dict[str, str]:
    """For a Python program that imports the project."""
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "layers" / "shared")])}
