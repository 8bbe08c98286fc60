"""Trains text to image: the text encoder and the UNet of a Stable Diffusion, on latents made once.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3.
Unlike there, the text encoder learns together with the UNet: the captions' few words need no
pretrained CLIP.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from companion.door.labels import Origin
from companion.figures import sheet
from companion.zoo.registry import WEIGHTS

from ..latents import NoiseResidualTask
from ..recipe import Recipe

HOME = WEIGHTS / "stable-diffusion"
PROMPTS = (
    "a cat on a blue background",
    "a sunflower on a purple background",
    "a rocket on a black background",
    "a dinosaur on a pink background",
    "sushi on a green background",
    "a robot on an orange background",
    "a panda on a red background",
    "a ghost on a gray background",
    "a cat and an apple on a white background",
    "a rocket above a moon on a black background",
    "a dinosaur next to sushi on a yellow background",
    "a frog left of a star on a blue background",
    "a car below a star on a purple background",
    "a cat and a lantern on a brown background",
    "a penguin right of a ghost on a pink background",
    "a robot above a tulip on a green background",
)


class TextToImage(NoiseResidualTask):
    """The noise residual, given the caption alone; the text encoder learns too."""

    origin = Origin.DRAWN

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        # First of all: their weights follow from the recipe's seed.
        self.unet = UNet2DConditionModel(**recipe.settings["unet"]).to(device)
        self.text_encoder = CLIPTextModel(CLIPTextConfig(**recipe.settings["text_encoder"])).to(
            device
        )
        beside = folder.parent / recipe.settings["vae"] / "model"
        self.vae = AutoencoderKL.from_pretrained(
            beside if beside.exists() else HOME / "vae", use_safetensors=True
        ).to(device)
        self.tokenizer = CLIPTokenizer.from_pretrained(HOME / "tokenizer")
        self.scheduler = PNDMScheduler(
            **recipe.settings["scheduler"],
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        self.fill_cache(folder / "latents.safetensors")
        self.forget_unused_words()
        self.trained = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})

    def pipeline(self) -> StableDiffusionPipeline:
        """The parts as stock diffusers puts them together."""
        return StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def grid(self) -> Image.Image:
        """What the prompts above give, 20 UniPC steps."""
        pipeline = self.pipeline()
        pipeline.scheduler = UniPCMultistepScheduler.from_config(
            self.scheduler.config, timestep_spacing="linspace"
        )
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            list(PROMPTS),
            num_inference_steps=20,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(0),
        ).images
        return sheet(images, 8)

    def save(self, folder: Path) -> None:
        """Write the whole pipeline."""
        self.pipeline().save_pretrained(folder)
