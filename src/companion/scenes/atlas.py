"""The sprites: one square RGBA picture an object and style, cut from the atlas and scaled."""

from functools import cache, lru_cache

import numpy as np
from PIL import Image

from .vocabulary import FOLDER, objects

COLUMNS = 9  # the layout that tools/make_atlas.py writes


@cache
def _atlas(style: str) -> Image.Image:
    with Image.open(FOLDER / f"atlas-{style}.png") as picture:
        return picture.convert("RGBA")


# A scene draws sizes from a small range, so nearly every call is answered from the cache.
@lru_cache(maxsize=8192)
def sprite(name: str, style: str, side: int) -> np.ndarray:
    """The sprite of an object: uint8 of shape (side, side, 4), RGBA, not premultiplied,
    read-only."""
    atlas = _atlas(style)
    cell = atlas.width // COLUMNS
    row, column = divmod(objects().index(name), COLUMNS)
    box = (column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
    # Bilinear weights are plain arithmetic: the same bytes on every platform.
    scaled = atlas.crop(box).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(scaled).copy()
    pixels.flags.writeable = False
    return pixels
