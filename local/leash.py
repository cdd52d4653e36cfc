"""Runs a module or a script that ends as soon as the process that started it is gone, however that one ended.

    python -P local/leash.py <module | path/to/script.py | path/to/executable> [argument ...]

The parent keeps the other end of our standard input open and never writes to it. When the parent ends, also by
`kill -9`, the kernel closes that end; we read end-of-file and end our whole process group (the parent starts us in
a session of our own): first with SIGTERM, so that the store can save what it has, then with SIGKILL. Unlike a
parent-death signal this works on macOS too, and does not depend on which thread of the parent started us. The program
itself sees an empty standard input. Python runs in this process; an executable file becomes our child, and we end as it
does.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 10
NOT_EXECUTABLE = 126  # the status of a shell that cannot execute a file


def hold(leash: int) -> None:
    """Wait for the end of the leash, then end everything in this session."""
    while os.read(leash, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def end_like(program: str) -> None:
    try:
        status = subprocess.run(sys.argv, check=False).returncode
    except OSError as error:
        print(f"{program}: {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(NOT_EXECUTABLE)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def main() -> None:
    leash = os.dup(0)  # not inheritable: processes that the program starts do not hold it
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    # The thread inherits a mask of all signals: they are for the program, which may wait for them in its own way.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=hold, args=(leash,), name="leash", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    elif os.sep in program:
        end_like(program)
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
