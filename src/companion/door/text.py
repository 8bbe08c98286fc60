"""Texts of others on their way to a terminal or a log: no control codes, no passwords."""

import re
import unicodedata

# They turn the direction of what follows: "gpj.exe" can be made to read "exe.jpg".
DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_CODES = ("Cc", "Cs", "Zl", "Zp")
_USER = re.compile(r"(?<=://)[^/?#\s]*@|(?<![^\s'\"(=])[^/?#\s@:'\"(=]+:[^/?#\s@]*@")


def printable(text: str) -> str:
    """The text with each control code written out, such as \\x1b, and without a line break."""
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode()
        if unicodedata.category(char) in _CODES or char in DIRECTIONS
        else char
        for char in text
    )


def without_password(text: str) -> str:
    """The text with names and passwords taken out of its addresses: http://a:b@host is http://host."""
    return _USER.sub("", text)
