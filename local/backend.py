"""Runs the functions and the gateway of a template in a background thread.

with Backend(read_template(path)) as backend:
    urlopen(f"{backend.url}/api/...")

For the stack and for tests; the store is separate (local/engine.py).
"""

import asyncio
import sys
import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

from local.gateway import Gateway
from local.page import FrontEnd
from local.process import ShowLine, quiet
from local.runtime import DEFAULT_CONCURRENCY, Outcome, Runtime
from local.template import Description


class Backend:
    def __init__(
        self,
        description: Description,
        *,
        port: int = 0,
        runtime_port: int = 0,
        extra_environment: Mapping[str, str] | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        warm: bool | Collection[str] = False,
        reload: bool = False,
        python: str = sys.executable,
        show: ShowLine = quiet,
        front_end: FrontEnd | None = None,
    ) -> None:
        self._front_end = front_end
        self.description = description
        self._port = port
        self._runtime_port = runtime_port
        self._extra_environment = extra_environment
        self._concurrency = concurrency
        self._warm = warm
        self._reload = reload
        self._python = python
        self._show = show
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._runtime: Runtime | None = None
        self._gateway: Gateway | None = None
        self._thread = threading.Thread(target=self._run, name="backend")

    def start(self) -> None:
        """Start, and return once requests are served. Raises BusyPortError."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Close all connections and stop all instances."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        assert self._gateway is not None
        return self._gateway.url

    @property
    def runtime_url(self) -> str:
        assert self._runtime is not None
        return self._runtime.url

    def invoke(self, function: str, payload: bytes, trace: str | None = None) -> Outcome:
        """Call a function by its logical id, from any thread. Raises what `Runtime.invoke` raises."""
        assert self._runtime is not None
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._runtime.invoke(function, payload, trace), self._loop).result()

    def describe(self, about: Mapping[str, object]) -> None:
        """Set the description of this stack that the runtime's port returns to other commands."""
        assert self._runtime is not None
        self._runtime.about = about

    def instance_count(self, function: str) -> int:
        assert self._runtime is not None
        return self._runtime.instance_count(function)

    def idle_count(self, function: str) -> int:
        assert self._runtime is not None
        return self._runtime.idle_count(function)

    def outdated_count(self, function: str) -> int:
        assert self._runtime is not None
        return self._runtime.outdated_count(function)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # `start` raises it in the caller's thread
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runtime = self._runtime = Runtime(
            self.description.functions,
            port=self._runtime_port,
            extra_environment=self._extra_environment,
            concurrency=self._concurrency,
            reload=self._reload,
            python=self._python,
            show=self._show,
        )
        try:
            if self.description.apis:
                self._gateway = Gateway(
                    self.description.apis[0],
                    runtime,
                    port=self._port,
                    show=self._show,
                    front_end=self._front_end,
                )
                await self._gateway.start()
            await runtime.start(warm=self._warm)
            self._started.set()
            await self._stopping.wait()
        finally:
            if self._gateway is not None:
                await self._gateway.stop()
            await runtime.stop()
