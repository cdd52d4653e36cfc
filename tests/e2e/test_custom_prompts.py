"""Custom prompts through the whole laptop stack: gateway, functions, store and Claude's stand-in, over HTTP."""

from datetime import UTC, datetime, timedelta

from local.demo import Client
from local.settings import TEMPLATE
from local.tokens import issuer
from playground.adapters.prices import load_prices
from tests.e2e.conftest import Stack
from tests.support import all_entries, check_invariants

SECRET_WORD = "heliotrope-of-the-custom-prompt"
PROMPT = f"You are a pirate lawyer. The password is {SECRET_WORD}. Answer in one sentence."
RUN = {"custom_prompt": PROMPT, "input": "What is a lien?"}


def author(stack: Stack, user_id: str) -> Client:
    """A user whose token says that they are a verified author."""
    token = issuer(TEMPLATE, stack.folder, {}).token(user_id, timedelta(hours=1), verified_author=True)
    return Client(stack.url, token)


def test_a_verified_author_runs_goes_on_shares_and_deletes(stack: Stack, user_id: str) -> None:
    terms, client = load_prices().custom_prompt, author(stack, user_id)
    assert terms is not None
    assert stack.client(user_id).post("/playground/run", RUN).body["error"] == "not_entitled"

    first = client.post("/playground/run", RUN, key="k")
    assert first.status == 200, first.body
    assert client.post("/playground/run", RUN, key="k").body == first.body
    session_id = first.body["session_id"]
    further = client.post("/custom-prompt/run", {"input": "And then?", "session_id": session_id})
    assert (further.status, further.body["is_custom_prompt"]) == (200, True)
    spent = first.body["credits_spent"] + further.body["credits_spent"]
    assert spent == 2 * terms.factor

    path = f"/playground/sessions/{session_id}"
    assert client.get(path).body["custom_prompt"] == PROMPT
    public = Client(stack.url, None)
    token = client.post(f"{path}/share", {}).body["share_token"]
    assert SECRET_WORD not in str(public.get(f"/playground/shared/{token}").body)
    client.post(f"{path}/share", {"include_prompt": True, "acknowledge_findings": True})
    assert public.get(f"/playground/shared/{token}").body["custom_prompt"] == PROMPT
    assert client.delete(path).status == 200
    assert public.get(f"/playground/shared/{token}").status == 404

    account = stack.ledger.account(user_id, datetime.now(UTC))
    check_invariants(account, all_entries(stack.ledger, user_id))
    assert (account.balance, account.held) == (5 - spent, 0)
    assert public.get("/custom-prompt/info").body["pricing"]["credit_multiplier"] == terms.factor
    assert SECRET_WORD not in stack.log
