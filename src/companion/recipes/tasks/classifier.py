"""Trains the classifier: which objects are on a scene, and which background."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import ResNetConfig, ResNetForImageClassification

from companion.figures import tile
from companion.scenes import Scene, backgrounds, objects

from ..pictures import scene_batch
from ..recipe import Recipe
from ..trainer import Task


def labels() -> list[str]:
    """The classifier's outputs: every object, then every background as "NAME background"."""
    return [*objects(), *(f"{name} background" for name in backgrounds())]


def targets(scenes: list[Scene]) -> Tensor:
    """1 where a label holds: float32 of shape (batch, labels)."""
    index = {label: number for number, label in enumerate(labels())}
    rows = torch.zeros(len(scenes), len(index))
    for row, scene in zip(rows, scenes, strict=True):
        row[index[f"{scene.background} background"]] = 1
        for thing in scene.objects:
            row[index[thing.name]] = 1
    return rows


class Classifier(Task):
    """Binary cross-entropy over objects, cross-entropy over backgrounds, on a ResNet (He et al.
    2015)."""

    origin = None

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        config = ResNetConfig(
            **recipe.settings["model"],
            id2label=dict(enumerate(labels())),
            problem_type="multi_label_classification",
        )
        self.trained = self.model = ResNetForImageClassification(config).to(device)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Objects and background of new scenes, some of them softened."""
        images, scenes = scene_batch(self.seeds(step), self.recipe.subset, 64)
        images = self._degrade(images, generator)
        wanted = targets(scenes).to(self.device)
        logits = self.model(images.to(self.device)).logits.float()
        things = len(objects())
        return 10 * F.binary_cross_entropy_with_logits(
            logits[:, :things], wanted[:, :things]
        ) + 0.3 * F.cross_entropy(logits[:, things:], wanted[:, things:])

    def _degrade(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Soften and disturb some pictures: what the other models draw is not as crisp as a
        scene."""
        chance = torch.rand(2, len(images), 1, 1, 1, generator=generator)
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        soft = F.interpolate(small, scale_factor=2, mode="bilinear")
        images = torch.where(chance[0] < self.recipe.settings["blur"], soft, images)
        noise = torch.randn(images.shape, generator=generator) * self.recipe.settings["noise"]
        return torch.where(chance[1] < 0.5, images + noise * chance[1] * 2, images)

    def grid(self) -> Image.Image:
        """Validation scenes, those named wrongly first; prints their share."""
        images, scenes = self.validation_scenes(256)
        things = len(objects())
        logits = self.model(images.to(self.device)).logits.cpu()
        wrong = ((logits[:, :things] > 0) != (targets(scenes)[:, :things] > 0)).any(1)
        print(f"validation scenes with a wrong set of objects: {wrong.float().mean():.3f}")
        return tile(images[wrong.argsort(descending=True, stable=True)[:32]])

    def save(self, folder: Path) -> None:
        """Write the ResNet with its labels."""
        self.model.save_pretrained(folder)
