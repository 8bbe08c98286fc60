"""The reader's token: found where the hub's library finds it, sent to the official host only."""

from __future__ import annotations

import os
from typing import Literal

from companion.door import is_file

from .endpoints import Endpoint, find_endpoint
from .environment import expanded, home, is_on, library_constants

Token = str | Literal[False]
IMPLICIT = "HF_HUB_DISABLE_IMPLICIT_TOKEN"


def token_place() -> str | None:
    """Where a token lies, never the token itself: a variable's name, a path, or None.

    "Behind the firewall", "Tokens".

    Colab's secrets are not looked at: that would ask the reader for leave.
    """
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return name
    path = expanded(os.environ.get("HF_TOKEN_PATH") or str(home() / "token"))
    return str(path) if is_file(path) else None


def token_for(endpoint: Endpoint, send_token: bool = False) -> Token:
    """The token to send to an endpoint, or False for none.

    Args:
        endpoint: the endpoint; one that is not official gets none,
        send_token: unless the reader says so; ModelScope never does, where it means nothing.
    """
    if endpoint.protocol != "hub" or not (endpoint.official or send_token):
        return False
    from huggingface_hub import get_token

    try:
        token = get_token()
    except (OSError, UnicodeError):  # a token file that cannot be read: most models need none
        return False
    return token if token and token.isascii() else False  # no header takes another one


def keep_token_home() -> None:
    """See to it that the libraries of this process and its children send no token by themselves to
    an endpoint that is not official.

    They would: huggingface_hub sends it to whatever HF_ENDPOINT names. A reader who wants that sets
    HF_HUB_DISABLE_IMPLICIT_TOKEN=0. A token that a program names itself (`token=...`) is sent
    everywhere.
    """
    if may_be_told():
        return
    os.environ[IMPLICIT] = "1"
    if constants := library_constants():
        constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True


def may_be_told() -> bool:
    """Whether the endpoint that the libraries ask may see the reader's token."""
    if os.environ.get(IMPLICIT) and not is_on(IMPLICIT):
        return True  # the reader says so
    constants = library_constants()
    names = [os.environ.get("HF_ENDPOINT"), constants.ENDPOINT if constants else None]
    try:
        return all(find_endpoint(name).official for name in names)
    except ValueError:
        return False
