"""`playground pause alice --ref abuse-7`: have an account refuse new runs."""

from typing import Any

import click

from operate.helptext import more_help
from operate.options import USER, by_an_operator, dry_run, on_a_stack
from operate.pausing import ONCE, PAUSED, READERS, RIGHTS, order


@click.command(
    "pause",
    epilog=more_help(
        {
            "What it means": PAUSED,
            "All runs": "With --all-runs new runs and estimates of all accounts are refused (503 runs_paused, with "
            "Retry-After). Every instance obeys within 5 seconds. Open runs end as ever.",
            "Once": ONCE,
        },
        rights=RIGHTS,
        statuses={0: "paused, now or before"},
        examples=[
            './playground pause alice --ref abuse-7 --reason "..."',
            "./playground pause alice --dry-run",
            "./playground pause --all-runs --ref incident-7 --stack playground-prod",
        ],
    ),
)
@click.argument("user", type=USER, required=False)
@click.option("--all-runs", is_flag=True, help="The runs of all accounts.")
@by_an_operator("By an operator", READERS)
@dry_run
@on_a_stack
def command(user: str | None, all_runs: bool, **options: Any) -> None:
    """Have the account USER refuse new runs, or with --all-runs all accounts.

    The ledger of USER gets an entry of type admin with the reason, which the user can read."""
    order(user, all_runs, paused=True, **options)
