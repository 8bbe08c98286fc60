"""Text to image as a plain loop over a transformer of Stable Diffusion 3's layout."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from PIL import Image
from torch import Generator, Tensor
from transformers import (
    AutoTokenizer,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5EncoderModel,
)

from companion.door.numbers import shown, whole
from companion.figures import to_pil
from companion.stable_diffusion import (
    LARGEST_SIDE,
    generators_of,
    guidance_of,
    one_each,
    prompts_of,
    scale_and_shift,
    token_pieces,
)

from .sampling import Callback, Velocity, euler
from .times import flow_times

MOST_T5_TOKENS = 512
# What FlowMatchEulerDiscreteScheduler can do besides, and no model of this layout needs.
OTHERWISE = (
    "use_dynamic_shifting",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
)


@dataclass(frozen=True)
class Parts:
    """What Stable Diffusion 3 is made of, by the names that `StableDiffusion3Pipeline` takes.

    Attributes:
        tokenizer: a prompt to token ids, for the first text encoder.
        text_encoder: the first CLIP text model, with its projection.
        tokenizer_2: the same for the second.
        text_encoder_2: the second CLIP text model.
        tokenizer_3: that of T5; None where T5 is left out.
        text_encoder_3: T5's encoder; None puts zeros in the place of its tokens.
        vae: pictures to latents and back.
        transformer: the velocity of latents, given the time and the embeddings.
        scheduler: where the shift of the times stands.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModelWithProjection
    tokenizer_2: CLIPTokenizer
    text_encoder_2: CLIPTextModelWithProjection
    tokenizer_3: PreTrainedTokenizerBase | None
    text_encoder_3: PreTrainedModel | None
    vae: AutoencoderKL
    transformer: SD3Transformer2DModel
    scheduler: FlowMatchEulerDiscreteScheduler

    @property
    def device(self) -> torch.device:
        """Where the transformer lies, and with it the loop."""
        return self.transformer.device

    @property
    def vae_scale_factor(self) -> int:
        """Pixels to a latent along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


def load_parts(
    folder_or_id: str | Path,
    *,
    t5: bool = False,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
) -> Parts:
    """Load the parts of a model in Stable Diffusion 3's layout for inference.

    Chapter 7, "The parts".

    Args:
        folder_or_id: a folder in `StableDiffusion3Pipeline`'s layout, or a model's id on the hub.
        t5: load the third text encoder too, which is larger than all else together.
        device: where the networks go.
        dtype: their precision, as a rule float32 on a CPU and float16 on a GPU.
        revision: the commit, tag or branch on the hub.

    Raises:
        OSError: a part is not there, or has no safetensors.
        ValueError: what was given is no folder or id, no device or no precision.
    """
    if not isinstance(folder_or_id, str | Path) or not str(folder_or_id).strip():
        raise ValueError(
            f"{shown(folder_or_id)} is no model: give a folder, or an id of the hub such as "
            f"stabilityai/stable-diffusion-3-medium-diffusers."
        )
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype is {shown(dtype)}, but it is torch's, such as torch.float16.")
    try:
        torch.device(device)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"device is {shown(device)}, but it is 'cpu', 'cuda' or 'mps'.") from error

    def network(kind: Any, subfolder: str) -> Any:
        loaded = kind.from_pretrained(
            folder_or_id, subfolder=subfolder, revision=revision, dtype=dtype, use_safetensors=True
        )
        return loaded.to(device).eval()

    there: dict[str, Any] = {"revision": revision}
    return Parts(
        tokenizer=CLIPTokenizer.from_pretrained(folder_or_id, subfolder="tokenizer", **there),
        text_encoder=network(CLIPTextModelWithProjection, "text_encoder"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder_or_id, subfolder="tokenizer_2", **there),
        text_encoder_2=network(CLIPTextModelWithProjection, "text_encoder_2"),
        tokenizer_3=AutoTokenizer.from_pretrained(folder_or_id, subfolder="tokenizer_3", **there)
        if t5
        else None,
        text_encoder_3=network(T5EncoderModel, "text_encoder_3") if t5 else None,
        vae=network(AutoencoderKL, "vae"),
        transformer=network(SD3Transformer2DModel, "transformer"),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(
            folder_or_id, subfolder="scheduler", **there
        ),
    )


@torch.no_grad()
def encode_prompt(
    parts: Parts, prompt: str | Sequence[str], *, max_sequence_length: int = 256
) -> tuple[Tensor, Tensor]:
    """Embed one prompt or several for the transformer: Esser et al. 2024, section 4.

    Chapter 7, "The prompt, twice".

    Warns, naming the words, when the end of a prompt does not fit.

    Args:
        parts: whose tokenizers and text encoders are used.
        prompt: one text or several.
        max_sequence_length: tokens of T5, 0 to 512. Without T5 so many zeros stand there, as
            Diffusers puts them; with 0 there are none.

    Returns:
        A vector for each token, (prompts, tokens + max_sequence_length, width), and one for each
        prompt, (prompts, pooled width).

    Raises:
        ValueError: no prompt, one that is no text, or a length out of range.
    """
    _check_parts(parts)
    prompts = prompts_of(prompt)
    length = whole("max_sequence_length", max_sequence_length)
    if not 0 <= length <= MOST_T5_TOKENS:
        raise ValueError(f"max_sequence_length is 0 to {MOST_T5_TOKENS}, but {length} was given.")
    states, pooled = [], []
    encoders = (
        (parts.tokenizer, parts.text_encoder),
        (parts.tokenizer_2, parts.text_encoder_2),
    )
    for number, (tokenizer, encoder) in enumerate(encoders):
        split = [token_pieces(tokenizer, text) for text in prompts]
        for pieces in split if number == 0 else ():
            if pieces.truncated:
                warnings.warn(
                    f"The text encoder takes {len(pieces.ids)} tokens, with start and end among "
                    f"them, so this end of the prompt was cut off: '{pieces.truncated}'.",
                    stacklevel=2,
                )
        ids = torch.tensor([pieces.ids for pieces in split], device=encoder.device)
        encoded = encoder(ids, output_hidden_states=True)
        states.append(encoded.hidden_states[-2])
        pooled.append(encoded.text_embeds)
    words = torch.cat(states, dim=-1)
    third = _third(parts, prompts, length).to(words)
    words = torch.nn.functional.pad(words, (0, third.shape[-1] - words.shape[-1]))
    model = (parts.device, parts.transformer.dtype)
    return torch.cat([words, third], dim=1).to(*model), torch.cat(pooled, dim=-1).to(*model)


def _third(parts: Parts, prompts: Sequence[str], length: int) -> Tensor:
    """What T5 makes of the prompts, or zeros: (prompts, length, joint_attention_dim)."""
    if parts.text_encoder_3 is None or parts.tokenizer_3 is None:
        return torch.zeros(len(prompts), length, parts.transformer.config.joint_attention_dim)
    ids = parts.tokenizer_3(
        list(prompts),
        padding="max_length",
        max_length=max(length, 1),
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(parts.text_encoder_3.device)
    encoded: Tensor = parts.text_encoder_3(ids)[0]
    return encoded[:, :length]


def text_velocity(
    parts: Parts,
    prompt: str | Sequence[str],
    *,
    negative_prompt: str | Sequence[str] = "",
    guidance_scale: float = 7.0,
    max_sequence_length: int = 256,
) -> Velocity:
    """The transformer's velocity for prompts, with classifier-free guidance, as `euler` takes it.

    Chapter 7, "The loop". Guidance is that of Ho and Salimans 2022, equation 6, with velocities in
    the place of noises: u = u_uncond + scale (u_text - u_uncond).

    Args:
        parts: the model.
        prompt: one text or several, a place of the batch for each.
        negative_prompt: one text for all, or one for each prompt. Of no effect without guidance.
        guidance_scale: 1 or less is no guidance, at half the work.
        max_sequence_length: as for `encode_prompt`.

    Returns:
        A function of x_t, latents (prompts, channels, height, width), and t.

    Raises:
        ValueError: what `encode_prompt` refuses, not as many negative prompts as prompts, or a
            scale that is no number of 0 or more.
    """
    prompts = prompts_of(prompt)
    negatives = prompts_of(one_each("negative prompt", negative_prompt, prompts, shared=True))
    scale = guidance_of(guidance_scale)
    words, pooled = encode_prompt(parts, prompts, max_sequence_length=max_sequence_length)
    if scale > 1:
        others = encode_prompt(parts, negatives, max_sequence_length=max_sequence_length)
        words, pooled = torch.cat([others[0], words]), torch.cat([others[1], pooled])
    levels = parts.scheduler.config.num_train_timesteps

    @torch.no_grad()
    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        both = torch.cat([x_t] * 2) if scale > 1 else x_t
        answer: Tensor = parts.transformer(
            hidden_states=both,
            timestep=(levels * t).to(both.device).expand(len(both)),
            encoder_hidden_states=words,
            pooled_projections=pooled,
        ).sample
        if scale <= 1:
            return answer
        uncond, text = answer.chunk(2)
        return uncond + scale * (text - uncond)

    return velocity


@torch.no_grad()
def text_to_image(
    parts: Parts,
    prompt: str | Sequence[str],
    *,
    negative_prompt: str | Sequence[str] = "",
    height: int | None = None,
    width: int | None = None,
    num_inference_steps: int = 28,
    guidance_scale: float = 7.0,
    shift: float | None = None,
    max_sequence_length: int = 256,
    generator: Generator | Sequence[Generator] | None = None,
    seeds: int | Sequence[int] | None = None,
    callback: Callback | None = None,
) -> list[Image.Image]:
    """Draw a picture for each prompt by Euler's method: Esser et al. 2024, sections 2 and 4.

    Chapter 7, "The loop".

    Args:
        parts: the model; its scheduler is not changed.
        prompt: what to draw: one text or several, a picture for each.
        negative_prompt: what to steer away from: one text for all, or one for each prompt.
        height: in pixels, a multiple of the VAE's factor times the patch size; None is the size of
            the training, which is also the largest.
        width: in pixels, likewise.
        num_inference_steps: 1 to 1000.
        guidance_scale: as for `text_velocity`.
        shift: that of the times; None is the scheduler's own.
        max_sequence_length: as for `encode_prompt`.
        generator: a CPU generator for the batch, or one for each prompt.
        seeds: instead of generators: a seed for each prompt.
        callback: called with a `Step` in every step.

    Returns:
        RGB pictures, one for each prompt, in order.

    Raises:
        ValueError: what `text_velocity` and `flow_times` refuse, a size that has no latents or is
            too large, generators that are none or not on the CPU, both seeds and generator, or a
            scheduler that moves its times in another way.
    """
    _check_parts(parts)
    prompts = prompts_of(prompt)
    drawn_from = generators_of(generator, seeds, prompts)
    times = flow_times(num_inference_steps, _shift(parts.scheduler, shift))
    shape = _latent_shape(parts, height, width)
    if drawn_from is None or isinstance(drawn_from, Generator):
        noise = torch.randn((len(prompts), *shape), generator=drawn_from)
    else:
        noise = torch.cat([torch.randn((1, *shape), generator=each) for each in drawn_from])
    velocity = text_velocity(
        parts,
        prompts,
        negative_prompt=negative_prompt,
        guidance_scale=guidance_scale,
        max_sequence_length=max_sequence_length,
    )
    noise = noise.to(parts.device, parts.transformer.dtype)
    latents = euler(velocity, noise, times, callback=callback)
    scale, moved = scale_and_shift(parts.vae)
    latents = (latents / scale + moved).to(parts.vae.device, parts.vae.dtype)
    return list(to_pil(parts.vae.decode(latents).sample))


def _check_parts(parts: Any) -> None:
    if not isinstance(parts, Parts):
        raise ValueError(
            f"parts is {shown(parts)}, but it is what companion.flow.load_parts gives."
        )


def _shift(scheduler: Any, shift: float | None) -> float:
    """The shift that was asked for, or the scheduler's."""
    config = getattr(scheduler, "config", {})
    if "shift" not in config:
        raise ValueError(
            f"The scheduler is {type(scheduler).__name__}, but this loop is for "
            f"FlowMatchEulerDiscreteScheduler."
        )
    for option in OTHERWISE:
        if config.get(option):
            raise ValueError(
                f"The scheduler has {option}, which this loop does not know: make it anew with "
                f"from_config(scheduler.config, {option}=None)."
            )
    return config["shift"] if shift is None else shift


def _latent_shape(parts: Parts, height: Any, width: Any) -> tuple[int, int, int]:
    """(channels, height, width) of latents for a size in pixels."""
    config, factor = parts.transformer.config, parts.vae_scale_factor
    default = config.sample_size * factor
    height = default if height is None else whole("height", height)
    width = default if width is None else whole("width", width)
    step = factor * config.patch_size
    if min(height, width) < 1 or height % step or width % step:
        raise ValueError(
            f"A picture of height {height} and width {width} has no patches: both must be "
            f"multiples of {step}, the VAE's factor times the side of a patch."
        )
    most = min(config.pos_embed_max_size * step, LARGEST_SIDE)
    if max(height, width) > most:
        raise ValueError(
            f"A picture of height {height} and width {width} is too large: the model knows places "
            f"for at most {most} on a side."
        )
    return config.in_channels, height // factor, width // factor
