"""Placeholder pages for a laptop on which the page is not built: each names what belongs there and the calls that
return the data.

The backend links to these paths; docs/front-end.md lists them. They are served beside the API, outside its stage, while
FRONTEND_URL is the stack's own address. With a built page, local/page.py serves that instead.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs

from doubles import html
from local.http_server import Request, Response

NOTE = "The page has not been built: `make web` does that. For a front end of your own set FRONTEND_URL to its address."
CREDITS = "/playground/credits"
SUBSCRIPTION = "/playground/subscription"
SHARED = "/playground/shared/{token}"

OUTCOMES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    SUBSCRIPTION: {
        "checkout": {
            "success": "Stripe's page was left after paying. PRPM+ is active once Stripe's event has arrived.",
            "canceled": "Stripe's page was left without paying.",
        }
    },
    CREDITS: {
        "redirect_status": {
            "succeeded": "The bank said yes. The credits are there once Stripe's event has arrived.",
            "failed": "The bank said no. Nothing was charged.",
        }
    },
}
"""Texts by path, query parameter and value. Other values are ignored."""


@dataclass(frozen=True, slots=True)
class Call:
    """An API call that returns data for a page."""

    method: str
    path: str  # below /api/v1
    does: str
    needs_token: bool = True
    body: str | None = None

    def command(self, api_url: str) -> str:
        parts = ["curl", "-sS", *(() if self.method == "GET" else ("-X", self.method)), f"{api_url}{self.path}"]
        text = shlex.join(parts)
        if self.needs_token:
            text += ' -H "Authorization: Bearer $(make -s token USER=alice)"'
        if self.body is not None:
            text += f" -H 'Content-Type: application/json' -d {shlex.quote(self.body)}"
        return text


@dataclass(frozen=True, slots=True)
class PlaceholderPages:
    """Answers for the paths of PAGES; `api_url` is the API's address with the base path."""

    api_url: str

    def answer(self, request: Request) -> Response | None:
        """The requested page; None for other paths."""
        path, _, query = request.target.partition("?")
        if request.method not in ("GET", "HEAD"):
            return None
        token = shared_token(path)
        build = PAGES.get(SHARED if token is not None else path)
        if build is None:
            return None
        title, what, calls = build(token or "")
        body = _outcome(path, query) + html.paragraph(f"Here your front end shows {what}.")
        for call in calls:
            body += html.paragraph(f"{call.does}:") + f"<pre>{escape(call.command(self.api_url))}</pre>"
            if call.method == "GET" and not call.needs_token:
                body += f"<p>{html.link(f'{self.api_url}{call.path}', 'Look at the data')}</p>"
        if path == "/":
            body += "".join(f"<p>{html.link(each, each)}</p>" for each in (CREDITS, SUBSCRIPTION))
        headers = (("Content-Type", html.CONTENT_TYPE), *html.headers().items())
        return Response(200, headers, html.document(title, body, NOTE).encode())

    def loggable(self, path: str) -> str:
        """The path, without the token of a share link, which grants access."""
        return path if shared_token(path) is None else SHARED


def shared_token(path: str) -> str | None:
    """The token of a share link, if the path is one."""
    before = SHARED.partition("{")[0]
    token = path.removeprefix(before)
    return token if path.startswith(before) and token and "/" not in token else None


def _outcome(path: str, query: str) -> str:
    for parameter, texts in OUTCOMES.get(path, {}).items():
        for value in parse_qs(query, errors="replace").get(parameter, [])[:1]:
            if value in texts:
                return html.paragraph(texts[value])
    return ""


Parts = tuple[str, str, tuple[Call, ...]]  # title, what a front end shows, calls


def _start(_: str) -> Parts:
    return (
        "The playground",
        "packages to try, a form to run one, and the caller's conversations",
        (Call("GET", "/packages", "Packages", needs_token=False), Call("GET", "/playground/sessions", "Conversations")),
    )


def _credits(_: str) -> Parts:
    return (
        "Credits",
        "the balance, and packs to buy",
        (
            Call("GET", "/playground/credits", "The balance"),
            Call("GET", "/playground/credits/packages", "Packs", needs_token=False),
            Call(
                "POST",
                "/playground/credits/purchase",
                "Begin to buy one; client_secret is for Stripe.js, and on a laptop pay_url is a page to pay on",
                body='{"package": "small"}',
            ),
        ),
    )


def _subscription(_: str) -> Parts:
    return (
        "PRPM+",
        "whether PRPM+ is active, and buttons to subscribe, cancel and manage it",
        (
            Call("GET", "/playground/subscription", "The state"),
            Call("POST", "/playground/subscribe", "A page of Stripe to subscribe on", body="{}"),
            Call("POST", "/playground/subscription/portal", "A page of Stripe for cards and invoices", body="{}"),
        ),
    )


def _shared(token: str) -> Parts:
    return (
        "A shared conversation",
        "the conversation that this link shares, and a button to continue it",
        (
            Call("GET", f"/playground/shared/{token}", "The conversation", needs_token=False),
            Call("POST", f"/playground/shared/{token}/fork", "Continue it in a session of one's own", body="{}"),
        ),
    )


PAGES: Mapping[str, Callable[[str], Parts]] = {
    "/": _start,
    CREDITS: _credits,
    SUBSCRIPTION: _subscription,
    SHARED: _shared,
}
