"""The model that learns, what of it is trained, and the loss of a step."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from companion.door import printable
from companion.door.models import check_model_folder
from companion.door.text import fault_of
from companion.stable_diffusion import Parts, encode_image, load_parts
from companion.training.loss import diffusion_loss, draw_noise, target
from companion.zoo import folder as embedded
from companion.zoo.registry import entries

from .config import FinetuneConfig
from .drawing import pipeline_of
from .examples import Examples, token_of
from .lowrank import add_lora
from .saving import save_lora
from .words import NewWords, add_words, save_words, token_names, unknown_words


class Trained(nn.Module):
    """The weights that are trained, by name; they are the model's own, not copies."""

    def __init__(self, weights: dict[str, nn.Parameter]) -> None:
        super().__init__()
        for name, weight in weights.items():
            self.register_parameter(name.replace(".", "/"), weight)


class Learner:
    """A Stable Diffusion, and of it what the method trains.

    Args:
        config: the settings.
        device: where it learns.

    Attributes:
        parts: the model's.
        trained: what is trained.
        token: the new word, or None.
        unknown_words: words of the captions that have no embedding of their own, see
            `companion.finetuning.unknown_words`; known after `look_at`.

    Raises:
        ValueError: there is no such model, or the settings do not fit it.
    """

    def __init__(self, config: FinetuneConfig, device: torch.device) -> None:
        self.config = config
        self.parts = load(config.model, device)
        parts = self.parts
        for network in (parts.unet, parts.text_encoder, parts.vae):
            network.requires_grad_(False)
        self.token = token_of(config)
        self.new_words: NewWords | None = None
        if self.token is not None:
            self.new_words = add_words(
                parts.tokenizer,
                parts.text_encoder,
                self.token,
                vectors=config.vectors,
                initial_word=config.initial_word,
                seed=config.seed,
            )
        weights: dict[str, nn.Parameter] = {}
        if config.method == "lora":
            weights |= _lora(parts.unet, "unet", config, config.layers)
            if config.text_encoder:
                weights |= _lora(parts.text_encoder, "text_encoder", config, "all")
        elif config.method == "dreambooth":
            weights |= _whole(parts.unet, "unet")
            if config.text_encoder:
                weights |= _whole(parts.text_encoder, "text_encoder")
        if self.new_words is not None:
            weights["token"] = self.new_words.rows
        self.trained = Trained(weights)
        self._words_change = config.text_encoder or self.new_words is not None
        self.unknown_words: tuple[str, ...] = ()
        self._encoded: dict[str, Tensor] = {}
        self._noise = DDPMScheduler.from_config(parts.scheduler.config)

    @property
    def weights(self) -> list[nn.Parameter]:
        """What the optimiser moves."""
        return list(self.trained.parameters())

    def pipeline(self) -> StableDiffusionPipeline:
        """The model as stock Diffusers draws with it, in the state that it is in."""
        return pipeline_of(self.parts)

    def look_at(self, examples: Examples, prior: Examples | None) -> None:
        """Encode all pictures, once: latents of shape (pictures, 4, side / 8, side / 8)."""
        parts = self.parts
        self.unknown_words = unknown_words(parts.tokenizer, parts.text_encoder, examples.captions)
        self._latents = self._encode(examples)
        self._captions = [self.expanded(text) for text in examples.captions]
        self._check_lengths()
        if prior is not None:
            self._prior_latents = self._encode(prior)
            self._prior_captions = list(prior.captions)

    def _check_lengths(self) -> None:
        """A text encoder reads so many tokens, and what is behind them is never learned.

        Raises:
            ValueError: the new word is behind them.
        """
        tokenizer, cut = self.parts.tokenizer, 0
        for text in dict.fromkeys(self._captions):
            whole = tokenizer(text).input_ids
            read = tokenizer(text, truncation=True).input_ids
            cut += len(read) < len(whole)
            if self.token is not None:
                names = token_names(self.token, self.config.vectors)
                if not set(tokenizer.convert_tokens_to_ids(names)) <= set(read):
                    raise ValueError(
                        f"The text encoder reads {len(read)} tokens of a caption, and the new word "
                        f"{printable(self.token)} does not lie among them: shorten the caption, or "
                        "take fewer vectors."
                    )
        if cut:
            warnings.warn(
                f"{cut:,} of the captions have more than {tokenizer.model_max_length} tokens, and "
                "their ends are not read: shorten them.",
                stacklevel=4,
            )

    def expanded(self, prompt: str) -> str:
        """The prompt with all embeddings of the new word where the word stands."""
        if self.token is None or self.config.vectors == 1:
            return prompt
        return prompt.replace(self.token, " ".join(token_names(self.token, self.config.vectors)))

    def loss(self, step: int) -> Tensor:
        """Of a step, counted from 0, a scalar: how wrong the predicted noise is on some of the
        pictures, and on as many of the prior. What is random follows from seed and step."""
        config = self.config
        chance = np.random.default_rng((config.seed, step))
        together = config.train_batch_size * (2 if config.prior_weight else 1)
        first = step * together
        loss = self._error(self._latents, self._captions, chance, first)
        if config.prior_weight:
            prior = self._error(
                self._prior_latents,
                self._prior_captions,
                chance,
                first + config.train_batch_size,
            )
            loss = loss + config.prior_weight * prior  # Ruiz et al. 2022, equation 2
        return loss

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write what was learned, as stock Diffusers loads it.

        Args:
            folder: where to.
            whole: with DreamBooth, all parts of the pipeline, not the trained ones alone.
        """
        config, parts = self.config, self.parts
        if config.method == "lora":
            save_lora(folder, parts.unet, parts.text_encoder if config.text_encoder else None)
        if self.new_words is not None:
            assert self.token is not None
            save_words(self.new_words, self.token, folder)
        if config.method == "dreambooth":
            if self.new_words is not None:  # the new word has its own file
                parts.text_encoder.set_input_embeddings(self.new_words.table)
            try:
                if whole:
                    tokenizer = load_tokenizer(config.model) if self.new_words else parts.tokenizer
                    plain = dataclasses.replace(parts, tokenizer=tokenizer)
                    pipeline_of(plain).save_pretrained(folder, max_shard_size="1TB")
                else:
                    parts.unet.save_pretrained(folder / "unet", max_shard_size="1TB")
                    if config.text_encoder:
                        parts.text_encoder.save_pretrained(folder / "text_encoder")
            finally:
                if self.new_words is not None:
                    parts.text_encoder.set_input_embeddings(self.new_words)

    def _encode(self, examples: Examples) -> Tensor:
        pixels = examples.pixels.float() / 127.5 - 1
        return torch.cat([encode_image(self.parts, part) for part in pixels.split(16)])

    def _error(
        self, latents: Tensor, captions: list[str], chance: np.random.Generator, first: int
    ) -> Tensor:
        config, parts = self.config, self.parts
        chosen = chance.integers(len(latents), size=config.train_batch_size)
        dropped = chance.random(len(chosen)) < config.caption_dropout
        said = ["" if drop else captions[n] for n, drop in zip(chosen, dropped, strict=True)]
        clean = latents[torch.from_numpy(chosen)]
        levels = self._noise.config.num_train_timesteps
        noise, t = draw_noise(clean, levels, seed=config.seed, first=first)
        noisy = self._noise.add_noise(clean, noise, t)
        predicted = parts.unet(noisy, t, self._encode_words(said)).sample
        wanted = target(self._noise, clean, noise, t)
        return diffusion_loss(predicted, wanted, t, self._noise, config.snr_gamma)

    def _encode_words(self, captions: Sequence[str]) -> Tensor:
        """(captions, tokens, width); each caption once, and only once in all where the text encoder
        stays as it is."""
        known = {} if self._words_change else self._encoded
        new = [text for text in dict.fromkeys(captions) if text not in known]
        if new:
            ids = self.parts.tokenizer(
                new, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            states = self.parts.text_encoder(ids.to(self.parts.device)).last_hidden_state
            known.update(zip(new, states, strict=True))
        return torch.stack([known[text] for text in captions])


def load(model: str, device: torch.device) -> Parts:
    """The parts of a Stable Diffusion of the zoo or of a folder, in float32.

    Raises:
        ValueError: it is none, or not of the form of Stable Diffusion 1.x.
    """
    place = folder_of(model)
    check_model_folder(place)
    try:
        parts = load_parts(place, device=device)
        tokens = parts.tokenizer.model_max_length
        fits = parts.unet.config.cross_attention_dim == parts.text_encoder.config.hidden_size
        channels = parts.unet.config.in_channels, parts.vae.config.latent_channels
    except Exception as error:  # libraries raise what they like
        raise ValueError(
            f"{model!r} could not be loaded as a Stable Diffusion 1.x ({fault_of(error)}): name "
            "the zoo's stable-diffusion, or a folder in that layout."
        ) from error
    if not fits or channels[0] != channels[1] or tokens > 10_000:
        raise ValueError(
            f"{model!r} is no text-to-image model of the form of Stable Diffusion 1.x: name the "
            "zoo's stable-diffusion, or a folder in that layout."
        )
    return parts


def load_tokenizer(model: str) -> CLIPTokenizer:
    """The model's tokenizer, without new words."""
    return CLIPTokenizer.from_pretrained(folder_of(model) / "tokenizer")


def folder_of(model: str) -> Path:
    """Where a model of that name lies: among the zoo's, or in the folder of that name."""
    if model in entries():
        return embedded(model)
    try:
        return Path(model).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"There is no model {printable(model)}: no such user is known. Name one of the zoo, or "
            "a folder."
        ) from error


def _lora(
    network: nn.Module, name: str, config: FinetuneConfig, layers: str
) -> dict[str, nn.Parameter]:
    added = add_lora(network, config.rank, config.alpha, layers=layers, seed=config.seed)
    return {
        f"{name}.{place}.{part}": getattr(layer, part)
        for place, layer in added.items()
        for part in ("down", "up")
    }


def _whole(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """All weights of a network; a new word's rows have a name of their own."""
    weights = {
        place: weight
        for place, weight in network.named_parameters()
        if not place.endswith("token_embedding.rows")
    }
    for weight in weights.values():
        weight.requires_grad_(True)
    return {f"{name}.{place}": weight for place, weight in weights.items()}
