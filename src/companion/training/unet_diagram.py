"""A drawing of the UNet that block lists build: channels, sizes, attention, what goes across."""

from collections.abc import Mapping
from html import escape
from typing import Any

from companion.figures import Diagram

WIDTH, LEVEL, BOX, SHIFT = 420, 66, 158, 9  # units; a level's boxes stand a bit further in
HEIGHT, LINE = 46, 17  # of a box, of a line of text
INK = "currentColor"
# Seen on light and on dark; a page may set them, as it does for the other diagrams.
PLAIN = "var(--diagram-moving, #c9772c)"
ATTENTION = "var(--diagram-learned, #3c8dd9)"


def draw_unet(config: Mapping[str, Any]) -> Diagram:
    """Draw the UNet that these settings build. Chapter 5, "The UNet".

    Down the left side, up the right side; an arrow across hands over what the left side saw.

    Args:
        config: settings of a `UNet2DModel`, such as its `config`: `sample_size`, `in_channels`,
            `out_channels`, `block_out_channels`, `down_block_types`, `up_block_types`,
            `layers_per_block`.

    Raises:
        ValueError: lists of different lengths.
    """
    channels = list(config["block_out_channels"])
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    if not len(channels) == len(down) == len(up):
        raise ValueError(
            f"The lists hold {len(channels)} channels, {len(down)} blocks down and {len(up)} up: "
            "they are of one length."
        )
    size, levels = int(config["sample_size"]), range(len(channels))
    sides = [size // 2**level for level in levels]
    top, middle = 70, WIDTH / 2
    bottom = top + LEVEL * len(channels)
    handed = config["layers_per_block"] + 1  # outputs of a level that its block on the way up takes

    parts = []
    ends = ((0, "noisy picture", "in_channels"), (WIDTH - BOX, "its noise", "out_channels"))
    for x, words, number in ends:
        shape = f"{config.get(number, 3)} × {size} × {size}"
        parts += [_text(x + BOX / 2, 18, words, bold=True), _text(x + BOX / 2, 18 + LINE, shape)]
    parts += [_arrow(BOX / 2, 42, BOX / 2, top)]
    parts += [_arrow(WIDTH - BOX / 2, top, WIDTH - BOX / 2, 42)]
    for level in levels:
        y, left = top + level * LEVEL, level * SHIFT
        right, half = WIDTH - BOX - left, BOX / 2
        shape = f"{channels[level]} × {sides[level]} × {sides[level]}"
        parts += [_box(left, y, down[level], shape), _box(right, y, up[-1 - level], shape)]
        parts += [_arrow(left + BOX, y + HEIGHT / 2, right, y + HEIGHT / 2, dashed=True)]
        if right - left - BOX > 30:
            parts += [_text(middle, y + HEIGHT / 2 - 6, f"{handed} ×")]
        if level + 1 < len(channels):
            foot, below = y + HEIGHT, y + LEVEL
            parts += [_arrow(left + half, foot, left + half + SHIFT, below)]
            parts += [_arrow(right + half - SHIFT, below, right + half, foot)]
    last = f"{channels[-1]} × {sides[-1]} × {sides[-1]}"
    foot, left = bottom - LEVEL + HEIGHT, SHIFT * (len(channels) - 1)
    name = config.get("mid_block_type", "UNetMidBlock2D")
    parts += [_arrow(left + BOX / 2, foot, middle - BOX / 4, bottom + 4)]
    parts += [_arrow(middle + BOX / 4, bottom + 4, WIDTH - left - BOX / 2, foot)]
    attends = bool(name) and config.get("add_attention", True)
    parts += [_box(middle - BOX / 2, bottom + 4, name or "no middle block", last, attends)]
    words = _words(down, up, channels, sides, bool(attends))
    return Diagram("unet", _svg(parts, bottom + HEIGHT + 8, words))


def _words(
    down: list[str], up: list[str], channels: list[int], sides: list[int], middle_attends: bool
) -> str:
    """The drawing in sentences, for readers who do not see it."""
    way = "; ".join(
        f"{name} of {count} channels at {side} × {side}"
        for name, count, side in zip(down, channels, sides, strict=True)
    )
    back = ", ".join(up)
    attention = "with attention" if middle_attends else "without attention"
    return (
        f"The way down: {way}. Then a middle block {attention}. The way up mirrors it: {back}. "
        "From each block on the way down an arrow goes to the block of the same size on the way up."
    )


def _svg(parts: list[str], height: float, words: str) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 0 {WIDTH + 2} {_number(height)}" '
            'width="500" role="img" style="max-width: 100%; height: auto" '
            'font-family="sans-serif" font-size="12.5">',
            "<title>The UNet, block by block</title>",
            f"<desc>{escape(words)}</desc>",
            *parts,
            "</svg>\n",
        ]
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, words: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" fill="{INK}" text-anchor="middle"{weight}>'
        f"{escape(words)}</text>"
    )


def _box(x: float, y: float, name: str, shape: str, attends: bool | None = None) -> str:
    """A block with its name and what it gives."""
    attends = "Attn" in name if attends is None else attends
    colour, second = (ATTENTION, f"{shape}, attends") if attends else (PLAIN, shape)
    rect = (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{BOX}" height="{HEIGHT}" rx="7" '
        f'fill="{colour}" fill-opacity="0.14" stroke="{colour}" stroke-width="1.5"/>'
    )
    middle = x + BOX / 2
    return "\n".join([rect, _text(middle, y + 20, name, bold=True), _text(middle, y + 37, second)])


def _arrow(x: float, y: float, to_x: float, to_y: float, *, dashed: bool = False) -> str:
    """A line with a head, which is drawn: a `<marker>` needs a name that no other picture has."""
    length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
    along, across = (to_x - x) / length * 8, (to_y - y) / length * 8
    foot = (to_x - along, to_y - across)
    head = [(to_x, to_y), (foot[0] - across / 2, foot[1] + along / 2)]
    head += [(foot[0] + across / 2, foot[1] - along / 2)]
    corners = " ".join(f"{_number(a)},{_number(b)}" for a, b in head)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{_number(x)}" y1="{_number(y)}" x2="{_number(foot[0])}" '
        f'y2="{_number(foot[1])}" stroke="{INK}" stroke-width="1.5"{dashes}/>\n'
        f'<polygon points="{corners}" fill="{INK}"/>'
    )
