"""Tokens for the laptop stack, as the registry would issue them, and the secrets that sign them.

The secrets are generated once and stored in the state folder, readable by their owner only. AUTH_SECRETS
(comma-separated, newest first) replaces them.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from local.state_file import prepare_state_dir
from local.template import read_parameters

SECRET_BYTES = 32  # HS256's minimum
FILE_NAME = "auth-secrets.json"


class TokenError(Exception):
    """No token can be made; the message says why."""


def auth_secrets(state_dir: Path, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The secrets of this stack, newest first; generated if there are none. Raises TokenError."""
    given = environment.get("AUTH_SECRETS", "")
    if given:
        found = tuple(part.strip() for part in given.split(",") if part.strip())
        source = "AUTH_SECRETS"
    else:
        path = state_dir / FILE_NAME
        found, source = _kept(path), str(path)
    if not found or any(len(secret.encode()) < SECRET_BYTES for secret in found):
        raise TokenError(f"{source}: every secret must have at least {SECRET_BYTES} bytes")
    return found


def key_id(secret: str) -> str:
    """A short hash that identifies a secret and does not reveal it."""
    return hashlib.sha256(b"key of the playground's tokens " + secret.encode()).hexdigest()[:16]


def _kept(path: Path) -> tuple[str, ...]:
    prepare_state_dir(path.parent)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600, exist_ok=False)
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"secrets": [secrets.token_urlsafe(48)]}, file)
        # Two commands may race here: unlike a rename, a link does not replace an existing file.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["secrets"]
    except (ValueError, KeyError, TypeError) as error:
        raise TokenError(f"{path} is damaged; remove it to get new secrets (old tokens end)") from error
    except OSError as error:
        raise TokenError(f"{path} cannot be read ({error.strerror}); it must be yours") from error
    return tuple(str(secret) for secret in content)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens that the functions of this stack accept."""

    secret: str
    algorithm: str
    issuer: str
    audience: str

    def token(self, user: str, lifetime: timedelta, **others: object) -> str:
        """A token of `user`, with `others` as further claims."""
        now = datetime.now(UTC)
        claims = {"iss": self.issuer, "aud": self.audience, "sub": user, "iat": now, "exp": now + lifetime, **others}
        return jwt.encode(claims, self.secret, algorithm=self.algorithm)


def issuer(template: Path, state_dir: Path, environment: Mapping[str, str] = os.environ) -> Issuer:
    """An issuer with the template's parameters and the stored secrets. Raises TokenError."""
    parameters = read_parameters(template)
    algorithm = parameters["AuthAlgorithm"]
    if not algorithm.startswith("HS"):
        raise TokenError(f"the laptop stack signs with HS256, HS384 or HS512, the template says {algorithm}")
    return Issuer(
        secret=auth_secrets(state_dir, environment)[0],
        algorithm=algorithm,
        issuer=parameters["AuthIssuer"],
        audience=parameters["AuthAudience"],
    )
