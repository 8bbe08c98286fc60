"""Chapter 3: the parts of Stable Diffusion, and text-to-image as one plain loop.

    model = "CompVis/stable-diffusion-v1-4"
    parts = load_parts(model, device="cuda", dtype=torch.float16)
    pictures = text_to_image(parts, "a cat on a blue background", seeds=1145)

Works on any Stable Diffusion 1.x, a folder or an id of the hub, and gives the pictures of
`diffusers.StableDiffusionPipeline` at the same seed. Chapter 3 of the book derives it line by line.
"""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from PIL import Image
from torch import Generator, Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from companion.door.numbers import listed, number, shown, whole
from companion.door.pictures import as_rgb
from companion.door.pipelines import check_first_level, check_steps, scheduler_class, try_steps
from companion.door.prompts import check_text
from companion.figures import to_pil

LARGEST_SIDE = 4096  # pixels, of what is drawn, and of what it is drawn from
# Called after every step with the step's number from 0, its timestep, and the latents it led to.
Callback = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class Parts:
    """What a Stable Diffusion is made of; `dataclasses.replace(parts, scheduler=...)` swaps one.

    Attributes:
        tokenizer: a prompt to token ids.
        text_encoder: token ids to embeddings, a vector for each token.
        vae: pictures to latents and back.
        unet: the noise in latents, given the timestep and the embeddings.
        scheduler: the noise levels, and the step from each to the next.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: SchedulerMixin

    @property
    def device(self) -> torch.device:
        """Where the UNet lies, and with it the loop."""
        return self.unet.device

    @property
    def vae_scale_factor(self) -> int:
        """Pixels to a latent along one side: each level of the VAE but the last halves the side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


@dataclass(frozen=True)
class TokenPieces:
    """A prompt as the text encoder gets it.

    Attributes:
        ids: `tokenizer.model_max_length` token ids (77 for CLIP): start, the prompt, end, padding.
        pieces: the vocabulary's entry for each id; "</w>" marks the end of a word.
        truncated: the end of the prompt that did not fit, "" if all did.
    """

    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    truncated: str


def load_parts(
    folder_or_id: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    variant: str | None = None,
) -> Parts:
    """Load the five parts of a Stable Diffusion 1.x for inference.

    Chapter 3, "Load the parts".

    Args:
        folder_or_id: a folder in `StableDiffusionPipeline`'s layout, or a model's id on the hub.
        device: where the three networks go.
        dtype: their precision, as a rule float32 on a CPU and float16 on a GPU.
        revision: the commit, tag or branch on the hub.
        variant: "fp16" loads the half-size weight files where the model has them.

    Raises:
        OSError: a part is not there, or has no safetensors.
        ValueError: the scheduler's file names no scheduler of Diffusers, or what was given is no
            folder or id.
    """
    if not isinstance(folder_or_id, str | Path) or not str(folder_or_id).strip():
        raise ValueError(
            f"{shown(folder_or_id)} is no model: give a folder, or an id of the hub such as "
            f"CompVis/stable-diffusion-v1-4."
        )

    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype is {shown(dtype)}, but it is torch's, such as torch.float16.")
    try:
        torch.device(device)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"device is {shown(device)}, but it is 'cpu', 'cuda' or 'mps'.") from error
    for what, name in (("revision", revision), ("variant", variant)):
        if not (name is None or isinstance(name, str)):
            raise ValueError(f"{what} is {shown(name)}, but it is a text.")

    def network(kind: Any, subfolder: str) -> Any:
        loaded = kind.from_pretrained(
            folder_or_id,
            subfolder=subfolder,
            dtype=dtype,
            revision=revision,
            variant=variant,
            use_safetensors=True,
        )
        return loaded.to(device).eval()

    # Any scheduler's class can read the file that names the right one.
    noise_levels = diffusers.PNDMScheduler.load_config(
        folder_or_id, subfolder="scheduler", revision=revision
    )
    name = noise_levels.get("_class_name")
    kind = scheduler_class(name)
    if kind is None:
        raise ValueError(f"The model's scheduler is {name!r}, which is none of Diffusers.")
    return Parts(
        tokenizer=CLIPTokenizer.from_pretrained(
            folder_or_id, subfolder="tokenizer", revision=revision
        ),
        text_encoder=network(CLIPTextModel, "text_encoder"),
        vae=network(AutoencoderKL, "vae"),
        unet=network(UNet2DConditionModel, "unet"),
        scheduler=kind.from_config(noise_levels),
    )


def token_pieces(tokenizer: CLIPTokenizer, prompt: str) -> TokenPieces:
    """Split a prompt into the tokens that the text encoder sees, padded and cut to their number.

    Chapter 3, "The prompt becomes tokens".

    Raises:
        ValueError: what is no tokenizer, or no text.
    """
    if not hasattr(tokenizer, "model_max_length"):
        raise ValueError(f"tokenizer is {shown(tokenizer)}, but it is that of a model's parts.")
    check_text("A prompt", prompt)
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, padding="max_length", max_length=limit, truncation=True).input_ids
    everything = tokenizer(prompt, verbose=False).input_ids
    # The last place is the end token's, so the words that are cut off begin one before the limit.
    cut_off = everything[limit - 1 : -1] if len(everything) > limit else []
    return TokenPieces(
        ids=tuple(ids),
        pieces=tuple(tokenizer.convert_ids_to_tokens(ids)),
        truncated=tokenizer.decode(cut_off),
    )


@torch.no_grad()
def encode_prompt(parts: Parts, prompt: str | Sequence[str]) -> Tensor:
    """Embed one prompt or several, as CLIP's last hidden states (Radford et al. 2021, section 2.4).

    Chapter 3, "Tokens become embeddings".

    Warns, naming the words, when the end of a prompt does not fit.

    Returns:
        Embeddings of shape (prompts, tokens, width); (1, 77, 768) for one prompt of SD 1.x.

    Raises:
        ValueError: no prompt, or one that is no text.
    """
    _check_parts(parts)
    split = [token_pieces(parts.tokenizer, text) for text in prompts_of(prompt)]
    for pieces in split:
        if pieces.truncated:
            warnings.warn(
                f"The text encoder takes {len(pieces.ids)} tokens, with start and end among them, "
                f"so this end of the prompt was cut off: '{pieces.truncated}'.",
                stacklevel=2,
            )
    ids = torch.tensor([pieces.ids for pieces in split], device=parts.text_encoder.device)
    return parts.text_encoder(ids).last_hidden_state.to(parts.device, parts.unet.dtype)


@torch.no_grad()
def encode_image(
    parts: Parts,
    images: Image.Image | Sequence[Image.Image] | Tensor,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Encode pictures into latents of about unit size (Rombach et al. 2022, section 3.1).

    Chapter 3, "Pictures become latents, and back".

    Args:
        parts: whose VAE and scaling factor are used.
        images: a PIL picture of any mode, or several of one size, or a tensor (b, 3, h, w) in
            -1..1.
        generator: with one, latents are drawn from the VAE's Gaussian, as for training; without,
            they are its mean.

    Returns:
        Latents of shape (b, channels, h / vae_scale_factor, w / vae_scale_factor).

    Raises:
        ValueError: another shape, sides that the VAE's factor does not divide, pictures of several
            sizes, or a generator that is not on the CPU.
    """
    _check_parts(parts)
    pixels = images if isinstance(images, Tensor) else _to_tensor(images)
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(
            "Pictures are a tensor of shape (batch, 3, height, width), but this one has the shape "
            f"{tuple(pixels.shape)}."
        )
    _check_size(parts, *pixels.shape[-2:])
    gaussian = parts.vae.encode(pixels.to(parts.vae.device, parts.vae.dtype)).latent_dist
    latents = gaussian.mean if generator is None else gaussian.sample(_on_cpu(generator))
    scale, shift = scale_and_shift(parts.vae)
    return (latents - shift) * scale


@torch.no_grad()
def decode_latents(parts: Parts, latents: Tensor) -> Tensor:
    """Decode latents, as `encode_image` gives them, into pictures (b, 3, h, w) of about -1..1.

    Chapter 3, "Pictures become latents, and back".

    Raises:
        ValueError: something else, or latents of another shape.
    """
    _check_parts(parts)
    channels = parts.vae.config.latent_channels
    shape = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
    if not isinstance(latents, Tensor) or latents.ndim != 4 or latents.shape[1] != channels:
        raise ValueError(
            f"Latents are a tensor of shape (batch, {channels}, height, width), but {shape} was "
            f"given."
        )
    if not latents.numel() or not latents.is_floating_point():
        raise ValueError(
            f"Latents are fractions, at least one a side, but {latents.dtype} of shape {shape} was "
            f"given."
        )
    scale, shift = scale_and_shift(parts.vae)
    latents = latents / scale + shift
    return parts.vae.decode(latents.to(parts.vae.device, parts.vae.dtype)).sample


def initial_noise(
    parts: Parts,
    height: int,
    width: int,
    generator: Generator | Sequence[Generator] | None,
    batch: int = 1,
) -> Tensor:
    """Draw standard normal latents for pictures of a size in pixels.

    Chapter 3, "The loop".

    Drawn on the CPU in float32 and then moved, so that one seed gives one noise everywhere.

    Args:
        parts: whose UNet the noise is for.
        height: in pixels, a multiple of `parts.vae_scale_factor`.
        width: in pixels, likewise.
        generator: one for the whole batch, one for each picture, or None for any noise.
        batch: how many pictures.

    Returns:
        Noise of shape (batch, channels, height / vae_scale_factor, width / vae_scale_factor).

    Raises:
        ValueError: a size that has no latents, no picture, or something else than generators, one
            for each picture.
    """
    _check_parts(parts)
    height, width = whole("height", height), whole("width", width)
    _check_size(parts, height, width)
    if whole("batch", batch) < 1:
        raise ValueError(f"batch is {batch}, but at least 1 picture is needed.")
    factor = parts.vae_scale_factor
    shape = (parts.unet.config.in_channels, height // factor, width // factor)
    if generator is None or isinstance(generator, Generator):
        noise = torch.randn((batch, *shape), generator=generator)
    else:
        several = [_on_cpu(each) for each in listed(generator)]
        if len(several) != batch:
            raise ValueError(
                f"There are {len(several)} generators, but batch is {batch}: give one for each "
                f"picture."
            )
        noise = torch.cat([torch.randn((1, *shape), generator=each) for each in several])
    return noise.to(parts.device, parts.unet.dtype)


@torch.no_grad()
def guided_noise(
    unet: UNet2DConditionModel,
    latents: Tensor,
    timestep: Tensor | int,
    embeddings: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Predict the noise with classifier-free guidance (Ho and Salimans 2022, equation 6).

    Chapter 3, "Guidance".

    noise = unconditional + guidance_scale * (conditional - unconditional). The scale is the paper's
    w plus 1: at 1 the unconditional half cancels out, so at 1 or less it is not computed.

    Args:
        unet: the noise predictor.
        latents: (b, channels, h, w), after the scheduler's `scale_model_input`.
        timestep: where on the way from noise to picture they are.
        embeddings: (2b, tokens, width), unconditional half first; (b, tokens, width) at a scale of
            1 or less.
        guidance_scale: how far to go from the unconditional towards and past the conditional.

    Returns:
        Noise of the shape of the latents.

    Raises:
        ValueError: something else than such tensors and numbers.
    """
    if not callable(unet):
        raise ValueError(f"unet is {shown(unet)}, but it is that of a model's parts.")
    for what, value, sides in (("latents", latents, 4), ("embeddings", embeddings, 3)):
        if not isinstance(value, Tensor) or value.ndim != sides:
            raise ValueError(f"{what} is {shown(value)}, but it is a tensor of {sides} sides.")
    if not isinstance(timestep, Tensor):
        number("timestep", timestep)
    if number("guidance_scale", guidance_scale) <= 1:
        return unet(latents, timestep, encoder_hidden_states=embeddings).sample
    both = unet(torch.cat([latents] * 2), timestep, encoder_hidden_states=embeddings).sample
    unconditional, conditional = both.chunk(2)
    # Equation 6, with s = w + 1: ε̂ = ε_uncond + s (ε_text - ε_uncond)
    return unconditional + guidance_scale * (conditional - unconditional)


@torch.no_grad()
def text_to_image(
    parts: Parts,
    prompt: str | Sequence[str],
    *,
    negative_prompt: str | Sequence[str] = "",
    height: int | None = None,
    width: int | None = None,
    num_inference_steps: int = 50,
    guidance_scale: float = 7.5,
    generator: Generator | Sequence[Generator] | None = None,
    seeds: int | Sequence[int] | None = None,
    callback: Callback | None = None,
) -> list[Image.Image]:
    """Draw a picture for each prompt (Rombach et al. 2022, section 3.3), by a plain loop.

    Chapter 3, "The loop".

    Args:
        parts: the model; its scheduler is copied, so calls do not disturb each other.
        prompt: what to draw: one text or several, a picture for each.
        negative_prompt: what to steer away from: one text for all, or one for each prompt. Of no
            effect without guidance.
        height: in pixels, a multiple of `parts.vae_scale_factor`; None is the size of the training.
        width: in pixels, likewise.
        num_inference_steps: noise levels. PNDM calls the UNet once more than that.
        guidance_scale: as for `guided_noise`; 1 or less is no guidance, at half the work.
        generator: a CPU generator for the batch, or one for each prompt.
        seeds: instead of generators: a seed for each prompt. A picture then depends on its own
            seed alone, not on the others in the batch.
        callback: called after each step with its number, its timestep, and the latents.

    Returns:
        RGB pictures, one for each prompt, in order.

    Raises:
        ValueError: no prompt, a size that the VAE's factor does not divide, no steps or more than
            noise levels, a guidance scale that is no number of 0 or more, a generator that is none
            or not on the CPU, both seeds and generator, not as many seeds, generators or negative
            prompts as prompts, or a scheduler that cannot step so or begins where the model can say
            nothing.
    """
    _check_parts(parts)
    if not (callback is None or callable(callback)):
        raise ValueError(f"callback is {shown(callback)}, but it is a function.")
    prompts = prompts_of(prompt)
    negatives = one_each("negative prompt", negative_prompt, prompts, shared=True)
    for text in negatives:
        check_text("A negative prompt", text)
    generator = generators_of(generator, seeds, prompts)
    num_inference_steps = whole("num_inference_steps", num_inference_steps)
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps is {num_inference_steps}, but at least 1 is needed.")
    _check_scheduler(parts.scheduler)
    check_steps(parts.scheduler, num_inference_steps)
    guidance_scale = guidance_of(guidance_scale)
    default = parts.unet.config.sample_size * parts.vae_scale_factor
    height = default if height is None else height
    width = default if width is None else width
    latents = initial_noise(parts, height, width, generator, batch=len(prompts))

    embeddings = encode_prompt(parts, prompts)
    if guidance_scale > 1:
        embeddings = torch.cat([encode_prompt(parts, negatives), embeddings])

    scheduler = _fresh(parts.scheduler)
    scheduler.set_timesteps(num_inference_steps, device=parts.device)
    check_first_level(scheduler, scheduler.timesteps[0])
    # Schedulers that draw noise at every step (DDPM, Euler ancestral) draw it from our generator.
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    drawn_from = {"generator": generator} if takes_generator else {}

    latents = latents * scheduler.init_noise_sigma
    for step, t in enumerate(scheduler.timesteps):
        model_input = scheduler.scale_model_input(latents, t)
        noise = guided_noise(parts.unet, model_input, t, embeddings, guidance_scale)
        latents = scheduler.step(noise, t, latents, **drawn_from).prev_sample
        if callback is not None:
            callback(step, t, latents)
    return to_pil(decode_latents(parts, latents))


def _check_parts(parts: Any) -> None:
    if not isinstance(parts, Parts):
        raise ValueError(f"parts is {shown(parts)}, but it is what load_parts gives.")


def _fresh(scheduler: SchedulerMixin) -> SchedulerMixin:
    """Copy a scheduler, which keeps state while it steps, and never clip what it predicts.

    Clipping to -1..1 is for pixels; latents are larger. DDIM clips unless its config says no, and
    PNDM's config, from which one makes it, may not say. The pipeline corrects this likewise.
    """
    if scheduler.config.get("clip_sample"):
        return type(scheduler).from_config(scheduler.config, clip_sample=False)
    return copy.deepcopy(scheduler)


def _check_scheduler(scheduler: Any) -> None:
    """It scales the noise, and steps from what the UNet says of latents, and from nothing else."""
    try:
        try_steps(_fresh(scheduler), {"num_inference_steps": 10}, 1)
    except Exception as error:  # each class has its own
        raise ValueError(
            f"A {type(scheduler).__name__} cannot draw with Stable Diffusion, as it steps in "
            f"another way: take PNDMScheduler, DDIMScheduler or another that does."
        ) from error


def guidance_of(scale: Any) -> float:
    """A guidance scale, made Python's own.

    Raises:
        ValueError: it is no number of 0 or more.
    """
    try:
        number = math.nan if isinstance(scale, str | bytes | bool) else float(scale)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # numpy, torch and Python differ
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(
            f"guidance_scale is {shown(scale)}, but it is a number of 0 or more; to steer away "
            f"from something, name it in negative_prompt."
        )
    return number


def scale_and_shift(vae: AutoencoderKL) -> tuple[float, float]:
    """By what the VAE's own latents are shifted, then multiplied, to give the UNet unit size."""
    return vae.config.scaling_factor, vae.config.get("shift_factor") or 0.0


def prompts_of(prompt: Any) -> list[str]:
    """One prompt or several, as a list of texts.

    Raises:
        ValueError: there is none, or one is no text.
    """
    prompts = listed(prompt)
    if not prompts:
        raise ValueError("The list of prompts is empty: give one at least.")
    for text in prompts:
        check_text("A prompt", text)
    return prompts


def one_each(what: str, given: Any, prompts: Sequence[str], *, shared: bool = False) -> list[Any]:
    """Give a list as long as the prompts; a single value is for one, or for all if shared.

    Args:
        what: how the sentence calls one of them.
        given: a value, or several.
        prompts: as `prompts_of` gives them.
        shared: whether a single value is for all.

    Raises:
        ValueError: there are not as many as prompts.
    """
    single = isinstance(given, str | bytes) or getattr(given, "ndim", 1) == 0
    if single or not hasattr(given, "__len__"):
        given = [given] * (len(prompts) if shared else 1)
    if len(given) != len(prompts):
        raise ValueError(
            f"There are {len(prompts)} prompts but {len(given)} {what}s: give one for each prompt."
        )
    return list(given)


def generators_of(
    generator: Generator | Sequence[Generator] | None,
    seeds: int | Sequence[int] | None,
    prompts: Sequence[str],
) -> Generator | list[Generator] | None:
    """The generators on the CPU that a batch of prompts draws its noise from.

    Raises:
        ValueError: both seeds and generator were given, not one for each prompt, or a generator
            that is none or not on the CPU.
    """
    if seeds is not None:
        if generator is not None:
            raise ValueError("Both seeds and generator were given: give one of them.")
        return [seeded(seed) for seed in one_each("seed", seeds, prompts)]
    if generator is None or isinstance(generator, Generator):
        return generator and _on_cpu(generator)
    return [_on_cpu(each) for each in one_each("generator", generator, prompts)]


def seeded(seed: Any) -> Generator:
    """A generator on the CPU.

    Raises:
        ValueError: the seed is no whole number, or has more than 64 bits.
    """
    number = whole("A seed", seed)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"A seed has 64 bits at most, but {shown(number)} was given.")
    return Generator().manual_seed(number)


def _on_cpu(generator: Any) -> Generator:
    if not isinstance(generator, Generator):
        raise ValueError(
            f"A generator is a torch.Generator, but {shown(generator)} was given: for a number "
            f"take seeds."
        )
    if generator.device.type != "cpu":
        raise ValueError(
            f"The generator is on {generator.device}, where a seed gives other noise: make it with "
            f"torch.Generator(), on the CPU; the noise is moved to the model by itself."
        )
    return generator


def _check_size(parts: Parts, height: int, width: int) -> None:
    factor = parts.vae_scale_factor
    if min(height, width) < 1 or height % factor or width % factor:
        raise ValueError(
            f"A picture of height {height} and width {width} has no latents: both must be "
            f"multiples of {factor}, the VAE's factor."
        )
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(
            f"A picture of height {height} and width {width} is too large: take at most "
            f"{LARGEST_SIDE} for both."
        )


def _to_tensor(images: Image.Image | Sequence[Image.Image]) -> Tensor:
    """PIL pictures as float32 (b, 3, h, w) in -1..1."""
    images = listed(images)
    for image in images:
        if not isinstance(image, Image.Image):
            raise ValueError(f"A picture is a PIL picture, but {shown(image)} was given.")
    images = [as_rgb(image) for image in images]
    sizes = {image.size for image in images}
    if len(sizes) != 1:
        raise ValueError(
            f"{len(images)} pictures of {len(sizes)} sizes were given: give one or more of the "
            f"same size."
        )
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
