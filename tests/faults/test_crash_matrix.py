"""A worker dies, or loses the store, at any request of any path that moves credits: the books are right afterwards."""

from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from doubles.claude.server import ClaudeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_keys import account_key
from tests.kit.crash_matrix import ALWAYS, Matrix, Sweeper
from tests.kit.extent import DEV_PART, WHOLE
from tests.kit.money_paths import ASKED, PATHS, Path, Scene, Stage
from tests.kit.transport import Fault, Killed, at
from tests.support import LEDGER_TABLE, claude_calls

ORDINARY = PATHS[0]


@pytest.fixture(scope="module")
def stage(engine: Engine, description: Description, claude: ClaudeDouble) -> Iterator[Stage]:
    with closing(Stage(engine, claude.url)) as stage:
        yield stage


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_whatever_happens_to_a_worker_no_credit_is_lost_or_gained(
    stage: Stage, claude: ClaudeDouble, path: Path
) -> None:
    """Killed before and after each request, replies lost, the store gone, the worker overtaken; the sweeper early, on
    time, late and twice; and a client that asks again until it knows. `python -m tests.kit.crash_matrix` prints it.
    Continuous integration plays all of it, everybody else every sixteenth cell."""
    asked_before, done_before = claude_calls(claude.url)["messages"], _asked(stage)

    matrix = Matrix(stage, path, every=1 if WHOLE else 2 * DEV_PART)
    cells = list(matrix)

    wrong = [str(cell) for cell in cells if cell.wrong]
    assert not wrong, "\n".join(["", *wrong])
    assert claude_calls(claude.url)["messages"] - asked_before == _asked(stage) - done_before
    assert cells
    if WHOLE:
        assert {cell.step for cell in cells if cell.mishap == ALWAYS} == set(matrix.steps)
    held = {cell.sweeper for cell in cells if cell.left.startswith("held")}
    assert held in (set(), set(Sweeper))


def _asked(stage: Stage) -> int:
    return stage.worker.wire.done[ASKED] + stage.other.wire.done[ASKED]


def test_a_worker_that_asks_for_something_after_its_death_is_found_out(stage: Stage) -> None:
    scene, worker = Scene(stage, ORDINARY), stage.worker
    account = account_key(LEDGER_TABLE, scene.user_id)

    def die_and_go_on() -> None:
        with pytest.raises(Killed):
            worker.store.get(account)
        with suppress(AssertionError):
            worker.store.get(account)

    with (
        pytest.raises(AssertionError, match="a dead worker asked for GetItem account"),
        worker.wire.life(at(1, Fault.KILLED_BEFORE)),
    ):
        die_and_go_on()


def test_a_request_older_than_any_invocation_is_refused(stage: Stage) -> None:
    with pytest.raises(AssertionError, match="no live worker"):
        stage.worker.store.get(account_key(LEDGER_TABLE, "nobody"))
