"""Secrets: JSON objects in AWS Secrets Manager. Their values never reach an environment or a log."""

import json
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.errors import StoreUnavailableError


class SecretError(ValueError):
    """A secret is not of the form that it must have. Says which and what is missing, never the value."""


def read_secret(client: Any, arn: str) -> dict[str, Any]:
    """The JSON object in the secret `arn`. Raises SecretError if it is none, StoreUnavailableError if unreachable."""
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
    return value
