"""Mistakes that somebody could make, each as a replacement in the source. A test has to find every one of them."""

from dataclasses import dataclass

LEDGER = "layers/shared/playground/adapters/dynamo_ledger.py"
ITEMS = "layers/shared/playground/adapters/dynamo_items.py"
STORE = "layers/shared/playground/adapters/dynamo_store.py"
ACCOUNT = "layers/shared/playground/domain/account.py"
RUN_PROMPT = "layers/shared/playground/usecases/run_prompt.py"
PURCHASES = "layers/shared/playground/domain/payments.py"
SUBSCRIPTIONS = "layers/shared/playground/domain/subscriptions.py"
APPLY = "layers/shared/playground/usecases/apply_payment.py"
EVENTS = "layers/shared/playground/adapters/stripe_events.py"
RECONCILE = "layers/shared/playground/usecases/reconcile.py"
EXPIRE = "layers/shared/playground/usecases/expire_holds.py"
CALENDAR = "layers/shared/playground/domain/calendar.py"
NOTICES = "layers/shared/playground/domain/notices.py"
VISITS = "layers/shared/playground/usecases/visit_accounts.py"
RESET = "functions/reset/app.py"
NOTIFY = "functions/notices/app.py"
BUS = "layers/shared/playground/adapters/eventbridge.py"
OPERATE = "layers/shared/playground/usecases/operate.py"
ERASE = "layers/shared/playground/usecases/erase_account.py"
ERASURE = "layers/shared/playground/domain/erasure.py"
ERASER = "layers/shared/playground/adapters/dynamo_erasure.py"
SESSIONS = "layers/shared/playground/adapters/dynamo_sessions.py"
SHARE = "layers/shared/playground/usecases/share_session.py"
SHARED = "layers/shared/playground/usecases/visit_share.py"
SHARING = "layers/shared/playground/domain/sharing.py"
CLAUDE = "layers/shared/playground/adapters/claude.py"
PRICING = "layers/shared/playground/domain/pricing.py"
PROMPTS = "layers/shared/playground/usecases/prompts.py"
HTTP = "layers/shared/playground/http.py"

CONTRACT = "tests/contract/test_ledger_contract.py"
FAULTS = "tests/faults/test_ledger_faults.py"
RACES = "tests/concurrency/test_ledger_races.py"
HISTORIES = "tests/concurrency/test_histories.py"
MACHINE = "tests/property/test_ledger_machine.py"
PROPERTIES = "tests/property/test_account_properties.py"
RUNS = "tests/unit/test_run_prompt.py"
UNIT = "tests/unit/test_account.py"
DISORDER = "tests/property/test_payment_disorder.py"
PAYMENTS = "tests/integration/test_payments.py"
PLANS = "tests/integration/test_subscriptions.py"
COMPARED = "tests/unit/test_reconcile.py"
MONTHS = "tests/unit/test_calendar.py"
BILLED = "tests/unit/test_subscriptions.py"
CONTEXTS = "tests/unit/test_context.py"
HANDLERS = "tests/integration/test_handlers.py"
NIGHTS = "tests/integration/test_time_passes.py"
LIFE = "tests/integration/test_a_long_life.py"
TOLD = "tests/unit/test_notices.py"
STREAM = "tests/integration/test_notices_stream.py"
ORDERS = "tests/unit/test_operate.py"
FORGETTING = "tests/integration/test_erasure.py"
TALKS = "tests/contract/test_sessions_contract.py"
TALKING = "tests/integration/test_sessions.py"
LINKS = "tests/integration/test_sharing.py"
USAGES = "tests/unit/test_claude_usage.py"
UNREADABLE = "tests/integration/test_unreadable.py"
EDGES = "tests/unit/test_http.py"

ALL = (CONTRACT, RACES, FAULTS, HISTORIES, MACHINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, which must be in `file` exactly once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """`tests` are run in this order until one fails."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...] = ALL


def mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(file, old, new),), tests or ALL)


MUTANTS = (
    # --- place hold ---------------------------------------------------------------------------------------------------
    mutant(
        "a hold does not ask whether there are credits",
        LEDGER,
        "condition=(AccountItem.available >= hold.ceiling)",
        "condition=(AccountItem.version >= 0)",
    ),
    mutant(
        "a hold does not ask how many there are",
        LEDGER,
        "& (size(AccountItem.holds) < limit)",
        "& (size(AccountItem.holds) >= 0)",
    ),
    mutant(
        "a hold may be one too many",
        LEDGER,
        "& (size(AccountItem.holds) < limit)",
        "& (size(AccountItem.holds) <= limit)",
    ),
    mutant(
        "a hold does not ask whether the run is held",
        LEDGER,
        "            & place.does_not_exist()\n",
        "",
    ),
    mutant(
        "a hold does not ask whether a boundary is due",
        LEDGER,
        "            & place.does_not_exist()\n            & _not_due(now),",
        "            & place.does_not_exist(),",
    ),
    Mutant(
        "a hold reads first and then writes what it has read",
        (
            Edit(
                LEDGER,
                "        place = Path(AccountItem.holds)[hold.run_id]\n",
                "        seen = self.account(user_id, now)\n"
                "        fits = len(seen.holds) < limit and hold.run_id not in seen.holds\n"
                "        if fits and seen.available < hold.ceiling:\n"
                "            return CannotAfford(seen)\n"
                "        place = Path(AccountItem.holds)[hold.run_id]\n",
            ),
            Edit(
                LEDGER,
                "AccountItem.available.set(AccountItem.available - hold.ceiling)",
                "AccountItem.available.set(seen.available - hold.ceiling)",
            ),
            Edit(
                LEDGER,
                "AccountItem.held.set(AccountItem.held + hold.ceiling)",
                "AccountItem.held.set(seen.held + hold.ceiling)",
            ),
        ),
        (RACES, HISTORIES),
    ),
    mutant(
        "an attempt does not know its own hold",
        LEDGER,
        "there.nonce == hold.nonce  # the reply",
        "False  # the reply",
    ),
    # --- settle -------------------------------------------------------------------------------------------------------
    mutant(
        "a settlement does not compare the version",
        LEDGER,
        "condition=(AccountItem.version == account.version)\n                    & (Path",
        "condition=(Path",
        CONTRACT,
        RACES,
        HISTORIES,
    ),
    mutant(
        "a settlement does not ask whose hold it is",
        LEDGER,
        '& (Path(AccountItem.holds)[run_id]["n"] == hold.nonce)',
        "& Path(AccountItem.holds)[run_id].exists()",
        HISTORIES,
        CONTRACT,
        RACES,
    ),
    mutant(
        "a settlement does not cross the boundaries before it",
        LEDGER,
        "            account = self._advance(account, now)\n            if not",
        "            if not",
    ),
    mutant(
        "a settlement writes what is available by value",
        LEDGER,
        "AccountItem.available.set(AccountItem.available + (hold.ceiling - run.charged))",
        "AccountItem.available.set(after.available)",
    ),
    mutant(
        "a settlement writes what is held by value",
        LEDGER,
        "                        AccountItem.held.set(AccountItem.held - hold.ceiling),\n",
        "                        AccountItem.held.set(after.held),\n",
    ),
    mutant(
        "a settlement gives the whole hold back",
        LEDGER,
        "(hold.ceiling - run.charged)",
        "hold.ceiling",
    ),
    mutant(
        "a receipt is written over another one",
        STORE,
        '"ConditionExpression": "attribute_not_exists(pk)",',
        '"ConditionExpression": "attribute_not_exists(pk)"\n'
        '                    + (" OR attribute_exists(pk)" if write.key.sk.startswith("RUN#") else ""),',
    ),
    mutant(
        "a turn is written over another one",
        STORE,
        '"ConditionExpression": "attribute_not_exists(pk)",',
        '"ConditionExpression": "attribute_not_exists(pk)"\n'
        '                    + (" OR attribute_exists(pk)" if write.key.pk.startswith("SESSION#") else ""),',
    ),
    mutant(
        "a settled run has no turn",
        LEDGER,
        "                turn,\n                session,\n",
        "                session,\n",
    ),
    # --- release, expire, cancel --------------------------------------------------------------------------------------
    mutant(
        "a hold is given back without a look whether it is there",
        LEDGER,
        'ours = (there["n"] == placed.nonce) & (there["c"] == placed.ceiling)',
        "ours = AccountItem.version >= 0",
    ),
    mutant(
        "a hold is given back by whoever asks",
        LEDGER,
        'ours = (there["n"] == placed.nonce) & (there["c"] == placed.ceiling)',
        'ours = there["c"] == placed.ceiling',
    ),
    mutant(
        "a release does not cross the boundaries before it",
        LEDGER,
        "self._drop(user_id, run, _not_due(run.ended_at)),",
        "self._drop(user_id, run),",
    ),
    mutant(
        "a hold that outlived its run stays",
        LEDGER,
        "        self.cancel_hold(user_id, hold)  # if it outlived the run, or was placed once more by a late repeat\n",
        "",
    ),
    mutant(
        "a conflict of one write is taken for a refusal",
        STORE,
        "    return _PassingError() if code in PASSING else StoreUnavailableError()",
        "    return ConditionFailed(None) if code in PASSING else StoreUnavailableError()",
        FAULTS,
    ),
    mutant(
        "a conflict of a transaction is taken for a refusal",
        STORE,
        "            return _PassingError()\n        return StoreUnavailableError()",
        "            return TransactionRefused({0: None})\n        return StoreUnavailableError()",
        FAULTS,
    ),
    mutant(
        "holds of attempts that are alive expire",
        ACCOUNT,
        "        return self.lease_at <= now\n",
        "        return True\n",
        UNIT,
        MACHINE,
    ),
    mutant(
        "a hold expires a moment early",
        ACCOUNT,
        "        return self.lease_at <= now\n",
        "        return self.lease_at <= now + timedelta(milliseconds=1)\n",
        UNIT,
        MACHINE,
    ),
    # --- change -------------------------------------------------------------------------------------------------------
    mutant(
        "a change does not write its key",
        LEDGER,
        "self._store.transact(write, *self._entry_puts(entries), *others)",
        "self._store.transact(\n"
        "                write, *self._entry_puts(entries), *(each for each in others if not isinstance(each, Put))\n"
        "            )",
    ),
    mutant(
        "a change does not compare the version",
        LEDGER,
        "condition=(AccountItem.version == account.version)\n            & (AccountItem.revision == account.revision)",
        "condition=(AccountItem.revision == account.revision)",
        RACES,
        HISTORIES,
    ),
    mutant(
        "a change does not compare the revision",
        LEDGER,
        "            & (AccountItem.revision == account.revision)\n",
        "",
        CONTRACT,
        RACES,
        HISTORIES,
    ),
    mutant(
        "a change does not look at what is held meanwhile",
        LEDGER,
        "            & (Path(AccountItem.holds) == items.holds_map(account)),",
        "",
        HISTORIES,
    ),
    mutant(
        "a place in line is forgotten by those who compare holds",
        ITEMS,
        '        **({"q": hold.ticket} if hold.ticket is not None else {}),\n',
        "",
        RACES,
    ),
    mutant(
        "nobody passes those who died in line",
        LEDGER,
        "min(patience, moved + LONGEST_STANDSTILL)",
        "patience",
        RACES,
    ),
    mutant(
        "time in line does not count",
        LEDGER,
        "patience = self._store.backoff.monotonic() + LONGEST_WAIT",
        "patience = self._store.backoff.monotonic() + 1e9",
        RACES,
    ),
    mutant(
        "nobody waits in line",
        LEDGER,
        "before = sum(ticket < ours for ticket in _tickets(account))",
        "before = 0",
        RACES,
    ),
    # --- boundaries ---------------------------------------------------------------------------------------------------
    mutant(
        "a boundary is crossed only after it",
        ACCOUNT,
        "self.due_at <= now",
        "self.due_at < now",
        UNIT,
        MACHINE,
    ),
    mutant(
        "rollover that is held expires",
        ACCOUNT,
        "old = min(account.buckets.rollover, account.available)",
        "old = account.buckets.rollover",
        UNIT,
        PROPERTIES,
        MACHINE,
    ),
    mutant(
        "rollover has no limit",
        ACCOUNT,
        "excess = min(max(unused - account.allowance, 0), account.available)",
        "excess = 0",
        UNIT,
        PROPERTIES,
    ),
    mutant(
        "a plan that is over is granted again",
        ACCOUNT,
        "return account.entitled_until is None or account.entitled_until > at",
        "return account.entitled_until is None or account.entitled_until >= at",
        UNIT,
        PROPERTIES,
        MACHINE,
    ),
    mutant(
        "rollover of a plan that is over stays for ever",
        ACCOUNT,
        "more = entitled or unpaid or account.buckets.rollover > 0",
        "more = entitled or unpaid",
        UNIT,
        PROPERTIES,
        MACHINE,
    ),
    # --- the charge ---------------------------------------------------------------------------------------------------
    mutant(
        "a run may be charged more than was held",
        ACCOUNT,
        "if not 1 <= cost <= hold.ceiling:",
        "if not 1 <= cost:",
        UNIT,
        PROPERTIES,
    ),
    mutant(
        "the charge is not cut at the ceiling",
        RUN_PROMPT,
        "charged = min(price.credits, hold.ceiling)",
        "charged = price.credits",
        RUNS,
    ),
    mutant(
        "an attempt that lost its hold asks the model again",
        RUN_PROMPT,
        "if ended_before else None",
        "if False else None",
        RUNS,
        FAULTS,
    ),
    # --- payments -----------------------------------------------------------------------------------------------------
    mutant(
        "payments: granted by every event that says paid",
        PURCHASES,
        "if not purchase.granted:",
        "if True:",
        DISORDER,
    ),
    mutant(
        "payments: the last state counts, not the highest",
        PURCHASES,
        "if _STATES.index(state) <= _STATES.index(self.state):",
        "if state is self.state:",
        DISORDER,
    ),
    mutant(
        "payments: the last stage of a claim counts, not the highest",
        PURCHASES,
        "max(self.stage, other.stage)",
        "self.stage",
        DISORDER,
    ),
    mutant(
        "payments: a sum of refunds is added to the others",
        PURCHASES,
        "max(good, self.refunded - failed)",
        "good + self.refunded",
        DISORDER,
    ),
    mutant(
        "payments: a refund that failed is still taken",
        PURCHASES,
        "return self.stage is not Stage.GIVEN_BACK",
        "return True",
        DISORDER,
    ),
    mutant(
        "payments: parts of a refund are rounded down",
        PURCHASES,
        "return -(-self.credits * cents // self.amount)",
        "return self.credits * cents // self.amount",
        DISORDER,
    ),
    mutant(
        "payments: what was spent by then is forgotten",
        PURCHASES,
        "account = replace(account, debt=account.debt + missing)",
        "pass",
        DISORDER,
    ),
    mutant(
        "payments: debt is never paid",
        PURCHASES,
        "repaid = min(account.debt, account.buckets.purchased, account.available)",
        "repaid = 0",
        DISORDER,
    ),
    mutant(
        "payments: what is refunded and disputed is taken twice",
        PURCHASES,
        "return self._due(self.amount_refunded + self.amount_disputed) - self.due_for_refunds",
        "return self._due(self.amount_disputed)",
        DISORDER,
    ),
    mutant(
        "payments: a period is granted by every invoice",
        SUBSCRIPTIONS,
        "if number in account.paid_periods:\n        return None",
        "pass",
        DISORDER,
    ),
    mutant(
        "payments: a late month is lost",
        SUBSCRIPTIONS,
        "elif number == present - 1 and not over:",
        "elif False:",
        DISORDER,
    ),
    mutant(
        "payments: a month is granted after its end",
        SUBSCRIPTIONS,
        "if number == present and not over:",
        "if number == present:",
        DISORDER,
    ),
    mutant(
        "payments: an end keeps the month",
        SUBSCRIPTIONS,
        "monthly = min(buckets.monthly, account.available)\n    rollover",
        "monthly = 0\n    rollover",
        DISORDER,
    ),
    mutant(
        "payments: what is over can be revived",
        SUBSCRIPTIONS,
        "over, begun = self.ended_at is not None, ",
        "over, begun = False, ",
        PLANS,
    ),
    mutant(
        "payments: created after paid in one second",
        SUBSCRIPTIONS,
        'over, begun = self.ended_at is not None, self.status != "incomplete"',
        "over, begun = self.ended_at is not None, True",
        "tests/unit/test_subscriptions.py",
    ),
    mutant(
        "payments: the amount is believed",
        APPLY,
        "if payment.amount is not None and payment.amount != purchase.amount:",
        "if False:",
        PAYMENTS,
    ),
    mutant(
        "payments: the pointer is believed",
        APPLY,
        "if payment.purchase_id not in (None, purchase.purchase_id):",
        "if False:",
        PAYMENTS,
    ),
    mutant(
        "payments: deliveries of the future are believed",
        EVENTS,
        "if abs(now.timestamp() - stamp) > TOLERANCE:",
        "if now.timestamp() - stamp > TOLERANCE:",
        PAYMENTS,
    ),
    mutant(
        "payments: what is granted and not paid is not told",
        RECONCILE,
        "if purchase.granted and not paid:",
        "if False:",
        COMPARED,
    ),
    mutant(
        "payments: an event that is dealt with is told for ever",
        RECONCILE,
        "elif record.resolved_at is None and",
        "elif",
        COMPARED,
    ),
    # --- time ---------------------------------------------------------------------------------------------------------
    mutant(
        "time: months drift to the shortest one",
        CALENDAR,
        "day = min(anchor.day, monthrange(year, month + 1)[1])",
        "day = min(anchor.day, 28)",
        MONTHS,
    ),
    mutant(
        "time: a quote looks one month ahead",
        ACCOUNT,
        """    for _ in range(MOST_BOUNDARIES):
        if not account.is_due(now):""",
        """    for _ in range(1):
        if not account.is_due(now):""",
        CONTEXTS,
    ),
    mutant(
        "time: who was away for long is advanced by one month",
        LEDGER,
        "            account = self._apply(account, cross_boundary(account)) or self._reread(account.user_id)",
        "            return self._apply(account, cross_boundary(account)) or self._reread(account.user_id)",
        CONTRACT,
        LIFE,
    ),
    mutant(
        "time: what is left of a walk is forgotten",
        VISITS,
        "self._queue.put([replace(walk, after=after).message()])",
        "pass",
        NIGHTS,
    ),
    mutant(
        "time: a message that failed is done with",
        RESET,
        "if time_is_up() or not _done(record, time_is_up)]",
        "if time_is_up() or (_done(record, time_is_up) and False)]",
        NIGHTS,
    ),
    mutant(
        "time: one message that is no work fails the others",
        RESET,
        """    except Exception as error:
""",
        """    except ZeroDivisionError as error:
""",
        HANDLERS,
    ),
    mutant(
        "time: the schedule does not advance",
        RESET,
        'case "advance" | "warn" as task:',
        'case "warn" as task:',
        NIGHTS,
    ),
    mutant(
        "time: rollover's end is told every day",
        NOTICES,
        "key=iso(expires_at),",
        "key=iso(at),",
        NIGHTS,
    ),
    mutant(
        "time: a month is rolled over that was never granted",
        ACCOUNT,
        "unused = account.buckets.monthly",
        "unused = account.allowance",
        UNIT,
        LIFE,
    ),
    mutant(
        "notices: what the bus did not take is done with",
        NOTIFY,
        """{"batchItemFailures": [{"itemIdentifier": published.failed}] if published.failed is not None else []}""",
        """{"batchItemFailures": []}""",
        STREAM,
    ),
    mutant(
        "notices: a refusal of the bus is not seen",
        BUS,
        'if "ErrorCode" in outcome:',
        "if False:",
        TOLD,
        STREAM,
    ),
    mutant(
        "notices: a repeat has another id",
        NOTICES,
        'text = f"{self.type}:{len(user_id)}:{user_id}:{self.key}"',
        'text = f"{self.type}:{len(user_id)}:{user_id}:{self.key}:{id(self)}"',
        TOLD,
        STREAM,
    ),
    mutant(
        "time: a faster clock loses the month that is paid",
        SUBSCRIPTIONS,
        "return max(period_number(account.anchor, now), account.period)",
        "return period_number(account.anchor, now)",
        BILLED,
    ),
    mutant(
        "time: an old invoice ends the plan that an operator set",
        SUBSCRIPTIONS,
        "known_or_over = account.subscription_id is not None or ended_at is not None",
        "known_or_over = account.subscription_id is not None",
        BILLED,
    ),
    # --- operators and erasure ----------------------------------------------------------------------------------------
    mutant(
        "operators: a bonus is given by every call",
        OPERATE,
        'key = f"bonus:{order.reference}"',
        'key = f"bonus:{order.reference}:{now}"',
        ORDERS,
    ),
    mutant(
        "operators: a reference is good for another amount",
        OPERATE,
        "if entry.amount != credits_:",
        "if False:",
        ORDERS,
    ),
    mutant(
        "operators: a plan at the payment provider is changed",
        OPERATE,
        "if account.plan is Plan.PLUS and account.subscription_id is not None:",
        "if False:",
        ORDERS,
    ),
    mutant(
        "erasure: somebody who goes on paying is erased",
        ERASE,
        "if account.subscription_id is not None:",
        "if False:",
        FORGETTING,
    ),
    mutant(
        "erasure: open runs are not ended",
        ERASE,
        "            for hold in account.holds.values():\n                self._expire.one(user_id, hold, now=now)\n",
        "",
        FORGETTING,
    ),
    mutant(
        "erasure: there are welcome credits again",
        ERASURE,
        "        EntryType.SIGNUP,\n        Deltas(),",
        "        EntryType.SIGNUP,\n        Deltas(purchased=5),",
        FORGETTING,
    ),
    mutant(
        "erasure: links stay",
        ERASER,
        "for share_id in shares_of(raw):",
        "for share_id in ():",
        FORGETTING,
    ),
    mutant(
        "erasure: a reason that names somebody stays",
        ERASURE,
        "replace(entry, user_id=pseudonym, reason=ERASED, previous_hash=previous_hash)",
        "replace(entry, user_id=pseudonym, previous_hash=previous_hash)",
        FORGETTING,
    ),
    # --- usage, damaged records, the time of the gateway --------------------------------------------------------------
    mutant(
        "usage: what is no whole number is believed",
        PRICING,
        "return type(value) is int and value >= 0",
        "return isinstance(value, int | float) and value >= 0",
        USAGES,
    ),
    mutant(
        "usage: what is negative is believed",
        PRICING,
        "return type(value) is int and value >= 0",
        "return type(value) is int",
        USAGES,
    ),
    mutant(
        "usage: more output than was allowed is believed",
        CLAUDE,
        "usage.output_tokens > prompt.max_tokens or ",
        "",
        USAGES,
    ),
    mutant(
        "usage: more prompt than there is is believed",
        CLAUDE,
        " or usage.prompt_tokens > most_prompt_tokens(prompt)",
        "",
        USAGES,
    ),
    mutant(
        "usage: what is not told is none",
        CLAUDE,
        'values = [told.get("input_tokens"), told.get("output_tokens"), ',
        'values = [told.get("input_tokens") or 0, told.get("output_tokens") or 0, ',
        USAGES,
    ),
    mutant(
        "usage: a count that cannot be true is a ceiling",
        CLAUDE,
        "if not is_count(tokens) or not 0 < tokens <= _most_bytes(prompt):",
        "if not tokens:",
        USAGES,
    ),
    mutant(
        "usage: an answer that has begun is asked for again",
        CLAUDE,
        "begun.set()",
        "begun.clear()",
        "tests/unit/test_claude_model.py",
    ),
    mutant(
        "a damaged session takes the list down",
        SESSIONS,
        "                self._report(error)\n                if _is_there(found[key]):",
        "                raise error\n                if _is_there(found[key]):",
        UNREADABLE,
    ),
    mutant(
        "a damaged entry takes the history down",
        LEDGER,
        "                    self._report(error)\n",
        "                    raise error\n",
        UNREADABLE,
    ),
    mutant(
        "a damaged entry is not named",
        LEDGER,
        "                    unreadable.append(seen_down_to)\n",
        "                    pass\n",
        UNREADABLE,
    ),
    mutant(
        "a damaged turn is shared unseen",
        SHARE,
        "            if turn.unreadable:",
        "            if False:",
        UNREADABLE,
    ),
    mutant(
        "deadline: the gateway's is forgotten",
        HTTP,
        "return min(left, (requested_at + GATEWAY_TIMEOUT - self._clock()).total_seconds())",
        "return left",
        EDGES,
    ),
    mutant(
        "deadline: the function's is forgotten",
        HTTP,
        "return min(left, (requested_at + GATEWAY_TIMEOUT - self._clock()).total_seconds())",
        "return (requested_at + GATEWAY_TIMEOUT - self._clock()).total_seconds()",
        EDGES,
    ),
    mutant(
        "deadline: an old event has none",
        HTTP,
        "return requested_at if now - requested_at <= MAX_REQUEST_AGE else None",
        "return requested_at",
        EDGES,
    ),
    mutant(
        "deadline: a run that nobody waits for is held",
        RUN_PROMPT,
        "if self._time_for_model(ends) < MIN_MODEL_SECONDS:",
        "if self._time_for_model(ends) < 0:",
        RUNS,
    ),
    mutant(
        "a guess is paid for as what the plan takes",
        PROMPTS,
        "tokens = min(tokens, model.context_tokens - least)",
        "tokens = min(tokens, budget)",
        CONTEXTS,
    ),
    mutant(
        "a turn that was declined is sent again",
        PROMPTS,
        "            if not turn.can_be_sent:\n",
        "            if turn.unreadable:\n",
        CONTEXTS,
    ),
    # --- conversations ------------------------------------------------------------------------------------------------
    mutant(
        "conversations: everybody reads them",
        ITEMS,
        'return session_of(raw) if raw.get("user_id", {}).get("S") == user_id else None',
        "return session_of(raw)",
        TALKS,
        TALKING,
    ),
    mutant(
        "conversations: a receipt tells what was deleted",
        SESSIONS,
        "if raw is None or not _is_there(summary):",
        "if raw is None:",
        TALKS,
    ),
    mutant(
        "conversations: what is deleted can be read",
        SESSIONS,
        "return session if session is not None and session.deleted_at is None else None",
        "return session",
        TALKS,
        TALKING,
    ),
    mutant(
        "sharing: a link outlives its expiry",
        SHARING,
        "return not self.hidden and (self.expires_at is None or now < self.expires_at)",
        "return not self.hidden",
        LINKS,
    ),
    mutant(
        "sharing: what is hidden is shown",
        SHARING,
        "return not self.hidden and (self.expires_at is None or now < self.expires_at)",
        "return self.expires_at is None or now < self.expires_at",
        LINKS,
    ),
    mutant(
        "sharing: nobody looks for secrets",
        SHARE,
        "if not acknowledge_findings:",
        "if False:",
        LINKS,
    ),
    mutant(
        "sharing: a snapshot shows what was said later",
        SHARED,
        "self._sessions.walk(share.session_id, first=after + 1, last=share.turns), last=share.turns",
        "self._sessions.walk(share.session_id, first=after + 1, last=share.turns + 9), last=share.turns",
        LINKS,
    ),
    mutant(
        "sharing: the owner's own looks are counted",
        SHARED,
        "if user_id != share.user_id and after == 0:",
        "if after == 0:",
        LINKS,
    ),
)
