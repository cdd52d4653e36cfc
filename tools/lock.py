"""Write the lock files: `make lock`.

requirements/*.in name what we use, with its version. The locks name that and all that it needs, for every platform and
Python from 3.11 on, each with the SHA-256 of its files, so that pip installs nothing else. A lock that is there keeps
the versions that still fit; --upgrade takes the newest ones of what is not named in an .in file.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {  # in this order: what a later one shares with an earlier one has its versions
    "layer": "layers/shared/requirements.txt",  # where `sam build` looks for it
    "run": "requirements/run.txt",
    "dev": "requirements/dev.txt",
    "engine": "requirements/engine.txt",
    "sam": "requirements/sam.txt",
    "lock": "requirements/lock.txt",
}
CONSTRAINED_BY = {"run": "layer", "dev": "run"}
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-annotate",
    "--no-emit-index-url",
    "--quiet",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions of what is not pinned by us")
    arguments = parser.parse_args()
    for name, lock in LOCKS.items():
        command = ["uv", "pip", "compile", *OPTIONS, "--custom-compile-command=make lock", f"--output-file={lock}"]
        if arguments.upgrade:
            command.append("--upgrade")
        if name in CONSTRAINED_BY:
            command.append(f"--constraint={LOCKS[CONSTRAINED_BY[name]]}")
        print(lock, flush=True)
        status = subprocess.run([*command, f"requirements/{name}.in"], cwd=ROOT, check=False).returncode
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
