"""Trains the depth estimator: Ranftl et al. 2021, "Vision Transformers for Dense Prediction"."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

from ..depth import as_pictures, scene_depths
from ..pictures import compared, scene_batch
from ..recipe import Recipe
from ..trainer import Task

# The head ends in a ReLU: from a bias of zero it may never answer anything but zero.
FIRST_DEPTH = 0.2


class DepthEstimation(Task):
    """Mean squared error of the inverse depth."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        config = DPTConfig(**recipe.settings["model"])
        self.trained = self.model = DPTForDepthEstimation(config).to(device)
        with torch.no_grad():
            dict(self.model.head.named_parameters())["head.4.bias"].fill_(FIRST_DEPTH)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The error on new scenes."""
        images, scenes = scene_batch(self.seeds(step), self.recipe.subset, 64)
        predicted = self.model(images.to(self.device)).predicted_depth.float()
        return F.mse_loss(predicted, scene_depths(scenes).to(self.device))

    def grid(self) -> Image.Image:
        """Held-out scenes, their depth, and the model's."""
        images, scenes = self.validation_scenes(16)
        predicted = self.model(images.to(self.device)).predicted_depth.cpu()
        return compared(images, as_pictures(scene_depths(scenes)), as_pictures(predicted))

    def save(self, folder: Path) -> None:
        """Write the DPT, and beside it how pictures become its input."""
        self.model.save_pretrained(folder)
        DPTImageProcessorPil(
            size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ).save_pretrained(folder)
