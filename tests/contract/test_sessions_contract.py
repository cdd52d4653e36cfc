"""What every `ports.Sessions` and `ports.Shares` fulfil: the ones in memory and the ones on DynamoDB alike."""

import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from local.engine import Engine
from local.resources import client
from local.template import Description
from playground.adapters.dynamo_feedback import DynamoFeedback
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_shares import DynamoShares
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.dynamo_usage import DynamoUsage
from playground.adapters.texts import TurnTexts
from playground.domain.account import Account, Change, Hold, grant
from playground.domain.entries import EntryType
from playground.domain.errors import CorruptLedgerError, SessionConflictError
from playground.domain.sessions import RunFeedback, Session, SessionCursor
from playground.domain.sharing import Report, Share, Vote, share_id_of
from playground.domain.spend import Ratings
from playground.ports import Amend, Conversation, Feedback, FeedbackAdded, Held, Ledger, Sessions, Shares
from tests.conftest import NOW
from tests.fakes import (
    InMemoryFeedback,
    InMemoryLedger,
    InMemorySessions,
    InMemoryShares,
    a_hold,
    charging,
    conversation,
)
from tests.support import SESSIONS_TABLE, SPEND_TABLE

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class World:
    """A ledger with its sessions and shares."""

    ledger: Ledger
    sessions: Sessions
    shares: Shares
    feedback: Feedback
    ratings_of: Callable[[str], Ratings]

    def converse(self, user_id: str, name: str, *, turns: int = 1, at: datetime = NOW) -> Session:
        """A session with so many turns, as runs make it, the last at `at`."""
        session_id = f"ses_{user_id}_{name}"
        there = self.sessions.find(user_id, session_id)
        for number in range(1 + (there.turns if there else 0), turns + 1):
            self.settle(user_id, session_id, number, at)
        session = self.sessions.find(user_id, session_id)
        assert session is not None
        return session

    def settle(self, user_id: str, session_id: str, number: int, at: datetime = NOW) -> None:
        hold = self.hold(user_id, session_id, number, at)
        account = self.ledger.account(user_id, at)
        self.ledger.settle(
            account, hold, charging(hold, 1, at, turn=number), conversation(user_id, hold, at, turns=number)
        )

    def hold(self, user_id: str, session_id: str, number: int, at: datetime = NOW) -> Hold:
        """A hold for one more turn, and the credit for it."""
        run_id = f"run_{uuid4().hex}"
        self.ledger.change(user_id, _one_more(at, run_id), business_key=run_id, now=at)
        hold = a_hold(run_id, 1, at, session_id=session_id, nonce=f"try_{number}")
        assert isinstance(self.ledger.place_hold(user_id, hold, limit=100, now=at), Held)
        return hold

    def share(self, session: Session, token: str) -> Share:
        share = a_share(session, token)
        assert self.shares.create(session, share, "nonce")
        return share


def _one_more(at: datetime, key: str) -> Amend:
    def amend(account: Account) -> Change:
        after, entry = grant(account, 1, type_=EntryType.BONUS, business_key=key, reason="", now=at)
        return after, (entry,)

    return amend


def a_share(session: Session, token: str, *, turns: int | None = None) -> Share:
    return Share(
        share_id=share_id_of(f"{session.session_id}/{token}"),
        session_id=session.session_id,
        user_id=session.user_id,
        package_id=session.package_id,
        package=session.package,
        package_version=session.package_version,
        use_no_prompt=session.use_no_prompt,
        model=session.model,
        title=session.title,
        created_at=session.created_at,
        turns=session.turns if turns is None else turns,
        shared_at=NOW,
    )


@pytest.fixture(params=["memory", "dynamo"])
def world(
    request: pytest.FixtureRequest,
    engine: Engine,
    description: Description,
    store: DynamoStore,
    ledger: DynamoLedger,
) -> Iterator[World]:
    if request.param == "memory":
        sessions = InMemorySessions()
        in_memory = InMemoryFeedback(sessions)
        yield World(InMemoryLedger(sessions), sessions, InMemoryShares(sessions), in_memory, in_memory.ratings_of)
        return
    s3 = client("s3", engine.endpoint_url)
    texts = TurnTexts(lambda: s3, description.buckets["ContentBucket"].name)
    yield World(
        ledger,
        DynamoSessions(store, SESSIONS_TABLE, texts),
        DynamoShares(store, SESSIONS_TABLE),
        DynamoFeedback(store, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE),
        DynamoUsage(store, SPEND_TABLE).ratings_of,
    )
    s3.close()


def gone(world: World, session: Session) -> bool:
    """Nothing is left of it, for nobody."""
    while world.sessions.remove_some(session.session_id):
        pass
    return world.sessions.find(session.user_id, session.session_id) is None and not world.sessions.turns(
        session.session_id
    )


def listed(world: World, user_id: str) -> Sequence[str]:
    found, after, _ = world.sessions.listed(user_id, after=None, limit=100)
    assert after is None
    return [session.session_id for session in found]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_session_is_its_owners_only(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=2)
    assert (session.turns, session.user_id) == (2, user_id)
    assert world.sessions.find(f"{user_id}-other", session.session_id) is None
    assert world.sessions.deleted(user_id, session.session_id) is None
    assert world.sessions.find(user_id, "ses_none") is None


@pytest.mark.parametrize("newest_first", [False, True])
def test_walk_gives_the_turns_between_two_in_order(world: World, user_id: str, newest_first: bool) -> None:
    session = world.converse(user_id, "a", turns=30)
    numbers = [
        turn.number for turn in world.sessions.walk(session.session_id, first=2, last=29, newest_first=newest_first)
    ]
    assert numbers == sorted(range(2, 30), reverse=newest_first)
    assert not list(world.sessions.walk(session.session_id, first=31, last=40))
    assert not list(world.sessions.walk(session.session_id, first=5, last=4))


def test_the_newest_activity_is_listed_first(world: World, user_id: str) -> None:
    one, two, three = (
        world.converse(user_id, name, at=NOW + number * SECOND) for number, name in enumerate(("a", "b", "c"))
    )
    world.converse(f"{user_id}-other", "x")
    assert listed(world, user_id) == [three.session_id, two.session_id, one.session_id]
    world.converse(user_id, "a", turns=2, at=NOW + 9 * SECOND)
    assert listed(world, user_id) == [one.session_id, three.session_id, two.session_id]


def test_pages_join_without_gap_or_repetition_while_others_become_active(world: World, user_id: str) -> None:
    for number in range(7):
        world.converse(user_id, f"{number}", at=NOW + number * SECOND)
    seen: list[str] = []
    after: SessionCursor | None = None
    for page in range(10):
        found, after, _ = world.sessions.listed(user_id, after=after, limit=2)
        seen += [session.session_id.rpartition("_")[2] for session in found]
        if page == 0:  # one that was listed, one that was not, and a new one
            for name, turns in (("6", 2), ("2", 2), ("new", 1)):
                world.converse(user_id, name, turns=turns, at=NOW + 60 * SECOND)
        if after is None:
            break
    assert seen == ["6", "5", "4", "3", "1", "0"]


def test_sessions_of_one_moment_are_listed_once_each(world: World, user_id: str) -> None:
    for number in range(5):
        world.converse(user_id, f"{number}")
    seen, after = [], None
    for _ in range(5):
        found, after, _ = world.sessions.listed(user_id, after=after, limit=1)
        seen += [session.session_id for session in found]
    assert len(set(seen)) == 5


# --- texts that are too large -----------------------------------------------------------------------------------------


def test_small_texts_are_kept_nowhere_else(world: World, user_id: str) -> None:
    turn = conversation(user_id, a_hold("run_1", 1, NOW), NOW).turn
    assert world.sessions.store_texts("ses_1", replace(turn, answer="again and again " * 50_000), nonce="n") is None


def test_what_was_kept_can_be_discarded(world: World, user_id: str) -> None:
    turn = replace(conversation(user_id, a_hold("run_1", 1, NOW), NOW).turn, answer=noise(800_000))
    kept = world.sessions.store_texts(f"ses_{user_id}", turn, nonce="n")
    assert kept is not None
    world.sessions.discard(kept)
    world.sessions.discard(kept)


def noise(length: int) -> str:
    return "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=length))


def test_a_turn_whose_texts_are_kept_elsewhere_reads_like_any_other(world: World, user_id: str) -> None:
    """Two megabytes that can hardly be compressed; deleting the session removes the object, too."""
    session_id = f"ses_{uuid4().hex}"
    hold = world.hold(user_id, session_id, 1)
    about = conversation(user_id, hold, NOW)
    turn = replace(about.turn, answer=noise(2_000_000))
    kept = world.sessions.store_texts(session_id, turn, nonce=hold.nonce)
    assert kept is not None
    account = world.ledger.account(user_id, NOW)
    world.ledger.settle(account, hold, charging(hold, 1, NOW), Conversation(about.session, turn, kept))
    assert world.sessions.turn(session_id, 1) == turn
    assert world.sessions.turns(session_id) == [turn]
    session = world.sessions.find(user_id, session_id)
    assert session is not None
    if isinstance(world.sessions, DynamoSessions):
        world.sessions._bucket.delete(kept)
        damaged = replace(turn, input="", answer="", input_tokens=0, output_tokens=0, unreadable=True)
        assert world.sessions.turn(session_id, 1) == damaged
        assert world.sessions.turns(session_id) == [damaged]
    world.sessions.mark_deleted(session, NOW)
    assert world.sessions.turn(session_id, 1) is None
    if isinstance(world.sessions, DynamoSessions):
        assert world.sessions.turns(session_id) == []  # whoever was reading it finds that it ends
    assert gone(world, session)


def test_deleting_removes_the_texts_that_are_kept_elsewhere(world: World, user_id: str) -> None:
    session_id = f"ses_{uuid4().hex}"
    hold = world.hold(user_id, session_id, 1)
    about = conversation(user_id, hold, NOW)
    turn = replace(about.turn, answer=noise(2_000_000))
    kept = world.sessions.store_texts(session_id, turn, nonce=hold.nonce)
    assert kept is not None
    account = world.ledger.account(user_id, NOW)
    world.ledger.settle(account, hold, charging(hold, 1, NOW), Conversation(about.session, turn, kept))
    session = world.sessions.find(user_id, session_id)
    assert session is not None
    world.sessions.mark_deleted(session, NOW)
    assert gone(world, session)
    if isinstance(world.sessions, DynamoSessions):
        with pytest.raises(CorruptLedgerError):
            world.sessions._bucket.get(kept)


# --- delete -----------------------------------------------------------------------------------------------------------


def test_a_deleted_session_is_gone_at_once_and_removed_in_pieces(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=30)
    assert world.sessions.mark_deleted(session, NOW)
    assert world.sessions.find(user_id, session.session_id) is None
    assert world.sessions.turn(session.session_id, 1) is None
    assert not listed(world, user_id)
    marked = world.sessions.deleted(user_id, session.session_id)
    assert marked is not None
    assert world.sessions.remove_some(session.session_id)  # more is left
    assert gone(world, session)
    world.sessions.remove_mark(marked)
    assert world.sessions.deleted(user_id, session.session_id) is None


def test_what_is_being_removed_takes_no_room_in_the_list(world: World, user_id: str) -> None:
    rest = world.converse(user_id, "a")
    world.sessions.mark_deleted(world.converse(user_id, "b", at=NOW + SECOND), NOW + SECOND)
    found, *_ = world.sessions.listed(user_id, after=None, limit=1)
    assert [session.session_id for session in found] == [rest.session_id]


def test_deleting_twice_is_refused_the_second_time(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    assert world.sessions.mark_deleted(session, NOW)
    assert not world.sessions.mark_deleted(session, NOW + SECOND)
    assert not world.sessions.mark_deleted(replace(session, user_id="another"), NOW)


def test_deleting_a_foreign_session_changes_nothing(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    assert not world.sessions.mark_deleted(replace(session, user_id="another"), NOW)
    assert world.sessions.find(user_id, session.session_id) == session


@pytest.mark.parametrize("removed", [False, True])
def test_a_run_cannot_bring_a_deleted_session_back(world: World, user_id: str, removed: bool) -> None:
    session = world.converse(user_id, "a", turns=2)
    hold = world.hold(user_id, session.session_id, 3)
    world.sessions.mark_deleted(session, NOW)
    if removed:
        assert gone(world, session)
        marked = world.sessions.deleted(user_id, session.session_id)
        assert marked is not None
        world.sessions.remove_mark(marked)
    account = world.ledger.account(user_id, NOW)
    with pytest.raises(SessionConflictError):
        world.ledger.settle(account, hold, charging(hold, 1, NOW, turn=3), conversation(user_id, hold, NOW, turns=3))
    assert world.sessions.find(user_id, session.session_id) is None
    assert world.sessions.turn(session.session_id, 3) is None
    assert hold.run_id in world.ledger.account(user_id, NOW).holds  # for whoever settles to release


def test_leftovers_are_found_when_they_are_old_enough(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    world.converse(user_id, "b")
    world.sessions.mark_deleted(session, NOW)
    assert not world.sessions.leftovers(user_id, before=NOW, limit=5)
    found = world.sessions.leftovers(user_id, before=NOW + SECOND, limit=5)
    assert [session.session_id for session in found] == [session.session_id]
    assert not world.sessions.leftovers(f"{user_id}-other", before=NOW + SECOND, limit=5)


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_feedback_is_for_a_session_that_is_there(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    feedback = RunFeedback(run_id="run_1", rating=4, is_helpful=None, comment="Fine.", given_at=NOW)
    assert world.feedback.put(user_id, session.session_id, feedback, "@acme/tidy")
    assert not world.feedback.put(f"{user_id}-other", session.session_id, feedback, "@acme/tidy")
    world.sessions.mark_deleted(session, NOW)
    assert not world.feedback.put(user_id, session.session_id, feedback, "@acme/tidy")


def test_ratings_of_a_package_are_the_latest_opinions_on_its_runs(world: World, user_id: str) -> None:
    session, package = world.converse(user_id, "a"), f"@{user_id}/tidy"
    chance = random.Random(5)
    latest: dict[str, tuple[int | None, bool | None]] = {}
    for number in range(40):
        run_id = f"run_{user_id}_{chance.randrange(9)}"
        rating, is_helpful = chance.choice([None, 1, 3, 5]), chance.choice([None, True, False])
        latest[run_id] = rating, is_helpful
        feedback = RunFeedback(
            run_id=run_id, rating=rating, is_helpful=is_helpful, comment=f"{number}", given_at=NOW + number * SECOND
        )
        for _ in range(chance.choice([1, 2])):  # repeated, it changes nothing
            assert world.feedback.put(user_id, session.session_id, feedback, package)
            assert not world.feedback.put(f"{user_id}-other", session.session_id, feedback, package)
        assert world.ratings_of(package) == sum((Ratings.of(*each) for each in latest.values()), Ratings())

    nowhere = RunFeedback(run_id=f"run_{user_id}_old", rating=1, is_helpful=None, comment="", given_at=NOW)
    assert world.feedback.put(user_id, session.session_id, nowhere, None)
    before = world.ratings_of(package)
    world.sessions.mark_deleted(session, NOW + 50 * SECOND)
    assert not world.feedback.put(user_id, session.session_id, nowhere, package)
    assert world.ratings_of(package) == before  # they name nobody, and stay


def test_feedback_that_is_added_replaces_nothing(world: World, user_id: str) -> None:
    session, package = world.converse(user_id, "a"), f"@{user_id}/tidy"
    feedback = RunFeedback(run_id=f"run_{user_id}_1", rating=None, is_helpful=True, comment="Fine.", given_at=NOW)
    other = replace(feedback, is_helpful=False)

    def add(feedback: RunFeedback, user: str = user_id) -> FeedbackAdded:
        return world.feedback.add(user, session.session_id, feedback, package)

    assert add(feedback, f"{user_id}-other") is FeedbackAdded.NO_SESSION
    assert add(feedback) is FeedbackAdded.ADDED
    assert add(other) is FeedbackAdded.EXISTS
    assert add(feedback) is FeedbackAdded.ADDED, "the very same: a reply was lost"
    assert world.ratings_of(package) == Ratings.of(None, True), "counted once"
    assert add(replace(other, run_id=f"run_{user_id}_2")) is FeedbackAdded.ADDED

    rated = replace(feedback, run_id=f"run_{user_id}_3", rating=5)
    assert world.feedback.put(user_id, session.session_id, rated, package)
    assert add(replace(other, run_id=rated.run_id)) is FeedbackAdded.EXISTS
    assert world.feedback.put(user_id, session.session_id, replace(other, rating=1), package), "this one replaces"
    assert world.ratings_of(package) == sum(
        (Ratings.of(5, True), Ratings.of(1, False), Ratings.of(None, False)), Ratings()
    )

    world.sessions.mark_deleted(session, NOW)
    assert add(replace(feedback, run_id=f"run_{user_id}_4")) is FeedbackAdded.NO_SESSION


def test_feedback_is_read_by_its_runs(world: World, user_id: str) -> None:
    """That of the session only, and what was written last."""
    session, other = world.converse(user_id, "a"), world.converse(user_id, "b")
    runs = [f"run_{user_id}_{letter}" for letter in "abcdef"]
    given = {
        run_id: RunFeedback(run_id=run_id, rating=1 + number, is_helpful=None, comment=run_id, given_at=NOW)
        for number, run_id in enumerate(runs[:5])
    }
    for feedback in given.values():
        assert world.feedback.put(user_id, session.session_id, replace(feedback, rating=5), None)
        assert world.feedback.put(user_id, session.session_id, feedback, None)
        assert world.feedback.put(user_id, other.session_id, replace(feedback, rating=None), None)
    assert world.feedback.given(session.session_id, set(runs)) == given
    assert world.feedback.given(session.session_id, [runs[3], runs[1], runs[5]]) == {
        run_id: given[run_id] for run_id in (runs[1], runs[3])
    }
    assert world.feedback.given(session.session_id, []) == {}
    assert world.feedback.given("ses_nowhere", runs) == {}


# --- share ------------------------------------------------------------------------------------------------------------


def test_a_share_is_found_by_its_id_and_its_session_knows_it(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=2)
    share = world.share(session, "t")
    assert world.shares.find(share.share_id) == share
    assert world.shares.find(share_id_of("another")) is None
    link = find(world, session).share
    assert link is not None
    assert (link.share_id, link.turns, link.nonce) == (share.share_id, 2, "nonce")


def find(world: World, session: Session) -> Session:
    found = world.sessions.find(session.user_id, session.session_id)
    assert found is not None
    return found


def test_a_session_has_one_share(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    assert not world.shares.create(session, a_share(session, "u"), "other nonce")
    assert world.shares.create(session, share, "nonce")  # the repeat of a lost reply
    assert world.shares.find(a_share(session, "u").share_id) is None


def test_foreign_and_deleted_sessions_cannot_be_shared(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    assert not world.shares.create(replace(session, user_id="another"), a_share(session, "t"), "nonce")
    world.sessions.mark_deleted(session, NOW)
    assert not world.shares.create(session, a_share(session, "t"), "nonce")
    assert world.shares.find(a_share(session, "t").share_id) is None


def test_the_snapshot_moves_forward_only_and_keeps_its_counters(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=3)
    share = a_share(session, "t", turns=2)
    assert world.shares.create(session, share, "nonce")
    world.shares.count_view(share.share_id, "v", cleanup_at=None)
    session = find(world, session)
    assert world.shares.move(session, replace(share, turns=3, expires_at=NOW + SECOND))
    assert not world.shares.move(session, replace(share, turns=2))
    there = world.shares.find(share.share_id)
    assert there is not None
    assert (there.turns, there.views, there.expires_at) == (3, 1, NOW + SECOND)
    assert world.shares.move(find(world, session), replace(share, turns=3, expires_at=None))
    there = world.shares.find(share.share_id)
    assert there is not None
    assert there.expires_at is None


def test_a_withdrawn_share_is_dead_for_everything(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    world.shares.vote(share.share_id, "v", Vote(is_helpful=True, comment="", given_at=NOW))
    current = world.shares.find(share.share_id)
    assert current is not None
    shared = find(world, session)
    assert world.shares.withdraw(shared, current)
    assert world.shares.find(share.share_id) is None
    after = find(world, session)
    assert (after.share, after.former_shares) == (None, {share.share_id})
    assert not world.shares.withdraw(shared, current)
    assert not world.shares.move(shared, share)
    assert world.shares.count_view(share.share_id, "w", cleanup_at=None)  # of somebody who has just read it
    assert world.shares.find(share.share_id) is None
    assert not world.shares.vote(share.share_id, "w", Vote(is_helpful=True, comment="", given_at=NOW))
    assert not world.shares.report(share, Report(reporter="w", reason="bad", given_at=NOW), hide_at=3)
    assert not world.shares.remove_some(share.share_id)
    world.shares.forget(after, share.share_id)
    assert not find(world, session).former_shares
    assert world.shares.create(find(world, session), a_share(session, "u"), "next nonce")


def test_a_withdrawal_that_missed_a_report_is_refused(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    world.shares.report(share, Report(reporter="w", reason="bad", given_at=NOW), hide_at=3)
    assert not world.shares.withdraw(find(world, session), share)


def test_deleting_kills_the_share_in_the_same_write(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    assert not world.sessions.mark_deleted(session, NOW)  # read before it was shared
    assert world.shares.find(share.share_id) is not None
    assert world.sessions.mark_deleted(find(world, session), NOW)
    assert world.shares.find(share.share_id) is None
    marked = world.sessions.deleted(user_id, session.session_id)
    assert marked is not None
    assert marked.former_shares == {share.share_id}


# --- viewers ----------------------------------------------------------------------------------------------------------


def counters(world: World, share: Share) -> tuple[int, int, int, int]:
    there = world.shares.find(share.share_id)
    assert there is not None
    return there.views, there.helpful, there.not_helpful, there.reports


def test_a_viewer_is_counted_once(world: World, user_id: str) -> None:
    share = world.share(world.converse(user_id, "a"), "t")
    assert world.shares.count_view(share.share_id, "v", cleanup_at=None)
    assert not world.shares.count_view(share.share_id, "v", cleanup_at=None)
    later = datetime(2099, 1, 1, tzinfo=UTC)
    assert world.shares.count_view(share.share_id, "w", cleanup_at=later)
    assert counters(world, share) == (2, 0, 0, 0)


def test_a_vote_can_be_changed_and_counts_once(world: World, user_id: str) -> None:
    share = world.share(world.converse(user_id, "a"), "t")
    seen = []
    for viewer, is_helpful in (("v", True), ("v", True), ("w", False), ("v", False), ("v", True)):
        assert world.shares.vote(share.share_id, viewer, Vote(is_helpful=is_helpful, comment="c", given_at=NOW))
        seen.append(counters(world, share)[1:3])
    assert seen == [(1, 0), (1, 0), (1, 1), (0, 2), (1, 1)]


def test_reports_hide_a_share_once_there_are_enough_different_ones(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    for reporter, hidden in (("a", False), ("a", False), ("b", True)):
        report = Report(reporter=reporter, reason="bad", given_at=NOW)
        assert world.shares.report(share, report, hide_at=2)
        there = world.shares.find(share.share_id)
        assert there is not None
        assert there.hidden is hidden
    assert counters(world, share)[3] == 2
    assert not world.shares.report(share, Report(reporter="c", reason="bad", given_at=NOW), hide_at=2)
    assert not world.shares.vote(share.share_id, "v", Vote(is_helpful=True, comment="", given_at=NOW))


def test_a_new_link_keeps_the_reports_of_the_old_one(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = world.share(session, "t")
    for reporter in ("a", "b"):
        world.shares.report(share, Report(reporter=reporter, reason="bad", given_at=NOW), hide_at=2)
    current = world.shares.find(share.share_id)
    assert current is not None
    assert world.shares.withdraw(find(world, session), current)
    after = find(world, session)
    assert (after.reports, after.hidden) == (2, True)
    assert not world.shares.create(replace(after, hidden=False), a_share(session, "u"), "n")  # decided on an old image
    assert world.shares.create(after, replace(a_share(session, "u"), hidden=True, reports=2), "n")


# --- fork -------------------------------------------------------------------------------------------------------------


def a_fork(session: Session, user_id: str) -> Session:
    return replace(
        session,
        session_id=f"ses_{user_id}_fork",
        user_id=user_id,
        credits=0,
        tokens=0,
        duration_ms=0,
        copied=session.turns,
        forked_from="share",
    )


def test_an_unfinished_fork_cannot_be_read(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=2)
    other = f"{user_id}-other"
    fork = a_fork(session, other)
    marked = replace(fork, deleted_at=NOW, forking=True)
    assert world.sessions.begin_fork(marked)
    assert not world.sessions.begin_fork(replace(marked, title="another"))
    turns = world.sessions.turns(session.session_id)
    for _ in range(2):
        world.sessions.copy(fork.session_id, turns)
        assert world.sessions.find(other, fork.session_id) is None
        assert not listed(world, other)
    assert world.sessions.deleted(other, fork.session_id) == marked
    assert world.sessions.finish_fork(fork)
    assert world.sessions.finish_fork(fork)  # the repeat of a lost reply
    assert world.sessions.find(other, fork.session_id) == fork
    assert listed(world, other) == [fork.session_id]
    assert world.sessions.turns(fork.session_id) == turns


def test_a_fork_goes_on_without_its_original(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=2)
    other = f"{user_id}-other"
    fork = a_fork(session, other)
    world.sessions.begin_fork(replace(fork, deleted_at=NOW, forking=True))
    world.sessions.copy(fork.session_id, world.sessions.turns(session.session_id))
    world.sessions.finish_fork(fork)
    world.sessions.mark_deleted(session, NOW)
    assert gone(world, session)
    world.settle(other, fork.session_id, 3, NOW + SECOND)
    assert [turn.number for turn in world.sessions.turns(fork.session_id)] == [1, 2, 3]
    after = find(world, fork)
    assert (after.turns, after.copied, after.forked_from) == (3, 2, "share")


def test_the_first_own_turn_of_a_fork_brings_its_variables(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a", turns=2)
    fork = a_fork(session, f"{user_id}-other")
    world.sessions.begin_fork(replace(fork, deleted_at=NOW, forking=True))
    world.sessions.copy(fork.session_id, world.sessions.turns(session.session_id))
    world.sessions.finish_fork(fork)
    assert find(world, fork).variables is None
    held = [world.hold(fork.user_id, fork.session_id, number, NOW) for number in (3, 3, 4)]

    def settle(place: int, values: dict[str, str] | None) -> Session:
        hold = held[place]
        account = world.ledger.account(fork.user_id, NOW)
        turns = find(world, fork).turns + 1 if place != 1 else 3
        about = conversation(fork.user_id, hold, NOW, turns=turns)
        summary = replace(about.session, copied=2, variables=values)
        world.ledger.settle(account, hold, charging(hold, 1, NOW), replace(about, session=summary))
        return find(world, fork)

    assert settle(0, {"name": "x"}).variables == {"name": "x"}
    with pytest.raises(SessionConflictError):  # at the same time, with others
        settle(1, {"name": "y"})
    assert find(world, fork).variables == {"name": "x"}
    after = settle(2, {"name": "x"})
    assert (after.turns, after.variables) == (4, {"name": "x"})


def test_variables_are_kept_with_a_session(world: World, user_id: str) -> None:
    for number, values in enumerate(({"name": "wörd", "empty": ""}, {}, None)):
        session_id = f"ses_{user_id}_{number}"
        hold = world.hold(user_id, session_id, 1, NOW)
        about = conversation(user_id, hold, NOW)
        summary = replace(about.session, variables=values)
        world.ledger.settle(
            world.ledger.account(user_id, NOW), hold, charging(hold, 1, NOW), replace(about, session=summary)
        )
        assert world.sessions.find(user_id, session_id) == summary


def test_a_custom_prompt_is_kept_with_its_session_and_goes_with_it(world: World, user_id: str) -> None:
    text = "You are a pirate. ÅÖ 🏴"
    session_id = f"ses_{user_id}"
    hold = world.hold(user_id, session_id, 1, NOW)
    about = conversation(user_id, hold, NOW)
    summary = replace(about.session, package_id=None, package=None, package_version=None)
    begun = replace(about, session=summary, prompt=text)

    world.ledger.settle(world.ledger.account(user_id, NOW), hold, charging(hold, 1, NOW), begun)

    assert world.sessions.find(user_id, session_id) == summary
    assert world.sessions.prompt(session_id) == text
    assert len(world.sessions.turns(session_id)) == 1
    world.settle(user_id, session_id, 2)
    assert world.sessions.prompt(session_id) == text
    there = world.sessions.find(user_id, session_id)
    assert there is not None
    assert (there.turns, there.is_custom) == (2, True)

    assert world.sessions.mark_deleted(there, NOW)
    assert world.sessions.prompt(session_id) is None, "before it is removed"
    while world.sessions.remove_some(session_id):
        pass
    world.sessions.remove_mark(replace(there, deleted_at=NOW))
    assert world.sessions.prompt(session_id) is None


def test_a_session_without_one_has_no_prompt(world: World, user_id: str) -> None:
    assert world.sessions.prompt(world.converse(user_id, "a").session_id) is None
    assert world.sessions.prompt("ses_none") is None


def test_a_share_shows_the_prompt_as_long_as_its_owner_says_so(world: World, user_id: str) -> None:
    session = world.converse(user_id, "a")
    share = replace(a_share(session, "a"), include_prompt=True)
    assert world.shares.create(session, share, "nonce")
    assert world.shares.find(share.share_id) == share
    there = world.sessions.find(user_id, session.session_id)
    assert there is not None
    assert world.shares.move(there, replace(share, include_prompt=False))
    assert world.shares.find(share.share_id) == replace(share, include_prompt=False)
    assert world.shares.move(there, share)
    assert world.shares.find(share.share_id) == share


def test_a_fork_that_was_given_up_cannot_be_finished(world: World, user_id: str) -> None:
    fork = a_fork(world.converse(user_id, "a"), f"{user_id}-other")
    marked = replace(fork, deleted_at=NOW, forking=True)
    world.sessions.begin_fork(marked)
    assert world.sessions.give_up_fork(marked)
    assert not world.sessions.finish_fork(fork)
    assert not world.sessions.give_up_fork(replace(fork, session_id="ses_none"))
    left = world.sessions.deleted(fork.user_id, fork.session_id)
    assert left is not None
    world.sessions.remove_mark(left)
    assert not world.sessions.finish_fork(fork)
