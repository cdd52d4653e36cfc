"""A real browser, the built page and a stack of its own, for tests that click.

Skipped with a message where there is no browser or no Node.js; in continuous integration that is a failure.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.settings import TEMPLATE
from local.tokens import issuer
from tests.conftest import ROOT
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.kit.cutting_proxy import CuttingProxy, cutting_proxy
from tests.kit.extent import WHOLE
from tests.kit.ports import free_ports
from tools import web
from tools.browser import find_browser

WAIT_SECONDS = 60  # for anything that a test waits for
OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


def cannot(reason: str) -> None:
    if WHOLE:
        pytest.fail(f"{reason}: continuous integration needs one (`make browser`)")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One of each file's own: while Playwright runs, its event loop is the running one of this thread, and a test of
    another file that the same worker runs could not have one (`asyncio.run`)."""
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        cannot("Playwright is not installed")
    program = find_browser()
    if program is None:
        cannot("there is no browser")
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def page_dir() -> Path:
    try:
        web.build()
    except web.WebError as error:
        cannot(f"the page cannot be built: {error}")
    return ROOT / web.WEB / "dist"


@pytest.fixture(scope="session")
def stack(page_dir: Path) -> Iterator[Stack]:
    """As `make run` starts it, with more runs a minute (a story is more than five), and with runs without a login."""
    with tempfile.TemporaryDirectory(prefix="playground-browser-") as folder:
        variables = {"RATE_LIMIT_FACTOR": "100", "PAGE_DIR": str(page_dir), "ANONYMOUS_RUNS": "true"}
        stack = start_stack(Path(folder), free_ports(5), variables)
        yield stack
        stop_stack(stack)
        assert not re.search(r"Traceback|unhandled error", stack.log), stack.log[-5000:]


class Window:
    """A tab of somebody's browser; `page` is Playwright's. What a browser complains about is kept:
    errors of scripts, and what the content security policy refuses."""

    def __init__(self, context: Any, base: str) -> None:
        self.context = context
        self.base = base
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_SECONDS * 1000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        # A refusal of the API is part of many stories, and the browser says each.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def open(self, path: str = "/", token: str | None = None) -> Any:
        self.page.goto(self.base + path + (f"#token={token}" if token else ""))
        return self.page


def pay_and_close(tab: Any) -> None:
    """Press the button of the stand-in's payment page, and close it once it has the answer: a browser may give up what
    a tab that is closed was about to send."""
    with tab.expect_response(lambda response: response.request.method == "POST"):
        tab.get_by_role("button", name="Pay", exact=True).click()
    tab.close()


@pytest.fixture
def open_window(chromium: Any, stack: Stack) -> Iterator[Callable[..., Window]]:
    """Opens windows; at the end none of them may have complained."""
    windows: list[Window] = []

    def open_one(
        *,
        base: str | None = None,
        context: Any = None,
        viewport: dict[str, int] = DESKTOP,
        dark: bool = False,
    ) -> Window:
        if context is None:
            context = chromium.new_context(
                viewport=viewport,
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
                locale="en-US",
                permissions=["clipboard-read", "clipboard-write"],
            )
        window = Window(context, base or stack.url)
        windows.append(window)
        return window

    yield open_one
    complaints = [each for window in windows for each in window.complaints]
    for window in windows:
        window.context.close()
    assert complaints == []


@pytest.fixture
def proxy(stack: Stack) -> Iterator[CuttingProxy]:
    """Between the browser and the stack."""
    with cutting_proxy(stack.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def token_of(stack: Stack) -> Callable[..., str]:
    """`verified_author`: as the registry says it, of somebody who may run prompts of their own."""
    tokens = issuer(TEMPLATE, stack.folder, {})

    def token(user_id: str, *, verified_author: bool = False) -> str:
        return tokens.token(user_id, timedelta(hours=1), verified_author=verified_author)

    return token


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script, of the page's development dependencies."""
    file = ROOT / web.WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        cannot("axe-core is not installed")
    return file.read_text(encoding="utf-8")
