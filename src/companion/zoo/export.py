"""A Stable Diffusion as the book's pages run it: two files and a list of merges.

The engine of the pages (`book/_static/live/engine`) follows these files, and is written for no one
size: sizes come from the configuration, layers from the names of the weights. What it does not know
is refused here.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from companion.door.numbers import shown
from companion.door.text import fault_of

__all__ = ["export"]

MODEL, WEIGHTS, MERGES = "model.json", "model.safetensors", "merges.txt"
TOKENS = "text_encoder.embeddings.token_embedding.weight"

# What the engine can do where a configuration leaves a choice; None is Diffusers' default.
KNOWN: dict[str, dict[str, tuple[Any, ...]]] = {
    "unet": {
        "_class_name": ("UNet2DConditionModel",),
        "act_fn": ("silu",),
        "attention_type": ("default",),
        "center_input_sample": (False,),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "downsample_padding": (1,),
        "dual_cross_attention": (False,),
        "mid_block_scale_factor": (1,),
        "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "only_cross_attention": (False,),
        "resnet_out_scale_factor": (1,),
        "resnet_skip_time_act": (False,),
        "resnet_time_scale_shift": ("default",),
        "time_embedding_type": ("positional",),
    },
    "vae": {
        "_class_name": ("AutoencoderKL",),
        "act_fn": ("silu",),
        "in_channels": (3,),
        "mid_block_add_attention": (True,),
        "out_channels": (3,),
        "use_post_quant_conv": (True,),
        "use_quant_conv": (True,),
    },
    "text_encoder": {
        "hidden_act": ("quick_gelu",),
        "max_position_embeddings": (77,),
        "model_type": ("clip_text_model",),
        "vocab_size": (49408,),
    },
    "scheduler": {
        "beta_schedule": ("scaled_linear",),
        "prediction_type": ("epsilon",),
        "rescale_betas_zero_snr": (False,),
        "thresholding": (False,),
        "variance_type": ("fixed_small",),
    },
}
# What the engine reckons with, and has no default for.
NUMBERS = {
    "unet": ("freq_shift", "norm_eps"),
    "vae": ("scaling_factor",),
    "text_encoder": ("layer_norm_eps",),
    "scheduler": ("beta_start", "beta_end"),
}
# What must be left out, or be None or false.
NOT_KNOWN = {
    "unet": (
        "addition_embed_type",
        "class_embed_type",
        "cross_attention_norm",
        "encoder_hid_dim",
        "num_class_embeds",
        "reverse_transformer_layers_per_block",
        "time_cond_proj_dim",
        "time_embedding_act_fn",
        "time_embedding_dim",
        "timestep_post_act",
    ),
    "vae": ("latents_mean", "latents_std"),
    "text_encoder": (),
    "scheduler": ("trained_betas",),
}
MERGE_COUNT = 48_894  # of CLIP's tokenizer: the numbers of tokens follow from it
# Of weights. Unpacked they take up to 3.6 times that, and the engine has 2 GiB for all of it.
MOST_BYTES = 400 * 10**6
BLOCKS = {
    "unet": {"CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"},
    "vae": {"DownEncoderBlock2D", "UpDecoderBlock2D"},
}
# Layers that read the same are one product: queries, keys and values, as in Diffusers' fused ones.
# The pattern of the first, the names of all by their letters, and the name of the joined one.
JOINED = (
    (re.compile(r"(.*\.attn1)\.to_q\.(.*)"), "qkv", "{0}.to_{1}.{2}"),
    (re.compile(r"(.*\.attn2)\.to_k\.(.*)"), "kv", "{0}.to_{1}.{2}"),
    (re.compile(r"(vae\..*\.attentions\.0)\.to_q\.(.*)"), "qkv", "{0}.to_{1}.{2}"),
    (re.compile(r"(.*\.self_attn)\.q_proj\.(.*)"), "qkv", "{0}.{1}_proj.{2}"),
)


def export(folder: Path, to: Path) -> dict[str, Path]:
    """Write a model as the book's pages run it.

    The page "The whole model in 900 lines" shows the code that reads it.

    Args:
        folder: a Stable Diffusion in the Diffusers layout, such as `companion.zoo.folder` gives.
        to: the folder that is written to; it is made, and files in it of these names are replaced.

    Returns:
        Where the three files lie, by their names. `model.json` has the configurations and which
        tokens training met; `model.safetensors` the weights in half precision, with their names of
        Diffusers behind "unet.", "vae." and "text_encoder."; `merges.txt` the tokenizer's merges.

    Raises:
        FileNotFoundError: the folder has no such model.
        ValueError: it has something that the engine of the pages does not know.
    """
    from safetensors.numpy import save_file  # numpy's own, without torch

    configs = {part: _config(folder, part) for part in KNOWN}
    for part, config in configs.items():
        _check_choices(part, config)
    _check_sizes(configs)
    weights = _weights(folder)
    if TOKENS not in weights or weights[TOKENS].ndim != 2 or not weights[TOKENS].size:
        raise ValueError(f"{folder / 'text_encoder'} has no table {TOKENS}: save the model anew.")
    met = np.flatnonzero(np.abs(weights[TOKENS]).max(axis=1))
    weights[TOKENS] = np.ascontiguousarray(weights[TOKENS][met])
    size = sum(array.nbytes for array in weights.values())
    if size > MOST_BYTES:
        raise ValueError(
            f"The model has {size / 10**6:.0f} MB of weights in half precision, but a page can "
            f"hold no more than {MOST_BYTES / 10**6:.0f}: take a smaller one."
        )
    model = {**configs, "known_tokens": met.tolist()}
    merges = _merges(folder)

    to.mkdir(parents=True, exist_ok=True)
    files = {name: to / name for name in (MODEL, WEIGHTS, MERGES)}
    files[MODEL].write_text(json.dumps(model, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_file(weights, files[WEIGHTS])
    files[MERGES].write_text("\n".join(merges), encoding="utf-8")
    return files


def _config(folder: Path, part: str) -> dict[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    path = folder / part / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no Stable Diffusion: it has no {part}/{name}. Give the folder of one "
            f"in the Diffusers layout."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): get the model anew.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings by name: get the model anew.")
    return config


def _check_choices(part: str, config: Mapping[str, Any]) -> None:
    for key, values in KNOWN[part].items():
        if config.get(key) is not None and config[key] not in values:
            raise _unknown(part, key, config[key], " or ".join(map(str, values)))
    for key in NOT_KNOWN[part]:
        if config.get(key):
            raise _unknown(part, key, config[key], "none")
    for key in NUMBERS[part]:
        if type(config.get(key)) not in (int, float):
            raise _unknown(part, key, config.get(key), "numbers")
    for key in ("down_block_types", "up_block_types"):
        kinds = config.get(key) or ()
        for kind in (kinds if isinstance(kinds, list) else [kinds]) if part in BLOCKS else ():
            if kind not in BLOCKS[part]:
                raise _unknown(part, key, kind, " or ".join(sorted(BLOCKS[part])))


def _check_sizes(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """The kernels take channels by eights, and pictures that every level can halve."""
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    heads_are = "num_attention_heads" if unet.get("num_attention_heads") else "attention_head_dim"
    heads = _whole("unet", unet, heads_are)
    channels_of = _whole("vae", vae, "latent_channels")
    for part, config in (("unet", unet), ("vae", vae)):
        groups = _whole(part, config, "norm_num_groups")
        _whole(part, config, "layers_per_block")
        levels = config.get("block_out_channels")
        for channels in levels if isinstance(levels, list) and levels else [levels]:
            if type(channels) is not int or channels < 1 or channels % 8 or channels % groups:
                known = f"multiples of 8 and of norm_num_groups, {groups}"
                raise _unknown(part, "block_out_channels", channels, known)
    for channels in unet["block_out_channels"]:
        if channels % (8 * heads):
            known = f"multiples of 8 for each of {heads} heads"
            raise _unknown("unet", "block_out_channels", channels, known)
    if _whole("text_encoder", text, "hidden_size") % (
        8 * _whole("text_encoder", text, "num_attention_heads")
    ):
        known = "multiples of 8 for each head"
        raise _unknown("text_encoder", "hidden_size", text["hidden_size"], known)
    if _whole("unet", unet, "sample_size") % 2 ** (len(unet["block_out_channels"]) - 1):
        known = "sizes that every level but the last can halve"
        raise _unknown("unet", "sample_size", unet["sample_size"], known)
    if unet.get("cross_attention_dim") != text["hidden_size"]:
        known = f"what the text encoder's hidden_size is, {text['hidden_size']}"
        raise _unknown("unet", "cross_attention_dim", unet.get("cross_attention_dim"), known)
    _whole("scheduler", configs["scheduler"], "num_train_timesteps")
    for key in ("in_channels", "out_channels"):
        if _whole("unet", unet, key) != channels_of:
            raise _unknown("unet", key, unet[key], f"as many as the VAE has, {channels_of}")


def _whole(part: str, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise _unknown(part, key, value, "one whole number for all of it")
    return value


def _unknown(part: str, key: str, value: Any, known: str) -> ValueError:
    return ValueError(
        f"The {part} has {key} = {shown(value)}, which the engine of the book's pages does not "
        f"know: it knows {known}."
    )


def _weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    weights: dict[str, np.ndarray] = {}
    for part in ("unet", "vae", "text_encoder"):
        found = sorted((folder / part).glob("*.safetensors"))
        if len(found) != 1:
            raise FileNotFoundError(
                f"{folder / part} has {len(found)} files of weights, but one is needed: save the "
                f"model with save_pretrained, whole and without variants."
            )
        try:
            tensors = load_file(found[0])
        except (SafetensorError, OSError, KeyError, TypeError) as error:  # numpy has no bfloat16
            raise ValueError(
                f"{found[0]} cannot be read ({fault_of(error)}): save the model anew, in float16 "
                f"or float32."
            ) from error
        for name, tensor in tensors.items():
            name = f"{part}.{name.removeprefix('text_model.')}"
            if not name.endswith("position_ids"):
                weights[name] = _halved(name, tensor)
    for pattern, letters, each in JOINED:
        for first in list(weights):
            if match := pattern.fullmatch(first):
                before, kind = match.groups()
                names = [each.format(before, letter, kind) for letter in letters]
                parts = [weights.pop(name) for name in names if name in weights]
                if len(parts) < len(names) or len({part.shape[1:] for part in parts}) > 1:
                    raise ValueError(
                        f"The weights {', '.join(names)} do not go together: save the model anew."
                    )
                weights[f"{before}.to_{letters}.{kind}"] = np.concatenate(parts)
    return weights


def _halved(name: str, tensor: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        halved = tensor.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(
            f"{name} has numbers that half precision cannot hold: the pages read weights in half "
            f"precision, so train it on with smaller weights."
        )
    return halved


def _merges(folder: Path) -> list[str]:
    """The merges of CLIP's tokenizer in order, each "a b"."""
    path = folder / "tokenizer" / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no tokenizer/tokenizer.json: save its tokenizer with save_pretrained."
        )
    try:
        merges = json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]
        pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no merges ({fault_of(error)}): save the tokenizer anew with "
            f"save_pretrained."
        ) from error
    if len(pairs) != MERGE_COUNT:
        raise ValueError(
            f"{path} has {len(pairs):,} merges, but CLIP's tokenizer, the only one that the pages "
            f"know, has {MERGE_COUNT:,}."
        )
    return pairs
