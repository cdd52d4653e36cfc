"""Access tokens: JWTs of the registry, verified with PyJWT."""

from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import jwt

from playground.domain.errors import StoreUnavailableError, UnauthorizedError
from playground.domain.users import is_user_id

LEEWAY = 60  # s; clocks of issuer and worker may differ by so much
LONGEST_TOKEN = 8192  # characters; a longer one is not looked at

_UNUSABLE_SET = (jwt.PyJWTError, OSError, ValueError, HTTPException, RecursionError)

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


def key_set(url: str) -> Keys:
    """Keys of an asymmetric algorithm: the one that the token's `kid` names in the set at `url`, and nowhere else.

    The set is cached for 5 min; an unknown `kid` has it fetched again, at most twice a minute.
    Raises ValueError for an address that is not HTTPS (plain HTTP is fine on loopback).
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise ValueError(f"the key set must be at an https:// address, not {url!r}")
    client = jwt.PyJWKClient(url, lifespan=300, cooldown_duration=30, timeout=3)

    def keys(token: str) -> Sequence[Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        if not isinstance(kid, str):
            raise jwt.InvalidTokenError("no kid")
        try:
            client.get_signing_keys()  # cached; whatever is wrong with the set is not the caller's fault
        except _UNUSABLE_SET as error:
            raise StoreUnavailableError from error
        try:
            return [client.get_signing_key(kid).key]
        except jwt.PyJWKClientConnectionError as error:
            raise StoreUnavailableError from error
        except jwt.PyJWKClientError as error:
            raise jwt.InvalidTokenError("unknown kid") from error
        except (OSError, ValueError) as error:
            raise StoreUnavailableError from error

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
