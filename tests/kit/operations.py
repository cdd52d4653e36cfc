"""Does the operations of the model (tests/property/model.py) on a real ledger, and says the answers in its words."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from operate.operator_request import OperatorRequest
from operate.pause_account import PauseAccount
from operate.take_credits import TakeCredits
from operate.undo_grant import NoGrantError, UndoGrant
from playground.domain.account import Account, Change, Hold, Plan, ending_at, grant, start_plus
from playground.domain.allowance import NOTHING_USED, Allowance
from playground.domain.credits import Buckets
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import CorruptLedgerError, SessionConflictError
from playground.domain.payment_events import DisputeMoved, PaymentMoved, ProviderChange, ProviderEvent, RefundSum
from playground.domain.payment_events import Payment as ProviderPayment
from playground.domain.purchases import Claim, Customer, Purchase, PurchaseState, Stage
from playground.domain.rates import RateLimit
from playground.domain.runs import Run, RunStatus
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    Amend,
    CannotAfford,
    Held,
    HoldOutcome,
    Ledger,
    NoSuchPlan,
    Paused,
    Sessions,
    TooFast,
    TooManyHolds,
)
from playground.ports import Ended as LedgerEnded
from playground.usecases.apply_payment import ApplyPayment, Outcome
from playground.usecases.expire_holds import ExpireHolds
from tests.fakes import charging, conversation, receipt
from tests.kit.prices import EXAMPLE
from tests.property.model import (
    Answer,
    Audit,
    Books,
    Cancel,
    CancelAll,
    Count,
    Dear,
    Disputed,
    Ended,
    Entitle,
    Full,
    Grant,
    Hasty,
    Line,
    Lost,
    Moved,
    NoPlan,
    Nothing,
    Operation,
    Paid,
    Pause,
    Payment,
    Place,
    PlaceAll,
    Placed,
    Read,
    ReadRun,
    Receipt,
    Refunded,
    Release,
    Settle,
    Start,
    Sweep,
    Take,
    Taken,
    Undo,
    UsedUp,
    View,
    millis,
    moment,
)
from tests.property.model import Paused as ModelPaused
from tests.support import all_entries, check_invariants, records_of

STAGES = {"open": Stage.OPEN, "lost": Stage.KEPT, "won": Stage.GIVEN_BACK}
BEGINNING = moment(0)


class Subject:
    """One user's account on a ledger. `sub_millis`: microseconds that every clock shows beyond its milliseconds."""

    def __init__(self, ledger: Ledger, sessions: Sessions, user_id: str, *, sub_millis: int = 0) -> None:
        self.ledger = ledger
        self.sessions = sessions
        self.user_id = user_id
        self.records = records_of(ledger)
        self._bought: set[str] = set()
        self._beyond = timedelta(microseconds=sub_millis)
        self._seen_last: Account | None = None
        self._seen: dict[str, Account] = {}  # attempt → the account that its hold brought

    def clock(self, now: int) -> datetime:
        return moment(now) + self._beyond

    def account(self, now: int) -> Account:
        return self.ledger.account(self.user_id, self.clock(now))

    def apply(self, operation: Operation) -> Answer:
        """Do it. Raises what the ledger raises, but for the two refusals that the model knows."""
        try:
            return self._apply(operation)
        except SessionConflictError:
            return Moved()
        except CorruptLedgerError as error:
            if "neither hold nor receipt" in error.what:
                return Lost()
            raise

    def _apply(self, operation: Operation) -> Answer:
        user_id, now = self.user_id, self.clock(operation.now)
        match operation:
            case Read():
                return view_of(self.account(operation.now))
            case ReadRun(run, _):
                found = self.ledger.run(user_id, run)
                return receipt_of(found) if found is not None else Nothing()
            case Audit(sessions, runs, _):
                return self._audit(sessions, runs, operation.now)
            case Place() | PlaceAll():
                holds = operation.holds if isinstance(operation, PlaceAll) else (operation,)
                placed = self.ledger.place_hold(
                    user_id,
                    *map(self._hold, holds),
                    limit=holds[0].limit,
                    now=now,
                    allowance=allowance_of(holds[0]),
                    rate=rate_of(holds[0]),
                    plans=frozenset({Plan.PLUS}) if any(hold.needs_plan for hold in holds) else None,
                    seen=self._seen_last,
                )
                self._seen_last = placed.account
                if isinstance(placed, Held):
                    for hold in holds:
                        self._seen.setdefault(hold.nonce, placed.account)
                return placed_of(placed)
            case Settle(place, cost, at):
                hold = self._hold(place)
                about = conversation(user_id, hold, moment(at), turns=place.turn)
                account = self._seen.get(place.nonce) or _seen_long_ago(user_id, hold)
                return ended_of(
                    self.ledger.settle(account, hold, charging(hold, cost, moment(at), turn=place.turn), about)
                )
            case Release(place, status, at, cost):
                outcome = receipt(user_id, self._hold(place), RunStatus(status), moment(at))
                allowance = allowance_of(place)
                use = allowance.use(cost) if allowance is not None and cost is not None else NOTHING_USED
                return ended_of(self.ledger.release(user_id, outcome, use))
            case Cancel(place, at):
                self.ledger.cancel_hold(user_id, self._hold(place), now=moment(at), rate=rate_of(place))
                return Nothing()
            case CancelAll(holds, at):
                self.ledger.cancel_hold(user_id, *map(self._hold, holds), now=moment(at), rate=rate_of(holds[0]))
                return Nothing()
            case Sweep():
                account = self.account(operation.now)
                expired = ExpireHolds(self.ledger)(account, now=now)
                self.ledger.correct_lease(self.account(operation.now))
                return Count(expired)
            case Paid() | Refunded() | Disputed():
                self._pay(operation)
                return view_of(self.account(operation.now))
            case Grant(credits_, key, at):
                return self._change(key, at, lambda account: _granted(account, credits_, key, at))
            case Take(credits_, key, at):
                return view_of(TakeCredits(self.ledger)(user_id, credits_, order(key), now=self.clock(at)).account)
            case Undo(key, at):
                try:
                    outcome = UndoGrant(self.ledger)(user_id, order(key.removeprefix("bonus:")), now=self.clock(at))
                except NoGrantError:
                    return Nothing()
                return view_of(outcome.account)
            case Pause(on, key, at):
                outcome = PauseAccount(self.ledger)(user_id, order(key), paused=on, now=self.clock(at))
                return view_of(outcome.account)
            case Start(until, key, at):
                return self._change(key, at, lambda account: _started(account, until, at))
            case Entitle(until, key, at):
                return self._change(key, at, lambda account: _entitled(account, until))
        raise TypeError(operation)

    def _audit(self, sessions: Sequence[str], runs: Sequence[str], now: int) -> Books:
        """Raises AssertionError if the account does not add up."""
        account, entries = self.account(now), all_entries(self.ledger, self.user_id)
        check_invariants(account, entries)
        first, *others = map(line_of, entries)
        found = [self.ledger.run(self.user_id, run) for run in runs]
        return Books(
            view_of(account),
            (first._replace(at=0), *others),
            tuple(map(self.turns, sessions)),
            tuple(receipt_of(run) if run is not None else None for run in found),
        )

    def _pay(self, step: Payment) -> None:
        """As the webhook does it, with the real use case."""
        purchase_id, customer_id = f"pur_{step.purchase}", f"cus_{self.user_id}"
        if purchase_id not in self._bought:
            self._buy(step, purchase_id, customer_id)
        payment = ProviderPayment(
            payment_id=f"pi_{step.purchase}_{self.user_id}",
            amount=step.price,
            currency="usd",
            customer_id=customer_id,
            purchase_id=purchase_id,
            user_id=self.user_id,
        )
        moved: ProviderChange
        match step:
            case Paid():
                moved = PaymentMoved(payment=payment, state=PurchaseState.PAID, received=step.price)
            case Refunded():
                moved = RefundSum(payment=payment, refunded=step.cents)
            case Disputed():
                claim = Claim(step.cents, STAGES[step.stage])
                moved = DisputeMoved(payment=payment, dispute_id=step.dispute, claim=claim)
        apply_payment = ApplyPayment(
            ledger=self.ledger,
            records=self.records,
            payments=None,  # type: ignore[arg-type]  # nothing has to be asked: every event carries its pointers
            prices=EXAMPLE,
            live=False,
            clock=lambda: self.clock(step.now),
        )
        event = ProviderEvent(
            event_id=f"evt_{self.user_id}_{step}",
            type="payment",
            live=False,
            occurred_at=moment(step.now),
            change=moved,
        )
        applied = apply_payment(event)
        assert applied.outcome is not Outcome.QUARANTINED, applied.reason

    def _buy(self, step: Payment, purchase_id: str, customer_id: str) -> None:
        """The records before the first event, unless another worker has written them."""
        customer = Customer(user_id=self.user_id, customer_id=customer_id, live=False, created_at=BEGINNING)
        if self.records.customer(self.user_id, live=False) is None:
            self.records.save(customer)
        purchase = Purchase(
            purchase_id=purchase_id,
            user_id=self.user_id,
            pack="small",
            credits=step.credits,
            amount=step.price,
            currency="usd",
            live=False,
            price_version="1",
            created_at=BEGINNING,
        )
        if self.records.purchase(self.user_id, purchase_id) is None:
            self.records.save(purchase)
        self._bought.add(purchase_id)

    def _change(self, key: str, at: int, amend: Amend) -> View:
        return view_of(self.ledger.change(self.user_id, amend, business_key=key, now=self.clock(at)))

    def _hold(self, place: Place) -> Hold:
        return Hold(
            run_id=place.run,
            nonce=place.nonce,
            ceiling=place.ceiling,
            lease_at=moment(place.lease),
            request_hash="a" * 32,
            session_id=f"{place.session}_{self.user_id}",
            model="sonnet",
            placed_at=moment(place.now),
            interval=timedelta(milliseconds=place.limits.interval) if place.limits is not None else timedelta(),
        )

    def turns(self, session: str) -> tuple[str, ...]:
        """The runs whose answers can be read."""
        return tuple(turn.run_id for turn in self.sessions.turns(f"{session}_{self.user_id}"))


def order(reference: str) -> OperatorRequest:
    return OperatorRequest(reference=reference, reason="Because", operator="anna")


def rate_of(place: Place) -> RateLimit | None:
    return RateLimit(name="runs", per_minute=place.rate) if place.rate is not None else None


def allowance_of(place: Place) -> Allowance | None:
    limits = place.limits
    if limits is None:
        return None
    return Allowance(
        failed_runs_per_hour=limits.runs, unpaid_nano_per_day=limits.cost, nano_per_credit=limits.per_credit
    )


def _seen_long_ago(user_id: str, hold: Hold) -> Account:
    """An account of a version that is over, when only this hold was there."""
    return Account(
        user_id=user_id,
        created_at=hold.placed_at,
        buckets=Buckets(purchased=hold.ceiling),
        held=hold.ceiling,
        holds={hold.run_id: hold},
    )


def _granted(account: Account, credits_: int, key: str, at: int) -> Change:
    after, entry = grant(account, credits_, type_=EntryType.BONUS, business_key=key, reason="For you", now=moment(at))
    return after, (entry,)


def _started(account: Account, until: int | None, at: int) -> Change | None:
    if account.plan is Plan.PLUS:
        return None
    return start_plus(
        account, allowance=200, entitled_until=moment(until) if until is not None else None, now=moment(at)
    )


def _entitled(account: Account, until: int | None) -> Change | None:
    if account.plan is Plan.FREE:
        return None
    return ending_at(account, moment(until) if until is not None else None), ()


# --- the ledger's words in the model's --------------------------------------------------------------------------------


def view_of(account: Account) -> View:
    def time(at: datetime | None) -> int | None:
        return None if at is None else millis(at)

    return View(
        monthly=account.buckets.monthly,
        rollover=account.buckets.rollover,
        purchased=account.buckets.purchased,
        held=account.held,
        available=account.available,
        version=account.version,
        plan=account.plan.value,
        allowance=account.allowance,
        anchor=time(account.anchor),
        period=account.period,
        due=time(account.due_at),
        until=time(account.entitled_until),
        holds=frozenset(
            (hold.run_id, hold.nonce, hold.ceiling, millis(hold.lease_at)) for hold in account.holds.values()
        ),
        debt=account.debt,
        lapsed=account.lapsed,
        paid=account.has_paid,
        failures=time(account.failures_at),
        unpaid=time(account.unpaid_at),
        paused=time(account.paused_at),
        runs=time(account.runs_at),
    )


def placed_of(outcome: HoldOutcome) -> Answer:
    view = view_of(outcome.account)
    match outcome:
        case Held(_, ended_before):
            return Placed(view, ended_before)
        case CannotAfford():
            return Dear(view)
        case TooManyHolds():
            return Full(view)
        case Paused():
            return ModelPaused(view)
        case NoSuchPlan():
            return NoPlan(view)
        case AllowanceUsedUp():
            return UsedUp(view)
        case TooFast(_, ended_before):
            return Hasty(view, ended_before)
        case AlreadyHeld(_, hold):
            return Taken(view, hold.nonce)


def ended_of(ended: LedgerEnded) -> Ended:
    return Ended(receipt_of(ended.run), ended.by_us)


def receipt_of(run: Run) -> Receipt:
    return Receipt(
        status=run.status.value,
        nonce=run.nonce,
        ceiling=run.ceiling,
        ended=millis(run.ended_at),
        charged=run.charged,
        split=(run.deltas.monthly, run.deltas.rollover, run.deltas.purchased),
        balance=run.balance_after,
        seq=run.entry_seq,
        turn=run.turn,
    )


def line_of(entry: Entry) -> Line:
    deltas = entry.deltas
    return Line(
        entry.type.value,
        millis(entry.created_at),
        deltas.monthly,
        deltas.rollover,
        deltas.purchased,
        run=entry.run_id,
    )
