"""What the tasks share that train in the VAE's latents: scenes encoded once, captions as tokens;
and the noise residual, for those that train a UNet.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from torch import Tensor
from tqdm.auto import tqdm
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from companion.door import Untrusted
from companion.scenes import Scene
from companion.training.loss import min_snr_loss

from .pictures import scene_batch
from .stored import checksum, read, store
from .trainer import Task, step_generator

Rows = dict[str, Tensor]  # by name; a row for each of the scenes


class LatentTask(Task):
    """Latents of scenes and their captions, now and then without the caption.

    A subclass builds the parts below, then calls `fill_cache`.
    """

    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel | CLIPTextModelWithProjection
    cached: Rows

    def condition(self, images: Tensor, scenes: list[Scene], generator: torch.Generator) -> Rows:
        """What else belongs to the scenes, to be kept with their latents.

        Args:
            images: the scenes' pixels, (batch, 3, 64, 64) in -1..1.
            scenes: the scenes themselves.
            generator: for what is random, on the CPU.
        """
        return {}

    def tokens(self, captions: list[str]) -> Tensor:
        """Token ids, (captions, tokens): as many as the tokenizer gives at most, 77 for CLIP's."""
        return self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids

    def fill_cache(self, path: Path) -> None:
        """Token ids (scenes, tokens), scaled latents (scenes, 4, 16, 16) and the rows of
        `condition`, made once and kept beside the run; made again where the file is damaged or of
        others."""
        count = self.recipe.settings["cached_scenes"]
        told = {
            "scenes": f"{count} of {self.recipe.subset}, seed {self.recipe.seed}",
            "vae": checksum(self.vae.state_dict(), {}),
        }
        try:
            self.cached, kept = read(path)
        except (FileNotFoundError, Untrusted):
            kept = {}
        if kept != told:
            parts: list[Rows] = []
            for start in tqdm(range(0, count, 50), desc="encoding scenes", unit="batch"):
                seeds = range(start, min(start + 50, count))
                images, scenes = scene_batch(seeds, self.recipe.subset, 64)
                with torch.no_grad():
                    latents = self.vae.encode(images.to(self.device)).latent_dist.mean
                given = self.condition(images, scenes, step_generator(self.recipe.seed, start))
                parts.append(
                    {
                        "ids": self.tokens([scene.caption for scene in scenes]),
                        "latents": (latents * self.vae.config.scaling_factor).half().cpu(),
                        **{name: rows.half() for name, rows in given.items()},
                    }
                )
            self.cached = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            store(path, self.cached, told)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Rows]:
        """Cached latents (batch, 4, 16, 16), token ids (batch, tokens), part of them those of "",
        and the rows of `condition`, on the CPU."""
        count = self.recipe.batch_size
        chosen = torch.randint(len(self.cached["latents"]), (count,), generator=generator)
        given = {name: rows[chosen] for name, rows in self.cached.items()}
        latents, ids = given.pop("latents").float(), given.pop("ids")
        dropped = torch.rand(count, generator=generator) < self.recipe.settings["caption_dropout"]
        ids[dropped] = self.tokens([""])
        return latents, ids, {name: rows.float() for name, rows in given.items()}

    def forget_unused_words(self) -> None:
        """Words that no caption holds stay at zero: they then mean nothing, and the file
        compresses."""
        table = self.text_encoder.get_input_embeddings().weight
        used = torch.zeros(len(table), dtype=torch.bool)
        used[self.cached["ids"].flatten().unique()] = True
        with torch.no_grad():
            table[~used.to(table.device)] = 0


class NoiseResidualTask(LatentTask):
    """Mean squared error of the noise that a UNet predicts, min-SNR weighted."""

    scheduler: PNDMScheduler
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel

    def words(self, ids: Tensor) -> Tensor:
        """The text encoder's states of token ids (batch, 77): (batch, 77, width)."""
        return self.text_encoder(ids.to(self.device)).last_hidden_state

    def unet_inputs(self, noisy: Tensor, given: Rows, generator: torch.Generator) -> Rows:
        """What the UNet is given besides timesteps and words, by the names of its arguments.

        Args:
            noisy: latents with noise, (batch, 4, 16, 16), on the task's device.
            given: the rows of `condition` that belong to them, on the CPU.
            generator: for what is random, on the CPU.
        """
        return {"sample": noisy}

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        words: Tensor,
        given: Rows,
        generator: torch.Generator,
    ) -> Tensor:
        """The noise residual in the latents, (batch, 4, 16, 16)."""
        inputs = self.unet_inputs(noisy, given, generator)
        return self.unet(timestep=timesteps, encoder_hidden_states=words, **inputs).sample

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The noise residual of cached latents, with or without their captions."""
        latents, ids, given = self.batch(generator)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(1000, (len(latents),), generator=generator)
        noisy = self.scheduler.add_noise(latents, noise, timesteps).to(self.device)
        predicted = self.predict(
            noisy, timesteps.to(self.device), self.words(ids), given, generator
        )
        return min_snr_loss(
            predicted,
            noise,
            timesteps,
            self.scheduler.alphas_cumprod,
            self.recipe.settings["snr_gamma"],
            self.recipe.settings["mean_weight"],
        )
