"""What tests make functions log is looked at (tests/conftest.py, tests/e2e/conftest.py): a leak is found."""

import json

import pytest

from playground.observability import logger
from tests.conftest import ROOT
from tests.kit.log_leaks import MIN_TEXT_CHARACTERS, TEXTS, LogWatch, leaks_in, leaks_in_stack_log

PLANTED = {
    "a token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWl0",
    "an authorization header": "Bearer abcdefghijklmnop",
    "a key of Stripe": "sk_test_0123456789",
    "a webhook secret": "whsec_0123456789",
    "a client secret": "pi_123_secret_456",
    "a key of Claude": "sk-ant-api03-0123456789",
    "an e-mail address": "alice@example.com",
}


@pytest.mark.parametrize(("kind", "secret"), PLANTED.items())
def test_a_secret_in_a_line_is_found(kind: str, secret: str) -> None:
    assert kind in leaks_in(json.dumps({"message": "refused", "facts": {"what": f"of {secret}!"}}))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_a_line_is_found_however_it_is_spelled(text: str) -> None:
    assert leaks_in(json.dumps({"input": text})) == [f"the text {text!r}"]
    assert len(text) >= MIN_TEXT_CHARACTERS
    assert leaks_in(f"ValueError: {text}") == [f"the text {text!r}"]


def test_every_sample_package_has_a_text() -> None:
    assert len(TEXTS) >= 3 + len(list((ROOT / "local" / "packages").iterdir()))


@pytest.mark.parametrize("line", ["@acme/tidy@1.2.0", "run_0abc", "evt_1 cus_2 pi_3", "claude-sonnet-5-5", "Bearer -"])
def test_what_logs_are_made_of_is_none(line: str) -> None:
    assert leaks_in(line) == []


def test_a_stack_may_print_a_token_for_its_demonstration_and_a_function_none() -> None:
    token = PLANTED["a token"]
    assert leaks_in_stack_log(f"token (demo, valid 30 days): {token}\n[run] {{}}") == []
    assert leaks_in_stack_log(f"[run] fine\n[run] {token}") == [f"a token: [run] {token}"]


def test_a_leak_of_the_functions_logger_is_seen(log_watch: LogWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the handler that watches every test; what is planted here is taken out again."""
    monkeypatch.setattr(log_watch, "found", found := [])
    logger.info("refused", facts={"input": TEXTS[0]})
    logger.info("run ended", run_id="run_1", user_id="alice")

    assert len(found) == 1
    assert found[0].startswith(f"the text {TEXTS[0]!r}")
