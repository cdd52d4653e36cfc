"""Paging, ordering and snapshots, for any history of one user's sessions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from playground.domain.errors import SessionNotFoundError, ShareNotFoundError
from playground.domain.sessions import Turn
from playground.domain.sharing import ShareKeys
from playground.schemas.common import messages
from playground.usecases.browse_sessions import MAX_BYTES, MESSAGE_BYTES, ListSessions, ReadSession, window
from playground.usecases.delete_session import DeleteSession
from playground.usecases.share_session import ShareSession, UnshareSession
from playground.usecases.visit_share import ForkShared, ReadShared
from tests.conftest import NOW
from tests.fakes import (
    CountingNewId,
    FrozenClock,
    InMemoryFeedback,
    InMemorySessions,
    InMemoryShares,
    PlantedLeaks,
    a_hold,
    conversation,
)
from tests.handlers import payload_bytes

USER = "owner"


class World:
    """Sessions and shares with a clock that goes back and forth a little, as those of several workers do."""

    def __init__(self) -> None:
        self.clock = FrozenClock(NOW)
        self.sessions = InMemorySessions()
        self.shares = InMemoryShares(self.sessions)
        self.ids = CountingNewId()
        keys = ShareKeys(["a secret of the tests, 32 bytes at least"])
        self.list = ListSessions(sessions=self.sessions, clock=self.clock)
        self.read = ReadSession(
            sessions=self.sessions, shares=self.shares, feedback=InMemoryFeedback(self.sessions), keys=keys
        )
        self.delete = DeleteSession(sessions=self.sessions, shares=self.shares, clock=self.clock)
        self.share = ShareSession(
            sessions=self.sessions,
            shares=self.shares,
            keys=keys,
            leaks=PlantedLeaks(),
            clock=self.clock,
            new_nonce=lambda: self.ids("shr"),
        )
        self.unshare = UnshareSession(sessions=self.sessions, shares=self.shares, clock=self.clock)
        self.look = ReadShared(sessions=self.sessions, shares=self.shares, keys=keys, clock=self.clock)
        self.fork = ForkShared(sessions=self.sessions, shares=self.shares, clock=self.clock, new_id=self.ids)

    def run(self, name: str, *, after: timedelta = timedelta(seconds=1)) -> None:
        """One more turn, by a worker whose clock says so much more (or less) than the last one."""
        self.clock.move(after)
        there = self.sessions.find(USER, name)
        at = max(self.clock.now, there.updated_at) if there is not None else self.clock.now
        hold = a_hold("run", 1, at, session_id=name)
        said = conversation(USER, hold, at, turns=there.turns + 1 if there is not None else 1)
        self.sessions.add(replace(said, turn=replace(said.turn, credits=1, stop_reason="end_turn")))


NAMES = [f"ses_{letter}" for letter in "abcdefgh"]
names = st.sampled_from(NAMES)
moves = st.sampled_from([timedelta(seconds=seconds) for seconds in (-600, -1, 0, 1, 60)])


@example(
    # One worker's clock is ahead of the one that lists: what it made is not taken for something new.
    history=[
        ("ses_a", timedelta()),
        ("ses_b", timedelta(seconds=60)),
        ("ses_a", timedelta(seconds=60)),
        ("ses_c", timedelta(seconds=-600)),
    ],
    meanwhile=[],
    limit=1,
)
@given(
    history=st.lists(st.tuples(names, moves), min_size=1, max_size=30),
    meanwhile=st.lists(st.lists(st.tuples(names, moves), max_size=3), max_size=10),
    limit=st.integers(1, 4),
)
def test_pages_have_every_untouched_session_once_and_none_twice(
    history: list[tuple[str, timedelta]], meanwhile: list[list[tuple[str, timedelta]]], limit: int
) -> None:
    world = World()
    for name, after in history:
        world.run(name, after=after)
    before = {session.session_id: session for session in world.sessions.summaries.values()}
    expected = sorted(before, key=lambda name: (before[name].updated_at, name), reverse=True)
    seen: list[str] = []
    touched: set[str] = set()
    page = world.list(USER, limit=limit)
    for number in range(len(NAMES) + 1):
        assert len(page.sessions) <= limit
        seen += [session.session_id for session in page.sessions]
        if page.following is None:
            break
        for name, after in meanwhile[number] if number < len(meanwhile) else ():
            world.run(name, after=after)
            touched.add(name)
        page = world.list(USER, limit=limit, after=page.following, began=page.began)
    assert page.following is None
    assert len(seen) == len(set(seen))
    untouched = [name for name in expected if name not in touched]
    assert [name for name in seen if name in untouched] == untouched
    if not touched:
        assert seen == expected


actions = st.lists(st.sampled_from(["run", "share", "unshare", "look", "fork", "delete"]), max_size=25)


@given(actions)
def test_a_link_shows_what_was_shared_last_and_nothing_after_it_was_withdrawn(actions: list[str]) -> None:
    """Against a model of three lines: how many turns there are, how many are shared, and which links are dead."""
    world = World()
    turns, shared, token = 0, 0, ""
    dead: set[str] = set()
    for action in actions:
        alive = turns > 0
        match action:
            case "run":
                world.run("ses_a")
                turns += 1
            case "share" if alive:
                again = world.share(USER, "ses_a", expires_in=None, acknowledge_findings=False).token
                assert again not in dead
                assert not shared or again == token
                token, shared = again, turns
            case "unshare" if alive:
                world.unshare(USER, "ses_a", seconds_left=29)
                dead |= {token} if shared else set()
                shared = 0
            case "delete" if alive:
                world.delete(USER, "ses_a", seconds_left=29)
                dead |= {token} if shared else set()
                turns = shared = 0
            case "fork" if shared:
                fork = world.fork("another", token, idempotency_key=None, seconds_left=29)
                copied = world.sessions.turns(fork.session_id)
                assert [turn.number for turn in copied] == list(range(1, shared + 1))
                assert {(turn.run_id, turn.credits, turn.stop_reason) for turn in copied} == {("copied", None, None)}
            case _:
                pass
        if shared:
            view = world.look(token, user_id=None, address="203.0.113.1")
            assert [turn.number for turn in view.turns] == list(range(1, shared + 1))
        for gone in dead:
            try:
                world.look(gone, user_id=None, address="203.0.113.1")
            except ShareNotFoundError:
                continue
            raise AssertionError("a dead link was opened")
        try:
            assert world.read(USER, "ses_a").session.turns == turns
        except SessionNotFoundError:
            assert not turns


@given(sizes=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=12))
def test_pieces_of_a_conversation_join_and_none_is_too_large(sizes: list[int]) -> None:
    hold = a_hold("run", 1, NOW, session_id="ses_a")
    about = conversation(USER, hold, NOW).turn
    turns = [replace(about, number=number, answer="x" * size) for number, size in enumerate(sizes, start=1)]
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        piece, after = window(iter(turns[after:]), last=len(turns))
        assert piece
        assert len(piece) == 1 or sum(len(turn.answer) for turn in piece) < 4_500_000
        seen += [turn.number for turn in piece]
    assert seen == [turn.number for turn in turns]


@given(
    texts=st.lists(
        st.tuples(st.text(alphabet=st.sampled_from('x"\\\n\0é🙂'), min_size=1, max_size=8), st.integers(0, 100_000)),
        min_size=1,
        max_size=10,
    )
)
def test_what_is_counted_of_a_piece_is_what_is_sent(texts: list[tuple[str, int]]) -> None:
    """Whatever the conversation is made of, a function's answer is as large as `window` thinks, or a little less."""
    about = conversation(USER, a_hold("run", 1, NOW, session_id="ses_a"), NOW).turn
    turns = [
        replace(about, number=number, input=text, answer=text * times)
        for number, (text, times) in enumerate(texts, start=1)
    ]
    after: int | None = 0
    while after is not None:
        begun = after
        piece, after = window(iter(turns[begun:]), last=len(turns))
        size = sent(piece)
        assert len(piece) == 1 or size <= MAX_BYTES
        assert after is None or sent(turns[begun : after + 1]) > MAX_BYTES - MESSAGE_BYTES * (len(piece) + 1)


def sent(turns: Sequence[Turn]) -> int:
    """The bytes of an answer with these turns, as the functions and Lambda's runtime make it."""
    conversation = [message.model_dump(mode="json") for turn in turns for message in messages(turn)]
    return payload_bytes({"body": json.dumps(conversation, separators=(",", ":"))})


@given(st.text(), st.text(), st.text(min_size=1), st.text(min_size=1))
def test_tokens_of_different_shares_differ_and_the_same_one_is_derived_again(
    session: str, nonce: str, more: str, other: str
) -> None:
    keys, later = ShareKeys(["x" * 32]), ShareKeys(["y" * 32, "x" * 32])
    token = keys.token(session, nonce)
    assert len(token) == 43
    assert token != keys.token(session + more, nonce)
    assert token != keys.token(session, nonce + other)
    assert (session, nonce) == (session + nonce, "") or token != keys.token(session + nonce, "")
    assert later.token(session, nonce) != token
