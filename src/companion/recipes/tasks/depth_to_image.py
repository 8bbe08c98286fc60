"""Trains depth to image: a scene's depth beside its latents, as in stable-diffusion-2-depth."""

from pathlib import Path

import torch
from diffusers import StableDiffusionDepth2ImgPipeline
from PIL import Image
from torch import Tensor
from transformers import DPTForDepthEstimation, DPTImageProcessorPil

from companion.scenes import Scene, subset
from companion.zoo.assembled import folder as embedded

from ..depth import as_pictures, outlined, scene_depths, to_latent_size
from ..fine_tuned import FineTuned
from ..latents import Rows
from ..pictures import compared
from ..recipe import Recipe


class DepthToImage(FineTuned):
    """The noise residual, given the caption and the depth."""

    own = ("unet", "scheduler")

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder, channels=1)
        estimator = embedded(recipe.settings["depth_estimator"])
        self.depth_estimator = DPTForDepthEstimation.from_pretrained(
            estimator, dtype=torch.float32, use_safetensors=True
        ).to(device)
        # The variant without torchvision, which resizes alike everywhere.
        self.feature_extractor = DPTImageProcessorPil.from_pretrained(estimator)

    def condition(self, images: Tensor, scenes: list[Scene], generator: torch.Generator) -> Rows:
        """Depth at the latents' size, (batch, 1, 16, 16) in -1..1.

        Some outlines are those of other objects in the same places: whoever gives the depth of a
        cat and asks for a panda shall get a panda there.
        """
        chances = torch.rand(len(scenes), generator=generator)
        shown = [
            outlined(scene, subset(self.recipe.subset).objects, generator)
            if chance < self.recipe.settings["other_outlines"]
            else scene
            for scene, chance in zip(scenes, chances, strict=True)
        ]
        return {"depth": to_latent_size(scene_depths(shown))}

    def unet_inputs(self, noisy: Tensor, given: Rows, generator: torch.Generator) -> Rows:
        """The depth as a further channel."""
        return {"sample": torch.cat([noisy, given["depth"].to(self.device)], dim=1)}

    def pipeline(self) -> StableDiffusionDepth2ImgPipeline:
        """The parts as stock diffusers puts them together."""
        return StableDiffusionDepth2ImgPipeline(
            **self.parts(),
            depth_estimator=self.depth_estimator,
            feature_extractor=self.feature_extractor,
        )

    def grid(self) -> Image.Image:
        """Held-out scenes: the depth, what the model draws from gray, the scene itself."""
        images, scenes = self.validation_scenes(16)
        depths = scene_depths(scenes)
        drawn = self.draw(
            scenes, image=torch.full_like(images, 0.5), depth_map=depths, strength=1.0
        )
        return compared(as_pictures(depths), drawn, images)
