"""Prompts as people give them: texts that a tokenizer can read."""

from __future__ import annotations

from typing import Any

from .numbers import shown

LONGEST = 100_000  # characters; text encoders read 77 tokens of them, or some hundred


def check_text(what: str, value: Any) -> str:
    """A prompt, or a word of one.

    Args:
        what: how the sentence calls it.
        value: what was given.

    Raises:
        ValueError: no text, a very long one, or one of bytes that are no UTF-8.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} is a text, but {type(value).__name__} was given.")
    if len(value) > LONGEST:
        raise ValueError(f"{what} has {len(value):,} characters, more than {LONGEST:,}.")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(
            f"{what} holds bytes that are no UTF-8, {shown(value)}: save the text as UTF-8, or "
            f"type it anew."
        )
    return value
