"""Texts that people choose go into keys, headers, metadata, addresses and logs. Whatever they are, the answer is one of
the contract: never an error of ours, and nothing is looked up under a name that the store cannot have."""

from typing import Any

import pytest

from tests.handlers import Handlers

TEXTS = {
    "bidi": "\u202eabc\u202c",
    "emoji": "👩‍👩‍👧 🙂",
    "combining": "e\u0301" * 20,
    "NUL": "a\0b",
    "half of a pair": "a\ud83d",
    "the other half": "\udc4d",
    "long": "x" * 2000,
    "long and wide": "用" * 2000,
    "spaces around": "  a  ",
    "only spaces": " \u00a0\u3000",
    "line break": "a\r\nSet-Cookie: b",
    "separators": "a#b/c?d%e",
    "dots": "..",
    "formula": "=1+1",
    "nothing": "",
}
PACKAGE = "@playground/code-reviewer"
# What a text is put into: method, path, body, Idempotency-Key; `{}` and None stand for the text.
PLACES: dict[str, tuple[str, str, dict[str, Any] | None, str]] = {
    "package": ("POST", "/playground/estimate", {"package_id": None, "input": "Go."}, ""),
    "version": ("POST", "/playground/estimate", {"package_id": PACKAGE, "package_version": None, "input": "Go."}, ""),
    "session": ("POST", "/playground/run", {"package_id": PACKAGE, "session_id": None, "input": "Go."}, ""),
    "model": ("POST", "/playground/estimate", {"package_id": PACKAGE, "model": None, "input": "Go."}, ""),
    "pack": ("POST", "/playground/credits/purchase", {"package": None}, ""),
    "purchase key": ("POST", "/playground/credits/purchase", {"package": "small"}, "{}"),
    "run key": ("POST", "/playground/run", {"package_id": "@none/none", "input": "Go."}, "{}"),
    "success address": ("POST", "/playground/subscribe", {"success_url": None}, ""),
    "cancel address": ("POST", "/playground/subscribe", {"cancel_url": None}, ""),
    "cursor": ("GET", "/playground/sessions?cursor={}", None, ""),
    "history cursor": ("GET", "/playground/credits/history?cursor={}", None, ""),
    "history type": ("GET", "/playground/credits/history?type={}", None, ""),
    "runs cursor": ("GET", "/playground/runs?cursor={}", None, ""),
    "runs package": ("GET", "/playground/runs?package={}", None, ""),
    "runs model": ("GET", "/playground/runs?model={}", None, ""),
    "runs status": ("GET", "/playground/runs?status={}", None, ""),
    "runs day": ("GET", "/playground/runs?day={}", None, ""),
    "search": ("GET", "/packages?q={}", None, ""),
    "run": ("GET", "/playground/runs/{}", None, ""),
    "session path": ("GET", "/playground/sessions/{}", None, ""),
    "session to delete": ("DELETE", "/playground/sessions/{}", None, ""),
    "session to share": ("POST", "/playground/sessions/{}/share", {}, ""),
    "share": ("GET", "/playground/shared/{}", None, ""),
    "share to report": ("POST", "/playground/shared/{}/report", {"reason": "spam"}, ""),
    "fork key": ("POST", "/playground/shared/none/fork", {}, "{}"),
    "package path": ("GET", "/packages/{}", None, ""),
    "feedback": ("POST", "/playground/runs/run_none/feedback", {"rating": 5, "comment": None}, ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_text_is_an_error_of_ours(
    handlers: Handlers, user_id: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    method, path, body, key = PLACES[place]
    for name, text in TEXTS.items():
        if "{}" in path.partition("?")[0] and ("/" in text or not text or "?" in text):
            continue  # another path
        query = text.translate({ord(sign): f"%{ord(sign):02X}" for sign in "&#%+ \r\n\0;="})
        answer = handlers.call(
            method,
            path.replace("{}", query if "?" in path else text),
            {field: text if value is None else value for field, value in body.items()} if body is not None else None,
            user=user_id,
            key=key.replace("{}", text) or None,
        )
        assert answer.status < 500, (name, answer.body)
    assert "UnhandledError" not in capfd.readouterr().out
