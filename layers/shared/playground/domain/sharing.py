"""Shares: a frozen snapshot of a conversation, readable by everybody who has the link. Pure: no clock, no I/O; secrets
are arguments.

A link ends with a token of 256 bits, an HMAC over the session and a nonce of its own. Sharing again derives the same
token; after the link was withdrawn there is a new nonce, so a withdrawn link never works again. Only the SHA-256 of a
token is stored: it is the share's id.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from playground.domain.calendar import iso

MIN_SECRET_BYTES = 32  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLink:
    """The share as its session knows it. `turns` is the length of the snapshot."""

    share_id: str
    nonce: str
    turns: int
    shared_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a link opens: the first `turns` turns of a session, which never change; and with `include_prompt` the text
    of its custom prompt."""

    share_id: str
    session_id: str
    user_id: str
    package_id: str | None = None
    package: str | None = None
    package_version: str | None = None
    use_no_prompt: bool
    model: str
    title: str
    created_at: datetime
    turns: int
    shared_at: datetime
    expires_at: datetime | None = None
    include_prompt: bool = False
    hidden: bool = False
    views: int = 0
    helpful: int = 0
    not_helpful: int = 0
    reports: int = 0

    def __post_init__(self) -> None:
        check_package(self.package_id, self.package, self.package_version)

    def is_open(self, now: datetime) -> bool:
        """Whether it may be read. Expiry is checked here, so no job has to remove expired shares."""
        return not self.hidden and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One viewer's vote on a shared conversation."""

    is_helpful: bool
    comment: str
    given_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One viewer's report of a shared conversation. For the operator only."""

    reporter: str
    reason: str
    given_at: datetime


def check_package(*parts: str | None) -> None:
    """Raises ValueError for a part of a package without the others: there is a whole one, or a custom prompt."""
    if any(part is None for part in parts) and any(part is not None for part in parts):
        raise ValueError("a package lacks its id, its name or its version")


class ShareKeys:
    """Derives tokens and the names of addresses. The newest of `secrets` is used for what is new.

    Raises ValueError if there is no secret, or if one is shorter than 32 bytes.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError('no secret for share links: set ShareSecret to {"secrets": ["…"]}')
        for number, secret in enumerate(secrets, start=1):
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"share secret {number} is {len(secret.encode())} bytes, at least {MIN_SECRET_BYTES} needed"
                )
        self._secrets = [secret.encode() for secret in secrets]

    def token(self, session_id: str, nonce: str) -> str:
        """The token of a new link."""
        return _token(self._secrets[0], session_id, nonce)

    def known_token(self, session_id: str, link: ShareLink) -> str | None:
        """The token of an existing link; None if its secret was removed."""
        tokens = (_token(secret, session_id, link.nonce) for secret in self._secrets)
        return next((token for token in tokens if share_id_of(token) == link.share_id), None)

    def visitor(self, share_id: str, address: str, now: datetime) -> str:
        """A name for a network address among the viewers of one share, on one day. Each day has a new key, so viewers
        cannot be tracked over days."""
        key = _mac(self._secrets[0], "addresses", iso(now)[:10])
        return "a-" + _mac(key, share_id, address).hex()[:32]


def share_id_of(token: str) -> str:
    """The id of the share that a token opens: its SHA-256. Any text has one; only a real token's exists."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def viewer_of(share_id: str, user_id: str) -> str:
    """A name for a user among the viewers of one share, the same for ever. It uses no secret, because a replaced secret
    would give everybody a second vote."""
    return "u-" + hashlib.sha256(f"{share_id}:{user_id}".encode(errors="surrogatepass")).hexdigest()[:32]


def _token(secret: bytes, session_id: str, nonce: str) -> str:
    return base64.urlsafe_b64encode(_mac(secret, "share", session_id, nonce)).decode().rstrip("=")


def _mac(secret: bytes, *parts: str) -> bytes:
    """HMAC-SHA256 over parts with their lengths, so that no two lists of parts give the same input."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(secret, text.encode(errors="surrogatepass"), hashlib.sha256).digest()
