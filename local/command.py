"""Argument parsers for the commands of the laptop stack, which make calls with environment variables."""

import argparse


def command(target: str, usage: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command behind `make target`. `usage`: the variables that the target takes."""
    return argparse.ArgumentParser(
        prog=f"make {target}",
        usage=f"make {target} {usage}".strip(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
