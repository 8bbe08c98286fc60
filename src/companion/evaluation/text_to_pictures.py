"""What every model that draws from text is asked: one object and how cleanly it is drawn, two
objects, where they lie, and how near its pictures as a whole are to true scenes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from companion.door.labels import Origin
from companion.figures import save_enlarged, sheet
from companion.metrics import kid, kid_with_error, percent
from companion.recipes.pictures import scene_batch
from companion.scenes import HELD_OUT, Subset, backgrounds, caption, scene
from companion.zoo.recognise import as_batch, recognise, scene_features
from companion.zoo.segmentation import object_masks

from .card import Figures
from .sprites import nearest_sprites

Draw = Callable[[list[str], int], list[Image.Image]]  # prompts and the first picture's seed

BATCH = 16
COMPARED = 1000  # pictures and scenes that KID compares
# Of the words for how two objects lie, which way the second is from the first: (rows, columns).
WAYS = {"left of": (0, 1), "right of": (0, -1), "above": (1, 0), "below": (-1, 0)}


def one_object_prompts(world: Subset) -> Iterator[tuple[str, str, str]]:
    """Prompt, object and background, for every pair of the two."""
    for name in world.objects:
        for colour in backgrounds():
            yield caption([name], background=colour), name, colour


def two_object_prompts(world: Subset, count: int) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Prompt, objects and background of held-out two-object scenes."""
    found, seed = 0, HELD_OUT
    while found < count:
        seed += 1
        made = scene(seed, subset=world)
        if len(made.objects) == 2 and made.background in made.caption:
            found += 1
            yield made.caption, tuple(thing.name for thing in made.objects), made.background


def lies_as_said(prompt: str, masks: np.ndarray) -> bool | None:
    """Whether two objects lie as the prompt says; None where it does not say.

    Args:
        prompt: a caption of two objects.
        masks: where each is, in the prompt's order: bool of shape (2, height, width).
    """
    for relation, way in WAYS.items():
        if f" {relation} " in prompt:
            first, second = (np.argwhere(mask).mean(axis=0) for mask in masks)
            return bool((second - first) @ np.array(way) > 0)
    return None


def measure_drawing(draw: Draw, world: Subset, pictures: Path) -> Figures:
    """The figures of a card; example pictures are written into the folder `pictures`."""
    single = list(one_object_prompts(world)) * 2
    images = in_batches(draw, [prompt for prompt, _, _ in single], 0)
    shown = images[: len(single) // 2]  # one picture for each prompt
    drawn = sheet(shown, len(backgrounds()))
    save_enlarged(drawn, pictures / "samples.png", 1, Origin.DRAWN)
    rough = nearest_sprites(as_batch(shown), [name for _, name, _ in single[: len(shown)]])
    seen = recognise(images)
    rows = [
        (name in what.objects, what.objects == (name,), colour == what.background, (name, colour))
        for (_, name, colour), what in zip(single, seen, strict=True)
    ]
    unseen = [row for row in rows if row[3] in world.held_out]
    double = list(two_object_prompts(world, 200))
    images = in_batches(draw, [prompt for prompt, _, _ in double], 10_000)
    drawn = sheet(images[:64], 8)
    save_enlarged(drawn, pictures / "samples-two-objects.png", 1, Origin.DRAWN)
    pairs = [
        (set(names) <= set(what.objects), colour == what.background)
        for (_, names, colour), what in zip(double, recognise(images), strict=True)
    ]
    placed, apart = _places(double, images)
    return {
        "one-object prompts": len(rows),
        "one object: named by the classifier, %": percent(row[0] for row in rows),
        "one object: that and nothing else, %": percent(row[1] for row in rows),
        "one object: background right, %": percent(row[2] for row in rows),
        "pictures compared with sprites": len(shown),
        "distance to the nearest sprite, median": float(rough.distances.median()),
        "pairs of object and background never trained on": len(unseen),
        "never trained on: object named, %": percent(row[0] for row in unseen),
        "never trained on: background right, %": percent(row[2] for row in unseen),
        "two-object prompts": len(pairs),
        "two objects: both named, %": percent(row[0] for row in pairs),
        "two objects: background right, %": percent(row[1] for row in pairs),
        "two-object prompts that say where": placed,
        "of these: both objects found apart, %": 100 * len(apart) / placed,
        "found apart: position as said, %": percent(apart),
        **_nearness(draw, world),
    }


def in_batches(draw: Draw, prompts: list[str], first_seed: int) -> list[Image.Image]:
    """A picture for each prompt, behind a progress bar."""
    images: list[Image.Image] = []
    for start in tqdm(range(0, len(prompts), BATCH), desc="prompts", unit="batch"):
        images += draw(prompts[start : start + BATCH], first_seed + start)
    return images


def _places(
    asked: list[tuple[str, tuple[str, ...], str]], images: list[Image.Image]
) -> tuple[int, list[bool]]:
    """How many prompts say where, and whether it is so in each picture that can be told apart."""
    placed, apart = 0, []
    for (prompt, names, _), image in zip(asked, images, strict=True):
        if not any(f" {relation} " in prompt for relation in WAYS):
            continue
        placed += 1
        masks = object_masks(image, names)
        if masks is not None:
            apart.append(bool(lies_as_said(prompt, masks)))
    return placed, apart


def _nearness(draw: Draw, world: Subset) -> Figures:
    """KID of pictures for held-out captions and other held-out scenes, and what it would be."""
    first = range(HELD_OUT, HELD_OUT + COMPARED)
    captions = [scene(seed, subset=world).caption for seed in first]
    drawn = scene_features(as_batch(in_batches(draw, captions, 20_000)))
    real, other = (
        scenes_features(range(HELD_OUT + start, HELD_OUT + start + COMPARED), world)
        for start in (COMPARED, 2 * COMPARED)
    )
    value, error = kid_with_error(drawn, real)
    return {
        "pictures for KID": COMPARED,
        "KID to held-out scenes": value,
        "its standard error": error,
        "KID of two sets of held-out scenes": kid(other, real),
    }


def scenes_features(seeds: range, world: Subset) -> Tensor:
    """The classifier's features of scenes, (scenes, channels)."""
    return torch.cat(
        [
            scene_features(scene_batch(seeds[start : start + 100], world.name, 64)[0])
            for start in range(0, len(seeds), 100)
        ]
    )
