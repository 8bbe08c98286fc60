"""Texts of others on their way to a terminal or a log: no control codes, no passwords."""

import re
import unicodedata

# They turn the direction of what follows: "gpj.exe" can be made to read "exe.jpg".
DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control codes, halves of characters, ends of lines and of paragraphs.
_CODES = ("Cc", "Cs", "Zl", "Zp")
# What steers others, marks that stand on others, blanks, what no letter is yet; and letters that
# are blank: fillers of Korean, the empty pattern of Braille.
_UNSEEN = (*_CODES, "Cf", "Mn", "Me", "Zs", "Cn")
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_USER = re.compile(
    # NAME:PASSWORD after "://", with any sign in the password: what is no port is one.
    r"(?<=://)[^/?\s@:]*:(?!\d*([/?#\s]|$))\S*@"
    r"|(?<=://)[^/?\s]*@"  # NAME alone
    r"|(?<![^\s'\"(=])[^/?\s@:'\"(=]+:[^/?\s]*@"  # NAME:PASSWORD without "://"
)


def is_code(char: str) -> bool:
    """Whether a character does something to a terminal or a file's name, in place of being read."""
    return unicodedata.category(char) in _CODES or char in DIRECTIONS


def is_seen(char: str) -> bool:
    """Whether a character shows where it stands alone."""
    return unicodedata.category(char) not in _UNSEEN and char not in _BLANK


def printable(text: str) -> str:
    """The text with each control code written out, such as \\x1b, and without a line break."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode() if is_code(char) else char
        for char in text
    )


def without_password(text: str) -> str:
    """The text with names and passwords taken out of its addresses: http://a:b@host is http://host."""
    return _USER.sub("", text)


def says_yes(text: str) -> bool:
    """Whether a variable, or a query of the hub's API, says yes, as the hub's library reads it."""
    return text.upper() in ("1", "ON", "YES", "TRUE")


def fault_of(error: Exception) -> str:
    """What a library says of a fault, in one short line."""
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    told = printable(lines[0]).rstrip(".") if lines else ""
    return f"{kind}: {told[:300]}{'…' if len(told) > 300 else ''}" if told else kind
