"""Write the lock files: `make lock`.

requirements/*.in name our direct dependencies with their versions. The locks add all transitive ones, for every
platform and Python from 3.11 on, with the SHA-256 of their files, so that pip installs nothing else. An existing lock
keeps the versions that still fit; --upgrade takes the newest versions of transitive dependencies.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {  # in this order: later locks use the versions of earlier ones
    "layer": "layers/shared/requirements.txt",  # where `sam build` looks for it
    "run": "requirements/run.txt",
    "dev": "requirements/dev.txt",
    "engine": "requirements/engine.txt",
    "sam": "requirements/sam.txt",
    "api": "requirements/api.txt",
    "load": "requirements/load.txt",
    "node": "requirements/node.txt",
    "security": "requirements/security.txt",
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
