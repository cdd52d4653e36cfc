"""The keys of all items.

table     pk                sk                  is
money     USER#<user>       ACCOUNT             the account; in the indexes by_lease and by_due
          USER#<user>       ENTRY#<number>      an entry, numbered from 1 in 12 digits
          USER#<user>       RUN#<run>           a receipt; in the index by_end
          USER#<user>       KEY#<business key>  the mark that makes a business key unique for ever
          USER#<user>       NOTICE#<notice>     a notice that is recorded ahead of time
          USER#<user>       PURCHASE#<id>       a purchase
          USER#<user>       INVOICE#<id>        a paid month
          USER#<user>       CUSTOMER#<mode>     who the user is at the payment provider, `live` or `test`
          USER#<user>       SUBSCRIPTION        the subscription
          USER#<user>       ERASURE             the account as it was, while it is being erased
          PAYMENT#<id>      PAYMENT             leads to the purchase that a payment is for
          CUSTOMER#<id>     CUSTOMER            leads to the user
          EVENT#<id>        EVENT               an event of the payment provider
          WALK#<task>       SHARD#<shard>       how far a walk over an index has come
          CONTROL           RUNS                whether an operator has paused the runs of all accounts
          CONTROL           GUARD               the spend guard: its ceiling, and whether free runs are paused
          CONTROL           KEY#<order>         an order about one of them, done once
sessions  SESSION#<id>      SESSION             the summary; in the index by_owner
          SESSION#<id>      TURN#<number>       a turn, numbered from 1 in 6 digits
          SESSION#<id>      PROMPT              the custom prompt that it runs
          SESSION#<id>      FEEDBACK#<run>      what its owner thinks of a run
          SESSION#<id>      REPORT#<reporter>   a report of its share; with the session, so that a new link is
                                                      no new chance
          LIVE#<run>        <nonce>#<end>       a piece of an answer that is being written, up to this character
          LIVE#<run>        <nonce>#OUTCOME     the outcome of a run that waits to be settled
          SHARE#<share>     SHARE               the snapshot's reference, state and counters; <share> is the
                                                      SHA-256 of the token
          SHARE#<share>     COUNT#<number>      a part of the views; `views` of SHARE has what earlier
                                                      versions counted
          SHARE#<share>     VIEW#<viewer>       this viewer was counted
          SHARE#<share>     VOTE#<viewer>       this viewer's vote
catalog   PACKAGE#<uuid>    VERSION#<version>   one version, immutable
          PACKAGE#<uuid>    HEAD                a copy of the newest version, and the list of all, so that an
                                                      unpinned read is one item
          PACKAGE#<uuid>    ORDER#<time>#<id>   what an operator has withdrawn or reinstated
          PACKAGES          <name>              the summary of one package, for lists and searches
visitors  BUDGET#<day>      BUDGET              what the anonymous runs of a UTC day have used of their budget
          VISITOR#<day>#<visitor>  VISITOR      this visitor has had the run of the day; <visitor> is a keyed
                                                      hash
spend     RUN#<run>         COUNTED             this receipt was counted; expires
          TOTAL#<shard>     DAY#<day>           what all runs of a day cost, a part of it in each shard
          TOTAL#<shard>     DAY#<day>#<model>   the same of one model
          USER#<user>       TOTAL               all runs of a user
          USER#<user>       PACKAGE#<name>      the user has run this package
          USER#<user>       DAY#<day>#<name>#<model>
                                                the user's runs of a package with a model on a day; expires
          PACKAGE#<name>    DAY#<day>#<model>   the same of all users; expires
          PACKAGES#<shard>  <name>              all runs of a package, and how many users it has
          RATINGS#<name>    <shard>             what owners think of their runs of a package, a part of it in each shard
"""

import zlib
from datetime import date

from playground.adapters.dynamo_store import Key, RawItem
from playground.domain.runs import RunPlace

SHARDS = 16  # of the sparse indexes: 16 × 1,000 writes a second, and the sweeper reads them in parallel
MAX_SEQ_DIGITS = 12  # digits
LISTINGS = "PACKAGES"


# --- money ------------------------------------------------------------------------------------------------------------


def user_pk(user_id: str) -> str:
    return f"USER#{user_id}"


def account_key(table: str, user_id: str) -> Key:
    return Key(table, user_pk(user_id), "ACCOUNT")


def entry_sk(seq: int) -> str:
    return f"ENTRY#{seq:0{MAX_SEQ_DIGITS}d}"


def seq_of(raw: RawItem) -> int:
    return int(raw["sk"]["S"].removeprefix("ENTRY#"))


def entry_key(table: str, user_id: str, seq: int) -> Key:
    return Key(table, user_pk(user_id), entry_sk(seq))


def run_key(table: str, user_id: str, run_id: str) -> Key:
    return Key(table, user_pk(user_id), f"RUN#{run_id}")


def run_id_in(raw: RawItem) -> str | None:
    """The id in the key of a receipt; None for another item."""
    sk = raw["sk"]["S"]
    return sk.removeprefix("RUN#") if sk.startswith("RUN#") else None


def run_place(raw: RawItem) -> RunPlace:
    """A place in the index by_end, from an item of it or the key at which a page stopped."""
    return RunPlace(ended_at=raw["ended_at"]["S"], key=raw["sk"]["S"])


def index_key(user_id: str, place: RunPlace) -> RawItem:
    """The key of a place in the index by_end."""
    return {**Key("", user_pk(user_id), place.key).raw, "ended_at": {"S": place.ended_at}}


def change_key(table: str, user_id: str, business_key: str) -> Key:
    return Key(table, user_pk(user_id), f"KEY#{business_key}")


def notice_key(table: str, user_id: str, notice: str) -> Key:
    return Key(table, user_pk(user_id), f"NOTICE#{notice}")


def purchase_key(table: str, user_id: str, purchase_id: str) -> Key:
    return Key(table, user_pk(user_id), f"PURCHASE#{purchase_id}")


def invoice_key(table: str, user_id: str, invoice_id: str) -> Key:
    return Key(table, user_pk(user_id), f"INVOICE#{invoice_id}")


def customer_key(table: str, user_id: str, *, live: bool) -> Key:
    return Key(table, user_pk(user_id), "CUSTOMER#live" if live else "CUSTOMER#test")


def subscription_key(table: str, user_id: str) -> Key:
    return Key(table, user_pk(user_id), "SUBSCRIPTION")


def erasure_key(table: str, user_id: str) -> Key:
    return Key(table, user_pk(user_id), "ERASURE")


def payment_pointer(table: str, payment_id: str) -> Key:
    return Key(table, f"PAYMENT#{payment_id}", "PAYMENT")


def customer_pointer(table: str, customer_id: str) -> Key:
    return Key(table, f"CUSTOMER#{customer_id}", "CUSTOMER")


def event_key(table: str, event_id: str) -> Key:
    return Key(table, f"EVENT#{event_id}", "EVENT")


def walk_key(table: str, task: str, shard: int) -> Key:
    return Key(table, f"WALK#{task}", f"SHARD#{shard_name(shard)}")


def runs_control_key(table: str) -> Key:
    return Key(table, "CONTROL", "RUNS")


def control_change_key(table: str, business_key: str) -> Key:
    return Key(table, "CONTROL", f"KEY#{business_key}")


def guard_key(table: str) -> Key:
    return Key(table, "CONTROL", "GUARD")


def shard_of(user_id: str) -> str:
    """The shard of the sparse indexes that an account is in; the same one always."""
    return shard_name(zlib.crc32(user_id.encode()) % SHARDS)


def shard_name(number: int) -> str:
    return f"{number:02d}"


# --- sessions ---------------------------------------------------------------------------------------------------------


def session_key(table: str, session_id: str) -> Key:
    return Key(table, f"SESSION#{session_id}", "SESSION")


def prompt_key(table: str, session_id: str) -> Key:
    return Key(table, session_key(table, session_id).pk, "PROMPT")


def turn_sk(number: int) -> str:
    return f"TURN#{number:06d}"


def turn_number(raw: RawItem) -> int:
    return int(raw["sk"]["S"].removeprefix("TURN#"))


def turn_key(table: str, session_id: str, number: int) -> Key:
    return Key(table, session_key(table, session_id).pk, turn_sk(number))


def feedback_key(table: str, session_id: str, run_id: str) -> Key:
    return Key(table, session_key(table, session_id).pk, f"FEEDBACK#{run_id}")


def report_key(table: str, session_id: str, reporter: str) -> Key:
    return Key(table, session_key(table, session_id).pk, f"REPORT#{reporter}")


def live_pk(run_id: str) -> str:
    return f"LIVE#{run_id}"


def checkpoint_key(table: str, run_id: str, nonce: str, end: int) -> Key:
    return Key(table, live_pk(run_id), f"{nonce}#{end:09d}")


def outcome_key(table: str, run_id: str, nonce: str) -> Key:
    return Key(table, live_pk(run_id), f"{nonce}#OUTCOME")


def share_key(table: str, share_id: str) -> Key:
    return Key(table, f"SHARE#{share_id}", "SHARE")


def counter_key(table: str, share_id: str, number: int) -> Key:
    return Key(table, share_key(table, share_id).pk, f"COUNT#{number:02d}")


def view_key(table: str, share_id: str, viewer: str) -> Key:
    return Key(table, share_key(table, share_id).pk, f"VIEW#{viewer}")


def vote_key(table: str, share_id: str, viewer: str) -> Key:
    return Key(table, share_key(table, share_id).pk, f"VOTE#{viewer}")


# --- catalog ----------------------------------------------------------------------------------------------------------


def head_key(table: str, uuid: str) -> Key:
    return Key(table, f"PACKAGE#{uuid}", "HEAD")


def version_key(table: str, uuid: str, version: str) -> Key:
    return Key(table, f"PACKAGE#{uuid}", f"VERSION#{version}")


def order_key(table: str, uuid: str, order: str) -> Key:
    return Key(table, f"PACKAGE#{uuid}", f"ORDER#{order}")


def listing_key(table: str, name: str) -> Key:
    return Key(table, LISTINGS, name)


# --- visitors ---------------------------------------------------------------------------------------------------------


def budget_key(table: str, day: str) -> Key:
    return Key(table, f"BUDGET#{day}", "BUDGET")


def visitor_key(table: str, day: str, visitor: str) -> Key:
    return Key(table, f"VISITOR#{day}#{visitor}", "VISITOR")


# --- spend ------------------------------------------------------------------------------------------------------------

TOTAL_SHARDS = 8
PACKAGE_SHARDS = 16
RATING_SHARDS = 8
NO_PACKAGE = "-"  # in the key of a row whose package is not on record


def counted_key(table: str, run_id: str) -> Key:
    return Key(table, f"RUN#{run_id}", "COUNTED")


def total_pk(shard: int) -> str:
    return f"TOTAL#{shard_name(shard)}"


def total_shard(run_id: str) -> int:
    """The part of the totals to which a transaction adds whose first run this is."""
    return zlib.crc32(run_id.encode()) % TOTAL_SHARDS


def total_key(table: str, shard: int, day: date, model: str | None = None) -> Key:
    return Key(table, total_pk(shard), day_sk(day) if model is None else f"{day_sk(day)}#{model}")


def day_sk(day: date) -> str:
    return f"DAY#{day.isoformat()}"


def spender_key(table: str, user_id: str) -> Key:
    return Key(table, user_pk(user_id), "TOTAL")


def has_run_key(table: str, user_id: str, package: str) -> Key:
    return Key(table, user_pk(user_id), f"PACKAGE#{package}")


def user_day_key(table: str, user_id: str, day: date, package: str | None, model: str) -> Key:
    return Key(table, user_pk(user_id), user_day_sk(day, package, model))


def user_day_sk(day: date, package: str | None, model: str) -> str:
    return f"{day_sk(day)}#{package or NO_PACKAGE}#{model}"


def package_pk(package: str) -> str:
    return f"PACKAGE#{package}"


def package_day_key(table: str, package: str, day: date, model: str) -> Key:
    return Key(table, package_pk(package), f"{day_sk(day)}#{model}")


def package_total_key(table: str, package: str) -> Key:
    return Key(table, packages_pk(zlib.crc32(package.encode()) % PACKAGE_SHARDS), package)


def ratings_pk(package: str) -> str:
    return f"RATINGS#{package}"


def ratings_key(table: str, package: str, shard: int) -> Key:
    return Key(table, ratings_pk(package), shard_name(shard))


def packages_pk(shard: int) -> str:
    return f"PACKAGES#{shard_name(shard)}"
