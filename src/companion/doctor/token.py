"""Whether there is a token for the hub. It is never printed, not even a part of it."""

import os
from pathlib import Path

from companion.hub import find_endpoint, token_place
from companion.hub.environment import is_on, on_colab
from companion.hub.tokens import IMPLICIT

from .finding import Finding, good, warning
from .storage import short


def check_token() -> list[Finding]:
    """Look where the hub's library finds it."""
    where = token_place()
    if where is None:
        secret = "; a Colab secret HF_TOKEN would be found too" if on_colab() else ""
        return [good("Token", f"no; the book's models need none{secret}")]
    if where in os.environ:
        return [_judge(os.environ[where].strip(), where)]
    path = Path(where)
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
        chosen = find_endpoint()
    except ValueError:
        chosen = find_endpoint("official")  # the line on variables says what is wrong
    if not chosen.official and not is_on(IMPLICIT):
        text = f"yes, in {where}, and every request takes it to {chosen.host}, not to Hugging Face"
        return warning("Token", text, f"export {IMPLICIT}=1")
    return good("Token", f"yes, in {where} (not shown)")
