"""Secrets are JSON objects; what is wrong with one is said without showing it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from playground.adapters.secrets import SecretError, read_secret
from playground.domain.errors import StoreUnavailableError
from tests.handlers import Handlers
from tests.kit.template import template_source

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


TEMPLATE = template_source()["Resources"]
AS_MADE = {
    name: {
        **json.loads(resource["Properties"]["GenerateSecretString"]["SecretStringTemplate"]),
        resource["Properties"]["GenerateSecretString"]["GenerateStringKey"]: CANARY,
    }
    for name, resource in TEMPLATE.items()
    if resource["Type"] == "AWS::SecretsManager::Secret"
}


@pytest.mark.parametrize("name", ["AnthropicSecret", "StripeSecret"])
def test_a_secret_that_is_as_the_template_made_it_is_refused(name: str) -> None:
    with pytest.raises(SecretError, match="has no api_key yet: put it there") as caught:
        read_secret(vault(json.dumps(AS_MADE[name])), ARN)
    assert ARN in str(caught.value)
    assert caught.value.what == str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_secret_that_the_template_makes_whole_is_taken() -> None:
    assert read_secret(vault(json.dumps(AS_MADE["ShareSecret"])), ARN)["generated"] == CANARY


@pytest.mark.parametrize(
    ("value", "needed", "missing"),
    [
        ({"api_key": ""}, (), "no api_key yet"),
        ({"api_key": "  "}, (), "no api_key yet"),
        ({"api_key": "not-set"}, (), "no api_key yet"),
        ({"api_key": CANARY, "webhook_secrets": [CANARY, ""]}, ("api_key",), "no webhook_secrets yet"),
        ({"api_key": CANARY, "secrets": [CANARY, "not-set"]}, (), "no secrets yet"),
        ({"key": CANARY}, ("api_key",), "no api_key yet"),
        ({"api_key": 5, "other": " "}, ("api_key",), "no api_key and no other yet"),
    ],
)
def test_what_is_empty_is_named_but_not_shown(value: dict[str, Any], needed: tuple[str, ...], missing: str) -> None:
    with pytest.raises(SecretError, match=missing) as caught:
        read_secret(vault(json.dumps(value)), ARN, *needed)
    assert ARN in str(caught.value)
    assert CANARY not in str(caught.value)


def test_credits_reads_a_secret_again_that_was_not_set(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    app = handlers.apps["credits"]
    app.stripe_secret.cache_clear()
    for text in ('{"api_key": "not-set"}', "{}"):
        monkeypatch.setattr(app.wiring, "secrets_client", lambda text=text: vault(text))
        with pytest.raises(SecretError):
            app.stripe_secret()
    monkeypatch.undo()
    assert app.stripe_secret()["api_key"].startswith("sk_")


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
