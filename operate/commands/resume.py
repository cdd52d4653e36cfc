"""`playground resume alice --ref abuse-7-settled`: let a paused account start runs again."""

from typing import Any

import click

from operate.helptext import more_help
from operate.options import USER, by_an_operator, dry_run, on_a_stack
from operate.pausing import ONCE, PAUSED, READERS, RIGHTS, order


@click.command(
    "resume",
    epilog=more_help(
        {
            "What it means": PAUSED,
            "All runs": "With --all-runs the pause of all runs ends, within 5 seconds. Accounts that are paused "
            "themselves stay paused.",
            "Once": ONCE,
        },
        rights=RIGHTS,
        statuses={0: "resumed, now or before"},
        examples=[
            './playground resume alice --ref abuse-7-settled --reason "..."',
            "./playground resume alice --dry-run",
            "./playground resume --all-runs --ref incident-7 --stack playground-prod",
        ],
    ),
)
@click.argument("user", type=USER, required=False)
@click.option("--all-runs", is_flag=True, help="The runs of all accounts.")
@by_an_operator("By an operator", READERS)
@dry_run
@on_a_stack
def command(user: str | None, all_runs: bool, **options: Any) -> None:
    """Let the paused account USER start runs again, or with --all-runs all accounts.

    The ledger of USER gets an entry of type admin with the reason, which the user can read."""
    order(user, all_runs, paused=False, **options)
