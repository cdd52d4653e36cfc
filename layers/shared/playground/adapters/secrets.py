"""Secrets: JSON objects in AWS Secrets Manager. Their values never reach an environment or a log."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.errors import StoreUnavailableError

PLACEHOLDER = "not-set"  # what template.yaml puts in where only an operator knows the value


class SecretError(ValueError):
    """A secret has the wrong form. The message says which and what is missing, never the value."""

    @property
    def what(self) -> str:
        """For the log of a request that failed because of it."""
        return str(self)


def read_secret(client: Any, arn: str, *needed: str) -> dict[str, Any]:
    """The JSON object in the secret `arn`.

    Raises SecretError if it is none, if a text in it is blank or still the placeholder, or if one that is `needed` is
    missing; StoreUnavailableError if it cannot be reached.
    """
    try:
        text = client.get_secret_value(SecretId=arn).get("SecretString")
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailableError from error
    if text is None:
        raise SecretError(f"the secret {arn} holds bytes, not text")
    try:
        value = json.loads(text)
    except ValueError:
        raise SecretError(f"the secret {arn} is not JSON") from None
    if not isinstance(value, dict):
        raise SecretError(f"the secret {arn} is not a JSON object")
    unset = {name for name, text in _texts(value) if text.strip() in ("", PLACEHOLDER)}
    unset |= {name for name in needed if not isinstance(value.get(name), str)}
    if unset:
        raise SecretError(
            f"the secret {arn} has no {' and no '.join(sorted(unset))} yet: put it there with `aws secretsmanager "
            "put-secret-value`, then have the functions start anew (docs/operations.md, Secrets)"
        )
    return value


def _texts(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, content in value.items():
        for text in content if isinstance(content, list) else [content]:
            if isinstance(text, str):
                yield name, text
