"""Trains a ControlNet beside the zoo's Stable Diffusion, which stays as it is: a picture of the
objects' masks says where they are to lie.

Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models", section 3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, UniPCMultistepScheduler
from PIL import Image
from torch import Tensor

from companion.scenes import Scene

from ..fine_tuned import FineTuned
from ..latents import Rows
from ..pictures import compared
from ..recipe import Recipe


def controls(scenes: Sequence[Scene]) -> Tensor:
    """Control pictures of scenes, (batch, 3, size, size) in 0..1: white where an object is."""
    masks = torch.from_numpy(np.stack([scene.masks.any(axis=0) for scene in scenes]))
    return masks[:, None].float().expand(-1, 3, -1, -1)


class Controlnet(FineTuned):
    """The noise residual of the frozen UNet, given the caption, with what the ControlNet adds."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder, channels=0)

    def prepare(self) -> None:
        """Freeze the UNet, and copy its first half."""
        self.unet.requires_grad_(False)
        self.trained = self.controlnet = ControlNetModel.from_unet(
            self.unet,
            conditioning_embedding_out_channels=tuple(self.recipe.settings["embedding_channels"]),
        ).to(self.device)

    def condition(self, images: Tensor, scenes: list[Scene], generator: torch.Generator) -> Rows:
        """The control pictures' one channel, (batch, 1, 64, 64) in 0..1."""
        return {"control": controls(scenes)[:, :1]}

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        words: Tensor,
        given: Rows,
        generator: torch.Generator,
    ) -> Tensor:
        """The noise residual in the latents, (batch, 4, 16, 16)."""
        control = given["control"].expand(-1, 3, -1, -1).to(self.device)
        skips, middle = self.controlnet(noisy, timesteps, words, control, return_dict=False)
        return self.unet(
            noisy,
            timesteps,
            words,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample

    def parts(self) -> dict[str, Any]:
        """Those of every Stable Diffusion, and the ControlNet."""
        return {
            **super().parts(),
            "controlnet": self.controlnet,
            "scheduler": UniPCMultistepScheduler.from_config(
                self.scheduler.config, timestep_spacing="linspace"
            ),
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }

    def pipeline(self) -> StableDiffusionControlNetPipeline:
        """The parts as stock diffusers puts them together."""
        return StableDiffusionControlNetPipeline(**self.parts())

    def grid(self) -> Image.Image:
        """Held-out scenes: the control picture, what is drawn, the scene itself."""
        images, scenes = self.validation_scenes(16)
        control = controls(scenes)
        drawn = self.draw(scenes, image=control)
        return compared(control * 2 - 1, drawn, images)

    def save(self, folder: Path) -> None:
        """Write the ControlNet alone: all else is the base model's."""
        self.controlnet.save_pretrained(folder)
