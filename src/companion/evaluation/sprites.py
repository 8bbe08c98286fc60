"""How clean a drawn object is: how far its picture is from the nearest true one."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from companion.door.numbers import shown
from companion.scenes import STYLES, Placed, objects
from companion.scenes.atlas import sprite
from companion.scenes.scene import SOLO_SIDE

_SIZES = (16, 256)  # of a scene's side
_LARGEST = 1.25  # a decoder's values go a little beyond 1
_AT_ONCE = 16  # pictures; each takes 3 MB while its places are compared


class NearestSprites(NamedTuple):
    """What `nearest_sprites` gives.

    Attributes:
        distances: (batch,) float32, root mean squared differences of pixels in -1..1, so 0..2.
        pictures: (batch, 3, size, size), the nearest true picture of each.
        placed: what that shows, and where.
    """

    distances: Tensor
    pictures: Tensor
    placed: tuple[Placed, ...]


def nearest_sprites(images: Tensor, names: Sequence[str], *, style: str = "3d") -> NearestSprites:
    """The distance of each picture to the nearest true picture of its object.

    True is the object's sprite at any size and place that a scene of one object has, turned to
    either side, on any one plain colour. All of them are compared: the best colour of each place is
    a least squares problem with a closed form, and what it needs of all places at once are
    correlations, which a Fourier transform gives. On one core it takes 10 to 20 ms a picture, and
    60 ms once for each object.

    The classifier names a rough blob as readily as the sprite; this tells them apart. A true scene
    is at 0.0006, since its pixels are whole shades (of 255 to the range of 2); given back by the
    zoo's VAE it is at 0.04.

    "And how good is it?", "What the classifier does not see".

    Args:
        images: (batch, 3, size, size) in -1..1, pictures that should show one object each; size
            is 16 to 256, as a scene's, and what a decoder gives may be a little beyond 1.
        names: the object of each, one of `companion.scenes.objects`.
        style: "3d" or "flat", the sprites' style.

    Raises:
        ValueError: no such batch, an unknown object or style, or a name too many or too few.
    """
    images = _checked(images)
    if len(names) != len(images) or not len(images):
        raise ValueError(
            f"Each picture needs the name of its object, but pictures are {len(images)} and names "
            f"{len(names)}: give as many of both, at least one."
        )
    if style not in STYLES:
        raise ValueError(f"There is no style {style!r}: there are {', '.join(STYLES)}.")
    if unknown := [name for name in names if name not in objects()]:
        raise ValueError(
            f"There is no object {unknown[0]!r} in the scenes: `companion.scenes.objects()` lists "
            f"them."
        )
    size = images.shape[-1]
    best: list[Tensor | None] = [None] * len(images)
    placed: list[Placed | None] = [None] * len(images)
    for name in dict.fromkeys(names):
        shelf = _shelf(name, style, size)
        every = [n for n, other in enumerate(names) if other == name]
        for start in range(0, len(every), _AT_ONCE):
            numbers = every[start : start + _AT_ONCE]
            for n, where in zip(numbers, _places(images[numbers], shelf), strict=True):
                kind, top, left = where
                best[n] = _pasted(images[n], shelf, kind, top, left)
                placed[n] = Placed(name, style, left, top, shelf.sides[kind])
    pictures = torch.stack([picture for picture in best if picture is not None])
    distances = (images - pictures).square().mean(dim=(1, 2, 3)).sqrt()
    return NearestSprites(distances, pictures, tuple(one for one in placed if one is not None))


def _checked(images: Tensor) -> Tensor:
    """The pictures, float32 on the CPU."""
    if not isinstance(images, Tensor):
        raise ValueError(
            f"The pictures are a tensor, but {shown(images)} was given: `as_batch` of "
            "companion.zoo.recognise makes one of PIL pictures."
        )
    low, high = _SIZES
    square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
    if not square or not low <= images.shape[3] <= high:
        raise ValueError(
            f"The pictures have the shape {tuple(images.shape)}, but (batch, 3, size, size) is "
            f"what can be compared, with a size of {low} to {high}."
        )
    if not images.is_floating_point():
        raise ValueError(
            f"The pictures are fractions in -1..1, but {images.dtype} was given: divide whole "
            "shades first, as in pixels / 127.5 - 1."
        )
    images = images.detach().float().cpu()
    if not (images.abs() <= _LARGEST).all():  # nor is NaN
        raise ValueError(
            "The pictures are in -1..1, but a value is far beyond, or NaN: scale them, as in "
            "pixels / 127.5 - 1, or clamp what a decoder gave."
        )
    return images


class _Shelf(NamedTuple):
    """An object's sprites of all sizes, turned to both sides, in the upper left corner.

    Attributes:
        sides: (kinds,) the side of each.
        alpha: (kinds, size, size), how much each covers, 0..1.
        colour: (kinds, 3, size, size), in -1..1, times alpha.
        spectrum: (kinds, 4, size, size // 2 + 1), the conjugate transforms of colour and alpha.
    """

    sides: tuple[int, ...]
    alpha: Tensor
    colour: Tensor
    spectrum: Tensor


@lru_cache(maxsize=16)
def _shelf(name: str, style: str, size: int) -> _Shelf:
    smallest, largest = (round(part * size) for part in SOLO_SIDE)
    sides = [side for side in range(smallest, largest + 1) for _ in (False, True)]
    alpha = torch.zeros(len(sides), size, size)
    colour = torch.zeros(len(sides), 3, size, size)
    for kind, side in enumerate(sides):
        rgba = torch.from_numpy(np.array(sprite(name, style, side))).permute(2, 0, 1)
        rgba = rgba.flip(-1) if kind % 2 else rgba
        alpha[kind, :side, :side] = rgba[3] / 255
        colour[kind, :, :side, :side] = (rgba[:3] / 127.5 - 1) * (rgba[3] / 255)
    stacked = torch.cat([colour, alpha[:, None]], dim=1)
    return _Shelf(tuple(sides), alpha, colour, torch.fft.rfft2(stacked).conj())


def _places(images: Tensor, shelf: _Shelf) -> list[tuple[int, int, int]]:
    """The kind of sprite, the top and the left edge that fit each picture x best.

    With the sprite P (times alpha), w = 1 - alpha and the best colour c of each channel,

        |x - P - w c|² = |x - P|² - (Σ w (x - P))² / Σ w²
    """
    size = images.shape[-1]
    spectrum = torch.fft.rfft2(images)[:, None]  # (batch, 1, 3, size, size // 2 + 1)
    colour, alpha = shelf.spectrum[:, :3], shelf.spectrum[:, 3:]
    in_space = (size, size)
    x_with_sprite = torch.fft.irfft2((spectrum * colour).sum(2), s=in_space)
    x_with_alpha = torch.fft.irfft2(spectrum * alpha, s=in_space)  # of each channel

    def total(one: Tensor) -> Tensor:
        return one.sum(dim=(-2, -1), keepdim=True)

    apart = total(images.square()).sum(1)[:, None] - 2 * x_with_sprite
    apart = apart + total(shelf.colour.square()).sum(1)
    see_through = 1 - shelf.alpha[:, None]
    rest = total(images)[:, None] - x_with_alpha - total(see_through * shelf.colour)
    apart = apart - (rest.square() / total(see_through.square())).sum(2)
    # A correlation goes round the edges: where the sprite would, it does not count.
    edge = size - torch.tensor(shelf.sides)[:, None, None]
    steps = torch.arange(size)
    outside = (steps[:, None] > edge) | (steps > edge)
    found = apart.masked_fill(outside, torch.inf).flatten(1).argmin(1)
    return [
        (int(number) // size**2, int(number) // size % size, int(number) % size) for number in found
    ]


def _pasted(image: Tensor, shelf: _Shelf, kind: int, top: int, left: int) -> Tensor:
    """The sprite at that place, on the colour that is nearest to the picture's."""
    moved = (top, left)
    colour = shelf.colour[kind].roll(moved, dims=(-2, -1))
    see_through = 1 - shelf.alpha[kind].roll(moved, dims=(-2, -1))
    behind = (see_through * (image - colour)).sum(dim=(-2, -1)) / see_through.square().sum()
    return colour + see_through * behind[:, None, None]
