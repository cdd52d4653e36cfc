"""`python -m operate`: see cli.py."""

import sys

from operate.cli import run

if __name__ == "__main__":
    sys.exit(run())
