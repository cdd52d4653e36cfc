"""Pages of the stand-ins: plain HTML with one style sheet inside, no scripts, nothing from another server."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

CONTENT_TYPE: Final = "text/html; charset=utf-8"
STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --accent: #4f46e5; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --accent: #a5b4fc; --bad: #fda29b; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 0 auto; padding: 1.25rem 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
footer { margin-top: 2rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 0.875rem; }
a { color: var(--accent); }
.amount { font-size: 1.75rem; margin: 0; }
.bad { color: var(--bad); font-weight: 600; }
label { display: block; margin: 0.75rem 0 0.25rem; }
input, select, button { font: inherit; padding: 0.5rem 0.75rem; border: 1px solid var(--line); border-radius: 0.375rem;
  max-width: 100%; }
input, select { width: 100%; }
button { cursor: pointer; margin: 0.75rem 0.5rem 0 0; }
button:first-of-type { border-color: var(--accent); }
pre { white-space: pre-wrap; padding: 0.75rem; border: 1px solid var(--line); border-radius: 0.375rem;
  font-size: 0.875rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem; margin: 1rem 0; }
dd { margin: 0; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; opacity: 0.8; } }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def document(title: str, body: str, note: str, *, refresh_seconds: int | None = None) -> str:
    """A page. `body` is HTML; `title` and `note` are text. With `refresh_seconds` a browser loads it again then."""
    refresh = f'<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds is not None else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main><footer>{escape(note)}</footer></body></html>"
    )


def headers(form_origins: Iterable[str] = ()) -> dict[str, str]:
    """Headers of a page that may load nothing and run nothing. Its forms may lead to its own server and, by a redirect,
    to `form_origins`: browsers apply `form-action` to redirects, too. Addresses may hold secrets, so pages send no
    referrer and are not stored."""
    targets = " ".join(("'self'", *form_origins))
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def link(address: str, text: str) -> str:
    """A link; only to http and https, since the address may be somebody else's."""
    if not address.startswith(("http://", "https://", "/")):
        return escape(text)
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and their values, as text."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in rows)}</dl>"


def form(fields: str) -> str:
    """Posts to the page's own address."""
    return f'<form method="post">{fields}</form>'


def buttons(actions: Mapping[str, str]) -> str:
    """One for each value of the field `action`."""
    found = (f'<button name="action" value="{escape(each)}">{escape(text)}</button>' for each, text in actions.items())
    return f"<div>{''.join(found)}</div>"


def choice(name: str, label: str, options: Mapping[str, str]) -> str:
    """A drop-down list; `options` are values with their texts."""
    listed = "".join(f'<option value="{escape(each)}">{escape(text)}</option>' for each, text in options.items())
    return f'<label>{escape(label)} <select name="{escape(name)}">{listed}</select></label>'
