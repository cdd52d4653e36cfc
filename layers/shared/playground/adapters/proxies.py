"""The proxy that the environment names for an address, as `requests` and httpx find it."""

from urllib.request import getproxies, proxy_bypass

import urllib3


def proxy_for(url: str) -> str | None:
    """The address of the proxy; None if requests go there directly."""
    parts = urllib3.util.parse_url(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme or "https") or proxies.get("all")
    return None if proxy is None or proxy_bypass((parts.host or "").strip("[]")) else proxy
