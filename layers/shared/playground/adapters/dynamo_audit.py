"""What an audit reads: all items of one user, unchecked, page by page; and the list of users.

Items are turned into plain values and not validated, because an audit looks for items that the ledger refuses to read.
Only one page is in memory at a time, however long the history is.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import (
    MAX_SEQ_DIGITS,
    account_key,
    entry_key,
    prompt_key,
    run_key,
    session_key,
    shard_of,
    turn_key,
    user_pk,
)
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem
from playground.domain.audit import Fields, Stored, StoredEntry, StoredKey, StoredRun, Unreadable
from playground.domain.cursors import scan_cursor
from playground.domain.erasure import BeingErasedError
from playground.domain.runs import RunStatus

ENTRIES_PAGE = 100
RUNS_PAGE = 25  # with each its turn, which may have 400 KB
MAX_ID_BYTES = 200  # bytes; a longer one is damaged, and no key is made of it


class DynamoAudit:
    """`audit_account.Archive`. Reads what was last written, over several requests: not one moment."""

    def __init__(self, store: DynamoStore, *, ledger_table: str, sessions_table: str) -> None:
        self._store = store
        self._ledger = ledger_table
        self._sessions = sessions_table

    def account(self, user_id: str) -> Fields | None:
        """Raises BeingErasedError: it does not add up before it is finished."""
        raw = self._store.get(account_key(self._ledger, user_id))
        if raw is not None and items.ERASING in raw:
            raise BeingErasedError(user_id)
        return fields_of(raw) if raw is not None else None

    def read(self, user_id: str) -> Stored:
        account = self.account(user_id)
        return Stored(
            user_id=user_id,
            shard=shard_of(user_id),
            account=account,
            entries=self._entries(user_id),
            runs=self._runs(user_id),
            keys=self._keys(user_id),
            held=self._held(user_id, account),
        )

    # --- everybody ----------------------------------------------------------------------------------------------------

    def users(self, *, after: str | None) -> tuple[Sequence[str], str | None]:
        """A page of users, in no order that means anything, after a place; and the place of the next page, if any.

        A scan: it reads the whole table, once per audit of everybody, for an operator. Never on a request's path.
        Raises ValueError if `after` is no place.
        """
        page, following = self._store.scan(
            self._ledger,
            after=after,
            condition={
                "FilterExpression": "sk = :account",
                "ProjectionExpression": "pk",
                "ExpressionAttributeValues": {":account": {"S": account_key("", "").sk}},
            },
        )
        return [item["pk"]["S"].removeprefix(user_pk("")) for item in page], following

    def after(self, user_id: str) -> str:
        """The cursor right after this user, for `users`."""
        key = account_key(self._ledger, user_id)
        return scan_cursor(key.pk, key.sk)

    # --- one user -----------------------------------------------------------------------------------------------------

    def _entries(self, user_id: str) -> Iterator[StoredEntry]:
        for page in self._pages(self._ledger, user_pk(user_id), "ENTRY", ENTRIES_PAGE):
            entries = [fields_of(raw) for raw in page]
            wanted = [self._run_key(user_id, entry.get("run_id")) for entry in entries]
            found = self._get(wanted)
            for raw, entry, key in zip(page, entries, wanted, strict=True):
                number = raw["sk"]["S"].removeprefix("ENTRY#")
                yield StoredEntry(
                    number=int(number) if number.isascii() and number.isdigit() else None,
                    fields=entry,
                    receipt=found.get(key) if key is not None else None,
                )

    def _runs(self, user_id: str) -> Iterator[StoredRun]:
        for page in self._pages(self._ledger, user_pk(user_id), "RUN", RUNS_PAGE):
            runs = [fields_of(raw) for raw in page]
            of_entry = [self._entry_key(user_id, run.get("entry_seq")) for run in runs]
            of_session = [self._session_key(run.get("session_id")) for run in runs]
            of_turn = [self._turn_key(run.get("session_id"), run.get("turn")) for run in runs]
            of_prompt = [self._prompt_key(run.get("session_id")) if run.get("custom_prompt") else None for run in runs]
            found = self._get([*of_entry, *of_session])
            turns = self._get([*of_turn, *of_prompt])
            for number, (raw, run) in enumerate(zip(page, runs, strict=True)):
                run_id = raw["sk"]["S"].removeprefix("RUN#")
                entry, session, turn = of_entry[number], of_session[number], of_turn[number]
                prompt = of_prompt[number]
                yield StoredRun(
                    run_id=run_id,
                    fields=run,
                    entry=found.get(entry) if entry is not None else None,
                    session=_unless_deleted(found.get(session)) if session is not None else None,
                    turn=with_texts(turns[turn]) if turn is not None and turn in turns else None,
                    prompt=turns.get(prompt) if prompt is not None else None,
                    stray_turn=None
                    if run.get("status") == RunStatus.SETTLED
                    else self._stray_turn(run.get("session_id"), run_id),
                )

    def _keys(self, user_id: str) -> Iterator[StoredKey]:
        for page in self._pages(self._ledger, user_pk(user_id), "KEY", ENTRIES_PAGE):
            for raw in page:
                yield StoredKey(name=raw["sk"]["S"].removeprefix("KEY#"), fields=fields_of(raw))

    def _held(self, user_id: str, account: Fields | None) -> Mapping[str, StoredRun]:
        """For every hold, the receipt and the turn of its run: there should be none of either."""
        holds = (account or {}).get("holds")
        if not isinstance(holds, dict):
            return {}
        found = self._get([self._run_key(user_id, run_id) for run_id in holds])
        held = {}
        for run_id, hold in holds.items():
            key = self._run_key(user_id, run_id)
            session_id = hold.get("s") if isinstance(hold, dict) else None
            held[run_id] = StoredRun(
                run_id=run_id,
                fields=found.get(key, {}) if key is not None else {},
                stray_turn=self._stray_turn(session_id, run_id),
            )
        return held

    def _stray_turn(self, session_id: object, run_id: str) -> int | None:
        """The number of a turn of this session that names the run."""
        key = self._session_key(session_id)
        if key is None:
            return None
        of_run = {
            "FilterExpression": "run_id = :run",
            "ProjectionExpression": "pk, sk",
            "ExpressionAttributeValues": {":run": {"S": run_id}},
        }
        for page in self._pages(self._sessions, key.pk, "TURN", ENTRIES_PAGE, of_run):
            for raw in page:
                return int(raw["sk"]["S"].removeprefix("TURN#"))
        return None

    # --- reading ------------------------------------------------------------------------------------------------------

    def _pages(
        self, table: str, pk: str, kind: str, limit: int, condition: Mapping[str, Any] | None = None
    ) -> Iterator[Sequence[RawItem]]:
        """Items of one partition whose sort key begins with `kind#`, in order."""
        arguments = dict(condition or {})
        while True:
            # "$" comes right after "#".
            page, stopped = self._store.query(
                table, pk, first=f"{kind}#", last=f"{kind}$", limit=limit, condition=arguments
            )
            yield page
            if stopped is None:
                return
            arguments["ExclusiveStartKey"] = Key(table, pk, stopped).raw

    def _get(self, keys: Iterable[Key | None]) -> dict[Key, Fields]:
        """Those that exist; each is asked for once."""
        wanted = list(dict.fromkeys(key for key in keys if key is not None))
        consistent = frozenset({self._ledger, self._sessions})
        found = self._store.get_all(wanted, consistent=consistent) if wanted else {}
        return {key: fields_of(raw) for key, raw in found.items()}

    def _run_key(self, user_id: str, run_id: object) -> Key | None:
        return run_key(self._ledger, user_id, run_id) if _is_id(run_id) else None

    def _entry_key(self, user_id: str, seq: object) -> Key | None:
        if not isinstance(seq, int) or not 0 < seq < 10**MAX_SEQ_DIGITS:
            return None
        return entry_key(self._ledger, user_id, seq)

    def _session_key(self, session_id: object) -> Key | None:
        return session_key(self._sessions, session_id) if _is_id(session_id) else None

    def _prompt_key(self, session_id: object) -> Key | None:
        return prompt_key(self._sessions, session_id) if _is_id(session_id) else None

    def _turn_key(self, session_id: object, number: object) -> Key | None:
        if not _is_id(session_id) or not isinstance(number, int) or not 0 < number < 10**6:
            return None
        return turn_key(self._sessions, session_id, number)


def fields_of(raw: RawItem) -> Fields:
    """The attributes of an item as plain values."""
    return {name: plain(value) for name, value in raw.items()}


def plain(value: Any) -> object:
    """A value as DynamoDB spells it ({"N": "12"}) as a plain one (12); Unreadable for what the ledger never writes."""
    match value:
        case {"S": str(text)}:
            return text
        case {"N": str(text)}:
            try:
                number = Decimal(text)
            except InvalidOperation:
                return Unreadable("no number")
            return int(number) if number == number.to_integral_value() else Unreadable("a number that is not whole")
        case {"BOOL": bool(yes)}:
            return yes
        case {"NULL": True}:
            return None
        case {"B": bytes(data)}:
            return data
        case {"L": list(values)}:
            return [plain(item) for item in values]
        case {"M": dict(values)}:
            return {name: plain(item) for name, item in values.items()}
    return Unreadable(f"of type {', '.join(value)}" if isinstance(value, dict) else "nothing that is known")


def _unless_deleted(session: Fields | None) -> Fields | None:
    """A session that is marked as deleted is none any more, whatever is left of it."""
    return None if session is None or "deleted_at" in session else session


def with_texts(turn: Fields) -> Fields:
    """A turn with its texts unpacked, or Unreadable where that fails. Those in the bucket are not looked at."""
    if isinstance(turn.get("kept"), dict):
        return {**turn, "input": "kept", "answer": "kept"}
    packed = turn.get("packed")
    if not isinstance(packed, list):
        return {**turn, "input": Unreadable("packed or not, who knows"), "answer": Unreadable("packed or not")}
    texts: dict[str, object] = {}
    for name in ("input", "answer"):
        stored = turn.get(name)
        if isinstance(stored, bytes):
            try:
                texts[name] = (zlib.decompress(stored) if name in packed else stored).decode()
            except (zlib.error, UnicodeDecodeError):
                texts[name] = Unreadable("bytes that are no text")
        else:
            texts[name] = None if stored is None else Unreadable("no bytes")
    return {**turn, **texts}


def _is_id(value: object) -> TypeGuard[str]:
    """Whether a key can be made of `value`."""
    return isinstance(value, str) and 0 < len(value.encode()) <= MAX_ID_BYTES
