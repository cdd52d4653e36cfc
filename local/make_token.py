"""Prints a token for a user of the laptop stack, and nothing else: `make token USER=alice [DAYS=30]`."""

import sys
from datetime import timedelta

from local.settings import TEMPLATE, state_dir
from local.state_file import UnusableFolderError
from local.template import TemplateError
from local.tokens import TokenError, issuer
from operate.command import command, number, user_id

MOST_DAYS = 3650


def main() -> int:
    parser = command(
        "token",
        "USER=... [DAYS=30]",
        "Print a token for a user of the laptop stack. It works whether or not the stack is running.",
    )
    parser.add_argument("user", metavar="USER", type=user_id, help="the user's id, the token's subject")
    parser.add_argument("--days", type=number, default=30, help="how long it is valid (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.days <= MOST_DAYS:
        parser.error(f"days must be from 1 to {MOST_DAYS}, not {arguments.days}")
    try:
        print(issuer(TEMPLATE, state_dir()).token(arguments.user, timedelta(days=arguments.days)))
    except (TokenError, TemplateError, UnusableFolderError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
