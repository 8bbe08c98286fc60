"""A picture, its prompt, and each word's maps, to explore on a page without a kernel.

Point at a word, tap it or tab to it, and the picture stays light where the word's map is high; a
slider goes through the steps. One piece of HTML that loads nothing; where scripts do not run, a
still figure with every word stands in its place.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from companion import figures
from companion.door.labels import Origin, labelled
from companion.door.numbers import is_several, shown, whole
from companion.door.pictures import as_rgb
from companion.door.prompts import check_text

if TYPE_CHECKING:
    from .heat_map import GlobalHeatMap
    from .sums import HeatMaps

# What is left of the picture's light where a map is lowest.
DIM = 0.15
FOLDER = Path(__file__).parent
# What a page carries at most: pixels of a map along one side, and steps besides all together.
LARGEST_MAP = 64
MOST_STEPS = 12


def explore(
    maps: HeatMaps,
    picture: Image.Image,
    phrases: Sequence[str] | None = None,
    *,
    image_idx: int = 0,
    alt: str | None = None,
    title: str | None = None,
) -> Explorer:
    """Make a traced picture explorable: its words, at some of the steps and over all.

    Chapter 6, "Explore it yourself".

    Args:
        maps: of `trace(pipe, by="step")`, or more kept apart.
        picture: what was drawn.
        phrases: words or phrases of the prompt; by default all its words. One that stands in the
            prompt several times is there several times.
        image_idx: which of the pictures that were drawn in one call.
        alt: what the picture shows; by default its prompt.
        title: a caption.

    Raises:
        ValueError: a phrase that is not in the prompt or was cut off, phrases that overlap, a
            prompt without words, or maps that do not keep steps apart.
    """
    if not hasattr(maps, "compute_global_heat_map"):
        raise ValueError(f"maps are those of a trace, but {shown(maps)} was given.")
    scale = min(1, LARGEST_MAP / max(maps.height, maps.width))
    size = round(maps.height * scale), round(maps.width * scale)

    def together_at(step: int | None) -> GlobalHeatMap:
        return maps.compute_global_heat_map(step_idx=step, image_idx=image_idx, size=size)

    together = together_at(None)
    places = together.tokens.chosen(phrases)
    indices = [together.tokens.inside(*place) for place in places]
    chosen = np.linspace(0, maps.steps - 1, min(maps.steps, MOST_STEPS)).round().astype(int)
    steps: list[int | None] = [*chosen.tolist(), None] if maps.steps > 1 else [None]
    stack = [
        [heat.heat_maps[its].mean(0).cpu().numpy() for its in indices]
        for heat in (together if step is None else together_at(step) for step in steps)
    ]
    labels = [
        "all steps"
        if step is None
        else f"step {step + 1} of {maps.steps}, t = {maps.timesteps[step]:.0f}"
        for step in steps
    ]
    prompt = together.prompt
    return explorer(
        picture,
        prompt,
        places,
        np.array(stack),
        labels,
        alt=f"The picture drawn for “{prompt}”" if alt is None else alt,
        title=title,
    )


def explorer(
    picture: Image.Image,
    prompt: str,
    words: Sequence[tuple[int, int]],
    maps: np.ndarray,
    labels: Sequence[str],
    *,
    alt: str,
    title: str | None = None,
) -> Explorer:
    """Make a picture's words explorable.

    Args:
        picture: what was drawn.
        prompt: the text it was drawn for.
        words: where in the prompt each word or phrase that has maps starts and ends, in order.
        maps: floats of shape (labels, words, height, width). Each map is stretched to its own
            range, so it says where a word looks, and not how much.
        labels: what each position of the slider is, such as "step 3 of 25". It starts at the last.
        alt: what the picture shows, for readers who do not see it.
        title: a caption.

    Raises:
        ValueError: words that overlap or lie outside of the prompt, or maps of another shape.
    """
    for what, text in (
        ("prompt", prompt),
        ("alt", alt),
        ("title", "" if title is None else title),
    ):
        check_text(f"The {what}", text)
    labels, words = _labels(labels), _places(words)
    try:
        maps = np.asarray(maps, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError is torch's
        raise ValueError(
            f"The maps are an array of numbers, but {shown(maps)} was given."
        ) from error
    if not np.isfinite(maps).all():
        raise ValueError("The maps hold NaN or infinite numbers: give finite ones.")
    if maps.ndim != 4 or maps.shape[:2] != (len(labels), len(words)) or not maps.size:
        raise ValueError(
            f"{len(words)} words and {len(labels)} labels need maps of shape ({len(labels)}, "
            f"{len(words)}, height, width), but these have the shape {maps.shape}."
        )
    return Explorer(as_rgb(picture), _split(prompt, words), stretch(maps), list(labels), alt, title)


class Explorer:
    """What `explorer` gives: show it as the last line of a cell, or write its `page()`."""

    def __init__(
        self,
        picture: Image.Image,
        pieces: list[tuple[str, str]],
        maps: np.ndarray,
        labels: list[str],
        alt: str,
        title: str | None,
    ) -> None:
        self.picture = picture
        self.pieces = pieces
        self.maps = maps
        self.labels = labels
        self.alt = alt
        self.title = title

    @property
    def words(self) -> list[str]:
        """The words that have maps."""
        return [word for _, word in self.pieces if word]

    def sheet(self) -> Image.Image:
        """The picture under each word's last map: what stands in where scripts do not run."""
        lit = [light_up(self.picture, heat) for heat in self.maps[-1]]
        return figures.grid([self.picture, *lit], ["", *self.words])

    def page(self) -> str:
        """A whole HTML page."""
        prompt = "".join(gap + word for gap, word in self.pieces)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(prompt)}</title>\n<style>{_asset('page.css')}</style>\n"
            f"</head>\n<body>\n<main>\n{self._repr_html_()}\n</main>\n</body>\n</html>\n"
        )

    def __repr__(self) -> str:
        return f"Explorer of {len(self.words)} words and {len(self.labels)} maps of each"

    def _repr_html_(self) -> str:
        steps, _, height, width = self.maps.shape
        data = {"width": width, "height": height, "labels": self.labels}
        prompt = "".join(
            escape(gap) + f'<button type="button" aria-pressed="false">{escape(word)}</button>'
            if word
            else escape(gap)
            for gap, word in self.pieces
        )
        caption = f"<figcaption>{escape(self.title)}</figcaption>\n" if self.title else ""
        still = f"{self.alt}, and the same lit where each word looks: {', '.join(self.words)}"
        return (
            f'<figure class="companion-explorer" data-maps="{escape(json.dumps(data))}"\n'
            f' data-sprite="{_sprite(self.maps)}">\n'
            f"<style>{_asset('explorer.css')}</style>\n"
            f'<div class="still"><img src="{_png(self.sheet(), Origin.DRAWN)}" '
            f'alt="{escape(still)}"></div>\n'
            '<div class="explore" hidden>\n'
            f'<div class="prompt" role="group" aria-label="Words of the prompt">{prompt}</div>\n'
            f'<div class="stage" style="width: {figures.shown_width(self.picture)}px">'
            f'<img src="{figures.data_uri(self.picture, Origin.DRAWN)}" alt="{escape(self.alt)}">'
            '<canvas aria-hidden="true"></canvas></div>\n'
            f'<label{"" if steps > 1 else " hidden"}>Steps <input type="range" min="0" '
            f'max="{steps - 1}" value="{steps - 1}" step="1">'
            '<span class="step" aria-hidden="true"></span></label>\n'
            '<p role="status"></p>\n</div>\n'
            f"{caption}</figure>\n<script>{_asset('explorer.js')}</script>"
        )


def stretch(maps: np.ndarray) -> np.ndarray:
    """Each map of (..., height, width) to 0..1 by its own lowest and highest value."""
    low = maps.min(axis=(-2, -1), keepdims=True)
    high = maps.max(axis=(-2, -1), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-8)


def light_up(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """The picture with its own light where heat (height, width) is 1, dimmed where it is 0."""
    light = Image.fromarray(np.round(255 * (DIM + (1 - DIM) * heat)).astype(np.uint8))
    mask = light.resize(picture.size, Image.Resampling.BILINEAR)
    return Image.composite(picture, Image.new("RGB", picture.size), mask)


def _labels(labels: Any) -> list[str]:
    several = list(labels) if is_several(labels) else []
    if not all(isinstance(label, str) for label in several):
        several = []
    if not several:
        raise ValueError(f"labels is {shown(labels)}, but it is a list of texts.")
    return several


def _places(words: Any) -> list[tuple[int, int]]:
    try:
        return [(whole("A start", start), whole("An end", end)) for start, end in words]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"words is {shown(words)}, but it is a list of where each starts and ends."
        ) from error


def _split(prompt: str, words: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    """The prompt as pairs of (text before, word); the last pair holds the rest and no word."""
    pieces, done = [], 0
    for start, end in words:
        if not done <= start < end <= len(prompt):
            raise ValueError(
                f"No word stands from {start} to {end} of the prompt {prompt!r} after {done}: give "
                f"the places in its order."
            )
        pieces.append((prompt[done:start], prompt[start:end]))
        done = end
    return [*pieces, (prompt[done:], "")]


def _sprite(maps: np.ndarray) -> str:
    """All maps on one sheet, a row a word and a column a label, as veils: black, opaque where a
    map is low. A browser lays them over the picture as they are."""
    veils = np.round(255 * (1 - DIM) * (1 - maps)).astype(np.uint8)
    steps, words, height, width = veils.shape
    alpha = veils.transpose(1, 2, 0, 3).reshape(words * height, steps * width)
    return _png(Image.fromarray(np.stack([np.zeros_like(alpha), alpha], axis=-1), mode="LA"))


def _png(picture: Image.Image, origin: Origin | None = None) -> str:
    buffer = io.BytesIO()
    note = labelled(picture, origin) if origin else None
    picture.save(buffer, "PNG", optimize=True, pnginfo=note)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8").rstrip()
