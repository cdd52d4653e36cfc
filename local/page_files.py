"""The built page as files with the headers that they are served with, here and on AWS. Standard library only: the
command that deploys the page has an environment of its own.

Every path that names neither a file in the root nor an asset is a page of the one index.html, which has the page's
router. On AWS a CloudFront function does that (PagePaths in template.yaml), and PageHeaders sends SECURITY_HEADERS.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INDEX = "/index.html"
CONFIG = "/config.json"
ASSETS = "/assets/"  # named after their content by the build
SHARED = "/playground/shared/"

REVALIDATE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"

CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
UNKNOWN_TYPE = "application/octet-stream"

_FILE_IN_ROOT = re.compile(r"/[^/]+\.[a-z0-9]+")

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses of shared pages hold tokens
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
NOT_FOR_SEARCH_ENGINES = ("X-Robots-Tag", "noindex, nofollow")


def content_security_policy(*, with_stripe: bool) -> str:
    """What the page may load. Stripe's own servers are in it only where Stripe Elements are used."""
    scripts, connections, frames = "'self'", "'self'", "'none'"
    if with_stripe:
        scripts += " https://js.stripe.com https://*.js.stripe.com"
        connections += " https://api.stripe.com"
        frames = "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src {connections}; frame-src {frames}; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


@dataclass(frozen=True, slots=True)
class PageFile:
    path: str  # from the root: /assets/index-1f2e.js
    body: bytes

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES.get(Path(self.path).suffix, UNKNOWN_TYPE)

    @property
    def cache_control(self) -> str:
        return IMMUTABLE if self.path.startswith(ASSETS) else REVALIDATE

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


def read_files(folder: Path) -> Mapping[str, PageFile]:
    """The files of a built page by their paths. Names that begin with a dot are the build's own."""
    files = {}
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in inner.parts):
            path = f"/{inner.as_posix()}"
            files[path] = PageFile(path, file.read_bytes())
    return files


def config(
    *, publishable_key: str | None, pay_page: str | None, anonymous_runs: bool = False, laptop: bool = False
) -> PageFile:
    """What the page has to know about where it is served. `anonymous_runs`: a package can be run without a login;
    `laptop`: the commands of this project make tokens."""
    content = {
        "api": "/api/v1",
        "stripe_publishable_key": publishable_key,
        "pay_page": pay_page,
        "anonymous_runs": anonymous_runs,
        "laptop": laptop,
    }
    return PageFile(CONFIG, json.dumps(content).encode())


def served_path(path: str) -> str:
    """The file that answers for a path, whether it is there or not."""
    return path if path.startswith(ASSETS) or _FILE_IN_ROOT.fullmatch(path) else INDEX
