"""Secrets are JSON objects; what is wrong with one is said without showing it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from playground.adapters.secrets import SecretError, read_secret
from playground.domain.errors import StoreUnavailableError

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:auth"
CANARY = "canary-in-a-value"


class Vault:
    """As much of a Secrets Manager client as is used. `answer` is returned, or raised."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803 - the vendor's name
        self.asked.append(SecretId)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def vault(text: str) -> Vault:
    return Vault({"SecretString": text, "Name": "auth"})


def test_a_secret_is_a_json_object() -> None:
    asked = vault('{"secrets": ["one", "zwei ü"], "other": 5}')

    assert read_secret(asked, ARN) == {"secrets": ["one", "zwei ü"], "other": 5}
    assert asked.asked == [ARN]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not JSON"),
        (CANARY, "is not JSON"),
        ('{"api_key": "' + CANARY, "is not JSON"),
        (f'"{CANARY}"', "is not a JSON object"),
        (f'["{CANARY}"]', "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("5", "is not a JSON object"),
    ],
)
def test_a_secret_of_another_form_is_named_but_not_shown(text: str, what: str) -> None:
    with pytest.raises(SecretError, match=what) as caught:
        read_secret(vault(text), ARN)

    assert ARN in str(caught.value)
    assert CANARY not in str(caught.value)
    # json's own error carries the text; a traceback that is logged must not lead to it.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_secret_of_bytes_is_named() -> None:
    with pytest.raises(SecretError, match="secret:auth"):
        read_secret(Vault({"SecretBinary": CANARY.encode()}), ARN)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "?"}}, "GetSecretValue"),
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "?"}}, "GetSecretValue"),
        EndpointConnectionError(endpoint_url="https://secretsmanager.test"),
        ConnectTimeoutError(endpoint_url="https://secretsmanager.test"),
        NoCredentialsError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_vault_that_does_not_answer_is_unavailable(error: Exception) -> None:
    with pytest.raises(StoreUnavailableError):
        read_secret(Vault(error), ARN)
