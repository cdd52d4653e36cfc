"""A browser for the tests that need one: `make browser`.

Chromium or Chrome is taken from PATH. Where there is none it is installed: by apt-get as root on Debian and its kin,
otherwise by Playwright into its own folder. tests/browser are skipped where there is none.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_SECONDS = 900


def find_browser() -> Path | None:
    """The program, also the one that Playwright has installed."""
    given = os.environ.get("BROWSER_PATH")
    if given:
        return Path(given)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return Path(found)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.exists() else None


def install() -> int:
    """The status of what installs one."""
    apt = shutil.which("apt-get")
    if apt is not None and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "chromium"]):
            status = subprocess.run([apt, *arguments], env=environment, timeout=INSTALL_SECONDS, check=False).returncode
        return status
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    return subprocess.run(command, timeout=INSTALL_SECONDS, check=False).returncode


def main() -> int:
    found = find_browser()
    if found is None:
        status = install()
        found = find_browser()
        if found is None:
            print("browser: there is none, and none could be installed", file=sys.stderr)
            return status or 1
    print(f"browser: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
