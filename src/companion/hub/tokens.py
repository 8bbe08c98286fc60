"""The reader's token: found where the hub's library finds it, sent to the official host only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from .endpoints import Endpoint
from .environment import home

Token = str | Literal[False]


def token_place() -> str | None:
    """Where a token lies, never the token itself: a variable's name, a path, or None.

    Colab's secrets are not looked at: that would ask the reader for leave.
    """
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return name
    path = Path(os.environ.get("HF_TOKEN_PATH") or home() / "token").expanduser()
    return str(path) if path.is_file() else None


def token_for(place: Endpoint, send_token: bool = False) -> Token:
    """The token to send to an endpoint, or False for none.

    Args:
        place: the endpoint; one that is not official gets none,
        send_token: unless the reader says so.
    """
    if not place.official and not send_token:
        return False
    from huggingface_hub import get_token

    return get_token() or False
