"""The account itself: its balances against the entries, its holds, its plan, its index keys."""

from datetime import datetime

from playground.domain.account import Plan
from playground.domain.audit.findings import Code, Findings, Reader, fact, kind_of
from playground.domain.audit.replay import Replay
from playground.domain.audit.stored import BUCKETS, Fields, Stored, StoredKey
from playground.domain.calendar import boundary, iso

MARK_LENGTH = 8  # characters by which an account remembers a run that has ended


class AccountAudit:
    """For after the replay: `account` takes the account, `key` the keys of its changes."""

    def __init__(self, stored: Stored, replay: Replay, findings: Findings) -> None:
        self._stored = stored
        self._replay = replay
        self._findings = findings
        self._compare = findings.compare

    def account(self, fields: Fields) -> None:
        item = Reader("account", fields, self._findings)
        buckets = [item.whole(name, least=0) for name in BUCKETS]
        for name, replayed, bucket in zip(BUCKETS, self._replay.buckets, buckets, strict=True):
            self._compare(Code.BUCKET, f"account: {name}", replayed, bucket)
        held, available = item.whole("held", least=0), item.whole("available", least=0)
        known = [bucket for bucket in buckets if bucket is not None]
        if len(known) == len(BUCKETS) and held is not None:
            self._compare(Code.AVAILABLE, "account: available", sum(known) - held, available)
        debt = item.whole("debt", least=0)
        self._compare(Code.DEBT, "account: debt", self._replay.debt, debt)
        if debt and debt == self._replay.debt and buckets[2] is not None and available is not None:
            payable = buckets[2] + self._reclaimed(item, buckets)
            self._compare(Code.OWED, "account: credits that should repay debt", 0, max(min(payable, available), 0))
        self._lapsed(item.whole("lapsed", least=0, optional=True) or 0, held, buckets[1])
        item.whole("revision", least=0)
        self._compare(Code.VERSION, "account: version", self._replay.number, item.whole("version"))
        self._compare(Code.LAST_HASH, "account: last_hash", self._replay.last_hash, item.text("last_hash"))
        created = item.time("created_at")
        if created is not None:
            self._compare(Code.SIGNUP, "account: created_at", self._replay.opened, iso(created))
        for slot, mark in item.mapping("recent").items():
            if not isinstance(mark, str) or len(mark) != MARK_LENGTH:
                self._findings.add(
                    Code.ATTRIBUTE, f"account: recent {slot}", f"{MARK_LENGTH} characters", kind_of(mark)
                )
        self._holds(item, held)
        self._plan(item, buckets[1])

    def _reclaimed(self, item: Reader, buckets: list[int | None]) -> int:
        """The rest of months that were paid back while held, which repays debt as soon as it is available."""
        total = 0
        for name, most in (("reclaimed_monthly", buckets[0]), ("reclaimed_rollover", buckets[1])):
            reclaimed = item.whole(name, least=0, optional=True) or 0
            if most is not None and reclaimed > most:
                self._findings.add(Code.OWED, f"account: {name}", f"at most {most}", reclaimed)
            total += reclaimed
        return total

    def _lapsed(self, lapsed: int, held: int | None, rollover: int | None) -> None:
        """What should have expired is held, and explains all rollover beyond one allowance."""
        if held is None or rollover is None:
            return
        most = max(min(held, rollover), 0)
        if lapsed > most:
            self._findings.add(Code.LAPSED, "account: lapsed", f"at most {most}", lapsed)
        elif rollover == self._replay.buckets[1] and rollover - lapsed > self._replay.most_granted:
            self._findings.add(
                Code.LAPSED, "account: lapsed", f"at least {rollover - self._replay.most_granted}", lapsed
            )

    def _holds(self, item: Reader, held: int | None) -> None:
        total: int | None = 0
        leases: list[str] = []
        holds = item.mapping("holds")
        for run_id, values in holds.items():
            hold = Reader(f"hold of {run_id}", values if isinstance(values, dict) else {}, self._findings)
            ceiling = hold.whole("c", least=1)
            total = total + ceiling if total is not None and ceiling is not None else None
            placed, lease = hold.time("p"), hold.time("l")
            if lease is not None:
                leases.append(iso(lease))
                if placed is not None and lease <= placed:
                    self._findings.add(Code.LEASE, f"{hold.place}: lease", f"after {iso(placed)}", iso(lease))
            nonce = hold.text("n")
            for name in ("r", "s", "m"):
                hold.text(name)
            other = self._stored.held.get(run_id)
            # Another attempt's hold on a run that has ended is given back by itself; this attempt's is never there.
            if other is not None and other.fields and nonce is not None and other.fields.get("nonce") == nonce:
                self._findings.add(Code.HELD_AND_ENDED, f"{run_id}: status", "held", fact(other.fields.get("status")))
            elif other is not None and other.stray_turn is not None and not other.fields:
                self._findings.add(Code.TURN, f"{run_id}: its turn", "absent, for it is held", other.stray_turn)
        self._compare(Code.HELD, "account: held", total, held)
        self._indexed(item, "lease", required=bool(holds))
        lease_at = item.fields.get("lease_at")
        if isinstance(lease_at, str) and leases and lease_at > min(leases):
            self._findings.add(Code.LEASE, "account: lease_at", f"at most {min(leases)}", lease_at)

    def _plan(self, item: Reader, rollover: int | None) -> None:
        plan = item.one_of("plan", Plan)
        allowance, period = item.whole("allowance", least=0), item.whole("period", least=0)
        anchor, due = item.time("anchor", optional=True), item.time("due_at", optional=True)
        item.time("entitled_until", optional=True)
        self._indexed(item, "due", required=plan == Plan.PLUS or bool(rollover))
        if due is not None and period is not None and period >= 0:
            regular, until = _due(anchor, period), item.fields.get("entitled_until")
            # A plan that an operator set may end in between.
            if plan == Plan.PLUS and not item.has("subscription_id") and isinstance(until, str) and iso(due) == until:
                regular = min(regular, until)
            # Rollover of an earlier plan may expire in between, at a time that is no boundary of this one.
            if not rollover or not _due(anchor, period - 1) < iso(due) < regular:
                self._compare(Code.DUE, "account: due_at", regular, iso(due))
        if plan == Plan.FREE:
            self._compare(Code.PLAN, "account: allowance", 0, allowance)
        elif plan == Plan.PLUS:
            paid = item.fields.get("paid_periods")
            granted = not item.has("subscription_id") or (isinstance(paid, list) and period in paid)
            if granted:
                self._compare(Code.PLAN, "account: allowance", self._replay.granted or 0, allowance)
            elif allowance == 0:  # a month that waits for its payment gives what the price table says when it is paid
                self._findings.add(Code.PLAN, "account: allowance", "at least 1", 0)
        if anchor is None and not item.has("anchor"):
            self._compare(Code.PLAN, "account: period", 0, period)

    def _indexed(self, item: Reader, name: str, *, required: bool) -> None:
        """Time and shard are both there or both not: an index with one of them does not lead to the account."""
        code = Code.LEASE if name == "lease" else Code.DUE
        at, shard = f"{name}_at", f"{name}_shard"
        if not required and not item.has(at) and not item.has(shard):
            return
        item.time(at)
        self._compare(code, f"account: {shard}", self._stored.shard, item.text(shard))

    def key(self, stored: StoredKey) -> None:
        item = Reader(f"key {stored.name}", stored.fields, self._findings)
        item.time("created_at")
        version = item.whole("version", least=0)
        if version is not None and version > self._replay.number:
            self._findings.add(Code.VERSION, f"{item.place}: version", f"at most {self._replay.number}", version)


def _due(anchor: datetime | None, period: int) -> str:
    if anchor is None:
        return "absent, for there is no anchor"
    try:
        return iso(boundary(anchor, max(period, -1) + 1))
    except (ValueError, OverflowError):
        return f"absent, for there is no period {period}"
