"""One value of every kind that is stored: `full` has everything set, `bare` only what must be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from playground.domain.account import Account, Hold, Plan
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.notices import Notice, NoticeType
from playground.domain.packages import Asset, Example, PackageVersion
from playground.domain.paid_months import PaidMonth
from playground.domain.pricing import Price, Usage
from playground.domain.purchases import Claim, Customer, PaymentEvent, Purchase, PurchaseState, Stage
from playground.domain.runs import Failure, Measured, Run, RunStatus, UnpaidCost
from playground.domain.sessions import Comparison, RunFeedback, Session, Turn
from playground.domain.sharing import Report, Share, ShareLink, Vote
from playground.domain.subscriptions import AgreedPrice, Subscription, SubscriptionSnapshot
from playground.ports import TextRef

T0 = datetime(2026, 2, 28, 23, 59, 59, 999000, tzinfo=UTC)
T1 = datetime(2026, 3, 1, tzinfo=UTC)
T2 = datetime(2028, 2, 29, 12, 30, 0, 1000, tzinfo=UTC)
USAGE = Usage(input_tokens=1, output_tokens=2, cache_write_tokens=3, cache_read_tokens=4)
PRICE = Price(credits=7, tier=2, factor=5, floor=3, cost_nano=987_654_321_000)
PACKAGE = "6f1d3c1e-7f0a-4b8e-9a54-0d9a3c6b5a10"
SHARE = "ab" * 32
TRACE_ID = "1-58406520-a006649127e371903a2de979"

_bare_hold = Hold(
    run_id="run_0bare",
    nonce="n1",
    ceiling=3,
    lease_at=T2,
    request_hash="h1",
    session_id="ses_1",
    model="sonnet",
    placed_at=T1,
)
_full_hold = replace(
    _bare_hold, run_id="run_1full", ceiling=4, ticket=9, cost_nano=1_500_000_000, interval=timedelta(minutes=6)
)
_bare_run = Run(
    run_id="run_1",
    user_id="ålice",
    status=RunStatus.EXPIRED,
    nonce="n1",
    request_hash="h1",
    session_id="ses_1",
    model="sonnet",
    ceiling=3,
    started_at=T0,
    ended_at=T2,
)
NO_PACKAGE: dict[str, Any] = {"package_id": None, "package": None, "package_version": None}
_bare_session = Session(
    session_id="ses_1",
    user_id="ålice",
    package_id=PACKAGE,
    package="@acme/brief",
    package_version="1.2.3",
    use_no_prompt=False,
    model="sonnet",
    title="",
    created_at=T0,
    updated_at=T1,
)
_bare_share = Share(
    share_id=SHARE,
    session_id="ses_1",
    user_id="ålice",
    package_id=PACKAGE,
    package="@acme/brief",
    package_version="1.2.3",
    use_no_prompt=True,
    model="sonnet",
    title="Wörds 🎈",
    created_at=T0,
    turns=2,
    shared_at=T1,
)
_bare_turn = Turn(
    number=1,
    run_id="run_1",
    input="hi",
    answer="höllo",
    input_tokens=10,
    output_tokens=20,
    asked_at=T0,
    answered_at=T1,
)
_bare_purchase = Purchase(
    purchase_id="pur_1",
    user_id="ålice",
    pack="small",
    credits=50,
    amount=500,
    currency="usd",
    live=False,
    price_version="2026-11",
    created_at=T0,
)
_bare_month = PaidMonth(
    invoice_id="in_1",
    user_id="ålice",
    subscription_id="sub_1",
    started_at=T0,
    period_start=T1,
    amount=1900,
    currency="usd",
    live=False,
)
_bare_package = PackageVersion(
    package_id=PACKAGE,
    name="@acme/brief",
    version="1.2.3",
    description="",
    format="claude",
    subtype="agent",
    prompt="Be brief. " * 20,
    files=("AGENT.md",),
    published_at=T0,
)
CLAIMS = {"re_1": Claim(100, Stage.OPEN), "re_2": Claim(50, Stage.GIVEN_BACK)}
DISPUTES = {"dp_1": Claim(200, Stage.KEPT)}

EXAMPLES: dict[str, dict[str, Any]] = {
    "account": {
        "bare": Account(user_id="ålice", created_at=T0),
        "full": Account(
            user_id="ålice",
            created_at=T0,
            buckets=Buckets(monthly=10, rollover=20, purchased=30),
            held=7,
            debt=2,
            lapsed=1,
            holds={hold.run_id: hold for hold in (_bare_hold, _full_hold)},
            version=12,
            revision=34,
            last_hash="f" * 64,
            plan=Plan.PLUS,
            allowance=200,
            anchor=T0,
            period=3,
            due_at=T2,
            entitled_until=T2,
            subscription_id="sub_1",
            paid_periods=(1, 3),
            has_paid=True,
            failures_at=T1,
            unpaid_at=T2,
        ),
        "limited": Account(
            user_id="ålice",
            created_at=T0,
            buckets=Buckets(purchased=5),
            runs_at=T1,
            purchases_at=T2,
        ),
        "reclaimed": Account(
            user_id="ålice",
            created_at=T0,
            buckets=Buckets(monthly=10, rollover=20),
            held=30,
            debt=12,
            holds={_bare_hold.run_id: replace(_bare_hold, ceiling=30)},
            reclaimed_monthly=9,
            reclaimed_rollover=3,
        ),
        "traced": Account(
            user_id="ålice",
            created_at=T0,
            buckets=Buckets(purchased=5),
            held=3,
            holds={_bare_hold.run_id: replace(_bare_hold, trace_id=TRACE_ID)},
        ),
    },
    "entry": {
        "bare": Entry(
            user_id="ålice",
            seq=1,
            type=EntryType.SIGNUP,
            deltas=Deltas(purchased=5),
            balance_after=5,
            business_key="signup",
            reason="",
            created_at=T0,
            previous_hash="0" * 64,
        ),
        "full": Entry(
            user_id="ålice",
            seq=123_456_789_012,
            type=EntryType.SPEND,
            deltas=Deltas(monthly=-1, rollover=-2, purchased=-3),
            balance_after=0,
            business_key="run:run_1",
            reason="Wörds",
            created_at=T2,
            previous_hash="e" * 64,
            run_id="run_1",
            session_id="ses_1",
            purchase_id="pur_1",
        ),
    },
    "run": {
        "bare": _bare_run,
        "full": replace(
            _bare_run,
            status=RunStatus.SETTLED,
            package="@acme/brief",
            package_version="1.2.3",
            model_id="claude-sonnet",
            price_version="2026-11",
            prompt_tokens=0,
            max_tokens=4096,
            wanted_max_tokens=8192,
            turns_omitted=2,
            charged=7,
            overrun=1,
            deltas=Deltas(monthly=-7),
            balance_after=0,
            entry_seq=12,
            entry_hash="f" * 64,
            turn=3,
            measured=Measured(usage=USAGE, price=PRICE, stop_reason="", duration_ms=0),
            failure=Failure(code="model_overloaded", reason="busy", retry_after=30),
            unpaid=UnpaidCost(cost_nano=1, estimated=False, usage=USAGE),
        ),
        "variables": replace(_bare_run, variables=("audience", "language")),
        "custom": replace(_bare_run, custom_prompt=True),
        "no prompt": replace(_bare_run, use_no_prompt=True),
        "traced": replace(_bare_run, trace_id=TRACE_ID),
        "failed": replace(
            _bare_run,
            status=RunStatus.RELEASED,
            failure=Failure(code="model_error", reason=""),
            unpaid=UnpaidCost(cost_nano=2, estimated=True),
        ),
    },
    "session": {
        "bare": _bare_session,
        "compared": replace(_bare_session, comparison=Comparison("cmp_1", 1)),
        "full": replace(
            _bare_session,
            use_no_prompt=True,
            title="Wörds 🎈",
            turns=4,
            credits=5,
            tokens=6,
            duration_ms=7,
            copied=2,
            forked_from=SHARE,
            share=ShareLink(share_id=SHARE, nonce="n2", turns=3, shared_at=T1, expires_at=T2),
            reports=1,
            hidden=True,
            removed=True,
            former_shares=frozenset({"b" * 64, "a" * 64}),
            deleted_at=T2,
            forking=True,
        ),
        "variables": replace(_bare_session, variables={"audience": "wörkers", "none": ""}),
        "defaults": replace(_bare_session, variables={}),
        "custom": replace(_bare_session, **NO_PACKAGE),
        "shared": replace(_bare_session, share=ShareLink(share_id=SHARE, nonce="n2", turns=0, shared_at=T1)),
    },
    "turn": {
        "bare": _bare_turn,
        "full": replace(_bare_turn, number=999_999, input="over and over " * 50, refused=True),
        "stopped": replace(_bare_turn, credits=3, stop_reason="cancelled"),
    },
    "kept turn": {
        "bare": (_bare_turn, TextRef(name="sessions/1", version=None, digest="d" * 64)),
        "full": (replace(_bare_turn, refused=True), TextRef(name="sessions/1", version="v1", digest="d" * 64)),
    },
    "share": {
        "bare": _bare_share,
        "custom": replace(_bare_share, **NO_PACKAGE),
        "prompt": replace(_bare_share, **NO_PACKAGE, include_prompt=True),
        "full": replace(_bare_share, expires_at=T2, hidden=True, views=1, helpful=2, not_helpful=3, reports=4),
    },
    "purchase": {
        "bare": _bare_purchase,
        "full": replace(
            _bare_purchase,
            live=True,
            state=PurchaseState.PAID,
            payment_id="pi_1",
            paid_at=T1,
            granted=True,
            refunded=150,
            refunds=CLAIMS,
            disputes=DISPUTES,
            taken_refund=10,
            taken_dispute=20,
            moves=3,
            revision=8,
        ),
    },
    "month": {
        "bare": _bare_month,
        "full": replace(
            _bare_month,
            live=True,
            credited=100,
            credits=200,
            granted=True,
            beside=True,
            grant_key="period:1",
            refunded={"pi_1": 150},
            refunds=CLAIMS,
            disputes=DISPUTES,
            taken_refund=10,
            taken_dispute=20,
            owed=5,
            moves=3,
            revision=8,
        ),
    },
    "customer": {
        "bare": Customer(user_id="ålice", customer_id="cus_1", live=False, created_at=T0),
        "full": Customer(
            user_id="ålice",
            customer_id="cus_3",
            live=True,
            created_at=T0,
            gone=True,
            number=2,
            former=("cus_1", "cus_2"),
            revision=4,
        ),
    },
    "subscription": {
        "bare": Subscription(user_id="ålice"),
        "full": Subscription(
            user_id="ålice",
            live=True,
            described=SubscriptionSnapshot(
                subscription_id="sub_1",
                status="active",
                cancel_at_period_end=True,
                current_period_end=T2,
                started_at=T0,
                ended_at=T2,
                occurred_at=T1,
                event_id="evt_1",
            ),
            ended={"sub_0": T0, "sub_1": T2},
            checkout_id="cs_1",
            checkout_url="https://checkout.stripe.com/c/1",
            checkout_expires_at=T2,
            checkouts=3,
            prices={"sub_1": AgreedPrice(amount=1900, currency="usd", price_id="price_1")},
            offers=(
                AgreedPrice(amount=1900, currency="usd"),
                AgreedPrice(amount=2100, currency="eur", price_id="price_2"),
            ),
            revision=5,
        ),
        "described": Subscription(
            user_id="ålice",
            described=SubscriptionSnapshot(
                subscription_id="sub_1",
                status="incomplete",
                cancel_at_period_end=False,
                current_period_end=None,
                started_at=T0,
                ended_at=None,
                occurred_at=T1,
                event_id="evt_1",
            ),
        ),
    },
    "event": {
        "bare": PaymentEvent(
            event_id="evt_1", type="invoice.paid", user_id=None, subject=None, occurred_at=T0, received_at=T1
        ),
        "full": PaymentEvent(
            event_id="evt_1",
            type="invoice.paid",
            user_id="ålice",
            subject="in_1",
            occurred_at=T0,
            received_at=T1,
            quarantined="wrong_amount",
            resolved_at=T2,
        ),
    },
    "notice": {
        "bare": Notice(type=NoticeType.CREDITS_LOW, user_id="ålice", key="1", occurred_at=T0, data={}),
        "full": Notice(
            type=NoticeType.ROLLOVER_EXPIRING,
            user_id="ålice",
            key="sub_1:3",
            occurred_at=T0,
            data={"credits": 12, "expires_at": "2026-03-01T00:00:00.000Z"},
        ),
    },
    "feedback": {
        "bare": RunFeedback(run_id="run_1", rating=None, is_helpful=None, comment="", given_at=T0),
        "full": RunFeedback(run_id="run_1", rating=5, is_helpful=False, comment="Wörds", given_at=T0),
    },
    "vote": {
        "bare": Vote(is_helpful=False, comment="", given_at=T0),
        "full": Vote(is_helpful=True, comment="ö", given_at=T2),
    },
    "report": {"bare": Report(reporter="bob", reason="spam", given_at=T0)},
    "package": {
        "bare": _bare_package,
        "full": replace(
            _bare_package,
            description="Brief 🎈",
            files=("AGENT.md", "more/π.md"),
            tags=("short", "sweet"),
            license="MIT",
            author="Acme",
            prompt="Be brief. " * 200,
            assets=(Asset(path="a.png", size=12, media_type="image/png"), Asset(path="b", size=0, media_type="x/y")),
            hidden=(("bidi", 2), ("zero-width", 1)),
        ),
        "suggesting": replace(
            _bare_package,
            prompt="Be {{how=brief}} about {{what}}.",
            examples=(
                Example(title="Ships", input="Hëllo", variables={"what": "ships", "how": ""}),
                Example(title="As it is", input="Hello"),
            ),
        ),
    },
}
