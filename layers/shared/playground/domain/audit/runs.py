"""Receipts: hold and charge are computed again, and each must match its entry, its turn and the sums of its session."""

from dataclasses import dataclass

from playground.domain.audit.findings import Code, Findings, Reader, fact
from playground.domain.audit.stored import BUCKETS, Fields, StoredRun
from playground.domain.calendar import iso
from playground.domain.entries import EntryType
from playground.domain.packages import package_uuid
from playground.domain.pricing import ModelPrice, PriceTable, PriceTables, Usage
from playground.domain.runs import RunStatus


@dataclass(slots=True)
class Sums:
    """The sums of the settled runs of one session, and its summary."""

    session: Fields
    began: str | None = None
    model: str | None = None
    ended: str | None = None
    turns: int = 0
    credits: int = 0
    tokens: int = 0
    duration_ms: int = 0


class Runs:
    """`run` takes the receipts, in any order; then `sums` looks at their sessions. `count` is how many there were.

    Takes memory for sessions, not for receipts.
    """

    def __init__(self, user_id: str, prices: PriceTables, findings: Findings) -> None:
        self.count = 0
        self._user_id = user_id
        self._prices = prices
        self._findings = findings
        self._compare = findings.compare
        self._sessions: dict[str, Sums] = {}

    def run(self, stored: StoredRun) -> None:
        self.count += 1
        place = stored.run_id
        item = Reader(place, stored.fields, self._findings)
        status = item.one_of("status", RunStatus)
        self._compare(Code.RECEIPT, f"{place}: run_id", stored.run_id, item.text("run_id"))
        for name in ("nonce", "request_hash", "session_id", "model"):
            item.text(name)
        item.time("started_at")
        item.time("ended_at")
        item.whole("ceiling", least=1)
        item.whole("overrun", least=0)
        self._ceiling(place, item, status)
        if status == RunStatus.SETTLED:
            self._settled(place, item, stored)
        elif status is not None:
            self._not_settled(place, item, stored, status)

    def _ceiling(self, place: str, item: Reader, status: str | None) -> None:
        """What was held, worked out again."""
        if status == RunStatus.EXPIRED:
            item.absent("package", "package_version", "model_id", "price_version", why="it knows only its hold")
            item.absent("prompt_tokens", "max_tokens", "wanted_max_tokens", why="it knows only its hold")
            return
        if item.fields.get("custom_prompt") is True:
            item.absent("package", "package_version", "variables", why="it ran a custom prompt")
        else:
            item.text("package")
            item.text("package_version")
        model_id = item.text("model_id")
        prompt = item.whole("prompt_tokens", least=0)
        most = item.whole("max_tokens", least=1)
        wanted = item.whole("wanted_max_tokens", least=1)
        if most is not None and wanted is not None and most > wanted:
            self._findings.add(Code.CEILING, f"{place}: max_tokens", f"at most {wanted}", most)
        version = item.text("price_version")
        table = self._table(item)
        if table is None:
            if version is not None:
                self._findings.add(Code.PRICE, f"{place}: price_version", "that of a published table", version)
            return
        model = self._model(table, item)
        if model is None:
            self._findings.add(Code.PRICE, f"{place}: model", "one of the price table", "another")
            return
        if prompt is None or most is None or prompt < 0 or most < 1:
            return
        if status == RunStatus.RELEASED:  # of a settled run: the provider's own id of the model
            self._compare(Code.PRICE, f"{place}: model_id", model.model_id, model_id)
        ceiling = item.fields.get("ceiling")
        self._compare(Code.CEILING, f"{place}: ceiling", table.ceiling(model, prompt, most), fact(ceiling))

    def _table(self, item: Reader) -> PriceTable | None:
        """The published table that a receipt names."""
        version = item.fields.get("price_version")
        return self._prices(version) if isinstance(version, str) else None

    def _model(self, table: PriceTable, item: Reader) -> ModelPrice | None:
        """The model of a receipt as it was priced. A receipt of a custom prompt is never priced as one of a package: a
        table without terms for it has no such model."""
        name, custom = str(item.fields.get("model")), item.fields.get("custom_prompt") is True
        if name not in table.models or (custom and table.custom_prompt is None):
            return None
        return table.model(name, custom_prompt=custom)

    def _settled(self, place: str, item: Reader, stored: StoredRun) -> None:
        item.absent("failure", why="it is settled")
        charged = item.whole("charged", least=1)
        item.text("stop_reason")
        usage = item.numbers("usage", 4)
        self._charge(place, item, charged, usage)
        started, ended = item.time("started_at"), item.time("ended_at")
        duration = item.whole("duration_ms")
        if started is not None and ended is not None:
            self._compare(
                Code.RECEIPT, f"{place}: duration_ms", round((ended - started).total_seconds() * 1000), duration
            )
        self._against_entry(place, item, stored.entry)
        turn = item.whole("turn", least=1)
        if stored.session is None:
            return  # deleted: the answer is gone, the charge stays
        session_id = str(item.fields.get("session_id"))
        sums = self._sessions.setdefault(session_id, Sums(stored.session))
        sums.turns += 1
        sums.credits += charged or 0
        sums.tokens += sum(usage or ())
        sums.duration_ms += duration or 0
        if turn == 1 and ended is not None:
            sums.began = iso(ended)  # a session is made when its first turn is paid
            sums.model = item.text("model")
        if ended is not None:
            sums.ended = max(sums.ended or "", iso(ended))  # clocks differ; activity never goes back
        for name in ("package", "package_version"):
            self._compare(Code.RECEIPT, f"{place}: {name}", fact(stored.session.get(name)), fact(item.fields.get(name)))
        if item.has("use_no_prompt"):  # earlier versions did not write it
            self._compare(
                Code.RECEIPT,
                f"{place}: use_no_prompt",
                str(stored.session.get("use_no_prompt")),
                str(item.fields["use_no_prompt"]),
            )
        self._turn(f"turn {turn} of {session_id}", place, item, usage, stored.turn)
        if item.fields.get("custom_prompt") is True:
            self._prompt(f"prompt of {session_id}", stored.prompt)

    def _prompt(self, place: str, fields: Fields | None) -> None:
        """The session can go on: what it runs is there, and can be read."""
        if fields is None:
            self._findings.add(Code.SESSION, place, "there", "nothing")
        else:
            Reader(place, fields, self._findings).text("text")

    def _charge(self, place: str, item: Reader, charged: int | None, usage: tuple[int, ...] | None) -> None:
        price = item.numbers("price", 5)
        if price is None:
            return
        credits_, tier, factor, floor, _ = price
        self._compare(Code.PRICE, f"{place}: credits of its price", max(tier * factor, floor), credits_)
        ceiling = item.fields.get("ceiling")
        if isinstance(ceiling, int):
            self._compare(Code.CHARGE, f"{place}: charged", min(credits_, ceiling), charged)
        if charged is not None:
            self._compare(
                Code.CHARGE, f"{place}: overrun", max(credits_ - charged, 0), fact(item.fields.get("overrun"))
            )
        table = self._table(item)
        model = self._model(table, item) if table is not None else None
        if usage is None or table is None or model is None:
            return
        if min(usage) < 0:
            self._findings.add(Code.NEGATIVE, f"{place}: usage", "at least 0", min(usage))
            return
        read, written, cache_write, cache_read = usage
        right = table.price(
            model,
            Usage(
                input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read
            ),
        )
        expected = (right.credits, right.tier, right.factor, right.floor, right.cost_nano)
        for name, should, is_ in zip(("credits", "tier", "factor", "floor", "cost"), expected, price, strict=True):
            self._compare(Code.PRICE, f"{place}: {name} by the price table", should, is_)

    def _against_entry(self, place: str, item: Reader, entry: Fields | None) -> None:
        """The receipt says what its entry says."""
        seq = item.whole("entry_seq", least=1)
        charged = item.fields.get("charged")
        found = {
            "type": EntryType.SPEND.value,
            "run_id": item.fields.get("run_id"),
            "hash": item.text("entry_hash"),
            "balance_after": item.whole("balance_after", least=0),
            "amount": -charged if isinstance(charged, int) else None,
            "created_at": item.fields.get("ended_at"),
            "session_id": item.fields.get("session_id"),
        }
        deltas = item.numbers("deltas", len(BUCKETS))
        if entry is None:
            self._findings.add(Code.SPEND, f"{place}: entry {seq}", "there", "nothing")
            return
        for name, value in found.items():
            self._compare(Code.RECEIPT, f"{place}: {name} of entry {seq}", fact(entry.get(name)), fact(value))
        of_entry = entry.get("deltas")
        if deltas is not None and isinstance(of_entry, list):
            self._compare(Code.RECEIPT, f"{place}: deltas", str(of_entry), str(list(deltas)))

    def _turn(
        self, place: str, run_id: str, item: Reader, usage: tuple[int, ...] | None, fields: Fields | None
    ) -> None:
        """The turn is there, is this run's, and can be read."""
        if fields is None:
            self._findings.add(Code.TURN, f"{run_id}: {place}", "there", "nothing")
            return
        turn = Reader(place, fields, self._findings)
        self._compare(Code.TURN, f"{place}: run_id", run_id, turn.text("run_id"))
        self._compare(Code.TURN, f"{place}: number", fact(item.fields.get("turn")), turn.whole("number"))
        tokens = turn.whole("input_tokens", least=0), turn.whole("output_tokens", least=0)
        if usage is not None:
            self._compare(Code.TURN, f"{place}: input_tokens", sum(usage) - usage[1], tokens[0])
            self._compare(Code.TURN, f"{place}: output_tokens", usage[1], tokens[1])
        for name, other in (("asked_at", "started_at"), ("answered_at", "ended_at")):
            turn.time(name)
            self._compare(Code.TURN, f"{place}: {name}", fact(item.fields.get(other)), fact(fields.get(name)))
        for name, other in (("credits", "charged"), ("stop_reason", "stop_reason")):
            if turn.has(name):  # earlier versions did not write it
                self._compare(Code.TURN, f"{place}: {name}", fact(item.fields.get(other)), fact(fields.get(name)))
        for name in ("input", "answer"):
            turn.text(name)

    def _not_settled(self, place: str, item: Reader, stored: StoredRun, status: str) -> None:
        why = f"it is {status}"
        self._compare(Code.CHARGE, f"{place}: charged", 0, item.whole("charged"))
        self._compare(Code.CHARGE, f"{place}: overrun", 0, fact(item.fields.get("overrun")))
        self._compare(Code.CHARGE, f"{place}: deltas", "[0, 0, 0]", fact(item.fields.get("deltas")))
        item.numbers("deltas", len(BUCKETS))
        item.absent("entry_seq", "entry_hash", "balance_after", "turn", "usage", "price", "duration_ms", why=why)
        item.absent("stop_reason", why=why)
        failure = Reader(f"{place}: failure", item.mapping("failure"), self._findings)
        failure.text("code")
        if failure.fields.get("reason") != "":  # a failure may have no reason beyond its code
            failure.text("reason")
        failure.whole("retry_after", optional=True)
        if stored.stray_turn is not None:
            self._findings.add(Code.TURN, f"{place}: its turn", f"absent, for {why}", f"turn {stored.stray_turn}")

    def sums(self) -> None:
        """After the last run: every session's sums are those of its runs."""
        for session_id, sums in self._sessions.items():
            self._session(session_id, sums)

    def _session(self, session_id: str, sums: Sums) -> None:
        item = Reader(session_id, sums.session, self._findings)
        self._compare(Code.SESSION, f"{session_id}: user_id", self._user_id, item.text("user_id"))
        self._compare(Code.SESSION, f"{session_id}: session_id", session_id, item.text("session_id"))
        copied = item.whole("copied", least=1, optional=True) or 0  # turns of a fork, whose runs were another user's
        sums.turns += copied
        for name in ("turns", "credits", "tokens", "duration_ms"):
            self._compare(Code.SESSION, f"{session_id}: {name}", getattr(sums, name), item.whole(name))
        for name, moment in (("created_at", sums.began), ("updated_at", sums.ended)):
            item.time(name)
            if name == "updated_at" or not copied:
                self._compare(Code.SESSION, f"{session_id}: {name}", moment, fact(sums.session.get(name)))
        self._compare(Code.SESSION, f"{session_id}: listed_at", f"{sums.ended}#{session_id}", item.text("listed_at"))
        model = item.text("model")
        if not copied:
            self._compare(Code.SESSION, f"{session_id}: model", sums.model, model)
        item.text("title")
        if sums.session.get("package_id") is None:
            item.absent("package", "package_version", "variables", why="it runs a custom prompt")
        else:
            item.text("package_version")
            package = package_uuid(item.text("package") or "")
            self._compare(Code.SESSION, f"{session_id}: package_id", package, item.text("package_id"))
        item.boolean("use_no_prompt")
