"""What the commands of the Makefile have in common: how they are called, and what may be given to them."""

import argparse
from datetime import UTC, datetime

from playground.domain.users import MAX_USER_ID, is_user_id


def command(target: str, usage: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of what `make target` runs. `usage`: the variables that the target takes."""
    takes = f"make {target} {usage}".strip()
    return argparse.ArgumentParser(
        prog=f"make {target}",
        usage=f'{takes} [ARGS="..."]\n\nThe variables stand for the arguments below; ARGS takes any of them.',
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def user_id(text: str) -> str:
    """What the subject of a token may be: whoever is somebody else could never see the account."""
    if not is_user_id(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is nobody: a user has a name (USER=alice) of 1 to {MAX_USER_ID} printable characters"
        )
    return text


def given(text: str) -> str:
    """A text that must not be blank if it is given at all: a script with an unset variable must not go on without."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"it is given and empty ({text!r}): give a value, or leave it away")
    return text


def number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def moment(text: str) -> datetime:
    """A time, or a day for its first moment, in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: a day such as 2027-12-31, or 2027-12-31T12:00:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def full_time(text: str) -> str:
    """A time with its zone, as the events of schedules have it."""
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no full time: 2027-01-31T00:00:00Z")
    return text
