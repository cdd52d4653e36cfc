"""What is stored of one user, read behind everybody's back, and what must be true of it at any time."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.engine import CREDENTIALS
from local.template import REGION
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import account_key, session_key, turn_key, user_pk
from playground.adapters.dynamo_payments import purchase_of
from playground.domain.account import Account, Hold, drop_hold
from playground.domain.entries import Entry, EntryType
from playground.domain.purchases import Purchase
from playground.domain.runs import Run, RunStatus
from playground.domain.sessions import Session, Turn
from tests.kit.intercept import PlainConnection
from tests.kit.prices import EXAMPLE
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, check_invariants

MAX_TURNS = 3  # of a session in these tests, and one more, to see that it is not there


@dataclass(frozen=True, slots=True)
class Books:
    """Everything about one user. `receipt` and `is_held` are of the run `run_id`."""

    run_id: str
    image: Mapping[str, Any] | None
    """The account to the letter; looking at it does not advance it."""
    account: Account | None
    entries: Sequence[Entry]
    receipts: Mapping[str, Run]
    turns: Mapping[tuple[str, int], Turn]
    sessions: Sequence[Session]
    purchases: Sequence[Purchase] = ()
    records: Sequence[str] = ()
    """Sort keys of what else there is: customer, subscription, keys."""

    @property
    def receipt(self) -> Run | None:
        return self.receipts.get(self.run_id)

    @property
    def is_held(self) -> bool:
        return self.account is not None and self.run_id in self.account.holds

    @property
    def holds(self) -> Sequence[Hold]:
        return tuple(self.account.holds.values()) if self.account is not None else ()

    @property
    def content(self) -> object:
        """All but where the index of leases has the account: that place may be too early, and is corrected then."""
        return self.account, self.entries, self.receipts, self.turns, self.sessions, self.purchases, self.records

    def shape(self, start: datetime) -> object:
        """What is left of it without names, hashes and dates: two users whose books have one shape have the same ahead
        of them if the same is done to them."""
        bought = tuple((each.state, each.granted, each.payment_id is None, each.moves) for each in self.purchases)
        if self.account is None or self.image is None:
            return bought, len(self.records)
        nonces: dict[str, int] = {}

        def number(nonce: str) -> int:
            return nonces.setdefault(nonce, len(nonces))

        account, image = self.account, self.image
        holds = sorted(account.holds.values(), key=lambda hold: (hold.run_id != self.run_id, hold.placed_at))
        receipts = sorted(
            self.receipts.values(),
            key=lambda run: (run.run_id != self.run_id, run.started_at, run.status, run.charged, str(run.failure)),
        )
        return (
            account.buckets,
            account.version,
            (account.debt, account.lapsed),
            (bought, len(self.records)),
            (account.plan, account.period, account.due_at),
            tuple((h.run_id == self.run_id, h.ceiling, number(h.nonce), h.lease_at - start) for h in holds),
            tuple((e.type, e.deltas, e.created_at - start, e.run_id == self.run_id) for e in self.entries),
            tuple((r.run_id == self.run_id, r.status, r.charged, r.failure, number(r.nonce)) for r in receipts),
            tuple(sorted(turn.number for turn in self.turns.values())),
            (items.remembers(image, self.run_id), image.get("lease_at", {}).get("S")),
        )

    def check(self) -> None:
        """I1 to I6 of docs/ledger.md: at any time, also while operations run and after workers died."""
        if self.account is None:
            assert (list(self.entries), self.receipts, self.turns) == ([], {}, {}), "there is no account for this"
            return
        account, entries = self.account, [*self.entries]
        for run_id in self.receipts.keys() & account.holds.keys():
            # Of an attempt that does not know yet that another one was first.
            account, more = drop_hold(account, run_id, now=account.holds[run_id].placed_at)
            entries += more
        check_invariants(account, entries)
        spent = {entry.run_id: -entry.amount for entry in self.entries if entry.type is EntryType.SPEND}
        paid = {run_id: run for run_id, run in self.receipts.items() if run.status is RunStatus.SETTLED}
        assert spent == {run_id: run.charged for run_id, run in paid.items()}, "spent is not what the receipts say"
        for run in self.receipts.values():
            if run.run_id not in paid:
                assert (run.charged, run.entry_seq, run.turn) == (0, None, None), f"{run.status}, and not for nothing"
                continue
            assert run.measured is not None
            model = EXAMPLE.model(run.model, custom_prompt=run.custom_prompt)
            price = EXAMPLE.price(model, run.measured.usage).credits
            assert run.charged == min(price, run.ceiling), f"charged {run.charged} for an answer that costs {price}"
        answered = {place: turn.run_id for place, turn in self.turns.items()}
        assert answered == {(run.session_id, run.turn): run_id for run_id, run in paid.items()}, (
            "an answer can be read and is not paid, or the other way round"
        )
        for session in self.sessions:
            charged = [run.charged for run in paid.values() if run.session_id == session.session_id]
            assert (session.turns, session.credits) == (len(charged), sum(charged)), "a session is not its turns"
        assert {session.session_id for session in self.sessions} == {run.session_id for run in paid.values()}

    def check_rest(self) -> None:
        """No worker is active any more: nothing is held."""
        if self.account is not None:
            held = self.account.held
            assert (held, self.account.available) == (0, self.account.balance), f"{held} credits are still held"


class Onlooker:
    """Reads in plain HTTP: nothing can go wrong with it, and it takes a quarter of the SDK's time."""

    def __init__(self, endpoint_url: str) -> None:
        self._connection = PlainConnection(endpoint_url)

    def close(self) -> None:
        self._connection.close()

    def books(self, user_id: str, *, run_id: str, session_ids: Sequence[str]) -> Books:
        """Those of a user whose sessions, if any, are among `session_ids`."""
        answer = self._call(
            "Query",
            TableName=LEDGER_TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": user_pk(user_id)}},
            ConsistentRead=True,
        )
        assert "LastEvaluatedKey" not in answer
        found = {raw["sk"]["S"]: raw for raw in answer["Items"]}
        image = found.get("ACCOUNT")
        turns, sessions = self._sessions(session_ids)
        return Books(
            run_id=run_id,
            image=image,
            account=items.account_of(user_id, image) if image is not None else None,
            entries=[items.entry_of(user_id, raw) for name, raw in found.items() if name.startswith("ENTRY#")],
            receipts={
                name.removeprefix("RUN#"): items.run_of(user_id, raw)
                for name, raw in found.items()
                if name.startswith("RUN#")
            },
            turns=turns,
            sessions=sessions,
            purchases=[purchase_of(user_id, raw) for name, raw in found.items() if name.startswith("PURCHASE#")],
            records=sorted(
                name for name in found if name.startswith(("CUSTOMER#", "INVOICE#", "SUBSCRIPTION", "KEY#"))
            ),
        )

    def _sessions(self, session_ids: Sequence[str]) -> tuple[Mapping[tuple[str, int], Turn], Sequence[Session]]:
        turns: dict[tuple[str, int], Turn] = {}
        sessions: list[Session] = []
        for first in range(0, len(session_ids), 100 // (MAX_TURNS + 1)):
            some = session_ids[first : first + 100 // (MAX_TURNS + 1)]
            keys = [session_key(SESSIONS_TABLE, session_id) for session_id in some]
            keys += [turn_key(SESSIONS_TABLE, each, 1 + n) for each in some for n in range(MAX_TURNS)]
            wanted = {SESSIONS_TABLE: {"Keys": [key.raw for key in keys], "ConsistentRead": True}}
            answer = self._call("BatchGetItem", RequestItems=wanted)
            assert not answer.get("UnprocessedKeys")
            for raw in answer["Responses"].get(SESSIONS_TABLE, ()):
                if raw["sk"]["S"] == "SESSION":
                    sessions.append(items.session_of(raw))
                else:
                    turn = items.turn_of(raw)
                    turns[raw["pk"]["S"].removeprefix("SESSION#"), turn.number] = turn
        return turns, sessions

    def forget(self, user_id: str) -> None:
        """Take the account away, so that no later sweep meets it."""
        self._call("DeleteItem", TableName=LEDGER_TABLE, Key=account_key(LEDGER_TABLE, user_id).raw)

    def _call(self, operation: str, **body: Any) -> dict[str, Any]:
        scope = f"{CREDENTIALS['AWS_ACCESS_KEY_ID']}/20210310/{REGION}/dynamodb/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none",
        }
        status, _, content = self._connection.send("POST", "/", json.dumps(body), headers)
        assert status == 200, f"{operation}: {status} {content!r}"
        answer: dict[str, Any] = json.loads(content, object_hook=_with_bytes)
        return answer


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value
