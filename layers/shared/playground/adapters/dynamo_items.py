"""How accounts, entries, runs, sessions and turns look as items, and back.

The models are schemas and names for expressions; they never talk to DynamoDB themselves. Attribute names are words,
except inside a hold, of which an account may have twenty.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.models import Model

from playground.adapters.dynamo_keys import shard_of, turn_number
from playground.adapters.dynamo_mapping import ItemMapping, decode, encode, value_of, whole
from playground.adapters.dynamo_store import RawItem
from playground.domain.account import Account
from playground.domain.calendar import from_iso, iso
from playground.domain.entries import Entry
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError, UnreadableError
from playground.domain.runs import Run
from playground.domain.sessions import UNKNOWN_TIME, Session, SessionCursor, Turn
from playground.domain.text import whole_characters
from playground.ports import TextRef

ERASING = "erasing"  # of an account that is being erased: the pseudonym under which its books are kept


@contextmanager
def undamaged(what: str, kind: type[CorruptLedgerError] = CorruptLedgerError) -> Iterator[None]:
    """Errors that show a damaged item become a CorruptLedgerError, or a subclass."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, zlib.error) as error:
        raise kind(f"{what}: {error}") from error


# --- Account ----------------------------------------------------------------------------------------------------------


class AccountItem(Model):
    """`available` is stored, for DynamoDB conditions cannot add; it equals monthly + rollover + purchased − held.

    `lease_at` is at or before the earliest lease of the holds and puts the account into the index by_lease.
    `lapsed` and what is reclaimed are absent for 0, which most accounts have for ever.
    `recent` remembers run ids that ended lately, one per slot: see `recent_slot`. `tickets` is the number of the last
    ticket in the queue of settlements (`q` of a hold). `failures_at`, `unpaid_at`, `runs_at` and `purchases_at` are
    milliseconds since 1970: they can be added to.
    """

    created_at = UnicodeAttribute()
    monthly = NumberAttribute()
    rollover = NumberAttribute()
    purchased = NumberAttribute()
    held = NumberAttribute()
    available = NumberAttribute()
    debt = NumberAttribute()
    lapsed = NumberAttribute(null=True)
    reclaimed_monthly = NumberAttribute(null=True)
    reclaimed_rollover = NumberAttribute(null=True)
    version = NumberAttribute()
    revision = NumberAttribute()
    last_hash = UnicodeAttribute()
    holds: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    recent: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    plan = UnicodeAttribute()
    allowance = NumberAttribute()
    period = NumberAttribute()
    anchor = UnicodeAttribute(null=True)
    entitled_until = UnicodeAttribute(null=True)
    subscription_id = UnicodeAttribute(null=True)
    paid_periods: ListAttribute[Any] = ListAttribute(null=True)
    due_at = UnicodeAttribute(null=True)
    due_shard = UnicodeAttribute(null=True)
    lease_at = UnicodeAttribute(null=True)
    lease_shard = UnicodeAttribute(null=True)
    tickets = NumberAttribute(null=True)
    has_paid = BooleanAttribute(null=True)
    failures_at = NumberAttribute(null=True)
    unpaid_at = NumberAttribute(null=True)
    runs_at = NumberAttribute(null=True)
    purchases_at = NumberAttribute(null=True)
    paused_at = UnicodeAttribute(null=True)


def recent_slot(run_id: str) -> tuple[str, str]:
    """The slot in which an account remembers that this run has ended, and its mark: 16 slots of 8 characters.

    A request whose run ended between its first look and its hold finds it here and reads the receipt, instead of asking
    the model again. A slot that another run has taken since costs a call of the model, never a credit.
    """
    return run_id[-1:].translate(_SLOTS), run_id[-9:-1]  # an id begins with the time, which many share


_SLOTS = str.maketrans("ghjkmnpqrstvwxyz", "0123456789abcdef")


def holds_map(account: Account) -> dict[str, dict[str, Any]]:
    holds: dict[str, dict[str, Any]] = encode(account.holds)
    return holds


_ACCOUNT = ItemMapping(
    of=Account,
    schema=AccountItem,
    inline={"buckets": ()},
    not_stored=frozenset({"user_id"}),
    not_fields=frozenset({"available", "recent", "due_shard", "lease_at", "lease_shard", "tickets"}),
)


def account_item(account: Account) -> RawItem:
    """A whole account, for when it is opened."""
    due_shard = shard_of(account.user_id) if account.due_at else None
    return _ACCOUNT.write(account, available=account.available, recent={}, due_shard=due_shard)


def _reclaimed(raw: RawItem) -> dict[str, int]:
    """Credits of each bucket to be taken as soon as they are free. An earlier version of the code, which does not know
    them, may have spent from the bucket since, or paid the debt."""

    def stored(attribute: Any) -> int:
        return whole(value_of(attribute, raw) or 0)

    debt = stored(AccountItem.debt)
    return {
        "reclaimed_monthly": min(stored(AccountItem.reclaimed_monthly), stored(AccountItem.monthly), debt),
        "reclaimed_rollover": min(stored(AccountItem.reclaimed_rollover), stored(AccountItem.rollover), debt),
    }


def account_of(user_id: str, raw: RawItem) -> Account:
    """The account in an item. Raises CorruptLedgerError if it does not add up: then no operation may go on."""
    if ERASING in raw:
        raise StoreUnavailableError(retry_after=60)  # it is being erased: nothing more is written to it
    with undamaged(f"account {user_id}"):
        account = _ACCOUNT.read(raw, user_id=user_id, **_reclaimed(raw))
        available = whole(value_of(AccountItem.available, raw))
    if available != account.available:
        raise CorruptLedgerError(f"account {user_id}: available is {available}, should be {account.available}")
    return account


def remembers(raw: RawItem, run_id: str) -> bool:
    """Whether the account in `raw` remembers that a run of this id has ended."""
    slot, mark = recent_slot(run_id)
    recent: Mapping[str, Any] = raw.get("recent", {}).get("M", {})
    return bool(recent.get(slot, {}).get("S") == mark)


# --- Entry ------------------------------------------------------------------------------------------------------------


class EntryItem(Model):
    seq = NumberAttribute()
    type = UnicodeAttribute()
    amount = NumberAttribute()
    balance_after = NumberAttribute()
    deltas: ListAttribute[Any] = ListAttribute()
    business_key = UnicodeAttribute()
    reason = UnicodeAttribute()
    created_at = UnicodeAttribute()
    previous_hash = UnicodeAttribute()
    hash = UnicodeAttribute()
    run_id = UnicodeAttribute(null=True)
    session_id = UnicodeAttribute(null=True)
    purchase_id = UnicodeAttribute(null=True)
    operator = UnicodeAttribute(null=True)


_ENTRY = ItemMapping(
    of=Entry, schema=EntryItem, not_stored=frozenset({"user_id"}), not_fields=frozenset({"amount", "hash"})
)


def entry_item(entry: Entry) -> RawItem:
    return _ENTRY.write(entry, amount=entry.amount, hash=entry.hash)


def entry_of(user_id: str, raw: RawItem) -> Entry:
    """The entry in an item. Raises CorruptLedgerError if it is not what its hash says."""
    with undamaged(f"entry {_name_of(raw, 'sk')} of {user_id}"):
        entry = _ENTRY.read(raw, user_id=user_id)
        stored = value_of(EntryItem.hash, raw), whole(value_of(EntryItem.amount, raw))
    intact = stored == (entry.hash, entry.amount)
    if not intact:
        raise CorruptLedgerError(f"entry {entry.seq} of {user_id} is not what its hash says")
    return entry


# --- Run --------------------------------------------------------------------------------------------------------------


class RunItem(Model):
    """`usage`: [input, output, cache write, cache read] tokens. `price`: [credits, tier, factor, floor, cost_nano]."""

    run_id = UnicodeAttribute()
    status = UnicodeAttribute()
    nonce = UnicodeAttribute()
    request_hash = UnicodeAttribute()
    session_id = UnicodeAttribute()
    package = UnicodeAttribute(null=True)
    package_version = UnicodeAttribute(null=True)
    model = UnicodeAttribute()
    model_id = UnicodeAttribute(null=True)
    price_version = UnicodeAttribute(null=True)
    prompt_tokens = NumberAttribute(null=True)
    max_tokens = NumberAttribute(null=True)
    wanted_max_tokens = NumberAttribute(null=True)
    turns_omitted = NumberAttribute(null=True)
    variables: ListAttribute[Any] = ListAttribute(null=True)
    custom_prompt = BooleanAttribute(null=True)
    use_no_prompt = BooleanAttribute(null=True)
    ceiling = NumberAttribute()
    started_at = UnicodeAttribute()
    ended_at = UnicodeAttribute()
    charged = NumberAttribute()
    overrun = NumberAttribute()
    deltas: ListAttribute[Any] = ListAttribute()
    balance_after = NumberAttribute(null=True)
    entry_seq = NumberAttribute(null=True)
    entry_hash = UnicodeAttribute(null=True)
    turn = NumberAttribute(null=True)
    usage: ListAttribute[Any] = ListAttribute(null=True)
    price: ListAttribute[Any] = ListAttribute(null=True)
    stop_reason = UnicodeAttribute(null=True)
    duration_ms = NumberAttribute(null=True)
    failure: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    unpaid: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    trace_id = UnicodeAttribute(null=True)


_RUN = ItemMapping(of=Run, schema=RunItem, inline={"measured": ("usage", "price")}, not_stored=frozenset({"user_id"}))


def run_item(run: Run) -> RawItem:
    return _RUN.write(run)


def run_of(user_id: str, raw: RawItem) -> Run:
    """The receipt in an item. Raises UnreadableError if it is damaged."""
    with undamaged(f"receipt {_name_of(raw, 'sk')} of {user_id}", UnreadableError):
        return _RUN.read(raw, user_id=user_id)


# --- Session and Turn -------------------------------------------------------------------------------------------------


class SessionItem(Model):
    """`listed_at` is the place in the index by_owner: activity and id. That of a marked session begins with "-", which
    sorts before all times."""

    session_id = UnicodeAttribute()
    user_id = UnicodeAttribute()
    package_id = UnicodeAttribute(null=True)
    package = UnicodeAttribute(null=True)
    package_version = UnicodeAttribute(null=True)
    use_no_prompt = BooleanAttribute()
    model = UnicodeAttribute()
    title = UnicodeAttribute()
    created_at = UnicodeAttribute()
    updated_at = UnicodeAttribute()
    turns = NumberAttribute()
    credits = NumberAttribute()
    tokens = NumberAttribute()
    duration_ms = NumberAttribute()
    listed_at = UnicodeAttribute(null=True)
    copied = NumberAttribute(null=True)
    forked_from = UnicodeAttribute(null=True)
    share: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    reports = NumberAttribute(null=True)
    hidden = BooleanAttribute(null=True)
    removed = BooleanAttribute(null=True)
    former_shares: UnicodeSetAttribute = UnicodeSetAttribute(null=True)
    deleted_at = UnicodeAttribute(null=True)
    forking = BooleanAttribute(null=True)
    variables: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    comparison: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]


def listed_at(updated_at: datetime, session_id: str) -> str:
    return f"{iso(updated_at)}#{session_id}"


def place_of(listed: str) -> SessionCursor:
    """The cursor that `listed_at` names."""
    updated_at, _, session_id = listed.partition("#")
    return SessionCursor(from_iso(updated_at), session_id)


def marked_at(deleted_at: datetime, session_id: str) -> str:
    return f"-{listed_at(deleted_at, session_id)}"


_SESSION = ItemMapping(of=Session, schema=SessionItem, not_fields=frozenset({"listed_at"}))


def session_item(session: Session) -> RawItem:
    place = listed_at(session.updated_at, session.session_id)
    if session.deleted_at is not None:
        place = marked_at(session.deleted_at, session.session_id)
    return _SESSION.write(session, listed_at=place)


def session_of(raw: RawItem) -> Session:
    """The session in an item. Raises UnreadableError if it is damaged."""
    with undamaged(f"session {_name_of(raw, 'pk')}", UnreadableError):
        return _SESSION.read(raw)


def own_session_of(user_id: str, raw: RawItem) -> Session | None:
    """The session in an item, if it is the user's. A foreign one looks like none, damaged or not."""
    return session_of(raw) if raw.get("user_id", {}).get("S") == user_id else None


def prompt_item(text: str) -> RawItem:
    return {"text": {"S": text}}


def prompt_of(raw: RawItem) -> str:
    """The custom prompt in an item. Raises UnreadableError if it is damaged."""
    with undamaged(f"the prompt of {_name_of(raw, 'pk')}", UnreadableError):
        text = raw["text"]["S"]
        if not isinstance(text, str) or not text:
            raise ValueError("no text")
        return text


class TurnItem(Model):
    """Texts are zlib-compressed when that makes them smaller; `packed` names those that are. Texts that are too large
    for an item all the same are in an object of the content bucket, which `kept` names."""

    number = NumberAttribute()
    run_id = UnicodeAttribute()
    input = BinaryAttribute(legacy_encoding=False, null=True)
    answer = BinaryAttribute(legacy_encoding=False, null=True)
    packed: ListAttribute[Any] = ListAttribute(null=True)
    kept: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]
    input_tokens = NumberAttribute()
    output_tokens = NumberAttribute()
    asked_at = UnicodeAttribute()
    answered_at = UnicodeAttribute()
    refused = BooleanAttribute(null=True)
    credits = NumberAttribute(null=True)
    stop_reason = UnicodeAttribute(null=True)


def packed_texts(turn: Turn) -> tuple[Mapping[str, bytes], Sequence[str]]:
    """The texts of a turn as they are stored in its item, and which of them are compressed."""
    texts = {"input": turn.input.encode(), "answer": turn.answer.encode()}
    small = {name: zlib.compress(text, 9) for name, text in texts.items()}
    packed = [name for name, text in texts.items() if len(small[name]) < len(text)]
    return {name: small[name] if name in packed else text for name, text in texts.items()}, packed


_TURN = ItemMapping(
    of=Turn, schema=TurnItem, not_stored=frozenset({"unreadable"}), not_fields=frozenset({"packed", "kept"})
)


def turn_item(turn: Turn, kept: TextRef | None = None) -> RawItem:
    if kept is not None:
        return _TURN.write(turn, input=None, answer=None, kept=encode(kept))
    texts, packed = packed_texts(turn)
    return _TURN.write(turn, **texts, packed=packed)


def kept_of(raw: RawItem) -> TextRef | None:
    """Where the texts of a turn are, if they are not in its item."""
    with undamaged(f"a turn of {_name_of(raw, 'pk')}", UnreadableError):
        stored = value_of(TurnItem.kept, raw)
        return decode(TextRef, stored) if stored is not None else None


def _nowhere(kept: TextRef) -> Mapping[str, str]:
    raise UnreadableError(f"the texts {kept.name} cannot be read from here")


def turn_of(raw: RawItem, texts: Callable[[TextRef], Mapping[str, str]] = _nowhere) -> Turn:
    """The turn in an item; `texts` gets those that are kept elsewhere. Raises UnreadableError if it is damaged."""
    kept = kept_of(raw)
    elsewhere = texts(kept) if kept is not None else None
    with undamaged(f"turn {_name_of(raw, 'sk')} of {_name_of(raw, 'pk')}", UnreadableError):
        if elsewhere is not None:
            return _TURN.read(raw, **{name: whole_characters(elsewhere[name]) for name in ("input", "answer")})
        packed = value_of(TurnItem.packed, raw)

        def text(name: str) -> str:
            stored: bytes = value_of(getattr(TurnItem, name), raw)
            return (zlib.decompress(stored) if name in packed else stored).decode()

        return _TURN.read(raw, input=text("input"), answer=text("answer"))


def unreadable_turn(raw: RawItem) -> Turn:
    """A placeholder for a damaged turn: its number, and the attributes that can be read."""

    def moment(name: str) -> datetime:
        try:
            return from_iso(raw[name]["S"])
        except (LookupError, TypeError, ValueError):
            return UNKNOWN_TIME

    return Turn(
        number=turn_number(raw),
        run_id=str(raw.get("run_id", {}).get("S", "")),
        input="",
        answer="",
        input_tokens=0,
        output_tokens=0,
        asked_at=moment("asked_at"),
        answered_at=moment("answered_at"),
        unreadable=True,
    )


def _name_of(raw: RawItem, key: str) -> str:
    """The id in a part of an item's key, for messages."""
    return str(raw.get(key, {}).get("S", "")).partition("#")[2]
