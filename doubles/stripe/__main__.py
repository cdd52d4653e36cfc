"""Runs the double in the foreground: `python -m doubles.stripe`."""

import argparse
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from doubles.stripe.server import StripeDouble
from doubles.stripe.wire import ApiError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 1 if the port is taken."""
    parser = argparse.ArgumentParser(
        prog="python -m doubles.stripe",
        description="A stateful stand-in for Stripe on 127.0.0.1. Any key sk_test_... or sk_live_... is good.",
        epilog="GET /_control lists what else it can do: pay, dispute, let time pass, be out of order.",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    parser.add_argument("--state-dir", type=Path, help="folder to keep the account in (default: it is forgotten)")
    parser.add_argument("--endpoint", metavar="URL", help="where to send events; more with POST /_control/endpoint")
    parser.add_argument("--secret-file", type=Path, help="file with the secret that signs them (default: made up)")
    parser.add_argument("--verbose", action="store_true", help="print one line per call on stderr, never its content")
    options = parser.parse_args(arguments)
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before the first thread, so that only sigwait receives them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        return serve(options, ends)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(options: argparse.Namespace, ends: Collection[signal.Signals]) -> int:
    try:
        secret = options.secret_file.read_text(encoding="utf-8").strip() if options.secret_file else None
        double = StripeDouble(
            options.port,
            background=True,
            endpoints=[(options.endpoint, secret)] if options.endpoint else [],
            state_dir=options.state_dir,
            verbose=options.verbose,
        ).start()
        double.control("portal")  # what an operator does once, in the dashboard
    except (ApiError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    print(f"listening on {double.url}", flush=True)
    signal.sigwait(ends)
    double.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
