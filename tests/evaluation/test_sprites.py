"""The nearest true picture of a drawn object is found, and its distance is that of the pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from companion.evaluation.sprites import nearest_sprites
from companion.metrics import nearest
from companion.recipes.pictures import scene_batch
from companion.scenes import HELD_OUT, Scene, subset

ONE_SHADE = 2 / 255


def _scenes(count: int, style: str = "3d", size: int = 64) -> tuple[Tensor, list[Scene], list[str]]:
    world = replace(subset("all"), counts=(1,), styles=(style,))
    images, scenes = scene_batch(range(HELD_OUT, HELD_OUT + count), world, size)
    return images, scenes, [drawn.objects[0].name for drawn in scenes]


@pytest.mark.parametrize(("style", "size"), [("3d", 64), ("flat", 64), ("3d", 32)])
def test_a_true_scene_is_found_where_it_lies(style: str, size: int) -> None:
    images, scenes, names = _scenes(6, style, size)
    found = nearest_sprites(images, names, style=style)
    assert found.placed == tuple(drawn.objects[0] for drawn in scenes)
    assert found.distances.max() < ONE_SHADE / 5  # a scene's pixels are rounded to whole shades


def test_the_distance_is_that_to_the_picture_given() -> None:
    images, _, names = _scenes(3)
    rough = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    rough = rough.clamp(-1, 1)
    found = nearest_sprites(rough, names)
    for image, picture, distance in zip(rough, found.pictures, found.distances, strict=True):
        assert nearest(image[None], picture[None])[0] == pytest.approx(distance.item(), abs=1e-5)


def test_no_true_scene_of_the_object_is_nearer() -> None:
    world = replace(subset("all"), objects=("cat",), counts=(1,), styles=("3d",))
    true, _ = scene_batch(range(300), world, 64)
    images, _, _ = _scenes(4)  # of other objects too
    distances, _ = nearest(images, true)
    assert (nearest_sprites(images, ["cat"] * 4).distances <= distances[:, 0]).all()


def test_the_colour_behind_does_not_count_but_a_blotch_in_it_does() -> None:
    images, scenes, names = _scenes(2)
    recoloured, blotched = images.clone(), images.clone()
    for number, drawn in enumerate(scenes):
        behind = ~torch.from_numpy(drawn.masks[0])
        corner = torch.zeros_like(behind)
        corner[:, :3] = True
        blotched[number][:, corner & behind] *= -1
        assert (corner & behind).any()
        # Where the sprite is half seen through, its edge keeps the old colour: a little remains.
        recoloured[number][:, behind] = torch.tensor([[0.5], [-0.2], [0.1]])
    assert nearest_sprites(recoloured, names).distances.max() < 0.12
    assert nearest_sprites(blotched, names).distances.min() > 0.12


def test_blur_makes_it_rougher_step_by_step() -> None:
    images, _, names = _scenes(8)
    before = nearest_sprites(images, names).distances
    for side in (48, 32, 16):
        small = F.interpolate(images, (side, side), mode="area")
        blurred = F.interpolate(small, (64, 64), mode="bilinear")
        after = nearest_sprites(blurred, names).distances
        assert (after > before).all()
        before = after


@pytest.mark.parametrize(
    ("shape", "names", "style", "said"),
    [
        ((3, 64, 64), ["cat"], "3d", r"the shape \(3, 64, 64\)"),
        ((2, 3, 64, 64), ["cat"], "3d", "pictures are 2 and names 1"),
        ((0, 3, 64, 64), [], "3d", "at least one"),
        ((1, 3, 64, 64), ["dragon"], "3d", "no object 'dragon'"),
        ((1, 3, 64, 64), ["cat"], "oil", "no style 'oil': there are 3d, flat"),
    ],
)
def test_what_cannot_be_compared_is_said(
    shape: tuple[int, ...], names: list[str], style: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        nearest_sprites(torch.zeros(shape), names, style=style)


PICTURE = torch.zeros(1, 3, 64, 64)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (PICTURE.numpy(), "a tensor, but array.* `as_batch`"),
        ([PICTURE[0]], "a tensor, but "),
        (None, "a tensor, but None"),
        (PICTURE[..., :1, :1], r"\(1, 3, 1, 1\).* a size of 16 to 256"),
        (PICTURE[..., :0, :0], r"\(1, 3, 0, 0\)"),
        (torch.zeros(1, 3, 512, 512), r"\(1, 3, 512, 512\)"),
        (PICTURE.byte(), "fractions in -1..1, but torch.uint8"),
        (PICTURE + 255, "far beyond, or NaN"),
        (PICTURE - 1.5, "far beyond, or NaN"),
        (PICTURE * np.nan, "far beyond, or NaN"),
    ],
)
def test_what_is_no_batch_of_pictures_is_refused(images: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nearest_sprites(images, ["cat"])


def test_a_decoders_values_may_be_a_little_beyond_one() -> None:
    images, scenes, names = _scenes(2)
    found = nearest_sprites(images * 1.1, names)
    assert found.placed == tuple(drawn.objects[0] for drawn in scenes)
