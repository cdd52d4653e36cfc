"""API key and webhook secret, shared by the laptop stack and its stand-in for Stripe."""

import contextlib
import os
import secrets
from pathlib import Path

from local.state_file import prepare_state_dir

API_KEY = "sk_test_local"
WEBHOOK_PATH = "/v1/webhooks/stripe/credits"  # below the stage
FILE_NAME = "stripe-webhook-secret"


def webhook_secret_file(state_dir: Path) -> Path:
    """The file with the secret that signs events; created if missing, readable by its owner only."""
    prepare_state_dir(state_dir)
    path = state_dir / FILE_NAME
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(f"whsec_{secrets.token_urlsafe(32)}\n", encoding="utf-8")
        # Two commands may race here: unlike a rename, a link does not replace an existing file.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path


def webhook_secret(state_dir: Path) -> str:
    return webhook_secret_file(state_dir).read_text(encoding="utf-8").strip()
