"""The store of the laptop stack: DynamoDB, S3, SQS, EventBridge, Secrets Manager in one process, with checkpoints.

    .venv-engine/bin/python -P local/leash.py local/engine_server.py [--port N] [--state-dir FOLDER]

ministack keeps everything in memory and saves it only when it is stopped cleanly. Here its ASGI application runs
under a loop that saves a quarter of a second after a change. A checkpoint is a folder of its own, complete before it
gets its name, so that a kill at any moment, also in the middle of one, leaves the last complete checkpoint of all
services together:

    FOLDER/checkpoints/0000000042/{dynamodb,s3,secretsmanager,...}.json
    FOLDER/objects/...            bodies of S3 objects, each written (atomically) before its PUT is answered

What a kill of the store itself can lose is the last quarter of a second, or more under load. A body in S3 may be newer
than the checkpoint of the tables, never older.
Nothing is forced through the disk's cache: this survives killed processes, not a power cut.

Without a state folder nothing is kept. Leans on three private names of ministack, so its version is pinned.
"""

import argparse
import asyncio
import fcntl
import os
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

SERVICES = ("cloudformation", "dynamodb", "dynamodbstreams", "events", "s3", "secretsmanager", "sqs")
INTERVAL = 0.25  # seconds between a change and its checkpoint
DUTY = 5  # a checkpoint of 1 s is followed by at least 5 s without one
LOCK_SECONDS = 3.0
STOP_SECONDS = 5.0  # for answers under way when we are asked to stop
# Asking a queue for messages changes something only until they are visible again: no reason for a checkpoint.
READ_VERBS = ("BatchGet", "Describe", "Get", "List", "Query", "Receive", "Scan", "TransactGet")
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CONTROL_PATHS = ("/_ministack", "/_localstack")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


_trace: ContextVar[str | None] = ContextVar("trace", default=None)  # of the request that is being answered


class Checkpoints:
    """Numbered folders; the highest complete one counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        for entry in folder.iterdir():
            if not entry.name.isdigit():
                shutil.rmtree(entry)  # a checkpoint that was never finished
        numbers = sorted(int(entry.name) for entry in folder.iterdir())
        self.number = numbers[-1] if numbers else 0

    @property
    def current(self) -> Path:
        return self.folder / f"{self.number:010d}"

    def save(self, write: Callable[[Path], set[str]]) -> None:
        """Add a checkpoint. `write` fills a folder and says which files it meant to write, because ministack only
        logs what it could not save. Raises OSError, and keeps the former checkpoint, when one is missing."""
        before = self.current
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        intended = write(unfinished)
        missing = intended - _files(unfinished)
        if missing:
            raise OSError(f"the checkpoint lacks {', '.join(sorted(missing))}")
        for name in _files(before) - intended:  # services that nobody has used since the start: unchanged
            shutil.copyfile(before / name, unfinished / name)
        unfinished.rename(self.folder / f"{self.number + 1:010d}")
        self.number += 1
        shutil.rmtree(before, ignore_errors=True)


def _lock(folder: Path) -> int:
    """Keep a second store out of the folder. One that is just being killed has a moment to disappear."""
    descriptor = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"another store uses {folder}") from None
            time.sleep(0.02)
        else:
            return descriptor


def _files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


class Store:
    """ministack's application, watched: what changes something makes the store dirty, and a dirty one is saved."""

    def __init__(self, application: Application, save: Callable[[], None] | None) -> None:
        self.application = application
        self.save = save
        self.dirty = False
        self.stopping = False
        self.open_requests = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if self.stopping:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self.open_requests += 1
        try:
            trace = dict(scope["headers"]).get(b"x-amzn-trace-id")
            _trace.set(trace.decode("latin-1") if trace is not None else None)
            await self.application(scope, receive, send)
        finally:
            self.open_requests -= 1
            self.dirty = self.dirty or _changes(scope)

    async def keep_saving(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.sleep(DUTY * self.save_now())

    def save_now(self) -> float:
        """Save if there is something to save; how many seconds it took."""
        if self.save is None or not self.dirty:
            return 0.0
        begun = time.monotonic()
        self.dirty = False
        try:
            self.save()
        except OSError as error:
            self.dirty = True
            print(f"checkpoint failed, the former one stays: {error}", flush=True)
        return time.monotonic() - begun

    async def stop(self) -> None:
        """Take no more requests, finish those under way, save."""
        self.stopping = True
        deadline = time.monotonic() + STOP_SECONDS
        while self.open_requests and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.save_now()


def _keep_traces() -> None:
    """SQS keeps the trace that a request came with as AWSTraceHeader of its messages; ministack only one that the
    message of a single SendMessage names itself."""
    import ministack.services.sqs as sqs

    build = sqs._build_send_sys_attrs

    def with_trace(now: float, given: dict[str, Any]) -> dict[str, Any]:
        attributes: dict[str, Any] = build(now, given)
        trace = _trace.get()
        return attributes if trace is None else {"AWSTraceHeader": trace, **attributes}

    sqs._build_send_sys_attrs = with_trace


def _changes(scope: Message) -> bool:
    if scope["path"].startswith(CONTROL_PATHS):
        return False
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    if target:
        return not target.rpartition(".")[2].startswith(READ_VERBS)
    return scope["method"] not in READ_METHODS


async def serve(listener: socket.socket, state_dir: Path | None) -> None:
    port = listener.getsockname()[1]
    checkpoints = None if state_dir is None else Checkpoints(state_dir / "checkpoints")
    _configure(port, state_dir, checkpoints)

    # Only now: ministack reads the environment when it is imported.
    import ministack.app
    from hypercorn.asyncio import serve as hypercorn_serve  # type: ignore[import-not-found]
    from hypercorn.config import Config  # type: ignore[import-not-found]
    from ministack.core import hypercorn_compat, persistence

    def write(folder: Path) -> set[str]:
        persistence.STATE_DIR = str(folder)
        services = ministack.app._build_persistence_save_dict()
        persistence.save_all(services)
        return {f"{name}.json" for name in services}

    hypercorn_compat.install()
    _keep_traces()
    store = Store(ministack.app.app, None if checkpoints is None else lambda: checkpoints.save(write))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()
        saving.cancel()
        await store.stop()
        persistence.PERSIST_STATE = False  # or ministack's own shutdown would save over our checkpoint, file by file

    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.graceful_timeout = 1
    saving = asyncio.create_task(store.keep_saving())
    announcing = asyncio.create_task(_announce(port))
    await hypercorn_serve(store, config, shutdown_trigger=stopped)
    announcing.cancel()


async def _announce(port: int) -> None:
    """Say that we are there as soon as the first request gets an answer (the store is loaded by then)."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            if b" 200" in status:
                break
        except OSError:
            pass
        await asyncio.sleep(0.02)
    print(f"listening on http://127.0.0.1:{port}", flush=True)


def _configure(port: int, state_dir: Path | None, checkpoints: Checkpoints | None) -> None:
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": ",".join(SERVICES),
        "LOG_LEVEL": "WARNING",
        # Listeners of services that are not used here.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # ministack removes containers of its own kind at each start; somebody else's must not be among them.
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    }
    if state_dir is not None and checkpoints is not None:
        settings |= {
            "PERSIST_STATE": "1",
            "STATE_DIR": str(checkpoints.current),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state_dir / "objects"),
        }
    os.environ.update(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description="The store of the laptop stack.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--state-dir", type=Path, help="where the data is kept; without it, nowhere")
    arguments = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", arguments.port))
        asyncio.run(serve(listener, arguments.state_dir))
        listener.detach()  # the server has closed it


if __name__ == "__main__":
    main()
