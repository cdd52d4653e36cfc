"""Outcomes of runs that wait for other settlements of their account, so that whoever settles next can settle them, too.

An outcome proves nothing and is shown to nobody: it is used only while its attempt has its hold. Whoever ends the run
deletes it; that of a worker that died is removed by the table's time to live.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_store import RawItem
from playground.domain.account import Account, Hold, settle
from playground.domain.entries import Entry
from playground.domain.errors import CorruptLedgerError
from playground.domain.runs import Run, RunStatus
from playground.domain.sessions import Session

KEYS = ("pk", "sk")
DAMAGED = (LookupError, TypeError, ValueError, AttributeError)
LIFETIME = timedelta(hours=1)  # longer than any settlement waits
MAX_OUTCOME_BYTES = 64 * 1024  # of texts; with more a run is settled alone. A transaction has 4 MB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the settlement of a run writes. `run` is its receipt as it was worked out for one state of the account;
    `reason` that of its spend. `turn` is the item."""

    run: Run
    reason: str
    session: Session
    turn: RawItem
    prompt: str | None = None

    def conclude(self, account: Account) -> tuple[Account, Run, tuple[Entry, ...]]:
        """`ports.Conclude` of this run."""
        run = self.run
        after, entries = settle(account, run.run_id, run.charged, reason=self.reason, now=run.ended_at)
        spend = entries[-1]
        return (
            after,
            replace(
                run,
                deltas=spend.deltas,
                balance_after=spend.balance_after,
                entry_seq=spend.seq,
                entry_hash=spend.hash,
            ),
            entries,
        )

    def is_of(self, hold: Hold) -> bool:
        """Whether it is the outcome of the attempt that has `hold`."""
        run = self.run
        return (
            run.status is RunStatus.SETTLED
            and (run.run_id, run.nonce, run.session_id) == (hold.run_id, hold.nonce, hold.session_id)
            and (self.session.session_id, self.session.user_id) == (run.session_id, run.user_id)
            and self.session.turns == run.turn
            and (self.turn.get("number"), self.turn.get("run_id")) == ({"N": str(run.turn)}, {"S": run.run_id})
            and 1 <= run.charged <= hold.ceiling
        )


def outcome_item(outcome: Outcome) -> RawItem | None:
    """None if it is too large to be shared."""
    variables = outcome.session.variables or {}
    texts = [*variables, *variables.values(), outcome.prompt or ""]
    size = sum(len(text.encode()) for text in texts)
    size += sum(len(value["B"]) for value in outcome.turn.values() if "B" in value)
    if size > MAX_OUTCOME_BYTES:
        return None
    prompt = {"prompt": {"S": outcome.prompt}} if outcome.prompt is not None else {}
    return {
        "run": {"M": items.run_item(outcome.run)},
        "reason": {"S": outcome.reason},
        "session": {"M": items.session_item(outcome.session)},
        "turn": {"M": outcome.turn},
        "ttl": {"N": str(int((outcome.run.ended_at + LIFETIME).timestamp()))},
        **prompt,
    }


def outcome_of(user_id: str, raw: RawItem) -> Outcome | None:
    """The outcome in an item. None if it is damaged, or if another version of the code has stored what this one would
    not write: then it is left to its own worker."""
    try:
        outcome = Outcome(
            run=items.run_of(user_id, raw["run"]["M"]),
            reason=raw["reason"]["S"],
            session=items.session_of(raw["session"]["M"]),
            turn=raw["turn"]["M"],
            prompt=raw["prompt"]["S"] if "prompt" in raw else None,
        )
        return outcome if outcome_item(outcome) == {name: raw[name] for name in raw if name not in KEYS} else None
    except (CorruptLedgerError, *DAMAGED):
        return None
