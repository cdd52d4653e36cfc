"""What is stored of one account, as it is: items with their attributes as plain values, read or not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Fields = Mapping[str, object]
"""The attributes of an item as plain values: str, int, bool, bytes, None, list, dict; or Unreadable."""

BUCKETS = ("monthly", "rollover", "purchased")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored value that cannot be read. `what` says of which type it is, and no more."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry, the number in its key, and the receipt of the run that it names, if there is one."""

    number: int | None
    fields: Fields
    receipt: Fields | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A receipt and what it names: its entry, its turn and its session. `stray_turn` is the number of a turn of its
    session that names this run; it is looked for only if the run is not settled. `prompt` is the custom prompt of its
    session; it is looked for only if the run has one."""

    run_id: str
    fields: Fields
    entry: Fields | None = None
    turn: Fields | None = None
    session: Fields | None = None
    prompt: Fields | None = None
    stray_turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """The item that makes the business key of a change unique."""

    name: str
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of one account. `held` has, for every hold, a receipt and a turn of the same run, if there are
    any. `shard` is where the account has its place in the sparse indexes. Iterables are gone through once, in this
    order: entries (by number), runs, keys."""

    user_id: str
    shard: str
    account: Fields | None
    entries: Iterable[StoredEntry] = ()
    runs: Iterable[StoredRun] = ()
    keys: Iterable[StoredKey] = ()
    held: Mapping[str, StoredRun] = field(default_factory=dict)
