"""Fine-tuning the zoo's Stable Diffusion: its UNet gets further input channels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from companion.scenes import Scene
from companion.zoo.assembled import folder as embedded

from .latents import NoiseResidualTask
from .recipe import Recipe


def widen(unet: UNet2DConditionModel, channels: int, **config: Any) -> UNet2DConditionModel:
    """The UNet with further input channels, whose weights begin at zero: at first it draws what it
    drew before (Brooks et al. 2023, "InstructPix2Pix", section 3.2).

    Args:
        unet: the one to copy.
        channels: how many input channels to add behind those there are.
        config: other values of the configuration to change; what weights they add begin at zero.
    """
    wide = UNet2DConditionModel.from_config(
        dict(unet.config), in_channels=unet.config.in_channels + channels, **config
    )
    weights = unet.state_dict()
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            parameter.zero_()
            if name == "conv_in.weight":
                parameter[:, : unet.config.in_channels] = weights[name]
            elif name in weights:
                parameter.copy_(weights[name])
    return wide


class FineTuned(NoiseResidualTask):
    """The parts of the base model, frozen but for the widened UNet.

    Args:
        channels: input channels that the UNet gets.
        config: what else changes in its configuration.
    """

    own: tuple[str, ...]  # the pipeline's parts that are saved; the others are embedded already

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        folder: Path,
        *,
        channels: int,
        **config: Any,
    ) -> None:
        super().__init__(recipe, device, folder)
        # The package's own and no newer run's: the model will share these very parts.
        base = embedded(recipe.settings["base"])
        self.vae = AutoencoderKL.from_pretrained(
            base / "vae", dtype=torch.float32, use_safetensors=True
        ).to(device)
        self.tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(
            base / "text_encoder", dtype=torch.float32, use_safetensors=True
        ).to(device)
        self.text_encoder.requires_grad_(False)
        self.scheduler = PNDMScheduler.from_pretrained(base / "scheduler")
        stock = UNet2DConditionModel.from_pretrained(
            base / "unet", dtype=torch.float32, use_safetensors=True
        )
        self.trained = self.unet = widen(stock, channels, **config).to(device)
        self.prepare()
        self.fill_cache(folder / "latents.safetensors")

    def prepare(self) -> None:
        """What else a subclass makes before the scenes are encoded."""

    def parts(self) -> dict[str, Any]:
        """What every Stable Diffusion pipeline is made of, by name."""
        return {
            "vae": self.vae,
            "text_encoder": self.text_encoder,
            "tokenizer": self.tokenizer,
            "unet": self.unet,
            # Fresh noise in every step lets later steps mend the colours of the first ones: 2 dB
            # more than DDIM for the upscaler. "linspace" begins where pure noise belongs, at the
            # last timestep.
            "scheduler": EulerAncestralDiscreteScheduler.from_config(
                self.scheduler.config, timestep_spacing="linspace"
            ),
        }

    def pipeline(self) -> DiffusionPipeline:
        """The parts as stock diffusers puts them together."""
        raise NotImplementedError

    def draw(self, scenes: Sequence[Scene], **given: Any) -> Tensor:
        """Pictures for the scenes' captions in 20 steps, (scenes, 3, height, width) in -1..1.

        Args:
            scenes: what is to be drawn.
            given: what else the pipeline takes.
        """
        pipeline = self.pipeline()
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            [scene.caption for scene in scenes],
            num_inference_steps=20,
            guidance_scale=self.recipe.settings["guidance_scale"],
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
            **given,
        ).images
        return images.cpu() * 2 - 1

    def save(self, folder: Path) -> None:
        """Write what is the model's own."""
        pipeline = self.pipeline()
        pipeline.save_config(folder)
        for name in self.own:
            getattr(pipeline, name).save_pretrained(folder / name)
