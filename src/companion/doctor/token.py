"""Whether there is a token for the hub. It is never printed, not even a part of it."""

import os
from pathlib import Path

from companion.hub import endpoint
from companion.hub.environment import home, on_colab

from .finding import Finding, good, warning
from .storage import short


def check_token() -> list[Finding]:
    """Find it where the hub library looks for it, in its order."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := os.environ.get(name, "").strip():
            return [_judge(value, name)]
    path = Path(os.environ.get("HF_TOKEN_PATH") or home() / "token")
    try:
        value = path.expanduser().read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        value = ""
    except (OSError, UnicodeError) as error:
        return [warning("Token", f"{short(path)} cannot be read: {error}", "hf auth login")]
    if value:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            text = f"yes, in {short(path)}, which others on this machine can read"
            return [warning("Token", text, f"chmod 600 {short(path)}")]
        return [_judge(value, short(path))]
    secret = "; a Colab secret HF_TOKEN is found too" if on_colab() else ""
    return [good("Token", f"no; the book's models need none{secret}")]


def _judge(value: str, where: str) -> Finding:
    if not value.isascii() or not value.replace("_", "").isalnum():
        text = f"yes, in {where}, but it has characters that no token has"
        return warning("Token", text, "copy it anew from https://huggingface.co/settings/tokens")
    try:
        place = endpoint()
    except ValueError:
        place = endpoint("official")  # the line on variables says what is wrong
    implicit = os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper()
    if not place.official and implicit not in ("1", "ON", "YES", "TRUE"):
        text = f"yes, in {where}, and every request sends it to {place.host}, not to Hugging Face"
        return warning("Token", text, "export HF_HUB_DISABLE_IMPLICIT_TOKEN=1")
    return good("Token", f"yes, in {where} (not shown)")
