"""Access tokens: JWTs of the registry, verified with PyJWT."""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt

from playground.adapters.key_set import KeySet
from playground.domain.errors import UnauthorizedError
from playground.domain.users import is_user_id

LEEWAY = 60  # s; clocks of issuer and worker may differ by so much
MAX_TOKEN_CHARACTERS = 8192  # characters; a longer one is not looked at
MAX_EXP = 10**11  # s; the year 5138. An `exp` in milliseconds is later, and its token would never end
MAX_EMAIL = 254  # characters (RFC 5321)
_ISSUER_AND_AUDIENCE = frozenset({"iss", "aud"})

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
    the keys that are known are used for up to 24 hours, and `report_stale` gets the reason and their age. Raises
    ValueError for an address that is not HTTPS (plain HTTP is fine on loopback).
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
    """Verifies bearer tokens. Algorithm, issuer and audience are fixed, whatever the token claims.

    A token must have `exp`, `iss`, `aud`, and `sub` or `user_id`. Without `require_issuer_and_audience` it may lack
    `iss` and `aud`, but one that it has must be right: then every token that was signed with these keys is accepted,
    whatever service it was meant for.
    """

    def __init__(
        self, *, algorithm: str, issuer: str, audience: str, keys: Keys, require_issuer_and_audience: bool = True
    ) -> None:
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._required = _ISSUER_AND_AUDIENCE if require_issuer_and_audience else frozenset[str]()

    def use_keys(self, keys: Keys) -> None:
        """Accept tokens of these keys, and of no others, from now on."""
        self._keys = keys

    def __call__(self, authorization: str | None) -> str:
        """The user id (`sub`, or `user_id` if there is no `sub`) in an `Authorization` header.

        Raises UnauthorizedError, the same for every bad token; StoreUnavailableError if the keys cannot be fetched.
        """
        claims = self._verified(authorization)
        subject = claims.get("sub") or claims.get("user_id")
        if not isinstance(subject, str) or not is_user_id(subject):
            raise UnauthorizedError("no usable sub or user_id")
        return subject

    def email(self, authorization: str | None) -> str | None:
        """The claim `email`, if there is one and it looks like an address. Not for logs, and not to be stored. Raises
        as a call does."""
        email = self._verified(authorization).get("email")
        return email if isinstance(email, str) and _is_address(email) else None

    def is_verified_author(self, authorization: str | None) -> bool:
        """Whether the token says so: only by a JSON true in the claim `verified_author`. Raises as a call does."""
        return self._verified(authorization).get("verified_author") is True

    def _verified(self, authorization: str | None) -> dict[str, Any]:
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARACTERS:
            raise UnauthorizedError("no bearer token")
        try:
            return self._claims(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnauthorizedError(_reason(error)) from None

    def _claims(self, token: str) -> dict[str, Any]:
        if not all(_is_canonical(part) for part in token.split(".")):
            raise jwt.DecodeError("not in canonical base64url")
        failure: jwt.PyJWTError = jwt.InvalidTokenError("no key")
        for key in self._keys(token):
            try:
                claims = self._decoded(token, key, self._required)
                named = _ISSUER_AND_AUDIENCE & claims.keys()
                return claims if named <= self._required else self._decoded(token, key, named | self._required)
            except jwt.InvalidSignatureError as error:
                failure = error  # another of the secrets may have signed it
        raise failure

    def _decoded(self, token: str, key: Any, required: frozenset[str]) -> dict[str, Any]:
        """The claims of a token that `key` signed, with `exp` and what is `required`, all of them right."""
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[self._algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY,
            options={
                "require": ["exp", *sorted(required)],
                "verify_iss": "iss" in required,
                "verify_aud": "aud" in required,
                "verify_sub": False,
            },
        )
        if claims["exp"] > MAX_EXP:
            raise jwt.InvalidTokenError("exp is not in seconds")
        return claims


def _is_canonical(part: str) -> bool:
    """Whether it is the one spelling of its bytes in base64url. Decoders ignore padding, white space and unused bits,
    so that a token would have several texts. Raises ValueError for what is no base64 at all."""
    content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return base64.urlsafe_b64encode(content).rstrip(b"=") == part.encode()


def _is_address(text: str) -> bool:
    return len(text) <= MAX_EMAIL and re.fullmatch(r"[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+", text) is not None


def _reason(error: Exception) -> str:
    """For the log: what is wrong with a token, by the name of a claim, never by what it says."""
    missing = f": {error.claim}" if isinstance(error, jwt.MissingRequiredClaimError) else ""
    return f"{type(error).__name__}{missing}"
