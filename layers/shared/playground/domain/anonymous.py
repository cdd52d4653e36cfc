"""Anonymous runs: who counts as one visitor, and what a run sets aside of the day's budget. Pure: no clock, no I/O;
secrets are arguments.

A visitor has one run in a UTC day. What is stored of a visitor is a keyed hash of the day and the source address, so
that the address cannot be read from the store, nor a visitor be followed from one day to the next.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from playground.domain.calendar import instant, iso
from playground.domain.pricing import ceil_div
from playground.domain.sharing import MIN_SECRET_BYTES

DAY = timedelta(days=1)
SITE_PREFIX_BITS = 64  # of an IPv6 address: a subscriber has at least a /64, and every address in it
NOT_AN_ADDRESS = "none"
CLEANUP_AFTER = timedelta(days=2)  # from the end of the day on; no rule depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One anonymous run, as it is counted before the model is called. `day` is its UTC day, `nano` the most that it can
    cost us in nano-dollars, `nonce` its own name, so that a repeated write is recognised."""

    day: str
    visitor: str
    nonce: str
    nano: int
    cleanup_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousOutcome:
    """What came of a run, for the log. `counted_nano`: what it uses of the day's budget. `failure`: the reason of a run
    without an answer."""

    package: str
    counted_nano: int
    failure: str | None = None


class VisitorKeys:
    """Names visitors. Raises ValueError if the secret is shorter than 32 bytes."""

    def __init__(self, secret: str) -> None:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"the visitor secret is {len(secret.encode())} bytes, at least {MIN_SECRET_BYTES} needed")
        self._secret = secret.encode()

    def visitor(self, address: str, day: str) -> str:
        """The name of the visitor at a source address on a day."""
        text = f"anonymous run:{day}:{network_of(address)}"
        return hmac.new(self._secret, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:32]


def network_of(address: str) -> str:
    """The network that is one visitor: an IPv4 address, also one that is mapped into IPv6, or the /64 of an IPv6 one.
    All texts that are no address are one visitor together."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return NOT_AN_ADDRESS
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(IPv6Network((int(parsed), SITE_PREFIX_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(IPv4Network(parsed))


def day_of(now: datetime) -> str:
    """The UTC day, as `2026-11-28`."""
    return iso(now)[:10]


def day_end(now: datetime) -> datetime:
    """The next midnight, UTC."""
    return instant(now).replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def seconds_to_day_end(now: datetime) -> int:
    """Whole seconds until the next midnight, UTC; at least 1."""
    return max(ceil_div((day_end(now) - instant(now)) // timedelta(milliseconds=1), 1000), 1)
