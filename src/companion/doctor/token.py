"""Whether there is a token for the hub. It is never printed, not even a part of it."""

import os
from pathlib import Path

from companion.hub import endpoint, token_place
from companion.hub.environment import on_colab

from .finding import Finding, good, warning
from .storage import short


def check_token() -> list[Finding]:
    """Look where the hub's library finds it."""
    place = token_place()
    if place is None:
        secret = "; a Colab secret HF_TOKEN would be found too" if on_colab() else ""
        return [good("Token", f"no; the book's models need none{secret}")]
    if place in os.environ:
        return [_judge(os.environ[place].strip(), place)]
    path = Path(place)
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        return [
            warning(
                "Token", f"{short(path)} cannot be read ({type(error).__name__})", "hf auth login"
            )
        ]
    if os.name == "posix" and path.stat().st_mode & 0o077:
        text = f"yes, in {short(path)}, which others on this machine can read"
        return [warning("Token", text, f"chmod 600 {short(path)}")]
    return [_judge(value, short(path))]


def _judge(value: str, where: str) -> Finding:
    if not value.isascii() or not value.replace("_", "").isalnum():
        text = f"yes, in {where}, but it is empty or has characters that no token has"
        return warning("Token", text, "copy it anew from https://huggingface.co/settings/tokens")
    try:
        chosen = endpoint()
    except ValueError:
        chosen = endpoint("official")  # the line on variables says what is wrong
    implicit = os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper()
    if not chosen.official and implicit not in ("1", "ON", "YES", "TRUE"):
        text = f"yes, in {where}, and every request takes it to {chosen.host}, not to Hugging Face"
        return warning("Token", text, "export HF_HUB_DISABLE_IMPLICIT_TOKEN=1")
    return good("Token", f"yes, in {where} (not shown)")
