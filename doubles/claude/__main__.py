"""`python -m doubles.claude --help`."""

import sys

from doubles.claude.server import main

if __name__ == "__main__":
    sys.exit(main())
