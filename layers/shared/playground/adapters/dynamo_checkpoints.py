"""Pieces of answers that are being written, in the table of conversations. They are deleted when their run has ended;
those of a worker that died are removed by the table's time to live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from playground.adapters.dynamo_keys import checkpoint_key
from playground.adapters.dynamo_store import DynamoStore
from playground.ports import Checkpoint

LIFETIME = timedelta(hours=1)  # longer than any run takes
MAX_PIECES = 100  # of one read; each has about 4 KB, or what is written in two seconds
MAX_END = 999_999_999  # characters; an answer has 2.5 MB at most


@dataclass(frozen=True, slots=True)
class DynamoCheckpoints:
    """`ports.Checkpoints`."""

    store: DynamoStore
    table: str

    def save(self, run_id: str, nonce: str, checkpoint: Checkpoint, *, now: datetime) -> None:
        key = checkpoint_key(self.table, run_id, nonce, checkpoint.end)
        item = {
            "begins": {"N": str(checkpoint.offset)},
            "text": {"S": checkpoint.text},
            "ttl": {"N": str(int((now + LIFETIME).timestamp()))},
        }
        self.store.put_all({key: item})

    def after(self, run_id: str, nonce: str, offset: int) -> Sequence[Checkpoint]:
        first = checkpoint_key(self.table, run_id, nonce, offset + 1)
        last = checkpoint_key(self.table, run_id, nonce, MAX_END)
        raws, _ = self.store.query(self.table, first.pk, first=first.sk, last=last.sk, limit=MAX_PIECES)
        return [Checkpoint(int(raw["begins"]["N"]), raw["text"]["S"]) for raw in raws]

    def delete(self, run_id: str, nonce: str, ends: Sequence[int]) -> None:
        self.store.delete_all([checkpoint_key(self.table, run_id, nonce, end) for end in ends])
