"""One scene: one or two sprites on a plain background, with its caption and exact masks."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from PIL import Image

from companion.door.numbers import whole

from .atlas import sprite
from .captions import OPENINGS, caption
from .vocabulary import Subset, backgrounds, colour_jitter
from .vocabulary import subset as named_subset

T = TypeVar("T")

# Seeds of scenes that no training sees begin here: those that a run is watched with, and those that
# a finished model is measured on. Training draws from seeds far below.
VALIDATION = 10**9
HELD_OUT = 2 * 10**9

# Side of an object as a part of the picture's side.
SOLO_SIDE = (0.50, 0.75)
PAIR_SIDE = (0.36, 0.46)


@dataclass(frozen=True)
class Placed:
    """An object in a scene: what, in which style, and its square (left, top, side) in pixels."""

    name: str
    style: str
    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Scene:
    """A picture of which everything is known.

    Attributes:
        pixels: uint8 of shape (size, size, 3), RGB.
        caption: a sentence of the grammar in `companion.scenes.captions`.
        background: name of the background's colour.
        objects: what was placed, in the order of the caption.
        masks: bool of shape (len(objects), size, size), True where the object covers at least half
            a pixel.
    """

    pixels: np.ndarray
    caption: str
    background: str
    objects: tuple[Placed, ...]
    masks: np.ndarray

    @cached_property
    def image(self) -> Image.Image:
        """The picture as a PIL image, RGB."""
        return Image.fromarray(self.pixels)

    @cached_property
    def depth(self) -> np.ndarray:
        """Inverse depth (large is near), as estimators give it: float32 of shape (size, size).

        The background is infinitely far: 0. All objects are taken to be of one real size, so that
        the nearer one looks larger: an object's value is its side as a part of the picture's.
        """
        depth = np.zeros(self.pixels.shape[:2], np.float32)
        for mask, thing in zip(self.masks, self.objects, strict=True):
            depth[mask] = thing.side / len(depth)
        return depth


class _Dice:
    """Draws from `random.random()` alone: the one stream that Python promises never to change."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number, low and high included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]


def scene(seed: int, *, subset: str | Subset = "all", size: int = 64) -> Scene:
    """The scene of that seed: the same on every machine, for ever.

    Args:
        seed: any whole number of 0 or more.
        subset: name of a subset (see `companion.scenes.subsets`), or a `Subset` of your own.
        size: side of the square picture in pixels, 16 to 256.

    Raises:
        ValueError: an unknown subset, a negative seed, or a size out of range.
    """
    seed, size = whole("The seed of a scene", seed), whole("A scene's size", size)
    if seed < 0:
        raise ValueError(f"The seed of a scene is 0 or more, but {seed} was given.")
    if not 16 <= size <= 256:
        raise ValueError(f"A scene's size is 16 to 256 pixels, but {size} was given.")
    world = named_subset(subset) if isinstance(subset, str) else subset
    dice = _Dice(seed)
    names, background = _choose(world, dice)
    style = dice.pick(world.styles)
    if len(names) == 1:
        relation, placed = None, [_place_one(names[0], style, size, dice)]
    else:
        relation, placed = _place_two(names, style, size, dice)
    pixels, masks = _draw(placed, background, size, dice)
    said = caption(
        [thing.name for thing in placed],
        relation,
        background=background if dice.chance(0.9) else None,
        style=style if dice.chance(0.3) else None,
        opening=dice.pick(OPENINGS) if dice.chance(0.2) else None,
    )
    return Scene(pixels, said, background, tuple(placed), masks)


def _choose(world: Subset, dice: _Dice) -> tuple[list[str], str]:
    """Different objects, and a background that is not held out with any of them."""
    while True:
        names: list[str] = []
        for _ in range(dice.pick(world.counts)):
            names.append(dice.pick([name for name in world.objects if name not in names]))
        background = dice.pick(tuple(backgrounds()))
        if not any((name, background) in world.held_out for name in names):
            return names, background


def _place_one(name: str, style: str, size: int, dice: _Dice) -> Placed:
    side = dice.integer(round(SOLO_SIDE[0] * size), round(SOLO_SIDE[1] * size))
    return Placed(name, style, dice.integer(0, size - side), dice.integer(0, size - side), side)


def _place_two(
    names: Sequence[str], style: str, size: int, dice: _Dice
) -> tuple[str | None, list[Placed]]:
    """Two objects in two halves of the picture, and the word for how they lie."""
    half = size // 2
    upright = dice.chance(0.5)
    boxes = []
    for start in (0, half):
        side = dice.integer(round(PAIR_SIDE[0] * size), round(PAIR_SIDE[1] * size))
        along = start + dice.integer(0, half - side)
        # Across, the objects keep to the middle, so that "left of" and "above" are plain to see.
        across = dice.integer(half // 2, size - half // 2 - side)
        boxes.append((across, along, side) if upright else (along, across, side))
    first, second = (Placed(name, style, *box) for name, box in zip(names, boxes, strict=True))
    if dice.chance(0.5):
        relation = "above" if upright else "left of"
    elif dice.chance(0.5):
        first, second = second, first
        relation = "below" if upright else "right of"
    else:
        relation = dice.pick(("and", "next to"))
    return relation, [first, second]


def _draw(
    placed: Sequence[Placed], background: str, size: int, dice: _Dice
) -> tuple[np.ndarray, np.ndarray]:
    jitter = colour_jitter()
    colour = [
        min(255, max(0, channel + dice.integer(-jitter, jitter)))
        for channel in backgrounds()[background]
    ]
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = colour
    masks = np.zeros((len(placed), size, size), bool)
    for mask, thing in zip(masks, placed, strict=True):
        rgba = sprite(thing.name, thing.style, thing.side)
        if dice.chance(0.5):
            rgba = rgba[:, ::-1]
        where = np.s_[thing.top : thing.top + thing.side, thing.left : thing.left + thing.side]
        alpha = rgba[..., 3:].astype(np.int32)
        below = pixels[where].astype(np.int32)
        # Whole numbers, rounded to nearest: no platform's floating point has a say.
        pixels[where] = (below + ((rgba[..., :3] - below) * alpha + 127) // 255).astype(np.uint8)
        mask[where] = alpha[..., 0] >= 128
    return pixels, masks
