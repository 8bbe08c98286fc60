"""Draw the diagrams of the book, which `companion.figures.diagram` shows in a chapter.

    python tools/draw_diagrams.py   # writes src/companion/diagrams/*.svg

A diagram is a function below. It stands in a page, in Colab or in JupyterLab, light or dark, so its
texts and lines have the colour of the text around it, and the accents one that is seen on any
ground; a page may set `--diagram-learned` and its like. It is narrow, as a phone is: WIDTH units,
letters of SMALL of them, are letters of 10 pixels on 360.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import drawing
from drawing import Point

FOLDER = Path(__file__).resolve().parents[1] / "src" / "companion" / "diagrams"
WIDTH, LARGE, SMALL = 420, 14, 12.5
LARGEST = 500  # pixels, on a wide page
LINE = 17  # from one line of text to the next
INK = "currentColor"
# Of a luminance between black's and white's: seen on both (tests/test_diagrams.py).
LEARNED = "var(--diagram-learned, #3c8dd9)"  # what has weights
MOVING = "var(--diagram-moving, #c9772c)"  # latents, pictures: what the parts hand on


@dataclass
class Diagram:
    """A sheet to draw on.

    Attributes:
        title: what it shows, in one line.
        words: the same in sentences, for readers who do not see it.
        height: in units, of which it is WIDTH wide.
    """

    title: str
    words: str
    height: float
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, *lines: str, large: bool = False, left: bool = False
    ) -> None:
        """Lines of text, the first with its foot at a height, around a middle or from the left."""
        style: dict[str, object] = {"fill": INK}
        if large:
            style |= {"font_size": LARGE, "font_weight": "bold"}
        if not left:
            style["text_anchor"] = "middle"
        for number, line in enumerate(lines):
            self.parts.append(drawing.text(x, y + number * LINE, line, **style))

    def box(
        self, middle: float, y: float, width: float, name: str, *lines: str, colour: str = INK
    ) -> float:
        """A part with its name and what it does; says where its lower edge is."""
        height = 16 + LINE * (1 + len(lines))
        style: dict[str, object] = {"fill": colour, "fill_opacity": 0.12, "stroke": colour}
        corner = middle - width / 2
        self.parts.append(drawing.box(corner, y, width, height, rx=7, stroke_width=1.5, **style))
        self.text(middle, y + 22, name, large=True)
        self.text(middle, y + 22 + LINE, *lines)
        return y + height

    def arrow(self, *points: Point) -> None:
        """An arrow along points."""
        self.parts.append(drawing.arrow(points, INK))

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A dashed line around what belongs together."""
        style: dict[str, object] = {"fill": "none", "stroke": INK, "stroke_dasharray": "5 4"}
        self.parts.append(drawing.box(x, y, width, height, rx=10, **style))

    def pixels(self, x: float, y: float, rows: Sequence[Sequence[float]], side: float = 8) -> None:
        """A small picture: how strong each of its pixels is, from 0 to 1."""
        sharp: dict[str, object] = {"shape_rendering": "crispEdges"}  # no seams between them
        for down, row in enumerate(rows):
            for across, strength in enumerate(row):
                place = (x + across * side, y + down * side, side, side)
                self.parts.append(drawing.box(*place, fill=MOVING, fill_opacity=strength, **sharp))

    def svg(self) -> str:
        """The file's text."""
        return drawing.picture(
            (WIDTH, self.height),
            self.title,
            [f"<desc>{escape(self.words)}</desc>", *self.parts],
            width=LARGEST,
            height=round(self.height * LARGEST / WIDTH),
            role="img",
            style="display: block; margin: 0 auto; max-width: 100%; height: auto",
            font_family="sans-serif",
            font_size=SMALL,
        )


ROBOT = "######## ###..### #......# #.#..#.# #......# #.####.# #......# ########"


def mixed(part: float) -> list[list[float]]:
    """So much of the robot, in noise."""
    chance = random.Random(3)

    def strength(cell: str) -> float:
        clear = 0.9 if cell == "#" else 0.15
        return round(part * clear + (1 - part) * chance.random(), 2)

    return [[strength(cell) for cell in row] for row in ROBOT.split()]


def stable_diffusion() -> Diagram:
    """From prompt and noise to a picture: chapter 3."""
    sheet = Diagram(
        title="Stable Diffusion: from a prompt and noise to a picture",
        words=(
            "The prompt and the empty prompt go through the tokenizer, which gives 77 numbers for "
            "each, and the text encoder, which gives 77 vectors for each, to the UNet. Noise is "
            "the first latents. In a loop, for each timestep: the UNet predicts the noise in the "
            "latents twice, with the prompt and without; guidance makes one noise out of two; the "
            "scheduler takes a step, which gives the next latents. After the last timestep the "
            "VAE's decoder turns latents into pixels: the picture. Text encoder, UNet and VAE are "
            "marked as parts that learned."
        ),
        height=590,
    )
    left, right, column = 128, 344, 220  # the middles of both columns; the left one's width
    edge, middle = left + column / 2, 32  # its right edge; half of a small picture

    # The text's way down.
    for x, name, prompt in ((70, "prompt", "“a robot …”"), (186, "no prompt", "“”")):
        sheet.text(x, 20, name, large=True)
        sheet.text(x, 20 + LINE, prompt)
        sheet.arrow((x, 46), (x, 68))
    foot = sheet.box(left, 68, column, "Tokenizer", "words to numbers")
    sheet.arrow((left, foot), (left, foot + 36))
    sheet.text(left + 10, foot + 22, "2 × 77 numbers", left=True)
    foot = sheet.box(left, foot + 36, column, "Text encoder", "numbers to vectors", colour=LEARNED)
    loop = foot + 34
    sheet.arrow((left, foot), (left, loop + 34))
    sheet.text(left + 10, foot + 22, "2 × 77 vectors", left=True)

    # The loop: latents, UNet, guidance, scheduler, latents.
    high = 232
    sheet.frame(4, loop, WIDTH - 8, high)
    sheet.text(18, loop + high - 14, "for each timestep", left=True)
    foot = sheet.box(left, loop + 34, column, "UNet", "how much is noise?", colour=LEARNED)
    sheet.pixels(right - middle, loop + 28, mixed(0.5))
    sheet.text(right, loop + 110, "latents", large=True)
    sheet.arrow((right - middle - 4, loop + 59), (edge, loop + 59))
    for x in (left - 44, left + 44):
        sheet.arrow((x, foot), (x, foot + 44))
    sheet.text(left, foot + 26, "2 × noise")
    sheet.box(left, foot + 44, column, "Guidance", "one noise out of two")
    sheet.box(right, foot + 66, 120, "Scheduler", "takes a step")
    sheet.arrow((edge, foot + 80), (right - 60, foot + 80))
    sheet.arrow((right, foot + 66), (right, loop + 118))

    # Noise goes in from above, latents come out below.
    sheet.text(right, 20, "noise", large=True)
    sheet.pixels(right - middle, 30, mixed(0))
    sheet.arrow((right, 98), (right, loop + 24))
    below = loop + high + 34
    sheet.arrow((right, foot + 66 + 50), (right, below))
    sheet.text(right - 142, below - 12, "after the last step", left=True)
    sheet.box(right, below, 132, "VAE decoder", "latents to pixels", colour=LEARNED)
    sheet.pixels(left - middle, below - 7, mixed(1))
    sheet.arrow((right - 66, below + 25), (left + middle + 4, below + 25))
    sheet.text(left, below + 75, "picture", large=True)
    return sheet


def joint_block() -> Diagram:
    """A block of a transformer with joint attention: chapter 7."""
    sheet = Diagram(
        title="One block of the transformer: words and picture meet in one attention",
        words=(
            "Two streams run side by side from top to bottom: a vector for each token of the "
            "words, and a vector for each patch of the picture. The timestep and the pooled words "
            "make vectors a, b and g for each layer. Each stream is normed, multiplied by 1 plus "
            "a, and b is added. Each has its own matrices for query, key and value. Joint "
            "attention is one softmax over words and patches together. What it finds goes through "
            "each stream's own output matrix, is multiplied by the gate g, and is added to the "
            "stream. Then each stream is normed, scaled and shifted again, goes through a "
            "feed-forward layer of its own, is multiplied by its gate, and is added to the stream."
        ),
        height=652,
    )
    middle, width, step = WIDTH / 2, 150, 18
    half = 16.5  # of the small box with a plus
    foot = sheet.box(
        middle, 4, 360, "Knobs", "timestep and pooled words make a, b, g", colour=LEARNED
    )
    top = foot + 56
    # A stream: its middle, and the way around its layers.
    for name, vectors, x, side in (
        ("words", "a vector a token", 105, 14),
        ("picture", "a vector a patch", 315, WIDTH - 14),
    ):
        outer = half if side > x else -half
        sheet.text(x, foot + 24, name, large=True)
        sheet.text(x, foot + 24 + LINE, vectors)
        y = top
        for first in (True, False):
            begin = y
            sheet.arrow((x, y - 8), (x, y + step))
            y = sheet.box(x, y + step, width, "Norm", "× (1 + a) + b")
            if first:
                sheet.arrow((x, y), (x, y + step))
                y = sheet.box(x, y + step, width, "Q, K, V", "own matrices", colour=LEARNED)
                sheet.arrow((x, y), (x, y + step))
                y += step + 50
                sheet.arrow((x, y), (x, y + step))
                y = sheet.box(x, y + step, width, "Output × g", colour=LEARNED)
            else:
                sheet.arrow((x, y), (x, y + step))
                y = sheet.box(x, y + step, width, "Feed-forward × g", colour=LEARNED)
            sheet.arrow((x, y), (x, y + step))
            plus = y + step + half
            sheet.arrow((x, begin), (side, begin), (side, plus), (x + outer, plus))
            y = sheet.box(x, y + step, 2 * half, "+") + 8
        sheet.arrow((x, y - 8), (x, y + step))
        sheet.text(x, y + step + 18, name, large=True)
    sheet.box(middle, top + 154, 360, "Joint attention", "one softmax over words and patches")
    return sheet


DIAGRAMS: dict[str, Callable[[], Diagram]] = {
    "joint-block": joint_block,
    "stable-diffusion": stable_diffusion,
}


if __name__ == "__main__":
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
        print(f"Written to src/companion/diagrams/{name}.svg.")
