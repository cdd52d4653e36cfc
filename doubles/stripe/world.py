"""The state of the account: its clock, its objects, and the events about them.

Objects are dicts as Stripe writes them. Keys that begin with an underscore are facts of ours (which test card it is,
when something is due) and never leave the double.
"""

import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from doubles.stripe.wire import ApiError, Obj, Params, invalid, no_such

API_VERSION: Final = "2026-10-28.endive"
MAX_STEPS: Final = 10_000  # of the clock in one advance
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Lengths of ids, so that they look like Stripe's.
ID_LENGTHS: Final[Mapping[str, int]] = {"cus": 14, "prod": 14, "si": 14, "req": 14, "cs_test": 58, "cs_live": 58}


class Clock:
    """Real time plus what was skipped. With a constant `base` it moves by `move_to` only."""

    def __init__(self, base: Callable[[], float] = time.time, skipped: float = 0) -> None:
        self._base = base
        self.skipped = skipped

    def now(self) -> int:
        return int(self._base() + self.skipped)

    def move_to(self, moment: int) -> None:
        """Never backwards."""
        self.skipped += max(0.0, moment - (self._base() + self.skipped))


class World:
    """All objects of the account. Not thread-safe: callers hold the lock of the account."""

    def __init__(self, clock: Clock, randomness: random.Random, url: str = "http://127.0.0.1") -> None:
        self.clock = clock
        self.random = randomness
        self.url = url
        self.objects: dict[str, Obj] = {}
        self.kinds: dict[str, list[str]] = {}
        self.changed: dict[str, Obj | None] = {}  # since the last save; None: removed
        self.livemode = False
        self.request: tuple[str | None, str | None] = (None, None)  # request id, idempotency key
        self.on_event: Callable[[Obj], None] = lambda _event: None
        self.steps: dict[str, Callable[[Obj], None]] = {}
        self.due: dict[str, int] = {}  # id of an object: when its step is due
        self._undo: list[Callable[[], None]] | None = None

    @property
    def now(self) -> int:
        return self.clock.now()

    @contextmanager
    def calling(self, livemode: bool, request_id: str | None, key: str | None) -> Iterator[None]:
        """The context of a call: new objects get its mode, events name its request."""
        former = self.livemode, self.request
        self.livemode, self.request = livemode, (request_id, key)
        try:
            yield
        finally:
            self.livemode, self.request = former

    # ------------------------------------------------------------ objects

    def new_id(self, prefix: str, length: int | None = None) -> str:
        size = length or ID_LENGTHS.get(prefix, 24)
        return f"{prefix}_{''.join(self.random.choices(ALPHABET, k=size))}"

    def add(self, obj: Obj) -> Obj:
        self.objects[obj["id"]] = obj
        self.kinds.setdefault(obj["object"], []).append(obj["id"])
        self.changed[obj["id"]] = obj
        self._note_due(obj)
        if self._undo is not None:
            self._undo.append(lambda: self.remove(obj))
        return obj

    def remove(self, obj: Obj) -> None:
        """Remove an object; not undone by `all_or_nothing`."""
        del self.objects[obj["id"]]
        self.kinds[obj["object"]].remove(obj["id"])
        self.due.pop(obj["id"], None)
        self.changed[obj["id"]] = None

    def find(self, kind: str, identifier: str | None) -> Obj | None:
        obj = self.objects.get(identifier or "")
        return obj if obj is not None and obj["object"] == kind else None

    def get(self, kind: str, identifier: str, param: str = "id") -> Obj:
        """Raises ApiError 404, also for an object of the other mode."""
        obj = self.find(kind, identifier)
        if obj is None:
            raise no_such(kind, identifier, param)
        if mode_of(obj) != self.livemode:
            error = no_such(kind, identifier, param)
            there, here = ("test", "live") if self.livemode else ("live", "test")
            error.message += f"; a similar object exists in {there} mode, but a {here} mode key was used to make "
            error.message += "this request."
            raise error
        return obj

    def all(self, kind: str) -> list[Obj]:
        """Oldest first."""
        return [self.objects[identifier] for identifier in self.kinds.get(kind, [])]

    def update(self, obj: Obj, **values: Any) -> Obj:
        """Change an object; returns `previous_attributes` for its event."""
        if self._undo is not None:
            former = dict(obj)
            self._undo.append(lambda: self._restore(obj, former))
        previous = {}
        for name, value in values.items():
            before = obj.get(name)
            if before != value:
                obj[name] = value
                if not name.startswith("_"):
                    previous[name] = _difference(before, value)
        self.changed[obj["id"]] = obj
        self._note_due(obj)
        return previous

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo all changes and events if the call is refused, unless the error is one of an executed call."""
        self._undo = []
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, ApiError) and error.executed):
                undo, self._undo = self._undo, None
                for step in reversed(undo):
                    step()
            raise
        finally:
            self._undo = None

    def _restore(self, obj: Obj, former: Obj) -> None:
        obj.clear()
        obj.update(former)
        self.changed[obj["id"]] = obj
        self._note_due(obj)

    def _note_due(self, obj: Obj) -> None:
        moment = obj.get("_due_at")
        if moment is None:
            self.due.pop(obj["id"], None)
        else:
            self.due[obj["id"]] = moment

    # ------------------------------------------------------------ time

    def schedule(self, obj: Obj, step: str, moment: int) -> None:
        """Plan a step of the object for a moment. An object has at most one planned step; a new one replaces it."""
        self.update(obj, _due_at=moment, _step=step)

    def unschedule(self, obj: Obj) -> None:
        self.update(obj, _due_at=None, _step=None)

    def advance(self, until: int) -> int:
        """Take every step that is due until then, in the order of time and at its time; returns how many."""
        for taken in range(MAX_STEPS):
            ready = [(moment, identifier) for identifier, moment in self.due.items() if moment <= until]
            if not ready:
                self.clock.move_to(until)
                return taken
            moment, identifier = min(ready, key=lambda pair: pair[0])  # of the same moment the one planned first
            obj = self.objects[identifier]
            step = self.steps[obj["_step"]]
            self.clock.move_to(moment)
            self.unschedule(obj)
            with self.calling(mode_of(obj), None, None):
                step(obj)
        raise ApiError(400, "invalid_request_error", f"More than {MAX_STEPS} steps: advance the clock in parts.")

    # ------------------------------------------------------------ events

    def emit(self, kind: str, obj: Obj, previous: Obj | None = None) -> Obj:
        """Make an event, with a copy of the object as it is now."""
        data: Obj = {"object": plain(obj)}
        if previous is not None:
            data["previous_attributes"] = plain(previous)
        event = self.add(
            {
                "id": self.new_id("evt"),
                "object": "event",
                "api_version": API_VERSION,
                "created": self.now,
                "data": data,
                "livemode": mode_of(obj),
                "pending_webhooks": 0,
                "request": {"id": self.request[0], "idempotency_key": self.request[1]},
                "type": kind,
            }
        )
        self.on_event(event)
        return event

    # ------------------------------------------------------------ answers

    def page(self, kind: str, url: str, params: Params, matches: Callable[[Obj], bool] = lambda _: True) -> Obj:
        """A page of a list as the API gives it, newest first."""
        limit = params.integer("limit", lowest=1, highest=100) or 10
        in_time = created_filter(params)
        newest = [obj for obj in reversed(self.all(kind)) if mode_of(obj) == self.livemode and not obj.get("deleted")]
        after, before = params.text("starting_after"), params.text("ending_before")
        if after and before:
            raise invalid("You cannot specify both starting_after and ending_before.", "starting_after")
        order = {obj["id"]: index for index, obj in enumerate(newest)}
        for name, cursor in (("starting_after", after), ("ending_before", before)):
            if cursor and cursor not in order:
                raise no_such(kind, cursor, name)
        found = [obj for obj in newest if in_time(obj) and matches(obj)]
        if before:
            earlier = [obj for obj in found if order[obj["id"]] < order[before]]
            return listing(url, [plain(obj) for obj in earlier[-limit:]], len(earlier) > limit)
        later = [obj for obj in found if not after or order[obj["id"]] > order[after]]
        return listing(url, [plain(obj) for obj in later[:limit]], len(later) > limit)


def mode_of(obj: Obj) -> bool:
    """Whether an object is of live mode; some have it in a private field."""
    return bool(obj.get("livemode", obj.get("_livemode", False)))


def plain(value: Any) -> Any:
    """A copy without the private fields, which begin with an underscore."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return copy.copy(value)


def listing(url: str, data: list[Obj], has_more: bool = False) -> Obj:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def created_filter(params: Params) -> Callable[[Obj], bool]:
    given = params.raw("created")
    if given is None:
        return lambda _: True
    if isinstance(given, str):
        exact = params.integer("created")
        return lambda obj: bool(obj["created"] == exact)
    limits = params.nested("created", ("gt", "gte", "lt", "lte"))
    gt, gte, lt, lte = (limits.integer(name) for name in ("gt", "gte", "lt", "lte"))
    return lambda obj: (
        (gt is None or obj["created"] > gt)
        and (gte is None or obj["created"] >= gte)
        and (lt is None or obj["created"] < lt)
        and (lte is None or obj["created"] <= lte)
    )


def _difference(before: Any, after: Any) -> Any:
    """The value before; of two dicts only the keys that changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = [key for key in before if before[key] != after.get(key)]
        return {key: _difference(before[key], after.get(key)) for key in changed}
    return copy.deepcopy(before)
