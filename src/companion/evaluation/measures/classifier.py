"""How good the classifier is."""

from pathlib import Path

import torch

from companion.recipes.recipe import Recipe
from companion.zoo.recognise import recognise

from ..card import Figures
from ..held_out import held_out


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """How many objects and backgrounds of scenes are named."""
    total = named = extra = scenes_right = backgrounds_right = 0
    count = 4000
    for _, images, scenes in held_out(recipe.subset, count, 100):
        for scene, seen in zip(scenes, recognise(images), strict=True):
            there, said = {thing.name for thing in scene.objects}, set(seen.objects)
            total += len(there)
            named += len(there & said)
            extra += len(said - there)
            scenes_right += there == said
            backgrounds_right += scene.background == seen.background
    return {
        "held-out scenes": count,
        "objects that are there and named, %": 100 * named / total,
        "objects named that are not there, %": 100 * extra / total,
        "scenes with exactly the right objects, %": 100 * scenes_right / count,
        "backgrounds right, %": 100 * backgrounds_right / count,
    }
