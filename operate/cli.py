"""The command line of an operator: `./playground COMMAND`, for the stack on this machine or for a deployed one.

A command is a module of `operate.commands`. Only the one that is called is imported, so that help and short commands
answer at once. Whatever a command raises becomes one line on stderr and an exit status of `operate.errors.STATUSES`
here, and nowhere else.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from operate.errors import ABSENT, CANNOT, DONE, REFUSED, STATUSES, CannotDoError, NotThereError, RefusedError, cause
from playground.domain.errors import NotFoundError, PlaygroundError, StoreUnavailableError

STATUS_LINES = "\n".join(f"  {status}  {text}" for status, text in STATUSES.items())


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and its line in the list of commands, which is printed without importing it."""

    module: str
    summary: str


COMMANDS: Mapping[str, Entry] = {
    "user": Entry("user", "Show one user on a page: balance, plan, last runs and entries, purchases."),
    "history": Entry("history", "Show the changes of a user's credits, with model, package and tokens of runs."),
    "usage": Entry("usage", "Show what the runs of a user or of a package came to, by day."),
    "grant": Entry("grant", "Give credits to a user, or to many from a file."),
    "take": Entry("take", "Take credits back; what is missing becomes debt."),
    "undo": Entry("undo", "Take back what was granted under a reference."),
    "pause": Entry("pause", "Have an account refuse new runs."),
    "resume": Entry("resume", "Let a paused account start runs again."),
    "guard": Entry("guard", "Show what Claude costs today and this month; lift or set the ceiling of a day."),
    "watch": Entry("watch", "Watch runs, credits, cost and refusals of the stack on this machine."),
    "plan": Entry("plan", "Begin, prolong or end a plan."),
    "audit": Entry("audit", "Replay the entries of an account, or of all, and say what does not add up."),
    "reconcile": Entry("reconcile", "Compare Stripe with the ledger and make up for lost events."),
    "books": Entry("books", "A month in credits and money: sold, spent, owed, margin, and whether it ties."),
    "doctor": Entry("doctor", "Check what a stack needs to work: secrets, keys, tables, Stripe, models, alarms."),
    "export": Entry("export", "Print everything that is stored about a user, as JSON."),
    "erase": Entry("erase", "Erase a user; the books stay under a pseudonym."),
    "moderate": Entry("moderate", "Decide about shared conversations that were reported."),
    "import": Entry("import_packages", "Put packages into the catalogue."),
    "withdraw": Entry("withdraw", "Take a version or a package out of the catalogue."),
    "reinstate": Entry("reinstate", "Put a withdrawn version or package back."),
    "sweep-texts": Entry("sweep_texts", "Find stored texts that no turn refers to."),
    "token": Entry("token", "Print a token for a user of the stack on this machine."),
    "invoke": Entry("invoke", "Call one function of the stack on this machine."),
    "pay": Entry("pay", "Pay a purchase at the stand-in for Stripe."),
}


class Commands(click.Group):
    """The commands of `COMMANDS`, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"operate.commands.{COMMANDS[cmd_name].module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\
\b
Examples:
  ./playground user alice
  ./playground grant alice 50 --ref ticket-123 --stack playground-prod
  ./playground audit --all --json > audit.json

\b
Exit status:
{STATUS_LINES}
""",
)
def playground() -> None:
    """Operate a playground: the one that `make run` started on this machine (found through STATE_DIR, default .local),
    or, with --stack NAME after the command, a deployed one, found through the outputs of its CloudFormation stack.

    Every command has --help with examples and the rights that it needs, and --json for scripts.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status. Errors are said on stderr in one line."""
    try:
        result: Any = playground.main(
            args=list(arguments) if arguments is not None else None, prog_name="./playground", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and error.option_name[1:].isdecimal():
            click.echo("What begins with a minus is an option. Amounts are above 0: `take` takes back.", err=True)
        return CANNOT
    except click.Abort:
        click.echo("nothing was done", err=True)
        return REFUSED
    except RefusedError as error:
        click.echo(str(error), err=True)
        return REFUSED
    except NotThereError as error:
        click.echo(str(error), err=True)
        return ABSENT
    except (CannotDoError, StoreUnavailableError) as error:
        click.echo(f"{error}{cause(error)}", err=True)
        return CANNOT
    except PlaygroundError as error:
        click.echo(f"{error.message}{cause(error)}", err=True)
        return ABSENT if isinstance(error, NotFoundError) else REFUSED
    except (BotoCoreError, ClientError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter says so once more
            return DONE
        click.echo(f"{type(error).__name__}: {error}", err=True)
        return CANNOT
    return result if isinstance(result, int) else DONE
