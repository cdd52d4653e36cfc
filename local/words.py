"""Splits ARGS into words for a recipe of the Makefile: quotes and backslashes count as in a shell, nothing else."""

import os
import shlex
import sys


def main() -> int:
    text = os.environ.get("ARGS", "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        print(f"ARGS cannot be read ({error}): {text}", file=sys.stderr)
        return 2
    print(shlex.join(["set", "--", *words]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
