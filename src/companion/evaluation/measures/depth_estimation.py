"""How good depth estimation is."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import DPTForDepthEstimation

from companion.figures import save_enlarged
from companion.metrics import iou, percent
from companion.recipes.depth import NEAR, as_pictures, scene_depths
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe
from companion.scenes import Scene

from ..card import Figures
from ..held_out import held_out


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """Error of the inverse depth, and how well objects are found."""
    model = (
        DPTForDepthEstimation.from_pretrained(home, dtype=torch.float32, use_safetensors=True)
        .to(device)
        .eval()
    )
    count = 1000
    errors, plain, overlaps, nearer = [], [], [], []
    for start, images, scenes in held_out(recipe.subset, count, 50):
        with torch.inference_mode():
            said = model(images.to(device)).predicted_depth.cpu()
        true = scene_depths(scenes)
        errors.append((said - true).abs().mean(dim=(1, 2)))
        plain.append((true.mean() - true).abs().mean(dim=(1, 2)))
        overlaps.append(iou(said > NEAR, true > NEAR))
        nearer += _nearer_right(scenes, said)
        if start == 0:
            rows = images, as_pictures(true), as_pictures(said)
            save_enlarged(compared(*rows), pictures / "samples.png", 2)
    return {
        "held-out scenes": count,
        "mean absolute error of the inverse depth": torch.cat(errors).mean().item(),
        "the same of one value everywhere": torch.cat(plain).mean().item(),
        "objects against background, IoU, mean": torch.cat(overlaps).mean().item(),
        "pairs of which one object is nearer": len(nearer),
        "the nearer one found, %": percent(nearer),
    }


def _nearer_right(scenes: list[Scene], said: Tensor) -> list[bool]:
    answers = []
    for scene, depth in zip(scenes, said, strict=True):
        sides = [thing.side for thing in scene.objects]
        if len(set(sides)) == 2:
            means = [depth[torch.from_numpy(mask)].mean().item() for mask in scene.masks]
            answers.append((means[0] > means[1]) == (sides[0] > sides[1]))
    return answers
