"""Mistakes that somebody could make, each as a replacement in the source. A test has to find every one of them."""

from dataclasses import dataclass

LEDGER = "layers/shared/playground/adapters/dynamo_ledger.py"
OUTCOMES = "layers/shared/playground/adapters/dynamo_outcomes.py"
ITEMS = "layers/shared/playground/adapters/dynamo_items.py"
MAPPING = "layers/shared/playground/adapters/dynamo_mapping.py"
ITEM_KEYS = "layers/shared/playground/adapters/dynamo_keys.py"
STORE = "layers/shared/playground/adapters/dynamo_store.py"
ACCOUNT = "layers/shared/playground/domain/account.py"
RUN_PROMPT = "layers/shared/playground/usecases/run_prompt.py"
COMPARE = "layers/shared/playground/usecases/compare_prompts.py"
CUSTOM_PROMPTS = "layers/shared/playground/domain/custom_prompts.py"
TOKENS = "layers/shared/playground/adapters/tokens.py"
COMPARISONS = "layers/shared/playground/domain/comparisons.py"
PLACE_HOLD = "layers/shared/playground/usecases/place_hold.py"
PURCHASES = "layers/shared/playground/domain/purchases.py"
SUBSCRIPTIONS = "layers/shared/playground/domain/subscriptions.py"
PAID_MONTHS = "layers/shared/playground/domain/paid_months.py"
APPLY = "layers/shared/playground/usecases/apply_payment.py"
EVENTS = "layers/shared/playground/adapters/stripe_events.py"
BUY = "layers/shared/playground/usecases/buy_credits.py"
STRIPE = "layers/shared/playground/adapters/stripe_payments.py"
RECONCILE = "layers/shared/playground/usecases/reconcile.py"
EXPIRE = "layers/shared/playground/usecases/expire_holds.py"
ALLOWANCE = "layers/shared/playground/domain/allowance.py"
RATES = "layers/shared/playground/domain/rates.py"
RATED = "layers/shared/playground/adapters/dynamo_rates.py"
RECORDS = "layers/shared/playground/adapters/dynamo_payments.py"
CLAUDE = "layers/shared/playground/adapters/claude.py"
ASGI = "layers/shared/playground/asgi.py"
DIRECT_HTTP = "layers/shared/playground/direct_http.py"
TRANSPORT = "layers/shared/playground/adapters/http_transport.py"
WATCH = "layers/shared/playground/usecases/watch_holds.py"
KEYS = "layers/shared/playground/adapters/key_set.py"
CALENDAR = "layers/shared/playground/domain/calendar.py"
NOTICES = "layers/shared/playground/domain/notices.py"
VISITS = "layers/shared/playground/usecases/visit_accounts.py"
INDEX = "layers/shared/playground/adapters/dynamo_index.py"
RESET = "functions/reset/app.py"
SWEEPS = "layers/shared/playground/usecases/sweep_holds.py"
SPEND = "layers/shared/playground/adapters/dynamo_spend.py"
USAGE = "layers/shared/playground/usecases/read_usage.py"
OPINIONS = "layers/shared/playground/adapters/dynamo_feedback.py"
GUARD = "layers/shared/playground/domain/guard.py"
NOTIFY = "functions/notices/app.py"
AUDIT = "functions/audit/app.py"
REPLAY = "layers/shared/playground/domain/audit/replay.py"
RECEIPTS = "layers/shared/playground/domain/audit/runs.py"
BALANCES = "layers/shared/playground/domain/audit/account.py"
TEMPLATE = "template.yaml"
BUS = "layers/shared/playground/adapters/eventbridge.py"
OPERATOR_REQUEST = "operate/operator_request.py"
GRANT = "operate/grant_bonus.py"
CHANGE_PLAN = "operate/change_plan.py"
UNDO = "operate/undo_grant.py"
BOOKS = "operate/books.py"
BOOKS_AT_STRIPE = "operate/books_at_stripe.py"
VALUATION = "operate/valuation.py"
ERASE = "operate/erase_account.py"
ERASURE = "layers/shared/playground/domain/erasure.py"
ERASER = "operate/dynamo_erasure.py"
SESSIONS = "layers/shared/playground/adapters/dynamo_sessions.py"
SHARE = "layers/shared/playground/usecases/share_session.py"
SHARED = "layers/shared/playground/usecases/visit_share.py"
TIME_LIMIT = "layers/shared/playground/adapters/time_limit.py"
SHARES = "layers/shared/playground/adapters/dynamo_shares.py"
SHARING = "layers/shared/playground/domain/sharing.py"
CLAUDE = "layers/shared/playground/adapters/claude.py"
PRICING = "layers/shared/playground/domain/pricing.py"
PRICES = "layers/shared/playground/adapters/prices.py"
PRICE_CHECK = "tools/check_prices.py"
VERIFIER = "tools/verify_receipt.py"
PROMPTS = "layers/shared/playground/usecases/prompts.py"
HTTP = "layers/shared/playground/http.py"
ARCHIVES = "layers/shared/playground/adapters/archives.py"
PACKAGES = "layers/shared/playground/adapters/packages.py"
MANIFESTS = "layers/shared/playground/adapters/manifests.py"
VARIABLES = "layers/shared/playground/domain/variables.py"
ATTEMPT = "layers/shared/playground/usecases/run_attempt.py"
HIDDEN = "layers/shared/playground/domain/hidden.py"
CATALOG = "layers/shared/playground/adapters/dynamo_catalog.py"
ANONYMOUS = "layers/shared/playground/usecases/run_anonymously.py"
VISITORS = "layers/shared/playground/domain/anonymous.py"
BUDGET = "layers/shared/playground/adapters/dynamo_anonymous.py"
ANONYMOUS_APP = "functions/anonymous/app.py"
BODIES = "layers/shared/playground/schemas/common.py"
CATALOG_BODIES = "layers/shared/playground/schemas/catalog.py"

STREAM_RUN = "layers/shared/playground/usecases/stream_run.py"
LIVE_RUNS = "layers/shared/playground/usecases/live_runs.py"
CANCEL_RUN = "layers/shared/playground/usecases/cancel_run.py"
CHECKPOINTS = "layers/shared/playground/adapters/dynamo_checkpoints.py"

CONNECTIONS = "tests/unit/test_http_transport.py"
DIRECT = "tests/unit/test_direct_http.py"
STREAMED = "tests/unit/test_stream_run.py"
PROGRESS = "tests/unit/test_claude_progress.py"
CONTRACT = "tests/contract/test_ledger_contract.py"
FAULTS = "tests/faults/test_ledger_faults.py"
LISTED = "tests/integration/test_runs.py"
STORED = "tests/unit/test_stored_items.py"
RACES = "tests/concurrency/test_ledger_races.py"
REPAID = "tests/concurrency/test_histories.py::test_a_refund_just_before_the_end_of_a_run_is_repaid_by_it"
MANY = "tests/concurrency/test_histories.py::test_some_serial_order_explains_all_answers[five accounts]"
REFUSED_RELEASE = (
    "tests/faults/test_crash_matrix.py::test_whatever_happens_to_a_worker_no_credit_is_lost_or_gained"
    "[run, disputed before it fails]"
)
IN_TIME = "tests/faults/test_time_limit.py"
HISTORIES = "tests/concurrency/test_histories.py"
MACHINE = "tests/property/test_ledger_machine.py"
PROPERTIES = "tests/property/test_account_properties.py"
RUNS = "tests/unit/test_run_prompt.py"
READER = "tests/unit/test_packages.py"
UNIT = "tests/unit/test_account.py"
ALLOWED = "tests/unit/test_allowance.py"
RATE_RULES = "tests/unit/test_rates.py"
RATE_CONTRACT = "tests/contract/test_rates_contract.py"
CUSTOM = "tests/unit/test_custom_prompts.py"
TOKENS_TESTS = "tests/unit/test_tokens.py"
CUSTOM_HTTP = "tests/integration/test_custom_prompts.py"
VARIANTS = "tests/unit/test_compare_prompts.py"
RATE_RUNS = "tests/unit/test_run_limits.py"
RATE_HTTP = "tests/integration/test_rates.py"
PURCHASE_RACES = "tests/concurrency/test_payment_races.py"
FAILURES = "tests/integration/test_allowance.py"
KEYED = "tests/unit/test_key_set.py"
DISORDER = "tests/property/test_payment_disorder.py"
PAYMENTS = "tests/integration/test_payments.py"
REFUSED = "tests/integration/test_stripe_refuses.py"
SHAPES = "tests/property/test_event_shapes.py"
STRIPE_KEYS = "tests/unit/test_stripe_keys.py"
PLANS = "tests/integration/test_subscriptions.py"
MONEY = "tests/integration/test_paid_months.py"
BOOKS_TESTS = "tests/unit/test_books.py"
BOOKS_PROPERTY = "tests/property/test_books.py"
COMPARED = "tests/unit/test_reconcile.py"
MONTHS = "tests/unit/test_calendar.py"
BILLED = "tests/unit/test_subscriptions.py"
CONTEXTS = "tests/unit/test_context.py"
FILLING = "tests/unit/test_variables.py"
FILLED = "tests/integration/test_variables.py"
HANDLERS = "tests/integration/test_handlers.py"
NIGHTS = "tests/integration/test_time_passes.py"
WALKS = "tests/unit/test_visit_accounts.py"
LIFE = "tests/integration/test_a_long_life.py"
TOLD = "tests/unit/test_notices.py"
STREAM = "tests/integration/test_notices_stream.py"
SPENT = "tests/integration/test_spend.py"
SPENT_CONTRACT = "tests/contract/test_spend_contract.py"
COUNTED = "tests/unit/test_count_spend.py"
USED = "tests/unit/test_read_usage.py"
SEEN = "tests/integration/test_usage.py"
ORDERS = "tests/unit/test_operate.py"
FORGETTING = "tests/integration/test_erasure.py"
TALKS = "tests/contract/test_sessions_contract.py"
TALKING = "tests/integration/test_sessions.py"
LINKS = "tests/integration/test_sharing.py"
USAGES = "tests/unit/test_claude_usage.py"
STREAMS = "tests/unit/test_claude_streams.py"
STRIPE_ANSWERS = "tests/unit/test_stripe_answers.py"
UNREADABLE = "tests/integration/test_unreadable.py"
EDGES = "tests/unit/test_http.py"
AUDITED = "tests/unit/test_audit.py"
AUDITS = "tests/integration/test_audit.py"
PRICED = "tests/unit/test_pricing.py"
PUBLISHED = "tests/infrastructure/test_check_prices.py"
VERIFIED = "tests/integration/test_verify_receipt.py"
DESCRIBED = "tests/infrastructure/test_template.py"
STRANGERS = "tests/unit/test_anonymous.py"
STRANGERS_AT_ONCE = "tests/concurrency/test_anonymous_races.py"
STRANGERS_BUDGET = "tests/contract/test_anonymous_budget_contract.py"
STRANGERS_FAULTS = "tests/faults/test_anonymous_faults.py"
STRANGERS_HTTP = "tests/integration/test_anonymous.py"

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
        "condition=(AccountItem.available >= ceiling)",
        "condition=(AccountItem.version >= 0)",
    ),
    mutant(
        "a hold does not ask how many there are",
        LEDGER,
        "& (size(AccountItem.holds) <= limit - len(holds))",
        "& (size(AccountItem.holds) >= 0)",
    ),
    mutant(
        "a hold may be one too many",
        LEDGER,
        "& (size(AccountItem.holds) <= limit - len(holds))",
        "& (size(AccountItem.holds) <= limit - len(holds) + 1)",
    ),
    mutant(
        "a hold does not ask whether the run is held",
        LEDGER,
        "            & reduce(and_, [place.does_not_exist() for place in places])\n",
        "",
    ),
    mutant(
        "a hold that took effect late is taken for the one that is known",
        LEDGER,
        "if any(account.holds[hold.run_id].ceiling != hold.ceiling for hold in ours):",
        "if False:",
        f"{CONTRACT}::test_a_hold_that_took_effect_late_gives_way_to_the_one_that_its_attempt_knows",
    ),
    mutant(
        "a hold that took effect late counts for the rate limit",
        LEDGER,
        "(account.holds[hold.run_id] for hold in ours), now=now, rate=rate)",
        "(account.holds[hold.run_id] for hold in ours), now=now)",
        f"{RATE_CONTRACT}::test_an_attempt_whose_hold_took_effect_late_counts_once",
    ),
    mutant(
        "a hold does not ask whether a boundary is due",
        LEDGER,
        "            & AccountItem.paused_at.does_not_exist()\n            & _not_due(now),",
        "            & AccountItem.paused_at.does_not_exist(),",
    ),
    mutant(
        "a hold does not ask whether the account is paused",
        LEDGER,
        "            & AccountItem.paused_at.does_not_exist()\n",
        "",
        f"{CONTRACT}::test_a_paused_account_holds_nothing_new_and_its_open_runs_end",
    ),
    Mutant(
        "a hold reads first and then writes what it has read",
        (
            Edit(
                LEDGER,
                "        places = [Path(AccountItem.holds)[hold.run_id] for hold in holds]\n",
                "        seen = self.account(user_id, now)\n"
                "        places = [Path(AccountItem.holds)[hold.run_id] for hold in holds]\n",
            ),
            Edit(
                LEDGER,
                "AccountItem.available.set(AccountItem.available - ceiling)",
                "AccountItem.available.set(seen.available - ceiling)",
            ),
            Edit(
                LEDGER,
                "AccountItem.held.set(AccountItem.held + ceiling)",
                "AccountItem.held.set(seen.held + ceiling)",
            ),
        ),
        (RACES, HISTORIES),
    ),
    # --- rate limits --------------------------------------------------------------------------------------------------
    mutant(
        "limits: a hold does not ask for the rate limit",
        RATED,
        "condition = attribute.does_not_exist() | attribute.between(at, latest)",
        "condition = attribute.does_not_exist() | (attribute >= at)",
        f"{RATE_CONTRACT}::test_five_are_held_at_once_and_then_one_every_twelve_seconds",
    ),
    mutant(
        "limits: a hold reads the stamp before it writes, and does not compare it",
        RATED,
        """        action, condition = attribute.set(at + more), attribute < at
    else:
        action = attribute.set((Path(attribute) | at) + more)
        condition = attribute.does_not_exist() | attribute.between(at, latest)
""",
        """        action = attribute.set(at + more)
    else:
        action = attribute.set((Path(attribute) | at) + more)
    condition = Path("created_at").exists()
""",
        f"{RACES}::test_of_thirty_runs_at_once_those_of_the_limit_get_a_hold",
    ),
    mutant(
        "limits: whoever begins at the same moment after a pause overwrites the count",
        RATED,
        "action, condition = attribute.set(at + more), attribute < at",
        "action, condition = attribute.set(at + more), attribute.exists()",
        f"{RACES}::test_of_thirty_runs_at_once_those_of_the_limit_get_a_hold",
    ),
    mutant(
        "limits: time that has passed is saved up for runs",
        RATED,
        "    if seen is not None and millis(seen) < at:\n"
        "        action, condition = attribute.set(at + more), attribute < at\n"
        "    else:\n"
        "        action = attribute.set((Path(attribute) | at) + more)\n"
        "        condition = attribute.does_not_exist() | attribute.between(at, latest)\n",
        "    action = attribute.set((Path(attribute) | at) + more)\n"
        "    condition = attribute.does_not_exist() | (attribute <= latest)\n",
        f"{RATE_CONTRACT}::test_after_a_pause_the_whole_limit_is_there_and_no_more",
    ),
    mutant(
        "limits: one more than the limit is admitted",
        RATES,
        "return now + max(self.per_minute - added, 0) * self.interval",
        "return now + max(self.per_minute + 1 - added, 0) * self.interval",
        RATE_RULES,
    ),
    mutant(
        "limits: the interval is cut, so that more than the limit recover in a minute",
        RATES,
        "return -(-MAX_PER_MINUTE // self.per_minute) * MILLISECOND",
        "return MAX_PER_MINUTE // self.per_minute * MILLISECOND",
        RATE_RULES,
    ),
    mutant(
        "limits: a released run does not count",
        LEDGER,
        "            drop = self._drop(user_id, [run], _not_due(run.ended_at) & _owes_nothing())\n",
        "            drop = self._drop(user_id, [run], _not_due(run.ended_at) & _owes_nothing())\n"
        "            drop = replace(drop, actions=[*drop.actions, AccountItem.runs_at.remove()])\n",
        f"{RATE_CONTRACT}::test_a_run_without_an_answer_counts",
    ),
    mutant(
        "limits: a cancelled hold counts",
        LEDGER,
        "self._store.update(replace(drop, actions=[*drop.actions, *uncount]))",
        "self._store.update(drop)",
        f"{RATE_CONTRACT}::test_a_cancelled_hold_does_not_count",
    ),
    mutant(
        "limits: a cancelled hold counts if the account owes something",
        LEDGER,
        "_without(account, holds, now), ended=holds, also=uncount):",
        "_without(account, holds, now), ended=holds):",
        f"{RATE_CONTRACT}::test_a_cancelled_hold_does_not_count_on_an_account_that_owes",
    ),
    mutant(
        "limits: a late repeat of a run counts",
        PLACE_HOLD,
        "self._ledger.cancel_hold(user_id, *holds, now=instant(self._clock()), rate=rate)",
        "self._ledger.cancel_hold(user_id, *holds, now=instant(self._clock()))",
        f"{RATE_RUNS}::test_a_repeat_that_began_before_its_run_ended_is_answered_and_does_not_count",
    ),
    mutant(
        "limits: a late repeat beyond the limit is refused though its run has ended",
        PLACE_HOLD,
        "ended = self._outcome(wanted) if ended_before else None\n                    if ended is not None:\n",
        "ended = None\n                    if ended is not None:\n",
        f"{RATE_RUNS}::test_a_repeat_that_began_before_its_run_ended_is_answered_and_does_not_count",
    ),
    mutant(
        "limits: whoever pays between the read and the hold keeps the small limit",
        PLACE_HOLD,
        "case TooFast(account) if self._prices.run_limit(account) != rate:",
        "case TooFast(account) if False:",
        f"{RATE_RUNS}::test_whoever_has_paid_may_run_more_at_once",
    ),
    mutant(
        "limits: a refused run has its prompt counted by the model",
        RUN_PROMPT,
        "            self.refuse_early(attempt)\n",
        "",
        f"{RATE_RUNS}::test_the_prompt_of_a_refused_run_is_not_counted",
    ),
    mutant(
        "limits: a repeat of an open run is too fast, or has no plan any more",
        RUN_PROMPT,
        "        if there is not None:  # before",
        "        if False:  # before",
        f"{RATE_RUNS}::test_a_repeat_of_an_open_run_is_told_that_it_is_open",
        CUSTOM,
    ),
    mutant(
        "limits: everybody has the limit of organisations",
        PRICING,
        "        if account.is_organisation:\n            return RateLimit",
        "        if account:\n            return RateLimit",
        f"{RATE_RULES}::test_a_limit_depends_on_what_the_account_is",
    ),
    mutant(
        "limits: a subscription makes an organisation",
        ACCOUNT,
        "        return self.has_granted_plan\n",
        "        return self.plan is Plan.PLUS\n",
        f"{RATE_RULES}::test_a_limit_depends_on_what_the_account_is",
    ),
    mutant(
        "limits: purchases are not counted",
        RECORDS,
        "self._store.transact(*writes, counted(update, AccountItem.purchases_at, limit, stamp, now))",
        "self._store.transact(*writes, Check(update.key, update.condition))",
        f"{RATE_CONTRACT}::test_three_purchases_at_once_and_then_one_every_twenty_seconds",
    ),
    mutant(
        "limits: the stamp of purchases is written after the purchase",
        RECORDS,
        "                self._store.transact(*writes, counted(update, AccountItem.purchases_at, limit, stamp, now))\n",
        "                if stamp is not None and not limit.admits(stamp, now):\n"
        "                    return TooManyPurchases(stamp)\n"
        "                self._store.transact(*writes, Check(update.key, update.condition))\n"
        "                at = 1000 * int(now.timestamp()) + 20_000\n"
        "                self._store.update(replace(update, actions=[AccountItem.purchases_at.set(at)]))\n",
        f"{PURCHASE_RACES}::test_of_thirty_purchases_at_once_those_of_the_limit_are_begun",
    ),
    mutant(
        "limits: a repeated purchase is refused when the limit is used up",
        RECORDS,
        "                if 0 in refusal.refused:  # there is one of this id\n",
        "                if 0 in refusal.refused and len(writes) not in refusal.refused:\n",
        f"{RATE_CONTRACT}::test_a_purchase_of_the_same_id_is_found_and_not_counted",
    ),
    mutant(
        "limits: a purchase opens half an account",
        RECORDS,
        "condition=Path(ERASING).does_not_exist() & AccountItem.version.exists(),",
        "condition=Path(ERASING).does_not_exist(),",
        f"{RATE_CONTRACT}::test_a_purchase_needs_an_account",
    ),
    mutant(
        "limits: the headers are those of before the run",
        RUN_PROMPT,
        "            self.show(held.account, show_standing)\n",
        "",
        f"{RATE_HTTP}::test_answers_of_a_run_say_where_one_stands_and_repeats_do_not_count",
    ),
    mutant(
        "limits: errors have no headers",
        HTTP,
        "        answer.response.headers.update(self.context.get(ADDED_HEADERS, {}))\n",
        "        if answer.response.status_code == 200:\n"
        "            answer.response.headers.update(self.context.get(ADDED_HEADERS, {}))\n",
        f"{RATE_HTTP}::test_the_sixth_run_of_a_minute_is_refused_and_says_when_to_come_back",
    ),
    mutant(
        "limits: a table that runs are charged by may lack the limits",
        PRICES,
        "    if table.rate_limits is None:\n",
        "    if False:\n",
        f"{RATE_RULES}::test_a_table_without_limits_checks_receipts_and_runs_nothing",
    ),
    # --- the allowance for runs without an answer ---------------------------------------------------------------------
    mutant(
        "a hold does not ask for the allowance",
        LEDGER,
        "condition=write.condition & admitted)",
        "condition=write.condition)",
        f"{CONTRACT}::test_so_many_runs_may_fail_and_a_refusal_uses_nothing_up",
    ),
    mutant(
        "a hold reads the allowance before it writes",
        LEDGER,
        "                write = replace(write, condition=write.condition & admitted)\n",
        "                seen = self.account(user_id, now)\n"
        "                if not allowance.admits(seen, ceiling, limit=limit, now=now):\n"
        "                    return AllowanceUsedUp(seen)\n",
        f"{RACES}::test_of_sixty_four_failing_runs_twenty_get_a_hold",
    ),
    mutant(
        "a change does not see what was counted meanwhile",
        LEDGER,
        "            & _same_limits(account),\n",
        "            ,\n",
        f"{RACES}::test_a_change_sees_what_was_counted_by_a_hold_that_came_and_went",
    ),
    mutant(
        "open runs do not count as if they failed",
        ALLOWANCE,
        "return [(runs, now + (allowed - runs) * self.interval) for runs in range(most + 1)] or [(0, now)]",
        "return [(limit, now + (self.failed_runs_per_hour - 1) * self.interval)]",
        f"{CONTRACT}::test_open_runs_count_as_if_they_failed",
    ),
    mutant(
        "what open runs may cost does not count",
        ALLOWANCE,
        "terms = [(room, now + step * DAY / COST_STEPS) for room, step in rooms if room >= 0]",
        "terms = [(10**9, now + step * DAY / COST_STEPS) for room, step in rooms if room >= 0]",
        f"{CONTRACT}::test_so_much_may_be_unpaid",
    ),
    mutant(
        "a failure is given back with its hold and not counted",
        LEDGER,
        "self._store.transact(_using(drop, use, run.ended_at, account), self._receipt_put(run))",
        "self._store.transact(drop, self._receipt_put(run))",
        f"{CONTRACT}::test_so_many_runs_may_fail_and_a_refusal_uses_nothing_up",
    ),
    mutant(
        "a failure is counted from now though others were counted before",
        LEDGER,
        "        if ahead is not None and millis(ahead) > now:\n",
        "        if ahead is None:\n",
        f"{CONTRACT}::test_a_failure_is_counted_from_now_or_from_where_the_count_is",
    ),
    mutant(
        "whoever fails at the same moment overwrites the count",
        LEDGER,
        "            conditions.append(attribute.does_not_exist() | (attribute <= now))\n",
        "",
        f"{RACES}::test_of_sixty_four_failing_runs_twenty_get_a_hold",
    ),
    mutant(
        "time that has passed is saved up for failures",
        LEDGER,
        "        if ahead is not None and millis(ahead) > now:\n"
        "            actions.append(attribute.set(attribute + moved))\n"
        "            conditions.append(attribute > now)\n",
        "        if ahead is not None:\n"
        "            actions.append(attribute.set(attribute + moved))\n"
        "            conditions.append(attribute.exists())\n",
        f"{CONTRACT}::test_a_failure_is_counted_from_now_or_from_where_the_count_is",
    ),
    mutant(
        "the first payment does not forgive",
        LEDGER,
        "actions.append(attribute.set(millis(becomes)) if becomes is not None else attribute.remove())",
        "actions += [attribute.set(millis(becomes))] if becomes is not None else []",
        f"{CONTRACT}::test_the_first_payment_forgives_what_was_used",
    ),
    mutant(
        "every payment forgives",
        ACCOUNT,
        "return account if account.has_paid else replace(account, has_paid=True, failures_at=None, unpaid_at=None)",
        "return replace(account, has_paid=True, failures_at=None, unpaid_at=None)",
        ALLOWED,
    ),
    mutant(
        "a worker that died uses nothing up",
        EXPIRE,
        "ended = self.ledger.release(user_id, run, AllowanceUse(failures=hold.interval), seen=seen)",
        "ended = self.ledger.release(user_id, run)",
        f"{CONTRACT}::test_a_hold_whose_worker_died_is_a_failure_and_no_cost",
    ),
    mutant(
        "what the model took for no answer is not counted",
        RUN_PROMPT,
        "self._prices.allowance(held.account).use(unpaid.cost_nano) if unpaid is not None else NOTHING_USED",
        "NOTHING_USED",
        RUNS,
    ),
    mutant(
        "an answer that lost the race for its session is not counted",
        RUN_PROMPT,
        "            if isinstance(error, SessionConflictError) and unpaid is not None:\n",
        "            if unpaid is None:\n",
        RUNS,
    ),
    mutant(
        "a timeout is taken for free",
        CLAUDE,
        "        except (httpx2.TimeoutException, _TooLateError):\n"
        "            raise ModelTimedOutError().costing(_spent(prompt, answer)) from None\n",
        "        except (httpx2.TimeoutException, _TooLateError):\n            raise ModelTimedOutError from None\n",
        FAILURES,
    ),
    mutant(
        "a connection that breaks after the question is taken for free",
        CLAUDE,
        "if not isinstance(error.__cause__, httpx2.ConnectError):",
        "if False:",
        STREAMS,
    ),
    mutant(
        "an end without usage is believed to have had none",
        CLAUDE,
        """            told = event["usage"]  # totals""",
        """            message.stop_reason = event["delta"]["stop_reason"]
            told = event["usage"]  # totals""",
        STREAMS,
    ),
    mutant(
        "an answer is over only when its connection is",
        CLAUDE,
        """        case "message_stop":
            return False""",
        """        case "message_stop":
            pass""",
        STREAMS,
    ),
    mutant(
        "of an answer that begins twice the second is charged",
        CLAUDE,
        "            if answer.begun:\n",
        "            if False:\n",
        STREAMS,
    ),
    mutant(
        "silence is taken for no output",
        CLAUDE,
        "if seen else prompt.max_tokens",
        "if seen else 0",
        FAILURES,
    ),
    # --- dead runs ----------------------------------------------------------------------------------------------------
    mutant(
        "a run is given up at the second look",
        WATCH,
        "return seen - now + (hold.max_duration + MARGIN).total_seconds()",
        "return seen - now",
        RUNS,
    ),
    mutant(
        "a run is given up by the clock that placed it",
        PLACE_HOLD,
        "        if left <= 0:\n",
        "        if left <= 0 or there.lease_at - LEASE_MARGIN <= now:\n",
        RUNS,
    ),
    mutant(
        "another attempt is taken for the one that was watched",
        WATCH,
        "self._seen.setdefault((user_id, hold.nonce), now)",
        "self._seen.setdefault((user_id, hold.run_id), now)",
        RUNS,
    ),
    # --- the key set --------------------------------------------------------------------------------------------------
    mutant(
        "keys that were withdrawn are kept",
        KEYS,
        "            self._keys = fetch(self._url, self._fetch_seconds)\n",
        "            self._keys = {**self._keys, **fetch(self._url, self._fetch_seconds)}\n",
        KEYED,
    ),
    mutant(
        "stale keys are used for ever",
        KEYS,
        "return age if age < STALE_SECONDS else None",
        "return age",
        KEYED,
    ),
    mutant(
        "a key set that cannot be fetched lets nobody in",
        KEYS,
        "            if age is None:\n                self._keys = {}\n",
        "            if True:\n                self._keys = {}\n",
        KEYED,
    ),
    mutant(
        "an attempt does not know its own hold",
        LEDGER,
        "if ours:  # the reply",
        "if False:  # the reply",
    ),
    # --- comparisons: several holds in one step -----------------------------------------------------------------------
    mutant(
        "compare: variants are held one after the other",
        COMPARE,
        "held = self._place_hold.together(self._each([partial(count, *each) for each in enumerate(attempts)]))",
        "held = [self._place_hold(count(*each)) for each in enumerate(attempts)]",
        VARIANTS,
    ),
    mutant(
        "compare: only the first ceiling is held",
        LEDGER,
        "return sum(hold.ceiling for hold in holds), iso(",
        "return holds[0].ceiling, iso(",
        CONTRACT,
    ),
    mutant(
        "compare: several holds count as one open run",
        LEDGER,
        "& (size(AccountItem.holds) <= limit - len(holds))",
        "& (size(AccountItem.holds) <= limit - 1)",
        CONTRACT,
    ),
    mutant(
        "compare: a hold that is there refuses only if it is the first",
        LEDGER,
        "reduce(and_, [place.does_not_exist() for place in places])",
        "places[0].does_not_exist()",
        CONTRACT,
    ),
    mutant(
        "failures: a time that is ahead admits as much as none",
        LEDGER,
        "(used.does_not_exist() | (used <= millis(latest)))",
        "(used.does_not_exist() | (used > 0))",
        CONTRACT,
    ),
    mutant(
        "compare: several holds use the allowance of one",
        LEDGER,
        "admitted = _admitted(allowance, ceiling, limit, now, seen, added=len(holds))",
        "admitted = _admitted(allowance, ceiling, limit, now, seen)",
        CONTRACT,
    ),
    mutant(
        "allowance: whoever has used nothing may hold whatever there is",
        LEDGER,
        "(counted <= most) & (used.does_not_exist() | (used <= millis(latest)))",
        "used.does_not_exist() | ((counted <= most) & (used <= millis(latest)))",
        CONTRACT,
    ),
    mutant(
        "allowance: a refused hold is tried again with the account as it was read",
        LEDGER,
        "seen = items.account_of(user_id, refusal.item) if refusal.item is not None else None",
        "seen = seen if seen is not None else items.account_of(user_id, refusal.item or {})",
        CONTRACT,
    ),
    mutant(
        "allowance: the level that admits the most is right whatever is used",
        ALLOWANCE,
        "if used is None or used <= level[1]]",
        "if used is None or used]",
        CONTRACT,
    ),
    mutant(
        "compare: several runs count as one a minute",
        LEDGER,
        "AccountItem.runs_at, rate, runs_at, now, added=len(holds))",
        "AccountItem.runs_at, rate, runs_at, now)",
        RATE_CONTRACT,
    ),
    mutant(
        "compare: of several cancelled runs one is uncounted",
        LEDGER,
        "AccountItem.runs_at - len(holds) * _millis(rate.interval)",
        "AccountItem.runs_at - _millis(rate.interval)",
        RATE_CONTRACT,
    ),
    mutant(
        "compare: holds of which one is not there are cancelled one by one",
        LEDGER,
        "        for _ in self._store.backoff:\n            drop = self._drop(user_id, holds, _owes_nothing())\n",
        "        for hold in holds[1:]:\n            self.cancel_hold(user_id, hold, now=now, rate=rate)\n"
        "        holds = holds[:1]\n"
        "        for _ in self._store.backoff:\n            drop = self._drop(user_id, holds, _owes_nothing())\n",
        CONTRACT,
    ),
    mutant(
        "compare: only the first of several runs is remembered",
        LEDGER,
        "return any(items.remembers(raw, hold.run_id) for hold in holds)",
        "return items.remembers(raw, holds[0].run_id)",
        CONTRACT,
    ),
    mutant(
        "compare: a variant that fails takes the others' answers",
        COMPARE,
        "            outcome = error\n        on_end",
        "            raise error\n        on_end",
        VARIANTS,
    ),
    mutant(
        "compare: the key of a comparison does not name all of it",
        COMPARISONS,
        'comparison=f"{digest}:{index}"',
        'comparison=f"{index}"',
        VARIANTS,
    ),
    mutant(
        "compare: a variant has no time limit",
        COMPARE,
        "partial(contextvars.copy_context().run, do, place, task)",
        "partial(do, place, task)",
        VARIANTS,
    ),
    mutant(
        "compare: while one variant is made, a repeat begins again",
        COMPARE,
        "            if len(attempts) < len(found):\n",
        "            if not attempts:\n",
        VARIANTS,
    ),
    mutant(
        "compare: what cannot be read now is an outcome",
        COMPARE,
        'if isinstance(error, StoreUnavailableError) and "run_id" not in error.facts:',
        "if False:",
        VARIANTS,
    ),
    # --- custom prompts -----------------------------------------------------------------------------------------------
    mutant(
        "compare: a repeat forgets what deleted answers have cost",
        COMPARE,
        "spent = sum(run.charged for run in runs.values())",
        "spent = sum(each.run.charged for each in outcomes if isinstance(each, PaidAnswer))",
        VARIANTS,
    ),
    mutant(
        "custom: a hold does not ask for the plan",
        LEDGER,
        "if plans is not None:\n                write",
        "if False:\n                write",
        CONTRACT,
    ),
    mutant(
        "custom: the hold is placed whatever the plan is by then",
        PLACE_HOLD,
        "plans=plans,",
        "plans=None,",
        CUSTOM,
    ),
    mutant(
        "custom: the audit does not miss a prompt that is gone",
        RECEIPTS,
        'if item.fields.get("custom_prompt") is True:\n            self._prompt',
        "if False:\n            self._prompt",
        AUDITS,
    ),
    mutant(
        "custom: only the first variant of a comparison is asked for its plan",
        PLACE_HOLD,
        "needed = [run.attempt.plans for run in wanted if",
        "needed = [run.attempt.plans for run in wanted[:1] if",
        CUSTOM,
    ),
    mutant(
        "custom: an estimate is made for everybody",
        PROMPTS,
        "if account.plan not in plans:",
        "if False:",
        CUSTOM_HTTP,
    ),
    mutant(
        "custom: anything in the claim makes a verified author",
        TOKENS,
        'return self._verified(authorization).get("verified_author") is True',
        'return bool(self._verified(authorization).get("verified_author"))',
        CUSTOM_HTTP,
    ),
    mutant(
        "token: one that ends in thousands of years is accepted",
        TOKENS,
        'if claims["exp"] > MAX_EXP:',
        "if False:",
        TOKENS_TESTS,
    ),
    mutant(
        "token: several texts of one token are accepted",
        TOKENS,
        'if not all(_is_canonical(part) for part in token.split(".")):',
        "if False:",
        TOKENS_TESTS,
    ),
    mutant(
        "custom: verified authors may although it is off",
        CUSTOM_PROMPTS,
        "if self is CustomPrompts.OFF or terms is None:",
        "if (self is CustomPrompts.OFF and not is_verified_author) or terms is None:",
        CUSTOM,
    ),
    mutant(
        "custom: it costs what a package costs",
        PRICING,
        "factor=model.factor * self.custom_prompt.factor,",
        "factor=model.factor,",
        CUSTOM,
    ),
    mutant(
        "custom: its factor replaces that of the model",
        PRICING,
        "factor=model.factor * self.custom_prompt.factor,",
        "factor=self.custom_prompt.factor,",
        CUSTOM,
    ),
    mutant(
        "custom: its answer is as long as any",
        PRICING,
        "max_output_tokens=self.custom_prompt.max_output_tokens,",
        "max_output_tokens=model.max_output_tokens,",
        CUSTOM,
    ),
    mutant(
        "custom: its receipt does not say so",
        ATTEMPT,
        "custom_prompt=self.attempt.request.is_custom,",
        "custom_prompt=False,",
        CUSTOM,
    ),
    mutant(
        "custom: the audit prices it as a package",
        RECEIPTS,
        "return table.model(name, custom_prompt=custom)",
        "return table.model(name)",
        AUDITS,
    ),
    mutant(
        "custom: the tool that checks receipts does not know its factor",
        VERIFIER,
        'whole(model["factor"]) * whole(prices["custom_prompt"]["factor"])',
        'whole(model["factor"])',
        VERIFIED,
    ),
    mutant(
        "custom: its text is not stored",
        LEDGER,
        "        if settling.prompt is not None:\n",
        "        if settling.prompt is not None and not settling.prompt:\n",
        "tests/contract/test_sessions_contract.py",
    ),
    mutant(
        "custom: a session goes on with another text",
        PROMPTS,
        "if given not in (None, stored):",
        "if False:",
        CUSTOM,
    ),
    mutant(
        "custom: its text can be read while its session is being removed",
        SESSIONS,
        "return items.prompt_of(raw) if raw is not None and _is_there(found.get(of_summary)) else None",
        "return items.prompt_of(raw) if raw is not None else None",
        "tests/contract/test_sessions_contract.py",
    ),
    mutant(
        "custom: its text outlives its session",
        SESSIONS,
        'rest = [raw for raw in page if raw["sk"]["S"] != "SESSION"]',
        'rest = [raw for raw in page if raw["sk"]["S"] not in ("SESSION", "PROMPT")]',
        CUSTOM_HTTP,
    ),
    mutant(
        "custom: a share shows its text unasked",
        SHARED,
        "if share.include_prompt and after == 0 else None",
        "if after == 0 else None",
        CUSTOM_HTTP,
    ),
    mutant(
        "custom: sharing again does not hide its text",
        SHARES,
        "else ShareItem.include_prompt.remove(),",
        "else ShareItem.hidden.set(False),",
        "tests/contract/test_sessions_contract.py",
    ),
    mutant(
        "custom: its text is shared without being searched for secrets",
        SHARE,
        "last=session.turns), prompt)",
        "last=session.turns), None)",
        CUSTOM_HTTP,
    ),
    mutant(
        "compare: variants that differ in variables alone are the same",
        COMPARISONS,
        "            comparison=None,\n",
        "            comparison=None,\n            variables=None,\n",
        CUSTOM_HTTP,
    ),
    # --- settle -------------------------------------------------------------------------------------------------------
    mutant(
        "a settlement does not compare the version",
        LEDGER,
        "condition=(AccountItem.version == account.version)\n            & reduce(",
        "condition=reduce(",
        CONTRACT,
        RACES,
        HISTORIES,
    ),
    mutant(
        "a settlement does not ask whose hold it is",
        LEDGER,
        '& reduce(and_, [there[each.hold.run_id]["n"] == each.hold.nonce for each in together])',
        "& reduce(and_, [there[each.hold.run_id].exists() for each in together])",
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
        "AccountItem.available.set(AccountItem.available + (ceiling - spent))",
        "AccountItem.available.set(after.available)",
    ),
    mutant(
        "a settlement writes what is held by value",
        LEDGER,
        "                AccountItem.held.set(AccountItem.held - ceiling),\n"
        "                AccountItem.available.set(AccountItem.available + (ceiling - spent)),\n",
        "                AccountItem.held.set(after.held),\n"
        "                AccountItem.available.set(AccountItem.available + (ceiling - spent)),\n",
    ),
    mutant(
        "a settlement gives the whole hold back",
        LEDGER,
        "(ceiling - spent)",
        "ceiling",
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
        "            Put(turn_key(self._sessions, session_id, number), settling.turn),\n",
        "",
    ),
    mutant(
        "a repeat is refused by what the price table has become",
        RUN_PROMPT,
        "        account = without_dead_holds(as_of(found.account, user_id, started), started)\n",
        "        refuse_unsupported(request, self._prices.model(request.model))\n"
        "        account = without_dead_holds(as_of(found.account, user_id, started), started)\n",
        f"{RUNS}::test_a_repeat_gets_its_outcome_whatever_the_price_table_has_become",
    ),
    mutant(
        "a receipt that is not visible yet is no receipt",
        LEDGER,
        "return self._store.get(key) or self._store.get_certain(key).get(key)",
        "return self._store.get(key)",
        f"{RACES}::test_a_receipt_that_is_visible_after_the_account_is_waited_for",
    ),
    mutant(
        "whoever asks for a run does not wait for its receipt",
        "layers/shared/playground/usecases/read_run.py",
        "self.ledger.run(user_id, run_id, ended=True)",
        "self.ledger.run(user_id, run_id)",
        f"{RACES}::test_an_answer_that_is_visible_after_the_account_is_found",
    ),
    mutant(
        "an answer that is not visible yet was deleted",
        SESSIONS,
        "            found = self._store.get_certain(of_summary, of_turn)\n",
        "            pass\n",
        f"{RACES}::test_an_answer_that_is_visible_after_the_account_is_found",
    ),
    mutant(
        "together: the turn is one of another run",
        OUTCOMES,
        '            and (self.turn.get("number"), self.turn.get("run_id")) == '
        '({"N": str(run.turn)}, {"S": run.run_id})\n',
        "",
        f"{RACES}::test_an_outcome_whose_turn_is_not_that_of_its_run_is_left_alone",
    ),
    mutant(
        "together: only one's own hold has to be there",
        LEDGER,
        '& reduce(and_, [there[each.hold.run_id]["n"] == each.hold.nonce for each in together])',
        '& reduce(and_, [there[each.hold.run_id]["n"] == each.hold.nonce for each in together[:1]])',
        f"{RACES}::test_a_hold_that_is_gone_is_not_settled_by_others",
    ),
    mutant(
        "together: the outcome of an earlier attempt is settled",
        OUTCOMES,
        "(run.run_id, run.nonce, run.session_id) == (hold.run_id, hold.nonce, hold.session_id)",
        "(run.run_id, run.session_id) == (hold.run_id, hold.session_id)",
        f"{RACES}::test_an_outcome_is_that_of_the_attempt_that_holds",
    ),
    mutant(
        "together: a run that costs more than its hold is in the way of others",
        OUTCOMES,
        "            and 1 <= run.charged <= hold.ceiling\n",
        "",
        f"{RACES}::test_an_outcome_that_costs_what_it_must_not_is_left_alone",
    ),
    mutant(
        "together: a session that moved is in the way of others",
        LEDGER,
        "                line.apart.update(each.hold.run_id for each in at_fault if isinstance(each, _Settling))\n",
        "",
        f"{RACES}::test_a_session_that_moved_keeps_nobody_else_from_being_settled",
    ),
    mutant(
        "together: somebody else's session is taken for one's own",
        LEDGER,
        "if any(each is ours for each in at_fault):",
        "if at_fault:",
        f"{RACES}::test_a_session_that_moved_keeps_nobody_else_from_being_settled",
    ),
    mutant(
        "together: two runs of one session in one transaction",
        LEDGER,
        "if hold.session_id not in sessions and room >= 0:",
        "if room >= 0:",
        f"{RACES}::test_two_runs_of_one_session_are_not_settled_together",
    ),
    mutant(
        "together: more than fits into a transaction",
        LEDGER,
        "if hold.session_id not in sessions and room >= 0:",
        "if hold.session_id not in sessions:",
        f"{RACES}::test_as_many_with_prompts_of_their_own_fit_into_transactions",
    ),
    mutant(
        "together: a boundary that ours has not reached is ignored",
        LEDGER,
        " or account.is_due(outcome.run.ended_at):",
        ":",
        f"{RACES}::test_a_run_that_ended_after_a_boundary_is_not_settled_before_it",
    ),
    mutant(
        "together: an account that owes",
        LEDGER,
        "if line.alone or account.owes:",
        "if line.alone:",
        f"{RACES}::test_an_account_that_owes_settles_one_run_at_a_time",
    ),
    mutant(
        "together: what is wrong with others is wrong with ours",
        LEDGER,
        "                if len(together) == 1:\n                    raise\n",
        "                raise\n",
        f"{RACES}::test_whatever_is_wrong_with_what_others_write_ours_is_settled",
    ),
    mutant(
        "together: what another version has stored is written without what is not known",
        OUTCOMES,
        "return outcome if outcome_item(outcome) == {name: raw[name] for name in raw if name not in KEYS} else None",
        "return outcome",
        f"{RACES}::test_what_another_version_has_stored_or_damaged_is_left_to_its_own_worker",
    ),
    mutant(
        "together: an outcome that says less than its worker knows",
        LEDGER,
        "if item is None or outcome.conclude(account) != (after, run, tuple(entries)):",
        "if item is None:",
        f"{RACES}::test_an_outcome_that_says_less_than_its_worker_knows_is_not_stored",
    ),
    mutant(
        "together: answers stay where nobody deletes them",
        LEDGER,
        "                if line.published or len(together) > 1:\n",
        "                if line.published:\n",
        f"{RACES}::test_a_run_with_a_large_answer_settles_others",
    ),
    mutant(
        "together: an outcome outlives a run that ended otherwise",
        LEDGER,
        "        if not ended.by_us:\n            self._withdraw(line)\n",
        "",
        f"{RACES}::test_who_is_ended_in_line_reads_how",
    ),
    mutant(
        "together: others write what the receipt was before them",
        OUTCOMES,
        "                balance_after=spend.balance_after,\n",
        "",
        f"{RACES}::test_whoever_settles_settles_those_who_wait",
    ),
    # --- release, expire, cancel --------------------------------------------------------------------------------------
    mutant(
        "a hold is given back without a look whether it is there",
        LEDGER,
        '(there[each.run_id]["n"] == each.nonce) & (there[each.run_id]["c"] == each.ceiling) for each',
        "AccountItem.version >= 0 for each",
    ),
    mutant(
        "a hold is given back by whoever asks",
        LEDGER,
        '(there[each.run_id]["n"] == each.nonce) & (there[each.run_id]["c"] == each.ceiling) for each',
        'there[each.run_id]["c"] == each.ceiling for each',
    ),
    mutant(
        "a release does not cross the boundaries before it",
        LEDGER,
        "drop = self._drop(user_id, [run], _not_due(run.ended_at) & _owes_nothing())",
        "drop = self._drop(user_id, [run], _owes_nothing())",
    ),
    mutant(
        "a hold that outlived its run stays",
        LEDGER,
        "        self.cancel_hold(user_id, hold, now=now)\n",
        "",
    ),
    mutant(
        "a conflict of one write is taken for a refusal",
        STORE,
        "    return PassingError() if code in PASSING else StoreUnavailableError()",
        "    return ConditionFailed(None) if code in PASSING else StoreUnavailableError()",
        FAULTS,
    ),
    mutant(
        "a conflict of a transaction is taken for a refusal",
        STORE,
        "            return PassingError()\n        return StoreUnavailableError()",
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
    # --- what is owed -------------------------------------------------------------------------------------------------
    Mutant(
        "debt: neither what a hold gives back nor what comes in repays it",
        (
            Edit(
                ACCOUNT,
                "    account, repaid = repay_debt(account, cause=cause, now=now, reserved=cost, run_id=run_id)\n"
                "    return account, (*entries, *repaid)",
                "    return account, entries",
            ),
            Edit(
                ACCOUNT,
                "    account, repaid = repay_debt(account, cause=cause, now=now)\n"
                "    return account, (*entries, *repaid)",
                "    return account, entries",
            ),
            Edit(
                ACCOUNT,
                "return with_debt_repaid((account, ()), now=now) if account.payable_debt else None",
                "return None",
            ),
        ),
        (REPAID, MANY),
    ),
    mutant(
        "debt: what a run gives back does not repay it",
        ACCOUNT,
        "    account, repaid = repay_debt(account, cause=cause, now=now, reserved=cost, run_id=run_id)\n"
        "    return account, (*entries, *repaid)",
        "    return account, entries",
        UNIT,
    ),
    mutant(
        "debt: it is repaid from what the run is about to spend",
        ACCOUNT,
        "return min(self.debt, self.buckets.purchased + reclaimed, self.available)",
        "repaid = account.payable_debt",
        UNIT,
    ),
    mutant(
        "debt: all of it is said to come from a refund",
        ACCOUNT,
        'reason=DebtOrigin(cause.partition(":")[0]).reason,',
        "reason=DebtOrigin.REFUND.reason,",
        "tests/unit/test_operate.py",
    ),
    mutant(
        "debt: a refusal for want of credits hides what is owed",
        "layers/shared/playground/usecases/place_hold.py",
        "                debt=account.debt,\n",
        "",
        "tests/unit/test_run_prompt.py",
    ),
    mutant(
        "debt: a bonus is a present",
        LEDGER,
        "self._apply(account, with_debt_repaid(change, now=now), key)",
        "self._apply(account, change, key)",
        CONTRACT,
    ),
    mutant(
        "debt: a month that frees purchased credits does not repay it",
        ACCOUNT,
        "return with_debt_repaid((replace(account, lapsed=lapsed), tuple(entries)), now=at)",
        "return replace(account, lapsed=lapsed), tuple(entries)",
        UNIT,
    ),
    mutant(
        "owed: a release does not ask",
        LEDGER,
        "drop = self._drop(user_id, [run], _not_due(run.ended_at) & _owes_nothing())",
        "drop = self._drop(user_id, [run], _not_due(run.ended_at))",
        CONTRACT,
    ),
    mutant(
        "owed: a hold that is cancelled does not ask",
        LEDGER,
        "self._drop(user_id, holds, _owes_nothing())",
        "self._drop(user_id, holds, AccountItem.version >= 0)",
        CONTRACT,
    ),
    mutant(
        "owed: a settlement does not ask",
        LEDGER,
        "            & (_owes_as_seen(account) if account.owes else _owes_nothing()),\n",
        "",
        CONTRACT,
    ),
    mutant(
        "owed: a settlement does not write what is left of it",
        LEDGER,
        "                *_owed_actions(after),\n                AccountItem.held",
        "                AccountItem.held",
        CONTRACT,
    ),
    mutant(
        "owed: a release that was refused is the last word",
        RUN_PROMPT,
        "            # Once more, if there is time: what got no answer may have been a refusal.\n"
        "            ended = self._ledger.release(user_id, run, use, seen=held.account)\n",
        "            raise\n",
        REFUSED_RELEASE,
    ),
    mutant(
        "lapsed: rollover that is held over a boundary lives on",
        ACCOUNT,
        "    lapsed = account.buckets.rollover\n    if of_an_earlier_plan:",
        "    lapsed = 0\n    if of_an_earlier_plan:",
        MANY,
        CONTRACT,
    ),
    mutant(
        "lapsed: what is held beyond the rollover limit lives on",
        ACCOUNT,
        "    lapsed += max(remaining - account.allowance, 0)\n",
        "",
        UNIT,
    ),
    mutant(
        "lapsed: what was available all the time expires, too",
        ACCOUNT,
        "expired = min(account.lapsed, hold.ceiling - cost, left)",
        "expired = min(account.lapsed, left)",
        UNIT,
        PROPERTIES,
    ),
    mutant(
        "lapsed: purchased credits are spent, so that rollover can expire",
        ACCOUNT,
        "expired = min(account.lapsed, hold.ceiling - cost, left)",
        "expired = min(account.lapsed, hold.ceiling - cost)",
        UNIT,
        PROPERTIES,
    ),
    mutant(
        "lapsed: it outlives the holds",
        ACCOUNT,
        "lapsed = min(account.lapsed - expired, held)",
        "lapsed = account.lapsed - expired",
        UNIT,
        PROPERTIES,
    ),
    mutant(
        "lapsed: it takes room from a month that is paid late",
        SUBSCRIPTIONS,
        "(account.buckets.rollover - account.lapsed)",
        "account.buckets.rollover",
        BILLED,
    ),
    mutant(
        "time: a settlement takes the time of the release",
        RUN_PROMPT,
        "- RELEASE_RESERVE_SECONDS - ANSWER_RESERVE_SECONDS",
        "- ANSWER_RESERVE_SECONDS",
        IN_TIME,
    ),
    mutant(
        "time: only attempts are limited, not what they add up to",
        TIME_LIMIT,
        "token = _ends_at.set(min(_ends_at.get(), time.monotonic() + seconds))",
        "token = _ends_at.set(_ends_at.get())",
        IN_TIME,
    ),
    mutant(
        "a lease that ends before that of the index stays behind it",
        LEDGER,
        "AccountItem.lease_at.set(lease if ends_first else Path(AccountItem.lease_at) | lease)",
        "AccountItem.lease_at.set(Path(AccountItem.lease_at) | lease)",
        CONTRACT,
    ),
    mutant(
        "a hold does not look at the lease of the index",
        LEDGER,
        "            & (AccountItem.lease_at > lease if ends_first else earlier)\n",
        "",
        CONTRACT,
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
        CONTRACT,
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
        "            & (Path(AccountItem.holds) == items.holds_map(account))\n",
        "",
        HISTORIES,
    ),
    mutant(
        "a place in line is forgotten by those who compare holds",
        MAPPING,
        "if each.name != KEYED.get(of) and",
        'if each.name not in (KEYED.get(of), "ticket") and',
        RACES,
    ),
    mutant(
        "an account whose debt is NULL owes nothing",
        MAPPING,
        "if found[name] is None and not attribute.null]",
        "if found[name] is None and not attribute.null and name not in raw]",
        STORED,
    ),
    mutant(
        "half a credit is read as none",
        MAPPING,
        "int(value) != value",
        "int(value) > value",
        STORED,
    ),
    mutant(
        "a value of the wrong type is read all the same",
        MAPPING,
        "        if not isinstance(value, types):\n",
        "        if value is None:\n",
        STORED,
    ),
    mutant(
        "an item is written without what must be there",
        MAPPING,
        "            elif not attribute.null:\n",
        "            elif attribute is None:\n",
        STORED,
    ),
    mutant(
        "a stored time is read however it is spelt",
        CALENDAR,
        "if not _ISO.fullmatch(text):",
        "if not text:",
        MONTHS,
    ),
    mutant(
        "what an account owes is not stored while it owes a credit",
        MAPPING,
        "elif name in schema and not (schema[name].null and inner == each.default):",
        "elif name in schema and not (schema[name].null and inner in (1, each.default)):",
        STORED,
    ),
    mutant(
        "nobody passes those who died in line",
        LEDGER,
        "min(line.deadline, moved + standstill)",
        "line.deadline",
        RACES,
    ),
    mutant(
        "time in line does not count",
        LEDGER,
        "deadline=self._store.backoff.monotonic() + min(MAX_WAIT_SECONDS, time_left() / 2)",
        "deadline=self._store.backoff.monotonic() + 1e9",
        RACES,
    ),
    mutant(
        "those in line ask a slow store as often as a fast one",
        LEDGER,
        "read_seconds = backoff.monotonic() - asked",
        "read_seconds = 0.0",
        RACES,
    ),
    mutant(
        "nobody waits in line",
        LEDGER,
        "before = sum(other < ticket for other in _tickets(account))",
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
        PLACE_HOLD,
        "ended = self._outcome(wanted) if ended_before else None\n                    except",
        "ended = self._outcome(wanted) if False else None\n                    except",
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
        "return max(good, named - failed)",
        "return good + named",
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
        ACCOUNT,
        "    account = replace(account, debt=account.debt + missing)\n",
        "",
        DISORDER,
    ),
    mutant(
        "payments: an answer of null says that there is no such subscription",
        STRIPE,
        "    if not isinstance(found, stripe.StripeObject):\n",
        "    if found is None:\n        return None\n    if not isinstance(found, stripe.StripeObject):\n",
        STRIPE_ANSWERS,
    ),
    mutant(
        "payments: debt is never paid",
        ACCOUNT,
        "return min(self.debt, self.buckets.purchased + reclaimed, self.available)",
        "return 0",
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
        "tests/unit/test_subscriptions.py",
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
        "payments: a subscription that takes over crosses boundaries of before",
        SUBSCRIPTIONS,
        "        period=period_number(anchor, now),\n        subscription_id",
        "        period=0,\n        subscription_id",
        BILLED,
        MONEY,
    ),
    mutant(
        "payments: a subscription that takes over keeps a month that the former one's end removes",
        SUBSCRIPTIONS,
        "min(former_ended_at or now, now)",
        "now",
        MONEY,
    ),
    mutant(
        "payments: an end keeps the month",
        SUBSCRIPTIONS,
        "monthly = min(buckets.monthly, account.available)\n    rollover",
        "monthly = 0\n    rollover",
        DISORDER,
    ),
    mutant(
        "months: what goes back takes nothing",
        PURCHASES,
        "return -(-self.credits * cents // self.amount) if cents else 0",
        "return 0",
        MONEY,
    ),
    mutant(
        "months: a dispute takes nothing",
        PURCHASES,
        "return self._due(self.amount_refunded + self.amount_disputed) - self.due_for_refunds",
        "return 0",
        MONEY,
    ),
    mutant(
        "months: rollover that comes back after the plan stays for ever",
        PAID_MONTHS,
        "    return replace(account, period=present, due_at=boundary(account.anchor, present + 1))",
        "    return account",
        MONEY,
    ),
    mutant(
        "months: what has expired is owed",
        PAID_MONTHS,
        "owed = max(0, due + used - month.credits) + held + state.repaid",
        "owed = due - state.taken - taken",
        MONEY,
    ),
    mutant(
        "months: what was spent is not owed",
        PAID_MONTHS,
        "owed = max(0, due + used - month.credits) + held + state.repaid",
        "owed = held + state.repaid",
        MONEY,
    ),
    mutant(
        "months: what is spent is of every month in the bucket",
        PAID_MONTHS,
        "gone = max(min(-here - repaid - before - behind, state.left - repaid), 0)",
        "gone = min(-here, state.left) - repaid",
        MONEY,
    ),
    mutant(
        "months: what was held when they were paid back can be spent afterwards",
        PAID_MONTHS,
        "    if state.left > 0 and bucket is MonthBucket.MONTHLY:",
        "    if not state.left and bucket is MonthBucket.MONTHLY:",
        MONEY,
    ),
    mutant(
        "months: what was repaid from them is given back as purchased credits",
        PAID_MONTHS,
        "owed = max(0, due + used - month.credits) + held + state.repaid",
        "owed = max(0, due + used - month.credits) + held",
        MONEY,
    ),
    mutant(
        "months: what is held is taken",
        PAID_MONTHS,
        "taken = min(state.left - wanted, account.available)",
        "taken = state.left - wanted",
        MONEY,
    ),
    mutant(
        "months: a won dispute gives nothing back",
        PAID_MONTHS,
        "bucket, wanted = (live, wanted) if live is not None else (bucket, state.left)",
        "wanted = state.left",
        MONEY,
    ),
    mutant(
        "months: a credit note counts its refunds again",
        EVENTS,
        "claim=Claim(max(after - refunds, 0), stage, _made_at(content))",
        "claim=Claim(after, stage)",
        MONEY,
    ),
    mutant(
        "books: the last moment of a month is in the next one, too",
        BOOKS,
        "return self.start <= at < self.end",
        "return self.start <= at <= self.end",
        BOOKS_TESTS,
    ),
    mutant(
        "books: what a boundary has not done yet is left out",
        BOOKS,
        "if account.due_at is None or account.due_at >= until:",
        "if True:",
        BOOKS_PROPERTY,
    ),
    mutant(
        "books: credits of a refund come from the oldest lot",
        VALUATION,
        "order = sorted(lots, key=lambda lot: first.index(lot.source) if lot.source in first else len(first))",
        "order = list(lots)",
        BOOKS_PROPERTY,
    ),
    mutant(
        "books: what is given back is worth nothing",
        VALUATION,
        'back = list(_taken(self._returned.get(source or "", []), credits_))',
        "back: list[Lot] = []",
        BOOKS_PROPERTY,
    ),
    mutant(
        "books: portions of a lot are rounded each for itself",
        VALUATION,
        "return self.value * (self.first + self.credits) // self.size - self.value * self.first // self.size",
        "return self.value * self.credits // self.size",
        BOOKS_PROPERTY,
    ),
    mutant(
        "books: a damaged account is passed over in silence",
        BOOKS,
        "books.damaged[error.user_id] = error.reason",
        "pass",
        BOOKS_TESTS,
    ),
    mutant(
        "books: a payment that only Stripe knows is not listed",
        BOOKS_AT_STRIPE,
        'compared.take("payments", stated.object_id, None, received)',
        "pass",
        BOOKS_TESTS,
    ),
    mutant(
        "purchases: Stripe is not told what a payment is for",
        BUY,
        "if purchase.payment_id is None:\n            self._describe",
        "if False:\n            self._describe",
        "tests/unit/test_list_purchases.py",
    ),
    mutant(
        "months: what was waived is granted",
        PAID_MONTHS,
        "self.refunded.values())) + self.credited, self.amount)",
        "self.refunded.values())), self.amount)",
        MONEY,
    ),
    mutant(
        "months: money that goes back is nobody's",
        APPLY,
        "return self._claim_of_invoice(event, change)",
        "return Applied(outcome=Outcome.IGNORED)",
        MONEY,
    ),
    mutant(
        "months: reconcile does not look at their money",
        RECONCILE,
        "for stated in statement.claims:",
        "for stated in ():",
        MONEY,
    ),
    mutant(
        "prices: only the present one is good",
        APPLY,
        "agreed = [table, *subscription.offers]",
        "agreed = [table]\n        subscription = replace(subscription, prices={})",
        MONEY,
    ),
    mutant(
        "prices: every amount is good",
        APPLY,
        "if not any(price.currency == line.currency and price.amount == line.amount for price in agreed):",
        "if False:",
        MONEY,
    ),
    mutant(
        "prices: a receipt names another table than the one that it was charged by",
        RUN_PROMPT,
        "price_version=self._prices.version,\n                model_id=completion.model_id",
        'price_version="2026-11-01",\n                model_id=completion.model_id',
        RUNS,
    ),
    mutant(
        "prices: a failed run's receipt names another table than the one that it was held by",
        RUN_PROMPT,
        "price_version=self._prices.version,\n            model_id=held",
        'price_version="2026-11-02",\n            model_id=held',
        RUNS,
    ),
    mutant(
        "prices: instead of an earlier table the current one is answered",
        PRICES,
        'return (PUBLISHED / f"{version}.json").read_text(encoding="utf-8")',
        '(PUBLISHED / f"{version}.json").stat()\n        return PATH.read_text(encoding="utf-8")',
        PRICED,
    ),
    mutant(
        "prices: any file can be asked for",
        PRICES,
        "if not VERSION.fullmatch(version):",
        "if False:",
        PRICED,
    ),
    mutant(
        "prices: a version may lead out of the folder",
        PRICING,
        "VERSION.fullmatch(self.version) is not None",
        "True",
        PRICED,
    ),
    mutant(
        "prices: a published table may change",
        PRICE_CHECK,
        "elif _digest(current) != digests[version]:",
        "elif False:",
        PUBLISHED,
    ),
    mutant(
        "prices: a published table goes together with its digest",
        PRICE_CHECK,
        "for line in sorted({*added} - {*there})",
        "for line in ()",
        PUBLISHED,
    ),
    mutant(
        "prices: publishing takes the place of what was published",
        PRICE_CHECK,
        "if digest != _digest(current) or (",
        "if (",
        PUBLISHED,
    ),
    mutant(
        "prices: a receipt may be checked by any table",
        VERIFIER,
        'if prices["version"] != version:',
        "if False:",
        VERIFIED,
    ),
    mutant(
        "prices: the allowance stands in the code",
        SUBSCRIPTIONS,
        'deltas, reason = Deltas(monthly=allowance), "PRPM+',
        'deltas, reason = Deltas(monthly=200), "PRPM+',
        MONEY,
    ),
    mutant(
        "plans: a second subscription takes the place of the first",
        APPLY,
        'return "second_subscription" if self._is_second(',
        'return "second_subscription" if False and self._is_second(',
        MONEY,
    ),
    mutant(
        "plans: a subscription ends what an operator gave",
        PAID_MONTHS,
        "if account.has_granted_plan:",
        "if False:",
        MONEY,
    ),
    mutant(
        "plans: subscribing is not refused beside an operator's plan",
        "layers/shared/playground/usecases/buy_credits.py",
        "            if account.has_granted_plan:\n                raise",
        "            if False:\n                raise",
        MONEY,
    ),
    mutant(
        "plans: an operator's plan goes on to its boundary",
        ACCOUNT,
        "due = [regular] if until is None else [regular, instant(until)]",
        "due = [regular]",
        UNIT,
        PROPERTIES,
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
        "payments: another object is read as a payment",
        EVENTS,
        'if reader is not None and content["object"] != reader.of:',
        "if False:",
        SHAPES,
    ),
    mutant(
        "payments: what cannot be read is ignored",
        EVENTS,
        "change = Unreadable(subject=_subject(value)) if reader is not None else None",
        "change = None",
        SHAPES,
    ),
    mutant(
        "payments: what cannot be read is applied without the look of a person",
        APPLY,
        'return self._quarantine(event, None, event.change.subject, "unreadable")',
        "return Applied(outcome=Outcome.IGNORED)",
        SHAPES,
    ),
    mutant(
        "payments: former customers are strangers",
        PURCHASES,
        "customer_id in (self.customer_id, *self.former)",
        "customer_id == self.customer_id",
        f"{REFUSED}::test_what_was_paid_under_the_former_customer_is_granted_and_refunded",
    ),
    mutant(
        "payments: a customer who was deleted is not noted",
        APPLY,
        "self.records.save(replace(customer, gone=True), self._record",
        "self.records.save(customer, self._record",
        f"{REFUSED}::test_it_is_noted_that_a_customer_was_deleted",
    ),
    mutant(
        "payments: the end of a former customer ends the present one",
        APPLY,
        "customer.customer_id != change.customer_id or customer.gone",
        "customer.gone",
        f"{REFUSED}::test_late_or_repeated_events_of_a_former_customer_change_nothing",
    ),
    mutant(
        "payments: the next customer is asked for with the key of the first",
        BUY,
        'return f"{key}:{number}" if number else key',
        "return key",
        f"{REFUSED}::test_a_deleted_customer_is_replaced_once",
    ),
    mutant(
        "payments: a payment that is not there is begun once more",
        BUY,
        """            if started is None:
                raise PurchaseUnavailableError(purchase_id=purchase.purchase_id, state=purchase.state.value)
            return started
""",
        """            if started is not None:
                return started
""",
        f"{REFUSED}::test_a_purchase_whose_payment_is_at_another_account_is_not_begun_again",
    ),
    mutant(
        "payments: a purchase in test mode is paid in live mode",
        BUY,
        "if there.live is not self.live:",
        "if False:",
        f"{REFUSED}::test_a_purchase_of_the_other_mode_is_not_begun_again",
    ),
    mutant(
        "payments: a page is given again although it is gone",
        BUY,
        "if url is not None and page is not None and not self._is_replaced(page, success, cancel):",
        "if url is not None:",
        f"{REFUSED}::test_a_page_of_another_account_is_not_given_again",
    ),
    mutant(
        "payments: an open page is given again although it leads elsewhere",
        BUY,
        "if (page.success_url, page.cancel_url) == (success, cancel) or page.is_complete:",
        "if True:",
        "tests/integration/test_subscriptions.py::test_a_page_that_leads_back_elsewhere_is_closed_and_replaced",
    ),
    mutant(
        "payments: a page that leads elsewhere stays open beside its successor",
        BUY,
        "return self.payments().close_checkout(page.checkout_id)",
        "return True",
        "tests/integration/test_subscriptions.py::test_a_page_that_leads_back_elsewhere_is_closed_and_replaced",
    ),
    mutant(
        "payments: a second page is opened beside one that has just been paid",
        STRIPE,
        'return closed is None or closed.status == "expired"',
        "return True",
        "tests/integration/test_subscriptions.py::test_a_page_that_is_paid_is_not_replaced",
    ),
    mutant(
        "payments: the pay page redirects to a site whose name begins as the front end's",
        BUY,
        'tuple(f"{origin}/" for origin in (self.frontend_url, *self.extra_origins))',
        "(frontend_url, *extra_origins)",
        "tests/integration/test_subscriptions.py::test_on_a_laptop_the_pay_page_redirects_to_the_front_end_by_either_of_its_names",
    ),
    mutant(
        "payments: a deployed stack puts client secrets into links to another machine",
        "layers/shared/playground/settings.py",
        'pattern=r"^(http://127\\.0\\.0\\.1:[0-9]+/[a-z]+)?$"',
        'pattern=r"^(https?://.+)?$"',
        "tests/unit/test_settings.py::test_client_secrets_are_not_put_into_links_to_other_machines",
    ),
    mutant(
        "payments: keys go into a header as they are",
        STRIPE,
        '?", key) or len(key) > MAX_KEY:',
        '?", key) and False:',
        STRIPE_KEYS,
    ),
    mutant(
        "payments: a key of another request is waited for",
        STRIPE,
        "except stripe.APIConnectionError as error:",
        "except (stripe.APIConnectionError, stripe.IdempotencyError) as error:",
        f"{REFUSED}::test_a_key_that_is_taken_by_another_request_is_a_refusal",
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
        """    for _ in range(MAX_BOUNDARIES):
        overdue = overdue_change(account, now)""",
        """    for _ in range(1):
        overdue = overdue_change(account, now)""",
        CONTEXTS,
    ),
    mutant(
        "time: who was away for long is advanced by one month",
        LEDGER,
        "            account = self._apply(account, overdue) or self._reread(account.user_id)",
        "            return self._apply(account, overdue) or self._reread(account.user_id)",
        CONTRACT,
        LIFE,
    ),
    mutant(
        "time: what is left of a walk is forgotten",
        VISITS,
        "return replace(walked, finished=False)",
        "return walked",
        NIGHTS,
        WALKS,
    ),
    mutant(
        "time: a walk goes on by a message to its own queue",
        VISITS,
        "                return replace(walked, finished=False)",
        '                self.walks.put([{**walk.message(), "after": after}])\n                return walked',
        WALKS,
    ),
    mutant(
        "time: a walk begins anew each time",
        VISITS,
        "after = saved or walk.after",
        "after = walk.after",
        WALKS,
    ),
    mutant(
        "time: a walk remembers a place that it has not reached",
        VISITS,
        "                self.cursors.save(walk, after)\n                saved",
        '                self.cursors.save(walk, f"{after}9")\n                saved',
        WALKS,
    ),
    mutant(
        "time: a walk takes the place of another one",
        INDEX,
        'if raw is None or raw["at"] != {"S": iso(walk.at)} or "after" not in raw:',
        'if raw is None or "after" not in raw:',
        NIGHTS,
    ),
    mutant(
        "time: a message that failed is done with",
        RESET,
        "for message_id, result in results.items() if result is not Result.DONE]",
        "for message_id, result in results.items() if result is Result.UNFINISHED]",
        NIGHTS,
    ),
    mutant(
        "time: what one sweep does not take waits for the next one",
        RESET,
        "    if not swept.finished:\n",
        "    if swept.finished and swept.failed:\n",
        NIGHTS,
    ),
    mutant(
        "time: a sweep of a shard takes its first page only",
        SWEEPS,
        "            if after is None:\n",
        "            if users or after is None:\n",
        "tests/unit/test_sweep_holds.py",
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
        "remaining = account.buckets.monthly",
        "remaining = account.allowance",
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
        "if account.has_granted_plan:\n        return None",
        "pass",
        BILLED,
    ),
    # --- audits -------------------------------------------------------------------------------------------------------
    mutant(
        "audit: the function does not say what is damaged",
        AUDIT,
        "damaged = () if audited.fine else (audited,)",
        "damaged = ()",
        AUDITS,
    ),
    mutant(
        "audit: the function does not look at the time",
        AUDIT,
        "time_is_up=lambda: context.get_remaining_time_in_millis() < RESERVE_MS,",
        "time_is_up=lambda: False,",
        AUDITS,
    ),
    mutant(
        "audit: the function begins where it is asked to go on",
        AUDIT,
        'after=event.get("after"),',
        "after=None,",
        AUDITS,
    ),
    mutant(
        "audit: scheduled work may scan money",
        TEMPLATE,
        "Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]",
        "Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:Scan]",
        DESCRIBED,
    ),
    mutant(
        "audit: an entry's sum follows the entries, whatever it says itself",
        REPLAY,
        "self.balance = after if after is not None else self.balance + (change or 0)",
        "self.balance += change or 0",
        AUDITED,
    ),
    mutant(
        "audit: what is not visible at the first look is damage",
        "layers/shared/playground/usecases/audit_account.py",
        "is_still = always is not None and stored.account == before",
        "is_still, before = True, stored.account",
        "tests/integration/test_audit.py::test_what_is_not_visible_at_the_first_look_is_no_damage",
    ),
    mutant(
        "audit: debt is not added up",
        REPLAY,
        "self.debt += change or 0",
        "self.debt += 0",
        AUDITED,
    ),
    mutant(
        "audit: every receipt is checked by one table, whichever it names",
        RECEIPTS,
        "return self._prices(version) if isinstance(version, str) else None",
        'return self._prices("2026-11-01") if isinstance(version, str) else None',
        AUDITED,
    ),
    mutant(
        "audit: a receipt of a table that never was is fine",
        RECEIPTS,
        "            if version is not None:\n",
        "            if False:\n",
        AUDITED,
    ),
    mutant(
        "audit: a charge above the ceiling is fine",
        RECEIPTS,
        'self._compare(Code.CHARGE, f"{place}: charged", min(credits_, ceiling), charged)',
        'self._compare(Code.CHARGE, f"{place}: charged", credits_, charged)',
        AUDITED,
    ),
    mutant(
        "audit: a turn may have cost something else than its receipt says",
        RECEIPTS,
        'for name, other in (("credits", "charged"), ("stop_reason", "stop_reason")):',
        'for name, other in (("stop_reason", "stop_reason"),):',
        AUDITED,
    ),
    mutant(
        "audit: sessions are not looked at",
        RECEIPTS,
        "for session_id, sums in self._sessions.items():",
        "for session_id, sums in ():",
        AUDITED,
    ),
    mutant(
        "audit: what is held is not added up",
        BALANCES,
        'self._compare(Code.HELD, "account: held", total, held)',
        "",
        AUDITED,
    ),
    mutant(
        "audit: buckets are not those of the entries",
        BALANCES,
        "for name, replayed, bucket in zip(BUCKETS, self._replay.buckets, buckets, strict=True):",
        "for name, replayed, bucket in zip(BUCKETS, buckets, buckets, strict=True):",
        AUDITED,
    ),
    # --- operators and erasure ----------------------------------------------------------------------------------------
    mutant(
        "operators: a bonus is given by every call",
        GRANT,
        'key = f"bonus:{order.reference}"',
        'key = f"bonus:{order.reference}:{now}"',
        ORDERS,
    ),
    mutant(
        "operators: a reference is good for another amount",
        GRANT,
        "if outcome.entry.amount != credits_:",
        "if False:",
        ORDERS,
    ),
    mutant(
        "operators: a repeat says that it was done now",
        OPERATOR_REQUEST,
        "is_new=entry in written",
        "is_new=True",
        ORDERS,
    ),
    mutant(
        "operators: a correction takes what is held",
        ACCOUNT,
        "missing = max(credits_ - min(account.buckets.purchased, account.available), 0)",
        "missing = max(credits_ - account.buckets.purchased, 0)",
        ORDERS,
    ),
    mutant(
        "operators: a correction forgives what was spent",
        ACCOUNT,
        "replace(account, debt=account.debt + missing)",
        "account",
        ORDERS,
    ),
    mutant(
        "operators: a grant is undone by every call",
        UNDO,
        'f"undo:{order.reference}", order, now)',
        'f"undo:{order.reference}:{now}", order, now)',
        ORDERS,
    ),
    mutant(
        "operators: a pause is lost by the next change",
        LEDGER,
        "        optional(AccountItem.paused_at, after.paused_at),\n",
        "        AccountItem.paused_at.remove(),\n",
        f"{CONTRACT}::test_a_paused_account_holds_nothing_new_and_its_open_runs_end",
    ),
    mutant(
        "operators: the pause of all runs is not obeyed",
        RUN_PROMPT,
        "        if found.runs_paused:\n            raise RunsPausedError\n",
        "",
        "tests/unit/test_run_prompt.py",
    ),
    mutant(
        "operators: an instance reads the pause of all runs once",
        "layers/shared/playground/adapters/dynamo_lookup.py",
        "control is not None and now < control.read_at + CONTROL_SECONDS",
        "control is not None",
        "tests/integration/test_operators.py",
    ),
    mutant(
        "guard: a receipt that is counted is counted again",
        SPEND,
        "new = [run for run_id, run in once.items() if marks[run_id] not in there]",
        "new = [*once.values()]",
        SPENT,
    ),
    mutant(
        "guard: a receipt is counted without a mark",
        SPEND,
        """            writes.append(Put(marks[run.run_id], {"ttl": {"N": str(_expires(day, MARK_DAYS))}}))\n""",
        "",
        SPENT,
        SPENT_CONTRACT,
    ),
    mutant(
        "guard: the mark is written after the counters",
        SPEND,
        "                self._store.transact(*writes)\n",
        "                for part in (writes[len(new) :], writes[: len(new)]):\n"
        "                    self._store.transact(*part)\n",
        SPENT,
    ),
    mutant(
        "guard: a receipt that stands twice in a batch is counted twice",
        SPEND,
        "for run_id, run in once.items() if marks[run_id] not in there",
        "for run_id, run in ((each.run_id, each) for each in runs) if marks[run_id] not in there",
        SPENT_CONTRACT,
    ),
    mutant(
        "guard: a transaction may have more items than DynamoDB takes",
        SPEND,
        "if len(keys) > MAX_TRANSACTION_ITEMS:",
        "if len(keys) > 2 * MAX_TRANSACTION_ITEMS:",
        SPENT,
    ),
    mutant(
        "guard: unpaid cost does not count towards the ceiling",
        "layers/shared/playground/domain/spend.py",
        "return cls(failed=1, cost_nano=unpaid_nano, unpaid_nano=unpaid_nano)",
        "return cls(failed=1, unpaid_nano=unpaid_nano)",
        COUNTED,
    ),
    mutant(
        "guard: every run of a user is another user of the package",
        SPEND,
        "if is_known and mark not in there and not any(write.key == mark for write in writes):",
        "if is_known and not any(write.key == mark for write in writes):",
        SPENT,
    ),
    mutant(
        "guard: who was erased is counted by name again",
        SPEND,
        "is_known = iso(run.ended_at) > forgotten",
        "is_known = True",
        "tests/integration/test_erasure.py",
    ),
    mutant(
        "guard: an erasure during a count is not seen",
        SPEND,
        "condition = forgotten.does_not_exist() | (forgotten < iso(sums.firsts[key]))",
        "condition = None",
        "tests/integration/test_erasure.py",
    ),
    mutant(
        "guard: an erasure leaves the counters",
        "operate/erase_account.py",
        "        eraser.forget_spend(user_id, pseudonym, now)\n",
        "",
        "tests/integration/test_erasure.py",
    ),
    mutant(
        "metrics: what a dead run held counts as released",
        "layers/shared/playground/domain/outcomes.py",
        "expired = left if run.status is RunStatus.EXPIRED else 0",
        "expired = 0",
        "tests/unit/test_metrics.py",
    ),
    mutant(
        "metrics: a run that the service lost is no loss",
        "layers/shared/playground/domain/outcomes.py",
        "return self not in (RunOutcome.ANSWERED, RunOutcome.DECLINED)",
        "return self in (RunOutcome.FAILED, RunOutcome.INTERRUPTED)",
        "tests/unit/test_metrics.py",
    ),
    mutant(
        "metrics: a receipt that was counted before adds to the flow again",
        "layers/shared/playground/usecases/count_spend.py",
        """                for run in new:
                    flow = flow.plus(run)""",
        """                for run in runs[done - taken : done]:
                    flow = flow.plus(run)""",
        COUNTED,
    ),
    mutant(
        "metrics: the model's time is ours",
        "layers/shared/playground/usecases/run_prompt.py",
        "added = self._clock() - self._started - (self._answered - self._asked)",
        "added = self._clock() - self._started",
        "tests/unit/test_run_prompt.py",
    ),
    mutant(
        "metrics: they wait in the buffer of a pipe",
        "layers/shared/playground/observability.py",
        "        sys.stdout.flush()\n",
        "",
        "tests/unit/test_metrics.py",
    ),
    mutant(
        "logs: a request is logged with its body",
        "layers/shared/playground/http.py",
        """        path = _path_of(event)
        try:
            if event""",
        """        path = _path_of(event)
        logger.info("request", body=event.get("body"))
        try:
            if event""",
        "tests/integration/test_handlers.py",
    ),
    mutant(
        "guard: what fails is done with",
        "functions/guard/app.py",
        """[{"itemIdentifier": counted.failed}] if counted.failed is not None else []""",
        "[]",
        SPENT,
    ),
    mutant(
        "guard: what comes after a failure is repeated, and the failure is not",
        "layers/shared/playground/usecases/count_spend.py",
        "failed = read[done][0] if done < len(read) else receipts[0].number",
        "failed = read[min(done + 1, len(read) - 1)][0]",
        COUNTED,
    ),
    mutant(
        "usage: a package with one user says when it is used",
        USAGE,
        "if totals.users < MIN_USERS_SHOWN:",
        "if totals.users < 1:",
        USED,
    ),
    mutant(
        "usage: a page repeats the row at which the last one ended",
        "layers/shared/playground/adapters/dynamo_usage.py",
        """user_day_sk(after.day, after.package, after.model) + "\\0")""",
        "user_day_sk(after.day, after.package, after.model))",
        SPENT_CONTRACT,
    ),
    mutant(
        "usage: a day too many",
        USAGE,
        "timedelta(days=days - 1)",
        "timedelta(days=days)",
        USED,
    ),
    mutant(
        "usage: failed runs make a package popular",
        "layers/shared/playground/domain/spend.py",
        "Rank(each.counters.runs, each.package)",
        "Rank(each.counters.runs + each.counters.failed, each.package)",
        USED,
    ),
    mutant(
        "usage: by runs, a page repeats the package at which the last one ended",
        "layers/shared/playground/usecases/browse_catalog.py",
        "begin = bisect_right(ranking, after) if after is not None else 0",
        "begin = max(0, bisect_right(ranking, after) - 1) if after is not None else 0",
        USED,
    ),
    mutant(
        "ratings: an opinion does not look at what it replaces",
        OPINIONS,
        "Replace(key, item, _unchanged(former))",
        """Replace(key, item, Path("pk").exists())""",
        "tests/concurrency/test_session_races.py",
    ),
    mutant(
        "ratings: a replaced opinion stays in the totals",
        OPINIONS,
        "changes[counted_for] = changes.get(counted_for, Ratings()) - _ratings_of(former)",
        "changes[counted_for] = changes.get(counted_for, Ratings())",
        TALKS,
    ),
    mutant(
        "ratings: an opinion that was never counted is taken out of the totals",
        OPINIONS,
        """if former is not None and COUNTED_FOR in former:
            counted_for = former[COUNTED_FOR]["S"]""",
        """if former is not None and package is not None:
            counted_for = package""",
        SEEN,
    ),
    mutant(
        "ratings: the totals are written before the opinion",
        OPINIONS,
        "                self._store.transact(*writes)\n",
        "                for part in (writes[2:], writes[:2]):\n"
        "                    if part:\n"
        "                        self._store.transact(*part)\n",
        SEEN,
    ),
    mutant(
        "history: a name is a formula",
        "layers/shared/playground/domain/spreadsheet.py",
        "isinstance(value, str) and value.startswith(FORMULAS)",
        "isinstance(value, str) and value.startswith(FORMULAS[:3])",
        "tests/integration/test_history_csv.py::test_nothing_in_it_is_a_formula",
    ),
    mutant(
        "guard: people who pay are paused, too",
        RUN_PROMPT,
        "started < paused_until and has_signup_credits_only(account)",
        "started < paused_until",
        "tests/unit/test_run_prompt.py",
    ),
    mutant(
        "guard: who has paid is taken for a free account",
        GUARD,
        "        not account.has_paid\n        and account.plan is Plan.FREE\n",
        "        account.plan is Plan.FREE\n",
        COUNTED,
    ),
    mutant(
        "guard: a pause has no end",
        RUN_PROMPT,
        "paused_until is not None and started < paused_until and",
        "paused_until is not None and",
        "tests/unit/test_run_prompt.py",
    ),
    mutant(
        "guard: a pause that was lifted comes back with the next receipt",
        GUARD,
        "settings.pauses and reached and self.lifted_on != now.date()",
        "settings.pauses and reached",
        COUNTED,
    ),
    mutant(
        "guard: free runs are paused although the setting says no",
        GUARD,
        "paused = settings.pauses and reached",
        "paused = reached",
        COUNTED,
    ),
    mutant(
        "guard: a damaged guard stops everybody",
        "layers/shared/playground/adapters/dynamo_lookup.py",
        "        except UnreadableError as damage:\n            self._report(damage)\n            return None\n",
        "        except UnreadableError:\n            raise\n",
        SPENT,
    ),
    mutant(
        "guard: it is saved over what an operator has ordered meanwhile",
        "layers/shared/playground/adapters/dynamo_guard.py",
        "save = Save(guard_key(self._table), guard_item(guard), guard.revision)",
        "save = Save(guard_key(self._table), guard_item(guard), None)",
        SPENT_CONTRACT,
    ),
    mutant(
        "operators: a version that is withdrawn can be pinned",
        "layers/shared/playground/adapters/dynamo_catalog.py",
        "return None if WITHDRAWN_AT in item else self.stored_version(item)",
        "return self.stored_version(item)",
        "tests/integration/test_withdrawal.py",
    ),
    mutant(
        "operators: publishing forgets what was withdrawn",
        "layers/shared/playground/adapters/dynamo_catalog.py",
        '**({"withdrawn": withdrawn} if withdrawn else {})',
        "**{}",
        "tests/integration/test_withdrawal.py",
    ),
    mutant(
        "operators: the audit believes any undo",
        "layers/shared/playground/domain/audit/replay.py",
        'elif order == "undo":',
        "elif False:",
        "tests/unit/test_audit.py",
    ),
    mutant(
        "operators: a plan at the payment provider is changed",
        CHANGE_PLAN,
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
        "erasure: a repeat makes another account",
        ERASE,
        "            if eraser.is_erased(user_id):\n                return Erased()\n",
        "",
        FORGETTING,
    ),
    mutant(
        "erasure: receipts that came later stay",
        ERASER,
        "(raw for raw in self.books(user_id) if not _stays(raw)),",
        "iter(()),",
        FORGETTING,
    ),
    mutant(
        "erasure: credits that came later stay",
        ERASER,
        "if account.version != 1 or account.buckets.total or account.holds:",
        "if account.holds:",
        FORGETTING,
    ),
    mutant(
        "erasure: texts of runs that died stay",
        ERASER,
        "            self._delete(user_id, pseudonym, left, at_once=MAX_LARGE)\n        named",
        "        named",
        f"{FORGETTING}::test_texts_of_a_run_that_died_before_it_was_paid_for_are_erased",
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
        "usage: a list of runs shows estimates",
        "layers/shared/playground/domain/runs.py",
        "return None if not self.measured and self.unpaid and self.unpaid.estimated else self.usage",
        "return self.usage",
        "tests/integration/test_allowance.py",
    ),
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
        "            answer.begun = True\n",
        "            answer.begun = False\n",
        "tests/unit/test_claude_model.py",
    ),
    mutant(
        "streams: text of an ended run is shown while nobody holds for it",
        STREAM_RUN,
        "        held = there is not None and there.nonce == hold.nonce\n",
        "        held = True\n",
        STREAMED,
    ),
    mutant(
        "streams: a reader elsewhere is given text of another attempt",
        CHECKPOINTS,
        "first = checkpoint_key(self.table, run_id, nonce, offset + 1)",
        'first = checkpoint_key(self.table, run_id, "", offset + 1)',
        "tests/contract/test_checkpoints_contract.py",
    ),
    mutant(
        "streams: a reader goes on one character too late",
        STREAM_RUN,
        "        text += piece.text[end - piece.offset :]\n",
        "        text += piece.text[end - piece.offset + 1 :]\n",
        STREAMED,
    ),
    mutant(
        "streams: checkpoints stay when the run has ended",
        LIVE_RUNS,
        "            if self._ends:\n",
        "            if False:\n",
        STREAMED,
    ),
    mutant(
        "streams: a run that another process makes is made again",
        STREAM_RUN,
        "        except RunInProgressError as error:\n",
        "        except RunInProgressError as error:\n            raise error\n",
        STREAMED,
    ),
    mutant(
        "streams: a reader of a dead worker's run does not give its hold back",
        STREAM_RUN,
        "        if not text and not hold.dead(self.clock()):\n",
        "        if not text:\n",
        STREAMED,
    ),
    mutant(
        "stop: a call that is given up goes on at the provider, which bills it",
        TRANSPORT,
        "                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)\n",
        "                self._socket.close()\n",
        PROGRESS,
    ),
    mutant(
        "stop: a call that is given up while it connects is sent all the same",
        TRANSPORT,
        "            if self._given_up:\n",
        "            if False:\n",
        PROGRESS,
    ),
    mutant(
        "connections: a handshake that fails counts as a question that was sent",
        TRANSPORT,
        '            raise exceptions.NewConnectionError(self, f"the handshake failed: {error}") from error\n',
        "            raise\n",
        CONNECTIONS,
    ),
    mutant(
        "connections: what is left of one answer is the beginning of the next",
        TRANSPORT,
        "            self._answer.close()\n",
        "            pass\n",
        CONNECTIONS,
    ),
    mutant(
        "connections: an error behind the handshake says that nothing was sent",
        TRANSPORT,
        "    except TimeoutError as error:\n        raise httpx2.ReadTimeout(str(error)) from error\n",
        "    except TimeoutError as error:\n        raise httpx2.ReadTimeout(str(error)) from error\n"
        "    except exceptions.SSLError as error:\n        raise httpx2.ConnectError(str(error)) from error\n",
        CONNECTIONS,
    ),
    mutant(
        "connections: text that the system refuses for a moment is lost",
        DIRECT_HTTP,
        "                sent = 0\n        self._rest",
        "                return False\n        self._rest",
        DIRECT,
    ),
    mutant(
        "connections: lines around chunks have no end",
        TRANSPORT,
        "        if self._bytes_since > MAX_FRAMING_BYTES:\n",
        "        if False:\n",
        CONNECTIONS,
    ),
    mutant(
        "connections: what is behind an answer is left for the next request",
        TRANSPORT,
        '            raise http.client.HTTPException("more than the body was sent")\n',
        "            pass\n",
        CONNECTIONS,
    ),
    mutant(
        "connections: text is written to the connection that has the descriptor now",
        DIRECT_HTTP,
        "            if self._protocol.is_lost:\n                return False\n",
        "",
        DIRECT,
    ),
    mutant(
        "connections: text overtakes what the event loop has still to send",
        DIRECT_HTTP,
        " or transport.get_write_buffer_size():",
        ":",
        DIRECT,
    ),
    mutant(
        "connections: what a slow reader has not taken is lost",
        ASGI,
        "            self._direct.flush()\n",
        "            pass\n",
        DIRECT,
    ),
    mutant(
        "failures: what a lost attempt may have cost is forgotten when the next one fails for nothing",
        RUN_PROMPT,
        "_unpaid(held.attempt.model, error.spent, *error.lost)",
        "_unpaid(held.attempt.model, error.spent)",
        RUNS,
    ),
    mutant(
        "failures: what a lost attempt may have cost is forgotten with the answer of the next",
        RUN_PROMPT,
        "                unpaid=_unpaid(attempt.model, *completion.lost),\n",
        "",
        RUNS,
    ),
    mutant(
        "failures: lost attempts are not remembered",
        CLAUDE,
        "                    lost.append(failure.error.spent)\n",
        "                    pass\n",
        "tests/unit/test_claude_streams.py",
    ),
    mutant(
        "connections: an interim response is the answer, and the answer that of the next request",
        TRANSPORT,
        "    response_class = _FinalResponse",
        "    other_class = _FinalResponse",
        CONNECTIONS,
    ),
    mutant(
        "connections: a refused connection counts as one that took too long",
        TRANSPORT,
        "    except exceptions.NewConnectionError as error:  # a ConnectTimeoutError, by name\n"
        "        raise httpx2.ConnectError(str(error)) from error\n",
        "",
        CONNECTIONS,
    ),
    mutant(
        "streams: what came before somebody listened is not sent",
        "layers/shared/playground/usecases/live_events.py",
        "        self._listener = listener\n        listener()\n",
        "        self._listener = listener\n",
        "tests/unit/test_live_events.py",
    ),
    mutant(
        "stop: a run that was ended without text is charged",
        CLAUDE,
        "    if message is None or is_blank(message.text):\n        raise RunCancelledError\n",
        "    if message is None:\n        raise RunCancelledError\n",
        PROGRESS,
    ),
    mutant(
        "stop: what was written is charged as the provider began to count",
        CLAUDE,
        "        text=message.text, usage=_spent(prompt, answer).usage, stop_reason=CANCELLED",
        "        text=message.text, usage=believable_usage(message.usage, prompt), stop_reason=CANCELLED",
        PROGRESS,
    ),
    mutant(
        "stop: an impossible count of the prompt is charged",
        CLAUDE,
        "    believable_usage(message.usage, prompt)\n    return Completion(",
        "    return Completion(",
        PROGRESS,
    ),
    mutant(
        "stop: a whole answer is counted as one that was cut",
        CLAUDE,
        "    if message.stop_reason is not None:\n        return _completion(message, prompt)",
        "    if False:\n        return _completion(message, prompt)",
        PROGRESS,
    ),
    mutant(
        "stop: text that comes after the end is shown",
        CLAUDE,
        "            if answer.stopped:\n                raise _StoppedError\n",
        "",
        PROGRESS,
    ),
    mutant(
        "stop: everybody's runs can be ended",
        LEDGER,
        'actions=[there["x"].set(True)], condition=there.exists())',
        "actions=[AccountItem.lapsed.remove()], condition=None)",
        CONTRACT,
    ),
    mutant(
        "stop: a run whose hold is gone goes on",
        LEDGER,
        'return there.get("n") != {"S": hold.nonce} or "x" in there',
        'return "x" in there',
        CONTRACT,
    ),
    mutant(
        "stop: a run that came to its end is said to be cancelled",
        CANCEL_RUN,
        "        if receipt.ended and not _was_cancelled(receipt.run):\n",
        "        if False:\n",
        STREAMED,
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
        "a damaged receipt takes the list of runs down",
        LEDGER,
        "                self._report(error)\n                unreadable.append(run_id)\n",
        "                raise error\n",
        UNREADABLE,
    ),
    mutant(
        "runs: those that end in one moment are one place",
        ITEM_KEYS,
        'Key("", user_pk(user_id), place.key)',
        'Key("", user_pk(user_id), "RUN#")',
        CONTRACT,
    ),
    mutant(
        "runs: a page that is full goes on where its query stopped",
        LEDGER,
        "                    break\n                after = run_place(raw)\n",
        "                    continue\n                after = run_place(raw)\n",
        CONTRACT,
    ),
    mutant(
        "runs: the first moment of the next day belongs to the day",
        LEDGER,
        "iso(wanted.until - timedelta(milliseconds=1))",
        "iso(wanted.until)",
        CONTRACT,
        LISTED,
    ),
    mutant(
        "runs: a subscription that has ended takes the place of a run",
        ITEM_KEYS,
        'return sk.removeprefix("RUN#") if sk.startswith("RUN#") else None',
        'return sk.removeprefix("RUN#")',
        CONTRACT,
    ),
    mutant(
        "runs: a cursor of another day is sent to the store",
        "functions/credits/app.py",
        "KEY.fullmatch(place.key) and wanted.includes(place))",
        "KEY.fullmatch(place.key))",
        LISTED,
    ),
    mutant(
        "runs: open runs are on every page",
        "layers/shared/playground/usecases/browse_runs.py",
        "        if after is None:\n            account",
        "        if True:\n            account",
        LISTED,
    ),
    mutant(
        "runs: an open run is of every package and of every day",
        "layers/shared/playground/usecases/browse_runs.py",
        "        wanted.package is None\n        and wanted.since is None\n        and wanted.until is None\n"
        "        and ",
        "        ",
        LISTED,
    ),
    mutant(
        "runs: the index does not project what is filtered by",
        TEMPLATE,
        "NonKeyAttributes: [package, model, status]",
        "NonKeyAttributes: [package, model]",
        DESCRIBED,
    ),
    mutant(
        "history: a run without a readable receipt has no line",
        "layers/shared/playground/usecases/browse_runs.py",
        "    return HistoryPage(entries=entries, following",
        "    entries = [entry for entry in entries if entry.run_id is None or entry.run_id in runs]\n"
        "    return HistoryPage(entries=entries, following",
        UNREADABLE,
    ),
    mutant(
        "a damaged turn is shared unseen",
        SHARE,
        "        if turn.unreadable:",
        "        if False:",
        UNREADABLE,
    ),
    Mutant(
        "request: an unknown field is ignored, and the run is charged",
        (
            Edit(BODIES, "raise UnknownFieldError(spelling, names)", "continue"),
            Edit(BODIES, 'extra="forbid"', 'extra="ignore"'),
        ),
        (HANDLERS,),
    ),
    Mutant(
        "request: of two names of one field one counts",
        (Edit(BODIES, "if name in seen:", "if False:"), Edit(BODIES, 'extra="forbid"', 'extra="ignore"')),
        (HANDLERS,),
    ),
    mutant(
        "request: a setting that the description allows is refused",
        "layers/shared/playground/usecases/prompts.py",
        "    if request.temperature is not None and not model.accepts_temperature:\n",
        "    if request.max_tokens == 600:\n"
        '        raise InvalidRequestError("max_tokens", "must not be 600")\n'
        "    if request.temperature is not None and not model.accepts_temperature:\n",
        "tests/integration/test_refusals.py",
    ),
    mutant(
        "request: what pydantic says is shown",
        "layers/shared/playground/problems.py",
        "return EXPECTED.get(kind, ANYTHING_ELSE).format(**context)",
        'return str(problem["msg"])',
        "tests/integration/test_refusals.py",
    ),
    mutant(
        "request: an offset is refused without a word of the cursor, and read beside one",
        HTTP,
        "if name in REPLACED_PARAMETERS and (int(values[0]) or REPLACED_PARAMETERS[name] in single):",
        "if False:",
        "tests/integration/test_published_clients.py",
    ),
    mutant(
        "request: an unknown query parameter is ignored",
        HTTP,
        'raise errors.UnknownFieldError(name, known, kind="query parameter", nearest=replaced)',
        "continue",
        EDGES,
    ),
    mutant(
        "request: a body is ignored where none is declared",
        HTTP,
        "raise errors.UnknownFieldError(name, {})",
        "continue",
        EDGES,
    ),
    mutant("request: of a name that is there twice one counts", HTTP, "len(fields) != len(pairs)", "False", HANDLERS),
    mutant(
        "deadline: the gateway's is forgotten",
        HTTP,
        "return min(left, (requested_at + self._timeout - self._clock()).total_seconds())",
        "return left",
        EDGES,
    ),
    mutant(
        "deadline: the function's is forgotten",
        HTTP,
        "return min(left, (requested_at + self._timeout - self._clock()).total_seconds())",
        "return (requested_at + self._timeout - self._clock()).total_seconds()",
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
        "if self._time_for_model(attempt.deadline) < MIN_MODEL_SECONDS:",
        "if self._time_for_model(attempt.deadline) < 0:",
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
        "the history is as long as the plan allows, whatever the caller can afford",
        PROMPTS,
        "most = min(budget, self.prices.affordable_prompt_tokens(model, least, account.available))",
        "most = budget",
        CONTEXTS,
    ),
    mutant(
        "a turn that was declined is sent again",
        PROMPTS,
        "            if not turn.can_be_sent:\n",
        "            if turn.unreadable:\n",
        CONTEXTS,
    ),
    mutant(
        "variables: they are not part of the request",
        "layers/shared/playground/domain/runs.py",
        'if item.name != "package_as_sent"}',
        'if item.name not in ("package_as_sent", "variables")}',
        "tests/unit/test_runs.py",
        FILLING,
    ),
    mutant(
        "variables: a session goes on with others",
        PROMPTS,
        "if request.variables is not None and request.variables != session.variables:",
        "if False:",
        FILLING,
    ),
    mutant(
        "variables: a session forgets them",
        PROMPTS,
        "    return session.variables\n",
        "    return request.variables\n",
        FILLING,
    ),
    mutant(
        "variables: a value is filled again",
        VARIABLES,
        "    return _PLACEHOLDER.sub(lambda place: used.get(place[1], place[0]), text)",
        "    for name, value in used.items():\n"
        '        text = re.sub(rf"\\{{\\{{{name}(=[^{{}}]*)?\\}}\\}}", lambda _, value=value: value, text)\n'
        "    return text",
        FILLING,
    ),
    mutant(
        "variables: a missing one is sent as nothing",
        VARIABLES,
        "    if missing:\n",
        "    if False:\n",
        FILLING,
    ),
    mutant(
        "variables: a filled text has no bound",
        VARIABLES,
        "> MAX_FILLED_CHARACTERS:",
        "> MAX_FILLED_CHARACTERS**2:",
        FILLING,
    ),
    mutant(
        "variables: a receipt has their values",
        ATTEMPT,
        "variables=tuple(sorted(self.attempt.variables or ())),",
        "variables=tuple(sorted((self.attempt.variables or {}).values())),",
        FILLING,
    ),
    mutant(
        "variables: the first run of a fork does not store them",
        LEDGER,
        "first = session.turns == session.copied + 1",
        "first = False",
        FILLED,
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
        "packages: what is hidden is imported without a word",
        PACKAGES,
        "if hidden and not request.acknowledge_hidden:",
        "if False:",
        READER,
    ),
    mutant(
        "packages: nobody records that hidden characters were acknowledged",
        PACKAGES,
        "hidden=counted([found for _, _, places in hidden for found in places]),",
        "hidden=(),",
        READER,
    ),
    mutant(
        "packages: any run of joiners and selectors is writing",
        HIDDEN,
        "return len(run) == 1 and _is_needed(",
        "return _is_needed(",
        "tests/unit/test_hidden.py",
    ),
    mutant(
        "packages: the preview shows hidden characters as they are",
        CATALOG_BODIES,
        "preview=escaped(summary.preview),",
        "preview=summary.preview,",
        "tests/integration/test_packages.py",
    ),
    mutant(
        "packages: an acknowledgement makes another content",
        CATALOG,
        "    if package.assets:  # only then",
        "    content.append(package.hidden)\n    if package.assets:  # only then",
        "tests/integration/test_dynamo_catalog.py",
    ),
    mutant(
        "packages: a name with another scope is renamed",
        MANIFESTS,
        'return isinstance(self.name, str) and wanted in (self.name, self.name.partition("/")[2])',
        "return isinstance(self.name, str)",
        READER,
    ),
    mutant(
        "packages: a bomb is unpacked as far as it goes",
        ARCHIVES,
        "min(MAX_TAR_BYTES, max(FREE_OF_RATIO_BYTES, MAX_RATIO * len(data)))",
        "MAX_TAR_BYTES",
        READER,
    ),
    mutant(
        "packages: paths that differ in case are two",
        ARCHIVES,
        "key = composed(composed(path).casefold())",
        "key = path",
        READER,
    ),
    mutant(
        "packages: an image is part of the prompt if it is ASCII",
        PACKAGES,
        "[path for path in paths if not _is_asset(path)] or paths[:1]",
        "paths",
        READER,
    ),
    # --- anonymous runs -----------------------------------------------------------------------------------------------
    mutant(
        "anonymous: a visitor may run as often as the budget allows",
        BUDGET,
        "return Admission.ADMITTED if is_ours else Admission.VISITOR_USED",
        "return Admission.ADMITTED",
        STRANGERS_AT_ONCE,
    ),
    mutant(
        "anonymous: a reservation whose reply was lost is somebody else's",
        BUDGET,
        "return Admission.ADMITTED if is_ours else Admission.VISITOR_USED",
        "return Admission.VISITOR_USED",
        STRANGERS_FAULTS,
    ),
    mutant(
        "anonymous: a budget that was refused beside a conflict is used up",
        BUDGET,
        "if refusal.in_the_way:",
        "if False:",
        STRANGERS_FAULTS,
    ),
    mutant(
        "anonymous: the budget is no condition",
        BUDGET,
        "condition=has_room,",
        "condition=None,",
        STRANGERS_AT_ONCE,
    ),
    mutant(
        "anonymous: the budget is compared without the run that is to come",
        BUDGET,
        "room = budget_nano - reservation.nano",
        "room = budget_nano",
        STRANGERS_AT_ONCE,
    ),
    mutant(
        "anonymous: the first run of a day need not fit",
        BUDGET,
        "if room >= 0:",
        "if True:",
        STRANGERS_BUDGET,
    ),
    mutant(
        "anonymous: a cost is corrected again by a repeat",
        BUDGET,
        "(VisitorItem.nonce == reservation.nonce) & VisitorItem.reserved_nano.exists()",
        "VisitorItem.nonce == reservation.nonce",
        STRANGERS_BUDGET,
    ),
    mutant(
        "anonymous: a late repeat ends the visitor's next run",
        BUDGET,
        "(VisitorItem.nonce == reservation.nonce) & VisitorItem.reserved_nano.exists()",
        "VisitorItem.reserved_nano.exists()",
        STRANGERS_BUDGET,
    ),
    mutant(
        "anonymous: what is given back stays in the budget",
        BUDGET,
        "BudgetItem.used_nano.add(-reservation.nano)",
        "BudgetItem.used_nano.add(0)",
        STRANGERS_AT_ONCE,
    ),
    mutant(
        "anonymous: the answer is not reserved",
        ANONYMOUS,
        "self._price.most_expensive(tokens, prompt.max_tokens)",
        "self._price.most_expensive(tokens, 0)",
        STRANGERS,
    ),
    mutant(
        "anonymous: the prompt is reserved as if it were read from the cache",
        ANONYMOUS,
        "nano=self._price.cost_nano(self._price.most_expensive(tokens, prompt.max_tokens))",
        "nano=tokens * self._price.cache_read_nano + prompt.max_tokens * self._price.output_nano",
        STRANGERS,
    ),
    mutant(
        "anonymous: a failure that may be billed is given back",
        ANONYMOUS,
        "if error.spent is None:",
        "if error.spent is None or error.spent.estimated:",
        STRANGERS,
        STRANGERS_FAULTS,
    ),
    mutant(
        "anonymous: an estimate of a failure's cost is taken for an upper bound",
        ANONYMOUS,
        "if error.spent.estimated:",
        "if False:",
        STRANGERS,
    ),
    mutant(
        "anonymous: a reservation without a reply is left there",
        ANONYMOUS,
        "            self._undo(reservation)  # it may",
        "            # it may",
        STRANGERS,
    ),
    mutant(
        "anonymous: a prompt of any length is admitted",
        ANONYMOUS,
        "if tokens > MAX_PROMPT_TOKENS:",
        "if False:",
        STRANGERS,
    ),
    mutant(
        "anonymous: the answer may be as long as anybody's",
        ANONYMOUS,
        "MAX_ANSWER_TOKENS = 512",
        "MAX_ANSWER_TOKENS = 4096",
        STRANGERS_HTTP,
    ),
    mutant(
        "anonymous: a call that may have been billed is made again",
        ANONYMOUS_APP,
        "retries=0,",
        "retries=2,",
        STRANGERS_HTTP,
    ),
    mutant(
        "anonymous: it runs where it is off",
        ANONYMOUS,
        "if not self._is_on:",
        "if False:",
        STRANGERS,
    ),
    mutant(
        "anonymous: it is on by default",
        TEMPLATE,
        'Default: "false"\n    AllowedValues: ["true", "false"]\n    Description: Whether anybody may run',
        'Default: "true"\n    AllowedValues: ["true", "false"]\n    Description: Whether anybody may run',
        DESCRIBED,
    ),
    mutant(
        "anonymous: every IPv6 address is a visitor",
        VISITORS,
        "SITE_PREFIX_BITS = 64",
        "SITE_PREFIX_BITS = 128",
        STRANGERS,
    ),
    mutant(
        "anonymous: an IPv4 address mapped into IPv6 is another visitor",
        VISITORS,
        "if parsed.ipv4_mapped is None:",
        "if True:",
        STRANGERS,
    ),
    mutant(
        "anonymous: a header says who the visitor is",
        HTTP,
        'return str(self.app.current_event.request_context.identity.source_ip or "")',
        'return str(self.app.current_event.headers.get("X-Forwarded-For") or "203.0.113.1")',
        STRANGERS_HTTP,
    ),
    mutant(
        "anonymous: a visitor has one name for ever",
        VISITORS,
        "anonymous run:{day}:",
        "anonymous run:",
        STRANGERS,
    ),
    mutant(
        "sharing: nobody looks for secrets",
        SHARE,
        "if not acknowledge_findings:",
        "if False:",
        LINKS,
    ),
    mutant(
        "sharing: a visitor without a token has any number of votes",
        SHARED,
        "return keys.visitor(share.share_id, address, now), now + CLEANUP_AFTER",
        'return f"a-{now.timestamp()}", now + CLEANUP_AFTER',
        "tests/integration/test_published_clients.py::test_visitors_vote_once_per_address_and_users_once",
    ),
    mutant(
        "sharing: the hash of an address stays with its vote",
        SHARED,
        "vote, cleanup_at=cleanup_at):",
        "vote):",
        "tests/integration/test_published_clients.py::test_visitors_vote_once_per_address_and_users_once",
    ),
    mutant(
        "sessions: feedback on an exchange replaces what was rated before",
        "layers/shared/playground/usecases/rate_run.py",
        "raise FeedbackExistsError",
        "return feedback",
        "tests/integration/test_published_clients.py::test_feedback_on_an_exchange_is_given_once",
    ),
    mutant(
        "sessions: the conversation with an answer has no bound",
        "layers/shared/playground/usecases/browse_sessions.py",
        "or len(found) == self.max_turns",
        "",
        "tests/integration/test_published_clients.py::test_what_is_included_has_its_bound",
    ),
    mutant(
        "sharing: a copy says what its turns cost the other user",
        SHARED,
        "run_id=COPIED, credits=None, stop_reason=None",
        "run_id=COPIED",
        "tests/property/test_sessions_properties.py",
    ),
    mutant(
        "sessions: a turn says that it cost what was held",
        RUN_PROMPT,
        "            credits=charged,\n            stop_reason",
        "            credits=hold.ceiling,\n            stop_reason",
        RUNS,
    ),
    mutant(
        "sessions: feedback of the last run of a page is not shown",
        OPINIONS,
        "feedback_key(self._sessions, session_id, max(run_ids))",
        "feedback_key(self._sessions, session_id, min(run_ids))",
        "tests/contract/test_sessions_contract.py",
    ),
    mutant(
        "sharing: a snapshot shows what was said later",
        SHARED,
        "last=share.turns, if_deleted=ShareNotFoundError",
        "last=self.sessions.find(share.user_id, share.session_id).turns, if_deleted=ShareNotFoundError",
        LINKS,
    ),
    mutant(
        "sharing: readers wait for the counter of views",
        SHARES,
        "self._store.transact_once(",
        "self._store.transact(",
        LINKS,
    ),
    mutant(
        "sharing: all viewers write to one counter",
        SHARES,
        "zlib.crc32(viewer.encode()) % COUNTERS",
        "zlib.crc32(viewer.encode()) % 1",
        LINKS,
    ),
    mutant(
        "sharing: views that were counted before are forgotten",
        SHARES,
        "views=share.views + sum(",
        "views=sum(",
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
