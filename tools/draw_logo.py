"""Draw the book's logo: a flower of 8x8 pixels that comes out of noise, from left to right.

    python tools/draw_logo.py

Each column is a step of the book's own formula, sqrt(a) x0 + sqrt(1 - a) e, with grey noise that
is half as strong: only noise on the left, none on the right. Writes logo.svg, logo-dark.svg (for
the dark theme), favicon.svg and favicon.png to book/_static.
"""

from pathlib import Path

import numpy as np
from PIL import Image

STATIC = Path(__file__).resolve().parents[1] / "book" / "_static"
FLOWER = [
    "...PPP..",
    "..PPPPP.",
    ".PPPYPPP",
    ".PPYYYPP",
    ".PPPYPPP",
    "..PPPPP.",
    "..GPPP.G",
    "...GGGG.",
]
COLOURS = {"P": "#e0457b", "Y": "#ffc83d", "G": "#2b9a66"}
# What is not flower: the paper of the theme that the logo stands on.
GROUNDS = {"logo.svg": "#e3eef0", "logo-dark.svg": "#2a3947", "favicon.svg": "#e3eef0"}
SIGNAL = (0, 0.2, 0.55, 0.85, 0.97, 1, 1, 1)  # a of each column
SEED = 1
PIXEL = 8


def noisy(ground: str) -> np.ndarray:
    """The flower's colours, of shape (row, column, 3) in 0..255, behind their noise."""
    hexes = [[COLOURS.get(sign, ground) for sign in row] for row in FLOWER]
    clean = np.array([[list(bytes.fromhex(colour[1:])) for colour in row] for row in hexes])
    signal = np.array(SIGNAL)[None, :, None]
    noise = np.random.default_rng(SEED).standard_normal((*clean.shape[:2], 1))
    mixed = np.sqrt(signal) * (clean / 127.5 - 1) + np.sqrt(1 - signal) * noise / 2
    return np.round((mixed.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def as_svg(pixels: np.ndarray) -> str:
    """The pixels as squares, in a frame with round corners."""
    side = PIXEL * len(pixels)
    squares = "\n".join(
        f'<rect x="{x * PIXEL}" y="{y * PIXEL}" width="{PIXEL}" height="{PIXEL}" '
        f'fill="#{bytes(colour).hex()}"/>'
        for y, row in enumerate(pixels)
        for x, colour in enumerate(row)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" '
        'shape-rendering="crispEdges">\n'
        f'<clipPath id="frame"><rect width="{side}" height="{side}" rx="{PIXEL}"/></clipPath>\n'
        f'<g clip-path="url(#frame)">\n{squares}\n</g>\n</svg>\n'
    )


def main() -> None:
    """Draw them all."""
    for name, ground in GROUNDS.items():
        (STATIC / name).write_text(as_svg(noisy(ground)), encoding="utf-8")
    picture = Image.fromarray(noisy(GROUNDS["favicon.svg"]))
    # Of the size that Apple's home screen takes; browsers reduce it.
    picture.resize((192, 192), Image.Resampling.NEAREST).save(STATIC / "favicon.png", optimize=True)


if __name__ == "__main__":
    main()
