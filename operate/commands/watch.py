"""`playground watch`: the metrics of the stack on this machine, as a table that refreshes."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from local.metric_file import read_samples
from local.running import NoStackError, running
from operate.errors import CannotDoError
from operate.helptext import more_help
from operate.options import in_json, show
from operate.watching import View
from playground.adapters.prices import load_prices

MAX_MINUTES = 24 * 60
# Control sequences: a screen of its own without a cursor, and back; to its top left; the rest of a line, of the screen.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
TOP, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command(
    "watch",
    epilog=more_help(
        {
            "What is shown": "The last minute, and the last MINUTES. Runs, credits and cost come from receipts, a few "
            "seconds after a run has ended. Success leaves out runs that were declined: refused by the model, "
            "cancelled, or without room for text. Margin is what charged credits bring in at the price of the "
            "cheapest pack, less what Claude billed. A deployed stack has all of this on its CloudWatch dashboard.",
        },
        statuses={0: "shown", 1: None, 4: None},
        examples=["./playground watch", "./playground watch --minutes 60 --once", "./playground watch --json"],
    ),
)
@click.option("--minutes", type=click.IntRange(2, MAX_MINUTES), default=15, show_default=True, help="The long window.")
@click.option("--every", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print one table and end. So does an output that is no terminal.")
@in_json
def command(minutes: int, every: float, once: bool, as_json: bool) -> None:
    """Watch runs, credits, cost, refusals and payments of the stack on this machine. Ctrl-C ends it."""
    try:
        state = running()
    except NoStackError as error:
        raise CannotDoError(str(error)) from None
    folder, value = Path(state["state_dir"]), int(load_prices().credit_value_nano)

    def look() -> View:
        return View.of(read_samples(folder), now=time.time(), minutes=minutes, credit_value_nano=value)

    title = f"playground at {state['url']}"
    if once or as_json or not sys.stdout.isatty():
        view = look()
        show(view.document(), "\n".join(view.lines(title)), as_json=as_json)
        return
    with _screen():
        while True:
            draw(look().lines(title))
            time.sleep(every)


@contextmanager
def _screen() -> Iterator[None]:
    """Ctrl-C ends what is done here, and the terminal is as it was."""
    click.echo(ENTER, nl=False, color=True)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        click.echo(LEAVE, nl=False, color=True)


def draw(lines: list[str]) -> None:
    """Over what is there, in one write, so that nothing flickers. No more lines than the terminal has."""
    rows = shutil.get_terminal_size((80, 24)).lines
    click.echo(
        TOP + "\n".join(f"{line}{END_OF_LINE}" for line in lines[: rows - 1]) + END_OF_SCREEN, nl=False, color=True
    )
