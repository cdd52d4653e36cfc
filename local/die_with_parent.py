"""Runs a module or script that ends when its parent process ends, for any reason.

    python -P local/die_with_parent.py <module | path/to/script.py | path/to/executable> [argument ...]

The parent keeps the other end of our standard input open and never writes to it. When the parent ends, also by
`kill -9`, the kernel closes that end; we read end-of-file and end our whole process group (the parent starts us in
a session of our own): first with SIGTERM, so that the store can save what it has, then with SIGKILL. Unlike a
parent-death signal this works on macOS too, and does not depend on which thread of the parent started us. The program
itself sees an empty standard input.

Python runs in this process. An executable file becomes a child process, and we exit with its status. It is killed
without a grace period, which a web server would use to finish open responses.
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


def end_with_parent(parent_pipe: int, grace_seconds: float) -> None:
    """Wait until the parent's end of the pipe is closed, then end everything in this session."""
    while os.read(parent_pipe, 1):
        pass
    if os.getpgrp() == os.getpid():
        if grace_seconds:
            os.killpg(os.getpid(), signal.SIGTERM)
            time.sleep(grace_seconds)
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def end_like(program: str) -> None:
    """Run an executable file, and end with its status or by its signal."""
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
    parent_pipe = os.dup(0)  # not inheritable by child processes of the program
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    # The thread starts with all signals blocked: the program's main thread receives them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    program = sys.argv[1]
    is_executable = os.sep in program and not program.endswith(".py")
    grace_seconds = 0 if is_executable else GRACE_SECONDS
    threading.Thread(target=end_with_parent, args=(parent_pipe, grace_seconds), name="parent", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    sys.argv = sys.argv[1:]
    if is_executable:
        end_like(program)
    elif program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
