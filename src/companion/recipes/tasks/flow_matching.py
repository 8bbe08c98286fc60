"""Trains text to image by flow matching: a text encoder and a transformer of the SD3 layout.

Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis". There
the text encoders are pretrained and frozen; here there is one, it begins as that of the zoo's
Stable Diffusion and learns on, and it stands in the place of both of SD3's CLIP models.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from companion.door.labels import Origin
from companion.figures import sheet
from companion.zoo.assembled import folder as embedded

from ..empty_tokens import OneForMany
from ..latents import LatentTask
from ..recipe import Recipe
from .text_to_image import PROMPTS


class FlowMatching(LatentTask):
    """The velocity from picture to noise along a straight path; the text encoder learns too."""

    origin = Origin.DRAWN

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        # First of all: their weights follow from the recipe's seed.
        self.transformer = SD3Transformer2DModel(**recipe.settings["transformer"]).to(device)
        self.text_encoder = CLIPTextModelWithProjection(
            CLIPTextConfig(**recipe.settings["text_encoder"])
        ).to(device)
        base = embedded(recipe.settings["text_encoder_from"])
        self._begin_as(
            CLIPTextModel.from_pretrained(
                base / "text_encoder", dtype=torch.float32, use_safetensors=True
            )
        )
        self.vae = AutoencoderKL.from_pretrained(
            embedded(recipe.settings["vae"]),
            dtype=torch.float32,
            use_safetensors=True,
            shift_factor=0.0,  # which SD3's pipeline adds
        ).to(device)
        self.tokenizer = CLIPTokenizer.from_pretrained(
            base / "tokenizer", model_max_length=recipe.settings["tokens"]
        )
        self.scheduler = FlowMatchEulerDiscreteScheduler(**recipe.settings["scheduler"])
        self.attention = OneForMany()
        self.transformer.set_attn_processor(self.attention)
        self.fill_cache(folder / "latents.safetensors")
        self.forget_unused_words()
        self.trained = nn.ModuleDict(
            {"transformer": self.transformer, "text_encoder": self.text_encoder}
        )

    def _begin_as(self, other: CLIPTextModel) -> None:
        """Take over embeddings, layers and last norm; a further layer stays as it was made."""
        own = self.text_encoder.state_dict()
        given = {
            name if name in own else f"text_model.{name}": weight
            for name, weight in other.state_dict().items()
        }
        self.text_encoder.load_state_dict({**own, **given})

    def words(self, ids: Tensor, empty: int) -> tuple[Tensor, Tensor]:
        """What the stock pipeline makes of token ids (batch, tokens): the last but one of the
        text encoder's states for each of two encoders, then the empty tokens, (batch, tokens +
        empty, 192), and the pooled words (batch, 192)."""
        encoded = self.text_encoder(ids.to(self.device), output_hidden_states=True)
        words = torch.cat([encoded.hidden_states[-2]] * 2, dim=-1)
        pooled = torch.cat([encoded.text_embeds] * 2, dim=-1)
        nothing = words.new_zeros(len(words), empty, words.shape[-1])
        return torch.cat([words, nothing], dim=1), pooled

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The velocity at a place of the path, with or without the caption.

        In every other step there are empty tokens, of any number that is asked for: so the model
        learns to draw alike with all that a stock pipeline may give it.
        """
        latents, ids, _ = self.batch(generator)
        noise = torch.randn(latents.shape, generator=generator)
        t = torch.randn(len(latents), generator=generator).sigmoid()  # logit-normal
        place = t[:, None, None, None]
        noisy, velocity = (1 - place) * latents + place * noise, noise - latents
        most = self.recipe.settings["most_empty_tokens"]
        self.attention.count = round(most ** torch.rand((), generator=generator).item())
        words, pooled = self.words(ids, empty=step % 2)
        if step % 2 == 0:
            self.attention.count = 1
        predicted = self.transformer(
            hidden_states=noisy.to(self.device),
            timestep=(1000 * t).to(self.device),
            encoder_hidden_states=words,
            pooled_projections=pooled,
        ).sample
        return (predicted.float() - velocity.to(self.device)).square().mean()

    def pipeline(self) -> StableDiffusion3Pipeline:
        """The parts as stock diffusers puts them together."""
        return StableDiffusion3Pipeline(
            transformer=self.transformer,
            scheduler=self.scheduler,
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            text_encoder_2=self.text_encoder,
            tokenizer_2=self.tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )

    def grid(self) -> Image.Image:
        """What the prompts of `text_to_image` give, 20 steps."""
        self.attention.count = 1
        pipeline = self.pipeline()
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            list(PROMPTS),
            num_inference_steps=20,
            guidance_scale=4.0,
            max_sequence_length=0,
            generator=torch.Generator().manual_seed(0),
        ).images
        return sheet(images, 8)

    def save(self, folder: Path) -> None:
        """Write what is the model's own: the other parts are embedded already."""
        pipeline = self.pipeline()
        pipeline.save_config(folder)
        for name in ("transformer", "text_encoder", "scheduler"):
            getattr(pipeline, name).save_pretrained(folder / name)
        self.vae.save_config(folder / "vae")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        (folder / "tokenizer" / "tokenizer.json").unlink()
