"""The small grammar of the captions.

caption    := [opening] things ["on a" colour "background"] ["," style "style"]
opening    := "a picture of" | "a photo of"
things     := thing | thing relation thing
relation   := "and" | "next to" | "left of" | "right of" | "above" | "below"
"""

from collections.abc import Sequence

OPENINGS = ("a picture of", "a photo of")
RELATIONS = ("and", "next to", "left of", "right of", "above", "below")

# Of these one says "sushi", not "a sushi".
_UNCOUNTED = {"sushi"}


def with_article(name: str) -> str:
    """An object's name as it stands in a caption: "a cat", "an apple", "sushi"."""
    if name in _UNCOUNTED:
        return name
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def caption(
    things: Sequence[str],
    relation: str | None = None,
    *,
    background: str | None = None,
    style: str | None = None,
    opening: str | None = None,
) -> str:
    """A sentence of the grammar above.

    Args:
        things: one object's name, or two.
        relation: what stands between two objects, one of `RELATIONS`.
        background: a colour's name, or None to leave the background unsaid.
        style: "3d" or "flat", or None to leave the style unsaid.
        opening: words to begin with, as a rule one of `OPENINGS`.

    >>> caption(["rocket", "moon"], "above", background="black", style="3d")
    'a rocket above a moon on a black background, 3d style'
    """
    said = f" {relation} ".join(with_article(thing) for thing in things)
    if opening:
        said = f"{opening} {said}"
    if background:
        said += f" on {with_article(background)} background"
    if style:
        said += f", {style} style"
    return said
