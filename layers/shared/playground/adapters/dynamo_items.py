"""How accounts, entries, runs, sessions and turns look as items, and back.

The models are schemas and names for expressions; they never talk to DynamoDB themselves. Attribute names are words,
except inside a hold, of which an account may have twenty.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

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

from playground.adapters.dynamo_store import Key, RawItem
from playground.domain.account import Account, Hold, Plan
from playground.domain.calendar import from_iso, iso
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError, UnreadableError
from playground.domain.pricing import Price, Usage
from playground.domain.runs import Failure, Measured, Run, RunStatus, UnpaidCost
from playground.domain.sessions import UNKNOWN_TIME, Place, Session, Turn
from playground.domain.sharing import ShareLink
from playground.domain.text import whole_characters
from playground.ports import Kept

_Item = TypeVar("_Item", bound=Model)

SHARDS = 16  # of the sparse indexes: 16 × 1,000 writes a second, and the sweeper reads them in parallel
LONGEST_SEQ = 12  # digits
ERASING = "erasing"  # of an account that is being erased: the pseudonym under which its books are kept


def user_pk(user_id: str) -> str:
    return f"USER#{user_id}"


def account_key(table: str, user_id: str) -> Key:
    return Key(table, user_pk(user_id), "ACCOUNT")


def run_key(table: str, user_id: str, run_id: str) -> Key:
    return Key(table, user_pk(user_id), f"RUN#{run_id}")


def entry_sk(seq: int) -> str:
    return f"ENTRY#{seq:0{LONGEST_SEQ}d}"


def seq_of(raw: RawItem) -> int:
    return int(raw["sk"]["S"].removeprefix("ENTRY#"))


def entry_key(table: str, user_id: str, seq: int) -> Key:
    return Key(table, user_pk(user_id), entry_sk(seq))


def business_key(table: str, user_id: str, name: str) -> Key:
    return Key(table, user_pk(user_id), f"KEY#{name}")


def session_key(table: str, session_id: str) -> Key:
    return Key(table, f"SESSION#{session_id}", "SESSION")


def turn_sk(number: int) -> str:
    return f"TURN#{number:06d}"


def turn_key(table: str, session_id: str, number: int) -> Key:
    return Key(table, f"SESSION#{session_id}", turn_sk(number))


def shard(user_id: str) -> str:
    """The shard of the sparse indexes that an account is in; the same one always."""
    return shard_name(zlib.crc32(user_id.encode()) % SHARDS)


def shard_name(number: int) -> str:
    return f"{number:02d}"


@contextmanager
def undamaged(what: str, kind: type[CorruptLedgerError] = CorruptLedgerError) -> Iterator[None]:
    """Whatever shows that an item is damaged is a CorruptLedgerError, or one of its kinds."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, zlib.error) as error:
        raise kind(f"{what}: {error}") from error


def read_item(kind: type[_Item], raw: RawItem) -> _Item:
    """The item as its model. Raises ValueError if something is missing: PynamoDB would read it as None."""
    item = kind.from_raw_data(dict(raw))
    missing = [name for name, attribute in kind.get_attributes().items() if not attribute.null and name not in raw]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    return item


# --- Account ----------------------------------------------------------------------------------------------------------


class AccountItem(Model):
    """`available` is stored, for DynamoDB conditions cannot add; it equals monthly + rollover + purchased − held.

    `lease_at` is at or before the earliest lease of the holds and puts the account into the index by_lease.
    `lapsed` and what is reclaimed are absent for 0, which most accounts have for ever.
    `recent` remembers run ids that ended lately, one per slot: see `recent_slot`. `tickets` counts the places in line
    that holds have taken (`q`). `failures_at` and `unpaid_at` are milliseconds since 1970: they can be added to.
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


def recent_slot(run_id: str) -> tuple[str, str]:
    """Where an account remembers that this run has ended, and as what: 16 slots of 8 characters.

    A request whose run ended between its first look and its hold finds it here and reads the receipt, instead of asking
    the model again. A slot that another run has taken since costs a call of the model, never a credit.
    """
    return run_id[-1:].translate(_SLOTS), run_id[-9:-1]  # an id begins with the time, which many share


_SLOTS = str.maketrans("ghjkmnpqrstvwxyz", "0123456789abcdef")


def holds_map(account: Account) -> dict[str, dict[str, Any]]:
    return {run_id: hold_map(hold) for run_id, hold in account.holds.items()}


def hold_map(hold: Hold) -> dict[str, Any]:
    return {
        "n": hold.nonce,
        "c": hold.ceiling,
        "l": iso(hold.lease_at),
        "r": hold.request_hash,
        "s": hold.session_id,
        "m": hold.model,
        "p": iso(hold.placed_at),
        **({"q": hold.ticket} if hold.ticket is not None else {}),
        **({"k": hold.cost_nano} if hold.cost_nano else {}),
        **({"f": hold.interval // _MILLISECOND} if hold.interval else {}),
    }


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def millis(moment: datetime) -> int:
    """Milliseconds since 1970, cut."""
    return (moment - _EPOCH) // _MILLISECOND


def from_millis(number: Any) -> datetime:
    """The inverse of `millis`."""
    return _EPOCH + whole(number) * _MILLISECOND


def account_item(account: Account) -> RawItem:
    """A whole account, for when it is opened."""
    item: RawItem = AccountItem(
        created_at=iso(account.created_at),
        monthly=account.buckets.monthly,
        rollover=account.buckets.rollover,
        purchased=account.buckets.purchased,
        held=account.held,
        available=account.available,
        debt=account.debt,
        lapsed=account.lapsed or None,
        reclaimed_monthly=account.reclaimed_monthly or None,
        reclaimed_rollover=account.reclaimed_rollover or None,
        version=account.version,
        revision=account.revision,
        last_hash=account.last_hash,
        holds=holds_map(account),
        recent={},
        plan=account.plan.value,
        allowance=account.allowance,
        period=account.period,
        anchor=iso(account.anchor) if account.anchor else None,
        entitled_until=iso(account.entitled_until) if account.entitled_until else None,
        subscription_id=account.subscription_id,
        paid_periods=list(account.paid_periods) or None,
        due_at=iso(account.due_at) if account.due_at else None,
        due_shard=shard(account.user_id) if account.due_at else None,
        has_paid=account.has_paid or None,
        failures_at=millis(account.failures_at) if account.failures_at else None,
        unpaid_at=millis(account.unpaid_at) if account.unpaid_at else None,
    ).serialize()
    return item


def account_of(user_id: str, raw: RawItem) -> Account:
    """The account in an item. Raises CorruptLedgerError if it does not add up: nothing may be done on top of it."""
    if ERASING in raw:
        raise StoreUnavailableError(retry_after=60)  # it is being erased: nothing more is written to it
    with undamaged(f"account {user_id}"):
        item = read_item(AccountItem, raw)
        account = Account(
            user_id=user_id,
            created_at=from_iso(item.created_at),
            buckets=Buckets(
                monthly=whole(item.monthly), rollover=whole(item.rollover), purchased=whole(item.purchased)
            ),
            held=whole(item.held),
            debt=whole(item.debt),
            lapsed=whole(item.lapsed or 0),
            # A version that does not know these may have spent from the buckets since.
            reclaimed_monthly=min(whole(item.reclaimed_monthly or 0), whole(item.monthly), whole(item.debt)),
            reclaimed_rollover=min(whole(item.reclaimed_rollover or 0), whole(item.rollover), whole(item.debt)),
            holds={run_id: _hold(run_id, values) for run_id, values in item.holds.attribute_values.items()},
            version=whole(item.version),
            revision=whole(item.revision),
            last_hash=item.last_hash,
            plan=Plan(item.plan),
            allowance=whole(item.allowance),
            anchor=from_iso(item.anchor) if item.anchor else None,
            period=whole(item.period),
            due_at=from_iso(item.due_at) if item.due_at else None,
            entitled_until=from_iso(item.entitled_until) if item.entitled_until else None,
            subscription_id=item.subscription_id,
            paid_periods=tuple(whole(period) for period in item.paid_periods or ()),
            has_paid=bool(item.has_paid),
            failures_at=from_millis(item.failures_at) if item.failures_at is not None else None,
            unpaid_at=from_millis(item.unpaid_at) if item.unpaid_at is not None else None,
        )
        available = whole(item.available)
    if available != account.available:
        raise CorruptLedgerError(f"account {user_id}: available is {available}, should be {account.available}")
    return account


def remembers(raw: RawItem, run_id: str) -> bool:
    """Whether the account in `raw` remembers that a run of this id has ended."""
    slot, mark = recent_slot(run_id)
    recent: Mapping[str, Any] = raw.get("recent", {}).get("M", {})
    return bool(recent.get(slot, {}).get("S") == mark)


def _hold(run_id: str, values: Any) -> Hold:
    return Hold(
        run_id=run_id,
        nonce=values["n"],
        ceiling=whole(values["c"]),
        lease_at=from_iso(values["l"]),
        request_hash=values["r"],
        session_id=values["s"],
        model=values["m"],
        placed_at=from_iso(values["p"]),
        ticket=whole(values["q"]) if "q" in values else None,
        cost_nano=whole(values.get("k", 0)),
        interval=whole(values.get("f", 0)) * _MILLISECOND,
    )


def whole(value: Any) -> int:
    if int(value) != value:
        raise ValueError(f"{value} is not a whole number")
    return int(value)


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


def entry_item(entry: Entry) -> RawItem:
    item: RawItem = EntryItem(
        seq=entry.seq,
        type=entry.type.value,
        amount=entry.amount,
        balance_after=entry.balance_after,
        deltas=_deltas_list(entry.deltas),
        business_key=entry.business_key,
        reason=entry.reason,
        created_at=iso(entry.created_at),
        previous_hash=entry.previous_hash,
        hash=entry.hash,
        run_id=entry.run_id,
        session_id=entry.session_id,
        purchase_id=entry.purchase_id,
    ).serialize()
    return item


def entry_of(user_id: str, raw: RawItem) -> Entry:
    """The entry in an item. Raises CorruptLedgerError if it is not what its hash says."""
    with undamaged(f"entry {_name_of(raw, 'sk')} of {user_id}"):
        item = read_item(EntryItem, raw)
        entry = Entry(
            user_id=user_id,
            seq=whole(item.seq),
            type=EntryType(item.type),
            deltas=_deltas(item.deltas),
            balance_after=whole(item.balance_after),
            business_key=item.business_key,
            reason=item.reason,
            created_at=from_iso(item.created_at),
            previous_hash=item.previous_hash,
            run_id=item.run_id,
            session_id=item.session_id,
            purchase_id=item.purchase_id,
        )
        intact = entry.hash == item.hash and entry.amount == whole(item.amount)
    if not intact:
        raise CorruptLedgerError(f"entry {entry.seq} of {user_id} is not what its hash says")
    return entry


def _deltas_list(deltas: Deltas) -> list[int]:
    return [deltas.monthly, deltas.rollover, deltas.purchased]


def _deltas(values: Any) -> Deltas:
    monthly, rollover, purchased = (whole(value) for value in values)
    return Deltas(monthly=monthly, rollover=rollover, purchased=purchased)


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


def run_item(run: Run) -> RawItem:
    measured, failure, unpaid = run.measured, run.failure, run.unpaid
    item: RawItem = RunItem(
        run_id=run.run_id,
        status=run.status.value,
        nonce=run.nonce,
        request_hash=run.request_hash,
        session_id=run.session_id,
        package=run.package,
        package_version=run.package_version,
        model=run.model,
        model_id=run.model_id,
        price_version=run.price_version,
        prompt_tokens=run.prompt_tokens,
        max_tokens=run.max_tokens,
        wanted_max_tokens=run.wanted_max_tokens,
        turns_omitted=run.turns_omitted or None,
        ceiling=run.ceiling,
        started_at=iso(run.started_at),
        ended_at=iso(run.ended_at),
        charged=run.charged,
        overrun=run.overrun,
        deltas=_deltas_list(run.deltas),
        balance_after=run.balance_after,
        entry_seq=run.entry_seq,
        entry_hash=run.entry_hash,
        turn=run.turn,
        usage=_usage_list(measured.usage) if measured else None,
        price=[
            measured.price.credits,
            measured.price.tier,
            measured.price.factor,
            measured.price.floor,
            measured.price.cost_nano,
        ]
        if measured
        else None,
        stop_reason=measured.stop_reason if measured else None,
        duration_ms=measured.duration_ms if measured else None,
        failure={"code": failure.code, "reason": failure.reason, "retry_after": failure.retry_after}
        if failure
        else None,
        unpaid={
            "cost_nano": unpaid.cost_nano,
            "estimated": unpaid.estimated,
            **({"usage": _usage_list(unpaid.usage)} if unpaid.usage else {}),
        }
        if unpaid
        else None,
    ).serialize()
    return {name: value for name, value in item.items() if value != {"NULL": True}}


def run_of(user_id: str, raw: RawItem) -> Run:
    """The receipt in an item. Raises UnreadableError if it is damaged."""
    with undamaged(f"receipt {_name_of(raw, 'sk')} of {user_id}", UnreadableError):
        return _run_of(user_id, read_item(RunItem, raw))


def _run_of(user_id: str, item: RunItem) -> Run:
    measured = failure = unpaid = None
    if item.usage is not None and item.price is not None:
        credits_, tier, factor, floor, cost = (whole(value) for value in item.price)
        measured = Measured(
            usage=_usage(item.usage),
            price=Price(credits=credits_, tier=tier, factor=factor, floor=floor, cost_nano=cost),
            stop_reason=item.stop_reason or "",
            duration_ms=whole(item.duration_ms or 0),
        )
    if item.failure is not None:
        values = item.failure.attribute_values
        retry_after = values.get("retry_after")
        failure = Failure(code=values["code"], reason=values["reason"], retry_after=_optional_int(retry_after))
    if item.unpaid is not None:
        values = item.unpaid.attribute_values
        unpaid = UnpaidCost(
            cost_nano=whole(values["cost_nano"]),
            estimated=bool(values["estimated"]),
            usage=_usage(values["usage"]) if "usage" in values else None,
        )
    return Run(
        run_id=item.run_id,
        user_id=user_id,
        status=RunStatus(item.status),
        nonce=item.nonce,
        request_hash=item.request_hash,
        session_id=item.session_id,
        package=item.package,
        package_version=item.package_version,
        model=item.model,
        model_id=item.model_id,
        price_version=item.price_version,
        prompt_tokens=_optional_int(item.prompt_tokens),
        max_tokens=_optional_int(item.max_tokens),
        wanted_max_tokens=_optional_int(item.wanted_max_tokens),
        turns_omitted=whole(item.turns_omitted or 0),
        ceiling=whole(item.ceiling),
        started_at=from_iso(item.started_at),
        ended_at=from_iso(item.ended_at),
        charged=whole(item.charged),
        overrun=whole(item.overrun),
        deltas=_deltas(item.deltas),
        balance_after=_optional_int(item.balance_after),
        entry_seq=_optional_int(item.entry_seq),
        entry_hash=item.entry_hash,
        turn=_optional_int(item.turn),
        measured=measured,
        failure=failure,
        unpaid=unpaid,
    )


def _usage_list(usage: Usage) -> list[int]:
    return [usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens]


def _usage(values: Any) -> Usage:
    read, written, cache_write, cache_read = (whole(value) for value in values)
    return Usage(input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read)


def _optional_int(value: Any) -> int | None:
    return None if value is None else whole(value)


# --- Session and Turn -------------------------------------------------------------------------------------------------


class SessionItem(Model):
    """`listed_at` is the place in the index by_owner: activity and id. That of a marked session begins with "-", which
    sorts before every time."""

    session_id = UnicodeAttribute()
    user_id = UnicodeAttribute()
    package_id = UnicodeAttribute()
    package = UnicodeAttribute()
    package_version = UnicodeAttribute()
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


def listed_at(updated_at: datetime, session_id: str) -> str:
    return f"{iso(updated_at)}#{session_id}"


def place_of(listed: str) -> Place:
    """The place that `listed_at` names."""
    updated_at, _, session_id = listed.partition("#")
    return Place(from_iso(updated_at), session_id)


def marked_at(deleted_at: datetime, session_id: str) -> str:
    return f"-{listed_at(deleted_at, session_id)}"


def session_item(session: Session) -> RawItem:
    place = marked_at(session.deleted_at, session.session_id) if session.deleted_at else None
    item: RawItem = SessionItem(
        session_id=session.session_id,
        user_id=session.user_id,
        package_id=session.package_id,
        package=session.package,
        package_version=session.package_version,
        use_no_prompt=session.use_no_prompt,
        model=session.model,
        title=session.title,
        created_at=iso(session.created_at),
        updated_at=iso(session.updated_at),
        turns=session.turns,
        credits=session.credits,
        tokens=session.tokens,
        duration_ms=session.duration_ms,
        listed_at=place or listed_at(session.updated_at, session.session_id),
        copied=session.copied or None,
        forked_from=session.forked_from,
        share=link_map(session.share) if session.share else None,
        reports=session.reports or None,
        hidden=session.hidden or None,
        removed=session.removed or None,
        former_shares=set(session.former_shares) or None,
        deleted_at=iso(session.deleted_at) if session.deleted_at else None,
        forking=session.forking or None,
    ).serialize()
    return {name: value for name, value in item.items() if value != {"NULL": True}}


def link_map(link: ShareLink) -> dict[str, Any]:
    values = {
        "id": link.share_id,
        "nonce": link.nonce,
        "turns": link.turns,
        "shared_at": iso(link.shared_at),
        "expires_at": iso(link.expires_at) if link.expires_at else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def session_of(raw: RawItem) -> Session:
    """The session in an item. Raises UnreadableError if it is damaged."""
    with undamaged(f"session {_name_of(raw, 'pk')}", UnreadableError):
        return _session_of(read_item(SessionItem, raw))


def own_session_of(user_id: str, raw: RawItem) -> Session | None:
    """The session in an item, if it is the user's. A foreign one looks like none, damaged or not."""
    return session_of(raw) if raw.get("user_id", {}).get("S") == user_id else None


def _session_of(item: SessionItem) -> Session:
    return Session(
        session_id=item.session_id,
        user_id=item.user_id,
        package_id=item.package_id,
        package=item.package,
        package_version=item.package_version,
        use_no_prompt=item.use_no_prompt,
        model=item.model,
        title=item.title,
        created_at=from_iso(item.created_at),
        updated_at=from_iso(item.updated_at),
        turns=whole(item.turns),
        credits=whole(item.credits),
        tokens=whole(item.tokens),
        duration_ms=whole(item.duration_ms),
        copied=whole(item.copied or 0),
        forked_from=item.forked_from,
        share=_link(item.share.attribute_values) if item.share is not None else None,
        reports=whole(item.reports or 0),
        hidden=bool(item.hidden),
        removed=bool(item.removed),
        former_shares=frozenset(item.former_shares or ()),
        deleted_at=from_iso(item.deleted_at) if item.deleted_at else None,
        forking=bool(item.forking),
    )


def _link(values: Mapping[str, Any]) -> ShareLink:
    expires_at = values.get("expires_at")
    return ShareLink(
        share_id=values["id"],
        nonce=values["nonce"],
        turns=whole(values["turns"]),
        shared_at=from_iso(values["shared_at"]),
        expires_at=from_iso(expires_at) if expires_at else None,
    )


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


def packed_texts(turn: Turn) -> tuple[Mapping[str, bytes], Sequence[str]]:
    """The texts of a turn as they are stored in its item, and which of them are compressed."""
    texts = {"input": turn.input.encode(), "answer": turn.answer.encode()}
    small = {name: zlib.compress(text, 9) for name, text in texts.items()}
    packed = [name for name, text in texts.items() if len(small[name]) < len(text)]
    return {name: small[name] if name in packed else text for name, text in texts.items()}, packed


def turn_item(turn: Turn, kept: Kept | None = None) -> RawItem:
    texts, packed = packed_texts(turn) if kept is None else ({}, None)
    stored: Mapping[str, Any] = texts
    item: RawItem = TurnItem(
        number=turn.number,
        run_id=turn.run_id,
        packed=packed,
        kept=kept_map(kept) if kept is not None else None,
        input_tokens=turn.input_tokens,
        output_tokens=turn.output_tokens,
        asked_at=iso(turn.asked_at),
        answered_at=iso(turn.answered_at),
        refused=turn.refused or None,
        **stored,
    ).serialize()
    return {name: value for name, value in item.items() if value != {"NULL": True}}


def kept_map(kept: Kept) -> dict[str, str]:
    values = {"name": kept.name, "version": kept.version, "digest": kept.digest}
    return {name: value for name, value in values.items() if value is not None}


def kept_of(raw: RawItem) -> Kept | None:
    """Where the texts of a turn are, if they are not in its item."""
    values = raw.get("kept", {}).get("M")
    if values is None:
        return None
    with undamaged(f"a turn of {_name_of(raw, 'pk')}", UnreadableError):
        version = values.get("version")
        return Kept(name=values["name"]["S"], version=version["S"] if version else None, digest=values["digest"]["S"])


def _nowhere(kept: Kept) -> Mapping[str, str]:
    raise UnreadableError(f"the texts {kept.name} cannot be read from here")


def turn_of(raw: RawItem, texts: Callable[[Kept], Mapping[str, str]] = _nowhere) -> Turn:
    """The turn in an item; `texts` gets those that are kept elsewhere. Raises UnreadableError if it is damaged."""
    kept = kept_of(raw)
    elsewhere = texts(kept) if kept is not None else None
    with undamaged(f"turn {_name_of(raw, 'sk')} of {_name_of(raw, 'pk')}", UnreadableError):
        item = read_item(TurnItem, raw)

        def text(name: str) -> str:
            if elsewhere is not None:
                return whole_characters(elsewhere[name])
            stored: bytes = getattr(item, name)
            return (zlib.decompress(stored) if name in item.packed else stored).decode()

        return Turn(
            number=whole(item.number),
            run_id=item.run_id,
            input=text("input"),
            answer=text("answer"),
            input_tokens=whole(item.input_tokens),
            output_tokens=whole(item.output_tokens),
            asked_at=from_iso(item.asked_at),
            answered_at=from_iso(item.answered_at),
            refused=bool(item.refused),
        )


def unreadable_turn(raw: RawItem) -> Turn:
    """What stands in a conversation for a damaged turn: its number, and what else of it makes sense."""

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


def turn_number(raw: RawItem) -> int:
    return int(raw["sk"]["S"].removeprefix("TURN#"))


def _name_of(raw: RawItem, key: str) -> str:
    """The id in a part of an item's key, for messages."""
    return str(raw.get(key, {}).get("S", "")).partition("#")[2]
