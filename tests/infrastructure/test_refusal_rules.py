"""Rules about refusals of requests that the description allows are narrow: a refusal too many is a finding."""

import pytest

from tests.kit.described import described
from tools.refusals import RULES, explained

OPERATIONS = {operation["operationId"] for methods in described()["paths"].values() for operation in methods.values()}


@pytest.mark.parametrize(
    ("operation", "code", "message", "is_explained"),
    [
        ("listRuns", "validation_error", "cursor: must be a next_cursor of an earlier answer", True),
        ("runPackage", "validation_error", "cursor: must be a next_cursor of an earlier answer", False),
        ("listRuns", "bad_request", "cursor: must be a next_cursor of an earlier answer", False),
        ("listRuns", "validation_error", "limit: must be at most 50; got 100", False),
        ("runPackage", "validation_error", "max_tokens: must not be 600", False),
        ("runPackage", "validation_error", "max_tokens: must be at most 1,024 with a custom prompt; got 2000", True),
        ("runPackage", "validation_error", "input: must have at most 9,000 characters; got 10,000 characters", False),
        ("comparePackages", "validation_error", "variants.1: must differ from variants.0", True),
        ("comparePackages", "validation_error", 'variants.1.model: must be one of haiku; got "opus"', False),
        ("runPackage", "unsupported_parameter", "sonnet does not support temperature; leave it out.", True),
        ("runPackage", "unsupported_parameter", "sonnet does not support input; leave it out.", False),
        ("getCredits", "validation_error", "anything", False),
    ],
)
def test_a_refusal_is_explained_by_its_code_and_message(
    operation: str, code: str, message: str, is_explained: bool
) -> None:
    assert explained(operation, {"error": code, "message": message}) == is_explained


def test_rules_are_about_operations_that_there_are() -> None:
    for rule in RULES:
        assert set(rule.operations) <= OPERATIONS, rule.why
        assert not rule.allows(rule.operations[0], {"error": rule.code, "message": "refused"}), rule.why
