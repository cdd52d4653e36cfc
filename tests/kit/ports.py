"""Ports for stacks that a test starts: each worker of pytest-xdist has a range of its own, so that none takes a port of
another one between looking and listening. All are below the system's ephemeral ports."""

import os
import random
import socket
from contextlib import ExitStack, closing

FIRST, LAST = 12_000, 32_000
WORKERS = 8


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports on loopback that are free now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    width = (LAST - FIRST) // WORKERS
    begin = FIRST + worker * width
    for _ in range(1000):
        first = random.randrange(begin, begin + width - count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
            return first
    raise AssertionError(f"there are no {count} free ports in a row")
