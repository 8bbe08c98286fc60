"""Pictures as people and programs save them: opened safely, upright, in red, green and blue."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .values import Untrusted

# Formats that Pillow decodes itself: no EPS, which starts Ghostscript, and no rare ones.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")
LARGEST = 2**27  # pixels: 134 million; the largest telephones make 200, and shrink them to 50


def open_picture(source: Path | bytes, what: str) -> Image.Image:
    """Open a picture and decode it whole.

    Args:
        source: a file, or the bytes of one.
        what: how the sentence calls it: a path, or "row 3 of the dataset".

    Returns:
        The picture as it was saved: see `as_rgb`, `as_mask`.

    Raises:
        Untrusted: it is no picture of a known format, damaged, or too large; the sentence names it.
        FileNotFoundError: there is no such file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, and of large ones, which are refused
            image = Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
            )
            if image.width * image.height > LARGEST:
                raise Untrusted(
                    f"{what} has {image.width}x{image.height} pixels, more than {LARGEST:,}: "
                    "make it smaller."
                )
            image.load()
    except (FileNotFoundError, Untrusted):
        raise
    except Exception as error:  # the decoders raise what they like
        raise Untrusted(f"{what} cannot be read as a picture ({error}).") from error
    return image


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: turned as its EXIF data say, transparent parts on white,
    16 bits scaled to 8.

    Raises:
        Untrusted: numbers that are no shades, such as heights in a float TIFF.
    """
    image = ImageOps.exif_transpose(image)
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def as_mask(image: Image.Image) -> Image.Image:
    """A mask of any mode as grey (L): white is where to draw.

    Turned as its EXIF data say. A mask whose colours say nothing and whose transparency does is
    read from its transparency.
    """
    image = _eight_bits(ImageOps.exif_transpose(image))
    return as_rgb(image).convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise Untrusted("Its values are no shades of 8 or 16 bits.")
    return Image.fromarray((values / 257).round().astype(np.uint8))
