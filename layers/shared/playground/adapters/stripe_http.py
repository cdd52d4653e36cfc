"""Stripe's HTTP client over urllib3, which every function has loaded for DynamoDB already.

The SDK's own clients are over `requests`, `pycurl`, `httpx` or `aiohttp`, or over `urllib` without time limits and
without keeping connections. Retries, back-off and idempotency keys are the SDK's: see `stripe.HTTPClient`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import stripe
import urllib3
from urllib3 import exceptions

from playground.adapters.proxies import proxy_for

MAX_IDLE_CONNECTIONS = 10
REPEATED = (exceptions.TimeoutError, exceptions.NewConnectionError, exceptions.ProtocolError, exceptions.ProxyError)
"""Of a request that can be sent again: it did not arrive, or its answer did not, or not all of it."""


class Urllib3Client(stripe.HTTPClient):
    """Keeps connections, checks Stripe's certificate, follows no redirect. Safe to share between threads.

    `connect_seconds` limits making a connection, `read_seconds` each piece of an answer.
    """

    name: ClassVar[str] = "urllib3"

    def __init__(self, *, url: str, connect_seconds: float, read_seconds: float) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "maxsize": MAX_IDLE_CONNECTIONS,
            "timeout": urllib3.Timeout(connect=connect_seconds, read=read_seconds),
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": stripe.ca_bundle_path,
        }
        proxy = proxy_for(url)
        self._manager = urllib3.PoolManager(**options) if proxy is None else urllib3.ProxyManager(proxy, **options)

    def request(  # type: ignore[override]  # bytes, as those of the SDK's clients
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Body, status and headers of the answer. Raises APIConnectionError, which says whether to try again."""
        try:
            answer = self._manager.urlopen(
                method.upper(),
                url,
                body=post_data,
                headers={**(headers or {}), **urllib3.make_headers(accept_encoding="gzip,deflate")},
                retries=False,
                redirect=False,
            )
        except exceptions.HTTPError as error:
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]
                f"no answer from Stripe: {type(error).__name__}: {error}",
                should_retry=isinstance(error, REPEATED) and not _is_about_certificates(error),
            ) from error
        return answer.data, answer.status, answer.headers

    def close(self) -> None:
        self._manager.clear()


def _is_about_certificates(error: exceptions.HTTPError) -> bool:
    """Also at a proxy."""
    return isinstance(getattr(error, "original_error", None), exceptions.SSLError)
