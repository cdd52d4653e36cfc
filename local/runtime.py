"""Lambda on a laptop: instances of the functions, and the two HTTP APIs around them on one port.

- The Runtime API, which an instance polls for its next event: /<instance>/2018-06-01/runtime/...
- The Invoke API of Lambda itself: POST /2015-03-31/functions/<name>/invocations, so `playground invoke` and any SDK
  with this endpoint can call a function.

As on Lambda, an instance is a process that handles one event at a time and stays for the next one. Instances are
started on demand up to a limit per function; further events wait. A function that runs longer than its timeout is
killed; one that crashes, or that cannot be started, fails the event that needed it, and nothing is started again
until the next event comes.

A function behind the Lambda Web Adapter is a script that starts a web server; local/web_adapter.py stands between its
instance and the events. Its response can be read while it is written.

With `reload`, instances are replaced when a file of their function or layer changes: idle ones end at once, busy ones
after their event, and new code that cannot be started fails the events that need it.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections import deque
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from local import lineage
from local.engine import CREDENTIALS
from local.http_server import Headers, HttpServer, Request, Response, listen
from local.process import DIE_WITH_PARENT, MAX_LINE_CHARACTERS, ROOT, ShowLine, die_with_parent, necessities, quiet
from local.reload import POLL_SECONDS, Watcher, forget_compiled, syntax_errors
from local.response_stream import ResponseStream
from local.template import Function
from local.web_adapter import (
    ApplicationError,
    BrokenOffError,
    Options,
    WebAdapter,
    break_off_text,
    release_port_if_needed,
    reserve_port,
)

MAX_PAYLOAD_BYTES = 6_291_556  # both ways: Lambda's 6 MB
MAX_STREAM_BYTES = 200 * 1024 * 1024  # of a streamed response
INIT_SECONDS = 60.0  # Lambda allows 10 s; a laptop may be starting several instances at once
DEFAULT_CONCURRENCY = 8  # instances per function
ABOUT_PATH = "/_stack"  # no path of Lambda's: says to other commands whose stack this is
INSTANCE = Path(__file__).with_name("instance.py")
INTERPRETERS = Path(__file__).with_name("bin")  # what a function's script finds as python and python3
SCRIPT_PATH = os.pathsep.join([str(INTERPRETERS), "/usr/local/bin", "/usr/bin", "/bin"])
EXIT_SECONDS = 0.5  # by how much the end of a connection may be seen before the end of the process that had it

_NEXT = "/2018-06-01/runtime/invocation/next"
_INVOCATION = re.compile(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)")
_INIT_ERROR = "/2018-06-01/runtime/init/error"
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event. `error` is Lambda's word for how it failed, None when it did not. `started` is False if
    no instance could be started for it."""

    request_id: str
    payload: bytes
    error: str | None = None
    started: bool = True


class PayloadTooLargeError(Exception):
    """The event is larger than Lambda accepts."""


class RecursiveInvocationError(Exception):
    """Lambda has detected a recursive loop, and does not start the function again: local/lineage.py."""


@dataclass(slots=True, eq=False)
class _Invocation:
    request_id: str
    payload: bytes
    outcome: asyncio.Future[Outcome]
    trace: str
    stream: ResponseStream | None = None  # for who reads the response while it is written

    def settle(self, payload: bytes, error: str | None = None, *, started: bool = True) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(self.request_id, payload, error, started))
        if self.stream is not None:
            self.stream.close()

    def fail(self, kind: str, message: str) -> None:
        """Fail as Lambda words what happened outside of the function's own code."""
        text = f"RequestId: {self.request_id} Error: {message}"
        self.settle(json.dumps({"errorType": kind, "errorMessage": text}).encode(), "Unhandled")


class Streamed:
    """A response that is read while the function writes it."""

    def __init__(self, invocation: _Invocation, stream: ResponseStream) -> None:
        self._invocation = invocation
        self._stream = stream
        self._has_begun = False

    async def read(self) -> bytes:
        """What has come since the last call; waits for the first bytes. Empty at the end, and then `outcome` says how
        it ended. Of a function that does not stream, the whole payload at once."""
        data = await self._stream.read()
        if not data and not self._has_begun and (outcome := await self._invocation.outcome).error is None:
            data = outcome.payload
        self._has_begun = self._has_begun or bool(data)
        return data

    @property
    def outcome(self) -> Outcome:
        """After the end."""
        return self._invocation.outcome.result()

    def abandon(self) -> None:
        """Read no more. A function that has begun goes on, and nobody hears of it; one that has not never begins."""
        self._invocation.outcome.cancel()
        self._stream.abandon()


@dataclass(slots=True, eq=False)
class _Instance:
    id: str
    process: asyncio.subprocess.Process
    ready: bool = False
    stale: bool = False  # its code has changed: it gets no more events
    poll: asyncio.Future[_Invocation] | None = None  # set while it waits for an event
    current: _Invocation | None = None
    timer: asyncio.TimerHandle | None = None
    init_error: bytes | None = None
    reason: tuple[str, str] | None = None  # why we killed it: error type and message
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    adapter: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self.poll is not None and not self.poll.done()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class _Pool:
    """The instances of one function."""

    def __init__(self, function: Function, runtime: "Runtime") -> None:
        self.function = function
        self.runtime = runtime
        self.instances: dict[str, _Instance] = {}
        # Processes that are being created: on a busy loop they may call before their creation is reported.
        self.launching: dict[str, asyncio.Future[_Instance]] = {}
        self.outdated: set[str] = set()  # those of them whose code has changed meanwhile
        self.waiting: deque[_Invocation] = deque()
        self.tried = asyncio.Event()  # an instance has become ready, or failed to
        self.works = True  # the last start went well

    def accept(self, invocation: _Invocation) -> None:
        self.waiting.append(invocation)
        self.dispatch()

    def dispatch(self) -> None:
        """Give waiting events to idle instances; start as many instances as the rest needs."""
        for instance in self.instances.values():
            while self.waiting and self.waiting[0].outcome.done():
                self.waiting.popleft()  # given up by its caller
            if not self.waiting:
                return
            if instance.idle and not instance.stale:
                self.hand_over(instance, self.waiting.popleft())
        current = [instance for instance in self.instances.values() if not instance.stale]
        starting = len(self.launching) + sum(not instance.ready for instance in current)
        room = self.runtime.concurrency - len(self.launching) - len(current)
        for _ in range(min(len(self.waiting) - starting, room)):
            self.launch()

    def launch(self) -> None:
        instance_id = uuid.uuid4().hex
        self.launching[instance_id] = asyncio.get_running_loop().create_future()
        self.runtime.spawn(self._launch(instance_id))

    def retire(self) -> None:
        """The code has changed: end all instances, those that work on an event after it."""
        self.outdated |= self.launching.keys()
        for instance in self.instances.values():
            instance.stale = True
            if not instance.ready or instance.idle:
                instance.kill()

    async def try_start(self) -> bool:
        """Start an instance of the present code, unless there is one already; whether that works."""
        if all(instance.stale for instance in self.instances.values()) and self.launching.keys() <= self.outdated:
            self.tried = asyncio.Event()
            self.launch()
            await self.tried.wait()
        return self.works

    async def find(self, instance_id: str) -> _Instance | None:
        if instance_id in self.launching:
            await asyncio.wait([self.launching[instance_id]])
        return self.instances.get(instance_id)

    async def _launch(self, instance_id: str) -> None:
        with contextlib.ExitStack() as resources:
            port = resources.enter_context(reserve_port()) if self.function.is_web else None
            await self._run_instance(instance_id, port)

    async def _run_instance(self, instance_id: str, port: socket.socket | None) -> None:
        environment = self.runtime.environment_of(self.function, instance_id)
        if port is None:
            command = die_with_parent(str(INSTANCE), self.function.handler, python=self.runtime.python)
        else:
            command = die_with_parent(str(self.function.code / self.function.handler))
            environment = _of_a_script(self.function, environment, port.getsockname()[1], self.runtime.python)
            release_port_if_needed(port)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.function.code,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.launching.pop(instance_id).cancel()
            self.outdated.discard(instance_id)
            self._start_failed(_error_body("Runtime.InvalidEntrypoint", str(error)))
            return
        instance = _Instance(instance_id, process)
        self.instances[instance_id] = instance
        self.launching.pop(instance_id).set_result(instance)
        if instance_id in self.outdated:
            self.outdated.remove(instance_id)
            instance.stale = True
            instance.kill()
        instance.timer = asyncio.get_running_loop().call_later(INIT_SECONDS, self._init_timed_out, instance)
        output = asyncio.create_task(self._show_output(process))
        instance.tasks.append(output)
        if port is not None:
            options = Options.read(self.function.environment, int(environment["AWS_LWA_PORT"]))
            instance.adapter = asyncio.create_task(self._adapt(instance, WebAdapter(options)))
        try:
            await process.wait()
        finally:
            if instance.adapter is not None:
                instance.adapter.cancel()
            instance.kill()  # what it started itself, and itself when we are stopping
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(OSError):
                await process.stdin.wait_closed()
        await output
        self._ended(instance)

    async def _adapt(self, instance: _Instance, adapter: WebAdapter) -> None:
        """Pass events to the web server of an instance, one after the other, until the instance ends."""
        try:
            await adapter.start()
        except TimeoutError:
            instance.init_error = _error_body("Runtime.InitError", "the application is not ready in time")
            instance.kill()
            return
        while True:
            invocation = await self.poll(instance)
            response = _WebResponse(invocation)
            error: str | None = None
            try:
                context = _lambda_context(self.function, invocation, instance.id)
                await adapter.handle(invocation.payload, context, response.write)
            except ApplicationError as failure:
                if await _has_ended(instance):
                    return
                response.payload, error = _error_body("ApplicationError", str(failure)), "Unhandled"
                self._show(f"the application gave no response: {failure}".encode())
            except BrokenOffError:
                if await _has_ended(instance):
                    return
                self._show(b"the application broke off its response")
                await response.write(break_off_text())
            self.answered(instance, invocation.request_id, response.payload, error)

    async def _show_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(65_536):
            # The runtime separates the lines of a traceback with carriage returns, to keep them in one log event.
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            if len(rest) > MAX_LINE_CHARACTERS:
                lines, rest = [*lines, rest], b""
            for line in filter(None, lines):
                self._show(line)
        if rest:
            self._show(rest)

    def _show(self, line: bytes) -> None:
        if b"LAMBDA_WARNING: Unhandled exception." in line:
            return  # a paragraph about updates of the managed runtime, before every error in an import
        self.runtime.show(self.function.short_name, line.decode("utf-8", errors="replace")[:MAX_LINE_CHARACTERS])

    def poll(self, instance: _Instance) -> asyncio.Future[_Invocation]:
        """The instance asks for its next event."""
        instance.poll = asyncio.get_running_loop().create_future()
        if instance.stale:
            instance.kill()  # which cancels the poll
            return instance.poll
        if not instance.ready:
            instance.ready = self.works = True
            self.tried.set()
            self._stop_timer(instance)
        self.dispatch()
        return instance.poll

    def hand_over(self, instance: _Instance, invocation: _Invocation) -> None:
        assert instance.poll is not None
        instance.current = invocation
        instance.timer = asyncio.get_running_loop().call_later(self.function.timeout, self._timed_out, instance)
        instance.poll.set_result(invocation)

    def answered(self, instance: _Instance, request_id: str, payload: bytes, error: str | None) -> bool:
        """The instance is done with its event. False when it was not working on that one."""
        invocation = instance.current
        if invocation is None or invocation.request_id != request_id:
            return False
        self._stop_timer(instance)
        instance.current = instance.poll = None
        invocation.settle(payload, error)
        return True

    def _timed_out(self, instance: _Instance) -> None:
        instance.reason = ("Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds")
        self._show(f"Task timed out after {self.function.timeout:.2f} seconds".encode())
        instance.kill()

    def _init_timed_out(self, instance: _Instance) -> None:
        instance.init_error = _error_body("Sandbox.Timedout", f"Init timed out after {INIT_SECONDS:.2f} seconds")
        instance.kill()

    def _stop_timer(self, instance: _Instance) -> None:
        if instance.timer is not None:
            instance.timer.cancel()
            instance.timer = None

    def _ended(self, instance: _Instance) -> None:
        """The process is gone: fail what it was working on, or what it was started for."""
        self._stop_timer(instance)
        del self.instances[instance.id]
        if instance.poll is not None:
            instance.poll.cancel()
        exit_text = _exit_text(instance.process.returncode)
        if instance.current is not None:
            instance.current.fail(*(instance.reason or ("Runtime.ExitError", f"Runtime exited with {exit_text}")))
            self.dispatch()
        elif not instance.ready and not instance.stale:
            self._start_failed(
                instance.init_error or _error_body("Runtime.ExitError", f"Runtime exited with {exit_text}")
            )
        else:
            self.dispatch()

    def _start_failed(self, error: bytes) -> None:
        self.works = False
        self.tried.set()
        self._show(f"DOES NOT START, its requests fail: {error_text(error)}".encode())
        while self.waiting:
            invocation = self.waiting.popleft()
            if not invocation.outcome.done():
                invocation.settle(error, "Unhandled", started=False)
                break
        self.dispatch()


class _WebResponse:
    """What the adapter writes: passed on to the reader of the stream, or kept for who wants the whole payload."""

    def __init__(self, invocation: _Invocation) -> None:
        self._invocation = invocation
        self._size = 0
        self.payload = b""

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        limit = MAX_PAYLOAD_BYTES if self._invocation.stream is None else MAX_STREAM_BYTES
        if self._size > limit:
            self._invocation.settle(_size_exceeded(limit), "Unhandled")
        elif self._invocation.stream is None:
            self.payload += data
        else:
            await self._invocation.stream.write(data)


async def _has_ended(instance: _Instance) -> bool:
    """Whether it was the end of the whole process that ended its connection."""
    try:
        async with asyncio.timeout(EXIT_SECONDS):
            await instance.process.wait()
    except TimeoutError:
        return False
    return True


def _of_a_script(function: Function, environment: Mapping[str, str], port: int, python: str) -> dict[str, str]:
    """The environment of a function's own script. Unlike Lambda's Python runtime, it has to name the folder of the
    layers itself; local/bin/python3 knows which folders are meant."""
    found = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    if found.get("AWS_LWA_READINESS_CHECK_PORT") == found.get("AWS_LWA_PORT", "8080"):
        found["AWS_LWA_READINESS_CHECK_PORT"] = str(port)
    return {
        **found,
        "PATH": SCRIPT_PATH,
        "AWS_LWA_PORT": str(port),
        "LOCAL_PYTHON": python,
        "LOCAL_LAYERS": os.pathsep.join(str(layer) for layer in function.layers),
    }


def _lambda_context(function: Function, invocation: _Invocation, instance_id: str) -> dict[str, object]:
    """As the Rust runtime keeps it."""
    return {
        "request_id": invocation.request_id,
        "deadline": int(time.time() * 1000) + function.timeout * 1000,
        "invoked_function_arn": function.arn,
        "xray_trace_id": invocation.trace,
        "client_context": None,
        "identity": None,
        "tenant_id": None,
        "env_config": {
            "function_name": function.name,
            "memory": function.memory,
            "version": "$LATEST",
            "log_stream": _log_stream(instance_id),
            "log_group": _log_group(function),
        },
    }


class Runtime:
    """All functions of a template, and the server that their instances talk to."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        port: int = 0,
        extra_environment: Mapping[str, str] | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        reload: bool = False,
        python: str = sys.executable,
        show: ShowLine = quiet,
    ) -> None:
        self.concurrency = concurrency
        self.python = python
        self._watcher = Watcher(functions.values()) if reload else None
        self.show = show
        self._extra = dict(extra_environment or {})
        self._pools = {name: _Pool(function, self) for name, function in functions.items()}
        self._server = HttpServer(self._serve, listen(port), body_limit=MAX_PAYLOAD_BYTES * 2)
        self._tasks: set[asyncio.Task[None]] = set()
        self.about: Mapping[str, object] = {}  # what GET /_stack answers

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self, *, warm: bool | Collection[str] = False) -> None:
        """Serve. `warm` starts one instance of every function, or of those that it names, and waits for it, so that the
        first events need not.
        A start failure is logged, and returned to callers."""
        await self._server.start()
        named = (lambda _: warm) if isinstance(warm, bool) else warm.__contains__
        early = [pool for pool in self._pools.values() if named(pool.function.short_name)]
        for pool in early:
            pool.launch()
        await asyncio.gather(*(pool.tried.wait() for pool in early))
        if self._watcher is not None:
            self.spawn(self._keep_reloading(self._watcher))

    async def stop(self) -> None:
        """End all instances at once; events under way fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in self._pools.values():
            for instance in pool.instances.values():
                instance.kill()
                pool._stop_timer(instance)
                await asyncio.gather(*instance.tasks, return_exceptions=True)
                await instance.process.wait()
                if instance.current is not None:
                    instance.current.fail("Runtime.ExitError", "the stack was stopped")
            for invocation in pool.waiting:
                invocation.fail("Runtime.ExitError", "the stack was stopped")
        await self._server.stop()

    async def _keep_reloading(self, watcher: Watcher) -> None:
        trying: asyncio.Task[None] | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            changed = await asyncio.to_thread(watcher.changes)
            if not changed:
                continue
            if trying is not None:
                trying.cancel()
            trying = asyncio.create_task(self._reload(changed, watcher.functions_of(changed)))
            self._tasks.add(trying)
            trying.add_done_callback(self._tasks.discard)

    async def _reload(self, changed: frozenset[Path], functions: frozenset[str]) -> None:
        """Replace the instances of these functions, and say whether the new code can be started."""
        pools = [pool for name, pool in self._pools.items() if name in functions]
        for pool in pools:
            pool.retire()
        forget_compiled(changed)
        begun = time.monotonic()
        what = _named(changed)
        names = ", ".join(pool.function.short_name for pool in pools)
        self.show("reload", f"{what} changed: {names} {'restarts' if len(pools) == 1 else 'restart'}")
        broken = list(syntax_errors(changed))
        for text in broken:
            self.show("reload", f"CANNOT BE COMPILED, requests fail: {text}")
        if broken:
            return
        # One after the other: a request starts what it needs by itself, and must not wait for all of them.
        for pool in pools:
            if not await pool.try_start():
                return  # the others probably fail for the same reason; their requests will show it
        self.show("reload", f"started after {time.monotonic() - begun:.1f} s")

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def invoke(self, logical_id: str, payload: bytes, trace: str | None = None) -> Outcome:
        """Call a function and wait for what becomes of it. `trace` is that of what starts it.

        Raises PayloadTooLargeError, and RecursiveInvocationError if the same chain has started it too often.
        """
        return await self._accept(logical_id, payload, trace, None).outcome

    def invoke_streaming(self, logical_id: str, payload: bytes, trace: str | None = None) -> Streamed:
        """Call a function and read its response while it is written. Raises what `invoke` raises."""
        stream = ResponseStream()
        return Streamed(self._accept(logical_id, payload, trace, stream), stream)

    def _accept(self, logical_id: str, payload: bytes, trace: str | None, stream: ResponseStream | None) -> _Invocation:
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError
        pool = self._pools[logical_id]
        if lineage.is_stopped(trace, pool.function.name):
            raise RecursiveInvocationError
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        line = lineage.entered(trace, pool.function.name)
        invocation = _Invocation(str(uuid.uuid4()), payload, outcome, line, stream)
        pool.accept(invocation)
        return invocation

    def instance_count(self, logical_id: str) -> int:
        pool = self._pools[logical_id]
        return len(pool.launching) + len(pool.instances)

    def idle_count(self, logical_id: str) -> int:
        """How many of its instances wait for their next event: one that has answered does not at once."""
        return sum(instance.idle for instance in self._pools[logical_id].instances.values())

    def outdated_count(self, logical_id: str) -> int:
        """How many of its instances have the code of before the last change, and end after their event."""
        pool = self._pools[logical_id]
        return len(pool.outdated) + sum(instance.stale for instance in pool.instances.values())

    def environment_of(self, function: Function, instance_id: str) -> dict[str, str]:
        """What a function sees: the machine's necessities, what Lambda sets, and the template's variables."""
        return {
            **necessities(),
            "PYTHONPATH": os.pathsep.join(str(layer) for layer in function.layers),
            "TZ": ":UTC",
            "LANG": "en_US.UTF-8",
            # An SDK must not find the developer's profiles. On Lambda the home does not exist either.
            "HOME": "/nonexistent",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **CREDENTIALS,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(function),
            "AWS_LAMBDA_LOG_STREAM_NAME": _log_stream(instance_id),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.port}/{instance_id}",
            "LAMBDA_TASK_ROOT": str(function.code),
            "LAMBDA_RUNTIME_DIR": str(DIE_WITH_PARENT.parent),
            "_HANDLER": function.handler,
            **self._extra,
            **function.environment,
        }

    # --- the two APIs ---

    async def _serve(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        if request.too_large:
            return _api_error(413, "RequestTooLargeException", "Request must be smaller than 6291556 bytes")
        if path == ABOUT_PATH and request.method == "GET":
            return Response(200, (("Content-Type", "application/json"),), json.dumps(self.about).encode())
        invoke = _INVOKE.fullmatch(unquote(path))
        if invoke is not None and request.method == "POST":
            return await self._serve_invoke(invoke[1], request)
        _, instance_id, rest = [*path.split("/", 2), "", ""][:3]
        for pool in self._pools.values():
            instance = await pool.find(instance_id)
            if instance is not None:
                return await self._serve_instance(pool, instance, f"/{rest}", request)
        return _api_error(404, "InvalidPath", "there is nothing here")

    async def _serve_instance(self, pool: _Pool, instance: _Instance, path: str, request: Request) -> Response:
        if path == _NEXT and request.method == "GET":
            try:
                invocation = await pool.poll(instance)
            except asyncio.CancelledError:
                if instance.poll is None or not instance.poll.cancelled():
                    raise  # it is the connection that is being ended
                return _api_error(410, "Gone", "the instance has ended")
            return Response(200, self._event_headers(pool.function, invocation), invocation.payload)
        if path == _INIT_ERROR and request.method == "POST":
            instance.init_error = request.body
            return _ACCEPTED
        answer = _INVOCATION.fullmatch(path)
        if answer is None or request.method != "POST":
            return _api_error(404, "InvalidPath", "there is nothing here")
        body, error = request.body, "Unhandled" if answer[2] == "error" else None
        if len(body) > MAX_PAYLOAD_BYTES:
            body, error = _size_exceeded(MAX_PAYLOAD_BYTES), "Unhandled"
        if not pool.answered(instance, answer[1], body, error):
            return _api_error(400, "InvalidRequestID", "that event is not being worked on")
        return _ACCEPTED

    def _event_headers(self, function: Function, invocation: _Invocation) -> Headers:
        deadline = int(time.time() * 1000) + function.timeout * 1000
        return (
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(deadline)),
            ("Lambda-Runtime-Invoked-Function-Arn", function.arn),
            ("Lambda-Runtime-Trace-Id", invocation.trace),
        )

    async def _serve_invoke(self, name: str, request: Request) -> Response:
        pool = next((pool for pool in self._pools.values() if pool.function.is_called(name)), None)
        if pool is None:
            return _api_error(404, "ResourceNotFoundException", f"Function not found: {name}")
        try:
            json.loads(request.body or b"{}")
        except (ValueError, RecursionError) as error:
            message = f"Could not parse request body into json: {error}"
            return _api_error(400, "InvalidRequestContentException", message)
        payload = request.body or b"{}"
        if request.header("x-amz-invocation-type") == "Event":
            if len(payload) > MAX_PAYLOAD_BYTES:
                return _too_large()
            self.spawn(self._forget(pool.function.logical_id, payload, request.header("x-amzn-trace-id")))
            return Response(202)
        try:
            outcome = await self.invoke(pool.function.logical_id, payload, request.header("x-amzn-trace-id"))
        except PayloadTooLargeError:
            return _too_large()
        except RecursiveInvocationError:
            return _api_error(400, "RecursiveInvocationException", "Lambda has detected a recursive loop")
        headers: Headers = (
            ("Content-Type", "application/json"),
            ("X-Amz-Executed-Version", "$LATEST"),
            ("x-amzn-RequestId", outcome.request_id),
        )
        if outcome.error is not None:
            headers = (*headers, ("X-Amz-Function-Error", outcome.error))
        return Response(200, headers, outcome.payload)

    async def _forget(self, logical_id: str, payload: bytes, trace: str | None) -> None:
        with contextlib.suppress(RecursiveInvocationError):
            await self.invoke(logical_id, payload, trace)


_ACCEPTED = Response(202, (("Content-Type", "application/json"),), b'{"status":"OK"}\n')


def _too_large() -> Response:
    return _api_error(413, "RequestTooLargeException", f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes")


def _api_error(status: int, kind: str, message: str) -> Response:
    headers = (("Content-Type", "application/json"), ("X-Amzn-ErrorType", kind))
    return Response(status, headers, json.dumps({"errorType": kind, "errorMessage": message}).encode())


def _error_body(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _size_exceeded(limit: int) -> bytes:
    text = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    return _error_body("Function.ResponseSizeTooLarge", text)


def _log_group(function: Function) -> str:
    return f"/aws/lambda/{function.name}"


def _log_stream(instance_id: str) -> str:
    return f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{instance_id}"


def error_text(error: bytes) -> str:
    """The body of a failed start on one line, without its traceback."""
    try:
        document = json.loads(error)
        return f"{document['errorType']}: {document['errorMessage']}"
    except (ValueError, RecursionError, KeyError, TypeError):
        return error.decode("utf-8", errors="replace")


def _named(changed: frozenset[Path]) -> str:
    paths = sorted(changed)
    first = paths[0].relative_to(ROOT) if paths[0].is_relative_to(ROOT) else paths[0]
    return str(first) if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"error: signal: {signal.Signals(-code).name}"
    return f"error: exit status {code}"
