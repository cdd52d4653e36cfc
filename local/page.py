"""The built page on a laptop, served as CloudFront serves it: outside the API's stage, with the same headers.

Text is compressed for clients that take gzip. The files are read once, so that what is served is one build; a new
build, whose stamp differs, is read at the next request. Only a file that was read then can be served.
"""

import gzip
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local.front_end import SHARED, shared_token
from local.http_server import Headers, Request, Response
from local.page_files import (
    CONFIG,
    INDEX,
    NOT_FOR_SEARCH_ENGINES,
    SECURITY_HEADERS,
    PageFile,
    config,
    content_security_policy,
    read_files,
    served_path,
)
from local.page_files import SHARED as SHARED_PATHS

STAMP = ".built"  # written when a build is complete (tools/web.py)
METHODS = ("GET", "HEAD")


class FrontEnd(Protocol):
    """What answers outside the API's stage."""

    def answer(self, request: Request) -> Response | None:
        """None for a request that is not the front end's."""
        ...

    def loggable(self, path: str) -> str:
        """The path, without what grants access."""
        ...


COMPRESSED = ("text/", "application/json", "application/manifest+json", "image/svg+xml")  # content types


@dataclass(frozen=True, slots=True)
class _Build:
    stamp: bytes
    files: Mapping[str, PageFile]
    compressed: Mapping[str, bytes]  # of those that become smaller


class Page:
    """Answers GET and HEAD for every path. `publishable_key`: Stripe's, for its form; `pay_page`: the stand-in's
    address, to pay there instead; `anonymous_runs`: a package can be run without a login."""

    def __init__(
        self,
        folder: Path,
        *,
        publishable_key: str | None = None,
        pay_page: str | None = None,
        anonymous_runs: bool = False,
    ) -> None:
        self._folder = folder
        self._config = config(
            publishable_key=publishable_key, pay_page=pay_page, anonymous_runs=anonymous_runs, laptop=True
        )
        policy = content_security_policy(with_stripe=publishable_key is not None)
        self._headers: Headers = (("Content-Security-Policy", policy), *SECURITY_HEADERS.items())
        self._lock = threading.Lock()
        self._build = self._read()

    @staticmethod
    def is_built(folder: Path) -> bool:
        return (folder / STAMP).is_file() and (folder / INDEX[1:]).is_file()

    def answer(self, request: Request) -> Response | None:
        if request.method not in METHODS:
            return None
        path = request.target.partition("?")[0]
        build = self._latest()
        file = build.files.get(served_path(path))
        headers = self._headers
        if path.startswith(SHARED_PATHS):
            headers = (*headers, NOT_FOR_SEARCH_ENGINES)
        if file is None:
            text = ("Content-Type", "text/plain; charset=utf-8")
            return Response(404, (text, ("Cache-Control", "no-store"), *headers), b"There is no such file.\n")
        body, etag = file.body, file.etag
        if file.path in build.compressed:
            headers = (("Vary", "Accept-Encoding"), *headers)
            if _takes_gzip(request.header("accept-encoding")):
                body, etag = build.compressed[file.path], f"W/{file.etag}"  # the same page in other bytes
                headers = (("Content-Encoding", "gzip"), *headers)
        headers = (("Cache-Control", file.cache_control), ("ETag", etag), *headers)
        if _has(request.header("if-none-match"), file.etag):
            return Response(304, tuple(each for each in headers if each[0] != "Content-Encoding"))
        return Response(200, (("Content-Type", file.content_type), *headers), body)

    def loggable(self, path: str) -> str:
        return path if shared_token(path) is None else SHARED

    def _latest(self) -> _Build:
        with self._lock:
            stamp = self._stamp()
            # While a build is being made there is no stamp, and the last one is served.
            if stamp is not None and stamp != self._build.stamp:
                self._build = self._read()
            return self._build

    def _read(self) -> _Build:
        stamp = self._stamp() or b""
        files = {**read_files(self._folder), CONFIG: self._config}
        compressed = {
            path: gzip.compress(file.body, mtime=0)
            for path, file in files.items()
            if file.content_type.startswith(COMPRESSED)
        }
        return _Build(
            stamp, files, {path: body for path, body in compressed.items() if len(body) < len(files[path].body)}
        )

    def _stamp(self) -> bytes | None:
        try:
            return (self._folder / STAMP).read_bytes()
        except FileNotFoundError:
            return None


def _takes_gzip(accept_encoding: str | None) -> bool:
    """`gzip;q=0` says that it does not."""
    for each in (accept_encoding or "").split(","):
        name, _, quality = each.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "").rstrip("0.") != "q="
    return False


def _has(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very file. A cache on the way may have made the tag weak."""
    tags = (if_none_match or "").split(",")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in tags)
