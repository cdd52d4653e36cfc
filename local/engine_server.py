"""The store of the laptop stack: DynamoDB, S3, SQS, EventBridge, Secrets Manager in one process, with checkpoints.

    .venv-engine/bin/python -P local/die_with_parent.py local/engine_server.py [--port N] [--state-dir FOLDER]

ministack keeps everything in memory and saves it only on a clean stop. Here a loop saves its state a quarter of a
second after a change. A checkpoint is a folder that is complete before it is renamed to its final name: a kill at any
moment leaves the last complete checkpoint of all services:

    FOLDER/checkpoints/0000000042/{dynamodb,s3,secretsmanager,...}.json
    FOLDER/objects/...            bodies of S3 objects, each written (atomically) before its PUT is answered

Killing the store can lose the last quarter of a second, or more under load. A body in S3 may be newer than the
checkpoint of the tables, never older. There is no fsync: this survives killed processes, not a power failure.

A store that cannot save refuses writes (`Unsaved`): each is answered with an error, reads continue, and saving is
retried until it succeeds. It does not start in a folder without room for a checkpoint.

Without a state folder nothing is saved. This uses private names of ministack, so its version is pinned.
"""

import argparse
import asyncio
import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape  # it writes XML, and reads none # nosec B406

SERVICES = ("cloudformation", "dynamodb", "dynamodbstreams", "events", "s3", "secretsmanager", "sqs")
INTERVAL = 0.25  # seconds between a change and its checkpoint
DUTY = 5  # a checkpoint of 1 s is followed by at least 5 s without one
LOCK_SECONDS = 3.0
STOP_SECONDS = 5.0  # for open requests at a stop
CHUNK_BYTES = 64 * 1024
MIN_FREE_BYTES = 8 * 1024 * 1024  # beside room for the next checkpoint; with less, writes are refused
REMINDER_SECONDS = 30.0  # between two lines that say that writes are still refused
# Receiving messages hides them only for a while: no reason for a checkpoint.
READ_VERBS = ("BatchGet", "Describe", "Get", "List", "Query", "Receive", "Scan", "TransactGet")
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CONTROL_PATHS = ("/_ministack", "/_localstack")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


_trace: ContextVar[str | None] = ContextVar("trace", default=None)  # of the request that is being answered
# Why files of objects could not be written while a request was answered; ministack only logs it.
_lost: ContextVar[list[OSError] | None] = ContextVar("lost", default=None)


class Checkpoints:
    """Numbered folders; the highest complete one is current."""

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
        """Add a checkpoint. `write` fills a folder and returns the names of the files that it should have, because
        ministack only logs a failure. Raises OSError, and keeps the former checkpoint, if a file is missing."""
        before = self.current
        unfinished = self._new_folder()
        intended = write(unfinished)
        missing = intended - _files(unfinished)
        if missing:
            raise OSError(f"the checkpoint lacks {', '.join(sorted(missing))}")
        for name in _files(before) - intended:  # services that were not used since the start: unchanged
            shutil.copyfile(before / name, unfinished / name)
        unfinished.rename(self.folder / f"{self.number + 1:010d}")
        self.number += 1
        shutil.rmtree(before, ignore_errors=True)

    def check_room(self) -> None:
        """Raises OSError if the disk has no room for one more checkpoint like the current one."""
        wanted = _size(self.current) + MIN_FREE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < wanted:
            raise OSError(errno.ENOSPC, f"{free:,} bytes are free in {self.folder}, {wanted:,} are needed")

    def try_out(self) -> None:
        """Write and remove as many bytes as the next checkpoint may need. Raises OSError if that fails."""
        self.check_room()
        folder = self._new_folder()
        try:
            with (folder / "room").open("wb") as file:
                for _ in range(_size(self.current) // CHUNK_BYTES + 1):
                    file.write(bytes(CHUNK_BYTES))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _new_folder(self) -> Path:
        folder = self.folder / "unfinished"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def _lock(folder: Path) -> int:
    """Lock the folder against a second store; wait briefly for one that is being killed."""
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


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(entry.stat().st_size for entry in folder.iterdir()) if folder.is_dir() else 0


class Unsaved:
    """Whether the store can save. Changes are printed on stdout, a failure again every REMINDER_SECONDS."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.reason = ""  # why not; empty while it can
        self._monotonic = monotonic
        self._said_at = 0.0

    def failed(self, error: Exception) -> None:
        """From now on writes are refused."""
        now = self._monotonic()
        if not self.reason or now - self._said_at >= REMINDER_SECONDS:
            self._said_at = now
            print(f"CANNOT SAVE, WRITES ARE REFUSED: {error}", flush=True)
        self.reason = str(error)

    def saved(self) -> None:
        """Everything is saved: writes are accepted again."""
        if self.reason:
            print("everything is saved, and writes are accepted again", flush=True)
        self.reason = ""


class Store:
    """Wraps ministack's application: a write marks the store dirty, and a dirty store is saved.

    `save` writes everything or raises; `check_room` raises OSError while the disk is too full. While the last attempt
    has failed, writes are refused with an error that SDKs know (500 of DynamoDB, 503 of S3).
    """

    def __init__(
        self,
        application: Application,
        save: Callable[[], None] | None,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.application = application
        self.save = save
        self.check_room = check_room
        self.unsaved = Unsaved()
        self.dirty = False
        self.stopping = False
        self.open_requests = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if self.stopping:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b""})
            return
        changes = _changes(scope)
        if changes and self.unsaved.reason:
            await _refuse(scope, send, self.unsaved.reason)
            return
        self.open_requests += 1
        lost: list[OSError] = []
        try:
            trace = dict(scope["headers"]).get(b"x-amzn-trace-id")
            _trace.set(trace.decode("latin-1") if trace is not None else None)
            _lost.set(lost)
            await self.application(scope, receive, self._checked(scope, send, lost) if changes else send)
        finally:
            self.open_requests -= 1
            self.dirty = self.dirty or changes

    def _checked(self, scope: Message, send: Send, lost: list[OSError]) -> Send:
        """Sends an answer, or an error if the file of an object could not be written."""
        refused = False

        async def checked(message: Message) -> None:
            nonlocal refused
            if lost and message["type"] == "http.response.start":
                refused = True
                self.unsaved.failed(lost[0])
                await _refuse(scope, send, str(lost[0]))
            elif not refused:
                await send(message)

        return checked

    async def keep_saving(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.sleep(DUTY * self.save_now())

    def save_now(self) -> float:
        """Save if dirty, and check the room for the next checkpoint; the seconds that this took."""
        if self.save is None:
            return 0.0
        begun = time.monotonic()
        try:
            if self.dirty:
                self.save()
                self.dirty = False
            self.check_room()
        except Exception as error:  # also ministack's own errors: nothing was saved
            self.unsaved.failed(error)
        else:
            self.unsaved.saved()
        return time.monotonic() - begun

    async def stop(self) -> None:
        """Refuse new requests, finish the open ones, save."""
        self.stopping = True
        deadline = time.monotonic() + STOP_SECONDS
        while self.open_requests and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.save_now()
        if self.unsaved.reason and self.dirty:
            print(f"STOPPED WITHOUT SAVING the last changes: {self.unsaved.reason}", flush=True)


class _Failures(logging.Handler):
    """Collects what ministack could not load or save: it only logs that, once per service and attempt."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []
        self.unread: list[str] = []  # those of the start

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _keep_traces() -> None:
    """SQS stores the trace header of a request as AWSTraceHeader of its messages; ministack only the attribute of a
    single SendMessage."""
    import ministack.services.sqs as sqs

    build = sqs._build_send_sys_attrs

    def with_trace(now: float, given: dict[str, Any]) -> dict[str, Any]:
        attributes: dict[str, Any] = build(now, given)
        trace = _trace.get()
        return attributes if trace is None else {"AWSTraceHeader": trace, **attributes}

    sqs._build_send_sys_attrs = with_trace


def _notice_lost_files() -> None:
    """ministack answers a PUT with 200 even if the body could not be written: record the error."""
    import ministack.services.s3 as s3

    write = s3._atomic_write

    def noticed(*arguments: Any, **options: Any) -> None:
        try:
            write(*arguments, **options)
        except OSError as error:
            lost = _lost.get()
            if lost is not None:
                lost.append(error)
            raise

    s3._atomic_write = noticed


async def _refuse(scope: Message, send: Send, reason: str) -> None:
    """The error for a write that could not be saved, in the format of the service."""
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    text = f"The store on this machine cannot save: {reason}"
    if target:
        status, content_type = 500, b"application/x-amz-json-1.0"
        kind = "com.amazonaws.dynamodb.v20120810#InternalServerError" if "Dynamo" in target else "InternalFailure"
        body = json.dumps({"__type": kind, "message": text}).encode()
    else:
        status, content_type = 503, b"application/xml"
        body = f"<Error><Code>ServiceUnavailable</Code><Message>{escape(text)}</Message></Error>".encode()
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the body of the request was not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _changes(scope: Message) -> bool:
    if scope["path"].startswith(CONTROL_PATHS):
        return False
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    if target:
        return not target.rpartition(".")[2].startswith(READ_VERBS)
    return scope["method"] not in READ_METHODS


def tables_first(ministack_app: Any) -> Application:
    """ministack's application, but requests to DynamoDB go to its dispatcher at once: before it looks at a request,
    the application asks a hundred other services whether it is theirs. Its IAM is not switched on here."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/" and not scope["query_string"]:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            if headers.get("x-amz-target", "").startswith("DynamoDB_"):
                await answer(headers, receive, send)
                return
        await ministack_app.app(scope, receive, send)

    async def answer(headers: dict[str, str], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if account := ministack_app.extract_access_key_id(headers, {}):
            ministack_app.set_request_account_id(account)
        ministack_app.set_request_region(ministack_app.extract_region(headers, {}))
        status, answered, content = await ministack_app._dispatch_service_request(
            "POST", "/", headers, body, {}, str(uuid.uuid4())
        )
        await ministack_app._send_response(ministack_app._with_date_header(send), status, answered, content)

    return application


async def serve(listener: socket.socket, state_dir: Path | None) -> str | None:
    """Run until a signal; the reason if the saved state is unreadable. The listener is closed afterwards."""
    port = listener.getsockname()[1]
    checkpoints = None if state_dir is None else Checkpoints(state_dir / "checkpoints")
    if checkpoints is not None:
        try:
            checkpoints.try_out()
        except OSError as error:
            raise SystemExit(f"nothing can be saved in {state_dir}: {error}") from None
    _configure(port, state_dir, checkpoints)

    # ministack reads the environment when it is imported.
    import ministack.app
    import uvicorn
    from ministack.core import persistence

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """They are for `stop`."""
            yield

    failures = _Failures()
    persistence.logger.addHandler(failures)
    persistence.logger.propagate = False

    def write(folder: Path) -> set[str]:
        failures.texts.clear()
        persistence.STATE_DIR = str(folder)
        services = ministack.app._build_persistence_save_dict()
        persistence.save_all(services)
        if failures.texts:
            raise OSError(failures.texts[0])
        return {f"{name}.json" for name in services}

    _keep_traces()
    _notice_lost_files()
    application = tables_first(ministack.app)
    store = Store(application, None)
    if checkpoints is not None:
        store = Store(application, lambda: checkpoints.save(write), checkpoints.check_room)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    # httptools takes less of the processor's time than ministack's own server, and the most requests are short.
    config = uvicorn.Config(
        store,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)

    async def end() -> None:
        await stop.wait()
        saving.cancel()
        await store.stop()
        persistence.PERSIST_STATE = False  # or ministack's shutdown would overwrite our checkpoint
        server.should_exit = True

    saving = asyncio.create_task(store.keep_saving())
    announcing = asyncio.create_task(_announce(port, failures, stop))
    ending = asyncio.create_task(end())
    await server.serve(sockets=[listener])
    ending.cancel()
    announcing.cancel()
    if failures.unread:
        return f"the state in {state_dir} cannot be read, and is left as it is: {failures.unread[0]}"
    return None


async def _announce(port: int, failures: "_Failures", stop: asyncio.Event) -> None:
    """Print the address once the first request is answered: the store is loaded by then. If something could not be
    loaded, stop before it is overwritten."""
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
    failures.unread = list(failures.texts)
    if failures.unread:
        stop.set()
        return
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
        # ministack removes its containers at each start; those of another ministack must stay.
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
    parser.add_argument("--state-dir", type=Path, help="folder of the data; without it, nothing is saved")
    arguments = parser.parse_args()
    # Of TCP by name: asyncio sends small pieces at once (TCP_NODELAY) on such connections only.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", arguments.port))
        failure = asyncio.run(serve(listener, arguments.state_dir))
        listener.detach()  # the server has closed it
    if failure is not None:
        raise SystemExit(failure)


if __name__ == "__main__":
    main()
