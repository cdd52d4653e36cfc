"""Access tokens: JWTs of the registry, verified with PyJWT."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt

from playground.adapters.key_set import KeySet
from playground.domain.errors import UnauthorizedError
from playground.domain.users import is_user_id

LEEWAY = 60  # s; clocks of issuer and worker may differ by so much
LONGEST_TOKEN = 8192  # characters; a longer one is not looked at

Keys = Callable[[str], Sequence[Any]]
"""The keys that may have signed a token. Raises jwt.PyJWTError if there are none for it."""


def shared_secrets(secrets: Sequence[str], algorithm: str) -> Keys:
    """Keys of an HS* algorithm. All of `secrets` are accepted, so that one can be replaced without an outage.

    Raises ValueError if there is none, or if one is shorter than the algorithm's hash (RFC 7518, 3.2).
    """
    least = int(algorithm.removeprefix("HS")) // 8
    if not secrets:
        raise ValueError('no secret to verify tokens with: set AuthSecret to {"secrets": ["…"]}')
    for number, secret in enumerate(secrets, start=1):
        if len(secret.encode()) < least:
            raise ValueError(
                f"secret {number} for {algorithm} is {len(secret.encode())} bytes, at least {least} needed"
            )
    return lambda token: secrets


def key_set(url: str, report_stale: Callable[[str, float], None] = lambda cause, age_seconds: None) -> Keys:
    """Keys of an asymmetric algorithm: the one that the token's `kid` names in the set at `url`, and nowhere else.

    The set is fetched anew after 5 min; an unknown `kid` has it fetched again, at most twice a minute. If that fails,
    the keys that are known are used for up to 24 hours, and `report_stale` is told why and how old they are.
    Raises ValueError for an address that is not HTTPS (plain HTTP is fine on loopback).
    """
    parts = urlsplit(url)
    _ = parts.port  # a ValueError, if it is no number
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise ValueError(f"the key set must be at an https:// address, not {url!r}")
    key_set = KeySet(url, report_stale=report_stale)

    def keys(token: str) -> Sequence[Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        if not isinstance(kid, str):
            raise jwt.InvalidTokenError("no kid")
        return [key_set.key(kid)]

    return keys


class TokenVerifier:
    """Says who a bearer token speaks for. Algorithm, issuer and audience are fixed, whatever the token claims."""

    def __init__(self, *, algorithm: str, issuer: str, audience: str, keys: Keys) -> None:
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._keys = keys

    def __call__(self, authorization: str | None) -> str:
        """The user id (`sub`, or `user_id` if there is no `sub`) in an `Authorization` header.

        Raises UnauthorizedError, the same for every bad token; StoreUnavailableError if the keys cannot be fetched.
        """
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > LONGEST_TOKEN:
            raise UnauthorizedError("no bearer token")
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnauthorizedError(type(error).__name__) from None
        subject = claims.get("sub") or claims.get("user_id")
        if not isinstance(subject, str) or not is_user_id(subject):
            raise UnauthorizedError("no usable subject")
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        failure: jwt.PyJWTError = jwt.InvalidTokenError("no key")
        for key in self._keys(token):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[self._algorithm],
                    issuer=self._issuer,
                    audience=self._audience,
                    leeway=LEEWAY,
                    options={"require": ["exp", "iss", "aud"], "verify_sub": False},
                )
            except jwt.InvalidSignatureError as error:
                failure = error  # perhaps another of the secrets signed it
        raise failure
