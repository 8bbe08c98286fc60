"""Trains text to image: the text encoder and the UNet of a Stable Diffusion, on latents made once.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3.
Unlike there, the
text encoder learns together with the UNet: the captions' few words need no pretrained CLIP.
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
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from companion.scenes import scene

from .noise_loss import min_snr_loss
from .pictures import scene_batch
from .recipe import Recipe
from .trainer import Task

WEIGHTS = Path(__file__).parent / "weights" / "stable-diffusion"
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


class TextToImage(Task):
    """Mean squared error of the predicted noise, min-SNR weighted; now and then without the
    caption."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        beside = folder.parent / recipe.settings["vae"] / "model"
        self.vae = AutoencoderKL.from_pretrained(beside if beside.exists() else WEIGHTS / "vae").to(
            device
        )
        self.tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
        self.scheduler = PNDMScheduler(
            **recipe.settings["scheduler"],
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        self.ids, self.latents = self._cache(folder / "latents.pt")
        torch.manual_seed(recipe.seed)
        self.unet = UNet2DConditionModel(**recipe.settings["unet"]).to(device)
        self.text_encoder = CLIPTextModel(CLIPTextConfig(**recipe.settings["text_encoder"])).to(
            device
        )
        self._forget_unused_words()
        self.trained = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})

    def _tokens(self, captions: list[str]) -> Tensor:
        return self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        ).input_ids

    def _cache(self, path: Path) -> tuple[Tensor, Tensor]:
        """Token ids (scenes, 77) and scaled latents (scenes, 4, 16, 16), made once and kept beside
        the run."""
        if not path.exists():
            count = self.recipe.settings["cached_scenes"]
            captions = [scene(seed, subset=self.recipe.subset).caption for seed in range(count)]
            parts = []
            for start in tqdm(range(0, count, 50), desc="encoding scenes", unit="batch"):
                images, _ = scene_batch(
                    range(start, min(start + 50, count)), self.recipe.subset, 64
                )
                with torch.no_grad():
                    latents = self.vae.encode(images.to(self.device)).latent_dist.mean
                parts.append((latents * self.vae.config.scaling_factor).half().cpu())
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"ids": self._tokens(captions), "latents": torch.cat(parts)}, path)
        cached = torch.load(path, weights_only=True)
        return cached["ids"], cached["latents"]

    def _forget_unused_words(self) -> None:
        """Words that no caption holds stay at zero: they then mean nothing, and the file
        compresses."""
        table = self.text_encoder.get_input_embeddings().weight
        used = torch.zeros(len(table), dtype=torch.bool)
        used[self.ids.flatten().unique()] = True
        with torch.no_grad():
            table[~used.to(table.device)] = 0

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The noise residual of cached latents, with or without their captions."""
        batch = self.recipe.batch_size
        chosen = torch.randint(len(self.latents), (batch,), generator=generator)
        latents = self.latents[chosen].float()
        ids = self.ids[chosen].clone()
        dropped = torch.rand(batch, generator=generator) < self.recipe.settings["caption_dropout"]
        ids[dropped] = self._tokens([""])
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(1000, (batch,), generator=generator)
        noisy = self.scheduler.add_noise(latents, noise, timesteps).to(self.device)
        words = self.text_encoder(ids.to(self.device)).last_hidden_state
        predicted = self.unet(noisy, timesteps.to(self.device), encoder_hidden_states=words).sample
        return min_snr_loss(
            predicted,
            noise,
            timesteps,
            self.scheduler.alphas_cumprod,
            self.recipe.settings["snr_gamma"],
        )

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
        sheet = Image.new("RGB", (8 * 64, 2 * 64))
        for number, image in enumerate(images):
            sheet.paste(image, (number % 8 * 64, number // 8 * 64))
        return sheet

    def save(self, folder: Path) -> None:
        """Write the whole pipeline."""
        self.pipeline().save_pretrained(folder)
