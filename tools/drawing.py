"""What a script of this folder draws with: boxes, texts and arrows, as SVG.

Lengths are in the picture's own units. Numbers are written so that the same drawing always gives
the same bytes.
"""

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]


def number(value: float) -> str:
    """A number as short as it can be written, to a hundredth."""
    return f"{round(value, 2):g}"


def attributes(given: dict[str, object]) -> str:
    """Attributes as SVG writes them; a `_` in a name is its `-`."""
    written = (
        (name.rstrip("_").replace("_", "-"), number(value) if isinstance(value, float) else value)
        for name, value in given.items()
    )
    return "".join(f' {name}="{escape(str(value))}"' for name, value in written)


def box(x: float, y: float, width: float, height: float, **style: object) -> str:
    """A box with its upper left corner."""
    return f"<rect{attributes({'x': x, 'y': y, 'width': width, 'height': height, **style})}/>"


def text(x: float, y: float, words: str, **style: object) -> str:
    """A line of text, whose foot stands at a height."""
    return f"<text{attributes({'x': x, 'y': y, **style})}>{escape(words)}</text>"


def arrow(points: Sequence[Point], colour: str, head: float = 8) -> str:
    """A line along points, with a head at the last.

    The head is drawn and is no `<marker>`, whose name would have to be the only one on a page.
    """
    *before, (x0, y0), (x, y) = points
    length = math.hypot(x - x0, y - y0)
    along, across = (x - x0) / length * head, (y - y0) / length * head
    foot = (x - along, y - across)
    left = (foot[0] - across / 2, foot[1] + along / 2)
    right = (foot[0] + across / 2, foot[1] - along / 2)
    line, tip = (
        " ".join(f"{number(x)},{number(y)}" for x, y in corners)
        for corners in ([*before, (x0, y0), foot], [(x, y), left, right])
    )
    return (
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n'
        f'<polygon points="{tip}" fill="{colour}"/>'
    )


def picture(size: Point, title: str, parts: Sequence[str], **style: object) -> str:
    """The whole, of parts that lie upon each other in their order."""
    view = f"0 0 {number(size[0])} {number(size[1])}"
    opening = attributes({"xmlns": "http://www.w3.org/2000/svg", "viewBox": view, **style})
    return "\n".join([f"<svg{opening}>", f"<title>{escape(title)}</title>", *parts, "</svg>\n"])
