"""Pictures for the chapters: labelled grids, strips, diagrams, a scrubber without a kernel, and the
places where a page of the book draws by itself.

A picture is a PIL image of any mode, or a tensor of shape (3, height, width) in the range -1..1,
which is what a model draws. The same pictures always give the same bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from companion.door.labels import Origin, labelled, save_labelled
from companion.door.numbers import is_several, shown, whole
from companion.door.pictures import as_rgb

if TYPE_CHECKING:
    from torch import Tensor

    Picture: TypeAlias = Image.Image | Tensor
    Pictures: TypeAlias = Picture | Iterable[Picture]

PAPER, INK = "white", "#222222"
# Widths in pixels. A page's column is about half of PAGE, so that pictures stay sharp on it.
PAGE = 1280
LONGEST = 30_000  # pixels, of one enlarged picture
MOST_COLUMNS = 1000
ENLARGED, SMALLEST, LARGEST = 256, 96, 512
DIAGRAMS = Path(__file__).parent / "diagrams"  # tools/draw_diagrams.py draws them
# Where the book's pages are: `baseurl` in _config.yml, and Documentation in pyproject.toml.
PAGES = "https://diffusers-notes.github.io/diffusers-notes/"
# What a stage may be; each has its script book/_static/live/stage-KIND.js.
KINDS = ("draw", "samplers", "guidance", "tokens", "paint", "words", "flow")


def to_pil(images: Tensor) -> Any:
    """Turn what a model draws into pictures: from -1..1 to whole numbers of 0..255.

    Args:
        images: floats of shape (3, height, width) or (batch, 3, height, width), on any device.
            Values beyond -1 and 1 are cut off. One channel instead of three is drawn in grey.

    Returns:
        One PIL image, or the list of them when there is a batch.

    Raises:
        ValueError: another shape, or values that are not numbers.
    """
    if not hasattr(images, "detach"):
        raise ValueError(f"A picture to turn is a tensor, but {shown(images)} was given.")
    if images.ndim not in (3, 4) or images.shape[-3] not in (1, 3) or not images.numel():
        raise ValueError(
            "A picture is a tensor of shape (3, height, width), or (batch, 3, height, width) for "
            f"several, but this one has the shape {tuple(images.shape)}."
        )
    floats = images.detach().float().cpu()
    if floats.isnan().any():
        if images.element_size() < 4:
            cause = "something before it overflowed, as it can in half precision, so try float32"
        else:
            cause = (
                "something before it overflowed or divided by zero, as a scheduler does that "
                "begins with pure noise (zero terminal SNR) and a model that predicts epsilon"
            )
        raise ValueError(f"The picture holds NaN: {cause}.")
    unit = (floats / 2 + 0.5).clamp(0, 1)
    pixels = (unit * 255).round().numpy().astype(np.uint8)
    if images.ndim == 4:
        return [_from_pixels(picture) for picture in pixels]
    return _from_pixels(pixels)


def grid(
    images: Pictures,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    scale: int | None = None,
) -> Image.Image:
    """Lay pictures out in rows, each with its label below it.

    Args:
        images: PIL images, or tensors in -1..1, or one tensor that holds a batch.
        labels: a text for every picture. Long ones are broken between words; a newline breaks too.
        columns: pictures in a row; by default at most 8, in rows of about the same length.
        scale: times to enlarge, by repeating pixels. By default small pictures are enlarged and
            large ones reduced, so that a row fits a page.

    Raises:
        ValueError: no pictures, or a number of labels, columns or a scale that does not fit.
    """
    pictures = _pictures(images)
    texts = _labels(labels, len(pictures))
    columns = _even_columns(len(pictures)) if columns is None else whole("columns", columns)
    if columns < 1:
        raise ValueError(f"A grid has 1 column or more, but {columns} was given.")
    columns = min(columns, MOST_COLUMNS)
    tiles = [_resize(picture, columns, scale) for picture in pictures]
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    gap = max(4, width // 16)
    page = columns * (width + gap) + gap
    font = _font(max(13, page // 50))
    lines = [_wrap(text, font, width + gap // 2) for text in texts]
    line_height = round(font.size * 1.3)

    numbers = range(len(tiles))
    rows = [numbers[start : start + columns] for start in numbers[::columns]]
    label_heights = [max(len(lines[i]) for i in row) * line_height for row in rows]
    canvas = Image.new("RGB", (page, gap + sum(height + gap + h for h in label_heights)), PAPER)
    draw = ImageDraw.Draw(canvas)
    top = gap
    for row, label_height in zip(rows, label_heights, strict=True):
        for column, i in enumerate(row):
            left, tile = gap + column * (width + gap), tiles[i]
            corner = (left + (width - tile.width) // 2, top + (height - tile.height) // 2)
            canvas.paste(tile, corner)
            for number, line in enumerate(lines[i]):
                middle = (left + width // 2, top + height + gap // 4 + number * line_height)
                draw.text(middle, line, fill=INK, font=font, anchor="ma")
        top += height + label_height + gap
    return canvas


def strip(
    images: Pictures, labels: Sequence[str] | None = None, scale: int | None = None
) -> Image.Image:
    """Lay pictures out in one row: a `grid` with as many columns as pictures."""
    pictures = _pictures(images)
    return grid(pictures, labels, columns=len(pictures), scale=scale)


def scrubber(
    images: Pictures, labels: Sequence[str], alt: str, title: str | None = None
) -> Scrubber:
    """Put pictures behind a slider: the reader drags it, or moves it with the arrow keys.

    Args:
        images: the pictures, in the order of the slider, which starts at the first.
        labels: a text for every picture, such as "t = 980".
        alt: what the pictures show, for readers who do not see them.
        title: a caption.

    Returns:
        An object that a notebook shows. It is one piece of HTML that loads nothing, so it works
        on a static page; where scripts do not run, all pictures stand side by side.
    """
    pictures = _pictures(images)
    for what, text in (("alt", alt), ("title", "" if title is None else title)):
        if not isinstance(text, str):
            raise ValueError(f"{what} is {shown(text)}, but it is a text.")
    return Scrubber(pictures, _labels(labels, len(pictures)), alt, title)


class Scrubber:
    """What `scrubber` gives: show it as the last line of a cell."""

    def __init__(
        self, pictures: list[Image.Image], labels: Sequence[str], alt: str, title: str | None
    ) -> None:
        self.pictures = pictures
        self.labels = list(labels)
        self.alt = alt
        self.title = title

    def __repr__(self) -> str:
        return f"Scrubber of {len(self.pictures)} pictures"

    def _repr_html_(self) -> str:
        last = len(self.pictures) - 1
        frames = "\n".join(
            f'<span class="frame"><img src="{data_uri(picture)}" width="{shown_width(picture)}" '
            f'alt="{escape(self.alt)}, {escape(label)}"><span>{escape(label)}</span></span>'
            for picture, label in zip(self.pictures, self.labels, strict=True)
        )
        caption = f"<figcaption>{escape(self.title)}</figcaption>\n" if self.title else ""
        return (
            '<figure class="companion-scrubber">\n'
            f"<style>{STYLE}</style>\n"
            f'<div class="frames">\n{frames}\n</div>\n'
            f'<input type="range" min="0" max="{last}" value="0" step="1" hidden '
            f'aria-label="{escape(self.title or self.alt)}">\n'
            f"{caption}"
            f"</figure>\n<script>{SCRIPT}</script>"
        )


# No colours: the page's own are inherited, light or dark.
STYLE = """
.companion-scrubber { margin: 1em 0; color: inherit; max-width: 100%; }
.companion-scrubber.live { width: fit-content; min-width: min(20em, 100%); }
.companion-scrubber .frames { display: flex; flex-wrap: wrap; gap: .5em; }
.companion-scrubber .frame { display: inline-flex; flex-direction: column; max-width: 100%; }
.companion-scrubber .frame[hidden] { display: none; }
.companion-scrubber img { max-width: 100%; height: auto; margin: 0; image-rendering: pixelated; }
.companion-scrubber:not(.live) .frame { width: 5em; font-size: .75em; }
.companion-scrubber .frame > span { font-variant-numeric: tabular-nums; line-height: 1.6; }
.companion-scrubber input { display: block; width: 100%; max-width: 32em; height: 2em; margin: 0; }
.companion-scrubber input[hidden] { display: none; }
.companion-scrubber figcaption { margin-top: .25em; }
"""

# Wires every scrubber that is not wired yet, so that it needs no names and may run many times.
SCRIPT = """
for (const figure of document.querySelectorAll(".companion-scrubber:not(.live)")) {
  const frames = figure.querySelectorAll(".frame");
  const slider = figure.querySelector("input");
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    slider.setAttribute("aria-valuetext", frames[slider.value].textContent);
  };
  slider.addEventListener("input", show);
  slider.hidden = false;
  figure.classList.add("live");
  show();
}
"""


def diagram(name: str, caption: str | None = None) -> Diagram:
    """Show one of the book's drawn diagrams, such as `diagram("stable-diffusion")`.

    It takes the colours of the text around it, so it is read on light and on dark ground.

    Args:
        name: the diagram's name; an unknown one is answered with those that there are.
        caption: what stands below it.

    Raises:
        ValueError: a name that no diagram has, or a caption that is no text.
    """
    drawn = {path.stem: path for path in sorted(DIAGRAMS.glob("*.svg"))}
    if not isinstance(name, str) or name not in drawn:
        raise ValueError(f"There is no diagram {shown(name)}: there are {', '.join(drawn)}.")
    if not (caption is None or isinstance(caption, str)):
        raise ValueError(f"caption is {shown(caption)}, but it is a text.")
    return Diagram(name, drawn[name].read_text(encoding="utf-8"), caption)


class Diagram:
    """What `diagram` gives: show it as the last line of a cell.

    Attributes:
        name: the name it was asked for by.
        svg: the drawing.
        caption: what stands below it, or None.
    """

    def __init__(self, name: str, svg: str, caption: str | None = None) -> None:
        self.name = name
        self.svg = svg
        self.caption = caption

    def __repr__(self) -> str:
        return f"Diagram {self.name!r}"

    def _repr_html_(self) -> str:
        """The drawing inline: as a file of its own it would not know the page's colours."""
        middle = 'style="text-align: center"'
        caption = (
            f"<figcaption {middle}>{escape(self.caption)}</figcaption>\n" if self.caption else ""
        )
        return f'<figure class="companion-diagram">\n{self.svg}{caption}</figure>'


def stage(
    kind: str,
    picture: Picture | None = None,
    *,
    alt: str,
    title: str,
    start: Picture | None = None,
    mask: Picture | None = None,
    **settings: str | float,
) -> Stage:
    """Give a place where the reader draws: in the book's pages, in the browser, without a kernel.

    Args:
        kind: "draw", "samplers", "guidance", "tokens", "paint", "words" or "flow".
        picture: what stands there until the reader draws, and everywhere else: a picture drawn with
            the same settings. A stage for tokens needs none.
        alt: what the picture shows, for readers who do not see it.
        title: a caption.
        start: the picture that one paints on, in a stage of the kind "paint"; by default an empty
            ground.
        mask: white where that picture is repainted; by default nothing is marked.
        **settings: what the stage opens with: prompt, negative_prompt, seed, steps, guidance,
            sampler ("ddpm", "ddim", "unipc" or "dpm++2m"), strength, tool ("paint" or "mask"),
            shift. What is left out is the page's own choice.

    Returns:
        An object that a notebook shows. It is a figure without a script; the book's pages have
        the scripts, and put a button to it that loads the model.

    Raises:
        ValueError: a kind or a setting that there is not, or a text that is none.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no stage {shown(kind)}: there are {', '.join(KINDS)}.")
    if picture is None and kind != "tokens":
        raise ValueError(f"A stage of the kind {kind} needs a picture, to stand there at first.")
    for what, text in (("alt", alt), ("title", title)):
        if not isinstance(text, str):
            raise ValueError(f"{what} is {shown(text)}, but it is a text.")
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(
                f"A stage has no setting {shown(name)}: there are {', '.join(SETTINGS)}."
            )
        if not isinstance(value, SETTINGS[name]) or isinstance(value, bool):
            wanted = "a text" if SETTINGS[name] is str else "a number"
            raise ValueError(f"{name} is {shown(value)}, but it is {wanted}.")
    if mask is not None and start is None:
        raise ValueError("A mask marks a part of a picture: give that picture as start.")
    if start is not None and kind != "paint":
        raise ValueError(f"A start is for a stage of the kind paint, and this one is {kind}.")
    ground, marked = (
        None if one is None else _pictures(one)[0].resize((SIDE, SIDE)) for one in (start, mask)
    )
    still = None if picture is None else _pictures(picture)[0]
    return Stage(kind, still, alt, title, settings, ground, marked)


# The settings that a stage may open with, and what they are.
SETTINGS: Mapping[str, Any] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": int | float,
    "sampler": str,
    "strength": int | float,
    "tool": str,
    "shift": int | float,
}
SIDE = 64  # of the pictures that the page draws, in pixels


class Stage:
    """What `stage` gives: show it as the last line of a cell."""

    def __init__(
        self,
        kind: str,
        picture: Image.Image | None,
        alt: str,
        title: str,
        settings: Mapping[str, str | float],
        start: Image.Image | None = None,
        mask: Image.Image | None = None,
    ) -> None:
        self.kind = kind
        self.picture = picture
        self.alt = alt
        self.title = title
        self.settings = dict(settings)
        self.start = start
        self.mask = mask

    def __repr__(self) -> str:
        return f"Stage {self.kind!r}"

    def _repr_html_(self) -> str:
        """What the page's scripts find: the settings, the picture, and a note to replace."""
        data = "".join(
            f' data-{name.replace("_", "-")}="{escape(str(value))}"'
            for name, value in self.settings.items()
        )
        # The bare numbers: a page that is opened from a folder may not read a picture's pixels.
        if self.start:  # red, green, blue
            data += f' data-start="{_bare(self.start.tobytes())}"'
        if self.mask:  # a bit a pixel
            bits = np.packbits(np.asarray(self.mask.convert("L")) >= 128)
            data += f' data-mask="{_bare(bits.tobytes())}"'
        picture = (
            f'<img src="{data_uri(self.picture)}" width="{shown_width(self.picture)}" '
            f'alt="{escape(self.alt)}">\n'
            if self.picture
            else ""
        )
        return (
            f'<figure class="companion-stage" data-stage="{self.kind}"{data}>\n{picture}'
            f"<figcaption>{escape(self.title)}</figcaption>\n"
            '<p class="stage-note">In <a href="'
            f"{PAGES}\">the book's pages</a>, with scripts, you can draw here yourself.</p>\n"
            "</figure>"
        )


def _bare(content: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode()


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    """From uint8 of shape (1 or 3, height, width) to RGB."""
    rgb = np.broadcast_to(pixels, (3, *pixels.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))


def _pictures(images: Pictures) -> list[Image.Image]:
    """Every kind of input as a list of RGB images."""
    if isinstance(images, Image.Image):
        return [as_rgb(images)]
    if hasattr(images, "detach"):  # a tensor, without loading torch to ask
        found = to_pil(cast("Tensor", images))
        return found if isinstance(found, list) else [found]
    if isinstance(images, str | bytes | Mapping) or not isinstance(images, Iterable):
        raise ValueError(
            f"A picture is a PIL image or a tensor, but {shown(images)} was given: open a file "
            f"with Image.open."
        )
    pictures = [picture for image in images for picture in _pictures(image)]
    if not pictures:
        raise ValueError("There are no pictures to show: give at least one.")
    return pictures


def _labels(labels: Sequence[str] | None, count: int) -> Sequence[str]:
    if labels is None:
        return [""] * count
    several = list(labels) if is_several(labels) else []
    if len(several) != count or not all(isinstance(label, str) for label in several):
        given = "one text" if isinstance(labels, str) else f"{len(several)} labels"
        if len(several) == count:
            given = shown(labels)
        raise ValueError(f"Each of the {count} pictures needs a label, but {given} was given.")
    return several


def _even_columns(count: int, most: int = 8) -> int:
    rows = -(-count // most)
    return -(-count // rows)


def _resize(picture: Image.Image, columns: int, scale: int | None) -> Image.Image:
    """Enlarge by repeating pixels, which shows them as they are; reduce by averaging."""
    if scale is not None and whole("scale", scale) < 1:
        raise ValueError(f"A scale is a whole number of 1 or more, but {scale} was given.")
    if scale and scale * max(picture.size) > LONGEST:
        raise ValueError(
            f"A picture of {picture.width}x{picture.height} enlarged {shown(scale)} times has "
            f"more than {LONGEST:,} pixels a side: give a smaller scale."
        )
    room = min(LARGEST, max(SMALLEST, PAGE // columns))
    if scale is None and picture.width > room:
        size = (room, max(1, round(picture.height * room / picture.width)))
        return picture.resize(size, Image.Resampling.LANCZOS)
    times = scale or max(1, min(room, ENLARGED) // picture.width)
    size = (picture.width * times, picture.height * times)
    return picture.resize(size, Image.Resampling.NEAREST)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: the same everywhere, and it has Greek and arrows."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    # Pillow's other layout is there only where the system has libfribidi, and sets texts narrower.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a label into lines that fit the width; a word that is too long keeps its own line."""
    lines: list[str] = []
    for paragraph in text.split("\n") if text else []:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def data_uri(picture: Image.Image, origin: Origin | None = None) -> str:
    """A picture as the address of an `<img>`, at most LARGEST pixels wide; labelled, where a model
    had part in it."""
    if picture.width > LARGEST:
        size = (LARGEST, max(1, round(picture.height * LARGEST / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=labelled(picture, origin) if origin else None)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def shown_width(picture: Image.Image) -> int:
    """Width on a page in CSS pixels: whole times the picture's, while it is small."""
    times = min(ENLARGED // picture.height, LARGEST // picture.width)
    return min(LARGEST, picture.width * max(1, times))


def tile(images: Tensor, columns: int = 8) -> Image.Image:
    """One picture of a batch of shape (batch, channels, height, width) in -1..1, row by row.

    One channel is grey, 3 are RGB, 4 are RGBA.
    """
    import torch

    images = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    batch, channels, height, width = images.shape
    rows = -(-batch // columns)
    canvas = torch.zeros(rows * columns, channels, height, width, dtype=torch.uint8)
    canvas[:batch] = images
    canvas = canvas.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = canvas.reshape(rows * height, columns * width, channels).numpy()
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def sheet(images: list[Image.Image], columns: int) -> Image.Image:
    """One picture of many of one size, row by row."""
    width, height = images[0].size
    whole = Image.new("RGB", (columns * width, -(-len(images) // columns) * height))
    for number, image in enumerate(images):
        whole.paste(image, (number % columns * width, number // columns * height))
    return whole


def save_enlarged(
    picture: Image.Image, path: Path, times: int, origin: Origin = Origin.BESIDE
) -> None:
    """Save a picture in which a model had part as PNG, labelled, with every pixel as a square of so
    many."""
    size = (picture.width * times, picture.height * times)
    enlarged = picture.resize(size, Image.Resampling.NEAREST)
    save_labelled(enlarged, path, origin, optimize=True)
