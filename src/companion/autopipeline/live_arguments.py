"""The arguments that no file can tell, such as tensors: each is one a pipeline can work with."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor

from companion.door.numbers import number, shown, whole

from .arguments import unknown

SAME_EVERYWHERE = (
    "is the same everywhere, so there is nothing to keep to: take one with things nearer and "
    "farther, or load 'image-to-image'."
)
# What pipelines call them with.
CALLBACKS = {
    "callback": ("the step's number", "its timestep", "the latents"),
    "callback_on_step_end": ("the pipeline", "the step's number", "its timestep", "a dict"),
}


def check_live_arguments(
    pipe: Any, task: str, values: Mapping[str, Any], prompts: int, seeds: int
) -> None:
    """Look at what no file can tell: tensors, callbacks, names.

    Raises:
        ValueError: a pipeline would fail with it in its own words.
    """
    if values.get("output_type", "pil") != "pil":
        raise ValueError(
            f"output_type is {shown(values['output_type'])}, but RGB pictures are given back: "
            f"leave it out, or call the pipeline itself."
        )
    _check_tensors(pipe, task, values, prompts, seeds)
    _check_callbacks(pipe, values)
    _check_adapter(pipe, values)
    attention = values.get("cross_attention_kwargs", {})
    if not isinstance(attention, dict) or not all(isinstance(name, str) for name in attention):
        raise ValueError(
            f"cross_attention_kwargs is {shown(attention)}, but it is a dict, such as "
            f"{{'scale': 0.5}}, the weight of a LoRA."
        )
    if isinstance(unet := getattr(pipe, "unet", None), UNet2DConditionModel):
        known = _of_attention(unet)
        for name in attention:
            if name not in known:
                raise unknown(name, known, "of cross_attention_kwargs")
    if "scale" in attention:
        number("scale of cross_attention_kwargs", attention["scale"])


def _of_attention(unet: UNet2DConditionModel) -> list[str]:
    """What a UNet's attention takes besides what the UNet gives it; others it leaves out."""
    known = ["scale", "ip_adapter_masks"]
    if getattr(unet, "position_net", None) is not None:
        known.append("gligen")
    for processor in unet.attn_processors.values():
        known += list(inspect.signature(processor.__call__).parameters)
    own = {"attn", "hidden_states", "encoder_hidden_states", "attention_mask", "temb"}
    return [name for name in dict.fromkeys(known) if name not in {*own, "args", "kwargs"}]


def _check_tensors(
    pipe: Any, task: str, values: Mapping[str, Any], prompts: int, seeds: int
) -> None:
    if "latents" in values:
        _check_tensor("latents", values["latents"], (seeds, *_latent_shape(pipe, task, values)))
    if "masked_image_latents" in values:
        masked = values["masked_image_latents"]
        _check_tensor("masked_image_latents", masked, (None, *_latent_shape(pipe, task, values)))
    if "negative_prompt_embeds" in values:
        if "negative_prompt" in values:
            raise ValueError("negative_prompt and negative_prompt_embeds say the same: give one.")
        shape = (prompts, pipe.tokenizer.model_max_length, pipe.unet.config.cross_attention_dim)
        _check_tensor("negative_prompt_embeds", values["negative_prompt_embeds"], shape)
    if "depth_map" in values:
        depth = values["depth_map"]
        _check_tensor("depth_map", depth, (None, None, None))
        if len(depth) not in (1, seeds):
            raise ValueError(
                f"There are {len(depth)} depths in depth_map for {seeds} pictures: give one for "
                f"each, or one for all."
            )
        if is_flat(depth):
            raise ValueError(f"The depth of depth_map {SAME_EVERYWHERE}")


def _latent_shape(pipe: Any, task: str, values: Mapping[str, Any]) -> tuple[int, int, int]:
    channels = pipe.vae.config.latent_channels
    if task == "super-resolution":
        return channels, values["image"].height, values["image"].width
    default = pipe.unet.config.sample_size * pipe.vae_scale_factor
    height, width = (values.get(side, default) for side in ("height", "width"))
    return channels, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor


def _check_tensor(name: str, value: Any, shape: Sequence[int | None]) -> None:
    """None in the shape is any number of at least 1."""
    wanted = "x".join("any" if side is None else str(side) for side in shape)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is a tensor of {wanted} fractions, but {kind} was given.")
    sides = zip(value.shape, shape, strict=False)
    if len(value.shape) != len(shape) or any(a != b if b else a < 1 for a, b in sides):
        given = "x".join(map(str, value.shape)) or "no side"
        raise ValueError(f"{name} is a tensor of {given}, but this call needs one of {wanted}.")
    if not value.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite numbers: give finite ones.")


def is_flat(depth: Tensor) -> bool:
    """Whether one of several depths (b, h, w) is the same everywhere: pipelines divide by that."""
    return bool((depth.flatten(1).amax(1) == depth.flatten(1).amin(1)).any())


def _check_callbacks(pipe: Any, values: Mapping[str, Any]) -> None:
    for name, takes in CALLBACKS.items():
        if name in values and not (callable(values[name]) and _takes(values[name], len(takes))):
            raise ValueError(
                f"{name} is {shown(values[name])}, but it is a function that takes "
                f"{', '.join(takes)}."
            )
    if "callback_steps" in values and whole("callback_steps", values["callback_steps"]) < 1:
        raise ValueError(
            f"callback_steps is {shown(values['callback_steps'])}, but at least 1 is needed."
        )
    known = getattr(pipe, "_callback_tensor_inputs", [])
    names = values.get("callback_on_step_end_tensor_inputs", [])
    if not isinstance(names, list | tuple) or any(name not in known for name in names):
        raise ValueError(
            f"callback_on_step_end_tensor_inputs is {shown(names)}, but it is a list of names of "
            f"{', '.join(known)}."
        )


def _takes(function: Any, count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as one can see."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # written in C
        pass
    return True


def _check_adapter(pipe: Any, values: Mapping[str, Any]) -> None:
    given = [name for name in ("ip_adapter_image", "ip_adapter_image_embeds") if name in values]
    if not given:
        return
    if getattr(pipe.unet, "encoder_hid_proj", None) is None:
        raise ValueError(
            f"{given[0]} needs an IP-Adapter, and this pipeline has none: call "
            f"pipe.load_ip_adapter before, or leave it out."
        )
    if len(given) == 2:
        raise ValueError("ip_adapter_image and ip_adapter_image_embeds say the same: give one.")
    embeddings = values.get("ip_adapter_image_embeds", [])
    if not isinstance(embeddings, list) or not all(
        isinstance(embedding, Tensor) and embedding.ndim == 3 for embedding in embeddings
    ):
        raise ValueError(
            "ip_adapter_image_embeds is a list of tensors of three sides, one for each adapter, "
            "but something else was given."
        )
